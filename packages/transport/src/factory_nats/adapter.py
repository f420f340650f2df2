"""What a satellite needs to take part: a connection, a heartbeat, and answers to what it is asked.

Derive from `NatsAdapterBase`, say what to answer and what the heartbeat says, and `async with` it.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from factory_nats.result import Err
from factory_nats.transport import Delivery, Subscription, Transport, inbox_prefix

logger = logging.getLogger(__name__)

Trouble: TypeAlias = Literal["busy", "failed"]

_INBOX: Final = inbox_prefix("")


class NatsAdapterBase(ABC):
    """A satellite on a transport that `connect` has made; leaving it finishes what was begun and closes the transport.

    An answer goes to an inbox that expects it of us, and only to one of `askers` when some are named: whoever may
    choose where an answer goes could make us write anywhere else.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        requests: str,
        heartbeats: str,
        interval: float = 0.5,
        at_once: int = 64,
        grace: float = 5.0,
        askers: Sequence[str] = (),
    ) -> None:
        self.transport = transport
        self._requests = requests
        self._heartbeats = heartbeats
        self._interval = interval
        self._at_once = at_once
        self._grace = grace
        self._askers = tuple(askers)
        self._subscription: Subscription | None = None
        self._beating: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def answer(self, data: bytes) -> bytes:
        """What to say to a request; to be written by the satellite."""

    @abstractmethod
    def heartbeat(self) -> bytes:
        """What to say about oneself; to be written by the satellite."""

    def apologise(self, trouble: Trouble) -> bytes | None:
        """What to say when there is no answer; None leaves the asker to its timeout and to the next satellite."""
        return None

    @property
    def running(self) -> int:
        """How many requests are being answered."""
        return len(self._running)

    async def beat(self) -> None:
        """Send one heartbeat now."""
        sent = await self.transport.publish(self._heartbeats, self.heartbeat())
        if isinstance(sent, Err) and sent.reason != "disconnected":
            logger.error("the heartbeat was not sent: %s", sent.detail)

    async def __aenter__(self) -> Self:
        subscribed = await self.transport.subscribe(self._requests, self._take)
        if isinstance(subscribed, Err):
            await self.transport.close()
            raise RuntimeError(f"cannot listen to {self._requests}: {subscribed.detail}")
        self._subscription = subscribed.value
        self._beating = asyncio.create_task(self._beat_on(), name=f"heartbeat on {self._heartbeats}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=self._grace)
            for task in late:
                task.cancel()
            if late:
                logger.warning("%s requests were left unanswered", len(late))
                await asyncio.gather(*late, return_exceptions=True)
        await self.transport.close()

    async def _beat_on(self) -> None:
        while True:
            await self.beat()
            await asyncio.sleep(self._interval)

    def _take(self, delivery: Delivery) -> None:
        if not self._may_answer(delivery.reply):
            logger.error("a request on %s wants its answer elsewhere, it was dropped", delivery.subject)
            return
        is_busy = len(self._running) >= self._at_once
        task = asyncio.create_task(self._apologise(delivery, "busy") if is_busy else self._serve(delivery))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _may_answer(self, reply: str) -> bool:
        askers = self._askers or (reply.partition(".")[0].removeprefix(_INBOX),)
        return any(self.transport.owns_inbox(reply, asker) for asker in askers)

    async def _serve(self, delivery: Delivery) -> None:
        # In a task of its own: what a stranger's code raises costs one request, not the satellite.
        answering = asyncio.create_task(_own(self.answer(delivery.data)))
        try:
            await asyncio.wait({answering})
        finally:
            answering.cancel()
        error = answering.exception()
        if error is not None:
            logger.error("a request on %s failed", delivery.subject, exc_info=error)
            await self._apologise(delivery, "failed")
            return
        await self._send(delivery, answering.result())

    async def _apologise(self, delivery: Delivery, trouble: Trouble) -> None:
        words = self.apologise(trouble)
        if words is not None:
            await self._send(delivery, words)

    async def _send(self, delivery: Delivery, data: bytes) -> None:
        sent = await self.transport.publish(delivery.reply, data)
        if isinstance(sent, Err):
            logger.warning("an answer was not sent: %s", sent.detail)


async def _own(work: Awaitable[bytes]) -> bytes:
    return await work
