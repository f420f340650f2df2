"""Answers on their way to a screen: sent until there is a receipt, and the receipts noted many at a time."""

import asyncio
import logging
from collections.abc import Callable

from factory_contracts.messages import Final
from factory_contracts.records import ReplyShown, ReplyUndeliverable, TurnAnswered, TurnRefused
from hub.kernel.ports import Fenced, Full
from hub.kernel.session import OpenTurn
from hub.pool import Pool

logger = logging.getLogger(__name__)

AGAIN = (1.0, 2.0, 4.0, 8.0)
NOTE_AFTER = 0.5


class Deliveries:
    """Every answer that is on the log and not yet, for all the log knows, on a screen."""

    def __init__(self, fenced: Callable[[], None], at: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fenced = fenced
        self._at = at
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._notes: list[tuple[Pool, ReplyShown | ReplyUndeliverable]] = []
        self._writing: asyncio.Task[None] | None = None
        self._unwritten: dict[str, int] = {}
        self._lock = asyncio.Lock()

    async def deliver(self, pool: Pool, turn: OpenTurn) -> None:
        """Publish the answer, and again while there is no receipt; after that the spoke's next hello counts."""
        await self._publish(pool, turn)
        self._schedule(pool, turn, 0)

    def settle(self, pool: Pool, turn: OpenTurn, record: ReplyShown | ReplyUndeliverable) -> None:
        """Note a final receipt; it goes to the log with others a little later."""
        self._at("receipt-unlogged")
        pool.ports.people.drop_secret(record.turn)
        timer = self._timers.pop(record.turn, None)
        if timer is not None:
            timer.cancel()
        self._notes.append((pool, record))
        self._unwritten[record.turn] = turn.received
        # Until it is on the log, no compacted view of the conversation may stand there that takes it for known.
        pool.pending += 1
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="receipts")

    async def flush(self) -> None:
        """Every receipt noted so far is on the log, but those of conversations that another hub has taken."""
        # Two writers at once would let the second return while the first still waits for the log.
        async with self._lock:
            notes, self._notes = self._notes, []
            # Asked for in one go, they travel in one batch.
            results = await asyncio.gather(
                *(pool.append([record], is_urgent=False) for pool, record in notes), return_exceptions=True
            )
        failed: BaseException | None = None
        for note, result in zip(notes, results, strict=True):
            if isinstance(result, Full):
                self._notes.append(note)
                continue
            pool, record = note
            self._unwritten.pop(record.turn, None)
            pool.pending -= 1
            if isinstance(result, Fenced):
                # What the next hub has no receipt of, it has shown again; the others' receipts are still this hub's.
                self._fenced()
            elif isinstance(result, BaseException):
                failed = result
            else:
                pool.kick()
        if failed is not None:
            raise failed

    def unwritten(self) -> tuple[int, ...]:
        """Where the turns begin whose receipts are noted and not yet on the log."""
        return tuple(self._unwritten.values())

    async def close(self) -> None:
        """Stop sending; what has no receipt is sent again by the next hub."""
        for timer in self._timers.values():
            timer.cancel()
        tasks = {*self._tasks, *([self._writing] if self._writing is not None else [])}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish(self, pool: Pool, turn: OpenTurn) -> None:
        if turn.answer is not None:
            await pool.ports.outbox.publish(_final(pool, turn, turn.answer))

    def _schedule(self, pool: Pool, turn: OpenTurn, round: int) -> None:
        old = self._timers.pop(turn.turn, None)
        if old is not None:
            old.cancel()
        if round < len(AGAIN):
            self._timers[turn.turn] = self._loop.call_later(AGAIN[round], self._again, pool, turn, round)

    def _again(self, pool: Pool, turn: OpenTurn, round: int) -> None:
        self._timers.pop(turn.turn, None)
        if pool.is_lost or turn.turn not in pool.session.turns:
            return
        task = self._loop.create_task(self._publish(pool, turn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._schedule(pool, turn, round + 1)

    async def _write(self) -> None:
        try:
            while self._notes:
                await asyncio.sleep(NOTE_AFTER)
                await self.flush()
        finally:
            self._writing = None


def _final(pool: Pool, turn: OpenTurn, answer: TurnAnswered | TurnRefused) -> Final:
    given = answer if isinstance(answer, TurnAnswered) else None
    text, choices = answer.text, (given.choices or ()) if given is not None else ()
    if given is not None and given.agent is None:
        # What the hub itself says may hold a code, which stands here for the first time.
        text, choices = pool.ports.people.disclose(turn.turn, text, choices)
    return Final(
        turn=turn.turn,
        text=text,
        outcome=given.outcome if given is not None else "failed",
        usage=given.usage if given is not None else None,
        attachments=given.attachments if given is not None else None,
        choices=choices or None,
        asker=turn.message.user_id if choices else None,
        joined=tuple(other.turn for other in turn.joined),
        message_id=turn.bubble,
        further=turn.bubbles[1:] or None,
        epoch=pool.epoch,
        address=turn.message.address,
    )
