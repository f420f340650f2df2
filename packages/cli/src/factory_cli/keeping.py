"""Who runs the server of a home, and how it learns that somebody has another key now, or is new."""

import asyncio
import logging
import os
import signal

from factory_cli import config, locks
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_cli.membership import users
from factory_contracts import subjects
from factory_nats.server import EmbeddedServer

LOCK = "bus.lock"
AGAIN = 1.0

logger = logging.getLogger("factory_cli.keeping")


def keep(where: Home, configuration: config.Configuration, port: int) -> EmbeddedServer:
    """The server of this home, which this process runs from now on, and which is told of every change of keys."""
    server = EmbeddedServer(where.nats, users=users(where, configuration), port=port, streams=[subjects.STREAM])

    loop = asyncio.get_running_loop()

    def let_in() -> None:
        inform()
        # What a new account imports the server binds to what others exported before it read the file: who is new
        # reaches the stores only when it has read the same once more.
        loop.call_later(AGAIN, inform)

    def inform() -> None:
        try:
            # Also who joins may have changed since: what else the file says is read at the next start.
            server.let_in(users(where, config.load(where.configuration)))
        except (BadConfiguration, OSError) as error:
            logger.error("the server cannot be told of a change of keys: %s", error)
        else:
            logger.info("the server was told of a change of keys")

    loop.add_signal_handler(signal.SIGUSR1, let_in)
    # Not given back: it says who runs the server for as long as that process lives.
    held = locks.take(where.run / LOCK)
    if held is not None:
        locks.sign(held, os.getpid())
    return server


def tell(where: Home) -> bool:
    """Tell whoever runs the server that keys or members have changed; False where nobody does."""
    pid = locks.holder(where.run / LOCK)
    if not pid:
        return False
    os.kill(pid, signal.SIGUSR1)
    return True
