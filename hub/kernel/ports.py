"""What the core needs of the world, and what each failure means."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from factory_contracts.messages import Attachment, Outbound
from factory_contracts.records import Effect, Record
from factory_contracts.work import AgentSpec, Events, Line
from hub.kernel.events import ModelEvent
from hub.kernel.routing import RoutingKey


class Fenced(Exception):
    """Another hub owns this partition now. Nothing may be written or sent any more: leave."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A record and the sequence the log gave it."""

    sequence: int
    record: Record


class Log(Protocol):
    """The truth: one append-only stream of records for each scope."""

    def epoch(self, partition: int) -> int:
        """The epoch this hub took for a partition."""
        ...

    async def append(self, key: RoutingKey, records: Sequence[Record], *, is_urgent: bool = True) -> tuple[Logged, ...]:
        """On return the records are persisted, together and in this order. Waits out a lost bus; raises `Fenced`.

        What is not urgent travels with whatever else is asked for in the same breath.

        Raises `Full` where the log refuses for want of space, `Unwritable` where it never will take these records:
        then nothing was written.
        """
        ...

    async def history(self, key: RoutingKey) -> tuple[Logged, ...]:
        """The scope's records from its last `Compacted` on, oldest first. Waits out a lost bus."""
        ...

    async def scopes(self, platform: str, bot_id: str) -> tuple[RoutingKey, ...]:
        """Every scope of a bot that has a log. Waits out a lost bus."""
        ...


class Full(Exception):
    """The log has no space left; nothing was written."""


class Unwritable(Exception):
    """The log will never take these records, for they are too large; nothing was written."""


class Outbox(Protocol):
    """The way to the screens. What is lost here heals at the next snapshot or final."""

    async def publish(self, event: Outbound) -> None:
        """Best effort, in order for each bot."""
        ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """A live CliPool worker and the instance that its last heartbeat named."""

    worker: str
    instance: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt at a turn, as it is told to a worker."""

    key: RoutingKey
    turn: str
    attempt: int
    chosen: Chosen
    agent: AgentSpec
    lines: tuple[Line, ...]
    pace_ms: int
    unknown_calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker does not run this attempt any more, or never did."""

    why: str


Report = Events | Lost


class Run(Protocol):
    """A running attempt as the hub sees it: its events from the first, without a gap."""

    async def next(self) -> Report:
        """The next events in order, exactly where the last ended; `Lost` when the attempt is beyond saving."""
        ...

    async def stop(self) -> None:
        """Ask the worker to end the turn; its end arrives as an event."""
        ...

    async def close(self, *, forget: bool) -> None:
        """Stop listening; with `forget` the worker may drop the turn, whose answer is on the log."""
        ...


class CliPool(Protocol):
    """The workers that run agent turns."""

    def pick(self) -> Chosen | None:
        """The best live worker, or None."""
        ...

    async def wait(self, seconds: float) -> None:
        """Until a worker may be there, or so long."""
        ...

    async def run(self, assignment: Assignment) -> Run:
        """Tell the worker to begin."""
        ...

    async def resume(self, assignment: Assignment) -> Run:
        """Take over an attempt that another hub began: its events from the first."""
        ...


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What a model is told of a tool, and what the harness must know to be trusted with it.

    `parameters` is a JSON schema; after `timeout` seconds the call is given up.
    """

    name: str
    description: str
    parameters: str
    effect: Effect = "read"
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool call came to, as the model is told."""

    call: str
    tool: str
    content: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """An assistant's message that asked for tools."""

    text: str
    calls: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A line of the conversation."""

    role: Literal["user", "assistant"]
    text: str
    attachments: tuple[Attachment, ...] = ()


ModelMessage = Spoken | ToolCalls | ToolResult


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model call: everything the model is shown."""

    model: str
    system: str
    messages: tuple[ModelMessage, ...]
    tools: tuple[ToolSpec, ...] = field(default=())


class Model(Protocol):
    """A provider's models. Its failures are `Failed` events, not exceptions."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """One call. The generator ends after `Finished` or `Failed`; closing it early ends the call."""
        ...


class Tool(Protocol):
    """A tool's implementation, registered apart from its `ToolSpec` under the same name."""

    async def run(self, arguments: str) -> str:
        """Run with the model's arguments, a JSON object. Raises `ToolFailed` with words that the model may read."""
        ...


class ToolFailed(Exception):
    """The tool could not do it; the sentence is an observation for the model."""
