"""A TOML file read with care: every complaint names file, line and key.

`tomllib` forgets where a key stood, so the lines are found by a scan of the text, which `tomllib` has already accepted.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

Step = str | int
Where = tuple[Step, ...]

T = TypeVar("T")

# Money on the wire has so many digits before the point and behind it.
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,18})?")
_POSITION = re.compile(r" \(at line (\d+), column \d+\)$")
_END = " (at end of document)"
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


class BadConfiguration(Exception):
    """A file says what it may not say; the sentence names file, line and key."""

    def __init__(self, file: Path | str, line: int | None, key: str, reason: str) -> None:
        self.file, self.line, self.key, self.reason = str(file), line, key, reason
        place = self.file if line is None else f"{self.file}:{line}"
        super().__init__(": ".join(part for part in (place, key, reason) if part))


@dataclass(slots=True)
class Table:
    """A table that is asked for its keys one by one; `done` complains about what nobody asked for."""

    file: str
    lines: Mapping[Where, int]
    content: Mapping[str, object]
    where: Where = ()
    asked: set[str] = field(default_factory=set)

    def wrong(self, key: str, reason: str) -> BadConfiguration:
        """The complaint about one key of this table."""
        place = (*self.where, key) if key else self.where
        line = next((self.lines[place[:cut]] for cut in range(len(place), 0, -1) if place[:cut] in self.lines), 1)
        return BadConfiguration(self.file, line, ".".join(str(step) for step in place if isinstance(step, str)), reason)

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def text(self, key: str, default: str | None = None) -> str:
        """A string; without a default it must be there and say something."""
        value = self._take(key, str, "a string", default)
        if default is None and not value.strip():
            raise self.wrong(key, "must not be empty")
        return value

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number within limits."""
        value = self._take(key, int, "a whole number", default)
        if not least <= value <= most:
            raise self.wrong(key, f"must be {least} to {most}, not {value}")
        return value

    def number(self, key: str, default: float | None, least: float, most: float) -> float:
        """A number within limits, whole or not; without a default it must be there."""
        self.asked.add(key)
        value = self.content.get(key, default)
        if value is None:
            raise self.wrong(key, "is missing")
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong(key, "must be a number")
        if not (math.isfinite(value) and least <= value <= most):
            raise self.wrong(key, f"must be {least:g} to {most:g}, not {value:g}")
        return float(value)

    def amount(self, key: str) -> Decimal:
        """An exact amount of dollars, which stands there as a string."""
        value = self._take(key, object, "an amount", None)
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise self.wrong(key, f'must be quoted, so that no digit is lost: {key} = "{value}"')
        if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
            raise self.wrong(key, 'must be an amount of dollars like "5.00"')
        return Decimal(value)

    def one_of(self, key: str, options: Sequence[T], default: T | None) -> T:
        """One of a few words; without a default it must be there."""
        value = self._take(key, str, "a string", None if default is None else str(default))
        found = next((option for option in options if option == value), None)
        if found is None:
            known = ", ".join(str(option) for option in options)
            near = similar(value, [str(option) for option in options])
            raise self.wrong(key, f"must be one of {known}, not {value!r}{near}")
        return found

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        return self._take(key, bool, "true or false", default)

    def texts(self, key: str, *, may_repeat: bool = False) -> tuple[str, ...]:
        """A list of strings, which differ unless they may repeat; empty where the key is absent."""
        values = self._take(key, list, "a list of strings", [])
        texts = tuple(value for value in values if isinstance(value, str))
        if len(texts) != len(values):
            raise self.wrong(key, "must be a list of strings")
        for value in texts:
            if not may_repeat and texts.count(value) > 1:
                raise self.wrong(key, f"names {value!r} twice")
        return texts

    def table(self, key: str) -> "Table":
        """A table, empty where the key is absent."""
        content = self._take(key, dict, "a table", {})
        return Table(self.file, self.lines, content, (*self.where, key))

    def tables(self, key: str) -> "Iterator[Table]":
        """The tables of an array, none where the key is absent."""
        wanted = f"an array of tables: [[{key}]]"
        for index, content in enumerate(self._take(key, list, wanted, [])):
            if not isinstance(content, dict):
                raise self.wrong(key, f"must be {wanted}")
            yield Table(self.file, self.lines, content, (*self.where, key, index))

    def done(self) -> None:
        """Complain about the first key that nobody asked for."""
        for complaint in self.unknown():
            raise complaint

    def unknown(self) -> "Iterator[BadConfiguration]":
        """A complaint about each key that nobody asked for."""
        for key in self.content:
            if key not in self.asked:
                known = ", ".join(sorted(self.asked))
                yield self.wrong(key, f"unknown key{similar(key, self.asked)}; known here: {known}")

    def _take(self, key: str, kind: type[T], wanted: str, default: T | None) -> T:
        self.asked.add(key)
        value = self.content.get(key, default)
        if value is None:
            raise self.wrong(key, "is missing")
        # A bool is an int in Python, not in TOML.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, f"must be {wanted}")
        return value


def read(path: Path) -> Table:
    """The file's top table. Raises `BadConfiguration` where it cannot be read or is no TOML."""
    return parsed(shown(path), written(path))


def written(path: Path) -> str:
    """The file's text. Raises `BadConfiguration` where it cannot be read."""
    file = shown(path)
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise BadConfiguration(file, None, "", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadConfiguration(file, line, "", "is not UTF-8") from error


def parsed(file: str, text: str) -> Table:
    """The top table of a text that stands, or is to stand, in the file. Raises `BadConfiguration` if it is no TOML."""
    text = text.replace("\r\n", "\n")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _broken(file, text, str(error)) from error
    return Table(file, _Scan(text).lines(), content)


def similar(word: str, known: Sequence[str] | set[str]) -> str:
    """What may have been meant, as the tail of a sentence."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def shown(path: Path) -> str:
    """The path as a person would write it from where they stand."""
    here = Path.cwd()
    whole = path.absolute()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)


def _broken(file: str, text: str, message: str) -> BadConfiguration:
    found = _POSITION.search(message)
    line = int(found[1]) if found else text.rstrip("\n").count("\n") + 1
    reason = _POSITION.sub("", message).removesuffix(_END)
    written = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
    key = re.match(r"\s*([A-Za-z0-9_.-]+)\s*=", written)
    return BadConfiguration(file, line, key[1] if key else "", f"is no TOML: {reason[:1].lower()}{reason[1:]}")


class _Scan:
    """Walks over valid TOML and notes the line of each key."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Where, int] = {}
        self._arrays: dict[Where, int] = {}

    def lines(self) -> Mapping[Where, int]:
        table: Where = ()
        while self._skip("\n") < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._array_header()
            elif self._text[self._at] == "[":
                self._at += 1
                table = self._resolved(self._key())
                self._at += 1
            else:
                self._pair(table)
        return self._lines

    def _array_header(self) -> Where:
        self._at += 2
        line = self._line()
        *outer, name = self._key()
        array = (*self._resolved(outer), name)
        index = self._arrays[array] = self._arrays.get(array, -1) + 1
        self._at += 2
        self._lines.setdefault(array, line)
        self._lines[(*array, index)] = line
        return (*array, index)

    def _resolved(self, key: Sequence[str]) -> Where:
        line = self._line()
        place: Where = ()
        for step in key:
            place = (*place, step)
            self._lines.setdefault(place, line)
            if place in self._arrays:
                place = (*place, self._arrays[place])
        return place

    def _pair(self, table: Where) -> None:
        line = self._line()
        place = table
        for step in self._key():
            place = (*place, step)
            self._lines.setdefault(place, line)
        self._at += 1
        self._value(place)

    def _key(self) -> list[str]:
        """A dotted key; ends at the `=` or `]` that follows it."""
        steps: list[str] = []
        while True:
            self._skip()
            if self._text[self._at] in "\"'":
                steps.append(self._string())
            else:
                start = self._at
                while self._text[self._at] not in " \t.=]":
                    self._at += 1
                steps.append(self._text[start : self._at])
            self._skip()
            if self._text[self._at] != ".":
                return steps
            self._at += 1

    def _value(self, place: Where) -> None:
        self._skip()
        opening = self._text[self._at]
        if opening in "\"'":
            self._string()
        elif opening == "[":
            self._items(place, "]")
        elif opening == "{":
            self._items(place, "}")
        else:
            while self._at < len(self._text) and self._text[self._at] not in ",]}#\n":
                self._at += 1

    def _items(self, place: Where, closing: str) -> None:
        self._at += 1
        index = 0
        while self._text[self._skip("\n,")] != closing:
            if closing == "}":
                self._pair(place)
            else:
                self._lines[(*place, index)] = self._line()
                self._value((*place, index))
            index += 1
        self._at += 1

    def _string(self) -> str:
        quote = self._text[self._at]
        fence = quote * 3 if self._text.startswith(quote * 3, self._at) else quote
        self._at += len(fence)
        letters: list[str] = []
        while not self._text.startswith(fence, self._at):
            letter = self._text[self._at]
            if letter == "\\" and quote == '"':
                self._at += 1
                letter = self._escaped()
            letters.append(letter)
            self._at += 1
        self._at += len(fence)
        # Up to two quotes may stand right before the closing three.
        while len(fence) == 3 and self._text.startswith(quote, self._at):
            self._at += 1
        return "".join(letters)

    def _escaped(self) -> str:
        letter = self._text[self._at]
        digits = {"x": 2, "u": 4, "U": 8}.get(letter, 0)
        if not digits:
            return _ESCAPED.get(letter, letter)
        code = self._text[self._at + 1 : self._at + 1 + digits]
        self._at += digits
        return chr(int(code, 16))

    def _skip(self, also: str = "") -> int:
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
                if not also:
                    break
            elif self._text[self._at] in " \t" or self._text[self._at] in also:
                self._at += 1
            else:
                break
        return self._at

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1
