"""Who runs the server of a home, and how it learns that somebody has another key now, or is new."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from factory_cli import config, locks
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_cli.membership import users
from factory_contracts import subjects
from factory_nats.server import EmbeddedServer

LOCK = "bus.lock"
AGAIN = 1.0
PATIENCE = 5.0
POLL = 0.01
UNKEPT = "nobody is there who could tell it, so end it and start it anew"

logger = logging.getLogger("factory_cli.keeping")


@asynccontextmanager
async def keep(where: Home, port: int) -> AsyncIterator[EmbeddedServer]:
    """The server of this home, which this process runs and which is told of every change of keys, until this ends.

    Raises `TimeoutError` where somebody else runs it and does not come to an end.
    """
    loop = asyncio.get_running_loop()
    held = await _taken(where)
    has_ended = False

    def let_in() -> None:
        inform()
        # What a new account imports the server binds to what others exported before it read the file: who is new
        # reaches the stores only when it has read the same once more.
        loop.call_later(AGAIN, inform)

    def inform() -> None:
        if has_ended:
            return
        try:
            # Also who joins may have changed since, and whoever begins again asks for what the server knows.
            server.let_in(users(where, config.settle(where)))
        except (BadConfiguration, OSError) as error:
            logger.error("the server cannot be told of a change of keys: %s", error)
        else:
            logger.info("the server was told of a change of keys")

    # It stays when this ends: who found us in the lock may still send the signal, of which we would die.
    loop.add_signal_handler(signal.SIGUSR1, let_in)
    try:
        # Before anything is read: whoever looked here in vain had changed it by then.
        locks.sign(held, os.getpid())
        listed = users(where, config.settle(where))
        server = EmbeddedServer(where.nats, users=listed, port=port, streams=[subjects.STREAM])
        try:
            yield server
        finally:
            await server.stop()
    finally:
        has_ended = True
        os.close(held)


def tell(where: Home) -> bool:
    """Tell whoever runs the server that keys or members have changed; False where nobody does."""
    pid = locks.holder(where.run / LOCK)
    if not pid:
        return False
    os.kill(pid, signal.SIGUSR1)
    return True


def known(where: Home) -> config.Configuration:
    """The configuration as the server knows it; as it stands where that is somebody else's. Raises as `load` does."""
    is_kept = locks.holder(where.run / LOCK) is not None
    return config.settled(where) if is_kept else config.load(where.configuration)


async def _taken(where: Home) -> int:
    """The lock of whoever runs the server. Without it nobody could tell us of a key that was taken away."""
    path = where.run / LOCK
    try:
        async with asyncio.timeout(PATIENCE):
            while (held := locks.take(path)) is None:
                await asyncio.sleep(POLL)
    except TimeoutError:
        holder = locks.holder(path) or "unknown"
        raise TimeoutError(
            f"the server of {where.path} is run by the process with id {holder}, which does not come to an end; end it"
        ) from None
    return held
