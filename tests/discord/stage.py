"""A Discord bot as it is deployed, between a strict server and a hub whose answers a test chooses.

The server's clock runs a hundred times faster than ours, and so does the bot's pace.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from adapters.discord.bot import BETWEEN, PAUSE, Bot
from adapters.discord.client import Client, point_at
from adapters.discord.normalize import PLATFORM
from adapters.discord.settings import BotSettings, DiscordSettings
from adapters.pace import Pace, Rhythm
from factory_contracts.messages import InboundMessage
from factory_nats.connect import Identity
from factory_nats.testing import FakeBus
from tests.discordapi.channels import Channel, User
from tests.discordapi.ledger import Shown
from tests.discordapi.people import Times
from tests.discordapi.server import DiscordApi
from tests.fakes import until
from tests.spokes import Hub

SPEED = 100.0
TOKEN = "the.bots.token"
BOT_ID = "main"
# A process that starts anew takes longer than the server's clock would allow it.
TIMES = Times(answer=300.0, token=90_000.0, nonce=30_000.0, heartbeat=1_000.0, resume=9_000.0)


def fast_pace(speed: float = SPEED) -> Pace:
    """The pace of a bot whose server's clock runs so much faster."""
    return Pace(lambda channel: Rhythm(gap=PAUSE / speed), BETWEEN / speed)


class Stage:
    """The server, the hub and one bot between them, with a direct message and a channel that it is in."""

    def __init__(self, server: DiscordApi, folder: Path, how: dict[str, Any]) -> None:
        self.server = server
        self.bus = FakeBus()
        self.hub = Hub(self.bus, PLATFORM, BOT_ID)
        self.account = server.bot(TOKEN, "factory", reads_content=how.pop("is_granted", True))
        self.ann, self.bob = server.user("Ann"), server.user("Bob")
        self.guild = server.guild(self.ann, self.bob)
        self.channel = server.channel(self.guild)
        self.private = server.dm(self.ann)
        bot = BotSettings(BOT_ID, TOKEN, Identity("discord-main", None), folder / "notes", folder / "cursors")
        if how.pop("is_dedicated", False):
            how["dedicated"] = frozenset((str(self.channel.id),))
        self.settings = DiscordSettings("", (bot,), server.api, server.gateway_url, **how)
        self.dies_at = ""
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def name(self) -> str:
        """How people call the bot."""
        return self.account.user.mention

    async def run(self) -> None:
        """Start the bot; one that was killed is started anew."""
        before = len(self.server.ledger.happened("identify"))
        self._tasks.append(asyncio.create_task(self._serve()))
        await self.server.until(lambda: len(self.server.ledger.happened("identify")) > before)

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
        self.server.forget_sessions()

    async def asked(self, count: int = 1) -> list[InboundMessage]:
        """So many messages, once they are accepted."""
        await until(lambda: len(self.hub.accepted) >= count)
        return self.hub.messages

    async def turn(self, count: int = 1) -> str:
        """The turn of the so-and-so-manieth message, once it is accepted."""
        await self.asked(count)
        return list(self.hub.accepted)[count - 1]

    async def said(self, channel: Channel, user: User, text: str, **how: Any) -> str:
        """Somebody says something; the turn that comes of it."""
        before = len(self.hub.accepted)
        self.server.say(channel, user, text, **how)
        return await self.turn(before + 1)

    def shown(self, channel: Channel) -> list[Shown]:
        """What stands in a channel by the bot."""
        return self.server.screen(channel).by(self.account.id)

    def texts(self, channel: Channel) -> list[str]:
        """What it says there."""
        return [shown.text for shown in self.shown(channel)]

    def _at(self, point: str) -> None:
        if point == self.dies_at:
            raise asyncio.CancelledError

    async def _serve(self) -> None:
        point_at(self.settings.api_base, self.settings.gateway)
        bot = self.settings.bots[0]
        client = Client(bot.token, message_content=self.settings.message_content)
        try:
            account = await client.login()
            transport = self.bus.join(bot.identity.name)
            await Bot(self.settings, bot, account, client, transport, pace=fast_pace(), at=self._at).run()
        finally:
            await client.close()


@asynccontextmanager
async def staged(
    folder: Path, *, times: Times = TIMES, speed: float = SPEED, runs: bool = True, **how: Any
) -> AsyncIterator[Stage]:
    """A stage whose bot runs; at the end no correct client's server has anything to complain of."""
    async with DiscordApi(speed=speed, times=times) as server:
        stage = Stage(server, folder, how)
        await stage.hub.open()
        if runs:
            await stage.run()
        try:
            yield stage
            assert not server.faults
        finally:
            await stage.kill()
