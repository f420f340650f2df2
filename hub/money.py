"""Whether a model call may be paid for, and that it is on the log before it is made: alone, or beside other hubs.

Several hubs share the accounts by reading each other's records. A reservation is appended only if no other hub made one
that is not known here yet, so that the last dollar is given to one of them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Protocol

from factory_contracts.records import Balance, MoneyReserved, Record
from hub.kernel.budget import Granted, Later, Ledger, SharedLedger, TooDear
from hub.kernel.ports import Logged, Unwritable
from hub.kernel.routing import RoutingKey
from hub.pool import Pool

logger = logging.getLogger(__name__)

# A call that must wait for what others leave over is looked at so often, then asked to ask again.
LOOKS = 30
LOOK = 0.05
RECKON_EVERY = 1.0


class MoneyLog(Protocol):
    """The part of the log that hubs share accounts by."""

    def epoch(self, partition: int) -> int:
        """The epoch this hub took for a partition; 0 where it does not reign."""
        ...

    def since(self, sequence: int, parts: Collection[int]) -> AsyncIterator[tuple[RoutingKey, Logged]]:
        """Every scope's records from a sequence on; those of these partitions may have to be sealed yet."""
        ...

    async def mark(self) -> int:
        """The sequence below which every turn is over."""
        ...

    async def spent(self) -> Mapping[int, tuple[int, tuple[Balance, ...]]]:
        """What turns begun below a sequence have spent, by shard."""
        ...

    async def reckoned(self) -> int:
        """The sequence from which what was spent must be read."""
        ...

    async def begin_reckoning(self) -> int:
        """The same, from now on whatever marks pass by."""
        ...

    async def reckon(self, sequence: int, spent: Mapping[int, tuple[Balance, ...]]) -> bool:
        """Say that nobody need read below this sequence for what was spent until there; false if unheard."""
        ...

    async def purse(self) -> int:
        """Where some hub reserved money last; 0 where none did."""
        ...

    async def reserve(self, key: RoutingKey, record: Record, after: int) -> Logged | None:
        """Persist the record, unless another hub reserved money after that sequence. Raises as `append` does."""
        ...


class Money:
    """The purse of a hub that reigns alone: what its ledger says is so."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def restore(self) -> None:
        """Know what was spent before."""

    async def follow(self) -> None:
        """Know what was spent by now."""

    async def reckon(self) -> None:
        """Keep short what a new hub has to read, for as long as this is not called off."""

    async def put(self, pool: Pool, wanted: MoneyReserved) -> bool:
        """Put a reservation on the log, where it is still sound; false where that must be looked at again. Raises as
        `append` does."""
        await pool.put(wanted)
        return True

    async def reserve(
        self, pool: Pool, wanted: Callable[[], MoneyReserved | None], *, allow_unpriced: bool
    ) -> TooDear | bool | None:
        """Hold the money and put that on the log: two who ask at once must not both be given the last of it.

        True once it is done, false where it is not wanted any more or cannot be written, None where others hold what
        it needs. Raises `Fenced` or `Full`.
        """
        for _ in range(LOOKS):
            # Whoever waits for money may have been stopped meanwhile, and it may be another day.
            record = wanted()
            if record is None:
                return False
            verdict = self.ledger.judge(pool.key, record, allow_unpriced=allow_unpriced)
            if not isinstance(verdict, Granted):
                # What another hub settled or gave back may be enough.
                await self.follow()
                verdict = self.ledger.judge(pool.key, record, allow_unpriced=allow_unpriced)
            match verdict:
                case TooDear():
                    return verdict
                case Later():
                    await asyncio.sleep(LOOK)
                case Granted():
                    done = await self.hold(pool, record, allow_unpriced=allow_unpriced)
                    if done is not None:
                        return done
        return None

    async def hold(self, pool: Pool, record: MoneyReserved, *, allow_unpriced: bool) -> bool | None:
        """Hold what was granted and put that on the log; None where it must be judged anew."""
        self.ledger.hold(pool.key, record)
        is_done = False
        try:
            is_done = await self.put(pool, record)
        except Unwritable:
            return False
        finally:
            if not is_done:
                self.ledger.release(record)
        return is_done or None


class SharedMoney(Money):
    """The purse of hubs that share: every reservation of another is known before one is made here."""

    def __init__(self, log: MoneyLog, ledger: SharedLedger, clock: Callable[[], float]) -> None:
        super().__init__(ledger)
        self._log = log
        self._shared = ledger
        self._clock = clock
        self._opened = 0
        self._opening = asyncio.Lock()
        self._following = asyncio.Lock()
        self._epoch = 0
        self._spent: dict[int, tuple[Balance, ...]] = {}

    async def restore(self) -> None:
        """Know what was spent under earlier hubs and by others."""
        # Asked first: the balances that are read afterwards hold at least what was spent up to there.
        reckoned = await self._log.begin_reckoning()
        self._shared.restore(await self._log.spent())
        self._shared.skip(reckoned)
        await self.follow()

    async def follow(self) -> None:
        """Read what others wrote since."""
        # Two who read the same pages would only be slower.
        async with self._following:
            opened = await self._log.purse()
            async for key, logged in self._log.since(self._shared.read + 1, ()):
                self._shared.follow(logged.sequence, key, logged.record)
            self._opened = max(self._opened, opened)

    async def hold(self, pool: Pool, record: MoneyReserved, *, allow_unpriced: bool) -> bool | None:
        """Hold what was granted and put that on the log; None where it must be judged anew."""
        # Of two at once here the second would be refused for the first one's sake. And what became known while this
        # waited is not what it was granted by.
        async with self._opening:
            if not isinstance(self.ledger.judge(pool.key, record, allow_unpriced=allow_unpriced), Granted):
                return None
            return await super().hold(pool, record, allow_unpriced=allow_unpriced)

    async def put(self, pool: Pool, wanted: MoneyReserved) -> bool:
        """Put a reservation on the log, unless another hub made one that is not known here."""
        opened = self._opened
        reserved = await pool.reserve(lambda: self._log.reserve(pool.key, wanted, opened))
        if reserved is None:
            await self.follow()
            return False
        # The purse's own record stands behind the reservation.
        self._opened = max(self._opened, reserved + 1)
        return True

    async def reckon(self) -> None:
        """Keep short what a new hub has to read, for as long as this is not called off."""
        while True:
            await asyncio.sleep(RECKON_EVERY)
            # Asked first: a purse that is read afterwards tells of all that turns reserved which are over by then.
            mark = await self._log.mark()
            if await self._log.purse() == self._opened and not self._shared.holds_any:
                # Nobody spends anything, so nobody need read all that is said.
                self._shared.skip(mark)
            else:
                await self.follow()
            below, epoch = self._shared.oldest, self._log.epoch(0)
            is_new, self._epoch = epoch != self._epoch, epoch
            if not epoch:
                # Whoever keeps the balances has them up to there; what is later may have to be told yet.
                below = min(below, await self._log.reckoned())
                self._shared.close(below, self._clock())
                continue
            self._spent.update(self._shared.close(below, self._clock()))
            if is_new:
                # What was unheard in an earlier reign may have been told since, or not.
                self._spent = self._shared.balances()
            if await self._log.reckon(below, self._spent):
                self._spent.clear()
