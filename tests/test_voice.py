"""A voice note walks from a person's telephone to the model as words, and the answer comes back as text and voice.

Everything is as in the product but Telegram, the model, and who writes down and says: a recogniser behind a server of
OpenAI's protocol, and a program.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.models.prices import GenaiPrices
from adapters.models.scripted import Scripted, parse
from adapters.telegram.bot import Bot
from adapters.telegram.client import Client
from adapters.telegram.normalize import PLATFORM, Me
from adapters.telegram.settings import BotSettings, TelegramSettings
from factory_cli.config import Bot as BotChoice
from factory_cli.config import Configuration, Voice
from factory_cli.membership import members
from factory_contracts import subjects
from factory_nats.connect import connect, generate_seed, public_key
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from hub.composition import HubSettings, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.routing import Binding, Bindings
from tests.botapi.chats import Chat, User
from tests.botapi.server import BotApi
from tests.fakes import until
from tests.providers.formants import Recogniser, note
from tests.providers.media import KEY, MediaServer
from tests.telegram.stage import SPEED, TOKEN, fast_pace
from workers.clipool.composition import joined, run
from workers.clipool.kit import Given, Kit
from workers.posts import Post, work
from workers.voice.composition import VoiceSettings, compose
from workers.voice.opus import is_opus
from workers.voice.settings import STT, TTS, Program, Server

BOT = BotChoice(PLATFORM, "main", access="public")
REPEATS = """
[[reply]]
steps = [{ say = "You said: **{said}**" }]
"""
# It says a word that it knows, in the same voice as the person, however much it is told.
SPEAKS = """
import sys, wave
from tests.providers.formants import RATE, say
sys.stdin.read()
with wave.open(sys.argv[1], "wb") as file:
    file.setparams((1, 2, RATE, 0, "NONE", ""))
    file.writeframes((say("no way") * 32767).astype("<i2").tobytes())
"""


@dataclass(slots=True)
class Town:
    """A telephone, and all that stands behind it."""

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

    def speaks(self, word: str) -> None:
        """Ann records a note."""
        self.api.send(self.chat, self.ann, "voice", note(word), mime="audio/ogg")


@asynccontextmanager
async def town(folder: Path, *capabilities: str) -> AsyncIterator[Town]:
    """Everything runs; of the capabilities those that are named."""
    async with AsyncExitStack() as stack:
        media = await stack.enter_async_context(MediaServer(hear=Recogniser().hear))
        mouth = Program((sys.executable, "-c", SPEAKS, "{out}"))
        ear = Server(media.url, "whisper-1", "OPENAI_API_KEY")
        chosen = Voice(mouth if TTS in capabilities else None, ear if STT in capabilities else None)
        everybody = {one.identity: one for one in members(Configuration(bots=(BOT,), voice=chosen))}
        seeds = {key: generate_seed() for one in everybody.values() for key, _ in one.grants}
        who = {name: one.proves(seeds.__getitem__) for name, one in everybody.items()}
        users = [user for one in everybody.values() for user in one.users(lambda key: public_key(seeds[key]))]
        bus = await stack.enter_async_context(EmbeddedServer(folder / "nats", users=users))
        api = await stack.enter_async_context(BotApi(speed=SPEED))
        stop = asyncio.Event()

        async def reign() -> None:
            bindings = Bindings({"alice": Agent("alice", "scripted")}, (Binding("alice"),))
            policies = (BotPolicy(PLATFORM, BOT.bot_id, access="public", rate_per_minute=1_000),)
            assert await serve(HubSettings(bus.url, who[subjects.HUB], bindings, policies), stop) == 0

        async def think() -> None:
            connected = await connect(bus.url, who[subjects.CLIPOOL], patience=10)
            assert isinstance(connected, Ok)
            model = Scripted(parse(REPEATS, "repeats", Path()))
            kit = joined(Kit(Given({"scripted": model}), {}, GenaiPrices({}), time.time), connected.value)
            await run(connected.value, kit, stop)
            await kit.close()
            await connected.value.close()

        async def speak() -> None:
            served = compose(VoiceSettings(bus.url, chosen.mouth, chosen.ear, variables={"OPENAI_API_KEY": KEY}))
            posts = [Post(who[name.replace(".", "-")], one) for name, one in served.items()]
            assert await work(bus.url, posts, stop, patience=10) == 0

        account = api.bot(TOKEN, "factory_bot")
        ann = api.user("Ann")
        chat = api.chat("private", ann)

        async def serve_telegram() -> None:
            connected = await connect(bus.url, who[BOT.identity], patience=10)
            assert isinstance(connected, Ok)
            told = BotSettings(BOT.bot_id, TOKEN, who[BOT.identity], folder / "main.notes")
            settings = TelegramSettings(bus.url, (told,), api_base=api.url)
            client = Client(TOKEN, api.url)
            me = Me(account.id, "factory_bot", BOT.bot_id)
            try:
                await Bot(settings, told, me, client, connected.value, pace=fast_pace()).run()
            finally:
                await client.close()
                await connected.value.close()

        tasks = [asyncio.create_task(one()) for one in (reign, think, speak, serve_telegram)]
        try:
            yield Town(api, media, account.user, ann, chat)
            assert not api.faults
        finally:
            stop.set()
            tasks[-1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in tasks[:-1]:
                task.result()


async def test_a_voice_note_is_heard_and_answered_in_text_and_voice(tmp_path: Path) -> None:
    async with town(tmp_path, TTS, STT) as place:
        place.speaks("why")
        await until(lambda: bool(place.voices), seconds=30)

        assert place.texts == ["You said: why"]
        assert is_opus(place.voices[0])
        assert Recogniser().hear(place.voices[0]) == "no way"
        assert [path for path, _ in place.media.asked] == ["/v1/audio/transcriptions"]


async def test_what_was_said_aloud_stays_in_the_conversation_and_is_heard_once(tmp_path: Path) -> None:
    async with town(tmp_path, STT) as place:
        place.speaks("yes")
        await until(lambda: place.texts == ["You said: yes"], seconds=30)
        place.api.say(place.chat, place.ann, "/retry")
        await until(lambda: place.texts == ["You said: yes"] * 2, seconds=30)

        assert not place.voices
        assert len(place.media.asked) == 1


async def test_where_nobody_hears_the_person_is_told_how_to_change_that(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        place.speaks("why")
        await until(lambda: bool(place.texts) and "You said" in place.texts[-1], seconds=30)

        (text,) = place.texts
        assert "[voice.stt]" in text
        assert "nobody here can hear it" in text


async def test_the_last_answer_is_said_aloud_on_request(tmp_path: Path) -> None:
    async with town(tmp_path, TTS) as place:
        place.api.say(place.chat, place.ann, "/voice")
        await until(lambda: len(place.texts) == 1, seconds=30)
        place.api.say(place.chat, place.ann, "hello")
        await until(lambda: len(place.texts) == 2, seconds=30)
        place.api.say(place.chat, place.ann, "/voice")
        await until(lambda: bool(place.voices), seconds=30)

        assert place.texts[:2] == ["There is no answer to say aloud.", "You said: hello"]
        assert Recogniser().hear(place.voices[0]) == "no way"
