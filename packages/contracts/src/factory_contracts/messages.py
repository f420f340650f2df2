"""What a spoke and the hub say to each other: messages and receipts in, updates and finals out."""

from base64 import b32encode
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from factory_contracts.envelope import MAX_BYTES, Envelope, Part, Wire
from factory_contracts.subjects import scope_token
from factory_contracts.trace import Money

MAX_TEXT = 100_000
# Messages of a platform that one reply may take: the longest answer in the smallest messages, and its files.
MOST_PARTS = 1_000
# The record that holds a message is larger than the message, and must not be too large to be read again.
MAX_MESSAGE_BYTES = MAX_BYTES - 50_000


def _fits_a_subject(scope_id: str) -> str:
    scope_token(scope_id)
    return scope_id


Token = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,32}$")]
Id = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Scope = Annotated[str, AfterValidator(_fits_a_subject)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Answer = Annotated[str, StringConstraints(max_length=700_000)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Attempt = Annotated[int, Field(ge=1, lt=2**31)]
Version = Annotated[int, Field(ge=1, lt=2**31)]
Outcome = Literal["complete", "stopped", "failed"]
Parts = Annotated[tuple[Id, ...], Field(max_length=MOST_PARTS)]
PartNumber = Annotated[int, Field(ge=1, lt=MOST_PARTS)]
# What a button carries instead of what it stands for.
Code = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Choice = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Choices = Annotated[tuple[Choice, ...], Field(max_length=20)]
AttachmentKind = Literal["image", "audio", "voice", "video", "document"]
RefusalReason = Literal[
    "blocked",
    "no owner",
    "not allowed",
    "too fast",
    "too large",
    "queue full",
    "not addressed",
    "no agent",
    "malformed",
    "newer version",
    "unavailable",
]


class Attachment(Part):
    """A file that came with a message; its bytes lie in the bot's object store under `blob`."""

    kind: AttachmentKind
    name: Annotated[str, StringConstraints(max_length=255)]
    mime: Annotated[str, StringConstraints(max_length=127)]
    size: Count
    blob: Id


Attachments = Annotated[tuple[Attachment, ...], Field(max_length=100)]


class Address(Part):
    """Everything a spoke needs to answer in the right place without asking anybody.

    With `echo` the hub tells what was said to the bot's other screens as well; with `names_scopes` a person may name
    the conversations of this bot, for there is nobody else whose they could be.
    """

    platform: Token
    bot_id: Token
    scope_id: Scope
    reply_to: Id | None = None
    thread: Id | None = None
    pace_ms: Annotated[int, Field(ge=0, le=60_000)] = 250
    echo: bool = False
    names_scopes: bool = False


class InboundMessage(Part):
    """What a person said, normalised by a spoke, which vouches for nobody: trust is the hub's to resolve.

    A `foreign` text is not its sender's own: it was passed on, chosen from a list, or read from somewhere.
    """

    message_id: Id
    covers: Annotated[tuple[Id, ...], Field(max_length=100)] = ()
    user_id: Id
    user_name: Annotated[str, StringConstraints(max_length=255)] = ""
    text: Text
    attachments: Attachments = ()
    quoted: Text | None = None
    foreign: bool | None = None
    in_group: bool = False
    is_addressed: bool = True
    trust: Literal["public"] = "public"
    address: Address
    sent_at: float | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """Every platform message id that this message stands for."""
        return (self.message_id, *(covered for covered in self.covers if covered != self.message_id))


class Usage(Part):
    """What the model calls of a turn consumed; input counts all that was read, from a cache or not.

    The cost is that of the calls whose price is known; the others are counted as unpriced.
    """

    calls: Count = 0
    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    cost: Money = Decimal(0)
    unpriced: Count = 0


class _FromSpoke(Envelope):
    platform: Token
    bot_id: Token
    scope_id: Scope
    generation: Count | None = None


class Submit(_FromSpoke):
    """A message; repeated until it is answered.

    One that `only_asks` becomes no turn: it is told whether it would be heard, before its files are fetched.
    """

    kind: Literal["message"] = "message"
    message: InboundMessage
    only_asks: bool | None = None


class ShownReceipt(_FromSpoke):
    """The reply's bubble is on the screen under this message id, or a further part of it under one of its own."""

    kind: Literal["shown"] = "shown"
    turn: Id
    message_id: Id
    part: PartNumber | None = None


class FinalReceipt(_FromSpoke):
    """The whole answer is on the screen, or the platform refuses it for good."""

    kind: Literal["final"] = "final"
    turn: Id
    message_id: Id | None = None
    undeliverable: Text | None = None


class Decision(_FromSpoke):
    """A person pressed one of the two buttons under a question, which the code names."""

    kind: Literal["decision"] = "decision"
    turn: Id
    code: Code
    user_id: Id
    approved: bool


class StopPressed(_FromSpoke):
    """A person pressed the button that stops this turn."""

    kind: Literal["stop"] = "stop"
    turn: Id
    user_id: Id


class Moved(_FromSpoke):
    """The platform gave a conversation another scope: what was said in the old one goes on in the new one."""

    kind: Literal["moved"] = "moved"
    old_scope: Scope


class Hello(_FromSpoke):
    """A spoke has come: what has no receipt is sent again, for one scope or (scope "*") for the whole bot.

    With `of` a new scope begins with all that was said in another conversation, named "platform:bot:scope"; with
    `until` as it stood at that record of its log.
    """

    kind: Literal["hello"] = "hello"
    understands: Version = 1
    of: Annotated[str, StringConstraints(min_length=5, max_length=400)] | None = None
    until: Count | None = None


class Claim(_FromSpoke):
    """A spoke asks to be the one of its bot that speaks, or to remain it; it asks again and again. Who `leaves` wants
    it no more.

    In everything else that a spoke says `generation` is the lease by which it speaks; spokes of a bot that may have
    several at once have none.
    """

    kind: Literal["claim"] = "claim"
    instance: Id
    leaves: bool | None = None


class Erased(_FromSpoke):
    """What the spoke kept of the scope is removed, as the turn asked."""

    kind: Literal["erased"] = "erased"
    turn: Id


FromSpoke = Annotated[
    Submit | ShownReceipt | FinalReceipt | Decision | StopPressed | Moved | Hello | Claim | Erased,
    Field(discriminator="kind"),
]


class Accepted(Envelope):
    """The turn is on the log."""

    kind: Literal["accepted"] = "accepted"
    turn: Id
    epoch: Count


class AlreadyAccepted(Envelope):
    """It was on the log before, with these platform message ids; ids it does not cover are a turn of their own."""

    kind: Literal["already"] = "already"
    turn: Id
    covers: tuple[Id, ...]
    epoch: Count


class Refused(Envelope):
    """It is no turn; `text` is for the person, and empty where silence is the answer."""

    kind: Literal["refused"] = "refused"
    reason: RefusalReason
    text: Text = ""


class Noted(Envelope):
    """What was told is known; where the log holds another bubble than the receipt's, the spoke changes over to it."""

    kind: Literal["noted"] = "noted"
    message_id: Id | None = None
    epoch: Count


class Exchange(Part):
    """What was asked and what was answered; `trusted` where an owner or somebody trusted asked."""

    turn: Id
    asked: Answer
    answered: Answer
    user_name: Annotated[str, StringConstraints(max_length=255)] = ""
    attachments: tuple[Attachment, ...] = ()
    outcome: Outcome = "complete"
    tainted: bool | None = None
    trusted: bool | None = None


class Welcome(Envelope):
    """The hub knows this spoke; for one scope it tells who answers there and what was said last.

    What a spoke keeps of the scope from before `erased_at` is to be removed.
    """

    kind: Literal["welcome"] = "welcome"
    epoch: Count
    understands: Version = 1
    agent: Id | None = None
    model: Id | None = None
    payer: Text = ""
    history: tuple[Exchange, ...] = ()
    erased_at: float | None = None


class Leased(Envelope):
    """This spoke speaks for its bot, under this generation, until another is given a greater one."""

    kind: Literal["leased"] = "leased"
    generation: Count


class StandBy(Envelope):
    """Another spoke speaks for the bot, under this generation; what was asked was not done."""

    kind: Literal["standby"] = "standby"
    generation: Count


ToSpoke = Annotated[
    Accepted | AlreadyAccepted | Refused | Noted | Welcome | Leased | StandBy, Field(discriminator="kind")
]


class Question(Part):
    """Whether a call may be made, in the hub's words: shown under the answer so far, with a button for each answer."""

    code: Code
    text: Text
    expires_at: float


class Update(Envelope):
    """More of an answer: `text` stands at `base`; base 0 is a snapshot that replaces what was shown.

    (attempt, events) orders updates of a turn alike under every hub. A `question` stands until an update comes without.
    """

    kind: Literal["update"] = "update"
    turn: Id
    attempt: Attempt
    events: Count
    base: Count
    text: Answer
    activity: Text | None = None
    question: Question | None = None
    message_id: Id | None = None
    further: Parts | None = None
    epoch: Count
    address: Address


class Final(Envelope):
    """The whole answer, published again until a receipt comes; `joined` names the turns that it answers as well.

    `choices` are things that the `asker` may say next, each a button where the platform has such.
    """

    kind: Literal["final"] = "final"
    turn: Id
    text: Answer
    outcome: Outcome
    usage: Usage | None = None
    joined: tuple[Id, ...] = ()
    attachments: Attachments | None = None
    choices: Choices | None = None
    asker: Id | None = None
    message_id: Id | None = None
    further: Parts | None = None
    epoch: Count
    address: Address


class Said(Envelope):
    """A person said this in a scope; so a second screen of the scope can show both sides.

    `joined` names the turn whose answer answers this as well: none of its own will come.
    """

    kind: Literal["said"] = "said"
    turn: Id
    user_name: Annotated[str, StringConstraints(max_length=255)] = ""
    text: Text
    joined: Id | None = None
    epoch: Count
    address: Address


class Erase(Envelope):
    """All that was said in a scope until then is removed, as this turn asked: a spoke removes what it keeps of it or of
    these turns beside the screen, and says that it did."""

    kind: Literal["erase"] = "erase"
    turn: Id
    turns: tuple[Id, ...]
    until: float
    epoch: Count
    address: Address


Outbound = Annotated[Update | Final | Said | Erase, Field(discriminator="kind")]

FROM_SPOKE: Wire[FromSpoke] = Wire(FromSpoke, MAX_MESSAGE_BYTES)
TO_SPOKE: Wire[ToSpoke] = Wire(ToSpoke)
OUTBOUND: Wire[Outbound] = Wire(Outbound)


@lru_cache(maxsize=8192)
def turn_id(platform: str, bot_id: str, scope_id: str, message_id: str) -> str:
    """The turn's id, the same however often and by whomever it is derived."""
    digest = sha256("\0".join((platform, bot_id, scope_id, message_id)).encode()).digest()
    return b32encode(digest[:15]).decode().lower()
