"""Where a message that is full ends, and what the next one carries over so that it reads on.

Only what lies in the window is looked at: whatever an answer says later, it is cut at the same places.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import takewhile
from typing import Literal

from pyromark.event import Event

from adapters.chat.markdown import CARRIED, FORMULA, Seen, parse
from adapters.chat.text import is_border

_SENTENCE = re.compile(r"[.!?…؟।][\"')\u2019”»]*(?=\s)|[。\uff01\uff1f][」』”]*")
_SPACE = re.compile(r"(?<=\S)[^\S\n]+(?=\S)")
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*([\w+#-]{0,20})")
_MARK = re.compile(r"([-*+]|(\d{1,9})([.)]))( {1,4}(?=\S))?")
# An answer that is meant well carries over less.
_MOST_CARRIED = 600
# How far back a place is looked for where no character is better than another.
_REACH = 300


@dataclass(frozen=True, slots=True)
class Cut:
    """A message ends here, the next resumes there, and this Markdown is to be read before it."""

    end: int
    resume: int
    carried: str


class _Rank(IntEnum):
    """How well a message may end somewhere; the best comes first."""

    BLOCK = 0
    ITEM = 1
    NESTED = 2
    LINE = 3
    SENTENCE = 4
    SPACE = 5
    # In front of a table that the next message can hold whole, however early that is; and, if need be, inside of it.
    TABLE = 6
    ROW = 7


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message may end, where the next resumes, and what joins it to a paragraph it goes on with."""

    rank: _Rank
    end: int
    resume: int
    joint: Literal["", "\n", " "] = ""


@dataclass(slots=True)
class _Frame:
    """Something open; of a list also the number it began with, how many items there are and where the last begins."""

    kind: Literal["quote", "list", "code", "table"]
    start: int
    number: int = 0
    items: int = 0


def cut(carried: str, window: str, least: int, most: int) -> Cut:
    """Cut a window of an answer, before which this was carried over: between two places if there is a good one."""
    source, shift = carried + window, len(carried)
    seen = tuple(parse(source))
    formulas = [found.span() for found in FORMULA.finditer(source)]
    good = [
        place
        for place in (*_between_blocks(source, seen, shift + least, most), *_in_blocks(source, seen, most))
        if shift < place.end <= shift + most
        and (place.end >= shift + least or place.rank is _Rank.TABLE)
        and not (place.joint and any(start < place.end < end for start, end in formulas))
    ]
    place = min(good, key=lambda place: (place.rank, -place.end)) if good else _hard(source, seen, shift + most)
    return Cut(place.end - shift, place.resume - shift, _carried(source, seen, place))


def _between_blocks(source: str, seen: Sequence[Seen], least: int, most: int) -> Iterator[_Place]:
    """In front of paragraphs, items, code and so on; a heading stays with what it is the heading of."""
    parents: list[tuple[int, int]] = []
    lead, heading_end = 0, -1
    for event, start, end in seen:
        if not _is_block(event):
            continue
        while parents and parents[-1][1] <= start:
            parents.pop()
        before, line = _line(source, start)
        is_headed = heading_end >= 0 and not source[heading_end:start].strip()
        lead = lead if is_headed else line
        if not is_headed and (not parents or parents[-1][0] < line):
            is_item = event == {"Start": "Item"}
            yield _Place(_Rank.NESTED if parents else _Rank.ITEM if is_item else _Rank.BLOCK, before, line)
        match event:
            case {"Start": {"Heading": _}}:
                heading_end = end
            case {"Start": {"Table": _}} if end - start <= most and end > least:
                yield _Place(_Rank.TABLE, *_line(source, lead))
            case {"Start": "Item" | {"BlockQuote": _}}:
                parents.append((start, end))
            case _:
                pass


def _in_blocks(source: str, seen: Sequence[Seen], most: int) -> Iterator[_Place]:
    """Between lines, rows, sentences and words."""
    whole_end = code_end = code_column = 0
    row_rank = _Rank.ROW
    for index, (event, start, end) in enumerate(seen):
        match event:
            case {"Start": {"CodeBlock": _}}:
                lines = takewhile(lambda inner: inner[0] != {"End": "CodeBlock"}, seen[index + 1 :])
                code_end = max((line_end for _, _, line_end in lines), default=0)
                code_column = start - _line(source, start)[1]
            case {"Text": _} if start < code_end:
                yield from _in_code(source, start, end, code_end, code_column)
            case {"Start": {"Table": _}}:
                whole_end = end
                row_rank = _Rank.ROW if end - start <= most else _Rank.LINE
            case {"Start": "TableRow"}:
                yield _Place(row_rank, *_line(source, start))
            case {"Start": "Strong" | "Emphasis" | "Strikethrough" | {"Link": _} | {"Image": _}}:
                whole_end = max(whole_end, end)
            case "SoftBreak" | "HardBreak" if start >= whole_end:
                yield _Place(_Rank.LINE, start, source.find("\n", start) + 1, joint="\n")
            case {"Text": _} if start >= whole_end:
                yield from _in_text(source, start, end)
            case _:
                pass


def _in_text(source: str, start: int, end: int) -> Iterator[_Place]:
    for found in _SENTENCE.finditer(source, start, end):
        yield _Place(_Rank.SENTENCE, found.end(), end - len(source[found.end() : end].lstrip()), joint=" ")
    for found in _SPACE.finditer(source, start, end):
        yield _Place(_Rank.SPACE, *found.span(), joint=" ")


def _in_code(source: str, start: int, end: int, code_end: int, column: int) -> Iterator[_Place]:
    at = source.find("\n", start, end) + 1
    while 0 < at < code_end and source[at:code_end].strip():
        # A blank line counts as indented, too: unindented code is where a function or the like begins.
        is_indented = not source[at : source.find("\n", at)][column : column + 1].strip()
        yield _Place(_Rank.SENTENCE if is_indented else _Rank.LINE, at - 1, at)
        at = source.find("\n", at, end) + 1
    for found in _SPACE.finditer(source, start, end):
        yield _Place(_Rank.SPACE, *found.span(), joint=" ")


def _line(source: str, at: int) -> tuple[int, int]:
    """Where the text before a line ends, and where the line begins."""
    line = source.rfind("\n", 0, at) + 1
    return len(source[:line].rstrip()), line


def _is_block(event: Event) -> bool:
    match event:
        case "Rule" | {"Start": "Paragraph" | "HtmlBlock" | "Item"}:
            return True
        case {"Start": {"Heading": _} | {"BlockQuote": _} | {"List": _} | {"CodeBlock": _} | {"Table": _}}:
            return True
        case _:
            return False


def _hard(source: str, seen: Sequence[Seen], latest: int) -> _Place:
    """A place in one long word; best where nothing is torn."""
    earliest = max(latest - _REACH, 1)
    wholes = [
        (start, end)
        for event, start, end in seen
        if start < latest and end > earliest and _is_whole(event, source[start:end])
    ]
    borders = [at for at in range(latest, earliest, -1) if is_border(source, at) and source[at - 1] != "\\"]
    for at in borders:
        if not any(start < at < end for start, end in wholes):
            return _Place(_Rank.ROW, at, at, joint=" ")
    at = source.rfind(" ", earliest, latest)
    if at > 0:
        return _Place(_Rank.ROW, at, at + 1, joint=" ")
    at = borders[0] if borders else latest
    return _Place(_Rank.ROW, at, at, joint=" ")


def _is_whole(event: Event, source: str) -> bool:
    """Whether a part would say something else than the whole."""
    match event:
        case {"Text": str(text)}:
            return text != source
        case {"Start": "Strong" | "Emphasis" | "Strikethrough" | {"Link": _} | {"Image": _}}:
            return True
        case {"Code": _} | {"InlineMath": _} | {"DisplayMath": _}:
            return True
        case _:
            return False


def _carried(source: str, seen: Sequence[Seen], place: _Place) -> str:
    """What is open at a place, opened again: nothing of it but the fence of code and the head of a table is shown."""
    carried, prefix, joint = "", "", place.joint
    for frame in _frames(seen, place.resume):
        line = source.rfind("\n", 0, frame.start) + 1
        prefix = prefix.ljust(len(source[line : frame.start].expandtabs(4)))
        match frame.kind:
            case "quote":
                prefix += "> "
            case "list":
                mark = _MARK.match(source, frame.start)
                if mark:
                    number = frame.number + frame.items - 1
                    if mark[2]:
                        # What follows may be indented as far as the mark is wide, so another item brings the number.
                        carried += f"{prefix}{max(number - 1, 0)}{mark[3]} {CARRIED}\n"
                    width = len(mark[1]) + len(mark[4] or " ")
                    carried += f"{prefix}{mark[1].ljust(width)}{CARRIED}\n"
                    prefix += " " * width
                    carried += f"{prefix.rstrip()}\n"
            case "code":
                fence = _FENCE.match(source, frame.start)
                carried += f"{prefix}{fence[1]}{fence[2]}\n" if fence else ""
                carried += f"{prefix}{'' if fence else '    '}" if joint else ""
                joint = ""
            case "table" if not joint:
                head = source.find("\n", source.find("\n", frame.start) + 1)
                carried += f"{prefix}{source[frame.start : head]}\n"
            case _:
                pass
    if len(carried) > _MOST_CARRIED:
        carried, prefix, joint = "", "", place.joint
    return f"{carried}{prefix}{CARRIED}{joint}" if joint else carried


def _frames(seen: Sequence[Seen], at: int) -> list[_Frame]:
    """What is open at a place, outermost first."""
    frames: list[_Frame] = []
    for event, start, end in seen:
        match event:
            case {"End": _} if end > at:
                break
            case {"End": {"List": _} | {"BlockQuote": _} | "CodeBlock" | "Table"}:
                frames.pop()
            case {"End": _}:
                pass
            case _ if start >= at:
                break
            case {"Start": {"List": number}}:
                frames.append(_Frame("list", start, number or 0))
            case {"Start": "Item"}:
                frames[-1].start = start
                frames[-1].items += 1
            case {"Start": {"BlockQuote": _}}:
                frames.append(_Frame("quote", start))
            case {"Start": {"CodeBlock": _}}:
                frames.append(_Frame("code", start))
            case {"Start": {"Table": _}}:
                frames.append(_Frame("table", start))
            case _:
                pass
    return frames
