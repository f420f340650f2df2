"""What an agent can do in its folder, and how it is told what it cannot."""

import asyncio
import errno
import fcntl
import gc
import json
import os
import re
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.tools.files import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_FOUND,
    MAX_KEPT,
    MAX_SEARCHED,
    MAX_SHOWN,
    MAX_WRITTEN,
    UNFINISHED,
    Folders,
    Opener,
    beneath,
    best_opener,
    folder_name,
    stepwise,
)
from factory_contracts.messages import AttachmentKind
from factory_contracts.work import AgentSpec, Files
from hub.kernel.harness import MAX_FILE, MAX_OBSERVATION
from hub.kernel.ports import Equipped, Media, Observation, Occasion, ToolFailed
from tests.fakes import words_of

OPENERS: tuple[Opener, ...] = (stepwise,) if best_opener() is stepwise else (beneath, stepwise)
READING = {"list_files", "read_file", "search_files", "send_file"}
WRITING = {"write_file", "edit_file", "make_folder", "move_file", "delete_file"}
OUTSIDE = "what nobody may see"
PNG = b"\x89PNG\r\n\x1a\n\0"


def agent(files: Files | None, namespace: str = "ann") -> AgentSpec:
    return AgentSpec(name="ann", hash="1", model="scripted", namespace=namespace, files=files)


OCCASION = Occasion("turn", "call", "scope", "user", agent(None))


class Desk:
    """An agent at its folder."""

    def __init__(self, folder: Path, tools: tuple[Equipped, ...]) -> None:
        self.folder = folder
        self.tools = {tool.spec.name: tool for tool in tools}

    async def does(self, tool: str, **arguments: object) -> str:
        return await words_of(self.tools[tool], json.dumps(arguments), OCCASION)

    async def fails(self, tool: str, **arguments: object) -> str:
        with pytest.raises(ToolFailed) as failed:
            await self.does(tool, **arguments)
        assert str(self.folder.parent) not in str(failed.value)
        return str(failed.value)


@pytest.fixture(params=OPENERS, ids=lambda opener: opener.__name__)
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    """An agent with a folder of its own name, beside what it must not see."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text(OUTSIDE)
    (tmp_path / "inside-evil").mkdir()
    (tmp_path / "inside-evil" / "secret.txt").write_text(OUTSIDE)
    (tmp_path / "inside").mkdir()
    tools = await Folders(tmp_path / "base", request.param).tools(agent(Files(root=str(tmp_path / "inside"))))
    return Desk(tmp_path / "inside", tools)


@pytest.fixture
async def kept(tmp_path: Path) -> Desk:
    """An agent whose folder is kept by us."""
    tools = await Folders(tmp_path / "base").tools(agent(Files()))
    return Desk(tmp_path / "base" / "ann", tools)


# Which tools there are


async def test_who_may_write_has_all_tools_and_who_may_not_has_those_that_read(tmp_path: Path) -> None:
    folders = Folders(tmp_path)

    all_of_them = await folders.tools(agent(Files(can_write=True)))
    reading = await folders.tools(agent(Files(can_write=False)))

    assert {tool.spec.name for tool in all_of_them} == READING | WRITING
    assert {tool.spec.name for tool in reading} == READING
    assert {tool.spec.name for tool in all_of_them if tool.spec.effect == "write"} == WRITING
    assert {tool.spec.name for tool in reading if tool.spec.effect == "read" and tool.spec.is_idempotent} == READING
    assert not any(tool.spec.is_idempotent for tool in all_of_them if tool.spec.name in ("edit_file", "move_file"))


async def test_an_agent_without_files_has_no_tools_for_them(tmp_path: Path) -> None:
    assert await Folders(tmp_path / "base").tools(agent(None)) == ()
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("root", ["{}/nowhere", "{}/file", "relative", "~/notes", "./here", "/\0", "/" + "x" * 5_000])
async def test_a_folder_that_cannot_be_had_is_logged_and_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, root: str
) -> None:
    (tmp_path / "file").write_text("no folder")

    assert await Folders(tmp_path / "base").tools(agent(Files(root=root.format(tmp_path)))) == ()

    assert "ann goes without tools for files" in caplog.text


async def test_a_named_folder_may_be_reached_by_a_link_that_its_owner_made(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "note.txt").write_text("here")
    (tmp_path / "link").symlink_to("real")

    desk = Desk(tmp_path / "real", await Folders(tmp_path / "base").tools(agent(Files(root=str(tmp_path / "link")))))

    assert await desk.does("read_file", path="note.txt") == "here"


async def test_the_kept_folder_is_its_owners_alone(tmp_path: Path) -> None:
    base = tmp_path / "deep" / "base"
    (base / "ann").mkdir(parents=True)
    (base / "ann").chmod(0o755)

    await Folders(base).tools(agent(Files()))
    await Folders(base).tools(agent(Files(), namespace="Ben/../x"))

    assert {path.name for path in base.iterdir()} == {"ann", "%42en%2F%2E%2E%2Fx"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in base.iterdir()} == {0o700}


async def test_a_link_in_place_of_the_kept_folder_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "ann").symlink_to(tmp_path / "elsewhere")

    assert await Folders(tmp_path / "base").tools(agent(Files())) == ()


@given(st.text(min_size=1, max_size=255), st.text(min_size=1, max_size=255))
def test_each_namespace_has_a_folder_of_its_own(one: str, other: str) -> None:
    first, second = folder_name(one), folder_name(other)

    assert re.fullmatch(r"[a-z0-9%A-F_-]{1,200}", first)
    assert (first.casefold() == second.casefold()) == (one == other)


async def test_the_folder_stays_the_same_when_its_name_leads_elsewhere(desk: Desk) -> None:
    (desk.folder / "note.txt").write_text("mine")
    desk.folder.rename(desk.folder.parent / "moved")
    desk.folder.symlink_to(desk.folder.parent / "outside")

    assert await desk.does("read_file", path="note.txt") == "mine"
    assert "does not exist" in await desk.fails("read_file", path="secret.txt")


@pytest.mark.skipif(sys.platform != "linux", reason="counts what /proc shows")
async def test_a_folder_is_closed_when_nobody_has_it_any_more(tmp_path: Path) -> None:
    folders = Folders(tmp_path)

    def opened() -> int:
        return sum(name.endswith(f"{tmp_path}/ann") for name in open_files())

    held = [await folders.tools(agent(Files())) for _ in range(20)]
    assert opened() == 1
    held.clear()

    while opened():
        await asyncio.to_thread(gc.collect)


def open_files() -> set[str]:
    """The files and folders that this process has open, by number and name."""
    found: set[str] = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if name.startswith("/") and not name.startswith(("/proc", "/dev")):
            found.add(f"{number} {name}")
    return found


# Reading


async def test_a_text_is_read_as_it_stands(desk: Desk) -> None:
    for text in ("one\ntwo\n", "no end", "\r\nwindows\r\n", "grüße 👋\n\n", "\ttabs\x0b and \x1c odd ones\u2028\n"):
        (desk.folder / "note.txt").write_bytes(text.encode())

        assert await desk.does("read_file", path="note.txt") == text


async def test_a_part_is_read_and_the_rest_is_named(desk: Desk) -> None:
    (desk.folder / "note.txt").write_text("".join(f"line {number}\n" for number in range(1, 11)))

    assert await desk.does("read_file", path="note.txt", start_line=9) == "line 9\nline 10\n"
    assert await desk.does("read_file", path="note.txt", start_line=2, lines=2) == (
        "line 2\nline 3\n[the file goes on: start_line=4 reads on]"
    )
    assert await desk.does("read_file", path="note.txt", start_line=11) == "[the file has only 10 lines]"
    assert await desk.does("read_file", path="note.txt", start_line=10, start_column=6.0) == "10\n"
    assert await desk.does("read_file", path="note.txt", start_line=10, start_column=60) == (
        "[line 10 ends before column 60]"
    )


async def test_an_empty_file_says_so(desk: Desk) -> None:
    (desk.folder / "note.txt").touch()

    assert await desk.does("read_file", path="note.txt") == "[the file is empty]"


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"line {number} of many\n" for number in range(20_000)),
        "x" * (2 * MAX_SHOWN + 5) + "\nand a short one\n",
        "short\n" + "ü" * (MAX_SHOWN + 1),
        "y" * MAX_SHOWN + "\n" + "z" * MAX_SHOWN,
    ],
    ids=["many lines", "a long line", "a long line later", "just so long"],
)
async def test_following_the_marks_reads_the_whole_file(desk: Desk, text: str) -> None:
    (desk.folder / "long.txt").write_text(text)
    read = ""
    more: dict[str, object] = {}

    for _ in range(30):
        shown = await desk.does("read_file", path="long.txt", lines=100_000, **more)
        assert len(shown) <= MAX_OBSERVATION
        mark = re.search(r"\n\[(.*) goes on: start_line=(\d+)(?: and start_column=(\d+))? reads on.*\]$", shown)
        if mark is None:
            read += shown
            break
        read += shown[: mark.start()] + ("" if mark[3] else "\n")
        more = {"start_line": int(mark[2]), "start_column": int(mark[3] or 1)}

    assert read == text


async def test_what_is_no_text_is_named_instead_of_shown(desk: Desk) -> None:
    (desk.folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (desk.folder / "wide.txt").write_bytes("wide".encode("utf-16"))
    (desk.folder / "noise").write_bytes(bytes(range(128, 256)) * 9)

    for name in ("picture.png", "wide.txt", "noise"):
        said = await desk.does("read_file", path=name)
        assert said.startswith(f"'{name}' holds no UTF-8 text") and said.endswith(" bytes")


async def test_what_is_no_utf_8_is_replaced_and_told(desk: Desk) -> None:
    (desk.folder / "old.txt").write_bytes("Grüße aus Köln, und noch mehr\n".encode("latin-1"))
    (desk.folder / "late.txt").write_bytes(b"a\n" * 5_000 + b"\0\n")
    (desk.folder / "mark.txt").write_bytes(b"\xef\xbb\xbfmarked\n")

    assert await desk.does("read_file", path="old.txt") == (
        "Gr\ufffd\ufffde aus K\ufffdln, und noch mehr\n[3 places that are no UTF-8 text are shown as \ufffd]"
    )
    assert (await desk.does("read_file", path="late.txt", start_line=5_001)).startswith("\ufffd\n[1 places")
    assert await desk.does("read_file", path="mark.txt") == "marked\n"


@pytest.mark.parametrize("number", [0, -1, 0.0, 10**400])
async def test_a_count_that_is_none_is_an_observation(desk: Desk, number: object) -> None:
    (desk.folder / "note.txt").write_text("text")

    for what in ("start_line", "lines", "start_column"):
        assert what in await desk.fails("read_file", path="note.txt", **{what: number})


async def test_a_folder_is_listed_with_what_everything_is(desk: Desk) -> None:
    (desk.folder / "b.txt").write_text("12345")
    (desk.folder / "a").mkdir()
    (desk.folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(desk.folder / "pipe")
    os.link(desk.folder.parent / "outside" / "secret.txt", desk.folder / "second")
    (desk.folder / "two\nlines").touch()
    Path(os.fsdecode(os.fsencode(desk.folder) + b"/no\xfftext")).touch()

    listed = await desk.does("list_files")

    assert listed.splitlines() == [
        "a/",
        "b.txt (5 bytes)",
        "link [is a link, and links are not followed]",
        "no\\xfftext [no tool can use this name]",
        "pipe [is no ordinary file]",
        "second [has a second name somewhere (a hard link), and such files are left alone]",
        "two\\nlines [no tool can use this name]",
    ]
    assert await desk.does("list_files", folder="a/") == "[the folder is empty]"
    assert "is no folder" in await desk.fails("list_files", folder="b.txt")


async def test_a_text_is_found_in_all_folders_whatever_its_case(desk: Desk) -> None:
    (desk.folder / "notes" / "deep").mkdir(parents=True)
    (desk.folder / "notes" / "deep" / "a.txt").write_text("nothing\nthe NEEDLE is here  \n")
    (desk.folder / "b.txt").write_text("x" * 1_000 + " needle " + "y" * 1_000)
    (desk.folder / "c.bin").write_bytes(b"needle\0")
    (desk.folder / "link").symlink_to("b.txt")
    os.mkfifo(desk.folder / "pipe")
    with (desk.folder / "huge").open("wb") as file:
        file.truncate(MAX_SEARCHED + 1)

    found = (await desk.does("search_files", text="Needle")).splitlines()

    assert found[0].startswith("b.txt:1: … x") and " needle " in found[0] and len(found[0]) < 400
    assert found[1:] == [
        "notes/deep/a.txt:2: the NEEDLE is here",
        f"[4 files were not searched: no text, a link, or larger than {MAX_SEARCHED:,} bytes]",
    ]
    assert (await desk.does("search_files", text="needle", folder="notes")).startswith("notes/deep/a.txt:2:")
    assert (await desk.does("search_files", text="ne.dle", folder="notes")) == "[nothing was found]"


# What is sent


async def sent(desk: Desk, path: str) -> Media:
    said = await desk.tools["send_file"].tool.run(json.dumps({"path": path}), OCCASION)
    assert isinstance(said, Observation)
    (file,) = said.files
    assert said == Observation(files=(file,))
    return file


@pytest.mark.parametrize(
    ("path", "data", "kind", "mime"),
    [
        ("notes.txt", "grün".encode(), "document", "text/plain"),
        ("charts/may.png", PNG, "image", "image/png"),
        ("said.ogg", b"OggS" + bytes(24) + b"OpusHead", "voice", "audio/ogg"),
        ("grün und blau.bin", b"\0\xff", "document", "application/octet-stream"),
    ],
)
async def test_a_file_is_sent_as_it_lies_there_under_its_own_name(
    desk: Desk, path: str, data: bytes, kind: AttachmentKind, mime: str
) -> None:
    (desk.folder / path).parent.mkdir(exist_ok=True)
    (desk.folder / path).write_bytes(data)

    assert await sent(desk, path) == Media(kind, Path(path).name, mime, data)


async def test_what_is_empty_or_too_large_is_not_sent(desk: Desk) -> None:
    (desk.folder / "empty").touch()
    with (desk.folder / "large").open("wb") as large:
        large.truncate(MAX_FILE)
    largest = await sent(desk, "large")
    os.truncate(desk.folder / "large", MAX_FILE + 1)

    assert "is empty" in await desk.fails("send_file", path="empty")
    assert f"has {MAX_FILE + 1:,} bytes, and {MAX_FILE:,} is the most" in await desk.fails("send_file", path="large")
    assert len(largest.data) == MAX_FILE
    (desk.folder / "folder").mkdir()
    assert "is a folder" in await desk.fails("send_file", path="folder")


async def test_too_much_found_ends_in_a_mark(desk: Desk) -> None:
    (desk.folder / "a.txt").write_text("same\n" * (2 * MAX_FOUND))

    found = await desk.does("search_files", text="same")

    assert found.endswith(f"[there is more than these {MAX_FOUND} lines; look for something rarer]")
    assert found.count("a.txt:") == MAX_FOUND


@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "x" * 1_001])
async def test_what_cannot_be_searched_for_is_an_observation(desk: Desk, text: str) -> None:
    assert "within one line" in await desk.fails("search_files", text=text)


# Paths


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is empty"),
        (".", "is your whole folder"),
        ("./", "is your whole folder"),
        ("/etc/passwd", "relative"),
        ("//etc/passwd", "relative"),
        ("..", "upwards"),
        ("../outside/secret.txt", "upwards"),
        ("../inside-evil/secret.txt", "upwards"),
        ("a/../../outside/secret.txt", "upwards"),
        ("./../inside/note.txt", "upwards"),
        ("a/..", "upwards"),
        ("~/notes.txt", "no path in your folder"),
        ("~root/x", "no path in your folder"),
        ("file:///etc/passwd", "no path in your folder"),
        ("C:/Windows", "no path in your folder"),
        ("..\\outside\\secret.txt", "backslash"),
        ("a\\..\\b", "backslash"),
        ("note.txt\0.png", "control character"),
        ("\0", "control character"),
        ("note\n.txt", "control character"),
        ("\x1b[2Jnote", "control character"),
        ("txt.\u202egnp", "control character"),
        ("no\u200bte.txt", "control character"),
        ("\U000e0041", "control character"),
        ("half \ud800", "control character"),
        ("\udcff", "control character"),
        ("a/ /b", "blank"),
        ("\u3000", "blank"),
        ("\uff0e\uff0e/outside/secret.txt", "only look like"),
        ("\u2025/outside/secret.txt", "only look like"),
        (".. /outside/secret.txt", "only look like"),
        ("a\uff0fb", "only look like"),
        ("a\u2215b", "only look like"),
        ("a\u2044b", "only look like"),
        ("a\uff3cb", "only look like"),
        ("\u2100", "only look like"),
        ("x" * 256, "more than 255 bytes"),
        ("ü" * 128, "more than 255 bytes"),
        ("a/" * 1_001, "characters"),
        ("a/" * (MAX_DEPTH + 1) + "b", "too deep"),
        ("note.txt/", "ends in '/'"),
        (f"{UNFINISHED}{'0' * 32}", "kept for unfinished"),
        ("nowhere.txt", "does not exist"),
        ("%2e%2e/outside/secret.txt", "does not exist"),
        ("note.txt/more", "is no folder"),
    ],
)
async def test_a_path_that_is_none_is_refused_in_words(desk: Desk, path: str, reason: str) -> None:
    (desk.folder / "note.txt").write_text("text")

    said = await desk.fails("read_file", path=path)

    assert reason in said
    assert said.encode() and said.isprintable() and len(said) < 500
    if path.isprintable() and 0 < len(path) < 200:
        assert f"'{path}'" in said


@pytest.mark.parametrize("path", ["../x", "/tmp/x", "a\0b", "..\\x", "\u2025/x", "~/x", "", ".", f"{UNFINISHED}x"])
async def test_no_tool_takes_a_path_that_another_refuses(desk: Desk, path: str) -> None:
    (desk.folder / "note.txt").write_text("text")

    await desk.fails("send_file", path=path)
    await desk.fails("write_file", path=path, content="text")
    await desk.fails("edit_file", path=path, old="a", new="b")
    await desk.fails("delete_file", path=path)
    await desk.fails("move_file", path="note.txt", to=path)
    await desk.fails("move_file", path=path, to="new.txt")
    if path != ".":
        await desk.fails("list_files", folder=path)
        await desk.fails("search_files", text="text", folder=path)
        await desk.fails("make_folder", path=path)

    assert [each.name for each in desk.folder.iterdir()] == ["note.txt"]


@given(st.text(alphabet="./\\~a\0\u2025\uff0e\uff0f \ud800:%", max_size=12))
@settings(max_examples=60, deadline=None)
def test_no_path_leads_out(path: str) -> None:
    async def attempt() -> None:
        for opener in OPENERS:
            tools = await Folders(at / "base", opener).tools(agent(Files(root=str(at / "inside"))))
            desk = Desk(at / "inside", tools)
            for tool, more in (("read_file", {}), ("write_file", {"content": "x"}), ("make_folder", {})):
                try:
                    await desk.does(tool, path=path, **more)
                except ToolFailed as failed:
                    assert str(at) not in str(failed)

    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "inside").mkdir()
        asyncio.run(attempt())

        assert {each.name for each in at.iterdir()} == {"inside"}


async def test_ways_to_write_the_same_path_are_the_same(desk: Desk) -> None:
    (desk.folder / "a").mkdir()
    (desk.folder / "a" / "ж 1.txt").write_text("text")

    for path in ("a/ж 1.txt", "./a/ж 1.txt", "a//ж 1.txt", "a/./ж 1.txt"):
        assert await desk.does("read_file", path=path) == "text"


@pytest.mark.parametrize("name", ["note: today.txt", "...", "a..b", "-rf", "x~", "$HOME", "*", "日本語　1", "a" * 255])
async def test_a_name_that_is_only_odd_serves(desk: Desk, name: str) -> None:
    await desk.does("write_file", path=name, content="text")

    assert await desk.does("read_file", path=name) == "text"
    assert await desk.does("list_files") == f"{name} (4 bytes)"


# Links and what is no file


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("link", "{}/outside/secret.txt", "link"),
        ("link", "../outside/secret.txt", "link"),
        ("link", "{}/outside", "link/secret.txt"),
        ("link", "..", "link/outside/secret.txt"),
        ("link", "/", "link/etc/passwd"),
        ("link", "/proc/self/root", "link/etc/passwd"),
        ("link", "/proc/self/cwd", "link/README.md"),
        ("link", "note.txt", "link"),
        ("link", ".", "link/note.txt"),
        ("link", "link", "link"),
        ("link", "nowhere", "link"),
    ],
)
async def test_no_link_is_followed(desk: Desk, link: str, target: str, path: str) -> None:
    (desk.folder / "note.txt").write_text("text")
    (desk.folder / link).symlink_to(target.format(desk.folder.parent))

    for tool, more in (
        ("read_file", {}),
        ("send_file", {}),
        ("write_file", {"content": "text"}),
        ("edit_file", {"old": "text", "new": "new"}),
        ("delete_file", {}),
        ("move_file", {"to": "got.txt"}),
    ):
        assert "links are not followed" in await desk.fails(tool, path=path, **more)
    assert "link" in await desk.fails("list_files", folder=link)
    assert "link" in await desk.fails("make_folder", path=f"{link}/new")
    await desk.fails("move_file", path="note.txt", to=f"{link}/moved.txt")
    await desk.fails("move_file", path="note.txt", to=link)

    assert (desk.folder / link).is_symlink()
    assert (desk.folder.parent / "outside" / "secret.txt").read_text() == OUTSIDE
    assert {each.name for each in desk.folder.iterdir()} == {link, "note.txt"}


async def test_a_file_with_a_second_name_is_left_alone(desk: Desk) -> None:
    os.link(desk.folder.parent / "outside" / "secret.txt", desk.folder / "second.txt")

    for tool, more in (
        ("read_file", {}),
        ("send_file", {}),
        ("write_file", {"content": "text"}),
        ("edit_file", {"old": "may", "new": "can"}),
        ("delete_file", {}),
        ("move_file", {"to": "got.txt"}),
    ):
        assert "hard link" in await desk.fails(tool, path="second.txt", **more)
    assert OUTSIDE not in await desk.does("search_files", text="nobody")

    assert (desk.folder.parent / "outside" / "secret.txt").read_text() == OUTSIDE


async def test_what_is_no_ordinary_file_is_not_touched_and_keeps_nobody_waiting(desk: Desk) -> None:
    os.mkfifo(desk.folder / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(desk.folder, os.O_RDONLY)
        bound.bind(f"/proc/self/fd/{here}/socket" if sys.platform == "linux" else str(desk.folder / "socket"))
        os.close(here)
    if os.geteuid() == 0:
        os.mknod(desk.folder / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    names = [each.name for each in desk.folder.iterdir()]

    async with asyncio.timeout(10):
        for name in names:
            assert "is no ordinary file" in await desk.fails("read_file", path=name)
            assert "is no ordinary file" in await desk.fails("write_file", path=name, content="text")
            assert "is no ordinary file" in await desk.fails("edit_file", path=name, old="a", new="b")
            assert "is no ordinary file" in await desk.fails("delete_file", path=name)
            assert "is no ordinary file" in await desk.fails("move_file", path=name, to="got")

    assert len(names) >= 2


async def test_a_pipe_that_comes_in_the_place_of_a_file_keeps_nobody_waiting(desk: Desk) -> None:
    opener = OPENERS[0]
    os.mkfifo(desk.folder / "pipe")
    folder = os.open(desk.folder, os.O_RDONLY)
    try:
        async with asyncio.timeout(10):
            os.close(await asyncio.to_thread(opener, folder, b"pipe", os.O_RDONLY | os.O_NONBLOCK))
    finally:
        os.close(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is another file system there")
@pytest.mark.parametrize("opener", OPENERS)
async def test_another_file_system_is_out_of_reach(tmp_path: Path, opener: Opener) -> None:
    desk = Desk(Path("/"), await Folders(tmp_path, opener).tools(agent(Files(root="/", can_write=False))))

    for path in ("proc/self/environ", "proc/self/root/etc/passwd", "proc/self/fd/0"):
        with pytest.raises(ToolFailed, match="another file system"):
            await desk.does("read_file", path=path)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("path", [b"", b"/", b"..", b"a/../b", b"/etc", b"a\0b", b"a//b"])
def test_an_opener_takes_no_path_that_nobody_looked_at(tmp_path: Path, opener: Opener, path: bytes) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError) as refused:
            opener(folder, path, os.O_RDONLY)
    finally:
        os.close(folder)

    assert refused.value.errno == errno.EINVAL


# Writing


async def test_a_file_is_written_whole_and_for_its_owner_alone(desk: Desk) -> None:
    said = await desk.does("write_file", path="note.txt", content="grüße\r\n")
    assert said == "wrote 'note.txt': 9 bytes, a new file"
    assert (desk.folder / "note.txt").read_bytes() == "grüße\r\n".encode()
    assert stat.S_IMODE((desk.folder / "note.txt").stat().st_mode) == 0o600

    (desk.folder / "note.txt").chmod(0o4755)
    said = await desk.does("write_file", path="note.txt", content="")
    assert said == "wrote 'note.txt': 0 bytes, it had 9 before"
    assert stat.S_IMODE((desk.folder / "note.txt").stat().st_mode) == 0o755
    assert [each.name for each in desk.folder.iterdir()] == ["note.txt"]


async def test_who_reads_while_it_is_written_sees_the_old_or_the_new(desk: Desk) -> None:
    texts = ["a" * 50_000, "b" * 60_000]
    (desk.folder / "note.txt").write_text(texts[0])
    seen: set[str] = set()

    async def write() -> None:
        for number in range(16):
            await desk.does("write_file", path="note.txt", content=texts[number % 2])

    writing = asyncio.create_task(write())
    while not writing.done():
        seen.add(await asyncio.to_thread((desk.folder / "note.txt").read_text))
    await writing

    assert seen <= set(texts)


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        ("folder", "text", "is a folder"),
        ("nowhere/note.txt", "text", "does not exist"),
        ("note.txt", "x" * (MAX_WRITTEN + 1), "the most that can be written"),
        ("note.txt", "ü" * (MAX_WRITTEN // 2 + 1), "the most that can be written"),
        ("note.txt", "half \ud83d", "half of a character"),
    ],
)
async def test_what_cannot_be_written_is_told_and_leaves_nothing(
    desk: Desk, path: str, content: str, reason: str
) -> None:
    (desk.folder / "folder").mkdir()

    assert reason in await desk.fails("write_file", path=path, content=content)

    assert [each.name for each in desk.folder.iterdir()] == ["folder"]


async def test_a_name_that_looks_like_another_is_not_made(desk: Desk) -> None:
    await desk.does("write_file", path="café.txt", content="composed")

    assert "looks just like" in await desk.fails("write_file", path="cafe\u0301.txt", content="decomposed")
    assert "looks just like" in await desk.fails("make_folder", path="\uff43\uff41\uff46é.txt")
    await desk.does("move_file", path="café.txt", to="cafe\u0301.txt")

    assert await desk.does("read_file", path="cafe\u0301.txt") == "composed"


async def test_one_place_is_edited(desk: Desk) -> None:
    (desk.folder / "note.txt").write_text("one\ntwo\nthree\n")

    said = await desk.does("edit_file", path="note.txt", old="two", new="2")

    assert said == "changed 'note.txt' at line 2: it has 12 bytes now"
    assert (desk.folder / "note.txt").read_text() == "one\n2\nthree\n"


async def test_an_edit_keeps_the_line_ends_of_the_file(desk: Desk) -> None:
    (desk.folder / "note.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")

    await desk.does("edit_file", path="note.txt", old="one\ntwo\n", new="1\n2\n")

    assert (desk.folder / "note.txt").read_bytes() == b"1\r\n2\r\nthree\r\n"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("", "x", "old is empty"),
        ("four", "x", "does not hold the old text"),
        ("Aa", "x", "does not hold the old text"),
        ("aa", "x", "more than once"),
        ("\n", "x", "more than once"),
        ("b", "b", "the same"),
        ("b", "x" * (MAX_WRITTEN + 1), "the most that can be written"),
        ("b", "\ud800", "half of a character"),
        ("\udfff", "b", "half of a character"),
    ],
)
async def test_an_edit_that_is_not_clear_changes_nothing(desk: Desk, old: str, new: str, reason: str) -> None:
    (desk.folder / "note.txt").write_text("aaa\nb\n")

    assert reason in await desk.fails("edit_file", path="note.txt", old=old, new=new)

    assert (desk.folder / "note.txt").read_text() == "aaa\nb\n"


async def test_what_an_edit_would_damage_is_not_edited(desk: Desk) -> None:
    (desk.folder / "old.txt").write_bytes(b"a \xff b")
    with (desk.folder / "large.txt").open("wb") as file:
        file.truncate(MAX_WRITTEN + 1)

    assert "no UTF-8 text" in await desk.fails("edit_file", path="old.txt", old="a", new="b")
    assert "the most that can be edited" in await desk.fails("edit_file", path="large.txt", old="a", new="b")


async def test_edits_at_the_same_time_are_all_made(desk: Desk) -> None:
    (desk.folder / "note.txt").write_text("".join(f"<{number}>" for number in range(12)))

    await asyncio.gather(
        *(desk.does("edit_file", path="note.txt", old=f"<{number}>", new=f"({number})") for number in range(12))
    )

    assert (desk.folder / "note.txt").read_text() == "".join(f"({number})" for number in range(12))


async def test_folders_are_made_with_those_on_the_way(desk: Desk) -> None:
    (desk.folder / "file").touch()

    assert await desk.does("make_folder", path="a/b/c/") == "made the folder 'a/b/c/'"
    assert await desk.does("make_folder", path="a/b") == "the folder 'a/b' was already there"
    assert "exists already" in await desk.fails("make_folder", path="file")
    assert "is no folder" in await desk.fails("make_folder", path="file/b")

    assert stat.S_IMODE((desk.folder / "a/b/c").stat().st_mode) == 0o700


async def test_something_is_moved_and_nothing_is_replaced(desk: Desk) -> None:
    (desk.folder / "a" / "b").mkdir(parents=True)
    (desk.folder / "note.txt").write_text("text")
    (desk.folder / "other.txt").write_text("other")

    assert await desk.does("move_file", path="note.txt", to="a/b/new.txt") == "moved 'note.txt' to 'a/b/new.txt'"
    await desk.does("move_file", path="a/b", to="c")

    assert (desk.folder / "c" / "new.txt").read_text() == "text"
    assert "'c/new.txt' exists already" in await desk.fails("move_file", path="other.txt", to="c/new.txt")
    assert "exists already" in await desk.fails("move_file", path="other.txt", to="a")
    assert "exists already" in await desk.fails("move_file", path="other.txt", to="other.txt")
    assert "'gone.txt' does not exist" in await desk.fails("move_file", path="gone.txt", to="d")
    assert "'d/e' does not exist" in await desk.fails("move_file", path="other.txt", to="d/e")
    assert "into itself" in await desk.fails("move_file", path="a", to="a/b")


async def test_nothing_is_moved_where_no_path_leads(desk: Desk) -> None:
    deep = "/".join("d" * 20)
    await desk.does("make_folder", path=f"one/{deep}")
    await desk.does("make_folder", path=f"two/{deep}")

    assert "too deep" in await desk.fails("move_file", path="one", to=f"two/{deep}/one")


async def test_a_file_or_an_empty_folder_is_deleted(desk: Desk) -> None:
    (desk.folder / "a").mkdir()
    (desk.folder / "a" / "note.txt").touch()

    assert "'a' is a folder that is not empty" in await desk.fails("delete_file", path="a")
    assert await desk.does("delete_file", path="a/note.txt") == "deleted 'a/note.txt'"
    assert "does not exist" in await desk.fails("delete_file", path="a/note.txt")
    assert await desk.does("delete_file", path="a") == "deleted 'a'"

    assert not any(desk.folder.iterdir())


async def test_what_a_crash_left_is_not_seen_and_goes_away(desk: Desk) -> None:
    left = f"{UNFINISHED}{'5e' * 16}"
    (desk.folder / "a").mkdir()
    for folder in (desk.folder, desk.folder / "a"):
        (folder / left).write_text("half a sentence")

    assert await desk.does("list_files") == "a/"
    assert await desk.does("search_files", text="half") == "[nothing was found]"
    await desk.does("write_file", path="note.txt", content="text")
    await desk.does("delete_file", path="a")

    assert [each.name for each in desk.folder.iterdir()] == ["note.txt"]


# Limits


async def test_the_kept_folder_has_a_quota_and_a_named_one_has_none(kept: Desk, desk: Desk) -> None:
    for each in (kept, desk):
        with (each.folder / "big").open("wb") as file:
            file.truncate(MAX_KEPT - 10)

    await kept.does("write_file", path="a", content="x" * 10)
    said = await kept.fails("write_file", path="b", content="x")
    assert "delete something first" in said and "100,000,001" in said
    assert "delete something first" in await kept.fails("edit_file", path="a", old="x" * 10, new="x" * 11)
    await kept.does("write_file", path="a", content="less")
    await desk.does("write_file", path="a", content="x" * 1_000)
    await kept.does("delete_file", path="big")
    await kept.does("write_file", path="b", content="x" * 1_000)


async def test_ten_thousand_entries_are_listed_and_more_are_told_of(kept: Desk) -> None:
    folder = os.open(kept.folder, os.O_RDONLY)
    for name in ("7", "many"):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    for number in range(2, MAX_ENTRIES):
        os.link("many", f"many {number}", src_dir_fd=folder, dst_dir_fd=folder)
    os.close(folder)

    listed: list[str] = []
    start = 1
    while start:
        listed += (await kept.does("list_files", start_entry=start)).splitlines()
        mark = re.fullmatch(r"\[the folder goes on: start_entry=(\d+) shows more of 10,000 entries\]", listed[-1])
        start = int(mark[1]) if mark else 0
        del listed[len(listed) - bool(mark) :]
    assert len(listed) == len(set(listed)) == MAX_ENTRIES
    assert await kept.does("list_files", start_entry=20_000) == "[the folder has only 10,000 entries]"
    assert "delete some first" in await kept.fails("write_file", path="one more", content="")
    assert "delete some first" in await kept.fails("make_folder", path="one more")
    await kept.does("write_file", path="7", content="still")
    (kept.folder / "one more").touch()

    shown = await kept.does("list_files")
    assert shown.endswith(f"[there are more than {MAX_ENTRIES:,} entries; the others are not shown]")
    assert len(shown) < MAX_OBSERVATION
    assert "were searched]" in await kept.does("search_files", text="nowhere")


# Threads


@pytest.fixture
async def busy(desk: Desk) -> AsyncIterator[Desk]:
    """A folder in which another process is writing all the time."""
    folder = os.open(desk.folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield desk
    finally:
        os.close(folder)


async def test_who_is_cancelled_before_it_began_changes_nothing_and_leaves_nothing_open(busy: Desk) -> None:
    (busy.folder / "note.txt").write_text("text")
    before = open_files() if sys.platform == "linux" else set()
    calls = [
        asyncio.create_task(busy.does("write_file", path="new.txt", content="text")),
        asyncio.create_task(busy.does("edit_file", path="note.txt", old="text", new="new")),
        asyncio.create_task(busy.does("delete_file", path="note.txt")),
    ]
    # Reading needs no lock, and the loop is free meanwhile.
    assert await busy.does("read_file", path="note.txt") == "text"

    for each in calls:
        each.cancel()
    ended = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(end, asyncio.CancelledError) for end in ended)
    while sys.platform == "linux" and open_files() - before:
        await asyncio.to_thread(gc.collect)
    assert {each.name: each.read_text() for each in busy.folder.iterdir()} == {"note.txt": "text"}


@pytest.mark.skipif(sys.platform != "linux", reason="counts what /proc shows")
async def test_nothing_stays_open_whatever_happens(desk: Desk) -> None:
    (desk.folder / "folder").mkdir()
    (desk.folder / "note.txt").write_text("text " * 1_000)
    (desk.folder / "link").symlink_to("note.txt")
    (desk.folder / "second").write_text("text")
    os.link(desk.folder / "second", desk.folder / "third")
    before = open_files()

    for path in ("folder", "note.txt", "link", "second", "nowhere", "note.txt/x", "link/x"):
        for tool, more in (
            ("read_file", {}),
            ("send_file", {}),
            ("edit_file", {"old": "text", "new": "x"}),
            ("move_file", {"to": "folder"}),
            ("make_folder", {}),
        ):
            try:
                await desk.tools[tool].tool.run(json.dumps({"path": path, **more}), OCCASION)
            except ToolFailed:
                continue
    await desk.does("search_files", text="text")

    assert open_files() <= before
