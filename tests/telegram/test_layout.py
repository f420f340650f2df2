"""However an answer grows, it is cut into messages at the same places, each one valid, all together the answer."""

import sys
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from adapters.telegram.layout import Page, in_style
from adapters.telegram.render import render
from adapters.telegram.settings import Style
from hub.kernel.approval import worded
from tests.telegram.strict import SNIPPETS, check, code_units, letters, parts

STYLES: tuple[Style, ...] = ("entities", "plain", "rich")
WORDS = (
    *(
        "lorem",
        "ipsum,",
        "dolor.",
        "sit",
        "amet!",
        "naïve",
        "re\u0301sume\u0301",
        "x²",
        "漢字",
        "かな。",
        "שלום",
        "مرحبا",
        "؟",
    ),
    *(
        "👨\u200d👩\u200d👧\u200d👦",
        "🇩🇪🇫🇷",
        "👍🏽",
        "❤\ufe0f",
        "a_b",
        "Vec<String>",
        "<think>",
        "**bold words**",
        "*slanted*",
    ),
    *("`code`", "[a link](https://example.org/a_(b))", "~~gone~~", "[bad](tg://user?id=7)", "5 < 6", "&amp;", "\\*"),
)
words = some.lists(some.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)


def times(block: some.SearchStrategy[str], between: str) -> some.SearchStrategy[str]:
    """A block again and again, so often that a message may not hold it all."""
    few = some.lists(block, min_size=1, max_size=5)
    return some.builds(lambda some_of, often: between.join(some_of * often), few, some.sampled_from((1, 2, 12, 50)))


def numbered(first: int, step: int, items: list[str]) -> str:
    """A numbered list; with no step every item has the same number, and Markdown counts."""
    return "\n".join(f"{first + step * at}. {item}" for at, item in enumerate(items))


def fenced(fence: str, info: str, indent: str, code: str) -> str:
    """A block of code, perhaps inside of something."""
    return "\n".join(indent + line if line else "" for line in (f"{fence}{info}", *code.split("\n"), fence))


code = times(some.sampled_from(("def f():", "    return 1", "", "x = '```'", "  # 漢字 👍🏽")), "\n").map(
    "{}\nend".format
)
fences = some.sampled_from(("````", "~~~", "~~~~~~"))
blocks = some.one_of(
    times(words, " "),
    times(words, "\n"),
    words.map("# {}".format),
    words.map("### {}".format),
    times(words.map("- {}".format), "\n"),
    times(words.map("- {0}\n  - {0}\n    1. {0}\n\n    after".format), "\n"),
    some.builds(numbered, some.integers(1, 12), some.integers(0, 1), times(words, "\n").map(str.splitlines)),
    times(words.map("1. {0}\n\n   {0}\n\n   ````sh\n   {0}\n\n       {0}\n   ````".format), "\n\n"),
    times(words.map("> {}".format), "\n"),
    times(words.map("> {}".format), "\n>\n"),
    some.builds(fenced, fences, some.sampled_from(("", "py", "c++ x")), some.just(""), code),
    some.builds(fenced, some.just("~~~~"), some.just("py"), some.just("> "), code),
    some.just("---"),
    some.just("<details>\n<summary>more</summary>\n</details>"),
)
tables = times(words.map(lambda said: f"| {said.replace('|', '')} | x |"), "\n")


@some.composite
def documents(draw: some.DrawFn) -> str:
    """An answer as models write them; the heads of its tables are told apart."""
    heads = count(1)
    drawn = draw(some.lists(some.one_of(blocks, tables.map("| head | b |\n|---|---|\n{}".format)), max_size=5))
    return "\n\n".join(block.replace("| head |", f"| head{next(heads)} |", 1) for block in drawn)


rubbish = some.builds(
    lambda texts, often: "".join(texts) * often,
    some.lists(some.sampled_from(SNIPPETS) | some.text(max_size=5), max_size=20),
    some.sampled_from((1, 40, 200)),
)
questions = some.builds(
    lambda before, arguments: f"{before}\n\n````json\n{arguments}\n````"[:2_500],
    some.text(min_size=1, max_size=200) | words,
    some.text(max_size=2_300) | code | words.map(lambda said: said * 20),
)
thorough = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


def laid_out(text: str, style: Style = "entities") -> tuple[Page, ...]:
    """The messages of an answer that is whole at once."""
    return in_style(style).pages(text, None, True)


def fed(
    text: str, sizes: Callable[[], int], style: Style = "entities", activity: str | None = None
) -> tuple[Page, ...]:
    """The messages of an answer that grew; what was complete on the way must have stayed as it was."""
    layout = in_style(style)
    complete: tuple[Page, ...] = ()
    end = 0
    while end < len(text):
        end += sizes()
        pages = layout.pages(text[:end], activity, False)
        assert pages[: len(complete)] == complete
        for page in pages[len(complete) :] if style != "rich" else ():
            check(page)
        complete = pages[:-1]
    final = layout.pages(text, None, True)
    assert final[: len(complete)] == complete
    return final


def read(pages: tuple[Page, ...]) -> str:
    """All that the messages say."""
    return letters(page.text for page in pages)


@given(documents())
@thorough
def test_every_message_is_valid_and_all_together_are_the_answer(text: str) -> None:
    pages = laid_out(text)

    for page in pages:
        check(page)
    assert read(pages) == (letters([render(text)[0]]) or "…")


@given(documents(), some.integers(1, 900), some.sampled_from(STYLES))
@thorough
def test_an_answer_that_grew_is_cut_as_one_that_came_whole(text: str, size: int, style: Style) -> None:
    step = max(size, len(text) // 12)

    assert fed(text, lambda: step, style) == laid_out(text, style)


@given(documents())
@thorough
def test_the_plainest_messages_are_the_answer_itself_cut_at_the_same_places(text: str) -> None:
    plain = laid_out(text, "plain")

    for page in plain:
        check(page)
        assert page.entities == ()
    assert "".join("".join(page.text.split()) for page in plain) == ("".join(text.split()) or "…")
    assert len(plain) == len(laid_out(text))


@given(rubbish, some.sampled_from(STYLES), some.one_of(some.none(), some.text(max_size=150)))
@thorough
def test_whatever_comes_there_is_something_to_send(text: str, style: Style, activity: str | None) -> None:
    layout = in_style(style)

    for end in (len(text) // 3, len(text) // 2, len(text)):
        for is_final in (False, True):
            for page in layout.pages(text[:end], activity, is_final):
                if style == "rich":
                    assert 1 <= len(page.rich.encode()) <= 32_768
                else:
                    check(page)


@given(rubbish, some.integers(1, 500))
@thorough
def test_even_rubbish_is_cut_where_it_was_cut(text: str, size: int) -> None:
    step = max(size, len(text) // 10)

    assert fed(text, lambda: step) == laid_out(text)


def long_answer() -> str:
    """An answer of 12,000 characters, most of it code, with all that is hard to count."""
    lines = "\n".join(
        f"    print('line {number}: 👨\u200d👩\u200d👧\u200d👦 {'x' * (number % 30)}')" for number in range(400)
    )
    code = f"```python\ndef main() -> None:\n{lines}"[:8_990] + "')\n```"
    table = "| head1 | value |\n|---|---|\n" + "\n".join(
        f"| 漢字 {number} | 🇩🇪 {number * 7} 👍🏽 |" for number in range(60)
    )
    hebrew = "שלום עולם, זה טקסט ארוך מימין לשמאל. " * 30
    arabic = "**مرحبا** بالعالم؟ " * 60
    text = f"# Everything 👩🏾\u200d💻\n\nHere it comes:\n\n{code}\n\n{hebrew}\n\n{table}\n\n{arabic}\n\nThe end."
    assert len(code) > 8_900
    assert len(text) > 12_000
    return text


@pytest.mark.parametrize("style", ["entities", "plain"])
def test_a_long_answer_with_code_emoji_tables_and_right_to_left_text_arrives_whole(style: Style) -> None:
    text = long_answer()

    pages = laid_out(text, style)

    for page in pages:
        check(page)
    assert len(pages) >= 4
    assert pages == fed(text, lambda: 37, style, activity="looking things up")
    if style == "entities":
        assert read(pages) == letters([render(text)[0]])
        code = [part for page in pages for part in parts(page, "pre") if "line" in part]
        assert len(code) >= 3
        assert {entity.language for page in pages[1:3] for entity in page.entities} == {"python"}
        assert all(len(code_units(page.text)) >= 2_000 for page in pages[:2])
    else:
        assert "".join("".join(page.text.split()) for page in pages) == "".join(text.split())


def test_an_empty_answer_shows_that_more_is_to_come() -> None:
    assert laid_out("") == (Page("…"),)
    assert laid_out(" \n\u200b") == (Page("…"),)
    assert laid_out("", "plain") == (Page("…"),)
    assert laid_out("", "rich") == (Page("", rich="<p>…</p>"),)


def test_what_a_tool_does_is_the_last_line_until_it_is_done() -> None:
    layout = in_style("entities")
    (first,) = layout.pages("**So** far", " reading\n  a file ", False)
    (second,) = layout.pages("**So** far", "x" * 300, False)
    (alone,) = in_style("entities").pages("", "reading", False)
    (final,) = layout.pages("**So** far", "reading", True)

    assert first.text == "So far\n\nreading a file"
    assert parts(first, "italic") == ["reading a file"]
    assert second.text == f"So far\n\n{'x' * 99}…"
    assert alone.text == "reading"
    assert final.text == "So far"
    assert in_style("plain").pages("**a**", "b", False) == (Page("**a**\n\nb"),)
    assert in_style("rich").pages("a", "b<", False) == (Page("", rich="<p>a</p><p><i>b&lt;</i></p>"),)


@given(documents() | rubbish, questions, some.sampled_from(STYLES))
@thorough
def test_a_question_stands_whole_below_the_answer_and_changes_no_message_that_is_full(
    text: str, question: str, style: Style
) -> None:
    layout = in_style(style)
    before = layout.pages(text, None, False)
    (alone,) = laid_out(question, style)

    *full, last = layout.pages(text, "at work", False, question)

    assert (last.text + last.rich).endswith(alone.text + alone.rich)
    assert tuple(full) == before[: len(full)]
    assert len(before) - 1 <= len(full) <= len(before)
    for page in (*full, last) if style != "rich" else ():
        check(page)
    assert len(last.rich.encode()) <= 32_768
    assert layout.pages(text, None, False) == before


@given(some.dictionaries(some.text(max_size=70), words | some.text(max_size=700), max_size=4))
@thorough
def test_all_arguments_of_a_call_are_read_in_what_the_hub_asks(arguments: dict[str, object]) -> None:
    question = worded("send", "external", arguments, ["it reaches outside"], 1.0)

    (page,) = in_style("entities").pages("**Look ```", None, False, question)

    (named,) = parts(page, "pre")
    assert f"\n{named}\n```" in question


def test_a_question_reads_as_it_is_whatever_the_answer_left_open() -> None:
    text, question = "**Look** at ~~this:\n\n```py\nx = 1", "May **I**?\n\n```\n{}\n```"

    (page,) = in_style("entities").pages(text, None, False, question)

    check(page)
    assert page.text == "Look at ~~this:\n\nx = 1\n\nMay I?\n\n{}"
    assert (parts(page, "bold"), parts(page, "pre")) == (["Look", "I"], ["x = 1", "{}"])


@pytest.mark.parametrize("style", ["entities", "plain"])
def test_an_answer_makes_room_for_a_question_and_takes_it_back(style: Style) -> None:
    layout, text = in_style(style), "word " * 700
    (before,) = layout.pages(text, None, False)

    (page,) = layout.pages(text, None, False, "May I? " * 300)

    assert page.text.startswith("word word")
    assert "word\n\n…\n\nMay I?" in page.text
    assert page.text.count("May I?") == 300
    assert layout.pages(text, None, False) == (before,)


def test_a_question_with_more_to_mark_than_one_message_may_have_keeps_its_marks() -> None:
    (page,) = in_style("entities").pages("**a** " * 60, None, False, "**b** " * 60)

    check(page)
    assert parts(page, "bold").count("b") == 60
    assert 20 <= parts(page, "bold").count("a") <= 40


def test_a_question_with_nearly_as_many_blocks_as_one_message_may_have_is_all_there() -> None:
    (page,) = in_style("rich").pages("- a\n" * 450, None, False, "- b\n" * 450)

    assert page.rich.count("<li>b") == 450
    assert 20 <= page.rich.count("<li>a") <= 50


def test_there_is_always_room_for_what_a_tool_does() -> None:
    texts = [("x" * 79 + "\n")[: end % 80] + "x" * end for end in range(3_700, 4_300, 7)]
    tables = [f"| {'x' * 24} | b |\n|---|---|\n" + "| a | b |\n" * rows for rows in range(130, 160)]

    for text in (*texts, *tables):
        for page in in_style("entities").pages(text, "👍" * 100, False):
            check(page)


def test_an_answer_that_starts_over_is_laid_out_anew_from_where_it_differs() -> None:
    paragraphs = [f"{number}: {'words ' * 150}" for number in range(20)]
    layout = in_style("entities")
    before = layout.pages("\n\n".join(paragraphs), None, False)
    paragraphs[15] = "something else"
    changed = "\n\n".join(paragraphs)

    after = layout.pages(changed, None, False)
    again = layout.pages("another attempt", None, False)
    longer = layout.pages("yet another attempt " * 20, None, False)

    assert after[:3] == before[:3]
    assert read(after) == letters([render(changed)[0]])
    assert again == (Page("another attempt"),)
    assert longer == laid_out("yet another attempt " * 20)


def test_what_is_cut_stays_cut_while_a_new_attempt_has_not_got_so_far() -> None:
    text = "\n\n".join(f"{number}: {'words ' * 150}" for number in range(9))
    layout = in_style("entities")
    first, *_ = layout.pages(text, None, False)

    shorter = layout.pages(text[:3_700], None, False)

    assert shorter[0] == first
    assert layout.pages(text, None, True) == laid_out(text)


def test_a_cut_does_not_depend_on_how_much_was_there_when_it_was_made() -> None:
    text = "\n\n".join("".join(f"{number} words and more. " for number in range(many)) for many in range(5, 90, 7))
    whole = laid_out(text)

    for end in range(3_880, 3_930):
        layout = in_style("entities")
        *complete, _ = layout.pages(text[:end], None, False)
        assert complete == list(whole[: len(complete)])
        assert layout.pages(text, None, True) == whole


def test_a_style_is_given_up_for_a_simpler_one_until_there_is_none() -> None:
    layout = in_style("rich")

    assert layout.pages("# a <b>", None, True) == (Page("", rich="<h1>a &lt;b&gt;</h1>"),)
    assert layout.simpler()
    assert layout.pages("**a**", None, True)[0].entities != ()
    assert layout.simpler()
    assert layout.pages("**a**", None, True) == (Page("**a**"),)
    assert not layout.simpler()
    assert layout.pages("**a**", None, True) == (Page("**a**"),)


def test_messages_end_between_blocks_rather_than_in_them() -> None:
    paragraphs = [f"Paragraph {number}. " + "Some words of it. " * 40 for number in range(12)]

    pages = laid_out("\n\n".join(paragraphs))

    assert len(pages) > 2
    assert all(page.text.startswith("Paragraph") for page in pages)
    assert all(len(code_units(page.text)) >= 2_048 for page in pages[:-1])


def test_messages_end_after_a_sentence_where_there_is_only_one_paragraph() -> None:
    pages = laid_out("Some words of it. " * 400)

    assert all(page.text.endswith("it.") for page in pages)


def test_a_heading_stays_with_what_it_is_the_heading_of() -> None:
    text = "\n\n".join(f"## Heading {number}\n\n{'Some words of it. ' * 30}" for number in range(12))

    pages = laid_out(text)

    assert len(pages) > 1
    assert all(page.text.startswith("Heading") for page in pages)


def test_code_is_closed_and_opened_again_with_its_language() -> None:
    lines = "\n".join(f"    line {number} of something" for number in range(400))
    text = f"1. First:\n\n   ~~~~rust,ignore and more\n{lines}\n   ~~~~\n\n2. Second"

    pages = laid_out(text)

    assert len(pages) > 2
    assert [entity.type for page in pages for entity in page.entities] == ["pre"] * len(pages)
    assert pages[1].entities[0].language == "rust"
    assert "".join(part for page in pages for part in parts(page, "pre")).count("line ") == 400
    assert pages[-1].text.endswith("\n\n2. Second")


def test_code_on_a_new_message_keeps_its_indentation() -> None:
    text = "```\n" + "\n".join(f"    line {number}" for number in range(600)) + "\n```"

    assert [page.text[:9] for page in laid_out(text)][1:] == ["    line "] * (len(laid_out(text)) - 1)


def test_a_table_that_one_message_can_hold_is_not_cut() -> None:
    table = "| head1 | b |\n|---|---|\n" + "\n".join(f"| {number} | {'x' * 30} |" for number in range(60))

    pages = laid_out(f"{'Some words of it. ' * 90}\n\n## About the table\n\n{table}\n\nAfter.")

    assert len(pages) == 2
    assert pages[1].text.startswith("About the table\n\nhead1 | b")


def test_a_longer_table_is_cut_between_rows_under_the_same_head() -> None:
    table = "| head1 | b |\n|---|---|\n" + "\n".join(f"| {number} | {'x' * 30} |" for number in range(400))

    pages = laid_out(f"Before.\n\n{table}")

    assert len(pages) > 3
    assert all("head1 | b" in page.text for page in pages)
    assert all(parts(page, "pre") for page in pages)
    assert read(pages).count("|xxx") == 400


def test_numbers_and_depth_of_a_list_go_on_in_the_next_message() -> None:
    items = "\n".join(f"1. Item.\n   - {'Some words of it. ' * 5}\n     - deep" for _ in range(60))

    pages = laid_out(items)

    assert len(pages) > 1
    assert read(pages) == letters([render(items)[0]])
    assert pages[-1].text.count("\n    • deep") + pages[-1].text.startswith("• deep") == pages[-1].text.count("deep")


def test_a_word_without_end_is_cut_between_characters() -> None:
    for whole in ("👨\u200d👩\u200d👧\u200d👦", "🇩🇪", "e\u0301", "👍🏽", "漢"):
        pages = laid_out(whole * 4_000)

        assert len(pages) > 1
        for page in pages:
            check(page)
            assert page.text == whole * (len(page.text) // len(whole))


def test_a_table_too_wide_to_be_aligned_is_shown_without_padding() -> None:
    rows = "\n".join(f"| {'x' * 24} | {'y' * 24} | {'z' * 24} |\n" + "|a|b|c|\n" * 20 for _ in range(6))
    (page,) = laid_out(f"|a|b|c|\n|-|-|-|\n{rows}".replace("\n\n", "\n"))

    check(page)
    assert "a | b | c\n" in page.text


def test_what_would_grow_too_long_when_rendered_is_shown_as_it_was_written() -> None:
    source = "|" + "a|" * 60 + "\n|" + "-|" * 60 + "\n" + ("|" * 61 + "\n") * 50

    for page in laid_out(source):
        check(page)


def test_a_growing_answer_costs_as_much_as_its_last_message() -> None:
    paragraph = "Some **words** of `it`, and then some more. " * 20
    text = "\n\n".join(paragraph for _ in range(400))
    layout = in_style("entities")
    pages = layout.pages(text, None, False)
    rendered = 0

    def see(frame: FrameType, event: str, _: Any) -> None:
        nonlocal rendered
        rendered += event == "call" and frame.f_code is render.__code__

    sys.setprofile(see)
    try:
        for end in range(50):
            layout.pages(text + paragraph[:end], "still at it", False)
    finally:
        sys.setprofile(None)

    assert len(pages) > 80
    assert rendered == 50
