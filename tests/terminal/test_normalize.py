"""What a typed line asks for."""

from io import BytesIO, TextIOWrapper

import pytest

from adapters.cli.normalize import (
    TOLD_AT_ONCE,
    WORDS,
    Attach,
    Exit,
    Help,
    Resume,
    Say,
    Sessions,
    Speaker,
    Typed,
    Unsayable,
    Unsendable,
    is_word,
    matching,
    message,
    piped,
    read,
)
from factory_contracts.messages import MAX_TEXT, Address, Attachment
from hub.approvals import is_word as is_about_leave
from hub.kernel.guards import LINK
from hub.kernel.session import FORGET


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("hello", Say("hello")),
        ("two\nlines", Say("two\nlines")),
        ("  indented", Say("  indented")),
        ("\n\nbetween empty lines\n", Say("between empty lines")),
        ("", Unsayable()),
        (" \n\t", Unsayable()),
        ("/help", Help()),
        ("/sessions", Sessions()),
        ("/resume", Resume("")),
        ("/resume  name ", Resume("name")),
        ("/exit", Exit()),
        ("/attach", Attach("")),
        ("/attach -", Attach("-")),
        ("/attach  my cat.png ", Attach("my cat.png")),
        ("/attachment", Unsayable("no command /attachment; /help tells them")),
        ("/fork  copy", Say("/fork  copy")),
        ("/new", Say("/new")),
        (" /stop ", Say("/stop")),
        ("/agent scout", Say("/agent scout")),
        ("/approve 0123456789abcdef", Say("/approve 0123456789abcdef")),
        ("/deny 0123456789abcdef", Say("/deny 0123456789abcdef")),
        ("/nwe", Unsayable("no command /nwe; /help tells them")),
        ("/etc/passwd", Say("/etc/passwd")),
        ("/ is a slash", Say("/ is a slash")),
        ("half a pair \ud83d", Say("half a pair ?")),
        ("x" * MAX_TEXT, Say("x" * MAX_TEXT)),
    ],
)
def test_a_line_is_a_message_or_a_command(line: str, typed: Typed) -> None:
    assert read(line) == typed


def test_a_line_that_is_too_long_is_not_sent() -> None:
    why = "too long: 100,001 characters, and 100,000 are the limit; /attach PATH sends a file"
    assert read("x" * (MAX_TEXT + 1)) == Unsayable(why)


def test_a_message_carries_its_scope_the_pace_of_a_terminal_and_the_wish_that_others_see_it() -> None:
    said = message("hi", speaker=Speaker("main", "u", "U"), scope_id="here", message_id="m", sent_at=1.0)

    here = Address(platform="cli", bot_id="main", scope_id="here", pace_ms=30, echo=True, names_scopes=True)
    assert said.address == here
    assert (said.message_id, said.user_id, said.user_name, said.text, said.sent_at) == ("m", "u", "U", "hi", 1.0)
    assert (said.trust, said.is_addressed) == ("public", True)


def test_commands_are_offered_while_one_is_begun() -> None:
    assert matching("/s") == ("/stop", "/sessions")
    assert matching("/") == tuple(WORDS)
    assert matching("/agent scout") == ()
    assert matching("hello") == ()


@pytest.mark.parametrize(
    ("text", "is_said_to_the_hub"),
    [("/retry", True), ("/undo 2", True), ("/fork", True), ("/etc/passwd", False), ("hello /new", False)],
)
def test_a_word_to_the_hub_is_known_by_its_beginning(text: str, is_said_to_the_hub: bool) -> None:
    assert is_word(text) == is_said_to_the_hub


def test_the_words_that_are_told_at_once_are_those_for_which_the_hub_does_not_wait() -> None:
    assert set(TOLD_AT_ONCE) == {"/stop", FORGET, LINK, *filter(is_about_leave, WORDS)}


@pytest.mark.parametrize("locale", ["strict", "surrogateescape"])
def test_what_is_piped_in_is_text_or_is_not_sent(locale: str) -> None:
    text, picture = (TextIOWrapper(BytesIO(raw), "utf-8", locale) for raw in ("añb".encode(), b"a\xffb"))

    assert piped(text) == "añb"
    with pytest.raises(Unsendable, match="no text in UTF-8"):
        piped(picture)


def test_a_message_carries_its_files() -> None:
    photo = Attachment(kind="image", name="a.png", mime="image/png", size=1, blob="b")

    said = message("hi", speaker=Speaker("main", "u"), scope_id="here", message_id="m", attachments=(photo,))

    assert said.attachments == (photo,)
