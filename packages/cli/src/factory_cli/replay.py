"""A conversation as it stood at some point of its log: the records up to there, folded as the hub folds them.

Records in, values and lines out; reads no clock and prints nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal

from pydantic import BaseModel

from factory_cli.amounts import dollars
from factory_cli.ink import Ink, Line, block
from factory_cli.trace import clock
from factory_contracts.records import Record
from factory_contracts.work import Line as Shown
from hub.kernel.routing import RoutingKey
from hub.kernel.session import OpenTurn, Session, fold

LABEL = 11
INDENT = 2


@dataclass(frozen=True, slots=True)
class Past:
    """A conversation up to a point, and how far its log goes."""

    key: RoutingKey
    records: tuple[tuple[int, Record], ...]
    last: int

    @property
    def session(self) -> Session:
        """The state that was live then."""
        key = self.key
        return fold(key.platform, key.bot_id, key.scope_id, self.records)

    def steps(self) -> Iterator[tuple[int, Record, Session]]:
        """Every record, and the state after it: the same session each time, further on."""
        session = Session(self.key.platform, self.key.bot_id, self.key.scope_id)
        for sequence, record in self.records:
            session.apply(sequence, record)
            yield sequence, record, session


def state(session: Session) -> dict[str, object]:
    """All that a session holds, for programs, and what follows from it."""
    told = plain(session)
    assert isinstance(told, dict)
    waiting = session.next_turn()
    return {
        **told,
        "tainted": session.is_tainted(waiting)
        if waiting is not None
        else any(one.is_tainted for one in session.history),
        "questions": [plain(asked) for turn in session.turns.values() for asked in turn.questions],
        "shown": [plain(line) for line in shown(session)],
    }


def shown(session: Session) -> Sequence[Shown]:
    """What a model is shown of it: with the turn whose time has come, or before the next one."""
    waiting = session.next_turn()
    return session.past() if waiting is None else session.lines(waiting)


def plain(value: object) -> object:
    """A value as JSON knows it. What a value keeps for itself is no part of it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value) if not one.name.startswith("_")}
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def lines(past: Past, agent: str | None = None, width: int | None = None) -> Iterator[Line]:
    """What was live at the end of these records; `agent` is who answers where nobody was chosen."""
    session, key = past.session, past.key
    at = f"at {session.sequence} of {past.last}"
    if past.records:
        at += f", {clock(past.records[-1][1].at)}"
    yield _row("scope", f"{key.to_pool_id()} {at}")
    chosen = (
        f"{session.agent} (chosen)" if session.agent else f"{agent} (by the bindings)" if agent else "by the bindings"
    )
    yield _row("agent", chosen + (f" with {session.model}" if session.model else ""))
    open_ = len([turn for turn in session.turns.values() if not turn.is_answered])
    yield _row("turns", in_balance(session, open_))
    used = session.used
    cost = dollars(used.cost) + (f" and {used.unpriced} calls of unknown cost" if used.unpriced else "")
    yield _row("used", f"{used.calls} model calls, {used.input_tokens} tokens in, {used.output_tokens} out, {cost}")
    for turn in session.turns.values():
        yield from _of_turn(turn, session)
    if session.summary:
        yield _row("summary", "stands for what was said first" + (" (tainted)" if session.is_summary_tainted else ""))
    yield _row("tainted", _taint(session))
    yield _row("shown", "what a model is shown:")
    for line in shown(session):
        yield (Ink(" " * INDENT), Ink(f"{line.role}", "strong"))
        yield from block(line.text, INDENT * 2, width)


def step_lines(past: Past) -> Iterator[Line]:
    """A line for every record: what it is, and how the turns stand after it."""
    for sequence, record, session in past.steps():
        waiting = len([turn for turn in session.turns.values() if not turn.is_answered])
        said = f"{sequence:>8}  {clock(record.at)}  {record.kind:<12}  {record.turn[:12]:<12}  "
        yield (Ink(said), Ink(in_balance(session, waiting)))


def in_balance(session: Session, waiting: int) -> str:
    """The equation that holds at any instant."""
    ended = f"{session.answered} answered + {session.refused} refused + {session.superseded} superseded"
    return f"{session.received} received = {ended} + {waiting} open"


def _of_turn(turn: OpenTurn, session: Session) -> Iterator[Line]:
    if turn.start is None:
        said = "waits"
    elif not turn.is_answered:
        said = f"runs, attempt {turn.start.attempt} at worker {turn.start.worker} ({turn.start.instance})"
    else:
        said = "answered, and not known to be shown"
    bubble = f", in message {turn.bubble}" if turn.bubble is not None else ""
    yield _row("open", f"{turn.turn}  {said}{bubble}")
    for known in turn.known_calls:
        yield _row("", f"call {known.call}: {known.outcome}")
    for approval in turn.approvals:
        decided = approval.decided
        fate = "asked" if decided is None else "allowed" if decided.approved else "denied"
        yield _row("", f"{approval.asked.tool} ({approval.asked.call}): {fate}")
    if session.is_tainted(turn):
        yield _row("", "tainted")


def _taint(session: Session) -> str:
    tainted = sum(passage.is_tainted for passage in session.history)
    return f"{tainted} of {len(session.history)} exchanges" if session.history else "nothing was said"


def _row(label: str, said: str) -> Line:
    return (Ink(label.ljust(LABEL), "faint"), Ink(said))
