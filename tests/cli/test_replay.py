"""Going back: any prefix of a log folds to exactly the state that was live then."""

from __future__ import annotations

import json
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from factory_cli import log
from factory_cli.ink import painted
from factory_cli.replay import Past, lines, state, step_lines
from factory_contracts.records import (
    RECORD,
    Bound,
    HeadMoved,
    Record,
    SessionOpened,
    TurnRefused,
    TurnSuperseded,
    record_id,
)
from hub.kernel.session import Session, fold
from tests.cli.facts import KEY, answered, asked, log_of, received, shown, started
from tests.cli.installation import Factory

TURNS = ("t1", "t2", "t3", "t4")


def moves(turn: str) -> tuple[Record, ...]:
    """What may be written about a turn."""
    return (
        received(turn, text=f"question {turn}"),
        received(turn, text=f"question {turn}", attempt=0),
        started(turn, attempt=2),
        answered(turn, asked("m1"), text=f"answer {turn}"),
        shown(turn),
        TurnSuperseded(id=record_id(turn, "superseded"), turn=turn, at=0.0, by="t1"),
        SessionOpened(id=record_id(turn, "session"), turn=turn, at=0.0),
        Bound(id=record_id(turn, "bound"), turn=turn, at=0.0, agent="bob"),
        HeadMoved(id=record_id(turn, "head"), turn=turn, at=0.0, after="t1"),
    )


def folded(records: Iterable[tuple[int, Record]]) -> Session:
    return fold(KEY.platform, KEY.bot_id, KEY.scope_id, records)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([move for turn in TURNS for move in moves(turn)]), max_size=40), st.data())
def test_a_session_that_lives_equals_the_fold_of_what_is_stored_at_every_point(
    written: list[Record], data: st.DataObject
) -> None:
    live = Session(KEY.platform, KEY.bot_id, KEY.scope_id)
    stored: list[tuple[int, Record]] = []
    for sequence, record in enumerate(written, 1):
        live.apply(sequence, record)
        stored.append((sequence, RECORD.decode(RECORD.encode(record))))
        # What is asked of a living session must leave no trace in it.
        waiting = live.next_turn()
        assert waiting is None or live.lines(waiting)

        assert state(folded(stored)) == state(live)

        if not live.turns and data.draw(st.booleans()):
            # From a view onwards as well as from the first record.
            view = live.compaction(f"view{sequence}", "t1", 0.0)
            refilled = folded([(sequence, view)])
            assert [line.text for line in refilled.past()] == [line.text for line in live.past()]
            assert refilled.tally == live.tally


def test_the_state_is_told_in_words() -> None:
    records = (
        received("t1", text="What time is it?"),
        answered("t1", text="Noon."),
        shown("t1"),
        received("t2", text="Sure?"),
    )
    past = Past(KEY, tuple(enumerate(records, 1)), 9)

    told = [painted(line, is_color=False).rstrip() for line in lines(past, "scout")]

    assert told[0].startswith("scope      cli:main:walk at 4 of 9, ")
    assert told[1:] == [
        "agent      scout (by the bindings)",
        "turns      2 received = 1 answered + 0 refused + 0 superseded + 1 open",
        "used       0 model calls, 0 tokens in, 0 out, $0.00",
        "open       t2  runs, attempt 1 at worker clipool (life1)",
        "tainted    0 of 1 exchanges",
        "shown      what a model is shown:",
        "  user",
        "    What time is it?",
        "  assistant",
        "    Noon.",
        "  user",
        "    Sure?",
    ]
    assert [painted(line, is_color=False).split("  ")[-1] for line in step_lines(past)] == [
        "1 received = 0 answered + 0 refused + 0 superseded + 1 open",
        "1 received = 1 answered + 0 refused + 0 superseded + 0 open",
        "1 received = 1 answered + 0 refused + 0 superseded + 0 open",
        "2 received = 1 answered + 0 refused + 0 superseded + 1 open",
    ]


def test_a_conversation_is_replayed_up_to_a_turn_or_a_record(factory: Factory) -> None:
    factory.up()
    for text in ("first", "second"):
        assert factory.run("chat", "-p", text, "--session", "walk").returncode == 0
    turns = json.loads(factory.run("turns", "ls", "--json").stdout)

    whole = json.loads(factory.run("turns", "replay", "walk", "--json").stdout)
    early = json.loads(factory.run("turns", "replay", turns[0]["turn"], "--json").stdout)
    begun = json.loads(factory.run("turns", "replay", "walk", "--until", "1", "--json").stdout)

    assert (whole["scope"], whole["sequence"]) == ("cli:main:walk", whole["last"])
    assert [one["asked"] for one in whole["state"]["history"]] == ["first", "second"]
    assert [one["asked"] for one in early["state"]["history"]] == ["first"]
    assert early["sequence"] < whole["sequence"]
    assert (begun["state"]["received"], begun["state"]["shown"]) == (0, [])


async def test_every_turn_is_accounted_for_whatever_became_of_it() -> None:
    bus = await log_of(
        [
            received("t1"),
            answered("t1"),
            received("t2", attempt=0),
            TurnSuperseded(id=record_id("t2", "superseded"), turn="t2", at=0.0, by="t3"),
            received("t3"),
            TurnRefused(id=record_id("t3", "refused"), turn="t3", at=0.0, reason="budget", text="No."),
            received("t4", text='{"kind":"answered"}'),
            received("t4"),
        ]
    )

    found = await log.balance(bus)

    assert str(found) == "4 received = 1 answered + 1 refused + 1 superseded + 1 open"
    assert found.is_even


def test_a_new_session_begins_where_an_old_one_once_stood(factory: Factory) -> None:
    factory.up()
    for text in ("The bird is a nightingale.", "The bird is a sparrow."):
        assert factory.run("chat", "-p", text, "--session", "walk").returncode == 0
    first, _ = json.loads(factory.run("turns", "ls", "--json").stdout)
    before = json.loads(factory.run("turns", "replay", "walk", "--json").stdout)

    forked = factory.run("turns", "fork", first["turn"], "--as", "other")
    said = factory.run("chat", "-p", "Which bird was it?", "--session", "other").stdout
    again = factory.run("turns", "fork", first["turn"], "--as", "other")
    taken = factory.run("turns", "fork", "walk", "--as", "walk")
    nameless = factory.run("turns", "fork", "walk", "--as", "")

    assert (forked.returncode, forked.stdout) == (0, "other\n")
    assert "nightingale" in said and "sparrow" not in said
    assert (taken.returncode, taken.stdout) == (1, "")
    assert taken.stderr == "factory: there is a conversation 'walk' already; choose another name with --as\n"
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "factory: there is a conversation 'other' already; choose another name with --as\n"
    assert nameless.stderr.startswith("factory: --as: scope: must be 1 to 255 bytes")
    after = json.loads(factory.run("turns", "replay", "walk", "--json").stdout)
    assert after["state"]["history"] == before["state"]["history"]
