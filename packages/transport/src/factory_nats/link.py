"""One lasting connection to whichever server is there: it logs in, notices when the server is gone, and comes back.

It knows nothing of requests or logs. What it reads it hands on at once, and what it is told to write in one round of
the event loop leaves together.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from factory_nats import wire
from factory_nats.identity import sign
from factory_nats.result import Err, Ok, Reason, Result

logger = logging.getLogger(__name__)

PING_INTERVAL: Final = 2.0
PINGS_MISSED: Final = 2
RECONNECT_WAIT: Final = 0.25
HANDSHAKE: Final = 2.0
DEFAULT_PORT: Final = 4222
# What is written in one go without waiting for the round to end, and what may lie in the socket's buffer.
FLUSH_BYTES: Final = 64 << 10
BUFFER_BYTES: Final = 256 << 10

_DONE: Final[Ok[None]] = Ok(None)
_GONE: Final = Err("disconnected", "there is no connection to the server")
_VIOLATION: Final = re.compile(r'for (publish|subscription) to "((?:[^"\\]|\\.)*)"', re.IGNORECASE)
# After these a new connection may well last; after any other complaint it would only be repeated.
_PASSING: Final = ("stale", "slow consumer", "shutdown", "connections exceeded", "authentication timeout")
_BADNESS: Final[tuple[Reason, ...]] = ("disconnected", "timeout", "unauthorized")

Take = Callable[[wire.Message], None]
"""Takes a message inside of the reading; it must not raise, or the connection is made anew."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server listens, and what its address says about logging in."""

    host: str
    port: int = DEFAULT_PORT
    is_secure: bool = False
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls_name: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.is_secure else 'nats'}://{host}:{self.port}"


def parse_servers(url: str) -> Result[tuple[Server, ...]]:
    """The servers that an address names, with commas between; "malformed" when one of them is none."""
    found: list[Server] = []
    for one in url.split(","):
        try:
            parts = urlsplit(one.strip())
            host, port = parts.hostname, DEFAULT_PORT if parts.port is None else parts.port
        except ValueError:
            host, port = None, 0
        if not host or not port or parts.scheme not in ("nats", "tls"):
            return Err("malformed", f"no address of a server: {one.rpartition('@')[2][:100]!r}")
        user = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        found.append(Server(host, port, parts.scheme == "tls", user, password))
    return Ok(tuple(found))


class _Connection(asyncio.Protocol):
    """One socket, from its opening to its end."""

    def __init__(
        self,
        on_info: Callable[[wire.Info], None],
        on_violation: Callable[[str], None],
        on_end: Callable[[_Connection], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_info = on_info
        self._on_violation = on_violation
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._parser = wire.Parser()
        self._listening: Mapping[str, tuple[str, Take, str]] = {}
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._pongs: deque[asyncio.Future[Result[None]] | None] = deque()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._unanswered = 0
        self.complaint = ""
        self.end: Err | None = None
        self.info: asyncio.Future[Result[wire.Info]] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The event loops' transports do not all say what they are.
        self._use(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        if self.end is not None:
            return
        listening = self._listening
        for operation in self._parser.feed(data):
            if type(operation) is wire.Message:
                found = listening.get(operation.sid)
                if found is not None:
                    found[1](operation)
            else:
                self._hear(operation)

    def pause_writing(self) -> None:
        self._has_room.clear()

    def resume_writing(self) -> None:
        self._has_room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        why = "the server ended the connection" if exc is None else f"the connection broke ({type(exc).__name__})"
        self.abort(Err("disconnected", self.complaint or why))
        if not self.gone.done():
            self.gone.set_result(None)

    # What the server says

    def _hear(self, operation: wire.Operation) -> None:
        match operation:
            case wire.Pong():
                self._unanswered = 0
                pong = self._pongs.popleft() if self._pongs else None
                if pong is not None and not pong.done():
                    pong.set_result(_DONE)
            case wire.Ping():
                # A server that asks and does not read would fill our memory with answers.
                if self.has_room:
                    self.write(wire.PONG)
            case wire.Info():
                self._parser.allow(operation.max_payload)
                self._on_info(operation)
                if not self.info.done():
                    self.info.set_result(Ok(operation))
            case wire.Complaint(text):
                self._note(text)
            case wire.Broken(why):
                self.abort(Err("disconnected", f"what came is not of a server: {why}"))

    def _note(self, text: str) -> None:
        said = text.lower()
        if said.startswith("permissions violation"):
            self._on_violation(text)
            return
        self.complaint = text
        is_refusal = ("authorization" in said or "authentication" in said) and "timeout" not in said
        self.abort(Err("unauthorized" if is_refusal else "disconnected", text))

    # What is said to the server

    @property
    def has_room(self) -> bool:
        return self._has_room.is_set()

    async def room(self) -> None:
        """Return when the socket takes more, or has ended."""
        while not self._has_room.is_set():
            await self._has_room.wait()

    def write(self, data: bytes) -> None:
        """Send with all else that is written in this round; into nothing when the connection has ended."""
        unwritten = self._unwritten
        unwritten.append(data)
        self._unwritten_bytes += len(data)
        if self._unwritten_bytes > FLUSH_BYTES:
            self._flush()
        elif len(unwritten) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        unwritten = self._unwritten
        if self.end is None and self._transport is not None and unwritten:
            self._transport.write(unwritten[0] if len(unwritten) == 1 else b"".join(unwritten))
        unwritten.clear()
        self._unwritten_bytes = 0

    def ping(self) -> asyncio.Future[Result[None]]:
        """Ask for a sign of life, behind all that was written; the failure when the connection ends before."""
        pong: asyncio.Future[Result[None]] = self._loop.create_future()
        if self.end is not None:
            pong.set_result(self.end)
        else:
            self._pongs.append(pong)
            self.write(wire.PING)
        return pong

    def probe(self) -> bool:
        """Ask whether the server is there, for nobody in particular; False when it was asked too often in vain."""
        if self._unanswered >= PINGS_MISSED:
            return False
        self._unanswered += 1
        self._pongs.append(None)
        self.write(wire.PING)
        return True

    async def secure(self, name: str) -> None:
        """Go on under TLS; what came before it does not count."""
        if self._transport is None or self.end is not None:
            raise ConnectionResetError
        self._parser = wire.Parser()
        context = ssl.create_default_context()
        secured = await self._loop.start_tls(self._transport, self, context, server_hostname=name)
        if secured is None:
            raise ConnectionResetError
        self._use(secured)

    def _use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        if self.end is None:
            transport.set_write_buffer_limits(high=BUFFER_BYTES)
        else:
            transport.abort()

    def listen(self, listening: Mapping[str, tuple[str, Take, str]]) -> None:
        """From now on hand over messages; before the login there can be none."""
        self._listening = listening

    def abort(self, end: Err) -> None:
        """End it now, whatever waits to be written."""
        if self.end is None:
            self.end = end
            self._has_room.set()
            if not self.info.done():
                self.info.set_result(end)
            for pong in self._pongs:
                if pong is not None and not pong.done():
                    pong.set_result(end)
            self._on_end(self)
        if self._transport is not None:
            self._transport.abort()

    async def close(self, grace: float) -> None:
        """End it after all is written, within `grace` seconds."""
        self._flush()
        try:
            if self._transport is not None:
                self._transport.close()
                await asyncio.wait({self.gone}, timeout=grace)
        finally:
            self.abort(_GONE)


class Link:
    """The connection that stays itself while sockets come and go.

    `on_lost` and `on_back` come in turns; `on_end` when the server sent us away for good, with what it said;
    `on_violation` with what was not allowed ("publish" or "subscription") and the subject.
    """

    def __init__(
        self,
        servers: tuple[Server, ...],
        name: str,
        seed: str | None,
        ticket: str | None = None,
        *,
        on_lost: Callable[[], None],
        on_back: Callable[[], None],
        on_end: Callable[[str], None],
        on_violation: Callable[[str, str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._named = servers
        self._found: tuple[Server, ...] = ()
        self._server: Server | None = None
        self._name = name
        self._seed = seed
        self._ticket = ticket
        self._on_lost = on_lost
        self._on_back = on_back
        self._on_end = on_end
        self._on_violation = on_violation
        self._connection: _Connection | None = None
        self._listening: dict[str, tuple[str, Take, str]] = {}
        self._last_sid = 0
        self._watching: asyncio.TimerHandle | None = None
        self._returning: asyncio.Task[None] | None = None
        self._is_closed = False
        self._last_problem = ""
        self.max_payload = wire.DEFAULT_PAYLOAD
        self.since: float | None = None

    @property
    def is_connected(self) -> bool:
        """True between a login and the end of that connection."""
        return self._connection is not None

    async def open(self, timeout: float) -> Result[None]:
        """Try each server once, for `timeout` seconds; of several failures the one that says most is told."""
        problem = _GONE
        for server in self._candidates():
            dialled = await self._dial(server, timeout)
            if isinstance(dialled, Ok):
                self._begin(dialled.value)
                return _DONE
            if problem is _GONE or _BADNESS.index(dialled.reason) > _BADNESS.index(problem.reason):
                problem = dialled
        return problem

    async def close(self, grace: float) -> None:
        """End it for good, within some seconds."""
        self._is_closed = True
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.gather(self._returning, return_exceptions=True)
        if self._watching is not None:
            self._watching.cancel()
        connection, self._connection, self.since = self._connection, None, None
        if connection is not None:
            await connection.close(grace)

    # Reading and writing

    def listen(self, subject: str, take: Take, group: str = "") -> str:
        """Subscribe, on every connection from now on, and return the subscription's number."""
        self._last_sid += 1
        sid = str(self._last_sid)
        self._listening[sid] = (subject, take, group)
        self.write(wire.subscribe(subject, sid, group))
        return sid

    def forget(self, sid: str) -> None:
        """End a subscription; nothing more of it is handed over."""
        if self._listening.pop(sid, None) is not None:
            self.write(wire.unsubscribe(sid))

    def mute(self) -> None:
        """Ask for no more messages; those that are on their way still come."""
        for sid in self._listening:
            self.write(wire.unsubscribe(sid))

    def write(self, data: bytes) -> None:
        """Send, or drop it when there is no connection; who must know asks `is_connected` before."""
        if self._connection is not None:
            self._connection.write(data)

    @property
    def has_room(self) -> bool:
        """True while what is written leaves at once."""
        return self._connection is None or self._connection.has_room

    async def room(self, timeout: float) -> Result[None]:
        """Wait until more may be written; "disconnected" when the connection ends before, though another may follow."""
        connection = self._connection
        if connection is None:
            return _GONE
        try:
            async with asyncio.timeout(timeout):
                await connection.room()
        except TimeoutError:
            return Err("timeout", "the server does not take what is sent to it")
        return _DONE if connection.end is None else _GONE

    async def barrier(self, timeout: float) -> Result[None]:
        """Return when the server has read all that was written."""
        if self._connection is None:
            return _GONE
        try:
            async with asyncio.timeout(timeout):
                reached = await self._connection.ping()
        except TimeoutError:
            return Err("timeout", f"no sign of life from the server in {timeout:.1f} s")
        return reached if isinstance(reached, Ok) else _GONE

    # Connecting

    def _candidates(self) -> list[Server]:
        """All servers that are known, beginning behind the one that was tried last."""
        by_place = {(one.host, one.port): one for one in (*self._found, *self._named)}
        places = list(dict.fromkeys((one.host, one.port) for one in (*self._named, *self._found)))
        last = None if self._server is None else (self._server.host, self._server.port)
        behind = places.index(last) + 1 if last in places else 0
        return [by_place[place] for place in (*places[behind:], *places[:behind])]

    async def _dial(self, server: Server, timeout: float) -> Result[_Connection]:
        self._server = server
        connection = _Connection(self._note_info, self._note_violation, self._note_end)
        problem: Err | None = Err("disconnected", f"connecting to {server} was called off")
        try:
            async with asyncio.timeout(timeout):
                greeted = await self._greet(server, connection)
            if isinstance(greeted, Ok):
                problem = None
                return Ok(connection)
            problem = Err(greeted.reason, f"{server} does not let {self._name} in: {greeted.detail}")
        except TimeoutError:
            problem = Err("timeout", f"somebody listens at {server} but did not speak in {timeout} s")
        except (OSError, UnicodeError) as error:
            problem = Err("disconnected", f"no server at {server} ({type(error).__name__})")
        finally:
            if problem is not None:
                connection.abort(problem)
        return problem

    async def _greet(self, server: Server, connection: _Connection) -> Result[None]:
        await self._loop.create_connection(lambda: connection, server.host, server.port)
        info = await connection.info
        if isinstance(info, Err):
            return info
        said = info.value
        is_secure = server.is_secure or said.wants_tls
        if is_secure:
            if not (said.wants_tls or said.has_tls):
                return Err("disconnected", "the address asks for TLS, which the server does not have")
            await connection.secure(server.tls_name or server.host)
        connection.write(wire.introduce(self._introduction(server, said, is_secure)))
        let_in = await connection.ping()
        if isinstance(let_in, Err):
            return let_in
        sent = dict(self._listening)
        connection.listen(self._listening)
        for sid, (subject, _, group) in sent.items():
            connection.write(wire.subscribe(subject, sid, group))
        known = await connection.ping()
        for sid in sent.keys() - self._listening.keys():
            connection.write(wire.unsubscribe(sid))
        return connection.end or known

    def _introduction(self, server: Server, said: wire.Info, is_secure: bool) -> dict[str, Any]:
        options: dict[str, Any] = {
            "name": self._name,
            "lang": "python",
            "protocol": 1,
            "verbose": False,
            "pedantic": False,
            "tls_required": is_secure,
            "headers": said.has_headers,
            "no_responders": said.has_headers,
        }
        if said.nonce and self._seed is not None:
            options["nkey"], options["sig"] = sign(self._seed, said.nonce)
            if self._ticket is not None:
                # It names the key itself, and the server takes one of the two.
                del options["nkey"]
                options["jwt"] = self._ticket
        elif said.wants_login and server.user is not None:
            if server.password is None:
                options["auth_token"] = server.user
            else:
                options["user"], options["pass"] = server.user, server.password
        return options

    def _begin(self, connection: _Connection) -> None:
        self._connection = connection
        self.since = self._loop.time()
        self._last_problem = ""
        self._watching = self._loop.call_later(PING_INTERVAL, self._watch)

    def _watch(self) -> None:
        # A server that is frozen or cut off keeps the socket open, and one may speak that does not read any more: only
        # an answer proves that it lives.
        self._watching = self._loop.call_later(PING_INTERVAL, self._watch)
        if self._connection is not None and not self._connection.probe():
            logger.warning("the connection is deaf, making a new one")
            self._connection.abort(Err("disconnected", "the server gave no sign of life"))

    async def _return(self, pause: float) -> None:
        """Come back to some server, for ever, unless every one of them says that we are unknown."""
        while True:
            await asyncio.sleep(pause)
            pause = RECONNECT_WAIT
            servers = self._candidates()
            strangers = 0
            for server in servers:
                dialled = await self._dial(server, HANDSHAKE)
                if isinstance(dialled, Ok):
                    self._begin(dialled.value)
                    logger.info("connected to the server again")
                    self._on_back()
                    return
                if dialled.detail != self._last_problem:
                    logger.info("the server is not back: %s", dialled.detail)
                self._last_problem = dialled.detail
                strangers += dialled.reason == "unauthorized"
            if strangers == len(servers):
                # A key that was revoked stays so.
                self._is_closed = True
                self._on_end(self._last_problem)
                return

    # What a connection tells

    def _note_info(self, info: wire.Info) -> None:
        self.max_payload = info.max_payload
        told_by = self._server
        if told_by is not None and info.others:
            found = (parse_servers(f"nats://{one}") for one in info.others)
            self._found = tuple(_like(told_by, one.value[0]) for one in found if isinstance(one, Ok))
        if info.is_leaving:
            logger.warning("%s is about to end", told_by)

    def _note_violation(self, text: str) -> None:
        violation = _VIOLATION.search(text)
        if violation is None:
            logger.warning("the server says: %s", text)
        else:
            self._on_violation(violation.group(1).lower(), re.sub(r"\\(.)", r"\1", violation.group(2)))

    def _note_end(self, connection: _Connection) -> None:
        if connection is not self._connection:
            # It was never ours, or is so no more: whoever waits for it knows.
            return
        lasted = self._loop.time() - (self.since or 0.0)
        self._connection, self.since = None, None
        if self._watching is not None:
            self._watching.cancel()
        self._on_lost()
        said = connection.complaint
        if said and not any(word in said.lower() for word in _PASSING):
            self._is_closed = True
            self._on_end(said)
            return
        # A server that lets us in and sends us away again is not asked without a pause.
        pause = 0.0 if lasted > RECONNECT_WAIT else RECONNECT_WAIT
        self._returning = self._loop.create_task(self._return(pause), name="return to the bus")
        self._returning.add_done_callback(self._note_return)

    def _note_return(self, returning: asyncio.Task[None]) -> None:
        # It goes on for ever; should it not, whoever owns the process must learn that.
        error = None if returning.cancelled() else returning.exception()
        if error is not None:
            logger.error("returning to the bus failed", exc_info=error)
            self._is_closed = True
            self._on_end(f"returning to the bus failed ({type(error).__name__})")


def _like(told_by: Server, other: Server) -> Server:
    """A server of the same cluster, reached and asked in the same way."""
    # A cluster tells addresses, while its certificates name hosts.
    name = told_by.tls_name or told_by.host
    borrowed = name if _is_ip(other.host) and not _is_ip(name) else ""
    return replace(told_by, host=other.host, port=other.port, tls_name=borrowed)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
