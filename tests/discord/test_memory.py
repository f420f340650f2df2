"""What a bot remembers survives any death, and its file does not grow without end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from adapters.discord.memory import MOST_LINES, Memory
from tests.adapters.test_journal import room_up_to


def test_what_was_read_is_known_to_the_next_process(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "cursors")
    memory.move("one", 5, is_private=False)
    memory.move("two", 7, is_private=True)
    memory.menu = "told"

    again = Memory(tmp_path / "cursors")

    assert (again.read("one"), again.read("two"), again.read("three")) == (5, 7, None)
    assert (again.newest, again.private(), again.menu) == (7, ("two",), "told")


def test_when_it_is_tidied_nothing_is_left_of_what_is_over(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "cursors")
    memory.move("one", 5, is_private=False)
    memory.begin("1", {"text": "a secret"})
    memory.begin("2", {"text": "under way"})
    memory.end("1")

    memory.tidy()
    memory.move("two", 7, is_private=False)

    assert b"secret" not in (tmp_path / "cursors").read_bytes()
    again = Memory(tmp_path / "cursors")
    assert (again.read("one"), again.read("two"), again.commands()) == (5, 7, ({"text": "under way"},))
    Memory(None).tidy()


def test_a_channel_is_never_read_backwards(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "cursors")
    memory.move("one", 5, is_private=False)
    memory.move("one", 3, is_private=False)

    assert Memory(tmp_path / "cursors").read("one") == 5


def test_commands_are_known_until_they_end(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "cursors")
    memory.begin("1", {"t": "first"})
    memory.begin("2", {"t": "second"})
    memory.end("1")

    assert Memory(tmp_path / "cursors").commands() == ({"t": "second"},)


def test_what_there_was_no_room_for_is_written_with_what_comes_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cursors"
    memory = Memory(path)
    with room_up_to(path.stat().st_size + 3):
        memory.move("one", 5, is_private=True)
        memory.begin("1", {"t": "first"})
        memory.begin("2", {"t": "second"})
        memory.end("1")
        memory.move("one", 6, is_private=True)
    assert memory.read("one") == 6
    assert b"one" not in path.read_bytes()

    memory.move("two", 7, is_private=False)

    again = Memory(path)
    assert (again.read("one"), again.read("two"), again.private()) == (6, 7, ("one",))
    assert again.commands() == ({"t": "second"},)
    assert len(caplog.records) == 1


def test_what_cannot_be_erased_for_want_of_room_is_told(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "cursors")

    with room_up_to(3), pytest.raises(OSError):
        memory.tidy()


@given(some.binary(max_size=200))
@settings(max_examples=50)
def test_whatever_stands_in_the_file_it_is_read(tmp_path_factory: pytest.TempPathFactory, torn: bytes) -> None:
    path = tmp_path_factory.mktemp("memory") / "cursors"
    path.write_bytes(b'["read", "one", [5, false]]\n' + torn)

    assert Memory(path).read("one") == 5


def test_its_file_stays_small_however_much_is_read_and_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "cursors"
    memory = Memory(path)
    for number in range(MOST_LINES + 100):
        memory.move("one", number + 1, is_private=False)

    assert path.stat().st_size < 40 * MOST_LINES
    assert path.stat().st_mode & 0o077 == 0
    assert Memory(path).read("one") == MOST_LINES + 100


def test_without_a_file_it_ends_with_the_process() -> None:
    memory = Memory(None)
    memory.move("one", 5, is_private=False)

    assert memory.read("one") == 5
    assert Memory(None).read("one") is None


def test_who_takes_over_by_a_file_of_its_own_reads_from_where_the_other_was(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "cursors")
    memory.move("old", 5, is_private=False)
    memory.move("new", 50, is_private=True)
    memory.speak(3)
    memory.close()

    again = Memory(tmp_path / "cursors")
    again.follow(9, 12, 20)

    assert (again.read("old"), again.read("new"), again.newest) == (20, 50, 50)
    assert again.private() == ("new",)
    assert Memory(tmp_path / "nothing").newest == 0


def test_who_takes_over_by_the_same_file_reads_from_where_each_channel_was_left(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "cursors")
    memory.move("old", 5, is_private=False)
    memory.speak(9)
    memory.close()

    again = Memory(tmp_path / "cursors")
    again.follow(9, 12, 20)
    again.close()

    assert again.read("old") == 5
    last = Memory(tmp_path / "cursors")
    last.follow(12, 15, 40)
    assert last.read("old") == 5
