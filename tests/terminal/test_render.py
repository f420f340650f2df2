"""What is finished stays as it is, whatever comes next; nothing of the text is lost or shown twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from adapters.cli import render
from adapters.cli.render import advance, advance_plain, clean, events, fit, is_apart, live, paid_by, split, usage_line
from factory_contracts.messages import Usage
from factory_contracts.render import AnswerEnded, QuestionAsked, TextDelta, TextReplaced, ToolSummary

FENCES = (
    "```\nplain\n\nwith an empty line\n```\n",
    "```python\ndef f():\n\n    return '```'\n```\n",
    "~~~~\n```\nnot the end\n~~~\n~~~~\n",
    "   ```sh\n   ls\n\n   # no heading\n   ```\n",
    "- item\n\n  ```\n  in\n\n  the item\n  ```\n",
    "1. ```js\n   let a\n\n   ```\n",
)
PIECES = (
    *FENCES,
    "A paragraph.\n",
    "A paragraph\nof two lines\n",
    "# Heading\n",
    "- one\n- two\n  - nested\n\n  more of two\n",
    "1. first\n\n2. second\n",
    "| a | b |\n|---|---|\n| 漢字 | d |\n",
    "> quoted\n> more\n",
    "    indented code\n",
    "---\n",
    "\n",
    "\n\n",
)
documents = some.lists(some.sampled_from(PIECES), max_size=8).map("".join)
anything = some.text(alphabet="a`~#-1.> \n\t|漢", max_size=60)


@given(documents | anything)
def test_the_blocks_and_the_tail_are_the_text(text: str) -> None:
    blocks, tail = split(text)

    assert "".join(blocks) + tail == text


@given(documents | anything, some.integers(min_value=0))
def test_a_finished_block_is_finished_whatever_comes_next(text: str, cut: int) -> None:
    before, _ = split(text[: cut % (len(text) + 1)])
    after, _ = split(text)

    assert after[: len(before)] == before


@given(some.lists(some.sampled_from(PIECES), max_size=5), some.sampled_from(FENCES), documents, some.integers(0))
def test_a_fence_is_never_split(before: list[str], fence: str, after: str, cut: int) -> None:
    start = "".join([*before, "\n"])
    if any(block in FENCES and block not in start for block in before):
        return
    text = start + fence + "\nend of it\n\n" + after
    blocks, tail = split(text[: max(len(start), cut % (len(text) + 1))])
    ends = [0]
    for block in blocks:
        ends.append(ends[-1] + len(block))

    assert not [end for end in ends if len(start) < end < len(start) + len(fence.rstrip("\n"))]
    assert tail is not None


@given(documents, documents, some.lists(some.integers(min_value=0), max_size=6))
def test_steps_print_the_final_text_whole_and_once(first: str, final: str, cuts: list[int]) -> None:
    printed = ""
    shown: list[str] = []
    for text in [*(first[: cut % (len(first) + 1)] for cut in cuts), first, final[: len(final) // 2], final]:
        step = advance(printed, text, is_final=text is final)
        if step.starts_over:
            shown.clear()
        shown.extend(step.blocks)
        printed = step.printed
        assert "".join(shown) == printed

    assert printed == final or (printed.startswith(final) and not final)


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("", []),
        ("One", []),
        ("One\n", []),
        ("One\n\n", ["One\n\n"]),
        ("One\nstill one\n\nTwo", ["One\nstill one\n\n"]),
        ("# Heading\nText", ["# Heading\n"]),
        ("#no heading\n", []),
        ("Text:\n- a\n- b\n\nEnd", ["Text:\n", "- a\n", "- b\n\n"]),
        ("Text:\n```\ncode\n\n```\n", ["Text:\n", "```\ncode\n\n```\n"]),
        ("1. a\n\n   more\n\n2. b\n", ["1. a\n\n   more\n\n"]),
        ("- a\n\n  - b\n\nEnd", ["- a\n\n  - b\n\n"]),
        ("```\nnever closed\n\n\n", []),
        ("| a |\n|---|\n| b |\n\n", ["| a |\n|---|\n| b |\n\n"]),
        ("```inline``` text\n\n", ["```inline``` text\n\n"]),
    ],
)
def test_blocks_are_finished_as_early_as_they_can_be(text: str, blocks: list[str]) -> None:
    assert list(split(text)[0]) == blocks


def test_the_items_of_a_tight_list_stand_close_and_all_else_apart() -> None:
    assert not is_apart("- a\n", "- b\n")
    assert is_apart("- a\n\n", "- b\n")
    assert is_apart("Text:\n", "- a\n")
    assert is_apart("", "First\n")


def test_a_restarted_attempt_that_repeats_itself_is_waited_for() -> None:
    step = advance("One.\n\nTwo.\n\n", "One.", is_final=False)

    assert step == render.Step((), "", "One.\n\nTwo.\n\n")


def test_a_final_that_is_shorter_than_what_is_printed_starts_over() -> None:
    step = advance("One.\n\nTwo.\n\n", "One.", is_final=True)

    assert step == render.Step(("One.",), "", "One.", starts_over=True)


def test_a_pipe_is_given_each_character_once() -> None:
    first = advance_plain("", "He", is_final=False)
    second = advance_plain(first.printed, "Hello", is_final=False)
    third = advance_plain(second.printed, "Hello", is_final=True)

    assert (first.blocks, second.blocks, third.blocks) == (("He",), ("llo",), ())


def test_control_characters_are_taken_out_and_lines_kept() -> None:
    assert clean("a\x1b[31mb\x07\r\nc\td\x9b1m\re") == "a[31mb\nc\td1me"


def test_a_long_tail_is_cut_to_its_end_and_stays_code() -> None:
    tail = "```python\n" + "".join(f"line {number}\n" for number in range(5_000))
    shown = live(tail)

    assert shown.startswith("```python\nline ")
    assert shown.endswith("line 4999\n")
    assert len(shown) < 5_000


def test_what_was_said_before_a_question_is_printed_and_goes_on_where_it_was() -> None:
    asked = advance("One.\n\n", "One.\n\nTwo", is_final=False, is_asked=True)
    told_again = advance(asked.printed, "One.\n\nTwo", is_final=False, is_asked=True)
    restarted = advance(asked.printed, "One.", is_final=False, is_asked=True)
    after = advance(asked.printed, "One.\n\nTwo\n\nThree", is_final=True)

    assert (asked.blocks, asked.tail) == (("Two",), "")
    assert told_again == restarted == render.Step((), "", asked.printed)
    assert "".join(after.blocks).strip() == "Three"


@pytest.mark.parametrize("columns", [1, 2, 3, 10, 40])
def test_a_line_fits_even_if_every_character_is_wide(columns: int) -> None:
    line = fit("漢字\n漢字 a long text that goes on and on", columns)

    assert "\n" not in line
    assert sum(2 if character > "\u1100" else 1 for character in line.rstrip("…")) <= max(0, columns - 2)


def test_a_person_is_told_what_pays() -> None:
    assert paid_by("scripted", "") == "scripted: offline, costs nothing"
    assert paid_by("scripted:story", "") == "scripted: offline, costs nothing"
    assert paid_by("anthropic:claude", "paid by a key") == "anthropic:claude · paid by a key"


def test_a_turn_s_usage_is_one_line() -> None:
    usage = Usage(calls=2, input_tokens=1_234, output_tokens=5)

    assert usage_line(usage) == "2 model calls · 1,234 tokens in · 5 out"


def test_a_program_is_told_changes_only() -> None:
    told, first = events(render.Told(), "t", "He", None, None)
    told, nothing = events(told, "t", "He", None, None)
    told, tool = events(told, "t", "He", "looking", None)
    told, again = events(told, "t", "Ha", "looking", None)
    ended = AnswerEnded(turn="t", text="Ha!", outcome="complete")
    told, asked = events(told, "t", "Ha", None, None, "May I?")
    told, silence = events(told, "t", "Ha", None, None, "May I?")
    _, end = events(told, "t", "Ha!", None, ended)

    assert first == (TextDelta(turn="t", text="He"),)
    assert nothing == ()
    assert tool == (ToolSummary(turn="t", text="looking"),)
    assert again == (TextReplaced(turn="t", text="Ha"),)
    assert asked == (QuestionAsked(turn="t", text="May I?"),)
    assert silence == ()
    assert end == (TextDelta(turn="t", text="!"), ended)
