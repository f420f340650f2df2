"""A turn as somebody reads it who wants to know what was done, and why it cost what it did.

Records in, lines out; reads no clock and prints nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from factory_cli.amounts import dollars
from factory_cli.expenses import Expenses, Total
from factory_cli.ink import Ink, Line, Style, block
from factory_contracts.messages import Attachment, InboundMessage
from factory_contracts.records import (
    Asked,
    Bound,
    Decided,
    Forgotten,
    HeadMoved,
    MoneyReserved,
    MoneySettled,
    Record,
    ReplyOpened,
    ReplyShown,
    ReplyUndeliverable,
    SessionOpened,
    Start,
    StepDone,
    ToolDone,
    ToolStarted,
    TurnAnswered,
    TurnReceived,
    TurnRefused,
    TurnStarted,
    TurnSuperseded,
)
from factory_contracts.trace import EngineStep, ModelStep, Step
from hub.kernel.routing import RoutingKey

LABEL = 11
INDENT = 2
BENEATH = 4


@dataclass(slots=True)
class Attempt:
    """One attempt at a turn: who ran it and why, and what was on the log of its calls before they were over.

    `leave` tells which of them a person was asked about, and what they said.
    """

    start: Start
    at: float
    money: dict[str, tuple[MoneyReserved | None, MoneySettled | None]] = field(default_factory=dict)
    tools: dict[str, tuple[ToolStarted | None, ToolDone | None]] = field(default_factory=dict)
    leave: dict[str, tuple[Asked, Decided | None]] = field(default_factory=dict)
    engine: dict[str, StepDone] = field(default_factory=dict)


@dataclass(slots=True)
class Turn:
    """A fold of one turn's records."""

    name: str
    key: RoutingKey
    received: TurnReceived | None = None
    attempts: dict[int, Attempt] = field(default_factory=dict)
    bubble: ReplyOpened | None = None
    end: TurnAnswered | TurnRefused | TurnSuperseded | None = None
    forgotten: Forgotten | None = None
    receipt: ReplyShown | ReplyUndeliverable | None = None
    others: list[SessionOpened | Bound | HeadMoved] = field(default_factory=list)
    total: Total = field(default_factory=Total)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What its last attempt did, as far as the answer tells."""
        return self.end.steps if isinstance(self.end, TurnAnswered) else ()


@dataclass(frozen=True, slots=True)
class Node:
    """A step, and the steps of the agent that it asked, or of the engine that it ran."""

    step: Step
    below: tuple["Node", ...] = ()


def fold(name: str, key: RoutingKey, records: Iterable[Record]) -> Turn:
    """The turn that these records are of; a record that stands there twice changes nothing."""
    turn, expenses = Turn(name, key), Expenses()
    for record in records:
        for expense in expenses.apply(key, record):
            turn.total.add(expense)
        _apply(turn, record)
    for expense in expenses.rest():
        turn.total.add(expense)
    return turn


def tree(steps: Sequence[Step]) -> tuple[Node, ...]:
    """The steps in their order, those of a helper below the call that asked it."""
    callers = {step.call for step in steps if not isinstance(step, ModelStep)}
    below: dict[str, list[Step]] = {}
    top: list[Step] = []
    for step in steps:
        # A helper's call is named within its caller's; what names itself is no caller of its own.
        is_below = step.within in callers and step.within != step.call
        (below.setdefault(step.within or "", []) if is_below else top).append(step)

    def node(step: Step) -> Node:
        # Taken out, not looked up: steps that name each other in a circle end here.
        children = [] if isinstance(step, ModelStep) else below.pop(step.call, [])
        return Node(step, tuple(node(child) for child in children))

    nodes = [node(step) for step in top]
    while below:
        nodes += [node(step) for step in below.pop(next(iter(below)))]
    return tuple(nodes)


def lines(turn: Turn, width: int | None = None) -> Iterator[Line]:
    """All of it, from what was asked to how it was delivered."""
    yield _row("turn", Ink(turn.name, "strong"))
    if turn.forgotten is not None:
        yield from _of_forgotten(turn.forgotten, turn)
        return
    if turn.received is not None:
        yield from _heard(turn.received, turn.key, width)
    for other in turn.others:
        yield _row("then", Ink(_of_other(other)))
    for number, attempt in sorted(turn.attempts.items()):
        yield from _attempted(attempt)
        is_last = number == max(turn.attempts)
        steps = turn.steps if is_last else ()
        yield from of_steps(steps, width, attempt)
        yield from _left(attempt, steps, is_over=turn.end is not None or not is_last)
    if not turn.attempts:
        yield from of_steps(turn.steps, width)
    yield from _ended(turn, width)


def of_steps(steps: Sequence[Step], width: int | None = None, attempt: Attempt | None = None) -> Iterator[Line]:
    """The steps of one attempt, in their order and numbered."""
    numbers = iter(range(1, len(steps) + 1))

    def each(nodes: Iterable[Node], indent: int) -> Iterator[Line]:
        for node in nodes:
            yield from _step(node.step, next(numbers), indent, width, attempt)
            yield from each(node.below, indent + BENEATH)

    yield from each(tree(steps), INDENT)


def of_total(total: Total) -> str:
    """What was consumed, in words."""
    calls = "1 model call" if total.calls == 1 else f"{total.calls:,} model calls"
    assumed = f" (budgets count {dollars(total.assumed)} for that)" if total.assumed else ""
    return f"{calls}, {_tokens(total)}, {total.in_words}{assumed}"


def clock(at: float) -> str:
    """A moment in the reader's own time."""
    try:
        return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return str(at)


def _apply(turn: Turn, record: Record) -> None:
    match record:
        case TurnReceived():
            turn.received = turn.received or record
            if record.start is not None:
                turn.attempts.setdefault(record.start.attempt, Attempt(record.start, record.at))
        case TurnStarted(start=start):
            turn.attempts.setdefault(start.attempt, Attempt(start, record.at))
        case MoneyReserved(attempt=number, call=call):
            if (attempt := turn.attempts.get(number)) is not None:
                attempt.money[call] = (record, attempt.money.get(call, (None, None))[1])
        case MoneySettled(attempt=number, call=call):
            if (attempt := turn.attempts.get(number)) is not None:
                attempt.money[call] = (attempt.money.get(call, (None, None))[0], record)
        case ToolStarted(attempt=number, call=call):
            if (attempt := turn.attempts.get(number)) is not None:
                attempt.tools[call] = (record, attempt.tools.get(call, (None, None))[1])
        case ToolDone(attempt=number, call=call):
            if (attempt := turn.attempts.get(number)) is not None:
                attempt.tools[call] = (attempt.tools.get(call, (None, None))[0], record)
        case StepDone(attempt=number, output=output):
            if (attempt := turn.attempts.get(number)) is not None:
                attempt.engine.setdefault(output.step, record)
        case ReplyOpened():
            turn.bubble = turn.bubble or record
        case TurnAnswered() | TurnRefused() | TurnSuperseded():
            turn.end = turn.end or record
        case Forgotten():
            turn.forgotten = record
        case ReplyShown() | ReplyUndeliverable():
            turn.receipt = turn.receipt or record
        case Asked(call=call):
            if turn.attempts:
                turn.attempts[max(turn.attempts)].leave.setdefault(call, (record, None))
        case Decided(call=call):
            for attempt in turn.attempts.values():
                if call in attempt.leave:
                    asked, decided = attempt.leave[call]
                    attempt.leave[call] = (asked, decided or record)
        case SessionOpened() | Bound() | HeadMoved():
            if all(other.id != record.id for other in turn.others):
                turn.others.append(record)
        case _:
            pass


# Lines


def _row(label: str, *words: Ink) -> Line:
    return (Ink(f"{label:<{LABEL}}", "faint"), *words)


def _under(label: str, text: str, width: int | None, style: Style = "plain") -> Iterator[Line]:
    """A label, and a text beside it and beneath."""
    is_first = True
    for _, ink in block(text, LABEL, width, style):
        yield _row(label if is_first else "", ink)
        is_first = False


def _heard(received: TurnReceived, key: RoutingKey, width: int | None) -> Iterator[Line]:
    message = received.message
    yield _row("received", Ink(f"{clock(received.at)} in {key.to_pool_id()}"))
    name = f"{message.user_name} ({message.user_id})" if message.user_name else message.user_id
    yield _row("from", Ink(name), Ink(f", {received.trust}"))
    yield from _said(message, width)


def _said(message: InboundMessage, width: int | None) -> Iterator[Line]:
    if message.quoted:
        yield from _under("quoting", message.quoted, width, "faint")
    yield from _under("asked", message.text or "(no words)", width, "strong")
    yield from _with(message.attachments)


def _with(attachments: Iterable[Attachment]) -> Iterator[Line]:
    for one in attachments:
        yield _row("with", Ink(f"{one.kind} {one.name!r} ({one.mime}, {one.size:,} bytes)"))


def _of_forgotten(record: Forgotten, turn: Turn) -> Iterator[Line]:
    tally = record.tally
    ends = f"{tally.answered:,} answered, {tally.refused:,} refused, {tally.superseded:,} heard in others"
    yield _row("forgotten", Ink(f"{clock(record.at)} in {turn.key.to_pool_id()}"), Ink(f", as {record.by} asked"))
    yield _row("until then", Ink(f"{tally.received:,} turn{'' if tally.received == 1 else 's'}: {ends}"))
    yield _row("total", Ink(of_total(turn.total)))


def _of_other(record: SessionOpened | Bound | HeadMoved) -> str:
    match record:
        case SessionOpened():
            return "a new conversation began"
        case Bound(agent=agent, model=model):
            return f"{agent} was to answer from now on" + (f", with {model}" if model else "")
        case HeadMoved(after=after, again=again):
            place = f"turn {after}" if after else "the beginning"
            return f"the conversation went back to {place}" + (
                ", and the turn after it was asked again" if again else ""
            )


def _attempted(attempt: Attempt) -> Iterator[Line]:
    start = attempt.start
    yield _row(
        f"attempt {start.attempt}",
        Ink(f"at worker {start.worker} ({start.instance})"),
        Ink(f", because: {start.why}" if start.why else ""),
    )


def _step(step: Step, number: int, indent: int, width: int | None, attempt: Attempt | None) -> Iterator[Line]:
    beneath = indent + BENEATH + 2
    head = Ink(f"{' ' * indent}{number:>{BENEATH - 1}} ", "faint")
    if isinstance(step, ModelStep):
        is_bad = step.reason == "failed" or bool(step.error)
        words = [
            f"{step.messages:,} message{'' if step.messages == 1 else 's'} shown",
            _tokens(step),
            _cost_of(step, attempt),
            f"{step.seconds:.1f} s",
        ]
        yield (
            head,
            Ink("model "),
            Ink(step.model, "name"),
            Ink(f"  {', '.join(words)}  "),
            _outcome(step.reason, is_bad),
        )
        if step.error:
            yield from block(step.error, beneath, width, "bad")
        yield from block(step.text, beneath, width)
        return
    if isinstance(step, EngineStep):
        of_engine = Ink(f"  of {step.engine} {step.version}, {step.step}, {step.seconds:.1f} s  ")
        is_bad = step.outcome in ("error", "stopped")
        outcome = "done in an earlier attempt" if step.outcome == "known" else step.outcome
        yield head, Ink("step  "), Ink(step.call, "name"), of_engine, _outcome(outcome, is_bad)
        yield from block(step.arguments, beneath, width, "faint")
        yield from block(step.content, beneath, width)
        return
    is_bad = step.outcome in ("error", "unknown")
    details = Ink(f"  {step.effect}, {step.seconds:.1f} s  ")
    yield head, Ink("tool  "), Ink(step.tool, "name"), details, _outcome(step.outcome, is_bad)
    yield from block(step.arguments, beneath, width, "faint")
    if attempt is not None and step.call in attempt.leave:
        yield from _leave(*attempt.leave[step.call], beneath, is_over=True)
    for at, (_, ink) in enumerate(block(step.content, beneath + 2, width)):
        yield Ink(" " * beneath + ("> " if at == 0 else "  "), "faint"), ink


def _leave(asked: Asked, decided: Decided | None, indent: int, *, is_over: bool) -> Iterator[Line]:
    """When a person was asked about a call, and what they said."""
    words = f"asked at {clock(asked.at)}: "
    match decided:
        case None if is_over:
            words += "nobody answered before it was over"
        case None:
            words += f"nobody has answered yet, and can until {clock(asked.expires_at)}"
        case Decided(user_id=None):
            words += f"nobody answered until {clock(asked.expires_at)}"
        case Decided(user_id=user, platform=platform, approved=approved):
            does = "allowed it" if approved else "did not allow it"
            words += f"{user} ({platform or '-'}) {does} at {clock(decided.at)}"
    yield from block(words, indent, None, "plain" if decided is not None and decided.approved else "bad")


def _outcome(word: str, is_bad: bool) -> Ink:
    return Ink(word, "bad" if is_bad else "good")


def _tokens(one: Total | ModelStep) -> str:
    cached = f" ({one.cache_read_tokens:,} from a cache)" if one.cache_read_tokens else ""
    return f"{one.input_tokens:,} tokens in{cached}, {one.output_tokens:,} out"


def _cost_of(step: ModelStep, attempt: Attempt | None) -> str:
    reserved = attempt.money.get(step.call, (None, None))[0] if attempt is not None else None
    held = f" of {dollars(reserved.amount)} reserved" if reserved is not None and reserved.amount is not None else ""
    return ("cost unknown" if step.cost is None else dollars(step.cost)) + held


def _left(attempt: Attempt, steps: Sequence[Step], *, is_over: bool) -> Iterator[Line]:
    """What the log knows of calls that no step tells of."""
    told = {step.call for step in steps}
    head = Ink(" " * (INDENT + BENEATH))
    for call, (reserved, settled) in attempt.money.items():
        if call in told:
            continue
        name = Ink(reserved.model if reserved is not None else call, "name")
        most = "" if reserved is None or reserved.amount is None else f"{dollars(reserved.amount)} reserved"
        if settled is not None:
            words = "at unknown cost" if settled.amount is None else f"cost {dollars(settled.amount)}"
        elif is_over:
            words = "never settled: budgets count it in full" if most else "never settled: nobody knows what it cost"
        else:
            words = "under way"
        yield head, Ink("model "), name, Ink(f"  {', '.join(part for part in (most, words) if part)}")
    for call, (started, done) in attempt.tools.items():
        if call in told:
            continue
        name = Ink(f"{started.tool}" if started is not None else call, "name")
        effect = f"{started.effect}, " if started is not None else ""
        outcome = done.outcome if done is not None else "unknown" if is_over else "under way"
        yield head, Ink("tool  "), name, Ink(f"  {effect}"), _outcome(outcome, outcome != "ok")
    for call, record in attempt.engine.items():
        if call not in told:
            output = record.output
            of_engine = Ink(f"  of {output.engine} {output.version}  ")
            yield head, Ink("step  "), Ink(call, "name"), of_engine, _outcome("ok", False)
            large = f"({output.large.size:,} bytes)" if output.large is not None else ""
            yield from block(output.value or large, INDENT + BENEATH + 2, None)
    for call, (asked, decided) in attempt.leave.items():
        if call in told:
            continue
        if call not in attempt.tools:
            yield head, Ink("tool  "), Ink(asked.tool, "name"), Ink(f"  {asked.effect}, "), _outcome("not begun", True)
            yield from block(asked.text, INDENT + BENEATH + 2, None, "faint")
        yield from _leave(asked, decided, INDENT + BENEATH + 2, is_over=is_over)


def _ended(turn: Turn, width: int | None) -> Iterator[Line]:
    money = [pair for attempt in turn.attempts.values() for pair in attempt.money.values()]
    if money:
        yield _row("money", Ink(_of_money(money)))
    match turn.end:
        case TurnAnswered() as answer:
            who = f" by {answer.agent} ({answer.agent_hash or '?'})" if answer.agent else " by the hub"
            model = f" with {answer.model}" if answer.model else ""
            reference = f", reference {answer.reference}" if answer.reference else ""
            outcome = Ink(answer.outcome, "good" if answer.outcome == "complete" else "bad")
            yield _row("answer", outcome, Ink(f"{who}{model}{_after(turn)}{reference}"))
            yield from _under("", answer.text, width)
            yield from _with(answer.attachments or ())
            if answer.choices:
                yield _row("choices", Ink(", ".join(map(repr, answer.choices))))
        case TurnRefused() as refusal:
            yield _row("refused", Ink(refusal.reason, "bad"))
            yield from _under("", refusal.text, width)
        case TurnSuperseded() as superseded:
            yield _row("heard", Ink(f"in turn {superseded.by}, which answers it as well"))
        case None:
            yield _row("answer", Ink("not yet", "bad"))
    yield _row("total", Ink(of_total(turn.total)))
    match turn.receipt:
        case ReplyShown() as shown:
            bubble = shown.message_id or (turn.bubble.message_id if turn.bubble is not None else None)
            yield _row("delivered", Ink(f"{clock(shown.at)}" + (f" as message {bubble}" if bubble else "")))
        case ReplyUndeliverable() as failed:
            yield _row("delivered", Ink("never: ", "bad"), Ink(failed.reason))
        case None if isinstance(turn.end, TurnAnswered | TurnRefused):
            yield _row("delivered", Ink("not yet: no receipt came", "bad"))
        case None:
            pass


def _of_money(money: Sequence[tuple[MoneyReserved | None, MoneySettled | None]]) -> str:
    reserved = [one.amount for one, _ in money if one is not None and one.amount is not None]
    settled = [one.amount for _, one in money if one is not None and one.amount is not None]
    open_calls = sum(one is None for _, one in money)
    words = f"{dollars(sum(reserved, Decimal(0)))} reserved, {dollars(sum(settled, Decimal(0)))} settled"
    if open_calls:
        words += f", {open_calls} call{'' if open_calls == 1 else 's'} not settled"
    return words


def _after(turn: Turn) -> str:
    if turn.received is None or turn.end is None:
        return ""
    return f" after {max(0.0, turn.end.at - turn.received.at):.1f} s"
