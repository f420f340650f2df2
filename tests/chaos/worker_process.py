"""A CliPool worker that may die at its points: `python -m tests.chaos.worker_process RUN SLOT`."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from hub.kernel.ports import Equipped, Occasion, ToolSpec
from tests.chaos import fuse, script
from tests.chaos.ledger import CALLS, EFFECTS, Ledger
from tests.chaos.surroundings import SCRIPT, Bus
from workers.clipool.composition import ClipoolSettings, serve

PATIENCE = 3600.0
# A tool takes a while before and after its effect, and may be killed at any of it.
TAKES = 0.02


class Engraver:
    """A tool with an effect that nobody can take back."""

    def __init__(self, effects: Path) -> None:
        self._effects = Ledger(effects)

    async def run(self, arguments: str, occasion: Occasion) -> str:
        """Engrave the question's name."""
        await asyncio.sleep(TAKES)
        self._effects.write(question=json.loads(arguments)["question"], pid=os.getpid(), at=time.time())
        await asyncio.sleep(TAKES)
        return "It stands there for ever."


def main(run: Path, slot: str) -> int:
    """The worker's exit status."""
    seam = fuse.begin(run, slot)
    bus = Bus.read(run)
    settings = ClipoolSettings(
        nats_url=bus.url_of(slot),
        identity=bus.identity(slot),
        script=run / SCRIPT,
        calls_file=run / CALLS,
        patience=PATIENCE,
    )
    spec = ToolSpec(
        name=script.TOOL,
        description="Engraves the name of a question in stone.",
        parameters='{"type":"object","properties":{"question":{"type":"string"}},"required":["question"]}',
        effect="external",
        timeout=5.0,
        is_foreign=False,
    )
    return serve(settings, at=seam.at, extra_tools=(Equipped(spec, Engraver(run / EFFECTS)),))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
