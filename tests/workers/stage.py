"""A CliPool worker on a bus, and a hub's hands to play with it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TypeVar

from adapters.models.scripted import Scripted, parse
from factory_contracts import subjects
from factory_contracts.records import Effect
from factory_contracts.work import (
    COMMAND,
    COMMAND_REPLY,
    EVENTS,
    HUB_HELLO,
    RECORD_REPLY,
    RECORD_REQUEST,
    WORKER_HEARTBEAT,
    AgentSpec,
    Approvals,
    Command,
    CommandReply,
    Ended,
    Events,
    HubHello,
    KnownCall,
    Limits,
    Line,
    LlmEvent,
    Recorded,
    RecordReply,
    RecordRequest,
    Run,
    SaidText,
    WorkerHeartbeat,
)
from factory_nats.result import Err
from factory_nats.transport import Delivery, Handler, Transport
from hub.kernel.events import Failed, Finished
from hub.kernel.ports import Equipped, Model, ModelRequest, Occasion, Prices, Tool, ToolSpec
from workers.clipool.kit import Given, Kit, Point, pass_by
from workers.clipool.worker import Worker

T = TypeVar("T")
WORKER = "worker-1"
SCOPE = "cli:local:a:b"
# An agent whose turns no stranger has touched asks nobody.
UNASKED = Approvals(external="tainted", write="never")


RECORDS = f"{subjects.clipool_record(WORKER, 0)[:-1]}*"


class Hub:
    """A hub that gives commands and notes what it is told; `grant` answers what is asked to be recorded."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.events: list[Events] = []
        self.replies: list[CommandReply] = []
        self.heartbeats: list[WorkerHeartbeat] = []
        self.records: list[RecordRequest] = []
        self.grant: Callable[[RecordRequest], RecordReply | None] = lambda _: Recorded()
        self._changed = asyncio.Event()
        self._answers: set[asyncio.Task[object]] = set()

    async def listen(self) -> None:
        """Hear everything but what is asked to be recorded."""
        listening: Mapping[str, Handler] = {
            f"{subjects.clipool_events(WORKER, 0)[:-1]}*": lambda one: self._note(self.events, EVENTS.decode(one.data)),
            subjects.heartbeat(subjects.CLIPOOL, WORKER): lambda one: self._note(
                self.heartbeats, WORKER_HEARTBEAT.decode(one.data)
            ),
            self.transport.inbox(WORKER, "commands"): lambda one: self._note(
                self.replies, COMMAND_REPLY.decode(one.data)
            ),
        }
        for subject, handler in listening.items():
            assert not isinstance(await self.transport.subscribe(subject, handler), Err)

    async def listen_to_records(self) -> None:
        assert not isinstance(await self.transport.subscribe(RECORDS, self._on_record), Err)

    async def tell(self, command: Command, *, reply: str | None = None) -> None:
        answer_to = self.transport.inbox(WORKER, "commands") if reply is None else reply
        await self.transport.publish(subjects.clipool_command(WORKER), COMMAND.encode(command), reply=answer_to)

    async def greet(self) -> None:
        await self.transport.publish(subjects.clipool_hello(), HUB_HELLO.encode(HubHello(epoch=1)))

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that this hub is to be told."""
        async with asyncio.timeout(10):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def until_over(self, turn: str = "t1") -> tuple[LlmEvent, ...]:
        """Wait until all events of a turn are here, and return them in order."""
        await self.until(lambda: self._is_whole(turn))
        return self.heard(turn)

    def heard(self, turn: str = "t1") -> tuple[LlmEvent, ...]:
        """The events of a turn's last attempt so far, in order; what came twice was the same."""
        found = self._found(turn)
        assert sorted(found) == list(range(len(found)))
        return tuple(found[number] for number in sorted(found))

    def _found(self, turn: str) -> dict[int, LlmEvent]:
        attempt = max((one.attempt for one in self.events if one.turn == turn), default=0)
        found: dict[int, LlmEvent] = {}
        for one in self.events:
            if (one.turn, one.attempt) == (turn, attempt):
                for number, event in enumerate(one.events, one.first):
                    assert found.setdefault(number, event) == event
        return found

    def _is_whole(self, turn: str) -> bool:
        done = {one.done for one in self.events if one.turn == turn and one.done is not None}
        return done == {len(self._found(turn))}

    def _note(self, notes: list[T], note: T) -> None:
        notes.append(note)
        self._changed.set()

    def _on_record(self, delivery: Delivery) -> None:
        asked = RECORD_REQUEST.decode(delivery.data)
        reply = self.grant(asked)
        self._note(self.records, asked)
        if reply is not None:
            task = asyncio.ensure_future(self.transport.publish(delivery.reply, RECORD_REPLY.encode(reply)))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)


@dataclass(slots=True)
class Bell:
    """A tool that may do something to the world, and counts how often it did."""

    rung: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    error: Exception | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, arguments: str, occasion: Occasion) -> str:
        self.reached.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        self.rung.append(arguments)
        return "rung"


@dataclass(frozen=True, slots=True)
class FakePrices:
    """What calls cost, the same for all: nothing, where nothing else is said."""

    most_of_all: Decimal | None = Decimal(0)
    cost_of_each: Decimal | None = Decimal(0)

    def most(self, request: ModelRequest) -> Decimal | None:
        return self.most_of_all

    def cost(self, model: str, ended: Finished | Failed) -> Decimal | None:
        return self.cost_of_each


@dataclass(slots=True)
class Points:
    """What was passed, in order."""

    passed: list[Point] = field(default_factory=list)

    def at(self, point: Point) -> None:
        self.passed.append(point)


def kit(
    steps: str,
    *,
    tools: Mapping[str, tuple[Effect, Tool]] | None = None,
    model: Model | None = None,
    prices: Prices | None = None,
    at: Callable[[Point], None] = pass_by,
    timeout: float = 30.0,
) -> Kit:
    """A worker's kit whose model answers everything with these steps."""
    given = tools or {}
    scripted = model or Scripted(parse(f"reply = [{{ steps = [{steps}] }}]", "steps", Path()))
    return Kit(
        models=Given({"scripted": scripted}),
        tools={
            name: Equipped(ToolSpec(name, "", "{}", effect=effect, timeout=timeout, is_foreign=False), tool)
            for name, (effect, tool) in given.items()
        },
        prices=prices or FakePrices(),
        now=lambda: 1000.0,
        at=at,
    )


def run(
    turn: str = "t1",
    *,
    said: str = "hello",
    attempt: int = 1,
    epoch: int = 7,
    tools: Sequence[str] = (),
    known_calls: Sequence[KnownCall] = (),
    pace_ms: int = 0,
    model: str = "scripted",
    limits: Limits | None = None,
    instance: str | None = None,
) -> Run:
    """A command to run a turn."""
    agent = AgentSpec(
        name="a",
        hash="h",
        model=model,
        tools=tuple(tools),
        namespace="a",
        limits=limits or Limits(),
        approvals=UNASKED,
    )
    return Run(
        turn=turn,
        epoch=epoch,
        partition=0,
        attempt=attempt,
        instance=instance,
        scope=SCOPE,
        user_id="ann",
        agent=agent,
        lines=(Line(role="user", text=said),),
        pace_ms=pace_ms,
        known_calls=tuple(known_calls),
    )


def text(events: Sequence[LlmEvent]) -> str:
    """What a person reads of these events."""
    return "".join(event.text for event in events if isinstance(event, SaidText))


def end(events: Sequence[LlmEvent]) -> Ended:
    """The last of these events."""
    assert isinstance(events[-1], Ended)
    return events[-1]


@asynccontextmanager
async def working(transport: Transport, given: Kit) -> AsyncIterator[Worker]:
    """A worker at work, which ends as a killed process ends: without a word."""
    worker = Worker(transport, given, lives())
    serving = asyncio.create_task(worker.serve(asyncio.Event()))
    try:
        yield worker
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def lives() -> Callable[[], str]:
    """Names for instances, each its own."""
    return lambda: f"life-{next(_LIVES)}"


_LIVES = count(1)
