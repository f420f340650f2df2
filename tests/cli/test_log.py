"""A log as a command reads it: to its end, or not at all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from factory_cli import log
from factory_cli.console import Failed
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Entry, StreamConfig, Transport


@pytest.fixture
async def transport(tmp_path: Path) -> AsyncIterator[Transport]:
    async with EmbeddedServer(tmp_path) as server:
        joined = await connect(server.url, Identity("reader"))
        assert isinstance(joined, Ok)
        yield joined.value
        await joined.value.close()


async def test_a_log_that_nobody_has_made_holds_nothing(transport: Transport) -> None:
    assert [one async for one in log.messages(transport, "LOG", "log.>")] == []


async def test_a_log_is_read_over_many_pages(transport: Transport) -> None:
    assert await transport.ensure_stream(StreamConfig("LOG", ("log.>",))) == Ok(None)
    for _ in range(5):
        await transport.append([Entry("log.a", b"")] * 500)

    found = [one.sequence async for one in log.messages(transport, "LOG", "log.>")]

    assert found == list(range(1, 2_501))


async def test_a_log_that_nobody_answers_for_any_more_has_not_come_to_its_end(transport: Transport) -> None:
    assert await transport.ensure_stream(StreamConfig("LOG", ("log.>",))) == Ok(None)
    await transport.append([Entry("log.a", b"")] * 3)
    reading = log.messages(transport, "LOG", "log.>")
    await anext(reading)

    await transport.request("$JS.API.STREAM.DELETE.LOG", b"", timeout=5.0)

    with pytest.raises(Failed, match="LOG cannot be read"):
        await anext(reading)
