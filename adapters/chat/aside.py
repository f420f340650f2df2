"""What a bot does beside its answers: small writes of its own that nobody waits for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine

from adapters.pace import Pace
from adapters.spoke import NotNow

logger = logging.getLogger(__name__)

MOST_ASIDE = 200
TRIES = 5


class Aside:
    """Tasks that are awaited at the end; where there is too much to do, what is only nice to have is left."""

    def __init__(self, pace: Pace, unwritable: tuple[type[Exception], ...]) -> None:
        self._pace = pace
        self._unwritable = unwritable
        self._tasks: set[asyncio.Task[None]] = set()

    def do(self, work: Coroutine[None, None, None], *, is_needed: bool = False) -> None:
        """Do it beside everything else."""
        if len(self._tasks) >= MOST_ASIDE and not is_needed:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def write(self, place: str, write: Callable[[], Awaitable[object]]) -> None:
        """Write where there is leave to, and again where the platform asks to wait."""
        for _ in range(TRIES):
            async with self._pace.leave(place):
                try:
                    await write()
                    return
                except NotNow as told:
                    self._pace.silence(place, told.seconds)
                except self._unwritable as error:
                    logger.info("not written: %s", error)
                    return

    async def close(self) -> None:
        """Do no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
