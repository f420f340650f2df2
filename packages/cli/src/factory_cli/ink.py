"""Words on a terminal: what a stranger wrote moves no cursor, and colour comes only where it is wanted."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

import typer

from factory_cli.amounts import plain

Style = Literal["plain", "strong", "faint", "good", "bad", "name"]

_CODES = MappingProxyType({"strong": "1", "faint": "2", "good": "32", "bad": "31", "name": "36"})
_TAB = 4
_NARROWEST = 20


@dataclass(frozen=True, slots=True)
class Ink:
    """Some words in one style."""

    text: str
    style: Style = "plain"


Line = tuple[Ink, ...]


def harmless(text: str) -> str:
    """The text as one line in which nothing but letters, signs and spaces is left."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text.expandtabs(_TAB))


def escaped(document: str) -> str:
    """A JSON document that says the same, and holds nothing that a terminal would obey."""
    if document.isascii() and document.replace("\n", "").isprintable():
        return document
    return "".join(letter if letter == "\n" or letter.isprintable() else _escape(letter) for letter in document)


def painted(line: Line, *, is_color: bool) -> str:
    """The line as it is printed."""
    return "".join(_paint(ink, is_color) for ink in line).rstrip()


def block(text: str, indent: int, width: int | None, style: Style = "plain") -> Iterator[Line]:
    """A text of several lines, set in; with a width what is longer goes on below."""
    room = None if width is None else max(_NARROWEST, width - indent)
    for whole in text.splitlines():
        line = harmless(whole)
        for part in (line,) if room is None or len(line) <= room else _wrapped(line, room):
            yield (Ink(" " * indent), Ink(part, style))


def _amount(value: object) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    raise TypeError(f"{type(value).__name__} has no place in a document")


def _wrapped(line: str, room: int) -> list[str]:
    return textwrap.wrap(line, room, replace_whitespace=False, break_on_hyphens=False)


def _paint(ink: Ink, is_color: bool) -> str:
    text = harmless(ink.text)
    return f"\x1b[{_CODES[ink.style]}m{text}\x1b[0m" if is_color and ink.style in _CODES and text else text


def _escape(letter: str) -> str:
    """The letter as JSON spells it, in two halves where it takes two."""
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def say_lines(lines: Iterable[Line], *, is_color: bool) -> None:
    """The lines as a result."""
    for line in lines:
        typer.echo(painted(line, is_color=is_color), color=is_color)


def say_document(value: object) -> None:
    """One JSON document as the result; amounts of money are strings, so that no digit is lost."""
    typer.echo(document(value))


def document(value: object) -> str:
    """The same as a text."""
    return escaped(json.dumps(value, indent=2, ensure_ascii=False, default=_amount))


def width() -> int | None:
    """How wide the person's terminal is; None where nobody sits before one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
