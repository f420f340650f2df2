"""What may be sent to, and what may be listened to."""

from __future__ import annotations

import pytest

from factory_nats.subject import LONGEST, is_filter, is_literal, is_name, matches, overlap


@pytest.mark.parametrize("subject", ["a", "a.b.c", "$JS.API.X", "_INBOX_a.b", "a%2Fb.c", "a,b", "a-b_c"])
def test_a_subject_of_printable_tokens_may_be_sent_to(subject: str) -> None:
    assert is_literal(subject)
    assert is_filter(subject)


@pytest.mark.parametrize("subject", ["", ".", "a.", ".a", "a..b", "a b", "a\n", "a\tb", "a\x0b", "ä", "a\x00", "\x7f"])
def test_a_broken_subject_is_good_for_nothing(subject: str) -> None:
    assert not is_literal(subject)
    assert not is_filter(subject)


@pytest.mark.parametrize("subject", ["*", ">", "a.*", "a.*.b", "a.>", "*.>"])
def test_a_wildcard_is_for_listening_alone(subject: str) -> None:
    assert not is_literal(subject)
    assert is_filter(subject)


def test_a_subject_that_would_break_the_control_line_is_refused() -> None:
    assert is_literal("a" * LONGEST)
    assert not is_literal("a" * (LONGEST + 1))
    assert not is_filter("a" * (LONGEST + 1))


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", "a" * 65, "a\n"])
def test_a_name_is_one_short_token(name: str) -> None:
    assert is_name("hub-1_A")
    assert not is_name(name)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("*.b.>", "a.b.c", True),
    ],
)
def test_a_pattern_matches_as_the_server_does_it(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("a.>", "*.b", True), ("a.*", "a.b.c", False), ("a.b", "a.c", False), (">", "x", True), ("a.*.c", "a.b.*", True)],
)
def test_patterns_overlap_when_some_subject_falls_under_both(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is overlap(other, one) is expected
