"""The files that came with messages, read from the store of the bot that they came to."""

import asyncio
import logging

from factory_contracts import subjects
from factory_contracts.messages import Attachment
from factory_nats import blobs
from factory_nats.result import Err, Result
from factory_nats.transport import Transport

logger = logging.getLogger(__name__)

RETRY = 0.25
RETRY_MOST = 5.0
# A turn can wait for a server that starts again, but a person waits for the turn.
PATIENCE = 20.0


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
        found = await self._patiently(subjects.blobs(platform, bot_id), attachment.blob)
        if isinstance(found, Err):
            logger.error("a file of %s/%s cannot be read: %s", platform, bot_id, found.detail)
            return None
        if found.value is None:
            logger.error("a file of %s/%s is not there, or not what was put there", platform, bot_id)
        return found.value

    async def _patiently(self, store: str, name: str) -> Result[bytes | None]:
        """A lost bus is waited for, because a model that is not shown a file answers another question."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            found = await blobs.get(self._transport, store, name)
            is_lost = isinstance(found, Err) and found.reason in ("timeout", "disconnected")
            if not is_lost or loop.time() >= deadline:
                return found
            await asyncio.sleep(RETRY)
