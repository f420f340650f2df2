"""What a file of this machine is, and why one cannot go with a message."""

import os
import socket
from pathlib import Path

import pytest

from adapters.cli.files import (
    File,
    Unattachable,
    complete,
    kind_of,
    mime_of,
    named,
    one_line,
    read,
    read_all,
    told,
    with_files,
)
from factory_nats.blobs import MOST_BYTES

PNG = b"\x89PNG\r\n\x1a\n\0"
BINARY = b"\x80\0\x01"


@pytest.mark.parametrize(
    ("name", "data", "mime", "kind"),
    [
        ("a.png", PNG, "image/png", "image"),
        ("a.txt", PNG, "image/png", "image"),
        ("a", b"\xff\xd8\xff\xe0", "image/jpeg", "image"),
        ("a", b"GIF89a\0", "image/gif", "image"),
        ("a", b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", "image"),
        ("a.png", b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", "image"),
        ("a", b"RIFF\0\0\0\0WAVEfmt ", "audio/wav", "audio"),
        ("a", b"RIFF\0\0\0\0????", "application/octet-stream", "document"),
        ("a.pdf", b"%PDF-1.7\n", "application/pdf", "document"),
        ("a", b"ID3\x04\0", "audio/mpeg", "audio"),
        ("a.mp3", b"\xff\xfb\x90\0", "audio/mpeg", "audio"),
        ("a", b"fLaC\0", "audio/flac", "audio"),
        ("a", b"OggS\0", "audio/ogg", "audio"),
        ("a", b"\x1aE\xdf\xa3\0", "video/webm", "video"),
        ("a.mp3", b"OggS\0", "audio/mpeg", "audio"),
        ("a", b"\0\0\0\x20ftypisom", "video/mp4", "video"),
        ("a.m4a", b"\0\0\0\x20ftypM4A ", "audio/mp4", "audio"),
        ("a.jpg", b"\0\0\0\x20ftypheic", "image/heic", "image"),
        ("a.mov", b"\0\0\0\x14ftypqt  ", "video/quicktime", "video"),
        ("a.txt", b"text", "text/plain", "document"),
        ("a.csv", "grün".encode(), "text/csv", "document"),
        ("a.json", b"{}", "application/json", "document"),
        ("a.svg", b"<svg/>", "image/svg+xml", "document"),
        ("a.ts", b"const a = 1", "text/plain", "document"),
        ("Makefile", b"all:\n", "text/plain", "document"),
        ("a.sh", b"#!/bin/sh\n", "text/plain", "document"),
        ("a.png", b"not a picture", "text/plain", "document"),
        ("a.png", BINARY, "application/octet-stream", "document"),
        ("a.pdf", BINARY, "application/octet-stream", "document"),
        ("a.txt", BINARY, "application/octet-stream", "document"),
        ("a.txt", "grün".encode("latin-1"), "text/plain", "document"),
        ("a.zip", b"PK\x03\x04\0\xff", "application/zip", "document"),
        ("a.tar.gz", b"\x1f\x8b\0", "application/octet-stream", "document"),
        ("a.png", b"", "text/plain", "document"),
        ("", b"", "text/plain", "document"),
        ("no.such-ending", BINARY, "application/octet-stream", "document"),
    ],
)
def test_the_first_bytes_say_what_a_file_is_and_its_name_what_they_leave_open(
    name: str, data: bytes, mime: str, kind: str
) -> None:
    assert mime_of(name, data) == mime
    assert kind_of(mime) == kind


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
