"""What everybody needs who takes part and is asked: a place to be asked at, a heartbeat, and an end in good order.

Derive from `NatsAdapterBase`, say what to do with what comes and what the heartbeat says, and `async with` it.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Final, Self

from factory_nats.result import Err
from factory_nats.transport import Delivery, Subscription, Transport, inbox_prefix

logger = logging.getLogger(__name__)

_INBOX: Final = inbox_prefix("")


class NatsAdapterBase(ABC):
    """A presence on a transport that `connect` has made; leaving it finishes what was begun and closes the transport.

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
        grace: float = 5.0,
        askers: Sequence[str] = (),
    ) -> None:
        self.transport = transport
        self._loop = asyncio.get_running_loop()
        self._requests = requests
        self._heartbeats = heartbeats
        self._interval = interval
        self._grace = grace
        self._askers = tuple(askers)
        self._is_draining = False
        self._subscription: Subscription | None = None
        self._beating: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    def take(self, delivery: Delivery) -> None:
        """Begin to do what is asked, without waiting; to be written by whoever derives."""

    @abstractmethod
    def heartbeat(self) -> bytes:
        """What to say about oneself; to be written by whoever derives."""

    @property
    def is_draining(self) -> bool:
        """True when what was begun is finished and nothing more is begun."""
        return self._is_draining

    async def beat(self) -> None:
        """Send one heartbeat now."""
        sent = await self.transport.publish(self._heartbeats, self.heartbeat())
        if isinstance(sent, Err) and sent.reason != "disconnected":
            logger.error("the heartbeat was not sent: %s", sent.detail)

    def may_answer(self, delivery: Delivery) -> bool:
        """Whether the answer would go to an inbox of somebody who may ask; what else comes is logged."""
        reply = delivery.reply
        asker = reply.partition(".")[0].removeprefix(_INBOX)
        if (not self._askers or asker in self._askers) and self.transport.owns_inbox(reply, asker):
            return True
        logger.error("a request on %s wants its answer elsewhere, it was dropped", delivery.subject)
        return False

    async def send(self, reply: str, data: bytes) -> None:
        """Send an answer, or a part of one."""
        sent = await self.transport.publish(reply, data)
        if isinstance(sent, Err):
            logger.warning("an answer was not sent: %s", sent.detail)

    def undertake(
        self, work: Coroutine[None, None, None], on_end: Callable[[asyncio.Task[None]], None] | None = None
    ) -> asyncio.Task[None]:
        """Do this beside all else; the end waits for it, and for what is undertaken by `on_end`."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard if on_end is None else partial(self._note_end, on_end))
        return task

    def _note_end(self, on_end: Callable[[asyncio.Task[None]], None], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        on_end(task)

    async def __aenter__(self) -> Self:
        subscribed = await self.transport.subscribe(self._requests, self.take)
        if isinstance(subscribed, Err):
            await self.transport.close()
            raise RuntimeError(f"cannot listen to {self._requests}: {subscribed.detail}")
        self._subscription = subscribed.value
        self._beating = asyncio.create_task(self._beat_on(), name=f"heartbeat on {self._heartbeats}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whoever waits must go on hearing that we live, and whoever asks now is told so at once.
        self._is_draining = True
        await self.beat()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._grace)
            for task in late:
                task.cancel()
            if late:
                logger.warning("%s requests were left undone", len(late))
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        while self._tasks:
            # A gathering of what has ended already would, from Python 3.12 on, not let them be noted as ended.
            await asyncio.wait(self._tasks)
        await self.transport.close()

    async def _beat_on(self) -> None:
        while True:
            await self.beat()
            await asyncio.sleep(self._interval)
