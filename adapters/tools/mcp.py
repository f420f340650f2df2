"""Tools of MCP servers, each of them owned by one task from its start to its end, and our own tools as such a server.

A server is a stranger: what it says is bounded, what it promises is not believed, and when it dies or hangs it costs
its own tools and nothing else.
"""

import asyncio
import logging
import os
import re
import signal
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import count, islice
from json import dumps, loads
from time import monotonic
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import quote, unquote

import anyio
import httpx2
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import Client, MCPError, stdio_server, types
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage

from adapters.mime import ending_of, kind_of, mime_of
from factory_contracts.records import Effect
from factory_contracts.work import AgentSpec, McpServer
from hub.kernel.foreign import labelled, neutral, visible
from hub.kernel.harness import MAX_FILES
from hub.kernel.ports import ANYWHERE, Equipped, Media, Observation, Occasion, OutcomeUnknown, ToolFailed, ToolSpec
from hub.kernel.schema import complaint

logger = logging.getLogger(__name__)

MAX_TOOLS = 200
MAX_PAGES = 100
MAX_NAME = 64
MAX_DESCRIPTION = 4_000
MAX_SCHEMA = 20_000
MAX_RESULT = 100_000
MAX_MESSAGE = 16 * 1024 * 1024
MAX_SENTENCE = 1_000
MAX_STDERR = 2_000
MAX_UNREADABLE = 100
MAX_DEPTH = 64
WAITING = 64
INHERITED = ("PATH", "HOME", "LANG")

_FORGOTTEN = "Session terminated"

_Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]
_Connection = AbstractAsyncContextManager[Any]


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds each thing may take, and how long a server that failed is left alone.

    A server is let go when it was idle for so long; a list of tools that may not change is fresh for so long.
    """

    start: float = 10.0
    listing: float = 5.0
    call: float = 60.0
    grace: float = 1.0
    idle: float = 600.0
    fresh: float = 60.0
    pauses: tuple[float, ...] = (1.0, 5.0, 30.0)


class McpServers:
    """The tools of all servers that agents name; turns that name the same server share it.

    `variables` are the surroundings, of which a server is given what its agent names; `now` is a steady clock.
    """

    def __init__(
        self, variables: Mapping[str, str], *, patience: Patience | None = None, now: Callable[[], float] = monotonic
    ) -> None:
        self._variables = variables
        self._patience = patience or Patience()
        self._now = now
        self._servers: dict[McpServer, _Server] = {}
        # The library writes whole messages, and the web client addresses with the keys in them.
        logging.getLogger("mcp").setLevel(logging.CRITICAL)
        logging.getLogger("httpx2").setLevel(logging.WARNING)

    def serves(self, agent: AgentSpec) -> bool:
        """Whether the agent names servers."""
        return bool(agent.mcp)

    async def tools(self, agent: AgentSpec) -> tuple[Equipped, ...]:
        """The tools of the agent's servers; those of a server that does not answer are missing."""
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._server(spec).offers()) for spec in agent.mcp]
        offers = [offer for answer in asked for offer in answer.result()]
        seconds = self._patience.call + 2 * self._patience.listing
        return tuple(
            Equipped(offer.spec(name, seconds), offer) for name, offer in zip(_names(offers), offers, strict=True)
        )

    async def close(self) -> None:
        """End all servers and every process of theirs; afterwards there are no tools."""
        await asyncio.gather(*(server.close() for server in self._servers.values()))

    def _server(self, spec: McpServer) -> "_Server":
        if spec not in self._servers:
            self._servers[spec] = _Server(spec, self._variables, self._patience, self._now)
        return self._servers[spec]


@dataclass(frozen=True, slots=True)
class _Offer:
    """A tool as its server offers it; to run it is to call the server."""

    server: "_Server"
    tool: str
    description: str
    parameters: str
    effect: Effect

    def spec(self, name: str, seconds: float) -> ToolSpec:
        """What a model is told of it: a stranger's words, where the operator does not vouch for the server."""
        is_strange = not self.server.is_trusted
        reaches = ANYWHERE if self.effect == "read" else ""
        return ToolSpec(
            name, self.description, self.parameters, self.effect, seconds, is_strange=is_strange, reaches=reaches
        )

    async def run(self, arguments: str, occasion: Occasion) -> str | Observation:
        """What the server made of it."""
        return await self.server.call(self.tool, arguments)


@dataclass(slots=True)
class _Life:
    """One run of a server: begun, settled once it serves or is over, and over."""

    begun: float
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    client: Client | None = None
    offers: tuple[_Offer, ...] = ()
    listed: float = 0.0
    calls: int = 0
    status: int = 0
    idle: asyncio.TimerHandle | None = None

    def note(self, status: int) -> None:
        """Remember the HTTP status of the last answer, which tells an operator more than what is made of it."""
        self.status = status


class _Server:
    """One server: started when it is needed, let go when it is not, left alone for a while when it fails."""

    def __init__(
        self, spec: McpServer, variables: Mapping[str, str], patience: Patience, now: Callable[[], float]
    ) -> None:
        self._spec = spec
        self._variables = variables
        self._patience = patience
        self._now = now
        self._life: _Life | None = None
        self._tasks: dict[asyncio.Task[None], _Life] = {}
        self._failures = 0
        self._down_until = now()
        self._told: set[str] = set()
        self._is_closed = False
        # Servers with standard streams have been seen to die of a first message that is no handshake, so those are
        # spoken to the old way until one refuses it; over HTTP an unknown request is only an error.
        self._mode = "auto" if spec.url else "legacy"

    @property
    def name(self) -> str:
        """The name that its agent gives it."""
        return self._spec.name

    @property
    def is_trusted(self) -> bool:
        """Whether its words about its tools are taken for the operator's."""
        return bool(self._spec.trusted)

    async def offers(self) -> tuple[_Offer, ...]:
        """What a turn that begins now may use."""
        asked = self._now()
        # A server may have forgotten our session, or want the newer handshake: then it is begun anew, once.
        for _ in range(2):
            life = self._present()
            if life is None:
                return ()
            # Only the first turn waits for a server that is slow to start.
            await _within(life.begun + self._patience.listing - asked, life.settled.wait())
            if life.over.is_set():
                continue
            if life.client is None:
                self._tell("slow to start")
                return ()
            if _is_fresh(life, life.client, asked, self._patience.fresh) or await self._list_again(life, life.client):
                return life.offers
        return ()

    async def call(self, tool: str, arguments: str) -> str | Observation:
        """The result's text, and the files in it; raises `ToolFailed` with what went wrong."""
        given = _object(arguments)
        life = self._present()
        if life is None:
            raise ToolFailed(f"The server {self._spec.name} is down. Try again later, or do without it.")
        await life.settled.wait()
        if life.client is None or life.over.is_set():
            raise ToolFailed(f"The server {self._spec.name} could not be started; nothing was done.")
        life.calls += 1
        self._touch(life)
        try:
            return await self._ask(life, life.client, tool, given)
        finally:
            life.calls -= 1
            self._touch(life)

    async def close(self) -> None:
        """End it, and wait until nothing is left of it."""
        self._is_closed = True
        if self._life is not None:
            self._leave(self._life)
        # A process is given three times its grace, and a goodbye over HTTP twice.
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=4 * self._patience.grace)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _ask(self, life: _Life, client: Client, tool: str, arguments: dict[str, Any]) -> str | Observation:
        name = self._spec.name
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))
        try:
            async with asyncio.timeout(self._patience.call):
                # `Client.call_tool` would also run the server's own output schema over the result, on our loop.
                result = await client.session.send_request(request, types.CallToolResult)
        except TimeoutError:
            # It may be slow or it may hang: whoever lists tools in time is only slow.
            await self._list_again(life, client)
            raise OutcomeUnknown(
                f"The server {name} does not answer: {self._patience.call:g} s have passed. "
                "Whether the call took effect is not known."
            ) from None
        except MCPError as error:
            raise self._refusal(life, error) from None
        except (ValueError, RuntimeError):
            raise OutcomeUnknown(f"The server {name} answered with something that is no result of a tool.") from None
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise ToolFailed(f"The server {name} died; the call was not sent.") from None
        self._failures = 0
        if result.is_error:
            raise ToolFailed(_told(result, ()))
        files = _files(tool, result)
        text = _told(result, tuple(files))
        return Observation(text, tuple(files.values())) if files else text

    def _refusal(self, life: _Life, error: MCPError) -> ToolFailed:
        name = self._spec.name
        if error.message == _FORGOTTEN:
            self._leave(life)
            return ToolFailed(f"The server {name} was started anew in between; nothing was done. Try again.")
        if error.code == types.CONNECTION_CLOSED:
            return OutcomeUnknown(f"The server {name} died during the call. Whether it took effect is not known.")
        return ToolFailed(f"The server {name} refused the call: {_sentence(error.message)} (code {error.code}).")

    def _present(self) -> _Life | None:
        """The server's present life, a new one where there may be one."""
        if self._life is None and not self._is_closed and self._now() >= self._down_until:
            self._life = self._begin()
        return self._life

    def _begin(self) -> _Life:
        life = _Life(self._now())
        task = asyncio.create_task(self._live(life), name=f"mcp server {self._spec.name}")
        self._tasks[task] = life
        task.add_done_callback(self._after)
        return life

    async def _live(self, life: _Life) -> None:
        """A life from its start to its end: the library wants to be entered and left by the same task."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._patience.start) as limit:
            connection = self._connect(life)
            ours = types.Implementation(name="factory", version="1")
            async with Client(_mended(connection), mode=self._mode, cache=None, client_info=ours) as client:
                limit.reschedule(loop.time() + self._patience.listing)
                life.listed = self._now()
                life.offers = await self._list(client)
                limit.reschedule(None)
                life.client = client
                life.settled.set()
                self._told.clear()
                self._touch(life)
                logger.info("the server %s is up with %d tools", self._spec.name, len(life.offers))
                await life.over.wait()

    def _connect(self, life: _Life) -> _Connection:
        spec, grace = self._spec, self._patience.grace
        if bool(spec.command) == bool(spec.url):
            raise _Unusable("it needs a command or a url, and not both")
        if spec.command:
            missing = [name for name in spec.env if name not in self._variables]
            if missing:
                logger.warning("the server %s is started without %s: not set", spec.name, ", ".join(missing))
            variables = {name: self._variables[name] for name in (*INHERITED, *spec.env) if name in self._variables}
            return _by_process(spec, variables, grace, partial(self._lose, life))
        if not spec.url.startswith(("http://", "https://")):
            raise _Unusable("its url must begin with http:// or https://")
        headers = {"accept-encoding": "identity"}
        if spec.bearer is not None:
            token = self._variables.get(spec.bearer, "").strip()
            if not token:
                raise _Unusable(f"the variable {spec.bearer} with its token is not set")
            headers["authorization"] = f"Bearer {token}"
        return _by_http(spec.url, headers, self._patience, life.note)

    async def _list(self, client: Client) -> tuple[_Offer, ...]:
        found: dict[str, _Offer] = {}
        cursor: str | None = None
        capabilities = client.server_capabilities
        for _ in range(MAX_PAGES if capabilities.tools is not None else 0):
            page = await client.list_tools(cursor=cursor)
            for tool in islice(page.tools, MAX_TOOLS + 1):
                if tool.name not in found and 0 < len(tool.name) <= MAX_SENTENCE:
                    found[tool.name] = self._offer(tool)
            cursor = page.next_cursor
            if not cursor or len(found) > MAX_TOOLS:
                break
        if len(found) > MAX_TOOLS:
            logger.warning("the server %s has more than %d tools; the others are left out", self._spec.name, MAX_TOOLS)
        return tuple(islice(found.values(), MAX_TOOLS))

    def _offer(self, tool: types.Tool) -> _Offer:
        # A server's own word that a tool only reads is worth nothing: whoever believes it lets the server decide what
        # is done again after a crash and what a dry run lets through. The operator's list counts.
        effect: Effect = "read" if tool.name in self._spec.reads else "external"
        description = neutral((tool.description or tool.title or "")[: 2 * MAX_DESCRIPTION])[:MAX_DESCRIPTION]
        parameters = neutral(dumps(tool.input_schema, ensure_ascii=False))
        return _Offer(self, tool.name, description.strip() or neutral(tool.name), parameters, effect)

    async def _list_again(self, life: _Life, client: Client) -> bool:
        """Whether the server told its tools once more; one that does not is ended."""
        life.listed = self._now()
        try:
            async with asyncio.timeout(self._patience.listing):
                life.offers = await self._list(client)
        except TimeoutError:
            self._lose(life, "it does not answer")
        except MCPError:
            self._leave(life)
        except (ValueError, RuntimeError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            self._lose(life, _why(error, 0))
        return not life.over.is_set()

    def _touch(self, life: _Life) -> None:
        """Let the server go when nobody has called it for a while."""
        if life.idle is not None:
            life.idle.cancel()
            life.idle = None
        if not life.calls and not life.over.is_set():
            loop = asyncio.get_running_loop()
            life.idle = loop.call_later(self._patience.idle, self._leave, life)

    def _leave(self, life: _Life) -> bool:
        """End a life, where it is not over yet."""
        if life.over.is_set():
            return False
        life.over.set()
        life.settled.set()
        if life.idle is not None:
            life.idle.cancel()
        if self._life is life:
            self._life = None
        if life.client is None:
            for task, other in self._tasks.items():
                if other is life:
                    task.cancel()
        return True

    def _lose(self, life: _Life, why: str) -> None:
        """End a life that failed; the next one waits, the longer the more often it fails."""
        if not self._leave(life):
            return
        pause = self._patience.pauses[min(self._failures, len(self._patience.pauses) - 1)]
        self._failures += 1
        self._down_until = self._now() + pause
        self._tell(f"down: {why}")

    def _tell(self, state: str) -> None:
        """Log what is wrong, once until the server is up again."""
        level = logging.DEBUG if state in self._told else logging.WARNING
        self._told.add(state)
        logger.log(level, "the server %s is %s; its tools are missing until it answers", self._spec.name, state)

    def _after(self, task: asyncio.Task[None]) -> None:
        """A life's task is done, and with it the life: whatever broke it, it breaks no more than this server."""
        life = self._tasks.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._leave(life)
        elif self._mode == "legacy" and any(_is_too_old(leaf) for leaf in _leaves(error)):
            self._mode = "auto"
            self._leave(life)
        else:
            self._lose(life, _why(error, life.status))


def _is_fresh(life: _Life, client: Client, asked: float, seconds: float) -> bool:
    """Whether the list need not be asked for; a server that says that it changes is asked at each turn."""
    capabilities = client.server_capabilities
    if life.listed >= asked:
        return True
    return not (capabilities.tools is not None and capabilities.tools.list_changed) and asked < life.listed + seconds


class _Unusable(ValueError):
    """The server cannot be used as the agent file has it."""


async def _within(seconds: float, wait: Awaitable[object]) -> bool:
    """Whether it came about in time."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await wait
    except TimeoutError:
        return False
    return True


class _Child(asyncio.SubprocessProtocol):
    """A server's process as the loop tells of it. Its end is known at once, though a child of its own may go on."""

    def __init__(self) -> None:
        self.output = asyncio.StreamReader(limit=MAX_MESSAGE)
        self.errors = asyncio.StreamReader(limit=MAX_STDERR)
        self.ended = asyncio.Event()
        self.exited = asyncio.Event()
        self.is_writable = asyncio.Event()
        self.is_writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        for number, reader in ((1, self.output), (2, self.errors)):
            pipe = cast(asyncio.SubprocessTransport, transport).get_pipe_transport(number)
            if pipe is not None:
                reader.set_transport(pipe)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        (self.output if fd == 1 else self.errors).feed_data(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 0:
            self.is_writable.set()
            self.ended.set()
        else:
            (self.output if fd == 1 else self.errors).feed_eof()

    def process_exited(self) -> None:
        self.exited.set()
        self.ended.set()

    def pause_writing(self) -> None:
        self.is_writable.clear()

    def resume_writing(self) -> None:
        self.is_writable.set()


@asynccontextmanager
async def _by_process(
    spec: McpServer, variables: Mapping[str, str], grace: float, lose: Callable[[str], None]
) -> AsyncIterator[_Streams]:
    """A server that is a child of ours, in a group of its own that ends with it."""
    process, child = await asyncio.get_running_loop().subprocess_exec(
        _Child, *spec.command, env=dict(variables), start_new_session=True
    )
    incoming, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sent, outgoing = anyio.create_memory_object_stream[SessionMessage](WAITING)
    tail = bytearray()
    tasks = (
        asyncio.create_task(_mind(process, child, incoming, grace, lose)),
        asyncio.create_task(_write(process, child, outgoing)),
        asyncio.create_task(_keep_tail(child.errors, tail)),
    )
    try:
        yield received, sent
    finally:
        for task in tasks[:2]:
            task.cancel()
        try:
            await _end(process, child, grace)
        finally:
            _signal(process, signal.SIGKILL)
            process.close()
            tasks[2].cancel()
            for stream in (incoming, received, sent, outgoing):
                stream.close()
            words = visible(tail.decode(errors="replace")).strip()
            if words:
                logger.debug("the server %s said last on its standard error: %r", spec.name, words)
            await asyncio.gather(*tasks, return_exceptions=True)


async def _mind(
    process: asyncio.SubprocessTransport,
    child: _Child,
    incoming: MemoryObjectSendStream[SessionMessage | Exception],
    grace: float,
    lose: Callable[[str], None],
) -> None:
    """Pass on what the server says, until it ends or is not to be understood."""
    reading = asyncio.create_task(_read(child.output, incoming))
    ended = asyncio.create_task(child.ended.wait())
    exited = asyncio.create_task(child.exited.wait())
    try:
        await asyncio.wait((reading, ended), return_when=asyncio.FIRST_COMPLETED)
        # What it said before its end is heard, and the cause of its end is waited for.
        await asyncio.wait((reading, exited), timeout=grace)
        why = reading.result() if reading.done() else ""
        code = process.get_returncode()
        lose(why or ("it closed its streams" if code is None else f"it ended with exit code {code}"))
    finally:
        incoming.close()
        for task in (reading, ended, exited):
            task.cancel()
        await asyncio.gather(reading, ended, exited, return_exceptions=True)


async def _read(output: asyncio.StreamReader, incoming: MemoryObjectSendStream[SessionMessage | Exception]) -> str:
    """Why there is nothing more to read; nothing where the output just ended."""
    unreadable = 0
    while True:
        try:
            line = await output.readline()
        except ValueError:
            return f"a message of it is longer than {MAX_MESSAGE} bytes"
        if not line:
            return ""
        try:
            message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            # Many a server greets on its standard output; one that goes on like this speaks something else.
            unreadable += 1
            if unreadable > MAX_UNREADABLE:
                return "what it writes to its standard output is not the protocol"
            await asyncio.sleep(0)
            continue
        unreadable = 0
        if isinstance(message, types.JSONRPCNotification):
            # Nobody here waits for one, and a flood of them would be a task each.
            await asyncio.sleep(0)
            continue
        await incoming.send(SessionMessage(message))


async def _write(
    process: asyncio.SubprocessTransport, child: _Child, outgoing: MemoryObjectReceiveStream[SessionMessage]
) -> None:
    pipe = cast(asyncio.WriteTransport, process.get_pipe_transport(0))
    async for each in outgoing:
        line = each.message.model_dump_json(by_alias=True, exclude_unset=True)
        if pipe.is_closing():
            return
        pipe.write(line.encode(errors="replace") + b"\n")
        await child.is_writable.wait()


async def _keep_tail(errors: asyncio.StreamReader, tail: bytearray) -> None:
    """Read all of it, so that the server can go on, and keep its end."""
    while piece := await errors.read(MAX_MESSAGE):
        tail += piece
        del tail[:-MAX_STDERR]


async def _end(process: asyncio.SubprocessTransport, child: _Child, grace: float) -> None:
    """Ask it to end, then tell it, then end it."""
    pipe = cast(asyncio.WriteTransport, process.get_pipe_transport(0))
    if not pipe.is_closing():
        # What was not written yet would hold a plain close up for as long as the server does not read.
        pipe.abort()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if await _within(grace, child.exited.wait()):
            break
        _signal(process, number)
    await _within(grace, child.exited.wait())


def _signal(process: asyncio.SubprocessTransport, number: signal.Signals) -> None:
    """To the whole group: a server's own children outlive it else."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.get_pid(), number)


@asynccontextmanager
async def _by_http(
    url: str, headers: Mapping[str, str], patience: Patience, note: Callable[[int], None]
) -> AsyncIterator[Any]:
    """A server at an address. It is the operator's own file that names it, so that it may be a private one."""
    door = _Door(httpx2.AsyncHTTPTransport(), patience.grace, note)
    timeout = httpx2.Timeout(patience.start, read=2 * patience.call)
    async with (
        httpx2.AsyncClient(transport=door, headers=dict(headers), timeout=timeout, trust_env=False) as web,
        streamable_http_client(url, http_client=web, max_sse_event_size=MAX_MESSAGE) as streams,
    ):
        yield streams


class _Door(httpx2.AsyncBaseTransport):
    """The way to a server over HTTP: answers have a bounded size, and a goodbye has little time."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, grace: float, note: Callable[[int], None]) -> None:
        self._inner = inner
        self._grace = grace
        self._note = note

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "DELETE":
            request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), self._grace)
        response = await self._inner.handle_async_request(request)
        self._note(response.status_code)
        stream = cast(httpx2.AsyncByteStream, response.stream)
        # A few compressed bytes may be gigabytes, and we have asked for none.
        if response.headers.get("content-encoding", "identity") != "identity":
            await stream.aclose()
            raise httpx2.DecodingError("the answer is compressed, though it was not to be", request=request)
        is_endless = response.headers.get("content-type", "").startswith("text/event-stream")
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=stream if is_endless else _Bounded(stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """A body that breaks off when it is too long."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._inner:
            size += len(piece)
            if size > MAX_MESSAGE:
                raise httpx2.ReadError(f"the answer is longer than {MAX_MESSAGE} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def _mended(connection: _Connection) -> AsyncIterator[Any]:
    async with connection as (received, sent):
        yield _Mended(received), sent


class _Mended:
    """What a server says, where a tool that is badly described costs that tool: the library refuses the whole list."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def last_context(self) -> Context | None:
        """The library looks for it here."""
        context: Context | None = getattr(self._inner, "last_context", None)
        return context

    def __aiter__(self) -> "_Mended":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return _mend(await anext(self._inner))

    async def receive(self) -> SessionMessage | Exception:
        return _mend(await self._inner.receive())

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> "_Mended":
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._inner.__aexit__(*raised)


def _mend(heard: SessionMessage | Exception) -> SessionMessage | Exception:
    if isinstance(heard, SessionMessage) and isinstance(heard.message, types.JSONRPCResponse):
        result = heard.message.result
        if isinstance(result.get("tools"), list):
            result["tools"] = [_tool(tool) for tool in result["tools"] if _has_name(tool)]
    return heard


def _has_name(tool: object) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("name"), str)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """What we look at of a tool, the schema as it was given where it is a sane one, else one that is open."""
    texts = {key: tool[key] for key in ("name", "title", "description") if isinstance(tool.get(key), str)}
    return {**texts, "inputSchema": _parameters(tool.get("inputSchema"))}


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _is_too_old(error: BaseException) -> bool:
    return isinstance(error, MCPError) and error.code == types.UNSUPPORTED_PROTOCOL_VERSION


def _why(error: BaseException, status: int) -> str:
    """For the operator: what kind of failure, in its own words where those are not the server's."""
    leaf = next(_leaves(error))
    match leaf:
        case _Unusable():
            return str(leaf)
        case TimeoutError():
            return "it does not answer"
        case OSError():
            return leaf.strerror or type(leaf).__name__
        case MCPError() if status >= 400:
            return f"it answers with HTTP status {status}"
        case MCPError():
            return f"it refuses with code {leaf.code}"
        case ValueError():
            return "what it answers is not the protocol"
        case _:
            return f"the connection broke ({type(leaf).__name__})"


def _names(offers: Sequence[_Offer]) -> list[str]:
    """A name for each offer that every provider takes, no two of them the same.

    A name that needed no change is kept; one that was changed into a name that is taken gets a few digits of a hash.
    """
    plain = [f"{offer.server.name}_{offer.tool}" for offer in offers]
    fitting = [re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:MAX_NAME] for name in plain]
    taken: dict[str, int] = {}
    for index, (name, fit) in enumerate(zip(plain, fitting, strict=True)):
        if name == fit:
            taken.setdefault(fit, index)
    names: list[str] = []
    for index, (offer, fit) in enumerate(zip(offers, fitting, strict=True)):
        name = fit
        for attempt in count():
            if taken.setdefault(name, index) == index:
                break
            digest = sha256(f"{offer.server.name}\0{offer.tool}\0{attempt}".encode(errors="replace")).hexdigest()
            name = f"{fit[: MAX_NAME - 9]}_{digest[:8]}"
        names.append(name)
    return names


def _sentence(text: str) -> str:
    return " ".join(neutral(text[:MAX_SENTENCE]).split()).rstrip(".")


_SHAPES: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "$schema": (str,),
        "type": (str, list),
        "properties": (dict,),
        "required": (list,),
        "enum": (list,),
        "anyOf": (list,),
        "oneOf": (list,),
        **dict.fromkeys(("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"), (int, float)),
    }
)


def _parameters(schema: object) -> dict[str, Any]:
    try:
        settled = _settled(schema)
        is_sane = settled.get("type") == "object" and len(dumps(settled, allow_nan=False)) <= MAX_SCHEMA
    except (ValueError, RecursionError):
        is_sane = False
    return settled if is_sane else {"type": "object"}


def _settled(schema: object) -> dict[str, Any]:
    """The schema with `true` and `false` written as objects. Raises `ValueError` where a word makes no sense."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    if not isinstance(schema, dict):
        raise ValueError("a schema must be an object")
    for word, kinds in _SHAPES.items():
        if word in schema and not isinstance(schema[word], kinds):
            raise ValueError(f"{word} is no {kinds[0].__name__}")
    for word in ("type", "required"):
        if not all(isinstance(one, str) for one in schema.get(word, ())):
            raise ValueError(f"{word} must consist of texts")
    settled = dict(schema)
    if "properties" in schema:
        settled["properties"] = {name: _settled(one) for name, one in schema["properties"].items()}
    for word in ("anyOf", "oneOf"):
        if word in schema:
            settled[word] = [_settled(one) for one in schema[word]]
    if isinstance(schema.get("items"), dict):
        settled["items"] = _settled(schema["items"])
    return settled


def _object(arguments: str) -> dict[str, Any]:
    """The arguments as they can be written once more. Raises `ToolFailed` where they cannot."""
    try:
        given = loads(arguments, parse_constant=_refuse)
        # The library gives up a whole connection for a message that it cannot write.
        dumps(given, ensure_ascii=False).encode()
        is_sound = isinstance(given, dict) and _depth(given) <= MAX_DEPTH
    except (ValueError, RecursionError):
        is_sound = False
    if not is_sound:
        raise ToolFailed(f"The arguments must be a JSON object of text that can be written, {MAX_DEPTH} deep at most.")
    return cast(dict[str, Any], given)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _depth(value: object) -> int:
    inner: Iterable[object] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _files(tool: str, result: types.CallToolResult) -> dict[int, Media]:
    """The pictures, sounds and files of a result that are for the person, each by its place."""
    found: dict[int, Media] = {}
    for place, block in enumerate(result.content):
        file = _file(f"{tool}-{len(found) + 1}", block) if len(found) < MAX_FILES else None
        if file is not None:
            found[place] = file
    return found


def _file(name: str, block: types.ContentBlock) -> Media | None:
    match block:
        case types.ImageContent(data=data, mime_type=mime) | types.AudioContent(data=data, mime_type=mime):
            pass
        case types.EmbeddedResource(resource=types.BlobResourceContents(blob=data, mime_type=mime, uri=uri)):
            name = unquote(uri).partition("?")[0].rpartition("/")[2] or name
        case _:
            # A resource of text is for the model to read, which is told where it is.
            return None
    if block.annotations is not None and block.annotations.audience == ["assistant"]:
        return None
    try:
        content = b64decode(data, validate=True)
    except ValueError:
        return None
    if not content:
        return None
    if "." not in name:
        name += ending_of((mime or "").partition(";")[0].strip().lower())
    name = _sentence(name)
    mime = mime_of(name, content)
    return Media(kind_of(mime, content), name, mime, content)


def _told(result: types.CallToolResult, files: Collection[int]) -> str:
    """What a model is told of a result: its texts, a line for what is none, and what has no words as JSON.

    Of what goes to the person somebody else tells.
    """
    parts = [_part(block) for place, block in enumerate(result.content) if place not in files]
    if result.structured_content is not None and not any(isinstance(one, types.TextContent) for one in result.content):
        parts.append(dumps(result.structured_content, ensure_ascii=False))
    data = "\n".join(parts).encode(errors="replace")
    if len(data) <= MAX_RESULT:
        return data.decode() or ("" if files else "(no content)")
    return f"{data[:MAX_RESULT].decode(errors='ignore')}\n[… cut: the result has {len(data)} bytes in all …]"


def _part(block: types.ContentBlock) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return f"[{block.type}: {_sentence(block.mime_type)}, about {len(block.data) * 3 // 4} bytes]"
        case types.ResourceLink():
            return f"[resource: {_sentence(block.name)}, {_sentence(block.uri)}]"
        case types.EmbeddedResource():
            return f"[resource: {_sentence(block.resource.uri)}, {_sentence(block.resource.mime_type or 'no type')}]"


async def serve(tools: Sequence[Equipped], occasion: Occasion, version: str) -> None:
    """Offer tools over standard input and output until the other side leaves; every call is told of the occasion.

    Standard output belongs to the protocol.
    """
    offered = {equipped.spec.name: equipped for equipped in tools}

    async def list_tools(context: object, page: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(equipped.spec) for equipped in offered.values()])

    async def call_tool(context: object, asked: types.CallToolRequestParams) -> types.CallToolResult:
        equipped = offered.get(asked.name)
        if equipped is None:
            return _failed(f"There is no tool {asked.name[:MAX_NAME]!r}; there is: {', '.join(offered) or 'none'}.")
        given = asked.arguments or {}
        problem = complaint(loads(equipped.spec.parameters), given)
        if problem:
            return _failed(f"The arguments do not fit: {problem}")
        call = f"{occasion.call}{next(calls)}"
        try:
            async with asyncio.timeout(equipped.spec.timeout):
                said = await equipped.tool.run(dumps(given), replace(occasion, call=call))
        except ToolFailed as failed:
            return _failed(str(failed))
        except TimeoutError:
            return _failed(f"No answer within {equipped.spec.timeout:g} s; whether it took effect is not known.")
        return types.CallToolResult(content=_content(equipped.spec, said))

    calls = count(1)
    server = Server("factory", version=version, on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def _described(spec: ToolSpec) -> types.Tool:
    hints = types.ToolAnnotations(
        read_only_hint=spec.effect == "read",
        destructive_hint=spec.effect != "read",
        idempotent_hint=spec.effect == "read" or spec.is_idempotent,
        open_world_hint=spec.effect == "external",
    )
    return types.Tool(
        name=spec.name, description=spec.description, input_schema=loads(spec.parameters), annotations=hints
    )


def _content(spec: ToolSpec, said: str | Observation) -> list[types.ContentBlock]:
    """What a tool said, labelled where others wrote it, and the files it brought, as the protocol has them."""
    told = said if isinstance(said, Observation) else Observation(said)
    words = labelled(spec.name, told.content) if spec.is_foreign or told.is_foreign else told.content
    return [*([_text(words)] if told.content or not told.files else []), *map(_block, told.files)]


def _block(file: Media) -> types.ContentBlock:
    data = b64encode(file.data).decode()
    if file.kind == "image":
        return types.ImageContent(type="image", data=data, mime_type=file.mime)
    if file.kind in ("audio", "voice"):
        return types.AudioContent(type="audio", data=data, mime_type=file.mime)
    contents = types.BlobResourceContents(uri=f"file:///{quote(file.name)}", mime_type=file.mime, blob=data)
    return types.EmbeddedResource(type="resource", resource=contents)


def _failed(words: str) -> types.CallToolResult:
    return types.CallToolResult(content=[_text(words)], is_error=True)


def _text(words: str) -> types.TextContent:
    return types.TextContent(type="text", text=words)
