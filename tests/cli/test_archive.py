"""The files of a home as an archive takes them, whatever lies there."""

import os
import socket
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from factory_cli.archive import Reader, Writer


def copied(home: Path, file: Path) -> list[str]:
    """Copy the home; what is amiss with its files."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        writer = Writer(zipped)
        writer.put_home(home, with_secrets=False)
        writer.close("0", 0.0, has_secrets=False)
    return writer.amiss


def unpacked(file: Path, home: Path) -> dict[str, bytes]:
    """Bring the files into another home; all that is there."""
    home.mkdir()
    with zipfile.ZipFile(file) as zipped:
        Reader(zipped).unpack(home)
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "work"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("at", [0, 6_000_000_000])
def test_a_file_of_any_time_is_copied(tmp_path: Path, work: Path, at: int) -> None:
    old = work / "old.txt"
    old.write_text("kept")
    os.utime(old, (at, at))

    assert copied(tmp_path / "home", tmp_path / "copy.zip") == []

    assert unpacked(tmp_path / "copy.zip", tmp_path / "new") == {"work/old.txt": b"kept"}


def test_what_is_no_file_is_passed_by(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    os.mkfifo("pipe")
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("above").symlink_to("..")
    Path("kept.txt").write_text("kept")
    with socket.socket(socket.AF_UNIX) as inside, socket.socket(socket.AF_UNIX) as atop:
        inside.bind("inside")
        atop.bind("../atop")

        assert copied(tmp_path / "home", tmp_path / "copy.zip") == []

    assert unpacked(tmp_path / "copy.zip", tmp_path / "new") == {"work/kept.txt": b"kept"}


def test_a_configuration_that_lies_elsewhere_is_copied(tmp_path: Path, work: Path) -> None:
    (tmp_path / "elsewhere.toml").write_text("[hub]")
    (tmp_path / "home" / "factory.toml").symlink_to(tmp_path / "elsewhere.toml")
    (work / "linked.toml").symlink_to(tmp_path / "elsewhere.toml")

    assert copied(tmp_path / "home", tmp_path / "copy.zip") == []

    assert unpacked(tmp_path / "copy.zip", tmp_path / "new") == {"factory.toml": b"[hub]"}


def test_a_name_that_is_no_text_is_left_out_and_told(tmp_path: Path, work: Path) -> None:
    (work / os.fsdecode(b"caf\xe9")).write_text("left")
    (work / "café").write_text("kept")

    amiss = copied(tmp_path / "home", tmp_path / "copy.zip")

    assert amiss == [f"{work}/caf\N{REPLACEMENT CHARACTER} is left out: its name is not UTF-8"]
    assert unpacked(tmp_path / "copy.zip", tmp_path / "new") == {"work/café": b"kept"}


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is kept from root")
def test_what_may_not_be_read_is_left_out_and_told(tmp_path: Path, work: Path) -> None:
    (work / "closed").mkdir(mode=0)
    (work / "closed.txt").touch(mode=0)
    (work / "kept.txt").write_text("kept")

    amiss = copied(tmp_path / "home", tmp_path / "copy.zip")

    assert sorted(amiss) == [f"{work}/{name} is left out: Permission denied" for name in ("closed", "closed.txt")]
    assert unpacked(tmp_path / "copy.zip", tmp_path / "new") == {"work/kept.txt": b"kept"}


def test_a_database_is_copied_whole_and_a_damaged_one_as_it_lies(tmp_path: Path, work: Path) -> None:
    with closing(sqlite3.connect(work / "whole.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE words (word)")
        database.execute("INSERT INTO words VALUES ('kept')")
        database.commit()
        damaged = b"SQLite format 3\0" + b"not at all" * 100
        (work / "damaged.db").write_bytes(damaged)

        amiss = copied(tmp_path / "home", tmp_path / "copy.zip")

    assert amiss == [f"{work}/damaged.db is copied as it lies, and may not be whole: file is not a database"]
    found = unpacked(tmp_path / "copy.zip", tmp_path / "new")
    assert found.keys() == {"work/whole.db", "work/damaged.db"} and found["work/damaged.db"] == damaged
    with closing(sqlite3.connect(tmp_path / "new" / "work" / "whole.db")) as database:
        assert database.execute("SELECT word FROM words").fetchall() == [("kept",)]
