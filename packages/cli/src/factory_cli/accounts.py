"""Where the money went: the log folded into totals, a chart of its days, and how budgets stand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from factory_cli import config, log
from factory_cli.amounts import dollars, plain
from factory_cli.console import Failed
from factory_cli.expenses import GROUPS, NOTHING, By, Expense, Expenses, Total, day
from factory_cli.ink import Ink, Line, harmless
from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.records import BALANCES, Balance, MoneyReserved
from factory_nats.result import Err
from factory_nats.transport import Transport
from hub.kernel.budget import Budget, Ledger, Standing, renewal
from hub.kernel.routing import RoutingKey

DAYS = 31
BAR = "#"
PAGE = 1_000
NARROWEST = 10
NOBODY = RoutingKey("-", "-", "-")


@dataclass(slots=True)
class Sums:
    """Expenses by what was asked for, by day, and all of them; of a day and later where one is named."""

    by: By
    since: date | None = None
    rows: dict[str, Total] = field(default_factory=dict)
    days: dict[str, Total] = field(default_factory=dict)
    total: Total = field(default_factory=Total)

    def add(self, one: Expense) -> None:
        """Count it."""
        when = day(one.at)
        if self.since is not None and when < self.since.isoformat():
            return
        for totals, name in ((self.rows, GROUPS[self.by](one)), (self.days, when)):
            totals.setdefault(name, Total()).add(one)
        self.total.add(one)

    @property
    def ordered(self) -> list[tuple[str, Total]]:
        """The rows: days as they came, all else the dearest first."""
        if self.by == "day":
            return sorted(self.rows.items())
        return sorted(self.rows.items(), key=lambda row: (-row[1].cost, -row[1].assumed, -row[1].tokens, row[0]))


@dataclass(frozen=True, slots=True)
class Account:
    """How a budget stands for one who has it."""

    who: str
    standing: Standing

    def as_json(self) -> dict[str, object]:
        """The same for programs; money is a string."""
        one, budget = self.standing, self.standing.budget
        return {
            "budget": budget.name,
            "per": budget.per,
            "period": budget.period,
            "who": self.who,
            "amount": plain(budget.amount),
            "spent": plain(one.spent),
            "held": plain(one.held),
            "left": plain(one.left),
            "renews": one.renews,
        }


@dataclass(slots=True)
class Books:
    """A ledger as the hub keeps it, and everybody for whom something was reserved."""

    ledger: Ledger
    people: dict[tuple[RoutingKey, str, str | None, str], None] = field(default_factory=dict)

    def accounts(self, now: float) -> tuple[Account, ...]:
        """Every account that was drawn on in its present period, and every budget that all have together."""
        found: dict[tuple[str, str], Account] = {}
        for key, user, person, agent in ((NOBODY, "-", None, "-"), *self.people):
            for standing in self.ledger.standings(key, user, agent, now, person=person):
                budget = standing.budget
                who = {
                    "everyone": "",
                    "user": person or f"{key.platform}:{user}",
                    "scope": str(key.to_pool_id()),
                    "agent": agent,
                    "bot": key.bot,
                }[budget.per]
                if budget.per == "everyone" or standing.spent or standing.held:
                    found[budget.name, who] = Account(who, standing)
        order = [budget.name for budget in self.ledger.budgets]
        return tuple(
            sorted(found.values(), key=lambda one: (order.index(one.standing.budget.name), one.standing.left, one.who))
        )


async def gather(transport: Transport, sums: Sums, budgets: Sequence[config.Budget]) -> Books:
    """Read the whole log once, into the sums and into the books. Raises `Failed`."""
    books = Books(Ledger([Budget(one.name, one.amount, one.per, one.period) for one in budgets]))
    expenses = Expenses()
    # Before the log: what is spent meanwhile is on the log, beyond the balances.
    books.ledger.restore(await _balances(transport))
    async for subject, sequence, record in log.records(transport, subjects.plane("scopes")[0]):
        tokens = subjects.read_turns(subject)
        if tokens is None:
            continue
        key = RoutingKey(*tokens)
        books.ledger.apply(sequence, key, record)
        if isinstance(record, MoneyReserved):
            books.people[key, record.user_id, record.person, record.agent] = None
        for expense in expenses.apply(key, record):
            sums.add(expense)
    for expense in expenses.rest():
        sums.add(expense)
    return books


async def _balances(transport: Transport) -> Mapping[int, tuple[int, tuple[Balance, ...]]]:
    """What was spent below a sequence, by shard, as the hub last said."""
    page = await transport.read(subjects.STREAM, subjects.plane("money")[0], limit=PAGE)
    if isinstance(page, Err):
        if page.reason in ("no responders", "not found"):
            return {}
        raise Failed(f"the balances cannot be read: {page.detail}")
    found: dict[int, tuple[int, tuple[Balance, ...]]] = {}
    for stored in page.value:
        try:
            balances = BALANCES.decode(stored.data)
        except Malformed:
            continue
        found[int(stored.subject.rpartition(".")[2])] = (balances.through, balances.balances)
    return found


def table(sums: Sums) -> list[list[str]]:
    """The rows as a person reads them, numbers flush right, with all of them added up below."""
    has_assumed = bool(sums.total.assumed)
    head = [sums.by.upper(), "CALLS", "IN", "CACHED", "OUT", "COST", *(["ASSUMED"] if has_assumed else [])]
    rows = [head, *(_cells(name, total, has_assumed) for name, total in sums.ordered)]
    rows.append(_cells("total", sums.total, has_assumed))
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    ]


def _cells(name: str, total: Total, has_assumed: bool) -> list[str]:
    cached = total.cache_read_tokens
    counts = (total.calls, total.input_tokens, cached, total.output_tokens)
    assumed = [dollars(total.assumed) if total.assumed else ""] if has_assumed else []
    return [harmless(name), *(f"{count:,}" for count in counts), total.in_words, *assumed]


def chart(days: Mapping[str, Total], width: int) -> Iterator[Line]:
    """A bar for each day from the first to the last, at most a month; of tokens where nothing cost anything."""
    if not days:
        return
    last = date.fromisoformat(max(days))
    first = max(date.fromisoformat(min(days)), last - timedelta(days=DAYS - 1))
    names = [(first + timedelta(days=at)).isoformat() for at in range((last - first).days + 1)]
    shown = [days.get(name, Total()) for name in names]
    is_money = any(total.cost for total in shown)
    values = [total.cost if is_money else Decimal(total.tokens) for total in shown]
    words = [total.in_words if is_money else f"{total.tokens:,}" for total in shown]
    room = max(NARROWEST, width - len(names[0]) - max(len(word) for word in words) - 4)
    most = max(values) or Decimal(1)
    yield (Ink("cost per day" if is_money else "tokens per day", "strong"),)
    for name, value, word, total in zip(names, values, words, shown, strict=True):
        # What is not nothing is never shown as nothing.
        length = max(1, int(value / most * room)) if value > NOTHING else 0
        yield Ink(f"{name}  ", "faint"), Ink(BAR * length, "good"), Ink(f"  {word}" if total.calls else "")


def standings(accounts: Sequence[Account]) -> Iterator[Line]:
    """How each budget stands, in a line."""
    for account in accounts:
        one, budget = account.standing, account.standing.budget
        period = {"day": " a day", "month": " a month", "ever": " in all"}[budget.period]
        whose = account.who or "everybody together"
        held = f", {dollars(one.held)} held for calls that run" if one.held else ""
        yield (
            Ink(f"budget {budget.name}", "strong"),
            Ink(f" ({dollars(budget.amount)}{period}, {whose}): {dollars(one.spent)} spent{held}, "),
            Ink(f"{dollars(one.left)} left", "good" if one.left else "bad"),
            Ink(f". {renewal(one.renews)}"),
        )
