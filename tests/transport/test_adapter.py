"""A presence on the bus: heartbeats, a place to be asked at, and an end in good order."""

from __future__ import annotations

import asyncio

import pytest

from factory_nats.adapter import NatsAdapterBase
from factory_nats.result import Err, Ok
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery


class Shout(NatsAdapterBase):
    """Answers in capitals; what it is told to wait for, it waits for."""

    def __init__(self, bus: FakeBus, *, grace: float = 5.0, askers: tuple[str, ...] = ()) -> None:
        super().__init__(
            bus.join("shout"),
            requests="shout.request",
            heartbeats="shout.heartbeat",
            interval=0.01,
            grace=grace,
            askers=askers,
        )
        self.go_on = asyncio.Event()
        self.waits = asyncio.Event()

    def take(self, delivery: Delivery) -> None:
        if self.may_answer(delivery):
            self.undertake(self._answer(delivery))

    def heartbeat(self) -> bytes:
        return b"draining" if self.is_draining else b"alive"

    async def _answer(self, delivery: Delivery) -> None:
        if delivery.data == b"wait":
            self.waits.set()
            await self.go_on.wait()
        await self.send(delivery.reply, delivery.data.upper())


class Listener:
    """Somebody who hears the heartbeats."""

    def __init__(self) -> None:
        self.beats: list[bytes] = []
        self.enough = asyncio.Event()

    async def listen(self, bus: FakeBus) -> None:
        await bus.join("listener").subscribe("shout.heartbeat", self._hear)

    def _hear(self, delivery: Delivery) -> None:
        self.beats.append(delivery.data)
        if len(self.beats) == 3:
            self.enough.set()


async def test_a_request_is_answered() -> None:
    bus = FakeBus()
    asker = bus.join("asker")

    async with Shout(bus):
        assert await asker.request("shout.request", b"hello", timeout=5, responder="shout") == Ok(b"HELLO")


async def test_heartbeats_come_at_once_and_go_on() -> None:
    bus, listener = FakeBus(), Listener()
    await listener.listen(bus)

    async with Shout(bus), asyncio.timeout(5):
        await listener.enough.wait()

    assert listener.beats[:3] == [b"alive"] * 3


async def test_what_was_begun_is_finished_at_the_end() -> None:
    bus = FakeBus()
    asker = bus.join("asker")

    async with Shout(bus) as presence:
        asked = asyncio.create_task(asker.request("shout.request", b"wait", timeout=5, responder="shout"))
        await presence.waits.wait()
        asyncio.get_running_loop().call_soon(presence.go_on.set)

    assert await asked == Ok(b"WAIT")
    assert not presence.transport.is_connected


async def test_who_ends_is_heard_of_until_all_is_finished() -> None:
    bus, listener = FakeBus(), Listener()
    asker = bus.join("asker")

    async def let_go(presence: Shout) -> None:
        await listener.enough.wait()
        presence.go_on.set()

    async with asyncio.timeout(5), Shout(bus) as presence:
        asked = asyncio.create_task(asker.request("shout.request", b"wait", timeout=5, responder="shout"))
        await presence.waits.wait()
        await listener.listen(bus)
        letting = asyncio.create_task(let_go(presence))

    assert await asked == Ok(b"WAIT")
    await letting
    assert set(listener.beats) == {b"draining"}


async def test_the_end_waits_no_longer_than_its_grace() -> None:
    bus = FakeBus()
    asker = bus.join("asker")

    async with Shout(bus, grace=0.01) as presence:
        asked = asyncio.create_task(asker.request("shout.request", b"wait", timeout=0.2, responder="shout"))
        await presence.waits.wait()

    answer = await asked
    assert isinstance(answer, Err) and answer.reason == "timeout"


@pytest.mark.parametrize(
    "reply", ["", "$JS.API.STREAM.DELETE.LOG", "elsewhere", "_INBOX_stranger.shout.x", "_INBOX_asker.other.x"]
)
async def test_an_answer_goes_to_the_inbox_of_an_asker_or_nowhere(reply: str) -> None:
    bus = FakeBus()
    stranger, witness = bus.join("stranger"), bus.join("witness")
    seen: list[str] = []
    await witness.subscribe(">", lambda delivery: seen.append(delivery.subject))

    async with Shout(bus, askers=("asker",)):
        await stranger.publish("shout.request", b"hello", reply=reply)
        assert await bus.join("asker").request("shout.request", b"hello", timeout=5, responder="shout") == Ok(b"HELLO")

    assert reply not in seen
