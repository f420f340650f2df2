"""The examples of workers do what they say, and are short enough to be read at once."""

from pathlib import Path

import pytest

from adapters.nats.fleet import Fleet, Fulfilled, Wish
from factory_contracts import subjects
from factory_contracts.capability import CapabilityProgress, CapabilityRefused
from factory_nats.loading import load
from factory_nats.satellite import Satellite
from factory_nats.testing import FakeBus

EXAMPLES = Path(__file__).parents[2] / "examples"
LINES = 30


async def asked(name: str, arguments: str, heard: list[CapabilityProgress]) -> Fulfilled | CapabilityRefused:
    """What comes of asking the worker of this file."""
    bus = FakeBus()
    async with Satellite(bus.join("w1"), load(EXAMPLES / f"{name}.py"), "i1"):
        fleet = Fleet(bus.join(subjects.CLIPOOL), name)
        came = await fleet.ask(Wish("t", "c", 5.0, arguments=arguments), effect="read", hear=heard.append)
        await fleet.close()
    assert isinstance(came, Fulfilled | CapabilityRefused), came
    return came


async def test_shout_shouts() -> None:
    assert await asked("shout", '{"text": "good morning"}', []) == Fulfilled("GOOD MORNING!")


async def test_word_count_counts_and_says_how_far_it_is() -> None:
    heard: list[CapabilityProgress] = []
    came = await asked("word_count", '{"text": "one two\\nthree"}', heard)

    assert came == Fulfilled('{"words":3,"longest":"three"}')
    assert {one.words for one in heard} <= {"line 1", "line 2"}


async def test_poster_makes_a_picture_of_what_fits_on_it() -> None:
    made = await asked("poster", '{"text": "Tea & cake"}', [])
    refused = await asked("poster", '{"text": "%s"}' % ("x" * 41), [])

    assert isinstance(made, Fulfilled)
    ((name, data),) = made.files
    assert (name, made.text) == ("poster.svg", "Here it is.")
    assert b">Tea &amp; cake</text></svg>" in data
    assert refused == CapabilityRefused(reason="unable", words="A poster has room for 40 letters.")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_enough_to_be_read_at_once(path: Path) -> None:
    assert len(path.read_text().splitlines()) < LINES


def test_there_are_at_least_three() -> None:
    assert len(list(EXAMPLES.glob("*.py"))) >= 3
