"""One answer in several messages of a platform: what each is to show, what it shows by now, and which is due next."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from adapters.chat.buttons import Button
from adapters.chat.layout import Layout
from adapters.spoke import Reply
from factory_contracts.messages import Attachment

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Slot(Generic[P]):
    """What one message is to show: a page of the answer with its buttons, or a file; or that it is to be deleted."""

    page: P
    buttons: tuple[Button, ...] = ()
    file: Attachment | None = None
    is_surplus: bool = False


@dataclass(slots=True)
class View(Generic[P]):
    """The messages of one answer: how it is cut into them, what they are to show, and what each shows by now."""

    layout: Layout[P]
    empty: P
    wanted: tuple[Slot[P], ...] = ()
    is_whole: bool = False
    shown: dict[str, Slot[P]] = field(default_factory=dict)

    def want(self, reply: Reply, buttons: tuple[Button, ...]) -> None:
        """Show the answer as it stands now, the buttons below its text and each file in a message of its own."""
        question = reply.question.text if reply.question is not None else ""
        *complete, last = self.layout.pages(reply.text, reply.activity, reply.is_final, question)
        files = (Slot(self.empty, file=attachment) for attachment in reply.attachments)
        self.is_whole = reply.is_final
        self.wanted = (*(Slot(page) for page in complete), Slot(last, buttons), *files)

    def slot(self, index: int) -> Slot[P]:
        """What a message is to show; one beyond the answer is emptied, and is too many when the answer is whole."""
        return self.wanted[index] if index < len(self.wanted) else Slot(self.empty, is_surplus=self.is_whole)

    def due(self, parts: Sequence[str]) -> int | None:
        """The first of the messages that does not show what it is to show; one beyond them, if one more is needed."""
        for index, message in enumerate(parts):
            # By its id: where a message was deleted, another stands in its place.
            if self.shown.get(message) != self.slot(index):
                return index
        return len(parts) if len(parts) < len(self.wanted) else None
