"""What was typed, kept by session and forgotten with it."""

from datetime import datetime, timedelta
from pathlib import Path

from prompt_toolkit.history import FileHistory

from adapters.cli.typed import add, forget

NOW = datetime(2025, 11, 3, 14, 12, 7, 250)


def typed(file: Path) -> list[str]:
    """What the prompt's library reads, newest first."""
    return list(FileHistory(str(file)).load_history_strings())


def test_what_was_typed_is_read_by_the_prompts_library(tmp_path: Path) -> None:
    for text in ("one", "two\nlines", "ü \ud800"):
        add(tmp_path / "history", text, "here", NOW)

    assert typed(tmp_path / "history") == ["ü ?", "two\nlines", "one"]
    assert (tmp_path / "history").stat().st_mode & 0o777 == 0o600


def test_a_session_goes_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "history"
    for text, scope in (("one", "here"), ("two", "there"), ("# three", "here"), ("four", "over there: é")):
        add(file, text, scope, NOW)

    forget(file, "here", NOW)

    assert typed(file) == ["four", "two"]
    assert b"three" not in file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["history"]


def test_what_was_typed_later_stays(tmp_path: Path) -> None:
    file = tmp_path / "history"
    add(file, "before", "here", NOW)
    add(file, "after", "here", NOW + timedelta(seconds=1))

    forget(file, "here", NOW)

    assert typed(file) == ["after"]


def test_what_nobody_knows_the_session_of_goes_with_any(tmp_path: Path) -> None:
    file = tmp_path / "history"
    FileHistory(str(file)).store_string("of an earlier version")
    add(file, "kept", "there", NOW)

    forget(file, "here", NOW)

    assert typed(file) == ["kept"]


def test_where_nothing_was_typed_nothing_is_made(tmp_path: Path) -> None:
    forget(tmp_path / "history", "here", NOW)

    assert list(tmp_path.iterdir()) == []
