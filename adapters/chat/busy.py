"""Says "typing…" wherever an answer is being worked on, until it is there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from factory_contracts.messages import Address

TICK = 1.0
# With many at work, each is seen to type less often, and nobody's answer waits for it.
MOST_AT_ONCE = 10
# Whoever is not heard of for so long is not worked on.
FORGOTTEN_AFTER = 900.0


class Busy:
    """Where answers are being worked on; the same turn may be begun again and again.

    `say` tells it once in a place, and every so many seconds again, for platforms show it for a moment only.
    """

    def __init__(self, say: Callable[[Address], Awaitable[None]], every: float) -> None:
        self._say = say
        self._every = every
        self._turns: dict[str, tuple[Address, float]] = {}
        self._began = asyncio.Event()

    def begin(self, turn: str, address: Address) -> None:
        """Somebody works on this turn."""
        self._turns[turn] = address, asyncio.get_running_loop().time()
        self._began.set()

    def end(self, turn: str) -> None:
        """Nobody does any more."""
        self._turns.pop(turn, None)

    async def run(self, also: Callable[[], Awaitable[None]] | None = None) -> None:
        """Say it in turns, and see after something else as often; until cancelled."""
        told: dict[str, float] = {}
        while True:
            if not self._turns:
                # With nothing to say there is nothing to wake up for.
                self._began.clear()
                await self._began.wait()
            now = asyncio.get_running_loop().time()
            told = {scope: at for scope, at in told.items() if now - at < self._every}
            for address in self._due(now, told)[:MOST_AT_ONCE]:
                told[address.scope_id] = now
                await self._say(address)
            if also is not None:
                await also()
            await asyncio.sleep(TICK)

    def _due(self, now: float, told: Mapping[str, float]) -> list[Address]:
        for turn in [turn for turn, (_, since) in self._turns.items() if now - since > FORGOTTEN_AFTER]:
            self.end(turn)
        where = {address.scope_id: address for address, _ in self._turns.values()}
        return [address for scope, address in where.items() if scope not in told]
