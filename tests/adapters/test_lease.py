"""When a spoke may speak for its bot, and when it stands by."""

from __future__ import annotations

import asyncio

import pytest

from adapters.lease import GOOD_FOR, Lease
from factory_contracts import subjects
from factory_contracts.messages import FROM_SPOKE, TO_SPOKE, Claim, Leased, Noted, Refused, StandBy, ToSpoke
from factory_nats.result import Ok
from factory_nats.testing import FakeBus, FakeTransport
from factory_nats.transport import Delivery
from tests.fakes import idle, pass_time, until

pytestmark = pytest.mark.asyncio(loop_scope="function")


class Hub:
    """Says what a test has it say; None is silence."""

    def __init__(self, bus: FakeBus) -> None:
        self._bus = bus
        self._joined = bus.join(subjects.HUB)
        self.answer: ToSpoke | None = Leased(generation=7)
        self.asked: list[Claim] = []

    async def open(self) -> None:
        assert isinstance(await self._joined.subscribe(subjects.plane("inbound")[0], self._take), Ok)

    def _take(self, delivery: Delivery) -> None:
        asked = FROM_SPOKE.decode(delivery.data)
        assert isinstance(asked, Claim)
        self.asked.append(asked)
        answer = Noted(epoch=1) if asked.leaves else self.answer
        if answer is not None:
            self._bus.carry(self._joined, delivery.reply, TO_SPOKE.encode(answer), "")


async def opened() -> tuple[FakeBus, Hub, FakeTransport, Lease]:
    bus = FakeBus()
    hub = Hub(bus)
    await hub.open()
    transport = bus.join("paper-desk")
    return bus, hub, transport, Lease(transport, "paper", "desk", clock=lambda: 12.0)


class Work:
    """What is done while the lease is held."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.is_over = False

    async def __call__(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_over = True


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_spoke_stands_by_until_the_hub_says_that_it_speaks() -> None:
    _, hub, _, lease = await opened()
    hub.answer = StandBy(generation=3)
    winning = asyncio.create_task(lease.win())
    await pass_time(10)
    assert not winning.done()
    assert not lease.is_good

    hub.answer = Leased(generation=7)
    await winning

    assert lease.is_good
    assert (lease.generation, lease.stood_by) == (7, (3, 12.0))


async def test_a_lease_is_good_for_as_long_as_the_hub_renews_it() -> None:
    _, hub, _, lease = await opened()
    await lease.win()
    working = asyncio.create_task(lease.during(Work()))
    await pass_time(100)
    assert lease.is_good

    hub.answer = None
    await pass_time(GOOD_FOR + 0.1)
    assert not lease.is_good

    hub.answer = Leased(generation=7)
    await lease.held()
    assert lease.is_good
    await ended(working)


async def test_who_stood_still_does_nothing_before_the_hub_has_said_that_it_still_speaks() -> None:
    _, hub, _, lease = await opened()
    await lease.win()
    work = Work()
    working = asyncio.create_task(lease.during(work))
    await work.began.wait()
    loop = asyncio.get_running_loop()
    assert hasattr(loop, "stand_still")
    hub.answer = StandBy(generation=8)

    loop.stand_still(10.0)
    assert not lease.is_good
    holding = asyncio.create_task(lease.held())
    await working

    assert work.is_over
    assert not holding.done()
    await ended(holding)


async def test_what_was_granted_on_an_earlier_connection_is_asked_for_again() -> None:
    bus, _, _, lease = await opened()
    await lease.win()
    working = asyncio.create_task(lease.during(Work()))
    await pass_time(5.1)

    bus.stop()
    assert not lease.is_good
    bus.start()
    assert not lease.is_good

    await lease.held()
    await ended(working)


async def test_who_is_told_by_another_answer_that_it_is_superseded_ends_its_work_at_once() -> None:
    _, _, _, lease = await opened()
    await lease.win()
    work = Work()
    working = asyncio.create_task(lease.during(work))
    await work.began.wait()
    since = asyncio.get_running_loop().time()

    lease.lose()
    assert not lease.is_good
    await working

    assert work.is_over
    assert asyncio.get_running_loop().time() - since < 0.1


async def test_who_ends_says_so_after_its_work_is_over() -> None:
    _, hub, _, lease = await opened()
    await lease.win()
    work = Work()
    working = asyncio.create_task(lease.during(work))
    await work.began.wait()

    await ended(working)

    assert work.is_over
    assert hub.asked[-1].leaves
    assert not lease.is_good


async def test_a_hub_that_cannot_be_reached_holds_up_no_end() -> None:
    bus, _, _, lease = await opened()
    await lease.win()
    working = asyncio.create_task(lease.during(Work()))
    await idle()
    bus.stop()

    since = asyncio.get_running_loop().time()
    await ended(working)

    assert asyncio.get_running_loop().time() - since < 0.5


async def test_under_a_hub_of_a_version_before_leases_a_spoke_speaks_without_one() -> None:
    _, hub, _, lease = await opened()
    hub.answer = Refused(reason="malformed")

    await lease.win()

    assert lease.is_good
    assert lease.generation is None

    hub.answer = Leased(generation=7)
    working = asyncio.create_task(lease.during(Work()))
    await until(lambda: lease.generation == 7)
    await ended(working)


async def test_a_fault_of_the_hub_makes_nobody_speak() -> None:
    _, hub, _, lease = await opened()
    hub.answer = Refused(reason="unavailable")
    winning = asyncio.create_task(lease.win())
    await pass_time(5)

    assert not winning.done()
    await ended(winning)
