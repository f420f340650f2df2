"""A Telegram bot as it is deployed, between a strict Bot API server and a hub whose answers a test chooses.

The server's clock runs a hundred times faster than ours, and so does the bot's pace.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.pace import Pace
from adapters.telegram.bot import BETWEEN, GROUP, PRIVATE, Bot
from adapters.telegram.client import Client
from adapters.telegram.normalize import PLATFORM, Me
from adapters.telegram.settings import BotSettings, Stream, Style, TelegramSettings
from factory_contracts import subjects
from factory_contracts.messages import (
    FROM_SPOKE,
    OUTBOUND,
    TO_SPOKE,
    Accepted,
    Address,
    AlreadyAccepted,
    Attachment,
    Final,
    FinalReceipt,
    FromSpoke,
    Hello,
    InboundMessage,
    Moved,
    Noted,
    Outcome,
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
from factory_nats.connect import Identity
from factory_nats.result import Ok
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery
from tests.botapi.chats import Chat, User
from tests.botapi.server import BotApi
from tests.fakes import until

SPEED = 100.0
TOKEN = "42:TEST"
BOT_ID = "main"
STORE = subjects.blobs(PLATFORM, BOT_ID)


def fast_pace(speed: float = SPEED) -> Pace:
    """The pace of a bot whose server's clock runs so much faster."""
    private, group = (replace(one, gap=one.gap / speed, every=one.every / speed) for one in (PRIVATE, GROUP))
    return Pace(lambda chat: group if chat.startswith("-") else private, BETWEEN / speed)


class Hub:
    """A hub that accepts what it is told, unless a test has it say something else."""

    def __init__(self, bus: FakeBus) -> None:
        self._bus = bus
        self._joined = bus.join("hub")
        self.asked: list[FromSpoke] = []
        self.accepted: dict[str, InboundMessage] = {}
        self.answers: Callable[[FromSpoke], ToSpoke | None] = self.agree

    async def open(self) -> None:
        """Listen."""
        assert isinstance(await self._joined.subscribe(subjects.plane("inbound")[0], self._on_asked), Ok)
        assert isinstance(await blobs.ensure(self._joined, STORE), Ok)

    def agree(self, asked: FromSpoke) -> ToSpoke | None:
        """What a hub says that likes everything."""
        match asked:
            case Hello():
                return Welcome(epoch=1)
            case Submit(message=message, only_asks=None):
                turn = turn_id(PLATFORM, BOT_ID, message.address.scope_id, message.message_id)
                known = [id for one in self.accepted.values() for id in one.ids if self._is_beside(one, message)]
                if covered := tuple(id for id in message.ids if id in known):
                    return AlreadyAccepted(turn=turn, covers=covered, epoch=1)
                self.accepted[turn] = message
                return Accepted(turn=turn, epoch=1)
            case ShownReceipt() | FinalReceipt():
                return Noted(message_id=asked.message_id, epoch=1)
            case Submit() | StopPressed() | Moved():
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
        self, turn: str, text: str, *, events: int = 1, attempt: int = 1, activity: str | None = None
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
        kept = await blobs.put(self._joined, STORE, data)
        assert isinstance(kept, Ok)
        about = {"kind": "document", "name": "file.txt", "mime": "text/plain"} | of
        return Attachment.model_validate({**about, "size": len(data), "blob": kept.value})

    async def read(self, attachment: Attachment) -> bytes:
        """A file that came with a message."""
        got = await blobs.get(self._joined, STORE, attachment.blob)
        assert isinstance(got, Ok)
        assert got.value is not None
        return got.value

    async def _publish(self, event: Update | Final) -> None:
        await self._joined.publish(subjects.outbound(PLATFORM, BOT_ID), OUTBOUND.encode(event))

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


class Stage:
    """The server, the hub and one bot between them, with a private chat and a group that it is in."""

    def __init__(self, server: BotApi, bus: FakeBus, settings: TelegramSettings) -> None:
        self.server = server
        self.bus = bus
        self.hub = Hub(bus)
        self.settings = settings
        self.account = server.bot(TOKEN, "factory_bot")
        self.ann, self.bob = server.user("Ann"), server.user("Bob")
        self.private = server.chat("private", self.ann)
        self.group = server.chat("supergroup", self.ann, self.bob)
        self.points: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Start the bot; one that was killed is started anew."""
        bot = self.settings.bots[0]
        client = Client(bot.token, self.server.url)
        me = Me(self.account.id, "factory_bot", BOT_ID)
        transport = self.bus.join(bot.identity.name)
        serving = Bot(self.settings, bot, me, client, transport, pace=fast_pace(), at=self.points.append)

        async def work() -> None:
            try:
                await serving.run()
            finally:
                await client.close()

        self._tasks.append(asyncio.create_task(work()))

    async def kill(self) -> None:
        """End the bot in the midst of whatever it does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                if (error := task.exception()) is not None:
                    raise error
        self._tasks.clear()

    async def asked(self, count: int = 1) -> list[InboundMessage]:
        """So many messages, once they are accepted."""
        await until(lambda: len(self.hub.accepted) >= count)
        return self.hub.messages

    async def turn(self, count: int = 1) -> str:
        """The turn of the so-and-so-manieth message, once it is accepted."""
        await self.asked(count)
        return list(self.hub.accepted)[count - 1]

    async def said(self, chat: Chat, user: User, text: str, **how: Any) -> str:
        """Somebody says something; the turn that comes of it."""
        before = len(self.hub.accepted)
        self.server.say(chat, user, text, **how)
        return await self.turn(before + 1)

    def texts(self, chat: Chat) -> list[str]:
        """What stands in a chat by the bot."""
        return [shown.text for shown in self.server.screen(chat).by(self.account.id)]


@asynccontextmanager
async def staged(
    folder: Path,
    *,
    stream: Stream = "edit",
    render: Style = "entities",
    observes: bool = False,
    reactions: bool = False,
) -> AsyncIterator[Stage]:
    """A stage whose bot runs; at the end no correct client's server has anything to complain of."""
    async with BotApi(speed=SPEED) as server:
        bot = BotSettings(BOT_ID, TOKEN, Identity("telegram-main", None), folder / "main.notes")
        settings = TelegramSettings(
            "", (bot,), api_base=server.url, stream=stream, render=render, observes=observes, reactions=reactions
        )
        stage = Stage(server, FakeBus(), settings)
        await stage.hub.open()
        await stage.run()
        try:
            yield stage
            assert not server.faults
        finally:
            await stage.kill()
