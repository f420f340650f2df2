"""What may be spent, and that it is never more, whoever dies when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_contracts.messages import Address, InboundMessage
from factory_contracts.records import (
    Balance,
    Forgotten,
    MoneyReserved,
    MoneySettled,
    Record,
    Spending,
    Start,
    Tally,
    TurnAnswered,
    TurnReceived,
    TurnRefused,
    TurnStarted,
    TurnSuperseded,
)
from hub.kernel.budget import (
    TURNS_REMEMBERED,
    Account,
    Budget,
    Granted,
    Later,
    Ledger,
    Per,
    Period,
    SharedLedger,
    TooDear,
    Verdict,
    dollars,
    renewal,
)
from hub.kernel.routing import RoutingKey

HERE, THERE, OTHER = (RoutingKey("paper", "desk", scope) for scope in ("here", "there", "other"))
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
DAY = 86_400.0
DOLLAR = Budget("all", Decimal(1))
NOTHING = Decimal(0)

few = settings(max_examples=40, deadline=None)


def received(turn: str, key: RoutingKey = HERE, at: float = NEW_YEAR) -> TurnReceived:
    address = Address(platform=key.platform, bot_id=key.bot_id, scope_id=key.scope_id)
    message = InboundMessage(message_id=turn, user_id="ann", text="hello", address=address)
    return TurnReceived(id=f"{turn}.received", turn=turn, at=at, message=message, trust="public")


def reserved(
    turn: str = "t",
    call: str = "m1",
    amount: str | Decimal | None = "0.40",
    *,
    attempt: int = 1,
    user: str = "ann",
    agent: str = "alice",
    at: float = NEW_YEAR,
) -> MoneyReserved:
    return MoneyReserved(
        id=f"{turn}.reserved.{attempt}.{call}",
        turn=turn,
        at=at,
        attempt=attempt,
        call=call,
        user_id=user,
        agent=agent,
        model="oracle:delphi",
        amount=None if amount is None else Decimal(amount),
    )


def settled(
    turn: str = "t", call: str = "m1", amount: str | Decimal | None = "0.10", *, attempt: int = 1
) -> MoneySettled:
    amount = None if amount is None else Decimal(amount)
    return MoneySettled(
        id=f"{turn}.settled.{attempt}.{call}", turn=turn, at=NEW_YEAR, attempt=attempt, call=call, amount=amount
    )


def started(turn: str = "t", attempt: int = 2) -> TurnStarted:
    start = Start(attempt=attempt, worker="w", instance="i")
    return TurnStarted(id=f"{turn}.started.{attempt}", turn=turn, at=NEW_YEAR, start=start)


def answered(turn: str = "t") -> TurnAnswered:
    return TurnAnswered(id=f"{turn}.answered", turn=turn, at=NEW_YEAR, text="", outcome="complete")


def refused(turn: str = "t") -> TurnRefused:
    return TurnRefused(id=f"{turn}.refused", turn=turn, at=NEW_YEAR, reason="policy", text="No.")


def superseded(turn: str = "t") -> TurnSuperseded:
    return TurnSuperseded(id=f"{turn}.superseded", turn=turn, at=NEW_YEAR, by="u")


def forgotten(spent: tuple[Spending, ...] = (), turn: str = "f") -> Forgotten:
    return Forgotten(
        id=f"{turn}.forgotten", turn=turn, at=NEW_YEAR, by="ann", files=0, seen=(), tally=Tally(), spent=spent
    )


def fold(*records: Record, budgets: Sequence[Budget] = (DOLLAR,), key: RoutingKey = HERE) -> Ledger:
    ledger = Ledger(budgets)
    for sequence, record in enumerate((received("t"), *records), 1):
        ledger.apply(sequence, key, record)
    return ledger


def sums(ledger: Ledger, key: RoutingKey = HERE, user: str = "ann", at: float = NEW_YEAR) -> list[tuple[str, str]]:
    """What is spent and held of every budget, for this person, here and then."""
    return [(str(one.spent), str(one.held)) for one in ledger.standings(key, user, "alice", at)]


def judged(ledger: Ledger, wanted: MoneyReserved, key: RoutingKey = HERE, *, allow_unpriced: bool = False) -> Verdict:
    return ledger.judge(key, wanted, allow_unpriced=allow_unpriced)


@pytest.mark.parametrize(
    ("records", "spent", "held"),
    [
        pytest.param((), "0", "0", id="nothing"),
        pytest.param((reserved(),), "0", "0.40", id="what is reserved is held"),
        pytest.param((reserved(), settled()), "0.10", "0", id="what is settled is spent"),
        pytest.param((reserved(), settled(amount=None)), "0.40", "0", id="an unknown cost counts in full"),
        pytest.param((reserved(), settled(amount="0")), "0", "0", id="nothing may be the cost"),
        pytest.param((reserved(), settled(amount="0.70")), "0.70", "0", id="more than expected is spent all the same"),
        pytest.param((reserved(), answered()), "0.40", "0", id="an answer counts what is not settled"),
        pytest.param((reserved(), refused()), "0.40", "0", id="a refusal too"),
        pytest.param((reserved(), superseded()), "0.40", "0", id="and another turn in its place"),
        pytest.param((reserved(), started(attempt=2)), "0.40", "0", id="and the next attempt"),
        pytest.param((reserved(attempt=2), started(attempt=2)), "0", "0.40", id="but not the same attempt"),
        pytest.param((reserved(), started(), settled()), "0.40", "0", id="what is assumed is not settled any more"),
        pytest.param((started(), reserved()), "0.40", "0", id="what comes too late for its attempt counts in full"),
        pytest.param((started(), reserved(attempt=2), started()), "0", "0.40", id="a doubled start gives up nothing"),
        pytest.param((reserved(), answered(), settled()), "0.40", "0", id="nor what was answered"),
        pytest.param((reserved(), settled(), settled()), "0.10", "0", id="a double is nothing"),
        pytest.param((reserved(), settled(), reserved()), "0.10", "0", id="a late double too"),
        pytest.param((reserved(), answered(), reserved()), "0.40", "0", id="and after the end"),
        pytest.param((answered(), reserved()), "0", "0", id="what is reserved after the end is no call"),
        pytest.param((reserved("u"),), "0", "0", id="nor for a turn that nobody asked"),
        pytest.param((settled(),), "0", "0", id="what was not reserved is not settled"),
        pytest.param((reserved(call="m1"), reserved(call="m2"), settled()), "0.10", "0.40", id="calls are apart"),
        pytest.param((reserved(amount=None),), "0", "0", id="for an unknown price nothing is held"),
        pytest.param((reserved(amount=None), settled()), "0.10", "0", id="what it turns out to be counts"),
        pytest.param((reserved(amount=None), settled(amount=None)), "0", "0", id="what nobody ever knew does not"),
    ],
)
def test_what_is_spent_and_what_is_held(records: tuple[Record, ...], spent: str, held: str) -> None:
    assert sums(fold(*records)) == [(spent, held)]


@pytest.mark.parametrize(
    ("records", "amount", "verdict"),
    [
        pytest.param((), "1", Granted(), id="all of it may be spent"),
        pytest.param((reserved(),), "0.60", Granted(), id="and all that is left"),
        pytest.param((reserved(),), "0.61", Later(), id="what others hold may come back"),
        pytest.param((reserved(), settled()), "0.90", Granted(), id="and here it did"),
    ],
)
def test_a_call_is_granted_while_there_is_money(records: tuple[Record, ...], amount: str, verdict: Verdict) -> None:
    assert judged(fold(*records), reserved(call="m9", amount=amount)) == verdict


def test_a_call_that_is_too_dear_is_told_with_the_numbers_and_when_it_renews() -> None:
    verdict = judged(fold(reserved(), settled()), reserved(call="m9", amount="0.901"))

    assert verdict == TooDear(
        "The budget “all” is $1.00 a day for everybody together. $0.90 of it is left, and this could cost up to "
        "$0.901. It renews at 2026-01-02 00:00 UTC."
    )


def test_without_budgets_everything_is_granted() -> None:
    ledger = fold(budgets=())

    assert judged(ledger, reserved(amount="1000000")) == Granted()
    assert judged(ledger, reserved(amount=None)) == Granted()


def test_a_price_that_nobody_knows_is_refused_in_words_unless_that_is_allowed() -> None:
    verdict = judged(fold(), reserved(amount=None))

    assert isinstance(verdict, TooDear)
    assert "oracle:delphi" in verdict.words
    assert "allow_unpriced" in verdict.words
    assert judged(fold(), reserved(amount=None), allow_unpriced=True) == Granted()


def test_every_budget_must_agree_and_the_one_that_cannot_is_named() -> None:
    ledger = fold(reserved(), budgets=(DOLLAR, Budget("mine", Decimal("0.50"), "user", "month")))

    assert judged(ledger, reserved(call="m2", amount="0.10")) == Granted()
    assert judged(ledger, reserved(call="m2", amount="0.11")) == Later()
    refusal = judged(ledger, reserved(call="m2", amount="0.51"))
    assert isinstance(refusal, TooDear)
    assert "“mine” is $0.50 a month for each user" in refusal.words


@pytest.mark.parametrize(
    ("per", "same", "other"),
    [
        ("everyone", (OTHER, "ben", "bob"), None),
        ("user", (OTHER, "ann", "bob"), (HERE, "ben", "alice")),
        ("scope", (HERE, "ben", "bob"), (OTHER, "ann", "alice")),
        ("agent", (OTHER, "ben", "alice"), (HERE, "ann", "bob")),
        ("bot", (OTHER, "ben", "bob"), (RoutingKey("paper", "table", "here"), "ann", "alice")),
    ],
)
def test_each_has_a_budget_of_its_own(
    per: Per, same: tuple[RoutingKey, str, str], other: tuple[RoutingKey, str, str] | None
) -> None:
    ledger = fold(reserved(), settled(), budgets=(replace(DOLLAR, per=per),))

    assert [one.spent for one in ledger.standings(*same, NEW_YEAR)] == [Decimal("0.10")]
    if other is not None:
        assert [one.spent for one in ledger.standings(*other, NEW_YEAR)] == [NOTHING]


def test_a_person_of_another_platform_is_another_person() -> None:
    ledger = fold(reserved(), settled(), budgets=(replace(DOLLAR, per="user"),))

    assert sums(ledger, RoutingKey("stone", "desk", "here")) == [("0", "0")]


@pytest.mark.parametrize(
    ("period", "within", "beyond", "renews"),
    [
        ("day", NEW_YEAR + DAY - 1, NEW_YEAR + DAY, "It renews at 2026-01-02 00:00 UTC."),
        ("month", NEW_YEAR + 31 * DAY - 1, NEW_YEAR + 31 * DAY, "It renews at 2026-02-01 00:00 UTC."),
        ("ever", NEW_YEAR + 3_650 * DAY, None, "It does not renew by itself."),
    ],
)
def test_a_budget_begins_anew_with_its_period(period: Period, within: float, beyond: float | None, renews: str) -> None:
    ledger = fold(reserved(), settled(), budgets=(replace(DOLLAR, period=period),))

    assert sums(ledger, at=within) == [("0.10", "0")]
    assert beyond is None or sums(ledger, at=beyond) == [("0", "0")]
    assert [renewal(one.renews) for one in ledger.standings(HERE, "ann", "alice", NEW_YEAR)] == [renews]


@pytest.mark.parametrize("month", range(1, 13))
def test_every_month_is_followed_by_the_next(month: int) -> None:
    last_moment = datetime(2027 if month == 12 else 2026, month % 12 + 1, 1, tzinfo=UTC).timestamp() - 1
    ledger = Ledger((replace(DOLLAR, period="month"),))

    assert [one.renews for one in ledger.standings(HERE, "ann", "alice", last_moment)] == [last_moment + 1]


def test_a_call_counts_in_the_period_in_which_it_was_reserved_whenever_it_is_settled() -> None:
    late = reserved(at=NEW_YEAR + DAY - 1)
    ledger = fold(late, settled())

    assert sums(ledger, at=NEW_YEAR) == [("0.10", "0")]
    assert sums(ledger, at=NEW_YEAR + DAY) == [("0", "0")]
    assert judged(ledger, reserved(call="m2", amount="0.95", at=NEW_YEAR + DAY - 1)) != Granted()
    assert judged(ledger, reserved(call="m2", amount="0.95", at=NEW_YEAR + DAY)) == Granted()


def test_what_is_held_before_it_is_on_the_log_counts_at_once_and_once() -> None:
    ledger = fold()
    ledger.hold(HERE, reserved())
    ledger.hold(HERE, reserved())
    before = sums(ledger)
    ledger.apply(2, HERE, reserved())

    assert before == sums(ledger) == [("0", "0.40")]
    assert ledger.knows("t", 1, "m1")
    assert ledger.holds("t", 1, "m1")


def test_what_did_not_come_to_be_is_held_no_more() -> None:
    ledger = fold()
    ledger.hold(HERE, reserved())
    ledger.release(reserved())
    ledger.release(reserved())

    assert sums(ledger) == [("0", "0")]
    assert not ledger.knows("t", 1, "m1")


def test_a_reservation_that_reaches_the_log_after_the_end_of_its_turn_costs_nothing() -> None:
    ledger = fold()
    ledger.hold(HERE, reserved())
    ledger.apply(2, HERE, answered())
    ledger.apply(3, HERE, reserved())

    assert sums(ledger) == sums(fold(answered(), reserved())) == [("0", "0")]
    ledger.hold(HERE, reserved(call="m2"))
    assert sums(ledger) == [("0", "0")]


def test_what_was_read_of_the_log_after_a_later_record_was_known_counts_all_the_same() -> None:
    ledger = Ledger((DOLLAR,))
    ledger.apply(4, HERE, answered())
    records: tuple[Record, ...] = (received("t"), reserved(), settled(amount="0.20"), answered())
    for sequence, record in enumerate(records, 1):
        ledger.apply(sequence, HERE, record)

    assert sums(ledger) == [("0.20", "0")]


def test_a_turn_that_is_over_leaves_nothing_behind_but_its_name() -> None:
    ledger = Ledger((DOLLAR,))
    for number in range(TURNS_REMEMBERED + 5):
        turn = f"t{number}"
        records: tuple[Record, ...] = (received(turn), reserved(turn, amount="0"), answered(turn))
        for sequence, record in enumerate(records, 3 * number):
            ledger.apply(sequence, HERE, record)

    assert not ledger.knows("t1", 1, "m1")
    assert sums(ledger) == [("0", "0")]


@pytest.mark.parametrize(
    ("amount", "down", "up"),
    [
        ("0", "$0.00", "$0.00"),
        ("1", "$1.00", "$1.00"),
        ("1.239", "$1.23", "$1.24"),
        ("1234567.891", "$1,234,567.89", "$1,234,567.90"),
        ("0.5", "$0.50", "$0.50"),
        ("0.00019", "$0.00019", "$0.00019"),
        ("0.0000019", "$0.000001", "$0.000002"),
        ("0.9999999", "$0.999999", "$1.00"),
        ("999999999999.999999999999999999", "$999,999,999,999.99", "$1,000,000,000,000.00"),
    ],
)
def test_dollars_are_rounded_in_favour_of_the_budget(amount: str, down: str, up: str) -> None:
    assert (dollars(Decimal(amount)), dollars(Decimal(amount), up=True)) == (down, up)


# The same said slowly: what a list of records comes to, told record by record without anything remembered.

Line = tuple[RoutingKey, Record]
Ended = TurnAnswered | TurnRefused | TurnSuperseded


def accounts(budgets: Sequence[Budget], key: RoutingKey, wanted: MoneyReserved) -> list[Account]:
    """The accounts that a call is paid from."""
    moment = datetime.fromtimestamp(wanted.at, UTC)
    windows = {"day": f"{moment:%Y-%m-%d}", "month": f"{moment:%Y-%m}", "ever": "ever"}
    who = {
        "everyone": "",
        "user": f"{key.platform}:{wanted.user_id}",
        "scope": f"{key.platform}:{key.bot_id}:{key.scope_id}",
        "agent": wanted.agent,
        "bot": f"{key.platform}:{key.bot_id}",
    }
    return [(budget.name, who[budget.per], windows[budget.period]) for budget in budgets]


def fate(wanted: MoneyReserved, before: Sequence[Record], after: Sequence[Record]) -> tuple[Decimal, Decimal]:
    """What is spent on a call, and what is still held for it, given the other records of its turn."""
    amount = wanted.amount or NOTHING
    if any(isinstance(record, TurnStarted) and record.start.attempt > wanted.attempt for record in before):
        return amount, NOTHING
    for record in after:
        match record:
            case MoneySettled(attempt=wanted.attempt, call=wanted.call):
                return (amount if record.amount is None else record.amount), NOTHING
            case TurnStarted(start=start) if start.attempt > wanted.attempt:
                return amount, NOTHING
            case TurnAnswered() | TurnRefused() | TurnSuperseded():
                return amount, NOTHING
            case _:
                pass
    return NOTHING, amount


def reckoned(budgets: Sequence[Budget], log: Sequence[Line]) -> dict[Account, tuple[Decimal, Decimal]]:
    """What is spent and held of every account, by looking at the whole log for each call."""
    found: dict[Account, tuple[Decimal, Decimal]] = {}
    calls: set[tuple[str, int, str]] = set()
    for index, (key, wanted) in enumerate(log):
        if not isinstance(wanted, MoneyReserved):
            continue
        before, after = (
            [record for _, record in part if record.turn == wanted.turn] for part in (log[:index], log[index + 1 :])
        )
        call = (wanted.turn, wanted.attempt, wanted.call)
        is_open = any(isinstance(record, TurnReceived) for record in before)
        if call in calls or not is_open or any(isinstance(record, Ended) for record in before):
            continue
        calls.add(call)
        spent, held = fate(wanted, before, after)
        for account in accounts(budgets, key, wanted):
            old_spent, old_held = found.get(account, (NOTHING, NOTHING))
            found[account] = (old_spent + spent, old_held + held)
    return found


def read(ledger: Ledger, seen: Iterable[tuple[RoutingKey, MoneyReserved]]) -> dict[Account, tuple[Decimal, Decimal]]:
    """What a ledger says of every account from which any of these calls is paid."""
    found: dict[Account, tuple[Decimal, Decimal]] = {}
    for key, wanted in seen:
        standings = ledger.standings(key, wanted.user_id, wanted.agent, wanted.at)
        for account, one in zip(accounts(ledger.budgets, key, wanted), standings, strict=True):
            found[account] = (one.spent, one.held)
    return found


BUDGETS = (
    Budget("all", Decimal("1.00")),
    Budget("each", Decimal("0.60"), "user", "month"),
    Budget("place", Decimal("0.80"), "scope", "ever"),
)
AMOUNTS = st.sampled_from([Decimal(text) for text in ("0", "0.1", "0.25", "0.333333333333333333", "0.6")])
ENDS: tuple[Callable[[str], Record], ...] = (answered, refused, superseded)
EVENING = datetime(2026, 1, 31, 20, tzinfo=UTC).timestamp()


@dataclass
class Reign:
    """Hubs, one after the other, that grant calls, and the log that outlives them."""

    log: list[Line] = field(default_factory=list)
    now: float = EVENING
    mark: int = 1
    stored: dict[int, tuple[int, tuple[Balance, ...]]] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=lambda: Ledger(BUDGETS))
    unwritten: dict[int, tuple[Balance, ...]] = field(default_factory=dict)
    open: dict[str, tuple[RoutingKey, int, int]] = field(default_factory=dict)
    asked: list[tuple[RoutingKey, MoneyReserved]] = field(default_factory=list)
    running: dict[tuple[str, int, str], tuple[RoutingKey, MoneyReserved]] = field(default_factory=dict)
    wanted: list[tuple[RoutingKey, MoneyReserved]] = field(default_factory=list)
    paid: dict[Account, Decimal] = field(default_factory=dict)
    erased: set[int] = field(default_factory=set)

    def append(self, key: RoutingKey, record: Record) -> None:
        self.log.append((key, record))
        self.ledger.apply(len(self.log), key, record)

    def pay(self, key: RoutingKey, wanted: MoneyReserved, cost: Decimal) -> None:
        """The provider takes its money, whether or not we ever learn how much."""
        for account in accounts(BUDGETS, key, wanted):
            self.paid[account] = self.paid.get(account, NOTHING) + cost

    def act(self, what: str, data: st.DataObject) -> None:
        self.now += data.draw(st.sampled_from([0.0, 0.0, 3_600.0]), label="time passes")
        match what:
            case "begin":
                turn, key = f"t{len(self.log)}", data.draw(st.sampled_from([HERE, THERE]))
                self.append(key, received(turn, key, self.now))
                self.open[turn] = (key, 1, len(self.log))
            case "ask" if self.open:
                self.ask(data.draw(st.sampled_from(sorted(self.open))), data)
            case "land" if self.asked:
                self.land(*self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1))))
            case "refuse" if self.asked:
                self.ledger.release(self.asked.pop()[1])
            case "settle" if self.running:
                (turn, attempt, call), (key, wanted) = self.running.popitem()
                cost = (wanted.amount or NOTHING) * data.draw(st.sampled_from([0, 1])) / 1
                self.pay(key, wanted, cost)
                told = data.draw(st.sampled_from([cost, None]))
                self.append(key, settled(turn, call, told, attempt=attempt))
            case "lose" if self.open:
                turn = data.draw(st.sampled_from(sorted(self.open)))
                key, attempt, began = self.open[turn]
                self.open[turn] = (key, attempt + 1, began)
                self.leave(turn)
                self.append(key, started(turn, attempt + 1))
            case "end" if self.open:
                turn = data.draw(st.sampled_from(sorted(self.open)))
                key, _, _ = self.open.pop(turn)
                self.leave(turn)
                self.append(key, data.draw(st.sampled_from(ENDS))(turn))
            case "forget":
                self.forget(data.draw(st.sampled_from([HERE, THERE])))
            case "erase":
                self.erase(data)
            case "close":
                self.close(data)
            case "crash":
                self.crash(data)

    def ask(self, turn: str, data: st.DataObject) -> None:
        key, attempt, _ = self.open[turn]
        amount, user = data.draw(AMOUNTS), data.draw(st.sampled_from(["ann", "ben"]))
        call = f"m{len(self.wanted)}"
        wanted = reserved(turn, call, amount, attempt=attempt, user=user, at=self.now)
        self.wanted.append((key, wanted))
        if isinstance(self.ledger.judge(key, wanted, allow_unpriced=False), Granted):
            self.ledger.hold(key, wanted)
            self.asked.append((key, wanted))

    def land(self, key: RoutingKey, record: MoneyReserved) -> None:
        """The record is on the log, and the call is made unless its turn went on without it."""
        self.append(key, record)
        if self.open.get(record.turn, (key, 0, 0))[1] == record.attempt:
            self.running[record.turn, record.attempt, record.call] = (key, record)

    def forget(self, key: RoutingKey) -> None:
        """All that was said in a scope is to be removed, where nothing is under way."""
        if key not in {key for key, *_ in self.open.values()} | {key for key, _ in self.asked}:
            self.append(key, forgotten(self.ledger.spent_in(key), f"f{len(self.log)}"))

    def erase(self, data: st.DataObject) -> None:
        """Some of what is to be removed is."""
        last = {key: sequence for sequence, (key, one) in enumerate(self.log, 1) if isinstance(one, Forgotten)}
        doomed = [at for at, (key, _) in enumerate(self.log, 1) if at < last.get(key, 0)]
        share = data.draw(st.sampled_from([1, 2, 3]))
        self.erased.update(at for at in doomed if at % share == 0)

    def leave(self, turn: str) -> None:
        """What still runs of the turn is paid in full, and nobody tells us."""
        for call in [call for call in self.running if call[0] == turn]:
            key, wanted = self.running.pop(call)
            self.pay(key, wanted, wanted.amount or NOTHING)

    def close(self, data: st.DataObject) -> None:
        """Move the mark, at most to the oldest turn that is open; what is not heard is said again with the next."""
        most = min([began for _, _, began in self.open.values()], default=len(self.log) + 1)
        through = data.draw(st.integers(min(self.mark, most), most))
        self.unwritten.update(self.ledger.close(through, self.now))
        if data.draw(st.booleans(), label="is heard"):
            self.stored.update({shard: (through, balances) for shard, balances in self.unwritten.items()})
            self.unwritten.clear()
            self.mark = max(self.mark, through)

    def crash(self, data: st.DataObject) -> None:
        """A new hub begins with what is on the disk; what was on its way there may have arrived."""
        for key, record in self.asked:
            if data.draw(st.booleans(), label="arrived"):
                self.log.append((key, record))
        self.asked.clear()
        self.unwritten.clear()
        self.ledger = begun(self.stored, self.mark, self.log, self.erased)


def begun(
    stored: Mapping[int, tuple[int, Iterable[Balance]]], mark: int, log: Sequence[Line], erased: Set[int] = frozenset()
) -> Ledger:
    """A ledger as a new hub has it."""
    ledger = Ledger(BUDGETS)
    ledger.restore(stored)
    for sequence, (key, record) in enumerate(log, 1):
        if sequence >= mark and sequence not in erased:
            ledger.apply(sequence, key, record)
    return ledger


OFTEN, SELDOM = ("begin", "ask", "land", "settle", "close"), ("end", "lose", "crash", "refuse", "forget", "erase")
ACTS = st.sampled_from((*OFTEN, *OFTEN, "ask", "land", *SELDOM))


@few
@given(st.lists(ACTS, max_size=60), st.data())
def test_no_budget_is_ever_overspent_and_every_new_hub_knows_it_to_the_last_decimal(
    acts: list[str], data: st.DataObject
) -> None:
    reign = Reign()
    caps = {budget.name: budget.amount for budget in BUDGETS}
    for act in acts:
        reign.act(act, data)
        if act in ("begin", "settle", "close"):
            continue

        for account, (spent, held) in read(reign.ledger, reign.wanted).items():
            assert spent + held <= caps[account[0]]
            assert reign.paid.get(account, NOTHING) <= spent

    true = reckoned(BUDGETS, reign.log)
    for key, wanted in reign.asked:
        for account in accounts(BUDGETS, key, wanted):
            spent, held = true.get(account, (NOTHING, NOTHING))
            true[account] = (spent, held + (wanted.amount or NOTHING))
    assert read(reign.ledger, reign.wanted) == {
        account: true.get(account, (NOTHING, NOTHING)) for account in read(reign.ledger, reign.wanted)
    }


@few
@given(st.lists(ACTS, min_size=10, max_size=60), st.data())
def test_doubled_records_change_nothing_wherever_a_new_hub_begins(acts: list[str], data: st.DataObject) -> None:
    reign = Reign()
    for act in acts:
        # What is forgotten names places on the log, and doubles move everything.
        if act not in ("forget", "erase"):
            reign.act(act, data)
    doubled: list[Line] = []
    for line in reign.log:
        doubled.append(line)
        key, record = data.draw(st.sampled_from(doubled), label="double")
        # A turn that is received twice over is one for whoever reads both.
        if not isinstance(record, TurnReceived):
            doubled.append((key, record))
    whole = Ledger(BUDGETS)
    for sequence, (key, record) in enumerate(doubled, 1):
        whole.apply(sequence, key, record)
    ends = {record.turn for _, record in doubled if isinstance(record, Ended)}
    begins = {
        record.turn: sequence
        for sequence, (_, record) in enumerate(doubled, 1)
        if isinstance(record, TurnReceived) and record.turn not in ends
    }
    mark = data.draw(st.integers(1, min(begins.values(), default=len(doubled) + 1)), label="mark")

    balances = whole.close(mark, reign.now)
    again = begun({shard: (mark, spent) for shard, spent in balances.items()}, mark, doubled)

    assert read(again, reign.wanted) == read(whole, reign.wanted)
    true = reckoned(BUDGETS, reign.log)
    assert read(whole, reign.wanted) == {
        account: true.get(account, (NOTHING, NOTHING)) for account in read(whole, reign.wanted)
    }


def test_what_was_spent_where_all_is_forgotten_is_known_to_a_hub_that_reads_nothing_else() -> None:
    records: tuple[Record, ...] = (received("t"), reserved(), settled(), answered())
    ledger = begun({}, 1, [(HERE, record) for record in records])
    emptied = forgotten(ledger.spent_in(HERE))
    ledger.apply(5, HERE, emptied)

    after = Ledger(BUDGETS)
    after.apply(5, HERE, emptied)
    again = Ledger(BUDGETS)
    for sequence, record in ((1, received("t")), (3, settled()), (5, emptied), (6, emptied)):
        again.apply(sequence, HERE, record)

    assert sums(ledger) == sums(after) == sums(again) == [("0.10", "0")] * 3
    assert [one.began for one in emptied.spent] == [1] * 3


def test_a_late_double_of_what_empties_a_scope_takes_nothing_from_what_was_begun_since() -> None:
    emptied = forgotten()
    ledger = begun({}, 1, [(HERE, record) for record in (emptied, received("t"), reserved(), emptied)])

    assert sums(ledger) == [("0", "0.40")] * 3


def test_what_a_balance_holds_is_not_counted_again_where_all_is_forgotten() -> None:
    log: list[Line] = [(HERE, record) for record in (received("t"), reserved(), settled(), answered())]
    ledger = begun({}, 1, log)
    emptied = forgotten(ledger.spent_in(HERE))

    balances = {shard: (5, spent) for shard, spent in ledger.close(5, NEW_YEAR).items()}
    ledger.apply(5, HERE, emptied)
    again = begun(balances, 5, [*log, (HERE, emptied)])

    assert ledger.spent_in(HERE) == again.spent_in(HERE) == ()
    assert sums(ledger) == sums(again) == [("0.10", "0")] * 3


def test_what_others_spent_and_hold_stays_where_a_scope_is_forgotten() -> None:
    ledger = begun({}, 1, [(HERE, received("t")), (THERE, received("u", THERE)), (THERE, reserved("u"))])

    ledger.apply(4, HERE, forgotten())

    assert sums(ledger) == [("0", "0.40"), ("0", "0.40"), ("0", "0")]
    assert sums(ledger, THERE)[2] == ("0", "0.40")


def test_what_a_turn_spends_beyond_a_mark_that_it_was_closed_before_is_not_lost() -> None:
    log: list[Line] = [
        *((HERE, record) for record in (received("a"), reserved("a"))),
        *((THERE, record) for record in (received("b", THERE), reserved("b", amount="0.30"))),
        *((HERE, record) for record in (settled("a"), answered("a"))),
    ]
    ledger = begun({}, 1, log)
    mark = 3

    balances = ledger.close(mark, NEW_YEAR)
    again = begun({shard: (mark, spent) for shard, spent in balances.items()}, mark, log)

    assert sums(again) == sums(ledger)
    assert sums(again)[0] == ("0.10", "0.30")


def test_balances_are_told_once_and_all_that_share_a_shard_together() -> None:
    ledger = fold(reserved(), settled(), answered())

    first = ledger.close(2, NEW_YEAR)

    assert [balance.spent for balances in first.values() for balance in balances] == [Decimal("0.10")]
    assert ledger.close(5, NEW_YEAR) == {}
    assert sums(ledger) == [("0.10", "0")]


def test_a_turn_that_is_open_is_in_no_balance_below_it() -> None:
    ledger = Ledger((DOLLAR,))
    records: tuple[Record, ...] = (received("t"), reserved(), settled())
    for sequence, record in enumerate(records, 7):
        ledger.apply(sequence, HERE, record)

    assert ledger.close(7, NEW_YEAR) == {}
    assert ledger.close(8, NEW_YEAR) != {}


def test_periods_that_are_over_are_forgotten() -> None:
    ledger = Ledger((DOLLAR,))
    days = 10
    for number in range(days):
        at, turn = NEW_YEAR + number * DAY, f"t{number}"
        records: tuple[Record, ...] = (received(turn), reserved(turn, at=at), settled(turn), answered(turn))
        for offset, record in enumerate(records):
            ledger.apply(4 * number + offset + 1, HERE, record)
        ledger.close(4 * number + 5, at)

    last = ledger.close(4 * days + 5, NEW_YEAR + days * DAY)

    windows = [[str(one.spent) for one in ledger.standings(HERE, "a", "a", NEW_YEAR + n * DAY)] for n in range(days)]
    assert last == {}
    assert windows[:-2] == [["0"]] * (days - 2)
    assert windows[-2:] == [["0.10"]] * 2


def test_a_hub_that_reads_more_than_it_must_counts_nothing_twice() -> None:
    log: list[Line] = [(HERE, record) for record in (received("t"), reserved(), settled(), answered())]
    log += [(HERE, record) for record in (received("u"), reserved("u", amount="0.20"))]
    ledger = begun({}, 1, log)

    balances = ledger.close(5, NEW_YEAR)
    again = begun({shard: (5, spent) for shard, spent in balances.items()}, 1, log)

    assert sums(again) == sums(ledger)
    assert sums(again)[0] == ("0.10", "0.20")


# Several hubs


def test_where_several_write_each_record_counts_once_whichever_way_it_became_known() -> None:
    ledger = SharedLedger((DOLLAR,))
    records: tuple[Record, ...] = (
        received("t"),
        reserved("t"),
        received("u"),
        reserved("u"),
        settled("t"),
        answered("t"),
        settled("u"),
    )
    own = {1, 2, 5, 6}
    for sequence in own:
        ledger.apply(sequence, HERE, records[sequence - 1])

    for _ in range(2):
        for sequence, record in enumerate(records, 1):
            ledger.follow(sequence, HERE, record)
            ledger.apply(sequence, HERE, record)

    assert sums(ledger) == sums(fold(*records[1:]))
    assert ledger.read == len(records)


def test_a_copy_of_its_beginning_that_is_read_later_opens_no_turn_that_is_over() -> None:
    ledger = SharedLedger((DOLLAR,))
    log: dict[int, Record] = {1: received("t"), 2: received("t"), 3: reserved("t"), 4: settled("t"), 5: answered("t")}
    for sequence in (1, 3, 4, 5):
        ledger.apply(sequence, HERE, log[sequence])

    for sequence, record in log.items():
        ledger.follow(sequence, HERE, record)

    assert ledger.oldest == 6
    assert sums(ledger) == [("0.10", "0")]


def test_a_reservation_that_is_known_to_be_stored_only_after_its_turn_is_over_counts_in_full() -> None:
    ledger = SharedLedger((DOLLAR,))
    log: dict[int, Record] = {1: received("t"), 2: reserved("t"), 3: answered("t"), 4: answered("t")}
    late = reserved("t")
    ledger.apply(1, HERE, log[1])
    ledger.hold(HERE, late)
    for sequence in (3, 4, 2):
        ledger.apply(sequence, HERE, log[sequence])
    assert sums(ledger) == [("0.40", "0")]

    for sequence, record in log.items():
        ledger.follow(sequence, HERE, record)
    ledger.apply(5, HERE, late)

    assert sums(ledger) == [("0.40", "0")]


def test_a_hub_that_may_not_reserve_any_more_gives_back_nothing_of_the_one_that_did() -> None:
    ledger = SharedLedger((DOLLAR,))
    ledger.follow(1, HERE, received("t"))
    ledger.hold(HERE, reserved("t"))
    ledger.follow(2, HERE, reserved("t"))

    ledger.release(reserved("t"))

    assert sums(ledger) == [("0", "0.40")]


def test_what_was_emptied_twice_is_not_emptied_by_the_first_again_when_that_is_read() -> None:
    ledger = SharedLedger((DOLLAR,))
    log: dict[int, Record] = {
        1: received("t"),
        2: reserved("t"),
        3: forgotten(turn="f"),
        4: forgotten(turn="g"),
        5: received("u"),
    }
    later: dict[int, Record] = {6: reserved("u"), 7: settled("u"), 8: answered("u")}
    for sequence, record in {**log, **later}.items():
        ledger.apply(sequence, HERE, record)

    for sequence, record in {**log, **later}.items():
        ledger.follow(sequence, HERE, record)

    assert sums(ledger) == [("0.10", "0")]


def test_what_need_not_be_read_is_of_turns_that_are_over() -> None:
    ledger = SharedLedger((DOLLAR,))
    records: tuple[Record, ...] = (received("t"), received("u"), reserved("u"))
    for sequence, record in enumerate(records, 1):
        ledger.follow(sequence, HERE, record)

    ledger.skip(2)
    assert (ledger.oldest, ledger.read) == (1, 3)
    ledger.skip(9)

    assert (ledger.oldest, ledger.read) == (9, 8)
    assert sums(ledger) == [("0.40", "0")]
    ledger.follow(8, HERE, received("of those"))
    assert ledger.oldest == 9


def test_what_was_not_read_yet_may_be_of_a_turn_that_is_older_than_all_of_this_hub() -> None:
    ledger = SharedLedger((DOLLAR,))
    ledger.skip(23)

    ledger.apply(72, HERE, received("own"))
    assert ledger.oldest == 23
    ledger.follow(66, HERE, received("another's"))
    assert ledger.oldest == 66
    ledger.follow(70, HERE, answered("another's"))

    assert ledger.oldest == 71
