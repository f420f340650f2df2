"""One answer as it grows, laid out in messages: what each of them shows.

A message that is full stays as it is for as long as the answer begins with the same text, in every process: where an
answer is cut depends on nothing that comes later.
"""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from adapters.chat.cut import cut
from adapters.chat.text import clean, fitting

# Where a message is cut, as shares of what it may hold.
_LEAST, _MOST = 0.55, 0.9

P = TypeVar("P")


class Form(Protocol[P]):
    """How a platform shows one message; `window` is how much of the source a message that still grows may hold."""

    @property
    def window(self) -> int:
        """In what `size` measures."""
        ...

    def size(self, source: str) -> int:
        """How much room a source takes."""
        ...

    def page(self, carried: str, source: str) -> P | None:
        """What a message shows of its source, before which `carried` is to be read; None if nothing is to be seen."""
        ...

    def with_doing(self, page: P | None, doing: str) -> P:
        """The page with a last line about what a tool is doing; without both it says that there is more to come."""
        ...

    def with_question(self, page: P | None, question: P) -> P | None:
        """Both pages in one, in which nothing of the first changes how the second reads; None if they do not fit."""
        ...


@dataclass(frozen=True, slots=True)
class _Part(Generic[P]):
    """A message that is full: where the next resumes in the text, and what it carries over."""

    resume: int
    carried: str
    page: P | None


class Layout(Generic[P]):
    """One answer, as it grows: where it is cut into messages, and what they show in the best form that is left."""

    def __init__(self, *forms: Form[P]) -> None:
        self._forms = list(forms)
        self._told = ""
        self._text = ""
        self._parts: list[_Part[P]] = []

    def pages(self, text: str, activity: str | None, is_final: bool, question: str = "") -> tuple[P, ...]:
        """What the messages show of the answer as it stands; while it grows, only the last of them changes.

        A question is shown whole, below as much of the answer's last message as there is room for.
        """
        self._take(text)
        start, carried = self._fill()
        form = self._forms[0]
        if question:
            first, *others = Layout(form).pages(question, None, True)
            complete = (part.page for part in self._parts if part.page is not None)
            return (*complete, self._above(carried, self._text[start:], first), *others)
        pages = [*(part.page for part in self._parts), form.page(carried, self._text[start:])]
        shown = [page for page in pages if page is not None]
        doing = "" if is_final else " ".join(clean(activity or "").split())
        return (*shown[:-1], form.with_doing(shown[-1] if shown else None, doing))

    def _above(self, carried: str, source: str, question: P) -> P:
        """A page of a question, and above it the source: all of it, or its beginning."""
        form = self._forms[0]
        page, most = form.page(carried, source), len(source)
        while (both := form.with_question(page, question)) is None and most:
            most = most * 2 // 3
            page = form.with_doing(form.page(carried, source[:most].rpartition(" ")[0]), "…")
        return question if both is None else both

    def simpler(self) -> bool:
        """Go on in a simpler form, because the platform refused this one; False where there is none."""
        if len(self._forms) == 1:
            return False
        del self._forms[0]
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
        form = self._forms[0]
        while True:
            start, carried = (self._parts[-1].resume, self._parts[-1].carried) if self._parts else (0, "")
            limit = form.window - form.size(carried)
            ahead = self._text[start : start + limit + 1]
            if form.size(ahead) <= limit:
                return start, carried
            ahead = ahead[: fitting(ahead, limit, form.size)]
            least, most = (fitting(ahead, int(limit * share), form.size) for share in (_LEAST, _MOST))
            place = cut(carried, ahead, least, most)
            page = form.page(carried, ahead[: place.end])
            self._parts.append(_Part(start + place.resume, place.carried, page))
