"""What surrounds the processes goes wrong: the server's disk and its power, and a process's way to the bus."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.lease import Lease
from factory_contracts import subjects
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Entry, StreamConfig, Transport
from hub.composition import serve
from tests.chaos.disk import Disk, NoDisk
from tests.chaos.link import Link
from tests.fakes import until
from tests.reign import BOT, PLATFORM, settings

STREAM = StreamConfig(subjects.STREAM, subjects.plane("turns"), deny_delete=False)
SUBJECT = subjects.turns(PLATFORM, BOT, "chat")
MANY = 50
MEGABYTES = 32


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is to be ended."""
    async with AsyncExitStack() as stack:
        yield stack


def disk_of(server: EmbeddedServer, folder: Path, stack: AsyncExitStack) -> Disk:
    """A disk that holds nothing but what the server stores."""
    disk = Disk(folder / "disk.img", server.directory / "js", MEGABYTES)
    try:
        disk.open()
    except NoDisk as error:
        pytest.skip(f"this machine has no disk to spare: {error}")
    stack.callback(disk.unmount)
    return disk


async def joined(url: str, name: str, stack: AsyncExitStack) -> Transport:
    connected = await connect(url, Identity(name), patience=10)
    assert isinstance(connected, Ok)
    stack.push_async_callback(connected.value.close)
    return connected.value


async def stored(bus: Transport, what: str) -> bool:
    """Whether the server says that it has it."""
    return isinstance(await bus.append([Entry(SUBJECT, what.encode())], timeout=0.5), Ok)


async def found(bus: Transport) -> list[str]:
    while not isinstance(read := await bus.read(subjects.STREAM, SUBJECT), Ok):
        await asyncio.sleep(0.05)
    return [one.data.decode() for one in read.value]


async def killed(server: EmbeddedServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await server.wait()


async def test_what_the_server_says_is_stored_is_there_when_the_power_comes_back(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    server = EmbeddedServer(tmp_path / "nats")
    disk = disk_of(server, tmp_path, stack)
    stack.push_async_callback(server.stop)
    assert await server.start() == Ok(None)
    bus = await joined(server.url, "hub", stack)
    assert await bus.ensure_stream(STREAM) == Ok(None)
    said: list[str] = []

    async def store(part: int) -> None:
        for number in range(MANY):
            if not await stored(bus, what := f"{part}.{number}"):
                return
            said.append(what)

    storing = asyncio.gather(*(store(part) for part in range(8)))
    await until(lambda: len(said) > MANY)
    disk.cut()
    await killed(server)
    await storing
    disk.unmount()
    disk.mount()
    assert await server.start() == Ok(None)

    kept = await found(bus)

    assert len(said) < 8 * MANY
    assert set(said) <= set(kept)
    assert len(kept) == len(set(kept))


async def test_what_the_server_says_is_stored_outlives_a_full_disk(tmp_path: Path, stack: AsyncExitStack) -> None:
    server = EmbeddedServer(tmp_path / "nats")
    disk = disk_of(server, tmp_path, stack)
    stack.push_async_callback(server.stop)
    assert await server.start() == Ok(None)
    bus = await joined(server.url, "hub", stack)
    assert await bus.ensure_stream(STREAM) == Ok(None)
    assert await stored(bus, "before")

    disk.fill()
    while await stored(bus, large := "x" * 100_000):
        pass
    assert not await stored(bus, "while")
    disk.relieve()
    # It would not write again by itself, whatever room there is.
    await server.wait()
    assert await server.start() == Ok(None)

    kept = [one for one in await found(bus) if one != large]
    assert kept == ["before"]
    assert await stored(bus, "after")


async def test_of_two_spokes_never_both_speak_though_the_way_of_one_swallows_what_it_says(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    server = await stack.enter_async_context(EmbeddedServer(tmp_path / "nats"))
    stop = asyncio.Event()
    hub = asyncio.create_task(serve(settings(server.url), stop))
    stack.push_async_callback(lambda: hub)
    stack.callback(stop.set)
    link = Link(server.port)
    stack.push_async_callback(link.close)
    name = f"{PLATFORM}-{BOT}"
    first = Lease(await joined(await link.open(), name, stack), PLATFORM, BOT)
    second = Lease(await joined(server.url, name, stack), PLATFORM, BOT)
    speaking: list[Lease] = []

    async def work() -> None:
        await asyncio.Event().wait()

    async def speak(lease: Lease) -> None:
        await lease.win()
        speaking.append(lease)
        await lease.during(work)

    tasks = [asyncio.create_task(speak(first))]
    await until(lambda: speaking == [first])
    tasks.append(asyncio.create_task(speak(second)))
    stack.push_async_callback(lambda: asyncio.gather(*tasks, return_exceptions=True))
    stack.callback(lambda: [task.cancel() for task in tasks])

    link.there.cut()
    while not second.is_good:
        await asyncio.sleep(0.01)
        assert not (first.is_good and second.is_good)
    assert speaking == [first, second]
    link.mend()
    await tasks[0]

    assert second.is_good
    assert not first.is_good
