"""A double for each of the hub's ports, in memory, and a clock that a test turns.

What outlives a hub is apart from what a hub holds: `FakeStream` and `FakeWorkers` are the disk and the workers, on
which one `FakeLog` and `FakeCliPool` after another may be opened, as one hub after another begins its reign.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from factory_contracts import subjects
from factory_contracts.envelope import MAX_BYTES
from factory_contracts.messages import Outbound, Outcome, Usage
from factory_contracts.records import ACT, RECORD, Act, Balance, LeaseGiven, Owner, Record
from factory_contracts.work import AgentSpec, Ended, Events, Line, LlmEvent, SaidText
from hub.kernel.ports import (
    Assignment,
    Chosen,
    Equipped,
    Fenced,
    Full,
    Logged,
    Lost,
    Occasion,
    Report,
    Unwritable,
    unforgotten,
)
from hub.kernel.routing import RoutingKey

T = TypeVar("T")

DEADLINE = 30.0
# Who looks less often than this does not look, but stands still.
LOOK = 0.5
PAGE = 1_000
ANYBODY = Occasion("t", "c", "cli:main:s", "u", AgentSpec(name="a", hash="h", model="scripted", namespace="a"))


async def words_of(tool: Equipped, arguments: str, occasion: Occasion = ANYBODY) -> str:
    """What a tool says that brings nothing but words."""
    said = await tool.tool.run(arguments, occasion)
    assert isinstance(said, str)
    return said


class _Waiting(selectors.DefaultSelector):
    """Where an event loop would wait for time to pass, time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen any more")
        if not ready and timeout is not None:
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour takes no time."""

    def __init__(self) -> None:
        self._waiting = _Waiting()
        super().__init__(self._waiting)

    def time(self) -> float:
        return self._waiting.now

    def stand_still(self, seconds: float) -> None:
        """The process is frozen for so long: what was due meanwhile is due all at once."""
        self._waiting.now += seconds


class _Patience:
    """So much time, of which it does not count for how long the machine let this process stand still."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = seconds
        self._looked = self._loop.time()

    def is_over(self) -> bool:
        """To be asked again and again."""
        now = self._loop.time()
        self._left -= min(now - self._looked, LOOK)
        self._looked = now
        return self._left < 0


async def until(is_true: Callable[[], bool], *, seconds: float = DEADLINE) -> None:
    """Return as soon as it is true; fail when it is not in time."""
    patience = _Patience(seconds)
    turns = 0
    while not is_true():
        if patience.is_over():
            raise AssertionError(f"it did not become true in {seconds} s")
        turns += 1
        await asyncio.sleep(0 if turns < 50 else 0.005)


async def eventually(
    ask: Callable[[], Awaitable[T]], is_enough: Callable[[T], bool], *, seconds: float = DEADLINE
) -> T:
    """Ask until the answer is enough; fail when it is not in time."""
    patience = _Patience(seconds)
    while not is_enough(answer := await ask()):
        if patience.is_over():
            raise AssertionError(f"it was not enough in {seconds} s: {answer!r}")
        await asyncio.sleep(0.01)
    return answer


async def all_of(stream: AsyncIterator[T]) -> tuple[T, ...]:
    """Everything that comes, in its order."""
    return tuple([one async for one in stream])


async def idle() -> None:
    """Let everything run that is due now."""
    for _ in range(50):
        await asyncio.sleep(0)


async def pass_time(seconds: float) -> None:
    """Let so much time go by, in a loop whose time is virtual."""
    await asyncio.sleep(seconds)
    await idle()


class Breaths:
    """How much is done at most before the event loop has its turn again."""

    def __init__(self) -> None:
        self.most = 0
        self._done = 0
        self._breathing = asyncio.create_task(self._breathe())

    def note(self) -> None:
        """Something was done."""
        self._done += 1
        self.most = max(self.most, self._done)

    async def close(self) -> None:
        self._breathing.cancel()
        await asyncio.gather(self._breathing, return_exceptions=True)

    async def _breathe(self) -> None:
        while True:
            self._done = 0
            await asyncio.sleep(0)


class FakeClock:
    """A clock that goes with the event loop, and that a test may set forward."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._start = start

    def __call__(self) -> float:
        return self._start + asyncio.get_running_loop().time()

    def forward(self, seconds: float) -> None:
        """It is so much later now."""
        self._start += seconds


class FakeStream:
    """The disk under a log: what is stored, who owns it, and what a test makes of it."""

    def __init__(self) -> None:
        self.is_full = False
        self.sequence = 0
        self.epoch = 0
        self.mark = 1
        self.spent: dict[int, tuple[int, tuple[Balance, ...]]] = {}
        self.owners: dict[tuple[str, str], tuple[Owner, ...]] = {}
        self.acts: list[bytes] = []
        self.acted: list[int] = []
        self.leases: dict[tuple[str, str], tuple[int, LeaseGiven]] = {}
        self.attempts = 0
        self.reads = 0
        self.may_read: dict[RoutingKey, asyncio.Event] = {}
        self.files = 0
        self.erased: list[tuple[RoutingKey, int, int]] = []
        self.may_erase = asyncio.Event()
        self.may_erase.set()
        self._stored: list[tuple[int, RoutingKey, bytes]] = []
        self._may_store = asyncio.Event()
        self._may_answer = asyncio.Event()
        self._may_store.set()
        self._may_answer.set()

    def hold(self) -> None:
        """From now on nothing is stored before `release`."""
        self._may_store.clear()

    def hold_answers(self) -> None:
        """From now on what is stored is not known to be stored before `release`."""
        self._may_answer.clear()

    def release(self) -> None:
        """End every hold."""
        self._may_store.set()
        self._may_answer.set()

    def take_over(self) -> int:
        """Begin a reign over all partitions; answers with the epoch of the first."""
        self.epoch = self.sequence + 1
        self.sequence += subjects.PARTITIONS
        return self.epoch

    async def store(self, epoch: int, key: RoutingKey, records: Sequence[Record]) -> int:
        """Store all or none; answers with the first one's sequence."""
        self.attempts += 1
        payloads = [RECORD.encode(record) for record in records]
        if any(len(payload) > MAX_BYTES for payload in payloads):
            raise Unwritable
        await self._may_store.wait()
        # A real log has an answer only after the loop had its turn.
        await asyncio.sleep(0)
        if epoch != self.epoch:
            raise Fenced
        if self.is_full:
            raise Full
        first = self.sequence + 1
        for payload in payloads:
            self.sequence += 1
            self._stored.append((self.sequence, key, payload))
        await self._may_answer.wait()
        return first

    async def note_act(self, epoch: int, act: Act, after: int) -> bool:
        """Store what somebody did about who may do what, if nothing was done since."""
        await self._may_store.wait()
        await asyncio.sleep(0)
        if epoch != self.epoch:
            raise Fenced
        if self.is_full:
            raise Full
        if self.acted[-1:] not in ([], [after]):
            return False
        self.sequence += 1
        self.acts.append(ACT.encode(act))
        self.acted.append(self.sequence)
        await self._may_answer.wait()
        return True

    async def note_lease(self, epoch: int, given: LeaseGiven) -> int:
        """Store which spoke speaks for a bot; answers with the sequence."""
        await self._may_store.wait()
        await asyncio.sleep(0)
        if epoch != self.epoch:
            raise Fenced
        if self.is_full:
            raise Full
        self.sequence += 1
        self.leases[given.platform, given.bot_id] = self.sequence, given
        await self._may_answer.wait()
        return self.sequence

    def put(self, key: RoutingKey, *records: Record) -> None:
        """Store records as an earlier hub did."""
        for record in records:
            self.sequence += 1
            self._stored.append((self.sequence, key, RECORD.encode(record)))

    def erase(self, key: RoutingKey, below: int, files: int) -> None:
        """What stands below a sequence in a scope is not there any more."""
        self.erased.append((key, below, files))
        self._stored = [one for one in self._stored if one[1] != key or one[0] >= below]

    def all(self) -> tuple[tuple[RoutingKey, Logged], ...]:
        """Everything, in order."""
        return tuple((key, Logged(sequence, RECORD.decode(data))) for sequence, key, data in self._stored)

    def page(self, start: int) -> tuple[tuple[RoutingKey, Logged], ...]:
        """As many as are read at once, from a sequence on."""
        found = ((sequence, key, data) for sequence, key, data in self._stored if sequence >= start)
        return tuple((key, Logged(sequence, RECORD.decode(data))) for sequence, key, data in islice(found, PAGE))

    def of(self, key: RoutingKey) -> tuple[Logged, ...]:
        """One scope's records."""
        return tuple(Logged(sequence, RECORD.decode(data)) for sequence, other, data in self._stored if other == key)

    def kinds(self, key: RoutingKey) -> list[str]:
        """The kinds of one scope's records."""
        return [logged.record.kind for logged in self.of(key)]


class FakeEraser:
    """Who erases from a stream, once the test lets them."""

    def __init__(self, stream: FakeStream) -> None:
        self._stream = stream

    async def reach(self, key: RoutingKey) -> int:
        await asyncio.sleep(0)
        return self._stream.files

    async def erase(self, key: RoutingKey, below: int, files: int) -> None:
        await self._stream.may_erase.wait()
        self._stream.erase(key, below, files)


class FakeLog:
    """One hub's log on a stream that outlives it."""

    def __init__(self, stream: FakeStream) -> None:
        self._stream = stream
        self._first_epoch = 0
        self._known = 0

    @property
    def sequence(self) -> int:
        return self._known

    def epoch(self, partition: int) -> int:
        return self._first_epoch + partition

    async def create(self) -> None:
        pass

    async def take_over(self, now: float) -> bool:
        self._first_epoch = self._stream.take_over()
        self._known = self._stream.sequence
        return True

    async def append(self, key: RoutingKey, records: Sequence[Record], *, is_urgent: bool = True) -> tuple[Logged, ...]:
        first = await self._stream.store(self._first_epoch, key, records)
        self._known = max(self._known, first + len(records) - 1)
        return tuple(Logged(first + index, record) for index, record in enumerate(records))

    async def history(self, key: RoutingKey) -> tuple[Logged, ...]:
        self._stream.reads += 1
        await asyncio.sleep(0)
        if key in self._stream.may_read:
            await self._stream.may_read[key].wait()
        records = self._stream.of(key)
        if not records:
            return ()
        newest = records[-1]
        is_view = newest.record.kind in ("compacted", "forgotten")
        start = newest.sequence if is_view else newest.record.compacted
        return tuple(logged for logged in records if logged.sequence >= start)

    async def past(self, key: RoutingKey, until: int) -> tuple[Logged, ...]:
        await asyncio.sleep(0)
        return unforgotten(self._stream.of(key), until)

    async def scopes(self, platform: str, bot_id: str) -> tuple[RoutingKey, ...]:
        await asyncio.sleep(0)
        keys = dict.fromkeys(key for key, _ in self._stream.all())
        return tuple(key for key in keys if (key.platform, key.bot_id) == (platform, bot_id))

    async def mark(self, parts: Collection[int] = ()) -> int:
        return self._stream.mark

    async def reckoned(self) -> int:
        return self._stream.mark

    async def move_mark(self, sequence: int, spent: Mapping[int, tuple[Balance, ...]] | None) -> bool:
        spent = spent or {}
        if self._first_epoch != self._stream.epoch:
            raise Fenced
        if self._stream.is_full:
            return False
        self._stream.mark = sequence
        self._stream.sequence += 1 + len(spent)
        self._stream.spent.update({shard: (sequence, balances) for shard, balances in spent.items()})
        return True

    async def spent(self) -> dict[int, tuple[int, tuple[Balance, ...]]]:
        return dict(self._stream.spent)

    async def owners(self) -> dict[tuple[str, str], tuple[Owner, ...]]:
        return dict(self._stream.owners)

    async def acts(self, after: int = 0) -> tuple[tuple[int, Act], ...]:
        acts = zip(self._stream.acted, self._stream.acts, strict=True)
        return tuple((sequence, ACT.decode(data)) for sequence, data in acts if sequence > after)

    async def note_act(self, act: Act, after: int) -> bool:
        return await self._stream.note_act(self._first_epoch, act, after)

    async def reigns(self, partition: int) -> bool:
        await asyncio.sleep(0)
        return self._first_epoch == self._stream.epoch

    async def still_reigns(self, partition: int) -> bool:
        return self._first_epoch == self._stream.epoch

    async def lease(self, platform: str, bot_id: str) -> tuple[int, LeaseGiven] | None:
        await asyncio.sleep(0)
        return self._stream.leases.get((platform, bot_id))

    async def note_lease(self, given: LeaseGiven) -> int:
        return await self._stream.note_lease(self._first_epoch, given)

    async def since(self, sequence: int, parts: Collection[int] = ()) -> AsyncIterator[tuple[RoutingKey, Logged]]:
        while True:
            await asyncio.sleep(0)
            page = self._stream.page(sequence)
            for pair in page:
                yield pair
            if len(page) < PAGE:
                return
            sequence = page[-1][1].sequence + 1

    async def close(self) -> None:
        pass


class FakePresence:
    """Everybody is connected, but for whom a test takes away."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.on_look: Callable[[], Awaitable[None]] | None = None

    async def has_gone(self, inbox: str) -> bool:
        await asyncio.sleep(0)
        if self.on_look is not None:
            await self.on_look()
        return inbox in self.gone


class FakeOutbox:
    """What the screens were told; whoever listens is told at once."""

    def __init__(self) -> None:
        self.published: list[Outbound] = []
        self.listeners: list[Callable[[Outbound], None]] = []

    async def publish(self, event: Outbound) -> None:
        self.published.append(event)
        for listener in self.listeners:
            listener(event)


@dataclass(slots=True)
class Kept:
    """An attempt as its worker keeps it."""

    assignment: Assignment
    events: list[LlmEvent] = field(default_factory=list)
    is_stopped: bool = False
    steers: dict[str, Line] = field(default_factory=dict)
    runs: list[FakeRun] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether all is said."""
        return bool(self.events) and isinstance(self.events[-1], Ended)


class FakeWorkers:
    """The workers: a test says what they say, and which of them die."""

    def __init__(self, *names: str) -> None:
        self.instances: dict[str, str] = {}
        self.kept: dict[str, Kept] = {}
        self.started: list[Assignment] = []
        self.forgotten: list[str] = []
        self.erased: list[tuple[RoutingKey, tuple[str, ...], float]] = []
        self.epoch = 0
        self.is_broken = False
        self.providers: frozenset[str] = frozenset()
        self.stops_answer = True
        self.changed = asyncio.Event()
        self._lives = 0
        for name in names:
            self.join(name)

    def join(self, name: str) -> None:
        """A worker comes, with a new instance."""
        self._lives += 1
        self.instances[name] = f"i{self._lives}"
        self.changed.set()

    def kill(self, name: str) -> None:
        """A worker dies, and everything it kept is gone."""
        del self.instances[name]
        for turn, kept in tuple(self.kept.items()):
            if kept.assignment.chosen.worker == name:
                del self.kept[turn]
                for run in kept.runs:
                    run.take(Lost("the worker died"))

    def say(self, turn: str, *texts: str) -> None:
        """The turn's model says more."""
        self.tell(turn, *(SaidText(text=text) for text in texts))

    def end(
        self,
        turn: str,
        outcome: Outcome = "complete",
        *,
        reference: str | None = None,
        usage: Usage | None = None,
        joined: tuple[str, ...] = (),
    ) -> None:
        """The turn is over."""
        self.tell(turn, Ended(outcome=outcome, usage=usage or Usage(calls=1), reference=reference, joined=joined))

    def tell(self, turn: str, *events: LlmEvent) -> None:
        """More of the turn's events."""
        kept = self.kept[turn]
        kept.events += events
        for run in kept.runs:
            run.catch_up(kept)

    def runs_of(self, turn: str) -> int:
        """How often the turn was begun."""
        return sum(assignment.turn == turn for assignment in self.started)


class FakeRun:
    """One attempt as one hub follows it."""

    def __init__(self, workers: FakeWorkers, assignment: Assignment) -> None:
        self.assignment = assignment
        self._workers = workers
        self._reports: deque[Report] = deque()
        self._changed = asyncio.Event()
        self._next = 0

    async def next(self) -> Report:
        while not self._reports:
            self._changed.clear()
            await self._changed.wait()
        return self._reports.popleft()

    async def stop(self) -> None:
        kept = self._workers.kept.get(self.assignment.turn)
        if kept is not None and not kept.is_over:
            kept.is_stopped = True
            if self._workers.stops_answer:
                self._workers.end(self.assignment.turn, "stopped")

    async def steer(self, joining: str, line: Line, *, after: str | None = None, is_tainted: bool = False) -> None:
        kept = self._workers.kept.get(self.assignment.turn)
        if kept is None or kept.is_over or joining in kept.steers or (after is not None and after not in kept.steers):
            return
        kept.steers[joining] = line

    async def close(self, *, forget: bool) -> None:
        kept = self._workers.kept.get(self.assignment.turn)
        if kept is not None and self in kept.runs:
            kept.runs.remove(self)
        if forget and self._workers.kept.pop(self.assignment.turn, None) is not None:
            self._workers.forgotten.append(self.assignment.turn)

    def take(self, report: Report) -> None:
        """Something is reported."""
        self._reports.append(report)
        self._changed.set()

    def catch_up(self, kept: Kept) -> None:
        """Report what is new of the events."""
        fresh = tuple(kept.events[self._next :])
        if not fresh:
            return
        self.take(
            Events(
                turn=self.assignment.turn,
                attempt=self.assignment.attempt,
                instance=self.assignment.chosen.instance,
                first=self._next,
                events=fresh,
                done=len(kept.events) if kept.is_over else None,
            )
        )
        self._next = len(kept.events)


class FakeCliPool:
    """The workers as one hub sees them."""

    def __init__(self, workers: FakeWorkers) -> None:
        self._workers = workers

    def pick(self) -> Chosen | None:
        if not self._workers.instances:
            return None
        busy = dict.fromkeys(self._workers.instances, 0)
        for kept in self._workers.kept.values():
            busy[kept.assignment.chosen.worker] = busy.get(kept.assignment.chosen.worker, 0) + 1
        name = min(self._workers.instances, key=lambda one: (busy[one], one))
        return Chosen(name, self._workers.instances[name])

    async def wait(self, seconds: float) -> None:
        self._workers.changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._workers.changed.wait(), seconds)

    def providers(self) -> frozenset[str]:
        return self._workers.providers

    async def erase(self, key: RoutingKey, namespaces: Sequence[str], until: float) -> None:
        while not self._workers.instances:
            await self.wait(1.0)
        self._workers.erased.append((key, tuple(namespaces), until))

    async def run(self, assignment: Assignment) -> FakeRun:
        run = FakeRun(self._workers, assignment)
        if self._workers.is_broken:
            raise ValueError("a secret detail of ours")
        if self._workers.instances.get(assignment.chosen.worker) != assignment.chosen.instance:
            run.take(Lost("nobody answers at the worker"))
            return run
        kept = self._workers.kept.get(assignment.turn)
        if kept is None or kept.assignment.attempt < assignment.attempt:
            kept = self._workers.kept[assignment.turn] = Kept(assignment)
            self._workers.started.append(assignment)
        kept.runs.append(run)
        run.catch_up(kept)
        return run

    async def resume(self, assignment: Assignment) -> FakeRun:
        run = FakeRun(self._workers, assignment)
        kept = self._workers.kept.get(assignment.turn)
        if kept is None or kept.assignment.attempt != assignment.attempt:
            run.take(Lost("the worker does not know the turn"))
            return run
        kept.runs.append(run)
        run.catch_up(kept)
        return run
