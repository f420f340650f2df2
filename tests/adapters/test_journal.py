"""What a spoke wrote down is there after any death, and where there was no room only that line is missing."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.journal import Journal


@contextmanager
def room_up_to(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes; what does not fit is written in part."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_added_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.begin([["a", 1]])
    journal.add(["b", None])
    journal.add({"c": "Äpfel\u2028"})

    again = Journal(path)

    assert list(again.read()) == [["a", 1], ["b", None], {"c": "Äpfel\u2028"}]
    assert (journal.added, again.added) == (2, 0)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("fits", [0, 3])
def test_a_line_for_which_there_was_no_room_costs_only_itself(tmp_path: Path, fits: int) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.begin([["a"]])
    journal.add(["b"])

    with room_up_to(path.stat().st_size + fits), pytest.raises(OSError):
        journal.add(["too long"])
    journal.add(["c"])

    assert list(Journal(path).read()) == [["a"], ["b"], ["c"]]


def test_what_cannot_be_written_anew_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.begin([["a"]])

    with room_up_to(3), pytest.raises(OSError):
        journal.begin([["b"], ["c"]])
    journal.add(["d"])

    assert list(Journal(path).read()) == [["a"], ["d"]]


def test_once_it_is_closed_the_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.begin([["a"]])
    journal.close()

    journal.add(["b"])
    journal.begin([["c"]])

    assert list(Journal(path).read()) == [["a"]]


def test_without_a_path_nothing_is_kept() -> None:
    journal = Journal(None)
    journal.begin([["a"]])
    journal.add(["b"])

    assert list(journal.read()) == []
    journal.close()
