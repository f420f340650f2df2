"""The `factory` command as a person has it: real processes, a home and a folder of its own."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO, TypeVar

from tests.nursery import Child, nursery

T = TypeVar("T")

PATIENCE = 30.0
# The commands, and what each loads when it needs it.
MODULES = (
    "adapters.agents.__main__",
    "adapters.cli.__main__",
    "adapters.cli.bot",
    "adapters.cli.once",
    "adapters.high_water",
    "adapters.models.scripted",
    "factory_cli.access",
    "factory_cli.accounts",
    "factory_cli.agents",
    "factory_cli.asking",
    "factory_cli.backup",
    "factory_cli.bus",
    "factory_cli.copies",
    "factory_cli.diagnosis",
    "factory_cli.engines",
    "factory_cli.enrolment",
    "factory_cli.fleet",
    "factory_cli.forking",
    "factory_cli.history",
    "factory_cli.integrity",
    "factory_cli.introduction",
    "factory_cli.keeping",
    "factory_cli.main",
    "factory_cli.offering",
    "factory_cli.pairing",
    "factory_cli.policy",
    "factory_cli.processes",
    "factory_cli.serving",
    "factory_cli.supervisor",
    "factory_cli.talk",
    "factory_cli.trial",
    "factory_cli.turns",
    "factory_cli.usage",
    "factory_cli.workers",
    "hub.composition",
    "rich.panel",
    "rich.table",
    "typer.rich_utils",
    "uvloop",
    "workers.clipool.composition",
)


def until(condition: Callable[[], T | None], what: str, within: float = PATIENCE) -> T:
    """The first value of the condition that is one; fails with `what` was waited for."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        select.select([], [], [], 0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet buried does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def kill(*pids: int) -> None:
    """SIGKILL to all of them, wherever they are."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Process:
    """A command under way, and the pipes to it."""

    child: Child
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO

    @property
    def pid(self) -> int:
        """Who it is."""
        return self.child.pid

    def poll(self) -> int | None:
        """How it ended, if it has."""
        return self.child.poll()

    def wait(self, seconds: float) -> int:
        """How it ended, once it has."""
        return self.child.wait(seconds)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: int) -> None:
        """Nothing happens to who has ended."""
        self.child.send_signal(number)

    def communicate(self) -> tuple[str, str]:
        """Say nothing more; all that it says until it ends, on both sides."""
        self.stdin.close()
        with ThreadPoolExecutor() as readers:
            talk = readers.submit(self.stderr.read)
            return self.stdout.read(), talk.result()

    def end(self) -> None:
        """Kill it, and let go of it."""
        self.child.end()
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()


@dataclass
class Factory:
    """One home, and whatever was started on it."""

    home: Path
    folder: Path
    variables: dict[str, str]
    modules: tuple[str, ...] = MODULES
    # Whether every process begins with an interpreter of its own; else what it loads is in memory already.
    is_afresh: bool = False
    started: list[Process] = field(default_factory=list)
    seated: list[Child] = field(default_factory=list)
    terminals: list[int] = field(default_factory=list)

    def run(self, *arguments: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with TemporaryFile() as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
            stdin.write(text.encode())
            stdin.seek(0)
            child = self.bear(
                *arguments, stdin=stdin.fileno(), stdout=stdout.fileno(), stderr=stderr.fileno(), **variables
            )
            try:
                status = child.wait(PATIENCE * 2)
            finally:
                child.end()
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(
                ["factory", *arguments], status, stdout.read().decode(), stderr.read().decode()
            )

    def run_afresh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end as a shell would: it and all that it starts have interpreters of their own."""
        return replace(self, is_afresh=True).run(*arguments)

    def bear(self, *arguments: str, stdin: int, stdout: int, stderr: int, **variables: str) -> Child:
        """Start a command whose end the test decides."""
        return nursery(*self.modules).bear(
            "factory_cli",
            arguments,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            folder=self.folder,
            variables={**self.variables, **variables},
            is_afresh=self.is_afresh,
        )

    def start(self, *arguments: str, **variables: str) -> Process:
        """Start a command whose end the test decides; it reads from a pipe that stays open."""
        (stdin, writing), (reading, stdout), (hearing, stderr) = (os.pipe() for _ in range(3))
        child = self.bear(*arguments, stdin=stdin, stdout=stdout, stderr=stderr, **variables)
        for theirs in (stdin, stdout, stderr):
            os.close(theirs)
        process = Process(child, os.fdopen(writing, "w"), os.fdopen(reading), os.fdopen(hearing))
        self.started.append(process)
        return process

    def start_in_terminal(self, *arguments: str) -> Child:
        """Start a command that a person sits before, who says nothing."""
        ours, theirs = pty.openpty()
        self.terminals.append(ours)
        child = self.bear(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.seated.append(child)
        return child

    def state(self) -> dict[str, Any]:
        """What the supervisor last said of itself; empty while it has said nothing."""
        try:
            said: dict[str, Any] = json.loads((self.home / "run" / "state.json").read_text())
        except FileNotFoundError:
            return {}
        return said

    def running(self) -> dict[str, int]:
        """Every process of a complete and living system by name, the supervisor too; empty until it is complete."""
        state = self.state()
        if not state or state["failure"]:
            return {}
        pids = {"supervisor": state["pid"], **{name: child["pid"] for name, child in state["children"].items()}}
        return pids if all(pid and is_alive(pid) for pid in pids.values()) else {}

    def up(self, *arguments: str, **variables: str) -> Process:
        """`factory up`, once all of it runs."""
        process = self.start("up", *arguments, **variables)
        until(lambda: self.running() if self.state().get("pid") == process.pid else {}, "a running system")
        return process

    def end(self) -> None:
        """Leave nothing behind."""
        while self.started:
            self.started.pop().end()
        while self.seated:
            self.seated.pop().end()
        while self.terminals:
            os.close(self.terminals.pop())
        state = self.state()
        if state:
            kill(state["pid"], *(child["pid"] for child in state["children"].values() if child["pid"]))
