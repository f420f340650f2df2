"""A whole system of real processes in which two spokes serve one bot: hub, worker, server and a strict platform."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from factory_contracts import subjects
from factory_nats.server import EmbeddedServer
from tests.chaos import checker, script
from tests.chaos.conductor import SPOKES, Forked
from tests.chaos.discord import Discord
from tests.chaos.fuse import Fuses
from tests.chaos.ledger import DEEDS, SCREEN, Ledger
from tests.chaos.script import Kind, Question
from tests.chaos.surroundings import AUDITOR, BOTS, HUBS, SCRIPT, TELEGRAM, WORKERS, Bus, seeds, spoke, users
from tests.chaos.telegram import Telegram
from tests.fakes import eventually, until

ROOT = Path(__file__).parents[2]
BOT = BOTS[0]
TICK = 0.02
PATIENCE = 20.0


class Spawned:
    """A process that imports the contracts of a folder instead of ours."""

    def __init__(self, contracts: Path, module: str, command: Sequence[str], log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{contracts}{os.pathsep}{ROOT}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, if it has."""
        return self._process.poll()

    async def wait(self) -> int:
        """How it ended, once it has."""
        while (status := self.returncode) is None:
            await asyncio.sleep(TICK)
        return status

    def end(self) -> None:
        """Kill it where it lives."""
        self._process.kill()
        self._process.wait()


@dataclass(slots=True)
class Stage:
    """The processes, the platform, and what was asked there."""

    folder: Path
    platform: str
    bus: Bus
    fuses: Fuses
    deeds: Ledger
    is_apart: bool
    world: Telegram | Discord = field(init=False)
    scope: str = ""
    processes: dict[str, Forked | Spawned] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    written: list[float] = field(default_factory=list)

    def note(self, key: str, text: str) -> None:
        """Something was written."""
        self.shown[key] = text
        self.written.append(time.time())

    def start(self, name: str, module: str, *arguments: str, contracts: Path | None = None) -> None:
        """Start a process, with other contracts than ours if need be; one that was killed begins another life."""
        if name in self.processes:
            self.processes[name].end()
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            born = Forked if contracts is None else partial(Spawned, contracts)
            self.processes[name] = born(f"tests.chaos.{module}", (str(self.folder), *arguments), log)

    def start_spoke(self, number: int, contracts: Path | None = None) -> None:
        """Start a spoke of the bot."""
        more = () if number == 1 else (str(number), *(("apart",) if self.is_apart else ()))
        self.start(self.name(number), SPOKES[self.platform], BOT, *more, contracts=contracts)

    def name(self, number: int) -> str:
        """What a spoke is called here."""
        return spoke(self.platform, BOT) + ("" if number == 1 else f".{number}")

    def signal(self, number: int, what: signal.Signals) -> None:
        """Do something to a spoke, and note what was done."""
        pid = self.processes[self.name(number)].pid
        deed = {signal.SIGKILL: "kill", signal.SIGSTOP: "freeze"}.get(what)
        if deed is not None:
            self.deeds.write(deed=deed, point="", slot=self.name(number), pid=pid, at=time.time())
        os.kill(pid, what)

    def ask(self, kind: Kind) -> str:
        """A person asks something; its name."""
        question = Question(f"q{len(self.asked) + 1}", kind, "amber fjord", self.world.speaker)
        expected = script.answer(question, len(self.asked))
        message = self.world.ask(BOT, self.scope, question.text)
        key = f"{BOT} {self.scope} {message}"
        self.asked.append((key, expected))
        return key

    async def begun(self, key: str) -> None:
        """Return when some of the answer stands there."""
        await until(lambda: len(self.shown.get(key, "")) > len("…") + 20, seconds=PATIENCE)

    async def answered(self) -> None:
        """Return when everything that was asked is answered whole."""
        await until(lambda: all(self.shown.get(key) == expected for key, expected in self.asked), seconds=PATIENCE)

    async def speaks(self, number: int) -> None:
        """Return when this spoke is the one that speaks."""
        pid = self.processes[self.name(number)].pid
        await until(lambda: self.speaking() == pid, seconds=PATIENCE)

    def speaking(self) -> int:
        """The process that was given the lease last."""
        told = "".join(self.told(name) for name in self.processes if name in HUBS).splitlines()
        given = sorted(line for line in told if " speaks for " in line)
        return int(given[-1].partition(" speaks for ")[0].split()[-1].partition("-")[0]) if given else 0

    def told(self, name: str) -> str:
        """What a process logged."""
        return (self.folder / "log" / f"{name}.log").read_text(errors="replace")

    async def stands_by(self, number: int) -> None:
        """Return when this spoke knows that another speaks."""
        life = f"[{self.processes[self.name(number)].pid}] "

        def stands() -> bool:
            lines = self.told(self.name(number)).splitlines()
            return any(life in line and "standing by" in line for line in lines)

        await until(stands, seconds=PATIENCE)

    async def end(self) -> None:
        """End everything that still runs."""
        for process in self.processes.values():
            if process.returncode is None:
                os.kill(process.pid, signal.SIGCONT)
                os.kill(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(process.wait() for process in self.processes.values()))
        finally:
            for process in self.processes.values():
                process.end()


@asynccontextmanager
async def staged(folder: Path, platform: str, *, is_apart: bool = False, are_ours: bool = True) -> AsyncIterator[Stage]:
    """At the end everything is held against everything: nothing may be lost, doubled or out of order."""
    (folder / "log").mkdir()
    (folder / SCRIPT).write_text(script.toml())
    secrets = seeds(platform)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            EmbeddedServer(folder / "nats", users=users(platform, secrets), streams=[subjects.STREAM])
        )
        bus = Bus(server.url, secrets, platform)
        stage = Stage(folder, platform, bus, Fuses(folder), Ledger(folder / DEEDS), is_apart)
        world = Telegram if platform == TELEGRAM else Discord
        stage.world = world(folder / SCREEN, stage.note, lambda bot: 0)
        at = await stage.world.open(folder)
        stack.push_async_callback(stage.world.close)
        Bus(server.url, secrets, platform, at).write(folder)
        (stage.scope,) = stage.world.scopes(BOT, 1)
        stack.push_async_callback(stage.end)
        if are_ours:
            stage.start(HUBS[0], "hub_process", HUBS[0])
            stage.start(WORKERS[0], "worker_process", WORKERS[0])
        yield stage
        await stage.answered()
        await _judge(stage)


async def _judge(stage: Stage) -> None:
    log = await eventually(lambda: _log(stage), lambda log: not checker.open_turns(log))
    assert checker.judge(stage.folder, log).faults + stage.world.faults() == []
    assert not [name for name in stage.processes if "Traceback" in stage.told(name)]


async def _log(stage: Stage) -> tuple[checker.Entry, ...]:
    return await checker.read_log(stage.bus.url, AUDITOR, stage.bus.seeds[AUDITOR])
