"""How a chat joins the system that runs on a home, or starts it.

A chat holds a shared lock for as long as it lives. The supervisor ends when it gets that lock for itself, and keeps it
until its last breath: who comes in between waits, finds nobody, and starts another. The lock of the supervisor is
taken by whoever starts it and inherited by it, so that of two chats which come first at once, one starts and one joins.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from factory_cli import locks, state
from factory_cli.home import Home

CHATS = "chats.lock"
SUPERVISOR = "supervisor.lock"
PATIENCE = 20.0
POLL = 0.005
LONGEST_LOG = 1_000_000
# Without -P a folder named `hub` where the person happens to stand would be taken for ours.
PYTHON = (sys.executable, "-P", "-m")

Start = Callable[[int], subprocess.Popen[bytes]]


class NotRunning(Exception):
    """The system did not come up; the sentence says why."""


def running(home: Home) -> state.State | None:
    """The system that runs on this home, if one does and it can be joined."""
    pid = locks.holder(home.run / SUPERVISOR)
    found = state.read(home)
    if not pid or found is None or found.pid != pid or found.failure or not _lives(pid):
        return None
    return found


class Joining:
    """Our presence on a home, from the first moment on: what runs there stays until we leave or die."""

    def __init__(self, home: Home, start: Start) -> None:
        """Be there, and start a supervisor where none runs; it comes up while the caller does something else."""
        self._home = home
        self._start = start
        self._presence = locks.take(home.run / CHATS, shared=True, wait=True)
        self._ours: subprocess.Popen[bytes] | None = None
        self._known = 0
        self._try_to_start()

    @property
    def is_ours(self) -> bool:
        """Whether what runs was started by us."""
        return self._ours is not None

    def wait(self) -> state.State:
        """What runs, as soon as it can be joined. Raises `NotRunning`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = running(self._home)
            if found is not None:
                self._known = found.pid
                return found
            # One that was killed may be followed by another; one that gave up has said why.
            status = self._ours.poll() if self._ours is not None else -1
            if status is not None and status < 0:
                self._try_to_start()
            elif status is not None:
                raise NotRunning(self._last_words(status))
            time.sleep(POLL)
        raise NotRunning(f"nothing came up within {PATIENCE:.0f} s; see {self._home.log}")

    def tend(self) -> str:
        """See after what runs: start it again when it was killed; why it gave up, if it did, else nothing."""
        found = running(self._home)
        if found is not None:
            self._known = found.pid
            return ""
        status = self._ours.poll() if self._ours is not None else 0
        if status is None:
            return ""
        last = state.read(self._home)
        if last is not None and last.failure and last.pid == self._known:
            return last.failure
        if status > 0:
            return self._last_words(status)
        self._try_to_start()
        return ""

    def leave(self) -> None:
        """Let the system end if nobody else needs it."""
        if self._presence is not None:
            os.close(self._presence)
            self._presence = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def _last_words(self, status: int) -> str:
        said = last_words(self._home.log / "supervisor.log").removeprefix("factory: ")
        # A disk on which its words found no room, or only those of another one stand.
        return "; ".join([said or f"the supervisor ended with status {status}", *self._home.obstacles()])

    def _try_to_start(self) -> None:
        lock = locks.take(self._home.run / SUPERVISOR)
        if lock is None:
            return
        # What the last supervisor wrote there is over.
        locks.sign(lock, None)
        self._ours = self._start(lock)
        os.close(lock)


def starter(home: Home, agents: Path) -> Start:
    """How a supervisor is started as a process of its own, given the lock that it shall hold."""

    def start(lock: int) -> subprocess.Popen[bytes]:
        with open_log(home, "supervisor") as log:
            return subprocess.Popen(
                [*PYTHON, "factory_cli.supervisor", str(home.path), str(agents), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock,),
            )

    return start


def open_log(home: Home, name: str) -> BinaryIO:
    """Where a process's stderr goes; what has grown long is put aside."""
    path = home.log / f"{name}.log"
    put_aside(path)
    return open(path, "ab", opener=_closed)


def put_aside(path: Path) -> None:
    """Put aside what a log holds if it has grown long, and forget what was aside before.

    The file stays the same, so that whoever appends to it goes on. Of one that has grown very long the end is kept.
    """
    # On a disk that is full it stays as it is.
    with suppress(OSError):
        size = path.stat().st_size
        if size <= LONGEST_LOG:
            return
        with open(path, "r+b") as log, open(_old(path), "wb", opener=_closed) as old:
            log.seek(max(0, size - 2 * LONGEST_LOG))
            old.write(log.read())
            log.truncate(0)


def last_words(path: Path) -> str:
    """The last line of a log that says something."""
    for part in (path, _old(path)):
        with suppress(OSError):
            lines = part.read_text(encoding="utf-8", errors="replace").splitlines()
            if said := next((line.strip() for line in reversed(lines) if line.strip()), ""):
                return said
    return ""


def _old(path: Path) -> Path:
    return path.with_suffix(".log.old")


def _closed(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
