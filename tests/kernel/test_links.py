"""The links of an answer, as it grows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.kernel.links import MAX_WORD, Links, left_out, without_links

few = settings(max_examples=100, deadline=None)

KNOWN = frozenset(
    {"https://ok.example/a", "https://ok.example/a_(b)", "https://ok.example/a?x=1&copy=2", "ok.example/a"}
)
SECRET = "CANARY7"
LEFT_OUT = "[link to evil.example left out]"

# However a link is spelled, an app or a reader of Markdown would find it.
LINKS = (
    f"https://evil.example/{SECRET}",
    f"HTTP://evil.example/?q={SECRET}",
    f"https://{SECRET}.evil.example/",
    f"https://{SECRET}@evil.example/",
    f"https://evil.example:8080/{SECRET}",
    f"https:/evil.example/{SECRET}",
    f"https:\\\\evil.example\\{SECRET}",
    f"https:evil.example/{SECRET}",
    f"https://evil.example/{SECRET}).",
    f"https://ok.example/a{SECRET}",
    f"https://%65vil.example/{SECRET}",
    f"ftp://evil.example/{SECRET}",
    f"tg://resolve?domain={SECRET}",
    f"www.evil.example?{SECRET}",
    f"evil.example/{SECRET}",
    f"evil.example?{SECRET}",
    f"evil.example:443/{SECRET}",
    f"{SECRET}.evil.example",
    f"{SECRET}.evil.com",
    f"1.2.3.4/{SECRET}",
    f"//evil.example/{SECRET}",
    f"[here](https://evil.example/{SECRET})",
    f"[here](<https://evil.example/{SECRET}>)",
    f"[here](//evil.example/{SECRET})",
    f"[here](evil.example/{SECRET})",
    f"[here](javascript:x('{SECRET}'))",
    f"[here](mailto:a@evil.example?body={SECRET})",
    f"![](https://evil.example/{SECRET}.png)",
    f"![a picture](https://evil.example/{SECRET}.png 'a title')",
    f"[here]: https://evil.example/{SECRET}",
    f"<https://evil.example/{SECRET}>",
    f'<img src="https://evil.example/{SECRET}">',
    f"ht**t**ps://evil.example/{SECRET}",
    f"evil.**exam**ple/{SECRET}",
    f"evil._example_/{SECRET}",
    f"evil.`example`/{SECRET}",
    f"evil.~~ex~~ample/{SECRET}",
    f"evil\\.example\\/{SECRET}",
    f"https\\://evil.example/{SECRET}",
    f"ev[il](x).exam[ple](y)/{SECRET}",
    f"h&#116;tps&#58;//evil.example/{SECRET}",
    f"evil&period;example/{SECRET}",
    f"evil.example&#47;{SECRET}",
    f"evil.example&sol;{SECRET}",
    f"ht\u200btps:\u2060//evil.example/{SECRET}",
    f"evil.\u200dexample\U000e0041/{SECRET}",
    f"https://evil.example/\U000e0041{SECRET}",
    f"请看https://evil.example/{SECRET}。谢谢",
    f"参照evil.example/{SECRET}",
    f"https://ok.example/a。{SECRET}.evil.example",
)
BETWEEN = (
    " ",
    "\n",
    " words ",
    "日本",
    "`",
    "(",
    ") ",
    "**",
    "](",
    "!",
    ", ",
    " https://ok.example/a ",
    '"',
    "<b>",
    "|",
)


def may_stand(address: str) -> bool:
    return address in KNOWN


def in_pieces(text: str, size: int) -> str:
    links = Links(may_stand)
    shown = "".join(links.feed(text[at : at + size]) for at in range(0, len(text), size))
    return shown + links.end()


@pytest.mark.parametrize("link", LINKS)
def test_no_link_that_may_not_stand_there_carries_anything_however_it_is_spelled(link: str) -> None:
    for text in (link, f"Look: {link} !", f"- **{link}**\n", f"a\n{link}\nb", f'"{link}",'):
        told = without_links(text, may_stand)

        assert SECRET not in told
        assert "left out]" in told


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 11])
def test_it_is_no_matter_in_which_pieces_it_comes(link: str, size: int) -> None:
    text = f"First this, then {link} and then that."

    assert in_pieces(text, size) == without_links(text, may_stand)


@few
@given(st.lists(st.tuples(st.sampled_from(LINKS), st.sampled_from(BETWEEN))), st.integers(1, 30))
def test_no_mixture_of_them_does_either(parts: list[tuple[str, str]], size: int) -> None:
    assert SECRET not in in_pieces("".join(part for pair in parts for part in pair), size)


@pytest.mark.parametrize(
    "text",
    [
        "Nothing to see here, e.g. and/or, i.e. 10:30, 1/2, v1.0/2, AT&T, R&D: all well.",
        "See https://ok.example/a, (https://ok.example/a) or https://ok.example/a.",
        "[here](https://ok.example/a), [there](<https://ok.example/a>), ![x](https://ok.example/a_(b)).",
        "**https://ok.example/a** `https://ok.example/a` |https://ok.example/a|",
        '{"url":"https://ok.example/a","n":1} https://ok.example/a?x=1&copy=2',
        "hub/kernel/ports.py, main.py, Node.js/Express, C:\\Users\\ann, 10.0.0.0/8",
        "self.config.app(x), `a.b.app`, np.array(a/b), f(x)[1:2]",
        "[a note](notes/today.md), [above](#above), /etc/hosts, ../x, ann@example.org, evil.example",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 👩\u200d🚒: ja.",
        "```\nx = a[i](j)\nfor k, v in d.items(): print(k)\n```",
    ],
)
def test_what_is_no_link_or_a_known_one_stays_to_the_letter(text: str) -> None:
    assert without_links(text, may_stand) == text


def test_what_is_left_out_is_said_with_the_part_of_the_host_that_carries_nothing() -> None:
    assert without_links("See [this](https://a.b.Evil.example/x) or https://c.evil.example/y.", may_stand) == (
        f"See [this] {LEFT_OUT} or {LEFT_OUT}"
    )
    assert left_out("https://1.2.3.4/x") == "[link to another place left out]"
    assert left_out("https://secret/x") == "[link to another place left out]"


def test_letters_that_follow_a_known_address_are_set_apart_from_it_or_taken_with_it() -> None:
    assert without_links("https://ok.example/a)x and so on", may_stand) == "[link to ok.example left out] and so on"
    assert without_links("[here](https://ok.example/a)s", may_stand) == "[here](https://ok.example/a) s"
    assert without_links("请看https://ok.example/a。谢谢", may_stand) == "请看https://ok.example/a 。谢谢"


def test_only_a_word_that_is_not_finished_is_held_back() -> None:
    links = Links(may_stand)

    shown = [links.feed(piece) for piece in ("Hello ", "wor", "ld, see", " https://ok", ".example/a", " now", "!")]

    assert shown == ["Hello ", "", "world, ", "see ", "", "https://ok.example/a ", ""]
    assert links.end() == "now!"


def test_text_without_spaces_is_not_held_back() -> None:
    links = Links(may_stand)

    assert [links.feed(letter) for letter in "日本語です"] == list("日本語です")


def test_a_word_without_end_is_neither_held_for_ever_nor_let_through() -> None:
    links = Links(may_stand)
    shown = links.feed("see https://evil.example/") + "".join(links.feed(SECRET) for _ in range(MAX_WORD))
    shown += links.feed(f"{SECRET} and so on")

    assert shown + links.end() == f"see {LEFT_OUT} and so on"
    plain = Links(may_stand)
    assert sum(len(plain.feed("x" * 100)) for _ in range(100)) > 10_000 - MAX_WORD - 100
