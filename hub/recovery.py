"""What a new hub does about the turns that an old one left open, and what it leaves for the next."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from factory_contracts import subjects
from factory_contracts.records import Balance, Forgotten, ReplyShown, ReplyUndeliverable, TurnReceived, TurnSuperseded
from hub.forgetting import Forgetting
from hub.kernel.budget import Ledger
from hub.kernel.ports import Fenced, Logged
from hub.kernel.routing import RoutingKey
from hub.kernel.session import FORGET_ALL
from hub.pool import Pools

logger = logging.getLogger(__name__)

MARK_EVERY = 1.0
EVERY = range(subjects.PARTITIONS)
UNDELIVERABLE_AFTER = 24 * 3600.0
# Whoever was away for a minute, or whose clock was set, has to try for so long itself before it gives up.
AWAY = 60.0
TRIED_FOR = 600.0


class MarkedLog(Protocol):
    """The part of the log that tells a new hub where to begin."""

    @property
    def sequence(self) -> int:
        """The highest sequence known to be stored."""
        ...

    async def mark(self, parts: Collection[int] = EVERY) -> int:
        """The sequence from which a new hub of these partitions reads."""
        ...

    async def move_mark(self, sequence: int, spent: Mapping[int, tuple[Balance, ...]] | None) -> bool:
        """A new hub need not read below this, nor count what was spent there, unless others keep the accounts; false if
        unheard. Raises `Fenced`."""
        ...

    async def reckoned(self) -> int:
        """The sequence from which what was spent must be read."""
        ...

    async def spent(self) -> Mapping[int, tuple[int, tuple[Balance, ...]]]:
        """What turns begun below a sequence have spent, by shard."""
        ...

    def since(self, sequence: int, parts: Collection[int] = EVERY) -> AsyncIterator[tuple[RoutingKey, Logged]]:
        """Every scope's records from a sequence on; those of these partitions may have to be sealed yet. However many
        there are, all else goes on meanwhile."""
        ...


async def recover(
    log: MarkedLog, pools: Pools, ledger: Ledger, forgetting: Forgetting, parts: Collection[int] = EVERY
) -> int:
    """Bring every conversation of these partitions with an open turn into memory, where it goes on by itself; answers
    with their number.

    What is being forgotten goes on as well.
    """
    open_turns: dict[str, RoutingKey] = {}
    farewells: dict[str, RoutingKey] = {}
    forgotten: dict[RoutingKey, tuple[int, Forgotten]] = {}
    mark = await log.mark(parts)
    async for key, logged in log.since(min(mark, await log.reckoned()), parts):
        ledger.apply(logged.sequence, key, logged.record)
        if key.partition not in parts or logged.sequence < mark:
            continue
        match logged.record:
            case TurnReceived(turn=turn, message=message):
                open_turns.setdefault(turn, key)
                if message.text.strip() == FORGET_ALL:
                    farewells[turn] = key
            case Forgotten(turn=turn) as record:
                farewells.pop(turn, None)
                forgotten[key] = logged.sequence, record
            case ReplyShown(turn=turn) | ReplyUndeliverable(turn=turn) | TurnSuperseded(turn=turn):
                open_turns.pop(turn, None)
            case _:
                pass
    for key, (sequence, record) in forgotten.items():
        forgetting.finish(key, sequence, record)
    keys = dict.fromkeys((*open_turns.values(), *farewells.values()))

    async def bring(key: RoutingKey) -> None:
        # One that is lost meanwhile is another hub's, and goes on there.
        with suppress(Fenced):
            await pools.get(key)

    await asyncio.gather(*map(bring, keys))
    if keys:
        logger.info("%s open turns in %s conversations go on", len(open_turns), len(keys))
    return len(keys)


async def keep_mark(
    log: MarkedLog,
    pools: Pools,
    ledger: Ledger | None,
    unwritten: Callable[[], Sequence[int]],
    clock: Callable[[], float],
) -> None:
    """Move the mark as turns close, and give up on answers that no platform took for a day. Ends with `Fenced`.

    A day for which nobody was there to try, for the machine slept or the clock was set, is none. Without a ledger the
    accounts are kept elsewhere.
    """
    marked = 0
    trying_since = looked_at = clock()
    spent: dict[int, tuple[Balance, ...]] = {}
    reached = log.sequence
    while True:
        await asyncio.sleep(MARK_EVERY)
        now, before = clock(), looked_at
        if not before <= now < before + AWAY:
            trying_since = now
        looked_at = now
        # What was stored a moment ago may not be known to its pool yet; what was stored a tick ago is.
        oldest, reached = reached + 1, log.sequence
        for pool in pools:
            for turn in tuple(pool.session.turns.values()):
                oldest = min(oldest, turn.received)
                is_old = turn.answer is not None and now - turn.answer.at > UNDELIVERABLE_AFTER
                if is_old and now - trying_since > TRIED_FOR:
                    pool.settle(turn.turn, None, "nobody took it for a day")
            if pool.session.farewell is not None:
                oldest = min(oldest, pool.session.farewell.received)
        oldest = min((oldest, *unwritten()))
        if oldest > marked:
            # What could not be written is written with the next.
            if ledger is not None:
                spent.update(ledger.close(oldest, now))
            if await log.move_mark(oldest, spent if ledger is not None else None):
                spent.clear()
                marked = oldest
