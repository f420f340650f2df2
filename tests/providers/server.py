"""A server on loopback that answers what it was told to, byte by byte, and notes what it was asked.

It knows HTTP and nothing of models: `claude` and `chat` say what their providers would.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

PHRASES: Mapping[int, str] = {200: "OK", 400: "Bad Request", 429: "Too Many Requests", 502: "Bad Gateway"}


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing until the server is told to go on, or the client leaves."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is gone in the middle of a chunk."""


Step = bytes | Wait | Stall | Cut


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent: a status, headers, and then the steps, each text a chunk of its own."""

    steps: tuple[Step, ...] = ()
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "text/event-stream; charset=utf-8"),)
    wait: float = 0.0


@dataclass(slots=True)
class Asked:
    """A request as it came, and whether the client left before it had the whole answer."""

    path: str
    headers: Mapping[str, str]
    body: Any
    connection: int
    has_left: bool = False
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


Reply = Callable[[Asked], Answer]


class ProviderServer:
    """Answers from the queue while it lasts, and then whatever `reply` says; a test may look at all in `asked`."""

    def __init__(self, reply: Reply, port: int = 0) -> None:
        self.queue: deque[Answer | Reply] = deque()
        self.asked: list[Asked] = []
        self.release = asyncio.Event()
        self._came = asyncio.Condition()
        self.url = ""
        self._reply = reply
        self._port = port
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def until_asked(self, times: int) -> None:
        """Wait until it was asked so many times."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.asked) >= times)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        talk = asyncio.create_task(self._talk(reader, writer, self._connections))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        begun = b""
        try:
            while (asked := await _read(reader, begun, connection)) is not None:
                self.asked.append(asked)
                async with self._came:
                    self._came.notify_all()
                told = self.queue.popleft() if self.queue else self._reply
                leaving = asyncio.create_task(reader.read(1))
                speaking = asyncio.create_task(self._speak(writer, told if isinstance(told, Answer) else told(asked)))
                try:
                    await asyncio.wait((leaving, speaking), return_when=asyncio.FIRST_COMPLETED)
                    if leaving.done() and leaving.exception() is None and leaving.result():
                        # It was heard to the end before this knew that all was said, and the next request begins.
                        await asyncio.wait((speaking,))
                    asked.has_left = not speaking.done()
                    if asked.has_left or speaking.result() is False:
                        return
                finally:
                    speaking.cancel()
                    leaving.cancel()
                    _, begun_or_error = await asyncio.gather(speaking, leaving, return_exceptions=True)
                    begun = begun_or_error if isinstance(begun_or_error, bytes) else b""
                    asked.is_over.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort()

    async def _speak(self, writer: asyncio.StreamWriter, answer: Answer) -> bool:
        """Whether the connection can be used again."""
        if answer.wait:
            await asyncio.sleep(answer.wait)
        head = [f"HTTP/1.1 {answer.status} {PHRASES.get(answer.status, 'Told')}"]
        head += [f"{name}: {value}" for name, value in (*answer.headers, ("transfer-encoding", "chunked"))]
        writer.write("\r\n".join((*head, "", "")).encode())
        for step in answer.steps:
            match step:
                case bytes():
                    writer.write(b"%x\r\n%b\r\n" % (len(step), step))
                    await writer.drain()
                case Wait():
                    await asyncio.sleep(step.seconds)
                case Stall():
                    await self.release.wait()
                case Cut():
                    writer.write(b"ffff\r\ndata: {")
                    await writer.drain()
                    return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader, begun: bytes, connection: int) -> Asked | None:
    """The next request, or None when the client is gone."""
    try:
        head = begun + await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(first.split(" ")[1], headers, json.loads(content or b"null"), connection)


def sse(*events: tuple[str, Any]) -> bytes:
    """Events of the wire: a name, which may be empty, and a value."""
    return b"".join(
        (f"event: {name}\n" if name else "").encode()
        + f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()
        for name, value in events
    )


def page(status: int) -> Answer:
    """What a proxy says that has lost the provider."""
    text = b"<html><head><title>Bad gateway</title></head><body><center>nginx</center></body></html>"
    return Answer((text,), status, (("content-type", "text/html"),))


def said_last(body: Any) -> str:
    """What the person said last, of whichever provider's request."""
    for message in reversed(body.get("messages") or []):
        content = message.get("content")
        if message.get("role") != "user":
            continue
        if isinstance(content, str):
            return content
        texts = [block["text"] for block in content or [] if block.get("type") == "text"]
        if texts:
            return str(texts[-1])
    return ""
