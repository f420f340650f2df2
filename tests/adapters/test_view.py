"""An answer in several messages: the first that does not show what it should is written next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as some

from adapters.chat.view import Slot, View
from adapters.discord.layout import in_markdown
from adapters.spoke import Reply
from adapters.telegram.layout import in_style
from adapters.telegram.settings import Style
from factory_contracts.messages import Address, Attachment, Question

ADDRESS = Address(platform="discord", bot_id="main", scope_id="1")
FILE = Attachment(kind="document", name="a.txt", mime="text/plain", size=1, blob="b")
BUTTONS = (("Stop", "s:turn"),)

P = TypeVar("P")
pieces = some.sampled_from(("word ", "**A** sentence.\n\n", "- an item\n", "```\ncode\n```\n", "||[`", "x"))
# How much an answer says by and by, and how many arguments a question below it is about, if there is one.
Steps = Sequence[tuple[int, int | None]]
steps = some.lists(some.tuples(some.integers(0, 9_000), some.none() | some.integers(0, 165)), min_size=1, max_size=9)
briefly = settings(deadline=None, max_examples=25)


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


def check(answer: View[P], read: Callable[[P], str], piece: str, steps: Steps) -> None:
    """Write whatever is due after each step: all of a question is read, and no message is sent that is not needed."""
    messages: list[str] = []
    most = 0
    for length, arguments in sorted(steps, key=lambda step: step[0]):
        question = None
        if arguments is not None:
            lines = "".join(f"argument {number} of it\n" for number in range(arguments))
            question = Question(code="0123456789abcdef", text=f"May I?\n\n```\n{lines}```", expires_at=1.0)
        answer.want(Reply("turn", ADDRESS, piece * (length // len(piece)), question=question), BUTTONS)
        while (due := answer.due(messages)) is not None:
            if due == len(messages):
                messages.append(str(due))
            else:
                answer.shown[messages[due]] = answer.slot(due)
        shown = "".join(read(answer.shown[message].page) for message in messages)
        assert shown.count("May I?") == (question is not None)
        assert all(f"argument {number} of it" in shown for number in range(arguments or 0))
        assert [bool(answer.shown[message].buttons) for message in messages].count(True) == 1
        most = max(most, len(answer.wanted))
        assert len(messages) == most


@given(pieces, steps)
@briefly
def test_questions_that_come_and_go_are_read_whole_on_discord_in_no_more_messages_than_needed(
    piece: str, steps: Steps
) -> None:
    check(View(in_markdown(), "…"), str, piece, steps)


@given(some.sampled_from(("entities", "plain", "rich")), pieces, steps)
@briefly
def test_questions_that_come_and_go_are_read_whole_on_telegram_in_no_more_messages_than_needed(
    style: Style, piece: str, steps: Steps
) -> None:
    check(
        View(in_style(style), in_style(style).pages("", None, True)[0]),
        lambda page: page.text + page.rich,
        piece,
        steps,
    )


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


def test_a_message_that_is_too_many_is_to_be_emptied_and_when_the_answer_is_whole_deleted() -> None:
    answer: View[str] = View(in_markdown(), "…")
    answer.want(Reply("turn", ADDRESS, "Hello"), BUTTONS)
    answer.shown["1"] = answer.wanted[0]
    assert answer.due(("1", "2")) == 1
    assert answer.slot(1) == Slot("…")

    answer.shown["2"] = answer.slot(1)
    answer.want(Reply("turn", ADDRESS, "Hello", is_final=True), BUTTONS)

    assert answer.due(("1", "2")) == 1
    assert answer.slot(1).is_surplus
