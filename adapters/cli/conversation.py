"""A spoke as the terminal needs it, and how it waits for a hub that is away."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from adapters.cli.files import File, one_line
from adapters.spoke import Screen as AnyScreen
from factory_contracts.messages import (
    Accepted,
    AlreadyAccepted,
    Attachment,
    AttachmentKind,
    InboundMessage,
    Refused,
    Welcome,
)

WAITING = "waiting for the hub…"
SENDING = "sending files…"
INTERRUPTED = 130
# A hub that is there answers in milliseconds; a line that flashed up for those would only unsettle.
PATIENCE = 0.5


class Conversation(Protocol):
    """One scope, joined to the hub."""

    async def start(self) -> Welcome:
        """Join, however long it takes."""
        ...

    async def submit(self, message: InboundMessage) -> Accepted | AlreadyAccepted | Refused:
        """Hand over a message and wait, however long, for the hub's word."""
        ...

    async def decide(self, scope_id: str, turn: str, code: str, user_id: str, *, approved: bool) -> Refused | None:
        """Answer the question of this code; words where that is not this person's to do."""
        ...

    async def keep(self, scope_id: str, kind: AttachmentKind, name: str, mime: str, data: bytes) -> Attachment | None:
        """Put a file where those who answer there can read it; None where it is not taken."""
        ...

    async def read(self, attachment: Attachment) -> bytes | None:
        """The bytes of a file that an answer brings; None where it is not there any more."""
        ...

    async def hello(self, scope_id: str) -> Welcome:
        """Ask who answers in a scope."""
        ...

    async def close(self) -> None:
        """Leave."""
        ...


class Screen(AnyScreen, Protocol):
    """A terminal, which is told as well what went that it kept."""

    def went(self, scope_id: str) -> None:
        """Nothing is kept any more of what was said in a session."""
        ...


Join = Callable[[str, Screen], Conversation]


async def keep(conversation: Conversation, scope_id: str, files: Iterable[File]) -> tuple[Attachment, ...] | Refused:
    """The files as they go with a message, or the word that one of them was not taken."""
    kept = []
    for file in files:
        attachment = await conversation.keep(scope_id, file.kind, file.name, file.mime, file.data)
        if attachment is None:
            why = f"not sent: {one_line(file.name)} could not be stored; it may be too large, or the disk full"
            return Refused(reason="unavailable", text=why)
        kept.append(attachment)
    return tuple(kept)


@contextmanager
def patiently(tell: Callable[[str], None], patience: float = PATIENCE, what: str = WAITING) -> Iterator[None]:
    """Say what is waited for, if it takes long enough to be noticed; and (empty) that the wait is over."""
    telling = asyncio.get_running_loop().call_later(patience, tell, what)
    try:
        yield
    finally:
        telling.cancel()
        tell("")
