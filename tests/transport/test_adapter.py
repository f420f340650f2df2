"""A satellite: heartbeats, answers, and a clean end."""

from __future__ import annotations

import asyncio

import pytest

from factory_nats.adapter import NatsAdapterBase, Trouble
from factory_nats.result import Err, Ok
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery


class Shout(NatsAdapterBase):
    """Answers in capitals; what it is told to wait for, it waits for."""

    def __init__(self, bus: FakeBus, *, at_once: int = 64, grace: float = 5.0, askers: tuple[str, ...] = ()) -> None:
        super().__init__(
            bus.join("shout"),
            requests="shout.request",
            heartbeats="shout.heartbeat",
            interval=0.01,
            at_once=at_once,
            grace=grace,
            askers=askers,
        )
        self.go_on = asyncio.Event()
        self.waits = asyncio.Event()

    async def answer(self, data: bytes) -> bytes:
        if data == b"wait":
            self.waits.set()
            await self.go_on.wait()
        if data == b"fail":
            raise RuntimeError("a stranger's fault")
        return data.upper()

    def heartbeat(self) -> bytes:
        return b"alive"

    def apologise(self, trouble: Trouble) -> bytes | None:
        return trouble.encode()


async def test_a_request_is_answered() -> None:
    bus = FakeBus()
    asker = bus.join("asker")

    async with Shout(bus):
        assert await asker.request("shout.request", b"hello", timeout=5, responder="shout") == Ok(b"HELLO")


async def test_heartbeats_come_at_once_and_go_on() -> None:
    bus = FakeBus()
    beats: list[bytes] = []
    third = asyncio.Event()

    def count(delivery: Delivery) -> None:
        beats.append(delivery.data)
        if len(beats) == 3:
            third.set()

    await bus.join("listener").subscribe("shout.heartbeat", count)

    async with Shout(bus), asyncio.timeout(5):
        await third.wait()

    assert beats[:3] == [b"alive"] * 3


async def test_one_failing_request_is_logged_and_the_next_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    bus = FakeBus()
    asker = bus.join("asker")

    async with Shout(bus):
        assert await asker.request("shout.request", b"fail", timeout=5, responder="shout") == Ok(b"failed")
        assert await asker.request("shout.request", b"hello", timeout=5, responder="shout") == Ok(b"HELLO")

    assert "a stranger's fault" in caplog.text


async def test_more_than_it_can_do_at_once_is_told_so() -> None:
    bus = FakeBus()
    asker = bus.join("asker")

    async with Shout(bus, at_once=1) as satellite:
        first = asyncio.create_task(asker.request("shout.request", b"wait", timeout=5, responder="shout"))
        await satellite.waits.wait()
        second = await asker.request("shout.request", b"hello", timeout=5, responder="shout")
        satellite.go_on.set()

        assert second == Ok(b"busy")
        assert await first == Ok(b"WAIT")


async def test_what_was_begun_is_finished_at_the_end() -> None:
    bus = FakeBus()
    asker = bus.join("asker")

    async with Shout(bus) as satellite:
        asked = asyncio.create_task(asker.request("shout.request", b"wait", timeout=5, responder="shout"))
        await satellite.waits.wait()
        asyncio.get_running_loop().call_soon(satellite.go_on.set)

    assert await asked == Ok(b"WAIT")
    assert not satellite.transport.is_connected


async def test_the_end_waits_no_longer_than_its_grace() -> None:
    bus = FakeBus()
    asker = bus.join("asker")

    async with Shout(bus, grace=0.01) as satellite:
        asked = asyncio.create_task(asker.request("shout.request", b"wait", timeout=0.2, responder="shout"))
        await satellite.waits.wait()

    answer = await asked
    assert isinstance(answer, Err) and answer.reason == "timeout"
    assert satellite.running == 0


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
