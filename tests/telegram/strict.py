"""What Telegram would say about a message, counted here by other means than the product counts."""

import re
from collections.abc import Iterable

from adapters.telegram.layout import Page
from adapters.telegram.render import Entity

STYLES = {"bold", "italic", "underline", "strikethrough"}
CODE = {"code", "pre"}
# What a model may write where nobody expects it.
SNIPPETS = (
    *("**", "*", "__", "_", "~~", "~", "`", "``", "```", "~~~", "#", ">", "|", "||", "-", "1.", "[", "]", "](", "]:"),
    *("[^1]", "\\", "$", "$x$", "\\(", "\\)", "\\[", "<", "<b>", "<!--", "&", "&lt;", "&#0;", "&#xFDD0;", "x", "word "),
    *("tg://a", "http://e.org", "[x](http://e.org)", "[x](tg://user?id=1)", "![y](u)", "[![i](tg://a)](http://e.org)"),
    *("漢字", "👍🏽", "🇩🇪", "\u200d", "\u202e", "\u3000", "\x00", "\ud83d", "\ufdd0", "\r\n", "\t", "```py\n", "~~~\n"),
    *(" ", "  ", "    ", "\n", "\n\n", "- ", "1. ", "> ", "# ", "---\n", "===\n", "- [ ] ", "| a | b |\n|---|---|\n"),
)
INVISIBLE = "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
RULER = re.compile(r"[-+]+")
HEAD = re.compile(r"\s*(head\d+) ")


def code_units(text: str) -> list[str]:
    """A text as Telegram counts it: a character beyond the first plane counts twice, its second half is empty here."""
    return [unit for sign in text for unit in ((sign, "") if ord(sign) > 0xFFFF else (sign,))]


def part(text: str | list[str], entity: Entity) -> str:
    """What lies under an entity, which must begin and end between two characters."""
    listed = code_units(text) if isinstance(text, str) else text
    begin, end = entity.offset, entity.offset + entity.length
    assert 0 <= begin < end <= len(listed), entity
    assert listed[begin] != "" and (end == len(listed) or listed[end] != ""), entity
    return "".join(listed[begin:end])


def parts(page: Page, kind: str) -> list[str]:
    """What is marked so."""
    return [part(page.text, entity) for entity in page.entities if entity.type == kind]


def check(page: Page) -> None:
    """Refuse what Telegram would refuse, shift or drop."""
    text = page.text
    assert 1 <= len(code_units(text)) <= 4096
    assert text.strip().strip(INVISIBLE), "nothing to be seen"
    assert text == text.rstrip()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef]", text)
    assert len(page.entities) <= 100
    begins_as_code = any(entity.type == "pre" and entity.offset == 0 for entity in page.entities)
    assert text == text.lstrip() or begins_as_code
    assert [entity.offset for entity in page.entities] == sorted(entity.offset for entity in page.entities)
    listed = code_units(text)
    for entity in page.entities:
        _check_alone(part(listed, entity), entity)
    for at, one in enumerate(page.entities):
        for other in page.entities[at + 1 :]:
            _check_together(one, other)


def _check_alone(shown: str, entity: Entity) -> None:
    assert entity.type in STYLES | CODE | {"text_link", "blockquote"}, "only these come from a model"
    assert shown.strip()
    assert entity.type in ("pre", "blockquote") or shown == shown.strip()
    assert (entity.type == "text_link") == bool(entity.url)
    assert not entity.url or re.fullmatch(r"(?i)https?://[^\s/]+\.\S+", entity.url)
    assert len(code_units(entity.url)) <= 2048
    assert not entity.language or entity.type == "pre"
    assert entity.as_dict().keys() <= {"type", "offset", "length", "url", "language"}


def _check_together(one: Entity, other: Entity) -> None:
    if one.offset + one.length <= other.offset:
        return
    assert other.offset + other.length <= one.offset + one.length, "they overlap"
    assert one.type != other.type, "one kind in itself"
    assert one.type not in CODE, "code holds nothing"
    assert other.type not in CODE or one.type == "blockquote", "code is in nothing but a quote"
    assert {one.type, other.type} & STYLES or one.type == "blockquote", "only styles and quotes hold"
    assert other.type != "blockquote" or one.type in STYLES, "a quote is in nothing"


def letters(texts: Iterable[str]) -> str:
    """All that is read, in order: without whitespace, the rulers of tables and heads that come again."""
    lines: list[str] = []
    heads: set[str] = set()
    for line in (line for text in texts for line in text.split("\n")):
        head = HEAD.match(line)
        if not RULER.fullmatch(line.strip()) and not (head and head[1] in heads):
            lines.append("".join(line.split()))
        heads |= {head[1]} if head else set()
    return "".join(lines)
