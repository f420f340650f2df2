"""The CliPool's workers over NATS: who lives, what they are told, and their events without a gap.

A turn's events arrive numbered. What was lost on the way is asked for again; a worker is given up only when it says
that it does not know the turn, when its heartbeat shows a new instance, when it is silent, or when nobody answers on a
connection that is not young.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from adapters.nats.heartbeats import Heartbeats
from adapters.nats.listening import listen
from adapters.nats.places import Places
from factory_contracts import subjects
from factory_contracts.envelope import FIRST_VERSION, SCHEMA_VERSION, Malformed
from factory_contracts.work import (
    COMMAND,
    COMMAND_REPLY,
    EVENTS,
    HUB_HELLO,
    RECORD_REPLY,
    RECORD_REQUEST,
    WORKER_HEARTBEAT,
    Done,
    Erase,
    Events,
    Forget,
    HubHello,
    Line,
    RecordReply,
    RecordRequest,
    Resume,
    Stale,
    Steer,
    Stop,
    Unknown,
    WorkerHeartbeat,
)
from factory_contracts.work import Run as RunCommand
from factory_nats.registry import Sign, WorkerRegistry
from factory_nats.result import Err
from factory_nats.transport import Delivery, Transport
from hub.kernel.ports import Assignment, Chosen, Fenced, Lost, Report
from hub.kernel.routing import RoutingKey

logger = logging.getLogger(__name__)

SILENCE = 2.0
YOUNG = 2.0
TICK = 0.25
BACK_OFF = 0.1
GATHER = 1.0
FORGOTTEN_AT_ONCE = 1_000
# A heartbeat sent before the command arrived cannot name the turn.
GRACE = 1.5
ERASED_WITHIN = 20.0
MOST_AT_ONCE = 4_096


class NatsRun:
    """One attempt at a turn, as its events arrive."""

    def __init__(self, pool: "NatsCliPool", assignment: Assignment, now: float) -> None:
        self.assignment = assignment
        self.since = now
        self.next_event = 0
        self._pool = pool
        self._reports: deque[Report] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.is_stopping = False
        self._fenced = False
        self._behind = 0
        self._asked = -1

    async def next(self) -> Report:
        """The next events, or `Lost`; raises `Fenced` when a worker knows a newer hub."""
        while not self._reports:
            if self._fenced:
                raise Fenced
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._reports.popleft()

    async def stop(self) -> None:
        """Ask the worker to end the turn, again with its every heartbeat until it has."""
        self.is_stopping = True
        turn, part = self.assignment.turn, self.assignment.key.partition
        await self._pool.tell(self, Stop(turn=turn, epoch=self._pool.epoch(part), partition=part))

    async def steer(self, joining: str, line: Line, *, after: str | None = None, is_tainted: bool = False) -> None:
        """Have a message join the turn, if it is not over yet; its end tells whether it did."""
        part = self.assignment.key.partition
        command = Steer(
            turn=self.assignment.turn,
            epoch=self._pool.epoch(part),
            partition=part,
            joining=joining,
            after=after,
            line=line,
            tainted=is_tainted or None,
        )
        await self._pool.tell(self, command)

    async def close(self, *, forget: bool) -> None:
        """Stop listening; the worker keeps the turn unless it may forget it."""
        self._pool.drop(self)
        if forget:
            self._pool.forget(self.assignment.chosen.worker, self.assignment.turn, self.assignment.key.partition)

    def heard(self, events: Events) -> int | None:
        """Take what continues the stream; answers with an event number to be asked for, where there is a gap."""
        if events.attempt != self.assignment.attempt or events.instance != self.assignment.chosen.instance:
            return None
        if events.first > self.next_event:
            # One question for the gap is enough; each event after it would ask again.
            if self._asked == self.next_event:
                return None
            self._asked = self.next_event
            return self.next_event
        known = self.next_event - events.first
        if known:
            events = events.model_copy(update={"first": self.next_event, "events": events.events[known:]})
        if events.events:
            self.next_event += len(events.events)
            self._report(events)
        return None

    def beat(self, heartbeat: WorkerHeartbeat, now: float) -> int | None:
        """Compare with what the worker says it keeps; answers with an event number to be asked for."""
        if heartbeat.instance != self.assignment.chosen.instance:
            self.lose("the worker was started anew")
            return None
        kept = heartbeat.turns.get(self.assignment.turn)
        if kept is None or kept.attempt < self.assignment.attempt:
            # However late it is read, it may have been sent before the command came; what is answered comes after it.
            return self.next_event if now - self.since > GRACE else None
        self._behind = self._behind + 1 if kept.events > self.next_event else 0
        return self.next_event if self._behind > 1 else None

    def lose(self, why: str) -> None:
        """Nothing more will come of this attempt."""
        self._report(Lost(why))

    def fence(self) -> None:
        """A newer hub reigns."""
        self._fenced = True
        self._wake()

    def _report(self, report: Report) -> None:
        self._reports.append(report)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(frozen=True, slots=True)
class Keeper:
    """What the pool of workers asks the hub: may this turn be forgotten, and will you record this."""

    is_open: Callable[[str, str], bool]
    record: Callable[[str, RecordRequest], Awaitable[RecordReply | None]]


class NatsCliPool:
    """All live CliPool workers, seen from the hub."""

    def __init__(
        self, transport: Transport, epoch: Callable[[int], int], reigns: Callable[[int], Awaitable[bool]]
    ) -> None:
        self.epoch = epoch
        self._reigns = reigns
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._registry = WorkerRegistry(silence=SILENCE)
        self._runs: dict[str, NatsRun] = {}
        self._heard: dict[str, float] = {}
        self._providers: dict[str, tuple[str, ...]] = {}
        self._understood: dict[str, tuple[str, int]] = {}
        self._closed: dict[tuple[str, int], dict[str, None]] = {}
        self._beat = asyncio.Event()
        self._heartbeats = Heartbeats(WORKER_HEARTBEAT.decode)
        self._keeper: Keeper | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._ticked = self._loop.time()
        handlers = {subjects.plane("events")[0]: self._on_events, subjects.plane("record")[0]: self._on_record}
        self._places = Places(transport, handlers)

    async def start(self) -> None:
        """Listen to the workers' heartbeats and greet them."""
        for subject, handler in (
            (subjects.heartbeats(subjects.CLIPOOL), self._on_heartbeat),
            (self._transport.inbox("*", "commands.*.*"), self._on_reply),
        ):
            begun = await listen(self._transport, subject, handler)
            if isinstance(begun, Err):
                raise RuntimeError(f"the hub cannot listen to {subject}: {begun.detail}")
        await self._greet()
        self._tick()

    async def open(self, parts: Collection[int] | None = None) -> None:
        """Listen to what is said in these partitions, or in all."""
        await self._places.open(parts)

    def leave(self, part: int) -> None:
        """Another hub hears what is said in this partition."""
        self._places.leave(part)
        self._runs = {turn: run for turn, run in self._runs.items() if run.assignment.key.partition != part}
        # What was unknown here may be open where the partition is now, also where that is here once more.
        self._closed = {to: turns for to, turns in self._closed.items() if to[1] != part}

    async def _greet(self) -> None:
        """Tell all workers who reigns, and how much they may say."""
        hello = HubHello(epoch=self.epoch(0), understands=SCHEMA_VERSION)
        await self._transport.publish(subjects.clipool_hello(), HUB_HELLO.encode(hello, FIRST_VERSION))

    def _understood_by(self, worker: str) -> int:
        return self._understood[worker][1] if worker in self._understood else FIRST_VERSION

    def serve(self, keeper: Keeper) -> None:
        """From now on records are granted, and turns that are closed may be forgotten."""
        self._keeper = keeper

    def pick(self) -> Chosen | None:
        """The best live worker: of those heard of, the one with the fewest turns."""
        now = self._loop.time()
        for worker in self._registry.candidates(now):
            instance = self._registry.instance(worker)
            if instance is not None:
                self._registry.gave(worker, now)
                return Chosen(worker, instance)
        return None

    async def wait(self, seconds: float) -> None:
        """Until the next heartbeat of any worker, or so long."""
        self._beat.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._beat.wait()

    def providers(self) -> frozenset[str]:
        """What the heartbeats of those who live name."""
        living = self._registry.candidates(self._loop.time())
        return frozenset(provider for worker in living for provider in self._providers.get(worker, ()))

    async def run(self, assignment: Assignment) -> NatsRun:
        """Tell the worker to begin; its first events are its word that it did."""
        run = self._open(assignment)
        await self.tell(run, self._run_command(assignment))
        return run

    async def resume(self, assignment: Assignment) -> NatsRun:
        """Ask for the attempt's events from the first."""
        run = self._open(assignment)
        await self._ask(run, 0)
        return run

    async def tell(self, run: NatsRun, command: RunCommand | Resume | Stop | Steer) -> None:
        """Send a command whose refusal, and nothing else, comes back."""
        worker = run.assignment.chosen.worker
        # The attempt stands in it: what is said of an attempt that was given up must not end the next one.
        reply = self._transport.inbox(worker, f"commands.{command.turn}.{run.assignment.attempt}")
        asked = COMMAND.encode(command, self._understood_by(worker))
        sent = await self._transport.publish(subjects.clipool_command(worker), asked, reply=reply)
        if isinstance(sent, Err):
            if sent.reason in ("disconnected", "timeout"):
                # It was not sent, and that says nothing of the worker.
                self._again(run)
            else:
                logger.error("a command to %s cannot be sent: %s: %s", worker, sent.reason, sent.detail)
                run.lose(sent.reason)

    async def erase(self, key: RoutingKey, namespaces: Sequence[str], until: float) -> None:
        """Have every live worker remove what it keeps of a scope, and ask on until each has answered or is gone."""
        command = Erase(
            scope=key.to_pool_id(),
            namespaces=tuple(namespaces),
            until=until,
            epoch=self.epoch(key.partition),
            partition=key.partition,
        )
        erased: set[str] = set()
        while True:
            missing = [one for one in self._registry.candidates(self._loop.time()) if one not in erased]
            if erased and not missing:
                return
            answers = await asyncio.gather(*(self._have_erased(worker, command) for worker in missing))
            erased.update(worker for worker, is_erased in zip(missing, answers, strict=True) if is_erased)
            if not erased or not all(answers):
                await self.wait(SILENCE)

    async def _have_erased(self, worker: str, command: Erase) -> bool:
        subject = subjects.clipool_command(worker)
        asked = COMMAND.encode(command, self._understood_by(worker))
        answer = await self._transport.request(subject, asked, timeout=ERASED_WITHIN, responder=worker)
        if isinstance(answer, Err):
            logger.info("%s has not removed what it keeps of a scope: %s", worker, answer.detail)
            return False
        try:
            return isinstance(COMMAND_REPLY.decode(answer.value), Done)
        except Malformed as error:
            logger.error("a reply of %s is refused: %s", worker, error)
            return False

    def forget(self, worker: str, turn: str, part: int) -> None:
        """The worker may drop the turn, and is told with others; if that is lost, its heartbeat reminds us."""
        if not self._closed:
            self._loop.call_later(GATHER, self._forget)
        self._closed.setdefault((worker, part), {})[turn] = None

    def drop(self, run: NatsRun) -> None:
        """Stop listening for an attempt."""
        if self._runs.get(run.assignment.turn) is run:
            del self._runs[run.assignment.turn]

    async def close(self) -> None:
        """End what is still being answered; a worker that drains waits to be told what it may forget."""
        if self._ticker is not None:
            self._ticker.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._tell_closed()

    def _open(self, assignment: Assignment) -> NatsRun:
        run = NatsRun(self, assignment, self._loop.time())
        self._runs[assignment.turn] = run
        return run

    def _run_command(self, assignment: Assignment) -> RunCommand:
        part = assignment.key.partition
        return RunCommand(
            turn=assignment.turn,
            epoch=self.epoch(part),
            partition=part,
            attempt=assignment.attempt,
            instance=assignment.chosen.instance,
            scope=assignment.key.to_pool_id(),
            user_id=assignment.user_id,
            person=assignment.person,
            agent=assignment.agent,
            lines=assignment.lines,
            pace_ms=assignment.pace_ms,
            tainted=assignment.is_tainted or None,
            known_calls=assignment.known_calls,
            aloud=assignment.aloud,
            engine=assignment.engine,
            known_steps=assignment.known_steps or None,
        )

    async def _ask(self, run: NatsRun, start: int) -> None:
        part = run.assignment.key.partition
        await self.tell(
            run,
            Resume(
                turn=run.assignment.turn,
                epoch=self.epoch(part),
                partition=part,
                attempt=run.assignment.attempt,
                start=start,
            ),
        )

    def _again(self, run: NatsRun) -> None:
        """Ask once more in a moment; a run that was never heard of answers "unknown" then."""
        self._loop.call_later(BACK_OFF, self._spawn_ask, run)

    def _spawn_ask(self, run: NatsRun) -> None:
        if self._runs.get(run.assignment.turn) is run:
            self._spawn(self._ask(run, run.next_event))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_events(self, delivery: Delivery) -> None:
        try:
            events = EVENTS.decode(delivery.data)
        except Malformed as error:
            logger.error("events on %s are refused: %s", delivery.subject, error)
            # Asked for once more they would be the same, and the turn would wait for ever.
            turn, attempt = _named_in(delivery.data)
            if (run := self._speaker(delivery, turn)) is not None and attempt == run.assignment.attempt:
                run.lose("the worker says what cannot be read")
                self._spawn(run.stop())
            return
        if (run := self._speaker(delivery, events.turn)) is None:
            return
        missing = run.heard(events)
        if missing is not None:
            self._spawn(self._ask(run, missing))

    def _speaker(self, delivery: Delivery, turn: str) -> NatsRun | None:
        """The run that is told of here; only the worker that was told to run the turn may speak for it."""
        run = self._runs.get(turn)
        if run is None:
            return None
        assignment = run.assignment
        ours = subjects.clipool_events(assignment.chosen.worker, assignment.key.partition)
        return run if delivery.subject == ours else None

    def _on_heartbeat(self, delivery: Delivery) -> None:
        heartbeat = self._heartbeats.read(delivery)
        if heartbeat is None:
            return
        now = self._loop.time()
        self._registry.heard(Sign(heartbeat.worker, heartbeat.instance, float(len(heartbeat.turns))), now)
        # A worker that drains offers no models any more.
        if not heartbeat.models:
            self._registry.mark_stale(heartbeat.worker)
        self._heard[heartbeat.worker] = now
        self._providers[heartbeat.worker] = heartbeat.models
        life = heartbeat.instance, heartbeat.understands
        if self._understood.get(heartbeat.worker) != life:
            # It may have come after we greeted those who were there.
            self._understood[heartbeat.worker] = life
            self._spawn(self._greet())
        self._beat.set()
        for run in tuple(self._runs.values()):
            if run.assignment.chosen.worker == heartbeat.worker:
                missing = run.beat(heartbeat, now)
                if missing is not None:
                    self._spawn(self._ask(run, missing))
                if run.is_stopping:
                    self._spawn(run.stop())
        if self._keeper is not None:
            for turn, kept in heartbeat.turns.items():
                part = subjects.partition(kept.scope.split(":", 2)[-1])
                if part in self._places and turn not in self._runs and not self._keeper.is_open(kept.scope, turn):
                    self.forget(heartbeat.worker, turn, part)

    def _forget(self) -> None:
        self._spawn(self._tell_closed())

    async def _tell_closed(self) -> None:
        closed, self._closed = self._closed, {}
        for (worker, part), turns in closed.items():
            # One partition's epoch vouches for the turns of that partition alone.
            command = Forget(turns=tuple(turns)[:FORGOTTEN_AT_ONCE], epoch=self.epoch(part), partition=part)
            asked = COMMAND.encode(command, self._understood_by(worker))
            await self._transport.publish(subjects.clipool_command(worker), asked)

    def _on_reply(self, delivery: Delivery) -> None:
        _, worker, *_, turn, attempt = delivery.subject.split(".")
        run = self._runs.get(turn)
        if run is None or (worker, attempt) != (run.assignment.chosen.worker, str(run.assignment.attempt)):
            return
        if delivery.status == "503":
            self._nobody(run)
            return
        try:
            reply = COMMAND_REPLY.decode(delivery.data)
        except Malformed as error:
            logger.error("a worker's reply is refused: %s", error)
            return
        match reply:
            case Unknown():
                # It may have been started anew unheard: until it says who it is, nothing is given to it.
                self._registry.mark_stale(run.assignment.chosen.worker)
                run.lose("the worker does not know the turn")
            case Stale():
                self._spawn(self._is_over(run, reply.epoch))
            case _:
                pass

    async def _is_over(self, run: NatsRun, epoch: int) -> None:
        """A worker names a higher epoch: the log says whether it is another hub's, or of a log that is gone."""
        worker = run.assignment.chosen.worker
        logger.error("%s knows of epoch %s", worker, epoch)
        if await self._reigns(run.assignment.key.partition):
            self._registry.mark_stale(worker)
            run.lose("the worker obeys a hub of another log")
        else:
            run.fence()

    def _nobody(self, run: NatsRun) -> None:
        """Nobody listens where the worker should: no death near a reconnect, for it may only be late."""
        now = self._loop.time()
        if self._transport.connected_for(now) < YOUNG:
            self._again(run)
            return
        self._registry.mark_stale(run.assignment.chosen.worker)
        run.lose("nobody answers at the worker")

    def _on_record(self, delivery: Delivery) -> None:
        # Whoever asks beyond this hears nothing, and so asks again when there is room.
        if len(self._tasks) < MOST_AT_ONCE:
            self._spawn(self._grant(delivery))

    async def _grant(self, delivery: Delivery) -> None:
        try:
            worker, part = subjects.read_record(delivery.subject)
            request = RECORD_REQUEST.decode(delivery.data)
        except (subjects.BadToken, Malformed) as error:
            logger.error("a record asked for on %s is refused: %s", delivery.subject, error)
            return
        if self._keeper is None or not self._transport.owns_inbox(delivery.reply, worker):
            return
        if subjects.partition(request.scope_id) != part:
            logger.error("a record asked for on %s is refused: it is another partition's", delivery.subject)
            return
        try:
            reply = await self._keeper.record(worker, request)
        except Fenced:
            return
        # Silence makes the worker ask again.
        if reply is not None:
            await self._transport.publish(delivery.reply, RECORD_REPLY.encode(reply, self._understood_by(worker)))

    def _tick(self) -> None:
        """Give up workers that fell silent while our own connection was there all along."""
        now = self._loop.time()
        # Who stood still itself has not yet read what came meanwhile, and heard silence where there was none.
        was_awake = now - self._ticked < YOUNG
        self._ticked = now
        if self._runs and was_awake and self._transport.connected_for(now) > YOUNG:
            for run in tuple(self._runs.values()):
                heard = max(self._heard.get(run.assignment.chosen.worker, 0.0), run.since)
                if now - heard > SILENCE:
                    self._registry.mark_stale(run.assignment.chosen.worker)
                    run.lose("the worker fell silent")
        self._ticker = self._loop.call_later(TICK, self._tick)


def _named_in(raw: bytes) -> tuple[str, object]:
    """The turn and the attempt that events name which cannot be read otherwise; empty where not even that can be."""
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        return "", None
    if not isinstance(said, dict) or not isinstance(turn := said.get("turn"), str):
        return "", None
    return turn, said.get("attempt")
