"""What the spokes are told: updates, finals and echoes, in order for each conversation."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable

from adapters.nats.understood import Understood
from factory_contracts import subjects
from factory_contracts.messages import OUTBOUND, Outbound
from factory_nats.result import Err
from factory_nats.transport import Transport

logger = logging.getLogger(__name__)


async def _alone(partition: int) -> bool:
    return True


class NatsOutbox:
    """Publishes and forgets: what is lost heals at the next snapshot, or by the final that is sent until receipted.

    A spoke that was started anew knows of no epoch and would believe a hub whose reign is over: that one says nothing.
    """

    def __init__(
        self,
        transport: Transport,
        still_reigns: Callable[[int], Awaitable[bool]] = _alone,
        superseded: Callable[[], None] = lambda: None,
        understood: Understood | None = None,
    ) -> None:
        self._transport = transport
        self._understood = understood or Understood()
        self._still_reigns = still_reigns
        self._superseded = superseded
        self._order: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def publish(self, event: Outbound) -> None:
        """Best effort."""
        part = subjects.partition(event.address.scope_id)
        # To know whether this hub still reigns may take seconds. What was to be said before a final must not come after
        # it then: a spoke that was started meanwhile would put it in the answer's place.
        async with self._order[part]:
            if not await self._still_reigns(part):
                logger.error("another hub has taken over: %s of turn %s is not sent", event.kind, event.turn)
                self._superseded()
                return
            bot = event.address.platform, event.address.bot_id
            payload = OUTBOUND.encode(event, self._understood.of(bot))
            sent = await self._transport.publish(subjects.outbound(*bot), payload)
        if isinstance(sent, Err) and sent.reason != "disconnected":
            logger.error("%s of turn %s cannot be sent: %s: %s", event.kind, event.turn, sent.reason, sent.detail)
