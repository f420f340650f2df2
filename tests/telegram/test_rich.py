"""A rich message says all that was said, is well-formed, fits, and leads nowhere a model should not lead."""

import html
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from adapters.chat.text import clean
from adapters.telegram.rich import render_rich, weight
from tests.telegram.strict import SNIPPETS

VOID = {"br", "hr", "img"}


class Reader(HTMLParser):
    """Reads HTML whose tags must be closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a tag."""
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        assert tag in VOID or self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Read a text."""
        self.texts.append(data)


@given(some.lists(some.sampled_from(SNIPPETS) | some.text(max_size=5), max_size=30).map("".join))
@settings(deadline=None, max_examples=80)
def test_whatever_a_model_writes_is_well_formed_and_leads_into_the_web_alone(source: str) -> None:
    reader = Reader(render_rich(clean(source)))

    assert all(link.startswith(("http://", "https://")) for link in reader.links)
    assert not reader.tags & {"img", "tg-emoji", "tg-spoiler", "script"}


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("# One\n\ntwo", "<h1>One</h1><p>two</p>"),
        ("Vec<String> <think>", "<p>Vec&lt;String&gt; &lt;think&gt;</p>"),
        ("[1]: http://e.org", "<p>[1]: http://e.org</p>"),
        ("a || b || c", "<p>a || b || c</p>"),
        ("| a || b |\n|-|-|-|", "<table><tr><th>a</th><th></th><th>b</th></tr></table>"),
        ("[x](https://e.org/?a=1&b)", '<p><a href="https://e.org/?a=1&amp;b">x</a></p>'),
        ("[x](tg://user?id=1)", "<p>x (tg://user?id=1)</p>"),
        ("![x](https://e.org/?secret)", "<p>🖼 x (https://e.org/?secret)</p>"),
        ("![e](tg://emoji?id=1234567890123456789)", "<p>e</p>"),
        ("[![x](tg://a)](tg://b)", "<p>x (tg://a) (tg://b)</p>"),
        ("$HOME:$PATH", "<p>$HOME:$PATH</p>"),
    ],
)
def test_nothing_is_lost_and_nothing_else_is_done(source: str, shown: str) -> None:
    assert render_rich(source) == shown


@pytest.mark.parametrize("source", ["<" * 4_900, "- a\n" * 450, "**a** " * 3_000, "|a" * 2_000 + "\n" + "|-" * 2_000])
def test_what_weighs_too_much_as_html_is_shown_as_it_was_written(source: str) -> None:
    shown = render_rich(source)

    assert weight(source) <= 20_000
    assert len(shown.encode()) <= 32_000
    assert "".join(Reader(shown).texts).count("a") == html.unescape(shown.replace("table", "")).count("a")
