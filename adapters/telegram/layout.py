"""One answer as it grows, laid out in messages: what each of them shows.

A message that is full stays as it is for as long as the answer begins with the same text, in every process: where an
answer is cut depends on nothing that comes later.
"""

import html
from dataclasses import dataclass, replace

from adapters.telegram.cut import cut
from adapters.telegram.render import Entity, render
from adapters.telegram.rich import render_rich, weight
from adapters.telegram.settings import Style
from adapters.telegram.text import clean, clip, fitting, is_visible, units

_MOST_UNITS = 4_096
_LONGEST_DOING = 100
# What is left free for the line about a tool.
_ROOM = _LONGEST_DOING + 2
# How much of the source a message that still grows may hold, and where in there it is cut.
_WINDOW = 3_900
_RICH_WINDOW = 20_000
_LEAST, _MOST = 0.55, 0.9
_SIMPLER: dict[Style, Style] = {"rich": "entities", "entities": "plain"}


@dataclass(frozen=True, slots=True)
class Page:
    """What one message shows: a text and its entities, or the HTML of a rich message."""

    text: str
    entities: tuple[Entity, ...] = ()
    rich: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """A message that is full: where the next resumes in the text, and what it carries over."""

    resume: int
    carried: str
    page: Page | None


class Layout:
    """One answer, as it grows: where it is cut into messages, and what they show."""

    def __init__(self, style: Style) -> None:
        self._style: Style = style
        self._told = ""
        self._text = ""
        self._parts: list[_Part] = []

    def pages(self, text: str, activity: str | None, is_final: bool) -> tuple[Page, ...]:
        """What the messages show of the answer as it stands; while it grows, only the last of them changes."""
        self._take(text)
        start, carried = self._fill()
        pages = [part.page for part in self._parts]
        pages.append(self._page(carried, self._text[start:]))
        *complete, last = [page for page in pages if page is not None] or [Page("")]
        doing = "" if is_final else clip(" ".join(clean(activity or "").split()), _LONGEST_DOING)
        return (*complete, self._with(last, doing if is_visible(doing) else ""))

    def simpler(self) -> bool:
        """Go on in a simpler style, because Telegram refused this one; False where there is none."""
        simpler = _SIMPLER.get(self._style)
        if simpler is None:
            return False
        self._style = simpler
        self._parts.clear()
        return True

    def _take(self, text: str) -> None:
        """The answer is this now; what is cut stays cut where it begins as before."""
        if text.startswith(self._told):
            self._text += clean(text[len(self._told) :])
        else:
            before, self._text = self._text, clean(text)
            while self._parts and not self._text.startswith(before[: self._parts[-1].resume]):
                self._parts.pop()
        self._told = text

    def _fill(self) -> tuple[int, str]:
        """Cut off every message that is full; where the last one begins, and what it carries over."""
        size, window = (weight, _RICH_WINDOW) if self._style == "rich" else (units, _WINDOW)
        while True:
            start, carried = (self._parts[-1].resume, self._parts[-1].carried) if self._parts else (0, "")
            limit = window - size(carried)
            ahead = self._text[start : start + limit + 1]
            if size(ahead) <= limit:
                return start, carried
            ahead = ahead[: fitting(ahead, limit, size)]
            least, most = (fitting(ahead, int(limit * share), size) for share in (_LEAST, _MOST))
            place = cut(carried, ahead, least, most)
            self._parts.append(_Part(start + place.resume, place.carried, self._page(carried, ahead[: place.end])))

    def _page(self, carried: str, source: str) -> Page | None:
        """What a message shows; None if there is nothing to be seen."""
        if not is_visible(source):
            return None
        if self._style == "rich":
            return Page("", rich=render_rich(carried + source))
        if self._style == "entities":
            for is_padded in (True, False):
                text, entities = render(carried + source, is_padded=is_padded)
                if is_visible(text) and units(text) <= _MOST_UNITS - _ROOM:
                    return Page(text, entities)
        return Page(source.strip())

    def _with(self, page: Page, doing: str) -> Page:
        """The page with a last line about what a tool is doing; an empty one says that there is more to come."""
        match self._style:
            case "rich" if doing:
                return replace(page, rich=f"{page.rich}<p><i>{html.escape(doing, quote=False)}</i></p>")
            case "rich":
                return page if page.rich else replace(page, rich="<p>…</p>")
            case _ if not doing:
                return page if page.text else Page("…")
        before = f"{page.text}\n\n" if page.text else ""
        if self._style == "plain":
            return Page(before + doing)
        return Page(before + doing, (*page.entities, Entity("italic", units(before), units(doing))))
