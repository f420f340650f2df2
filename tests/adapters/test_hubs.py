"""Which hubs there are, and how they learn of each other."""

from __future__ import annotations

import asyncio
import json

import pytest

from adapters.nats.hubs import NatsHubs
from adapters.nats.readiness import SILENCE
from factory_contracts import subjects
from factory_contracts.lifecycle import HubHeartbeat
from factory_nats.testing import FakeBus
from tests.fakes import pass_time

pytestmark = pytest.mark.asyncio(loop_scope="function")

KEY = "the hubs' key"


class Member:
    """A hub that shares, and what it says of itself."""

    def __init__(self, bus: FakeBus, name: str) -> None:
        self.parts: tuple[int, ...] = ()
        self.acts = 0
        self.heard: list[int] = []
        self.hubs = NatsHubs(bus.join("hub"), name, lambda: self.say(name), user=KEY, hear=self.heard.append)

    def say(self, name: str) -> HubHeartbeat:
        return HubHeartbeat(hub=name, epoch=1, parts=self.parts, sequence=7, acts=self.acts)


async def members(bus: FakeBus, *names: str) -> list[Member]:
    found = [Member(bus, name) for name in names]
    for member in found:
        await member.hubs.join()
    return found


async def end(*members: Member) -> None:
    for member in members:
        await member.hubs.close()


async def test_everybody_knows_of_everybody_as_soon_as_the_last_has_joined() -> None:
    found = await members(FakeBus(), "a", "b", "c")

    assert [sorted(member.hubs.living) for member in found] == [["a", "b", "c"]] * 3
    await end(*found)


async def test_who_joins_while_the_bus_is_away_has_joined_when_it_is_back() -> None:
    bus = FakeBus()
    (here,) = await members(bus, "here")
    late = Member(bus, "late")
    bus.stop()
    joining = asyncio.create_task(late.hubs.join())
    await pass_time(30)

    bus.start()
    await joining
    await pass_time(1)

    assert sorted(here.hubs.living) == sorted(late.hubs.living) == ["here", "late"]
    await end(here, late)


async def test_who_leaves_and_whose_connection_ends_is_gone_at_once() -> None:
    bus = FakeBus()
    server = bus.join("server")
    here, leaving, killed = found = await members(bus, "here", "leaving", "killed")

    await leaving.hubs.leave()
    await killed.hubs.close()
    for user, name in (("a worker's key", "here"), (KEY, "killed"), (KEY, "unheard of")):
        told = {"client": {"user": user, "name": name}}
        await server.publish(subjects.departures(), json.dumps(told).encode())
    await here.hubs.change(0.1)
    await pass_time(0)

    assert here.hubs.living == ("here",)
    await end(*found)


async def test_who_falls_silent_is_gone_where_the_server_tells_nothing() -> None:
    here, silent = found = await members(FakeBus(), "here", "silent")
    await pass_time(5)
    assert set(here.hubs.living) == {"here", "silent"}

    await silent.hubs.close()
    await pass_time(SILENCE + 0.6)

    assert here.hubs.living == ("here",)
    await end(*found)


async def test_nobody_is_gone_because_one_was_cut_off_or_stood_still_oneself() -> None:
    bus = FakeBus()
    found = await members(bus, "here", "there")
    await pass_time(5)
    loop = asyncio.get_running_loop()
    assert hasattr(loop, "stand_still")

    bus.stop()
    await pass_time(10)
    bus.start()
    loop.stand_still(10.0)
    await pass_time(0.6)

    assert [len(member.hubs.living) for member in found] == [2, 2]
    await end(*found)


async def test_what_another_claims_and_knows_is_heard() -> None:
    here, there = found = await members(FakeBus(), "here", "there")
    there.parts, there.acts = (3, 5), 9

    await there.hubs.tell()
    await pass_time(0)

    assert here.hubs.claimed == frozenset((3, 5))
    assert (here.hubs.owner(5), here.hubs.owner(6)) == ("there", None)
    assert here.hubs.acts == 9
    assert here.heard[-1] == 7
    await end(*found)


async def test_what_was_done_is_agreed_on_when_all_others_know_of_it_or_are_gone() -> None:
    here, there = found = await members(FakeBus(), "here", "there")
    here.acts = 9
    agreeing = asyncio.create_task(here.hubs.agree())
    await pass_time(0.2)
    assert not agreeing.done()

    there.acts = 9
    await pass_time(0.6)
    assert agreeing.done()
    here.acts = 10
    await there.hubs.close()
    await asyncio.wait_for(here.hubs.agree(), SILENCE + 1)

    await end(*found)
