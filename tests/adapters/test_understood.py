"""How much is said to the spokes of a bot."""

from __future__ import annotations

from adapters.nats.understood import SILENCE, Understood
from factory_contracts.envelope import FIRST_VERSION
from tests.fakes import FakeClock

HERE, THERE = ("paper", "desk"), ("paper", "other")


async def test_so_much_is_said_as_the_least_of_those_who_listen_understands() -> None:
    clock = FakeClock()
    understood = Understood(clock)
    assert understood.of(HERE) == FIRST_VERSION

    understood.heed(HERE, 3)
    understood.heed(THERE, 5)
    assert (understood.of(HERE), understood.of(THERE)) == (3, 5)

    clock.forward(SILENCE / 2)
    understood.heed(HERE, 2)
    understood.heed(HERE, 3)
    assert understood.of(HERE) == 2

    clock.forward(SILENCE / 2 + 1)
    assert understood.of(HERE) == 2
    understood.heed(HERE, 3)
    clock.forward(SILENCE / 2)
    assert understood.of(HERE) == 3

    clock.forward(SILENCE)
    assert understood.of(HERE) == FIRST_VERSION
