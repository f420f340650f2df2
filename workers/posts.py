"""Serve several capabilities in one process, each under a name and a key of its own, until it is told to end."""

import asyncio
import logging
import secrets
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from factory_contracts.worker import Errand
from factory_nats.connect import Identity, connect
from factory_nats.result import Err
from factory_nats.satellite import Satellite, Served

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Post:
    """Somebody who serves something."""

    identity: Identity
    served: Served[Errand]


async def serve(url: str, posts: Sequence[Post], *, patience: float) -> int:
    """Work until SIGTERM or SIGINT, or until the bus is closed for good; the exit code."""
    until = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, until.set)
    return await work(url, posts, until, patience=patience)


async def work(url: str, posts: Sequence[Post], until: asyncio.Event, *, patience: float) -> int:
    """Work until told; the exit code."""
    closed: list[str] = []

    def note_closed(why: str) -> None:
        closed.append(why)
        until.set()

    async with AsyncExitStack() as stack:
        for post in posts:
            connected = await connect(url, post.identity, patience=patience, until=until, on_closed=note_closed)
            if isinstance(connected, Err):
                if until.is_set():
                    return 0
                logger.error("%s", connected.detail)
                return 1
            await stack.enter_async_context(Satellite(connected.value, post.served, secrets.token_hex(6)))
            logger.info("%s serves", post.identity.name)
        await until.wait()
    return 1 if closed else 0
