"""Discord as the spoke asks it: discord.py's gateway and HTTP, with errors told in the few words that matter here."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import discord
from aiohttp import ClientError, ClientTimeout, TraceConfig
from discord.gateway import DiscordWebSocket, ReconnectWebSocket
from discord.http import Route
from yarl import URL

from adapters.chat.trouble import Rejected, Unauthorized, Unreachable
from adapters.spoke import NotNow, survived

logger = logging.getLogger(__name__)

GATEWAY = "wss://gateway.discord.gg/"
CALL_SECONDS = 20
FILE_SECONDS = 120
HANDSHAKE = 30.0
# Without a sign of life for so long the gateway is gone.
HEARTBEAT_TIMEOUT = 30.0
# A gateway that cannot be reached is tried often. One that turns us away is not: beyond a thousand new sessions a day
# Discord takes the token back.
FIRST_PAUSE, AWAY, TURNED_AWAY = 0.5, 15.0, 90.0
# A clock of theirs that is a little behind ours must not make us too early.
MARGIN = 0.3
UNTOLD_PAUSE = 10.0
# The token of a command is good for a quarter of an hour; Discord speaks then as if it were the bot's.
LATE_TOKEN = 50027
# discord.py waits out shorter pauses by itself. It takes the window of a bucket for a pause, too, so less would keep it
# from a second call in the longer windows.
LONGEST_PAUSE = 600.0
AT_ONCE = "at once"

Feed = Callable[[object], None]
May = Callable[[object, SimpleNamespace, object], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to be sent."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Account:
    """Who a bot is to Discord."""

    id: str
    name: str
    application: str


def point_at(api_base: str, gateway: str | None) -> None:
    """Where all clients of this process find Discord."""
    Route.BASE = api_base.rstrip("/")
    DiscordWebSocket.DEFAULT_GATEWAY = URL(gateway or GATEWAY)
    # We never speak, so nobody needs to know what is missing for it.
    discord.VoiceClient.warn_nacl = False
    discord.VoiceClient.warn_dave = False


class Gateway(discord.Client):
    """discord.py's client as it keeps a session: every event is handed on as it came, and nothing is remembered."""

    def __init__(self, feed: Feed, message_content: bool, may: May) -> None:
        # On a connection that stands it is looked once more whether what is about to be sent may be.
        trace = TraceConfig()
        trace.on_connection_reuseconn.append(may)
        trace.on_connection_create_end.append(may)
        intents = discord.Intents.none()
        intents.guilds = intents.guild_messages = intents.dm_messages = True
        intents.message_content = message_content
        super().__init__(
            intents=intents,
            enable_debug_events=True,
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            max_ratelimit_timeout=LONGEST_PAUSE,
            allowed_mentions=discord.AllowedMentions.none(),
            http_trace=trace,
        )
        self._feed = feed

    async def on_socket_raw_receive(self, event: str) -> None:
        """Hand an event on. Events are told in the order in which they came, for nothing is waited for here."""
        self._feed(json.loads(event))


NewGateway = Callable[[Feed, bool, May], Gateway]


async def _always() -> None:
    """There is nothing to wait for."""


class Client:
    """One bot's connection to Discord."""

    def __init__(self, token: str, *, message_content: bool = True, new_gateway: NewGateway = Gateway) -> None:
        self._token = token
        self._new_gateway = new_gateway
        self._message_content = message_content
        self._feed: Feed = lambda event: None
        self._held: Callable[[], Awaitable[None]] = _always
        # The first is who we are to Discord's HTTP; the last keeps the session.
        self._logged_in: list[Gateway] = []

    def heed(self, held: Callable[[], Awaitable[None]]) -> None:
        """From here on nothing is asked before this returns, but for what is said at once."""
        self._held = held

    async def login(self) -> Account:
        """Who this bot is. Raises `Unauthorized`, `Unreachable`, `NotNow`, `Rejected`."""
        async with AsyncExitStack() as stack:
            gateway = self._new_gateway(lambda event: self._feed(event), self._message_content, self._may)
            # A login that fails leaves its connections open.
            stack.push_async_callback(gateway.close)
            with self._telling():
                try:
                    await gateway.login(self._token)
                except ValueError:
                    raise discord.LoginFailure("a token that cannot even be sent is none") from None
            stack.pop_all()
        self._logged_in.append(gateway)
        user = gateway.user
        assert user is not None
        return Account(str(user.id), user.name, str(gateway.application_id))

    async def listen(self, feed: Feed) -> None:
        """Keep a session, resumed where Discord still has it, and hand on its events until cancelled."""
        self._feed = feed
        pause = FIRST_PAUSE
        resume: dict[str, Any] = {}
        while True:
            gateway, is_alive, longest = self._logged_in[-1], False, TURNED_AWAY
            try:
                async with asyncio.timeout(HANDSHAKE):
                    gateway.ws = await DiscordWebSocket.from_client(gateway, initial=not resume, **resume)
                while True:
                    await _poll(gateway.ws)
                    pause, is_alive = FIRST_PAUSE, True
            except ReconnectWebSocket as told:
                resume = _resumption(gateway) if told.resume else {}
                if resume and is_alive:
                    continue
            except discord.ConnectionClosed as error:
                resume = {}
                if error.code == 4014 and self._message_content:
                    logger.error(
                        "Discord does not let this bot read messages: switch the Message Content Intent on in the "
                        "developer portal (Bot), or set message_content = false; until then it hears mentions, direct "
                        "messages and commands only"
                    )
                    self._message_content = False
                    await self._login_again()
                    continue
                logger.error("Discord closed the connection: %s", self._without_token(error))
                pause = TURNED_AWAY
            except (discord.DiscordException, ClientError, OSError, TimeoutError) as error:
                logger.warning("the gateway is away, trying again in %.1f s: %s", pause, self._without_token(error))
                longest = AWAY
                resume = _resumption(gateway) if is_alive else resume
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)

    async def ask(
        self,
        route: Route,
        body: Mapping[str, object] | list[Any] | None = None,
        *,
        query: Mapping[str, str | int] | None = None,
        files: Sequence[Upload] = (),
        at_once: bool = False,
    ) -> Any:
        """Have something done. Raises `NotNow`, `Rejected`, `Unauthorized`, `Unreachable`."""
        how: dict[str, Any] = {"timeout": ClientTimeout(total=FILE_SECONDS if files else CALL_SECONDS)}
        if at_once:
            how["trace_request_ctx"] = AT_ONCE
        else:
            await self._held()
        if query is not None:
            how["params"] = query
        if files:
            how["files"] = [discord.File(BytesIO(file.data), file.name) for file in files]
            how["form"] = _form(body, how["files"])
        elif body is not None:
            how["json"] = body
        with self._telling():
            return await self._http.request(route, **how)

    async def download(self, url: str) -> bytes:
        """A file's bytes. Raises as `ask` does."""
        with self._telling():
            async with asyncio.timeout(FILE_SECONDS):
                return await self._http.get_from_cdn(url)

    async def close(self) -> None:
        """End the session and let go of the connections."""
        for gateway in self._logged_in:
            await gateway.close()

    async def _may(self, _: object, context: SimpleNamespace, __: object) -> None:
        if context.trace_request_ctx != AT_ONCE:
            await self._held()

    async def _login_again(self) -> None:
        """A session asks for its intents once, so for others there must be another."""
        while True:
            try:
                await self.login()
                return
            except (NotNow, Rejected, Unauthorized, Unreachable) as error:
                logger.warning("no new login yet: %s", error)
                await asyncio.sleep(AWAY)

    @property
    def _http(self) -> discord.http.HTTPClient:
        return self._logged_in[0].http

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell what went wrong in our own few words."""
        try:
            yield
        except discord.LoginFailure:
            raise Unauthorized("Discord does not know this token (any more)") from None
        except discord.RateLimited as error:
            raise NotNow(error.retry_after + MARGIN) from None
        except discord.HTTPException as error:
            raise self._told(error) from None
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            # A value is wrong where an address cannot even be asked.
            raise Unreachable(self._without_token(error)) from None

    def _told(self, error: discord.HTTPException) -> Exception:
        match error.status:
            case 401 if error.code != LATE_TOKEN:
                return Unauthorized("Discord does not know this token (any more)")
            case 429:
                # Told by whoever stands before Discord, which is serious.
                return NotNow(_seconds(error.response.headers.get("Retry-After")) + MARGIN)
            case status if status >= 500:
                return Unreachable(f"Discord fails: {status}")
            case _:
                words = error.text.partition("\n")[0][:200]
                return Rejected(f"{words} ({error.code})", error.code)

    def _without_token(self, error: Exception) -> str:
        return f"{type(error).__name__}: {error}".replace(self._token, "<token>")[:300]


async def _poll(socket: DiscordWebSocket) -> None:
    """Take what comes next. We were handed it before discord.py looks at it: what it cannot read ends no session."""
    ended: list[Exception] = []

    async def take() -> None:
        try:
            await socket.poll_event()
        except (ReconnectWebSocket, discord.DiscordException, ClientError, OSError, TimeoutError) as error:
            ended.append(error)

    await survived(take(), "an event is of a kind that discord.py does not know")
    for error in ended:
        raise error


def _resumption(gateway: Gateway) -> dict[str, Any]:
    """What a session goes on with, if there ever was one."""
    socket: DiscordWebSocket | None = gateway.ws
    if socket is None or not socket.session_id:
        return {}
    return {"resume": True, "session": socket.session_id, "sequence": socket.sequence, "gateway": socket.gateway}


def _form(body: object, files: Sequence[discord.File]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"name": "payload_json", "value": json.dumps(body)}]
    for number, file in enumerate(files):
        kind = "application/octet-stream"
        parts.append({"name": f"files[{number}]", "value": file.fp, "filename": file.filename, "content_type": kind})
    return parts


def _seconds(told: str | None) -> float:
    try:
        return float(told or UNTOLD_PAUSE)
    except ValueError:
        return UNTOLD_PAUSE
