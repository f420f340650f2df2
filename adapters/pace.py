"""How fast a spoke may write: one write at a time in each place, a pause after it, and a limit for the whole bot.

A place is whatever the platform counts by: a chat with all its topics. Where the platform wants silence for a while,
nothing is tried: text gathers meanwhile, and the newest is written when the time is over.
"""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

PLACES_KEPT = 10_000
# So long what grows lets what is urgent go first; then it has waited long enough, whatever else comes.
YIELDS = 5.0


@dataclass(slots=True)
class _Place:
    """Somewhere to write: when it may be again, until when there must be silence, and how many want to."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    free_at: float = 0.0
    silent_until: float = 0.0
    paid_until: float = float("-inf")
    users: int = 0

    def wrote(self, rhythm: "Rhythm", now: float) -> None:
        """One more write was made: when may the next be?"""
        # Each write pays for `every` seconds; what was paid for too early is the debt that ends the savings.
        self.paid_until = max(self.paid_until, now - rhythm.every * (rhythm.saved - 1)) + rhythm.every
        self.free_at = max(now + rhythm.gap, self.paid_until)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How fast one place may be written to: `gap` seconds between any two writes and, after a few, `every` seconds.

    What was not written for a while may be written then, so many writes at most.
    """

    gap: float = 0.0
    every: float = 0.0
    saved: int = 1


class Pace:
    """The leave to write: each place in its own rhythm, and `between` seconds between any two writes of the bot."""

    def __init__(self, rhythm: Callable[[str], Rhythm], between: float = 0.0) -> None:
        self._rhythm = rhythm
        self._between = between
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._numbers = count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._next = 0.0

    @asynccontextmanager
    async def leave(self, name: str, *, is_urgent: bool = False) -> AsyncIterator[None]:
        """Wait for the leave to make one write in a place, and hold it for as long as the write takes."""
        loop = asyncio.get_running_loop()
        place = self._place(name)
        place.users += 1
        try:
            # A second write in flight could overtake the first and bring back older text.
            async with place.lock:
                while True:
                    if (wait := max(place.free_at, place.silent_until) - loop.time()) > 0:
                        await asyncio.sleep(wait)
                        continue
                    await self._queue(is_urgent)
                    # While this one waited for the others, the platform may have asked for silence here.
                    if place.silent_until <= loop.time():
                        break
                try:
                    yield
                finally:
                    place.wrote(self._rhythm(name), loop.time())
        finally:
            place.users -= 1

    def silence(self, name: str, seconds: float) -> None:
        """The platform wants nothing written there for so long."""
        place = self._place(name)
        place.silent_until = max(place.silent_until, asyncio.get_running_loop().time() + seconds)

    def is_silent(self, name: str) -> bool:
        """Whether the platform wants nothing written there now."""
        place = self._places.get(name)
        return place is not None and place.silent_until > asyncio.get_running_loop().time()

    async def _queue(self, is_urgent: bool) -> None:
        """Stand in the one line of all places, in which what is urgent goes first, but not for ever."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._waiting and self._next <= now:
            self._next = now + self._between
            return
        if not self._waiting:
            loop.call_at(self._next, self._call_next)
        turn = loop.create_future()
        heapq.heappush(self._waiting, (now if is_urgent else now + YIELDS, next(self._numbers), turn))
        await turn

    def _call_next(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            # Whoever was cancelled meanwhile wants nothing any more.
            if not turn.done():
                turn.set_result(None)
                self._next = loop.time() + self._between
                break
        if self._waiting:
            loop.call_at(self._next, self._call_next)

    def _place(self, name: str) -> _Place:
        place = self._places.get(name)
        if place is None:
            if len(self._places) >= PLACES_KEPT:
                self._forget_one()
            place = self._places[name] = _Place()
        self._places.move_to_end(name)
        return place

    def _forget_one(self) -> None:
        now = asyncio.get_running_loop().time()
        for name, place in self._places.items():
            if not place.users and max(place.free_at, place.silent_until) <= now:
                del self._places[name]
                return
