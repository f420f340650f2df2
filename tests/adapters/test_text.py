"""Texts are measured and cut as platforms and a reader see them."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from adapters.chat.text import clean, clip, is_border, is_visible, units

FAMILY = "👨\u200d👩\u200d👧\u200d👦"


@given(some.text())
def test_a_text_is_as_long_as_its_code_units(text: str) -> None:
    assert units(text) == len(text.encode("utf-16-le")) // 2


@given(some.text(alphabet="ab 漢👍🇩🇪\u200d\u0301🏽"), some.integers(0, 12))
def test_a_clipped_text_fits_and_is_a_beginning(text: str, limit: int) -> None:
    clipped = clip(text, limit)

    assert units(clipped) <= limit
    assert clipped == text or text.startswith(clipped.removesuffix("…"))
    assert (clipped == text) == (units(text) <= limit)


@pytest.mark.parametrize(
    ("text", "limit", "clipped"),
    [
        ("hello", 5, "hello"),
        ("hello", 4, "hel…"),
        ("👍👍👍", 4, "👍…"),
        (f"a{FAMILY}b", 8, "a…"),
        ("🇩🇪🇫🇷", 7, "🇩🇪…"),
        ("xe\u0301e", 3, "x…"),
        ("👍🏽!", 4, "…"),
        ("hello", 0, ""),
    ],
)
def test_no_character_is_torn_by_clipping(text: str, limit: int, clipped: str) -> None:
    assert clip(text, limit) == clipped


@pytest.mark.parametrize("whole", [FAMILY, "🇩🇪", "e\u0301", "👍🏽", "❤\ufe0f", "한글"[:1], "\u1112\u1161\u11ab", "नि"])
def test_what_a_reader_takes_for_one_character_stays_whole(whole: str) -> None:
    text = f"{whole}{whole}"

    assert [at for at in range(len(text) + 1) if is_border(text, at)] == [0, len(whole), len(text)]


def test_what_telegram_drops_is_dropped_before_it_is_measured() -> None:
    assert clean("a\x00b\x1b[1m\tc\r\nd\x85e") == "ab[1m\tc\nde"
    assert clean("x\ud83dy\ufdd0z") == "x\ufffdy\ufffdz"
    assert clean("👍\u202eRTL\u200b") == "👍\u202eRTL\u200b"


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u200d", "\u2060\ufeff", "\u3164 \u2800", "\u0301"])
def test_a_text_of_which_nothing_can_be_seen_is_no_message(text: str) -> None:
    assert not is_visible(text)
    assert is_visible(f"{text}.")
