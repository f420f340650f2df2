"""The named points at which a process dies by its own hand: one byte of shared memory a point, set by the conductor.

0 is no danger, n is death at the n-th hit from now on. A dying process first writes which point it was.
"""

import ctypes
import logging
import mmap
import os
import signal
import sys
import time
from pathlib import Path

from tests.chaos.ledger import DEEDS, Ledger

FUSES = "fuses"
HUB_POINTS = ("submitted", "appended", "started", "answered-unsent", "receipt-unlogged", "epoch taken", "mark written")
SPOKE_POINTS = ("fetched", "accepted-unconfirmed", "sent-unreceipted")
WORKER_POINTS = ("commanded", "first delta", "mid-stream", "tool started", "tool done")
POINTS = (*SPOKE_POINTS, *HUB_POINTS, *WORKER_POINTS)
# The one window that no spoke can close: the platform has the bubble, and the note of its id is not written yet.
WINDOW = "sent-unnoted"
# Nothing is forgotten here, for every answer is counted; who dies at these is tried by a test of its own.
FORGETTING = ("forget-answered", "forgotten-unerased", "files erased", "erasing", "log erased", "forgotten")
ALL_POINTS = (*POINTS, WINDOW, *FORGETTING)

_SET_PARENT_DEATH_SIGNAL = 1


class Fuses:
    """All points, seen by the conductor."""

    def __init__(self, run: Path) -> None:
        path = run / FUSES
        path.write_bytes(bytes(mmap.PAGESIZE))
        self._page = _mapped(path)

    def arm(self, point: str, hits: int) -> None:
        """The process that comes to the point for this many times dies there."""
        self._page[ALL_POINTS.index(point)] = hits

    def disarm(self) -> None:
        """Nobody dies at a point any more."""
        for index in range(len(ALL_POINTS)):
            self._page[index] = 0


class Fuse:
    """All points, seen by a process that may die."""

    def __init__(self, run: Path, slot: str) -> None:
        self._page = _mapped(run / FUSES)
        self._deeds = Ledger(run / DEEDS)
        self._slot = slot

    def at(self, point: str) -> None:
        """The seam: comes back, or does not."""
        index = ALL_POINTS.index(point)
        hits = self._page[index]
        if not hits:
            return
        self._page[index] = hits - 1
        if hits == 1:
            self._deeds.write(deed="kill", point=point, slot=self._slot, pid=os.getpid(), at=time.time())
            os.kill(os.getpid(), signal.SIGKILL)


def begin(run: Path, slot: str) -> Fuse:
    """What every process that may die does first: log to its own stream, and end with the conductor."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s.%(msecs)03d {slot}[{os.getpid()}] %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    return Fuse(run, slot)


def _mapped(path: Path) -> mmap.mmap:
    file = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(file, mmap.PAGESIZE)
    finally:
        os.close(file)
