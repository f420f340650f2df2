"""The gateway: sockets of bots, and the sessions that outlive them for a while.

A session numbers what it tells and keeps all of it. A socket that is lost takes nothing away: whoever resumes within
the window gets what was missed, from the number it names. What happens while a bot has no session, it never hears of.
"""

import asyncio
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from tests.botapi.clock import Clock
from tests.discordapi.parameters import boolean, fields, integer, items, nullable, snowflake, string
from tests.discordapi.refusal import Json, Refused

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, RESUME, RECONNECT, MEMBERS, INVALID, HELLO, ACK = (
    0,
    1,
    2,
    3,
    6,
    7,
    8,
    9,
    10,
    11,
)
GUILDS, GUILD_MEMBERS, GUILD_PRESENCES, GUILD_MESSAGES, GUILD_REACTIONS, GUILD_TYPING = (
    1 << bit for bit in (0, 1, 8, 9, 10, 11)
)
DMS, DM_REACTIONS, DM_TYPING, CONTENT = (1 << bit for bit in (12, 13, 14, 15))
ALL = (1 << 22) - 1 | 1 << 24 | 1 << 25
# Which intent, in a guild and between two, an event needs; what is not here comes always.
INTENTS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE"), (GUILD_MESSAGES, DMS)),
    **dict.fromkeys(("MESSAGE_REACTION_ADD", "MESSAGE_REACTION_REMOVE"), (GUILD_REACTIONS, DM_REACTIONS)),
    "TYPING_START": (GUILD_TYPING, DM_TYPING),
    **dict.fromkeys(("GUILD_MEMBER_ADD", "GUILD_MEMBER_REMOVE"), (GUILD_MEMBERS, 0)),
    **dict.fromkeys(("GUILD_CREATE", "GUILD_DELETE", "GUILD_UPDATE"), (GUILDS, 0)),
    **dict.fromkeys(("CHANNEL_CREATE", "CHANNEL_UPDATE", "CHANNEL_DELETE"), (GUILDS, 0)),
    **dict.fromkeys(("THREAD_CREATE", "THREAD_UPDATE", "THREAD_DELETE", "THREAD_MEMBERS_UPDATE"), (GUILDS, 0)),
}
# At most so many commands of a bot in so many server seconds, each of at most so many bytes.
MOST_COMMANDS, COMMANDS_IN, MOST_BYTES = 120, 60.0, 4096
# A bot is given up when it says nothing for so many intervals, but never before so many real seconds.
PATIENCE, LEAST_PATIENCE = 2.0, 10.0
# Codes after which a session may be resumed.
RESUMABLE = frozenset({4000, 4001, 4002, 4008})

_activity = fields(
    {"name": string(128), "type": integer(0, 5)}, {"state": nullable(string()), "url": nullable(string())}
)
_presence = fields(
    {"status": nullable(string())},
    {"since": nullable(integer()), "afk": boolean, "activities": items(_activity), "game": nullable(_activity)},
)
_identify = fields(
    {
        "token": string(),
        "properties": fields({"os": string(), "browser": string(), "device": string()}),
        "intents": integer(),
    },
    {"compress": boolean, "large_threshold": integer(50, 250), "shard": items(integer()), "presence": _presence},
)
_resume = fields({"token": string(), "session_id": string(), "seq": integer()})
_members = fields(
    {"guild_id": snowflake, "limit": integer()},
    {"query": string(), "presences": boolean, "user_ids": items(snowflake), "nonce": string(32)},
)


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a socket."""

    code: int
    why: str = ""


class Host(Protocol):
    """Who knows the bots, and what they may be told."""

    def bot_of(self, token: str) -> int | None:
        """The bot of a token, if there is one."""

    def may_ask_for(self, bot: int, intents: int) -> bool:
        """Whether a bot was granted the intents that must be."""

    def greet(self, session: "Session") -> Iterable[tuple[str, Any]]:
        """The events with which a session begins."""

    def members(self, session: "Session", asked: Json) -> Iterable[Json]:
        """The members that a bot asks for, in chunks."""

    def note_gateway(self, kind: str, **fields: Any) -> None:
        """Enter something into the ledger."""

    def blame_gateway(self, bot: int, what: str) -> None:
        """Enter a fault into the ledger."""


class Lost(Exception):
    """A socket must be closed, with this code and reason."""

    def __init__(self, code: int, why: str) -> None:
        self.close = Close(code, why)
        super().__init__(f"{code}: {why}")


@dataclass(eq=False)
class Session:
    """What one bot is told, in order."""

    id: str
    bot: int
    intents: int
    told: list[str] = field(default_factory=list)
    socket: "Socket | None" = None
    left: float | None = None
    is_over: bool = False

    def tell(self, event: str, data: Any) -> None:
        """Tell of something, at once if there is a socket."""
        number = len(self.told) + 1
        self.told.append(json.dumps({"op": DISPATCH, "t": event, "s": number, "d": data}))
        if self.socket is not None:
            self.socket.say_raw(self.told[-1])

    def wants(self, event: str, is_guild: bool) -> bool:
        """Whether the bot asked for events of this kind."""
        needed = INTENTS.get(event, (0, 0))[0 if is_guild else 1]
        return not needed or bool(self.intents & needed)


# Packs one message after the other into one stream.
Pack = Callable[[bytes], bytes]


def _zlib() -> Pack:
    packer = zlib.compressobj()
    return lambda said: packer.compress(said) + packer.flush(zlib.Z_SYNC_FLUSH)


PACKERS: dict[str, Callable[[], Pack]] = {"zlib-stream": _zlib}

if sys.version_info >= (3, 14):

    def _zstd() -> Pack:
        packer = ZstdCompressor()
        return lambda said: packer.compress(said, packer.FLUSH_BLOCK)

    PACKERS["zstd-stream"] = _zstd


class Socket:
    """One connection: what is said to it is queued, and goes out unless it is stalled."""

    def __init__(
        self, web_socket: web.WebSocketResponse, transport: asyncio.Transport | None, pack: Pack | None
    ) -> None:
        self.session: Session | None = None
        self.is_closing = False
        self.is_flowing = asyncio.Event()
        self.is_flowing.set()
        self._out: asyncio.Queue[str | Close] = asyncio.Queue()
        self._web_socket = web_socket
        self._transport = transport
        self._pack = pack

    def say(self, op: int, data: Any = None) -> None:
        """Say anything but an event."""
        self.say_raw(json.dumps({"op": op, "t": None, "s": None, "d": data}))

    def say_raw(self, text: str) -> None:
        """Say something."""
        self._out.put_nowait(text)

    def close(self, code: int, why: str = "") -> None:
        """End the connection after all that was said."""
        self._out.put_nowait(Close(code, why))

    def cut(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    async def write(self) -> None:
        """Send what is said, until the end."""
        with suppress(ConnectionError):
            while True:
                said = await self._out.get()
                await self.is_flowing.wait()
                if isinstance(said, Close):
                    self.is_closing = True
                    await self._web_socket.close(code=said.code, message=said.why.encode())
                    return
                if self._pack is None:
                    await self._web_socket.send_str(said)
                else:
                    await self._web_socket.send_bytes(self._pack(said.encode()))


class Gateway:
    """All sessions, and what becomes of those who knock."""

    def __init__(self, clock: Clock, heartbeat: float, window: float, host: Host) -> None:
        self.sessions: dict[str, Session] = {}
        self.sockets: set[Socket] = set()
        # Switches for tests: whether heartbeats are acknowledged, and sessions may be resumed.
        self.acks = True
        self.lets_resume = True
        self._clock = clock
        self._heartbeat = heartbeat
        self._window = window
        self._host = host

    def of(self, bot: int | None) -> list[Session]:
        """The sessions of a bot, or of all, that something can still be told to."""
        now = self._clock.now()
        for session in self.sessions.values():
            if session.left is not None and now - session.left > self._window:
                session.is_over = True
        return [each for each in self.sessions.values() if not each.is_over and bot in (None, each.bot)]

    def connected(self, bot: int | None) -> list[Socket]:
        """The sockets of a bot, or of all."""
        return [each.socket for each in self.of(bot) if each.socket is not None]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Talk with whoever knocks."""
        web_socket = web.WebSocketResponse(max_msg_size=0, compress=False)
        await web_socket.prepare(request)
        query = request.query
        packer = PACKERS.get(query.get("compress", ""))
        socket = Socket(web_socket, request.transport, packer() if packer is not None else None)
        self.sockets.add(socket)
        writer = asyncio.create_task(socket.write())
        try:
            if (query.get("v"), query.get("encoding")) != ("10", "json"):
                raise Lost(4012, "Invalid API version.")
            if "compress" in query and packer is None:
                raise Lost(4002, f"Only {' and '.join(PACKERS)} are known here.")
            socket.say(HELLO, {"heartbeat_interval": self._interval * 1000, "_trace": ["[]"]})
            await self._listen(web_socket, socket)
        except Lost as lost:
            if socket.session is not None and lost.close.code not in RESUMABLE:
                socket.session.is_over = True
            socket.is_flowing.set()
            socket.close(lost.close.code, lost.close.why)
            await writer
        else:
            if socket.is_closing:
                await writer
        finally:
            writer.cancel()
            self.sockets.discard(socket)
            self._leave(socket, web_socket.close_code)
        return web_socket

    def end(self) -> None:
        """Cut all connections; the sessions remain."""
        for socket in tuple(self.sockets):
            socket.cut()

    @property
    def _interval(self) -> float:
        """The client's seconds between two heartbeats."""
        return self._heartbeat / self._clock.speed

    async def _listen(self, web_socket: web.WebSocketResponse, socket: Socket) -> None:
        patience = max(self._interval * PATIENCE, LEAST_PATIENCE)
        heard: list[float] = []
        while True:
            try:
                async with asyncio.timeout(patience):
                    message = await web_socket.receive()
            except TimeoutError:
                raise Lost(4009, "Session timed out.") from None
            if message.type is not WSMsgType.TEXT:
                return
            now = self._clock.now()
            heard = [at for at in heard if now - at < COMMANDS_IN] + [now]
            if len(heard) > MOST_COMMANDS:
                raise self._lost(socket, 4008, "Rate limited.")
            if len(message.data.encode()) > MOST_BYTES:
                raise self._lost(socket, 4002, "Payload too large.")
            try:
                said = fields({"op": integer(), "d": lambda value, path: value})(json.loads(message.data), ())
            except (json.JSONDecodeError, Refused):
                raise self._lost(socket, 4002, "Error while decoding payload.") from None
            try:
                self._take(socket, said["op"], said["d"])
            except Refused as refused:
                raise self._lost(socket, 4002, refused.fault or refused.message) from None

    def _take(self, socket: Socket, op: int, data: Any) -> None:
        """Do what a bot says."""
        if op == HEARTBEAT:
            nullable(integer())(data, ())
            if self.acks:
                socket.say(ACK)
        elif op == IDENTIFY:
            self._identify(socket, _identify(data, ()))
        elif op == RESUME:
            self._resume(socket, _resume(data, ()))
        elif socket.session is None:
            raise self._lost(socket, 4003, "Not authenticated.")
        elif op == PRESENCE:
            _presence(data, ())
        elif op == MEMBERS:
            for chunk in self._host.members(socket.session, _members(data, ())):
                socket.session.tell("GUILD_MEMBERS_CHUNK", chunk)
        else:
            raise self._lost(socket, 4001, f"Unknown opcode {op}.")

    def _identify(self, socket: Socket, given: Json) -> None:
        if socket.session is not None:
            raise self._lost(socket, 4005, "Already authenticated.")
        if given["intents"] & ~ALL:
            raise self._lost(socket, 4013, "Invalid intent(s).")
        if "shard" in given and given["shard"] != [0, 1]:
            raise self._lost(socket, 4010, "Invalid shard.")
        bot = self._bot_of(given["token"])
        if not self._host.may_ask_for(bot, given["intents"]):
            raise Lost(4014, "Disallowed intent(s).")
        session = Session(token_hex(16), bot, given["intents"], socket=socket)
        socket.session = self.sessions[session.id] = session
        self._host.note_gateway("identify", bot=bot, session=session.id, intents=session.intents)
        for event, data in self._host.greet(session):
            session.tell(event, data)

    def _resume(self, socket: Socket, given: Json) -> None:
        bot = self._bot_of(given["token"])
        session = next((each for each in self.of(bot) if each.id == given["session_id"]), None)
        taken = session is not None and self.lets_resume
        self._host.note_gateway("resume", bot=bot, session=given["session_id"], seq=given["seq"], taken=taken)
        if session is None or not taken:
            socket.say(INVALID, False)
            return
        if given["seq"] > len(session.told):
            raise self._lost(socket, 4007, "Invalid seq.")
        if session.socket is not None:
            # Whoever resumes takes the session from the socket that is still there.
            session.socket.session = None
            session.socket.close(4000, "Resumed elsewhere.")
        session.socket, session.left, socket.session = socket, None, session
        for said in session.told[given["seq"] :]:
            socket.say_raw(said)
        session.tell("RESUMED", {"_trace": ["[]"]})

    def _bot_of(self, token: str) -> int:
        bot = self._host.bot_of(token)
        if bot is None:
            raise Lost(4004, "Authentication failed.")
        return bot

    def _leave(self, socket: Socket, code: int | None) -> None:
        session, socket.session = socket.session, None
        if session is not None:
            session.socket, session.left = None, self._clock.now()
            # A bot that says goodbye has no session any more.
            session.is_over = session.is_over or (code in (1000, 1001) and not socket.is_closing)
            self._host.note_gateway("leave", bot=session.bot, session=session.id, code=code)

    def _lost(self, socket: Socket, code: int, why: str) -> Lost:
        """What ends a connection through the fault of the bot."""
        self._host.blame_gateway(socket.session.bot if socket.session else 0, f"{code}: {why}")
        return Lost(code, why)
