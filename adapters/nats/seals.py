"""The seals of what this hub stores: written beside the log and after it, so that no append waits for them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.records import SEAL, Seal, SealedRecords
from factory_nats.result import Err, Result
from factory_nats.transport import Entry, Stored, Transport
from hub.kernel.seals import Head, HighWater, digest, imprint

logger = logging.getLogger(__name__)

TICK = 1.0
# What a new hub must read is what nobody sealed, so that neither much nor old records wait to be.
MOST_UNSEALED = 256
TICKS_UNSEALED = 5
# A record takes some fifty bytes in a seal.
RECORDS_AT_ONCE = 5_000
LAST_TRY = 2.0


class Seals:
    """One hub's: it is told of all that is stored, and seals it from time to time."""

    def __init__(
        self,
        transport: Transport,
        high_water: HighWater,
        reached: Callable[[], int],
        clock: Callable[[], float] = time.time,
        *,
        catch_up: Callable[[], Awaitable[object]] | None = None,
        unread: Callable[[], Collection[int]] = tuple,
    ) -> None:
        """`reached` is the sequence up to which nothing is stored that the log's writer does not know of.

        `catch_up` notes what others stored in what is ours to seal. Of the partitions in `unread` it is not known yet
        what the hub before this one left unsealed.
        """
        self._transport = transport
        self._high_water = high_water
        self._reached = reached
        self._clock = clock
        self._catch_up = catch_up
        self._unread = unread
        self._unsealed: dict[int, tuple[int, str, str]] = {}
        self._heads: dict[int, Head] = {}
        # How far they reached when that was last noted before this hub began, which may be much of what it reads.
        self._noted: dict[int, int] = {}
        # How far the chains reached when they were looked up: what stands below others have sealed.
        self._found: dict[int, int] = {}
        self._ticks = 0
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_told = False

    def note(self, part: int, subject: str, sequence: int, payload: bytes) -> None:
        """A record is on the log."""
        if sequence > self._noted.get(part, 0):
            self._unsealed[sequence] = part, subject, imprint(subject, payload)

    def lose(self, part: int) -> None:
        """Another hub writes in a partition, and seals there what is not sealed yet."""
        self._unsealed = {at: one for at, one in self._unsealed.items() if one[0] != part}
        self._found.pop(part, None)

    def unsealed(self) -> tuple[int, ...]:
        """Where the records stand that a new hub must read, for they are not sealed yet."""
        return tuple(self._unsealed)

    async def behind(self) -> tuple[str, ...]:
        """A sentence for each partition that was further when it was last noted than it is; none where all is well."""
        try:
            noted = await self._high_water.read() or {}
        except OSError as error:
            return (str(error),)
        self._heads = dict(noted)
        self._noted = {part: head.through for part, head in noted.items()}
        told = await asyncio.gather(*(self._lacks(part, head) for part, head in noted.items()))
        return tuple(one for one in told if one)

    def open(self) -> None:
        """Seal from now on."""
        self._task = asyncio.create_task(self._keep(), name="seals")

    async def close(self, *, is_over: bool = False) -> None:
        """Seal what is left; what cannot be sealed in time, or anything where the reign is over, the next hub seals."""
        if self._task is None:
            return
        self._ending.set()
        if is_over:
            self._task.cancel()
        _, late = await asyncio.wait((self._task,), timeout=LAST_TRY)
        if late:
            logger.info("%s records are left to the next hub to seal", len(self._unsealed))
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def seal(self) -> None:
        """Seal all that is known by now to be stored; under traffic there is always more."""
        until = max(self._unsealed, default=0)
        while min(self._unsealed, default=until + 1) <= until:
            # Taken first: what is stored while we wait is not told of by this seal.
            reached, now = self._reached(), self._clock()
            if self._catch_up is not None:
                await self._catch_up()
            if not await self._look_up():
                return
            # From the choice to the append nothing is awaited: a partition could be lost, and taken anew.
            chosen = self._choose(reached)
            if not chosen or not await self._write(chosen, now):
                return
        self._ticks = 0

    async def _keep(self) -> None:
        is_ending = False
        while not is_ending:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._ending.wait()
            is_ending = self._ending.is_set()
            self._ticks = self._ticks + 1 if self._unsealed else 0
            if is_ending or self._ticks >= TICKS_UNSEALED or len(self._unsealed) >= MOST_UNSEALED:
                await self.seal()

    async def _look_up(self) -> bool:
        """Learn where the chains end; false where the log does not answer now."""
        parts = {part for part, _, _ in self._unsealed.values()}
        for part in sorted(parts - self._found.keys() - set(self._unread())):
            if not await self._look(part):
                return False
        return True

    def _choose(self, reached: int) -> dict[int, list[int]]:
        """What is told of next. A seal leaves nothing out that stands before its last record."""
        chosen: dict[int, list[int]] = {}
        ready = self._found.keys() - set(self._unread())
        for sequence, (part, _, _) in tuple(self._unsealed.items()):
            if part in ready and sequence <= self._found[part]:
                del self._unsealed[sequence]
        known = (at for at in sorted(self._unsealed) if at <= reached and self._unsealed[at][0] in ready)
        for sequence in islice(known, RECORDS_AT_ONCE):
            chosen.setdefault(self._unsealed[sequence][0], []).append(sequence)
        return chosen

    async def _write(self, chosen: dict[int, list[int]], now: float) -> bool:
        seals = {part: self._made(part, sequences, now) for part, sequences in chosen.items()}
        entries = [
            Entry(subjects.seal(part), SEAL.encode(seal), expect=(subjects.seal(part), self._head(part).sequence))
            for part, seal in seals.items()
        ]
        stored = await self._transport.append(entries)
        if isinstance(stored, Err):
            # Whether it is there, and whose it is, is looked up before the next.
            for part in chosen:
                self._found.pop(part, None)
            logger.info("what was stored is sealed later: %s", stored.detail)
            return False
        first = stored.value - len(entries) + 1
        for at, (entry, (part, seal)) in enumerate(zip(entries, seals.items(), strict=True), first):
            self._heads[part] = self._head(part).after(at, seal, entry.payload)
            for sequence in chosen[part]:
                # It may have been lost meanwhile.
                self._unsealed.pop(sequence, None)
        await self._note_heads()
        return True

    def _head(self, part: int) -> Head:
        return self._heads.get(part, Head())

    def _made(self, part: int, sequences: Sequence[int], now: float) -> Seal:
        told: dict[str, list[tuple[int, str]]] = {}
        for sequence in sequences:
            _, subject, imprinted = self._unsealed[sequence]
            told.setdefault(subject, []).append((sequence, imprinted))
        head = self._head(part)
        return Seal(
            number=head.number + 1,
            before=head.digest,
            # What another hub stored since it took the partition, this one knows nothing of and says nothing of.
            through=max(sequences[-1], head.through),
            at=now,
            sealed=tuple(SealedRecords(subject=subject, records=tuple(one)) for subject, one in told.items()),
        )

    async def _look(self, part: int) -> bool:
        last = await self._transport.last(subjects.STREAM, subjects.seal(part))
        if isinstance(last, Err):
            return False
        known = self._head(part)
        if last.value is None:
            self._heads[part] = Head()
        elif last.value.sequence != known.sequence:
            self._heads[part] = _after(known, last.value)
        self._found[part] = self._head(part).through
        return True

    async def _lacks(self, part: int, head: Head) -> str:
        found = await self._seal_at(part, head.sequence)
        while isinstance(found, Err):
            # The stream was made a moment ago: it is only the bus that is away.
            await asyncio.sleep(TICK)
            found = await self._seal_at(part, head.sequence)
        (stored,) = found.value or (None,)
        if stored is None or stored.sequence != head.sequence:
            return f"seal {head.number} of partition {part}, once at {head.sequence}, is missing"
        if digest(stored.data) != head.digest:
            return f"seal {head.number} of partition {part}, at {head.sequence}, is not the one that was there"
        return ""

    async def _seal_at(self, part: int, sequence: int) -> Result[tuple[Stored, ...]]:
        return await self._transport.read(subjects.STREAM, subjects.seal(part), start=sequence, limit=1)

    async def _note_heads(self) -> None:
        try:
            # Another hub may have noted more beside this one.
            noted = await self._high_water.read() or {}
            ahead = {part: head for part, head in noted.items() if head.number > self._head(part).number}
            await self._high_water.note({**self._heads, **ahead})
        except OSError as error:
            if not self._is_told:
                logger.error("it cannot be noted how far the log goes: %s", error.strerror)
            self._is_told = True


def _after(known: Head, stored: Stored) -> Head:
    try:
        return known.after(stored.sequence, SEAL.decode(stored.data), stored.data)
    except Malformed as error:
        # The chain goes on from it as it is; an inspection tells of it.
        logger.error("the seal at %s is not readable: %s", stored.sequence, error)
        return replace(known, sequence=stored.sequence, digest=digest(stored.data))
