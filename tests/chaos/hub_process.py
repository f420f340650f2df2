"""A hub that may die at its points: `python -m tests.chaos.hub_process RUN SLOT [--standby | --shares]`."""

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from adapters.high_water import FileHighWater
from factory_contracts import subjects
from factory_contracts.work import Approvals
from hub.composition import HubSettings, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.routing import Binding, Bindings
from tests.chaos import fuse, script
from tests.chaos.surroundings import BOTS, HIGH_WATER, Bus

MUCH = 1_000_000


async def _serve(settings: HubSettings, seam: fuse.Fuse) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return await serve(settings, stop, at=seam.at)


def main(run: Path, slot: str, is_standby: bool, shares: bool) -> int:
    """The hub's exit status."""
    seam = fuse.begin(run, slot)
    bus = Bus.read(run)
    # Nobody is there to allow anything: who speaks owns the bot, and so nothing is tainted.
    agent = Agent(name="scribe", model="scripted", tools=(script.TOOL,), approvals=Approvals(external="tainted"))
    settings = HubSettings(
        nats_url=bus.url_of(slot),
        identity=bus.identity(subjects.HUB),
        bindings=Bindings({agent.name: agent}, (Binding(agent.name),)),
        policies=tuple(
            BotPolicy(
                bus.platform,
                bot,
                access="public",
                rate_per_minute=MUCH,
                rate_per_scope_minute=MUCH,
                turns_at_once=MUCH,
                everyone_owns=True,
            )
            for bot in BOTS
        ),
        max_pools=bus.pools,
        standby=is_standby,
        shares=shares,
        high_water=FileHighWater(run / HIGH_WATER),
    )
    return uvloop.run(_serve(settings, seam))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], "--standby" in sys.argv[3:], "--shares" in sys.argv[3:]))
