"""How a block of Markdown looks in a terminal."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from rich.cells import cell_len

from adapters.cli.paint import painter

PLAIN = painter(False)
COLOURED = painter(True)


@pytest.mark.parametrize(
    ("markdown", "lines"),
    [
        ("Some **bold**, *soft* and `code`.\n\n", "Some bold, soft and code."),
        ("# Heading\n", "Heading"),
        ("A List<int> and <b>html</b>.", "A List<int> and <b>html</b>."),
        ("```python\nx = 1\n\ny = 2\n```\n", "x = 1\n\ny = 2"),
        ("```\nnot closed", "not closed"),
        ("```\n```\n", ""),
        ("  ```\n  indented\n  ```\n", "indented"),
        ("- one\n", " • one"),
        ("2. two\n", " 2 two"),
        ("> quoted\n", "▌ quoted"),
        ("[words](http://there)", "words (http://there)"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
    ],
)
def test_a_block_is_drawn_without_its_marks(markdown: str, lines: str) -> None:
    assert PLAIN(markdown, 80) == lines


@pytest.mark.parametrize("width", [10, 40, 80])
def test_wide_glyphs_do_not_run_over_the_edge(width: int) -> None:
    drawn = PLAIN("漢字" * 40 + "\n\n| 漢字漢字 | 漢字 |\n|---|---|\n| 漢字漢字漢字 | 字 |\n", width)

    assert max(cell_len(line) for line in drawn.split("\n")) <= width


def test_a_long_line_of_code_is_left_whole_so_that_it_can_be_copied() -> None:
    code = "x = " + "1 + " * 60 + "1"

    assert PLAIN(f"```python\n{code}\n```\n", 40) == code


def test_without_colour_there_is_no_escape_sequence() -> None:
    assert "\x1b" not in PLAIN("# A\n\n**b** [c](http://d)\n\n```python\nx = 1\n```\n", 80)


def test_with_colour_the_words_are_the_same() -> None:
    markdown = "- **one** and `two`\n"

    assert re.sub(r"\x1b\[[0-9;]*m", "", COLOURED(markdown, 80)) == PLAIN(markdown, 80)
    assert "\x1b[1m" in COLOURED(markdown, 80)


MARKS = (
    "- ",
    "1. ",
    "> ",
    "|a|b|\n",
    "|-|-|\n",
    "```",
    "\n",
    "    ",
    "**",
    "_",
    "`",
    "[",
    "](",
    "x)",
    "<b>",
    "# ",
    "漢",
)


@given(some.lists(some.sampled_from(MARKS), max_size=30).map("".join) | some.text(max_size=60), some.integers(1, 60))
@settings(deadline=None)
def test_whatever_a_model_says_can_be_drawn(markdown: str, width: int) -> None:
    assert "\x1b" not in PLAIN(markdown, width)
