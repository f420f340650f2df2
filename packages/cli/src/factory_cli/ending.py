"""How a process is told to end, and ends in order."""

import asyncio
import signal
from collections.abc import Callable, Coroutine

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def until_told(serve: Callable[[asyncio.Event], Coroutine[None, None, int]]) -> int:
    """Serve until SIGTERM or Ctrl-C asks for an orderly end."""
    stop = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await serve(stop)
