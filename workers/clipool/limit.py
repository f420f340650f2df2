"""A time limit that stands still while a person is asked."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Limit:
    """So many seconds from now, but for those in which somebody waits for a person's word."""

    __slots__ = ("_ends", "_held_since", "_holders", "_loop", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + seconds
        self._holders = 0
        self._held_since = 0.0
        self._timeout: asyncio.Timeout | None = None

    def is_past(self, now: float) -> bool:
        """Whether it is over."""
        return not self._holders and now > self._ends

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stand still; several may hold it at once."""
        if not self._holders:
            self._held_since = self._loop.time()
            self._move(None)
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._ends += self._loop.time() - self._held_since
                self._move(self._ends)

    async def within(self, work: Awaitable[T]) -> T:
        """What the work comes to in time; raises `TimeoutError` where it does not."""
        # Before Python 3.12 `wait_for` could swallow a cancellation.
        async with asyncio.timeout_at(self._ends) as self._timeout:
            try:
                return await work
            finally:
                self._timeout = None

    def _move(self, when: float | None) -> None:
        # What has run out already ends, whoever is asked in the same moment.
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(when)
