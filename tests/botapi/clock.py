"""The server's time, which may run faster than the client's."""

import time
from collections.abc import Callable
from math import ceil


class Clock:
    """Tells the time in server seconds since 1970; one real second, which is the client's, is `speed` of them.

    What Telegram counts by itself (budgets, drafts, queries, links) passes in server seconds. What a client is told to
    wait, it waits in real seconds, and Telegram tells it integers: so `to_client` rounds up, and never below one.
    A test that wants to turn the hands itself gives `tick`, whose seconds are then the real ones.
    """

    def __init__(self, speed: float = 1.0, tick: Callable[[], float] = time.monotonic) -> None:
        self.speed = speed
        self._tick = tick
        self._begin = time.time()
        self._from = tick()

    def now(self) -> float:
        """The time of the server."""
        return self._begin + (self._tick() - self._from) * self.speed

    def to_client(self, seconds: float) -> int:
        """So many server seconds as what a client is told to wait."""
        return max(1, ceil(seconds / self.speed - 1e-6))

    def to_server(self, seconds: float) -> float:
        """So many of the client's seconds in the server's."""
        return seconds * self.speed
