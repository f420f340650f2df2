"""How late an event loop is: a timer that goes off again and again, and notes by how much it was late."""

import asyncio
import time

TICK = 0.005


class Lag:
    """A watch on the loop that it is begun on."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Watch from now on."""
        self.lags = []
        self._task = asyncio.create_task(self._watch())

    async def end(self) -> list[float]:
        """Watch no more; all that was noted since the beginning, in seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return self.lags

    async def _watch(self) -> None:
        while True:
            # The loop's own clock may count in whole milliseconds.
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            self.lags.append(time.perf_counter() - due)
