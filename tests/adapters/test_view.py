"""An answer in several messages: the first that does not show what it should is written next."""

from __future__ import annotations

from adapters.chat.view import Slot, View
from adapters.discord.layout import in_markdown
from adapters.spoke import Reply
from factory_contracts.messages import Address, Attachment, Question

ADDRESS = Address(platform="discord", bot_id="main", scope_id="1")
FILE = Attachment(kind="document", name="a.txt", mime="text/plain", size=1, blob="b")
BUTTONS = (("Stop", "s:turn"),)


def view(text: str, *files: Attachment) -> View[str]:
    new = View(in_markdown(), "…")
    new.want(Reply("turn", ADDRESS, text, is_final=True, attachments=files), BUTTONS)
    return new


def test_the_buttons_stand_below_the_last_text_and_each_file_in_a_message_of_its_own() -> None:
    first, second, file = view("word " * 500, FILE).wanted

    assert (first.buttons, second.buttons) == ((), BUTTONS)
    assert file == Slot("…", file=FILE)


def test_the_buttons_stand_below_the_last_words_of_a_question() -> None:
    answer: View[str] = View(in_markdown(), "…")
    question = Question(code="0123456789abcdef", text="May I? " * 350, expires_at=1.0)

    answer.want(Reply("turn", ADDRESS, "Let me see.", question=question), BUTTONS)

    assert [slot.buttons for slot in answer.wanted] == [(), BUTTONS]
    assert answer.wanted[0].page.startswith("Let me see.\n\nMay I?")


def test_the_first_message_that_does_not_show_what_it_should_is_due() -> None:
    answer = view("word " * 500)
    assert answer.due(("1",)) == 0

    answer.shown["1"] = answer.wanted[0]
    assert answer.due(("1",)) == 1
    assert answer.due(("1", "2")) == 1

    answer.shown["2"] = answer.wanted[1]
    assert answer.due(("1", "2")) is None


def test_a_message_in_the_place_of_a_deleted_one_shows_nothing_yet() -> None:
    answer = view("Hello")
    answer.shown["1"] = answer.wanted[0]

    assert answer.due(("2",)) == 0


def test_a_message_that_is_too_many_is_to_be_emptied() -> None:
    answer = view("Hello")
    answer.shown["1"] = answer.wanted[0]

    assert answer.due(("1", "2")) == 1
    assert answer.slot(1) == Slot("…")
