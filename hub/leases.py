"""Which of a bot's spokes speaks for it: one at a time holds the lease, and whoever else asks for it stands by.

A lease is a record of the log, and its sequence the generation that outlives every hub. What is said under an earlier
generation is refused, so a spoke that stood still while another took its place can do nothing here.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from factory_contracts.messages import Claim, FromSpoke, Leased, Noted, StandBy, ToSpoke
from factory_contracts.records import LeaseGiven
from factory_contracts.subjects import EVERY_SCOPE, partition
from hub.kernel.ports import Fenced, Full, Presence

logger = logging.getLogger(__name__)

# A spoke itself holds a lease to be good for two seconds after it last asked.
SILENCE = 3.0
# Who lost its connection may be back by then.
GRACE = 0.25
# Whoever owns it gives the leases.
PARTITION = partition(EVERY_SCOPE)

Bot = tuple[str, str]


class LeaseLog(Protocol):
    """The part of the log that tells which spoke speaks for a bot."""

    def epoch(self, partition: int) -> int:
        """The epoch this hub took for a partition."""
        ...

    async def still_reigns(self, partition: int) -> bool:
        """Whether this hub's epoch was the newest a moment ago."""
        ...

    async def lease(self, platform: str, bot_id: str) -> tuple[int, LeaseGiven] | None:
        """The bot's newest lease and its sequence. Waits out a lost bus."""
        ...

    async def note_lease(self, given: LeaseGiven) -> int:
        """On return the lease is on the log, under this sequence. Waits out a lost bus; raises `Fenced`, `Full`."""
        ...


@dataclass(slots=True)
class _Held:
    """A lease and what this hub heard of its holder."""

    generation: int
    instance: str
    inbox: str
    heard_at: float
    epoch: int


@dataclass(slots=True)
class Leases:
    """The leases of all bots, each read from the log when it is first asked for."""

    log: LeaseLog
    presence: Presence
    clock: Callable[[], float]
    _held: dict[Bot, _Held] = field(default_factory=dict)
    _deciding: defaultdict[Bot, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    # Whose new lease is on its way to the log.
    _giving: set[Bot] = field(default_factory=set)

    async def later(self, asked: FromSpoke) -> int | None:
        """The generation that speaks now, where what is asked was asked under an earlier one."""
        if asked.generation is None or isinstance(asked, Claim):
            return None
        bot = asked.platform, asked.bot_id
        held, epoch = self._held.get(bot), self.log.epoch(PARTITION)
        if held is None or held.generation < asked.generation or not epoch or held.epoch != epoch:
            # Nothing is known yet, or another hub gave a lease meanwhile, or may have done.
            self._held.pop(bot, None)
            held = await self._look(bot)
        return held.generation if held is not None and asked.generation < held.generation else None

    async def claim(self, asked: Claim, inbox: str) -> ToSpoke | None:
        """Give the lease to whoever asks, if nobody has it; None where that cannot be stored. Raises `Fenced`."""
        # A hub that stood still would renew what its successor gave to another.
        if not await self.log.still_reigns(PARTITION):
            raise Fenced
        bot = asked.platform, asked.bot_id
        held = await self._look(bot)
        if held is not None and held.instance == asked.instance:
            held.inbox, held.heard_at = inbox, asyncio.get_running_loop().time()
            if asked.leaves:
                held.heard_at = float("-inf")
                return Noted(epoch=0)
            # While it is being given to another, who is back waits for what comes of that: else both would hold it.
            if bot not in self._giving:
                return Leased(generation=held.generation)
        elif asked.leaves:
            return Noted(epoch=0)
        # Of two that ask at once, both would be given what one holder left.
        async with self._deciding[bot]:
            held = await self._look(bot)
            if held is not None and held.instance == asked.instance:
                # It was given the lease while it asked again, or still has what could not be given to another.
                return Leased(generation=held.generation)
            if held is not None and not await self._is_over(held):
                return StandBy(generation=held.generation)
            given = LeaseGiven(
                platform=asked.platform, bot_id=asked.bot_id, instance=asked.instance, inbox=inbox, at=self.clock()
            )
            self._giving.add(bot)
            try:
                generation = await self.log.note_lease(given)
            except Full:
                return None
            finally:
                self._giving.discard(bot)
            self._keep(bot, generation, given)
        logger.info("%s speaks for %s/%s, generation %s", asked.instance, *bot, generation)
        return Leased(generation=generation)

    async def _is_over(self, held: _Held) -> bool:
        """Whether the holder is gone: silent for long, or not connected and not back in a moment."""
        heard_at = held.heard_at
        if asyncio.get_running_loop().time() - heard_at > SILENCE:
            return True
        if not await self.presence.has_gone(held.inbox):
            return False
        await asyncio.sleep(GRACE)
        return await self.presence.has_gone(held.inbox) and held.heard_at == heard_at

    async def _look(self, bot: Bot) -> _Held | None:
        held = self._held.get(bot)
        # While another hub reigned, it may have given the lease to somebody else.
        if held is None or held.epoch != self.log.epoch(PARTITION):
            found = await self.log.lease(*bot)
            known = self._held.get(bot)
            if found is not None and (known is held or known is None):
                self._keep(bot, *found)
        return self._held.get(bot)

    def _keep(self, bot: Bot, generation: int, given: LeaseGiven) -> None:
        now = asyncio.get_running_loop().time()
        self._held[bot] = _Held(generation, given.instance, given.inbox, now, self.log.epoch(PARTITION))
