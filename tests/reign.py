"""A hub in a process of its own, for tests that freeze it or kill it: `python -m tests.reign URL [--standby]`.

With `--die-at POINT` it kills itself when it comes to the point, with `--die-at POINT HITS` when it does so again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

from factory_nats.connect import Identity
from hub.composition import HubSettings, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.routing import Binding, Bindings

PLATFORM = "paper"
BOT = "desk"
MUCH = 1_000_000


def settings(url: str, *, standby: bool = False) -> HubSettings:
    """One agent, one bot, everybody may speak."""
    return HubSettings(
        nats_url=url,
        identity=Identity("hub"),
        bindings=Bindings({"alice": Agent("alice", "scripted")}, (Binding("alice"),)),
        policies=(
            BotPolicy(
                PLATFORM, BOT, access="public", rate_per_minute=MUCH, rate_per_scope_minute=MUCH, turns_at_once=MUCH
            ),
        ),
        standby=standby,
    )


def death_at(fatal: str, hits: int) -> Callable[[str], None]:
    """A seam that comes back from every point but this one."""
    left = [hits]

    def at(point: str) -> None:
        left[0] -= point == fatal
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


if __name__ == "__main__":
    url, *options = sys.argv[1:]
    _, _, told = " ".join(options).partition("--die-at ")
    point, _, hits = told.rpartition(" ") if told[-1:].isdigit() else (told, "", "1")
    seam = death_at(point, int(hits)) if told else lambda point: None
    sys.exit(asyncio.run(serve(settings(url, standby="--standby" in options), at=seam)))
