"""What the clock tells a model."""

from datetime import UTC, datetime

import pytest

from adapters.tools.clock import Clock
from hub.kernel.ports import ToolFailed
from tests.fakes import ANYBODY

CLOCK = Clock(lambda: datetime(2024, 2, 29, 23, 30, tzinfo=UTC))


async def test_the_time_is_utc_unless_a_place_is_named() -> None:
    assert await CLOCK.run("{}", ANYBODY) == "Thursday, 29 February 2024, 23:30:00 UTC (2024-02-29T23:30:00+00:00)"


async def test_the_time_of_a_place_is_told_with_its_own_date() -> None:
    told = await CLOCK.run('{"timezone":"Asia/Tokyo"}', ANYBODY)

    assert told == "Friday, 01 March 2024, 08:30:00 Asia/Tokyo (2024-03-01T08:30:00+09:00)"


@pytest.mark.parametrize("arguments", ['{"timezone":"Mars/Base"}', '{"timezone":"../etc"}', '{"timezone":5}'])
async def test_a_place_that_is_none_is_an_observation(arguments: str) -> None:
    with pytest.raises(ToolFailed, match="Europe/Berlin"):
        await CLOCK.run(arguments, ANYBODY)
