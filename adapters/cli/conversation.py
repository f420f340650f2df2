"""A spoke as the terminal needs it, and how it waits for a hub that is away."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from adapters.spoke import Screen
from factory_contracts.messages import Accepted, AlreadyAccepted, InboundMessage, Refused, Welcome

WAITING = "waiting for the hub…"
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

    async def hello(self, scope_id: str) -> Welcome:
        """Ask who answers in a scope."""
        ...

    async def close(self) -> None:
        """Leave."""
        ...


Join = Callable[[str, Screen], Conversation]


@contextmanager
def patiently(tell: Callable[[str], None], patience: float = PATIENCE) -> Iterator[None]:
    """Say that the hub is waited for, if it takes long enough to be noticed; and (empty) that it is there."""
    telling = asyncio.get_running_loop().call_later(patience, tell, WAITING)
    try:
        yield
    finally:
        telling.cancel()
        tell("")
