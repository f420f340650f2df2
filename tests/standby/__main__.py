"""`python -m tests.standby --platform telegram --kills 60`: how long nothing is written when who speaks is killed."""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.surroundings import DISCORD, TELEGRAM
from tests.fakes import until
from tests.standby.stage import PATIENCE, Stage, staged

PROMISED = 1.0


def main(arguments: list[str]) -> int:
    """0 where nothing was lost and the slowest of a hundred takes no longer than is promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.standby", description=__doc__)
    parser.add_argument("--platform", choices=(TELEGRAM, DISCORD), default=TELEGRAM)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--apart", action="store_true", help="as if on two machines: each with notes of its own")
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="standby-"))
    waits = sorted(asyncio.run(_run(folder, given.platform, given.kills, is_apart=given.apart)))
    shutil.rmtree(folder)
    p50, p99 = (waits[min(len(waits) - 1, int(share * len(waits)))] for share in (0.5, 0.99))
    print(f"first word after kill -9, {given.platform}, {len(waits)} kills: p50 {p50:.3f} s, p99 {p99:.3f} s")
    return 0 if p99 < PROMISED else 1


async def _run(folder: Path, platform: str, kills: int, *, is_apart: bool) -> list[float]:
    waits: list[float] = []
    async with staged(folder, platform, is_apart=is_apart) as stage:
        stage.start_spoke(1)
        await stage.speaks(1)
        for number in range(kills):
            speaking, other = (1, 2) if number % 2 == 0 else (2, 1)
            stage.start_spoke(other)
            await stage.stands_by(other)
            await stage.begun(stage.ask("long"))
            waits.append(await _first_word(stage, speaking))
            await stage.answered()
    return waits


async def _first_word(stage: Stage, speaking: int) -> float:
    killed_at = time.time()
    stage.signal(speaking, signal.SIGKILL)
    await stage.processes[stage.name(speaking)].wait()
    before = len(stage.written)
    await until(lambda: len(stage.written) > before, seconds=PATIENCE)
    return stage.written[before] - killed_at


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
