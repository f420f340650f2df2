"""The facts a scope's log may hold: a closed list, each with an id derived from its turn.

Every record names the sequence of the scope's last `Compacted` or `Forgotten`, so that a long scope is refilled from
there. Beside them stands what belongs to no scope: epochs, marks, balances, and the acts by which people are let in and
shut out.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from factory_contracts.envelope import Envelope, Part, Wire
from factory_contracts.messages import (
    Answer,
    Attachment,
    Attachments,
    Attempt,
    Choices,
    Code,
    Count,
    Exchange,
    Id,
    InboundMessage,
    Outcome,
    PartNumber,
    Text,
    Token,
    Usage,
)
from factory_contracts.trace import Excerpt, Money, Step

Trust = Literal["owner", "trusted", "public"]
# What one person may give another.
Given = Literal["owner", "trusted"]
# Who somebody is on one platform, "platform:user", and one bot, "platform:bot". A platform's name holds no colon.
Identity = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,32}:", min_length=3, max_length=288)]
BotName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,32}:[a-z0-9_-]{1,32}$")]
# A turn, a kind, an attempt and a call, each as long as it may be.
RecordId = Annotated[str, StringConstraints(min_length=1, max_length=600)]
Effect = Literal["read", "write", "external"]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# Enough to tell a record from every other one, a million times.
Imprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class Start(Part):
    """One attempt at a turn: who runs it, and why now."""

    attempt: Attempt
    worker: Id
    instance: Id
    why: Text = ""


class _Record(Envelope):
    id: RecordId
    turn: Id
    at: float
    compacted: Count = 0


class TurnReceived(_Record):
    """Accepted: what was said, by whom, under which platform ids; started at once where the scope was idle."""

    kind: Literal["received"] = "received"
    message: InboundMessage
    trust: Trust
    start: Start | None = None


class TurnStarted(_Record):
    """A worker is about to be asked."""

    kind: Literal["started"] = "started"
    start: Start


class ReplyOpened(_Record):
    """The reply's bubble, or a further part of a long one, is on the screen under this platform message id."""

    kind: Literal["opened"] = "opened"
    message_id: Id
    part: PartNumber | None = None


class ToolStarted(_Record):
    """A tool with an effect is about to run."""

    kind: Literal["tool started"] = "tool started"
    attempt: Attempt
    call: Id
    tool: Id
    effect: Effect
    arguments: Id


class ToolDone(_Record):
    """It ran, with this outcome; what it said is told to the next attempt instead of running it again."""

    kind: Literal["tool done"] = "tool done"
    attempt: Attempt
    call: Id
    outcome: Literal["ok", "error"]
    content: Excerpt = ""
    attachments: Attachments | None = None


class StepOutput(Part):
    """What a step of an engine put out, as JSON; what is large lies in the bot's object store.

    The step's name is its name in the whole turn. Which version of the engine it is of decides whether it still counts.
    """

    step: Id
    engine: Id
    version: Id
    value: Excerpt = ""
    large: Attachment | None = None
    attachments: Attachments | None = None
    tainted: bool | None = None


class StepDone(_Record):
    """A step of an engine is over, and the next one has not begun; no attempt runs it again."""

    kind: Literal["step done"] = "step done"
    attempt: Attempt
    output: StepOutput


class MoneyReserved(_Record):
    """So much may be spent on the next model call; None where nobody knows its price.

    What is not settled when its attempt is over counts as spent: nobody knows what the provider did. `person` is whose
    money it is, where who asked is one person with somebody else.
    """

    kind: Literal["reserved"] = "reserved"
    attempt: Attempt
    call: Id
    user_id: Id
    person: Identity | None = None
    agent: Id
    model: Id
    amount: Money | None = None


class MoneySettled(_Record):
    """So much was; None where nobody knows."""

    kind: Literal["settled"] = "settled"
    attempt: Attempt
    call: Id
    amount: Money | None = None


class TurnAnswered(_Record):
    """The whole answer; from here on nothing about the turn is asked of a model again.

    It is `tainted` where the model was shown what strangers, files or tools brought from elsewhere.
    """

    kind: Literal["answered"] = "answered"
    text: Answer
    outcome: Outcome
    usage: Usage = Usage()
    agent: Id | None = None
    agent_hash: Id | None = None
    model: Id | None = None
    reference: Id | None = None
    attachments: Attachments | None = None
    choices: Choices | None = None
    tainted: bool | None = None
    steps: tuple[Step, ...] = ()


class ReplyShown(_Record):
    """The spoke has the whole answer on the screen."""

    kind: Literal["shown"] = "shown"
    message_id: Id | None = None


class ReplyUndeliverable(_Record):
    """The platform refuses the answer for good, or a day of trying is over."""

    kind: Literal["undeliverable"] = "undeliverable"
    reason: Text


class TurnRefused(_Record):
    """Refused after acceptance, instead of an answer."""

    kind: Literal["refused"] = "refused"
    reason: Text
    text: Answer


class TurnSuperseded(_Record):
    """Another turn took its place."""

    kind: Literal["superseded"] = "superseded"
    by: Id


class SessionOpened(_Record):
    """A person asked for a fresh start: what was said before is no longer shown to the model."""

    kind: Literal["session"] = "session"


class Bound(_Record):
    """Another agent, or the same one with another model, answers here from now on."""

    kind: Literal["bound"] = "bound"
    agent: Id
    model: Id | None = None


class Tally(Part):
    """How many turns of a scope ended how."""

    received: Count = 0
    answered: Count = 0
    refused: Count = 0
    superseded: Count = 0


class Compacted(_Record):
    """All that came before in this scope, as one view: written only while no turn is open.

    It is `tainted` where its summary is.
    """

    kind: Literal["compacted"] = "compacted"
    history: tuple[Exchange, ...]
    forgotten: Count
    summary: Answer = ""
    summarised: Id | None = None
    tainted: bool | None = None
    agent: Id | None = None
    model: Id | None = None
    usage: Usage = Usage()
    seen: tuple[Id, ...]
    tally: Tally
    erased_at: float | None = None


class Balance(Part):
    """What was spent of one budget by one who has it, in one of its periods."""

    budget: Id
    who: Annotated[str, StringConstraints(max_length=600)] = ""
    window: Id
    spent: Money


class Spending(Balance):
    """The same of the turns which begin at one sequence."""

    began: Count


class Forgotten(_Record):
    """A person had all removed that was said here: what stands before this, and the scope's files that the bot's store
    holds up to the sequence `files`. It is removed after this is written, and what is left of it counts for nothing.

    What stays tells doubles, who answers, how much was said and what it cost; `spent` is what no balance holds yet.
    """

    kind: Literal["forgotten"] = "forgotten"
    by: Id
    files: Count
    agent: Id | None = None
    model: Id | None = None
    usage: Usage = Usage()
    seen: tuple[Id, ...]
    tally: Tally
    spent: tuple[Spending, ...] = ()


class HeadMoved(_Record):
    """The conversation goes on from after this turn; what came later is no longer shown to the model.

    With `again` the turn that moves the head asks once more what the first of the later ones asked.
    """

    kind: Literal["head"] = "head"
    after: Id | None = None
    again: bool = False


class Asked(_Record):
    """A question for a person: whether one call may be made, with these arguments and no others, for this turn's asker.

    The hub writes the text from the arguments themselves; a button carries the code and nothing else.
    """

    kind: Literal["asked"] = "asked"
    call: Id
    code: Code
    tool: Id
    effect: Effect
    arguments: Digest
    text: Text
    user_id: Id
    expires_at: float


class Decided(_Record):
    """Its one answer; where nobody gave one in time, nobody's."""

    kind: Literal["decided"] = "decided"
    call: Id
    code: Code
    approved: bool
    platform: Token | None = None
    user_id: Id | None = None


Record = Annotated[
    TurnReceived
    | TurnStarted
    | ReplyOpened
    | ToolStarted
    | ToolDone
    | StepDone
    | MoneyReserved
    | MoneySettled
    | TurnAnswered
    | ReplyShown
    | ReplyUndeliverable
    | TurnRefused
    | TurnSuperseded
    | SessionOpened
    | Bound
    | Compacted
    | Forgotten
    | HeadMoved
    | Asked
    | Decided,
    Field(discriminator="kind"),
]


class EpochBegun(Envelope):
    """A hub's reign over a partition begins; the record's sequence is its epoch.

    What is open in the partition stands at `since` or later.
    """

    kind: Literal["epoch"] = "epoch"
    hub: Id
    at: float
    since: Count | None = None


class MarkMoved(Envelope):
    """The next hub need not read below this sequence, for the partitions whose newest epochs are among these.

    Where none are named, it speaks for all that the hub reigned over that wrote it.
    """

    kind: Literal["mark"] = "mark"
    sequence: Count
    epochs: tuple[Count, ...] | None = None


class PurseOpened(Envelope):
    """A hub reserved money, in the same batch as this: another hub may do so once it knows of that."""

    kind: Literal["purse"] = "purse"
    hub: Id


class LeaseGiven(Envelope):
    """One of a bot's spokes speaks for it from now on; the record's sequence is the generation, and where the spoke is
    answered tells whether it is still connected."""

    kind: Literal["lease"] = "lease"
    platform: Token
    bot_id: Token
    instance: Id
    inbox: Text
    at: float


class SealedRecords(Part):
    """The records of one subject that a seal tells of: the sequence of each, and the digest of what it says."""

    subject: Annotated[str, StringConstraints(min_length=1, max_length=400)]
    records: tuple[tuple[Count, Imprint], ...]


class Seal(Envelope):
    """Which records of a partition were stored since the seal before it, whose digest it names.

    Up to `through` there is nothing on the partition's logs that this or an earlier seal does not tell of.
    """

    kind: Literal["seal"] = "seal"
    number: Count
    before: Digest
    through: Count
    at: float
    sealed: tuple[SealedRecords, ...]


class Balances(Envelope):
    """Some of the accounts, with all that was spent by the turns which begin below this sequence."""

    kind: Literal["balances"] = "balances"
    through: Count
    balances: tuple[Balance, ...]


class Owner(Part):
    """Who became an owner, by the code with this digest, and when."""

    user_id: Id
    code: Digest
    at: float


class Owners(Envelope):
    """Everybody who became an owner of a bot by a code before there were acts; it is read and no longer written."""

    kind: Literal["owners"] = "owners"
    platform: Token
    bot_id: Token
    owners: tuple[Owner, ...]


class _Act(Envelope):
    """What somebody did about who may do what; without `by` it was the home itself."""

    id: RecordId
    at: float
    by: Identity | None = None


class Invited(_Act):
    """A code was made, whose digest this is: the first who sends it to the bot in time is let in, as far as this."""

    kind: Literal["invited"] = "invited"
    bot: BotName
    level: Given
    code: Digest
    expires_at: float


class Granted(_Act):
    """Somebody was let in, by a code if one is named; it counts as long as who gave it may still give it."""

    kind: Literal["granted"] = "granted"
    to: Identity
    bot: BotName
    level: Given
    code: Digest | None = None


class Revoked(_Act):
    """All that a person was granted on a bot is taken back."""

    kind: Literal["revoked"] = "revoked"
    who: Identity
    bot: BotName


class Blocked(_Act):
    """A person is shut out of a bot, whatever they were granted."""

    kind: Literal["blocked"] = "blocked"
    who: Identity
    bot: BotName


class Unblocked(_Act):
    """A person is shut out no longer."""

    kind: Literal["unblocked"] = "unblocked"
    who: Identity
    bot: BotName


class Linked(_Act):
    """Two identities are one person from now on, and so are all that were one with either."""

    kind: Literal["linked"] = "linked"
    one: Identity
    other: Identity
    code: Digest


class Unlinked(_Act):
    """An identity is a person of its own again."""

    kind: Literal["unlinked"] = "unlinked"
    who: Identity


Act = Annotated[
    Invited | Granted | Revoked | Blocked | Unblocked | Linked | Unlinked,
    Field(discriminator="kind"),
]

RECORD: Wire[Record] = Wire(Record)
EPOCH: Wire[EpochBegun] = Wire(EpochBegun)
MARK: Wire[MarkMoved] = Wire(MarkMoved)
LEASE: Wire[LeaseGiven] = Wire(LeaseGiven)
SEAL: Wire[Seal] = Wire(Seal)
BALANCES: Wire[Balances] = Wire(Balances)
PURSE: Wire[PurseOpened] = Wire(PurseOpened)
OWNERS: Wire[Owners] = Wire(Owners)
ACT: Wire[Act] = Wire(Act)


def record_id(turn: str, kind: str, *qualifiers: object) -> str:
    """A record's id, the same whoever writes it and however often."""
    return ".".join((turn, kind.replace(" ", "-"), *(str(part) for part in qualifiers)))
