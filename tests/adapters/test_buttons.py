"""Buttons under an answer carry all that a press of them means."""

from __future__ import annotations

import pytest

from adapters.chat.buttons import ALLOW, DENY, STOP, below, chosen
from adapters.spoke import Reply
from factory_contracts.messages import Address, Question, turn_id

ADDRESS = Address(platform="telegram", bot_id="main", scope_id="1")


def test_an_answer_that_grows_can_be_stopped() -> None:
    assert [data for _, data in below(Reply("turn", ADDRESS, "text"), 64)] == [f"{STOP}turn"]


@pytest.mark.parametrize("most_bytes", [64, 100])
def test_a_question_can_be_answered_and_the_answer_still_be_stopped(most_bytes: int) -> None:
    turn, code = turn_id("telegram", "main", "1", "2"), "0123456789abcdef"
    reply = Reply(turn, ADDRESS, "text", question=Question(code=code, text="May I?", expires_at=1.0))

    buttons = below(reply, most_bytes)

    assert [text for text, _ in buttons] == ["Allow", "Deny", "⏹ Stop"]
    assert [data for _, data in buttons] == [f"{ALLOW}{turn}:{code}", f"{DENY}{turn}:{code}", f"{STOP}{turn}"]
    assert all(len(data.encode()) <= most_bytes for _, data in buttons)


def test_a_choice_tells_who_was_asked_and_what_was_chosen() -> None:
    reply = Reply("turn", ADDRESS, "text", is_final=True, choices=("Yes: now", "No", "No"), asker="42")

    buttons = below(reply, 64)

    assert [text for text, _ in buttons] == ["Yes: now", "No"]
    assert [chosen(data) for _, data in buttons] == [("42", "Yes: now"), ("42", "No")]


def test_a_choice_that_does_not_fit_is_left_out() -> None:
    reply = Reply("turn", ADDRESS, "text", is_final=True, choices=("é" * 40, "No"), asker="42")

    assert [text for text, _ in below(reply, 64)] == ["No"]
