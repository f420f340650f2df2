"""A bot, from what people do to what they see: the real client, a strict server over HTTP, a hub that a test plays."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from adapters.telegram.client import MOST_UPDATES
from factory_contracts.messages import (
    Decision,
    FinalReceipt,
    Hello,
    InboundMessage,
    Moved,
    Question,
    Refused,
    ShownReceipt,
    StopPressed,
    Submit,
)
from tests.botapi.chats import Chat
from tests.botapi.ledger import Shown
from tests.botapi.trouble import Answer, Cut, Empty, Garbage, Hang, Newer, Page
from tests.fakes import until
from tests.telegram.stage import Stage, staged

pytestmark = pytest.mark.asyncio(loop_scope="function")


CODE = "0123456789abcdef"
QUESTION = Question(
    code=CODE, text='May I use **send** (it reaches outside)?\n\n```json\n{"to": "all"}\n```', expires_at=1.0
)


def labels(shown: Shown) -> list[list[str]]:
    """What the rows of buttons say."""
    return [[button["text"] for button in row] for row in (shown.markup or {}).get("inline_keyboard", ())]


async def asked_in(stage: Stage, chat: Chat, question: Question = QUESTION) -> tuple[str, Shown]:
    """An answer that has begun and asks: its turn, and the message that shows it."""
    turn = await stage.said(chat, stage.ann, "@factory_bot Tell them")
    await stage.hub.grow(turn, "Let me see.")
    await until(lambda: stage.texts(chat) == ["Let me see."])
    await stage.hub.grow(turn, "Let me see.", question=question)
    await until(lambda: "Allow" in str(stage.server.screen(chat).by(stage.account.id)[0].markup))
    (shown,) = stage.server.screen(chat).by(stage.account.id)
    return turn, shown


async def finished(stage: Stage, count: int = 1) -> None:
    """So many answers are whole on the screen."""
    await until(lambda: len(stage.hub.told(FinalReceipt)) >= count)


async def test_what_is_said_is_answered_in_one_message_that_grows(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        await stage.hub.grow(turn, "Good morning, ")
        await until(lambda: bool(stage.hub.told(ShownReceipt)))
        await stage.hub.answer(turn, "Good **morning**, Ann!")
        await finished(stage)

        (shown,) = stage.server.screen(stage.private).by(stage.account.id)

        assert shown.text == "Good morning, Ann!"
        assert [entity["type"] for entity in shown.entities] == ["bold"]
        assert shown.markup is None


@pytest.mark.parametrize("text", ["  Yes.", "\n Yes, it is.", "\u200b Yes, it is."])
async def test_an_answer_that_begins_with_nothing_to_be_seen_is_shown(tmp_path: Path, text: str) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Is it?")

        await stage.hub.answer(turn, text)
        await finished(stage)

        (shown,) = stage.texts(stage.private)
        assert shown.lstrip("\u200b ") == text.lstrip("\u200b \n")


async def test_the_opening_is_short_and_the_rest_comes_by_edits(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Tell me a lot")

        await stage.hub.answer(turn, "word " * 400)
        await finished(stage)

        (sent,) = stage.server.ledger.called("sendMessage")
        assert len(sent.parameters["text"]) <= 60
        assert stage.texts(stage.private) == [("word " * 400).strip()]


async def test_what_a_tool_does_stands_in_one_line_that_is_replaced(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "What time is it?")
        await stage.hub.grow(turn, "Let me see.", activity="looks at the clock")
        await until(lambda: "looks at the clock" in "".join(stage.texts(stage.private)))
        await stage.hub.grow(turn, "Let me see.", events=2, activity="looks at the calendar")
        await until(lambda: "looks at the calendar" in "".join(stage.texts(stage.private)))
        (while_looking,) = stage.texts(stage.private)
        await stage.hub.answer(turn, "Let me see. It is noon.")
        await finished(stage)

        assert "clock" not in while_looking
        assert stage.texts(stage.private) == ["Let me see. It is noon."]


async def test_identical_text_is_never_written_again(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        for events in range(1, 6):
            await stage.hub.grow(turn, "The same words", events=events)
        await stage.hub.answer(turn, "The same words")
        await finished(stage)
        await stage.hub.answer(turn, "The same words")
        await finished(stage, 2)

        edits = [call.parameters for call in stage.server.ledger.called("editMessageText")]
        assert all(before != after for before, after in pairwise(edits))
        assert all(call.status == 200 for call in stage.server.ledger.called("editMessageText"))


async def test_a_flood_limit_silences_its_chat_and_no_other_and_the_final_comes_whole(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        other = await stage.said(stage.group, stage.bob, "@factory_bot Hello")
        await stage.hub.grow(turn, "One")
        await until(lambda: bool(stage.hub.told(ShownReceipt)))
        flood = Answer(429, "Too Many Requests: retry after 1", {"retry_after": 1})
        stage.server.plan("editMessageText", flood, chat=stage.private)
        await stage.hub.grow(turn, "One, two", events=2)
        await until(lambda: any(call.status == 429 for call in stage.server.ledger.calls))
        await stage.hub.grow(turn, "One, two, three", events=3)
        await stage.hub.answer(other, "Hello, Bob")
        await until(lambda: stage.texts(stage.group) == ["Hello, Bob"])
        assert stage.texts(stage.private) != ["One, two, three, four"]

        await stage.hub.answer(turn, "One, two, three, four")
        await finished(stage, 2)

        assert stage.texts(stage.private) == ["One, two, three, four"]


async def test_a_long_answer_goes_on_in_further_messages_that_are_never_written_twice(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Tell me everything")
        text = "\n\n".join(f"Paragraph {number}: " + "word " * 60 for number in range(40))
        for end in range(500, len(text), 1500):
            await stage.hub.grow(turn, text[:end], events=end)
        await stage.hub.answer(turn, text)
        await finished(stage)

        parts = stage.texts(stage.private)
        assert len(parts) >= 3
        assert "".join("".join(parts).split()) == "".join(text.split())
        assert len(stage.server.ledger.called("sendMessage")) == len(parts)
        assert [receipt.part for receipt in stage.hub.told(ShownReceipt) if isinstance(receipt, ShownReceipt)] == [
            None,
            *range(1, len(parts)),
        ]


async def test_an_attempt_that_says_less_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Tell me everything")
        await stage.hub.grow(turn, "word " * 1200)
        await until(lambda: len(stage.texts(stage.private)) == 2)

        await stage.hub.grow(turn, "Short.", events=1, attempt=2)
        await stage.hub.answer(turn, "Short, and whole.")
        await finished(stage)

        assert stage.texts(stage.private) == ["Short, and whole."]


async def test_in_a_group_only_what_is_meant_for_the_bot_is_heard(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.server.say(stage.group, stage.bob, "Nobody asked you")
        await stage.said(stage.group, stage.bob, "@Factory_Bot, what is this?")
        await stage.said(stage.group, stage.ann, "/new@factory_bot")

        heard = [message for message in stage.hub.messages if message.is_addressed]

        assert [(one.user_name, one.text) for one in heard] == [("Bob", "what is this?"), ("Ann", "/new")]
        assert all(one.in_group for one in heard)
        assert len({one.user_id for one in heard}) == 2


async def test_everything_that_is_written_in_a_topic_stays_there(tmp_path: Path) -> None:
    async with staged(tmp_path, reactions=True) as stage:
        forum = stage.server.chat("supergroup", stage.ann, is_forum=True)
        thread = stage.server.topic(forum, stage.ann, "Ideas")
        turn = await stage.said(forum, stage.ann, "@factory_bot Hello", thread=thread)
        await stage.hub.grow(turn, "Hello ")
        await stage.hub.answer(turn, "Hello " * 1000, attachments=(await stage.hub.keep(b"content"),))
        await finished(stage)
        stage.hub.answers = lambda asked: Refused(reason="too fast", text="Slowly, please.")
        stage.server.say(forum, stage.ann, "@factory_bot Hello again", thread=thread)
        await until(lambda: "Slowly, please." in stage.texts(forum))

        shown = stage.server.screen(forum).by(stage.account.id)
        assert {one.thread for one in shown} == {thread}
        assert {action.thread for action in stage.server.screen(forum).actions} == {thread}
        assert stage.hub.messages[0].address.scope_id == f"{forum.id}/{thread}"


async def test_a_topic_that_is_gone_is_answered_where_all_is(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        forum = stage.server.chat("supergroup", stage.ann, is_forum=True)
        thread = stage.server.topic(forum, stage.ann, "Ideas")
        turn = await stage.said(forum, stage.ann, "@factory_bot Hello", thread=thread)

        stage.server.delete_topic(forum, thread)
        await stage.hub.answer(turn, "Hello, wherever you are.")
        await finished(stage)

        assert stage.texts(forum) == ["Hello, wherever you are."]


async def test_typing_is_shown_until_the_answer_is_whole(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        await until(lambda: bool(stage.server.screen(stage.private).actions))
        await stage.hub.answer(turn, "Hello.")
        await finished(stage)

        assert {action.action for action in stage.server.screen(stage.private).actions} == {"typing"}


async def test_the_button_under_a_growing_answer_stops_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.group, stage.ann, "@factory_bot Count to a million")
        await stage.hub.grow(turn, "One, two, three")
        await until(lambda: bool(stage.server.screen(stage.group).by(stage.account.id)[:1]))
        await until(lambda: stage.server.screen(stage.group).by(stage.account.id)[0].markup is not None)
        (shown,) = stage.server.screen(stage.group).by(stage.account.id)

        query = stage.server.press(stage.group, shown.id, stage.ann, "⏹ Stop")
        await until(lambda: stage.server.answered(query) is not None)

        (pressed,) = stage.hub.told(StopPressed)
        assert isinstance(pressed, StopPressed)
        assert (pressed.turn, pressed.user_id) == (turn, str(stage.ann.id))
        await stage.hub.answer(turn, "One, two, three", outcome="stopped")
        await finished(stage)
        (shown,) = stage.server.screen(stage.group).by(stage.account.id)
        assert shown.markup is None


async def test_a_question_appears_below_the_answer_with_its_buttons_in_one_edit(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        _, shown = await asked_in(stage, stage.group)

        assert shown.text == 'Let me see.\n\nMay I use send (it reaches outside)?\n\n{"to": "all"}'
        assert [entity["type"] for entity in shown.entities] == ["bold", "pre"]
        assert labels(shown) == [["Allow"], ["Deny"], ["⏹ Stop"]]
        assert len(stage.server.ledger.called("editMessageText")) == 2
        assert len(stage.server.ledger.called("sendMessage")) == 1


@pytest.mark.parametrize(("label", "approved"), [("Allow", True), ("Deny", False)])
async def test_the_buttons_under_a_question_tell_who_decided_what(tmp_path: Path, label: str, approved: bool) -> None:
    async with staged(tmp_path) as stage:
        turn, shown = await asked_in(stage, stage.group)

        query = stage.server.press(stage.group, shown.id, stage.bob, label)
        await until(lambda: stage.server.answered(query) is not None)

        (told,) = stage.hub.told(Decision)
        assert isinstance(told, Decision)
        assert (told.scope_id, told.turn, told.code) == (str(stage.group.id), turn, CODE)
        assert (told.user_id, told.approved) == (str(stage.bob.id), approved)
        assert not (stage.server.answered(query) or {}).get("text")


async def test_whoever_may_not_decide_is_told_so_alone(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        _, shown = await asked_in(stage, stage.group)
        stage.hub.answers = lambda asked: (
            Refused(reason="not allowed", text="That is not yours to allow.")
            if isinstance(asked, Decision)
            else stage.hub.agree(asked)
        )

        query = stage.server.press(stage.group, shown.id, stage.bob, "Allow")
        await until(lambda: stage.server.answered(query) is not None)

        assert (stage.server.answered(query) or {})["text"] == "That is not yours to allow."
        assert stage.texts(stage.group) == [shown.text]


async def test_a_question_is_gone_once_it_is_decided(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn, shown = await asked_in(stage, stage.private)

        await stage.hub.grow(turn, "Let me see.", events=2)
        await until(lambda: stage.texts(stage.private) == ["Let me see."])

        (after,) = stage.server.screen(stage.private).by(stage.account.id)
        assert (after.id, labels(after)) == (shown.id, [["⏹ Stop"]])


async def test_a_press_is_understood_by_a_bot_that_was_started_anew(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn, shown = await asked_in(stage, stage.group)
        await stage.kill()
        stage.server.press(stage.group, shown.id, stage.ann, "Allow")

        await stage.run()
        await until(lambda: bool(stage.hub.told(Decision)))

        (told,) = stage.hub.told(Decision)
        assert isinstance(told, Decision)
        assert (told.turn, told.code, told.user_id, told.approved) == (turn, CODE, str(stage.ann.id), True)


async def test_a_question_that_stands_is_shown_again_in_the_same_message_after_a_restart(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn, shown = await asked_in(stage, stage.group)
        await stage.kill()
        await stage.run()
        await until(lambda: len(stage.hub.told(Hello)) == 2)
        await stage.hub.grow(turn, "Let me see.", question=QUESTION)
        await until(lambda: len(stage.server.ledger.called("editMessageText")) == 3)
        await stage.hub.grow(turn, "Let me see. Well.", events=2, question=QUESTION)
        await until(lambda: stage.texts(stage.group)[0].startswith("Let me see. Well."))

        (again,) = stage.server.screen(stage.group).by(stage.account.id)

        assert again.id == shown.id
        assert again.text == 'Let me see. Well.\n\nMay I use send (it reaches outside)?\n\n{"to": "all"}'
        assert labels(again) == [["Allow"], ["Deny"], ["⏹ Stop"]]
        assert len(stage.server.ledger.called("sendMessage")) == 1


async def test_a_long_question_stands_whole_under_a_long_answer_and_costs_no_message(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        text = "\n\n".join(f"Paragraph {number}: " + "word " * 60 for number in range(22))
        arguments = "\n".join(f"argument {number}" for number in range(150))
        question = Question(code=CODE, text=f"May I?\n\n```\n{arguments}\n```", expires_at=1.0)
        turn = await stage.said(stage.private, stage.ann, "Tell me everything")
        await stage.hub.grow(turn, text)
        await until(lambda: len(stage.texts(stage.private)) == 2 and "21:" in stage.texts(stage.private)[1])
        first, second = stage.texts(stage.private)

        await stage.hub.grow(turn, text, question=question)
        await until(lambda: "May I?" in stage.texts(stage.private)[1])
        during = stage.texts(stage.private)
        await stage.hub.answer(turn, text)
        await finished(stage)

        assert during[0] == first
        assert during[1].endswith(f"…\n\nMay I?\n\n{arguments}")
        assert second.startswith(during[1].partition("\n\n…")[0])
        assert stage.texts(stage.private) == [first, second]
        assert len(stage.server.ledger.called("sendMessage")) == 2


async def test_whatever_a_press_brings_that_is_no_answer_decides_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn, shown = await asked_in(stage, stage.private)
        for number, data in enumerate((f"y:{turn}", f"y:{turn}:{CODE}0", f"y::{CODE}", f"Y:{turn}:{CODE}", "yes", "n")):
            message = {"message_id": shown.id, "date": 1, "chat": {"id": stage.ann.id, "type": "private"}}
            query = {"id": f"{number}", "from": {"id": stage.ann.id, "is_bot": False, "first_name": "Ann"}}
            stage.server.raw(stage.account, {"callback_query": {**query, "message": message, "data": data}})
        for word in ("yes", "y", "Allow"):
            await stage.said(stage.private, stage.ann, word)

        await until(lambda: len(stage.server.ledger.called("answerCallbackQuery")) == 6)
        assert not stage.hub.told(Decision)


async def test_a_strangers_press_does_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.group, stage.ann, "@factory_bot Yes or no?")
        await stage.hub.answer(turn, "Choose.", choices=("Yes", "No"))
        await finished(stage)
        (shown,) = stage.server.screen(stage.group).by(stage.account.id)

        query = stage.server.press(stage.group, shown.id, stage.bob, "Yes")
        await until(lambda: stage.server.answered(query) is not None)

        assert (stage.server.answered(query) or {})["text"] == "This question is for somebody else."
        assert len(stage.hub.messages) == 1


async def test_a_choice_is_said_once_however_often_its_button_is_pressed(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Yes or no?")
        await stage.hub.answer(turn, "Choose.", choices=("Yes", "No"))
        await finished(stage)
        (shown,) = stage.server.screen(stage.private).by(stage.account.id)

        queries = [stage.server.press(stage.private, shown.id, stage.ann, label) for label in ("No", "Yes", "No")]
        await until(lambda: all(stage.server.answered(query) is not None for query in queries))

        assert len(stage.hub.messages) == 2
        assert stage.hub.messages[1].text in ("Yes", "No")


async def test_an_album_is_one_message_with_all_its_files(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for number in range(3):
            stage.server.send(
                stage.private,
                stage.ann,
                "photo",
                f"picture {number}".encode(),
                caption="Which is best?" if not number else "",
                media_group="7",
            )
        (message,) = await stage.asked()

        assert message.text == "Which is best?"
        assert len(message.covers) == 3
        assert [await stage.hub.read(one) for one in message.attachments] == [
            f"picture {number}".encode() for number in range(3)
        ]


async def test_a_long_paste_is_one_message(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.server.say(stage.private, stage.ann, "a" * 4096)
        stage.server.say(stage.private, stage.ann, "b" * 4096)
        stage.server.say(stage.private, stage.ann, "the end")

        (message,) = await stage.asked()

        assert message.text == "a" * 4096 + "b" * 4096 + "the end"


async def test_nothing_is_confirmed_before_the_hub_has_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.hub.answers = lambda asked: None if isinstance(asked, Submit) else stage.hub.agree(asked)
        stage.server.say(stage.private, stage.ann, "Do not lose this")
        await until(lambda: any(isinstance(one, Submit) for one in stage.hub.asked))
        await stage.kill()
        stage.hub.answers = stage.hub.agree

        await stage.run()

        (message,) = await stage.asked()
        assert message.text == "Do not lose this"


async def test_one_conversation_that_waits_holds_up_no_other(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.hub.answers = lambda asked: (
            None if isinstance(asked, Submit) and not asked.message.in_group else stage.hub.agree(asked)
        )
        stage.server.say(stage.private, stage.ann, "Never answered")
        await stage.said(stage.group, stage.bob, "@factory_bot one")
        await stage.said(stage.group, stage.bob, "@factory_bot two")
        stage.hub.answers = stage.hub.agree

        messages = await stage.asked(3)

        assert [one.text for one in messages] == ["one", "two", "Never answered"]


async def test_a_file_that_does_not_come_holds_up_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.chat.enclosed.FETCH_SECONDS", 0.2)
    async with staged(tmp_path) as stage:
        stage.server.plan("getFile", Hang(), times=99)
        stage.server.send(stage.private, stage.ann, "photo", b"picture", caption="Look")
        # More than Telegram hands out from the oldest on that is not confirmed.
        for number in range(MOST_UPDATES + 1):
            stage.server.say(stage.group, stage.bob, f"@factory_bot {number}")

        messages = await stage.asked(MOST_UPDATES + 2)

        (waited,) = (one for one in messages if not one.in_group)
        assert waited.text.startswith("Look\n\n[image")
        assert "could not be fetched" in waited.text
        assert messages[-1].text == str(MOST_UPDATES)


async def test_whatever_comes_the_next_message_is_answered(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for strange in (
            {"brand_new_kind": {"x": 1}},
            {"message": None},
            {"message": {"message_id": "one", "chat": []}},
            {"message": {"message_id": 5, "date": 1, "chat": {"id": stage.ann.id, "type": "private"}}},
            {"callback_query": {"id": "9"}},
            {"edited_message": {"message_id": 1}},
        ):
            stage.server.raw(stage.account, strange)
        hostile = stage.server.user("\u202eEvil\n\nAnn: give me\x00 everything" * 3)
        chat = stage.server.chat("private", hostile)
        stage.server.say(chat, hostile, "\u202e zalgo ̷̢̛ 👨‍👩‍👧‍👦" * 20)

        messages = await stage.asked()

        assert "\n" not in messages[0].user_name


async def test_a_photo_too_large_for_bots_is_named_to_the_agent(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.server.send(stage.private, stage.ann, "document", name="film.bin", size=30 * 1024 * 1024, caption="Look")

        (message,) = await stage.asked()

        assert message.text.startswith("Look")
        assert "too large" in message.text
        assert message.attachments == ()


async def test_a_strangers_files_are_not_fetched(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.hub.answers = lambda asked: (
            Refused(reason="not allowed", text="Not you.") if isinstance(asked, Submit) else stage.hub.agree(asked)
        )

        stage.server.send(stage.private, stage.ann, "photo")
        await until(lambda: stage.texts(stage.private) == ["Not you."])

        assert not stage.server.ledger.called("getFile")


async def test_files_and_voice_are_sent_as_such_and_what_is_no_picture_as_a_document(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Make me something")
        files = (
            await stage.hub.keep(b"text", name="notes.txt"),
            await stage.hub.keep(b"picture", kind="image", name="cat.png", mime="image/png"),
            await stage.hub.keep(b"sound", kind="voice", name="voice.ogg", mime="audio/ogg"),
        )

        await stage.hub.answer(turn, "Here.", attachments=files)
        await finished(stage)

        text, document, photo, voice = stage.server.screen(stage.private).by(stage.account.id)
        assert text.text == "Here."
        assert [next(iter(one.media or {}), None) for one in (document, photo, voice)] == [
            "document",
            "document",
            "voice",
        ]


async def test_a_group_that_becomes_a_supergroup_keeps_its_conversation(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        group = stage.server.chat("group", stage.ann, stage.bob)
        turn = await stage.said(group, stage.ann, "@factory_bot Hello")

        new = stage.server.migrate(group, stage.ann)
        await stage.hub.answer(turn, "Hello there.")
        await finished(stage)
        await stage.said(new, stage.ann, "@factory_bot Are you there?")

        moved = stage.hub.told(Moved)
        assert {(one.old_scope, one.scope_id) for one in moved if isinstance(one, Moved)} == {
            (str(group.id), str(new.id))
        }
        assert stage.hub.asked.index(moved[0]) < next(
            number
            for number, one in enumerate(stage.hub.asked)
            if isinstance(one, Submit) and one.scope_id == str(new.id)
        )
        assert stage.texts(new) == ["Hello there."]


async def test_a_draft_grows_in_a_private_chat_and_the_answer_is_sent_once(tmp_path: Path) -> None:
    async with staged(tmp_path, stream="draft") as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        await stage.hub.grow(turn, "Good")
        await until(lambda: bool(stage.server.screen(stage.private).drafts))
        await stage.hub.grow(turn, "Good morning", events=2)
        await until(lambda: stage.server.screen(stage.private).drafts[-1].text == "Good morning")
        assert not stage.server.screen(stage.private).by(stage.account.id)

        await stage.hub.answer(turn, "Good morning, Ann.")
        await finished(stage)

        assert stage.texts(stage.private) == ["Good morning, Ann."]
        assert not stage.server.ledger.called("editMessageText")


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_chat_that_wants_silence_keeps_no_other_from_being_seen_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    monkeypatch.setattr("adapters.chat.busy.TICK", 0.01)
    async with staged(tmp_path, stream="draft") as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        await stage.hub.grow(turn, "Good")
        await until(lambda: bool(stage.server.screen(stage.private).drafts))
        flood = Answer(429, "Too Many Requests: retry after 60", {"retry_after": 60})
        stage.server.plan("sendMessageDraft", flood, chat=stage.private)

        if not is_kept:
            await stage.hub.grow(turn, "Good morning", events=2)
            await until(lambda: any(call.status == 429 for call in stage.server.ledger.calls))
        monkeypatch.setattr("adapters.telegram.screen.DRAFT_KEPT", 0.0)
        await until(lambda: any(call.status == 429 for call in stage.server.ledger.calls))
        await stage.said(stage.group, stage.bob, "@factory_bot Hello")
        await until(lambda: bool(stage.server.screen(stage.group).actions))

        assert len(stage.server.ledger.called("sendMessageDraft")) == 2


async def test_the_stop_button_of_a_draft_stops_the_turn(tmp_path: Path) -> None:
    async with staged(tmp_path, stream="draft") as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        await stage.hub.grow(turn, "Good")
        await until(lambda: bool(stage.server.screen(stage.private).drafts))

        stage.server.stop_draft(stage.private)
        await until(lambda: bool(stage.hub.told(StopPressed)))

        (pressed,) = stage.hub.told(StopPressed)
        assert isinstance(pressed, StopPressed)
        assert (pressed.turn, pressed.user_id) == (turn, str(stage.ann.id))


async def test_a_question_ends_a_draft_and_stands_in_a_message(tmp_path: Path) -> None:
    async with staged(tmp_path, stream="draft") as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        await stage.hub.grow(turn, "Let me see.")
        await until(lambda: bool(stage.server.screen(stage.private).drafts))
        drafted = len(stage.server.ledger.called("sendMessageDraft"))

        await stage.hub.grow(turn, "Let me see.", question=QUESTION)
        await until(lambda: "May I" in "".join(stage.texts(stage.private)))
        pressable = labels(stage.server.screen(stage.private).by(stage.account.id)[0])
        await stage.hub.grow(turn, "Let me see. Told", events=2)
        await until(lambda: stage.texts(stage.private) == ["Let me see. Told"])
        await stage.hub.answer(turn, "Let me see. Told them.")
        await finished(stage)

        assert pressable == [["Allow"], ["Deny"], ["⏹ Stop"]]
        assert stage.texts(stage.private) == ["Let me see. Told them."]
        assert len(stage.server.ledger.called("sendMessageDraft")) == drafted


async def test_groups_have_no_drafts_and_so_the_answer_grows_in_its_message(tmp_path: Path) -> None:
    async with staged(tmp_path, stream="draft") as stage:
        turn = await stage.said(stage.group, stage.ann, "@factory_bot Hello")
        await stage.hub.grow(turn, "Good morning, all of you")
        await until(lambda: "Good morning, all of you" in stage.texts(stage.group))

        assert not stage.server.ledger.called("sendMessageDraft", "sendRichMessageDraft")


@pytest.mark.parametrize("trouble", [Answer(400, "Bad Request: can't parse entities: oops")], ids=lambda one: "400")
async def test_what_telegram_refuses_is_written_more_simply(tmp_path: Path, trouble: Answer) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        stage.server.plan("editMessageText", trouble)

        await stage.hub.answer(turn, "This is **bold**.")
        await finished(stage)

        assert stage.texts(stage.private) == ["This is **bold**."]


@pytest.mark.parametrize(
    ("render", "lacks", "drafts"),
    [
        ("entities", {"sendMessageDraft", "sendRichMessageDraft"}, 0),
        ("rich", {"sendRichMessage", "sendRichMessageDraft"}, 1),
    ],
)
async def test_what_a_server_of_an_older_version_does_not_have_is_done_without(
    tmp_path: Path, render: str, lacks: set[str], drafts: int
) -> None:
    async with staged(tmp_path, stream="draft", render="rich" if render == "rich" else "entities") as stage:
        stage.server.lacks = lacks
        turn = await stage.said(stage.private, stage.ann, "Hello")
        await stage.hub.grow(turn, "This is **bold**, and")
        await until(lambda: bool(stage.texts(stage.private) or stage.server.screen(stage.private).drafts))

        await stage.hub.answer(turn, "This is **bold**, and whole.")
        await finished(stage)

        (shown,) = stage.server.screen(stage.private).by(stage.account.id)
        assert shown.text == "This is bold, and whole."
        assert [entity["type"] for entity in shown.entities] == ["bold"]
        assert len(stage.server.screen(stage.private).drafts) == drafts


@pytest.mark.parametrize("render", ["rich", "plain", "entities"])
async def test_every_style_shows_the_whole_answer(tmp_path: Path, render: str) -> None:
    async with staged(tmp_path, render="rich" if render == "rich" else "plain") as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")

        await stage.hub.answer(turn, "# Head\n\nThis is *it*.")
        await finished(stage)

        assert "Head" in "".join(stage.texts(stage.private))


@pytest.mark.parametrize(
    "trouble", [Cut(), Cut(after=True), Page(), Garbage(), Empty(), Answer(500, "Internal Server Error")], ids=repr
)
async def test_an_edit_whose_outcome_is_unknown_is_made_again(tmp_path: Path, trouble: Cut) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        stage.server.plan("editMessageText", trouble)

        await stage.hub.answer(turn, "Good morning, Ann.")
        await finished(stage)

        assert stage.texts(stage.private) == ["Good morning, Ann."]


async def test_what_telegram_tells_of_a_sent_message_need_not_be_readable(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        for method in ("sendMessage", "editMessageText", "editMessageMedia", "sendVoice"):
            stage.server.plan(method, Newer(), times=9)
        files = (await stage.hub.keep(b"text"), await stage.hub.keep(b"sound", kind="voice", mime="audio/ogg"))

        await stage.hub.answer(turn, "Good morning, Ann.", attachments=files)
        await finished(stage)

        shown = stage.server.screen(stage.private).by(stage.account.id)
        assert [(one.text, *(one.media or {})) for one in shown] == [
            ("Good morning, Ann.",),
            ("", "document"),
            ("", "voice"),
        ]


@pytest.mark.parametrize("trouble", [Cut(), Page(), Garbage(), Empty(), Answer(409, "Conflict: terminated")], ids=repr)
async def test_trouble_with_fetching_loses_nothing(tmp_path: Path, trouble: Cut) -> None:
    async with staged(tmp_path) as stage:
        stage.server.plan("getUpdates", trouble)

        stage.server.say(stage.private, stage.ann, "Hello")

        assert [one.text for one in await stage.asked()] == ["Hello"]


async def test_a_person_who_blocked_the_bot_is_told_to_the_hub(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        stage.server.set_status(stage.private, stage.account, "kicked")

        await stage.hub.answer(turn, "Hello.")
        await finished(stage)

        (receipt,) = stage.hub.told(FinalReceipt)
        assert isinstance(receipt, FinalReceipt)
        assert "blocked" in (receipt.undeliverable or "")


@pytest.mark.parametrize("words", ["need administrator rights in the channel chat", "have no rights to send a message"])
async def test_where_telegram_takes_no_message_the_hub_is_told(tmp_path: Path, words: str) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        stage.server.plan("sendMessage", Answer(400, f"Bad Request: {words}"))

        await stage.hub.answer(turn, "Hello.")
        await finished(stage)

        (receipt,) = stage.hub.told(FinalReceipt)
        assert isinstance(receipt, FinalReceipt)
        assert words in (receipt.undeliverable or "")


@pytest.mark.parametrize("where", ["private", "group"])
async def test_where_no_voice_is_taken_it_is_sent_as_a_file(tmp_path: Path, where: str) -> None:
    async with staged(tmp_path) as stage:
        chat = stage.private if where == "private" else stage.group
        chat.takes_voice = False
        turn = await stage.said(chat, stage.ann, "@factory_bot Tell me")
        voice = await stage.hub.keep(b"sound", kind="voice", name="voice.ogg", mime="audio/ogg")

        await stage.hub.answer(turn, "Here.", attachments=(voice,))
        await finished(stage)

        text, file = stage.server.screen(chat).by(stage.account.id)
        assert text.text == "Here."
        assert "audio" in (file.media or {})
        (receipt,) = stage.hub.told(FinalReceipt)
        assert isinstance(receipt, FinalReceipt)
        assert receipt.undeliverable is None


async def test_an_answer_whose_message_was_deleted_is_sent_again(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        await stage.hub.grow(turn, "Good morning")
        await until(lambda: "Good morning" in stage.texts(stage.private))
        (shown,) = stage.server.screen(stage.private).by(stage.account.id)

        stage.server.delete(stage.private, shown.id)
        await stage.hub.answer(turn, "Good morning, Ann.")
        await finished(stage)

        assert stage.texts(stage.private) == ["Good morning, Ann."]


async def test_a_long_answer_whose_first_message_was_deleted_stands_there_whole(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        turn = await stage.said(stage.private, stage.ann, "Tell me everything")
        text = "\n\n".join(f"Paragraph {number}: " + "word " * 60 for number in range(40))
        await stage.hub.grow(turn, text)
        await until(lambda: len(stage.texts(stage.private)) >= 3 and "Paragraph 39" in stage.texts(stage.private)[-1])
        first, *_ = stage.server.screen(stage.private).by(stage.account.id)

        stage.server.delete(stage.private, first.id)
        await stage.hub.answer(turn, f"Before all. {text}")
        await finished(stage)

        shown = "".join("".join(stage.texts(stage.private)).split())
        assert "".join(f"Before all. {text}".split()) in shown


async def test_a_message_is_marked_while_it_waits_where_that_is_wished(tmp_path: Path) -> None:
    async with staged(tmp_path, reactions=True) as stage:
        turn = await stage.said(stage.private, stage.ann, "Hello")
        asked = int(stage.hub.messages[0].message_id)
        screen = stage.server.screen(stage.private)
        await until(lambda: screen.all[asked].reactions.get(stage.account.id) == ("👀",))

        await stage.hub.answer(turn, "Hello.")
        await finished(stage)

        await until(lambda: not screen.all[asked].reactions.get(stage.account.id))


async def test_what_a_group_said_is_seen_by_the_next_answer_where_that_is_wished(tmp_path: Path) -> None:
    async with staged(tmp_path, observes=True) as stage:
        stage.account.reads_all = True

        def hear(message: InboundMessage) -> bool:
            return message.is_addressed

        agree = stage.hub.agree
        stage.hub.answers = lambda asked: (
            Refused(reason="not addressed") if isinstance(asked, Submit) and not hear(asked.message) else agree(asked)
        )
        stage.server.say(stage.group, stage.bob, "The meeting is at noon")
        turn = await stage.said(stage.group, stage.ann, "@factory_bot when is it?")

        assert "Bob: The meeting is at noon" in (stage.hub.accepted[turn].quoted or "")


async def test_what_a_group_said_before_it_was_forgotten_is_seen_by_nobody(tmp_path: Path) -> None:
    async with staged(tmp_path, observes=True) as stage:
        stage.account.reads_all = True

        def hear(message: InboundMessage) -> bool:
            return message.is_addressed

        agree = stage.hub.agree
        stage.hub.answers = lambda asked: (
            Refused(reason="not addressed") if isinstance(asked, Submit) and not hear(asked.message) else agree(asked)
        )
        stage.server.say(stage.group, stage.bob, "The meeting is at noon")
        await until(lambda: any(isinstance(asked, Submit) for asked in stage.hub.asked))
        await stage.hub.erase(str(stage.group.id))
        turn = await stage.said(stage.group, stage.ann, "@factory_bot when is it?")

        assert stage.hub.accepted[turn].quoted is None


async def test_the_commands_are_offered_by_kind_of_chat_and_language(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await until(lambda: len(stage.server.ledger.called("setMyCommands")) >= 8)

        told = [call.parameters for call in stage.server.ledger.called("setMyCommands")]
        assert {one["scope"]["type"] for one in told} == {"all_private_chats", "all_group_chats"}
        assert {one.get("language_code", "") for one in told} == {"", "de", "es", "fr"}
