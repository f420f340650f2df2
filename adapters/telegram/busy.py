"""Says "typing…" wherever an answer is being worked on."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from aiogram.methods import SendChatAction

from adapters.pace import Pace
from adapters.spoke import NotNow
from adapters.telegram.client import Barred, Client, Conflict, Rejected, Unauthorized, Unreachable
from adapters.telegram.screen import place
from factory_contracts.messages import Address

logger = logging.getLogger(__name__)

# Telegram shows it for five seconds at most.
EVERY = 4.0
TICK = 1.0
# With many at work, each is seen to type less often, and nobody's answer waits for it.
MOST_AT_ONCE = 10
# Whoever is not heard of for so long is not worked on.
FORGOTTEN_AFTER = 900.0


class Busy:
    """Where answers are being worked on; the same turn may be begun again and again."""

    def __init__(self, client: Client, pace: Pace, chat_of: Callable[[Address], str]) -> None:
        self._client = client
        self._pace = pace
        self._chat_of = chat_of
        self._turns: dict[str, tuple[Address, float]] = {}
        self._began = asyncio.Event()

    def begin(self, turn: str, address: Address) -> None:
        """Somebody works on this turn."""
        self._turns[turn] = address, asyncio.get_running_loop().time()
        self._began.set()

    def end(self, turn: str) -> None:
        """Nobody does any more."""
        self._turns.pop(turn, None)

    async def run(self, also: Callable[[], Awaitable[None]]) -> None:
        """Say it in turns, and see after something else as often; until cancelled."""
        told: dict[tuple[int, int | None], float] = {}
        while True:
            if not self._turns:
                # With nothing to say there is nothing to wake up for.
                self._began.clear()
                await self._began.wait()
            now = asyncio.get_running_loop().time()
            told = {where: at for where, at in told.items() if now - at < EVERY}
            for where, address in self._due(now, told)[:MOST_AT_ONCE]:
                told[where] = now
                await self._say(where, address)
            await also()
            await asyncio.sleep(TICK)

    def _due(
        self, now: float, told: Mapping[tuple[int, int | None], float]
    ) -> list[tuple[tuple[int, int | None], Address]]:
        for turn in [turn for turn, (_, since) in self._turns.items() if now - since > FORGOTTEN_AFTER]:
            self.end(turn)
        return [(place(address), address) for address, _ in self._turns.values() if place(address) not in told]

    async def _say(self, where: tuple[int, int | None], address: Address) -> None:
        chat, thread = where
        if self._pace.is_silent(self._chat_of(address)):
            return
        try:
            await self._client.ask(SendChatAction(chat_id=chat, message_thread_id=thread, action="typing"))
        except NotNow as told:
            self._pace.silence(self._chat_of(address), told.seconds)
        except (Rejected, Barred, Unreachable, Unauthorized, Conflict) as error:
            logger.debug("nobody sees that we type: %s", error)
