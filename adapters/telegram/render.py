"""The Markdown of one message -> the text and the entities that Telegram shows.

Nothing that a model says vanishes: what Telegram has no form for stays as text. And nothing becomes a mention, or a
link that leads anywhere but out into the web.
"""

import re
from dataclasses import dataclass
from typing import Any

from pyromark.event import Event
from telegramify_markdown import convert

from adapters.chat.markdown import CARRIED, FORMULA, disarmed, parse, rearmed
from adapters.chat.table import table
from adapters.chat.text import clean, units

_LONGEST_FORMULA = 500
_TEX_SIGN = re.compile(r"[\\^_=]")
_WORD = re.compile(r"[^\W\d_]{3}")
_LINK = re.compile(r"https?://(?:[\w-]+\.)+[\w-]+\.?(?::\d{1,5})?(?:[/?#]\S*)?", re.IGNORECASE)
# Telegram itself makes links of these, but not in code.
_INWARD = re.compile(r"((?:tg|ton|tonsite)://\S+)", re.IGNORECASE)
_LANGUAGE = re.compile(r"\S{1,64}")
_LONGEST_LINK = 2_048
# Telegram takes 100; one is left for the line about a tool.
_MOST_ENTITIES = 99
_STYLES = ("bold", "italic", "underline", "strikethrough")
_RULE = "———"
_IMAGE = "🖼 "


@dataclass(frozen=True, slots=True)
class Entity:
    """A stretch of a message and what it is, in UTF-16 code units."""

    type: str
    offset: int
    length: int
    url: str = ""
    language: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The form that Telegram takes, with only what is set."""
        told: dict[str, Any] = {"type": self.type, "offset": self.offset, "length": self.length}
        if self.url:
            told["url"] = self.url
        if self.language:
            told["language"] = self.language
        return told


def render(source: str, *, is_padded: bool = True) -> tuple[str, tuple[Entity, ...]]:
    """What a message shows, without the whitespace at its ends that Telegram takes away."""
    source = _dollars(source)
    writer = _Writer(source, is_padded=is_padded)
    for event, start, end in parse(source):
        writer.write(event, start, end)
    return writer.written()


def is_link(url: str) -> bool:
    """Whether an address leads out into the web and Telegram takes it."""
    return len(url) <= _LONGEST_LINK and _LINK.fullmatch(url) is not None


@dataclass(slots=True)
class _Span:
    """A stretch of the text; without a type it is only kept in mind until it ends."""

    type: str
    start: int
    end: int = 0
    url: str = ""
    language: str = ""


# The converter of telegramify-markdown reads with the same parser, but runs code in a list together with what follows,
# and drops some of what a model says: HTML, definitions of links, the dollars of prices, the addresses in tables.
class _Writer:
    """Writes down what the parser sees, event by event."""

    def __init__(self, source: str, *, is_padded: bool) -> None:
        self._source = disarmed(source)
        self._is_padded = is_padded
        self._text = ""
        self._spans: list[_Span] = []
        self._open: list[_Span] = []
        self._lists: list[int | None] = []
        self._quotes = 0
        self._rows: list[list[str]] = []
        self._is_in_table = False
        self._cell_end = 0
        # What is written before the next text: so many line ends, and the marks of the items it begins.
        self._gap = 0
        self._marks = ""
        # Whether a block may begin right here: behind a mark, at the edge of a quote.
        self._is_at_edge = True

    def written(self) -> tuple[str, tuple[Entity, ...]]:
        """The text and its entities, in the order Telegram wants."""
        end = len(self._text.rstrip())
        start = self._text.rfind(CARRIED) + 1
        start = end - len(self._text[start:end].lstrip())
        for span in self._spans:
            if span.type == "pre" and span.start <= start < span.end:
                # Code may begin indented: Telegram leaves alone the whitespace that an entity begins with.
                start = max(span.start, self._text.rfind("\n", 0, start) + 1)
        entities: list[Entity] = []
        for span in self._spans:
            first, last = max(span.start, start), min(span.end, end)
            part = self._text[first:last]
            if span.type not in ("pre", "blockquote"):
                first += len(part) - len(part.lstrip())
                part = part.strip()
            if not part.isspace() and part:
                offset = units(self._text[start:first])
                entities.append(Entity(span.type, offset, units(part), span.url, span.language))
        entities.sort(key=lambda entity: entity.type not in ("pre", "text_link", "blockquote"))
        del entities[_MOST_ENTITIES:]
        entities.sort(key=lambda entity: (entity.offset, -entity.length, entity.type != "blockquote"))
        return self._text[start:end], tuple(entities)

    def write(self, event: Event, start: int, end: int) -> None:
        """Write one event, which stands here in the source."""
        match event:
            case {"Start": tag}:
                self._write_start(tag, start, end)
            case {"End": tag}:
                self._write_end(tag, end)
            case {"Text": str(text)}:
                # Spelled as a number, a character may be any.
                self._put_text(text if self._source.startswith(text, start) else clean(text))
            case {"Code": str(text)}:
                self._put_code(text)
            case {"InlineMath": str(text)}:
                self._put_math(text, start, end)
            case {"DisplayMath": str(text)}:
                self._put_math(text, start, end)
            case {"InlineHtml": str(text)}:
                self._put_text(text)
            case {"TaskListMarker": bool(is_done)}:
                self._marks = self._marks.removesuffix("• ") + ("☑ " if is_done else "☐ ")
            case "SoftBreak" | "HardBreak":
                self._put(" " if self._is_in_table else "\n")
            case "Rule":
                self._begin(start)
                self._put(_RULE)
                self._finish()
            case _:
                pass

    def _write_start(self, tag: object, start: int, end: int) -> None:
        match tag:
            case "Strong":
                self._open_style("bold")
            case "Emphasis":
                self._open_style("italic")
            case "Strikethrough":
                # One tilde is "about".
                is_struck = self._source.startswith("~~", start)
                self._put("" if is_struck else "~")
                self._open_style("strikethrough" if is_struck else "~")
            case {"Link": {"dest_url": str(url)}}:
                self._open_link(url)
            case {"Image": {"dest_url": str(url)}}:
                self._open_link(url)
                self._put(_IMAGE)
            case "TableHead" | "TableRow":
                self._rows.append([])
            case "TableCell":
                self._cell_end = end
                self._open.append(_Span("", len(self._text)))
            case _:
                self._begin(start)
                self._write_block(tag)

    def _write_block(self, tag: object) -> None:
        match tag:
            case {"Heading": {"level": level}}:
                self._open_style("bold")
                self._open_style("underline" if level in ("H1", "H2") else "")
            case {"BlockQuote": _}:
                if not self._quotes:
                    self._open_style("blockquote")
                    self._is_at_edge = True
                self._quotes += 1
            case {"List": int() | None as number}:
                self._lists.append(number)
            case "Item":
                self._begin_item()
            case {"CodeBlock": kind}:
                self._reach(is_alone=True)
                language = _LANGUAGE.match(kind["Fenced"] if isinstance(kind, dict) else "")
                self._open.append(_Span("pre", len(self._text), language=language[0] if language else ""))
            case {"Table": _}:
                self._reach(is_alone=True)
                self._is_in_table = True
            case _:
                pass

    def _write_end(self, tag: object, end: int) -> None:
        match tag:
            case "Strong" | "Emphasis":
                self._close_span()
            case "Strikethrough":
                self._put("~" if self._close_span().type == "~" else "")
            case "Link" | "Image":
                self._close_link()
            case "TableCell":
                cell = self._open.pop()
                self._rows[-1].append(self._text[cell.start :])
                self._text = self._text[: cell.start]
                self._spans = [span for span in self._spans if span.end <= cell.start]
            case "TableRow":
                # Cells beyond those of the head are dropped by the parser.
                beyond = self._source[self._cell_end : end].strip(" \t\n|")
                self._rows[-1] += [rearmed(beyond)] if beyond else []
            case "TableHead":
                pass
            case _:
                self._write_block_end(tag)
                self._finish()

    def _write_block_end(self, tag: object) -> None:
        match tag:
            case {"Heading": _}:
                self._close_span()
                self._close_span()
            case {"BlockQuote": _}:
                self._quotes -= 1
                if not self._quotes:
                    self._close_span()
            case {"List": _}:
                self._lists.pop()
            case "Item" if self._marks:
                self._reach()
            case "CodeBlock":
                self._text = self._text.removesuffix("\n")
                self._close_span()
            case "Table":
                self._open.append(_Span("pre", len(self._text)))
                self._put(table(self._rows, is_padded=self._is_padded))
                self._close_span()
                self._rows, self._is_in_table = [], False
            case _:
                pass

    def _begin(self, start: int) -> None:
        """A block begins; whether a blank line sets it apart is as in the source."""
        if not self._is_at_edge:
            before = self._source[max(0, start - 200) : start]
            line_ends = before[len(before.rstrip(" \t\n>")) :].count("\n")
            self._gap = max(self._gap, min(line_ends, 2), 1)

    def _begin_item(self) -> None:
        number = self._lists[-1]
        if not self._marks:
            self._marks = "  " * (len(self._lists) - 1)
        self._marks += "• " if number is None else f"{number}. "
        if number is not None:
            self._lists[-1] = number + 1
        self._is_at_edge = True

    def _finish(self) -> None:
        self._gap = max(self._gap, 1)
        self._is_at_edge = False

    def _reach(self, *, is_alone: bool = False) -> None:
        """Write what stands before the next text."""
        gap, marks = "\n" * self._gap, self._marks
        self._gap, self._marks, self._is_at_edge = 0, "", False
        if self._text:
            self._text += gap
        self._text += f"{marks.rstrip()}\n" if marks and is_alone else marks

    def _put(self, text: str) -> None:
        if text:
            self._reach()
            self._text += rearmed(text)

    def _put_text(self, text: str) -> None:
        """Write text of the model's."""
        if "://" not in text or self._is_in_table or any(span.type == "pre" for span in self._open):
            self._put(text)
            return
        for at, part in enumerate(_INWARD.split(text)):
            if at % 2:
                self._put_code(part)
            else:
                self._put(part)

    def _put_code(self, code: str) -> None:
        """Code may be part of a quote and of nothing else."""
        if self._is_in_table or self._is_in_link():
            self._put(code)
            return
        self._reach()
        styles = [span for span in self._open if span.type in _STYLES]
        for span in styles:
            self._keep(span)
        self._open.append(_Span("code", len(self._text)))
        self._put(code)
        self._close_span()
        for span in styles:
            span.start = len(self._text)

    def _put_math(self, body: str, start: int, end: int) -> None:
        whole = self._source[start:end]
        if len(body) <= _LONGEST_FORMULA and _is_math(body) and not self._source[end : end + 1].isalnum():
            self._put_code(_unicode(whole))
        else:
            self._put_text(whole)

    def _open_style(self, kind: str) -> None:
        self._reach()
        # What is bold cannot be bold again.
        is_double = any(span.type == kind for span in self._open)
        self._open.append(_Span("" if is_double else kind, len(self._text)))

    def _open_link(self, address: str) -> None:
        self._reach()
        url = clean(rearmed(address))
        is_live = is_link(url) and not self._is_in_table and not self._is_in_link()
        self._open.append(_Span("text_link" if is_live else "", len(self._text), url=url))

    def _close_link(self) -> None:
        """The address of what cannot be a link stays to be seen."""
        link = self._close_span()
        shown = self._text[link.start :].removeprefix(_IMAGE).strip()
        if link.url and shown != link.url and (not link.type or not shown):
            self._put(" (" if shown else "")
            (self._put if is_link(link.url) else self._put_code)(link.url)
            self._put(")" if shown else "")

    def _is_in_link(self) -> bool:
        return any(span.type == "text_link" for span in self._open)

    def _close_span(self) -> _Span:
        span = self._open.pop()
        self._keep(span)
        return span

    def _keep(self, span: _Span) -> None:
        if span.type not in ("", "~"):
            self._spans.append(_Span(span.type, span.start, len(self._text), span.url, span.language))


def _dollars(source: str) -> str:
    r"""The source with \(x\) and \[x\] as $x$ and $$x$$, but in code."""
    if "\\(" not in source and "\\[" not in source:
        return source
    codes = [(start, end) for event, start, end in parse(source) if _is_code(event)]

    def dollar(found: re.Match[str]) -> str:
        if any(start <= found.start() < end for start, end in codes):
            return found[0]
        return f"${found[1].strip()}$" if found[1] else f"$${found[2]}$$"

    return FORMULA.sub(dollar, source)


def _is_code(event: Event) -> bool:
    match event:
        case {"Code": _} | {"Start": {"CodeBlock": _}}:
            return True
        case _:
            return False


def _is_math(body: str) -> bool:
    """Whether it is not rather two prices or the names of two variables."""
    return _TEX_SIGN.search(body) is not None or _WORD.search(body) is None


def _unicode(math: str) -> str:
    """A formula as well as it can be written without TeX."""
    text, entities = convert(math)
    return clean(text) if len(entities) == 1 and entities[0].length == units(text) and text.strip() else math
