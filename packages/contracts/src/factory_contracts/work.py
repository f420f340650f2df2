"""What the hub and a CliPool worker say to each other: commands, numbered events, records asked for."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from factory_contracts.envelope import Envelope, Part, Since, Wire
from factory_contracts.messages import (
    Answer,
    Attachment,
    Attachments,
    Attempt,
    Choices,
    Count,
    Id,
    Outcome,
    Scope,
    Text,
    Token,
    Usage,
    Version,
)
from factory_contracts.records import Effect, Identity, Record, StepOutput
from factory_contracts.subjects import CLIPOOL, HUB, PARTITIONS, capability_token
from factory_contracts.trace import Excerpt, Step

# Of more workers nobody is told what is thought of them.
MOST_OPINIONS = 100


def _is_asked(capability: str) -> str:
    if capability_token(capability) in (HUB, CLIPOOL):
        raise ValueError(f"capability {capability!r}: no agent asks for that, the system itself does")
    return capability


Capability = Annotated[str, AfterValidator(_is_asked)]


EngineName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Limits(Part):
    """How far one turn may go."""

    max_calls: Annotated[int, Field(ge=1, le=1000)] = 20
    max_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 8_192
    stall_seconds: Annotated[int, Field(ge=1, le=3_600)] = 60


class McpServer(Part):
    """A server of tools: a command that speaks over its standard streams, or an address.

    `env` and `bearer` name variables of the worker's surroundings; `reads` names the tools that change nothing. How a
    trusted one describes its tools is taken for the operator's own words; what they bring is not.
    """

    name: Token
    command: tuple[Text, ...] = ()
    url: Text = ""
    env: tuple[Id, ...] = ()
    bearer: Id | None = None
    reads: tuple[Id, ...] = ()
    trusted: bool | None = None


class Files(Part):
    """A folder that an agent may look into; the worker keeps one for it where none is named."""

    root: Text = ""
    can_write: bool = True


class Approvals(Part):
    """When a person is asked before a tool acts, and how many seconds there are to answer.

    A turn is tainted once its model was shown what strangers, files or tools brought from elsewhere. A tainted turn may
    reach the `domains` without asking, beside those that its person named.
    """

    external: Literal["always", "tainted"] = "always"
    write: Literal["always", "tainted", "never"] = "tainted"
    seconds: Annotated[int, Field(ge=10, le=86_400)] = 3_600
    domains: tuple[Id, ...] = ()


class AgentSpec(Part):
    """An agent as a worker needs it; the hash names its content."""

    name: Id
    hash: Id
    model: Id
    fallbacks: tuple[Id, ...] = ()
    system: Answer = ""
    tools: tuple[Id, ...] = ()
    skills: tuple[Token, ...] = ()
    mcp: tuple[McpServer, ...] = ()
    helpers: tuple["AgentSpec", ...] = ()
    workers: tuple[Capability, ...] = ()
    engines: tuple[EngineName, ...] | None = None
    files: Files | None = None
    memory: Literal["scope", "person", "agent"] = "scope"
    namespace: Id
    temperature: float | None = None
    thinking: Count = 0
    own_tools: tuple[Id, ...] = ()
    permission_mode: Id | None = None
    is_dry: bool = False
    allow_unpriced: bool = False
    approvals: Approvals = Approvals()
    description: Text = ""
    limits: Limits = Limits()


class Line(Part):
    """One line of a conversation as a model is shown it.

    Of a `trusted` one, all that is not labelled as somebody else's was written by an owner or somebody trusted.
    """

    role: Literal["user", "assistant"]
    text: Answer
    attachments: tuple[Attachment, ...] = ()
    trusted: bool | None = None


Partition = Annotated[int, Field(ge=0, lt=PARTITIONS)]


class _Command(Envelope):
    turn: Id
    epoch: Count
    partition: Partition


class KnownCall(Part):
    """A call with an effect that an earlier attempt began, and what is known of it."""

    call: Id
    outcome: Literal["ok", "error", "unknown"]
    content: Excerpt = ""
    attachments: Attachments | None = None


class Run(_Command):
    """Run a turn. Known under the same attempt: no second start. A greater attempt cancels the older.

    With an instance it is meant for that life of the worker, and any other one does not know it. It begins `tainted`
    where its lines hold what strangers wrote, or what came from elsewhere in an earlier turn. A `person` is named where
    who speaks is one with others: "platform:user".
    Where there is something to be said `aloud`, that is all that is done. Where an `engine` is named, the agent runs
    it, and the last line is what it is given; `known_steps` are those that an earlier attempt has behind it.
    """

    kind: Literal["run"] = "run"
    attempt: Attempt
    instance: Id | None = None
    scope: Text
    user_id: Id
    person: Identity | None = None
    agent: AgentSpec
    lines: tuple[Line, ...]
    pace_ms: Count = 250
    tainted: bool | None = None
    known_calls: tuple[KnownCall, ...] = ()
    aloud: Answer | None = None
    engine: EngineName | None = None
    known_steps: tuple[StepOutput, ...] | None = None


class Resume(_Command):
    """Send the turn's events again, from this one on."""

    kind: Literal["resume"] = "resume"
    attempt: Attempt
    start: Count = 0


class Stop(_Command):
    """End the turn now; what was said stays."""

    kind: Literal["stop"] = "stop"


class Steer(_Command):
    """A new message, a turn of its own until it is heard, joins the running one at its next model call.

    That is tainted from then on where the message is. It may come `after` another one that joins: where that was not
    heard, neither is this.
    """

    kind: Literal["steer"] = "steer"
    joining: Id
    line: Line
    tainted: bool | None = None
    after: Annotated[Id | None, Since(3, may_be_missed=True)] = None


class Forget(Envelope):
    """The answers of these turns, all of one partition, are on the log; their events are no longer needed."""

    kind: Literal["forget"] = "forget"
    turns: Annotated[tuple[Id, ...], Field(max_length=1_000)]
    epoch: Count
    partition: Partition


class Erase(Envelope):
    """All that was said in a scope until then is removed: the worker removes what it keeps of it on its disk, and only
    then answers that it did. The namespaces are those in which agents may have noted something there."""

    kind: Literal["erase"] = "erase"
    scope: Text
    namespaces: tuple[Id, ...]
    until: float
    epoch: Count
    partition: Partition


Command = Annotated[Run | Resume | Stop | Steer | Forget | Erase, Field(discriminator="kind")]


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


class Stepped(Part):
    """A model call or a tool call is over, and this is what came of it."""

    kind: Literal["step"] = "step"
    step: Step


class Ended(Part):
    """The turn is over; nothing follows. A failure carries a reference, never a reason.

    `joined` names the turns whose messages were heard in this one.
    """

    kind: Literal["ended"] = "ended"
    outcome: Outcome
    usage: Usage = Usage()
    reference: Id | None = None
    joined: tuple[Id, ...] = ()
    attachments: Attachments | None = None
    choices: Choices | None = None
    tainted: bool | None = None


LlmEvent = Annotated[SaidText | ToolEvent | Stepped | Ended, Field(discriminator="kind")]


class Events(Envelope):
    """A run of a turn's numbered events; `done` is their whole number, once it is known."""

    turn: Id
    attempt: Attempt
    instance: Id
    first: Count
    events: tuple[LlmEvent, ...]
    done: Count | None = None


class ApprovalWanted(Part):
    """A person is to be asked before this call is made, for these reasons; the arguments are JSON in one spelling."""

    kind: Literal["approval wanted"] = "approval wanted"
    turn: Id
    call: Id
    tool: Id
    effect: Effect
    arguments: Text
    reasons: tuple[Text, ...]
    seconds: Count


Requested = Annotated[Record | ApprovalWanted, Field(discriminator="kind")]


class RecordRequest(Envelope):
    """This must be on the log: before it happens, or as soon as it has. Or: this must be allowed before it happens."""

    platform: Token
    bot_id: Token
    scope_id: Scope
    attempt: Attempt
    instance: Id
    record: Requested


class Recorded(Envelope):
    """It is; what was to be allowed is."""

    kind: Literal["recorded"] = "recorded"


class NotRecorded(Envelope):
    """It is not, and what it would have allowed must not happen: the attempt is over.

    With words only this is refused: the turn goes on to its end, which says them.
    """

    kind: Literal["not recorded"] = "not recorded"
    words: Text = ""


RecordReply = Annotated[Recorded | NotRecorded, Field(discriminator="kind")]


class KeptTurn(Part):
    """A turn whose events a worker still holds, and how many there are."""

    scope: Text
    attempt: Attempt
    events: Count


class Opinion(Part):
    """What a CliPool worker thinks of a worker that it may ask: the lowest score is asked first, and an open circuit is
    one that is not asked at all for a while."""

    capability: Capability
    worker: Id
    score: Annotated[float, Field(ge=0)]
    circuit: Literal["closed", "open", "half-open"]


class WorkerHeartbeat(Envelope):
    """A CliPool worker lives; all turns of its older instances are gone."""

    worker: Id
    instance: Id
    understands: Version = 1
    turns: dict[Id, KeptTurn] = Field(default_factory=dict)
    models: tuple[Id, ...] = ()
    opinions: Annotated[tuple[Opinion, ...], Field(max_length=MOST_OPINIONS)] | None = None


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
