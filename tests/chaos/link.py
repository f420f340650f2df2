"""A process's way to the bus through a proxy of ours: each direction may be cut without a word, slow or narrow."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

CHUNK = 16_384


@dataclass(slots=True)
class Way:
    """One direction. What is on it while it is cut arrives when it is mended, as TCP would have it."""

    latency: float = 0.0
    bandwidth: float = 0.0
    is_open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.mend()

    def cut(self) -> None:
        """Nothing arrives, and nobody is told."""
        self.is_open.clear()

    def mend(self) -> None:
        """All is as it should be."""
        self.latency = self.bandwidth = 0.0
        self.is_open.set()

    async def carry(self, size: int) -> None:
        """Return when so many bytes have arrived."""
        pause = self.latency + (size / self.bandwidth if self.bandwidth else 0.0)
        if pause:
            await asyncio.sleep(pause)
        await self.is_open.wait()


class Link:
    """One process's way to one port and back."""

    def __init__(self, port: int) -> None:
        self.there, self.back = Way(), Way()
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        """Listen; where a client connects instead."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Cut everybody off."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def mend(self) -> None:
        """Both ways are as they should be."""
        self.there.mend()
        self.back.mend()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        writers = [writer]
        pumps: list[asyncio.Task[None]] = []
        try:
            with suppress(OSError):
                target, target_writer = await asyncio.open_connection("127.0.0.1", self._target)
                writers.append(target_writer)
                ways = _pump(reader, target_writer, self.there), _pump(target, writer, self.back)
                pumps += [asyncio.create_task(one) for one in ways]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for one in writers:
                one.close()
            await asyncio.gather(*(one.wait_closed() for one in writers), return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            await way.carry(len(data))
            writer.write(data)
            await writer.drain()
