"""One representative value of every contract, and builders that need to be told only what a test is about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from factory_contracts import capability, lifecycle, messages, peers, records, render, subjects, work
from factory_contracts.capability import (
    CapabilityAnswers,
    CapabilityCancel,
    CapabilityDescription,
    CapabilityDone,
    CapabilityInquiry,
    CapabilityParcel,
    CapabilityProgress,
    CapabilityRefused,
    CapabilityRequest,
    CapabilityWish,
    Kept,
    KeptFile,
    MadeFile,
)
from factory_contracts.envelope import Envelope, Wire
from factory_contracts.lifecycle import Heartbeat, HubHeartbeat, Memory, Ready, Typing
from factory_contracts.messages import (
    Accepted,
    Address,
    AlreadyAccepted,
    Attachment,
    Claim,
    Decision,
    Erase,
    Erased,
    Exchange,
    Final,
    FinalReceipt,
    Hello,
    InboundMessage,
    Leased,
    Moved,
    Noted,
    Outcome,
    Question,
    Refused,
    Said,
    ShownReceipt,
    StandBy,
    StopPressed,
    Submit,
    Update,
    Usage,
    Welcome,
    turn_id,
)
from factory_contracts.records import (
    Asked,
    Balance,
    Balances,
    Blocked,
    Bound,
    Compacted,
    Decided,
    EpochBegun,
    Forgotten,
    Granted,
    HeadMoved,
    Invited,
    LeaseGiven,
    Linked,
    MarkMoved,
    MoneyReserved,
    MoneySettled,
    Owner,
    Owners,
    PurseOpened,
    ReplyOpened,
    ReplyShown,
    ReplyUndeliverable,
    Revoked,
    Seal,
    SealedRecords,
    SessionOpened,
    Spending,
    Start,
    StepDone,
    StepOutput,
    Tally,
    ToolDone,
    ToolStarted,
    Trust,
    TurnAnswered,
    TurnReceived,
    TurnRefused,
    TurnStarted,
    TurnSuperseded,
    Unblocked,
    Unlinked,
    record_id,
)
from factory_contracts.render import AnswerEnded, QuestionAsked, SavedFile, TextDelta, TextReplaced, ToolSummary
from factory_contracts.trace import EngineStep, ModelStep, ToolStep
from factory_contracts.work import (
    AgentSpec,
    Approvals,
    ApprovalWanted,
    Done,
    Ended,
    Events,
    Files,
    Forget,
    HubHello,
    KeptTurn,
    KnownCall,
    Limits,
    Line,
    LlmEvent,
    McpServer,
    NotRecorded,
    Opinion,
    Recorded,
    RecordRequest,
    Resume,
    Run,
    SaidText,
    Stale,
    Steer,
    Stepped,
    Stop,
    ToolEvent,
    Unknown,
    WorkerHeartbeat,
)

PLATFORM = "telegram"
BOT_ID = "helper"
SCOPE_ID = "chat-7"
USER_ID = "u1"
CODE = "0123456789abcdef"
MESSAGE_ID = "m1"
EPOCH = 7
NOW = 1_700_000_000.5
TURN = turn_id(PLATFORM, BOT_ID, SCOPE_ID, MESSAGE_ID)

T = TypeVar("T", bound=Envelope)


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of one contract with every field in use, how it is written, and how such bytes are read."""

    value: Envelope
    write: Callable[[], bytes]
    read: Callable[[bytes], Envelope]


def address(
    *, platform: str = PLATFORM, bot_id: str = BOT_ID, scope_id: str = SCOPE_ID, pace_ms: int = 250, echo: bool = False
) -> Address:
    """A place to answer in."""
    return Address(platform=platform, bot_id=bot_id, scope_id=scope_id, pace_ms=pace_ms, echo=echo)


def message(
    text: str = "hello",
    *,
    message_id: str = MESSAGE_ID,
    user_id: str = USER_ID,
    platform: str = PLATFORM,
    bot_id: str = BOT_ID,
    scope_id: str = SCOPE_ID,
    in_group: bool = False,
    is_addressed: bool = True,
    covers: tuple[str, ...] = (),
) -> InboundMessage:
    """What a person said."""
    return InboundMessage(
        message_id=message_id,
        covers=covers,
        user_id=user_id,
        text=text,
        in_group=in_group,
        is_addressed=is_addressed,
        address=address(platform=platform, bot_id=bot_id, scope_id=scope_id),
    )


def submit(said: InboundMessage | None = None) -> Submit:
    """The message as a spoke hands it to the hub."""
    said = said or message()
    where = said.address
    return Submit(platform=where.platform, bot_id=where.bot_id, scope_id=where.scope_id, message=said)


def turn_of(said: InboundMessage) -> str:
    """The id of the message's turn."""
    where = said.address
    return turn_id(where.platform, where.bot_id, where.scope_id, said.message_id)


def start(attempt: int = 1, *, worker: str = "clipool", instance: str = "i1", why: str = "") -> Start:
    """One attempt at a turn."""
    return Start(attempt=attempt, worker=worker, instance=instance, why=why)


def received(
    said: InboundMessage | None = None, *, trust: Trust = "owner", at: float = NOW, begins: Start | None = None
) -> TurnReceived:
    """The record of an accepted message; with `begins` it was started at once."""
    said = said or message()
    turn = turn_of(said)
    return TurnReceived(id=record_id(turn, "received"), turn=turn, at=at, message=said, trust=trust, start=begins)


def answered(
    text: str = "hi there", *, turn: str = TURN, outcome: Outcome = "complete", at: float = NOW
) -> TurnAnswered:
    """The record of an answer."""
    return TurnAnswered(id=record_id(turn, "answered"), turn=turn, at=at, text=text, outcome=outcome)


def update(
    text: str = "hi", *, turn: str = TURN, attempt: int = 1, events: int = 1, base: int = 0, epoch: int = EPOCH
) -> Update:
    """More of an answer, on its way to a screen."""
    return Update(turn=turn, attempt=attempt, events=events, base=base, text=text, epoch=epoch, address=address())


def final(text: str = "hi there", *, turn: str = TURN, outcome: Outcome = "complete", epoch: int = EPOCH) -> Final:
    """The whole answer, on its way to a screen."""
    return Final(turn=turn, text=text, outcome=outcome, epoch=epoch, address=address())


def agent(name: str = "helper", *, model: str = "scripted:default", tools: tuple[str, ...] = ()) -> AgentSpec:
    """An agent as a worker is told of it."""
    return AgentSpec(name=name, hash="0123456789ab", model=model, tools=tools, namespace=name)


def run(
    *said: str,
    turn: str = TURN,
    attempt: int = 1,
    epoch: int = EPOCH,
    scope_id: str = SCOPE_ID,
    by: AgentSpec | None = None,
) -> Run:
    """The command to run a turn; the lines are spoken by the person and the assistant in turns."""
    lines = tuple(
        Line(role="assistant" if index % 2 else "user", text=text) for index, text in enumerate(said or ("hello",))
    )
    return Run(
        turn=turn,
        epoch=epoch,
        partition=0,
        attempt=attempt,
        scope=f"{PLATFORM}:{BOT_ID}:{scope_id}",
        agent=by or agent(),
        user_id=USER_ID,
        lines=lines,
    )


def events(*said: LlmEvent, turn: str = TURN, attempt: int = 1, first: int = 0, done: int | None = None) -> Events:
    """Numbered events of a turn."""
    return Events(turn=turn, attempt=attempt, instance="i1", first=first, events=said, done=done)


def _samples(plane: str, wire: Wire[T], *values: T) -> dict[str, Sample]:
    """The samples of one wire, each named by its plane and, where the wire carries several kinds, its kind."""
    return {_name(plane, value): Sample(value, partial(wire.encode, value), wire.decode) for value in values}


def _name(plane: str, value: Envelope) -> str:
    kind = getattr(value, "kind", None)
    return plane if kind is None else f"{plane}.{kind.replace(' ', '-')}"


_WHO = f"{PLATFORM}:{USER_ID}"
_BOT = f"{PLATFORM}:{BOT_ID}"
_DIGEST = "0123456789abcdef" * 4
_ATTACHMENT = Attachment(kind="image", name="cat.png", mime="image/png", size=1024, blob="b1")
_USAGE = Usage(
    calls=2,
    input_tokens=300,
    output_tokens=40,
    cache_read_tokens=100,
    cache_write_tokens=50,
    cost=Decimal("0.0125"),
    unpriced=1,
)
_STEPS = (
    ModelStep(
        call="m1",
        model="anthropic:some-model",
        messages=3,
        text="I look.",
        reason="tools",
        input_tokens=300,
        output_tokens=40,
        cache_read_tokens=100,
        cache_write_tokens=50,
        cost=Decimal("0.0125"),
        seconds=1.5,
    ),
    ToolStep(call="c1", tool="ask_scout", effect="read", arguments="{}", outcome="ok", content="noon", seconds=0.001),
    ModelStep(
        call="c1.m1", model="openai:other", messages=1, reason="failed", error="overloaded", seconds=0.5, within="c1"
    ),
    ToolStep(call="c1.c2", tool="memory", effect="write", outcome="unknown", within="c1"),
    EngineStep(
        call="c1.count",
        engine="digest",
        version="f00d",
        step="code",
        arguments="{}",
        outcome="ok",
        content="7",
        seconds=0.5,
        within="c1",
    ),
)
_SHARING = lifecycle.HubHeartbeat(hub="hub-2", epoch=EPOCH, parts=(0, 63), sequence=42, acts=41, leaves=True)
_ADDRESS = Address(
    platform=PLATFORM,
    bot_id=BOT_ID,
    scope_id=SCOPE_ID,
    reply_to=MESSAGE_ID,
    thread="th1",
    pace_ms=30,
    echo=True,
    names_scopes=True,
)
_MESSAGE = InboundMessage(
    message_id=MESSAGE_ID,
    covers=(MESSAGE_ID, "m2"),
    user_id=USER_ID,
    user_name="Zoë",
    text='a "line": \n\u2028 and 🙂',
    attachments=(_ATTACHMENT,),
    quoted="said before",
    foreign=True,
    in_group=True,
    is_addressed=True,
    address=_ADDRESS,
    sent_at=NOW,
)
_EXCHANGE = Exchange(
    turn=TURN,
    asked="hello",
    answered="hi there",
    user_name="Zoë",
    attachments=(_ATTACHMENT,),
    outcome="stopped",
    tainted=True,
    trusted=True,
)
_START = Start(attempt=2, worker="clipool", instance="i1", why="the worker fell silent")
_AGENT = AgentSpec(
    name="helper",
    hash="0123456789ab",
    model="anthropic:some-model",
    fallbacks=("openai:other",),
    system="Be brief.",
    tools=("clock",),
    skills=("letters",),
    mcp=(
        McpServer(
            name="shop",
            command=("uvx", "shop"),
            url="https://tools.example/mcp",
            env=("SHOP_HOME",),
            bearer="SHOP_KEY",
            reads=("list_goods",),
            trusted=True,
        ),
    ),
    helpers=(agent("scout"),),
    workers=("image", "voice.tts"),
    engines=("digest",),
    files=Files(root="/srv/papers", can_write=False),
    memory="person",
    namespace="helper",
    temperature=0.5,
    thinking=2_000,
    own_tools=("web_search",),
    permission_mode="plan",
    is_dry=True,
    allow_unpriced=True,
    approvals=Approvals(external="tainted", write="always", seconds=60, domains=("example.org",)),
    description="Helps.",
    limits=Limits(max_calls=5, max_seconds=60, max_tokens=4_096, stall_seconds=30),
)
_OUTPUT = StepOutput(
    step="summary",
    engine="digest",
    version="f00d",
    value='"Short."',
    large=_ATTACHMENT,
    attachments=(_ATTACHMENT,),
    tainted=True,
)
_ANSWERED = TurnAnswered(
    id=record_id(TURN, "answered"),
    turn=TURN,
    at=NOW,
    compacted=3,
    text="hi there",
    outcome="failed",
    usage=_USAGE,
    agent="helper",
    agent_hash="0123456789ab",
    model="anthropic:some-model",
    reference="r1",
    attachments=(_ATTACHMENT,),
    choices=("Yes", "No"),
    tainted=True,
    steps=_STEPS,
)

_VIEW = Compacted(
    id=record_id(TURN, "compacted"),
    turn=TURN,
    at=NOW,
    compacted=3,
    history=(_EXCHANGE,),
    forgotten=4,
    summary="They said hello.",
    summarised="another",
    tainted=True,
    agent="scout",
    model="openai:other",
    usage=_USAGE,
    seen=(MESSAGE_ID, "m2"),
    tally=Tally(received=9, answered=6, refused=2, superseded=1),
    erased_at=NOW,
)
_ASKED = Asked(
    id=record_id(TURN, "asked", "c1"),
    turn=TURN,
    at=NOW,
    compacted=3,
    call="c1",
    code=CODE,
    tool="send",
    effect="external",
    arguments="f0" * 32,
    text="May I?",
    user_id=USER_ID,
    expires_at=NOW + 60,
)
SAMPLES: Mapping[str, Sample] = MappingProxyType(
    _samples(
        "from-spoke",
        messages.FROM_SPOKE,
        Submit(generation=EPOCH, platform=PLATFORM, bot_id=BOT_ID, scope_id=SCOPE_ID, message=_MESSAGE, only_asks=True),
        ShownReceipt(
            generation=EPOCH, platform=PLATFORM, bot_id=BOT_ID, scope_id=SCOPE_ID, turn=TURN, message_id="b2", part=1
        ),
        FinalReceipt(
            generation=EPOCH,
            platform=PLATFORM,
            bot_id=BOT_ID,
            scope_id=SCOPE_ID,
            turn=TURN,
            message_id="b1",
            undeliverable="chat gone",
        ),
        Decision(
            generation=EPOCH,
            platform=PLATFORM,
            bot_id=BOT_ID,
            scope_id=SCOPE_ID,
            turn=TURN,
            code=CODE,
            user_id=USER_ID,
            approved=True,
        ),
        StopPressed(generation=EPOCH, platform=PLATFORM, bot_id=BOT_ID, scope_id=SCOPE_ID, turn=TURN, user_id=USER_ID),
        Moved(generation=EPOCH, platform=PLATFORM, bot_id=BOT_ID, scope_id=SCOPE_ID, old_scope="-100"),
        Hello(
            generation=EPOCH,
            platform=PLATFORM,
            bot_id=BOT_ID,
            scope_id="*",
            understands=1,
            of="pigeon:loft:tower",
            until=42,
        ),
        Claim(generation=EPOCH, platform=PLATFORM, bot_id=BOT_ID, scope_id="*", instance="i-1", leaves=True),
        Erased(generation=EPOCH, platform=PLATFORM, bot_id=BOT_ID, scope_id=SCOPE_ID, turn=TURN),
    )
    | _samples(
        "to-spoke",
        messages.TO_SPOKE,
        Accepted(turn=TURN, epoch=EPOCH),
        AlreadyAccepted(turn=TURN, covers=(MESSAGE_ID, "m2"), epoch=EPOCH),
        Refused(reason="too fast", text="One moment, please."),
        Noted(message_id="b1", epoch=EPOCH),
        Welcome(
            epoch=EPOCH,
            understands=1,
            agent="helper",
            model="scripted:default",
            payer="you",
            history=(_EXCHANGE,),
            erased_at=NOW,
        ),
        Leased(generation=EPOCH),
        StandBy(generation=EPOCH),
    )
    | _samples(
        "outbound",
        messages.OUTBOUND,
        Update(
            turn=TURN,
            attempt=2,
            events=5,
            base=2,
            text=" there",
            activity="looks at the clock",
            question=Question(code=CODE, text="May I?", expires_at=NOW + 60),
            message_id="b1",
            further=("b2",),
            epoch=EPOCH,
            address=_ADDRESS,
        ),
        Final(
            turn=TURN,
            text="hi there",
            outcome="complete",
            usage=_USAGE,
            joined=("another",),
            attachments=(_ATTACHMENT,),
            choices=("Yes", "No"),
            asker=USER_ID,
            message_id="b1",
            further=("b2",),
            epoch=EPOCH,
            address=_ADDRESS,
        ),
        Said(turn=TURN, user_name="Zoë", text="hello", joined="another", epoch=EPOCH, address=_ADDRESS),
        Erase(turn=TURN, turns=("another",), until=NOW, epoch=EPOCH, address=_ADDRESS),
    )
    | _samples(
        "record",
        records.RECORD,
        TurnReceived(
            id=record_id(TURN, "received"),
            turn=TURN,
            at=NOW,
            compacted=3,
            message=_MESSAGE,
            trust="trusted",
            start=_START,
        ),
        TurnStarted(id=record_id(TURN, "started", 2), turn=TURN, at=NOW, compacted=3, start=_START),
        ReplyOpened(id=record_id(TURN, "opened", 1), turn=TURN, at=NOW, compacted=3, message_id="b2", part=1),
        ToolStarted(
            id=record_id(TURN, "tool started", 2, "c1"),
            turn=TURN,
            at=NOW,
            compacted=3,
            attempt=2,
            call="c1",
            tool="memory",
            effect="write",
            arguments="f00d",
        ),
        ToolDone(
            id=record_id(TURN, "tool done", 2, "c1"),
            turn=TURN,
            at=NOW,
            compacted=3,
            attempt=2,
            call="c1",
            outcome="ok",
            content="noted",
            attachments=(_ATTACHMENT,),
        ),
        StepDone(
            id=record_id(TURN, "step done", 2, "summary"),
            turn=TURN,
            at=NOW,
            compacted=3,
            attempt=2,
            output=_OUTPUT,
        ),
        MoneyReserved(
            id=record_id(TURN, "reserved", 1, "m1"),
            turn=TURN,
            at=NOW,
            compacted=3,
            attempt=1,
            call="m1",
            user_id=USER_ID,
            person="cli:zoe",
            agent="scout",
            model="anthropic:some-model",
            amount=Decimal("0.50"),
        ),
        MoneySettled(
            id=record_id(TURN, "settled", 1, "m1"),
            turn=TURN,
            at=NOW,
            compacted=3,
            attempt=1,
            call="m1",
            amount=Decimal("0.0125"),
        ),
        _ANSWERED,
        ReplyShown(id=record_id(TURN, "shown"), turn=TURN, at=NOW, compacted=3, message_id="b1"),
        ReplyUndeliverable(id=record_id(TURN, "undeliverable"), turn=TURN, at=NOW, compacted=3, reason="chat gone"),
        TurnRefused(
            id=record_id(TURN, "refused"), turn=TURN, at=NOW, compacted=3, reason="budget", text="Not today, sorry."
        ),
        TurnSuperseded(id=record_id(TURN, "superseded"), turn=TURN, at=NOW, compacted=3, by="another"),
        SessionOpened(id=record_id(TURN, "session"), turn=TURN, at=NOW, compacted=3),
        Bound(id=record_id(TURN, "bound"), turn=TURN, at=NOW, compacted=3, agent="scout", model="openai:other"),
        _VIEW,
        Forgotten(
            id=record_id(TURN, "forgotten"),
            turn=TURN,
            at=NOW,
            compacted=3,
            by=USER_ID,
            files=12,
            agent="scout",
            model="openai:other",
            usage=_USAGE,
            seen=(MESSAGE_ID, "m2"),
            tally=Tally(received=9, answered=6, refused=2, superseded=1),
            spent=(Spending(began=40, budget="daily", who="telegram:u1", window="2026-01-02", spent=Decimal("0.25")),),
        ),
        HeadMoved(id=record_id(TURN, "head"), turn=TURN, at=NOW, compacted=3, after="another", again=True),
        _ASKED,
        Decided(
            id=record_id(TURN, "decided", "c1"),
            turn=TURN,
            at=NOW,
            compacted=3,
            call="c1",
            code=CODE,
            approved=False,
            platform=PLATFORM,
            user_id=USER_ID,
        ),
    )
    | _samples("epochs", records.EPOCH, EpochBegun(hub="hub-1", at=NOW), EpochBegun(hub="hub-1", at=NOW, since=7))
    | _samples("marks", records.MARK, MarkMoved(sequence=42), MarkMoved(sequence=42, epochs=(3, 9)))
    | _samples("purse", records.PURSE, PurseOpened(hub="hub-1"))
    | _samples(
        "leases",
        records.LEASE,
        LeaseGiven(platform=PLATFORM, bot_id=BOT_ID, instance="i-1", inbox="_INBOX_pigeon-tower.hub.c1.1", at=NOW),
    )
    | _samples(
        "seals",
        records.SEAL,
        Seal(
            number=2,
            before=_DIGEST,
            through=42,
            at=NOW,
            sealed=(
                SealedRecords(
                    subject=subjects.turns(PLATFORM, BOT_ID, SCOPE_ID), records=((40, "0f" * 16), (41, "f0" * 16))
                ),
            ),
        ),
    )
    | _samples(
        "balances",
        records.BALANCES,
        Balances(
            through=42,
            balances=(Balance(budget="daily", who="telegram:u1", window="2026-01-02", spent=Decimal("0.25")),),
        ),
    )
    | _samples(
        "owners",
        records.OWNERS,
        Owners(platform=PLATFORM, bot_id=BOT_ID, owners=(Owner(user_id=USER_ID, code=_DIGEST, at=NOW),)),
    )
    | _samples(
        "access",
        records.ACT,
        Invited(id="a1", at=NOW, by=_WHO, bot=_BOT, level="trusted", code=_DIGEST, expires_at=NOW + 60),
        Granted(id="a2", at=NOW, by=_WHO, to="telegram:u2", bot=_BOT, level="trusted", code=_DIGEST),
        Revoked(id="a3", at=NOW, by=_WHO, who="telegram:u2", bot=_BOT),
        Blocked(id="a4", at=NOW, by=_WHO, who="telegram:u2", bot=_BOT),
        Unblocked(id="a5", at=NOW, by=_WHO, who="telegram:u2", bot=_BOT),
        Linked(id="a6", at=NOW, by=_WHO, one="cli:zoe", other=_WHO, code=_DIGEST),
        Unlinked(id="a7", at=NOW, by=_WHO, who="cli:zoe"),
    )
    | _samples(
        "command",
        work.COMMAND,
        Run(
            turn=TURN,
            epoch=EPOCH,
            partition=5,
            attempt=2,
            instance="i1",
            scope=f"{PLATFORM}:{BOT_ID}:{SCOPE_ID}",
            agent=_AGENT,
            lines=(Line(role="user", text="hello", attachments=(_ATTACHMENT,)), Line(role="assistant", text="hi")),
            pace_ms=30,
            user_id="u1",
            person="cli:zoe",
            tainted=True,
            known_calls=(KnownCall(call="c1", outcome="ok", content="done", attachments=(_ATTACHMENT,)),),
            aloud="hi",
            engine="digest",
            known_steps=(_OUTPUT,),
        ),
        Resume(turn=TURN, epoch=EPOCH, partition=5, attempt=2, start=3),
        Stop(turn=TURN, epoch=EPOCH, partition=5),
        Steer(
            turn=TURN,
            epoch=EPOCH,
            partition=5,
            joining="t2",
            line=Line(role="user", text="wait", trusted=True),
            tainted=True,
        ),
        Forget(turns=(TURN,), epoch=EPOCH, partition=5),
        work.Erase(
            scope=f"{PLATFORM}:{BOT_ID}:{SCOPE_ID}", namespaces=("helper",), until=NOW, epoch=EPOCH, partition=5
        ),
    )
    | _samples(
        "command-after",
        work.COMMAND,
        Steer(
            schema_version=3,
            turn=TURN,
            epoch=EPOCH,
            partition=5,
            joining="t3",
            line=Line(role="user", text="and", trusted=True),
            after="t2",
        ),
    )
    | _samples("command-reply", work.COMMAND_REPLY, Done(), Unknown(turn=TURN), Stale(epoch=EPOCH))
    | _samples(
        "events",
        work.EVENTS,
        Events(
            turn=TURN,
            attempt=2,
            instance="i1",
            first=3,
            events=(
                SaidText(text="hi"),
                ToolEvent(call="c1", tool="clock", state="running", text="looks at the clock"),
                *(Stepped(step=step) for step in _STEPS),
                Ended(
                    outcome="failed",
                    usage=_USAGE,
                    reference="r1",
                    joined=("t2",),
                    attachments=(_ATTACHMENT,),
                    choices=("Yes",),
                    tainted=True,
                ),
            ),
            done=10,
        ),
    )
    | _samples(
        "record-request",
        work.RECORD_REQUEST,
        RecordRequest(platform=PLATFORM, bot_id=BOT_ID, scope_id=SCOPE_ID, attempt=2, instance="i1", record=_ANSWERED),
    )
    | _samples(
        "approval-request",
        work.RECORD_REQUEST,
        RecordRequest(
            platform=PLATFORM,
            bot_id=BOT_ID,
            scope_id=SCOPE_ID,
            attempt=2,
            instance="i1",
            record=ApprovalWanted(
                turn=TURN,
                call="c1",
                tool="send",
                effect="external",
                arguments='{"to":"all"}',
                reasons=("it reaches outside",),
                seconds=3600,
            ),
        ),
    )
    | _samples("record-reply", work.RECORD_REPLY, Recorded(), NotRecorded(words="No."))
    | _samples(
        "worker-heartbeat",
        work.WORKER_HEARTBEAT,
        WorkerHeartbeat(
            worker="clipool",
            instance="i1",
            understands=1,
            turns={TURN: KeptTurn(scope=f"{PLATFORM}:{BOT_ID}:{SCOPE_ID}", attempt=2, events=6)},
            models=("scripted:default",),
            opinions=(Opinion(capability="voice.tts", worker="w1", score=0.25, circuit="half-open"),),
        ),
    )
    | _samples(
        "capability-request",
        capability.CAPABILITY_REQUEST,
        CapabilityRequest(
            turn=TURN,
            call="c1",
            text="Say it loudly.",
            arguments='{"times": 2}',
            deadline=118.0,
            id="w1",
            large=Kept(blob="b1", size=500_000),
            instance="i1",
            understands=1,
            wants_progress=True,
        ),
        CapabilityCancel(id="w1"),
        CapabilityInquiry(),
        CapabilityParcel(
            instance="i1",
            understands=2,
            wishes=(CapabilityWish(turn=TURN, call="c1", text="hey", arguments='{"a":1}', deadline=5.0, id="w1"),),
        ),
    )
    | _samples(
        "capability-reply",
        capability.CAPABILITY_REPLY,
        CapabilityDone(
            text="DONE",
            attachments=(_ATTACHMENT,),
            files=(MadeFile.of("a.txt", b"made"),),
            large=Kept(blob="b1", size=500_000),
            kept_files=(KeptFile(name="b.ogg", blob="b2", size=600_000),),
        ),
        CapabilityRefused(reason="busy", words="Later, please."),
        CapabilityAnswers(parts=(1, 0), replies=(CapabilityDone(text="HEY"), CapabilityRefused(reason="busy"))),
        CapabilityProgress(share=0.5, words="Half of it."),
        CapabilityDescription(
            name="voice.tts",
            description="Says it.",
            parameters='{"type":"object","properties":{}}',
            effect="read",
            seconds=60.0,
        ),
    )
    | _samples("hub-hello", work.HUB_HELLO, HubHello(epoch=EPOCH, understands=1))
    | _samples("hub-heartbeat", lifecycle.HUB_HEARTBEAT, HubHeartbeat(hub="hub-1", epoch=EPOCH), _SHARING)
    | _samples(
        "heartbeat",
        lifecycle.HEARTBEAT,
        Heartbeat(
            worker="w1",
            instance="i1",
            understands=1,
            load=0.25,
            at_once=4,
            running=1,
            shape="0123456789abcdef",
            is_draining=True,
            gpu=Memory(free=1 << 30, total=1 << 34),
        ),
    )
    | _samples(
        "peers",
        peers.PEER_ASKED,
        peers.Begin(platform=PLATFORM, bot_id=BOT_ID, scope_id=SCOPE_ID, view=_VIEW),
        peers.Decide(platform=PLATFORM, user_id=USER_ID, code=CODE, approved=True),
        peers.ListQuestions(platform=PLATFORM, user_id=USER_ID),
        peers.Greeted(platform=PLATFORM, bot_id=BOT_ID),
        peers.Offered(code=_DIGEST, who=_WHO, expires_at=NOW + 600),
        peers.Counted(
            hub="hub-1",
            spoken=(peers.Spoken(who=_WHO, times=2, per_minute=20),),
            waiting=(peers.Waiting(who=_WHO, places=("p:b:s",)),),
        ),
    )
    | _samples(
        "heard",
        peers.HEARD,
        peers.Heard(),
        peers.Heard(done=False, text="Allowed.", questions=(peers.OpenQuestion(scope="p:b:s", asked=_ASKED),)),
    )
    | _samples("typing", lifecycle.TYPING, Typing(platform=PLATFORM, bot_id=BOT_ID, scope_id=SCOPE_ID))
    | _samples("ready", lifecycle.READY, Ready(hub="hub-1", epoch=EPOCH, understands=1))
    | _samples(
        "render",
        render.RENDER,
        TextDelta(turn=TURN, text="hi"),
        TextReplaced(turn=TURN, text=""),
        ToolSummary(turn=TURN, text="looks at the clock"),
        QuestionAsked(turn=TURN, text="May I?"),
        AnswerEnded(
            turn=TURN,
            text="hi there",
            outcome="complete",
            usage=_USAGE,
            files=(SavedFile(name="cat.png", mime="image/png", size=1024, path="/home/ann/cat.png"),),
            choices=("Yes", "No"),
        ),
    )
)
