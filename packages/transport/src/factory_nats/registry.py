"""Which workers there are, which of them live, and which to ask first.

Reads no clock: every call is told the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Change: TypeAlias = Literal["joined", "known", "returned", "new instance"]

# Names are remembered for this long after the last sign of life, so that a stranger cannot fill the memory for ever.
FORGET: Final = 600.0


@dataclass(slots=True)
class _Worker:
    instance: str
    load: float
    heard: float
    is_stale: bool = False
    given: int = 0
    given_at: float = 0.0


class WorkerRegistry:
    """What heartbeats say, and what requests have found out since."""

    def __init__(self, *, silence: float = 2.0) -> None:
        self._silence = silence
        self._workers: dict[str, _Worker] = {}

    def heard(self, worker: str, instance: str, load: float, now: float) -> Change:
        """A sign of life. A stale worker is admitted again; "new instance" says that all it was given is gone."""
        for name in [name for name, other in self._workers.items() if now - other.heard > FORGET]:
            del self._workers[name]
        before = self._workers.get(worker)
        if before is None:
            self._workers[worker] = _Worker(instance, load, now)
            return "joined"
        was_gone = before.is_stale or now - before.heard > self._silence
        is_new = before.instance != instance
        before.instance, before.load, before.heard = instance, load, now
        before.is_stale, before.given = False, 0
        if is_new:
            return "new instance"
        return "returned" if was_gone else "known"

    def gave(self, worker: str, now: float) -> None:
        """It was given work, which counts as load until its next heartbeat says better."""
        found = self._workers.get(worker)
        if found is not None:
            found.given += 1
            found.given_at = now

    def mark_stale(self, worker: str) -> None:
        """It did not answer: nobody asks it until its next heartbeat."""
        found = self._workers.get(worker)
        if found is not None:
            found.is_stale = True

    def is_alive(self, worker: str, now: float) -> bool:
        """True when it was heard of late enough and nothing was found against it since."""
        found = self._workers.get(worker)
        return found is not None and not found.is_stale and now - found.heard <= self._silence

    def heard_at(self, worker: str) -> float | None:
        """When it gave its last sign of life; None when nobody knows it."""
        found = self._workers.get(worker)
        return None if found is None else found.heard

    def instance(self, worker: str) -> str | None:
        """The instance that was heard last, whether it lives or not."""
        found = self._workers.get(worker)
        return None if found is None else found.instance

    def score(self, worker: str) -> float:
        """How busy it is; the lowest is asked first."""
        found = self._workers[worker]
        return found.load + found.given

    def candidates(self, now: float) -> tuple[str, ...]:
        """Who may be asked, the best first; of two alike the one that has waited longer for work."""
        alive = [name for name in self._workers if self.is_alive(name, now)]
        return tuple(sorted(alive, key=lambda name: (self.score(name), self._workers[name].given_at, name)))
