"""What may be spent: budgets, what is held for calls that run, and what was spent; a fold of the log's money records.

Money is reserved before a model is called, for the most the call can cost, and settled after it. What is not settled
when its attempt is over counts in full: nobody knows what the provider did. So the sum of what was spent and what is
held never passes a budget, whoever dies when.

All that a turn spends counts where the turn begins on the log, so that whoever reads from between two turns on counts
each of them once, whatever else was under way then.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from types import MappingProxyType
from typing import Literal
from zlib import crc32

from factory_contracts.records import (
    Balance,
    Forgotten,
    MoneyReserved,
    MoneySettled,
    Record,
    Spending,
    TurnAnswered,
    TurnReceived,
    TurnRefused,
    TurnStarted,
    TurnSuperseded,
)
from hub.kernel.routing import PoolId, RoutingKey

SHARDS = 64
EVERY_SHARD = range(SHARDS)
TURNS_REMEMBERED = 10_000
NOTHING = Decimal(0)

Per = Literal["everyone", "user", "scope", "agent", "bot"]
Period = Literal["day", "month", "ever"]
Account = tuple[str, str, str]
CallId = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Budget:
    """So much money, in US dollars, for each of so many, in each period; days and months are those of UTC."""

    name: str
    amount: Decimal
    per: Per = "everyone"
    period: Period = "day"


@dataclass(frozen=True, slots=True)
class Granted:
    """The call may be paid for."""


@dataclass(frozen=True, slots=True)
class Later:
    """Calls that run hold what this one needs; what they leave over may be enough."""


@dataclass(frozen=True, slots=True)
class TooDear:
    """The call may not be paid for; the words are for the person."""

    words: str


Verdict = Granted | Later | TooDear


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands for somebody."""

    budget: Budget
    spent: Decimal
    held: Decimal
    renews: float | None

    @property
    def left(self) -> Decimal:
        """What may still be spent."""
        return max(Decimal(0), self.budget.amount - self.spent - self.held)


@dataclass(frozen=True, slots=True)
class _Begun:
    """Where a turn begins on the log, and whose it is."""

    at: int
    scope: PoolId


@dataclass(slots=True)
class _Hold:
    """Money that waits to be settled; it is on the log once it is known where its turn begins there."""

    accounts: tuple[Account, ...]
    amount: Decimal
    began: _Begun | None = None


@dataclass(slots=True)
class _Over:
    """A turn that ended at a sequence; where it began is known of one that was followed from there, and its calls."""

    at: int
    began: _Begun | None = None
    calls: Collection[CallId] = ()


class Ledger:
    """All accounts of all budgets."""

    def __init__(self, budgets: Sequence[Budget] = ()) -> None:
        self.budgets = tuple(budgets)
        self._spent: dict[Account, Decimal] = {}
        self._held: dict[CallId, _Hold] = {}
        self._on_hold: dict[Account, Decimal] = {}
        self._turns: dict[str, _Begun] = {}
        self._attempts: dict[str, int] = {}
        self._calls: dict[str, set[CallId]] = {}
        self._over: OrderedDict[str, _Over] = OrderedDict()
        self._emptied: dict[PoolId, tuple[str, int]] = {}
        self._through: dict[int, int] = {}
        self._entries: list[tuple[_Begun, Account, Decimal]] = []
        self._base: dict[Account, Decimal] = {}

    def judge(self, key: RoutingKey, wanted: MoneyReserved, *, allow_unpriced: bool) -> Verdict:
        """Whether the call may be paid for, at the time that its record names."""
        if not self.budgets:
            return Granted()
        if wanted.amount is None:
            if allow_unpriced:
                return Granted()
            words = (
                f"Nobody knows what {wanted.model} costs, and there are budgets to keep. Whoever runs this can name "
                "its price, or set allow_unpriced in the agent's file."
            )
            return TooDear(words)
        is_held = False
        for budget, account in zip(self.budgets, self._accounts(key, wanted), strict=True):
            spent = self._spent.get(account, NOTHING)
            if spent + wanted.amount > budget.amount:
                return TooDear(_words(budget, spent, wanted.amount, wanted.at))
            is_held = is_held or spent + self._on_hold.get(account, NOTHING) + wanted.amount > budget.amount
        return Later() if is_held else Granted()

    def hold(self, key: RoutingKey, wanted: MoneyReserved) -> None:
        """Hold the money for the call from now on, whether or not its record is on the log yet.

        For a call of unknown price nothing is held; what it turns out to cost is counted when it is settled.
        """
        call = _call(wanted)
        if self.knows(*call) or (wanted.turn in self._over and wanted.turn not in self._turns):
            return
        self._calls.setdefault(wanted.turn, set()).add(call)
        hold = self._held[call] = _Hold(tuple(self._accounts(key, wanted)), wanted.amount or NOTHING)
        for account in hold.accounts:
            self._on_hold[account] = self._on_hold.get(account, NOTHING) + hold.amount

    def release(self, wanted: MoneyReserved) -> None:
        """The record did not come to be, unless another hub made it, which has the conversation now."""
        call = _call(wanted)
        hold = self._held.get(call)
        if hold is not None and hold.began is not None:
            return
        self._take(call)
        calls = self._calls.get(wanted.turn, set())
        calls.discard(call)
        if not calls:
            self._calls.pop(wanted.turn, None)

    def knows(self, turn: str, attempt: int, call: str) -> bool:
        """Whether the call's reservation was made."""
        return (turn, attempt, call) in self._calls.get(turn, ())

    def holds(self, turn: str, attempt: int, call: str) -> bool:
        """Whether the call waits to be settled."""
        return (turn, attempt, call) in self._held

    def apply(self, sequence: int, key: RoutingKey, record: Record) -> None:
        """Take one record of the log; one that is known already changes nothing."""
        match record:
            case TurnReceived(turn=turn):
                # What was followed from its beginning to its end begins nowhere again, whatever copies come late.
                over = self._over.get(turn)
                if over is None or (over.began is None and sequence < over.at):
                    self._turns.setdefault(turn, _Begun(sequence, key.to_pool_id()))
            case MoneyReserved():
                self._reserved(sequence, key, record)
            case MoneySettled():
                call = (record.turn, record.attempt, record.call)
                hold = self._held.get(call)
                if hold is not None and hold.began is not None:
                    self._take(call)
                    self._spend(hold.began, hold, hold.amount if record.amount is None else record.amount)
            case TurnStarted(turn=turn, start=start):
                if start.attempt > self._attempts.get(turn, 0) and turn in self._turns:
                    self._attempts[turn] = start.attempt
                    self._assume(turn, before=start.attempt)
            case TurnAnswered(turn=turn) | TurnRefused(turn=turn) | TurnSuperseded(turn=turn):
                self._assume(turn)
                self._finish(turn, sequence)
            case Forgotten(turn=turn, spent=spent):
                emptied_by, emptied_at = self._emptied.get(key.to_pool_id(), ("", 0))
                if turn != emptied_by and sequence > emptied_at:
                    self._emptied[key.to_pool_id()] = turn, sequence
                    self._forget(key.to_pool_id(), spent)
            case _:
                pass

    def spent_in(self, key: RoutingKey) -> tuple[Spending, ...]:
        """What the scope's turns have spent that the balances of the next hub may not hold yet."""
        scope = key.to_pool_id()
        sums: dict[tuple[int, Account], Decimal] = {}
        for begun, account, amount in self._entries:
            if begun.scope == scope:
                sums[begun.at, account] = sums.get((begun.at, account), NOTHING) + amount
        return tuple(
            Spending(began=began, budget=budget, who=who, window=window, spent=spent)
            for (began, (budget, who, window)), spent in sums.items()
        )

    def standings(
        self, key: RoutingKey, user_id: str, agent: str, now: float, *, person: str | None = None
    ) -> tuple[Standing, ...]:
        """How every budget stands for this person, here and now."""
        probe = MoneyReserved(
            id="-", turn="-", at=now, attempt=1, call="-", user_id=user_id, person=person, agent=agent, model="-"
        )
        return tuple(
            Standing(
                budget,
                self._spent.get(account, NOTHING),
                self._on_hold.get(account, NOTHING),
                _renews(budget, now),
            )
            for budget, account in zip(self.budgets, self._accounts(key, probe), strict=True)
        )

    @property
    def holds_any(self) -> bool:
        """Whether any call waits to be settled."""
        return bool(self._held)

    def end(self, below: int) -> None:
        """All turns that begin below this sequence are over."""
        for turn in [turn for turn, begun in self._turns.items() if begun.at < below]:
            self._assume(turn)
            self._drop(turn)

    # What a new hub begins with, so that it need not read the log from its beginning

    def restore(self, shards: Mapping[int, tuple[int, Iterable[Balance]]]) -> None:
        """Begin with balances that hold all that was spent by turns begun below the sequence named with them."""
        for shard, (through, balances) in shards.items():
            self._through[shard] = through
            for balance in balances:
                account = (balance.budget, balance.who, balance.window)
                self._base[account] = self._spent[account] = balance.spent

    def close(self, sequence: int, now: float) -> dict[int, tuple[Balance, ...]]:
        """The balances that changed by what turns begun below this sequence spent, by shard; all of them are over."""
        closed = [entry for entry in self._entries if entry[0].at < sequence]
        if not closed:
            return {}
        self._entries = [entry for entry in self._entries if entry[0].at >= sequence]
        for _, account, amount in closed:
            self._base[account] = self._base.get(account, NOTHING) + amount
        self._prune(now)
        changed = {_shard(account) for _, account, _ in closed}
        self._through.update(dict.fromkeys(changed, sequence))
        return self.balances(changed)

    def balances(self, shards: Collection[int] = EVERY_SHARD) -> dict[int, tuple[Balance, ...]]:
        """The balances of these shards, as they were closed last."""
        found: dict[int, list[Balance]] = {shard: [] for shard in shards}
        for account, spent in self._base.items():
            if (shard := _shard(account)) in found:
                budget, who, window = account
                found[shard].append(Balance(budget=budget, who=who, window=window, spent=spent))
        return {shard: tuple(balances) for shard, balances in found.items()}

    def _prune(self, now: float) -> None:
        """Forget windows that are over, but not so soon that a call which began in one is not settled yet."""
        live = {_window(period, moment) for period in ("day", "month", "ever") for moment in (now, now - 86_400)}
        for account in [account for account in self._base if account[2] not in live]:
            del self._base[account]
            self._spent.pop(account, None)

    def _accounts(self, key: RoutingKey, wanted: MoneyReserved) -> list[Account]:
        who = {
            "everyone": "",
            "user": wanted.person or f"{key.platform}:{wanted.user_id}",
            "scope": str(key.to_pool_id()),
            "agent": wanted.agent,
            "bot": key.bot,
        }
        return [(budget.name, who[budget.per], _window(budget.period, wanted.at)) for budget in self.budgets]

    def _reserved(self, sequence: int, key: RoutingKey, record: MoneyReserved) -> None:
        """What is held for it counts from now on; in full and at once where it is known that its turn ended later."""
        call, began = _call(record), self._turns.get(record.turn)
        if began is None:
            self.release(record)
            over = self._over.get(record.turn)
            if over is not None and over.began is not None and sequence < over.at and call not in over.calls:
                over.calls = {*over.calls, call}
                amount = record.amount or NOTHING
                self._spend(over.began, _Hold(tuple(self._accounts(key, record)), amount), amount)
            return
        self.hold(key, record)
        hold = self._held.get(call)
        if hold is not None:
            hold.began = began
            # Its attempt may have been given up while the record was on its way.
            self._assume(record.turn, before=self._attempts.get(record.turn, 0))

    def _forget(self, scope: PoolId, spent: Iterable[Spending]) -> None:
        """Count what this tells of the scope's turns, and nothing of what is left of their records."""
        for turn in [turn for turn, begun in self._turns.items() if begun.scope == scope]:
            for call in self._calls.get(turn, ()):
                self._take(call)
            self._finish(turn, 0)
        for begun, account, amount in self._entries:
            if begun.scope == scope:
                self._spent[account] = self._spent.get(account, NOTHING) - amount
        self._entries = [entry for entry in self._entries if entry[0].scope != scope]
        for one in spent:
            self._count(_Begun(one.began, scope), (one.budget, one.who, one.window), one.spent)

    def _finish(self, turn: str, sequence: int) -> None:
        began = self._turns.get(turn)
        if began is not None:
            # What is held and not on the log yet may still turn out to stand before this.
            self._over[turn] = _Over(sequence, began, self._calls.get(turn, set()) - self._held.keys())
        self._over.setdefault(turn, _Over(sequence))
        self._drop(turn)
        if len(self._over) > TURNS_REMEMBERED:
            self._over.popitem(last=False)

    def _drop(self, turn: str) -> None:
        self._turns.pop(turn, None)
        self._attempts.pop(turn, None)
        self._calls.pop(turn, None)

    def _take(self, call: CallId) -> None:
        """Hold no more for the call."""
        hold = self._held.pop(call, None)
        if hold is None:
            return
        for account in hold.accounts:
            left = self._on_hold.pop(account, NOTHING) - hold.amount
            if left > 0:
                self._on_hold[account] = left

    def _assume(self, turn: str, before: int | None = None) -> None:
        """Count in full what an attempt that is over did not settle."""
        for call in sorted(self._calls.get(turn, ())):
            hold = self._held.get(call)
            if hold is not None and hold.began is not None and (before is None or call[1] < before):
                self._take(call)
                self._spend(hold.began, hold, hold.amount)

    def _spend(self, began: _Begun, hold: _Hold, amount: Decimal) -> None:
        for account in hold.accounts:
            self._count(began, account, amount)

    def _count(self, began: _Begun, account: Account, amount: Decimal) -> None:
        # What lies below the balances a new hub began with is in them already.
        if amount and began.at >= self._through.get(_shard(account), 0):
            self._spent[account] = self._spent.get(account, NOTHING) + amount
            self._entries.append((began, account, amount))


class SharedLedger(Ledger):
    """All accounts where several hubs write the log: what this hub wrote it knows at once, the rest when it reads on.

    `read` is up to where it has read.
    """

    def __init__(self, budgets: Sequence[Budget] = ()) -> None:
        super().__init__(budgets)
        self.read = 0

    def apply(self, sequence: int, key: RoutingKey, record: Record) -> None:
        """Take one record that this hub wrote, or found when it took over."""
        if sequence > self.read:
            super().apply(sequence, key, record)

    def follow(self, sequence: int, key: RoutingKey, record: Record) -> None:
        """Take the next record of the log."""
        self.apply(sequence, key, record)
        self.read = max(self.read, sequence)

    @property
    def oldest(self) -> int:
        """Below this no turn begins that may still spend, whoever runs it."""
        # Of this hub's own turns those are known that begin later; of others' what was not read yet may be older.
        return min((self.read + 1, *(begun.at for begun in self._turns.values())))

    def skip(self, below: int) -> None:
        """What stands below this sequence need not be read: it is of turns that are over, and holds no money."""
        if below > self.read + 1:
            self.end(below)
            self.read = below - 1


def _call(record: MoneyReserved) -> CallId:
    return record.turn, record.attempt, record.call


def _shard(account: Account) -> int:
    return crc32("\0".join(account).encode()) % SHARDS


def _window(period: str, at: float) -> str:
    if period == "ever":
        return "ever"
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%d}" if period == "day" else f"{moment:%Y-%m}"


def _renews(budget: Budget, now: float) -> float | None:
    if budget.period == "ever":
        return None
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if budget.period == "day":
        return (today + timedelta(days=1)).timestamp()
    return (today.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()


def dollars(amount: Decimal, *, up: bool = False) -> str:
    """An amount as a person reads it: to the cent, one below a dollar as far as it says something."""
    places = Decimal("0.01") if amount >= 1 or not amount else Decimal("0.000001")
    whole, _, rest = f"{amount.quantize(places, ROUND_UP if up else ROUND_DOWN):,f}".partition(".")
    return f"${whole}.{rest.rstrip('0').ljust(2, '0')}"


def renewal(standing_at: float | None) -> str:
    """When a budget begins anew, in words."""
    if standing_at is None:
        return "It does not renew by itself."
    return f"It renews at {datetime.fromtimestamp(standing_at, UTC):%Y-%m-%d %H:%M} UTC."


_PERIODS: Mapping[str, str] = MappingProxyType({"day": " a day", "month": " a month", "ever": " in all"})


def extent(budget: Budget) -> str:
    """How much a budget is, for how long and for whom, in words."""
    whose = "everybody together" if budget.per == "everyone" else f"each {budget.per}"
    return f"{dollars(budget.amount)}{_PERIODS[budget.period]} for {whose}"


def _words(budget: Budget, spent: Decimal, wanted: Decimal, now: float) -> str:
    left = max(Decimal(0), budget.amount - spent)
    return (
        f"The budget “{budget.name}” is {extent(budget)}. "
        f"{dollars(left)} of it is left, and this could cost up to {dollars(wanted, up=True)}. "
        f"{renewal(_renews(budget, now))}"
    )
