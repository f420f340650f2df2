"""Batches are prepared in memory, wherever the server looks for the place and whatever it finds there."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.staging import PLACE, Staging
from factory_nats.transport import Entry, StreamConfig, Transport

STREAM = "LOG"


@asynccontextmanager
async def joined(server: EmbeddedServer) -> AsyncIterator[Transport]:
    connected = await connect(server.url, Identity("writer"))
    assert isinstance(connected, Ok)
    made = await connected.value.ensure_stream(StreamConfig(STREAM, ("log.>",)))
    assert isinstance(made, Ok)
    try:
        yield connected.value
    finally:
        await connected.value.close()


async def append_two(server: EmbeddedServer) -> None:
    async with joined(server) as bus:
        stored = await bus.append([Entry("log.a", b"1"), Entry("log.b", b"2")])
        assert isinstance(stored, Ok)


async def test_batches_are_prepared_in_memory_in_each_life_of_the_server(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, streams=[STREAM])
    place = tmp_path / "js" / "jetstream" / "$G" / "streams" / STREAM / PLACE
    for _ in range(3):
        async with server:
            await append_two(server)
            assert place.is_symlink()
            memory = place.readlink()
            # Nobody else reads what is prepared there, and nothing of it stays.
            assert memory.stat().st_mode & 0o077 == 0
            assert list(memory.iterdir()) == []
        assert not memory.exists()
        assert not place.is_symlink()


async def test_a_stream_that_nobody_named_is_stored_as_ever(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        await append_two(server)

        assert list(tmp_path.rglob(PLACE)) == [tmp_path / "js" / "jetstream" / "$G" / "streams" / STREAM / PLACE]
        assert not next(tmp_path.rglob(PLACE)).is_symlink()


def test_what_somebody_killed_has_left_in_memory_is_there_until_the_next_server_has_read_it(tmp_path: Path) -> None:
    memory, place = tmp_path / "memory", tmp_path / "stream" / PLACE
    memory.mkdir()
    Staging([tmp_path / "stream"], memory).open()
    (place / "half a batch").mkdir()

    staging = Staging([tmp_path / "stream"], memory)
    staging.open()
    assert [one.name for one in place.iterdir()] == ["half a batch"]
    # The server takes away what leads there, and not what lies there.
    place.unlink()
    staging.lay()
    (place / "a new one").mkdir()
    staging.clear()

    assert [one.name for one in place.iterdir()] == ["a new one"]
    assert len(list(memory.iterdir())) == 1


@pytest.mark.parametrize("is_left", [False, True], ids=["started again", "left and started later"])
async def test_of_a_batch_all_is_stored_or_nothing_whenever_the_server_is_killed(tmp_path: Path, is_left: bool) -> None:
    entries = 400
    server = EmbeddedServer(tmp_path, streams=[STREAM])
    async with server:
        for number in range(12):
            async with joined(server) as bus:
                payload = str(number).encode()
                batch = asyncio.create_task(bus.append([Entry(f"log.{n}", payload) for n in range(entries)]))
                # Somewhere from when it is prepared until it is answered.
                await asyncio.wait([batch], timeout=0.002 * number)
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)
                await server.wait()
                if is_left:
                    await server.stop()
                assert isinstance(await server.start(), Ok)
                await batch
        counts = Counter[bytes]()
        async with joined(server) as bus:
            start = 1
            while isinstance(page := await bus.read(STREAM, "log.>", start=start), Ok) and page.value:
                counts.update(stored.data for stored in page.value)
                start = page.value[-1].sequence + 1

    assert set(counts.values()) <= {entries}


def test_a_place_that_the_server_has_made_itself_stays(tmp_path: Path) -> None:
    staging = Staging([tmp_path / "stream"], tmp_path)
    staging.open()
    place = tmp_path / "stream" / PLACE
    place.unlink()
    place.mkdir()

    staging.lay()
    staging.close()

    assert place.is_dir()
    assert not place.is_symlink()


@pytest.mark.parametrize("is_there", [False, True], ids=["missing", "somebody else's"])
def test_without_a_safe_place_in_memory_the_disk_has_to_do(tmp_path: Path, is_there: bool) -> None:
    memory = tmp_path / "memory"
    if is_there:
        memory.mkdir()
        Staging([tmp_path / "stream"], memory).open()
        (own,) = memory.iterdir()
        (tmp_path / "stream" / PLACE).unlink()
        own.rmdir()
        own.symlink_to(tmp_path)
    staging = Staging([tmp_path / "stream"], memory)

    staging.open()
    staging.lay()
    staging.close()

    assert not (tmp_path / "stream" / PLACE).is_symlink()
    assert tmp_path.is_dir()
