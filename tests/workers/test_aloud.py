"""An answer is said aloud without its marks."""

import pytest

from workers.clipool.aloud import CODE, MOST_CHARACTERS, aloud


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("**Yes**, _that_ is `x_y`.", "Yes, that is x_y."),
        ("# Title\n\n- one\n- two", "Title\n\none\ntwo"),
        ("See [the page](https://example.org/a?b=c).", "See the page."),
        ("See https://example.org/a/b?c now", "See example.org now"),
        ("Do:\n```python\nprint(1)\n```\nso.", f"Do:\n{CODE}\nso."),
        ("> quoted\n\n---\n\nsnake_case 2 * 3", "quoted\n\nsnake_case 2  3"),
        ("```\nnever closed", CODE),
    ],
)
def test_what_is_for_the_eye_is_not_said(written: str, said: str) -> None:
    assert aloud(written) == said


def test_of_a_long_answer_whole_sentences_are_said() -> None:
    said = aloud("This is a sentence. " * 1_000)

    assert len(said) <= MOST_CHARACTERS
    assert said.endswith("sentence.")
    assert len(aloud("x" * 10_000)) == MOST_CHARACTERS
