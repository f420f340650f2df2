"""What a model says is shown as it is meant, all of it, and never as more than text, code and links into the web."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from adapters.chat.text import clean, is_visible
from adapters.telegram.layout import Page
from adapters.telegram.render import Entity, is_link, render
from tests.telegram.strict import SNIPPETS, check, part

MARKUP = some.text(alphabet="ab1 *_~`#>-+.|[]()<>!$\\&;:/\n\t漢👍\u200dא\u202e", max_size=120)
PIECES = some.lists(some.sampled_from(SNIPPETS), max_size=30).map("".join)


def shown(source: str) -> tuple[str, list[tuple[str, str]]]:
    """A text, and what is marked in it as what."""
    text, entities = render(source)
    return text, [(entity.type, part(text, entity)) for entity in entities]


@given(MARKUP | PIECES)
@settings(deadline=None, max_examples=100)
def test_whatever_a_model_writes_telegram_takes_it(source: str) -> None:
    text, entities = render(clean(source))

    if is_visible(text):
        check(Page(text, entities))


@given(some.text(alphabet="abc1 *_~`#>-+.|<>!\\:/\n漢", max_size=120))
@settings(deadline=None)
def test_no_word_vanishes(source: str) -> None:
    source = source.replace("```", "").replace("~~~", "")
    text, _ = render(source)

    assert [sign for sign in text if sign in "abc漢"] == [sign for sign in source if sign in "abc漢"]


@pytest.mark.parametrize(
    ("source", "text", "marks"),
    [
        ("**b** *i* ~~s~~ `c`", "b i s c", [("bold", "b"), ("italic", "i"), ("strikethrough", "s"), ("code", "c")]),
        ("# One\ntext", "One\ntext", [("underline", "One"), ("bold", "One")]),
        ("### Two **b**", "Two b", [("bold", "Two b")]),
        ("**a `c` b**", "a c b", [("bold", "a"), ("code", "c"), ("bold", "b")]),
        ("```py\n  x\n```", "  x", [("pre", "  x")]),
        ("> a\n> > b\n> `c`", "a\nb\nc", [("blockquote", "a\nb\nc"), ("code", "c")]),
        ("[**w**](https://e.org/A_(b))", "w", [("text_link", "w"), ("bold", "w")]),
        ("[`c`](https://e.org)", "c", [("text_link", "c")]),
        ("![alt](https://e.org/x.png)", "🖼 alt", [("text_link", "🖼 alt")]),
        ("para\n\n---\n\nmore", "para\n\n———\n\nmore", []),
        ("hard  \nbreak\\\nhere", "hard\nbreak\nhere", []),
        ("about ~5~ and \\*so\\*", "about ~5~ and *so*", []),
        ("👨\u200d👩\u200d👧 **שלום**", "👨\u200d👩\u200d👧 שלום", [("bold", "שלום")]),
    ],
)
def test_markdown_is_shown_as_it_is_meant(source: str, text: str, marks: list[tuple[str, str]]) -> None:
    assert shown(source) == (text, marks)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("- a\n- b\n  - c\n\n    more\n- d", "• a\n• b\n  • c\n\nmore\n• d"),
        ("5. five\n6. six", "5. five\n6. six"),
        ("1. one\n\n   ```sh\n   ls\n   ```\n   then\n2. two", "1. one\n\nls\nthen\n2. two"),
        ("- ```\n  x\n  ```", "•\nx"),
        ("- - a", "• • a"),
        ("-\n- b", "• \n• b"),
        ("- [ ] todo\n- [x] done", "☐ todo\n☑ done"),
        ("1. [x] done", "1. ☑ done"),
        ("- > said\n- b", "• said\n• b"),
    ],
)
def test_lists_keep_their_shape(source: str, text: str) -> None:
    assert shown(source)[0] == text


@pytest.mark.parametrize(
    "source",
    [
        "Vec<String> and <think>so</think>",
        "<!-- a comment --> <br/>",
        "<details>\n<summary>More</summary>\n</details>",
        "<script>\nalert(1)\n</script>",
        "<@123> and <https://e.org>",
        "[1]: https://e.org",
        "[^1]: word",
        "see [^1] and [text][1]",
        "a || b || c",
        "$HOME:$PATH, $5 and A$, between $5 and $10, $100 (about 92$)",
        "echo $$ and $$",
        "](<b>)",
        "\u202eevil\u202c \u200bzero",
    ],
)
def test_what_telegram_has_no_form_for_stays_as_it_was_written(source: str) -> None:
    assert shown(source) == (source, [])


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("\\(\\alpha^2\\) and $x$", "α² and x"),
        ("\\[ \\frac{a}{b} \\]", "a/b"),
        ("`\\(\\alpha\\)`", "\\(\\alpha\\)"),
        ("```\ns/\\(a\\beta\\)/x/ <b> [1]: x || y\n```", "s/\\(a\\beta\\)/x/ <b> [1]: x || y"),
    ],
)
def test_formulas_are_written_without_tex_and_code_is_left_alone(source: str, text: str) -> None:
    assert shown(source)[0] == text


@pytest.mark.parametrize(
    "url",
    [
        "tg://user?id=1",
        "tg://resolve?domain=x",
        "TG://user?id=1",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "mailto:a@b.c",
        "/docs/x.md",
        "http://localhost:80/",
        "https://a.b@evil.org",
        f"https://e.org/{'x' * 2048}",
    ],
)
def test_a_link_that_leads_elsewhere_is_text_and_shows_where(url: str) -> None:
    assert not is_link(url)
    assert shown(f"[word]({url})") == (f"word ({url})", [("code", url)])
    assert shown(f"![]({url})") == (f"🖼 {url}", [("code", url)])
    assert shown(f"[{url}]({url})")[0] == url


def test_an_address_inside_telegram_is_no_link_even_where_it_stands_bare() -> None:
    assert shown("[tg://a](tg://a)") == ("tg://a", [("code", "tg://a")])
    assert shown("go tg://user?id=1 now") == ("go tg://user?id=1 now", [("code", "tg://user?id=1")])


def test_an_address_survives_where_there_can_be_no_link() -> None:
    assert shown("| [a](https://e.org) |\n|---|\n| ![i](https://i.org) |")[0] == (
        "a (https://e.org)\n-------------------\n🖼 i (https://i.org)"
    )
    assert shown("[![i](https://i.org)](https://e.org)") == (
        "🖼 i (https://i.org)",
        [("text_link", "🖼 i (https://i.org)")],
    )
    assert shown("[](https://e.org)") == ("https://e.org", [])


def test_a_table_is_aligned_by_what_is_seen() -> None:
    text, entities = render("| a | wide |\n|---|---|\n| 漢字 | `x` || \n| **b** | 1 | 2 |\n| - |")

    assert text == "a    | wide |\n-----+------+--\n漢字 | x    |\nb    | 1    | 2\n-    |      |"
    assert [entity.type for entity in entities] == ["pre"]


def test_a_table_needs_no_padding() -> None:
    source = f"| a | b |\n|---|---|\n| {'x' * 20} | 1 |\n| y | 2 |"

    assert render(source, is_padded=False)[0] == f"a | b\n--+--\n{'x' * 20} | 1\ny | 2"


def test_of_too_many_entities_those_that_matter_most_are_kept() -> None:
    text, entities = render("**b** " * 150 + "[l](https://e.org)")

    check(Page(text, entities))
    assert len(entities) == 99
    assert entities[-1].type == "text_link"


def test_a_character_spelled_as_a_number_cannot_hide_what_was_said_before() -> None:
    assert shown("before &#xFDD0; after &#0; &#x1B;")[0] == "before � after �"


@pytest.mark.parametrize(
    "source",
    [
        *(sign * 3_000 for sign in ("`", "[", "*", "_a ", "$", "|", "\\", "![", "<", "&#0;", "\\(a", "tg://", "$a_")),
        *(
            "`" * 10_000,
            ">" * 500 + " deep",
            "- " * 500 + "deep",
            "\n>" * 500 + "deep",
            "[a](http://e.org/" + "(" * 3_000,
        ),
        *("(" * 999 + "\\(" * 999, "{" * 999 + "$\\frac{" + "{" * 400 + "$", "$" + "\\sqrt{" * 80 + "}" * 80 + "$"),
    ],
)
def test_nothing_is_too_deep(source: str) -> None:
    text, entities = render(source)

    assert len(entities) <= 99
    assert not is_visible(text) or text.count("deep") == source.count("deep")


def test_an_entity_tells_only_what_is_set() -> None:
    assert Entity("bold", 0, 3).as_dict() == {"type": "bold", "offset": 0, "length": 3}
    assert Entity("pre", 0, 3, language="py").as_dict() == {"type": "pre", "offset": 0, "length": 3, "language": "py"}
    assert Entity("text_link", 1, 2, "https://e.org").as_dict()["url"] == "https://e.org"
