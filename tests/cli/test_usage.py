"""What was used and what it cost: the fold of the log, the table, the chart and how budgets stand."""

import json
from datetime import date
from decimal import Decimal

import pytest

from factory_cli import accounts, config
from factory_cli.accounts import Books, Sums
from factory_cli.amounts import dollars, plain
from factory_cli.expenses import By, Expense, Expenses, Total
from factory_cli.ink import painted
from factory_contracts import subjects
from factory_contracts.messages import Usage
from factory_contracts.records import BALANCES, Balance, Balances, Record, TurnRefused
from factory_nats.testing import FakeTransport
from factory_nats.transport import Entry
from hub.kernel.agent import BY_HAND
from hub.kernel.routing import RoutingKey
from tests.cli.facts import KEY, NOON, answered, asked, log_of, received, reserved, settled, started, used
from tests.cli.installation import Factory

DAY = 86_400
EVERYONE = config.Budget("daily", Decimal("5.00"))


def expenses(*records: Record) -> list[Expense]:
    """All expenses that these records tell of."""
    fold = Expenses()
    found = [one for record in records for one in fold.apply(KEY, record)]
    return found + list(fold.rest())


def total(*records: Record) -> Total:
    """The same, added up."""
    summed = Total()
    for one in expenses(*records):
        summed.add(one)
    return summed


def sums_of(by: By, *found: Expense, since: date | None = None) -> Sums:
    sums = Sums(by, since)
    for one in found:
        sums.add(one)
    return sums


def expense(at: float = NOON, cost: str = "1", model: str = "a:b", tokens: int = 0, unknown: int = 0) -> Expense:
    return Expense(
        at=at,
        turn="t",
        key=KEY,
        user="cli:ada",
        agent="scout",
        model=model,
        input_tokens=tokens,
        cache_read_tokens=tokens // 10 * 9,
        output_tokens=tokens // 10,
        cost=Decimal(cost),
        unknown=unknown,
    )


# The fold


@pytest.mark.parametrize(
    ("records", "calls", "cost", "unknown", "assumed"),
    [
        pytest.param((received(), answered("t1", asked(cost="0"))), 1, "0", 0, "0", id="free"),
        pytest.param(
            (received(), reserved(), settled(), answered("t1", asked())), 1, "0.01", 0, "0", id="reserved and settled"
        ),
        pytest.param(
            (received(), reserved(), settled(amount=None), answered("t1", asked(cost=None))),
            1,
            "0",
            1,
            "0.05",
            id="settled at an unknown cost",
        ),
        pytest.param(
            (received(), reserved(amount=None), settled(amount=None), answered("t1", asked(cost=None))),
            1,
            "0",
            1,
            "0",
            id="a model without a price",
        ),
        pytest.param(
            (received(), reserved(), started(attempt=2), answered("t1", asked(cost="0"))),
            2,
            "0",
            1,
            "0.05",
            id="never settled by a worker that died",
        ),
        pytest.param(
            (
                received(),
                reserved(),
                settled(),
                started(attempt=2),
                reserved(attempt=2),
                settled(attempt=2),
                answered("t1", asked()),
            ),
            2,
            "0.02",
            0,
            "0",
            id="the same call in two attempts",
        ),
        pytest.param(
            (received(), reserved(), settled(), answered("t1", agent=None, outcome="failed")),
            1,
            "0.01",
            0,
            "0",
            id="given up by the hub",
        ),
        pytest.param(
            (received(), reserved(), TurnRefused(id="x", turn="t1", at=NOON, reason="late", text="")),
            1,
            "0",
            1,
            "0.05",
            id="refused after a reservation",
        ),
        pytest.param(
            (
                received(),
                reserved(),
                settled(),
                answered("t1", asked(), usage=Usage(calls=3, input_tokens=100, cost=Decimal("0.5"), unpriced=1)),
            ),
            3,
            "0.5",
            1,
            "0",
            id="a trace that was cut short",
        ),
        pytest.param((received(), reserved()), 0, "0", 0, "0", id="a call that runs"),
        pytest.param((received(), reserved(), settled()), 1, "0.01", 0, "0", id="a turn that runs"),
        pytest.param((received(), reserved(), started(attempt=2)), 1, "0", 1, "0.05", id="a turn that runs again"),
        pytest.param((answered("t1", asked()),), 1, "0.01", 0, "0", id="an answer whose beginning is gone"),
    ],
)
def test_a_call_costs_what_is_known_and_what_is_not_known_is_not_nothing(
    records: tuple[Record, ...], calls: int, cost: str, unknown: int, assumed: str
) -> None:
    found = total(*records)

    assert (found.calls, found.cost, found.unknown, found.assumed) == (calls, Decimal(cost), unknown, Decimal(assumed))


def test_a_record_that_stands_there_twice_counts_once() -> None:
    records = [received(), reserved(), settled(), answered("t1", asked("m1"), asked("m2"))]

    assert total(*records) == total(*(record for record in records for _ in range(2)))


def test_cost_is_added_up_to_the_last_digit() -> None:
    found = total(
        received("t1"),
        answered("t1", asked("m1", cost="999999999999.000000000000000001"), asked("m2", cost="0.1")),
        received("t2"),
        answered("t2", asked("m1", cost="0.000000000000000002")),
    )

    assert plain(found.cost) == "999999999999.100000000000000003"


def test_what_a_person_used_by_hand_was_no_call_of_a_model() -> None:
    step = asked("m1", cost="0").model_copy(update={"model": BY_HAND})
    record = answered("t1", step).model_copy(update={"usage": Usage()})

    assert expenses(received(), record) == []


def test_each_call_is_its_own_agents() -> None:
    found = expenses(
        received(),
        reserved(call="m1"),
        settled(call="m1"),
        reserved(call="h1.m1", agent="guide"),
        settled(call="h1.m1"),
        answered(
            "t1",
            asked("m1"),
            asked("h1.m1", within="h1"),
            asked("h1.m2", within="h1", cost="0"),
            used("h1", "ask_guide"),
            asked("m2", cost="0"),
        ),
    )

    assert [one.agent for one in found] == ["scout", "guide", "guide", "scout"]


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("turn", {"t1", "t2"}),
        ("scope", {"cli:main:walk"}),
        ("user", {"cli:ada", "cli:bob"}),
        ("agent", {"scout", "guide"}),
        ("model", {"anthropic:claude"}),
        ("day", {"2026-11-21", "2026-11-22"}),
    ],
)
def test_expenses_are_put_together_by_what_is_asked_for(by: By, keys: set[str]) -> None:
    found = expenses(
        received("t1"),
        reserved("t1"),
        answered("t1", asked()),
        received("t2", user="bob"),
        answered("t2", asked(), agent="guide", at=NOON + DAY),
    )

    sums = sums_of(by, *found)

    assert set(sums.rows) == keys
    assert sum(row.calls for row in sums.rows.values()) == sums.total.calls == 2


def test_what_is_older_than_asked_for_is_left_out() -> None:
    sums = sums_of("day", expense(NOON), expense(NOON + DAY), since=date(2026, 11, 22))

    assert set(sums.rows) == {"2026-11-22"}


# The table and the chart


def test_the_dearest_comes_first_and_days_come_in_their_order() -> None:
    found = (expense(NOON + DAY, "1", "cheap:a"), expense(NOON, "3", "dear:b"))

    assert [name for name, _ in sums_of("model", *found).ordered] == ["dear:b", "cheap:a"]
    assert [name for name, _ in sums_of("day", *found).ordered] == ["2026-11-21", "2026-11-22"]


def test_a_table_has_numbers_flush_right_and_the_total_below() -> None:
    sums = sums_of(
        "model",
        expense(cost="1234.5", model="a:b", tokens=1_000_000),
        expense(cost="0", model="c:d", unknown=1),
    )

    rows = ["  ".join(row).rstrip() for row in accounts.table(sums)]

    assert rows == [
        "MODEL  CALLS         IN   CACHED      OUT                   COST",
        "a:b        1  1,000,000  900,000  100,000              $1,234.50",
        "c:d        1          0        0        0              1 unknown",
        "total      2  1,000,000  900,000  100,000  $1,234.50 + 1 unknown",
    ]


def test_what_budgets_assume_has_a_column_where_there_is_any() -> None:
    one = Expense(NOON, "t", KEY, "u", "a", "m", cost=Decimal(0), unknown=1, assumed=Decimal("0.05"))

    head, row, _ = accounts.table(sums_of("agent", one))

    assert (head[-1].strip(), row[-1].strip()) == ("ASSUMED", "$0.05")


def lines_of(sums: Sums, width: int = 60) -> list[str]:
    return [painted(line, is_color=False) for line in accounts.chart(sums.days, width)]


def test_the_chart_has_a_bar_for_each_day_and_none_is_left_out() -> None:
    sums = sums_of("day", expense(NOON, "1"), expense(NOON + 2 * DAY, "2"), expense(NOON + 3 * DAY, "0.0001"))

    assert lines_of(sums, 50) == [
        "cost per day",
        "2026-11-21  ##############  $1.00",
        "2026-11-22",
        "2026-11-23  #############################  $2.00",
        "2026-11-24  #  $0.0001",
    ]


def test_where_nothing_costs_anything_the_chart_is_of_tokens() -> None:
    head, bar = lines_of(sums_of("day", expense(NOON, "0", tokens=10)))

    assert (head, bar.split("  ")[-1]) == ("tokens per day", "11")


def test_the_chart_shows_no_more_than_a_month_and_is_as_wide_as_it_may_be() -> None:
    lines = lines_of(sums_of("day", expense(NOON - 400 * DAY, "9"), expense(NOON, "1"), expense(NOON - 30 * DAY)), 40)

    assert (lines[1][:10], lines[-1][:10], len(lines)) == ("2026-10-22", "2026-11-21", 32)
    assert max(len(line) for line in lines) <= 40


def test_no_days_are_no_chart() -> None:
    assert lines_of(sums_of("day")) == []


# Budgets


async def books_of(transport: FakeTransport, *budgets: config.Budget) -> Books:
    return await accounts.gather(transport, Sums("day"), budgets)


async def test_a_budget_stands_as_the_log_says() -> None:
    transport = await log_of(
        [
            received("t1"),
            reserved("t1", amount="1"),
            settled("t1", amount="0.25"),
            answered("t1", asked(cost="0.25")),
            received("t2"),
            reserved("t2", amount="0.5"),
        ]
    )

    (account,) = (await books_of(transport, EVERYONE)).accounts(NOON + 60)

    assert account.as_json() == {
        "budget": "daily",
        "per": "everyone",
        "period": "day",
        "who": "",
        "amount": "5",
        "spent": "0.25",
        "held": "0.5",
        "left": "4.25",
        "renews": NOON - 1 - 12 * 3600 + DAY,
    }


async def test_what_the_hub_has_closed_is_not_counted_twice() -> None:
    transport = await log_of([received(), reserved(), settled(amount="0.25"), answered("t1", asked(cost="0.25"))])
    closed = Balance(budget="daily", who="", window="2026-11-21", spent=Decimal("1.25"))
    balances = BALANCES.encode(Balances(through=5, balances=(closed,)))
    for shard in range(subjects.PARTITIONS):
        await transport.append([Entry(subjects.money(shard), balances, rollup=True)])

    (account,) = (await books_of(transport, EVERYONE)).accounts(NOON + 60)

    assert account.standing.spent == Decimal("1.25")


async def test_yesterdays_spending_is_no_longer_counted_and_the_budget_is_shown_all_the_same() -> None:
    transport = await log_of([received(), reserved(), settled(), answered("t1", asked())])
    each = config.Budget("each", Decimal(1), "user")

    found = (await books_of(transport, EVERYONE, each)).accounts(NOON + DAY)

    assert [(one.standing.budget.name, one.standing.spent) for one in found] == [("daily", Decimal(0))]


async def test_everybody_who_drew_on_a_budget_of_their_own_is_named_the_nearest_to_its_end_first() -> None:
    other = RoutingKey("telegram", "main", "7")
    transport = await log_of(
        [
            received("t1"),
            reserved("t1", amount="0.1"),
            (other, received("t2", user="bob")),
            (other, reserved("t2", amount="0.9", user="bob", agent="guide")),
        ]
    )
    budgets = [config.Budget(per, Decimal(1), per) for per in ("user", "scope", "agent", "bot")]

    found = (await books_of(transport, *budgets)).accounts(NOON + 60)

    assert [account.who for account in found] == [
        *("telegram:bob", "cli:ada"),
        *("telegram:main:7", "cli:main:walk"),
        *("guide", "scout"),
        *("telegram:main", "cli:main"),
    ]


async def test_how_a_budget_stands_is_a_sentence() -> None:
    books = await books_of(await log_of([]), config.Budget("all", Decimal("1000"), period="ever"), EVERYONE)

    lines = [painted(line, is_color=False) for line in accounts.standings(books.accounts(NOON))]

    assert lines == [
        "budget all ($1,000.00 in all, everybody together): $0.00 spent, $1,000.00 left. It does not renew by itself.",
        "budget daily ($5.00 a day, everybody together): $0.00 spent, $5.00 left. It renews at 2026-11-22 00:00 UTC.",
    ]


@pytest.mark.parametrize(
    ("amount", "said"),
    [("0", "$0.00"), ("0E-18", "$0.00"), ("0.0123", "$0.0123"), ("1E+3", "$1,000.00"), ("2.50", "$2.50")],
)
def test_an_amount_is_told_with_every_digit_it_has(amount: str, said: str) -> None:
    assert dollars(Decimal(amount)) == said


# The command


def test_usage_is_told_as_a_table_a_chart_and_a_document(factory: Factory) -> None:
    factory.up()
    factory.run("chat", "--session", "walk", "-p", "hello")

    table = factory.run("usage", "--by", "scope", "--chart")
    told = json.loads(factory.run("usage", "--by", "agent", "--json").stdout)

    assert table.returncode == 0, table.stderr
    assert table.stdout.splitlines()[1].split()[:2] == ["cli:main:walk", "1"]
    assert "tokens per day" in table.stdout
    assert "budget daily ($5.00 a day, everybody together): $0.00 spent, $5.00 left" in table.stdout
    assert "\x1b" not in table.stdout
    assert list(told) == ["by", "since", "rows", "total", "budgets"]
    assert (told["rows"][0]["agent"], told["total"]["calls"], told["total"]["cost"]) == ("assistant", 1, "0")
    assert told["budgets"][0]["left"] == "5"


def test_a_day_that_is_none_is_a_usage_error(factory: Factory) -> None:
    done = factory.run("usage", "--since", "yesterday")

    assert done.returncode == 2
    assert "yesterday" in done.stderr


@pytest.mark.parametrize("command", [("usage",), ("agent", "new"), ("agent", "test"), ("turns", "show"), ()])
def test_help_fits_a_screen(factory: Factory, command: tuple[str, ...]) -> None:
    lines = factory.run(*command, "--help").stdout.rstrip().splitlines()

    assert 5 < len(lines) <= 24
    assert max(len(line) for line in lines) <= 80
