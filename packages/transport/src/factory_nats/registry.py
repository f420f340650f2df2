"""Which workers there are, which of them live, and which to ask first.

Reads no clock: every call is told the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Change: TypeAlias = Literal["joined", "known", "returned", "new instance"]

# Names are remembered for this long after the last sign of life, so that a stranger cannot fill the memory for ever.
FORGET: Final = 600.0

# How much the newest answer counts for how quick a worker is, for how long that is believed, and how much it may weigh:
# wishes differ, and how busy somebody is says more.
NEWEST: Final = 0.2
BELIEVED: Final = 30.0
MOST_PACE: Final = 2.0
# A failure weighs as much as a queue twice as long, half of it after so many seconds.
FORGIVEN: Final = 2.0
MOST_FAULTS: Final = 2


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life: what a worker says about itself, whatever else its message holds.

    It has `load` pieces of work and does `slots` side by side, 0 where it does not say. Of two whose `shape` differs
    one may take what the other does not understand.
    """

    worker: str
    instance: str
    load: float = 0.0
    slots: float = 0.0
    is_draining: bool = False
    understands: int = 1
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a worker stands with us; the lowest score is asked first."""

    said: Sign
    score: float
    heard: float
    is_alive: bool


@dataclass(slots=True)
class _Worker:
    said: Sign
    heard: float
    is_stale: bool = False
    given: int = 0
    given_at: float = 0.0
    seconds: float = 0.0
    took_at: float | None = None
    faults: float = 0.0
    failed_at: float = 0.0

    @property
    def busy(self) -> float:
        return max(0.0, self.said.load + self.given)

    @property
    def has_room(self) -> bool:
        said = self.said
        return not said.is_draining and (not said.slots or said.load + self.given < said.slots)

    def faults_at(self, now: float) -> float:
        return 0.0 if not self.faults else self.faults * math.pow(0.5, (now - self.failed_at) / FORGIVEN)


class WorkerRegistry:
    """What heartbeats say, and what requests have found out since."""

    def __init__(self, *, silence: float = 2.0) -> None:
        self._silence = silence
        self._workers: dict[str, _Worker] = {}

    # What is learnt

    def heard(self, said: Sign, now: float) -> Change:
        """A sign of life. A stale worker is admitted again; "new instance" says that all it was given is gone."""
        for name in [name for name, other in self._workers.items() if now - other.heard > FORGET]:
            del self._workers[name]
        before = self._workers.get(said.worker)
        if before is None:
            self._workers[said.worker] = _Worker(said, now)
            return "joined"
        was_gone = before.is_stale or now - before.heard > self._silence
        is_new = before.said.instance != said.instance
        before.said, before.heard = said, now
        before.is_stale, before.given = False, 0
        if is_new:
            before.faults, before.took_at = 0.0, None
            return "new instance"
        return "returned" if was_gone else "known"

    def gave(self, worker: str, now: float) -> None:
        """It was given work, which counts as load until its next heartbeat says better."""
        found = self._workers.get(worker)
        if found is not None:
            found.given += 1
            found.given_at = now

    def took(self, worker: str, seconds: float, now: float) -> None:
        """It did its work in so many seconds, and has room for more."""
        found = self._workers.get(worker)
        if found is None:
            return
        found.given -= 1
        found.faults = 0.0
        found.seconds = seconds if found.took_at is None else found.seconds + NEWEST * (seconds - found.seconds)
        found.took_at = now

    def gave_back(self, worker: str, *, is_full: bool = False) -> None:
        """It did not take the work; where it is full, nobody asks it until its next heartbeat."""
        found = self._workers.get(worker)
        if found is None:
            return
        found.given -= 1
        if is_full:
            found.is_stale = not found.said.slots
            found.given = max(found.given, math.ceil(found.said.slots - found.said.load))

    def failed(self, worker: str, now: float) -> bool:
        """It failed: nobody asks it until its next heartbeat. False when that was known already."""
        found = self._workers.get(worker)
        if found is None or found.is_stale:
            return False
        found.is_stale = True
        found.faults = min(MOST_FAULTS, found.faults_at(now) + 1)
        found.failed_at = now
        return True

    def mark_stale(self, worker: str) -> None:
        """It did not answer: nobody asks it until its next heartbeat."""
        found = self._workers.get(worker)
        if found is not None:
            found.is_stale = True

    # What is known

    def is_alive(self, worker: str, now: float) -> bool:
        """True when it was heard of late enough and nothing was found against it since."""
        found = self._workers.get(worker)
        return found is not None and not found.is_stale and now - found.heard <= self._silence

    def heard_at(self, worker: str) -> float | None:
        """When it gave its last sign of life; None when nobody knows it."""
        found = self._workers.get(worker)
        return None if found is None else found.heard

    def said(self, worker: str) -> Sign | None:
        """What it said last, whether it lives or not."""
        found = self._workers.get(worker)
        return None if found is None else found.said

    def instance(self, worker: str) -> str | None:
        """The instance that was heard last, whether it lives or not."""
        found = self._workers.get(worker)
        return None if found is None else found.said.instance

    def living(self, now: float) -> tuple[Sign, ...]:
        """What those say who live, whether they have room or not."""
        return tuple(worker.said for name, worker in self._workers.items() if self.is_alive(name, now))

    def candidates(self, now: float, *, shape: str = "") -> tuple[str, ...]:
        """Who lives and has room, the best first; those of a wanted shape before all others.

        Of two alike the one that has waited longer for work.
        """
        if len(self._workers) == 1:
            (only,) = self._workers.values()
            name = only.said.worker
            return (name,) if only.has_room and self.is_alive(name, now) else ()
        usual = self._usual(now)
        ranked = sorted(
            (bool(shape) and worker.said.shape != shape, self._score(worker, usual, now), worker.given_at, name)
            for name, worker in self._workers.items()
            if worker.has_room and self.is_alive(name, now)
        )
        return tuple(name for *_, name in ranked)

    def standings(self, now: float) -> tuple[Standing, ...]:
        """Everybody who is known, by name."""
        usual = self._usual(now)
        return tuple(
            Standing(worker.said, self._score(worker, usual, now), worker.heard, self.is_alive(name, now))
            for name, worker in sorted(self._workers.items())
        )

    def _usual(self, now: float) -> float:
        """How long an answer usually takes, 0 where nobody knows."""
        if len(self._workers) < 2:
            return 0.0
        known = [worker.seconds for worker in self._workers.values() if _is_timed(worker, now)]
        return sum(known) / len(known) if known else 0.0

    def _score(self, worker: _Worker, usual: float, now: float) -> float:
        """How long one would wait for it, by its own measure of time."""
        pace = worker.seconds / usual if usual and _is_timed(worker, now) else 1.0
        queue = (worker.busy + 1) / max(1.0, worker.said.slots)
        faults = worker.faults_at(now)
        return queue * min(MOST_PACE, max(1 / MOST_PACE, pace)) * (math.pow(2, faults) if faults else 1.0)


def _is_timed(worker: _Worker, now: float) -> bool:
    return worker.took_at is not None and now - worker.took_at <= BELIEVED
