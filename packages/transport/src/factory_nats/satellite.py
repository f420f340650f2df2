"""A worker on the bus: does what it is asked once, says how far it is, and refuses what it cannot do now.

What it does and how it is spoken to is `Served`, which contracts declare; nothing here knows a subject or a type. No
exception and no detail of one is ever sent: whoever asks learns that it failed, the log learns why.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Final, Generic, Literal, NamedTuple, Protocol, Self, TypeAlias, TypeVar

from factory_nats import blobs
from factory_nats.adapter import NatsAdapterBase
from factory_nats.connect import connect
from factory_nats.gpu import Gpu
from factory_nats.identity import Identity
from factory_nats.repeats import Repeats
from factory_nats.result import Err, Ok
from factory_nats.transport import Delivery, Transport

logger = logging.getLogger(__name__)

DRAIN: Final = 8.0
# Longer than anybody asks again for what he has not heard of.
KEPT: Final = 300.0
# More often nobody need be told how far something is.
PROGRESS: Final = 0.1
# A timer may come a little early.
TIMER_PRECISION: Final = 0.001
# What is longer is answered in several messages; the server takes a megabyte.
MOST_TOGETHER: Final = 200_000
STORE_PATIENCE: Final = 10.0
STORE_RETRY: Final = 0.25

Trouble: TypeAlias = Literal["busy", "failed", "late", "stalled", "cancelled", "gone", "forgotten", "not there"]

T = TypeVar("T")


class Errand(Protocol):
    """What is asked: a "wish" to be done, a "parcel" of them, "cancel" or "describe", or "refused" with the refusal to
    be sent."""

    @property
    def kind(self) -> Literal["wish", "parcel", "cancel", "describe", "refused"]:
        """Which of these it is."""
        ...

    @property
    def id(self) -> str:
        """What makes two wishes the same, and names the one to be cancelled."""
        ...

    @property
    def deadline(self) -> float:
        """After so many seconds nobody waits."""
        ...

    @property
    def instance(self) -> str:
        """The one life of a worker that is meant, or nothing."""
        ...

    @property
    def blob(self) -> str:
        """Where what is large lies in the store, or nothing."""
        ...

    @property
    def wants_progress(self) -> bool:
        """Whether anybody wants to know how far it is."""
        ...

    @property
    def refusal(self) -> bytes:
        """What to answer to what cannot be understood."""
        ...

    @property
    def parts(self) -> Sequence[Self]:
        """The wishes of a parcel, each to be done as if it had come alone."""
        ...


class Places(Protocol):
    """Where a worker is asked, says that it lives, and keeps what is large."""

    @property
    def requests(self) -> str:
        """Where it is asked."""
        ...

    @property
    def heartbeats(self) -> str:
        """Where it says that it lives."""
        ...

    @property
    def store(self) -> str:
        """Where what is large lies."""
        ...


E = TypeVar("E", bound=Errand)


class Wording(Protocol):
    """How a worker speaks."""

    def describe(self) -> bytes:
        """How it is asked."""
        ...

    def progress(self, words: str, share: float | None) -> bytes:
        """How far it is."""
        ...

    def gather(self, parts: Sequence[int], replies: Sequence[bytes]) -> bytes:
        """Replies to these parts of a parcel, counted from 0, in one message."""
        ...

    def refuse(self, trouble: Trouble) -> bytes:
        """That something is not done, or not to its end."""
        ...

    def heartbeat(
        self, worker: str, instance: str, running: int, is_draining: bool, gpu: tuple[int, int] | None
    ) -> bytes:
        """That it lives."""
        ...


class Served(Wording, Protocol[E]):
    """What a worker does: so many wishes at once, each within `seconds` and with a sign every `stall` seconds."""

    @property
    def is_repeatable(self) -> bool:
        """Whether what came to nothing may be tried again when somebody asks for it again."""
        ...

    @property
    def at_once(self) -> int:
        """How many wishes are worked at side by side."""
        ...

    @property
    def stall(self) -> float:
        """For so many seconds work may report nothing."""
        ...

    @property
    def seconds(self) -> float:
        """So many seconds work may take."""
        ...

    def places(self, worker: str) -> Places:
        """Where a worker of that name is found."""
        ...

    def understand(self, data: bytes) -> E:
        """What is asked."""
        ...

    async def work(self, errand: E, given: bytes | None, desk: Desk) -> bytes:
        """Do it, with what was too large to go along, and answer. May raise anything."""
        ...


class NotKept(Exception):
    """What came of the work is too large for a message, and the store does not take it."""


@dataclass(slots=True, eq=False)
class _Parcel:
    """Where a parcel is answered, and what is ready and leaves in the next round."""

    reply: str
    ready: list[tuple[int, bytes]] = field(default_factory=list)


class _Part(NamedTuple):
    """Where one wish of a parcel is answered."""

    parcel: _Parcel
    number: int


# Where a wish is answered that came alone is a subject.
_Place: TypeAlias = str | _Part


@dataclass(slots=True, eq=False)
class _Job(Generic[E]):
    """A wish that is being worked at, and who waits for it."""

    errand: E
    until: float
    sign: float
    places: list[_Place]
    hear: list[str] = field(default_factory=list)
    waiting: int = 1
    trouble: Trouble = "failed"
    task: asyncio.Task[None] | None = None
    news: bytes = b""
    is_telling: bool = False
    is_over: bool = False


@dataclass(slots=True, eq=False)
class _Hand(Generic[E]):
    """A task, and what it is at."""

    task: asyncio.Task[None] | None = None
    job: _Job[E] | None = None


class Satellite(NatsAdapterBase, Generic[E]):
    """A worker under the name of its transport's identity, in one life of it."""

    def __init__(
        self,
        transport: Transport,
        served: Served[E],
        instance: str,
        *,
        interval: float = 0.5,
        grace: float = DRAIN,
        gpu: Gpu | None = None,
        repeats: Repeats | None = None,
    ) -> None:
        self._places = served.places(transport.identity)
        super().__init__(
            transport,
            requests=self._places.requests,
            heartbeats=self._places.heartbeats,
            interval=interval,
            grace=grace,
        )
        self._served = served
        self._instance = instance
        self._gpu = gpu or Gpu()
        self._repeats = repeats or Repeats()
        self._jobs: dict[str, _Job[E]] = {}
        self._working: set[_Job[E]] = set()
        self._untouched: deque[_Job[E]] = deque()
        self._is_spreading = False
        self._resting: asyncio.Future[None] | None = None
        self._threads = ThreadPoolExecutor(max(1, served.at_once), "work")
        self._left_behind = 0
        self._timer: asyncio.Handle | None = None
        self._due = math.inf

    @property
    def running(self) -> int:
        """How many wishes are worked at; also those that nobody waits for any more and that cannot be stopped."""
        return len(self._working) + self._left_behind

    def heartbeat(self) -> bytes:
        """That this worker lives, and how it does."""
        return self._served.heartbeat(
            self.transport.identity, self._instance, self.running, self.is_draining, self._gpu.memory()
        )

    def take(self, delivery: Delivery) -> None:
        """Begin what is asked, or say at once why not."""
        if not delivery.data:
            # Somebody waits for us, and has knocked to see whether we are there; that we hear it is the answer.
            return
        errand = self._served.understand(delivery.data)
        if errand.kind == "cancel":
            self._cancel(errand.id)
        elif not self.may_answer(delivery):
            return
        elif errand.kind == "wish":
            self._begin(errand, delivery.reply)
        elif errand.kind == "parcel":
            parcel = _Parcel(delivery.reply)
            for number, wish in enumerate(errand.parts):
                self._begin(wish, _Part(parcel, number))
        else:
            self._say(delivery.reply, self._served.describe() if errand.kind == "describe" else errand.refusal)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake()
        await super().__aexit__(kind, error, trace)
        if self._timer is not None:
            self._timer.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # Beginning

    def _begin(self, errand: E, place: _Place) -> None:
        now = self._loop.time()
        if errand.instance not in ("", self._instance):
            self._say(place, self._served.refuse("gone"))
            return
        came = self._repeats.find(errand.id, now)
        if came is not None:
            self._say(place, self._served.refuse("forgotten") if came.data is None else came.data)
            return
        until = now + min(errand.deadline, self._served.seconds)
        job = self._jobs.get(errand.id)
        if job is None:
            if self._served.is_repeatable:
                self._repeats.make_room()
            if self._is_draining or self.running >= self._served.at_once or self._repeats.is_full(now):
                self._say(place, self._served.refuse("busy"))
                return
            self._jobs[errand.id] = job = _Job(errand, until, now, [place])
            self._working.add(job)
            self._look_at(min(until, now + self._served.stall))
            self._untouched.append(job)
            if len(self._untouched) == 1 and not self._wake():
                self._hire()
        else:
            job.until = max(job.until, until)
            job.waiting += 1
            job.places.append(place)
        if errand.wants_progress and isinstance(place, str):
            job.hear.append(place)

    def _cancel(self, id: str) -> None:
        job = self._jobs.get(id)
        if job is None:
            return
        job.waiting -= 1
        if job.waiting > 0:
            return
        if self._served.is_repeatable:
            # Whoever asks for it from now on has it begun anew, and does not join what is ending.
            del self._jobs[id]
        self._stop(job, "cancelled")

    def _look_at(self, due: float) -> None:
        # One timer for all, as nearly everything is done in time. It is not asked when it is due: of what is due at
        # once, uvloop cannot tell.
        if due < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._due = self._loop.call_at(due, self._look), due

    def _look(self) -> None:
        """Stop what has taken too long, and come again when something else may have."""
        self._timer, self._due = None, math.inf
        now = self._loop.time() + TIMER_PRECISION
        for job in self._working:
            if now >= job.until:
                self._stop(job, "late")
            elif now >= job.sign + self._served.stall:
                self._stop(job, "stalled")
            else:
                self._look_at(min(job.until, job.sign + self._served.stall))

    def _stop(self, job: _Job[E], trouble: Trouble) -> None:
        if job.is_over:
            return
        job.trouble = trouble
        if job.task is not None:
            job.task.cancel()
        else:
            self._untouched.remove(job)
            self._give_up(job)

    # Working

    def _hire(self) -> None:
        hand: _Hand[E] = _Hand()
        hand.task = self.undertake(self._work(hand), partial(self._ended, hand))

    def _spread(self) -> None:
        self._is_spreading = False
        for _ in self._untouched:
            self._hire()

    async def _work(self, hand: _Hand[E]) -> None:
        """Do one after the other, as long as none of them waits; when one does, each of the others is begun beside it.

        Most that come together are done without waiting, and a task of its own would be half of what each costs.
        """
        task, context = hand.task, copy_context()
        assert task is not None
        # What one has set, and that one was stopped, is not for the next to see.
        while not task.cancelling() and copy_context() == context and (self._untouched or await self._is_needed()):
            hand.job = job = self._untouched.popleft()
            job.task = task
            if self._untouched and not self._is_spreading:
                self._is_spreading = True
                self._loop.call_soon(self._spread)
            await self._settle(job, await self._outcome(job))

    async def _is_needed(self) -> bool:
        """Whether there is more to do, after a rest: one hand waits for that, any other goes."""
        if self._resting is not None or self._is_draining:
            return False
        self._resting = self._loop.create_future()
        try:
            await self._resting
        finally:
            self._resting = None
        return bool(self._untouched)

    def _wake(self) -> bool:
        """Have the hand that rests look again, if there is one."""
        if self._resting is None or self._resting.done():
            return False
        self._resting.set_result(None)
        return True

    async def _outcome(self, job: _Job[E]) -> bytes:
        given: bytes | None = None
        if job.errand.blob:
            given = await self._fetch(job.errand.blob)
            if given is None:
                return self._served.refuse("not there")
        return await self._served.work(job.errand, given, Desk(self, job, self._loop))

    # What came of it

    def _ended(self, hand: _Hand[E], task: asyncio.Task[None]) -> None:
        if self._untouched:
            self._hire()
        if hand.job is None or hand.job.is_over:
            return
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("a wish on %s failed", self._requests, exc_info=error)
        self._give_up(hand.job)

    def _give_up(self, job: _Job[E]) -> None:
        job.is_over = True
        self.undertake(self._settle(job, self._served.refuse(job.trouble), came_to_nothing=True))

    async def _settle(self, job: _Job[E], data: bytes, *, came_to_nothing: bool = False) -> None:
        """Remember what came of it, and tell everybody who waits."""
        job.is_over = True
        self._working.discard(job)
        id = job.errand.id
        if self._jobs.get(id) is job:
            del self._jobs[id]
        if not (came_to_nothing and self._served.is_repeatable):
            self._repeats.keep(id, data, max(self._loop.time(), job.until) + KEPT)
        for place in job.places:
            if isinstance(place, str):
                await self.send(place, data)
            else:
                self._put_to(place, data)

    def _put_to(self, part: _Part, data: bytes) -> None:
        """What is ready in one round leaves together."""
        parcel, number = part
        if not parcel.ready:
            self._loop.call_soon(self._post, parcel)
        parcel.ready.append((number, data))

    def _post(self, parcel: _Parcel) -> None:
        ready, parcel.ready = parcel.ready, []
        for together in _bundles(ready):
            parts, replies = zip(*together, strict=True)
            self.undertake(self.send(parcel.reply, self._served.gather(parts, replies)))

    async def _fetch(self, blob: str) -> bytes | None:
        until = self._loop.time() + STORE_PATIENCE
        while True:
            found = await blobs.get(self.transport, self._places.store, blob)
            if isinstance(found, Ok):
                return found.value
            if self._loop.time() >= until:
                logger.error("what goes with a request cannot be read: %s", found.detail)
                return None
            await asyncio.sleep(STORE_RETRY)

    # What a desk offers

    def note(self, job: _Job[E], words: str, share: float | None) -> None:
        """It goes on, and whoever wants to know how far it is is told."""
        job.sign = self._loop.time()
        if job.is_over or not job.hear:
            return
        job.news = self._served.progress(words, share)
        if not job.is_telling:
            job.is_telling = True
            self.undertake(self._tell(job))

    async def keep(self, data: bytes) -> str:
        """Put it into the store; raises `NotKept`."""
        until = self._loop.time() + STORE_PATIENCE
        while isinstance(kept := await blobs.put(self.transport, self._places.store, data), Err):
            if kept.reason in ("too large", "no space", "forbidden") or self._loop.time() >= until:
                raise NotKept(kept.detail)
            await asyncio.sleep(STORE_RETRY)
        return kept.value

    async def aside(self, work: Callable[[], T]) -> T:
        """Do it in a thread. What is stopped there goes on, and takes its place, until it comes to an end by itself."""
        future = self._threads.submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancelled():
                self._left_behind += 1
                future.add_done_callback(self._came_home)
            raise

    def _came_home(self, future: Future[T]) -> None:
        self._loop.call_soon_threadsafe(self._count_home)

    def _count_home(self) -> None:
        self._left_behind -= 1

    async def _tell(self, job: _Job[E]) -> None:
        while job.news and not job.is_over:
            news, job.news = job.news, b""
            for reply in job.hear:
                await self.send(reply, news)
            await asyncio.sleep(PROGRESS)
        job.is_telling = False

    # Answering at once

    def _say(self, place: _Place, data: bytes) -> None:
        if isinstance(place, str):
            self.undertake(self.send(place, data))
        else:
            self._put_to(place, data)


class Desk:
    """What a satellite does for one piece of work while it is under way."""

    def __init__(self, satellite: Satellite[E], job: _Job[E], loop: asyncio.AbstractEventLoop) -> None:
        self._satellite = satellite
        self._job = job
        self._loop = loop

    def report(self, words: str = "", *, share: float | None = None) -> None:
        """Tell whoever waits how far it is, from any thread; where nobody waits any more, that is the end of it."""
        if self._job.is_over:
            raise asyncio.CancelledError
        self._loop.call_soon_threadsafe(self._satellite.note, self._job, words, share)

    async def keep(self, data: bytes) -> str:
        """Put what is too large for a message where whoever asked can get it; the name under which it lies there."""
        return await self._satellite.keep(data)

    async def aside(self, work: Callable[[], T]) -> T:
        """Do in a thread what would hold everything else up."""
        return await self._satellite.aside(work)


def _bundles(ready: Sequence[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """What fits a message together; what is large goes alone."""
    bundle: list[tuple[int, bytes]] = []
    size = 0
    for one in ready:
        if bundle and size + len(one[1]) > MOST_TOGETHER:
            yield bundle
            bundle, size = [], 0
        bundle.append(one)
        size += len(one[1])
    yield bundle


async def serve(
    url: str,
    identity: Identity,
    served: Served[E],
    instance: str | None = None,
    *,
    patience: float = math.inf,
) -> int:
    """Work until SIGTERM or SIGINT, or until the bus is closed for good; the exit code.

    An instance names this life of the worker alone; where none is given, one is made.
    """
    until = asyncio.Event()
    closed: list[str] = []

    def note_closed(why: str) -> None:
        closed.append(why)
        until.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, until.set)
    if not identity.publish:
        # Whose questions it will have to answer it does not know, but these two it cannot do without.
        places = served.places(identity.name)
        identity = replace(identity, publish=(places.heartbeats,), subscribe=(places.requests,))
    connected = await connect(url, identity, patience=patience, until=until, on_closed=note_closed)
    if isinstance(connected, Err):
        if until.is_set():
            return 0
        logger.error("%s", connected.detail)
        return 1
    async with Satellite(connected.value, served, instance or secrets.token_hex(6)):
        await until.wait()
    return 1 if closed else 0
