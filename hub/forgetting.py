"""All that was said in a conversation, removed: what follows a granted farewell, whoever dies meanwhile.

First the scope's `Forgotten` stands on the log: from then on the conversation is empty to every reader, and speaking in
it may go on. Then what lies before it goes: the scope's files, while the log still tells which they are; its log; what
workers and spokes keep. All of that may be done again, and is, by every hub that reads the record before it is done.
"""

import asyncio
import logging

from factory_contracts.messages import Address, Erase
from factory_contracts.records import Forgotten
from hub.kernel.ports import Eraser, Unwritable
from hub.kernel.routing import RoutingKey
from hub.pool import Pool, Ports

logger = logging.getLogger(__name__)

# An answer that no screen takes must not keep alive what is to be removed.
SHOWN_WITHIN = 20.0
LOOK_EVERY = 0.1
# A spoke that is there answers at once. One that is away keeps nothing that it is not told to remove when it comes.
SPOKES_WITHIN = 30.0
ASK_SPOKES_EVERY = 2.0


class Forgetting:
    """Every conversation whose removal is not known to be complete."""

    def __init__(self, ports: Ports, eraser: Eraser) -> None:
        self._ports = ports
        self._eraser = eraser
        self._unfinished: dict[RoutingKey, tuple[int, asyncio.Task[None]]] = {}
        self._spokes: dict[str, asyncio.Event] = {}

    async def forget(self, pool: Pool) -> None:
        """Once the last words are on the screen, or were given the time for it, empty the conversation."""
        farewell = pool.session.farewell
        if farewell is None:
            return
        # Everybody who made files for what was said has ended by now, and what is stored later comes with what is said
        # later.
        files = await self._eraser.reach(pool.key)
        while pool.session.turns and self._ports.clock() - farewell.at < SHOWN_WITHIN:
            await asyncio.sleep(LOOK_EVERY)
        # Receipts are written a moment later, and not from here: this may end with the conversation, which another hub
        # takes, and others' receipts would end with it.
        while pool.pending:
            await asyncio.sleep(LOOK_EVERY)
        self._ports.at("forget-answered")
        record = pool.session.forgetting(farewell, self._ports.clock(), files, self._ports.ledger.spent_in(pool.key))
        try:
            await pool.record(record)
        except Unwritable:
            # It was told to be under way, so it is tried on.
            logger.exception("%s cannot be forgotten yet", pool.key.to_pool_id())
            await asyncio.sleep(SHOWN_WITHIN)
            return
        self._ports.at("forgotten-unerased")
        self.finish(pool.key, pool.session.compacted, record)

    def finish(self, key: RoutingKey, sequence: int, record: Forgotten) -> None:
        """Remove what stands before this record, which may be begun or even done already."""
        _, earlier = self._unfinished.get(key, (0, None))
        work = self._see_through(key, sequence, record, earlier)
        self._unfinished[key] = sequence, asyncio.create_task(work, name=f"forgetting {key.to_pool_id()}")

    def unfinished(self) -> tuple[int, ...]:
        """Where the records stand that a new hub must read, for what they tell is not done yet."""
        return tuple(sequence for sequence, _ in self._unfinished.values())

    def heard(self, turn: str) -> None:
        """A spoke has removed what it kept."""
        if turn in self._spokes:
            self._spokes[turn].set()

    def lose(self, part: int) -> None:
        """Another hub has the conversations of a partition, and what there is to be removed of them."""
        for key in [key for key in self._unfinished if key.partition == part]:
            _, task = self._unfinished.pop(key)
            task.cancel()

    async def close(self) -> None:
        """Leave the rest to the next hub."""
        tasks = [task for _, task in self._unfinished.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _see_through(
        self, key: RoutingKey, sequence: int, record: Forgotten, earlier: asyncio.Task[None] | None
    ) -> None:
        if earlier is not None:
            # All that it had to remove lies before this record too.
            earlier.cancel()
            await asyncio.gather(earlier, return_exceptions=True)
        namespaces = sorted({agent.spec().namespace for agent in self._ports.bindings.agents.values()})
        async with asyncio.TaskGroup() as group:
            group.create_task(self._eraser.erase(key, sequence, record.files))
            group.create_task(self._ports.clipool.erase(key, namespaces, record.at))
            group.create_task(self._tell_spokes(key, record))
        self._ports.at("forgotten")
        del self._unfinished[key]
        logger.info("%s is forgotten", key.to_pool_id())

    async def _tell_spokes(self, key: RoutingKey, record: Forgotten) -> None:
        """Ask until the spoke has answered, or for so long: the terminals of a home come and go."""
        answered = self._spokes[record.turn] = asyncio.Event()
        erase = Erase(
            turn=record.turn,
            turns=tuple(dict.fromkeys(entry.rpartition(">")[2] for entry in record.seen)),
            until=record.at,
            epoch=self._ports.log.epoch(key.partition),
            address=Address(platform=key.platform, bot_id=key.bot_id, scope_id=key.scope_id),
        )
        try:
            async with asyncio.timeout(SPOKES_WITHIN):
                while not answered.is_set():
                    await self._ports.outbox.publish(erase)
                    await _within(ASK_SPOKES_EVERY, answered)
        except TimeoutError:
            logger.info("no spoke says that it removed what it kept of %s", key.to_pool_id())
        finally:
            del self._spokes[record.turn]


async def _within(seconds: float, event: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
