"""A hub in a process of its own, for tests that freeze it or kill it: `python -m tests.reign URL [--standby]`.

With `--die-at POINT` it kills itself when it comes to the point, with `--die-at POINT HITS` when it does so again. With
`--as FILE` it shows the keys that lie there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from factory_nats.connect import Identity
from hub.composition import HubSettings, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.routing import Binding, Bindings

PLATFORM = "paper"
BOT = "desk"
MUCH = 1_000_000
ANYBODY = Identity("hub")
OWNERS = frozenset(("ann",))


def settings(url: str, *, standby: bool = False, shares: bool = False, identity: Identity = ANYBODY) -> HubSettings:
    """One agent, one bot, everybody may speak."""
    return HubSettings(
        nats_url=url,
        identity=identity,
        bindings=Bindings({"alice": Agent("alice", "scripted")}, (Binding("alice"),)),
        policies=(
            BotPolicy(
                PLATFORM,
                BOT,
                access="public",
                owners=OWNERS,
                rate_per_minute=MUCH,
                rate_per_scope_minute=MUCH,
                turns_at_once=MUCH,
            ),
        ),
        standby=standby,
        shares=shares,
    )


def keep(identity: Identity, file: Path) -> None:
    """Leave a hub's keys where its process finds them."""
    store = identity.store
    file.write_text(json.dumps([identity.seed, store.seed if store is not None else None]))


def kept(file: Path) -> Identity:
    """Whoever shows the keys that lie there."""
    own, store = json.loads(file.read_text())
    return Identity("hub", own, store=Identity("hub", store))


def death_at(fatal: str, hits: int) -> Callable[[str], None]:
    """A seam that comes back from every point but this one."""
    left = [hits]

    def at(point: str) -> None:
        left[0] -= point == fatal
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def main(arguments: list[str]) -> int:
    """The hub's exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--standby", action="store_true")
    parser.add_argument("--shares", action="store_true")
    parser.add_argument("--die-at", nargs="+", default=[])
    parser.add_argument("--as", type=Path, dest="file")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    words, _, hits = " ".join(given.die_at).rpartition(" ")
    point, hits = (words, hits) if hits.isdigit() else (" ".join(given.die_at), "1")
    seam = death_at(point, int(hits)) if point else lambda point: None
    identity = kept(given.file) if given.file is not None else ANYBODY
    stop = asyncio.Event()

    async def reign() -> int:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        return await serve(
            settings(given.url, standby=given.standby, shares=given.shares, identity=identity), stop, at=seam
        )

    return asyncio.run(reign())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
