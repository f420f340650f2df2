"""What keeps a home from being written to is said before anything fails of it, and where something did."""

import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from factory_cli.home import Home
from factory_cli.joining import Joining, NotRunning
from factory_nats.server import ROOM
from tests.cli.installation import Factory

Usage = namedtuple("Usage", "total used free")


def leave(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(ROOM * 2, ROOM * 2 - free, free))


def test_a_disk_with_room_is_no_obstacle_to_a_home_that_is_there_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(monkeypatch, ROOM)

    assert list(Home(tmp_path).obstacles()) == []
    assert list(Home(tmp_path / "not" / "yet").obstacles()) == []


def test_a_full_disk_is_an_obstacle_to_a_home_that_is_there_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(monkeypatch, ROOM - 1)

    why = f"the disk of {tmp_path} has 8,388,607 bytes left, and less than 8,388,608 is too little; make room there"
    assert list(Home(tmp_path).obstacles()) == [why]
    assert list(Home(tmp_path / "not" / "yet").obstacles()) == [why]


def test_a_home_where_no_folder_can_be_is_told_by_the_doctor(factory: Factory) -> None:
    done = factory.run("doctor", "--home", "/dev/null/x")

    assert done.returncode == 1
    assert "/dev/null is no folder; choose another home with --home" in done.stdout
    assert "does not exist yet" not in done.stdout


def test_what_did_not_come_up_and_found_no_room_for_its_last_words_is_told_by_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    home.prepare()
    leave(monkeypatch, 0)

    with Joining(home, lambda lock: subprocess.Popen(["false"])) as joining, pytest.raises(NotRunning) as told:
        joining.wait()

    assert str(told.value).startswith(f"the supervisor ended with status 1; the disk of {tmp_path} has 0 bytes left")
