"""How a process on the bus is run: on the faster event loop where it is installed, seldom collecting garbage, and
interrupting nobody when it is woken."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Any, Final, NoReturn, TypeVar

T = TypeVar("T")

COLLECT_AFTER: Final = 50_000


def leave(status: int) -> NoReturn:
    """End the process, whatever still computes in a thread that nobody waits for."""
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.active_count() > 1:
        os._exit(status)
    sys.exit(status)


def wait_for_others() -> None:
    """From now on this process, when it is woken, waits until who computes has had its slice of time.

    A message wakes somebody at each of its hops. Where all processors are busy, each would interrupt the one before,
    handle one message with cold caches, and be interrupted itself; so they find several, and all have more time. One
    that is free is taken at once as ever.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a process's work to its end."""
    # What a turn needs is freed when nobody refers to it any more. The search for what refers to itself walks through
    # all turns that are under way, and now and then through everything that was imported: a tenth of a second each.
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    wait_for_others()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)
