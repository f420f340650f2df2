"""Keeps all processes of a system alive, as a supervisor would, while it kills them; people meanwhile go on asking."""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from adapters.high_water import FileHighWater
from factory_contracts import subjects
from factory_nats.result import Err
from factory_nats.server import EmbeddedServer
from tests.chaos import checker, fuse, script
from tests.chaos.discord import Discord
from tests.chaos.disk import Disk
from tests.chaos.fuse import Fuses
from tests.chaos.ledger import DEEDS, SCREEN, Ledger, read
from tests.chaos.link import Link
from tests.chaos.platform import Platform
from tests.chaos.script import Kind, Question
from tests.chaos.surroundings import (
    AUDITOR,
    BOTS,
    DISCORD,
    HIGH_WATER,
    HUBS,
    SCRIPT,
    SLATE,
    TELEGRAM,
    WORKERS,
    Bus,
    seeds,
    spoke,
    users,
)
from tests.chaos.telegram import Telegram
from tests.nursery import nursery

FENCED = 75
# What a process loads; only a spoke needs a platform's SDK, which takes seconds, and makes every fork a long one.
PRODUCT = ("hub.composition", "workers.clipool.composition", "adapters.spoke", "uvloop")
SDKS = {
    "tests.chaos.telegram_process": ("adapters.telegram.__main__", "tests.telegram.stage", "uvloop"),
    "tests.chaos.discord_process": ("adapters.discord.__main__", "tests.discord.stage", "uvloop"),
}
TICK = 0.02
# A conversation answers one question at a time, a second or two each: the more is asked, the more of them there are.
SCOPES = 8
SECONDS_A_TURN = 1.5
MOST_OPEN = 40
SECONDS_OPEN = 2.0
# Fewer than there are conversations, so that some are evicted and come back.
POOLED = 3 / 8
# How far asking and killing may run ahead of each other, as a share of the run.
AHEAD = 0.1
POINT_PATIENCE = 8.0
POINT_TRIES = 5
FREEZE = (3.0, 6.0)
STUCK = 60.0
STOPS = ("freeze hub", "freeze worker", "freeze spoke")
LINKS = ("hole there", "hole back", "hole", "slow link", "narrow link")
# A hub that hears nothing is followed after two seconds, a spoke after three.
HOLE = (1.0, 5.0)
LATENCY, BANDWIDTH = (0.05, 0.3), (20_000, 60_000)
STORM = 6
FULL = (1.0, 3.0)
MEGABYTES = 48
DRAIN = 60.0
CLOSING = 30.0
STOPPING = 10.0
BEGINNING = 5.0

SPOKES = {SLATE: "spoke_process", TELEGRAM: "telegram_process", DISCORD: "discord_process"}

AnyPlatform = Platform | Telegram | Discord


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing to be done to the system: a death at a point, or something at any instant."""

    what: str
    tries: int = 0


def plan_for_spokes(kills: int, dice: random.Random, *, are_pairs: bool) -> list[Blow]:
    """So many kills of spokes alone, at each of their points and at any instant; where there are two, a few freezes."""
    points = [*fuse.SPOKE_POINTS, fuse.WINDOW] * (6 if kills >= 120 else 2)
    weights = (5, 1) if are_pairs else (1, 1)
    rest = dice.choices(("spoke", "hub and spoke"), weights, k=max(4, kills - len(points)))
    freezes = ["freeze spoke"] * max(1, kills // 12) if are_pairs else []
    blows = [Blow(what) for what in (*points, *rest, *freezes)]
    dice.shuffle(blows)
    return blows


def plan(kills: int, dice: random.Random) -> list[Blow]:
    """So many kills, every named point among them as often as the run's length allows, and a few freezes."""
    each = 6 if kills >= 120 else 1
    points = [point for point in fuse.POINTS for _ in range(each)]
    windows = [fuse.WINDOW] * max(1, kills // 60)
    # A hub that is to die when it takes over must first take over.
    rest = max(6, kills - len(points) - len(windows) - each)
    random_ones = ["nats", "nats", "hub", "worker", "spoke", "everything"]
    random_ones += dice.choices(
        ("hub", "worker", "spoke", "nats", "hub and spoke", "everything"), (30, 25, 15, 15, 10, 5), k=rest - 6
    )
    freezes = ["freeze hub", "freeze worker"] * max(1, kills // 50)
    blows = [Blow(what) for what in (*points, *windows, *random_ones, *freezes)]
    dice.shuffle(blows)
    return blows


def plan_for_surroundings(kills: int, what: Sequence[str], dice: random.Random) -> list[Blow]:
    """So many troubles of these kinds in turn, and a few plain deaths among them."""
    of_kind = {"stop": ("freeze hub", "freeze worker"), "link": LINKS}
    kinds = [of_kind.get(one, (one,)) for one in what]
    troubles = [
        Blow(kinds[number % len(kinds)][number // len(kinds) % len(kinds[number % len(kinds)])])
        for number in range(kills)
    ]
    blows = [*troubles, *(Blow(one) for one in dice.choices(("hub", "worker", "spoke"), k=kills // 4))]
    dice.shuffle(blows)
    return blows


@dataclass(slots=True)
class Slot:
    """One process over all its lives."""

    name: str
    command: tuple[str, ...]
    is_standby: bool = False
    starts: int = 0
    since: float = 0.0
    process: "asyncio.subprocess.Process | Forked | None" = None

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None


@dataclass(slots=True)
class Run:
    """One run: the system, its people, and what is done to it."""

    folder: Path
    seed: int
    kills: int
    turns: int
    seconds: float
    platform: str
    is_forked: bool
    only_spokes: bool
    pairs: str
    surroundings: tuple[str, ...]
    say: Callable[[str], None]
    # How many share the work; where there is one, a second stands by.
    hubs: int = 1
    dice: random.Random = field(init=False)
    faults: list[str] = field(default_factory=list)
    exits: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    struck: int = 0
    planned: int = 0
    wanted: Kind | None = None
    is_short: bool = False
    pids: dict[str, int] = field(default_factory=dict)
    _expected: dict[str, tuple[str, float]] = field(default_factory=dict)
    _earlier: Counter[str] = field(default_factory=Counter)
    _moved: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    @property
    def shares(self) -> bool:
        """Whether every hub serves a part."""
        return self.hubs > 1

    async def run(self) -> checker.Verdict:
        """From the first process to the verdict."""
        secrets = seeds(self.platform)
        server = EmbeddedServer(self.folder / "nats", users=users(self.platform, secrets), streams=[subjects.STREAM])
        disk = None
        if {"disk", "power"} & set(self.surroundings):
            disk = Disk(self.folder / "disk.img", server.directory / "js", MEGABYTES)
            disk.open()
        (self.folder / SCRIPT).write_text(script.toml())
        (self.folder / "log").mkdir()
        platform = self._new_platform()
        system = System(self, server, Fuses(self.folder), Ledger(self.folder / DEEDS), disk)
        ways = await system.lay_links() if "link" in self.surroundings else {}
        pools = round(self.scopes * len(BOTS) * POOLED)
        bus = Bus(server.url, secrets, self.platform, await platform.open(self.folder), ways, pools)
        bus.write(self.folder)
        began = time.monotonic()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.hurry)
        try:
            async with asyncio.TaskGroup() as group:
                system.start(group)
                asking = group.create_task(self._ask(platform))
                await self._strike(system)
                await asking
                system.fuses.disarm()
                self.say(f"all asked and done after {time.monotonic() - began:.0f} s, draining")
                await self._drain(platform, bus)
                self.say(f"drained after {time.monotonic() - began:.0f} s, ending")
                await system.stop()
            log = await checker.read_log(bus.url, AUDITOR, secrets[AUDITOR])
            self.say(f"all has ended after {time.monotonic() - began:.0f} s, judging")
        finally:
            await platform.close()
            await server.stop()
            await system.take_links()
            if disk is not None:
                disk.unmount()
        checker.write_log(self.folder, log)
        verdict = checker.judge(self.folder, log)
        checker.inspect(log, await FileHighWater(self.folder / HIGH_WATER).read(), verdict)
        verdict.figures |= self.exits
        verdict.faults += self.faults + self._defects() + platform.faults()
        return verdict

    def hurry(self) -> None:
        """Ask and kill no more: what there was until now is judged."""
        self.is_short = True

    @property
    def scopes(self) -> int:
        """How many conversations each bot has."""
        return max(SCOPES, round(self.turns / self.seconds * SECONDS_A_TURN))

    @property
    def is_stuck(self) -> bool:
        """Whether a conversation waits for an answer and has had none for long."""
        long_ago = time.monotonic() - STUCK
        return any(max(at, self._moved[key.rpartition(" ")[0]]) < long_ago for key, (_, at) in self._expected.items())

    def _defects(self) -> list[str]:
        """What the processes themselves say went wrong in a way that nobody foresaw."""
        return [
            f"{path.name}: {line[:200]}"
            for path in sorted((self.folder / "log").iterdir())
            for line in path.read_text(errors="replace").splitlines()
            if line.startswith("Traceback") or " ERROR asyncio: " in line
        ]

    def _new_platform(self) -> AnyPlatform:
        ledger, dice = self.folder / SCREEN, random.Random(self.seed)
        if self.platform == TELEGRAM:
            return Telegram(ledger, self._note_shown, self._pid_of)
        if self.platform == DISCORD:
            return Discord(ledger, self._note_shown, self._pid_of)
        return Platform(ledger, dice, self._note_shown)

    def _pid_of(self, bot: str) -> int:
        """The process that serves a bot, or served it last; 0 where nobody can tell which of two it is."""
        return 0 if self.pairs else self.pids[spoke(self.platform, bot)]

    def _note_shown(self, key: str, text: str) -> None:
        expected = self._expected.get(key)
        if expected is not None and text in (expected[0], script.REFUSED):
            del self._expected[key]
            self._moved[key.rpartition(" ")[0]] = time.monotonic()

    async def _ask(self, platform: AnyPlatform) -> None:
        """People ask, at the pace that makes the turns last as long as the kills, and on until the last kill."""
        dice = random.Random(self.seed + 1)
        began = time.monotonic()
        scopes = [(bot, scope) for bot in BOTS for scope in platform.scopes(bot, self.scopes)]
        weights = [3 if number % SCOPES == 0 else 1 for number in range(len(scopes))]
        most_open = max(MOST_OPEN, round(self.turns / self.seconds * SECONDS_OPEN))
        while self.asked < self.turns or self.struck < self.planned:
            if self.is_stuck or self.is_short:
                break
            ahead = self.asked / self.turns - self.struck / max(1, self.planned) > AHEAD
            due = began + self.asked * self.seconds / self.turns
            if time.monotonic() < due or len(self._expected) >= most_open:
                await asyncio.sleep(TICK)
                continue
            if ahead:
                # Some must go on asking, or the next point would never be reached.
                await asyncio.sleep(0.5)
            bot, scope = dice.choices(scopes, weights)[0]
            for _ in range(dice.choice((1, 1, 2, 4))):
                self._ask_one(platform, dice, bot, scope)

    def _ask_one(self, platform: AnyPlatform, dice: random.Random, bot: str, scope: str) -> None:
        self.asked += 1
        kind = self.wanted or dice.choices(script.KINDS, script.WEIGHTS)[0]
        if "disk" in self.surroundings and kind == "memory":
            # Nobody knows beforehand how much a model will be shown where some is refused.
            kind = "short"
        question = Question(f"q{self.asked}", kind, " ".join(dice.sample(script.WORDS, 3)), platform.speaker)
        place = f"{bot} {scope}"
        expected = script.answer(question, self._earlier[place])
        self._earlier[place] += 1
        message = platform.ask(bot, scope, question.text)
        self._expected[f"{place} {message}"] = expected, time.monotonic()

    async def _strike(self, system: "System") -> None:
        """One blow after another, so that the last falls when the time is over."""
        if self.surroundings:
            blows = plan_for_surroundings(self.kills, self.surroundings, self.dice)
        elif self.only_spokes:
            blows = plan_for_spokes(self.kills, self.dice, are_pairs=bool(self.pairs))
        else:
            blows = plan(self.kills, self.dice)
        self.planned = len(blows)
        await asyncio.sleep(1.5)
        while self.surroundings and not self._moved:
            # A disk or a way to the bus that is not there yet cannot fail.
            await asyncio.sleep(TICK)
        began = time.monotonic()
        while blows:
            if self.is_stuck:
                self.faults.append(f"a conversation was stuck for {STUCK:.0f} s")
                break
            if self.is_short:
                self.faults.append(f"was told to end after {self.struck} of {self.planned} blows")
                break
            if self.struck / self.planned > self.asked / self.turns + AHEAD:
                await asyncio.sleep(TICK)
                continue
            blow = blows.pop(0)
            if blow.what in fuse.ALL_POINTS:
                hit = await self._burn(system, blow.what)
                if not hit and blow.tries < POINT_TRIES:
                    blows.append(Blow(blow.what, blow.tries + 1))
                    continue
            else:
                await system.strike(blow.what)
            self.struck += 1
            left = began + self.struck * self.seconds / self.planned - time.monotonic()
            await asyncio.sleep(max(self.dice.uniform(0.05, 0.6), self.dice.uniform(0.6, 1.4) * left))
        self.struck = self.planned

    async def _burn(self, system: "System", point: str) -> bool:
        """Let whoever comes to the point die there; false if nobody came."""
        if point.startswith("tool"):
            self.wanted = "tool"
        elif point == "mid-stream":
            self.wanted = "long"
        before = system.deaths()
        system.fuses.arm(point, 1 if point in ("epoch taken", "mark written") else self.dice.randint(1, 4))
        if point == "epoch taken":
            await system.strike("hub")
            before += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(POINT_PATIENCE):
                while system.deaths() == before:
                    await system.death()
        self.wanted = None
        system.fuses.disarm()
        return system.deaths() > before

    async def _drain(self, platform: AnyPlatform, bus: Bus) -> None:
        """Until every question is answered on the screen and every turn is closed on the log."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                while self._expected or platform.untaken():
                    platform.changed.clear()
                    await platform.changed.wait()
        if self._expected or platform.untaken():
            self.faults.append(f"not drained: {len(self._expected)} unanswered, {platform.untaken()} not taken")
        log: list[checker.Entry] = []
        deadline = time.monotonic() + CLOSING
        while time.monotonic() < deadline:
            log += await checker.read_log(bus.url, AUDITOR, bus.seeds[AUDITOR], log[-1].sequence if log else 0)
            if not checker.open_turns(log):
                return
            await asyncio.sleep(0.5)


class Forked:
    """A process forked from one that has imported what it needs: it comes up in a moment, and dies like any other."""

    def __init__(self, module: str, command: Sequence[str], log: IO[bytes]) -> None:
        with open(os.devnull, "rb") as nothing:
            self._child = nursery(*SDKS.get(module, PRODUCT)).bear(
                module, command, stdin=nothing.fileno(), stdout=log.fileno(), stderr=log.fileno()
            )
        self.pid = self._child.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, if it has."""
        return self._child.poll()

    async def wait(self) -> int:
        """How it ended, once it has."""
        while (status := self.returncode) is None:
            await asyncio.sleep(TICK)
        return status

    def end(self) -> None:
        """Kill it where it lives, and let go of it."""
        self._child.end()


class System:
    """All processes: started, started again, killed."""

    def __init__(self, run: Run, server: EmbeddedServer, fuses: Fuses, deeds: Ledger, disk: Disk | None = None) -> None:
        self.fuses = fuses
        self._disk = disk
        self._links: dict[str, Link] = {}
        self._may_start = asyncio.Event()
        self._may_start.set()
        self._stopped = asyncio.Event()
        self._run = run
        self._server = server
        self._deeds = deeds
        self._ending = False
        if run.shares:
            self._hubs = [Slot(name, ("hub_process", name, "--shares")) for name in HUBS[: run.hubs]]
        else:
            self._hubs = [Slot(name, ("hub_process", name), is_standby=name != HUBS[0]) for name in HUBS[:2]]
        self._workers = [Slot(name, ("worker_process", name)) for name in WORKERS]
        module = SPOKES[run.platform]
        self._spokes = [Slot(spoke(run.platform, bot), (module, bot)) for bot in BOTS]
        if run.pairs:
            apart = ("apart",) if run.pairs == "apart" else ()
            self._spokes += [Slot(f"{spoke(run.platform, bot)}.2", (module, bot, "2", *apart)) for bot in BOTS]
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._died = asyncio.Event()

    async def lay_links(self) -> dict[str, str]:
        """Give every process a way of its own to the bus; where each finds it."""
        names = [slot.name for slot in (*self._hubs, *self._workers, *self._spokes)]
        self._links = {name: Link(self._server.port) for name in names}
        return {name: await link.open() for name, link in self._links.items()}

    async def take_links(self) -> None:
        """Nobody needs them any more."""
        for link in self._links.values():
            await link.close()

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start everything, in any order."""
        self._tasks["nats"] = group.create_task(self._keep_server())
        for slot in (*self._hubs, *self._workers, *self._spokes):
            self._tasks[slot.name] = group.create_task(self._keep(slot))

    async def stop(self) -> None:
        """End everything but the server in order, and see that it obeys."""
        self._ending = True
        self._tasks.pop("nats").cancel()
        for slots in (self._spokes, self._hubs, self._workers):
            for slot in slots:
                if slot.pid is not None:
                    os.kill(slot.pid, signal.SIGTERM)
            _, late = await asyncio.wait([self._tasks[slot.name] for slot in slots], timeout=STOPPING)
            for slot in slots:
                if self._tasks[slot.name] in late and slot.pid is not None:
                    self._run.faults.append(f"{slot.name} did not end within {STOPPING:.0f} s of SIGTERM")
                    os.kill(slot.pid, signal.SIGKILL)

    def deaths(self) -> int:
        """How many kills there were so far."""
        return sum(deed["deed"] == "kill" for deed in read(self._run.folder / DEEDS))

    async def death(self) -> None:
        """Return when a process has died."""
        self._died.clear()
        await self._died.wait()

    async def strike(self, what: str) -> None:
        """Kill or freeze at this very instant."""
        dice = self._run.dice
        match what:
            case "hub":
                self._kill(what, [self._reigning()])
            case "worker":
                self._kill(what, [dice.choice(self._workers)])
            case "spoke":
                self._kill(what, [dice.choice(self._spokes)])
            case "hub and spoke":
                self._kill(what, [self._reigning(), dice.choice(self._spokes)])
            case "nats":
                self._kill_server(what)
            case "everything":
                self._kill_server(what)
                self._kill(what, [*self._hubs, *self._workers, *self._spokes])
            case "freeze hub":
                await self._freeze(self._reigning())
            case "freeze worker":
                await self._freeze(dice.choice(self._workers))
            case "freeze spoke":
                await self._freeze(dice.choice(self._spokes))
            case "hole there" | "hole back" | "hole" | "slow link" | "narrow link":
                await self._trouble_link(what)
            case "storm":
                self._note(what)
                for _ in range(STORM):
                    self._kill_server(what)
                    await asyncio.sleep(dice.uniform(0.1, 0.6))
            case "disk":
                await self._fill_disk()
            case "power":
                await self._cut_power()
            case _:
                raise ValueError(f"no such blow: {what}")

    def _note(self, what: str, slot: str = "") -> None:
        self._deeds.write(deed="trouble", what=what, slot=slot, at=time.time())

    async def _trouble_link(self, what: str) -> None:
        """Let a process's way to the bus fail for a while; to the others it is as if it stood still."""
        dice = self._run.dice
        slot = dice.choice([*self._hubs, *self._workers, *self._spokes])
        link = self._links[slot.name]
        self._note(what, slot.name)
        if slot.pid is not None:
            self._deeds.write(deed="freeze", slot=slot.name, pid=slot.pid, at=time.time())
        for way in {"hole there": (link.there,), "hole back": (link.back,)}.get(what, (link.there, link.back)):
            match what:
                case "slow link":
                    way.latency = dice.uniform(*LATENCY)
                case "narrow link":
                    way.bandwidth = dice.uniform(*BANDWIDTH)
                case _:
                    way.cut()
        await asyncio.sleep(dice.uniform(*HOLE))
        link.mend()

    async def _fill_disk(self) -> None:
        """Leave the server no room for a while."""
        assert self._disk is not None
        self._note("disk")
        self._disk.fill()
        await asyncio.sleep(self._run.dice.uniform(*FULL))
        self._disk.relieve()

    async def _cut_power(self) -> None:
        """The server's machine is without power for a moment; what it said was stored is there afterwards."""
        assert self._disk is not None
        self._note("power")
        self._may_start.clear()
        self._disk.cut()
        self._kill_server("power")
        await self._stopped.wait()
        self._disk.unmount()
        self._disk.mount()
        self._may_start.set()

    def _reigning(self) -> Slot:
        if self._run.shares:
            return self._run.dice.choice(self._hubs)
        return next((hub for hub in self._hubs if not hub.is_standby), self._hubs[0])

    def _kill(self, point: str, slots: Sequence[Slot]) -> None:
        for slot in slots:
            if (pid := slot.pid) is not None:
                self._deeds.write(deed="kill", point=point, slot=slot.name, pid=pid, at=time.time())
                os.kill(pid, signal.SIGKILL)

    def _kill_server(self, point: str) -> None:
        if (pid := self._server.pid) is not None:
            self._deeds.write(deed="kill", point=point, slot="nats", pid=pid, at=time.time())
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _freeze(self, slot: Slot) -> None:
        pid = slot.pid
        if pid is None:
            return
        self._deeds.write(deed="freeze", slot=slot.name, pid=pid, at=time.time())
        os.kill(pid, signal.SIGSTOP)
        seconds = self._run.dice.uniform(*FREEZE)
        await asyncio.sleep(seconds / 2)
        # A hub that dies while a worker stands still leaves its successor with a worker it never heard of.
        if slot in self._workers and self._run.dice.random() < 0.5:
            self._kill("hub", [self._reigning()])
        await asyncio.sleep(seconds / 2)
        if slot.pid == pid:
            os.kill(pid, signal.SIGCONT)

    async def _keep(self, slot: Slot) -> None:
        with (self._run.folder / "log" / f"{slot.name}.log").open("ab") as log:
            while not self._ending:
                status = await self._live(slot, log)
                self._died.set()
                if self._ending:
                    # Who has just begun cannot be told anything yet.
                    is_deaf = status == -signal.SIGTERM and time.monotonic() - slot.since < BEGINNING
                    if status not in (0, -signal.SIGKILL) and not is_deaf:
                        self._run.faults.append(f"{slot.name} ended with status {status} when it was told to end")
                    return
                if status == FENCED and slot in self._hubs and not self._run.shares:
                    # The other one reigns.
                    for hub in self._hubs:
                        hub.is_standby = hub is slot
                    self._run.exits["hubs that left to a successor"] += 1
                elif status == -signal.SIGKILL:
                    slot.is_standby = False
                else:
                    self._run.faults.append(f"{slot.name} ended by itself with status {status}")

    async def _live(self, slot: Slot, log: IO[bytes]) -> int:
        module, *arguments = slot.command
        slot.starts += 1
        slot.since = time.monotonic()
        command = (str(self._run.folder), *arguments, *(("--standby",) if slot.is_standby else ()))
        if self._run.is_forked:
            slot.process = Forked(f"tests.chaos.{module}", command, log)
        else:
            slot.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"tests.chaos.{module}", *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._run.pids[slot.name] = slot.process.pid
        return await slot.process.wait()

    async def _keep_server(self) -> None:
        while True:
            await self._may_start.wait()
            self._stopped.clear()
            started = await self._server.start()
            if isinstance(started, Err):
                self._run.say(f"nats-server: {started.detail}")
                await asyncio.sleep(0.1)
            await self._server.wait()
            self._stopped.set()
