"""Asking whichever worker is best, and the next one when it does not answer.

What is asked of one worker in one round of the event loop leaves together, when somebody waits for that worker already.

While somebody waits for a worker it is knocked at: nobody tells that whoever was asked has died, but the server says at
once that nobody listens there any more.
"""

from __future__ import annotations

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from factory_nats.circuit import CircuitBreaker, State
from factory_nats.registry import Sign, Standing, WorkerRegistry
from factory_nats.result import Err, Ok, Result
from factory_nats.transport import Delivery, More, Subscription, Transport

__all__ = ["Answered", "Opinion", "Parcels", "Request", "Sign", "WorkerPoolClient"]

logger = logging.getLogger(__name__)

KNOCK: Final = 0.03
DOOR: Final = "door"
# For so long nobody need be heard of who is asked for what can be asked of another; and for what cannot, for there is
# nothing to be won by giving up.
SILENT: Final = 2.0
SILENT_ALONE: Final = 10.0
# Somebody who is nowhere for so long is dead, and has not just lost the connection.
NOWHERE: Final = 2.0
# After the server was away we are back before others are: "nobody listens" says nothing yet.
YOUNG: Final = 2.0
BACK_OFF: Final = 0.1
# Who failed three times in a row is asked again by one at a time: another does what it fails at, and nobody notices.
PAUSE: Final = 1.0
# Who was given what: more than can be under way, so that what is asked for again finds whom it was given to.
REMEMBERED: Final = 20_000

# So much travels together; what is larger goes alone.
MOST_PARTS: Final = 64
MOST_BYTES: Final = 200_000
LARGE: Final = 8_000

_NO_TIME: Final = Err("timeout", "there is no time left to ask anybody")

Step: TypeAlias = Literal["next", "again", "stop"]

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)


def _circuit() -> CircuitBreaker:
    return CircuitBreaker(pause=PAUSE)


class Request(ABC, Generic[A]):
    """What is asked until `until` on the event loop's clock, and for `patience` seconds of each who is asked.

    What has an `id` a worker does once, however often it is asked. What is repeatable may be asked of another when one
    is lost. `more` is shown what comes before the answer. Who understands less than `understands` is not asked, who is
    of another `shape` comes last.
    """

    def __init__(
        self,
        until: float,
        *,
        id: str = "",
        patience: float = math.inf,
        is_repeatable: bool = True,
        more: More | None = None,
        understands: int = 1,
        shape: str = "",
    ) -> None:
        self.until = until
        self.id = id
        self.patience = patience
        self.is_repeatable = is_repeatable
        self.more = more
        self.understands = understands
        self.shape = shape

    @abstractmethod
    def write(self, instance: str) -> bytes:
        """The message for one instance of a worker; to be written by whoever asks."""

    def cancel(self) -> bytes:
        """What a worker is told when nobody waits any more; nothing, where it is not told."""
        return b""

    def part(self) -> bytes:
        """What stands of it in a message for several; nothing where it travels alone."""
        return b""

    @abstractmethod
    def read(self, data: bytes) -> A | Err:
        """What an answer says; "malformed" where it says nothing. To be written by whoever asks."""

    def judge(self, answer: A) -> Err | None:
        """What is wrong with an answer, if anything is.

        "busy", "newer version" and "gone" say that nothing was done and the next may be asked; "refused" that it was
        tried in vain, which another may try once more if it is repeatable; "malformed" that the worker is at fault.
        """
        return None


class Parcels(Protocol[A_co]):
    """How several requests stand in one message, and several answers."""

    @property
    def understands(self) -> int:
        """Who understands less is sent none."""
        ...

    def write(self, parts: Sequence[bytes], instance: str) -> bytes:
        """The message for one instance of a worker."""
        ...

    def read(self, data: bytes, parts: int) -> Iterable[tuple[int, A_co]] | Err:
        """The answers to some of so many parts, which are counted from 0; "malformed" where it names any other."""
        ...


class Answered(NamedTuple, Generic[A]):
    """What came back, and from whom."""

    worker: str
    answer: A


@dataclass(frozen=True, slots=True)
class Opinion:
    """How a worker stands with us, and whether we ask it at all."""

    standing: Standing
    circuit: State


class _Given(NamedTuple):
    """Whom something was given to, and in which life."""

    worker: str
    instance: str


class _Waiting(ABC):
    """A request that one worker was given, until it answers, is given up, or is over at `until`."""

    given: _Given
    is_repeatable: bool
    until: float

    @abstractmethod
    def give_up(self, problem: Err) -> None:
        """Have whoever waits go on with this instead of an answer."""


class _Alone(_Waiting):
    """A request that has a message to itself, whose time the transport watches."""

    def __init__(self, given: _Given, is_repeatable: bool, loop: asyncio.AbstractEventLoop) -> None:
        self.given = given
        self.is_repeatable = is_repeatable
        self.until = math.inf
        self.problem: Err | None = None
        self._task = asyncio.current_task(loop)
        self._cancelling = 0 if self._task is None else self._task.cancelling()

    def give_up(self, problem: Err) -> None:
        if self.problem is None and self._task is not None:
            self.problem = problem
            self._task.cancel()

    def is_given_up(self) -> bool:
        """Whether that is why the waiting was called off, and nobody else did so as well."""
        return self._task is not None and self._task.uncancel() <= self._cancelling


class _Part(_Waiting, Generic[A]):
    """A request that travels with others."""

    def __init__(
        self, asked: Request[A], given: _Given, until: float, written: bytes, answer: asyncio.Future[A | Err]
    ) -> None:
        self.given = given
        self.is_repeatable = asked.is_repeatable
        self.until = until
        self.asked = asked
        self.written = written
        self.answer = answer

    def give_up(self, problem: Err) -> None:
        if not self.answer.done():
            self.answer.set_result(problem)


class _Parcel(Generic[A]):
    """Requests for one life of a worker that travel together; it is under way until each has come to its end."""

    def __init__(self) -> None:
        self.parts: list[_Part[A]] = []
        self.size = 0
        self.open = 0
        self.task: asyncio.Task[None] | None = None

    def add(self, part: _Part[A]) -> None:
        """One more."""
        self.parts.append(part)
        self.size += len(part.written)
        self.open += 1

    def leave(self) -> None:
        """Nobody waits for one of them any more; the last one closes the door."""
        self.open -= 1
        if not self.open and self.task is not None:
            self.task.cancel()


class WorkerPoolClient(Generic[A]):
    """The workers of one capability, each known by its identity.

    A request may be carried out twice, for after a timeout the next worker is asked; unless it is said not to be
    repeatable. A request of an id that was given to a worker goes to that worker again, which knows it.
    """

    def __init__(
        self,
        transport: Transport,
        registry: WorkerRegistry,
        *,
        subject: Callable[[str], str],
        circuit: Callable[[], CircuitBreaker] = _circuit,
        parcels: Parcels[A] | None = None,
    ) -> None:
        self.registry = registry
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._subject = subject
        self._circuit = circuit
        self._circuits: dict[str, CircuitBreaker] = {}
        self._given: OrderedDict[str, _Given] = OrderedDict()
        self._parcels = parcels
        self._gathering: dict[_Given, _Parcel[A]] = {}
        self._carrying: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, set[_Waiting]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._has_door = False
        self._doors: dict[str, str] = {}
        self._nowhere: dict[str, int] = {}
        self._lost: dict[str, str] = {}
        self._curious: set[asyncio.Future[None]] = set()

    async def listen(self, subject: str, read: Callable[[Delivery], Sign | None]) -> Result[Subscription]:
        """Learn from the heartbeats on `subject` who is there; what `read` drops was not said."""

        def note(delivery: Delivery) -> None:
            sign = read(delivery)
            if sign is not None:
                self._note(sign)

        if not self._has_door:
            opened = await self._transport.subscribe(self._transport.inbox("*", DOOR), self._nobody_opens)
            if isinstance(opened, Err):
                return opened
            self._has_door = True
        return await self._transport.subscribe(subject, note)

    async def close(self) -> None:
        """Watch over nobody any more; what is asked for still is answered or times out."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    def opinions(self) -> tuple[Opinion, ...]:
        """What we think of everybody who was heard of."""
        now = self._now()
        return tuple(
            Opinion(standing, self._state(standing.said.worker, now)) for standing in self.registry.standings(now)
        )

    async def change(self, seconds: float) -> None:
        """Until somebody was heard or has room again, or so long."""
        pulse: asyncio.Future[None] = self._loop.create_future()
        self._curious.add(pulse)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await pulse
        finally:
            self._curious.discard(pulse)

    async def request(self, asked: Request[A]) -> Result[Answered[A]]:
        """Ask until somebody answers.

        "no worker" when none is alive, "busy" when none has room, "circuit open" when all have failed too often, "newer
        version" when none understands the request: then nothing was done. What is not repeatable is given to the next
        worker only while nobody took it; "timeout", "lost" and "malformed" leave open whether it was done, and so does
        "disconnected" of what has no id.
        """
        tried: set[str] = set()
        vain: Answered[A] | None = None
        problem = _NO_TIME
        again = self._given.get(asked.id)
        while (left := asked.until - (now := self._now())) > 0:
            if again is not None and not await self._is_back(again, asked):
                moved = self._given.get(asked.id)
                if moved is not None and moved != again:
                    # Who asked for the same learnt that it never came there, and has given it to another.
                    again = moved
                    continue
                problem = Err("lost", f"worker {again.worker}, which was given this, is gone")
                if not asked.is_repeatable:
                    break
                self._forget(asked.id, again)
                again = None
            if again is None and not self._transport.is_connected:
                # Said here, it means that nothing was sent.
                problem = Err("disconnected", "there is no connection to the server")
                break
            given = again or self._best(asked, tried, now)
            if isinstance(given, Err):
                problem = given if not tried or problem.reason == "no responders" else problem
                break
            tried.add(given.worker)
            began = self._now()
            answer = await self._ask(asked, given, min(left, asked.patience))
            if not isinstance(answer, Err):
                verdict = asked.judge(answer)
                if verdict is None or verdict.reason == "refused":
                    self._took(given.worker, began)
                    answered = Answered(given.worker, answer)
                    if verdict is None or vain is not None or not asked.is_repeatable:
                        return Ok(answered)
                    vain, again = answered, None
                    continue
                answer = verdict
            problem, step = self._learn(asked, given, answer, was_known=again is not None)
            if step == "stop":
                break
            again = given if step == "again" else None
            if again is not None:
                await asyncio.sleep(BACK_OFF)
        return problem if vain is None else Ok(vain)

    # Whom to ask

    def _best(self, asked: Request[A], tried: set[str], now: float) -> _Given | Err:
        for worker in self.registry.candidates(now, shape=asked.shape):
            said = self.registry.said(worker)
            if worker in tried or said is None or said.understands < asked.understands:
                continue
            circuit = self._circuits.get(worker)
            if circuit is None or circuit.admit(now):
                return _Given(worker, said.instance)
        return self._why_nobody(asked.understands, tried, now)

    def _why_nobody(self, understands: int, tried: set[str], now: float) -> Err:
        living = [said for said in self.registry.living(now) if said.worker not in tried]
        if not living:
            return Err("no worker", "no worker is alive")
        able = [said for said in living if said.understands >= understands]
        if not able:
            return Err("newer version", f"{len(living)} workers do not understand version {understands}")
        if all(self._state(said.worker, now) != "closed" for said in able):
            return Err("circuit open", f"{len(able)} workers have failed too often")
        return Err("busy", f"{len(able)} workers have their hands full")

    def _state(self, worker: str, now: float) -> State:
        circuit = self._circuits.get(worker)
        return "closed" if circuit is None else circuit.state(now)

    async def _is_back(self, given: _Given, asked: Request[A]) -> bool:
        """Whether whoever was given something can be asked for it again: it lives, and it is the same life."""
        patience = SILENT if asked.is_repeatable else SILENT_ALONE
        until = self._now() + patience
        while (now := self._now()) < min(until, asked.until):
            is_lost = self._lost.get(given.worker) == given.instance
            if is_lost or self.registry.instance(given.worker) != given.instance:
                return False
            if not self._transport.is_connected:
                until = now + patience
            elif self.registry.is_alive(given.worker, now):
                return True
            await self.change(KNOCK)
        return False

    # What becomes of it

    def _learn(self, asked: Request[A], given: _Given, problem: Err, *, was_known: bool) -> tuple[Err, Step]:
        """What a failure says of the worker, and who is to be asked now."""
        if problem.reason == "gone" and was_known:
            problem = Err("lost", f"worker {given.worker} began a new life before it answered")
        match problem.reason:
            case "busy" | "newer version" | "gone":
                self._forget(asked.id, given)
                self.registry.gave_back(given.worker, is_full=problem.reason == "busy")
                return problem, "next"
            case "disconnected":
                # Whoever was asked knows the id: it is not done again, and what came of it is told again.
                return problem, "again" if asked.id else "stop"
            case "no responders" if was_known:
                return problem, "again"
            case "no responders":
                self._forget(asked.id, given)
                self._failed(given.worker, problem)
                return problem, "next"
            case "timeout" | "lost" | "malformed":
                if problem.reason == "lost":
                    self._lost[given.worker] = given.instance
                self._failed(given.worker, problem)
                if not asked.is_repeatable:
                    return problem, "stop"
                self._forget(asked.id, given)
                return problem, "next"
            case _:
                return problem, "stop"

    def _give(self, id: str, given: _Given) -> None:
        self.registry.gave(given.worker, self._now())
        if not id:
            return
        self._given[id] = given
        self._given.move_to_end(id)
        if len(self._given) > REMEMBERED:
            self._given.popitem(last=False)

    def _forget(self, id: str, given: _Given) -> None:
        """It was given to nobody after all; unless another who asked for the same has found somebody."""
        if self._given.get(id) == given:
            del self._given[id]

    def _took(self, worker: str, began: float) -> None:
        now = self._now()
        self.registry.took(worker, now - began, now)
        circuit = self._circuits.get(worker)
        if circuit is not None:
            circuit.succeeded()
        if self._curious:
            self._pulse()

    def _failed(self, worker: str, problem: Err) -> None:
        # Many may wait for one that dies: that is one failure.
        now = self._now()
        if self.registry.failed(worker, now):
            logger.warning("worker %s does not answer: %s", worker, problem.detail)
            self._circuits.setdefault(worker, self._circuit()).failed(now)

    def _pulse(self) -> None:
        for pulse in self._curious:
            if not pulse.done():
                pulse.set_result(None)

    # Waiting for one

    def _ask(self, asked: Request[A], given: _Given, timeout: float) -> Awaitable[A | Err]:
        is_waited_for = given.worker in self._waiting
        self._give(asked.id, given)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="watch over workers")
        # Who is alone gains nothing by waiting for others.
        written = asked.part() if is_waited_for and self._takes_parcels(given) else b""
        if not 0 < len(written) <= LARGE:
            return self._ask_alone(asked, given, timeout)
        return self._ask_together(asked, given, timeout, written)

    def _takes_parcels(self, given: _Given) -> bool:
        said = self.registry.said(given.worker)
        return self._parcels is not None and said is not None and said.understands >= self._parcels.understands

    async def _ask_alone(self, asked: Request[A], given: _Given, timeout: float) -> A | Err:
        subject = self._subject(given.worker)
        waiting = _Alone(given, asked.is_repeatable, self._loop)
        self._begin_waiting(waiting)
        is_over = False
        try:
            answer = await self._transport.request(
                subject, asked.write(given.instance), timeout=timeout, responder=given.worker, more=asked.more
            )
            is_over = isinstance(answer, Ok) or _is_over(asked, answer)
            return asked.read(answer.value) if isinstance(answer, Ok) else answer
        except asyncio.CancelledError:
            # As `asyncio.timeout` does it, which costs a tenth of a request.
            if waiting.problem is None or not waiting.is_given_up():
                raise
            is_over = _is_over(asked, waiting.problem)
            return waiting.problem
        finally:
            self._end_waiting(waiting)
            if not is_over and (word := asked.cancel()):
                await self._transport.publish(subject, word)

    async def _ask_together(self, asked: Request[A], given: _Given, timeout: float, written: bytes) -> A | Err:
        part = _Part(asked, given, self._now() + timeout, written, self._loop.create_future())
        parcel = self._gather(part)
        self._begin_waiting(part)
        is_over = False
        try:
            answer = await part.answer
            is_over = not isinstance(answer, Err) or _is_over(asked, answer)
            return answer
        finally:
            self._end_waiting(part)
            parcel.leave()
            if not is_over and (word := asked.cancel()):
                await self._transport.publish(self._subject(given.worker), word)

    def _begin_waiting(self, waiting: _Waiting) -> None:
        among = self._waiting.get(waiting.given.worker)
        if among is None:
            self._waiting[waiting.given.worker] = {waiting}
        else:
            among.add(waiting)

    def _end_waiting(self, waiting: _Waiting) -> None:
        among = self._waiting[waiting.given.worker]
        among.discard(waiting)
        if not among:
            del self._waiting[waiting.given.worker]

    # Travelling together

    def _gather(self, part: _Part[A]) -> _Parcel[A]:
        """The parcel in which it leaves at the end of this round."""
        parcel = self._gathering.get(part.given)
        if parcel is None or len(parcel.parts) == MOST_PARTS or parcel.size + len(part.written) > MOST_BYTES:
            self._gathering[part.given] = parcel = _Parcel()
            self._loop.call_soon(self._send_off, part.given, parcel)
        parcel.add(part)
        return parcel

    def _send_off(self, given: _Given, parcel: _Parcel[A]) -> None:
        if self._gathering.get(given) is parcel:
            del self._gathering[given]
        if not parcel.open:
            return
        parcel.task = self._loop.create_task(self._carry(given, parcel))
        self._carrying.add(parcel.task)
        parcel.task.add_done_callback(self._carrying.discard)

    async def _carry(self, given: _Given, parcel: _Parcel[A]) -> None:
        """Send it, and give each its answer; who was given up before does not travel."""
        parcels = self._parcels
        assert parcels is not None
        parts = [part for part in parcel.parts if not part.answer.done()]
        if not parts:
            return
        first = parts[0].asked
        is_alone = len(parts) == 1

        def take(data: bytes) -> bool:
            _settle(parts, [(0, first.read(data))] if is_alone else parcels.read(data, len(parts)))
            # When nobody waits any more, that is the end of it.
            return True

        written = [part.written for part in parts]
        answer = await self._transport.request(
            self._subject(given.worker),
            first.write(given.instance) if is_alone else parcels.write(written, given.instance),
            timeout=max(part.until for part in parts) - self._now(),
            responder=given.worker,
            more=take,
        )
        _settle(parts, answer if isinstance(answer, Err) else Err("malformed", "the worker says nothing"))

    async def _watch(self) -> None:
        """Knock at whoever is waited for, and give up who is silent."""
        quiet: dict[str, tuple[float | None, int]] = {}
        while self._waiting:
            await asyncio.sleep(KNOCK)
            quiet = {worker: self._listen_for(worker, quiet.get(worker)) for worker in self._waiting}
            for worker in quiet:
                said = self.registry.said(worker)
                # Who does not say how much it can do is of an older kind, and would take a knock for a request.
                if said is not None and said.slots:
                    door = self._transport.inbox(worker, DOOR)
                    self._doors[door] = worker
                    await self._transport.publish(self._subject(worker), b"", reply=door)
            now = self._now()
            for worker, (_, looks) in quiet.items():
                for waiting in self._waiting_for(worker):
                    patience = SILENT if waiting.is_repeatable else SILENT_ALONE
                    if looks * KNOCK > patience:
                        waiting.give_up(Err("lost", f"worker {worker} fell silent before it answered"))
                    elif now >= waiting.until:
                        waiting.give_up(Err("timeout", f"no answer from worker {worker} in time"))

    def _waiting_for(self, worker: str) -> Iterable[_Waiting]:
        return self._waiting.get(worker, ())

    def _listen_for(self, worker: str, before: tuple[float | None, int] | None) -> tuple[float | None, int]:
        """When it was heard, and how many looks ago: who stood still itself has not yet heard what came meanwhile."""
        heard = self.registry.heard_at(worker)
        return (heard, before[1] + 1) if before is not None and before[0] == heard else (heard, 0)

    def _nobody_opens(self, delivery: Delivery) -> None:
        worker = self._doors.get(delivery.subject)
        if worker is None or delivery.status != "503" or self._transport.connected_for(self._now()) < YOUNG:
            return
        self._nowhere[worker] = looks = self._nowhere.get(worker, 0) + 1
        is_dead = looks * KNOCK > NOWHERE
        for waiting in self._waiting_for(worker):
            if waiting.is_repeatable or is_dead:
                waiting.give_up(Err("lost", f"worker {worker} is gone"))

    def _note(self, sign: Sign) -> None:
        change = self.registry.heard(sign, self._now())
        was_nowhere = self._nowhere.pop(sign.worker, 0)
        self._lost.pop(sign.worker, None)
        if change != "known":
            logger.info("worker %s: %s", sign.worker, change)
        for waiting in self._waiting_for(sign.worker):
            if waiting.given.instance != sign.instance:
                waiting.give_up(Err("lost", f"worker {sign.worker} began a new life before it answered"))
            elif was_nowhere:
                # It had lost the connection, and perhaps the answer with it.
                waiting.give_up(Err("disconnected", f"worker {sign.worker} was away"))
        self._pulse()

    def _now(self) -> float:
        return self._loop.time()


def _is_over(asked: Request[A], problem: Err) -> bool:
    """Whether the worker need not be told that nobody waits: it has nothing to do, or may have done it."""
    return problem.reason != "timeout" and not (problem.reason == "lost" and asked.is_repeatable)


def _settle(parts: Sequence[_Part[A]], came: Iterable[tuple[int, A | Err]] | Err) -> None:
    """Give each its answer, the first that comes; what went wrong went wrong for all who still wait."""
    if isinstance(came, Err):
        came = [(number, came) for number in range(len(parts))]
    for number, answer in came:
        if not parts[number].answer.done():
            parts[number].answer.set_result(answer)
