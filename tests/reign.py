"""A hub in a process of its own, for tests that freeze it or kill it: `python -m tests.reign URL [--standby]`."""

from __future__ import annotations

import asyncio
import sys

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


if __name__ == "__main__":
    sys.exit(asyncio.run(serve(settings(sys.argv[1], standby="--standby" in sys.argv))))
