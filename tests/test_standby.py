"""A hub that stands by takes over at once: with a real server, real hubs, and a person who reads on."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.city import City
from tests.fakes import until

# The silence of a hub would be noticed a good while later than that.
AT_ONCE = 1.5


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    async with City(tmp_path) as city:
        yield city


async def test_the_next_word_comes_at_once_when_the_hub_is_killed_and_another_stands_by(city: City) -> None:
    owner = city.hub()
    await city.worker()
    spoke = await city.spoke()
    city.hub("--standby")
    await city.standing_by()
    turn = await city.say(spoke, "speak slowly")
    await until(lambda: len(city.wall.stands.get(turn, "")) > 30)

    owner.send_signal(signal.SIGKILL)
    took = await city.after(owner, turn)

    assert took < AT_ONCE
    assert (await city.answered(turn)).text == "word " * 80
    assert city.wall.sent == [turn]
    assert city.model_calls() == 1


async def test_a_hub_that_is_told_to_end_hands_over_to_the_one_that_stands_by(city: City) -> None:
    owner = city.hub()
    await city.worker()
    spoke = await city.spoke()
    city.hub("--standby")
    await city.standing_by()
    turn = await city.say(spoke, "speak slowly")
    await until(lambda: len(city.wall.stands.get(turn, "")) > 30)

    owner.send_signal(signal.SIGTERM)
    took = await city.after(owner, turn)

    assert took < AT_ONCE
    assert owner.poll() == 0
    assert (await city.answered(turn)).text == "word " * 80
    assert city.model_calls() == 1


async def test_of_two_that_stand_by_one_takes_over_and_the_other_stands_by_on(city: City) -> None:
    owner = city.hub()
    await city.worker()
    spoke = await city.spoke()
    others = [city.hub("--standby"), city.hub("--standby")]
    await city.standing_by(2)
    await city.answered(await city.say(spoke, "hello"))

    owner.send_signal(signal.SIGKILL)
    for number in range(5):
        await city.answered(await city.say(spoke, f"hello {number}"))

    assert [other.poll() for other in others] == [None, None]
