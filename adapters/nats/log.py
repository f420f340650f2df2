"""The log over JetStream: every append fenced by this hub's epoch, many appends one commit.

A few appends at a time travel singly, because an atomic batch costs the server as much as about sixteen of them. What
is asked for beyond that is gathered, and one batch, with one sync to disk, serves many scopes.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.records import (
    ACT,
    BALANCES,
    EPOCH,
    LEASE,
    MARK,
    OWNERS,
    RECORD,
    Act,
    Balance,
    Balances,
    EpochBegun,
    LeaseGiven,
    MarkMoved,
    Owner,
    Record,
)
from factory_nats.result import Err, Ok, Result
from factory_nats.transport import Entry, Stored, StreamConfig, Transport
from hub.kernel.ports import Fenced, Full, Logged, Unwritable, unforgotten
from hub.kernel.routing import RoutingKey

T = TypeVar("T")
# Is told of everything that is stored for good: its partition, subject, sequence and bytes.
Witness = Callable[[int, str, int, bytes], None]

logger = logging.getLogger(__name__)

SINGLES = 16
BATCH_ENTRIES = 200
BATCH_BYTES = 4_000_000
PAGE = 1_000
APPEND_TIMEOUT = 5.0
RETRY = 0.1
# Nobody takes over from a hub that was heard half a second ago before two seconds have passed.
PROOF_LASTS = 1.0
# Who may delete what is said by permissions: what the stream itself denies, it would deny for ever.
CONFIG = StreamConfig(subjects.STREAM, subjects.plane("turns"), deny_delete=False)
# One mark serves all partitions as long as one hub owns all of them.
MARK_PARTITION = 0


@dataclass(slots=True)
class _Append:
    """Records of one scope that must be stored together, and who waits for that."""

    partition: int
    entries: tuple[Entry, ...]
    size: int
    done: asyncio.Future[int]


class JetStreamLog:
    """The hub's one log. `take_over` begins this hub's reign; nothing is appended before it."""

    def __init__(
        self,
        transport: Transport,
        hub: str,
        *,
        at: Callable[[str], None] = lambda point: None,
        witness: Witness = lambda part, subject, sequence, payload: None,
    ) -> None:
        self._transport = transport
        self._hub = hub
        self._at = at
        self._witness = witness
        self._first_epoch = 0
        self._queue: deque[_Append] = deque()
        self._gathering: asyncio.Task[None] | None = None
        self._singles = 0
        self._floors: dict[int, int] = {}
        self._commits = 0
        self._fenced = False
        self._acked = 0
        self._proved = -PROOF_LASTS

    @property
    def sequence(self) -> int:
        """Up to here nothing is stored that this hub does not know of."""
        return min((floor - 1 for floor in self._floors.values()), default=self._acked)

    def epoch(self, partition: int) -> int:
        """The epoch this hub took for a partition."""
        return self._first_epoch + partition

    async def create(self) -> None:
        """Make the stream exist; nobody but the hub may."""
        await _until_answered(lambda: self._transport.ensure_stream(CONFIG))

    async def take_over(self, now: float) -> None:
        """Begin this hub's reign over every partition: one atomic batch of epoch records."""
        payload = EPOCH.encode(EpochBegun(hub=self._hub, at=now))
        # A hub begins all partitions at once, so that one look tells where each of them stands.
        first = await self._last_epoch(0)
        last = [first + part if first else 0 for part in range(subjects.PARTITIONS)]
        while True:
            entries = [
                Entry(subjects.epoch(part), payload, expect=(subjects.epoch(part), sequence))
                for part, sequence in enumerate(last)
            ]
            asked = asyncio.get_running_loop().time()
            taken = await self._transport.append(entries, timeout=APPEND_TIMEOUT)
            if isinstance(taken, Ok):
                self._proved = asked
                self._first_epoch = taken.value - subjects.PARTITIONS + 1
                self._acked = taken.value
                self._at("epoch taken")
                return
            # "fenced" means that another hub was quicker, or that an answer to us was lost: look, and take over.
            logger.info("taking over met %s: %s", taken.reason, taken.detail)
            await asyncio.sleep(RETRY)
            last = [await self._last_epoch(part) for part in range(subjects.PARTITIONS)]

    async def reigns(self, partition: int) -> bool:
        """Whether the newest epoch of the partition is this hub's."""
        return await self._last_epoch(partition) == self.epoch(partition)

    async def still_reigns(self) -> bool:
        """Whether this hub's epoch is the newest, as the log said of a moment that is less than a second ago.

        A hub that stood still may have a successor, and does not know for how long it stood.
        """
        loop = asyncio.get_running_loop()
        while (asked := loop.time()) - self._proved >= PROOF_LASTS:
            if self._fenced or not await self.reigns(MARK_PARTITION):
                return False
            self._proved = max(self._proved, asked)
        return not self._fenced

    async def mark(self) -> int:
        """The sequence from which a new hub reads."""
        subject = subjects.mark(MARK_PARTITION)
        last = await _until_answered(lambda: self._transport.last(subjects.STREAM, subject))
        return 1 if last is None else MARK.decode(last.data).sequence

    async def move_mark(self, sequence: int, spent: Mapping[int, tuple[Balance, ...]]) -> bool:
        """Say that a new hub need not read below this sequence, and what was spent until there; false if unheard."""
        fence = self._fence(MARK_PARTITION)
        entries = [
            Entry(
                subjects.money(shard),
                BALANCES.encode(Balances(through=sequence, balances=balances)),
                expect=fence,
                rollup=True,
            )
            for shard, balances in spent.items()
        ]
        payload = MARK.encode(MarkMoved(sequence=sequence))
        entries.append(Entry(subjects.mark(MARK_PARTITION), payload, expect=fence, rollup=True))
        result = await self._transport.append(entries, timeout=APPEND_TIMEOUT)
        if isinstance(result, Ok):
            self._at("mark written")
        elif result.reason == "fenced":
            self._fence_off()
            raise Fenced
        return isinstance(result, Ok)

    async def spent(self) -> dict[int, tuple[int, tuple[Balance, ...]]]:
        """What turns begun below a sequence have spent, by shard."""
        found: dict[int, tuple[int, tuple[Balance, ...]]] = {}
        for stored in await self._stored(subjects.plane("money")[0], 1):
            balances = BALANCES.decode(stored.data)
            found[int(stored.subject.rpartition(".")[2])] = (balances.through, balances.balances)
        return found

    async def owners(self) -> dict[tuple[str, str], tuple[Owner, ...]]:
        """Who became an owner of which bot before there were acts, by platform and bot."""
        found = [OWNERS.decode(stored.data) for stored in await self._stored(subjects.plane("owners")[0], 1)]
        return {(one.platform, one.bot_id): one.owners for one in found}

    async def acts(self) -> tuple[Act, ...]:
        """What was done about who may do what, oldest first; raises `Malformed` where any of it cannot be read."""
        found = await self._stored(subjects.plane("access")[0], 1)
        for stored in found:
            self._witness(MARK_PARTITION, stored.subject, stored.sequence, stored.data)
        return tuple(ACT.decode(stored.data) for stored in found)

    async def note_act(self, act: Act) -> None:
        """On return the act is on the log, however long the bus is away. Raises as `append` does."""
        # One that is stored twice is known by its id.
        entry = Entry(subjects.access(), ACT.encode(act), expect=self._fence(MARK_PARTITION))
        self._witness(MARK_PARTITION, entry.subject, await self._note(entry), entry.payload)

    async def lease(self, platform: str, bot_id: str) -> tuple[int, LeaseGiven] | None:
        """The bot's newest lease and its sequence."""
        subject = subjects.lease(platform, bot_id)
        found = await _until_answered(lambda: self._transport.last(subjects.STREAM, subject))
        return None if found is None else (found.sequence, LEASE.decode(found.data))

    async def note_lease(self, given: LeaseGiven) -> int:
        """On return the lease is on the log, under this sequence, however long the bus is away. Raises as `append`."""
        fence = self._fence(subjects.partition(subjects.EVERY_SCOPE))
        subject = subjects.lease(given.platform, given.bot_id)
        # The last one counts, also where one is stored twice.
        return await self._note(Entry(subject, LEASE.encode(given), expect=fence, rollup=True))

    async def _note(self, entry: Entry) -> int:
        """Store what belongs to no scope; its sequence."""
        while not self._fenced:
            match await self._transport.append([entry], timeout=APPEND_TIMEOUT):
                case Ok(value=sequence):
                    return sequence
                case Err(reason="fenced"):
                    self._fence_off()
                case Err(reason="timeout" | "disconnected" | "no responders", detail=detail):
                    logger.warning("it is unknown whether %s is noted, noting it again: %s", entry.subject, detail)
                    await asyncio.sleep(RETRY)
                case Err(reason="no space"):
                    raise Full
                case Err(reason=reason, detail=detail):
                    logger.error("the log refuses %s: %s: %s", entry.subject, reason, detail)
                    raise Unwritable
        raise Fenced

    async def append(self, key: RoutingKey, records: Sequence[Record], *, is_urgent: bool = True) -> tuple[Logged, ...]:
        """Persist the records together; returns with their sequences, however long the bus is away."""
        if self._fenced:
            raise Fenced
        fence = self._fence(key.partition)
        entries = tuple(Entry(key.subject, RECORD.encode(record), expect=fence) for record in records)
        size = sum(len(entry.payload) for entry in entries)
        append = _Append(key.partition, entries, size, asyncio.get_running_loop().create_future())
        if is_urgent and self._gathering is None and self._singles < SINGLES:
            await self._single(append)
        else:
            self._queue.append(append)
            if not is_urgent or len(self._queue) >= SINGLES:
                self._gather()
        last = await append.done
        first = last - len(records) + 1
        return tuple(Logged(first + index, record) for index, record in enumerate(records))

    async def history(self, key: RoutingKey) -> tuple[Logged, ...]:
        """The scope's records from its last `Compacted` or `Forgotten` on."""
        found = await _until_answered(lambda: self._transport.last(subjects.STREAM, key.subject))
        if found is None:
            return ()
        newest = _logged(found)
        if newest is None:
            return await self._read(key.subject, 1)
        is_view = newest.record.kind in ("compacted", "forgotten")
        start = newest.sequence if is_view else newest.record.compacted
        return await self._read(key.subject, max(start, 1))

    async def past(self, key: RoutingKey, until: int) -> tuple[Logged, ...]:
        """The scope's records up to a sequence, and nothing of what was forgotten since."""
        return unforgotten(await self._read(key.subject, 1), until)

    async def since(self, sequence: int) -> tuple[tuple[RoutingKey, Logged], ...]:
        """Every scope's records from a sequence on, in the log's order."""
        found: list[tuple[RoutingKey, Logged]] = []
        for stored in await self._stored(subjects.plane("scopes")[0], sequence):
            tokens = subjects.read_turns(stored.subject)
            logged = _logged(stored)
            if tokens is not None and logged is not None:
                key = RoutingKey(*tokens)
                found.append((key, logged))
                self._witness(key.partition, stored.subject, stored.sequence, stored.data)
            self._acked = max(self._acked, stored.sequence)
        return tuple(found)

    async def scopes(self, platform: str, bot_id: str) -> tuple[RoutingKey, ...]:
        """Every scope of a bot that has a log."""
        pattern = subjects.turns_of_bot(platform, bot_id)
        found = await _until_answered(lambda: self._transport.subjects(subjects.STREAM, pattern))
        keys = (subjects.read_turns(subject) for subject in found)
        return tuple(RoutingKey(*tokens) for tokens in keys if tokens is not None)

    async def close(self) -> None:
        """Wait until what was asked for is stored."""
        if self._gathering is not None:
            await asyncio.gather(self._gathering, return_exceptions=True)

    def _fence(self, partition: int) -> tuple[str, int]:
        return subjects.epoch(partition), self.epoch(partition)

    async def _single(self, append: _Append) -> None:
        self._singles += 1
        try:
            await self._commit([append])
        finally:
            self._singles -= 1
            if self._queue and not self._singles:
                self._gather()

    def _gather(self) -> None:
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._commit_queue(), name="log")

    async def _commit_queue(self) -> None:
        try:
            while self._queue:
                appends = self._take()
                if len(appends) < SINGLES:
                    await asyncio.gather(*(self._commit([append]) for append in appends))
                else:
                    await self._commit(appends)
        finally:
            self._gathering = None

    def _take(self) -> list[_Append]:
        """The appends of the next batch: all that wait, within what one batch may hold."""
        taken: list[_Append] = []
        entries = size = 0
        while self._queue:
            append = self._queue[0]
            if taken and (entries + len(append.entries) > BATCH_ENTRIES or size + append.size > BATCH_BYTES):
                break
            entries += len(append.entries)
            size += append.size
            taken.append(self._queue.popleft())
        return taken

    async def _commit(self, appends: list[_Append]) -> None:
        """Store these appends; on an unknown outcome look which of them are there, and store the rest."""
        self._commits = commit = self._commits + 1
        floor = self._floors[commit] = self._acked + 1
        try:
            await self._commit_from(floor, appends)
        finally:
            del self._floors[commit]

    async def _commit_from(self, floor: int, appends: list[_Append]) -> None:
        while appends:
            if self._fenced:
                _fail(appends, Fenced())
                return
            entries = [entry for append in appends for entry in append.entries]
            asked = asyncio.get_running_loop().time()
            result = await self._transport.append(entries, timeout=APPEND_TIMEOUT)
            match result:
                case Ok(value=last):
                    self._proved = max(self._proved, asked)
                    self._acked = max(self._acked, last)
                    self._resolve(appends, last)
                    return
                case Err(reason="fenced"):
                    logger.error("another hub has taken over: this one's append was refused")
                    self._fence_off()
                case Err(reason="timeout" | "disconnected" | "no responders"):
                    logger.warning("an append has an unknown outcome (%s), looking at the log", result.reason)
                    await asyncio.sleep(RETRY)
                    appends = await self._missing(appends, floor)
                case Err(reason="no space"):
                    logger.error("the log is full: %s", result.detail)
                    _fail(appends, Full())
                    return
                case Err() if len(appends) > 1:
                    # One append that the server will not have must not take the others with it.
                    for append in appends:
                        await self._commit([append])
                    return
                case Err():
                    logger.error("the log refuses a record: %s: %s", result.reason, result.detail)
                    _fail(appends, Unwritable())
                    return

    def _resolve(self, appends: list[_Append], last: int) -> None:
        # Whoever was stored first is told first: a scope's session takes its records in the order of the log.
        last -= sum(len(append.entries) for append in appends)
        for append in appends:
            for sequence, entry in enumerate(append.entries, last + 1):
                self._witness(append.partition, entry.subject, sequence, entry.payload)
            last += len(append.entries)
            if not append.done.done():
                append.done.set_result(last)

    async def _missing(self, appends: list[_Append], floor: int) -> list[_Append]:
        """Those of the appends that are not on the log; the others are told their sequence."""
        missing: list[_Append] = []
        for append in appends:
            stored = await self._stored(append.entries[0].subject, floor)
            payloads = {message.data: message.sequence for message in stored}
            last = payloads.get(append.entries[-1].payload)
            if last is None:
                missing.append(append)
            else:
                self._resolve([append], last)
        return missing

    async def _read(self, subject: str, start: int) -> tuple[Logged, ...]:
        found = (_logged(stored) for stored in await self._stored(subject, start))
        return tuple(logged for logged in found if logged is not None)

    async def _stored(self, subject: str, start: int) -> list[Stored]:
        """Every message from a sequence on, page by page."""
        found: list[Stored] = []
        while True:
            page = await _until_answered(partial(self._page, subject, start))
            found.extend(page)
            if len(page) < PAGE:
                return found
            start = page[-1].sequence + 1

    async def _page(self, subject: str, start: int) -> Result[tuple[Stored, ...]]:
        return await self._transport.read(subjects.STREAM, subject, start=start, limit=PAGE)

    async def _last_epoch(self, part: int) -> int:
        """The sequence of a partition's newest epoch record, 0 where there is none."""
        subject = subjects.epoch(part)
        found = await _until_answered(lambda: self._transport.last(subjects.STREAM, subject))
        return 0 if found is None else found.sequence

    def _fence_off(self) -> None:
        self._fenced = True


async def _until_answered(ask: Callable[[], Awaitable[Result[T]]]) -> T:
    """What the log says, however long the bus is away; said once when it begins to be."""
    is_told = False
    while True:
        answer = await ask()
        if isinstance(answer, Ok):
            return answer.value
        if not is_told:
            logger.warning("the log does not answer (%s), asking on: %s", answer.reason, answer.detail)
            is_told = True
        await asyncio.sleep(RETRY)


def _fail(appends: list[_Append], error: Fenced | Full | Unwritable) -> None:
    for append in appends:
        if not append.done.done():
            append.done.set_exception(error)


def _logged(stored: Stored) -> Logged | None:
    """The record, or None where a newer version or damage made it unreadable: said once, never fatal."""
    try:
        return Logged(stored.sequence, RECORD.decode(stored.data))
    except Malformed as error:
        logger.error("record %s is not readable: %s", stored.sequence, error)
        return None
