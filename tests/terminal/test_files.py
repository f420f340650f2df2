"""What a file of this machine is, and why one cannot go with a message."""

import os
import socket
from pathlib import Path

import pytest

from adapters.cli.files import (
    File,
    Unattachable,
    complete,
    named,
    one_line,
    read,
    read_all,
    told,
    with_files,
)
from factory_nats.blobs import MOST_BYTES

PNG = b"\x89PNG\r\n\x1a\n\0"


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)

    file = read(str(tmp_path / "cat.png"))

    assert file == File("cat.png", "image", "image/png", PNG)
    assert file.words == "cat.png (image/png, 9 bytes)"


def test_a_file_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as large:
        large.truncate(MOST_BYTES)

    assert len(read(str(tmp_path / "a")).data) == MOST_BYTES


def test_a_link_is_followed_and_a_home_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "link.txt").symlink_to("a.txt")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert read("~/link.txt") == File("link.txt", "document", "text/plain", b"text")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "there is no file"),
        ("missing/a", "there is no file"),
        ("text/a", "cannot be read: Not a directory"),
        ("inner", "is a folder"),
        ("inner/", "is a folder"),
        ("pipe", "is no ordinary file"),
        ("socket", "is no ordinary file"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
        ("dangling", "there is no file"),
        ("large", "is too large: 20,971,521 bytes, and 20,971,520 are the limit"),
        ("n" * 300, "cannot be read: File name too long"),
        ("nul\0", "is no name that a file can have"),
        ("half \ud83d", "is no name that a file can have"),
    ],
)
def test_what_cannot_go_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("text")
    (tmp_path / "inner").mkdir()
    os.mkfifo("pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(MOST_BYTES + 1)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")

        with pytest.raises(Unattachable) as told:
            read(name)

    assert why in str(told.value)
    assert "\0" not in str(told.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is kept from root")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(0o000)

    with pytest.raises(Unattachable, match="cannot be read: Permission denied"):
        read(str(tmp_path / "secret"))


def test_a_file_that_says_nothing_of_its_size_is_bounded_all_the_same() -> None:
    assert read("/proc/self/status").data.startswith(b"Name:")


def test_files_that_are_too_much_together_are_told(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as large:
        large.truncate(MOST_BYTES // 2 + 1)
    path = str(tmp_path / "a")

    with pytest.raises(Unattachable, match="together the files are too large: 20,971,522 bytes"):
        read_all((path, path))
    with pytest.raises(Unattachable, match="11 files are too many: 10 go with a message"):
        read_all((path,) * 11)


def test_a_path_is_taken_as_it_stands_or_as_a_shell_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "my own", "it's"):
        (tmp_path / name).touch()

    assert named("my own") == ["my own"]
    assert named("it's") == ["it's"]
    assert named("'my own'") == ["my own"]
    assert named("my\\ own") == ["my own"]
    assert named("a b 'my own'") == ["a", "b", "my own"]
    assert named("a missing") == ["a", "missing"]
    assert named("neither nor") == ["neither nor"]
    assert named("half 'quoted") == ["half 'quoted"]


def test_a_path_begun_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("cat.png", "car.png", "my own", ".hidden", "bad\x1bname"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "deep").touch()

    assert complete("ca") == ["car.png", "cat.png"]
    assert complete("") == ["car.png", "cat.png", "inner/", "my own"]
    assert complete("my ") == ["my own"]
    assert complete(".h") == [".hidden"]
    assert complete("in") == ["inner/"]
    assert complete("inner/") == ["inner/deep"]
    assert complete("~/ca") == ["~/car.png", "~/cat.png"]
    assert complete(f"{tmp_path}/inner/d") == [f"{tmp_path}/inner/deep"]
    assert complete("nowhere/a") == complete("a\0b/") == []


def test_a_folder_of_many_files_offers_some_of_them(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}").touch()

    assert len(complete(f"{tmp_path}/")) == 100


def test_a_line_tells_its_files() -> None:
    assert told([]) == ""
    assert with_files("hello", []) == "hello"
    assert with_files("", ["a.png"]) == "[1 file: a.png]"
    assert with_files("hello", ["a.png", "b\n\x1b[2J.pdf"]) == "hello\n[2 files: a.png, b ?[2J.pdf]"
    assert one_line("\u202egnp.cat") == "?gnp.cat"
