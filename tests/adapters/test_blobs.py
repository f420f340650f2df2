"""The store of a bot's files, as the hub makes it and a worker reads it and writes in it."""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha256

import pytest

from adapters.nats.blobs import PATIENCE, NatsBlobs
from factory_contracts import subjects
from factory_contracts.messages import Attachment
from factory_nats import blobs
from factory_nats.result import Ok
from factory_nats.testing import FakeBus
from factory_nats.transport import StreamConfig
from hub.kernel.ports import Media
from tests.fakes import pass_time

pytestmark = pytest.mark.asyncio(loop_scope="function")

STORE = subjects.blobs("paper", "desk")
CHAT = "chat: with colons"
SCOPE = f"paper:desk:{CHAT}"


def attachment(blob: str) -> Attachment:
    return Attachment(kind="document", name="a secret name", mime="text/plain", size=4, blob=blob)


async def put(bus: FakeBus, data: bytes) -> Attachment:
    kept = await blobs.put(bus.join("hub"), STORE, data)
    assert isinstance(kept, Ok)
    return attachment(kept.value)


async def test_what_came_to_a_bot_is_read_from_its_own_store() -> None:
    bus = FakeBus()
    for bot in ("desk", "loft"):
        await NatsBlobs(bus.join("hub")).create("paper", bot)
    kept = await put(bus, b"data")

    worker = NatsBlobs(bus.join("w1"))

    assert await worker.get(SCOPE, kept) == b"data"
    assert await worker.get("paper:loft:chat", kept) is None


async def test_a_store_is_made_as_soon_as_the_bus_is_there(caplog: pytest.LogCaptureFixture) -> None:
    bus = FakeBus()
    bus.stop()
    making = asyncio.create_task(NatsBlobs(bus.join("hub")).create("paper", "desk"))
    await pass_time(60)
    assert not making.done()

    bus.start()
    await making

    assert await put(bus, b"data")
    assert len(caplog.records) == 1


async def test_a_store_that_the_server_refuses_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    bus = FakeBus()
    hub = bus.join("hub")
    await hub.ensure_stream(StreamConfig("SOMEBODYS", ("$O.>",)))
    making = asyncio.create_task(NatsBlobs(hub).create("paper", "desk"))

    await pass_time(600)

    assert not making.done()
    assert len(caplog.records) == 1
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)


async def test_a_bot_of_the_longest_names_has_a_store() -> None:
    bus = FakeBus()

    await asyncio.wait_for(NatsBlobs(bus.join("hub")).create("p" * 32, "b" * 32), 1)


async def test_a_lost_bus_is_waited_for_while_a_person_would_wait() -> None:
    bus = FakeBus()
    await NatsBlobs(bus.join("hub")).create("paper", "desk")
    kept = await put(bus, b"data")
    bus.stop()
    reading = asyncio.create_task(NatsBlobs(bus.join("w1")).get(SCOPE, kept))
    await pass_time(PATIENCE / 2)
    assert not reading.done()

    bus.start()

    assert await reading == b"data"


async def test_a_bus_that_stays_away_costs_the_file_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    bus = FakeBus()
    bus.stop()

    with caplog.at_level(logging.ERROR):
        found = await NatsBlobs(bus.join("w1")).get(SCOPE, attachment("0" * 64))

    assert found is None
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("blob", ["0" * 64, "a.b", "*", "../../etc", "x" * 255])
async def test_a_file_that_is_not_there_is_none_and_logged_without_its_name(
    blob: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus = FakeBus()
    await NatsBlobs(bus.join("hub")).create("paper", "desk")

    with caplog.at_level(logging.ERROR):
        found = await NatsBlobs(bus.join("w1")).get(SCOPE, attachment(blob))

    assert found is None
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


async def test_a_worker_that_was_not_given_the_store_reads_nothing() -> None:
    bus = FakeBus()
    await NatsBlobs(bus.join("hub")).create("paper", "desk")
    kept = await put(bus, b"data")
    may = subjects.store_permissions(subjects.blobs("paper", "loft"))

    worker = bus.join("w1", publish=may.publish, subscribe=may.subscribe)

    assert await NatsBlobs(worker).get(SCOPE, kept) is None


async def test_what_an_agent_sends_is_kept_in_the_store_of_its_own_bot() -> None:
    bus = FakeBus()
    for bot in ("desk", "loft"):
        await NatsBlobs(bus.join("hub")).create("paper", bot)
    may = subjects.store_permissions(STORE)
    worker = NatsBlobs(bus.join("w1", publish=may.publish, subscribe=may.subscribe))

    kept = await worker.keep(SCOPE, Media("image", "a\ud83d.png", "image/png", b"data"))

    assert kept == attachment(f"{subjects.folder(CHAT)}-{sha256(b'data').hexdigest()}").model_copy(
        update={"kind": "image", "name": "a?.png", "mime": "image/png"}
    )
    assert await NatsBlobs(bus.join("paper-desk")).get(SCOPE, kept) == b"data"
    assert await worker.keep("paper:loft:chat", Media("image", "a.png", "image/png", b"data")) is None


async def test_a_file_to_be_kept_waits_for_a_lost_bus_as_long_as_a_person_would(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = FakeBus()
    await NatsBlobs(bus.join("hub")).create("paper", "desk")
    worker, file = NatsBlobs(bus.join("w1")), Media("document", "a secret name", "text/plain", b"data")
    bus.stop()
    keeping = asyncio.create_task(worker.keep(SCOPE, file))
    await pass_time(PATIENCE / 2)
    assert not keeping.done()
    bus.start()
    kept = await keeping

    bus.stop()
    keeping = asyncio.create_task(worker.keep(SCOPE, file))
    await pass_time(PATIENCE + 1)

    assert kept == attachment(f"{subjects.folder(CHAT)}-{sha256(b'data').hexdigest()}")
    assert await keeping is None
    assert "cannot be kept" in caplog.text
    assert "secret" not in caplog.text
