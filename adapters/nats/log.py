"""The log over JetStream: every append fenced by this hub's epoch, many appends one commit.

A few appends at a time travel singly, because an atomic batch costs the server as much as about three of them, and as
twelve where it is prepared on the disk. What is asked for beyond that is gathered, and one batch, with one sync to
disk, serves many scopes.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from factory_contracts import subjects
from factory_contracts.envelope import MAX_BYTES, Malformed
from factory_contracts.records import (
    ACT,
    BALANCES,
    EPOCH,
    LEASE,
    MARK,
    OWNERS,
    PURSE,
    RECORD,
    Act,
    Balance,
    Balances,
    EpochBegun,
    LeaseGiven,
    MarkMoved,
    Owner,
    PurseOpened,
    Record,
)
from factory_nats.result import Err, Ok, Result
from factory_nats.transport import Entry, Stored, StreamConfig, Transport
from hub.kernel.ports import Fenced, Full, Logged, Unwritable, unforgotten
from hub.kernel.routing import RoutingKey

T = TypeVar("T")
# Is told of everything that is stored for good where this hub reigns: its partition, subject, sequence and bytes.
Witness = Callable[[int, str, int, bytes], None]

logger = logging.getLogger(__name__)

SINGLES = 6
BATCH_ENTRIES = 200
BATCH_BYTES = 4_000_000
PAGE = 1_000
APPEND_TIMEOUT = 5.0
RETRY = 0.1
# Nobody takes over from a hub that was heard half a second ago before two seconds have passed.
PROOF_LASTS = 1.0
# Who may delete what is said by permissions: what the stream itself denies, it would deny for ever.
CONFIG = StreamConfig(subjects.STREAM, subjects.plane("turns"), deny_delete=False)
EVERY = range(subjects.PARTITIONS)


@dataclass(slots=True)
class _Append:
    """Records of one scope that must be stored together, and who waits for that."""

    partition: int
    epoch: int
    entries: tuple[Entry, ...]
    size: int
    done: asyncio.Future[int]


@dataclass(frozen=True, slots=True)
class _Reign:
    """A partition's newest epoch: its sequence, whose it is, and from where on something may be open."""

    epoch: int = 0
    hub: str = ""
    since: int = 1


class JetStreamLog:
    """One hub's log. What it took it reigns over, until another hub takes it; nothing else is appended to.

    `on_lost` is told of each partition that another hub has taken.
    """

    def __init__(
        self,
        transport: Transport,
        hub: str,
        *,
        at: Callable[[str], None] = lambda point: None,
        on_lost: Callable[[int], None] = lambda partition: None,
        witness: Witness = lambda part, subject, sequence, payload: None,
    ) -> None:
        self._transport = transport
        self._hub = hub
        self._at = at
        self._on_lost = on_lost
        self._witness = witness
        self._epochs: dict[int, int] = {}
        self._proved: dict[int, float] = {}
        self._queue: deque[_Append] = deque()
        self._gathering: asyncio.Task[None] | None = None
        self._singles = 0
        self._floors: dict[int, int] = {}
        self._commits = 0
        self._has_reckoned = False
        self._acked = 0

    @property
    def sequence(self) -> int:
        """Up to here nothing is stored that this hub does not know of."""
        return min((floor - 1 for floor in self._floors.values()), default=self._acked)

    @property
    def owned(self) -> Collection[int]:
        """The partitions that this hub reigns over, for all it knows."""
        return self._epochs.keys()

    def epoch(self, partition: int) -> int:
        """The epoch this hub took for a partition; 0 where it does not reign."""
        return self._epochs.get(partition, 0)

    def hear(self, sequence: int) -> None:
        """Another hub knows that the log goes so far."""
        self._acked = max(self._acked, sequence)

    async def create(self) -> None:
        """Make the stream exist; nobody but the hub may."""
        await _until_answered(lambda: self._transport.ensure_stream(CONFIG))

    async def take_over(self, now: float, *, after: str | None = None) -> bool:
        """Begin this hub's reign over every partition.

        Whose turn comes `after` a certain hub leaves it to another one that is quicker, and answers false.
        """
        while not await self.take(EVERY, now, after=after):
            if after is not None:
                return False
            await asyncio.sleep(RETRY)
        return True

    async def take(self, parts: Collection[int], now: float, *, after: str | None = None) -> bool:
        """Begin this hub's reign over these partitions: one atomic batch of epoch records. False if another hub was
        quicker, or nobody knows."""
        before = await self._reigns()
        ordered = sorted(parts)
        if all(before[part].hub == self._hub for part in ordered):
            # The answer to an earlier try was lost.
            self._epochs.update({part: before[part].epoch for part in ordered})
            return True
        if after is not None and before[0].hub != after:
            return False
        begun = {
            since: EPOCH.encode(EpochBegun(hub=self._hub, at=now, since=since))
            for since in {before[part].since for part in ordered}
        }
        entries = [
            Entry(subjects.epoch(part), begun[before[part].since], expect=(subjects.epoch(part), before[part].epoch))
            for part in ordered
        ]
        asked = asyncio.get_running_loop().time()
        taken = await self._transport.append(entries, timeout=APPEND_TIMEOUT)
        if isinstance(taken, Err):
            # "fenced" means that another hub was quicker, or that an answer to us was lost: whoever wants it looks.
            logger.info("taking %s partitions met %s: %s", len(entries), taken.reason, taken.detail)
            return False
        first = taken.value - len(entries) + 1
        self._epochs.update({part: first + index for index, part in enumerate(ordered)})
        self._proved.update(dict.fromkeys(ordered, asked))
        self._acked = max(self._acked, taken.value)
        self._at("epoch taken")
        return True

    async def verify(self) -> None:
        """Look which partitions are still this hub's, and give up the others."""
        # What is taken while the log answers is newer than the answer.
        asked, held = asyncio.get_running_loop().time(), dict(self._epochs)
        found = await self._newest_epochs()
        newest = {int(stored.subject.rpartition(".")[2]): stored.sequence for stored in found}
        for part, epoch in held.items():
            if newest.get(part) == epoch:
                self._prove(part, asked)
            elif self._epochs.get(part) == epoch:
                self._lose(part)

    async def reigns(self, partition: int) -> bool:
        """Whether the newest epoch of the partition is this hub's."""
        own = self.epoch(partition)
        newest = await self._last_epoch(partition)
        if own and newest != own and own == self.epoch(partition):
            self._lose(partition)
        return own != 0 and newest == own

    async def owner(self, partition: int) -> str:
        """The hub that began the newest epoch of a partition; "" where there was none."""
        subject = subjects.epoch(partition)
        found = await _until_answered(lambda: self._transport.last(subjects.STREAM, subject))
        return "" if found is None else EPOCH.decode(found.data).hub

    async def still_reigns(self, partition: int) -> bool:
        """Whether this hub's epoch is the newest, as the log said of a moment that is less than a second ago.

        A hub that stood still may have a successor, and does not know for how long it stood.
        """
        loop = asyncio.get_running_loop()
        while self.epoch(partition):
            if loop.time() - self._proved.get(partition, -PROOF_LASTS) < PROOF_LASTS:
                return True
            await self.verify()
        return False

    async def mark(self, parts: Collection[int] = EVERY) -> int:
        """The sequence from which a new hub of these partitions reads."""
        newest = await self._reigns()
        return min(newest[part].since for part in parts)

    async def move_mark(self, sequence: int, spent: Mapping[int, tuple[Balance, ...]] | None) -> bool:
        """Say that a new hub need not read below this sequence, and what was spent until there, unless others keep the
        accounts; false if unheard."""
        if not self._epochs:
            raise Fenced
        home = min(self._epochs)
        fence = self._fence(home)
        entries = _balances(sequence, spent or {}, fence)
        # By its epoch it is known whether this speaks for a partition: what was taken since, or lost, is not meant.
        payload = MARK.encode(MarkMoved(sequence=sequence, epochs=tuple(self._epochs.values())))
        entries.append(Entry(subjects.mark(home), payload, expect=fence, rollup=True))
        if self._has_reckoned and spent is not None:
            entries.append(_reckoning(sequence, fence))
        result = await self._transport.append(entries, timeout=APPEND_TIMEOUT)
        if isinstance(result, Ok):
            self._at("mark written")
        elif result.reason == "fenced":
            await self.verify()
            raise Fenced
        return isinstance(result, Ok)

    async def reckoned(self) -> int:
        """The sequence from which a new hub reads what was spent."""
        last = await self._last_reckoning()
        self._has_reckoned = last is not None
        return await self.mark() if last is None else MARK.decode(last.data).sequence

    async def begin_reckoning(self) -> int:
        """The same where several hubs keep accounts: from now on marks pass by what was spent."""
        while True:
            # The mark is asked for while nobody who shares can have moved it: only then may this be the first.
            last = await self._last_reckoning()
            if last is not None:
                return MARK.decode(last.data).sequence
            payload = MARK.encode(MarkMoved(sequence=await self.mark()))
            first = Entry(subjects.reckoned(), payload, expect=(subjects.reckoned(), 0))
            if isinstance(await self._transport.append([first], timeout=APPEND_TIMEOUT), Err):
                await asyncio.sleep(RETRY)

    async def reckon(self, sequence: int, spent: Mapping[int, tuple[Balance, ...]]) -> bool:
        """Say that nobody need read below this sequence for what was spent until there; false if unheard."""
        fence = self._fence(0)
        if not fence[1]:
            return False
        entries = [*_balances(sequence, spent, fence), _reckoning(sequence, fence)]
        result = await self._transport.append(entries, timeout=APPEND_TIMEOUT)
        if isinstance(result, Err) and result.reason == "fenced":
            await self.verify()
        return isinstance(result, Ok)

    async def purse(self) -> int:
        """Where on the log some hub reserved money last; 0 where none did."""
        last = await _until_answered(lambda: self._transport.last(subjects.STREAM, subjects.purse()))
        return 0 if last is None else last.sequence

    async def reserve(self, key: RoutingKey, record: Record, after: int) -> Logged | None:
        """Persist the record, unless another hub reserved money after that sequence. Raises as `append` does."""
        with self._under_way({key.partition: self.epoch(key.partition)}) as floor:
            return await self._reserve(key, record, after, floor)

    async def _reserve(self, key: RoutingKey, record: Record, after: int, floor: int) -> Logged | None:
        epoch, payload = self.epoch(key.partition), _encoded(record)
        opened = PURSE.encode(PurseOpened(hub=self._hub))
        entries = (
            Entry(key.subject, payload, expect=self._fence(key.partition)),
            Entry(subjects.purse(), opened, expect=(subjects.purse(), after), rollup=True),
        )
        while epoch and epoch == self.epoch(key.partition):
            result = await self._transport.append(entries, timeout=APPEND_TIMEOUT)
            if isinstance(result, Ok):
                self._acked = max(self._acked, result.value)
                self._tell(key.partition, epoch, key.subject, result.value - 1, payload)
                return Logged(result.value - 1, record)
            if result.reason == "no space":
                raise Full
            if result.reason not in ("fenced", "timeout", "disconnected", "no responders"):
                logger.error("the log refuses a reservation: %s: %s", result.reason, result.detail)
                raise Unwritable
            for stored in await self._stored(key.subject, floor):
                if stored.data == payload:
                    self._acked = max(self._acked, stored.sequence)
                    self._tell(key.partition, epoch, key.subject, stored.sequence, payload)
                    return Logged(stored.sequence, record)
            if result.reason == "fenced" and await self.reigns(key.partition):
                return None
            await asyncio.sleep(RETRY)
        raise Fenced

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

    async def acts(self, after: int = 0) -> tuple[tuple[int, Act], ...]:
        """What was done after that sequence about who may do what, oldest first, each with its own; raises
        `Malformed` where any of it cannot be read."""
        found = await self._stored(subjects.plane("access")[0], after + 1)
        # They are sealed with the first partition, by whoever reigns there.
        for stored in found:
            self._tell(0, self.epoch(0), stored.subject, stored.sequence, stored.data)
        return tuple((one.sequence, ACT.decode(one.data)) for one in found)

    async def lease(self, platform: str, bot_id: str) -> tuple[int, LeaseGiven] | None:
        """The bot's newest lease and its sequence."""
        subject = subjects.lease(platform, bot_id)
        found = await _until_answered(lambda: self._transport.last(subjects.STREAM, subject))
        return None if found is None else (found.sequence, LEASE.decode(found.data))

    async def note_lease(self, given: LeaseGiven) -> int:
        """On return the lease is on the log, under this sequence, however long the bus is away. Raises as `append`."""
        part = subjects.partition(subjects.EVERY_SCOPE)
        subject, epoch = subjects.lease(given.platform, given.bot_id), self.epoch(part)
        # Who was succeeded and reigns once more does not know what was given in between.
        while epoch and epoch == self.epoch(part):
            # The last one counts, also where one is stored twice.
            entry = Entry(subject, LEASE.encode(given), expect=(subjects.epoch(part), epoch), rollup=True)
            match await self._transport.append([entry], timeout=APPEND_TIMEOUT):
                case Ok(value=sequence):
                    return sequence
                case Err(reason="fenced"):
                    await self.verify()
                case Err(reason="timeout" | "disconnected" | "no responders", detail=detail):
                    logger.warning("it is unknown whether a lease is noted, noting it again: %s", detail)
                    await asyncio.sleep(RETRY)
                case Err(reason="no space"):
                    raise Full
                case Err(reason=reason, detail=detail):
                    logger.error("the log refuses a lease: %s: %s", reason, detail)
                    raise Unwritable
        raise Fenced

    async def note_act(self, act: Act, after: int) -> bool:
        """On return the act is on the log as the next one after that sequence, or another one is, and then it may be
        this one. Waits out a lost bus. Raises `Fenced`, `Full` or `Unwritable`."""
        # Two checks cannot stand on one message. Between this look and the append a hub may still be followed; then it
        # notes what the one that follows would note as well.
        await self.verify()
        entries = [Entry(subjects.access(), ACT.encode(act), expect=(subjects.access(), after))]
        while self._epochs:
            match await self._transport.append(entries, timeout=APPEND_TIMEOUT):
                case Ok(value=sequence):
                    self._acked = max(self._acked, sequence)
                    self._tell(0, self.epoch(0), subjects.access(), sequence, entries[0].payload)
                    return True
                case Err(reason="fenced"):
                    return False
                case Err(reason="timeout" | "disconnected" | "no responders", detail=detail):
                    logger.warning("it is unknown whether an act is noted, noting it again: %s", detail)
                    await asyncio.sleep(RETRY)
                case Err(reason="no space"):
                    raise Full
                case Err(reason=reason, detail=detail):
                    logger.error("the log refuses an act: %s: %s", reason, detail)
                    raise Unwritable
        raise Fenced

    async def append(self, key: RoutingKey, records: Sequence[Record], *, is_urgent: bool = True) -> tuple[Logged, ...]:
        """Persist the records together; returns with their sequences, however long the bus is away."""
        if key.partition not in self._epochs:
            raise Fenced
        fence = self._fence(key.partition)
        entries = tuple(Entry(key.subject, _encoded(record), expect=fence) for record in records)
        size = sum(len(entry.payload) for entry in entries)
        append = _Append(
            key.partition, self.epoch(key.partition), entries, size, asyncio.get_running_loop().create_future()
        )
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

    async def since(self, sequence: int, parts: Collection[int] = EVERY) -> AsyncIterator[tuple[RoutingKey, Logged]]:
        """Every scope's records from a sequence on, in the log's order; those of these partitions are witnessed."""
        async for page in self._pages(subjects.plane("scopes")[0], sequence):
            for stored in page:
                tokens = subjects.read_turns(stored.subject)
                logged = _logged(stored)
                self._acked = max(self._acked, stored.sequence)
                if tokens is None or logged is None:
                    continue
                key = RoutingKey(*tokens)
                if key.partition in parts:
                    self._tell(key.partition, self.epoch(key.partition), stored.subject, stored.sequence, stored.data)
                yield key, logged

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
        with self._under_way({append.partition: append.epoch for append in appends}) as floor:
            await self._commit_from(floor, appends)

    @contextmanager
    def _under_way(self, reigns: Mapping[int, int]) -> Iterator[int]:
        """From where on something may be stored that is not known here; `sequence` stays below it."""
        self._commits = commit = self._commits + 1
        self._floors[commit] = self._acked + 1
        is_unknown = False
        try:
            yield self._floors[commit]
        except asyncio.CancelledError:
            # Nobody looks any more what is stored. What was lost meanwhile is another hub's to look at.
            is_unknown = any(self.epoch(part) == epoch for part, epoch in reigns.items())
            raise
        finally:
            if not is_unknown:
                del self._floors[commit]

    async def _commit_from(self, floor: int, appends: list[_Append]) -> None:
        while appends:
            # What was lost and taken anew is another reign: whoever asked in the old one does not know what came since.
            lost = [append for append in appends if append.epoch != self.epoch(append.partition)]
            if lost:
                _fail(lost, Fenced())
                appends = [append for append in appends if append not in lost]
                continue
            entries = [entry for append in appends for entry in append.entries]
            asked = asyncio.get_running_loop().time()
            result = await self._transport.append(entries, timeout=APPEND_TIMEOUT)
            match result:
                case Ok(value=last):
                    for append in appends:
                        self._prove(append.partition, asked)
                    self._resolve(appends, last)
                    return
                case Err(reason="fenced"):
                    await self.verify()
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
        self._acked = max(self._acked, last)
        # Whoever was stored first is told first: a scope's session takes its records in the order of the log.
        last -= sum(len(append.entries) for append in appends)
        for append in appends:
            for sequence, entry in enumerate(append.entries, last + 1):
                self._tell(append.partition, append.epoch, entry.subject, sequence, entry.payload)
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
        found: list[Logged] = []
        async for page in self._pages(subject, start):
            found.extend(logged for logged in map(_logged, page) if logged is not None)
        return tuple(found)

    async def _stored(self, subject: str, start: int) -> list[Stored]:
        """Every message from a sequence on."""
        return [stored async for page in self._pages(subject, start) for stored in page]

    async def _pages(self, subject: str, start: int) -> AsyncIterator[tuple[Stored, ...]]:
        """Every message from a sequence on. Each page is read when the one before it is done with: a hub that holds up
        its loop over many is taken for dead, and its heartbeat has its turn while a page is on its way."""
        while True:
            page = await _until_answered(partial(self._page, subject, start))
            yield page
            if len(page) < PAGE:
                return
            start = page[-1].sequence + 1

    async def _page(self, subject: str, start: int) -> Result[tuple[Stored, ...]]:
        return await self._transport.read(subjects.STREAM, subject, start=start, limit=PAGE)

    async def _last_reckoning(self) -> Stored | None:
        return await _until_answered(lambda: self._transport.last(subjects.STREAM, subjects.reckoned()))

    async def _last_epoch(self, part: int) -> int:
        """The sequence of a partition's newest epoch record, 0 where there is none."""
        subject = subjects.epoch(part)
        found = await _until_answered(lambda: self._transport.last(subjects.STREAM, subject))
        return 0 if found is None else found.sequence

    async def _reigns(self) -> list[_Reign]:
        """Every partition's newest epoch, and from where on something may be open there."""
        marks = [MARK.decode(stored.data) for stored in await self._stored(subjects.plane("marks")[0], 1)]
        before = max((mark.sequence for mark in marks if mark.epochs is None), default=1)
        below = {epoch: mark.sequence for mark in marks for epoch in mark.epochs or ()}
        newest = [_Reign(since=before)] * subjects.PARTITIONS
        found = await self._newest_epochs()
        # Those that one hub took at once mostly say the same.
        said = {data: EPOCH.decode(data) for data in {stored.data for stored in found}}
        for stored in found:
            begun = said[stored.data]
            since = max(begun.since or before, below.get(stored.sequence, 1))
            newest[int(stored.subject.rpartition(".")[2])] = _Reign(stored.sequence, begun.hub, since)
        return newest

    async def _newest_epochs(self) -> tuple[Stored, ...]:
        return await _until_answered(lambda: self._transport.newest(subjects.STREAM, subjects.plane("epochs")[0]))

    def _tell(self, part: int, epoch: int, subject: str, sequence: int, payload: bytes) -> None:
        """Something is stored for good. Of what was stored in a reign that is over, the next one reads and tells."""
        if epoch and epoch == self.epoch(part):
            self._witness(part, subject, sequence, payload)

    def _prove(self, part: int, at: float) -> None:
        """At that time this hub reigned over the partition."""
        self._proved[part] = max(self._proved.get(part, at), at)

    def _lose(self, part: int) -> None:
        if self._epochs.pop(part, None) is not None:
            logger.warning("another hub has taken partition %s", part)
            self._on_lost(part)


def _balances(sequence: int, spent: Mapping[int, tuple[Balance, ...]], fence: tuple[str, int]) -> list[Entry]:
    return [
        Entry(
            subjects.money(shard),
            BALANCES.encode(Balances(through=sequence, balances=balances)),
            expect=fence,
            rollup=True,
        )
        for shard, balances in spent.items()
    ]


def _reckoning(sequence: int, fence: tuple[str, int]) -> Entry:
    return Entry(subjects.reckoned(), MARK.encode(MarkMoved(sequence=sequence)), expect=fence, rollup=True)


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


def _encoded(record: Record) -> bytes:
    """The record as it is stored. Raises `Unwritable` where nobody could read it afterwards."""
    payload = RECORD.encode(record)
    if len(payload) > MAX_BYTES:
        logger.error("a record of kind %s with %s bytes is too large", record.kind, len(payload))
        raise Unwritable
    return payload


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
