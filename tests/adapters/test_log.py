"""The log over a bus that fails."""

from __future__ import annotations

import asyncio

import pytest

from adapters.nats.log import PROOF_LASTS, JetStreamLog
from factory_nats.testing import FakeBus
from tests.conformance.test_log import HERE, THERE, answered, balance, received
from tests.fakes import idle, pass_time

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def reigning(bus: FakeBus, name: str = "hub") -> JetStreamLog:
    log = JetStreamLog(bus.join(name), name)
    await log.create()
    await log.take_over(0.0)
    return log


async def test_an_append_whose_answer_was_lost_is_found_and_not_repeated() -> None:
    bus = FakeBus()
    log = await reigning(bus)
    bus.lose_answers()

    stored = await log.append(HERE, [received("a"), answered("a")])

    assert list(await log.history(HERE)) == list(stored)


async def test_of_a_batch_whose_answer_was_lost_everybody_learns_his_own_sequence() -> None:
    bus = FakeBus()
    log = await reigning(bus)
    bus.lose_answers(2)

    stored = await asyncio.gather(
        *(log.append(key, [received(f"{number}", key)]) for number, key in enumerate([HERE, THERE] * 10))
    )

    found = {one.record.turn: one.sequence for key in (HERE, THERE) for one in await log.history(key)}
    assert found == {one.record.turn: one.sequence for (one,) in stored}


async def test_an_append_waits_for_a_bus_that_is_away() -> None:
    bus = FakeBus()
    log = await reigning(bus)
    bus.stop()
    appending = asyncio.create_task(log.append(HERE, [received("a")]))
    await pass_time(30)
    assert not appending.done()

    bus.start()
    stored = await appending

    assert await log.history(HERE) == stored


async def test_a_bus_that_goes_in_the_middle_of_an_append_gives_no_double() -> None:
    bus = FakeBus()
    log = await reigning(bus)
    appending = asyncio.create_task(log.append(HERE, [received("a")]))
    await pass_time(0)
    bus.stop()
    await pass_time(1)

    bus.start()
    await appending

    assert len(await log.history(HERE)) == 1


async def test_a_take_over_whose_answer_was_lost_is_done_again() -> None:
    bus = FakeBus()
    first = await reigning(bus, "first")
    bus.lose_answers()

    second = await reigning(bus, "second")
    await second.append(HERE, [received("a")])

    assert second.epoch(0) > first.epoch(63)


async def test_a_caller_that_goes_away_takes_no_others_append_with_it() -> None:
    bus = FakeBus()
    log = await reigning(bus)
    appends = [asyncio.create_task(log.append(HERE, [received(f"{number}")])) for number in range(3)]
    await pass_time(0)
    appends[0].cancel()
    await asyncio.gather(*appends, return_exceptions=True)
    await idle()

    assert [one.record.turn for one in await log.history(HERE)][-2:] == ["1", "2"]
    assert not appends[1].cancelled()


async def test_a_mark_whose_answer_was_lost_is_unheard_and_can_be_moved_again() -> None:
    bus = FakeBus()
    log = await reigning(bus)
    bus.lose_answers()

    first = await log.move_mark(7, {3: (balance("0.1"),)})
    second = await log.move_mark(9, {3: (balance("0.1"),)})

    assert (first, second) == (False, True)
    assert (await log.mark(), await log.spent()) == (9, {3: (9, (balance("0.1"),))})


async def test_a_mark_on_a_bus_that_is_away_is_unheard() -> None:
    bus = FakeBus()
    log = await reigning(bus)
    bus.stop()

    assert not await log.move_mark(7, {3: (balance("0.1"),)})

    bus.start()
    assert (await log.mark(), await log.spent()) == (1, {})


async def test_a_hub_that_stood_still_asks_the_log_before_it_believes_that_it_reigns() -> None:
    bus = FakeBus()
    frozen = await reigning(bus, "frozen")
    assert await frozen.still_reigns()

    await reigning(bus, "successor")
    await pass_time(PROOF_LASTS)

    assert not await frozen.still_reigns()


async def test_whether_it_still_reigns_a_hub_is_told_when_the_bus_is_back() -> None:
    bus = FakeBus()
    log = await reigning(bus)
    await pass_time(PROOF_LASTS)
    bus.stop()
    asking = asyncio.create_task(log.still_reigns())
    await pass_time(2 * PROOF_LASTS)
    assert not asking.done()

    bus.start()

    assert await asking
