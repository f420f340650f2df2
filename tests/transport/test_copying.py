"""A log that is written again: every message where it was, and nothing where nothing was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from factory_nats.connect import Identity, connect
from factory_nats.copying import refill
from factory_nats.result import Err, Ok
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Entry, Stored, StreamConfig, Transport

CONFIG = StreamConfig("LOG", ("log.>",))


@pytest.fixture
async def transport(tmp_path: Path) -> AsyncIterator[Transport]:
    server = EmbeddedServer(tmp_path)
    assert await server.start() == Ok(None)
    joined = await connect(server.url, Identity("copier"))
    assert isinstance(joined, Ok)
    yield joined.value
    await joined.value.close()
    await server.stop()


async def test_messages_come_back_at_their_sequences_and_the_next_follows_the_last(transport: Transport) -> None:
    messages = [Stored(f"log.{at % 7}", at, b"x" * at, {}) for at in (3, 4, 1_200, 1_201, 1_900)]

    assert await refill(transport, CONFIG, messages, last=2_000, gap="log.gap") == Ok(None)

    found = await transport.read("LOG", "log.>")
    assert isinstance(found, Ok)
    assert [(one.subject, one.sequence, one.data) for one in found.value] == [
        (one.subject, one.sequence, one.data) for one in messages
    ]
    assert await transport.append([Entry("log.next", b"")]) == Ok(2_001)


async def test_nothing_is_written_into_a_log_that_holds_something(transport: Transport) -> None:
    assert await transport.ensure_stream(CONFIG) == Ok(None)
    await transport.append([Entry("log.before", b"")])

    refused = await refill(transport, CONFIG, [Stored("log.a", 1, b"", {})], last=1, gap="log.gap")

    assert isinstance(refused, Err) and refused.reason == "exists"
