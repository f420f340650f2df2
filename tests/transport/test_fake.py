"""The switches of the bus in memory; that it behaves like a real one is the conformance suite's word."""

from __future__ import annotations

import asyncio

from factory_nats.result import Err, Ok
from factory_nats.testing import FakeBus
from factory_nats.transport import Entry, StreamConfig


async def test_a_lost_answer_leaves_what_was_appended() -> None:
    bus = FakeBus()
    transport = bus.join("one")
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    bus.lose_answers()

    lost = await transport.append([Entry("log.a", b"1")])
    stored = await transport.last("LOG", "log.a")

    assert isinstance(lost, Err) and lost.reason == "timeout"
    assert isinstance(stored, Ok) and stored.value is not None and stored.value.sequence == 1
    assert await transport.append([Entry("log.a", b"2")]) == Ok(2)


async def test_a_full_disk_refuses_until_there_is_room() -> None:
    bus = FakeBus()
    transport = bus.join("one")
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))

    bus.is_full = True
    refused = await transport.append([Entry("log.a", b"1")])
    bus.is_full = False

    assert isinstance(refused, Err) and refused.reason == "no space"
    assert await transport.append([Entry("log.a", b"1")]) == Ok(1)


async def test_one_connection_may_be_lost_while_the_others_stay() -> None:
    bus = FakeBus()
    lost = asyncio.Event()
    one, other = bus.join("one", on_disconnect=lost.set), bus.join("other")

    one.drop()
    await lost.wait()

    assert not one.is_connected
    assert other.is_connected
    one.restore()
    assert one.is_connected


async def test_whoever_is_sent_away_for_good_hears_why() -> None:
    bus = FakeBus()
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    one = bus.join("one", on_closed=told.set_result)

    one.end("no longer welcome")
    one.restore()

    assert await told == "no longer welcome"
    assert not one.is_connected
