"""From `factory` to the prompt, in a pseudo-terminal: the first time on a home, again, and joining what runs."""

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Interval, Report, bootstrap
from bench.stage import ROOT, paths, settings
from factory_cli import joining, locks
from factory_cli.home import Home

MOST_SECONDS = 1.5
DEADLINE = 30.0
PROMPT = b"> "
# The conversation's first line names the model, so it stands there once the hub has answered.
GREETING = b"factory\x1b[0m"
END_OF_INPUT = b"\x04"
SIZE = struct.pack("HHHH", 24, 80, 0, 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many homes, and how often each is started again."""

    homes: int
    again: int


FULL = Plan(homes=5, again=4)
QUICK = Plan(homes=2, again=3)
SMOKE = Plan(homes=1, again=1)


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds until the prompt, and until the hub's first word."""

    prompt: float
    greeting: float


def plan(is_quick: bool, is_smoke: bool) -> Plan:
    """The plan that was asked for."""
    return SMOKE if is_smoke else QUICK if is_quick else FULL


async def run(chosen: Plan, folder: Path) -> Report:
    """The whole measurement; nothing else of ours runs meanwhile, so it may well block."""
    report = Report("start", settings())
    report.setting["command"] = "python -m factory_cli chat --home HOME, 24 x 80 pseudo-terminal"
    first: list[Start] = []
    again: list[Start] = []
    joined: list[Start] = []
    for number in range(chosen.homes):
        home = folder / f"home{number}"
        with _chat(home) as start:
            first.append(start)
        for _ in range(chosen.again):
            with _chat(home) as start:
                again.append(start)
                with _chat(home, is_alone=False) as other:
                    joined.append(other)
    warm = _tell(report, "warm", again, "a home that was used before, nothing of it running: all processes start")
    _tell(report, "fresh home", first, "a home that did not exist: keys, folders and the log are made as well")
    _tell(report, "joining", joined, "a second chat on a home where one runs")
    report.at_most("prompt, warm (s)", warm, MOST_SECONDS)
    return report


def _tell(report: Report, name: str, starts: list[Start], words: str) -> Interval:
    greeting = [start.greeting for start in starts]
    report.add(f"hub's first word, {name}", bootstrap(greeting), "s", f"from exec until the greeting; {words}")
    prompt = [start.prompt for start in starts]
    return report.add(f"prompt, {name}", bootstrap(prompt), "s", f"from exec until the prompt is drawn; {words}")


@contextmanager
def _chat(home: Path, *, is_alone: bool = True) -> Iterator[Start]:
    """One chat, left by Ctrl-D; when this returns, what it started has ended too, unless others are there."""
    terminal, side = os.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, SIZE)
    variables = {name: value for name, value in os.environ.items() if name not in ("NATS_URL", "NO_COLOR")}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "factory_cli", "chat", "--home", str(home)],
        stdin=side,
        stdout=side,
        stderr=side,
        cwd=ROOT,
        env={**variables, "TERM": "xterm-256color", "PYTHONPATH": paths()},
        start_new_session=True,
    )
    os.close(side)
    shown = bytearray()
    try:
        prompt = _until(terminal, shown, lambda: PROMPT in shown) - began
        greeting = _until(terminal, shown, lambda: GREETING in shown) - began
        yield Start(prompt, greeting)
        os.write(terminal, END_OF_INPUT)
        _drain(terminal, shown, process)
        if is_alone:
            _await_end(home)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(terminal)


def _until(terminal: int, shown: bytearray, is_there: Callable[[], bool]) -> float:
    deadline = time.perf_counter() + DEADLINE
    while not is_there():
        left = deadline - time.perf_counter()
        ready = select.select([terminal], [], [], max(0.0, left))[0]
        try:
            piece = os.read(terminal, 1 << 16) if ready else b""
        except OSError:
            piece = b""
        if not piece:
            raise RuntimeError(f"the chat did not come up: {bytes(shown[-500:])!r}")
        shown += piece
    return time.perf_counter()


def _drain(terminal: int, shown: bytearray, process: "subprocess.Popen[bytes]") -> None:
    """Read on while it ends, or it would wait for somebody who reads."""
    deadline = time.perf_counter() + DEADLINE
    while process.poll() is None:
        if time.perf_counter() > deadline:
            raise RuntimeError(f"the chat did not end: {bytes(shown[-500:])!r}")
        if select.select([terminal], [], [], 0.02)[0]:
            try:
                shown += os.read(terminal, 1 << 16)
            except OSError:
                continue


def _await_end(home: Path) -> None:
    """Until the system has ended, so that the next start is a start."""
    deadline = time.perf_counter() + DEADLINE
    while locks.holder(Home(home).run / joining.SUPERVISOR) is not None:
        if time.perf_counter() > deadline:
            raise RuntimeError(f"what ran on {home} did not end")
        time.sleep(0.02)
