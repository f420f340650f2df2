"""How platforms take a text: how long it is, what of it can be seen, and where it may be cut."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Half of a surrogate pair cannot be sent; what Unicode keeps for the inside of a program is used inside of this one.
_NO_CHARACTER = re.compile(r"[\ud800-\udfff\ufdd0-\ufdef]")
_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Mn", "Me"})
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"


def units(text: str) -> int:
    """How long a text is in UTF-16 code units, in which some platforms count; nobody counts more."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def fitting(text: str, limit: int, size: Callable[[str], int] = units) -> int:
    """How many characters of the beginning of a text fit."""
    return bisect_right(range(1, len(text) + 1), limit, key=lambda end: size(text[:end]))


def clip(text: str, limit: int) -> str:
    """The text, or as much of its beginning as fits with an ellipsis."""
    if units(text) <= limit:
        return text
    end = fitting(text, limit - 1)
    while not is_border(text, end):
        end -= 1
    return f"{text[:end]}…" if limit > 0 else ""


def clean(text: str) -> str:
    """The text without the control characters that platforms drop; what no text may hold is replaced."""
    return _NO_CHARACTER.sub("\ufffd", _CONTROL.sub("", text))


def is_visible(text: str) -> bool:
    """Whether there is anything to see: no platform sends an empty message."""
    return any(unicodedata.category(sign) not in _INVISIBLE and sign not in _BLANK_LETTERS for sign in text)


def is_border(text: str, at: int) -> bool:
    """Whether a cut here leaves whole what a reader takes for one character: a flag, a family, a letter with marks."""
    if not 0 < at < len(text):
        return True
    before, after = text[at - 1], text[at]
    if "\u200d" in (before, after) or "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return False
    if unicodedata.category(after)[0] == "M" or "\u1160" <= after <= "\u11ff":
        return False
    flag = at
    while flag and "\U0001f1e6" <= text[flag - 1] <= "\U0001f1ff":
        flag -= 1
    return not ("\U0001f1e6" <= after <= "\U0001f1ff" and (at - flag) % 2)
