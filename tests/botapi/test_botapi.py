"""The server is what two libraries, written by others for the real one, take it for; and it is stricter than both."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import telegram
from aiohttp import web
from telegram import error
from telegram.ext import Application, ContextTypes, MessageHandler
from telegram.request import HTTPXRequest

from adapters.telegram.sdk import (
    AiohttpSession,
    TelegramAPIServer,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
    aiogram,
)
from tests.botapi.chats import Chat, User
from tests.botapi.entities import find, part, units
from tests.botapi.files import UPLOAD
from tests.botapi.flood import UNLIMITED, Budgets, Rate
from tests.botapi.ledger import Ledger
from tests.botapi.people import FILES, THINGS, Bot
from tests.botapi.refusal import Json
from tests.botapi.server import BotApi
from tests.botapi.trouble import Answer, Cut, Delay, Empty, Garbage, Hang, Newer, Page, Trouble

ROOT = Path(__file__).parents[2]
TOKEN = "42:TEST"
PNG = b"\x89PNG\r\n\x1a\n and so on"
YES_NO = {"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}, {"text": "No", "callback_data": "n"}]]}


@dataclass
class Scene:
    """A server, one bot, two people, and the ways to call."""

    server: BotApi
    bot: Bot
    ann: User
    bob: User
    private: Chat
    group: Chat
    http: aiohttp.ClientSession
    now: list[float]

    async def call(self, method: str, **given: Any) -> Any:
        """The result of a call."""
        said = await self.answer(method, **given)
        assert said["ok"], said
        return said["result"]

    async def answer(self, method: str, **given: Any) -> Json:
        """The answer to a call, whether it is yes or no."""
        async with self.http.post(f"{self.server.url}/bot{self.bot.token}/{method}", json=given) as response:
            said: Json = await response.json()
            assert said["ok"] or response.status == said["error_code"]
            return said

    async def refusal(self, method: str, **given: Any) -> str:
        """Why a call is refused."""
        return str((await self.answer(method, **given)).get("description"))

    async def updates(self, **how: Any) -> list[Json]:
        """What is pending; it is confirmed."""
        found: list[Json] = await self.call("getUpdates", **how)
        if found:
            await self.call("getUpdates", offset=found[-1]["update_id"] + 1, limit=1)
        return found


@asynccontextmanager
async def opened(budgets: Budgets = UNLIMITED, speed: float = 1.0, **how: Any) -> AsyncIterator[Scene]:
    now = [0.0]
    async with (
        BotApi(budgets=budgets, speed=speed, tick=lambda: now[0]) as server,
        aiohttp.ClientSession() as http,
    ):
        server.lets_unfurl = True
        bot = server.bot(TOKEN, **how)
        ann, bob = server.user("Ann", username="ann_lee"), server.user("Bob")
        private, group = server.chat("private", ann), server.chat("supergroup", ann, bob)
        yield Scene(server, bot, ann, bob, private, group, http, now)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """An ordinary scene, without budgets and with a clock that stands."""
    async with opened() as scene:
        yield scene


@pytest.fixture(autouse=True)
def as_in_its_next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let python-telegram-bot tell times as it will, and not warn of it."""
    monkeypatch.setenv("PTB_TIMEDELTA", "1")


def ptb_bot(server: BotApi, token: str = TOKEN) -> telegram.Bot:
    """A bot in python-telegram-bot, which does not read the certificates of the world."""
    plain, polling = (HTTPXRequest(httpx_kwargs={"verify": False}) for _ in range(2))
    base, files = f"{server.url}/bot", f"{server.url}/file/bot"
    return telegram.Bot(token, base, files, request=plain, get_updates_request=polling)


@pytest.fixture
async def ptb(scene: Scene) -> AsyncIterator[telegram.Bot]:
    """The scene's bot in python-telegram-bot."""
    async with ptb_bot(scene.server) as bot:
        yield bot


@pytest.fixture(scope="session")
async def session() -> AsyncIterator[AiohttpSession]:
    """One session of aiogram for all: it takes a quarter of a second to close."""
    session = AiohttpSession()
    yield session
    await session.close()


@pytest.fixture
def aio(scene: Scene, session: AiohttpSession) -> aiogram.Bot:
    """The scene's bot in aiogram."""
    session.api = TelegramAPIServer.from_base(scene.server.url)
    return aiogram.Bot(TOKEN, session=session)


# Polling


async def test_the_libraries_know_their_bot(scene: Scene, ptb: telegram.Bot, aio: aiogram.Bot) -> None:
    me = await aio.get_me()

    assert (ptb.id, ptb.username, ptb.can_read_all_group_messages) == (42, "factory_bot", False)
    assert (me.id, me.has_topics_enabled) == (42, False)
    assert not me.model_extra
    assert not scene.server.faults


async def test_a_text_whose_links_would_show_what_is_behind_them_is_a_fault(scene: Scene) -> None:
    scene.server.lets_unfurl = False
    chat = scene.private.id
    sent = await scene.call("sendMessage", chat_id=chat, text="x", link_preview_options={"is_disabled": True})
    await scene.call("editMessageText", chat_id=chat, message_id=sent["message_id"], text="y")

    assert [(fault.method, "links" in fault.what) for fault in scene.server.faults] == [("editMessageText", True)]


async def test_an_update_is_kept_until_a_greater_offset_confirms_it(scene: Scene, ptb: telegram.Bot) -> None:
    for text in ("one", "two", "three"):
        scene.server.say(scene.private, scene.ann, text)

    first = await ptb.get_updates(limit=2)
    again = await ptb.get_updates()
    rest = await ptb.get_updates(offset=first[-1].update_id + 1)
    none = await ptb.get_updates(offset=rest[-1].update_id + 1)

    assert [update.message.text for update in first if update.message] == ["one", "two"]
    assert [update.update_id for update in again] == list(range(first[0].update_id, first[0].update_id + 3))
    assert (len(rest), none) == (1, ())


async def test_a_negative_offset_forgets_all_but_the_last(scene: Scene, aio: aiogram.Bot) -> None:
    for text in ("one", "two", "three"):
        scene.server.say(scene.private, scene.ann, text)

    last = await aio.get_updates(offset=-1)

    assert [update.message.text for update in last if update.message] == ["three"]
    assert len(await aio.get_updates()) == 1


async def test_an_offset_far_ahead_confirms_nothing(scene: Scene, aio: aiogram.Bot) -> None:
    scene.server.say(scene.private, scene.ann, "Hello")
    (update,) = await aio.get_updates()

    assert len(await aio.get_updates(offset=update.update_id + 100)) == 1
    assert await aio.get_updates(offset=update.update_id + 1) == []


async def test_a_poll_waits_for_what_comes(scene: Scene, aio: aiogram.Bot) -> None:
    poll = asyncio.create_task(aio.get_updates(timeout=20))
    await scene.server.until(lambda: bool(scene.server.ledger.called("getUpdates")))

    scene.server.say(scene.private, scene.ann, "Hello")

    (update,) = await poll
    assert update.message is not None and update.message.text == "Hello"


async def test_a_second_poll_ends_the_first(scene: Scene, ptb: telegram.Bot, aio: aiogram.Bot) -> None:
    first = asyncio.create_task(ptb.get_updates(timeout=20))
    await scene.server.until(lambda: len(scene.server.ledger.called("getUpdates")) == 1)
    second = asyncio.create_task(aio.get_updates(timeout=20))

    with pytest.raises(error.Conflict, match="make sure that only one bot instance is running"):
        await first

    third = asyncio.create_task(ptb.get_updates(timeout=20))
    with pytest.raises(TelegramConflictError):
        await second
    scene.server.say(scene.private, scene.ann, "Hello")
    assert len(await third) == 1


async def test_what_a_bot_wants_is_remembered(scene: Scene, ptb: telegram.Bot) -> None:
    await ptb.get_updates(allowed_updates=["edited_message", "message_reaction"])

    said = scene.server.say(scene.private, scene.ann, "One")
    scene.server.edit(scene.private, said, "Two")
    scene.server.react(scene.private, said, scene.ann, "👍")

    edited, reaction = await ptb.get_updates()
    assert edited.edited_message is not None and edited.edited_message.text == "Two"
    assert reaction.message_reaction is not None
    await ptb.get_updates(offset=reaction.update_id + 1, allowed_updates=[])
    scene.server.react(scene.private, said, scene.ann, "👎")
    scene.server.say(scene.private, scene.ann, "Three")
    assert [update.message.text for update in await ptb.get_updates() if update.message] == ["Three"]


async def test_an_application_talks_over_it(scene: Scene) -> None:
    async def reply(update: telegram.Update, context: ContextTypes.DEFAULT_TYPE) -> None:
        if update.message is not None:
            await update.message.reply_text(f"{update.message.text}!", do_quote=True)

    application = Application.builder().token(TOKEN).base_url(f"{scene.server.url}/bot").build()
    application.add_handler(MessageHandler(None, reply))
    async with application:
        await application.start()
        assert application.updater is not None
        await application.updater.start_polling(timeout=5)
        said = scene.server.say(scene.private, scene.ann, "Hello")
        await scene.server.until(lambda: bool(scene.server.screen(scene.private).by(42)))
        await application.updater.stop()
        await application.stop()

    (answer,) = scene.server.screen(scene.private).by(42)
    assert (answer.text, answer.reply_to) == ("Hello!", said)
    assert not scene.server.faults


# Webhooks


@asynccontextmanager
async def listening(answer: Callable[[Json], int]) -> AsyncIterator[tuple[str, list[tuple[str | None, Json]]]]:
    """Somebody's webhook: where it is, and what came with which secret."""
    came: list[tuple[str | None, Json]] = []

    async def take(request: web.Request) -> web.Response:
        update = await request.json()
        came.append((request.headers.get("X-Telegram-Bot-Api-Secret-Token"), update))
        return web.Response(status=answer(update))

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", came
    await runner.cleanup()


async def test_a_webhook_gets_each_update_until_it_takes_it(session: AiohttpSession) -> None:
    answers = iter([500, 200, 200])
    async with opened(speed=1000.0) as scene, listening(lambda update: next(answers)) as (url, came):
        session.api = TelegramAPIServer.from_base(scene.server.url)
        bot = aiogram.Bot(TOKEN, session=session)
        scene.server.say(scene.private, scene.ann, "Before")
        await bot.set_webhook(url, secret_token="s3cret")
        scene.server.say(scene.private, scene.ann, "After")

        await scene.server.until(lambda: not scene.bot.mail.queue)

        texts = [update["message"]["text"] for _, update in came]
        assert texts == ["Before", "Before", "After"]
        assert {secret for secret, _ in came} == {"s3cret"}
        info = await bot.get_webhook_info()
        assert info.url == url
        assert info.last_error_message == "Wrong response from the webhook: 500 Internal Server Error"
        with pytest.raises(TelegramConflictError, match="can't use getUpdates method while webhook is active"):
            await bot.get_updates()
        await bot.delete_webhook()
        assert await bot.get_updates() == []


async def test_a_webhook_that_holds_one_chat_gets_the_others(scene: Scene, ptb: telegram.Bot) -> None:
    held = asyncio.Event()
    came: list[str] = []

    async def take(request: web.Request) -> web.Response:
        update = await request.json()
        came.append(update["message"]["text"])
        if update["message"]["chat"]["type"] == "private":
            await held.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await ptb.set_webhook(f"http://127.0.0.1:{runner.addresses[0][1]}/")

    scene.server.say(scene.private, scene.ann, "One")
    scene.server.say(scene.private, scene.ann, "Two")
    scene.server.say(scene.group, scene.ann, "/three")
    await scene.server.until(lambda: len(scene.bot.mail.queue) == 2)

    assert sorted(came) == ["/three", "One"]
    held.set()
    await scene.server.until(lambda: not scene.bot.mail.queue)
    assert came[-1] == "Two"
    await runner.cleanup()


# Texts


async def test_marks_are_counted_in_utf_16(scene: Scene, ptb: telegram.Bot) -> None:
    text = "👨‍👩‍👧 bold 😀 code"
    entities = [
        telegram.MessageEntity("bold", units("👨‍👩‍👧 "), 4),
        telegram.MessageEntity("code", units("👨‍👩‍👧 bold 😀 "), 4),
    ]

    sent = await ptb.send_message(scene.ann.id, text, entities=entities)

    assert [sent.parse_entity(entity) for entity in sent.entities] == ["bold", "code"]
    (shown,) = scene.server.screen(scene.private).messages
    assert [part(shown.text, each["offset"], each["length"]) for each in shown.entities] == ["bold", "code"]
    assert not scene.server.faults


async def test_what_people_say_is_marked(scene: Scene, ptb: telegram.Bot, aio: aiogram.Bot) -> None:
    text = "😀 /start@factory_bot hey @ann_lee, see https://example.org/a?b=1. or mail a.b@example.org #now $USD"
    scene.server.say(scene.private, scene.ann, text)

    (in_ptb,), (in_aiogram,) = await ptb.get_updates(), await aio.get_updates()

    expected = {
        "bot_command": "/start@factory_bot",
        "mention": "@ann_lee",
        "url": "https://example.org/a?b=1",
        "email": "a.b@example.org",
        "hashtag": "#now",
        "cashtag": "$USD",
    }
    assert in_ptb.message is not None and in_aiogram.message is not None
    assert {entity.type: said for entity, said in in_ptb.message.parse_entities().items()} == expected
    assert {each.type: each.extract_from(text) for each in in_aiogram.message.entities or ()} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/2 a//b path/to", []),
        ("x@y @ab @abc", ["@abc"]),
        ("@abcé", []),
        ("see example.com, or http://a.b/c)", ["example.com", "http://a.b/c"]),
        ("user@example.com", ["user@example.com"]),
        ("/help/me /ok", ["/ok"]),
    ],
)
def test_only_what_telegram_marks_is_marked(text: str, expected: list[str]) -> None:
    assert [part(text, each["offset"], each["length"]) for each in find(text)] == expected


async def test_a_text_is_shown_trimmed_and_its_marks_move_with_it(scene: Scene) -> None:
    bold = {"type": "bold", "offset": 4, "length": 6}

    sent = await scene.call("sendMessage", chat_id=scene.ann.id, text=" \r\n\tHey 😀 ", entities=[bold])

    assert (sent["text"], sent["entities"]) == ("Hey 😀", [{"type": "bold", "offset": 0, "length": 6}])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "message text is empty"),
        (" \n\u200b", "text must be non-empty"),
        ("a" * 4097, "message is too long"),
        ("😀" * 2049, "message is too long"),
        ("€" * 11000, "text is too long"),
    ],
)
async def test_a_text_too_long_or_empty_is_refused(scene: Scene, ptb: telegram.Bot, text: str, why: str) -> None:
    with pytest.raises(error.BadRequest, match=f"(?i){why}"):
        await ptb.send_message(scene.ann.id, text)

    assert await scene.call("sendMessage", chat_id=scene.ann.id, text="😀" * 2048)


@pytest.mark.parametrize(
    "entities",
    [
        [{"type": "bold", "offset": 0, "length": 99}],
        [{"type": "bold", "offset": -1, "length": 2}],
        [{"type": "bold", "offset": 1, "length": 2}],
        [{"type": "bold", "offset": 0, "length": 1}],
        [{"type": "bold", "offset": 0.0, "length": 2}],
        [{"type": "bold", "offset": 0}],
        [{"type": "fat", "offset": 0, "length": 2}],
        [{"type": "bold", "offset": 0, "length": 2, "colour": "red"}],
        [{"type": "text_link", "offset": 0, "length": 2}],
        [{"type": "text_link", "offset": 0, "length": 2, "url": "not a link"}],
        [{"type": "code", "offset": 0, "length": 6}, {"type": "bold", "offset": 2, "length": 2}],
        [{"type": "bold", "offset": 0, "length": 6}, {"type": "pre", "offset": 0, "length": 6}],
        [{"type": "bold", "offset": 0, "length": 4}, {"type": "italic", "offset": 2, "length": 4}],
        [{"type": "blockquote", "offset": 0, "length": 6}, {"type": "blockquote", "offset": 2, "length": 2}],
        [{"type": "bold", "offset": 0, "length": 2}] * 101,
    ],
)
async def test_marks_that_would_not_be_shown_are_a_fault(scene: Scene, entities: list[Json]) -> None:
    why = await scene.refusal("sendMessage", chat_id=scene.ann.id, text="😀 some text", entities=entities)

    assert why.startswith("Bad Request: ")
    (fault,) = scene.server.faults
    assert fault.method == "sendMessage" and fault.what in why
    assert not scene.server.screen(scene.private).messages


@pytest.mark.parametrize(
    "entities",
    [
        [{"type": "bold", "offset": 0, "length": 6}, {"type": "italic", "offset": 0, "length": 6}],
        [{"type": "blockquote", "offset": 0, "length": 12}, {"type": "pre", "offset": 0, "length": 12}],
        [{"type": "text_link", "offset": 0, "length": 2, "url": "example.org/😀"}],
        [{"type": "pre", "offset": 0, "length": 2, "language": "c"}, {"type": "code", "offset": 3, "length": 4}],
        [{"type": "mention", "offset": 0, "length": 2}],
    ],
)
async def test_marks_that_can_be_shown_are(scene: Scene, entities: list[Json]) -> None:
    sent = await scene.call("sendMessage", chat_id=scene.ann.id, text="😀 some text", entities=entities)

    # What the server finds by itself a bot cannot mark.
    assert len(sent.get("entities", [])) == len([each for each in entities if each["type"] != "mention"])


# Strictness


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("sendMessage", {"text": "x", "colour": "red"}),
        ("sendMessage", {"text": "*x*", "parse_mode": "MarkdownV2"}),
        ("sendMessage", {"text": 5}),
        ("sendMessage", {"text": "x", "chat_id": "ann"}),
        ("sendMessage", {"text": "x", "chat_id": 1.5}),
        ("sendMessage", {"text": "x", "disable_notification": "maybe"}),
        ("sendMessage", {"text": "x", "reply_markup": {"keys": []}}),
        ("sendMessage", {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "x", "data": "x"}]]}}),
        ("sendMessage", {"text": "x", "reply_parameters": {"message": 1}}),
        ("sendMessage", {"text": "x", "reply_parameters": "{"}),
        ("sendMessage", {"text": "x", "link_preview_options": {"is_off": True}}),
        ("sendMessage", {"text": "\ud800"}),
        ("sendMessageDraft", {"draft_id": "one"}),
        ("editMessageText", {"text": "x"}),
        ("sendDocument", {}),
        ("sendDocument", {"document": "attach://nothing"}),
        ("sendDocument", {"document": "https://example.org/x.pdf"}),
        ("getUpdates", {"chat_id": None, "limit": 101}),
        ("getUpdates", {"chat_id": None, "allowed_updates": ["mesage"]}),
        ("sendRichMessage", {"rich_message": {"markdown": "x", "html": "x"}}),
        ("logOut", {"chat_id": None}),
    ],
)
async def test_what_no_client_of_ours_may_ask_is_refused_and_noted(scene: Scene, method: str, given: Json) -> None:
    said = await scene.answer(method, **{"chat_id": scene.ann.id, **given})

    assert said["error_code"] in (400, 404)
    (fault,) = scene.server.faults
    assert (fault.method, fault.bot) == (method, 42)


async def test_parameters_come_in_every_way_that_http_has(scene: Scene) -> None:
    url = f"{scene.server.url}/bot{TOKEN}/SENDmessage"
    markup = json.dumps(YES_NO)
    form = aiohttp.FormData({"chat_id": str(scene.ann.id), "text": "form", "reply_markup": markup})
    parts = aiohttp.FormData(
        {"chat_id": str(scene.ann.id), "text": "parts", "reply_markup": markup}, default_to_multipart=True
    )

    answers = [
        await scene.http.get(url, params={"chat_id": scene.ann.id, "text": "query", "reply_markup": markup}),
        await scene.http.post(url, data=form),
        await scene.http.post(url, data=parts),
        await scene.http.post(url, json={"chat_id": scene.ann.id, "text": "json", "reply_markup": YES_NO}),
        await scene.http.post(url, json={"chat_id": scene.ann.id, "text": "string", "reply_markup": markup}),
    ]

    assert [answer.status for answer in answers] == [200] * 5
    shown = scene.server.screen(scene.private).messages
    assert [each.text for each in shown] == ["query", "form", "parts", "json", "string"]
    assert [each.markup for each in shown] == [YES_NO] * 5
    assert not scene.server.faults


async def test_a_token_of_nobody_is_refused(scene: Scene, aio: aiogram.Bot) -> None:
    unknown = ptb_bot(scene.server, "7:NONE")
    with pytest.raises(error.InvalidToken):
        await unknown.initialize()
    await unknown.shutdown()
    with pytest.raises(TelegramUnauthorizedError):
        await aiogram.Bot("7:NONE", session=aio.session).get_me()


# Editing, buttons, replies


async def test_an_edit_is_seen_and_the_same_again_is_refused(scene: Scene, ptb: telegram.Bot) -> None:
    keyboard = telegram.InlineKeyboardMarkup([[telegram.InlineKeyboardButton("Stop", callback_data="s")]])
    sent = await ptb.send_message(scene.ann.id, "One", reply_markup=keyboard)

    with pytest.raises(error.BadRequest, match="Message is not modified: specified new message content"):
        await ptb.edit_message_text("One", scene.ann.id, sent.message_id, reply_markup=keyboard)
    bold = [telegram.MessageEntity("bold", 0, 3)]
    await ptb.edit_message_text("One", scene.ann.id, sent.message_id, entities=bold, reply_markup=keyboard)
    edited = await ptb.edit_message_text("Two", scene.ann.id, sent.message_id)

    assert isinstance(edited, telegram.Message) and edited.edit_date is not None
    (shown,) = scene.server.screen(scene.private).messages
    assert [(each.text, bool(each.entities), bool(each.markup)) for each in shown.versions] == [
        ("One", False, True),
        ("One", True, True),
        # An edit without buttons takes them away.
        ("Two", False, False),
    ]


async def test_only_a_bot_s_own_messages_can_be_edited(scene: Scene, ptb: telegram.Bot) -> None:
    theirs = scene.server.say(scene.private, scene.ann, "Mine")
    forced = await ptb.send_message(scene.ann.id, "And?", reply_markup=telegram.ForceReply())
    gone = await ptb.send_message(scene.ann.id, "Gone")
    await ptb.delete_message(scene.ann.id, gone.message_id)

    for number, why in (
        (theirs, "message can't be edited"),
        (forced.message_id, "message can't be edited"),
        (gone.message_id, "message to edit not found"),
        (999, "message to edit not found"),
    ):
        with pytest.raises(error.BadRequest, match=f"(?i){why}"):
            await ptb.edit_message_text("x", scene.ann.id, number)
    with pytest.raises(error.BadRequest, match="Message to delete not found"):
        await ptb.delete_message(scene.ann.id, gone.message_id)


async def test_a_bot_deletes_what_it_may(scene: Scene) -> None:
    in_private = scene.server.say(scene.private, scene.ann, "x")
    in_group = scene.server.say(scene.group, scene.ann, "x")

    assert await scene.call("deleteMessage", chat_id=scene.ann.id, message_id=in_private)
    why = await scene.refusal("deleteMessage", chat_id=scene.group.id, message_id=in_group)
    scene.server.set_status(scene.group, scene.bot, "administrator")
    assert await scene.call("deleteMessage", chat_id=scene.group.id, message_id=in_group)

    assert why == "Bad Request: message can't be deleted for everyone"
    assert not scene.server.screen(scene.group).messages


async def test_a_button_is_pressed_and_answered(scene: Scene, ptb: telegram.Bot) -> None:
    keyboard = telegram.InlineKeyboardMarkup.from_row([telegram.InlineKeyboardButton("Yes", callback_data="y")])
    sent = await ptb.send_message(scene.group.id, "Sure?", reply_markup=keyboard)

    pressed = scene.server.press(scene.group, sent.message_id, scene.bob, "Yes")
    (update,) = await ptb.get_updates()
    query = update.callback_query
    assert query is not None and isinstance(query.message, telegram.Message)
    await query.answer("Done")
    await query.edit_message_reply_markup(None)

    assert (query.id, query.data, query.from_user.first_name) == (pressed, "y", "Bob")
    assert query.message.reply_markup == keyboard
    assert scene.server.answered(pressed) == {"text": "Done"}
    with pytest.raises(ValueError, match="no button"):
        scene.server.press(scene.group, sent.message_id, scene.bob, "Yes")
    for id, text, why in ((pressed, "x" * 201, "MESSAGE_TOO_LONG"), ("1", "x", "query is too old")):
        assert why in await scene.refusal("answerCallbackQuery", callback_query_id=id, text=text)
    scene.now[0] += 901
    assert "query is too old" in await scene.refusal("answerCallbackQuery", callback_query_id=pressed)


@pytest.mark.parametrize(
    ("button", "why"),
    [
        ({"text": "x", "callback_data": "é" * 33}, "BUTTON_DATA_INVALID"),
        ({"text": "x", "callback_data": ""}, "BUTTON_DATA_INVALID"),
        ({"text": " ", "callback_data": "x"}, "text must be non-empty"),
        ({"text": "x"}, "Text buttons are unallowed"),
        ({"text": "x", "url": "no link"}, "Wrong HTTP URL"),
    ],
)
async def test_a_button_that_is_not_whole_is_refused(scene: Scene, button: Json, why: str) -> None:
    markup = {"inline_keyboard": [[button]]}

    assert why in await scene.refusal("sendMessage", chat_id=scene.ann.id, text="x", reply_markup=markup)


async def test_a_reply_names_what_it_replies_to(scene: Scene, ptb: telegram.Bot, aio: aiogram.Bot) -> None:
    said = scene.server.say(scene.private, scene.ann, "😀 one two")
    how = telegram.ReplyParameters(said, quote="two")

    sent = await ptb.send_message(scene.ann.id, "x", reply_parameters=how)
    lost = aiogram.types.ReplyParameters(message_id=999)
    with pytest.raises(TelegramBadRequest, match="message to be replied not found"):
        await aio.send_message(scene.ann.id, "x", reply_parameters=lost)
    lost = aiogram.types.ReplyParameters(message_id=999, allow_sending_without_reply=True)
    alone = await aio.send_message(scene.ann.id, "x", reply_parameters=lost)

    assert sent.reply_to_message is not None and sent.reply_to_message.message_id == said
    assert sent.quote is not None and (sent.quote.text, sent.quote.position) == ("two", 7)
    assert alone.reply_to_message is None
    reply = {"message_id": said, "quote": "three"}
    assert "QUOTE_TEXT_INVALID" in await scene.refusal(
        "sendMessage", chat_id=scene.ann.id, text="x", reply_parameters=reply
    )


async def test_a_bot_reacts_once(scene: Scene, ptb: telegram.Bot) -> None:
    said = scene.server.say(scene.private, scene.ann, "x")

    await ptb.set_message_reaction(scene.ann.id, said, "👀")
    for emoji, why in ((["👀", "👌"], "REACTIONS_TOO_MANY"), (["🦖"], "REACTION_INVALID")):
        reaction = [{"type": "emoji", "emoji": each} for each in emoji]
        given = {"chat_id": scene.ann.id, "message_id": said, "reaction": reaction}
        assert why in await scene.refusal("setMessageReaction", **given)

    assert scene.server.screen(scene.private).all[said].reactions == {42: ("👀",)}
    await ptb.set_message_reaction(scene.ann.id, said)
    assert scene.server.screen(scene.private).all[said].reactions == {42: ()}


# Drafts and actions


async def test_a_draft_is_seen_for_half_a_minute_or_until_a_message_comes(scene: Scene, ptb: telegram.Bot) -> None:
    screen, clock = scene.server.screen(scene.private), scene.server.clock

    await ptb.send_message_draft(scene.ann.id, 7, "Thi")
    await ptb.send_message_draft(scene.ann.id, 7, "Think")
    draft = screen.draft(clock.now())
    assert draft is not None and [each.text for each in draft.versions] == ["Thi", "Think"]
    scene.now[0] += 29
    await ptb.send_message_draft(scene.ann.id, 7, "Thinking")
    scene.now[0] += 29
    assert screen.draft(clock.now()) is draft
    scene.now[0] += 2
    assert screen.draft(clock.now()) is None
    await ptb.send_message_draft(scene.ann.id, 8, "Done")
    await ptb.send_message(scene.ann.id, "Done")
    assert screen.draft(clock.now()) is None

    assert [draft.id for draft in screen.drafts] == [7, 8]
    assert [shown.text for shown in screen.messages] == ["Done"]


async def test_drafts_are_for_private_chats(scene: Scene, aio: aiogram.Bot) -> None:
    with pytest.raises(TelegramBadRequest, match="TEXTDRAFT_PEER_INVALID"):
        await aio.send_message_draft(chat_id=scene.group.id, draft_id=1, text="x")
    with pytest.raises(TelegramBadRequest, match="RANDOM_ID_INVALID"):
        await aio.send_message_draft(chat_id=scene.ann.id, draft_id=0, text="x")
    with pytest.raises(TelegramBadRequest, match="message is too long"):
        await aio.send_message_draft(chat_id=scene.ann.id, draft_id=1, text="x" * 4097)


@pytest.mark.parametrize("keep", [False, True])
async def test_a_draft_can_be_stopped_if_the_bot_lets_it(scene: Scene, aio: aiogram.Bot, keep: bool) -> None:
    rich = aiogram.types.InputRichMessage(markdown="# Hm")
    await aio.send_rich_message_draft(
        chat_id=scene.ann.id, draft_id=9, rich_message=rich, can_stop=True, keep_on_stop=keep
    )

    scene.server.stop_draft(scene.private)

    (update,) = await aio.get_updates()
    stopped = update.stopped_message_generation
    assert stopped is not None and (stopped.draft_id, stopped.chat.id) == (9, scene.ann.id)
    assert (scene.server.screen(scene.private).draft(scene.server.clock.now()) is not None) is keep
    with pytest.raises(ValueError, match="no draft to stop"):
        scene.server.stop_draft(scene.private)


async def test_a_rich_message_is_kept_as_it_was_written(scene: Scene, aio: aiogram.Bot) -> None:
    sent = await aio.send_rich_message(
        scene.ann.id, aiogram.types.InputRichMessage(html="<h1>Hi</h1><table><tr><td>1</td></tr></table>")
    )
    await aio.edit_message_text(
        chat_id=scene.ann.id,
        message_id=sent.message_id,
        rich_message=aiogram.types.InputRichMessage(markdown="# Ho"),
    )
    await aio.edit_message_text("Plain", chat_id=scene.ann.id, message_id=sent.message_id)

    assert sent.rich_message is not None
    (shown,) = scene.server.screen(scene.private).messages
    assert [bool(each.media) for each in shown.versions] == [True, True, False]
    assert [each.text for each in shown.versions][1:] == ["# Ho", "Plain"]
    assert shown.versions[0].media == {
        "rich_message": {"blocks": [{"type": "paragraph", "text": "<h1>Hi</h1><table><tr><td>1</td></tr></table>"}]}
    }
    for html in ("<b>x", "<b><i>x</b></i>", "x</b>"):
        with pytest.raises(TelegramBadRequest, match="can't parse entities"):
            await aio.send_rich_message(scene.ann.id, aiogram.types.InputRichMessage(html=html))


async def test_an_action_is_seen_for_five_seconds_or_until_a_message_comes(scene: Scene, ptb: telegram.Bot) -> None:
    screen, clock = scene.server.screen(scene.private), scene.server.clock

    await ptb.send_chat_action(scene.ann.id, "typing")
    assert screen.action(clock.now()) == "typing"
    await ptb.send_message(scene.ann.id, "x")
    assert screen.action(clock.now()) is None
    await ptb.send_chat_action(scene.ann.id, "upload_photo")
    scene.now[0] += 5.1
    assert screen.action(clock.now()) is None

    assert "wrong parameter action in request" in await scene.refusal(
        "sendChatAction", chat_id=scene.ann.id, action="dancing"
    )


# Files


async def test_a_file_goes_up_and_down_whole(scene: Scene, ptb: telegram.Bot, aio: aiogram.Bot) -> None:
    content = bytes(range(256)) * 64

    up = await ptb.send_document(scene.ann.id, content, caption="Here 😀", filename="data.bin")
    assert up.document is not None and (up.document.file_size, up.document.file_name) == (len(content), "data.bin")
    assert bytes(await (await up.document.get_file()).download_as_bytearray()) == content
    again = await aio.send_document(scene.ann.id, up.document.file_id)
    assert again.document is not None and again.document.file_unique_id == up.document.file_unique_id
    down = await aio.download(again.document)
    assert down is not None and down.read() == content

    shown, _ = scene.server.screen(scene.private).messages
    assert shown.text == "Here 😀" and shown.media is not None and "document" in shown.media
    first, second = scene.server.ledger.called("sendDocument")
    assert first.parameters["document"] == {"name": "data.bin", "size": len(content)}
    assert second.parameters == {"chat_id": scene.ann.id, "document": up.document.file_id}
    with pytest.raises(TelegramBadRequest, match="can't use file of type Document as Photo"):
        await aio.send_photo(scene.ann.id, up.document.file_id)


async def test_each_kind_of_file_is_sent_as_what_it_is(scene: Scene, ptb: telegram.Bot) -> None:
    photo = await ptb.send_photo(scene.ann.id, PNG)
    voice = await ptb.send_voice(scene.ann.id, b"OggS", duration=3)
    audio = await ptb.send_audio(scene.ann.id, b"ID3", performer="Ann", title="Song")
    video = await ptb.send_video(scene.ann.id, b"mp4", width=64, height=48)

    assert len(photo.photo) == 2
    assert voice.voice is not None and voice.voice.duration == timedelta(seconds=3)
    assert audio.audio is not None and (audio.audio.performer, audio.audio.title) == ("Ann", "Song")
    assert video.video is not None and (video.video.width, video.video.height) == (64, 48)
    with pytest.raises(error.BadRequest, match=r"(?i)image_process_failed"):
        await ptb.send_photo(scene.ann.id, b"no picture")
    with pytest.raises(error.BadRequest, match=r"(?i)message caption is too long"):
        await ptb.send_photo(scene.ann.id, PNG, caption="😀" * 513)


async def test_a_message_becomes_a_photo(scene: Scene, ptb: telegram.Bot) -> None:
    sent = await ptb.send_message(scene.ann.id, "Wait")

    edited = await ptb.edit_message_media(telegram.InputMediaPhoto(PNG, caption="There"), scene.ann.id, sent.message_id)

    assert isinstance(edited, telegram.Message) and (edited.text, edited.caption) == (None, "There")
    (shown,) = scene.server.screen(scene.private).messages
    assert [each.text for each in shown.versions] == ["Wait", "There"]
    with pytest.raises(error.BadRequest, match="There is no text in the message to edit"):
        await ptb.edit_message_text("x", scene.ann.id, sent.message_id)


async def test_a_file_too_large_is_told_so(scene: Scene, ptb: telegram.Bot) -> None:
    scene.server.send(scene.private, scene.ann, "document", name="film.mkv", size=21 * 1024 * 1024)
    (update,) = await ptb.get_updates()
    assert update.message is not None and update.message.document is not None

    with pytest.raises(error.BadRequest, match="File is too big"):
        await update.message.document.get_file()
    with pytest.raises(error.BadRequest, match="10485761 bytes is too big for a photo"):
        await ptb.send_photo(scene.ann.id, PNG.ljust(10 * 1024 * 1024 + 1))
    with pytest.raises(error.BadRequest, match=r"(?i)invalid file_id"):
        await ptb.get_file("nothing")


async def test_more_than_a_bot_may_send_is_not_taken(scene: Scene) -> None:
    form = aiohttp.FormData({"chat_id": str(scene.ann.id)})
    form.add_field("document", BytesIO(bytes(UPLOAD + 1)), filename="large.bin")

    async with scene.http.post(f"{scene.server.url}/bot{TOKEN}/sendDocument", data=form) as response:
        said = await response.json()

    assert said == {"ok": False, "error_code": 413, "description": "Request Entity Too Large"}
    assert not scene.server.screen(scene.private).messages


async def test_a_link_to_a_file_dies(scene: Scene) -> None:
    scene.server.send(scene.private, scene.ann, "photo", PNG)
    (update,) = await scene.updates()
    file = await scene.call("getFile", file_id=update["message"]["photo"][-1]["file_id"])
    url = f"{scene.server.url}/file/bot{TOKEN}/{file['file_path']}"

    async with scene.http.get(url) as response:
        assert await response.read() == PNG
    scene.now[0] += 3601
    async with scene.http.get(url) as response:
        assert response.status == 404


# Commands and chats


async def test_commands_are_told_by_scope_and_language(scene: Scene, ptb: telegram.Bot) -> None:
    groups = telegram.BotCommandScopeAllGroupChats()

    await ptb.set_my_commands([("start", "Begin"), ("stop", "End")])
    await ptb.set_my_commands([("new", "Neu")], scope=groups, language_code="de")
    told = await ptb.get_my_commands(), await ptb.get_my_commands(groups, "de"), await ptb.get_my_commands(groups)
    await ptb.delete_my_commands()

    assert [[each.command for each in commands] for commands in told] == [["start", "stop"], ["new"], []]
    assert await ptb.get_my_commands() == ()
    for name, description, why in (
        ("Start", "x", "BOT_COMMAND_INVALID"),
        ("start", " ", "command description must be non-empty"),
        ("start", "x" * 257, "command description length must not exceed 256"),
    ):
        commands = [{"command": name, "description": description}]
        assert why in await scene.refusal("setMyCommands", commands=commands)
    many = [{"command": f"c{number}", "description": "x"} for number in range(101)]
    assert "BOT_COMMANDS_TOO_MUCH" in await scene.refusal("setMyCommands", commands=many)


async def test_a_chat_is_told_and_left(scene: Scene, ptb: telegram.Bot, aio: aiogram.Bot) -> None:
    assert (await ptb.get_chat(scene.group.id)).title == "The supergroup"
    assert (await aio.get_chat(scene.ann.id)).first_name == "Ann"

    await ptb.leave_chat(scene.group.id)

    with pytest.raises(error.Forbidden, match="bot is not a member of the supergroup chat"):
        await ptb.send_message(scene.group.id, "x")


def blocked(scene: Scene) -> Chat:
    scene.server.set_status(scene.private, scene.bot, "kicked")
    return scene.private


def kicked(scene: Scene) -> Chat:
    scene.server.set_status(scene.group, scene.bot, "kicked", by=scene.ann)
    return scene.group


def silenced(scene: Scene) -> Chat:
    scene.group.lets_bots_write = False
    return scene.group


def deactivated(scene: Scene) -> Chat:
    scene.private.is_deactivated = True
    return scene.private


def never_met(scene: Scene) -> Chat:
    scene.private.is_started = False
    return scene.private


def unknown(scene: Scene) -> Chat:
    return scene.server.chat("group", bots=())


def only_read(scene: Scene) -> Chat:
    channel = scene.server.chat("channel")
    channel.bots[scene.bot.id] = "member"
    return channel


@pytest.mark.parametrize(
    ("make", "kind", "why"),
    [
        (blocked, error.Forbidden, "Forbidden: bot was blocked by the user"),
        (kicked, error.Forbidden, "Forbidden: bot was kicked from the supergroup chat"),
        (deactivated, error.Forbidden, "Forbidden: user is deactivated"),
        (never_met, error.Forbidden, "Forbidden: bot can't initiate conversation with a user"),
        (silenced, error.BadRequest, "Bad Request: not enough rights to send text messages to the chat"),
        (unknown, error.BadRequest, "Bad Request: chat not found"),
        (only_read, error.BadRequest, "Bad Request: need administrator rights in the channel chat"),
    ],
)
async def test_a_bot_that_may_not_write_is_told_why(
    scene: Scene, ptb: telegram.Bot, aio: aiogram.Bot, make: Callable[[Scene], Chat], kind: type[Exception], why: str
) -> None:
    chat = make(scene)

    with pytest.raises(kind):
        await ptb.send_message(chat.id, "x")
    with pytest.raises(TelegramForbiddenError if kind is error.Forbidden else TelegramBadRequest):
        await aio.send_message(chat.id, "x")

    assert [call.description for call in scene.server.ledger.called("sendMessage")] == [why, why]
    assert not scene.server.faults


async def test_where_no_voice_is_taken_a_bot_is_told_so(scene: Scene, aio: aiogram.Bot) -> None:
    voice = aiogram.types.BufferedInputFile(b"sound", "voice.ogg")
    scene.private.takes_voice = scene.group.takes_voice = False

    for chat in (scene.private, scene.group):
        with pytest.raises(TelegramBadRequest):
            await aio.send_voice(chat.id, voice)
        await aio.send_message(chat.id, "x")

    assert [call.description for call in scene.server.ledger.called("sendVoice")] == [
        "Bad Request: VOICE_MESSAGES_FORBIDDEN",
        "Bad Request: not enough rights to send voice notes to the chat",
    ]


async def test_a_group_moves_and_says_where(scene: Scene, ptb: telegram.Bot, aio: aiogram.Bot) -> None:
    group = scene.server.chat("group", scene.ann)

    new = scene.server.migrate(group, scene.ann)

    old_update, new_update = await ptb.get_updates()
    assert old_update.message is not None and old_update.message.migrate_to_chat_id == new.id
    assert new_update.message is not None and new_update.message.migrate_from_chat_id == group.id
    with pytest.raises(error.ChatMigrated) as moved:
        await ptb.send_message(group.id, "x")
    assert moved.value.new_chat_id == new.id
    with pytest.raises(TelegramMigrateToChat):
        await aio.send_message(group.id, "x")
    assert (await aio.send_message(new.id, "x")).chat.type == "supergroup"


async def test_a_topic_is_a_thread_that_can_be_closed_and_go(scene: Scene, ptb: telegram.Bot) -> None:
    forum = scene.server.chat("supergroup", scene.ann, is_forum=True)
    thread = scene.server.topic(forum, scene.ann, "News")
    said = scene.server.say(forum, scene.ann, "/x", thread=thread)

    sent = await ptb.send_message(forum.id, "in it", message_thread_id=thread)
    reply = await ptb.send_message(forum.id, "too", reply_parameters=telegram.ReplyParameters(said))
    general = await ptb.send_message(forum.id, "in none")
    _, update = await ptb.get_updates()

    assert (sent.message_thread_id, sent.is_topic_message) == (thread, True)
    assert (reply.message_thread_id, general.message_thread_id) == (thread, None)
    # What is said in a topic stands as a reply to its beginning.
    assert update.message is not None and update.message.reply_to_message is not None
    assert update.message.reply_to_message.forum_topic_created is not None
    for chat, number in ((forum.id, 1), (forum.id, said), (scene.group.id, thread), (scene.ann.id, thread)):
        with pytest.raises(error.BadRequest, match="Message thread not found"):
            await ptb.send_message(chat, "x", message_thread_id=number)
    scene.server.close_topic(forum, scene.ann, thread)
    with pytest.raises(error.BadRequest, match=r"(?i)topic_closed"):
        await ptb.send_message(forum.id, "x", message_thread_id=thread)
    with pytest.raises(error.BadRequest, match=r"(?i)topic_closed"):
        await ptb.send_message(forum.id, "x", reply_parameters=telegram.ReplyParameters(said))
    scene.server.delete_topic(forum, thread)
    with pytest.raises(error.BadRequest, match="Message thread not found"):
        await ptb.send_chat_action(forum.id, "typing", message_thread_id=thread)


async def test_a_private_chat_can_have_topics(scene: Scene, aio: aiogram.Bot) -> None:
    thread = scene.server.topic(scene.private, scene.ann, "Plans")

    await aio.send_message_draft(chat_id=scene.ann.id, draft_id=3, text="x", message_thread_id=thread, can_stop=True)
    scene.server.stop_draft(scene.private, thread)

    *_, update = await aio.get_updates()
    assert update.stopped_message_generation is not None
    assert update.stopped_message_generation.message_thread_id == thread


async def test_a_reply_in_a_group_without_topics_has_a_thread_too(scene: Scene, aio: aiogram.Bot) -> None:
    root = scene.server.say(scene.group, scene.ann, "Root")
    scene.server.say(scene.group, scene.bob, "/reply", reply_to=root)

    (update,) = await aio.get_updates()

    assert update.message is not None
    assert (update.message.message_thread_id, update.message.is_topic_message) == (root, None)


# What people do


async def test_privacy_mode_lets_through_what_is_for_the_bot(scene: Scene) -> None:
    ours = await scene.call("sendMessage", chat_id=scene.group.id, text="Hello")
    for text, how in (
        ("just talk", {}),
        ("/all", {}),
        ("/for@factory_bot", {}),
        ("/for@other_bot", {}),
        ("hey @Factory_Bot", {}),
        ("hey @factory_bots", {}),
        ("a reply", {"reply_to": ours["message_id"]}),
        ("pointing", {"entities": [{"type": "text_mention", "offset": 0, "length": 8, "user": {"id": 42}}]}),
    ):
        scene.server.say(scene.group, scene.ann, text, **how)
    scene.server.join(scene.group, scene.server.user("Eve"))

    texts = [update["message"].get("text") for update in await scene.updates()]

    assert texts == ["/all", "/for@factory_bot", "hey @Factory_Bot", "a reply", "pointing", None]
    scene.server.set_status(scene.group, scene.bot, "administrator")
    scene.server.say(scene.group, scene.ann, "just talk")
    member, talk = await scene.updates()
    assert member["my_chat_member"]["new_chat_member"]["status"] == "administrator"
    assert talk["message"]["text"] == "just talk"


async def test_a_bot_without_privacy_mode_gets_everything_but_bots() -> None:
    async with opened(reads_all=True) as scene:
        scene.server.say(scene.group, scene.ann, "just talk")
        await scene.call("sendMessage", chat_id=scene.group.id, text="Hello")

        assert [update["message"]["text"] for update in await scene.updates()] == ["just talk"]


async def test_two_bots_have_private_chats_of_their_own(scene: Scene) -> None:
    other = scene.server.bot("43:TEST", "other_bot")
    beside = scene.server.chat("private", scene.ann, bots=[other])

    scene.server.say(beside, scene.ann, "For the other")
    await scene.call("sendMessage", chat_id=scene.ann.id, text="From the first")

    asked = await scene.call("sendMessage", chat_id=scene.group.id, text="Sure?", reply_markup=YES_NO)
    query = scene.server.press(scene.group, asked["message_id"], scene.ann, "Yes")

    assert beside.id == scene.private.id
    async with scene.http.post(
        f"{scene.server.url}/bot43:TEST/answerCallbackQuery", json={"callback_query_id": query}
    ) as response:
        assert response.status == 400
    (pressed,) = await scene.updates()
    assert pressed["callback_query"]["id"] == query
    assert [shown.text for shown in scene.server.screen(beside).messages] == ["For the other"]
    assert [shown.text for shown in scene.server.screen(scene.private).messages] == ["From the first"]


# What the server still tells in the words of before, and what python-telegram-bot does not know yet.
OLD_WORDS = {
    "forward_from",
    "forward_from_chat",
    "forward_from_message_id",
    "forward_sender_name",
    "forward_date",
    "all_members_are_administrators",
}
NEW_WORDS = {"can_send_welcome_messages"}


def unknown_to(told: telegram.TelegramObject) -> set[str]:
    """The fields that python-telegram-bot does not know, anywhere within."""
    unknown = set(told.api_kwargs)
    slots = (name for kind in type(told).__mro__ for name in getattr(kind, "__slots__", ()))
    for name in slots:
        value = getattr(told, name, None) if not name.startswith("_") else None
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, telegram.TelegramObject):
                unknown |= unknown_to(each)
    return unknown


def extra_in(told: Any) -> set[str]:
    """The fields that aiogram does not know, anywhere within."""
    if isinstance(told, list):
        return set().union(*(extra_in(each) for each in told))
    if not isinstance(told, aiogram.types.TelegramObject):
        return set()
    known = (getattr(told, name) for name in type(told).model_fields)
    return set(told.model_extra or ()).union(*(extra_in(each) for each in known))


async def test_all_that_people_do_is_told_in_words_that_the_libraries_know(scene: Scene) -> None:
    server, ann, group = scene.server, scene.ann, scene.group
    scene.server.set_status(group, scene.bot, "administrator")
    channel = server.chat("channel", title="News", username="the_news")
    channel.linked = group
    old_group, forum = server.chat("group", ann), server.chat("supergroup", ann, is_forum=True)
    for kind in (*sorted(FILES), *sorted(THINGS)):
        server.send(group, ann, kind, PNG, caption="See" if kind == "photo" else "", media_group="1")
    said = server.say(group, ann, "Hello")
    server.say(group, scene.bob, "Indeed", reply_to=said, quote="ello")
    server.say(scene.private, ann, "From afar", reply_to=said, reply_in=group)
    for origin in (scene.bob, channel, "Hidden"):
        server.say(group, ann, "Look", forward_from=origin)
    server.say(group, ann, "I am the group", as_chat=group)
    server.say(group, ann, "I am the channel", as_chat=channel)
    server.say(group, ann, "By way of a bot", via=scene.bot)
    server.edit(group, said, "Hello again")
    post = server.post(channel, "Read this", signature="Ed")
    server.edit(channel, post, "Read that")
    server.join(group, server.user("Eve"))
    server.leave(group, scene.bob)
    server.pin(group, said, ann)
    server.rename(group, ann, "Other")
    server.close_topic(forum, ann, server.topic(forum, ann, "Topic"))
    server.migrate(old_group, ann)
    sent = await scene.call("sendMessage", chat_id=group.id, text="Sure?", reply_markup=YES_NO)
    server.press(group, sent["message_id"], ann, "Yes")

    told = await scene.updates()

    assert len(told) > 35
    for update in told:
        in_ptb = telegram.Update.de_json(json.loads(json.dumps(update)), None)
        assert unknown_to(in_ptb) <= OLD_WORDS | NEW_WORDS, update
        in_aiogram = aiogram.types.Update.model_validate(update)
        assert extra_in(in_aiogram) <= OLD_WORDS, update
        message = in_aiogram.message
        assert message is None or message.content_type != "unknown", update


async def test_a_post_is_forwarded_to_the_group_of_its_channel(scene: Scene, aio: aiogram.Bot) -> None:
    channel = scene.server.chat("channel", title="News")
    channel.linked = scene.group
    scene.server.set_status(scene.group, scene.bot, "administrator")
    await scene.updates()

    scene.server.post(channel, "Read this")
    scene.server.say(scene.group, scene.ann, "I am nobody", as_chat=scene.group)
    posted, forwarded, anonymous = await aio.get_updates()

    assert posted.channel_post is not None and posted.channel_post.from_user is None
    assert forwarded.message is not None and forwarded.message.from_user is not None
    assert (forwarded.message.from_user.id, forwarded.message.is_automatic_forward) == (777000, True)
    assert anonymous.message is not None and anonymous.message.from_user is not None
    assert anonymous.message.from_user.id == 1087968824
    assert anonymous.message.sender_chat is not None and anonymous.message.sender_chat.id == scene.group.id


async def test_an_update_can_be_of_any_shape(scene: Scene) -> None:
    scene.server.raw(scene.bot, {"invention": {"of": "tomorrow"}})
    scene.server.raw(scene.bot, {"message": {"text": 5}})

    first, second = await scene.updates()

    assert (first["invention"], second["message"]) == ({"of": "tomorrow"}, {"text": 5})
    assert second["update_id"] == first["update_id"] + 1


# Budgets


async def test_a_bot_that_writes_too_fast_is_punished_and_the_next_write_is_a_fault() -> None:
    async with opened(Budgets(private=Rate(2, 10))) as scene, ptb_bot(scene.server) as bot:
        sent = await bot.send_message(scene.ann.id, "x")
        # An edit counts as a send does.
        await bot.edit_message_text("y", scene.ann.id, sent.message_id)
        with pytest.raises(error.RetryAfter) as told:
            await bot.send_message(scene.ann.id, "too fast")
        assert told.value.retry_after == timedelta(seconds=10)
        assert not scene.server.faults

        scene.now[0] += 9
        with pytest.raises(error.RetryAfter):
            await bot.send_chat_action(scene.ann.id, "typing")
        await bot.send_message(scene.group.id, "elsewhere")
        scene.now[0] += 9
        assert [fault.what for fault in scene.server.faults] == ["wrote during a penalty"]
        # It was begun anew.
        with pytest.raises(error.RetryAfter):
            await bot.send_message(scene.ann.id, "x")
        scene.now[0] += 10
        await bot.send_message(scene.ann.id, "x")

    assert [call.parameters["text"] for call in scene.server.ledger.called("sendMessage") if call.status == 200] == [
        "x",
        "elsewhere",
        "x",
    ]


async def test_a_penalty_is_told_in_the_client_s_seconds() -> None:
    async with opened(Budgets(group=Rate(20, 60)), speed=7.0) as scene:
        for number in range(20):
            await scene.call("sendMessage", chat_id=scene.group.id, text=str(number))
            scene.now[0] += 0.1
        said = await scene.answer("sendMessage", chat_id=scene.group.id, text="x")

        # The first was 2 of the client's seconds, and so 14 of the server's, before: 46 of 60 are left, which is 6.57.
        assert said["parameters"] == {"retry_after": 7}
        assert said["description"] == "Too Many Requests: retry after 7"
        scene.now[0] += 7
        assert await scene.call("sendMessage", chat_id=scene.group.id, text="x")
    assert not scene.server.faults


async def test_a_bot_has_a_budget_for_all_chats_together() -> None:
    async with opened(Budgets()) as scene:
        chats = [scene.server.chat("private", scene.server.user()) for _ in range(31)]
        statuses = [(await scene.answer("sendMessage", chat_id=chat.id, text="x"))["ok"] for chat in chats]

        assert statuses == [True] * 30 + [False]


# What goes wrong


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda after: Cut(after), error.NetworkError),
        (lambda after: Page(502, after), error.NetworkError),
        (lambda after: Garbage(after), error.TelegramError),
        (lambda after: Empty(after), error.TelegramError),
        (lambda after: Answer(500, "Internal Server Error", after=after), error.NetworkError),
        (lambda after: Answer(200, "Bad Request: no", after=after), None),
        (lambda after: Newer(after), None),
        (lambda after: Hang(after), None),
        (lambda after: Delay(0.01, after), None),
    ],
)
async def test_what_goes_wrong_has_its_effect_or_not(
    scene: Scene, ptb: telegram.Bot, make: Callable[[bool], Trouble], kind: type[Exception] | None, after: bool
) -> None:
    trouble = make(after)
    scene.server.plan("sendMessage", trouble, chat=scene.private)
    await ptb.send_message(scene.group.id, "elsewhere")

    if isinstance(trouble, Hang):
        hanging = asyncio.create_task(ptb.send_message(scene.ann.id, "x"))
        await scene.server.until(lambda: len(scene.server.ledger.called("sendMessage")) == 2)
        hanging.cancel()
    elif kind is None:
        await scene.answer("sendMessage", chat_id=scene.ann.id, text="x")
    else:
        with pytest.raises(kind):
            await ptb.send_message(scene.ann.id, "x")

    has_effect = after or isinstance(trouble, Delay | Newer)
    assert [shown.text for shown in scene.server.screen(scene.private).messages] == ["x"] * has_effect
    await ptb.send_message(scene.ann.id, "y")
    assert not scene.server.faults


async def test_a_planned_penalty_is_one(scene: Scene, aio: aiogram.Bot) -> None:
    scene.server.plan("editmessagetext", Answer(429, "Too Many Requests: retry after 3", {"retry_after": 3}))
    sent = await aio.send_message(scene.ann.id, "x")

    with pytest.raises(TelegramRetryAfter) as told:
        await aio.edit_message_text("y", chat_id=scene.ann.id, message_id=sent.message_id)
    scene.now[0] += told.value.retry_after
    await aio.edit_message_text("y", chat_id=scene.ann.id, message_id=sent.message_id)

    assert told.value.retry_after == 3
    assert not scene.server.faults
    scene.server.plan("*", Page(), times=2)
    for _ in range(2):
        with pytest.raises((TelegramServerError, aiogram.exceptions.ClientDecodeError)):
            await aio.get_me()
    await aio.get_me()


async def test_the_server_comes_back_where_it_was_with_all_that_was_said(scene: Scene, aio: aiogram.Bot) -> None:
    url = scene.server.url
    await scene.server.stop()
    with pytest.raises(aiogram.exceptions.TelegramNetworkError):
        await aio.get_me()
    scene.server.say(scene.private, scene.ann, "Are you there?")

    await scene.server.start()

    assert scene.server.url == url
    assert len(await aio.get_updates()) == 1


# A process of its own


def test_a_ledger_is_read_as_it_was_written_up_to_a_line_that_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written = Ledger(path)
    where: Json = {"chat": 7, "private": 42, "message": 1}
    seen: Json = {"entities": [], "markup": None, "media": None}
    written.note("call", 0.5, number=1, bot=42, method="sendMessage", parameters={"text": "half \ud83d"})
    written.note("message", 1.0, **where, thread=None, by=42, bot=True, reply_to=None, text="😀", **seen)
    written.note("edit", 2.0, **where, text="😀😀", **seen)
    written.note("delete", 3.0, **where)
    written.close()
    with path.open("a") as file:
        file.write('{"kind": "edit", "at": 4.0, "chat": 7')

    read = Ledger.read(path)

    assert (read.entries, read.calls, read.screens) == (written.entries, written.calls, written.screens)
    (shown,) = read.screens[7, 42].all.values()
    assert ([each.text for each in shown.versions], shown.deleted) == (["😀", "😀😀"], 3.0)


async def test_another_process_moves_people_and_reads_what_happened(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    options = ("--token", TOKEN, "--speed", "50", "--ledger", str(path))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.botapi", *options, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()

    async with aiohttp.ClientSession() as http:

        async def ask(verb: str, **given: Any) -> Any:
            async with http.post(f"{url}/control/{verb}", json=given) as response:
                return await response.json()

        made = await ask("chat", kind="private", members=["Ann"])
        await ask("say", chat=made["chat"], text="Hello")
        call = f"{url}/bot{TOKEN}"
        unseen = {"is_disabled": True}
        given: Json = {"chat_id": made["chat"], "text": "Hi", "reply_markup": YES_NO, "link_preview_options": unseen}
        sent = await (await http.post(f"{call}/sendMessage", json=given)).json()
        await ask("press", chat=made["chat"], message=sent["result"]["message_id"], button="No")
        await ask("plan", method="getMe", trouble="page", status=503)
        page = await http.get(f"{call}/getMe")
        updates = await (await http.get(f"{call}/getUpdates")).json()
        await http.get(f"{call}/getMe?colour=red")
        faults = await (await http.get(f"{url}/control/faults")).json()
        screen = await (await http.get(f"{url}/control/screen?chat={made['chat']}")).json()
        nonsense = await ask("say", chat=1, text="x")
    process.terminate()
    await process.wait()

    assert page.status == 503
    assert [next(key for key in each if key != "update_id") for each in updates["result"]] == [
        "message",
        "callback_query",
    ]
    assert [fault["what"] for fault in faults] == ["getMe has no parameter colour"]
    assert [each["versions"][-1]["text"] for each in screen["all"].values()] == ["Hello", "Hi"]
    assert nonsense == {"error": "ValueError('there is no chat 1')"}
    ledger = Ledger.read(path)
    (shown,) = ledger.screens.values()
    assert [(each.text, each.markup) for each in shown.messages] == [("Hello", None), ("Hi", YES_NO)]
    assert [fault.what for fault in ledger.faults] == ["getMe has no parameter colour"]
    assert [call.status for call in ledger.called("getMe")] == [503, 400]
