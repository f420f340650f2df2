"""The parent of everything that runs on a home: starts it, starts it again when it dies, ends it in order.

It is light, because a person waits for the prompt: the children, which have much to load, are started first, and learn
from their own retries when the bus is there.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from factory_cli import config, joining, locks, privacy, services, spokes, state
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_contracts import subjects

DEATHS = 5
WINDOW = 60.0
REST = 60.0
FENCED = 75
BEHIND = 65
LACKING = (
    "the log lacks what it held before, or is an older one; `factory log verify` tells what is gone, `factory restore` "
    "brings a backup back, `factory log accept` goes on with what is there"
)
ORPHAN_PATIENCE = 2.0
PRESENCE_TICK = 0.25
LOG_TICK = 1.0
HUB_PATIENCE = 6.0
OTHERS_PATIENCE = 1.5
NATS = "nats"

logger = logging.getLogger("factory_cli.supervisor")


class GaveUp(Exception):
    """A child dies again and again, or cannot be started; the sentence says which and why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and until when."""

    home: Home
    agents: Path
    nats_url: str | None = field(repr=False)
    stays: bool
    log_level: str


@dataclass(slots=True)
class Child:
    """One of our processes, over all its lives."""

    name: str
    command: tuple[str, ...]
    lock: int
    platform: str | None = None
    is_beside: bool = False
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    is_standby: bool = False
    deaths: deque[float] = field(default_factory=deque)


class Supervisor:
    """Runs one plan to its end."""

    def __init__(self, plan: Plan, configuration: config.Configuration) -> None:
        self._plan = plan
        self._home = plan.home
        self._configuration = configuration
        self._stopping = False
        self._end = asyncio.Event()
        self._failure: GaveUp | None = None
        self._nats_pid: int | None = None
        self._nats_starts = 0
        self._nats_deaths: deque[float] = deque()
        self._port = 0
        self._url = plan.nats_url or ""
        self._hubs: tuple[Child, ...] = ()
        self._others: tuple[Child, ...] = ()
        self._spokes = _runnable(plan.home, configuration)
        self._services = services.wanted(configuration)

    async def run(self) -> int:
        """Start, keep, and end everything. The exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._end.set)
        clipools = config.clipools_of(self._configuration)
        hubs = config.hubs_of(self._configuration)
        names = (*hubs, *clipools, *(one.name for one in self._spokes), *(one.name for one in self._services))
        self._end_orphans(names)
        if self._plan.nats_url is None:
            self._choose_port()
        self._hubs = tuple(self._child(name, ("hub", "--agents", str(self._plan.agents))) for name in hubs)
        for spare in self._hubs[1:] if self._configuration.has_standby else ():
            spare.is_standby = True
        self._others = (
            *(
                self._child(name, ("worker", subjects.CLIPOOL, "--name", name, "--agents", str(self._plan.agents)))
                for name in clipools
            ),
            *(self._child(spoke.name, spoke.command, spoke.platform) for spoke in self._spokes),
            *(self._child(one.name, ("worker", one.name), is_beside=True) for one in self._services),
        )
        async with asyncio.TaskGroup() as group:
            tasks = {child.name: group.create_task(self._keep(child)) for child in (*self._hubs, *self._others)}
            bus = None if self._plan.nats_url else group.create_task(self._keep_nats())
            watch = None if self._plan.stays else group.create_task(self._watch_chats())
            logs = group.create_task(self._bound_logs())
            await self._end.wait()
            self._stopping = True
            await self._stop(self._hubs, tasks, HUB_PATIENCE)
            await self._stop(self._others, tasks, OTHERS_PATIENCE)
            for task in (bus, watch, logs):
                if task is not None:
                    task.cancel()
        if self._failure is None:
            state.clear(self._home)
            return 0
        self._tell(str(self._failure))
        print(f"factory: {self._failure}", file=sys.stderr, flush=True)
        return 1

    def _end_orphans(self, names: Iterable[str]) -> None:
        for path in (*(self._home.run / f"{name}.lock" for name in names), self._home.nats / "lock"):
            pid = locks.end_holder(path, ORPHAN_PATIENCE)
            if pid:
                logger.info("ended process %s, which held %s for a supervisor that is gone", pid, path)

    def _choose_port(self) -> None:
        before = state.read(self._home)
        self._port = _port_like(before.url if before is not None and before.is_embedded else "")
        self._url = f"nats://127.0.0.1:{self._port}"

    def _child(
        self, name: str, command: tuple[str, ...], platform: str | None = None, *, is_beside: bool = False
    ) -> Child:
        lock = locks.take(self._home.run / f"{name}.lock")
        if lock is None:
            raise GaveUp(f"{self._home.run / name}.lock is held by a process that it does not name; end it by hand")
        home = ("--home", str(self._home.path), "--under", str(os.getpid()))
        return Child(name, (*joining.PYTHON, "factory_cli", *command, *home), lock, platform, is_beside)

    async def _keep(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            try:
                status = await self._live(child)
            except OSError as error:
                self._give_up(f"{child.name} cannot be started: {error}")
                return
            if self._stopping:
                return
            logger.warning("%s (life %s) ended with %s", child.name, child.starts, _spelled(status))
            is_fenced = child in self._hubs and status == FENCED
            # Where another stands by, it has taken over by now and is not to be robbed of it.
            child.is_standby |= is_fenced or (child in self._hubs and self._configuration.has_standby)
            if is_fenced:
                continue
            if child in self._hubs and status == BEHIND:
                # Started again it would find the same; what to do about it is for a person to say.
                self._give_up(LACKING)
                return
            if _too_often(child.deaths, loop.time()):
                log = self._home.log / f"{child.name}.log"
                last = joining.last_words(log)
                why = (
                    f"{child.name} died {len(child.deaths)} times in {WINDOW:.0f} s, at last with "
                    f"{_spelled(status)}; {log} ends with: {last}"
                )
                if child.platform is None and not child.is_beside:
                    self._give_up(why)
                    return
                # What a platform does to its spoke is no reason to end what others talk with, nor is a mute voice.
                logger.error("%s; it is started again in %.0f s", why, REST)
                child.deaths.clear()
                self._tell()
                with suppress(TimeoutError):
                    async with asyncio.timeout(REST):
                        await self._end.wait()

    async def _live(self, child: Child) -> int:
        standby = ("--standby",) if child.is_standby else ()
        with joining.open_log(self._home, child.name) as log:
            child.process = await asyncio.create_subprocess_exec(
                *child.command,
                *standby,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=config.childrens_variables(self._url, child.platform),
                start_new_session=True,
                pass_fds=(child.lock,),
            )
        locks.sign(child.lock, child.process.pid)
        child.starts += 1
        self._tell()
        if self._stopping:
            _signal(child, signal.SIGTERM)
        return await child.process.wait()

    async def _keep_nats(self) -> None:
        # Loads the client library, which the children do at the same time on the other core.
        from factory_cli import keeping
        from factory_nats.result import Err

        loop = asyncio.get_running_loop()
        try:
            async with keeping.keep(self._home, self._port) as server:
                while True:
                    started = await server.start()
                    self._nats_starts += 1
                    self._nats_pid = server.pid
                    self._tell()
                    if isinstance(started, Err):
                        why = started.detail
                    else:
                        logger.info("the bus is at %s", server.url)
                        why = f"nats-server ended with {_spelled(await server.wait())}: {server.last_words(1)}"
                    self._nats_pid = None
                    logger.warning("nats (life %s): %s", self._nats_starts, why)
                    if _too_often(self._nats_deaths, loop.time()):
                        self._give_up(f"nats-server cannot be kept alive: {why}")
                        return
        except (BadConfiguration, TimeoutError) as error:
            self._give_up(str(error))

    async def _watch_chats(self) -> None:
        while True:
            await asyncio.sleep(PRESENCE_TICK)
            # Got and never given back: whoever comes now waits until this process is gone.
            if locks.take(self._home.run / joining.CHATS) is not None:
                logger.info("the last chat has left")
                self._end.set()
                return

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_TICK)
            for path in self._home.log.glob("*.log"):
                joining.put_aside(path)

    async def _stop(self, children: Iterable[Child], tasks: dict[str, "asyncio.Task[None]"], patience: float) -> None:
        children = tuple(children)
        for child in children:
            _signal(child, signal.SIGTERM)
        waiting = [tasks[child.name] for child in children]
        if not waiting:
            return
        _, late = await asyncio.wait(waiting, timeout=patience)
        for child in children:
            if tasks[child.name] in late:
                logger.warning("%s did not end within %s s and is killed", child.name, patience)
                _signal(child, signal.SIGKILL)
        if late:
            await asyncio.wait(late)

    def _give_up(self, why: str) -> None:
        if self._failure is None:
            self._failure = GaveUp(why)
        self._end.set()

    def _tell(self, failure: str = "") -> None:
        # Not before the bus answers: whoever reads the state may connect.
        if self._plan.nats_url is None and self._nats_starts == 0 and not failure:
            return
        children = (*self._hubs, *self._others)
        told = {child.name: state.ChildState(_pid(child), child.starts, child.is_standby) for child in children}
        if self._plan.nats_url is None:
            told[NATS] = state.ChildState(self._nats_pid, self._nats_starts)
        current = state.State(
            os.getpid(), self._url, self._plan.nats_url is None, str(self._plan.agents), told, failure
        )
        try:
            state.write(self._home, current)
        except OSError as error:
            logger.error("nobody can be told how we do: %s", error)


def _runnable(home: Home, configuration: config.Configuration) -> tuple[spokes.Process, ...]:
    """The spokes that can run as they are set up; why one cannot is said here, and others need not suffer from it."""
    trouble = spokes.trouble(home.keys, configuration)
    for platform, error in trouble.items():
        logger.error("%s is not started: %s", platform, error)
    return tuple(spoke for spoke in spokes.processes(configuration) if spoke.platform not in trouble)


def supervise(plan: Plan, lock: int) -> int:
    """Run the plan under the lock of the home's supervisor. The exit status."""
    privacy.seal()
    redact = privacy.of_surroundings(plan.nats_url)
    privacy.report(plan.log_level, redact)
    try:
        configuration = config.settle(plan.home)
        return asyncio.run(_supervise(plan, configuration, lock))
    except (BadConfiguration, GaveUp, TimeoutError) as error:
        print(f"factory: {redact(str(error))}", file=sys.stderr, flush=True)
        return 1


async def _supervise(plan: Plan, configuration: config.Configuration, lock: int) -> int:
    supervisor = Supervisor(plan, configuration)
    locks.sign(lock, os.getpid())
    return await supervisor.run()


def _too_often(deaths: deque[float], now: float) -> bool:
    deaths.append(now)
    while now - deaths[0] > WINDOW:
        deaths.popleft()
    return len(deaths) > DEATHS


def _signal(child: Child, number: signal.Signals) -> None:
    if _pid(child) is not None and child.process is not None:
        with suppress(ProcessLookupError):
            child.process.send_signal(number)


def _pid(child: Child) -> int | None:
    return child.process.pid if child.process is not None and child.process.returncode is None else None


def _spelled(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    return f"signal {signal.Signals(-status).name}"


def _port_like(url: str) -> int:
    """The port of last time, which a chat that is still there knows, or else a free one."""
    wanted = urlsplit(url).port or 0
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise GaveUp("there is no free port on 127.0.0.1")


def main(arguments: list[str]) -> int:
    """A supervisor as a process of its own: told its home, the agents, and the lock that it is given."""
    path, agents, lock = arguments
    # Inherited for us alone: a child that held it too would seem to be a supervisor.
    os.set_inheritable(int(lock), False)
    environment = config.environment()
    plan = Plan(Home(Path(path)), Path(agents), environment.nats_url, stays=False, log_level=environment.log_level)
    return supervise(plan, int(lock))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
