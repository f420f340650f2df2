"""A turn through our harness, held against the bare SDK, and beside it the same turn through five other libraries.

All ask the same server over the same client, each from a process of its own. In a round everybody does a block of
turns, one after the other, and then another in the opposite order (A B C C B A), so that whatever drifts on the machine
falls on all alike. Each round gives one ratio and one overhead for everybody.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from bench.figures import Interval, Report, bootstrap, quartiles
from bench.peers.task import DELTAS, LOOK, SAY
from bench.stage import ROOT, Child, ChildFailed, paths, settings

BARE = "bare SDK"
AGAIN = "bare SDK again"
ADAPTER = "our adapter alone"
OURS = "ours"
ERRAND = "ours, each delta told"
OWN: Mapping[str, str] = {BARE: "bare", AGAIN: "bare", ADAPTER: "adapter", OURS: "ours", ERRAND: "errand"}
PEERS: Mapping[str, str] = {
    "pydantic-ai-slim": "pydantic_ai",
    "openai-agents": "openai_agents",
    "langgraph": "langgraph",
    "autogen-core": "autogen_core",
    "nanobot-ai": "nanobot_ai",
}
# Who wants other versions than we do of what neither asks the model with, and so has an environment of its own.
APART: Mapping[str, str] = {"nanobot-ai": "nanobot"}
# What everybody has in the same versions wherever they are.
SAME = ("openai", "httpx2", "pydantic", "anyio", "uvloop")
PROFILE_TURNS = 400
LAST_WORDS = 300
# What would have a library talk to somebody else, or to the server by a detour.
UNWANTED = ("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "LOGFIRE_", "OTEL_")

CPU_METHOD = "user + system of the client's process alone, per turn"
ROUNDS_METHOD = "a round A B C ... C B A gives one value; median of the rounds"


@dataclass(frozen=True, slots=True)
class Cell:
    """What is asked, in how many lanes at once, and how many turns of each lane make a block."""

    words: str
    lanes: int
    turns: int

    @property
    def name(self) -> str:
        """As a report calls it."""
        said = f"{DELTAS} deltas" if self.words == SAY else f"a tool, then {DELTAS} deltas"
        return f"{said}, {self.lanes} at once"

    @property
    def answers(self) -> dict[str, int]:
        """What the server is to have said when a block is over."""
        turns = self.lanes * self.turns
        return (
            {"words": turns, "usage": turns}
            if self.words == SAY
            else {"calls": turns, "words": turns, "usage": 2 * turns}
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run, and whether the peers are there."""

    cells: tuple[Cell, ...]
    rounds: int
    peers: tuple[str, ...] = tuple(PEERS)
    own: tuple[str, ...] = tuple(OWN)


FULL = Plan(cells=(Cell(SAY, 1, 24), Cell(LOOK, 1, 16), Cell(SAY, 16, 2), Cell(LOOK, 16, 1)), rounds=15)
QUICK = Plan(cells=(Cell(SAY, 1, 10), Cell(LOOK, 1, 8), Cell(SAY, 16, 1), Cell(LOOK, 16, 1)), rounds=6)
SMOKE = Plan(cells=(Cell(SAY, 1, 3), Cell(LOOK, 2, 1)), rounds=2, peers=())


def plan(is_quick: bool, is_smoke: bool, cells: Sequence[int] | None = None) -> Plan:
    """The plan that was asked for, or some of its cells."""
    whole = SMOKE if is_smoke else QUICK if is_quick else FULL
    return whole if not cells else replace(whole, cells=tuple(whole.cells[cell] for cell in cells))


@dataclass(frozen=True, slots=True)
class Spent:
    """What one of them spent in a round: CPU seconds for each turn, and the seconds that each turn took."""

    cpu: float
    wholes: tuple[float, ...]


Round = Mapping[str, Spent]


@dataclass(slots=True)
class Field:
    """The server, and everybody who asks it."""

    server: Child
    contestants: dict[str, Child] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


async def run(chosen: Plan, folder: Path) -> Report:
    """The whole measurement."""
    report = Report("harness", settings())
    async with _field(chosen, folder) as made:
        report.setting |= made.versions
        report.setting["server"] = "tests.providers in a process of its own, chunk by chunk, no delay"
        for cell in chosen.cells:
            for name in made.contestants:
                await _block(made, name, cell)
        found = {
            cell.name: [await _round(made, cell, number) for number in range(chosen.rounds)] for cell in chosen.cells
        }
        tell_alike(report, [one for rounds in found.values() for one in rounds])
        for name, rounds in found.items():
            tell(report, name, rounds)
        tell_who_is_missing(report, chosen.peers, made.missing)
    return report


async def profile(chosen: Plan, folder: Path) -> str:
    """Where we spend our CPU time, and for comparison the bare SDK."""
    parts: list[str] = []
    async with _field(replace(chosen, peers=(), own=(BARE, OURS)), folder) as made:
        for cell in chosen.cells:
            long = replace(cell, turns=max(1, PROFILE_TURNS // cell.lanes))
            for name, child in made.contestants.items():
                await _block(made, name, cell)
                await child.ask(do="sample")
                spent = await _block(made, name, long)
                parts.append(_table(f"{name}, {cell.name}", await child.ask(do="samples"), 1e6 * spent.cpu))
    return "\n".join(parts)


def tell(report: Report, cell: str, rounds: Sequence[Round]) -> None:
    """Everybody's figures in one cell, and the gates: we cost less over the bare SDK than each of the others does."""
    overheads: dict[str, Interval] = {}
    ratios: dict[str, Interval] = {}
    for name in rounds[0]:
        cpu = [1000 * one[name].cpu for one in rounds]
        report.add(f"{name}: CPU, {cell}", bootstrap(cpu), "ms/turn", f"{CPU_METHOD}; {ROUNDS_METHOD}")
        wholes = [1000 * whole for one in rounds for whole in one[name].wholes]
        method = "from the question to the whole answer; all turns of all rounds"
        report.add(f"{name}: whole turn, {cell}", quartiles(wholes), "ms", method, "quartiles")
        if name == BARE:
            continue
        ratio = bootstrap([one[name].cpu / one[BARE].cpu for one in rounds])
        method = f"CPU per turn over that of the bare SDK; {ROUNDS_METHOD}"
        ratios[name] = report.add(f"{name}: CPU / bare SDK, {cell}", ratio, "x", method)
        overhead = bootstrap([1e6 * (one[name].cpu - one[BARE].cpu) for one in rounds])
        method = f"CPU per turn less that of the bare SDK; {ROUNDS_METHOD}"
        overheads[name] = report.add(f"{name}: overhead, {cell}", overhead, "us/turn", method)
    if {ADAPTER, OURS} <= rounds[0].keys():
        own = bootstrap([1e6 * (one[OURS].cpu - one[ADAPTER].cpu) for one in rounds])
        method = f"CPU per turn less that of our adapter without harness; {ROUNDS_METHOD}"
        report.add(f"{OURS}: overhead over our adapter, {cell}", own, "us/turn", method)
    spelled = ", ".join(f"{name} {ratio.median:.2f}" for name, ratio in ratios.items())
    report.notes.append(f"CPU / bare SDK, {cell}: {spelled}")
    for name in PEERS:
        if name in overheads:
            claim = f"overhead (us/turn), {cell}: ours below {name}"
            report.at_most(claim, overheads[OURS], overheads[name].low)


def tell_alike(report: Report, rounds: Sequence[Round]) -> None:
    """Before anything is compared: two processes of the same cost the same."""
    ratios = [one[AGAIN].cpu / one[BARE].cpu for one in rounds]
    method = f"two processes of the bare SDK, all cells; {ROUNDS_METHOD}"
    same = report.add("A/A ratio", bootstrap(ratios), "x", method)
    report.contains("A/A: the bare SDK against itself", same, 1.0)


def tell_who_is_missing(report: Report, wanted: Sequence[str], missing: Mapping[str, str]) -> None:
    """Who could not be measured has no figure, and a claim about all of them is not shown."""
    report.notes += [f"{name}: not measured: {why}" for name, why in missing.items()]
    there = len(wanted) - len(missing)
    report.contains("peers that were measured", Interval(there, there, there, 1), len(wanted))


async def _round(made: Field, cell: Cell, number: int) -> Round:
    """A block of everybody, and again in the opposite order; each round begins with somebody else."""
    names = tuple(made.contestants)
    start = number % len(names)
    order = names[start:] + names[:start]
    spent: dict[str, list[Spent]] = {}
    for name in (*order, *reversed(order)):
        spent.setdefault(name, []).append(await _block(made, name, cell))
    return {
        name: Spent(
            sum(block.cpu for block in blocks) / len(blocks), tuple(w for block in blocks for w in block.wholes)
        )
        for name, blocks in spent.items()
    }


async def _block(made: Field, name: str, cell: Cell) -> Spent:
    found = await made.contestants[name].ask(do="block", words=cell.words, lanes=cell.lanes, turns=cell.turns)
    said = await made.server.ask(do="count")
    if said != cell.answers:
        raise RuntimeError(f"{name} did another turn than the others: it had {said} instead of {cell.answers}")
    return Spent(found["cpu"] / (cell.lanes * cell.turns), tuple(found["wholes"]))


@asynccontextmanager
async def _field(chosen: Plan, folder: Path) -> AsyncIterator[Field]:
    """Everybody in their places; who cannot take theirs is missing, with the reason."""
    python, trouble = environment([name for name in chosen.peers if name not in APART])
    apart = {name: environment_apart(python, APART[name]) for name in chosen.peers if name in APART}
    server = await _start(python, folder, "server")
    made = Field(server)
    try:
        url = await server.ask(do="ready")
        for name in (*chosen.own, *chosen.peers):
            its_python, its_trouble = apart.get(name, (python, trouble))
            if name in chosen.peers and its_trouble:
                made.missing[name] = its_trouble
                continue
            child = await _start(its_python, folder, {**OWN, **PEERS}[name], url, str(folder))
            try:
                made.versions |= await child.ask(do="ready")
            except ChildFailed as error:
                if name not in chosen.peers:
                    raise
                made.missing[name] = " ".join(str(error).split())[-LAST_WORDS:]
                await child.stop()
            else:
                made.contestants[name] = child
        yield made
    finally:
        for child in (*made.contestants.values(), server):
            await child.stop()


async def _start(python: str, folder: Path, *arguments: str) -> Child:
    log = folder / f"{arguments[0]}.log"
    variables = {name: value for name, value in os.environ.items() if not _is_unwanted(name)}
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            python,
            "-m",
            "bench.peers",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            limit=1 << 26,
            cwd=ROOT,
            # One order of hashing for all, or two processes of the same would differ.
            env={**variables, "PYTHONPATH": paths(), "PYTHONHASHSEED": "0"},
        )
    return Child(arguments[0], process, log)


def _is_unwanted(name: str) -> bool:
    return name.startswith(UNWANTED) or name.lower().endswith("_proxy")


def environment(peers: Sequence[str]) -> tuple[str, str]:
    """A Python that has the peers beside everything of ours, so that the SDK is the same for all, and what is wrong.

    Where this one has them not, uv makes one under the user's cache folder, which is found there again.
    """
    if all(_is_here(peer) for peer in peers):
        return sys.executable, ""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = (wanted["project"]["dependencies"], wanted["dependency-groups"]["peers"])
    return _made("peers", groups, ("-r", "pyproject.toml", "--group", "pyproject.toml:peers"))


def environment_apart(python: str, group: str) -> tuple[str, str]:
    """A Python that has this group, and beside it what that other one asks the model with; and what is wrong."""
    told = "import importlib.metadata as m, sys; print(*(f'{one}=={m.version(one)}' for one in sys.argv[1:]))"
    same = subprocess.run([python, "-c", told, *SAME], capture_output=True, text=True, check=True).stdout.split()
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][group]
    return _made(group, (wanted, same), ("--group", f"pyproject.toml:{group}", *same))


def _made(name: str, groups: object, installed: Sequence[str]) -> tuple[str, str]:
    digest = sha256(f"{groups} {sys.version}".encode()).hexdigest()[:12]
    folder = user_cache_path("factory-bench") / f"{name}-{digest}"
    python, whole = str(folder / "bin" / "python"), folder / "whole"
    if whole.exists():
        return python, ""
    uv = shutil.which("uv")
    if uv is None:
        return sys.executable, "it is not installed, and there is no uv to install it with"
    print(f"bench: installs {' '.join(installed)} into {folder}", file=sys.stderr)
    for command in (
        (uv, "venv", "--clear", "--python", sys.executable, str(folder)),
        (uv, "pip", "install", "--compile-bytecode", "--python", python, *installed),
    ):
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        print(done.stderr, file=sys.stderr, end="")
        if done.returncode != 0:
            return sys.executable, f"uv could not install it: {' '.join(done.stderr.split())[-LAST_WORDS:]}"
    whole.touch()
    return python, ""


def _is_here(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _table(name: str, found: dict[str, Any], microseconds: float) -> str:
    lines = [f"\n=== {name}: {microseconds:.0f} microseconds of CPU a turn, {found['samples']} samples"]
    for order, words in (("own", "own time"), ("whole", "with all that is called from there")):
        lines.append(f"  {words}")
        lines += [
            f"  {microseconds * count / found['samples']:8.1f}  {100 * count / found['samples']:5.1f} %  {place}"
            for place, count in found[order]
        ]
    return "\n".join(lines)
