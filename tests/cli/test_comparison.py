"""Another agent's answers to what was asked then: the same questions, and nothing done."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from factory_cli import comparison
from factory_cli.comparing import lines, row
from factory_cli.comparison import Memory, Purse, Reprise, Then, compare, recorded
from factory_cli.ink import painted
from factory_contracts.records import MoneyReserved
from factory_contracts.trace import ModelStep, ToolStep
from factory_contracts.work import Line, NotRecorded, Recorded
from factory_nats.identity import Identity
from hub.kernel.agent import Agent
from tests.cli.facts import KEY, NOON, answered, asked, forgotten, log_of, received, reserved, shown
from tests.cli.installation import Factory
from workers.clipool.composition import ClipoolSettings
from workers.clipool.limit import Limit

SCRIPT = """
[[reply]]
match = "milk"
steps = [
    { call = "remember", arguments = { text = "buys milk", topic = "milk" } },
    { say = "Then: {tool}" },
]
[[reply]]
match = "bread"
steps = [ { call = "remember", arguments = { text = "buys bread", topic = "bread" } }, { say = "Then: {tool}" } ]
[[reply]]
match = "sum"
steps = [ { call = "calculator", arguments = { expression = "2 + 3" } }, { say = "It is {tool}, of {messages}" } ]
[[reply]]
match = "^read (\\\\S+)"
steps = [ { call = "fetch", arguments = { url = "{1}" } }, { say = "It says: {tool}" } ]
"""


def remembered(call: str, fact: str) -> ToolStep:
    arguments = json.dumps({"topic": fact.split()[-1], "text": fact})
    return ToolStep(
        call=call, tool="remember", effect="write", arguments=arguments, outcome="ok", content="Noted it, back then."
    )


def fetched(url: str) -> ToolStep:
    arguments = json.dumps({"url": url})
    return ToolStep(call="c1", tool="fetch", effect="read", arguments=arguments, outcome="ok", content="News.")


def holding(amount: str) -> MoneyReserved:
    record = reserved(amount=amount)
    assert isinstance(record, MoneyReserved)
    return record


def settings(tmp_path: Path) -> ClipoolSettings:
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT)
    return ClipoolSettings(nats_url="", identity=Identity("trial"), script=script, folder=tmp_path / "work")


AGENT = Agent(name="new", model="scripted", tools=("remember", "calculator"))


async def turns(scope: str | None = None, limit: int = 10, since: float | None = None) -> tuple[Then, ...]:
    bus = await log_of(
        [
            received("t1", text="I need milk"),
            answered("t1", asked("m1"), remembered("c1", "buys milk"), asked("m2"), text="Then: Noted it, back then."),
            shown("t1"),
            received("t2", text="and bread", at=NOON + 60),
            answered("t2", asked("m1"), text="Fine."),
            shown("t2"),
            received("t3", text="what is the sum?", at=NOON + 90),
            answered("t3", asked("m1"), text="It is 5, of 7"),
        ]
    )
    return await recorded(bus, scope=scope, since=since, limit=limit)


async def test_what_was_asked_is_found_with_all_that_was_shown_then() -> None:
    found = await turns()

    assert [one.turn for one in found] == ["t1", "t2", "t3"]
    assert [line.text for line in found[1].lines] == ["I need milk", "Then: Noted it, back then.", "and bread"]
    assert [one.turn for one in await turns(limit=1)] == ["t3"]
    assert await turns(scope="elsewhere") == ()


async def test_what_was_forgotten_is_not_asked_again() -> None:
    bus = await log_of([received("t1"), answered("t1"), forgotten("t1")])

    assert await recorded(bus, scope=None, since=None, limit=10) == ()


async def test_the_same_call_comes_to_what_it_came_to_and_another_one_with_an_effect_is_not_run(tmp_path: Path) -> None:
    milk, bread, total = await compare(AGENT, await turns(), settings(tmp_path), Decimal(1))

    assert (milk.is_same, milk.notes) == (True, ())
    assert bread.after.text.startswith("Then: This was not run")
    assert bread.notes == ("remember was not run",)
    assert bread.after.tools == ("remember",)
    # What only reads is run; and the history is the one of then, not what was said now.
    assert total.after.text == "It is 5, of 7"
    assert not (tmp_path / "work" / "memory.db").exists()


async def test_a_place_that_is_new_is_not_told_anything_unless_what_it_said_then_is_known(tmp_path: Path) -> None:
    bus = await log_of(
        [
            received("t1", text="read news.example/?all"),
            answered("t1", asked("m1"), fetched("https://news.example/?all"), asked("m2"), text="It says: News."),
            received("t2", text="read evil.example/?all", at=NOON + 60),
            answered("t2", asked("m1"), text="No."),
        ]
    )
    found = [
        # What a person writes they may be led to; what stands in a page is another's.
        replace(one, lines=(Line(role="user", text=line.text.replace("read ", "read https://")),), is_tainted=True)
        for one in await recorded(bus, scope=None, since=None, limit=10)
        for line in one.lines[-1:]
    ]

    news, evil = await compare(replace(AGENT, tools=("fetch",)), found, settings(tmp_path), Decimal(1))

    assert news.after.text == "It says: News."
    assert news.notes == ()
    assert evil.after.text == f"It says: {comparison.NOT_RUN}"
    assert evil.notes == ("fetch was not run",)


async def test_a_comparison_is_told_in_a_row_and_in_what_differs(tmp_path: Path) -> None:
    _, bread, _ = await compare(AGENT, await turns(), settings(tmp_path), Decimal(1))

    assert row(bread)[:5] == ("t2", "walk", "0% alike", "none -> remember", "$0.01 -> $0.00")
    told = [painted(line, is_color=False) for line in lines(bread, None)]
    assert told[1:4] == ["t2", "  remember was not run", "    -Fine."]
    assert told[4].startswith("    +Then: This was not run")


def test_no_more_is_spent_than_was_said() -> None:
    purse = Purse(Decimal("0.10"))

    assert purse.take(Decimal("0.08")) == ""
    assert purse.take(Decimal("0.08")) == comparison.SPENT
    purse.settle(Decimal("0.08"), Decimal("0.01"))
    assert purse.take(Decimal("0.08")) == ""
    assert purse.take(None) == comparison.UNPRICED


async def test_what_was_held_for_a_call_of_unknown_cost_counts_in_full() -> None:
    purse = Purse(Decimal(1))
    known, unknown, more = (Reprise(AGENT, purse, Memory(), Limit(60)) for _ in range(3))

    replies = []
    for stage, cost in ((known, Decimal("0.01")), (unknown, None), (more, Decimal(0))):
        replies.append(await stage.record(holding("0.90")))
        stage.note(ModelStep(call="m1", model="m", messages=1, reason="end", cost=cost))

    assert replies == [Recorded(), Recorded(), NotRecorded(words=comparison.SPENT)]
    assert purse.held == Decimal("0.91")


@pytest.mark.parametrize("budget", ["much", "nan", "inf", "-1"])
def test_what_is_no_sum_is_no_budget(factory: Factory, budget: str) -> None:
    done = factory.run("turns", "diff", "--agent", "assistant", "--budget", budget)

    assert (done.returncode, done.stderr) == (1, f"factory: {budget!r} is no sum of dollars\n")


def test_of_an_agents_file_that_is_not_there_nothing_else_is_read(factory: Factory) -> None:
    (factory.folder / "pyproject.toml").write_text("[project]\n")

    done = factory.run("turns", "diff", "--agent", "./nofile.toml", "--yes")

    assert (done.returncode, done.stderr) == (1, "factory: there is no file nofile.toml\n")


@pytest.mark.parametrize("wanted", ["file", "name"])
def test_turns_are_compared_and_nothing_is_written(factory: Factory, wanted: str) -> None:
    new = factory.folder / "newer.toml"
    new.write_text('description = "Newer."\nmodel = "scripted"\nsystem = "You are new."\n')
    factory.up()
    assert factory.run("chat", "-p", "hello", "--session", "walk").returncode == 0
    before = factory.run("turns", "replay", "walk", "--json").stdout

    done = factory.run("turns", "diff", "--agent", str(new) if wanted == "file" else "assistant", "--json")

    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)
    assert (one["scope"], one["asked"], one["is_same"]) == (KEY.to_pool_id(), "hello", True)
    after = factory.run("turns", "replay", "walk", "--json").stdout
    assert json.loads(after)["state"]["received"] == json.loads(before)["state"]["received"] == 1
