"""The Markdown of one message -> the Markdown that Discord shows.

Most of it is the same and stays as the model wrote it. Tables become text of even columns, fences are of one kind and
always closed, and three backticks open a fence nowhere else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.chat.markdown import CARRIED, Seen, parse, rearmed
from adapters.chat.table import table
from adapters.chat.text import is_visible

_BACKTICKS = re.compile("`{3,}")
# What ends something in which text is hidden: a spoiler, or the address of a link.
_HIDING = re.compile(r"\|(?=\|)|\](?=\()")
_LANGUAGE = re.compile(r"[\w+#.-]{1,20}")
_BREAK = "\u200b"
# Discord knows three sizes of headings.
_DEEP = ("H4", "H5", "H6")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the source that is shown otherwise."""

    start: int
    end: int
    shown: str


def render(source: str, *, is_padded: bool = True) -> str:
    """What a message shows."""
    seen = tuple(parse(source))
    shown, at = "", 0
    for piece in _pieces(source, seen, is_padded):
        shown += _harmless(source[at : piece.start]) + piece.shown
        at = piece.end
    shown += _harmless(source[at:])
    return _begun(shown, seen, source).strip("\n").rstrip()


def plain(source: str) -> str:
    """The source itself, where nothing better fits: no longer than it is, and no fence in it."""
    return _BACKTICKS.sub(lambda run: "'" * len(run[0]), _without_marks(source)).strip()


def unpaired(text: str) -> str:
    """The text as it is read below another, which may have opened a spoiler or a link: neither can end in it."""
    return _HIDING.sub(lambda sign: f"{sign[0]}{_BREAK}", text)


def _pieces(source: str, seen: Sequence[Seen], is_padded: bool) -> list[_Piece]:
    pieces: list[_Piece] = []
    quotes: list[int] = []
    for index, (event, start, end) in enumerate(seen):
        while quotes and quotes[-1] <= start:
            quotes.pop()
        match event:
            case {"Start": {"BlockQuote": _}}:
                quotes.append(end)
            case {"Start": {"CodeBlock": kind}}:
                info = kind["Fenced"] if isinstance(kind, dict) else ""
                fence = _fence(_code(seen, index), info, is_quoted=bool(quotes))
                pieces.append(_Piece(_edge(source, start), end, fence + _gap(source, end)))
            case {"Start": {"Table": _}}:
                text = table(_rows(source, seen, index), is_padded=is_padded)
                fence = _fence(text, "", is_quoted=bool(quotes))
                pieces.append(_Piece(_edge(source, start), end, fence + _gap(source, end)))
            case {"Start": {"Heading": {"level": level}}} if level in _DEEP:
                marks = len(source[start:end]) - len(source[start:end].lstrip("#"))
                title = _harmless(source[start + marks : end].strip())
                pieces.append(_Piece(start, end, f"**{title}**{_gap(source, end)}" if title else ""))
            case _:
                pass
    return pieces


def _code(seen: Sequence[Seen], index: int) -> str:
    """The code of a block, without the indentation and the marks of what it stands in."""
    code = ""
    for event, _, _ in seen[index + 1 :]:
        match event:
            case {"Text": str(text)}:
                code += text
            case _:
                break
    return rearmed(code).strip("\n")


def _rows(source: str, seen: Sequence[Seen], index: int) -> list[list[str]]:
    """The cells of a table, as they are written."""
    rows: list[list[str]] = []
    for event, start, end in seen[index + 1 :]:
        match event:
            case {"Start": "TableHead" | "TableRow"}:
                rows.append([])
            case {"Start": "TableCell"}:
                rows[-1].append(source[start:end].replace("\\|", "|").strip())
            case {"End": "Table"}:
                break
            case _:
                pass
    return rows


def _edge(source: str, start: int) -> int:
    """Where the line begins, if nothing but space stands before: as the code of a list is shown at the edge."""
    line = source.rfind("\n", 0, start) + 1
    return start if source[line:start].strip(" ") else line


def _fence(code: str, info: str, *, is_quoted: bool) -> str:
    language = _LANGUAGE.match(info)
    body = _BACKTICKS.sub(_spread, code)
    lines = (f"```{language[0] if language else ''}", *body.split("\n"), "```")
    return ("\n> " if is_quoted else "\n").join(lines)


def _gap(source: str, end: int) -> str:
    """What parts a block from what follows, if the block as it was ended with the end of a line."""
    return "\n" if source[end - 1 : end] == "\n" else ""


def _harmless(text: str) -> str:
    """The text with nothing in it that opens a fence."""
    return _BACKTICKS.sub(_spread, text)


def _spread(run: re.Match[str]) -> str:
    return _BREAK.join(run[0])


def _begun(shown: str, seen: Sequence[Seen], source: str) -> str:
    """The message without what is carried over for the parser alone; what goes on in a quote is begun as one."""
    if CARRIED not in shown:
        return shown
    after = shown.rpartition(CARRIED)[2]
    mark = source.rindex(CARRIED)
    is_quoted = any(_is_quote(event) and start < mark < end for event, start, end in seen)
    goes_on = bool(after.strip(" ")) and not after.startswith("\n")
    return f"{'> ' if is_quoted and goes_on else ''}{after.lstrip(' ')}"


def _without_marks(source: str) -> str:
    return source.rpartition(CARRIED)[2]


def _is_quote(event: object) -> bool:
    match event:
        case {"Start": {"BlockQuote": _}}:
            return True
        case _:
            return False


def is_shown(text: str) -> bool:
    """Whether Discord takes it: it sends no empty message."""
    return is_visible(text.replace(_BREAK, ""))
