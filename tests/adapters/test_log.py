"""The log over a bus that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from adapters.nats.log import PROOF_LASTS, JetStreamLog
from factory_nats.result import Result
from factory_nats.testing import FakeBus, FakeTransport
from factory_nats.transport import Stored
from hub.kernel.ports import Fenced
from tests.conformance.test_log import HERE, THERE, answered, balance, received
from tests.fakes import idle, pass_time

pytestmark = pytest.mark.asyncio(loop_scope="function")


class Late(FakeTransport):
    """One of whose answers may come late."""

    hold: asyncio.Event | None = None

    async def newest(self, stream: str, subject: str) -> Result[tuple[Stored, ...]]:
        found = await super().newest(stream, subject)
        hold, self.hold = self.hold, None
        if hold is not None:
            await hold.wait()
        return found


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


async def test_of_two_that_waited_for_the_same_end_the_slower_leaves_it_to_the_quicker() -> None:
    bus = FakeBus()
    await reigning(bus, "first")
    quicker, slower = (JetStreamLog(bus.join(name), name) for name in ("quicker", "slower"))

    assert await quicker.take_over(1.0, after="first")
    assert not await slower.take_over(1.0, after="first")

    assert await quicker.reigns(HERE.partition)
    assert await slower.take_over(2.0, after="quicker")


async def test_what_is_taken_while_the_log_is_asked_whose_it_was_is_not_given_up() -> None:
    lost: list[int] = []
    late = Late(FakeBus(), "hub", "late", None, None, None, None, None)
    log = JetStreamLog(late, "hub", on_lost=lost.append)
    await log.create()
    assert await log.take({HERE.partition}, 0.0)
    late.hold = hold = asyncio.Event()
    looking = asyncio.create_task(log.verify())
    await idle()
    assert await log.take({THERE.partition}, 0.0)

    hold.set()
    await looking

    assert lost == []
    assert set(log.owned) == {HERE.partition, THERE.partition}


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


async def test_what_nobody_looks_for_any_more_is_never_said_to_be_known() -> None:
    bus = FakeBus()
    log = await reigning(bus)
    before = log.sequence
    bus.lose_answers()
    appending = asyncio.create_task(log.append(HERE, [received("a")]))
    await idle()

    appending.cancel()
    await asyncio.gather(appending, return_exceptions=True)
    ((stored,), _) = await log.history(HERE), await log.append(THERE, [received("b", THERE)])

    assert before <= log.sequence < stored.sequence


async def test_what_another_hub_looks_for_holds_up_nobody() -> None:
    bus = FakeBus()
    log, other = await reigning(bus), JetStreamLog(bus.join("other"), "other")
    bus.lose_answers()
    appending = asyncio.create_task(log.append(HERE, [received("a")]))
    await idle()
    assert await other.take({HERE.partition}, 0.0)
    await log.verify()

    appending.cancel()
    await asyncio.gather(appending, return_exceptions=True)
    (stored,) = await log.append(THERE, [received("b", THERE)])

    assert log.sequence == stored.sequence


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
    assert await frozen.still_reigns(HERE.partition)

    await reigning(bus, "successor")
    await pass_time(PROOF_LASTS)

    assert not await frozen.still_reigns(HERE.partition)


async def test_whether_it_still_reigns_a_hub_is_told_when_the_bus_is_back() -> None:
    bus = FakeBus()
    log = await reigning(bus)
    await pass_time(PROOF_LASTS)
    bus.stop()
    asking = asyncio.create_task(log.still_reigns(HERE.partition))
    await pass_time(2 * PROOF_LASTS)
    assert not asking.done()

    bus.start()

    assert await asking


async def sharing(bus: FakeBus, name: str, parts: Collection[int]) -> tuple[JetStreamLog, list[int]]:
    """A hub that reigns over some partitions, and those that it was told it lost."""
    lost: list[int] = []
    log = JetStreamLog(bus.join(name), name, on_lost=lost.append)
    await log.create()
    assert await log.take(parts, 0.0)
    return log, lost


async def test_who_loses_some_partitions_is_fenced_there_and_nowhere_else() -> None:
    bus = FakeBus()
    first, lost = await sharing(bus, "first", range(64))
    assert HERE.partition != THERE.partition
    second, _ = await sharing(bus, "second", (HERE.partition,))

    with pytest.raises(Fenced):
        await first.append(HERE, [received("zombie")])
    await first.append(THERE, [received("a", THERE)])
    await second.append(HERE, [received("b")])

    assert lost == [HERE.partition]
    assert (len(first.owned), len(second.owned)) == (63, 1)
    assert [one.record.turn for one in await second.history(HERE)] == ["b"]


async def test_of_a_batch_only_that_is_refused_which_is_of_a_lost_partition() -> None:
    bus = FakeBus()
    first, _ = await sharing(bus, "first", range(64))
    await sharing(bus, "second", (HERE.partition,))

    results = await asyncio.gather(
        *(first.append(key, [received(f"{number}", key)]) for number in range(40) for key in (HERE, THERE)),
        return_exceptions=True,
    )

    assert [isinstance(result, Fenced) for result in results] == [True, False] * 40
    assert len(await first.history(THERE)) == 40


async def test_a_hub_that_was_not_told_looks_and_gives_up_what_is_anothers() -> None:
    bus = FakeBus()
    first, lost = await sharing(bus, "first", range(64))
    await sharing(bus, "second", range(32))

    await first.verify()

    assert sorted(lost) == list(range(32))
    assert sorted(first.owned) == list(range(32, 64))


async def test_taking_whose_answer_was_lost_is_found_to_be_done() -> None:
    bus = FakeBus()
    log = JetStreamLog(bus.join("hub"), "hub")
    await log.create()
    bus.lose_answers()

    assert not await log.take(range(64), 0.0)
    assert await log.take(range(64), 0.0)

    await log.append(HERE, [received("a")])
    assert await log.reigns(HERE.partition)


async def test_a_mark_speaks_for_the_partitions_that_its_hub_has_and_for_no_others() -> None:
    bus = FakeBus()
    first, _ = await sharing(bus, "first", range(32))
    second, _ = await sharing(bus, "second", range(32, 64))
    assert await first.move_mark(700, {})
    assert await second.move_mark(500, {})

    third, _ = await sharing(bus, "third", range(16))
    with pytest.raises(Fenced):
        await first.move_mark(800, {})
    assert await first.move_mark(900, {})

    assert await third.mark(range(16)) == 700
    assert await third.mark(range(16, 32)) == 900
    assert await third.mark(range(32, 64)) == 500
    assert await third.mark() == 500


async def test_a_mark_of_one_of_several_hubs_passes_by_no_money_that_is_not_told_of() -> None:
    bus = FakeBus()
    first, _ = await sharing(bus, "first", range(32))
    second, _ = await sharing(bus, "second", range(32, 64))
    assert await second.reckoned() == 1
    assert await first.reckon(9, {3: (balance("0.1"),)})

    assert await second.move_mark(700, None)

    assert await first.reckoned() == 9


async def test_who_keeps_accounts_with_others_begins_where_the_mark_stood_when_the_first_of_them_came() -> None:
    bus = FakeBus()
    alone = await reigning(bus, "alone")
    assert await alone.move_mark(40, {})
    first, _ = await sharing(bus, "first", range(32))
    assert await first.begin_reckoning() == 40
    second, _ = await sharing(bus, "second", range(32, 64))
    await asyncio.gather(first.move_mark(700, None), second.move_mark(700, None))

    assert await second.begin_reckoning() == 40


async def test_of_two_who_keep_accounts_at_once_one_says_where_they_begin() -> None:
    bus = FakeBus()
    hubs = [JetStreamLog(bus.join(name), name) for name in ("first", "second")]
    await hubs[0].create()
    bus.lose_answers()

    begun = await asyncio.gather(*(hub.begin_reckoning() for hub in hubs))

    assert begun == [1, 1]


async def test_a_mark_of_a_hub_that_lost_a_partition_says_nothing_of_it() -> None:
    bus = FakeBus()
    first, _ = await sharing(bus, "first", range(64))
    assert await first.move_mark(7, {})
    await sharing(bus, "second", (63,))

    assert await first.move_mark(900, {})

    assert await first.mark((63,)) == 7
    assert await first.mark((62,)) == 900


async def test_money_is_reserved_only_by_who_knows_who_did_so_last() -> None:
    bus = FakeBus()
    first, _ = await sharing(bus, "first", (HERE.partition,))
    second, _ = await sharing(bus, "second", (THERE.partition,))

    reserved = await first.reserve(HERE, received("a"), 0)
    late = await second.reserve(THERE, received("b", THERE), 0)
    known = await second.purse()
    after = await second.reserve(THERE, received("b", THERE), known)

    assert reserved is not None
    assert late is None
    assert known == reserved.sequence + 1
    assert after is not None
    assert [one.record.turn for key in (HERE, THERE) for one in await first.history(key)] == ["a", "b"]


async def test_a_reservation_whose_answer_was_lost_is_found_and_made_once() -> None:
    bus = FakeBus()
    log, _ = await sharing(bus, "hub", range(64))
    bus.lose_answers()

    reserved = await log.reserve(HERE, received("a"), 0)

    assert reserved is not None
    assert await log.history(HERE) == (reserved,)


async def test_who_lost_the_partition_reserves_nothing_in_it() -> None:
    bus = FakeBus()
    first, lost = await sharing(bus, "first", range(64))
    await sharing(bus, "second", (HERE.partition,))

    with pytest.raises(Fenced):
        await first.reserve(HERE, received("a"), 0)

    assert lost == [HERE.partition]
    assert await first.purse() == 0


async def test_balances_are_kept_by_the_hub_of_the_first_partition_alone() -> None:
    bus = FakeBus()
    first, _ = await sharing(bus, "first", range(32))
    second, _ = await sharing(bus, "second", range(32, 64))
    assert await first.reckoned() == 1

    assert await first.reckon(9, {3: (balance("0.1"),)})
    assert not await second.reckon(11, {3: (balance("0.2"),)})

    assert (await second.reckoned(), await second.spent()) == (9, {3: (9, (balance("0.1"),))})
