"""The partitions of one hub, as it takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from factory_contracts import subjects
from hub.kernel.ports import Logged
from hub.kernel.routing import RoutingKey
from hub.money import Money
from hub.realm import Realm
from tests.fakes import FakeLog, FakeStream, until
from tests.hub.world import World

pytestmark = pytest.mark.asyncio(loop_scope="function")


class SlowLog(FakeLog):
    """One that never answers what was left."""

    def __init__(self, stream: FakeStream) -> None:
        super().__init__(stream)
        self.owned: set[int] = set()
        self.is_asked = False

    async def take(self, parts: Collection[int], now: float) -> bool:
        self.owned |= set(parts)
        return True

    async def verify(self) -> None:
        pass

    async def since(
        self, sequence: int, parts: Collection[int] = range(subjects.PARTITIONS)
    ) -> AsyncIterator[tuple[RoutingKey, Logged]]:
        self.is_asked = True
        yield await asyncio.get_running_loop().create_future()


class Nobody:
    """No other hub, nobody who speaks, and nothing to seal."""

    living = ("hub",)
    claimed: frozenset[int] = frozenset()
    acts = 0

    async def tell(self) -> None:
        pass

    async def change(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def open(self, parts: Collection[int] | None = None) -> None:
        pass

    def leave(self, part: int) -> None:
        pass

    def lose(self, part: int) -> None:
        pass


async def test_a_hub_that_is_called_off_while_it_reads_does_not_believe_to_have_read(world: World) -> None:
    log, nobody = SlowLog(world.stream), Nobody()
    realm = Realm(
        name="hub",
        log=log,
        hubs=nobody,
        pools=world.pools,
        money=Money(world.ledger),
        forgetting=world.forgetting,
        people=world.people,
        workers=nobody,
        people_door=nobody,
        seals=nobody,
        clock=world.clock,
    )
    ruling = asyncio.create_task(realm.rule())
    await until(lambda: log.is_asked)

    ruling.cancel()
    await asyncio.gather(ruling, return_exceptions=True)

    assert realm.pools.reading == frozenset(range(subjects.PARTITIONS))
    assert realm.unread() == (0,)
