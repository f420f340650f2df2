"""What spokes ask of the hub: decoded, held against its subject, answered to the asker's own inbox."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import partial
from types import MappingProxyType

from adapters.nats.places import Places
from adapters.nats.understood import Understood
from factory_contracts import subjects
from factory_contracts.envelope import SCHEMA_VERSION
from factory_contracts.messages import FROM_SPOKE, TO_SPOKE, FromSpoke, Hello, RefusalReason, Refused, Submit, ToSpoke
from factory_nats.codec import Codec
from factory_nats.result import Err
from factory_nats.transport import Delivery, Transport
from hub.kernel.ports import Fenced

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 4_096

WORDS: Mapping[RefusalReason, str] = MappingProxyType(
    {
        "malformed": "The hub could not read that, so it was not taken.",
        "newer version": f"That is of a newer version than this hub's, which is {SCHEMA_VERSION}.",
        "unavailable": "Something went wrong with that here, so it was not taken.",
    }
)

Answer = Callable[[FromSpoke, str], Awaitable[ToSpoke | None]]


class NatsInbound:
    """The hub's door."""

    def __init__(
        self,
        transport: Transport,
        understood: Understood | None = None,
        *,
        at: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._transport = transport
        self._understood = understood or Understood()
        self._at = at
        self._codec: Codec[FromSpoke] = Codec(
            encode=FROM_SPOKE.encode, decode=FROM_SPOKE.decode, version=SCHEMA_VERSION, explain=str
        )
        self._answer: Answer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = Places(transport, {subjects.plane("inbound")[0]: self._on_delivery})

    def serve(self, answer: Answer) -> None:
        """This is to answer what comes."""
        self._answer = answer

    async def open(self, parts: Collection[int] | None = None) -> None:
        """Begin to take what comes in these partitions, or in all."""
        await self._places.open(parts)

    def leave(self, part: int) -> None:
        """Another hub takes what comes in this partition; what was taken there ends as it may."""
        self._places.leave(part)

    async def close(self) -> None:
        """Take nothing more, and finish what was taken."""
        self._answer = None
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def end(self) -> None:
        """Take nothing more, and let go of what was taken: unanswered, it is asked of whoever serves next."""
        self._answer = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_delivery(self, delivery: Delivery) -> None:
        # Whoever asks beyond this gets no answer, and so asks again when there is room.
        if self._answer is None or len(self._tasks) >= MOST_AT_ONCE:
            return
        self._spawn(self._serve(delivery, self._answer), delivery)

    def _spawn(self, work: Coroutine[None, None, None], delivery: Delivery) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, delivery))

    def _ended(self, delivery: Delivery, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._answer is not None:
            # A message that meets a defect of ours is refused: unanswered it would be asked again for ever.
            logger.error("a message on %s met a fault of ours", delivery.subject, exc_info=error)
            self._spawn(self._refuse(delivery, "unavailable", "a fault of ours"), delivery)

    async def _serve(self, delivery: Delivery, answer: Answer) -> None:
        try:
            platform, bot_id, part = subjects.read_inbound(delivery.subject)
        except subjects.BadToken as error:
            logger.error("a message on %s is refused: %s", delivery.subject, error)
            return
        # Only into the asker's own inbox: a reply subject of its choice could make the hub write anywhere.
        if not self._transport.owns_inbox(delivery.reply, f"{platform}-{bot_id}"):
            logger.error("a message on %s is refused: it wants its reply elsewhere", delivery.subject)
            return
        decoded = self._codec.decode(delivery.data)
        if isinstance(decoded, Err):
            reason: RefusalReason = "newer version" if decoded.reason == "newer version" else "malformed"
            await self._refuse(delivery, reason, decoded.detail)
            return
        asked = decoded.value
        if (asked.platform, asked.bot_id, subjects.partition(asked.scope_id)) != (platform, bot_id, part) or (
            isinstance(asked, Submit) and not _is_about(asked)
        ):
            await self._refuse(delivery, "malformed", "its ids are not those of its subject")
            return
        if isinstance(asked, Hello):
            self._understood.heed((platform, bot_id), asked.understands)
        if isinstance(asked, Submit):
            self._at("submitted")
        try:
            reply = await answer(asked, delivery.reply)
        except Fenced:
            # Unanswered, it is asked of whoever has taken over.
            return
        if reply is not None:
            payload = TO_SPOKE.encode(reply, self._understood.of((platform, bot_id)))
            await self._transport.publish(delivery.reply, payload)

    async def _refuse(self, delivery: Delivery, reason: RefusalReason, detail: str) -> None:
        logger.error("a message on %s is refused: %s", delivery.subject, detail)
        await self._transport.publish(delivery.reply, TO_SPOKE.encode(Refused(reason=reason, text=WORDS[reason])))


def _is_about(asked: Submit) -> bool:
    address = asked.message.address
    return (address.platform, address.bot_id, address.scope_id) == (asked.platform, asked.bot_id, asked.scope_id)
