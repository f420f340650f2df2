"""Heartbeats as they are heard: each its worker's own, because nobody else may send on the subject that names it."""

import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_nats.transport import Delivery

logger = logging.getLogger(__name__)

# Where a server grants everything to everybody, there may be names without end.
MOST_COMPLAINTS = 100


class Signed(Protocol):
    """What says whose it is."""

    @property
    def worker(self) -> str:
        """The worker's name."""
        ...


T = TypeVar("T", bound=Signed)


class Heartbeats(Generic[T]):
    """Reads heartbeats of one kind. What is none is dropped, and complained of once for each who sends it."""

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._complained: set[str] = set()

    def read(self, delivery: Delivery) -> T | None:
        """What the worker says; None where it is no heartbeat, or speaks of another worker than its subject."""
        try:
            worker = subjects.read_worker(delivery.subject)
            said = self._decode(delivery.data)
        except (subjects.BadToken, Malformed) as error:
            self._complain(delivery.subject, str(error))
            return None
        if said.worker != worker:
            self._complain(delivery.subject, "it names another worker than its subject")
            return None
        return said

    def _complain(self, subject: str, why: str) -> None:
        if subject not in self._complained and len(self._complained) < MOST_COMPLAINTS:
            self._complained.add(subject)
            logger.warning("heartbeats on %s are dropped: %s", subject, why)
