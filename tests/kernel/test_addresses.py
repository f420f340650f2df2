"""Addresses of the web as words in a text."""

from __future__ import annotations

import pytest

from hub.kernel.addresses import Heard, host_of, is_within, names, stands_in, was_shown


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://Example.org", "example.org"),
        ("http://example.org:8080/a?b=c#d", "example.org"),
        ("https://example.org./a", "example.org"),
        ("https://example.org/@ann/Köln", "example.org"),
        ("https://example.org@evil.example/", ""),
        ("https://example.org\\@evil.example/", ""),
        ("https://evil.example\\.example.org/", ""),
        ("https://example.org /", ""),
        ("https://exa\tmple.org/", ""),
        (" https://example.org/", ""),
        ("https://example\u3002org/", ""),
        ("https://[::1]/", ""),
        ("https:///example.org", ""),
        ("ftp://example.org/", ""),
        ("example.org", ""),
        ("", ""),
    ],
)
def test_a_host_is_known_only_where_every_reader_finds_the_same(address: str, host: str) -> None:
    assert host_of(address) == host


def test_a_domain_holds_itself_and_what_lies_in_it() -> None:
    domains = ("Example.org", "*.example.com")

    held = [
        host
        for host in ("example.org", "a.example.org", "example.com", "badexample.org", "org", "")
        if is_within(host, domains)
    ]

    assert held == ["example.org", "a.example.org", "example.com"]
    assert is_within("anywhere.example", ("*",))


@pytest.mark.parametrize(
    ("address", "text", "stands"),
    [
        ("https://a.example/b", "See https://a.example/b.", True),
        ("https://a.example/b", "(https://a.example/b)", True),
        ("https://a.example/b", "[it](https://a.example/b), and so on", True),
        ("https://a.example/b", "http://a.example/b", True),
        ("https://a.example/b", "a.example/b", True),
        ("https://a.example/b", "www.a.example/b", True),
        ("https://a.example/", "what does a.example say?", True),
        ("https://a.example", "https://a.example/", True),
        ("https://a.example/b", "https://a.example/bc", False),
        ("https://a.example/b", "https://a.example/b.html", False),
        ("https://a.example/b", "https://a.example/b/c", False),
        ("https://a.example/b", "https://a.example/b?c", False),
        ("https://a.example/b", "https://a.example/B", False),
        ("https://a.example", "https://a.example.evil.example/", False),
        ("https://a.example", "https://a.example/b", False),
        ("https://a.example", "ann@a.example", False),
        ("https://a.example/b", "https://evil.example/?u=a.example/b", False),
        ("https://a.example/b", "https://x.a.example/b", False),
        ("https://", "https://", False),
    ],
)
def test_an_address_stands_in_a_text_word_for_word_or_not_at_all(address: str, text: str, stands: bool) -> None:
    assert stands_in(address, text) is stands


def test_a_text_names_a_host_and_no_longer_one() -> None:
    assert names("a.example", "Look at A.example, please.")
    assert names("www.a.example", "https://a.example/b")
    assert names("a.example", "https://www.a.example/b")
    assert not names("a.example", "https://a.example.evil.example, ba.example, x.a.example, a.examples")
    assert not names("", "anything")


def test_an_address_was_shown_where_it_stood_before_the_model_said_it() -> None:
    page, own = Heard("See https://a.example/b?c=1"), Heard('{"url":"https://a.example/b?c=1"}', is_own=True)

    assert was_shown("https://a.example/b?c=1", (page, own))
    assert was_shown("https://a.example/b?c=1", (page, own, page))
    assert not was_shown("https://a.example/b?c=1", (own, page))
    assert not was_shown("https://a.example/b?c=1", ())


def test_an_address_that_the_model_had_within_a_longer_one_is_still_its_own() -> None:
    echo = Heard("Nothing found for https://a.example/secret")

    assert not was_shown("https://a.example/secret", (Heard("HTTPS://A.EXAMPLE/SECRETS", is_own=True), echo))
    assert was_shown("https://a.example/secret", (Heard("https://a.example/secret/page", is_own=True), echo))
