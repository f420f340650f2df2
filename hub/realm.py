"""Sharing the partitions with other hubs: taking what is due to this one, and letting go of what another has taken.

Every hub works out by itself what is due to it, and takes it by epoch records. So nobody hands anything over: who had
it before is refused from then on, and hears of it; what was open goes on here as after a death.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from factory_contracts import subjects
from factory_contracts.peers import Counted, Spoken, Waiting
from factory_contracts.records import Act
from hub.forgetting import Forgetting
from hub.kernel.shares import share
from hub.money import Money
from hub.people import People
from hub.pool import Pools
from hub.recovery import MarkedLog, recover

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.5
COUNT_EVERY = 0.5
COUNTS_BEFORE_ALL = 4


class SharedLog(MarkedLog, Protocol):
    """The part of the log that tells whose a partition is."""

    @property
    def owned(self) -> Collection[int]:
        """The partitions that this hub reigns over, for all it knows."""
        ...

    async def take(self, parts: Collection[int], now: float) -> bool:
        """Begin a reign over these; false if another hub was quicker, or nobody knows."""
        ...

    async def acts(self, after: int = 0) -> tuple[tuple[int, Act], ...]:
        """What was done after a sequence about who may do what."""
        ...

    async def verify(self) -> None:
        """Look which partitions are still this hub's, and give up the others."""
        ...


class Hubs(Protocol):
    """All hubs that share."""

    @property
    def living(self) -> tuple[str, ...]:
        """Their names, this hub's among them."""
        ...

    @property
    def claimed(self) -> frozenset[int]:
        """The partitions that others say they reign over."""
        ...

    @property
    def acts(self) -> int:
        """Up to where some other knows what was done about who may do what."""
        ...

    async def tell(self) -> None:
        """Say now over which partitions this hub reigns."""
        ...

    async def change(self, seconds: float) -> None:
        """Return when a hub comes, goes or says something new, or after so long."""
        ...


class Seals(Protocol):
    """What is told of all that is stored here."""

    def lose(self, part: int) -> None:
        """Another hub tells of what is stored in a partition."""
        ...


class Door(Protocol):
    """Where something comes in by partitions."""

    async def open(self, parts: Collection[int] | None = None) -> None:
        """Begin to take what comes in these."""
        ...

    def leave(self, part: int) -> None:
        """Take nothing more that comes in this one."""
        ...


@dataclass(slots=True)
class Realm:
    """The partitions of one hub, as hubs come and go. What is said in one is heard once its open turns are known."""

    name: str
    log: SharedLog
    hubs: Hubs
    pools: Pools
    money: Money
    forgetting: Forgetting
    people: People
    workers: Door
    people_door: Door
    seals: Seals
    clock: Callable[[], float]

    async def count(self) -> None:
        """Tell the others who speaks here how often, and who waits here, for as long as this is not called off."""
        traffic, ticks = self.pools.ports.traffic, 0
        told: tuple[Waiting, ...] = ()
        while True:
            await asyncio.sleep(COUNT_EVERY)
            traffic.waits.keep(self.hubs.living)
            spoken = tuple(
                Spoken(who=who, times=times, per_minute=per_minute)
                for who, (times, per_minute) in traffic.people.taken().items()
            )
            waiting = tuple(Waiting(who=who, places=places) for who, places in traffic.waits.here.items())
            # Whoever came meanwhile, or missed it, is told again.
            ticks = (ticks + 1) % COUNTS_BEFORE_ALL
            if spoken or waiting != told or not ticks:
                await self.pools.ports.peers.tell(Counted(hub=self.name, spoken=spoken, waiting=waiting))
                told = waiting

    async def rule(self) -> None:
        """Take what is due, for as long as this is not called off."""
        among: tuple[str, ...] = ()
        own: frozenset[int] = frozenset()
        while True:
            if self.hubs.claimed & frozenset(self.log.owned):
                await self.log.verify()
            if self.hubs.acts > self.people.through:
                await self.people.follow()
                await self.hubs.tell()
            if (living := self.hubs.living) != among:
                among, own = living, share(living, subjects.PARTITIONS)[self.name]
            if due := own - frozenset(self.log.owned):
                await self._take(due)
            await self.hubs.change(LOOK_EVERY)

    def lose(self, part: int) -> None:
        """Another hub has taken a partition: whatever is under way there goes on with it."""
        for door in self._doors:
            door.leave(part)
        self.seals.lose(part)
        self.pools.lose(part)
        self.forgetting.lose(part)

    def unread(self) -> tuple[int, ...]:
        """Where the mark must stay as long as it is not known what is open."""
        return (0,) if self.pools.reading else ()

    @property
    def _doors(self) -> Sequence[Door]:
        return self.workers, self.people_door

    async def _take(self, due: frozenset[int]) -> None:
        # Whoever is called off before the end has not read everything.
        self.pools.reading = due
        if not await self.log.take(due, self.clock()):
            self.pools.reading = frozenset()
            return
        await self.hubs.tell()
        await self.people.follow()
        await self.workers.open(due)
        await self.money.follow()
        if 0 in due:
            # Acts are sealed with the first partition.
            await self.log.acts()
        await recover(self.log, self.pools, self.money.ledger, self.forgetting, due)
        self.pools.reading = frozenset()
        await self.people_door.open(due)
        for part in due - frozenset(self.log.owned):
            self.lose(part)
        logger.info("%s reigns over %s partitions", self.name, len(self.log.owned))
