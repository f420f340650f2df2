"""Hubs that a test plays for a spoke."""

import asyncio
from collections.abc import Callable

from factory_contracts import subjects
from factory_contracts.messages import (
    FROM_SPOKE,
    OUTBOUND,
    TO_SPOKE,
    Accepted,
    Address,
    AlreadyAccepted,
    Attachment,
    Claim,
    Decision,
    Erase,
    Erased,
    Final,
    FinalReceipt,
    FromSpoke,
    Hello,
    InboundMessage,
    Leased,
    Moved,
    Noted,
    Outcome,
    Question,
    Refused,
    ShownReceipt,
    StopPressed,
    Submit,
    ToSpoke,
    Update,
    Welcome,
    turn_id,
)
from factory_nats import blobs
from factory_nats.result import Ok
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery, Transport
from tests.fakes import until


class Hub:
    """A hub that accepts what it is told, unless a test has it say something else."""

    def __init__(self, bus: FakeBus, platform: str, bot_id: str) -> None:
        self._bus = bus
        self._platform = platform
        self._bot_id = bot_id
        self._store = subjects.blobs(platform, bot_id)
        self._joined = bus.join("hub")
        self.asked: list[FromSpoke] = []
        self.accepted: dict[str, InboundMessage] = {}
        self.answers: Callable[[FromSpoke], ToSpoke | None] = self.agree

    async def open(self) -> None:
        """Listen."""
        assert isinstance(await self._joined.subscribe(subjects.plane("inbound")[0], self._on_asked), Ok)
        assert isinstance(await blobs.ensure(self._joined, self._store), Ok)

    def agree(self, asked: FromSpoke) -> ToSpoke | None:
        """What a hub says that likes everything."""
        match asked:
            case Hello():
                return Welcome(epoch=1)
            case Claim():
                return Leased(generation=1)
            case Submit(message=message, only_asks=None):
                turn = turn_id(self._platform, self._bot_id, message.address.scope_id, message.message_id)
                known = [id for one in self.accepted.values() for id in one.ids if self._is_beside(one, message)]
                if covered := tuple(id for id in message.ids if id in known):
                    return AlreadyAccepted(turn=turn, covers=covered, epoch=1)
                self.accepted[turn] = message
                return Accepted(turn=turn, epoch=1)
            case ShownReceipt() | FinalReceipt():
                return Noted(message_id=asked.message_id, epoch=1)
            case Submit() | StopPressed() | Decision() | Moved() | Erased():
                return Noted(epoch=1)
            case _:
                return Refused(reason="not allowed")

    @property
    def messages(self) -> list[InboundMessage]:
        """What was accepted, oldest first."""
        return list(self.accepted.values())

    def told(self, kind: type[FromSpoke]) -> list[FromSpoke]:
        """What was asked of one kind."""
        return [one for one in self.asked if isinstance(one, kind)]

    async def grow(
        self,
        turn: str,
        text: str,
        *,
        events: int = 1,
        attempt: int = 1,
        activity: str | None = None,
        question: Question | None = None,
    ) -> None:
        """Show that an answer has grown so far."""
        await self._publish(
            Update(
                turn=turn,
                attempt=attempt,
                events=events,
                base=0,
                text=text,
                activity=activity,
                question=question,
                epoch=1,
                address=self._address(turn),
            )
        )

    async def answer(
        self,
        turn: str,
        text: str,
        *,
        outcome: Outcome = "complete",
        attachments: tuple[Attachment, ...] | None = None,
        choices: tuple[str, ...] | None = None,
        joined: tuple[str, ...] = (),
    ) -> None:
        """Send the whole answer."""
        await self._publish(
            Final(
                turn=turn,
                text=text,
                outcome=outcome,
                attachments=attachments,
                choices=choices,
                asker=self.accepted[turn].user_id if choices else None,
                joined=joined,
                epoch=1,
                address=self._address(turn),
            )
        )

    async def keep(self, data: bytes, **of: str) -> Attachment:
        """A file that an answer brings."""
        kept = await blobs.put(self._joined, self._store, data)
        assert isinstance(kept, Ok)
        about = {"kind": "document", "name": "file.txt", "mime": "text/plain"} | of
        return Attachment.model_validate({**about, "size": len(data), "blob": kept.value})

    async def read(self, attachment: Attachment) -> bytes:
        """A file that came with a message."""
        got = await blobs.get(self._joined, self._store, attachment.blob)
        assert isinstance(got, Ok)
        assert got.value is not None
        return got.value

    async def erase(self, scope_id: str) -> None:
        """Have all that was said in a scope removed, and wait until the spoke has done its part."""
        before = len(self.told(Erased))
        address = Address(platform=self._platform, bot_id=self._bot_id, scope_id=scope_id)
        await self._publish(Erase(turn="f", turns=(), until=1e12, epoch=1, address=address))
        await until(lambda: len(self.told(Erased)) > before)

    async def _publish(self, event: Update | Final | Erase) -> None:
        await self._joined.publish(subjects.outbound(self._platform, self._bot_id), OUTBOUND.encode(event))

    def _address(self, turn: str) -> Address:
        return self.accepted[turn].address

    def _on_asked(self, delivery: Delivery) -> None:
        asked = FROM_SPOKE.decode(delivery.data)
        self.asked.append(asked)
        answer = self.answers(asked)
        if answer is not None:
            self._bus.carry(self._joined, delivery.reply, TO_SPOKE.encode(answer), "")

    @staticmethod
    def _is_beside(one: InboundMessage, other: InboundMessage) -> bool:
        return one.address.scope_id == other.address.scope_id


class Listener:
    """A hub on a real bus that accepts every message of every bot."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.heard: list[InboundMessage] = []
        self._tasks: set[asyncio.Task[object]] = set()

    async def open(self) -> None:
        """Listen."""
        assert isinstance(await self._transport.subscribe(subjects.plane("inbound")[0], self._take), Ok)

    def _take(self, delivery: Delivery) -> None:
        asked = FROM_SPOKE.decode(delivery.data)
        answer: ToSpoke
        match asked:
            case Hello():
                answer = Welcome(epoch=1)
            case Claim():
                answer = Leased(generation=1)
            case _:
                answer = Accepted(turn="t", epoch=1)
        if isinstance(asked, Submit):
            self.heard.append(asked.message)
        task = asyncio.ensure_future(self._transport.publish(delivery.reply, TO_SPOKE.encode(answer)))
        self._tasks.add(task)
