"""What a person sees who has files go with a message."""

import os
from pathlib import Path

import pytest

from tests.terminal.actor import Settings
from tests.terminal.stage import Stage

PNG = b"\x89PNG\r\n\x1a\n" + bytes(2_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture, a text, a name that has spaces in it, and what is no file."""
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "cat.png").write_bytes(PNG)
    (folder / "notes.txt").write_text("text of notes")
    (folder / "my own file.txt").write_text("text of mine")
    (folder / "inner").mkdir()
    os.mkfifo(folder / "pipe")
    with (folder / "large").open("wb") as large:
        large.truncate(20 * 1024 * 1024 + 1)
    return folder


def attach(stage: Stage, words: str) -> None:
    stage.type(f"/attach {words}\r")


def see_whole(stage: Stage, text: str) -> None:
    """Wait until the screen shows a text, which may be broken at its edge."""
    stage.wait(lambda: text.replace(" ", "") in "".join(stage.shown().split()), text)


def test_a_file_goes_with_the_next_message_and_with_no_other(stage: Stage, folder: Path) -> None:
    attach(stage, f"{folder}/cat.png")
    stage.see("with the next message: cat.png (image/png, 2.0 kB)")
    stage.see("with it: [1 file: cat.png]")
    stage.type("what is this?\r")
    kept = stage.told("kept")
    first = stage.told("submitted")
    stage.order("accept")
    stage.finish(stage.turn(first), "A cat.")
    stage.see("A cat.")
    stage.see_no_more("with it:")
    stage.type("sure?\r")

    assert (kept["kind"], kept["name"], kept["mime"]) == ("image", "cat.png", "image/png")
    assert (first["text"], first["files"]) == ("what is this?", ["cat.png"])
    assert "> what is this?\n  [1 file: cat.png]\n" in stage.shown()
    assert stage.told("submitted")["files"] == []


def test_several_files_go_with_one_message(stage: Stage, folder: Path) -> None:
    attach(stage, f"{folder}/cat.png")
    stage.see("with it: [1 file: cat.png]")
    attach(stage, f"{folder}/my own file.txt")
    stage.see("with the next message: my own file.txt (text/plain, 12 bytes)")
    attach(stage, f"'{folder}/my own file.txt' {folder}/notes.txt")
    stage.see("with it: [4 files: cat.png, my own file.txt, my own file.txt, notes.txt]")
    stage.type("look\r")
    told = stage.told("submitted")
    stage.see("  [4 files: cat.png, my own file.txt, my own file.txt, notes.txt]")

    assert told["files"] == ["cat.png", "my own file.txt", "my own file.txt", "notes.txt"]


def test_what_is_attached_is_listed_and_dropped(stage: Stage, folder: Path) -> None:
    attach(stage, "")
    stage.see("no file goes with the next message")
    attach(stage, f"{folder}/cat.png")
    stage.see("with the next message: cat.png")
    attach(stage, f"{folder}/notes.txt")
    stage.see("with the next message: notes.txt")
    attach(stage, "")
    stage.see("with the next message:\ncat.png (image/png, 2.0 kB)\nnotes.txt (text/plain, 13 bytes)\n")
    attach(stage, "-")
    stage.see("no file goes with the next message any more [2 files: cat.png, notes.txt]")
    stage.see_no_more("with it:")
    stage.type("hello\r")

    assert stage.told("submitted")["files"] == []


def test_a_word_to_the_hub_leaves_the_files_for_the_message_after_it(stage: Stage, folder: Path) -> None:
    attach(stage, f"{folder}/cat.png")
    stage.see("with it:")
    stage.type("/new\r")
    word = stage.told("submitted")
    stage.order("accept")
    stage.finish(stage.turn(word), "Afresh.")
    stage.type("look\r")

    assert word["files"] == []
    assert stage.told("submitted")["files"] == ["cat.png"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing.png", "there is no file {}"),
        ("inner", "{} is a folder; only single files go with a message"),
        ("pipe", "{} is no ordinary file, but a pipe, a socket or a device"),
        ("large", "{} is too large: 20,971,521 bytes, and 20,971,520 are the limit"),
        ("n" * 300, "{} cannot be read: File name too long"),
    ],
)
def test_a_file_that_cannot_go_is_told_in_a_sentence_and_the_others_stay(
    stage: Stage, folder: Path, name: str, why: str
) -> None:
    attach(stage, f"{folder}/cat.png")
    stage.see("with it: [1 file: cat.png]")
    attach(stage, f"{folder}/{name}")
    see_whole(stage, why.format(f"{folder}/{name}"))
    stage.see("with it: [1 file: cat.png]")
    stage.type("look\r")

    assert stage.told("submitted")["files"] == ["cat.png"]


def test_a_file_that_is_not_there_never_stands_with_the_line(stage: Stage, folder: Path) -> None:
    attach(stage, f"{folder}/missing.png")
    see_whole(stage, f"there is no file {folder}/missing.png")

    assert b"with it" not in stage.written


def test_files_that_are_too_large_together_are_told(stage: Stage, folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).write_bytes(bytes(12_000_000))
        attach(stage, f"{folder}/{name}")
        stage.see("with the next message: ")

    see_whole(stage, "together the files are too large: 24,000,000 bytes, and 20,971,520 are the limit")
    stage.see("with it: [1 file: ")


def test_more_files_than_go_with_a_message_are_told(stage: Stage, folder: Path) -> None:
    for number in range(10):
        attach(stage, f"{folder}/notes.txt")
        stage.see(f"with it: [{number + 1} file")

    attach(stage, f"{folder}/notes.txt")

    see_whole(stage, "notes.txt is one too many: 10 files go with a message")


def test_a_message_that_overtakes_the_reading_of_its_file_goes_with_it(stage: Stage, folder: Path) -> None:
    (folder / "slow.bin").write_bytes(bytes(15_000_000))
    stage.type(f"/attach {folder}/slow.bin\rlook\r")

    assert stage.told("submitted")["files"] == ["slow.bin"]


def test_a_file_that_is_not_taken_leaves_the_message_unsent(stage: Stage, folder: Path) -> None:
    stage.order("fill")
    attach(stage, f"{folder}/cat.png")
    stage.see("with it:")
    stage.type("look\r")
    stage.see("not sent: cat.png could not be stored; it may be too large, or the disk full")
    stage.type("hello\r")
    told = stage.told("submitted")

    assert (told["text"], told["files"]) == ("hello", [])
    assert "> look\n  [1 file: cat.png]\n" in stage.shown()


def test_tab_completes_a_path(stage: Stage, folder: Path) -> None:
    stage.type(f"/attach {folder}/ca\t")
    see_whole(stage, f"> /attach {folder}/cat.png")
    stage.type("\r")
    stage.see("with the next message: cat.png")
    stage.type(f"/attach {folder}/inn\t")
    see_whole(stage, f"> /attach {folder}/inner/")


def test_the_files_of_a_resumed_session_are_named(tmp_path: Path) -> None:
    photo = {"kind": "image", "name": "cat.png", "mime": "image/png", "size": 3, "blob": "b"}
    with Stage(Settings(str(tmp_path))) as stage:
        stage.see(">")
        stage.welcome(history=[{"turn": "t", "asked": "look", "answered": "A cat.", "attachments": [photo, photo]}])
        stage.see("A cat.")

        assert "> look\n  [2 files: cat.png, cat.png]\n" in stage.shown()


def test_a_name_that_would_steer_the_terminal_is_neither_offered_nor_obeyed(stage: Stage, folder: Path) -> None:
    (folder / "z\x1b]0;owned\x07.txt").write_text("text")
    stage.type(f"/attach {folder}/z\t\r")
    see_whole(stage, f"there is no file {folder}/z")
    stage.type(f"\x1b[200~/attach {folder}/z\x1b]0;owned\x07.txt\x1b[201~\r")
    stage.see("with it: [1 file: z?]0;owned?.txt]")

    assert b"\x1b]0;" not in stage.written


def test_what_could_not_be_sent_is_told_with_its_files(stage: Stage, folder: Path) -> None:
    attach(stage, f"{folder}/cat.png")
    stage.see("with it:")
    stage.type("lost words\r")
    stage.told("submitted")
    stage.type("\x04")
    stage.end()

    assert "not sent, the hub is away: lost words\n[1 file: cat.png]" in stage.shown()
