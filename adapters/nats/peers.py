"""The other hubs that share the partitions, asked by name."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from adapters.nats.hubs import NatsHubs
from adapters.nats.listening import listen
from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.peers import HEARD, PEER_ASKED, Heard, PeerAsked
from factory_nats.result import Err
from factory_nats.transport import Delivery, Transport
from hub.kernel.ports import Fenced, Full

logger = logging.getLogger(__name__)

# A hub that does not answer in that time is gone, or stands still.
PATIENCE = 2.0

Answer = Callable[[PeerAsked], Awaitable[Heard]]


class NatsPeers:
    """Asks the other hubs, and answers them."""

    def __init__(self, transport: Transport, hub: str, hubs: NatsHubs) -> None:
        self._transport = transport
        self._hub = hub
        self._hubs = hubs
        self._answer: Answer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, answer: Answer) -> None:
        """Answer what others ask from now on."""
        self._answer = answer
        begun = await listen(self._transport, subjects.peer(self._hub), self._on_delivery)
        if isinstance(begun, Err):
            raise RuntimeError(f"the hub cannot hear other hubs: {begun.detail}")

    async def ask(self, partition: int, asked: PeerAsked) -> Heard | None:
        """What the hub of a partition says; None where there is none, or it does not answer."""
        owner = self._hubs.owner(partition)
        return None if owner is None else await self._ask(owner, asked)

    async def everyone(self, asked: PeerAsked) -> tuple[Heard | None, ...]:
        """What each of the others says; None for one that does not answer."""
        return tuple(await asyncio.gather(*(self._ask(hub, asked) for hub in self._hubs.living if hub != self._hub)))

    def has(self, partition: int) -> bool:
        """Whether one of the others says that it serves a partition."""
        return self._hubs.owner(partition) is not None

    async def tell(self, asked: PeerAsked) -> None:
        """Tell all others, who do not answer; what is lost is lost."""
        payload = PEER_ASKED.encode(asked)
        for hub in self._hubs.living:
            if hub != self._hub:
                await self._transport.publish(subjects.peer(hub), payload)

    async def close(self) -> None:
        """Answer no more."""
        self._answer = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, hub: str, asked: PeerAsked) -> Heard | None:
        payload = PEER_ASKED.encode(asked)
        answer = await self._transport.request(subjects.peer(hub), payload, timeout=PATIENCE, responder=subjects.HUB)
        if isinstance(answer, Err):
            logger.warning("%s does not answer to %s: %s", hub, asked.kind, answer.detail)
            return None
        try:
            return HEARD.decode(answer.value)
        except Malformed as error:
            logger.error("the answer of %s is refused: %s", hub, error)
            return None

    def _on_delivery(self, delivery: Delivery) -> None:
        is_ours = not delivery.reply or self._transport.owns_inbox(delivery.reply, subjects.HUB)
        if self._answer is not None and is_ours:
            task = asyncio.create_task(self._serve(delivery, self._answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, delivery: Delivery, answer: Answer) -> None:
        try:
            heard = await answer(PEER_ASKED.decode(delivery.data))
        except Malformed as error:
            logger.error("what a hub asks is refused: %s", error)
        except (Fenced, Full):
            # It is another's by now, and the asker looks again whose; or there is no room, and it asks again.
            return
        else:
            if delivery.reply:
                await self._transport.publish(delivery.reply, HEARD.encode(heard))
