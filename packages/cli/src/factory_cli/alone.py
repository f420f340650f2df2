"""The bus of a home for those who need what is stored and nothing that runs: no hub, no worker, no spoke."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from factory_cli import joining, keeping, locks
from factory_cli.console import Failed
from factory_cli.home import Home
from factory_nats.result import Err
from factory_nats.server import address_of, held_by

PATIENCE = 20.0
POLL = 0.05


@asynccontextmanager
async def bus(where: Home, url: str | None) -> AsyncIterator[str]:
    """Where the bus is: the one that runs, the one of `url`, or one that ends with this. Raises `Failed`."""
    where.prepare()
    lock = None
    try:
        async with asyncio.timeout(PATIENCE):
            while (there := _found(where, url)) is None:
                # Whoever would start everything meanwhile waits for this to end.
                lock = locks.take(where.run / joining.SUPERVISOR)
                if lock is not None:
                    break
                await asyncio.sleep(POLL)
    except TimeoutError:
        raise Failed(f"something starts or ends on {where.path}, and does not come to an end") from None
    if lock is None:
        yield there or ""
        return
    locks.sign(lock, os.getpid())
    try:
        async with keeping.keep(where, 0) as server:
            started = await server.start()
            if isinstance(started, Err):
                raise Failed(f"nats-server did not start: {started.detail}")
            yield server.url
    finally:
        os.close(lock)


def _found(where: Home, url: str | None) -> str | None:
    """The bus that runs already."""
    running = joining.running(where)
    if running is not None:
        return running.url
    if url is not None:
        return url
    # While a supervisor holds its lock, the server that is still there is about to end.
    is_supervised = locks.holder(where.run / joining.SUPERVISOR) is not None
    return address_of(where.nats) if not is_supervised and held_by(where.nats) else None
