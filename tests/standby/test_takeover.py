"""Two spokes of one bot, as processes: one speaks, and whatever happens to it, the other takes its place."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.chaos.surroundings import DISCORD, TELEGRAM
from tests.standby.stage import BOT, staged

PLATFORMS = (TELEGRAM, DISCORD)
# A machine on which everything else is tested as well takes its time; runs of `tests.chaos --pairs` tell the truth.
SOON = 3.0


@pytest.mark.parametrize("is_apart", [False, True])
@pytest.mark.parametrize("platform", PLATFORMS)
async def test_the_one_that_stands_by_goes_on_in_the_same_bubble_when_the_other_is_killed(
    tmp_path: Path, platform: str, is_apart: bool
) -> None:
    async with staged(tmp_path, platform, is_apart=is_apart) as stage:
        stage.start_spoke(1)
        await stage.speaks(1)
        stage.start_spoke(2)
        await stage.stands_by(2)
        await stage.begun(stage.ask("long"))

        stage.signal(1, signal.SIGKILL)
        killed_at = time.time()
        asked = stage.ask("short")
        await stage.answered()

        after = [at for at in stage.written if at > killed_at + 0.05]
        assert after[0] - killed_at < SOON
        assert stage.shown[asked]


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_of_two_that_start_at_once_one_speaks(tmp_path: Path, platform: str) -> None:
    async with staged(tmp_path, platform) as stage:
        stage.start_spoke(1)
        stage.start_spoke(2)
        for _ in range(3):
            stage.ask("short")
        await stage.answered()

        standing = [number for number in (1, 2) if "standing by" in stage.told(stage.name(number))]
        assert len(standing) == 1
        assert stage.told("hub-one").count(f" speaks for {platform}/{BOT}") == 1


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_one_that_wakes_after_another_took_its_place_says_nothing_and_stands_by(
    tmp_path: Path, platform: str
) -> None:
    async with staged(tmp_path, platform) as stage:
        stage.start_spoke(1)
        await stage.speaks(1)
        stage.start_spoke(2)
        await stage.stands_by(2)
        await stage.begun(stage.ask("long"))

        stage.signal(1, signal.SIGSTOP)
        stage.ask("short")
        await stage.speaks(2)
        await stage.answered()
        written = len(stage.written)
        stage.signal(1, signal.SIGCONT)
        await stage.stands_by(1)

        assert len(stage.written) == written
        stage.signal(2, signal.SIGKILL)
        stage.ask("stream")
        await stage.speaks(1)


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_one_that_is_told_to_end_leaves_its_place_at_once(tmp_path: Path, platform: str) -> None:
    async with staged(tmp_path, platform) as stage:
        stage.start_spoke(1)
        await stage.speaks(1)
        stage.start_spoke(2)
        await stage.stands_by(2)
        await stage.begun(stage.ask("long"))

        stage.signal(1, signal.SIGTERM)
        async with asyncio.timeout(SOON):
            await stage.speaks(2)
