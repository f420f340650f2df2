"""The forms in which Telegram shows a message: text with entities, a rich message, or text alone."""

import html
from dataclasses import dataclass, replace

from adapters.chat.layout import Form, Layout
from adapters.chat.text import clip, is_visible, units
from adapters.telegram.render import Entity, render
from adapters.telegram.rich import render_rich, weight
from adapters.telegram.settings import Style

_MOST_UNITS = 4_096
_MOST_ENTITIES = 100
_MOST_BYTES = 32_768
_MOST_BLOCKS = 500
_LONGEST_DOING = 100
# What is left free for the line about a tool.
_ROOM = _LONGEST_DOING + 2


@dataclass(frozen=True, slots=True)
class Page:
    """What one message shows: a text and its entities, or the HTML of a rich message."""

    text: str
    entities: tuple[Entity, ...] = ()
    rich: str = ""


def in_style(style: Style) -> Layout[Page]:
    """An answer in a style; what Telegram refuses is shown in the next simpler one."""
    forms: dict[Style, Form[Page]] = {"rich": _Rich(), "entities": _Entities(), "plain": _Plain()}
    return Layout(*list(forms.values())[list(forms).index(style) :])


class _Plain:
    """Text alone, as the model wrote it."""

    window = 3_900

    def size(self, source: str) -> int:
        return units(source)

    def page(self, carried: str, source: str) -> Page | None:
        return Page(source.strip()) if is_visible(source) else None

    def with_doing(self, page: Page | None, doing: str) -> Page:
        return Page("\n\n".join(filter(None, (page.text if page else "", _shown(doing)))) or "…")

    def with_question(self, page: Page | None, question: Page) -> Page | None:
        page, before = page or Page(""), f"{page.text}\n\n" if page else ""
        moved = (replace(entity, offset=units(before) + entity.offset) for entity in question.entities)
        both = Page(before + question.text, (*page.entities, *moved))
        return both if units(both.text) <= _MOST_UNITS and len(both.entities) <= _MOST_ENTITIES else None


class _Entities(_Plain):
    """Text, and which stretches of it are what."""

    def page(self, carried: str, source: str) -> Page | None:
        if not is_visible(source):
            return None
        for is_padded in (True, False):
            text, entities = render(carried + source, is_padded=is_padded)
            if is_visible(text) and units(text) <= _MOST_UNITS - _ROOM:
                return Page(text, entities)
        return Page(source.strip())

    def with_doing(self, page: Page | None, doing: str) -> Page:
        shown, page = _shown(doing), page or Page("")
        if not shown:
            return page if page.text else Page("…")
        before = f"{page.text}\n\n" if page.text else ""
        return Page(before + shown, (*page.entities, Entity("italic", units(before), units(shown))))


class _Rich:
    """A rich message, which old apps do not show."""

    window = 20_000

    def size(self, source: str) -> int:
        return weight(source)

    def page(self, carried: str, source: str) -> Page | None:
        return Page("", rich=render_rich(carried + source)) if is_visible(source) else None

    def with_doing(self, page: Page | None, doing: str) -> Page:
        shown, page = _shown(doing), page or Page("")
        if shown:
            return replace(page, rich=f"{page.rich}<p><i>{html.escape(shown, quote=False)}</i></p>")
        return page if page.rich else replace(page, rich="<p>…</p>")

    def with_question(self, page: Page | None, question: Page) -> Page | None:
        both = (page.rich if page else "") + question.rich
        # No block is without a tag that opens it.
        blocks = both.count("<") - both.count("</")
        return Page("", rich=both) if len(both.encode()) <= _MOST_BYTES and blocks <= _MOST_BLOCKS else None


def _shown(doing: str) -> str:
    clipped = clip(doing, _LONGEST_DOING)
    return clipped if is_visible(clipped) else ""
