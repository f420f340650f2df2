"""What the log says of turns: found again, put in order, and printed so that it harms nobody."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

import pytest

from factory_cli import history, trace
from factory_cli.console import Failed
from factory_cli.ink import Ink, Line, block, document, escaped, harmless, painted
from factory_contracts.messages import Attachment, Usage
from factory_contracts.records import (
    Record,
    ReplyUndeliverable,
    ToolDone,
    ToolStarted,
    TurnAnswered,
    TurnRefused,
    TurnSuperseded,
    record_id,
)
from factory_contracts.trace import Step
from hub.kernel.routing import RoutingKey
from tests.cli.facts import (
    KEY,
    NOON,
    answered,
    asked,
    decision,
    forgotten,
    log_of,
    question,
    received,
    reserved,
    settled,
    shown,
    started,
    used,
)
from tests.cli.installation import Factory

OTHER = RoutingKey("telegram", "main", "7")


def printed(*records: Record, width: int | None = None) -> list[str]:
    """The turn as it is shown, without colour."""
    found = trace.fold("t1", KEY, records)
    return [painted(line, is_color=False) for line in trace.lines(found, width)]


# What is printed


def test_a_turn_is_told_from_the_question_to_the_receipt() -> None:
    lines = printed(
        received(text="What time is it?\nNow."),
        reserved(call="m1"),
        settled(call="m1"),
        reserved(call="m2"),
        settled(call="m2", amount="0.002"),
        answered(
            "t1",
            asked("m1", text="Let me see.", reason="tools", cached=4),
            used(),
            asked("m2", text="It is noon.", cost="0.002"),
            text="Let me see.\n\nIt is noon.",
        ),
        shown(),
    )

    noon, end = trace.clock(NOON), trace.clock(NOON + 4)
    assert lines == [
        "turn       t1",
        f"received   {noon} in cli:main:walk",
        "from       Ada (ada), owner",
        "asked      What time is it?",
        "           Now.",
        "attempt 1  at worker clipool (life1)",
        "    1 model anthropic:claude  3 messages shown, 10 tokens in (4 from a cache), 2 out, "
        "$0.01 of $0.05 reserved, 1.2 s  tools",
        "        Let me see.",
        "    2 tool  clock  read, 0.0 s  ok",
        '        {"a": 1}',
        "        > noon",
        "    3 model anthropic:claude  3 messages shown, 10 tokens in, 2 out, $0.002 of $0.05 reserved, 1.2 s  end",
        "        It is noon.",
        "money      $0.10 reserved, $0.012 settled",
        "answer     complete by scout (abc) with anthropic:claude after 3.0 s",
        "           Let me see.",
        "",
        "           It is noon.",
        "total      2 model calls, 20 tokens in (4 from a cache), 4 out, $0.012",
        f"delivered  {end} as message 17",
    ]


def test_the_files_and_the_offers_of_an_answer_stand_below_it() -> None:
    answer = answered("t1", text="Here.")
    assert isinstance(answer, TurnAnswered)
    file = Attachment(kind="image", name="a\x1b[2J.png", mime="image/png", size=1_234, blob="b")

    lines = printed(received(), answer.model_copy(update={"attachments": (file,), "choices": ("Yes", "No")}))

    at = lines.index("           Here.")
    assert lines[at + 1 : at + 3] == [
        "with       image 'a\\x1b[2J.png' (image/png, 1,234 bytes)",
        "choices    'Yes', 'No'",
    ]


def test_what_a_helper_did_stands_below_the_call_that_asked_it() -> None:
    steps = (
        asked("m1", reason="tools"),
        asked("h1.m1", reason="tools", within="h1"),
        used("h1.c1", within="h1"),
        asked("h1.h2.m1", within="h1.h2"),
        used("h1.h2", "ask_guide", within="h1"),
        used("c1"),
        used("h1", "ask_scout"),
        asked("m2"),
    )

    lines = [painted(line, is_color=False) for line in trace.of_steps(steps)]

    heads = [line[: len(line) - len(line.lstrip())] + " ".join(line.split()[:3]) for line in lines if _is_head(line)]
    assert heads == [
        "    1 model anthropic:claude",
        "    2 tool clock",
        "    3 tool ask_scout",
        "        4 model anthropic:claude",
        "        5 tool clock",
        "        6 tool ask_guide",
        "            7 model anthropic:claude",
        "    8 model anthropic:claude",
    ]


def _is_head(line: str) -> bool:
    return line.split()[1:2] in (["model"], ["tool"])


@pytest.mark.parametrize(
    "steps",
    [
        (asked("m1", within="gone"), used("c1")),
        (used("c1", within="c1"),),
        (used("a", within="b"), used("b", within="a")),
        (used("c1"), used("c1", within="c1")),
    ],
)
def test_no_step_is_lost_whatever_it_says_of_itself(steps: tuple[Step, ...]) -> None:
    assert sum(_is_head(painted(line, is_color=False)) for line in trace.of_steps(steps)) == len(steps)


def test_an_attempt_that_was_lost_shows_what_the_log_knows_of_it() -> None:
    def tool(attempt: int, call: str) -> Record:
        return ToolStarted(
            id=record_id("t1", "tool started", attempt, call),
            turn="t1",
            at=NOON,
            attempt=attempt,
            call=call,
            tool="bell",
            effect="external",
            arguments="-",
        )

    done = ToolDone(id="t1.done", turn="t1", at=NOON, attempt=1, call="c1", outcome="ok")

    lines = printed(
        received(),
        reserved(call="m1"),
        settled(call="m1"),
        tool(1, "c1"),
        done,
        reserved(call="m2"),
        tool(1, "c2"),
        reserved(call="m3", amount=None),
        started(attempt=2),
        reserved(call="m1", attempt=2),
        settled(call="m1", attempt=2),
        answered("t1", asked("m1", text="hi")),
    )

    assert lines[4:12] == [
        "attempt 1  at worker clipool (life1)",
        "      model anthropic:claude  $0.05 reserved, cost $0.01",
        "      model anthropic:claude  $0.05 reserved, never settled: budgets count it in full",
        "      model anthropic:claude  never settled: nobody knows what it cost",
        "      tool  bell  external, ok",
        "      tool  bell  external, unknown",
        "attempt 2  at worker clipool (life2), because: the worker died",
        "    1 model anthropic:claude  3 messages shown, 10 tokens in, 2 out, $0.01 of $0.05 reserved, 1.2 s  end",
    ]
    assert "money      $0.15 reserved, $0.02 settled, 2 calls not settled" in lines
    assert "total      4 model calls, 10 tokens in, 2 out, $0.02 + 2 unknown (budgets count $0.05 for that)" in lines


def test_a_call_that_a_person_was_asked_about_says_so_and_what_they_said() -> None:
    def step(call: str, outcome: Literal["ok", "error"]) -> Step:
        return used(call, "send").model_copy(update={"effect": "external", "outcome": outcome})

    lines = printed(
        received(),
        question("c1"),
        decision("c1", approved=True),
        question("c2"),
        decision("c2", approved=False),
        question("c3"),
        decision("c3", approved=False, user=None),
        question("c4"),
        answered("t1", step("c1", "ok"), step("c2", "error"), step("c3", "error"), step("c4", "error")),
    )

    asked_at, at, until = (trace.clock(NOON + seconds) for seconds in (1, 5, 61))
    assert lines[5:9] == [
        "    1 tool  send  external, 0.0 s  ok",
        '        {"a": 1}',
        f"        asked at {asked_at}: olga (telegram) allowed it at {at}",
        "        > noon",
    ]
    assert f"        asked at {asked_at}: olga (telegram) did not allow it at {at}" in lines
    assert f"        asked at {asked_at}: nobody answered until {until}" in lines
    assert f"        asked at {asked_at}: nobody answered before it was over" in lines


def test_a_question_that_is_open_stands_in_its_attempt_with_all_that_is_asked() -> None:
    lines = printed(received(), question("c1"), started(attempt=2), question("c1"), question("c2"))

    asked_at, until = trace.clock(NOON + 1), trace.clock(NOON + 61)
    assert lines[4:] == [
        "attempt 1  at worker clipool (life1)",
        "      tool  send  external, not begun",
        "        May I?",
        f"        asked at {asked_at}: nobody answered before it was over",
        "attempt 2  at worker clipool (life2), because: the worker died",
        *(
            "      tool  send  external, not begun",
            "        May I?",
            f"        asked at {asked_at}: nobody has answered yet, and can until {until}",
        )
        * 2,
        "answer     not yet",
        "total      0 model calls, 0 tokens in, 0 out, $0.00",
    ]


def test_a_decision_counts_in_every_attempt_that_asked() -> None:
    lines = printed(received(), question("c1"), started(attempt=2), question("c1"), decision("c1", approved=True))

    assert sum("olga (telegram) allowed it" in line for line in lines) == 2


def test_a_failure_shows_the_operators_reason_and_the_persons_reference() -> None:
    lines = printed(
        received(),
        answered("t1", asked(reason="failed", error="401: no such key", cost="0"), outcome="failed", reference="ab12"),
    )

    assert "        401: no such key" in lines
    assert "answer     failed by scout (abc) with anthropic:claude after 3.0 s, reference ab12" in lines
    assert lines[-1] == "delivered  not yet: no receipt came"


@pytest.mark.parametrize(
    ("record", "last"),
    [
        (TurnSuperseded(id="x", turn="t1", at=NOON, by="t2"), "heard      in turn t2, which answers it as well"),
        (TurnRefused(id="x", turn="t1", at=NOON, reason="too late", text="Sorry."), "refused    too late"),
        (None, "answer     not yet"),
    ],
)
def test_a_turn_without_an_answer_says_how_it_stands(record: Record | None, last: str) -> None:
    assert last in printed(received(), *([record] if record else []))


def test_an_answer_that_cannot_be_delivered_says_so() -> None:
    never = ReplyUndeliverable(id="x", turn="t1", at=NOON, reason="the chat is gone")

    assert printed(received(), answered(), never)[-1] == "delivered  never: the chat is gone"


def test_a_record_that_stands_there_twice_changes_nothing() -> None:
    leave = (question("c1"), started(attempt=2), question("c1"), decision("c1", approved=True))
    records = [received(), *leave, reserved(), settled(), answered("t1", asked()), shown()]

    assert printed(*records) == printed(*(record for record in records for _ in range(2)))


def test_nothing_that_a_stranger_wrote_moves_the_cursor() -> None:
    evil = "\x1b[2J\r\x07\x9b31m\u202e\u2028end\x00"
    records = (
        received(text=evil, user=f"{evil}a"),
        started(attempt=2, why=evil),
        question("c1", text=evil),
        decision("c1", approved=True, user=evil),
        answered("t1", asked(text=evil, reason=evil, error=evil), used(evil, evil, content=evil), text=evil),
        ReplyUndeliverable(id="x", turn="t1", at=NOON, reason=evil),
    )

    lines = printed(*records)

    assert all(line.isprintable() for line in lines)


def test_colour_comes_only_where_it_is_wanted_and_never_from_a_stranger() -> None:
    line = (Ink("good", "good"), Ink(" \x1b[31m"))

    assert painted(line, is_color=False) == "good \N{REPLACEMENT CHARACTER}[31m"
    assert painted(line, is_color=True) == "\x1b[32mgood\x1b[0m \N{REPLACEMENT CHARACTER}[31m"


def test_a_long_line_goes_on_below_itself_where_there_is_a_width() -> None:
    text = "one two three four five six seven\n    set in\tand tabbed"

    wide = [painted(line, is_color=False) for line in block(text, 2, None)]
    narrow = [painted(line, is_color=False) for line in block(text, 2, 24)]

    assert wide == ["  one two three four five six seven", "      set in  and tabbed"]
    assert narrow[:2] == ["  one two three four", "  five six seven"]
    assert all(len(line) <= 24 for line in narrow)


@pytest.mark.parametrize("text", ["plain", "\x1b[2J\x9b", "ä\u202e", "\ud800", "\U000e0001", 'a "quote"\n'])
def test_a_document_says_the_same_and_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    told = escaped(json.dumps({"text": text}, indent=2, ensure_ascii=False))

    assert json.loads(told) == {"text": text}
    assert all(letter == "\n" or letter.isprintable() for letter in told)


def test_words_without_a_letter_of_harm_stay_as_they_are() -> None:
    assert harmless("Grüße, 世界 👋") == "Grüße, 世界 👋"


# What is found


async def test_the_newest_turns_are_listed_with_what_they_cost() -> None:
    transport = await log_of(
        [
            received("old"),
            answered("old", asked()),
            received("one", text="first"),
            reserved("one", "lost", amount="0.5"),
            started("one", attempt=2),
            answered("one", asked("m1", cost="0.010000000000000001")),
            (OTHER, received("two", text="second")),
            reserved("three", "m1"),
            received("three", text="third"),
            answered("three", outcome="failed", agent=None, usage=Usage()),
        ]
    )

    found = await history.newest(transport, None, 3)
    here = await history.newest(transport, "7", 3)

    assert [(one.turn, one.scope, one.state, one.total.in_words) for one in found] == [
        ("one", "walk", "answered (complete)", "$0.010000000000000001 + 1 unknown"),
        ("two", "telegram:main:7", "open", "$0.00"),
        ("three", "walk", "answered (failed)", "1 unknown"),
    ]
    assert found[0].as_json() == {
        "turn": "one",
        "at": trace.clock(NOON),
        "scope": "walk",
        "state": "answered (complete)",
        "asked": "first",
        "cost": "0.010000000000000001",
        "unknown": 1,
    }
    assert [one.turn for one in here] == ["two"]


async def test_of_what_is_forgotten_only_that_is_listed_and_what_it_cost() -> None:
    usage = Usage(calls=2, input_tokens=20, output_tokens=4, cost=Decimal("0.30"))
    transport = await log_of(
        [
            # Not everything may be erased yet.
            received("old", text="a secret"),
            (OTHER, received("elsewhere")),
            forgotten("bye", usage=usage),
            received("new"),
        ]
    )

    found = await history.newest(transport, None, 9)
    shown_as = [painted(line, is_color=False) for line in _shown(await history.one(transport, "by"))]

    assert [(one.turn, one.state, one.asked) for one in found] == [
        ("elsewhere", "open", "hello"),
        ("bye", "forgotten", ""),
        ("new", "open", "hello"),
    ]
    assert found[1].total.in_words == "$0.30"
    assert shown_as == [
        "turn       bye",
        f"forgotten  {trace.clock(NOON + 9)} in cli:main:walk, as ada asked",
        "until then 4 turns: 2 answered, 1 refused, 1 heard in others",
        "total      2 model calls, 20 tokens in, 4 out, $0.30",
    ]


def _shown(found: history.Found) -> Iterator[Line]:
    return trace.lines(trace.fold(found.turn, found.key, [record for _, record in found.records]))


@pytest.mark.parametrize("wanted", ["turnone", "turno", "5eed0001"])
async def test_a_turn_is_found_by_its_id_by_how_that_begins_and_by_its_reference(wanted: str) -> None:
    transport = await log_of(
        [
            received("turnone"),
            (OTHER, received("turntwo")),
            answered("turnone", outcome="failed", reference="5eed0001"),
            (OTHER, answered("turntwo")),
        ]
    )

    found = await history.one(transport, wanted)

    assert (found.turn, found.key) == ("turnone", KEY)
    assert [(sequence, record.kind) for sequence, record in found.records] == [(1, "received"), (3, "answered")]


async def test_a_whole_id_means_itself_and_not_what_begins_with_it() -> None:
    transport = await log_of([received("turn"), received("turns")])

    assert (await history.one(transport, "turn")).turn == "turn"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("", "an id is missing: name a turn, or how its id begins; `factory turns ls` names them"),
        ("x", "no turn begins with 'x' and none has that reference"),
        ("turn", "2 turns are meant by 'turn': turn1, turn2"),
    ],
)
async def test_what_means_no_turn_or_several_is_said(wanted: str, said: str) -> None:
    transport = await log_of([received("turn1"), (OTHER, received("turn2"))])

    with pytest.raises(Failed, match=said):
        await history.one(transport, wanted)


async def test_a_log_of_many_pages_is_read_to_its_end() -> None:
    transport = await log_of([received(f"turn{number}") for number in range(2_500)])

    found = await history.newest(transport, None, 2)

    assert [one.turn for one in found] == ["turn2498", "turn2499"]


# The command


def test_a_turn_is_shown_as_a_trace_and_as_a_document(factory: Factory) -> None:
    script = factory.folder / "script.toml"
    script.write_text(
        '[[reply]]\nmatch = "add"\n'
        'steps = [{ call = "calculator", arguments = { expression = "1+1" } }, { say = "{tool}" }]\n'
    )
    factory.up(FACTORY_SCRIPT=str(script))
    factory.run("chat", "--session", "walk", "-p", "add \x1b[31mit", FACTORY_SCRIPT=str(script))

    (turn,) = json.loads(factory.run("turns", "ls", "--json").stdout)
    shape = json.loads(factory.run("turns", "show", turn["turn"][:8], "--json").stdout)
    told = factory.run("turns", "show", turn["turn"]).stdout

    assert list(shape) == ["turn", "scope", "records", "steps", "usage"]
    assert (shape["turn"], shape["scope"]) == (turn["turn"], "walk")
    assert [record["kind"] for record in shape["records"]].count("answered") == 1
    assert [step["kind"] for step in shape["steps"]] == ["model", "tool", "model"]
    assert (shape["usage"]["calls"], shape["usage"]["cost"]) == (2, "0")
    assert "tool  calculator  read" in told
    assert "        > 2" in told
    assert "\x1b" not in told + factory.run("turns", "ls").stdout


def test_costs_in_a_document_are_strings_with_every_digit() -> None:
    found = trace.fold("t1", KEY, [received(), answered("t1", asked(cost="0.000000000000000001"))])

    told = json.loads(document([found.steps[0].model_dump(), found.total.as_json()]))

    assert [one["cost"] for one in told] == ["0.000000000000000001"] * 2
