"""What a person is shown of a call that they are asked about, and where the question stands."""

from __future__ import annotations

import json
import re
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_contracts.messages import Address, InboundMessage
from factory_contracts.records import (
    Asked,
    Decided,
    Effect,
    Record,
    Start,
    ToolStarted,
    TurnAnswered,
    TurnReceived,
    TurnStarted,
)
from hub.kernel.approval import digest, read, worded
from hub.kernel.session import OpenTurn, fold

AT = 1_700_000_000.0
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
TRICKY = st.text(st.sampled_from('`a\n" \\…()1,:\u202e\u200b\u00a0\ufe0f\U000e0041\ud800[]{}'), max_size=30)
LONG = st.builds(lambda text, times: text * times, TRICKY, st.integers(0, 200))
ARGUMENTS = st.dictionaries(st.text(max_size=8) | TRICKY | LONG, VALUES | TRICKY | LONG, max_size=6)


def question(
    arguments: dict[str, object], *, tool: str = "send", effect: Effect = "external", why: str = "it acts"
) -> str:
    return worded(tool, effect, arguments, (why,), AT)


def spelling(arguments: dict[str, object]) -> str:
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"))


def fenced(text: str) -> tuple[list[str], list[str]]:
    """The lines within the fence and those around it."""
    lines = text.split("\n")
    begin = next(at for at, line in enumerate(lines) if re.fullmatch("`{3,}", line))
    end = next(
        at for at, line in enumerate(lines) if at > begin and re.fullmatch(lines[begin] + "`*[ ]*", line.strip())
    )
    return lines[begin + 1 : end], lines[: begin + 1] + lines[end:]


def test_a_call_is_shown_with_its_real_arguments_why_it_is_asked_and_who_may_answer_until_when() -> None:
    shown = question({"to": "all@example.org", "count": 2, "body": "Hello,\nhow are you?", "cc": ["a", None, True]})

    assert shown == (
        "May `send` be used? It acts outside of this system, where nothing can be taken back.\n"
        "\n"
        "You are asked because:\n"
        "- `it acts`\n"
        "\n"
        "```\n"
        'to: "all@example.org"\n'
        "count: 2\n"
        'body: "Hello,\\n\n'
        '  how are you?"\n'
        'cc: ["a", null, true]\n'
        "```\n"
        "\n"
        "Only an owner of this bot can allow it, until 2023-11-14 22:13 UTC."
    )


def test_a_call_without_arguments_or_reasons_says_so() -> None:
    assert worded("ring", "write", {}, (), AT).splitlines()[2:5] == ["```", "(no arguments)", "```"]


@settings(deadline=None, max_examples=100)
@given(ARGUMENTS)
def test_nothing_breaks_out_of_the_fence_or_stays_unseen_whatever_the_arguments(arguments: dict[str, object]) -> None:
    shown = question(arguments)

    inside, around = fenced(shown)
    plain_inside, plain_around = fenced(question({"a": 1}))
    assert inside and plain_inside
    assert [line.strip("`") for line in around] == [line.strip("`") for line in plain_around]
    assert all(category(one)[0] != "C" and category(one) not in ("Zl", "Zp") for one in shown if one != "\n")
    assert all(category(one) != "Zs" or one == " " for one in shown)
    assert not re.search("[\ufe00-\ufe0f\u2800\u3164]", shown)
    assert len(shown) < 2_500


@settings(deadline=None, max_examples=150)
@given(ARGUMENTS, ARGUMENTS)
def test_two_calls_that_differ_are_never_shown_alike(one: dict[str, object], other: dict[str, object]) -> None:
    assert (question(one) == question(other)) == (spelling(one) == spelling(other) and list(one) == list(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "1"}, {"a": 1}),
        ({"a": "null"}, {"a": None}),
        ({"a": '1"\nb: "2'}, {"a": "1", "b": "2"}),
        ({"a": "x\\n"}, {"a": "x\n"}),
        ({"a": "x"}, {"a": "x\n"}),
        ({"a": "x "}, {"a": "x"}),
        ({"a": "p\u0430y"}, {"a": "pay"}),
        ({"a": "y" * 700 + "1" + "y" * 700}, {"a": "y" * 700 + "2" + "y" * 700}),
        ({"a": ["y" * 700, 1, "y" * 700]}, {"a": ["y" * 700, 2, "y" * 700]}),
        ({"a" * 100 + "1" + "a" * 100: 1}, {"a" * 100 + "2" + "a" * 100: 1}),
        ({f"k{n:02}": "v" * 300 for n in range(30)}, {f"k{n:02}": "v" * 300 for n in range(31)}),
        ({f"k{n:02}": "v" * 300 for n in range(30)}, {f"k{n:02}": "v" * (300 + n // 29) for n in range(30)}),
    ],
)
def test_calls_that_look_alike_at_first_are_told_apart(one: dict[str, object], other: dict[str, object]) -> None:
    assert question(one) != question(other)


def test_a_long_value_is_shown_by_its_beginning_its_end_its_length_and_its_digest() -> None:
    shown = question({"body": "Dear all, " + "x" * 50_000 + " yours, Ann"})

    assert len(shown) < 1_200
    assert 'body: "Dear all, xxx' in shown
    assert 'x yours, Ann" (50,021 characters, sha256 ' in shown


def test_many_arguments_are_shown_as_far_as_there_is_room_and_the_others_are_counted() -> None:
    shown = question({f"name_{n:03}": "v" * 500 for n in range(200)})

    assert 'name_000: "vvv' in shown
    assert "(and 198 more: " in shown
    assert len(shown) < 2_200


def test_what_is_hidden_is_spelled() -> None:
    shown = question({"to": "a\u202eb\u200bc\U000e0041d\x1b[2Je"})

    assert 'to: "a\\u202eb\\u200bc\\U000e0041d\\u001b[2Je"' in shown


def test_no_sign_in_a_tools_name_or_in_a_reason_means_anything() -> None:
    shown = question({}, tool="x`[y](http://evil)`\u202e", why="a `b` **c**\n# d")

    assert shown.startswith("May `x\\u0060[y](http://evil)\\u0060\\u202e` be used?")
    assert "- `a \\u0060b\\u0060 **c**\\n# d`\n" in shown


def test_reasons_are_cut_and_counted_too() -> None:
    shown = worded("t" * 300, "write", {}, ("r" * 100_000,) * 50, AT)

    assert len(shown) < 1_600


@pytest.mark.parametrize(
    "arguments",
    ['{"a": 1}', '{"b":1,"a":2}', '{"a":1,"a":2}', "[]", "1", "", "{", '{"a":NaN}', "[" * 100_000, '{"a":"é"}'],
)
def test_what_may_be_read_in_two_ways_is_not_shown_at_all(arguments: str) -> None:
    assert read(arguments) is None


def test_arguments_in_the_one_spelling_are_read() -> None:
    assert read('{"a":"\\u00e9","b":[1,2.5,null]}') == {"a": "é", "b": [1, 2.5, None]}


def test_a_call_is_known_by_its_tool_and_its_arguments() -> None:
    known = {digest("send", "{}"), digest("send", '{"a":1}'), digest("sen", "d{}"), digest("mail", "{}")}

    assert len(known) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in known)


# The fold


CODE, OTHER = "0" * 16, "f" * 16


def asked(call: str = "c1", code: str = CODE) -> Asked:
    return Asked(
        id=f"t.asked.{call}",
        turn="t",
        at=AT,
        call=call,
        code=code,
        tool="send",
        effect="external",
        arguments="0" * 64,
        text="May I?",
        user_id="ann",
        expires_at=AT + 60,
    )


def decided(*, approved: bool = True, call: str = "c1", code: str = CODE) -> Decided:
    return Decided(id="t.decided", turn="t", at=AT, call=call, code=code, approved=approved, user_id="olga")


def begun(attempt: int) -> ToolStarted:
    return ToolStarted(
        id="t.tool", turn="t", at=AT, attempt=attempt, call="c1", tool="send", effect="external", arguments="0" * 64
    )


def started(attempt: int) -> TurnStarted:
    start = Start(attempt=attempt, worker="w", instance="i")
    return TurnStarted(id=f"t.started.{attempt}", turn="t", at=AT, start=start)


def turn(*records: Record) -> OpenTurn:
    """A turn whose first attempt has begun, after these records."""
    message = InboundMessage(
        message_id="m", user_id="ann", text="hello", address=Address(platform="paper", bot_id="desk", scope_id="chat")
    )
    received = TurnReceived(id="t.received", turn="t", at=AT, message=message, trust="public")
    session = fold("paper", "desk", "chat", enumerate((received, started(1), *records), 1))
    return session.turns["t"]


@pytest.mark.parametrize(
    ("records", "codes"),
    [
        ([asked()], [CODE]),
        ([asked(), asked("c2", OTHER)], [CODE, OTHER]),
        ([asked(), asked()], [CODE]),
        ([asked(), decided()], []),
        ([asked(), asked("c2", OTHER), decided(approved=False)], [OTHER]),
        ([asked(), decided(code=OTHER)], [CODE]),
        ([asked(), decided(call="c2")], [CODE]),
        ([asked(), started(2)], []),
        ([asked(), started(2), asked()], [CODE]),
        ([asked(), started(2), asked("c2", OTHER)], [OTHER]),
        ([asked(), TurnAnswered(id="t.answered", turn="t", at=AT, text="", outcome="stopped")], []),
        ([decided()], []),
    ],
)
def test_what_a_person_is_asked_is_what_the_present_attempt_asks_and_nobody_decided(
    records: list[Record], codes: list[str]
) -> None:
    assert [one.code for one in turn(*records).questions] == codes


def test_the_first_decision_counts_and_the_first_attempt_that_begins() -> None:
    known = turn(asked(), decided(), decided(approved=False), begun(2), begun(3)).approval("c1")

    assert known is not None
    assert known.decided == decided()
    assert known.begun == 2


def test_a_question_that_is_asked_again_keeps_its_code() -> None:
    known = turn(asked(), started(2), asked(code=OTHER)).approval("c1")

    assert known is not None
    assert (known.asked.code, known.attempt) == (CODE, 2)
