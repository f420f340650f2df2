"""A raw update, and what it is to the bot."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from adapters.chat.speaker import MAX_NAME
from adapters.telegram.normalize import (
    MAX_QUOTED,
    MAX_QUOTED_OF_OURS,
    File,
    Halted,
    Heard,
    Ignored,
    Me,
    Moved,
    Pressed,
    normalize,
)
from factory_contracts.messages import FROM_SPOKE, MAX_TEXT, InboundMessage, Submit

ME = Me(id=777, username="DeskBot", bot_id="desk")
COMMANDS = frozenset({"/new", "/stop", "/model"})

ADA = {"id": 42, "is_bot": False, "first_name": "Ada", "last_name": "Lovelace", "username": "ada"}
BOB = {"id": 43, "is_bot": False, "first_name": "Bob"}
OURS = {"id": 777, "is_bot": True, "first_name": "Desk", "username": "DeskBot"}
PRIVATE = {"id": 42, "type": "private", "first_name": "Ada"}
GROUP = {"id": -100, "type": "supergroup", "title": "The Engine"}
CHANNEL = {"id": -200, "type": "channel", "title": "News"}
STAND_IN = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}


def message(chat: dict[str, Any] = PRIVATE, **more: Any) -> dict[str, Any]:
    base = {"message_id": 5, "date": 1_700_000_000, "chat": chat, "from": ADA}
    return {key: value for key, value in {**base, **more}.items() if value is not None}


def update(chat: dict[str, Any] = PRIVATE, **more: Any) -> dict[str, Any]:
    return {"update_id": 9, "message": message(chat, **more)}


def entity(kind: str, text: str, part: str, **more: Any) -> dict[str, Any]:
    """A marked part of a text, counted as Telegram counts."""
    before = text[: text.index(part)]
    return {
        "type": kind,
        "offset": len(before.encode("utf-16-le")) // 2,
        "length": len(part.encode("utf-16-le")) // 2,
    } | more


def heard(raw: object) -> Heard:
    found = normalize(raw, ME, commands=COMMANDS)
    assert isinstance(found, Heard), found
    return found


def said(chat: dict[str, Any] = PRIVATE, **more: Any) -> InboundMessage:
    return heard(update(chat, **more)).message


def ignored(raw: object) -> str:
    found = normalize(raw, ME, commands=COMMANDS)
    assert isinstance(found, Ignored), found
    return found.why


def command(text: str) -> dict[str, Any]:
    return {"text": text, "entities": [entity("bot_command", text, text.split()[0])]}


def test_a_private_message_is_addressed_and_answered_without_saying_to_what() -> None:
    found = heard(update(text="hello"))

    assert (found.update_id, found.chat_id, found.date, found.files, found.group) == (9, 42, 1_700_000_000, (), None)
    assert found.message.model_dump(exclude_defaults=True) == {
        "message_id": "5",
        "user_id": "42",
        "user_name": "Ada Lovelace",
        "text": "hello",
        "address": {"platform": "telegram", "bot_id": "desk", "scope_id": "42"},
        "sent_at": 1_700_000_000.0,
    }


def test_the_pace_is_as_it_is_told() -> None:
    found = normalize(update(text="hello"), ME, commands=(), pace_ms=1_000)

    assert isinstance(found, Heard)
    assert found.message.address.pace_ms == 1_000
    assert said(text="hello").address.pace_ms == 250


@pytest.mark.parametrize(
    ("chat", "more", "scope", "thread"),
    [
        pytest.param(GROUP, {"message_thread_id": 7, "is_topic_message": True}, "-100/7", "7", id="a topic"),
        pytest.param(GROUP, {"message_thread_id": 7}, "-100", None, id="a reply where there are no topics"),
        pytest.param(GROUP, {}, "-100", None, id="the general topic"),
        pytest.param(PRIVATE, {"message_thread_id": 7, "is_topic_message": True}, "42/7", "7", id="a private topic"),
        pytest.param(GROUP, {"message_thread_id": "7", "is_topic_message": True}, "-100", None, id="no thread at all"),
    ],
)
def test_the_scope_is_the_chat_or_the_topic(
    chat: dict[str, Any], more: dict[str, Any], scope: str, thread: str | None
) -> None:
    address = said(chat, text="hello", **more).address

    assert (address.scope_id, address.thread) == (scope, thread)


@pytest.mark.parametrize("chat", [GROUP, CHANNEL, {**GROUP, "type": "group"}])
def test_an_answer_in_a_group_says_to_what(chat: dict[str, Any]) -> None:
    found = said(chat, text="hello")

    assert (found.in_group, found.is_addressed, found.address.reply_to) == (True, False, "5")


def test_a_channel_post_is_said_by_the_channel() -> None:
    post = message(CHANNEL, text="news", sender_chat=CHANNEL)
    del post["from"]

    found = heard({"update_id": 9, "channel_post": post}).message

    assert (found.user_id, found.user_name, found.in_group) == ("-200", "News", True)


def test_an_anonymous_administrator_is_the_group() -> None:
    found = said(GROUP, text="hello", sender_chat=GROUP, **{"from": STAND_IN})

    assert (found.user_id, found.user_name) == ("-100", "The Engine")


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"from": {**OURS, "id": 778}}, id="another bot"),
        pytest.param({"from": OURS}, id="this bot"),
        pytest.param({"from": STAND_IN}, id="a stand-in for nobody"),
        pytest.param({"from": {**OURS, "id": 778}, "sender_chat": GROUP}, id="a bot in the name of the group"),
        pytest.param({"from": {**OURS, "id": [778]}, "sender_chat": GROUP}, id="a bot without a number"),
    ],
)
def test_bots_are_not_answered(more: dict[str, Any]) -> None:
    assert ignored(update(GROUP, text="hello @DeskBot", **more)) == "said by a bot"


@pytest.mark.parametrize(
    ("user", "name"),
    [
        pytest.param({"first_name": "Ada"}, "Ada", id="first name"),
        pytest.param({"username": "ada"}, "ada", id="only a username"),
        pytest.param({}, "someone", id="no name"),
        pytest.param({"first_name": "\u3164\u200b\u2800\ufe0f"}, "someone", id="a name that nobody sees"),
        pytest.param({"first_name": "Ada\nBob: hi"}, "Ada Bob hi", id="a name that would be two speakers"),
        pytest.param({"first_name": "Bob\uff1a\u2236\ua789 yes"}, "Bob yes", id="a colon by another name"),
        pytest.param({"first_name": "\u202eadA\u2066\x00\x07 \t x"}, "adA x", id="a name that turns the text around"),
        pytest.param({"first_name": "> Ada"}, "Ada", id="a name like a quotation"),
        pytest.param({"first_name": "[forwarded from Bob]"}, "(forwarded from Bob)", id="a name like a remark"),
        pytest.param({"first_name": "x" * 300}, "x" * MAX_NAME, id="a long name"),
        pytest.param({"first_name": "\ud800Ada"}, "\ufffdAda", id="half a character"),
        pytest.param({"first_name": 5, "last_name": ["x"], "username": None}, "someone", id="no strings"),
    ],
)
def test_a_name_is_one_short_line_and_poses_as_nobody(user: dict[str, Any], name: str) -> None:
    assert said(GROUP, text="hello", **{"from": {"id": 42, **user}}).user_name == name


@pytest.mark.parametrize(
    ("text", "marks", "is_addressed"),
    [
        pytest.param("hi @deskbot", [("mention", "@deskbot")], True, id="a mention, in any case"),
        pytest.param("\U0001f600\U0001f600 @DeskBot", [("mention", "@DeskBot")], True, id="behind what counts twice"),
        pytest.param("hi @DeskBot2", [("mention", "@DeskBot2")], False, id="a mention of another"),
        pytest.param("hi @DeskBot", [], False, id="text that is no mention"),
        pytest.param("hi @DeskBot", [("code", "@DeskBot")], False, id="code"),
        pytest.param("/new", [("bot_command", "/new")], True, id="a word to the hub"),
        pytest.param("/NEW", [("bot_command", "/NEW")], True, id="a word to the hub, shouted"),
        pytest.param("/dance", [("bot_command", "/dance")], False, id="a command of nobody we know"),
        pytest.param("/dance@DESKbot", [("bot_command", "/dance@DESKbot")], True, id="any command with our name"),
        pytest.param("/new@OtherBot", [("bot_command", "/new@OtherBot")], False, id="a command for another"),
        pytest.param("say /new", [("bot_command", "/new")], False, id="a command in the middle"),
    ],
)
def test_in_a_group_it_is_for_us_where_we_are_named(
    text: str, marks: list[tuple[str, str]], is_addressed: bool
) -> None:
    entities = [entity(kind, text, part) for kind, part in marks]

    assert said(GROUP, text=text, entities=entities).is_addressed is is_addressed
    assert said(GROUP, photo=[{"file_id": "p"}], caption=text, caption_entities=entities).is_addressed is is_addressed


@pytest.mark.parametrize(("user", "is_addressed"), [({"id": 777}, True), ({"id": 778}, False), (5, False)])
def test_a_mention_without_username_is_known_by_its_number(user: object, is_addressed: bool) -> None:
    marks = [entity("text_mention", "hey Desk", "Desk", user=user)]

    assert said(GROUP, text="hey Desk", entities=marks).is_addressed is is_addressed


@pytest.mark.parametrize(
    "mark",
    [
        {"type": "mention", "offset": -1, "length": 8},
        {"type": "mention", "offset": 0, "length": 0},
        {"type": "mention", "offset": 0, "length": 1_000},
        {"type": "mention", "offset": 3, "length": 8},
        {"type": "mention", "offset": 0, "length": 2**70},
        {"type": "mention", "offset": 0.0, "length": True},
        {"type": "text_mention", "offset": 1, "length": 3, "user": {"id": 777}},
        {"type": "text_mention", "offset": 0, "length": 11, "user": {"id": 777}},
        "mention",
    ],
)
def test_a_mark_with_bounds_that_make_no_sense_is_skipped(mark: object) -> None:
    found = said(GROUP, text="\U0001f600@DeskBot\U0001f600", entities=[mark])

    assert (found.is_addressed, found.text) == (False, "\U0001f600@DeskBot\U0001f600")


def test_a_reply_to_us_is_for_us() -> None:
    ours = message(GROUP, text="an answer", **{"from": OURS})

    assert said(GROUP, text="why?", reply_to_message=ours).is_addressed
    assert not said(GROUP, text="why?", reply_to_message={**ours, "from": BOB}).is_addressed
    assert not said(GROUP, reply_to_message=ours, **command("/x@OtherBot")).is_addressed
    assert said(GROUP, reply_to_message=ours, **command("/x")).is_addressed


@pytest.mark.parametrize("more", [{"forum_topic_created": {"name": "x"}, "message_id": 6}, {"message_id": 7}])
def test_a_topic_that_we_opened_does_not_make_all_in_it_ours(more: dict[str, Any]) -> None:
    opening = message(GROUP, **{"from": OURS}, **more)

    found = said(GROUP, text="hi", message_thread_id=7, is_topic_message=True, reply_to_message=opening)

    assert (found.is_addressed, found.quoted) == (False, None)


def test_an_answer_to_us_in_a_topic_is_for_us() -> None:
    ours = message(GROUP, message_id=8, text="an answer", **{"from": OURS})

    found = said(GROUP, text="hi", message_thread_id=7, is_topic_message=True, reply_to_message=ours)

    assert (found.is_addressed, found.quoted) == (True, "an answer")


@pytest.mark.parametrize(
    ("text", "part", "left"),
    [
        ("@DeskBot hello", "@DeskBot", "hello"),
        ("@deskbot, hello", "@deskbot", "hello"),
        ("@DeskBot: hello", "@DeskBot", "hello"),
        ("@DeskBot\nhello", "@DeskBot", "hello"),
        ("@DeskBot -5 + 3", "@DeskBot", "-5 + 3"),
        ("@DeskBot :)", "@DeskBot", ":)"),
        ("hello @DeskBot", "@DeskBot", "hello @DeskBot"),
        ("@DeskBot", "@DeskBot", "@DeskBot"),
        ("@DeskBot: ", "@DeskBot", "@DeskBot: "),
        ("@OtherBot hello", "@OtherBot", "@OtherBot hello"),
        ("@DeskBot /New", "@DeskBot", "/new"),
    ],
)
def test_our_name_is_dropped_where_it_only_addresses(text: str, part: str, left: str) -> None:
    assert said(GROUP, text=text, entities=[entity("mention", text, part)]).text == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/new", "/new"),
        ("/New@deskbot", "/new"),
        ("/MODEL@DeskBot  large one ", "/model large one"),
        ("/model\nlarge", "/model large"),
        ("/Dance@DeskBot  now", "/Dance  now"),
        ("/Dance now", "/Dance now"),
        ("/New@OtherBot rest", "/New@OtherBot rest"),
        ("/new/file is a path", "/new/file is a path"),
        ("/newer", "/newer"),
        ("/", "/"),
    ],
)
def test_a_command_is_spelled_as_the_hub_spells_it(text: str, left: str) -> None:
    assert said(text=text).text == left


def test_no_text_carries_half_a_character_or_a_nul() -> None:
    assert said(text="a\x00b\ud83d c \ud83d\ude00").text == "ab\ufffd c \U0001f600"


def test_a_text_is_cut_at_the_limit_of_the_contract() -> None:
    assert len(said(text="x" * (MAX_TEXT + 5)).text) == MAX_TEXT


@pytest.mark.parametrize(
    ("more", "is_plain", "length"),
    [
        pytest.param({"text": "\U0001f600!"}, True, 3, id="typed text, counted in units"),
        pytest.param({"text": "/dance"}, True, 6, id="a command that the hub does not know"),
        pytest.param({"text": "/new"}, False, 4, id="a word to the hub"),
        pytest.param({"photo": [{"file_id": "p"}], "caption": "see"}, False, 3, id="a file"),
        pytest.param({"text": "hi", "forward_origin": {"type": "hidden_user"}}, False, 2, id="a forward"),
        pytest.param({"location": {"latitude": 1, "longitude": 2}}, False, 0, id="a location"),
        pytest.param(
            {"text": "hi", "reply_to_message": message(photo=[{"file_id": "p"}])}, True, 2, id="a reply to a photo"
        ),
    ],
)
def test_plain_is_what_was_typed_and_nothing_else(more: dict[str, Any], is_plain: bool, length: int) -> None:
    found = heard(update(**more))

    assert (found.is_plain, found.length) == (is_plain, length)


def test_a_reply_quotes_whom_it_answers() -> None:
    bobs = message(GROUP, text="Rome is best", **{"from": BOB})

    assert said(GROUP, text="no", reply_to_message=bobs).quoted == "Bob: Rome is best"
    assert said(GROUP, text="no", reply_to_message=bobs, quote={"text": "Rome"}).quoted == "Bob: Rome"
    assert said(GROUP, text="no", reply_to_message={**bobs, "from": ADA}).quoted == "Rome is best"
    assert said(GROUP, text="no", reply_to_message={**bobs, "from": OURS}).quoted == "Rome is best"
    assert said(GROUP, text="no", reply_to_message={**bobs, "from": None}).quoted == "someone: Rome is best"
    assert said(GROUP, text="no").quoted is None
    assert said(GROUP, text="no", quote={"text": "out of nothing"}).quoted is None


def test_a_reply_to_what_was_passed_on_quotes_whoever_said_it_first() -> None:
    passed_on = message(text="Rome", forward_origin={"type": "hidden_user", "sender_user_name": "Carol: x"})

    assert said(text="really?", reply_to_message=passed_on).quoted == "Carol x: Rome"


def test_a_quotation_is_cut_and_our_own_words_sooner() -> None:
    long = message(GROUP, text="x" * 9_000, **{"from": BOB})

    assert len(said(GROUP, text="no", reply_to_message=long).quoted or "") == MAX_QUOTED
    assert len(said(GROUP, text="no", reply_to_message={**long, "from": OURS}).quoted or "") == MAX_QUOTED_OF_OURS


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        ({"photo": [{"file_id": "p"}], "caption": "the roof"}, "Bob: the roof"),
        ({"photo": [{"file_id": "p"}]}, "Bob: [photo]"),
        ({"video_note": {"file_id": "p"}}, "Bob: [video note]"),
        ({"sticker": {"file_id": "p", "emoji": "🙈"}}, "Bob: [sticker 🙈]"),
        ({"dice": {"emoji": "🎲", "value": 4}}, "Bob: [dice 🎲 4]"),
        ({"story": {"id": 1}}, "Bob: [story]"),
        ({}, None),
    ],
)
def test_what_has_no_words_is_quoted_by_its_kind(content: dict[str, Any], quoted: str | None) -> None:
    replied = message(GROUP, **{"from": BOB}, **content)

    assert said(GROUP, text="what?", reply_to_message=replied).quoted == quoted


def test_a_reply_to_a_message_elsewhere_quotes_it() -> None:
    elsewhere = {"origin": {"type": "user", "sender_user": BOB, "date": 1}, "chat": CHANNEL, "message_id": 3}
    photo = {"photo": [{"file_id": "p"}]}

    assert said(text="no", external_reply=elsewhere, quote={"text": "Rome"}).quoted == "Bob: Rome"
    assert said(text="no", external_reply={**elsewhere, **photo}).quoted == "Bob: [photo]"
    assert said(text="no", external_reply=elsewhere).quoted is None
    assert [file.file_id for file in heard(update(text="?", external_reply={**elsewhere, **photo})).files] == ["p"]


def test_a_question_about_a_photo_brings_the_photo() -> None:
    photo = message(GROUP, photo=[{"file_id": "roof"}], **{"from": BOB})
    ask = entity("mention", "@DeskBot what is this?", "@DeskBot")

    def files(**more: Any) -> list[str]:
        return [file.file_id for file in heard(update(GROUP, reply_to_message=photo, **more)).files]

    assert files(text="@DeskBot what is this?", entities=[ask]) == ["roof"]
    assert files(text="what is this?") == []
    assert files(photo=[{"file_id": "mine"}], caption="@DeskBot what is this?", caption_entities=[ask]) == ["mine"]


def test_a_rich_answer_of_ours_can_be_quoted() -> None:
    blocks = [
        {"type": "heading", "size": 1, "text": "Two cities"},
        {"type": "paragraph", "text": ["It is ", {"type": "bold", "text": "Rome"}, "."]},
        {"type": "list", "items": [{"label": "1.", "blocks": [{"type": "paragraph", "text": "Oslo"}]}]},
        {"type": "table", "cells": [[{"text": "a"}, {"text": "b"}], [{"text": "c"}, {"text": "d"}]]},
    ]
    ours = message(rich_message={"blocks": blocks}, **{"from": OURS})

    assert said(text="why?", reply_to_message=ours).quoted == "Two cities\nIt is Rome.\n1. Oslo\na b\nc d"


def test_a_rich_message_may_be_as_deep_as_it_likes() -> None:
    text: object = "Rome"
    for _ in range(20_000):
        text = {"type": "bold", "text": [text]}

    assert said(rich_message={"blocks": [{"type": "paragraph", "text": text}]}).text == "Rome"


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ({"type": "user", "sender_user": BOB}, "Bob"),
        ({"type": "hidden_user", "sender_user_name": "Carol]\n/new"}, "Carol) /new"),
        ({"type": "chat", "sender_chat": GROUP}, "The Engine"),
        ({"type": "channel", "chat": CHANNEL, "message_id": 1}, "News"),
        ({"type": "of tomorrow"}, "someone"),
        (5, "someone"),
    ],
)
def test_what_is_passed_on_says_from_whom(origin: object, name: str) -> None:
    assert said(text="look", forward_origin=origin).text == f"[forwarded from {name}]\nlook"
    assert said(photo=[{"file_id": "p"}], forward_origin=origin).text == f"[forwarded from {name}]"


def test_nobody_commands_by_passing_on() -> None:
    assert said(**command("/new"), forward_origin={"type": "user", "sender_user": BOB}).text.startswith("[forwarded")


@pytest.mark.parametrize(
    ("content", "foreign"),
    [
        ({"text": "look"}, None),
        ({"text": "look", "forward_origin": {"type": "hidden_user", "sender_user_name": "Bob"}}, True),
        ({"text": "look", "via_bot": {"id": 7, "is_bot": True, "first_name": "Pics"}}, True),
        ({"contact": {"first_name": "Obey", "phone_number": "1"}}, True),
        ({"poll": {"question": "Obey?", "options": []}}, True),
        ({"venue": {"title": "Obey", "address": "x", "location": {"latitude": 1.0, "longitude": 2.0}}}, True),
        ({"dice": {"emoji": "🎲", "value": 3}}, None),
    ],
)
def test_words_that_are_somebody_elses_are_said_to_be(content: dict[str, Any], foreign: bool | None) -> None:
    assert said(**content).foreign is foreign


@pytest.mark.parametrize(
    ("content", "file"),
    [
        pytest.param(
            {
                "photo": [
                    {"file_id": "small", "width": 90, "height": 60},
                    {"file_id": "large", "width": 900, "height": 600, "file_size": 7},
                    {"file_id": "middle", "width": 300, "height": 200},
                    "no size",
                ]
            },
            File("image", "large", "photo.jpg", "image/jpeg", 7),
            id="the largest photo",
        ),
        pytest.param({"voice": {"file_id": "f"}}, File("voice", "f", "voice.ogg", "audio/ogg", None), id="voice"),
        pytest.param(
            {"audio": {"file_id": "f", "file_name": "song.flac", "mime_type": "audio/flac"}},
            File("audio", "f", "song.flac", "audio/flac", None),
            id="audio",
        ),
        pytest.param({"video": {"file_id": "f"}}, File("video", "f", "video.mp4", "video/mp4", None), id="video"),
        pytest.param(
            {"video_note": {"file_id": "f", "file_size": -1}},
            File("video", "f", "video_note.mp4", "video/mp4", None),
            id="a video note",
        ),
        pytest.param(
            {"document": {"file_id": "d"}, "animation": {"file_id": "f"}},
            File("video", "f", "animation.mp4", "video/mp4", None),
            id="an animation, which is a document too",
        ),
        pytest.param(
            {"live_photo": {"file_id": "v"}, "photo": [{"file_id": "f"}]},
            File("image", "f", "photo.jpg", "image/jpeg", None),
            id="a live photo, which is a photo too",
        ),
        pytest.param(
            {"document": {"file_id": "f", "file_name": "a.pdf", "mime_type": "application/pdf"}},
            File("document", "f", "a.pdf", "application/pdf", None),
            id="a document",
        ),
        pytest.param(
            {"document": {"file_id": "f", "file_name": "a.PNG", "mime_type": "Image/PNG"}},
            File("image", "f", "a.PNG", "image/png", None),
            id="a picture sent as a document",
        ),
        pytest.param(
            {"document": {"file_id": "f", "mime_type": "a\nb/c"}},
            File("document", "f", "document", "application/octet-stream", None),
            id="a document of which nothing is known",
        ),
    ],
)
def test_a_file_is_known_by_kind_name_and_size(content: dict[str, Any], file: File) -> None:
    found = heard(update(caption="see", **content))

    assert (found.files, found.message.text, found.message.attachments) == ((file,), "see", ())


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("c:\\x\\y.txt", "c:_x_y.txt"),
        ("a\x00\n\u202egpj.exe", "a gpj.exe"),
        ("..", "document"),
        ("", "document"),
        ("x" * 300 + ".pdf", "x" * 251 + ".pdf"),
        ("x" * 300, "x" * 255),
    ],
)
def test_the_name_of_a_file_leads_nowhere(name: str, safe: str) -> None:
    assert heard(update(document={"file_id": "f", "file_name": name})).files[0].name == safe


def test_a_sticker_is_seen_where_it_stands_still() -> None:
    still = {"file_id": "f", "emoji": "🙈", "is_animated": False, "is_video": False}

    found = heard(update(sticker=still))

    assert found.files == (File("image", "f", "sticker.webp", "image/webp", None),)
    assert found.message.text == "[sticker 🙈]"
    for moving in ("is_animated", "is_video"):
        found = heard(update(sticker={**still, moving: True}))
        assert (found.files, found.message.text) == ((), "[sticker 🙈]")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"location": {"latitude": 52.52, "longitude": 13.405}}, "[location 52.52, 13.405]"),
        ({"location": {"latitude": -5, "longitude": 0, "live_period": 60}}, "[location -5, 0]"),
        (
            {
                "venue": {"title": "Café\nX", "address": "Main St"},
                "location": {"latitude": 52.52, "longitude": 13.405},
            },
            "[venue Café X, Main St (52.52, 13.405)]",
        ),
        (
            {"contact": {"first_name": "Bob", "last_name": "Page", "phone_number": "+49 1"}},
            "[contact Bob Page, +49 1]",
        ),
        (
            {"poll": {"question": "Where to?", "options": [{"text": "Rome"}, {"text": "Oslo"}]}},
            "[poll Where to? (Rome / Oslo)]",
        ),
        ({"dice": {"emoji": "🎲", "value": 4}}, "[dice 🎲 4]"),
        ({"game": {"title": "x"}}, "[a kind of message that I cannot read: game]"),
        ({"of_tomorrow": {}}, "[a kind of message that I cannot read: of_tomorrow]"),
        ({"paid_media": {}, "caption": "buy"}, "[a kind of message that I cannot read: paid_media]\nbuy"),
        ({"voice": {"file_id": 5}}, "[a kind of message that I cannot read: voice]"),
        ({"location": {"latitude": 10**5000, "longitude": 0}}, "[a kind of message that I cannot read: location]"),
    ],
)
def test_what_has_no_words_is_told_in_a_line(content: dict[str, Any], text: str) -> None:
    found = heard(update(**content))

    assert (found.message.text, found.files) == (text, ())


@pytest.mark.parametrize("kind", ["game", "invoice", "story", "paid_media", "checklist", "giveaway", "of_tomorrow"])
def test_in_a_group_what_cannot_be_read_is_told_only_to_whom_it_is_for(kind: str) -> None:
    ours = message(GROUP, text="an answer", **{"from": OURS})

    assert ignored(update(GROUP, **{kind: {}})) == f"cannot be read: {kind}"
    assert said(GROUP, reply_to_message=ours, **{kind: {}}).text.endswith(f"{kind}]")


def test_what_we_do_not_know_of_a_readable_message_is_no_matter() -> None:
    assert said(text="hello", of_tomorrow={"x": 1}, entities="none").text == "hello"


@pytest.mark.parametrize(
    "kind",
    [
        "new_chat_members",
        "left_chat_member",
        "new_chat_title",
        "new_chat_photo",
        "pinned_message",
        "forum_topic_created",
        "forum_topic_closed",
        "video_chat_started",
        "message_auto_delete_timer_changed",
        "boost_added",
        "successful_payment",
        "giveaway_created",
    ],
)
def test_what_a_chat_tells_of_itself_is_no_turn(kind: str) -> None:
    assert ignored(update(**{kind: {"x": 1}})) == f"told by the chat: {kind}"


@pytest.mark.parametrize(
    "kind",
    [
        "edited_message",
        "edited_channel_post",
        "business_connection",
        "business_message",
        "message_reaction",
        "message_reaction_count",
        "inline_query",
        "chosen_inline_result",
        "guest_message",
        "shipping_query",
        "my_chat_member",
        "chat_member",
        "poll",
        "poll_answer",
        "of_tomorrow",
    ],
)
def test_an_update_that_is_no_message_is_ignored_by_name(kind: str) -> None:
    found = normalize({"update_id": 9, kind: message(text="hello")}, ME, commands=COMMANDS)

    assert found == Ignored(f"no message: {kind}", 9)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "x",
        {},
        {"update_id": "9", "message": message(text="x")},
        {"update_id": True},
        {"update_id": 2**64},
        {"update_id": 9, "message": None},
        {"update_id": 9, "callback_query": {"id": "q", "data": "d"}},
        {"update_id": 9, "stopped_message_generation": {"chat": PRIVATE}},
        update({"id": "42", "type": "private"}, text="x"),
        update({"id": 42}, text="x"),
        update({"id": 0, "type": "private"}, text="x"),
        update(text="x", message_id=0),
        update(text="x", message_id="5"),
        update(text="x", date="today"),
        update(text="x", **{"from": {"first_name": "Ada"}}),
    ],
)
def test_what_is_malformed_is_ignored_and_said_to_be(raw: object) -> None:
    assert ignored(raw).startswith("malformed")


@pytest.mark.parametrize(
    "more", [{}, {"text": ""}, {"text": "\x00"}, {"text": " \n"}, {"text": 5}, {"forward_origin": {}}, {"quote": {}}]
)
def test_nothing_said_is_no_turn(more: dict[str, Any]) -> None:
    assert ignored(update(**more)) == "nothing said"


def test_what_does_not_stay_or_is_written_to_a_channel_is_no_turn() -> None:
    assert ignored(update(GROUP, text="x", message_id=0, ephemeral_message_id=3)) == "a message that does not stay"
    assert ignored(update(GROUP, text="x", direct_messages_topic={"topic_id": 1})) == "written to a channel"


def test_both_chats_of_a_move_tell_the_same() -> None:
    old = normalize(update({"id": -5, "type": "group"}, migrate_to_chat_id=-100), ME, commands=())
    new = normalize({**update(GROUP, migrate_from_chat_id=-5), "update_id": 10}, ME, commands=())

    assert old == new == Moved(9, "-5", "-100")


def test_a_button_names_the_person_the_bubble_and_the_place() -> None:
    bubble = message(GROUP, message_id=6, message_thread_id=7, is_topic_message=True, **{"from": OURS})

    found = normalize(
        {"update_id": 9, "callback_query": {"id": "q", "from": BOB, "message": bubble, "data": "yes"}},
        ME,
        commands=COMMANDS,
    )

    assert isinstance(found, Pressed)
    assert (found.update_id, found.query_id, found.data) == (9, "q", "yes")
    assert (found.user_id, found.user_name, found.chat_id, found.message_id) == ("43", "Bob", -100, 6)
    assert (
        found.address
        == heard(update(GROUP, message_id=6, message_thread_id=7, is_topic_message=True, text="x")).message.address
    )


def test_a_button_of_a_bubble_that_is_too_old_to_see_still_works() -> None:
    bubble = {"chat": GROUP, "message_id": 6, "date": 0}

    found = normalize(
        {"update_id": 9, "callback_query": {"id": "q", "from": BOB, "message": bubble, "data": "yes"}}, ME, commands=()
    )

    assert isinstance(found, Pressed)
    assert (found.chat_id, found.message_id, found.address.scope_id) == (-100, 6, "-100")


@pytest.mark.parametrize(
    ("more", "why"),
    [({"data": None}, "a button without data"), ({"from": OURS}, "pressed by a bot"), ({"message": None}, "malformed")],
)
def test_a_button_that_means_nothing_is_ignored(more: dict[str, Any], why: str) -> None:
    query = {"id": "q", "from": BOB, "message": message(GROUP), "data": "yes", **more}

    assert ignored({"update_id": 9, "callback_query": query}).startswith(why)


@pytest.mark.parametrize(("thread", "scope"), [(None, "42"), (7, "42/7")])
def test_the_stop_button_of_a_draft_is_the_persons(thread: int | None, scope: str) -> None:
    halt = {"chat": PRIVATE, "draft_id": 3, "message_thread_id": thread}

    found = normalize({"update_id": 9, "stopped_message_generation": halt}, ME, commands=())

    assert isinstance(found, Halted)
    assert (found.chat_id, found.draft_id, found.user_id, found.address.scope_id) == (42, 3, "42", scope)
    assert found.thread == (None if thread is None else "7")


@pytest.mark.parametrize(("spelled", "number"), [("123", 123), (-3, -3), ("x", None), ("", None), ("9" * 30, None)])
def test_the_number_of_a_draft_may_come_as_a_string(spelled: object, number: int | None) -> None:
    halt = {"chat": PRIVATE, "draft_id": spelled}

    found = normalize({"update_id": 9, "stopped_message_generation": halt}, ME, commands=())

    assert (found.draft_id if isinstance(found, Halted) else None) == number


REAL: tuple[dict[str, Any], ...] = (
    update(text="@DeskBot hi", entities=[entity("mention", "@DeskBot hi", "@DeskBot")]),
    update(
        GROUP,
        caption="/new@DeskBot",
        caption_entities=[{"type": "bot_command", "offset": 0, "length": 12}],
        photo=[{"file_id": "p", "width": 5, "height": 5, "file_size": 5}],
        media_group_id="g",
        forward_origin={"type": "user", "sender_user": BOB},
        reply_to_message=message(GROUP, text="x", **{"from": OURS}),
        quote={"text": "x"},
    ),
    update(
        document={"file_id": "d", "file_name": "a.b", "mime_type": "a/b"},
        external_reply={"origin": {"type": "chat", "sender_chat": GROUP}, "voice": {"file_id": "v"}},
    ),
    update(sticker={"file_id": "s", "emoji": "x"}, message_thread_id=7, is_topic_message=True),
    update(venue={"title": "t", "address": "a"}, location={"latitude": 1.0, "longitude": 2.0}),
    update(poll={"question": "q", "options": [{"text": "a"}]}, reply_to_message=message(dice={"value": 1})),
    update(rich_message={"blocks": [{"type": "list", "items": [{"label": "1", "blocks": [{"text": ["a"]}]}]}]}),
    update(GROUP, migrate_to_chat_id=-100),
    {"update_id": 9, "callback_query": {"id": "q", "from": BOB, "message": message(GROUP), "data": "d"}},
    {"update_id": 9, "stopped_message_generation": {"chat": PRIVATE, "draft_id": 3, "message_thread_id": 4}},
)

anything = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.integers(min_value=-(10**400), max_value=10**400)
    | some.floats()
    | some.text(some.characters(exclude_categories=()), max_size=20),
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.dictionaries(some.text(max_size=8), inner, max_size=4)
        | some.dictionaries(some.sampled_from(["id", "type", "text", "chat", "message", "update_id"]), inner)
    ),
    max_leaves=12,
)


def paths(value: object) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [(), *((key, *path) for key, inner in value.items() for path in paths(inner))]
    if isinstance(value, list):
        return [(), *((index, *path) for index, inner in enumerate(value) for path in paths(inner))]
    return [()]


@some.composite
def mutated(draw: some.DrawFn) -> object:
    raw: Any = {"": deepcopy(draw(some.sampled_from(REAL)))}
    for _ in range(draw(some.integers(1, 3))):
        *way, last = draw(some.sampled_from(paths(raw)[1:]))
        place = raw
        for step in way:
            place = place[step]
        if draw(some.booleans()):
            place[last] = draw(anything)
        else:
            del place[last]
        if not raw:
            return None
    return raw.get("")


@settings(max_examples=100, deadline=None)
@given(raw=mutated() | anything)
def test_whatever_comes_is_read_and_what_is_heard_can_cross_the_bus(raw: object) -> None:
    found = normalize(raw, ME, commands=COMMANDS)

    if isinstance(found, Heard):
        sent = Submit(
            platform="telegram", bot_id="desk", scope_id=found.message.address.scope_id, message=found.message
        )
        assert FROM_SPOKE.decode(FROM_SPOKE.encode(sent)) == sent
        assert all(file.file_id and 0 < len(file.name) <= 255 for file in found.files)
    if isinstance(found, Pressed):
        json.dumps((found.query_id, found.data), ensure_ascii=False).encode()


def test_a_flood_of_marks_takes_no_time() -> None:
    marks = [{"type": "mention", "offset": 0, "length": 90_000}] * 20_000

    assert not said(GROUP, text="x" * 90_000, entities=marks).is_addressed
