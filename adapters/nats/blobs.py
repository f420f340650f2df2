"""The files that came with messages and go with answers, in the store of the bot that they belong to."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from factory_contracts import subjects
from factory_contracts.messages import Attachment
from factory_nats import blobs
from factory_nats.result import Err, Result
from factory_nats.transport import Transport
from hub.kernel.ports import Media

logger = logging.getLogger(__name__)

RETRY = 0.25
RETRY_MOST = 5.0
# A turn can wait for a server that starts again, but a person waits for the turn.
PATIENCE = 20.0

T = TypeVar("T")


class NatsBlobs:
    """Files by scope and attachment."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, platform: str, bot_id: str) -> None:
        """Make the store of a bot exist, however long the bus is away; nobody but the hub may."""
        store = subjects.blobs(platform, bot_id)
        pause, told = RETRY, ""
        while isinstance(made := await blobs.ensure(self._transport, store), Err):
            if made.detail != told:
                logger.warning("the store %s cannot be made yet: %s", store, made.detail)
                told = made.detail
            await asyncio.sleep(pause)
            pause = min(RETRY_MOST, pause * 1.5)

    async def get(self, scope: str, attachment: Attachment) -> bytes | None:
        """The file's bytes; None where it cannot be had, which is logged."""
        platform, bot_id, _ = scope.split(":", 2)
        store = subjects.blobs(platform, bot_id)
        found = await patiently(lambda: blobs.get(self._transport, store, attachment.blob))
        if isinstance(found, Err):
            logger.error("a file of %s/%s cannot be read: %s", platform, bot_id, found.detail)
            return None
        if found.value is None:
            logger.error("a file of %s/%s is not there, or not what was put there", platform, bot_id)
        return found.value

    async def keep(self, scope: str, file: Media) -> Attachment | None:
        """Put a file where the person's screen can read it; None where it is not taken, which is logged."""
        platform, bot_id, scope_id = scope.split(":", 2)
        store, folder = subjects.blobs(platform, bot_id), subjects.folder(scope_id)
        kept = await patiently(lambda: blobs.put(self._transport, store, file.data, folder=folder))
        if isinstance(kept, Err):
            logger.error("a file for %s/%s cannot be kept: %s", platform, bot_id, kept.detail)
            return None
        # Models and strangers choose names, and half a character cannot cross the bus.
        name, mime = (text.encode(errors="replace").decode() for text in (file.name, file.mime))
        return Attachment(kind=file.kind, name=name[:255], mime=mime[:127], size=len(file.data), blob=kept.value)


async def patiently(
    work: Callable[[], Awaitable[Result[T]]], passing: frozenset[str] = frozenset(("timeout", "disconnected"))
) -> Result[T]:
    """What comes of it when a lost bus is waited for: a model that is not shown a file answers another question."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while True:
        done = await work()
        is_passing = isinstance(done, Err) and done.reason in passing
        if not is_passing or loop.time() >= deadline:
            return done
        await asyncio.sleep(RETRY)
