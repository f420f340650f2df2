"""What a new hub does about the turns that an old one left open, and what it leaves for the next."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from factory_contracts.records import Balance, Forgotten, ReplyShown, ReplyUndeliverable, TurnReceived, TurnSuperseded
from hub.forgetting import Forgetting
from hub.kernel.budget import Ledger
from hub.kernel.ports import Logged
from hub.kernel.routing import RoutingKey
from hub.kernel.session import FORGET_ALL
from hub.pool import Pools

logger = logging.getLogger(__name__)

MARK_EVERY = 1.0
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

    async def mark(self) -> int:
        """The sequence from which a new hub reads."""
        ...

    async def move_mark(self, sequence: int, spent: Mapping[int, tuple[Balance, ...]]) -> bool:
        """A new hub need not read below this, nor count what was spent there; false if unheard. Raises `Fenced`."""
        ...

    async def spent(self) -> Mapping[int, tuple[int, tuple[Balance, ...]]]:
        """What turns begun below a sequence have spent, by shard."""
        ...

    async def since(self, sequence: int) -> tuple[tuple[RoutingKey, Logged], ...]:
        """Every scope's records from a sequence on."""
        ...


async def recover(log: MarkedLog, pools: Pools, ledger: Ledger, forgetting: Forgetting) -> int:
    """Bring every conversation with an open turn into memory, where it goes on by itself; answers with their number.

    What is being forgotten goes on as well.
    """
    open_turns: dict[str, RoutingKey] = {}
    farewells: dict[str, RoutingKey] = {}
    forgotten: dict[RoutingKey, tuple[int, Forgotten]] = {}
    ledger.restore(await log.spent())
    for key, logged in await log.since(await log.mark()):
        ledger.apply(logged.sequence, key, logged.record)
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
    for key in keys:
        await pools.get(key)
    if keys:
        logger.info("%s open turns in %s conversations go on", len(open_turns), len(keys))
    return len(keys)


async def keep_mark(
    log: MarkedLog,
    pools: Pools,
    ledger: Ledger,
    unwritten: Callable[[], Sequence[int]],
    clock: Callable[[], float],
) -> None:
    """Move the mark as turns close, and give up on answers that no platform took for a day. Ends with `Fenced`.

    A day for which nobody was there to try, for the machine slept or the clock was set, is none.
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
            spent.update(ledger.close(oldest, now))
            if await log.move_mark(oldest, spent):
                spent.clear()
                marked = oldest
