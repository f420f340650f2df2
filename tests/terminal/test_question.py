"""What a person sees and may press when an agent asks whether it may do something."""

from __future__ import annotations

import pytest

from tests.terminal.stage import Stage

QUESTION = {
    "code": "0123456789abcdef",
    "text": 'May I use **send**?\n\n```json\n{"to": "all"}\n```',
    "expires_at": 1.0,
}


@pytest.fixture
def turn(stage: Stage) -> str:
    """An answer that has begun."""
    stage.type("tell them\r")
    turn = stage.accepted()
    stage.show(turn, "Let me see.")
    stage.see("Let me see.")
    return turn


def ask(stage: Stage, turn: str, text: str = "Let me see.") -> None:
    """A question stands below what was said so far."""
    stage.show(turn, text, question=QUESTION)


def test_a_question_is_printed_below_what_was_said_before_it(stage: Stage, turn: str) -> None:
    ask(stage, turn)
    stage.see("y/n>\ny allows it, n denies it")

    assert [line for line in stage.shown().split("\n") if line][2:6] == [
        "> tell them",
        "Let me see.",
        "May I use send?",
        '{"to": "all"}',
    ]


@pytest.mark.parametrize(("key", "approved"), [("y", True), ("Y", True), ("n", False), ("N", False)])
def test_one_key_decides(stage: Stage, turn: str, key: str, approved: bool) -> None:
    ask(stage, turn)
    stage.see("y/n>")

    stage.type(key)
    told = stage.told("decided")
    stage.order("accept")

    assert (told["scope"], told["turn"], told["code"]) == ("here", turn, "0123456789abcdef")
    assert (told["user"], told["approved"]) == ("someone", approved)
    stage.see("allowed" if approved else "denied")
    stage.see_no_more("y/n>")


def test_a_question_that_is_told_again_is_printed_once_and_decided_once(stage: Stage, turn: str) -> None:
    ask(stage, turn)
    stage.see("y/n>")
    stage.type("y")
    stage.told("decided")
    stage.order("accept")
    ask(stage, turn)
    stage.finish(turn, "Let me see.\n\nTold.")
    stage.see("Told.")
    stage.type("yes\r")

    assert stage.told("submitted")["text"] == "yes"
    assert stage.transcript().count("May I use send?") == 1
    assert stage.transcript().index("May I use send?") < stage.transcript().index("Told.")


def test_whoever_may_not_decide_is_told_so(stage: Stage, turn: str) -> None:
    ask(stage, turn)
    stage.see("y/n>")
    stage.type("y")
    stage.told("decided")
    stage.order("refuse", reason="not allowed", text="That is not yours to allow.")

    stage.see("That is not yours to allow.")


def test_a_line_that_was_begun_stays_and_goes_on_after_the_answer(stage: Stage, turn: str) -> None:
    stage.type("half a line")
    stage.see("> half a line")
    ask(stage, turn)
    stage.see("y/n> half a line")
    stage.type("y")
    stage.told("decided")
    stage.order("accept")
    stage.see("\n> half a line")
    stage.type(" and more\r")

    assert stage.told("submitted")["text"] == "half a line and more"


def test_what_is_typed_on_is_a_message_and_decides_nothing(stage: Stage, turn: str) -> None:
    stage.type("may")
    stage.see("> may")
    ask(stage, turn)
    stage.see("May I use send?")
    stage.type("be not, you know\r")
    said = stage.told("submitted")
    stage.order("accept")
    stage.see("y/n>")
    stage.type("n")

    assert said["text"] == "maybe not, you know"
    assert stage.told("decided")["approved"] is False


@pytest.mark.parametrize("begun", ["", "may"])
def test_whoever_types_on_after_a_pause_writes_a_message(stage: Stage, turn: str, begun: str) -> None:
    stage.type(begun)
    ask(stage, turn)
    stage.see(f"y/n> {begun}".rstrip())
    stage.type("be not, you know\r")

    assert stage.told("submitted")["text"] == f"{begun}be not, you know"


def test_a_line_that_grew_under_a_question_is_no_answer_however_long_it_rests(stage: Stage, turn: str) -> None:
    ask(stage, turn)
    stage.see("y/n>")
    stage.type("but ")
    stage.see("> but")
    stage.type("\x03")
    stage.see("press Ctrl-C again to exit")
    stage.see_no_more("press Ctrl-C again to exit")
    stage.type("not\r")

    assert stage.told("submitted")["text"] == "/stop"
    stage.order("accept")
    assert stage.told("submitted")["text"] == "but not"


@pytest.mark.parametrize(
    "keys", ["\r", "\t", "q", " ", "\x1b[200~y\x1b[201~", "\x1b[200~yes\n\x1b[201~", "\x19", "\x0e"]
)
def test_nothing_but_the_two_keys_decides(stage: Stage, turn: str, keys: str) -> None:
    ask(stage, turn)
    stage.see("y/n>")
    stage.type(keys)
    stage.type("\x1b[200~ but \x1b[201~")
    stage.see("but")
    # The line is cleared.
    stage.type("\x05\x15\x7f\x15")
    stage.see("y/n>")
    stage.type("n")

    assert stage.told("decided")["approved"] is False


def test_a_line_that_says_yes_is_a_message(stage: Stage, turn: str) -> None:
    ask(stage, turn)
    stage.see("y/n>")
    stage.type("\x1b[200~yes\x1b[201~")
    stage.see("> yes")
    stage.type("\r")

    assert stage.told("submitted")["text"] == "yes"


def test_when_the_question_is_gone_every_key_is_a_letter(stage: Stage, turn: str) -> None:
    ask(stage, turn)
    stage.see("y/n>")
    stage.show(turn, "Let me see.")
    stage.see_no_more("y/n>")
    stage.type("no\r")

    assert stage.told("submitted")["text"] == "no"


def test_a_question_stands_while_the_hub_answers_a_word_at_once(stage: Stage, turn: str) -> None:
    ask(stage, turn)
    stage.see("y/n>")
    stage.type("/approvals\r")
    stage.finish(stage.accepted(), "One question waits.")
    stage.see("One question waits.")
    stage.see("y/n>")
    stage.type("y")
    told = stage.told("decided")
    stage.order("accept")
    stage.finish(turn, "Let me see.\n\nTold.")
    stage.see("Told.")

    assert (told["turn"], told["approved"]) == (turn, True)
    assert "did not come" not in stage.transcript()


def test_a_question_cannot_write_to_the_terminal(stage: Stage, turn: str) -> None:
    stage.show(turn, "Let me see.", question={**QUESTION, "text": "May I \x1b[2J\x1b]0;x\x07send?"})
    stage.see("May I [2J]0;xsend?")

    assert b"\x1b[2J" not in stage.written


def test_ctrl_c_stops_an_answer_that_asks(stage: Stage, turn: str) -> None:
    ask(stage, turn)
    stage.see("y/n>")
    stage.type("\x03")

    assert stage.told("submitted")["text"] == "/stop"
