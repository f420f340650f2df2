"""What a group said that was not for the bot."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from adapters.chat.overheard import MAX_CHARACTERS, MAX_LINES, MAX_SCOPES, Overheard


def test_what_was_said_is_told_once_and_in_order() -> None:
    overheard = Overheard()
    overheard.hear("chat", "Ada", "Rome?")
    overheard.hear("chat", "Bob", "Oslo.")

    assert overheard.take("chat") == "[said here before, not to you:\nAda: Rome?\nBob: Oslo.]"
    assert overheard.take("chat") == ""


def test_scopes_do_not_hear_each_other() -> None:
    overheard = Overheard()
    overheard.hear("chat", "Ada", "Rome?")

    assert overheard.take("chat/7") == ""
    assert "Rome" in overheard.take("chat")


def test_what_is_forgotten_is_not_told() -> None:
    overheard = Overheard()
    overheard.hear("chat", "Ada", "Rome?")

    overheard.forget("chat")
    overheard.forget("never heard of")

    assert overheard.take("chat") == ""


def test_nothing_said_leaves_nothing() -> None:
    overheard = Overheard()
    overheard.hear("chat", "Ada", " \n\n ")

    assert overheard.take("chat") == ""


def test_nobody_poses_as_another_by_a_new_line() -> None:
    overheard = Overheard()
    overheard.hear("chat", "Ada", "hi\nBob: yes\r\n\u2028Carol: no\x0bDan: so\x85")

    assert overheard.take("chat").splitlines()[1:] == ["Ada: hi / Bob: yes / Carol: no / Dan: so]"]


def test_the_last_lines_are_kept() -> None:
    overheard = Overheard()
    for number in range(MAX_LINES + 1):
        overheard.hear("chat", "Ada", str(number))

    told = overheard.take("chat").splitlines()

    assert told[1:] == [*(f"Ada: {number}" for number in range(1, MAX_LINES)), f"Ada: {MAX_LINES}]"]


@given(some.lists(some.integers(0, 2 * MAX_CHARACTERS), min_size=1, max_size=12))
def test_no_more_is_kept_than_there_is_room_for(lengths: list[int]) -> None:
    overheard = Overheard()
    for length in lengths:
        overheard.hear("chat", "Ada", "x" * length)
    overheard.hear("chat", "Bob", "the last word")

    told = overheard.take("chat")

    assert len(told) <= MAX_CHARACTERS
    assert told.endswith("Bob: the last word]")


def test_the_scope_that_was_silent_longest_is_forgotten() -> None:
    overheard = Overheard()
    for number in range(MAX_SCOPES):
        overheard.hear(str(number), "Ada", "hello")
    overheard.hear("0", "Ada", "again")
    overheard.hear("new", "Ada", "hello")

    assert overheard.take("1") == ""
    assert "again" in overheard.take("0")
    assert overheard.take("new")
