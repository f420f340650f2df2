"""What the hub and a CliPool worker say to each other: commands, numbered events, records asked for."""

from typing import Annotated, Literal

from pydantic import Field

from factory_contracts.envelope import Envelope, Part, Wire
from factory_contracts.messages import (
    Answer,
    Attachment,
    Attempt,
    Count,
    Id,
    Outcome,
    Scope,
    Text,
    Token,
    Usage,
    Version,
)
from factory_contracts.records import Record
from factory_contracts.subjects import PARTITIONS


class Limits(Part):
    """How far one turn may go."""

    max_calls: Annotated[int, Field(ge=1, le=1000)] = 20
    max_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600


class AgentSpec(Part):
    """An agent as a worker needs it; the hash names its content."""

    name: Id
    hash: Id
    model: Id
    system: Answer = ""
    tools: tuple[Id, ...] = ()
    namespace: Id
    limits: Limits = Limits()


class Line(Part):
    """One line of a conversation as a model is shown it."""

    role: Literal["user", "assistant"]
    text: Answer
    attachments: tuple[Attachment, ...] = ()


Partition = Annotated[int, Field(ge=0, lt=PARTITIONS)]


class _Command(Envelope):
    turn: Id
    epoch: Count
    partition: Partition


class Run(_Command):
    """Run a turn. Known under the same attempt: no second start. A greater attempt cancels the older.

    With an instance it is meant for that life of the worker, and any other one does not know it.
    """

    kind: Literal["run"] = "run"
    attempt: Attempt
    instance: Id | None = None
    scope: Text
    agent: AgentSpec
    lines: tuple[Line, ...]
    pace_ms: Count = 250
    unknown_calls: tuple[Id, ...] = ()


class Resume(_Command):
    """Send the turn's events again, from this one on."""

    kind: Literal["resume"] = "resume"
    attempt: Attempt
    start: Count = 0


class Stop(_Command):
    """End the turn now; what was said stays."""

    kind: Literal["stop"] = "stop"


class Steer(_Command):
    """A new message joins the running turn at its next model call."""

    kind: Literal["steer"] = "steer"
    text: Text


class Forget(Envelope):
    """The answers of these turns, all of one partition, are on the log; their events are no longer needed."""

    kind: Literal["forget"] = "forget"
    turns: Annotated[tuple[Id, ...], Field(max_length=1_000)]
    epoch: Count
    partition: Partition


Command = Annotated[Run | Resume | Stop | Steer | Forget, Field(discriminator="kind")]


class Done(Envelope):
    """The command is carried out."""

    kind: Literal["ok"] = "ok"


class Unknown(Envelope):
    """No such turn here under that attempt."""

    kind: Literal["unknown"] = "unknown"
    turn: Id


class Stale(Envelope):
    """The command carries an epoch that is over."""

    kind: Literal["stale"] = "stale"
    epoch: Count


CommandReply = Annotated[Done | Unknown | Stale, Field(discriminator="kind")]


class SaidText(Part):
    """Text of the answer: all deltas since the last event, as one."""

    kind: Literal["text"] = "text"
    text: Answer


class ToolEvent(Part):
    """A tool was called, or came back; `text` is the one line a person may see."""

    kind: Literal["tool"] = "tool"
    call: Id
    tool: Id
    state: Literal["running", "ok", "error"]
    text: Text


class Ended(Part):
    """The turn is over; nothing follows. A failure carries a reference, never a reason."""

    kind: Literal["ended"] = "ended"
    outcome: Outcome
    usage: Usage = Usage()
    reference: Id | None = None


LlmEvent = Annotated[SaidText | ToolEvent | Ended, Field(discriminator="kind")]


class Events(Envelope):
    """A run of a turn's numbered events; `done` is their whole number, once it is known."""

    turn: Id
    attempt: Attempt
    instance: Id
    first: Count
    events: tuple[LlmEvent, ...]
    done: Count | None = None


class RecordRequest(Envelope):
    """This must be on the log: before it happens, or as soon as it has."""

    platform: Token
    bot_id: Token
    scope_id: Scope
    attempt: Attempt
    instance: Id
    record: Record


class Recorded(Envelope):
    """It is."""

    kind: Literal["recorded"] = "recorded"


class NotRecorded(Envelope):
    """It is not, and the effect must not happen: the attempt is over."""

    kind: Literal["not recorded"] = "not recorded"


RecordReply = Annotated[Recorded | NotRecorded, Field(discriminator="kind")]


class KeptTurn(Part):
    """A turn whose events a worker still holds, and how many there are."""

    scope: Text
    attempt: Attempt
    events: Count


class WorkerHeartbeat(Envelope):
    """A CliPool worker lives; all turns of its older instances are gone."""

    worker: Id
    instance: Id
    understands: Version = 1
    turns: dict[Id, KeptTurn] = Field(default_factory=dict)
    models: tuple[Id, ...] = ()


class HubHello(Envelope):
    """A new hub reigns; workers answer with a heartbeat."""

    epoch: Count
    understands: Version = 1


COMMAND: Wire[Command] = Wire(Command)
COMMAND_REPLY: Wire[CommandReply] = Wire(CommandReply)
EVENTS: Wire[Events] = Wire(Events)
RECORD_REQUEST: Wire[RecordRequest] = Wire(RecordRequest)
RECORD_REPLY: Wire[RecordReply] = Wire(RecordReply)
WORKER_HEARTBEAT: Wire[WorkerHeartbeat] = Wire(WorkerHeartbeat)
HUB_HELLO: Wire[HubHello] = Wire(HubHello)
