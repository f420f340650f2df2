"""A voice note walks from a person's telephone to the model as words, and the answer comes back as text and voice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.telegram.bot import Bot
from adapters.telegram.client import Client
from adapters.telegram.normalize import PLATFORM, Me
from adapters.telegram.settings import BotSettings, TelegramSettings
from factory_cli.config import Bot as BotChoice
from factory_nats.connect import Identity
from factory_nats.transport import Transport
from tests.botapi.chats import Chat, User
from tests.botapi.server import BotApi
from tests.fakes import until
from tests.providers.formants import Recogniser, note
from tests.providers.media import MediaServer
from tests.telegram.stage import SPEED, TOKEN, fast_pace
from tests.voice.house import SAYS_NO_WAY, house
from workers.voice.opus import is_opus
from workers.voice.settings import ESPEAK, STT, TTS, Program, present

BOT = BotChoice(PLATFORM, "main", access="public")


@dataclass(slots=True)
class Telephone:
    """Ann's, on which she talks with the bot, and what hears her at the other end."""

    api: BotApi
    media: MediaServer
    bot: User
    ann: User
    chat: Chat

    @property
    def texts(self) -> list[str]:
        """What the bot wrote."""
        return [shown.text for shown in self.api.screen(self.chat).by(self.bot.id) if shown.text]

    @property
    def voices(self) -> list[bytes]:
        """What the bot said aloud."""
        found = (shown.media for shown in self.api.screen(self.chat).by(self.bot.id) if shown.media)
        return [self.api.files.again("voice", media["voice"]["file_id"]).content for media in found if "voice" in media]

    def speaks(self, sound: bytes) -> None:
        """Ann sends a voice note."""
        self.api.send(self.chat, self.ann, "voice", sound, mime="audio/ogg")

    def writes(self, text: str) -> None:
        """Ann types."""
        self.api.say(self.chat, self.ann, text)


@asynccontextmanager
async def telephone(
    folder: Path, *capabilities: str, mouth: Program = SAYS_NO_WAY, says: str = "You said: **{said}**"
) -> AsyncIterator[Telephone]:
    """A telephone, and all that stands behind it; of the capabilities those that are named."""
    async with BotApi(speed=SPEED) as api:
        account, ann = api.bot(TOKEN, "factory_bot"), api.user("Ann")
        chat = api.chat("private", ann)

        async def spoke(transport: Transport) -> None:
            told = BotSettings(BOT.bot_id, TOKEN, Identity(BOT.identity, None), folder / "main.notes")
            settings = TelegramSettings("", (told,), api_base=api.url)
            client = Client(TOKEN, api.url)
            me = Me(account.id, "factory_bot", BOT.bot_id)
            try:
                await Bot(settings, told, me, client, transport, pace=fast_pace()).run()
            finally:
                await client.close()

        async with house(folder, BOT, spoke, *capabilities, mouth=mouth, says=says) as media:
            yield Telephone(api, media, account.user, ann, chat)
        assert not api.faults


async def test_a_voice_note_is_heard_and_answered_in_text_and_voice(tmp_path: Path) -> None:
    async with telephone(tmp_path, TTS, STT) as phone:
        phone.speaks(note("why"))
        await until(lambda: bool(phone.voices), seconds=30)

        assert phone.texts == ["You said: why"]
        assert is_opus(phone.voices[0])
        assert Recogniser().hear(phone.voices[0]) == "no way"
        assert [path for path, _ in phone.media.asked] == ["/v1/audio/transcriptions"]


@pytest.mark.skipif(present(Program(ESPEAK)) is None, reason="no espeak-ng here")
async def test_what_espeak_says_of_the_answer_is_the_answer(tmp_path: Path) -> None:
    async with telephone(tmp_path, TTS, STT, mouth=Program(ESPEAK, "en"), says="{said}") as phone:
        phone.speaks(note("why"))
        await until(lambda: bool(phone.voices), seconds=30)

        assert phone.texts == ["why"]
        assert Recogniser().hear(phone.voices[0]) == "why"


async def test_what_was_said_aloud_stays_in_the_conversation_and_is_heard_once(tmp_path: Path) -> None:
    async with telephone(tmp_path, STT) as phone:
        phone.speaks(note("yes"))
        await until(lambda: phone.texts == ["You said: yes"], seconds=30)
        phone.writes("/retry")
        await until(lambda: phone.texts == ["You said: yes"] * 2, seconds=30)

        assert not phone.voices
        assert len(phone.media.asked) == 1


async def test_where_nobody_hears_the_person_is_told_how_to_change_that(tmp_path: Path) -> None:
    async with telephone(tmp_path) as phone:
        phone.speaks(note("why"))
        await until(lambda: bool(phone.texts) and "You said" in phone.texts[-1], seconds=30)

        (text,) = phone.texts
        assert "[voice.stt]" in text
        assert "nobody here can hear it" in text


@pytest.mark.parametrize("sound", [b"no sound at all", b"OggS" + bytes(100)])
async def test_a_note_that_is_no_sound_is_answered_and_is_no_end_of_anything(tmp_path: Path, sound: bytes) -> None:
    async with telephone(tmp_path, STT) as phone:
        phone.speaks(sound)
        await until(lambda: any("it could not be made out" in text for text in phone.texts), seconds=30)
        phone.speaks(note("yes"))
        await until(lambda: phone.texts[1:] == ["You said: yes"], seconds=30)


async def test_the_last_answer_is_said_aloud_on_request(tmp_path: Path) -> None:
    async with telephone(tmp_path, TTS) as phone:
        phone.writes("/voice")
        await until(lambda: phone.texts == ["There is no answer to say aloud."], seconds=30)
        phone.writes("hello")
        await until(lambda: phone.texts[1:] == ["You said: hello"], seconds=30)
        phone.writes("/voice")
        await until(lambda: bool(phone.voices), seconds=30)

        assert Recogniser().hear(phone.voices[0]) == "no way"
