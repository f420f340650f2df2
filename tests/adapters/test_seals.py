"""The seals of a hub: of everything it stores, over a bus that fails and from one hub to the next."""

from __future__ import annotations

import asyncio

import pytest

from adapters.nats.log import JetStreamLog
from adapters.nats.seals import MOST_UNSEALED, TICKS_UNSEALED, Seals
from factory_contracts import subjects
from factory_contracts.records import Granted
from factory_nats.result import Ok
from factory_nats.testing import FakeBus
from hub.kernel.seals import Heads, Inspection
from tests.conformance.test_log import HERE, THERE, answered, received
from tests.fakes import all_of, idle, pass_time

pytestmark = pytest.mark.asyncio(loop_scope="function")


class Paper:
    """How far the log goes, on a sheet of paper."""

    def __init__(self) -> None:
        self.heads: Heads | None = None
        self.is_wet = False
        self.may_note = asyncio.Event()
        self.may_note.set()

    async def read(self) -> Heads | None:
        return self.heads

    async def note(self, heads: Heads) -> None:
        if self.is_wet:
            raise OSError(28, "No space left on device")
        await self.may_note.wait()
        self.heads = heads


class House:
    """One hub's log with its seals."""

    def __init__(self, bus: FakeBus, paper: Paper, name: str) -> None:
        transport = bus.join(name)
        self.reading: set[int] = set()
        self.seals = Seals(transport, paper, lambda: self.log.sequence, lambda: 0.0, unread=lambda: self.reading)
        self.log = JetStreamLog(transport, name, witness=self.seals.note, on_lost=self.seals.lose)


async def reigning(bus: FakeBus, paper: Paper, name: str = "hub") -> House:
    house = House(bus, paper, name)
    await house.log.create()
    assert await house.seals.behind() == ()
    await house.log.take_over(0.0)
    await house.log.acts()
    await all_of(house.log.since(1))
    return house


async def inspected(bus: FakeBus, paper: Paper) -> Inspection:
    found = await bus.join("reader").read(subjects.STREAM, subjects.plane("turns")[0], limit=100_000)
    assert isinstance(found, Ok)
    inspection = Inspection(paper.heads)
    for stored in found.value:
        inspection.take(stored.subject, stored.sequence, stored.data)
    return inspection


async def test_everything_that_is_stored_is_sealed_and_the_end_noted() -> None:
    bus, paper = FakeBus(), Paper()
    house = await reigning(bus, paper)
    await house.log.append(HERE, [received("a"), answered("a")])
    await house.log.append(THERE, [received("b", THERE)])
    await house.log.note_act(Granted(id="g", at=0.0, to="paper:ann", bot="paper:desk", level="trusted"), 0)
    assert len(house.seals.unsealed()) == 4

    await house.seals.seal()

    inspection = await inspected(bus, paper)
    assert inspection.faults() == ()
    assert (inspection.sealed, inspection.unsealed) == (4, 0)
    assert paper.heads == inspection.heads
    assert house.seals.unsealed() == ()


async def test_a_seal_whose_answer_was_lost_is_found_and_the_chain_goes_on() -> None:
    bus, paper = FakeBus(), Paper()
    house = await reigning(bus, paper)
    await house.log.append(HERE, [received("a")])
    bus.lose_answers()
    await house.seals.seal()
    await house.log.append(HERE, [answered("a")])

    await house.seals.seal()

    inspection = await inspected(bus, paper)
    assert inspection.faults() == ()
    assert (inspection.unsealed, house.seals.unsealed()) == (0, ())


async def test_what_a_hub_left_unsealed_the_next_one_seals() -> None:
    bus, paper = FakeBus(), Paper()
    first = await reigning(bus, paper, "first")
    await first.log.append(HERE, [received("a")])
    await first.seals.seal()
    await first.log.append(HERE, [answered("a")])

    second = await reigning(bus, paper, "second")
    await second.seals.seal()

    inspection = await inspected(bus, paper)
    assert inspection.faults() == ()
    assert (inspection.records, inspection.sealed, inspection.unsealed) == (2, 2, 0)


async def test_what_was_noted_to_be_sealed_a_hub_that_begins_does_not_keep_to_be_sealed() -> None:
    bus, paper = FakeBus(), Paper()
    first = await reigning(bus, paper, "first")
    await first.log.append(HERE, [received("a")])
    await first.seals.seal()
    (left,) = await first.log.append(HERE, [answered("a")])

    second = await reigning(bus, paper, "second")

    assert second.seals.unsealed() == (left.sequence,)


async def test_a_hub_that_is_followed_while_it_seals_breaks_no_chain() -> None:
    bus, paper = FakeBus(), Paper()
    first = await reigning(bus, paper, "first")
    await first.log.append(HERE, [received("a")])
    second = await reigning(bus, paper, "second")
    await first.seals.seal()
    await second.log.append(HERE, [answered("a")])

    await second.seals.seal()
    await second.seals.seal()

    inspection = await inspected(bus, paper)
    assert inspection.faults() == ()
    assert inspection.unsealed == 0


async def test_what_is_stored_before_a_new_hub_has_read_what_was_left_is_sealed_after_that() -> None:
    bus, paper = FakeBus(), Paper()
    first = await reigning(bus, paper, "first")
    await first.log.append(HERE, [received("a")])
    second = House(bus, paper, "second")
    second.reading = {HERE.partition}
    assert await second.log.take({HERE.partition}, 0.0)
    await second.log.append(HERE, [answered("a")])
    await second.seals.seal()
    assert (await inspected(bus, paper)).sealed == 0

    await all_of(second.log.since(1, {HERE.partition}))
    second.reading = set()
    await second.seals.seal()

    inspection = await inspected(bus, paper)
    assert inspection.faults() == ()
    assert (inspection.sealed, inspection.unsealed) == (2, 0)


async def test_of_what_is_found_to_be_stored_where_another_hub_reigns_by_now_that_one_tells() -> None:
    bus, paper = FakeBus(), Paper()
    first = await reigning(bus, paper, "first")
    await first.log.append(HERE, [received("a")])
    bus.lose_answers()
    answering = asyncio.create_task(first.log.append(HERE, [answered("a")]))
    await idle()
    second = House(bus, paper, "second")
    assert await second.log.take({HERE.partition}, 0.0)
    await first.log.verify()
    await asyncio.gather(answering, return_exceptions=True)

    await first.seals.seal()
    assert (await inspected(bus, paper)).sealed == 0
    await all_of(second.log.since(1, {HERE.partition}))
    await second.seals.seal()

    inspection = await inspected(bus, paper)
    assert inspection.faults() == ()
    assert (inspection.sealed, inspection.unsealed) == (2, 0)


async def test_a_seal_says_nothing_of_what_another_hub_stored_after_it_took_the_partition() -> None:
    bus, paper = FakeBus(), Paper()
    first = await reigning(bus, paper, "first")
    await first.log.append(HERE, [received("a")])
    second = House(bus, paper, "second")
    assert await second.log.take({HERE.partition}, 0.0)
    await second.log.append(HERE, [answered("a")])
    await first.log.append(THERE, [received("b", THERE)])

    await first.seals.seal()
    await all_of(second.log.since(1, {HERE.partition}))
    await second.seals.seal()

    inspection = await inspected(bus, paper)
    assert inspection.faults() == ()
    assert (inspection.sealed, inspection.unsealed) == (3, 0)


async def test_a_log_that_lost_its_end_is_told_of_before_it_is_taken_over() -> None:
    bus, paper = FakeBus(), Paper()
    house = await reigning(bus, paper)
    await house.log.append(HERE, [received("a")])
    await house.seals.seal()

    empty = House(FakeBus(), paper, "hub")
    await empty.log.create()

    (lack,) = await empty.seals.behind()
    assert lack.startswith(f"seal 1 of partition {HERE.partition}, once at ") and lack.endswith(" is missing")


async def test_seals_come_by_themselves_and_few_wait_long() -> None:
    bus, paper = FakeBus(), Paper()
    house = await reigning(bus, paper)
    house.seals.open()
    await house.log.append(HERE, [received("a")])
    await pass_time(TICKS_UNSEALED - 2)
    assert paper.heads is None

    await pass_time(4)
    assert house.seals.unsealed() == ()
    for number in range(MOST_UNSEALED):
        await house.log.append(HERE, [received(f"{number}")])
    await pass_time(2)
    assert house.seals.unsealed() == ()
    await house.seals.close()


async def test_what_is_stored_while_it_is_sealed_waits_for_the_next_time() -> None:
    bus, paper = FakeBus(), Paper()
    house = await reigning(bus, paper)
    await house.log.append(HERE, [received("first")])

    async def talk() -> None:
        for number in range(1_000):
            await house.log.append(HERE, [received(f"{number}")])

    talking = asyncio.create_task(talk())
    await house.seals.seal()
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)

    assert paper.heads is not None and paper.heads[HERE.partition].number == 1
    assert house.seals.unsealed()
    await house.seals.seal()
    assert (await inspected(bus, paper)).faults() == ()


async def test_what_is_stored_while_seals_are_noted_is_sealed_at_the_end() -> None:
    bus, paper = FakeBus(), Paper()
    house = await reigning(bus, paper)
    house.seals.open()
    paper.may_note.clear()
    for number in range(MOST_UNSEALED):
        await house.log.append(HERE, [received(f"{number}")])
    await pass_time(2)
    assert paper.heads is None, "it is just being noted"
    await house.log.append(HERE, [answered("0")])
    closing = asyncio.create_task(house.seals.close())
    await idle()

    paper.may_note.set()
    await closing

    assert (await inspected(bus, paper)).unsealed == 0


async def test_what_is_left_at_the_end_is_sealed() -> None:
    bus, paper = FakeBus(), Paper()
    house = await reigning(bus, paper)
    house.seals.open()
    await house.log.append(HERE, [received("a")])

    await house.seals.close()

    assert (await inspected(bus, paper)).unsealed == 0


async def test_a_disk_on_which_nothing_can_be_noted_ends_nothing() -> None:
    bus, paper = FakeBus(), Paper()
    paper.is_wet = True
    house = await reigning(bus, paper)
    await house.log.append(HERE, [received("a")])

    await house.seals.seal()

    assert (await inspected(bus, paper)).faults() == ()
    assert house.seals.unsealed() == ()
