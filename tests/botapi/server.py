"""A Bot API server of our own, as strict as Telegram's and stricter, over real HTTP on loopback.

    async with BotApi() as server:
        bot = server.bot("42:TEST", "factory_bot")
        ann = server.user("Ann")
        chat = server.chat("private", ann)
        server.say(chat, ann, "Hello")
        ...  # the product polls server.url and answers
        await server.until(lambda: bool(server.screen(chat).by(bot.id)))
        assert server.screen(chat).messages[-1].text == "Hi"
        assert not server.faults

`server.url` is what clients take as the base of the API (`TelegramAPIServer.from_base(server.url)`; for
python-telegram-bot `base_url=f"{server.url}/bot"`). Bots are made before the chats they are in.

People act by methods (see `people`): `say`, `send` (photo, voice, document, sticker, location, ...), `edit`, `delete`,
`press`, `stop_draft`, `react`, `join`, `leave`, `pin`, `rename`, `topic`, `close_topic`, `delete_topic`, `migrate`,
`post` (in a channel), `set_status` (kick, promote, block), `raw`. A chat has switches: `lets_bots_write`,
`takes_voice`, `is_started`, `is_blocked`, `is_deactivated`, `linked`. Messages are named by their numbers.

What was seen: `server.screen(chat)` has `messages` (each `Shown` with `text`, `entities`, `markup`, `media`,
`versions`, `reactions`, `thread`, `reply_to`), `all` with the deleted, `by(sender)`, `drafts` and `draft(now)`,
`actions` and `action(now)`, where `now` is `server.clock.now()`. What was asked: `server.ledger.calls` and
`server.ledger.called("sendMessage", ...)`. `server.answered(query)` is the answer to a press.
`await server.until(claim)` waits for a claim without sleeping.

`server.faults` must be empty at the end of each test of the product. A fault is: a method or parameter that is not
known here or of a wrong type, `parse_mode`, entities that Telegram would drop or misplace, a write during a penalty,
and a text whose links would show what is behind them (unless `server.lets_unfurl`).

`server.plan("sendMessage", Cut(after=True), times=2, chat=chat)` lets the next calls go wrong (see `trouble`; "*" is
any method). A planned 429 with `retry_after` begins a penalty for its chat. `server.lacks = {"sendMessageDraft"}` makes
it one of an older version.

Time: `BotApi(speed=60)` lets a server minute pass in a real second. Budgets, drafts, queries and links are in server
time; a client waits `retry_after` in real seconds, so it is told scaled and rounded up to an integer; a planned
`retry_after`, a planned delay and the timeout of a poll are in real seconds. `BotApi(tick=...)` takes another clock for
the real one. `BotApi(budgets=UNLIMITED)` takes the budgets away; see `flood` for others.

Not as the real server: a poll is not slowed when it repeats its offset or conflicts, messages are not expired after a
day, a rich message's HTML or Markdown is shown as it was written, files by URL and answers of a webhook are refused.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.botapi.chats import Chat
from tests.botapi.clock import Clock
from tests.botapi.files import UPLOAD
from tests.botapi.flood import TELEGRAMS, Budgets
from tests.botapi.ledger import Call, Fault, Ledger
from tests.botapi.methods import METHODS
from tests.botapi.parameters import NAMES, Upload, arguments, legible, method_called
from tests.botapi.people import Bot, People
from tests.botapi.refusal import Json, Refused, wrong
from tests.botapi.trouble import Answer, Cut, Delay, Empty, Garbage, Hang, Newer, Page, Planned, Trouble

# What goes into a chat, and is a fault during a penalty.
WRITES = frozenset(name for name in METHODS if name.startswith(("send", "edit"))) | {
    "deleteMessage",
    "setMessageReaction",
}
# What says a text in which Telegram looks for a link, to show what is behind it.
PREVIEWED = frozenset({"sendMessage", "editMessageText"})
# What a form of the largest file may be in all.
MOST_BODY = UPLOAD + (1 << 20)


class BotApi(People):
    """The server: open it with `async with`, or `start` and `stop` it, which keeps the port and all that was said."""

    def __init__(
        self,
        *,
        speed: float = 1.0,
        tick: Callable[[], float] = time.monotonic,
        budgets: Budgets = TELEGRAMS,
        ledger: Path | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(Clock(speed, tick), Ledger(ledger), budgets)
        # What else is served, by the first part of its path.
        self.routes: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        # Whether a link may show what is behind it.
        self.lets_unfurl = False
        # What methods a server of an older version does not have.
        self.lacks: set[str] = set()
        self._port = port
        self._planned: list[Planned] = []
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The base of the API."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def faults(self) -> list[Fault]:
        """What no correct client does."""
        return self.ledger.faults

    async def until(self, claim: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until a claim holds; it is looked at again whenever anything happens."""
        await self.ledger.until(claim, seconds)

    def plan(self, method: str, *troubles: Trouble, times: int = 1, chat: Chat | None = None) -> None:
        """Let the next calls of a method go wrong, each in turn so many times."""
        if method != "*":
            method = method_called(method)
        self._planned += [Planned(method, trouble, chat.id if chat else None, times) for trouble in troubles]

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=MOST_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Listen no more; all connections are cut."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bot in self.bots.values():
            await bot.mail.drop_webhook()
        await self.stop()
        self.ledger.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        first, _, rest = request.match_info["path"].partition("/")
        if first in self.routes:
            return await self.routes[first](request)
        try:
            if first == "file":
                token, _, path = rest.removeprefix("bot").partition("/")
                self._known(token)
                file = self.files.at(path, self.clock.now())
                return web.Response(body=file.content, content_type=file.mime)
            if not first.startswith("bot"):
                raise Refused(404)
            return await self._call(self._known(first.removeprefix("bot")), rest, request)
        except Refused as refused:
            return _refusal(refused.status, refused.description, refused.parameters)

    def _known(self, token: str) -> Bot:
        if token not in self.bots:
            raise Refused(401)
        return self.bots[token]

    async def _call(self, bot: Bot, name: str, request: web.Request) -> web.StreamResponse:
        """Answer a call, and enter both into the ledger."""
        given: Json = {}
        uploads: dict[str, Upload] = {}
        unread: Refused | None = None
        try:
            given, uploads = await _read(request)
        except Refused as refused:
            unread = refused
        call = self._note_call(bot, NAMES.get(name.lower(), name), given, uploads)
        try:
            if unread is not None:
                raise unread
            method = method_called(name)
            if method in self.lacks:
                raise Refused(404, "method not found")
            parsed = arguments(method, given, uploads)
            response = await self._answer(bot, method, parsed, request)
            if not self.lets_unfurl and method in PREVIEWED and _unfurls(parsed):
                self._blame(call, "without is_disabled, its links would show what is behind them")
            status, description = response.status, ""
        except Refused as refused:
            if refused.fault:
                self._blame(call, refused.fault)
            status, description = refused.status, refused.description
            response = _refusal(status, description, refused.parameters)
        self._note_answer(call, status, description)
        if status == 0 and request.transport is not None:
            request.transport.abort()
            # What is left of this is cancelled with the connection.
            await asyncio.Event().wait()
        return response

    async def _answer(self, bot: Bot, method: str, given: Json, request: web.Request) -> web.StreamResponse:
        """Do what is asked, or let it go wrong as planned; a status of 0 is no answer."""
        chat = self.chat_of(bot, given["chat_id"]) if method in WRITES else None
        if chat is not None:
            bot.flood.check_penalty(chat)
        trouble = self._next_trouble(method, chat.id if chat is not None else given.get("chat_id"))
        if trouble is None:
            return _result(await self._do(bot, method, given))
        result = await self._do(bot, method, given) if trouble.after else None
        match trouble:
            case Answer(status, description, parameters):
                if chat is not None and "retry_after" in parameters:
                    bot.flood.punish(chat, parameters["retry_after"])
                return _refusal(status, description, dict(parameters))
            case Page(status):
                page = "<html><head><title>Bad Gateway</title></head><body><center>nginx</center></body></html>"
                return web.Response(status=status, text=page, content_type="text/html")
            case Cut():
                return web.Response(status=0)
            case Hang():
                await asyncio.Event().wait()
            case Garbage():
                return web.Response(text='{"ok":true,"result":{"mess', content_type="application/json")
            case Empty():
                return web.Response(content_type="application/json")
            case Delay(seconds):
                await asyncio.sleep(seconds)
        done: Any = result if trouble.after else await self._do(bot, method, given)
        return _result(done | {"forward_origin": {"type": "newer"}} if isinstance(trouble, Newer) else done)

    async def _do(self, bot: Bot, method: str, given: Json) -> Any:
        result = METHODS[method](self, bot, given)
        return await result if isawaitable(result) else result

    def _next_trouble(self, method: str, chat: object) -> Trouble | None:
        for planned in self._planned:
            if planned.meets(method, chat):
                planned.times -= 1
                return planned.trouble
        return None

    def _note_call(self, bot: Bot, method: str, given: Json, uploads: dict[str, Upload]) -> Call:
        number = len(self.ledger.calls) + 1
        parameters = legible(method, given, uploads)
        self.ledger.note("call", self.clock.now(), number=number, bot=bot.id, method=method, parameters=parameters)
        return self.ledger.calls[-1]

    def _note_answer(self, call: Call, status: int, description: str) -> None:
        self.ledger.note("answer", self.clock.now(), number=call.number, status=status, description=description)

    def _blame(self, call: Call, what: str) -> None:
        now = self.clock.now()
        self.ledger.note("fault", now, bot=call.bot, method=call.method, what=what, parameters=call.parameters)


async def _read(request: web.Request) -> tuple[Json, dict[str, Upload]]:
    """The parameters of a call and the files that came with it, in whichever way they were sent."""
    given: Json = dict(request.query)
    uploads: dict[str, Upload] = {}
    try:
        if request.content_type == "application/json":
            body = json.loads(await request.read() or b"{}")
            if not isinstance(body, dict):
                raise wrong("can't parse JSON object")
            # Null is how JSON says that a parameter is not given.
            given |= {key: value for key, value in body.items() if value is not None}
        else:
            for key, value in (await request.post()).items():
                match value:
                    case str():
                        given[key] = value
                    case web.FileField():
                        with value.file as file:
                            uploads[key] = Upload(value.filename, value.content_type, file.read())
                    case _:
                        uploads[key] = Upload(key, "application/octet-stream", bytes(value))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise wrong("can't parse JSON object") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413) from None
    return given, uploads


def _unfurls(given: Json) -> bool:
    return bool(given.get("text")) and not given.get("link_preview_options", {}).get("is_disabled")


def _result(result: Any) -> web.Response:
    return web.json_response({"ok": True, "result": result})


def _refusal(status: int, description: str, parameters: Json | dict[str, int]) -> web.Response:
    said: Json = {"ok": False, "error_code": status, "description": description}
    if parameters:
        said["parameters"] = dict(parameters)
    return web.json_response(said, status=status)
