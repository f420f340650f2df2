"""Records of turns, as tests of what is read from the log write them."""

from collections.abc import Sequence
from decimal import Decimal

from factory_contracts import subjects
from factory_contracts.messages import Address, InboundMessage, Outcome, Usage
from factory_contracts.records import (
    RECORD,
    Asked,
    Decided,
    Forgotten,
    MoneyReserved,
    MoneySettled,
    Record,
    ReplyShown,
    Start,
    Tally,
    TurnAnswered,
    TurnReceived,
    TurnStarted,
    record_id,
)
from factory_contracts.trace import ModelStep, Step, ToolStep
from factory_nats.testing import FakeBus, FakeTransport
from factory_nats.transport import Entry, StreamConfig
from hub.kernel.routing import RoutingKey

KEY = RoutingKey("cli", "main", "walk")
# 2026-11-21, a second after noon in UTC.
NOON = 1_795_262_401.0


def received(turn: str = "t1", *, text: str = "hello", user: str = "ada", at: float = NOON, attempt: int = 1) -> Record:
    """A turn that was accepted, and at once given to a worker unless its attempt is 0."""
    return TurnReceived(
        id=record_id(turn, "received"),
        turn=turn,
        at=at,
        message=InboundMessage(
            message_id=turn,
            user_id=user,
            user_name=user.title(),
            text=text,
            address=Address(platform=KEY.platform, bot_id=KEY.bot_id, scope_id=KEY.scope_id),
        ),
        trust="owner",
        start=Start(attempt=attempt, worker="clipool", instance=f"life{attempt}") if attempt else None,
    )


def started(turn: str = "t1", *, attempt: int, why: str = "the worker died", at: float = NOON + 1) -> Record:
    """Another attempt."""
    start = Start(attempt=attempt, worker="clipool", instance=f"life{attempt}", why=why)
    return TurnStarted(id=record_id(turn, "started", attempt), turn=turn, at=at, start=start)


def reserved(
    turn: str = "t1",
    call: str = "m1",
    *,
    amount: str | None = "0.05",
    attempt: int = 1,
    agent: str = "scout",
    at: float = NOON,
    user: str = "ada",
) -> Record:
    """Money held for a call."""
    return MoneyReserved(
        id=record_id(turn, "reserved", attempt, call),
        turn=turn,
        at=at,
        attempt=attempt,
        call=call,
        user_id=user,
        agent=agent,
        model="anthropic:claude",
        amount=None if amount is None else Decimal(amount),
    )


def settled(turn: str = "t1", call: str = "m1", *, amount: str | None = "0.01", attempt: int = 1) -> Record:
    """What a call cost."""
    return MoneySettled(
        id=record_id(turn, "settled", attempt, call),
        turn=turn,
        at=NOON + 2,
        attempt=attempt,
        call=call,
        amount=None if amount is None else Decimal(amount),
    )


def question(call: str, *, text: str = "May I?") -> Record:
    """A person is asked about a call, for a minute."""
    return Asked(
        id=record_id("t1", "asked", call),
        turn="t1",
        at=NOON + 1,
        call=call,
        code="0" * 16,
        tool="send",
        effect="external",
        arguments="0" * 64,
        text=text,
        user_id="ada",
        expires_at=NOON + 61,
    )


def decision(call: str, *, approved: bool, user: str | None = "olga") -> Record:
    """They answer, or nobody does."""
    return Decided(
        id=record_id("t1", "decided", call),
        turn="t1",
        at=NOON + 5,
        call=call,
        code="0" * 16,
        approved=approved,
        platform="telegram" if user is not None else None,
        user_id=user,
    )


def asked(
    call: str = "m1",
    *,
    text: str = "",
    cost: str | None = "0.01",
    reason: str = "end",
    error: str = "",
    within: str | None = None,
    cached: int = 0,
) -> ModelStep:
    """A model call of ten tokens in and two out."""
    return ModelStep(
        call=call,
        model="anthropic:claude",
        messages=3,
        text=text,
        reason=reason,
        error=error,
        input_tokens=10,
        output_tokens=2,
        cache_read_tokens=cached,
        cost=None if cost is None else Decimal(cost),
        seconds=1.25,
        within=within,
    )


def used(call: str = "c1", tool: str = "clock", *, content: str = "noon", within: str | None = None) -> ToolStep:
    """A call of a tool that only reads."""
    return ToolStep(
        call=call, tool=tool, effect="read", arguments='{"a": 1}', outcome="ok", content=content, within=within
    )


def answered(
    turn: str = "t1",
    *steps: Step,
    text: str = "hi",
    outcome: Outcome = "complete",
    reference: str | None = None,
    usage: Usage | None = None,
    agent: str | None = "scout",
    at: float = NOON + 3,
) -> Record:
    """The answer, with what its steps add up to."""
    calls = [step for step in steps if isinstance(step, ModelStep)]
    summed = Usage(
        calls=len(calls),
        input_tokens=10 * len(calls),
        output_tokens=2 * len(calls),
        cache_read_tokens=sum(step.cache_read_tokens for step in calls),
        cost=sum((step.cost for step in calls if step.cost is not None), Decimal(0)),
        unpriced=sum(step.cost is None for step in calls),
    )
    return TurnAnswered(
        id=record_id(turn, "answered"),
        turn=turn,
        at=at,
        text=text,
        outcome=outcome,
        usage=usage or summed,
        agent=agent,
        agent_hash="abc" if agent else None,
        model="anthropic:claude" if agent else None,
        reference=reference,
        steps=steps,
    )


def shown(turn: str = "t1") -> Record:
    """The receipt."""
    return ReplyShown(id=record_id(turn, "shown"), turn=turn, at=NOON + 4, message_id="17")


def forgotten(turn: str = "t1", *, usage: Usage | None = None) -> Record:
    return Forgotten(
        id=f"{turn}.forgotten",
        turn=turn,
        at=NOON + 9,
        by="ada",
        files=0,
        usage=usage or Usage(),
        seen=(),
        tally=Tally(received=4, answered=2, refused=1, superseded=1),
    )


async def log_of(records: Sequence[Record | tuple[RoutingKey, Record]]) -> FakeTransport:
    """A bus on whose log these records are, and none other."""
    transport = FakeBus().join("hub")
    await transport.ensure_stream(StreamConfig(subjects.STREAM, subjects.plane("turns"), deny_delete=True))
    for one in records:
        key, record = one if isinstance(one, tuple) else (KEY, one)
        await transport.append([Entry(key.subject, RECORD.encode(record))])
    return transport
