"""What the spokes are told: updates, finals and echoes, in order for each bot."""

import logging

from factory_contracts import subjects
from factory_contracts.messages import OUTBOUND, Outbound
from factory_nats.result import Err
from factory_nats.transport import Transport

logger = logging.getLogger(__name__)


class NatsOutbox:
    """Publishes and forgets: what is lost heals at the next snapshot, or by the final that is sent until receipted."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def publish(self, event: Outbound) -> None:
        """Best effort."""
        subject = subjects.outbound(event.address.platform, event.address.bot_id)
        sent = await self._transport.publish(subject, OUTBOUND.encode(event))
        if isinstance(sent, Err) and sent.reason != "disconnected":
            logger.error("%s of turn %s cannot be sent: %s: %s", event.kind, event.turn, sent.reason, sent.detail)
