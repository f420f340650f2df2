"""What model calls took and cost, for whom and by whom: a fold of the log."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from factory_cli.amounts import EXACT, dollars, plain
from factory_contracts.records import (
    Forgotten,
    MoneyReserved,
    MoneySettled,
    Record,
    TurnAnswered,
    TurnReceived,
    TurnRefused,
    TurnStarted,
    TurnSuperseded,
)
from factory_contracts.trace import ModelStep, ToolStep
from hub.kernel.agent import BY_HAND
from hub.kernel.routing import RoutingKey

TURNS_REMEMBERED = 10_000
NOBODY = "-"
NOTHING = Decimal(0)

By = Literal["turn", "scope", "user", "agent", "model", "day"]


@dataclass(frozen=True, slots=True)
class Expense:
    """One model call, or what a turn's total holds beyond the calls that are known one by one.

    What a call cost that nobody knows is unknown, and not nothing: `assumed` is what budgets count for it.
    """

    at: float
    turn: str
    key: RoutingKey
    user: str
    agent: str
    model: str
    calls: int = 1
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = NOTHING
    unknown: int = 0
    assumed: Decimal = NOTHING


@dataclass(slots=True)
class Total:
    """Expenses added up, exactly."""

    calls: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = NOTHING
    unknown: int = 0
    assumed: Decimal = NOTHING

    def add(self, one: "Expense | Total") -> None:
        """Count these too."""
        self.calls += one.calls
        self.input_tokens += one.input_tokens
        self.cache_read_tokens += one.cache_read_tokens
        self.cache_write_tokens += one.cache_write_tokens
        self.output_tokens += one.output_tokens
        self.cost = EXACT.add(self.cost, one.cost)
        self.unknown += one.unknown
        self.assumed = EXACT.add(self.assumed, one.assumed)

    @property
    def tokens(self) -> int:
        """All that was read and written."""
        return self.input_tokens + self.output_tokens

    @property
    def in_words(self) -> str:
        """What it cost, with what nobody knows beside it."""
        if self.unknown and not self.cost:
            return f"{self.unknown} unknown"
        return dollars(self.cost) + (f" + {self.unknown} unknown" if self.unknown else "")

    def as_json(self) -> dict[str, object]:
        """The same for programs; money is a string, so that no digit is lost."""
        return {
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "output_tokens": self.output_tokens,
            "cost": plain(self.cost),
            "unknown": self.unknown,
            "assumed": plain(self.assumed),
        }


def day(at: float) -> str:
    """The day of a moment; days are those of UTC, as they are for budgets."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


GROUPS: Mapping[By, Callable[[Expense], str]] = MappingProxyType(
    {
        "turn": lambda one: one.turn,
        "scope": lambda one: str(one.key.to_pool_id()),
        "user": lambda one: one.user,
        "agent": lambda one: one.agent,
        "model": lambda one: one.model,
        "day": lambda one: day(one.at),
    }
)


@dataclass(slots=True)
class _Call:
    reserved: MoneyReserved | None = None
    settled: MoneySettled | None = None


@dataclass(slots=True)
class _Turn:
    key: RoutingKey
    user: str = NOBODY
    attempt: int = 0
    calls: dict[tuple[int, str], _Call] = field(default_factory=dict)


class Expenses:
    """The fold: records in, expenses out as soon as they are certain. A record that stands there twice counts once."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}
        self._over: OrderedDict[str, None] = OrderedDict()

    def apply(self, key: RoutingKey, record: Record) -> tuple[Expense, ...]:
        """Take one record, in the log's order; a turn's expenses come with its end."""
        if record.turn in self._over:
            return ()
        match record:
            case TurnReceived(message=message, start=start):
                turn = self._turn(key, record.turn)
                turn.user = f"{key.platform}:{message.user_id}"
                turn.attempt = max(turn.attempt, start.attempt if start is not None else 0)
            case TurnStarted(start=start):
                turn = self._turn(key, record.turn)
                turn.attempt = max(turn.attempt, start.attempt)
            case MoneyReserved(attempt=attempt, call=call):
                turn = self._turn(key, record.turn)
                turn.user = record.person or turn.user
                turn.calls.setdefault((attempt, call), _Call()).reserved = record
            case MoneySettled(attempt=attempt, call=call):
                self._turn(key, record.turn).calls.setdefault((attempt, call), _Call()).settled = record
            case TurnAnswered() | TurnRefused() | TurnSuperseded():
                return self._ended(key, record)
            case Forgotten():
                self._over[record.turn] = None
                return tuple(_of_all(key, record))
            case _:
                pass
        return ()

    def rest(self) -> Iterator[Expense]:
        """What turns that are not over have spent so far; what only is held for a call is not spent."""
        for name, turn in self._turns.items():
            for (attempt, _), call in turn.calls.items():
                if call.settled is not None or attempt < turn.attempt:
                    yield _of_call(name, turn, call)

    def _turn(self, key: RoutingKey, name: str) -> _Turn:
        return self._turns.setdefault(name, _Turn(key))

    def _ended(self, key: RoutingKey, record: TurnAnswered | TurnRefused | TurnSuperseded) -> tuple[Expense, ...]:
        turn = self._turns.pop(record.turn, None) or _Turn(key)
        self._over[record.turn] = None
        if len(self._over) > TURNS_REMEMBERED:
            self._over.popitem(last=False)
        last = list(_of_steps(turn, record)) if isinstance(record, TurnAnswered) else []
        earlier: list[Expense] = []
        for (attempt, _), call in turn.calls.items():
            (last if attempt == turn.attempt else earlier).append(_of_call(record.turn, turn, call))
        if isinstance(record, TurnAnswered):
            last += _of_the_rest(turn, record, last)
        return (*earlier, *last)


def _of_steps(turn: _Turn, record: TurnAnswered) -> Iterator[Expense]:
    """The calls that the answer's trace tells of; what was reserved for them is dealt with."""
    asked = {step.call: step.tool.removeprefix("ask_") for step in record.steps if isinstance(step, ToolStep)}
    for step in record.steps:
        if not isinstance(step, ModelStep) or step.model == BY_HAND:
            continue
        reserved = turn.calls.pop((turn.attempt, step.call), _Call()).reserved
        agent = record.agent or NOBODY
        if reserved is not None:
            agent = reserved.agent
        elif step.within is not None:
            agent = asked.get(step.within, agent)
        yield Expense(
            at=record.at if reserved is None else reserved.at,
            turn=record.turn,
            key=turn.key,
            user=turn.user,
            agent=agent,
            model=step.model,
            input_tokens=step.input_tokens,
            cache_read_tokens=step.cache_read_tokens,
            cache_write_tokens=step.cache_write_tokens,
            output_tokens=step.output_tokens,
            cost=NOTHING if step.cost is None else step.cost,
            unknown=int(step.cost is None),
            assumed=_assumed(reserved) if step.cost is None else NOTHING,
        )


def _of_call(name: str, turn: _Turn, call: _Call) -> Expense:
    """A call that no trace tells of, as its money does."""
    reserved, settled = call.reserved, call.settled
    cost = settled.amount if settled is not None else None
    first = reserved or settled
    return Expense(
        at=first.at if first is not None else 0.0,
        turn=name,
        key=turn.key,
        user=turn.user if reserved is None else reserved.person or f"{turn.key.platform}:{reserved.user_id}",
        agent=NOBODY if reserved is None else reserved.agent,
        model=NOBODY if reserved is None else reserved.model,
        cost=NOTHING if cost is None else cost,
        unknown=int(cost is None),
        assumed=_assumed(reserved) if cost is None else NOTHING,
    )


def _of_the_rest(turn: _Turn, record: TurnAnswered, known: list[Expense]) -> Iterator[Expense]:
    """What the answer's total holds beyond its calls: a long trace is cut short, and the total is not."""
    told, usage = Total(), record.usage
    for one in known:
        told.add(one)
    rest = Expense(
        at=record.at,
        turn=record.turn,
        key=turn.key,
        user=turn.user,
        agent=record.agent or NOBODY,
        model=record.model or NOBODY,
        calls=max(0, usage.calls - told.calls),
        input_tokens=max(0, usage.input_tokens - told.input_tokens),
        cache_read_tokens=max(0, usage.cache_read_tokens - told.cache_read_tokens),
        cache_write_tokens=max(0, usage.cache_write_tokens - told.cache_write_tokens),
        output_tokens=max(0, usage.output_tokens - told.output_tokens),
        cost=max(NOTHING, EXACT.subtract(usage.cost, told.cost)),
        unknown=max(0, usage.unpriced - told.unknown),
    )
    if rest.calls or rest.input_tokens or rest.output_tokens or rest.cost or rest.unknown:
        yield rest


def _of_all(key: RoutingKey, record: Forgotten) -> Iterator[Expense]:
    """What a conversation took that is forgotten: of its calls nothing else is known, so it counts when it was."""
    usage = record.usage
    if usage.calls:
        yield Expense(
            at=record.at,
            turn=record.turn,
            key=key,
            user=NOBODY,
            agent=NOBODY,
            model=NOBODY,
            calls=usage.calls,
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
            cost=usage.cost,
            unknown=usage.unpriced,
        )


def _assumed(reserved: MoneyReserved | None) -> Decimal:
    return reserved.amount if reserved is not None and reserved.amount is not None else NOTHING
