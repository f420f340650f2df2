"""Who runs the server of a home, and how it learns that somebody's key is another one now."""

import asyncio
import logging
import os
import signal

from factory_cli import config, locks
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_cli.membership import users
from factory_nats.server import EmbeddedServer

LOCK = "bus.lock"

logger = logging.getLogger("factory_cli.keeping")


def keep(where: Home, configuration: config.Configuration, port: int) -> EmbeddedServer:
    """The server of this home, which this process runs from now on, and which is told of every change of keys."""
    server = EmbeddedServer(where.nats, users=users(where, configuration), port=port)

    def let_in() -> None:
        try:
            server.let_in(users(where, configuration))
        except (BadConfiguration, OSError) as error:
            logger.error("the server cannot be told of a change of keys: %s", error)
        else:
            logger.info("the server was told of a change of keys")

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, let_in)
    # Not given back: it says who runs the server for as long as that process lives.
    held = locks.take(where.run / LOCK)
    if held is not None:
        locks.sign(held, os.getpid())
    return server


def tell(where: Home) -> bool:
    """Tell whoever runs the server that keys have changed; False where nobody does."""
    pid = locks.holder(where.run / LOCK)
    if not pid:
        return False
    os.kill(pid, signal.SIGUSR1)
    return True
