"""Somebody exchanges what lies in an agent's folder for links to elsewhere, as fast as it goes, and wins nothing.

As a script, with a number of seconds for each attack: `python -m tests.tools.test_files_attacks 5`.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from adapters.tools.files import UNFINISHED, Folders, Opener, beneath, best_opener, stepwise
from factory_contracts.work import AgentSpec, Files
from hub.kernel.ports import Equipped, Occasion, ToolFailed

SECONDS = 0.2
SECRET = "canary 7f3a91"
OPENERS: tuple[Opener, ...] = (stepwise,) if best_opener() is stepwise else (beneath, stepwise)

# What lies under `flips` is in turn an honest thing and a link to something outside, in steps that are atomic.
FLIPPER = """
import ctypes, os, platform, sys
kind, inside, outside = sys.argv[1:]
os.chdir(inside)
secret = os.path.join(outside, "secret.txt")
number = {"x86_64": 316, "aarch64": 276}.get(platform.machine())
syscall = ctypes.CDLL(None).syscall

def exchange_folder():
    if number is None or syscall(number, -100, b"flips", -100, b"link", 2):
        os.rename("flips", "other")
        os.rename("link", "flips")
        os.rename("other", "link")

def exchange_file():
    os.symlink(secret, "link")
    os.rename("link", "flips")
    honest()

def exchange_hard_link():
    os.link(secret, "link")
    os.rename("link", "flips")
    os.unlink("flips")
    honest()

def honest():
    with open("new", "w") as file:
        file.write("honest")
    os.rename("new", "flips")

if kind == "folder":
    os.symlink(outside, "link")
exchange = {"folder": exchange_folder, "file": exchange_file, "hard link": exchange_hard_link}[kind]
print("ready", flush=True)
os.set_blocking(0, False)
count = 0
while True:
    if count % 64 == 0:
        try:
            if os.read(0, 1) == b"":
                break
        except BlockingIOError:
            pass
    exchange()
    count += 1
    if count == 64:
        os.mkdir("../moving")
print(count, flush=True)
"""


@dataclass(frozen=True, slots=True)
class Battle:
    """How often something was tried, how it ended, how often the other side moved, and what it won."""

    ends: Counter[str]
    flips: int
    wins: tuple[str, ...]


class Field:
    """A folder of an agent, one of somebody else's, and the agent's tools."""

    def __init__(self, at: Path, kind: str) -> None:
        self.inside = at / "inside"
        self.outside = at / "outside"
        self.outside.mkdir(parents=True)
        self.inside.mkdir()
        (self.outside / "secret.txt").write_text(SECRET)
        (self.outside / "old.txt").write_text(SECRET)
        self.flips = self.inside / "flips"
        if kind == "folder":
            self.flips.mkdir()
            (self.flips / "secret.txt").write_text("honest")
        else:
            self.flips.write_text("honest")
        self.folder = os.open(self.flips if kind == "folder" else self.inside, os.O_RDONLY)

    def honest(self, name: str) -> None:
        """Put a file into the honest folder, wherever that is now."""
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=self.folder))

    async def tools(self, opener: Opener) -> dict[str, Equipped]:
        agent = AgentSpec(
            name="ann", hash="1", model="scripted", namespace="ann", files=Files(root=str(self.inside), can_write=True)
        )
        tools = await Folders(self.inside.parent / "base", opener).tools(agent)
        return {tool.spec.name: tool for tool in tools}

    def lost(self) -> tuple[str, ...]:
        """What is not outside as it was."""
        there = {path.name: path.read_text() if path.is_file() else "a folder" for path in self.outside.iterdir()}
        return () if there == {"secret.txt": SECRET, "old.txt": SECRET} else (f"outside: {there}",)


OCCASION = Occasion("t", "c", "s", "u", AgentSpec(name="ann", hash="1", model="scripted", namespace="ann"))


async def call(tools: dict[str, Equipped], tool: str, **arguments: str) -> str:
    try:
        said = await tools[tool].tool.run(json.dumps(arguments), OCCASION)
    except ToolFailed as failed:
        return f"failed: {failed}"
    return said if isinstance(said, str) else "".join(file.data.decode() for file in said.files)


@contextmanager
def flipping(kind: str, field: Field) -> Iterator[list[int]]:
    """Another process moves until the end; then it tells how often it did."""
    flips: list[int] = []
    command = (sys.executable, "-I", "-S", "-c", FLIPPER, kind, str(field.inside), str(field.outside))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdin is not None
        try:
            assert other.stdout.readline() == "ready\n"
            yield flips
        finally:
            other.stdin.close()
            told = other.stdout.read()
        flips.append(int(told))


async def fight(at: Path, kind: str, attempt: "Attempt", opener: Opener, seconds: float) -> Battle:
    field = Field(at, kind)
    tools = await field.tools(opener)
    ends: Counter[str] = Counter()
    wins: list[str] = []
    loop = asyncio.get_running_loop()
    with flipping(kind, field) as flipped:
        end = loop.time() + seconds
        # However busy the machine is, the other side has moved by then.
        while loop.time() < end or not (at / "moving").exists():
            said = await attempt(tools, field)
            ends["failed" if said.startswith("failed") else "done"] += 1
            if SECRET in said or str(field.inside.parent) in said:
                wins.append(said)
    os.close(field.folder)
    wins += field.lost()
    wins += [f"left: {left.name}" for left in field.inside.rglob(f"{UNFINISHED}*")]
    return Battle(ends, flipped[0], tuple(wins))


Attempt = Callable[[dict[str, Equipped], Field], Awaitable[str]]


async def read_within(tools: dict[str, Equipped], _: Field) -> str:
    return await call(tools, "read_file", path="flips/secret.txt")


async def read_it(tools: dict[str, Equipped], _: Field) -> str:
    return await call(tools, "read_file", path="flips")


async def send_within(tools: dict[str, Equipped], _: Field) -> str:
    return await call(tools, "send_file", path="flips/secret.txt")


async def send_it(tools: dict[str, Equipped], _: Field) -> str:
    return await call(tools, "send_file", path="flips")


async def list_it(tools: dict[str, Equipped], _: Field) -> str:
    listed = await call(tools, "list_files", folder="flips")
    return f"{SECRET} {listed}" if "old.txt" in listed else listed


async def search(tools: dict[str, Equipped], _: Field) -> str:
    found = await call(tools, "search_files", text="7f3a91")
    return found if SECRET in found else "nothing"


async def write_within(tools: dict[str, Equipped], _: Field) -> str:
    return await call(tools, "write_file", path="flips/secret.txt", content="overwritten")


async def write_new_within(tools: dict[str, Equipped], field: Field) -> str:
    with suppress(FileNotFoundError):
        os.unlink("new.txt", dir_fd=field.folder)
    return await call(tools, "write_file", path="flips/new.txt", content="new")


async def write_it(tools: dict[str, Equipped], _: Field) -> str:
    return await call(tools, "write_file", path="flips", content="overwritten")


async def edit_it(tools: dict[str, Equipped], _: Field) -> str:
    return await call(tools, "edit_file", path="flips", old=SECRET, new="overwritten")


async def delete_within(tools: dict[str, Equipped], field: Field) -> str:
    field.honest("old.txt")
    return await call(tools, "delete_file", path="flips/old.txt")


async def move_out(tools: dict[str, Equipped], field: Field) -> str:
    with suppress(FileNotFoundError):
        os.unlink("mine.txt", dir_fd=field.folder)
    (field.inside / "mine.txt").write_text("mine")
    return await call(tools, "move_file", path="mine.txt", to="flips/mine.txt")


async def move_in(tools: dict[str, Equipped], field: Field) -> str:
    field.honest("old.txt")
    (field.inside / "got.txt").unlink(missing_ok=True)
    return await call(tools, "move_file", path="flips/old.txt", to="got.txt")


async def make_within(tools: dict[str, Equipped], field: Field) -> str:
    with suppress(FileNotFoundError):
        os.rmdir("deep/deeper", dir_fd=field.folder)
        os.rmdir("deep", dir_fd=field.folder)
    return await call(tools, "make_folder", path="flips/deep/deeper")


ATTACKS: tuple[tuple[str, Attempt], ...] = (
    ("folder", read_within),
    ("folder", send_within),
    ("folder", list_it),
    ("folder", search),
    ("folder", write_within),
    ("folder", write_new_within),
    ("folder", delete_within),
    ("folder", move_out),
    ("folder", move_in),
    ("folder", make_within),
    ("file", read_it),
    ("file", send_it),
    ("file", write_it),
    ("file", edit_it),
    ("hard link", read_it),
    ("hard link", send_it),
    ("hard link", search),
    ("hard link", edit_it),
)


@pytest.mark.parametrize(("kind", "attempt"), ATTACKS)
@pytest.mark.parametrize("opener", OPENERS)
async def test_whoever_exchanges_a_name_for_a_link_wins_nothing(
    tmp_path: Path, opener: Opener, kind: str, attempt: Attempt
) -> None:
    battle = await fight(tmp_path, kind, attempt, opener, SECONDS / len(OPENERS))

    assert battle.wins == ()
    assert battle.flips > 0
    assert battle.ends.total() > 0


async def _main(seconds: float) -> None:
    for opener in OPENERS:
        for kind, attempt in ATTACKS:
            with TemporaryDirectory() as at:
                battle = await fight(Path(at), kind, attempt, opener, seconds)
            print(opener.__name__, kind, attempt.__name__, dict(battle.ends), battle.flips, len(battle.wins), "wins")
            for win in battle.wins[:3]:
                print("   ", win)


if __name__ == "__main__":
    asyncio.run(_main(float(sys.argv[1]) if sys.argv[1:] else 5.0))
