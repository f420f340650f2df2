"""A Discord of our own, its REST API (v10) and its gateway, as strict as the real one and stricter, on loopback.

    async with DiscordApi() as server:
        bot = server.bot("TOKEN", "factory")
        ann = server.user("Ann")
        general = server.channel(server.guild(ann))
        discord.http.Route.BASE = server.api
        discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(server.gateway_url)
        ...  # a client of discord.py starts with "TOKEN"
        server.say(general, ann, f"Hello {bot.user.mention}")
        await server.until(lambda: bool(server.screen(general).by(bot.id)))
        assert server.screen(general).messages[-1].text == "Hi"
        assert not server.faults

Both lines are needed to point discord.py here (`AutoShardedClient` asks for the second by itself); a test lets
`monkeypatch.setattr` put them back. A client takes two seconds to be ready unless it is made with
`guild_ready_timeout=0.1`. Bots are made before the guilds and direct messages they are in. Links to attachments lead
here as well. Before it begins a session anew, a client sleeps five seconds in `before_identify_hook`, which a test may
override.

People act by methods (see `people`): `say`, `edit`, `delete`, `react`, `type`, `thread`, `post` (in a forum), `slash`,
`press`, `archive`, `lock`, `remove_permission`, `kick`, `join`, `raw`. Places are made by `guild`, `channel`, `dm`;
other bots by `user(is_bot=True)`, webhooks by `webhook(channel)`: they speak by `say` too. A `dm` whose `is_closed` is
set takes no more. Messages are named by their numbers, commands and presses by the tokens they are answered under.

What was seen: `server.screen(channel)` has `messages` (each `Shown` with `text`, `embeds`, `components`, `attachments`,
`flags`, `pings`, `versions`, `reactions`, `reply_to`, `nonce`, `only_for`), `all` with the deleted, `by(sender)` and
`typing(now)`, where `now` is `server.clock.now()`. What was asked: `server.ledger.calls`,
`server.ledger.called("create_message", ...)` (names are those of `routes`), and `server.ledger.happened("identify",
"resume", "commands", "repeat", ...)`. `await server.until(claim)` waits for a claim without sleeping.

`server.faults` must be empty at the end of each test of the product. A fault is: a route, method or field that is not
known here or of a wrong type, a call during a penalty, what a bot says to the gateway that ends the connection, a text
without `allowed_mentions`, one that calls somebody out (unless `server.lets_ping`), and one whose links would unfurl
(unless `server.lets_unfurl`).

`server.plan("create_message", Cut(after=True), times=2, channel=general)` lets the next calls go wrong (see `trouble`;
"*" is any call, "gateway" a knock at the gateway, "attachment" a download); a GET that was cut, aiohttp makes once more
by itself. The gateway goes wrong by `drop`, `close`, `invalidate`, `ask_to_reconnect`, `stall` and `flow`,
`forget_sessions`, and by the switches `gateway.acks` and `gateway.lets_resume`. While a bot is away its session keeps
what happens; without a session the bot never hears of it.

Time: `DiscordApi(speed=60)` lets a server minute pass in a real second. Windows of rate limits, heartbeats, tokens of
interactions, nonces and links are in server time; a client waits in real seconds, so it is told scaled. What is planned
is in real seconds. `DiscordApi(times=Times(answer=180))` changes how long things last, `tick` takes another clock for
the real one, `budgets=UNLIMITED` takes the limits away.

Not as the real server: a session begins as often as a bot likes, there is one shard, sockets speak JSON with
zlib-stream, plain or, from Python 3.14 on, with zstd-stream; what stands in code calls people out as elsewhere; links
are not made into embeds; a bot of ours may do in a guild what everybody may; there are no stickers, polls, pins, voice,
emoji of guilds or forwarded messages.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.botapi.clock import Clock
from tests.discordapi.channels import Channel
from tests.discordapi.files import MOST_BODY, Upload
from tests.discordapi.flood import DISCORDS, Budgets, Flood, Key
from tests.discordapi.gateway import INVALID, RECONNECT
from tests.discordapi.ledger import Call, Fault, Ledger
from tests.discordapi.people import Bot, People, Times
from tests.discordapi.refusal import SENTENCES, Json, Refused, invalid, no, wrong
from tests.discordapi.routes import ROUTES, Answered, Asked, Route, is_old
from tests.discordapi.trouble import (
    Answer,
    Cloudflare,
    Cut,
    Delay,
    Empty,
    Garbage,
    Hang,
    Page,
    Planned,
    TooFast,
    Trouble,
)

METHODS = frozenset(route.name for route in ROUTES) | {"*", "gateway", "attachment"}
PREFIX = "/api/v10"
_PAGE = "<html><head><title>{0}</title></head><body><center>{0}</center><hr><center>cloudflare</center></body></html>"


class DiscordApi(People):
    """The server: open it with `async with`, or `start` and `stop` it, which keeps the port and all that was said."""

    def __init__(
        self,
        *,
        speed: float = 1.0,
        tick: Callable[[], float] = time.monotonic,
        budgets: Budgets = DISCORDS,
        times: Times | None = None,
        ledger: Path | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(Clock(speed, tick), Ledger(ledger), budgets, times or Times())
        # What else is served, by the first part of its path.
        self.routes: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "gateway": self._knock,
            "attachments": self._download,
        }
        # Webhooks and interactions have limits, but none in all.
        self._hooks = Flood(self.clock, Budgets(budgets.kinds, None, None))
        self._port = port
        self._planned: list[Planned] = []
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where all is."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def api(self) -> str:
        """The base of the API."""
        return self.url + PREFIX

    @property
    def faults(self) -> list[Fault]:
        """What no correct client does."""
        return self.ledger.faults

    async def until(self, claim: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until a claim holds; it is looked at again whenever anything happens."""
        await self.ledger.until(claim, seconds)

    def plan(self, method: str, *troubles: Trouble, times: int = 1, channel: Channel | None = None) -> None:
        """Let the next calls of a method go wrong, each in turn so many times."""
        if method not in METHODS:
            raise ValueError(f"there is no method {method}")
        self._planned += [Planned(method, each, channel.id if channel else None, times) for each in troubles]

    def drop(self, bot: Bot | None = None) -> None:
        """Cut the sockets of a bot, or of all, without a word."""
        for socket in self.gateway.connected(bot.id if bot else None):
            socket.cut()

    def close(self, code: int, bot: Bot | None = None) -> None:
        """Close the sockets of a bot, or of all, with a code."""
        for socket in self.gateway.connected(bot.id if bot else None):
            socket.close(code)

    def invalidate(self, bot: Bot | None = None, *, can_resume: bool = False) -> None:
        """Tell a bot, or all, that its session is no longer good."""
        for session in self.gateway.of(bot.id if bot else None):
            session.is_over = not can_resume
            if session.socket is not None:
                session.socket.say(INVALID, can_resume)

    def ask_to_reconnect(self, bot: Bot | None = None) -> None:
        """Ask a bot, or all, to come back on another socket."""
        for socket in self.gateway.connected(bot.id if bot else None):
            socket.say(RECONNECT)

    def stall(self, bot: Bot | None = None) -> None:
        """Say nothing more on the sockets that there are, which stay open."""
        for socket in self.gateway.connected(bot.id if bot else None):
            socket.is_flowing.clear()

    def flow(self, bot: Bot | None = None) -> None:
        """Go on."""
        for socket in self.gateway.connected(bot.id if bot else None):
            socket.is_flowing.set()

    def forget_sessions(self, bot: Bot | None = None) -> None:
        """Let no session of now be resumed."""
        for session in self.gateway.of(bot.id if bot else None):
            session.is_over = True

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=MOST_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        self.files.url = self.url
        self.gateway_url = f"ws://127.0.0.1:{self._port}/gateway"

    async def stop(self) -> None:
        """Listen no more; all connections are cut, and the sessions remain."""
        self.gateway.end()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self.ledger.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        first = request.path.split("/")[1]
        if first in self.routes:
            return await self.routes[first](request)
        return await self._call(request)

    async def _knock(self, request: web.Request) -> web.StreamResponse:
        """Let a bot in at the gateway, unless that goes wrong as planned."""
        trouble = self._next_trouble("gateway", None)
        said = await self._wrong(request, trouble) if trouble is not None else None
        return said if said is not None else await self.gateway.serve(request)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """Give a file, while its link lives."""
        trouble = self._next_trouble("attachment", None)
        said = await self._wrong(request, trouble) if trouble is not None else None
        if said is not None:
            return said
        id, query = request.path.split("/")[-2], request.query
        file = self.files.at(id, query.get("ex", "0"), query.get("hm", ""), self.clock.now())
        if file is None:
            return web.Response(status=404, text="This content is no longer available.")
        return web.Response(body=file.content, content_type=file.mime)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        """Answer a call, and enter both into the ledger."""
        given: Any = {}
        uploads: dict[int, Upload] = {}
        unread: Refused | None = None
        try:
            given, uploads = await _read(request)
        except Refused as refused:
            unread = refused
        bot = self.bots.get(request.headers.get("Authorization", "").removeprefix("Bot "))
        path = request.path.removeprefix(PREFIX)
        routed = [(each, found) for each in ROUTES if (found := each.match(request.method, path)) is not None]
        call = self._note_call(request, bot, routed[0][0].name if routed else "unknown", given, uploads)
        asked: Asked | None = None
        try:
            if not routed or not request.path.startswith(PREFIX):
                raise _unrouted(request.method, path)
            if unread is not None:
                raise unread
            route, parts = routed[0]
            asked = self._asked(route, parts, bot, request, given, uploads)
            response = await self._answer(request, route, asked)
            status, code = response.status, 0
        except Refused as refused:
            if refused.fault:
                self._blame(call, refused.fault)
            status, code = refused.status, refused.code
            response = _response(status, refused.json, refused.headers)
        if asked is not None and status < 300:
            for fault in asked.faults:
                self._blame(call, fault)
        self._note_answer(call, status, code)
        if status == 0:
            await _cut(request)
        return response

    def _asked(
        self,
        route: Route,
        parts: dict[str, str],
        bot: Bot | None,
        request: web.Request,
        given: Any,
        uploads: dict[int, Upload],
    ) -> Asked:
        """The call as what it should be."""
        if route.needs_token and bot is None:
            raise no(0)
        for name, part in parts.items():
            if name not in ("token", "emoji") and not part.isdecimal() and part != "@original":
                said = f'Value "{part}" is not snowflake.'
                raise invalid((f"{name}_id",), "NUMBER_TYPE_COERCE", said, fault=f"{name} is no number: {part}")
        for key in request.query:
            if key not in route.query:
                raise wrong((key,), "is not known in the query here")
        query = {key: route.query[key](value, (key,)) for key, value in request.query.items()}
        body = route.body(given, ())
        asked = Asked(self, bot if route.needs_token else None, parts, query, uploads=uploads)
        if isinstance(body, list):
            asked.commands = body
        else:
            asked.body = body
        return asked

    async def _answer(self, request: web.Request, route: Route, asked: Asked) -> web.StreamResponse:
        """Do what is asked, or let it go wrong as planned; a status of 0 is no answer."""
        flood = asked.caller.flood if asked.caller is not None else self._hooks
        key = route.key(asked.path)
        flood.check_penalty(key)
        trouble = self._next_trouble(route.name, asked.place)
        if trouble is None:
            return self._do(route, asked, flood, key)
        done = self._do(route, asked, flood, key) if trouble.after else None
        if isinstance(trouble, TooFast):
            raise flood.punish(key, trouble.retry_after, trouble.scope, trouble.code)
        said = await self._wrong(request, trouble)
        if said is not None:
            return said
        return done if done is not None else self._do(route, asked, flood, key)

    async def _wrong(self, request: web.Request, trouble: Trouble) -> web.StreamResponse | None:
        """What is answered instead; None is the right answer after all."""
        match trouble:
            case Answer(status, code, message):
                sentence = message or SENTENCES.get(code, (0, f"{status}: Error"))[1]
                return _response(status, {"message": sentence, "code": code}, {})
            case TooFast(seconds):
                return _response(429, {"message": "You are being rate limited.", "retry_after": seconds}, {})
            case Cloudflare(seconds):
                headers = {"Retry-After": str(seconds)}
                page = _PAGE.format("Error 1015")
                return web.Response(status=429, text=page, content_type="text/html", headers=headers)
            case Page(status):
                return web.Response(status=status, text=_PAGE.format("Bad gateway"), content_type="text/html")
            case Cut():
                if request.path.startswith(PREFIX):
                    return web.Response(status=0)
                await _cut(request)
            case Hang():
                await asyncio.Event().wait()
            case Garbage():
                return web.Response(body=b'{"id":"1","channel_', content_type="application/json")
            case Empty():
                return web.Response(body=b"", content_type="application/json")
            case Delay(seconds):
                await asyncio.sleep(seconds)
        return None

    def _do(self, route: Route, asked: Asked, flood: Flood, key: Key) -> web.Response:
        headers = flood.spend(key, route.name == "edit_message" and is_old(asked))
        try:
            answered = route.do(asked)
        except Refused as refused:
            refused.headers = headers | refused.headers
            raise
        return _response(200 if route.status == 204 and answered is not None else route.status, answered, headers)

    def _next_trouble(self, method: str, channel: object) -> Trouble | None:
        for planned in self._planned:
            if planned.meets(method, channel):
                planned.times -= 1
                return planned.trouble
        return None

    def _note_call(
        self, request: web.Request, bot: Bot | None, method: str, given: Any, uploads: dict[int, Upload]
    ) -> Call:
        body: Json = dict(given) if isinstance(given, dict) else {"items": given}
        if uploads:
            body["files"] = [{"name": each.name, "size": len(each.content)} for each in uploads.values()]
        number, path = len(self.ledger.calls) + 1, request.path_qs.removeprefix(PREFIX)
        about = {"bot": bot.id if bot is not None else 0, "method": method, "verb": request.method, "path": path}
        self.note("call", number=number, **about, body=body)
        return self.ledger.calls[-1]

    def _note_answer(self, call: Call, status: int, code: int) -> None:
        self.note("answer", number=call.number, status=status, code=code)

    def _blame(self, call: Call, what: str) -> None:
        self.note("fault", bot=call.bot, method=call.method, what=what, body=call.body)


async def _read(request: web.Request) -> tuple[Any, dict[int, Upload]]:
    """The body of a call and the files that came with it."""
    uploads: dict[int, Upload] = {}
    try:
        if request.content_type == "multipart/form-data":
            given: Any = {}
            for key, value in (await request.post()).items():
                number = key.removeprefix("files[").removesuffix("]")
                if key == "payload_json" and isinstance(value, str):
                    given = json.loads(value)
                elif isinstance(value, web.FileField) and number.isdecimal():
                    uploads[int(number)] = Upload(value.filename, value.content_type, value.file.read())
                else:
                    raise wrong((key,), "is no part of a form that is known here")
            return given, uploads
        content = await request.read()
        if not content:
            return {}, {}
        if request.headers["Content-Type"] != "application/json":
            raise wrong(("Content-Type",), "must be application/json")
        return json.loads(content), {}
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise no(50109, fault="a body that is no JSON") from None
    except web.HTTPRequestEntityTooLarge:
        raise no(40005) from None


async def _cut(request: web.Request) -> None:
    """End the connection without an answer; what is left of the call is cancelled with it."""
    if request.transport is not None:
        request.transport.abort()
    await asyncio.Event().wait()


def _unrouted(verb: str, path: str) -> Refused:
    is_known = any(route.match(route.verb, path) is not None for route in ROUTES)
    status, why = (405, "Method Not Allowed") if is_known else (404, "Not Found")
    return Refused(status, 0, f"{status}: {why}", fault=f"there is no {verb} {path} here")


def _response(status: int, said: Answered, headers: dict[str, str]) -> web.Response:
    headers = {"Via": "1.1 google", **headers}
    if said is None:
        return web.Response(status=204, headers=headers)
    # The type must stand alone: discord.py takes anything else for a text.
    return web.Response(status=status, body=json.dumps(said).encode(), content_type="application/json", headers=headers)
