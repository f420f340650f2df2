"""The files that an answer brings, as they lie on this machine, and what a person sees of them."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.cli import downloads
from adapters.cli.downloads import announced, folder_of, safe, save
from factory_contracts.messages import Attachment, AttachmentKind, InboundMessage, Refused, Welcome
from factory_contracts.render import RENDER, AnswerEnded, SavedFile
from tests.terminal.actor import Settings
from tests.terminal.stage import Stage

CHART = {"name": "chart.png", "mime": "image/png", "size": 2_000, "blob": "b"}
GONE = {"name": "old.txt", "mime": "text/plain", "size": 7, "blob": "gone"}


class Shelf:
    """A conversation whose files are their own names."""

    async def start(self) -> Welcome:
        raise NotImplementedError

    async def hello(self, scope_id: str) -> Welcome:
        raise NotImplementedError

    async def submit(self, message: InboundMessage) -> Refused:
        raise NotImplementedError

    async def decide(self, scope_id: str, turn: str, code: str, user_id: str, *, approved: bool) -> Refused | None:
        raise NotImplementedError

    async def keep(self, scope_id: str, kind: AttachmentKind, name: str, mime: str, data: bytes) -> Attachment | None:
        raise NotImplementedError

    async def read(self, attachment: Attachment) -> bytes | None:
        return attachment.name.encode() if attachment.blob != "gone" else None

    async def close(self) -> None:
        """Nothing is held."""


def file(name: str, blob: str = "b") -> Attachment:
    return Attachment(kind="document", name=name, mime="text/plain", size=1_234, blob=blob)


async def test_files_are_saved_for_their_owner_alone_under_their_names(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "files", "a/b c")

    saved = await save(Shelf(), (file("a.txt"), file("grün.txt")), folder)

    assert [one.path for one in saved] == [str(folder / "a.txt"), str(folder / "grün.txt")]
    assert folder.parent == tmp_path / "files"
    assert [path.read_text() for path in sorted(folder.iterdir())] == ["a.txt", "grün.txt"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_what_lies_there_is_never_replaced_nor_written_through(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    (tmp_path / "a (2).txt").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "b").mkdir()

    saved = await save(Shelf(), (file("a.txt"), file("a.txt"), file("b")), tmp_path)

    assert [Path(one.path or "").name for one in saved] == ["a (3).txt", "a (4).txt", "b (2)"]
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


async def test_a_file_that_cannot_be_had_or_saved_is_told_and_the_others_are_saved(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("no folder")

    gone, there = await save(Shelf(), (file("a.txt", "gone"), file("b.txt")), tmp_path / "files")
    (nowhere,) = await save(Shelf(), (file("c.txt"),), tmp_path / "taken")

    assert announced(gone) == "file: a.txt, 1.2 kB, it could not be saved"
    assert announced(there) == f"file: b.txt, 1.2 kB, saved as {tmp_path / 'files' / 'b.txt'}"
    assert nowhere.path is None


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("a.txt", "a.txt"),
        ("two words.tar.gz", "two words.tar.gz"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("/etc/passwd", "_etc_passwd"),
        ("..\\x", "_x"),
        (".bashrc", "bashrc"),
        ("..", "file"),
        ("", "file"),
        (" ", "file"),
        ("a\0b\nc\x1b[2J", "a_b_c_[2J"),
        ("txt.\u202egnp", "txt._gnp"),
        ("half \ud800", "half _"),
        ("x" * 255 + ".png", "x" * 196 + ".png"),
        ("ü" * 255, "ü" * 100),
        ("a." + "x" * 253, ("a." + "x" * 253)[:200]),
    ],
)
def test_a_name_is_safe_whoever_chose_it(name: str, saved: str) -> None:
    assert safe(name) == saved
    assert os.path.basename(saved) == saved


def test_a_file_is_named_under_its_answer_with_where_it_lies(stage: Stage, tmp_path: Path) -> None:
    stage.type("draw\r")
    stage.finish(stage.accepted(), "Here you are.", attachments=[CHART, GONE], usage={"calls": 1})
    stage.see("could not be saved")

    path = tmp_path / "files" / "here" / "chart.png"
    assert path.read_bytes() == b"x" * 2_000
    shown = "".join(stage.shown().split())
    assert f"Hereyouare.file:chart.png,2.0kB,savedas{path}file:old.txt,7bytes,itcouldnotbesaved1modelcall" in shown


def test_an_answer_that_is_told_again_saves_its_files_once(stage: Stage, tmp_path: Path) -> None:
    stage.type("draw\r")
    turn = stage.accepted()
    stage.finish(turn, "Here.", attachments=[CHART])
    stage.finish(turn, "Here.", attachments=[CHART])

    assert [path.name for path in (tmp_path / "files" / "here").iterdir()] == ["chart.png"]


def test_the_number_of_a_choice_says_it(stage: Stage) -> None:
    stage.type("shall I?\r")
    stage.finish(stage.accepted(), "It depends.", choices=["Yes, do", "No"])
    stage.see("1 Yes, do  2 No")
    stage.type("2\r")

    assert stage.told("submitted")["text"] == "No"
    stage.see("> No")


def test_a_number_that_is_no_choice_any_more_is_a_number(stage: Stage) -> None:
    stage.type("shall I?\r")
    stage.finish(stage.accepted(), "It depends.", choices=["Yes", "No"])
    stage.see("1 Yes  2 No")
    stage.type("3\r")
    other = stage.told("submitted")
    stage.order("accept")
    stage.type("1\r")

    assert other["text"] == "3"
    assert stage.told("submitted")["text"] == "1"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(str(tmp_path), prompt="What?", use_color=False)


@pytest.fixture
def piped(settings: Settings, tmp_path: Path) -> Iterator[Stage]:
    """A terminal whose stdout goes into a file."""
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        yield stage


def test_a_pipe_gets_the_words_alone_and_the_rest_is_told_beside_them(piped: Stage, tmp_path: Path) -> None:
    piped.finish("another", "Not this.", attachments=[CHART])
    piped.finish(piped.accepted(), "Here.", attachments=[CHART], choices=["Yes", "No"])
    code = piped.end()

    assert code == 0
    assert (tmp_path / "out").read_text() == "Here.\n"
    assert [path.name for path in (tmp_path / "files" / "here").iterdir()] == ["chart.png"]
    assert "file: chart.png, 2.0 kB, saved as" in piped.shown()
    assert "choices: Yes, No" in piped.shown()


def test_json_tells_where_the_files_lie_and_what_may_be_said(settings: Settings, tmp_path: Path) -> None:
    settings.is_json = True
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        turn = stage.accepted()
        stage.finish(turn, "Here.", attachments=[CHART, GONE], choices=["Yes", "No"])
        stage.end()

    last = (tmp_path / "out").read_bytes().splitlines()[-1]
    path = str(tmp_path / "files" / "here" / "chart.png")
    assert RENDER.decode(last) == AnswerEnded(
        turn=turn,
        text="Here.",
        outcome="complete",
        files=(
            SavedFile(name="chart.png", mime="image/png", size=2_000, path=path),
            SavedFile(name="old.txt", mime="text/plain", size=7),
        ),
        choices=("Yes", "No"),
    )
    assert json.loads(last)["files"][0]["path"] == path


def test_what_was_saved_until_then_is_removed_and_the_folder_with_the_last_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "old").write_text("secret")
    (folder / "link").symlink_to(tmp_path)
    (folder / "new").write_text("kept")
    os.utime(folder / "new", (2_000.0, 2_000.0))
    for name in ("old", "link"):
        os.utime(folder / name, (1_000.0, 1_000.0), follow_symlinks=False)

    (folder / "of my own").mkdir()
    downloads.forget(folder, 1_500.0)
    (folder / "of my own").rmdir()
    left = [path.name for path in folder.iterdir()]
    downloads.forget(folder, 2_000.0)
    downloads.forget(folder, 2_000.0)

    assert left == ["new"]
    assert list(tmp_path.iterdir()) == []
