"""A block of Markdown -> lines for a terminal of a given width. Slow to import: load it when the prompt stands."""

import re
from io import StringIO
from typing import ClassVar

from markdown_it import MarkdownIt
from rich.console import Console, JustifyMethod
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from adapters.cli.render import Paint, clean

_WIDEST = 100
_FENCED = re.compile(r"\n*( {0,3})(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n]*\n?(.*)\Z", re.DOTALL)
_HIGHLIGHTED = 20_000
_THEME = "ansi_dark"

_STYLES = Theme({"markdown.h1": "bold underline", "markdown.h2": "bold", "markdown.code": "cyan"})
_EMPTY = re.compile(r"(?:\x1b\[[0-9;]*m|[ \t])*")
_TRAILING = re.compile(r"[ \t]+((?:\x1b\[[0-9;]*m)*)\Z")

# HTML is text here: an answer about `List<int>` must not lose its `<int>`.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


class _LeftHeading(Heading):
    """A heading where reading begins, not in the middle."""

    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {f"h{level}": "left" for level in range(1, 7)}


class _Document(Markdown):
    """Markdown as our blocks need it."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "heading_open": _LeftHeading}


def painter(use_color: bool) -> Paint:
    """How this terminal's blocks are drawn; without colour not one escape sequence is written."""

    def paint(markdown: str, width: int) -> str:
        file = StringIO()
        console = Console(
            file=file,
            width=max(2, width),
            force_terminal=use_color,
            color_system="standard" if use_color else None,
            no_color=not use_color,
            legacy_windows=False,
            highlight=False,
            emoji=False,
            markup=False,
            theme=_STYLES,
        )
        source = clean(markdown)
        if fenced := _FENCED.match(source):
            # Soft-wrapped, so that a long line of code is copied as one line.
            console.print(_code(fenced), soft_wrap=True)
        else:
            document = _Document("", code_theme=_THEME, hyperlinks=False)
            document.parsed = _PARSER.parse(source)
            console.print(document, width=min(console.width, _WIDEST))
        lines = [_TRAILING.sub(r"\1", line) for line in file.getvalue().split("\n")]
        while lines and _EMPTY.fullmatch(lines[-1]):
            lines.pop()
        while lines and _EMPTY.fullmatch(lines[0]):
            lines.pop(0)
        return "\n".join(lines)

    return paint


def _code(fenced: re.Match[str]) -> Text:
    indent, mark, language, rest = fenced.groups()
    lines = rest.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if lines and len(lines[-1].strip()) >= len(mark) and set(lines[-1].strip()) == {mark[0]}:
        lines.pop()
    code = "\n".join(line.removeprefix(indent) for line in lines).expandtabs(4)
    if not language or len(code) > _HIGHLIGHTED:
        return Text(code)
    highlighted = Syntax(code, language, theme=_THEME).highlight(code)
    highlighted.rstrip()
    return highlighted
