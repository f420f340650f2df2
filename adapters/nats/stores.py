"""The stores of what is too large for the messages of a capability: made as soon as somebody serves it."""

import asyncio
import logging

from adapters.nats.listening import listen
from factory_contracts import subjects
from factory_nats import blobs
from factory_nats.result import Err
from factory_nats.transport import Delivery, Transport

logger = logging.getLogger(__name__)

# Nobody may wait for longer than a day for what was asked, and nobody fetches it later.
MAX_AGE = 2 * 86_400.0
MAX_BYTES = 256 << 20
_OURS = frozenset((subjects.HUB, subjects.CLIPOOL))


class CapabilityStores:
    """Makes the store of each capability whose worker is heard of; nobody but the hub may."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._known: set[str] = set(_OURS)
        self._told: dict[str, str] = {}
        self._making: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Hear the workers from now on."""
        for subject in subjects.plane("heartbeat"):
            begun = await listen(self._transport, subject, self._hear)
            if isinstance(begun, Err):
                logger.error("workers of other capabilities cannot be heard: %s", begun.detail)

    async def close(self) -> None:
        """Leave what is not made to the next hub."""
        for task in self._making:
            task.cancel()
        await asyncio.gather(*self._making, return_exceptions=True)

    def _hear(self, delivery: Delivery) -> None:
        try:
            capability = subjects.read_capability(delivery.subject)
        except subjects.BadToken:
            return
        if capability in self._known:
            return
        self._known.add(capability)
        task = asyncio.create_task(self._make(capability))
        self._making.add(task)
        task.add_done_callback(self._making.discard)

    async def _make(self, capability: str) -> None:
        made = await blobs.ensure(self._transport, subjects.store(capability), max_age=MAX_AGE, max_bytes=MAX_BYTES)
        if not isinstance(made, Err):
            return
        # The next heartbeat is the next try.
        self._known.discard(capability)
        if self._told.get(capability) != made.detail:
            self._told[capability] = made.detail
            logger.warning("the store for %s cannot be made yet: %s", capability, made.detail)
