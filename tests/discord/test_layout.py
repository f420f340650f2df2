"""Answers laid out in Discord's messages: each fits, each reads by itself, and what is full does not change."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.discord.layout import MOST_UNITS, in_markdown
from hub.kernel.approval import worded

WORDS = st.sampled_from(
    (
        "word ",
        "Ein Satz. ",
        "**bold** ",
        "`code` ",
        "``` ",
        "\u4f60\u597d ",
        "👨‍👩‍👧‍👦 ",
        "@everyone ",
        "<@42> ",
        "||",
        "~~",
        "_",
        "*",
        "\\",
    )
)
LINES = st.lists(WORDS, max_size=30).map("".join)
BLOCKS = st.one_of(
    LINES,
    LINES.map(lambda line: f"# {line}"),
    LINES.map(lambda line: f"#### {line}"),
    st.lists(LINES, min_size=1, max_size=20).map(lambda lines: "\n".join(f"- {line}" for line in lines)),
    st.lists(LINES, min_size=1, max_size=20).map(lambda lines: "\n".join(f"> {line}" for line in lines)),
    st.lists(LINES, min_size=1, max_size=60).map(lambda lines: "\n".join(["```python", *lines, "```"])),
    st.lists(LINES, min_size=1, max_size=60).map(lambda lines: "\n".join(["~~~~" + "x" * 90, *lines, "~~~~"])),
    st.lists(LINES, min_size=1, max_size=60).map(lambda lines: "\n".join(["> ```", *(f"> {line}" for line in lines)])),
    st.lists(LINES, min_size=1, max_size=60).map(lambda lines: "\n".join(["- ```", *(f"  {line}" for line in lines)])),
    st.lists(LINES, min_size=1, max_size=60).map(lambda lines: "\n".join(["```", *lines])),
    st.lists(st.lists(LINES.map(lambda line: line.replace("|", "")), min_size=3, max_size=3), max_size=40).map(
        lambda rows: "\n".join(["| a | b | c |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])
    ),
    st.text(max_size=3_000),
)
ANSWERS = st.lists(BLOCKS, max_size=8).map("\n\n".join)
QUESTIONS = st.builds(
    lambda before, arguments: f"{before}\n\n````json\n{arguments}\n````"[:2_500],
    LINES | st.text(min_size=1, max_size=200),
    st.text(max_size=2_300) | st.lists(LINES, max_size=60).map("\n".join),
)


def pages(text: str, activity: str | None = None, *, is_final: bool = True) -> tuple[str, ...]:
    return in_markdown().pages(text, activity, is_final)


def fences(page: str) -> int:
    return page.count("```")


@given(ANSWERS, st.one_of(st.none(), st.text(max_size=300), st.just("`*_" * 200)), st.booleans())
@example("`" * 10_000, None, True)
@example("```" + "`" * 5_000, "x" * 300, False)
@example("> " * 3_000, None, True)
@example("| a |\n|---|\n" + "| `b` |\n" * 1_000, None, True)
@settings(deadline=None, max_examples=80)
def test_every_message_fits_and_every_fence_in_it_is_closed(text: str, activity: str | None, is_final: bool) -> None:
    for page in pages(text, activity, is_final=is_final):
        assert 0 < len(page.encode("utf-16-le", "surrogatepass")) // 2 <= MOST_UNITS
        assert fences(page) % 2 == 0


@given(ANSWERS, QUESTIONS)
@example("||[", "a||b](http://e.org)" * 100)
@example("word " * 300, "x" * 2_500)
@settings(deadline=None, max_examples=80)
def test_a_question_stands_whole_below_the_answer_and_changes_no_message_that_is_full(text: str, question: str) -> None:
    layout = in_markdown()
    before = layout.pages(text, None, False)
    first, *others = pages(question)

    shown = layout.pages(text, None, False, question)

    *full, both = shown[: len(shown) - len(others)]
    assert both.replace("\u200b", "").endswith(first.replace("\u200b", ""))
    assert shown[len(full) + 1 :] == tuple(others)
    assert tuple(full) == before[: len(full)]
    assert len(before) - 1 <= len(full) <= len(before)
    for page in shown:
        assert 0 < len(page.encode("utf-16-le", "surrogatepass")) // 2 <= MOST_UNITS
        assert fences(page) % 2 == 0
    assert layout.pages(text, None, False) == before


@given(st.dictionaries(st.text(max_size=70), LINES | st.text(max_size=700), max_size=4))
@settings(deadline=None, max_examples=60)
def test_all_arguments_of_a_call_are_read_in_what_the_hub_asks(arguments: dict[str, object]) -> None:
    question = worded("send", "external", arguments, ["it reaches outside"], 1.0)
    named = question.split("```\n")[1].rstrip("`\n")

    shown = "".join(in_markdown().pages("||Look [here", None, False, question))

    told = shown.replace("\u200b", "").replace("```", "")
    assert "".join(named.replace("```", "").split()) in "".join(told.split())


def test_nothing_in_an_answer_hides_what_a_question_says() -> None:
    (shown,) = in_markdown().pages("||Look [here", None, False, "May I? `a || b` [x](https://e.org)")

    assert shown == "||Look [here\n\nMay I? `a |\u200b| b` [x]\u200b(https://e.org)"


def test_an_answer_makes_room_for_a_question_and_takes_it_back() -> None:
    layout, text = in_markdown(), "word " * 350
    (before,) = layout.pages(text, None, False)

    (shown,) = layout.pages(text, None, False, "May I? " * 200)

    assert shown.startswith("word word")
    assert "word\n-# …\n\nMay I?" in shown
    assert shown.count("May I?") == 200
    assert layout.pages(text, None, False) == (before,)


def test_a_question_that_one_message_does_not_hold_goes_on_in_the_next() -> None:
    question = "May I?\n\n```json\n" + "x = 1\n" * 400 + "```"

    first, second = in_markdown().pages("Let me see.", None, False, question)

    assert first.startswith("Let me see.\n\nMay I?\n\n```json\nx = 1\n")
    assert second.startswith("```json\nx = 1\n")
    assert (first + second).count("x = 1") == 400


@given(ANSWERS, st.data())
@settings(deadline=None, max_examples=60)
def test_a_message_that_is_full_stays_as_it_is(text: str, data: st.DataObject) -> None:
    layout, shown = in_markdown(), list[tuple[str, ...]]()
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    for end in (*ends, len(text)):
        shown.append(layout.pages(text[:end], None, False))

    for before, after in pairwise(shown):
        assert after[: len(before) - 1] == before[:-1]
    assert shown[-1] == pages(text, is_final=False)


@given(st.lists(st.from_regex(r"[a-z]{1,12}", fullmatch=True), min_size=1, max_size=2_000))
@settings(deadline=None, max_examples=30)
def test_no_word_is_lost_or_said_twice(words: list[str]) -> None:
    text = " ".join(words)

    assert "".join("".join(pages(text)).split()) == "".join(words)


def test_long_code_goes_on_in_a_fence_of_the_same_language() -> None:
    first, *others = pages("Look:\n\n```python\n" + "x = 1\n" * 1_000 + "```\n\nThat was it.")

    assert first.startswith("Look:\n\n```python\n")
    assert all(page.startswith("```python\nx = 1\n") for page in others)
    assert others[-1].endswith("```\n\nThat was it.")


def test_a_long_quote_goes_on_as_a_quote() -> None:
    _, *others = pages("> " + "word " * 1_000)

    assert all(page.startswith("> word") for page in others)


def test_a_long_item_goes_on_without_a_new_number() -> None:
    _, *others = pages("1. one\n2. " + "word " * 1_000)

    assert all(page.startswith("word") for page in others)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("| a | b |\n|---|---|\n| 1 | long cell |", "```\na | b\n--+----------\n1 | long cell\n```"),
        ("~~~js\na()\n~~~", "```js\na()\n```"),
        ("````\nsays ```here```\n````", "```\nsays `\u200b`\u200b`here`\u200b`\u200b`\n```"),
        ("#### Deep", "**Deep**"),
        ("- one\n  ```py\n  x\n  ```\n- two", "- one\n```py\nx\n```\n- two"),
        ("> ```\n> x\n> ```", "> ```\n> x\n> ```"),
        ("Text with ``` in it", "Text with `\u200b`\u200b` in it"),
        ("```py\nx = 1", "```py\nx = 1\n```"),
        (
            "**bold** *it* ~~no~~ <b>tag</b> [w](https://x.y/a_(b))",
            "**bold** *it* ~~no~~ <b>tag</b> [w](https://x.y/a_(b))",
        ),
    ],
    ids=str,
)
def test_markdown_is_written_as_discord_reads_it(source: str, shown: str) -> None:
    assert pages(source) == (shown,)


def test_what_a_tool_does_stands_in_a_small_line_below() -> None:
    assert pages("Let me see.", "looks at *the* clock", is_final=False) == ("Let me see.\n-# looks at \\*the\\* clock",)
    assert pages("", "thinks", is_final=False) == ("-# thinks",)
    assert pages("", None, is_final=False) == ("…",)
    assert pages("Done.", "thinks", is_final=True) == ("Done.",)


def test_what_discord_refuses_is_shown_plainly_and_as_long() -> None:
    layout = in_markdown()

    assert layout.simpler()
    assert not layout.simpler()
    assert layout.pages("```py\nx\n```", None, True) == ("'''py\nx\n'''",)
