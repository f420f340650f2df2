"""What this terminal remembers of its sessions."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from adapters.cli.sessions import KEPT, Session, UnknownSession, add, find, forget, load, name_for, note

NOW = datetime(2025, 11, 3, 14, 12)


def test_a_name_tells_when_the_session_began() -> None:
    assert name_for(NOW, "k3f9") == "2025-11-03-1412-k3f9"


def test_a_note_holds_the_first_words_on_one_short_line() -> None:
    noted = note("here", "a\nb  " + "word " * 50, NOW)

    assert noted.words.startswith("a b word")
    assert len(noted.words) == 60


def test_the_session_used_last_comes_last_and_keeps_its_first_words(tmp_path: Path) -> None:
    for name, words in (("one", "first"), ("two", "second"), ("one", "later")):
        add(tmp_path / "deep" / "notes", note(name, words, NOW))

    assert [(noted.name, noted.words) for noted in load(tmp_path / "deep" / "notes")] == [
        ("two", "second"),
        ("one", "first"),
    ]


def test_no_file_is_no_session(tmp_path: Path) -> None:
    assert load(tmp_path / "notes") == ()


def test_a_line_that_is_no_note_is_passed_over(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_bytes(b'{"name": "\xff\nnull\n[1]\n{"name": 3}\n{"name": "", "started": "", "words": ""}\n')
    add(notes, note("good", "words", NOW))

    assert [noted.name for noted in load(notes)] == ["good"]


def test_a_session_that_is_forgotten_is_not_listed_and_its_words_are_nowhere(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    for name, words in (("one", "secret"), ("two", "second"), ("one", "secret too")):
        add(notes, note(name, words, NOW))

    forget(notes, "one", NOW)

    assert [noted.name for noted in load(notes)] == ["two"]
    assert b"secret" not in notes.read_bytes()


def test_a_session_that_goes_on_afterwards_is_listed_with_its_new_words(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    add(notes, note("one", "secret", NOW))
    add(notes, note("one", "a new life", NOW + timedelta(seconds=1)))

    forget(notes, "one", NOW)

    assert [noted.words for noted in load(notes)] == ["a new life"]


def test_where_no_session_was_noted_nothing_is_made_to_forget_it(tmp_path: Path) -> None:
    forget(tmp_path / "notes", "one", NOW)

    assert list(tmp_path.iterdir()) == []


def test_the_file_stays_short(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    for number in range(3_000):
        add(notes, note(f"session-{number}", "words " * 30, NOW))

    assert notes.stat().st_size < 5 * KEPT * 256
    assert load(notes)[-1].name == "session-2999"
    assert len(load(notes)) == KEPT


def test_a_session_is_found_by_name_by_its_beginning_or_as_the_last() -> None:
    known = tuple(Session(name, "", "") for name in ("alpha", "beta", "bet", "gamma"))

    assert find(known, "").name == "gamma"
    assert find(known, "al").name == "alpha"
    assert find(known, "bet").name == "bet"


@pytest.mark.parametrize(
    ("names", "wanted", "why"),
    [
        ((), "", "there is no session to resume yet"),
        (("a",), "b", "no session begins with 'b'; /sessions lists them"),
        (("ab", "ac"), "a", "2 sessions begin with 'a': ab, ac"),
    ],
)
def test_what_is_not_one_session_is_told(names: tuple[str, ...], wanted: str, why: str) -> None:
    with pytest.raises(UnknownSession, match=why):
        find([Session(name, "", "") for name in names], wanted)
