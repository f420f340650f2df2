"""Locks on files, which last exactly as long as somebody who holds them lives, however they died.

A lock belongs to the open file: a child that inherits the descriptor goes on holding it when its parent is gone.
"""

import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

POLL = 0.01


def take(path: Path, *, shared: bool = False, wait: bool = False) -> int | None:
    """The descriptor that holds the lock; None when somebody else has it and we do not wait."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def sign(descriptor: int, pid: int | None) -> None:
    """Write into a lock that we hold which process it is held for; None is nobody yet."""
    os.ftruncate(descriptor, 0)
    if pid is not None:
        os.pwrite(descriptor, f"{pid}\n".encode(), 0)


def holder(path: Path) -> int | None:
    """The process that a held lock names; 0 when it names none, None when nobody holds it."""
    if not path.exists():
        return None
    # Shared, so that two who look at once do not take each other for a holder.
    descriptor = take(path, shared=True)
    if descriptor is not None:
        os.close(descriptor)
        return None
    said = path.read_bytes().strip()
    return int(said) if said.isdigit() else 0


def end_holder(path: Path, patience: float) -> int | None:
    """End the process that holds the lock, at last by force; its id, or None when nobody held it.

    Raises `TimeoutError` when the lock stays held all the same.
    """
    pid = holder(path)
    if not pid:
        return pid
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if holder(path) is None:
                return pid
            time.sleep(POLL)
    raise TimeoutError(f"{path} stays locked, though process {pid} was killed")
