"""What the core needs of the world, and what each failure means."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, Protocol, runtime_checkable

from factory_contracts.messages import Attachment, AttachmentKind, Outbound
from factory_contracts.peers import Heard, PeerAsked
from factory_contracts.records import Effect, Record, StepOutput
from factory_contracts.work import AgentSpec, Events, KnownCall, Line
from hub.kernel.events import Failed, Finished, ModelEvent
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

    async def reigns(self, partition: int) -> bool:
        """Whether the newest epoch of the partition is this hub's, at this moment. Waits out a lost bus."""
        ...

    async def append(self, key: RoutingKey, records: Sequence[Record], *, is_urgent: bool = True) -> tuple[Logged, ...]:
        """On return the records are persisted, together and in this order. Waits out a lost bus; raises `Fenced`.

        What is not urgent travels with whatever else is asked for in the same breath.

        Raises `Full` where the log refuses for want of space, `Unwritable` where it never will take these records:
        then nothing was written.
        """
        ...

    async def history(self, key: RoutingKey) -> tuple[Logged, ...]:
        """The scope's records from its last `Compacted` or `Forgotten` on, oldest first. Waits out a lost bus."""
        ...

    async def past(self, key: RoutingKey, until: int) -> tuple[Logged, ...]:
        """The scope's records from the first that was not forgotten up to this sequence. Waits out a lost bus."""
        ...

    async def scopes(self, platform: str, bot_id: str) -> tuple[RoutingKey, ...]:
        """Every scope of a bot that has a log. Waits out a lost bus."""
        ...


def unforgotten(records: Sequence[Logged], until: int) -> tuple[Logged, ...]:
    """A scope's records up to a sequence; what was forgotten, even after that, is not told again."""
    first = max((one.sequence for one in records if one.record.kind == "forgotten"), default=0)
    return tuple(one for one in records if first <= one.sequence <= until)


class Full(Exception):
    """The log has no space left; nothing was written."""


class Unwritable(Exception):
    """The log will never take these records, for they are too large; nothing was written."""


class Outbox(Protocol):
    """The way to the screens. What is lost here heals at the next snapshot or final."""

    async def publish(self, event: Outbound) -> None:
        """Best effort, in order for each conversation."""
        ...


class Presence(Protocol):
    """Who is connected to the bus."""

    async def has_gone(self, inbox: str) -> bool:
        """Whether whoever is answered there is certainly not connected now."""
        ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """A live CliPool worker and the instance that its last heartbeat named."""

    worker: str
    instance: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt at a turn, as it is told to a worker; a `person` is named where who speaks is one with others.

    Where an `engine` is named, the agent runs it, and `known_steps` are those that earlier attempts have behind them.
    """

    key: RoutingKey
    turn: str
    attempt: int
    chosen: Chosen
    user_id: str
    agent: AgentSpec
    lines: tuple[Line, ...]
    pace_ms: int
    known_calls: tuple[KnownCall, ...] = ()
    aloud: str | None = None
    is_tainted: bool = False
    person: str | None = None
    engine: str | None = None
    known_steps: tuple[StepOutput, ...] = ()


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

    async def steer(self, joining: str, line: Line, *, after: str | None = None, is_tainted: bool = False) -> None:
        """Have another turn's message join this one at its next model call; its end tells whether it was heard."""
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

    def providers(self) -> frozenset[str]:
        """The providers of models that live workers have."""
        ...

    async def run(self, assignment: Assignment) -> Run:
        """Tell the worker to begin."""
        ...

    async def resume(self, assignment: Assignment) -> Run:
        """Take over an attempt that another hub began: its events from the first."""
        ...

    async def erase(self, key: RoutingKey, namespaces: Sequence[str], until: float) -> None:
        """On return at least one worker, and everyone who lives, has removed what it kept of a scope until then."""
        ...


class Peers(Protocol):
    """The other hubs that share the work, where there are any."""

    async def ask(self, partition: int, asked: PeerAsked) -> Heard | None:
        """What the hub of a partition says; None where there is none, or it does not answer."""
        ...

    async def everyone(self, asked: PeerAsked) -> tuple[Heard | None, ...]:
        """What each of the others says; None for one that does not answer."""
        ...

    def has(self, partition: int) -> bool:
        """Whether one of the others says that it serves a partition."""
        ...

    async def tell(self, asked: PeerAsked) -> None:
        """Tell all others, who do not answer."""
        ...


class Alone:
    """No other hub shares."""

    async def ask(self, partition: int, asked: PeerAsked) -> Heard | None:
        """Nobody is there."""
        return None

    async def everyone(self, asked: PeerAsked) -> tuple[Heard | None, ...]:
        """Nobody is there."""
        return ()

    def has(self, partition: int) -> bool:
        """Nobody is there."""
        return False

    async def tell(self, asked: PeerAsked) -> None:
        """Nobody is there."""


class Eraser(Protocol):
    """Who takes what was said off the disk, and has rights for it that nobody else has."""

    async def reach(self, key: RoutingKey) -> int:
        """Up to where the files of the scope's bot are stored by now. Waits out a lost bus."""
        ...

    async def erase(self, key: RoutingKey, below: int, files: int) -> None:
        """On return nothing stands on the scope's log below that sequence, and none of its files that was stored up to
        the other one is left, but for those that other scopes of the bot show. Waits out a lost bus."""
        ...


# Where a tool of others goes that only reads; what acts outside is asked about whatever it is told.
ANYWHERE = "*"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What a model is told of a tool, and what the harness must know to be trusted with it.

    `parameters` is a JSON schema; after `timeout` seconds the call is given up. What is idempotent may be done again
    when nobody knows whether it was done. What a foreign tool says was written elsewhere; a strange one is even
    described by others. `reaches` names the argument that is an address, which is told to whoever serves it; where
    nobody here knows which that is, it is `ANYWHERE`, and each argument that begins like an address is one.
    """

    name: str
    description: str
    parameters: str
    effect: Effect = "read"
    timeout: float = 30.0
    is_idempotent: bool = False
    is_foreign: bool = True
    is_strange: bool = False
    reaches: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool call came to, as the model is told; what is foreign was written elsewhere, and is labelled."""

    call: str
    tool: str
    content: str
    is_error: bool = False
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """An assistant's message that asked for tools, or paused: its text, its calls (id, tool, arguments), and what the
    provider wants to see again. What was kept means nothing to a model of another provider."""

    text: str
    calls: tuple[tuple[str, str, str], ...]
    kept: tuple[str, ...] = ()
    model: str = ""


_TEXTS = frozenset(
    f"application/{name}"
    for name in ("json", "xml", "yaml", "x-yaml", "toml", "javascript", "x-sh", "sql", "csv", "markdown")
)


@dataclass(frozen=True, slots=True)
class Media:
    """A file with its bytes: one that came with a message, as a model is shown it, or one that a tool made."""

    kind: AttachmentKind
    name: str
    mime: str
    data: bytes

    @property
    def type(self) -> str:
        """Its MIME type alone, in one spelling."""
        return self.mime.partition(";")[0].strip().lower()

    @property
    def is_text(self) -> bool:
        """Whether its bytes can be read as text."""
        return self.type.startswith("text/") or self.type in _TEXTS or self.type.endswith(("+json", "+xml"))


@dataclass(frozen=True, slots=True)
class Spoken:
    """A line of the conversation."""

    role: Literal["user", "assistant"]
    text: str
    media: tuple[Media, ...] = ()


ModelMessage = Spoken | ToolCalls | ToolResult


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model call: everything the model is shown, and how it is to answer.

    `conversation` is the same for all calls of one conversation with one agent, so that a provider's cache is found
    again. `thinking` is a number of tokens, 0 for none; `own_tools` are the provider's own, off unless named.
    """

    model: str
    system: str
    messages: tuple[ModelMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    max_tokens: int = 8_192
    temperature: float | None = None
    thinking: int = 0
    conversation: str = ""
    own_tools: tuple[str, ...] = ()
    permission_mode: str = ""


class Model(Protocol):
    """A provider's models. Its failures are `Failed` events, not exceptions."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """One call. The generator ends after `Finished` or `Failed`; closing it early ends the call."""
        ...

    async def close(self) -> None:
        """Let go of what is held between calls."""
        ...


@runtime_checkable
class Emissary(Protocol):
    """A model that passes on what it is asked, to somebody who may act on it."""

    @property
    def asks_once(self) -> bool:
        """Whether nobody may ask it the same again, unless it says itself that this may work."""
        ...


@runtime_checkable
class Keeper(Protocol):
    """Who keeps something of conversations on a disk: a memory of agents, or a provider's sessions."""

    async def erase(self, scope: str, namespaces: Sequence[str], until: float) -> bool:
        """Remove what was kept of a scope until then, so that nothing of it is left on the disk; False where that
        cannot be done now and is to be asked for again."""
        ...


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What a provider is made with: the variables of the surroundings, and a folder that it may keep things in."""

    variables: Mapping[str, str]
    folder: str


class Prices(Protocol):
    """What model calls cost, in US dollars; None where nobody knows, 0 where it is nothing by nature."""

    def most(self, request: ModelRequest) -> Decimal | None:
        """More than the call can cost."""
        ...

    def cost(self, model: str, ended: Finished | Failed) -> Decimal | None:
        """What the call did cost."""
        ...


def unheard(_: str) -> None:
    """Nobody wants to know how far it is."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """For whom and where a tool is called, and whether by a turn that is tainted.

    A `person` is named where who speaks is one with others: "platform:user". What takes long may `report` in a few
    words how far it is, at most every second or so.
    """

    turn: str
    call: str
    scope: str
    user_id: str
    agent: AgentSpec
    is_tainted: bool = False
    person: str | None = None
    report: Callable[[str], None] = field(default=unheard, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Observation:
    """What came of a tool, where that is more than words for the model: what the person gets with the answer.

    `files` are still to be kept where the person's screen can read them, `attachments` are there already. `choices` are
    what the person may say next. What is foreign was written elsewhere, though the tool's own words are not.
    """

    content: str = ""
    files: tuple[Media, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    choices: tuple[str, ...] = ()
    is_foreign: bool = False
    is_error: bool = False


class Tool(Protocol):
    """A tool's implementation, registered apart from its `ToolSpec` under the same name."""

    async def run(self, arguments: str, occasion: Occasion) -> str | Observation:
        """Run with the model's arguments, a JSON object. Raises `ToolFailed` with words that the model may read."""
        ...


class ToolFailed(Exception):
    """The tool could not do it; the sentence is an observation for the model."""


class OutcomeUnknown(ToolFailed):
    """The tool cannot say whether it did it."""


@dataclass(frozen=True, slots=True)
class Equipped:
    """A tool as an agent has it."""

    spec: ToolSpec
    tool: Tool


class ToolSource(Protocol):
    """Where the tools of an agent come from that are not known before somebody is asked."""

    def serves(self, agent: AgentSpec) -> bool:
        """Whether the agent names anything that comes from here."""
        ...

    async def tools(self, agent: AgentSpec) -> tuple[Equipped, ...]:
        """The tools; what cannot be had is logged and missing, and costs nothing else."""
        ...


class Blobs(Protocol):
    """The files that came with messages, and those that go with answers."""

    async def get(self, scope: str, attachment: Attachment) -> bytes | None:
        """The file's bytes; None where it cannot be had, which is logged."""
        ...

    async def keep(self, scope: str, file: Media) -> Attachment | None:
        """Put a file where the person's screen can read it; None where it is not taken, which is logged."""
        ...


@dataclass(frozen=True, slots=True)
class Unheard:
    """Nobody wrote down what was said; `is_off` where nobody is there who could."""

    is_off: bool = False


class Voice(Protocol):
    """Who writes down what people say, and says aloud what is written."""

    async def hear(self, turn: str, sound: Media) -> str | Unheard:
        """What is said in a recording; why it is not known is logged."""
        ...

    async def speak(self, turn: str, words: str) -> Media | None:
        """The words as a voice; None where nobody says them, which is logged."""
        ...
