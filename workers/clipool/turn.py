"""One attempt at a turn: asks the harness what to do, does it, and tells the harness what came of it."""

import asyncio
import logging
from asyncio import Task, TaskGroup, TimerHandle
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, Protocol, TypeVar

from factory_contracts.records import Record, ToolDone, ToolStarted, record_id
from factory_contracts.work import Line, Run, ToolEvent
from hub.kernel import harness
from hub.kernel.events import Failed, Finished, Said
from hub.kernel.harness import AskModel, End, Say, Show, ToolFinished, UseTool
from hub.kernel.ports import Model, Spoken, Tool, ToolFailed, ToolSpec
from workers.clipool.tape import Tape, clean

logger = logging.getLogger(__name__)

# A model that never waits would hold the event loop: after so many of its events the others have their turn.
EVENTS_AT_ONCE = 64

T = TypeVar("T")
Point = Literal["commanded", "first delta", "mid-stream", "tool started", "tool done"]


def pass_by(_: Point) -> None:
    """Nothing happens at a named point; tests put a death here."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What turns are carried out with: models by provider, tools by name with their specs apart, wall time, a seam."""

    models: Mapping[str, Model]
    specs: Mapping[str, ToolSpec]
    tools: Mapping[str, Tool]
    now: Callable[[], float]
    at: Callable[[Point], None] = pass_by


class Desk(Protocol):
    """What a turn needs of the worker that runs it."""

    def stir(self, turn: "Turn") -> None:
        """The turn has something to tell; it will be asked to `take` it soon."""
        ...

    async def record(self, run: Run, record: Record) -> bool:
        """True once the record is on the log, false when the attempt is over. Waits while nobody answers."""
        ...

    def drop(self, turn: "Turn") -> None:
        """End the turn here and keep nothing of it."""
        ...


class Turn:
    """Everything about one attempt, from its command until it is forgotten."""

    __slots__ = (
        "_cursor",
        "_desk",
        "_due",
        "_heard",
        "_is_stirred",
        "_kit",
        "_loop",
        "_state",
        "_tape",
        "_timer",
        "_todo",
        "deadline",
        "run",
        "task",
    )

    def __init__(self, run: Run, instance: str, kit: Kit, desk: Desk) -> None:
        self.run = run
        self.task: Task[None] | None = None
        self._kit = kit
        self._desk = desk
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + run.agent.limits.max_seconds
        self._tape = Tape(run.turn, run.attempt, instance)
        self._state: harness.State = harness.Idle()
        self._todo: list[AskModel | UseTool] = []
        self._heard: list[str] = []
        self._cursor = 0
        self._due = 0.0
        self._is_stirred = False
        self._timer: TimerHandle | None = None
        self._step(self._begin())

    @property
    def is_over(self) -> bool:
        """Whether all is said."""
        return self._tape.is_over

    @property
    def is_stirred(self) -> bool:
        """Whether something waits to be taken."""
        return self._is_stirred

    @property
    def told(self) -> int:
        """How many events were published."""
        return self._tape.told

    @property
    def reference(self) -> str:
        """What a person can quote and an operator can find."""
        return sha256(f"{self.run.turn}.{self.run.attempt}".encode()).hexdigest()[:8]

    async def carry_out(self) -> None:
        """From the first model call to the end; whatever breaks on the way ends the turn and not the worker."""
        while self._todo:
            todo, self._todo = self._todo, []
            error = await _guard(self._do(todo))
            if error is not None:
                logger.error("turn %s met a fault of ours", self.run.turn, exc_info=error)
                self.feed(Failed(type(error).__name__))

    def feed(self, event: harness.Event) -> None:
        """Tell the harness, and do at once what takes no time."""
        self._hear()
        self._step(event)

    def close(self) -> None:
        """Leave off: nothing more is done or told."""
        self._state = harness.Over(())
        self._todo.clear()
        self._is_stirred = False
        if self._timer is not None:
            self._timer.cancel()
        if self.task is not None:
            self.task.cancel()

    def tell_from(self, start: int) -> bool:
        """Tell everything from this event on once more; false when there is nothing yet."""
        if not self._heard and not self._tape.has_after(start):
            return False
        self._cursor = min(self._cursor, start)
        self._stir_now()
        return True

    def take(self) -> list[bytes]:
        """What is to be published now."""
        self._hear()
        self._is_stirred = False
        self._due = self._loop.time() + self.run.pace_ms / 1000
        payloads = self._tape.tell(self._cursor)
        self._cursor = self._tape.told
        return payloads

    def _begin(self) -> harness.Begin:
        run, specs, tools = self.run, self._kit.specs, self._kit.tools
        missing = [name for name in run.agent.tools if name not in specs or name not in tools]
        if missing:
            logger.warning("agent %s wants tools that are not here: %s", run.agent.name, ", ".join(missing))
        return harness.Begin(
            model=run.agent.model,
            system=run.agent.system,
            messages=tuple(_spoken(line) for line in run.lines),
            reference=self.reference,
            tools=tuple(specs[name] for name in run.agent.tools if name not in missing),
            max_calls=run.agent.limits.max_calls,
            unknown_calls=frozenset(run.unknown_calls),
        )

    async def _do(self, todo: list[AskModel | UseTool]) -> None:
        match todo:
            case [AskModel() as ask]:
                await self._ask(ask)
            case _:
                async with TaskGroup() as group:
                    for command in todo:
                        if isinstance(command, UseTool):
                            group.create_task(self._use(command))

    async def _ask(self, ask: AskModel) -> None:
        if ask.delay:
            await asyncio.sleep(ask.delay)
        provider = ask.request.model.partition(":")[0]
        model = self._kit.models.get(provider)
        if model is None:
            self.feed(Failed(f"there is no model provider {provider!r} here"))
            return
        heard = self._heard
        count = 0
        async with aclosing(model.stream(ask.request)) as stream:
            async for event in stream:
                # What it says is gathered here and reaches the harness once for each time that it is told on.
                if isinstance(event, Said):
                    heard.append(event.text)
                    if not self._is_stirred:
                        self._stir_soon()
                else:
                    self.feed(event)
                    if isinstance(event, Finished | Failed):
                        return
                count += 1
                if count % EVENTS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        self.feed(Failed("the model's stream broke off", is_transient=True))

    async def _use(self, use: UseTool) -> None:
        run, has_effect = self.run, use.tool.effect != "read"
        if has_effect:
            started = ToolStarted(
                id=record_id(run.turn, "tool started", run.attempt, use.call),
                turn=run.turn,
                at=self._kit.now(),
                attempt=run.attempt,
                call=use.call,
                tool=use.tool.name,
                effect=use.tool.effect,
                arguments=use.digest,
            )
            if not await self._desk.record(run, started):
                self._desk.drop(self)
                return
            # What was awaited may have swallowed a cancellation, and an effect cannot be taken back.
            if isinstance(self._state, harness.Over):
                return
            self._kit.at("tool started")
        finished = await self._run_tool(use)
        if has_effect:
            self._kit.at("tool done")
            done = ToolDone(
                id=record_id(run.turn, "tool done", run.attempt, use.call),
                turn=run.turn,
                at=self._kit.now(),
                attempt=run.attempt,
                call=use.call,
                outcome="error" if finished.is_error else "ok",
            )
            if not await self._desk.record(run, done):
                self._desk.drop(self)
                return
        self.feed(finished)

    async def _run_tool(self, use: UseTool) -> ToolFinished:
        result = await _guard(_within(use.tool.timeout, self._kit.tools[use.tool.name].run(use.arguments)))
        match result:
            case str():
                return ToolFinished(use.call, result)
            case ToolFailed():
                return ToolFinished(use.call, str(result), is_error=True)
            case TimeoutError():
                words = f"No answer within {use.tool.timeout:g} s; whether it took effect is not known."
                return ToolFinished(use.call, words, is_error=True)
            case Exception():
                logger.error("tool %s broke in turn %s", use.tool.name, self.run.turn, exc_info=result)
                return ToolFinished(use.call, "The tool itself broke.", is_error=True)

    def _hear(self) -> None:
        if self._heard:
            text = "".join(self._heard)
            self._heard.clear()
            self._step(Said(text))

    def _step(self, event: harness.Event) -> None:
        self._state, commands = harness.step(self._state, event)
        for command in commands:
            match command:
                case Say():
                    self._tape.say(command.text)
                    self._stir_soon()
                case Show():
                    line = clean(command.text)
                    name = clean(command.tool)
                    self._tape.show(ToolEvent(call=command.call, tool=name, state=command.state, text=line))
                    self._stir_soon()
                case AskModel() | UseTool():
                    self._todo.append(command)
                case End():
                    self._end(command)

    def _end(self, end: End) -> None:
        has_failed = end.outcome == "failed"
        if has_failed:
            logger.error("turn %s failed, reference %s: %s", self.run.turn, self.reference, end.reason)
        self._todo.clear()
        self._tape.end(end.outcome, end.usage, self.reference if has_failed else None)
        self._stir_now()
        # An end that comes from outside finds a model or tools at work.
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def _stir_soon(self) -> None:
        """Be heard as soon as the pace allows it, the first time at once."""
        if self._is_stirred:
            return
        self._is_stirred = True
        if self._loop.time() >= self._due:
            self._desk.stir(self)
        else:
            self._timer = self._loop.call_at(self._due, self._desk.stir, self)

    def _stir_now(self) -> None:
        self._is_stirred = True
        if self._timer is not None:
            self._timer.cancel()
        self._desk.stir(self)


async def _within(seconds: float, work: Awaitable[T]) -> T:
    # Before Python 3.12 `wait_for` could swallow a cancellation.
    async with asyncio.timeout(seconds):
        return await work


async def _guard(work: Awaitable[T]) -> T | Exception:
    try:
        return await work
    # Models and tools are other people's code: what they raise is an event of one turn, and the worker has many.
    except Exception as error:
        return error


def _spoken(line: Line) -> Spoken:
    return Spoken(line.role, line.text, line.attachments)
