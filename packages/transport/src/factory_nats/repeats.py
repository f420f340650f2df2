"""What came of what was done, so that it is not done again when somebody asks for it again.

Reads no clock: every call is told the time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

MOST: Final = 50_000
MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Came:
    """What came of it; None where that is not kept any more."""

    data: bytes | None


class Repeats:
    """Outcomes by id, each for some time. What they hold is forgotten when there is too much of it; the ids are not."""

    def __init__(self, *, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._came: OrderedDict[str, bytes | None] = OrderedDict()
        self._full: OrderedDict[str, int] = OrderedDict()
        self._ends: list[tuple[float, str]] = []
        self._bytes = 0

    def keep(self, id: str, data: bytes, until: float) -> None:
        """Remember what came of it until then."""
        self._came[id] = data
        self._full[id] = len(data)
        self._bytes += len(data)
        heappush(self._ends, (until, id))
        while self._bytes > self._most_bytes:
            oldest, size = self._full.popitem(last=False)
            self._bytes -= size
            self._came[oldest] = None

    def make_room(self) -> None:
        """Forget the oldest where there is no room for more: it may be done again."""
        while len(self._came) >= self._most:
            oldest, _ = self._came.popitem(last=False)
            self._bytes -= self._full.pop(oldest, 0)

    def find(self, id: str, now: float) -> Came | None:
        """What came of it, where it was done; None where nobody knows of it."""
        self._forget(now)
        return Came(self._came[id]) if id in self._came else None

    def is_full(self, now: float) -> bool:
        """True when nothing more can be remembered, and so nothing more be done."""
        self._forget(now)
        return len(self._came) >= self._most

    def _forget(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, id = heappop(self._ends)
            self._came.pop(id, None)
            self._bytes -= self._full.pop(id, 0)
