"""How people and their files are named to an agent: in one line, in which nobody else's words can be put."""

import re
import unicodedata

SOMEONE = "someone"
MAX_NAME = 64
MAX_FILE_NAME = 255

# Between name and text stands a colon, and a name stands in brackets: no name may bring its own, or what looks like it.
_NOT_IN_NAMES = str.maketrans(
    "[]", "()", ":\N{FULLWIDTH COLON}\N{SMALL COLON}\N{PRESENTATION FORM FOR VERTICAL COLON}\N{RATIO}"
    "\N{MODIFIER LETTER TRIANGULAR COLON}\N{MODIFIER LETTER RAISED COLON}\N{MODIFIER LETTER COLON}"
    "\N{PRESENTATION FORM FOR VERTICAL TWO DOT LEADER}\N{HEBREW PUNCTUATION SOF PASUQ}"
)  # fmt: skip
# Letters and marks that nobody sees, beside those that Unicode counts as formatting.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_LINE_ENDS = frozenset(("Cc", "Zl", "Zp"))


def one_line(text: str) -> str:
    """The text in one line, without what nobody sees or what turns the direction of writing."""
    told = ((character, unicodedata.category(character)) for character in _UNSEEN.sub("", text))
    return " ".join("".join(" " if kind in _LINE_ENDS else letter for letter, kind in told if kind != "Cf").split())


def speaker(text: str) -> str:
    """A name in which nobody else's words can be put; it may be empty."""
    return one_line(text).translate(_NOT_IN_NAMES).lstrip("> ")[:MAX_NAME].strip()


def file_name(text: str) -> str:
    """The name of a file, not of a path, with its suffix also where it is cut; it may be empty."""
    name = re.sub(r"[/\\]", "_", one_line(text))
    if not name.strip(". "):
        return ""
    stem, dot, suffix = name.rpartition(".")
    if len(name) <= MAX_FILE_NAME or not stem or len(suffix) > 16:
        return name[:MAX_FILE_NAME]
    return f"{stem[: MAX_FILE_NAME - 1 - len(suffix)]}{dot}{suffix}"


def bracketed(*words: str) -> str:
    """What is not text, told in a line."""
    return f"[{' '.join(filter(None, map(one_line, words)))}]"


def clipped(text: str, limit: int) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
