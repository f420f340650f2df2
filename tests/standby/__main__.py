"""`python -m tests.standby --of spoke --kills 60`: how long nothing is written when who speaks, or reigns, is killed.

A spoke and a hub have another one that stands by; nats-server has none, and is started again at once.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.surroundings import DISCORD, TELEGRAM
from tests.city import City
from tests.fakes import until
from tests.standby.stage import PATIENCE, Stage, staged

PROMISED = 1.0


def main(arguments: list[str]) -> int:
    """0 where nothing was lost and the slowest of a hundred takes no longer than is promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.standby", description=__doc__)
    parser.add_argument("--of", choices=("spoke", "hub", "nats-server"), default="spoke")
    parser.add_argument("--platform", choices=(TELEGRAM, DISCORD), default=TELEGRAM)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--apart", action="store_true", help="as if on two machines: each with notes of its own")
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="standby-"))
    if given.of == "spoke":
        of = f"a spoke of {given.platform}"
        waits = sorted(asyncio.run(_run(folder, given.platform, given.kills, is_apart=given.apart)))
    else:
        of = given.of
        waits = sorted(asyncio.run(_beneath(folder, given.kills, of_a_hub=given.of == "hub")))
    shutil.rmtree(folder)
    p50, p99 = (waits[min(len(waits) - 1, int(share * len(waits)))] for share in (0.5, 0.99))
    print(f"first word after kill -9 of {of}, {len(waits)} kills: p50 {p50:.3f} s, p99 {p99:.3f} s")
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


async def _beneath(folder: Path, kills: int, *, of_a_hub: bool) -> list[float]:
    """The same for what lies beneath a spoke, while an answer grows on its screen."""
    waits: list[float] = []
    async with City(folder) as city:
        reigning = city.hub()
        await city.worker()
        spoke = await city.spoke()
        for number in range(1, kills + 1):
            if of_a_hub:
                standing = city.hub("--standby")
                await city.standing_by(number)
            turn = await city.say(spoke, "speak slowly")
            await _grows(city, turn)
            if of_a_hub:
                reigning.send_signal(signal.SIGKILL)
                waits.append(await city.after(reigning, turn))
                reigning = standing
            else:
                waits.append(await _after_the_server(city, turn))
            await city.answered(turn)
    return waits


async def _grows(city: City, turn: str) -> None:
    await until(lambda: len(city.wall.stands.get(turn, "")) > 30)


async def _after_the_server(city: City, turn: str) -> float:
    if city.server.pid is None:
        raise AssertionError("it runs")
    began = asyncio.get_running_loop().time()
    os.kill(city.server.pid, signal.SIGKILL)
    await city.server.wait()
    stood = city.wall.stands[turn]
    await city.server.start()
    await until(lambda: len(city.wall.stands[turn]) > len(stood), seconds=PATIENCE)
    return city.wall.turned[turn] - began


async def _first_word(stage: Stage, speaking: int) -> float:
    killed_at = time.time()
    stage.signal(speaking, signal.SIGKILL)
    await stage.processes[stage.name(speaking)].wait()
    before = len(stage.written)
    await until(lambda: len(stage.written) > before, seconds=PATIENCE)
    return stage.written[before] - killed_at


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
