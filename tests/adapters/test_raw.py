"""JSON in which anything may stand is read without an error, and what is of another kind as nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from adapters.chat.raw import list_of, object_of, text_of, whole_of

ANYTHING = some.none() | some.booleans() | some.integers() | some.floats() | some.text() | some.lists(some.none())


@given(ANYTHING)
def test_whatever_stands_there_is_read(value: object) -> None:
    assert isinstance(object_of(value), dict)
    assert isinstance(list_of(value), list)
    assert "\0" not in text_of(value)
    assert whole_of(value) is None or not isinstance(value, bool)


def test_a_half_of_a_character_is_no_text_that_could_be_sent() -> None:
    assert text_of("a\ud83db\0") == "a\ufffdb"
    assert text_of("\ud83e\udd8a") == "🦊"


def test_a_number_beyond_64_bits_is_none() -> None:
    assert whole_of(2**63 - 1) == 2**63 - 1
    assert whole_of(2**63) is None
