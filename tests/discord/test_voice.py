"""A voice message on Discord is heard as on any other platform, and the answer comes back as text and sound."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.discord.bot import Bot
from adapters.discord.client import Client, point_at
from adapters.discord.normalize import PLATFORM
from adapters.discord.settings import BotSettings, DiscordSettings
from factory_cli.config import Bot as BotChoice
from factory_nats.connect import Identity
from factory_nats.transport import Transport
from tests.discord.stage import SPEED, TIMES, TOKEN, fast_pace
from tests.discordapi.channels import Channel, User
from tests.discordapi.contents import IS_VOICE
from tests.discordapi.server import DiscordApi
from tests.fakes import until
from tests.providers.formants import Recogniser, note
from tests.providers.media import MediaServer
from tests.voice.house import house
from workers.voice.opus import is_opus
from workers.voice.settings import STT, TTS

BOT = BotChoice(PLATFORM, "main", access="public")
# What Discord's own recorder says of a second of speech.
ABOUT: dict[str, Any] = {"duration_secs": 0.86, "waveform": base64.b64encode(bytes(range(0, 256, 30))).decode()}


@dataclass(slots=True)
class Room:
    """A direct message in which Ann talks with the bot, and what hears her at the other end."""

    server: DiscordApi
    media: MediaServer
    bot: int
    ann: User
    channel: Channel

    @property
    def texts(self) -> list[str]:
        """What the bot wrote."""
        return [shown.text for shown in self.server.screen(self.channel).by(self.bot) if shown.text]

    @property
    def sounds(self) -> list[bytes]:
        """What the bot said aloud."""
        mine = (message for message in self.server.messages.values() if message.author.id == self.bot)
        return [file.content for message in mine for file in message.files if file.mime.startswith("audio/")]

    def speaks(self, word: str) -> None:
        """Ann records a voice message, which is a file under a flag, without a word."""
        file = self.server.file("voice-message.ogg", note(word), "audio/ogg", **ABOUT)
        self.server.say(self.channel, self.ann, attachments=(file,), flags=IS_VOICE)


@asynccontextmanager
async def room(folder: Path, *capabilities: str) -> AsyncIterator[Room]:
    """A direct message, and all that stands behind it; of the capabilities those that are named."""
    async with DiscordApi(speed=SPEED, times=TIMES) as server:
        account, ann = server.bot(TOKEN, "factory", reads_content=True), server.user("Ann")
        channel = server.dm(ann)

        async def spoke(transport: Transport) -> None:
            told = BotSettings(BOT.bot_id, TOKEN, Identity(BOT.identity, None), folder / "notes", folder / "cursors")
            settings = DiscordSettings("", (told,), server.api, server.gateway_url)
            point_at(settings.api_base, settings.gateway)
            client = Client(TOKEN, message_content=True)
            try:
                await Bot(settings, told, await client.login(), client, transport, pace=fast_pace()).run()
            finally:
                await client.close()

        async with house(folder, BOT, spoke, *capabilities) as media:
            await server.until(lambda: bool(server.ledger.happened("identify")))
            yield Room(server, media, account.id, ann, channel)
        assert not server.faults


async def test_a_voice_message_is_heard_and_answered_in_text_and_sound(tmp_path: Path) -> None:
    async with room(tmp_path, TTS, STT) as place:
        place.speaks("why")
        await until(lambda: bool(place.sounds), seconds=30)

        assert place.texts == ["You said: **why**"]
        assert is_opus(place.sounds[0])
        assert Recogniser().hear(place.sounds[0]) == "no way"
        assert [path for path, _ in place.media.asked] == ["/v1/audio/transcriptions"]


async def test_where_nobody_speaks_the_answer_is_text_alone(tmp_path: Path) -> None:
    async with room(tmp_path, STT) as place:
        place.speaks("yes")
        await until(lambda: place.texts == ["You said: **yes**"], seconds=30)

        assert not place.sounds


async def test_the_slash_command_says_the_last_answer_aloud(tmp_path: Path) -> None:
    async with room(tmp_path, TTS) as place:
        place.server.say(place.channel, place.ann, "hello")
        await until(lambda: place.texts == ["You said: **hello**"], seconds=30)
        await place.server.until(lambda: bool(place.server.ledger.called("put_commands")))
        place.server.slash(place.ann, place.channel, "voice")
        await until(lambda: bool(place.sounds), seconds=30)

        assert Recogniser().hear(place.sounds[0]) == "no way"
