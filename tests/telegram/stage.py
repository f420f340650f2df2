"""A Telegram bot as it is deployed, between a strict Bot API server and a hub whose answers a test chooses.

The server's clock runs a hundred times faster than ours, and so does the bot's pace.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.pace import Pace
from adapters.telegram.bot import BETWEEN, GROUP, PRIVATE, Bot
from adapters.telegram.client import Client
from adapters.telegram.normalize import PLATFORM, Me
from adapters.telegram.settings import BotSettings, Stream, Style, TelegramSettings
from factory_contracts.messages import InboundMessage
from factory_nats.connect import Identity
from factory_nats.testing import FakeBus
from tests.botapi.chats import Chat, User
from tests.botapi.server import BotApi
from tests.fakes import until
from tests.spokes import Hub

SPEED = 100.0
TOKEN = "42:TEST"
BOT_ID = "main"


def fast_pace(speed: float = SPEED) -> Pace:
    """The pace of a bot whose server's clock runs so much faster."""
    private, group = (replace(one, gap=one.gap / speed, every=one.every / speed) for one in (PRIVATE, GROUP))
    return Pace(lambda chat: group if chat.startswith("-") else private, BETWEEN / speed)


class Stage:
    """The server, the hub and one bot between them, with a private chat and a group that it is in."""

    def __init__(self, server: BotApi, bus: FakeBus, settings: TelegramSettings) -> None:
        self.server = server
        self.bus = bus
        self.hub = Hub(bus, PLATFORM, BOT_ID)
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
