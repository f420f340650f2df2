"""Who reigns, and who stands by."""

from __future__ import annotations

import asyncio
import json

import pytest

from adapters.nats.readiness import READY_KEY, READY_TTL, NatsReadiness
from factory_contracts import subjects
from factory_contracts.lifecycle import READY
from factory_nats.result import Err, Ok, Result
from factory_nats.testing import FakeBus, FakeTransport
from tests.fakes import idle, pass_time

pytestmark = pytest.mark.asyncio(loop_scope="function")


class Stalled(FakeTransport):
    """One for which nothing is stored in time."""

    async def put(self, bucket: str, key: str, value: bytes) -> Result[int]:
        await asyncio.sleep(5.0)
        return Err("timeout", "it was not stored in 5 s")


async def standing_by(bus: FakeBus) -> asyncio.Task[None]:
    readiness = NatsReadiness(bus.join("standby"), "standby", lambda: None)
    await readiness.listen()
    return asyncio.create_task(readiness.wait_for_end(""))


async def test_a_standby_waits_while_the_owner_lives_and_takes_over_within_three_seconds() -> None:
    bus = FakeBus()
    owner = NatsReadiness(bus.join("owner"), "owner", lambda: None)
    owner.reign(1)
    owner.announce()
    waiting = await standing_by(bus)
    await pass_time(30)
    assert not waiting.done()

    await owner.close()
    died = asyncio.get_running_loop().time()
    await waiting

    assert 1.5 <= asyncio.get_running_loop().time() - died < 3


async def test_a_standby_waits_for_who_took_over_and_does_not_serve_yet() -> None:
    bus = FakeBus()
    owner = NatsReadiness(bus.join("owner"), "owner", lambda: None)
    owner.reign(1)
    waiting = await standing_by(bus)
    await pass_time(30)

    assert not waiting.done()
    assert not isinstance(await bus.join("reader").get(subjects.READY_BUCKET, READY_KEY), Ok)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await owner.close()


async def test_a_hub_whose_readiness_cannot_be_stored_is_heard_all_the_same() -> None:
    bus = FakeBus()
    stalled = Stalled(bus, "owner", "stalled", None, None, None, None, None)
    owner = NatsReadiness(stalled, "owner", lambda: None)
    owner.reign(1)
    owner.announce()
    waiting = await standing_by(bus)

    await pass_time(30)

    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await owner.close()


async def test_a_standby_does_not_take_its_own_lost_connection_for_silence() -> None:
    bus = FakeBus()
    owner = NatsReadiness(bus.join("owner"), "owner", lambda: None)
    owner.reign(1)
    owner.announce()
    waiting = await standing_by(bus)
    await pass_time(5)
    bus.stop()
    await pass_time(30)

    bus.start()
    await pass_time(5)

    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await owner.close()


async def test_a_standby_that_stood_still_does_not_take_that_for_silence() -> None:
    bus = FakeBus()
    owner = NatsReadiness(bus.join("owner"), "owner", lambda: None)
    owner.reign(1)
    owner.announce()
    waiting = await standing_by(bus)
    await pass_time(5)
    loop = asyncio.get_running_loop()
    assert hasattr(loop, "stand_still")

    loop.stand_still(10.0)
    await pass_time(5)

    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await owner.close()


async def test_whoever_hears_a_greater_epoch_leaves_and_whoever_hears_a_smaller_one_stays() -> None:
    bus = FakeBus()
    left: list[str] = []
    first = NatsReadiness(bus.join("first"), "first", lambda: left.append("first"))
    second = NatsReadiness(bus.join("second"), "second", lambda: left.append("second"))
    for readiness, epoch in ((first, 1), (second, 65)):
        await readiness.listen()
        readiness.reign(epoch)
        readiness.announce()
    await pass_time(1)

    assert set(left) == {"first"}
    await first.close()
    await second.close()


async def test_the_readiness_value_names_the_owner_and_vanishes_with_it() -> None:
    bus = FakeBus()
    reader = bus.join("reader")
    owner = NatsReadiness(bus.join("owner"), "owner", lambda: None)
    owner.reign(7)
    owner.announce()
    await pass_time(1)
    value = await reader.get(subjects.READY_BUCKET, READY_KEY)
    assert isinstance(value, Ok)
    assert value.value is not None
    assert (READY.decode(value.value).hub, READY.decode(value.value).epoch) == ("owner", 7)

    await owner.close()
    await pass_time(READY_TTL + 1)
    await idle()

    assert await reader.get(subjects.READY_BUCKET, READY_KEY) == Ok(None)


def departure(user: str, name: str) -> bytes:
    return json.dumps(
        {"type": "io.nats.server.advisory.v1.client_disconnect", "client": {"user": user, "name": name}}
    ).encode()


async def test_a_standby_takes_over_at_once_when_the_server_tells_that_the_owner_is_gone() -> None:
    bus = FakeBus()
    server = bus.join("server")
    owner = NatsReadiness(bus.join("hub"), "owner", lambda: None)
    owner.reign(1)
    owner.announce()
    readiness = NatsReadiness(bus.join("hub"), "standby", lambda: None, user="the hubs' key")
    await readiness.listen()
    waiting = asyncio.create_task(readiness.wait_for_end("owner"))
    await pass_time(5)

    for other in (("a worker's key", "owner"), ("the hubs' key", "another standby")):
        await server.publish(subjects.departures(), departure(*other))
    await server.publish(subjects.departures(), b'{"server": {}, "data": {"user": "x"}}')
    await pass_time(5)
    assert not waiting.done()
    await server.publish(subjects.departures(), departure("the hubs' key", "owner"))
    await pass_time(0)

    assert waiting.done()
    await owner.close()


async def test_a_standby_that_began_while_the_bus_was_away_takes_over_at_once_too() -> None:
    bus = FakeBus()
    server = bus.join("server")
    owner = NatsReadiness(bus.join("hub"), "owner", lambda: None)
    readiness = NatsReadiness(bus.join("hub"), "standby", lambda: None, user="the hubs' key")
    beginning = asyncio.create_task(readiness.listen())
    await asyncio.sleep(0)
    bus.stop()
    await pass_time(5)

    bus.start()
    await beginning
    owner.reign(1)
    owner.announce()
    waiting = asyncio.create_task(readiness.wait_for_end("owner"))
    await pass_time(1)
    await server.publish(subjects.departures(), departure("the hubs' key", "owner"))
    await pass_time(0)

    assert waiting.done()
    await owner.close()
