"""Listening, begun however long the bus is away: who serves must not end because it went at that very moment."""

import asyncio
import logging

from factory_nats.result import Err, Result
from factory_nats.transport import Handler, Subscription, Transport

logger = logging.getLogger(__name__)

RETRY = 0.1


async def listen(transport: Transport, subject: str, handler: Handler) -> Result[Subscription]:
    """On return the handler hears what is sent there; why it never will, where that is so."""
    while True:
        match await transport.subscribe(subject, handler):
            case Err(reason="disconnected" | "timeout", detail=detail):
                logger.info("cannot listen to %s yet: %s", subject, detail)
                await asyncio.sleep(RETRY)
            case begun:
                return begun
