"""All that stands behind a bot which hears and speaks: the bus, the hub, the model, and who writes down and says.

Everything is as in the product but the model, which repeats what it is told, and the two engines: a recogniser behind a
server of OpenAI's protocol, and a program.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from adapters.models.prices import GenaiPrices
from adapters.models.scripted import Scripted, parse
from factory_cli.config import Bot, Configuration, Voice
from factory_cli.membership import members
from factory_contracts import subjects
from factory_nats.connect import connect, generate_seed, public_key
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Transport
from hub.composition import HubSettings, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.routing import Binding, Bindings
from tests.providers.formants import Recogniser
from tests.providers.media import KEY, MediaServer
from workers.clipool.composition import joined, run
from workers.clipool.kit import Given, Kit
from workers.posts import Post, work
from workers.voice.composition import VoiceSettings, compose
from workers.voice.settings import STT, TTS, Program, Server

# It says a word that it knows, in the same voice as the person, however much it is told.
SPEAKS = """
import sys, wave
from tests.providers.formants import RATE, say
sys.stdin.read()
with wave.open(sys.argv[1], "wb") as file:
    file.setparams((1, 2, RATE, 0, "NONE", ""))
    file.writeframes((say("no way") * 32767).astype("<i2").tobytes())
"""
SAYS_NO_WAY = Program((sys.executable, "-c", SPEAKS, "{out}"))


@asynccontextmanager
async def house(
    folder: Path,
    bot: Bot,
    spoke: Callable[[Transport], Awaitable[None]],
    *capabilities: str,
    mouth: Program = SAYS_NO_WAY,
    says: str = "You said: **{said}**",
) -> AsyncIterator[MediaServer]:
    """Everything runs, and the spoke of the bot; of the capabilities those that are named. What hears is looked at."""
    async with AsyncExitStack() as stack:
        media = await stack.enter_async_context(MediaServer(hear=Recogniser().hear))
        ear = Server(media.url, "whisper-1", "OPENAI_API_KEY")
        chosen = Voice(mouth if TTS in capabilities else None, ear if STT in capabilities else None)
        everybody = {one.identity: one for one in members(Configuration(bots=(bot,), voice=chosen))}
        seeds = {key: generate_seed() for one in everybody.values() for key, _ in one.grants}
        who = {name: one.proves(seeds.__getitem__) for name, one in everybody.items()}
        users = [user for one in everybody.values() for user in one.users(lambda key: public_key(seeds[key]))]
        bus = await stack.enter_async_context(EmbeddedServer(folder / "nats", users=users))
        stop_work, stop_reign = asyncio.Event(), asyncio.Event()

        async def reign() -> None:
            bindings = Bindings({"alice": Agent("alice", "scripted")}, (Binding("alice"),))
            policies = (BotPolicy(bot.platform, bot.bot_id, access="public", rate_per_minute=1_000),)
            assert await serve(HubSettings(bus.url, who[subjects.HUB], bindings, policies), stop_reign) == 0

        async def think() -> None:
            connected = await connect(bus.url, who[subjects.CLIPOOL], patience=10)
            assert isinstance(connected, Ok)
            model = Scripted(parse(f"[[reply]]\nsteps = [{{ say = '{says}' }}]", "repeats", Path()))
            kit = joined(Kit(Given({"scripted": model}), {}, GenaiPrices({}), time.time), connected.value)
            await run(connected.value, kit, stop_work)
            await kit.close()
            await connected.value.close()

        async def speak() -> None:
            served = compose(VoiceSettings(bus.url, chosen.mouth, chosen.ear, variables={"OPENAI_API_KEY": KEY}))
            posts = [Post(who[name.replace(".", "-")], one) for name, one in served.items()]
            assert await work(bus.url, posts, stop_work, patience=10) == 0

        async def show() -> None:
            connected = await connect(bus.url, who[bot.identity], patience=10)
            assert isinstance(connected, Ok)
            try:
                await spoke(connected.value)
            finally:
                await connected.value.close()

        reigning, thinking, speaking, showing = [asyncio.create_task(one()) for one in (reign, think, speak, show)]
        try:
            yield media
        finally:
            showing.cancel()
            # Who thinks keeps what it said until the hub has heard of it, and waits for a hub that is gone.
            stop_work.set()
            await asyncio.gather(thinking, speaking, showing, return_exceptions=True)
            stop_reign.set()
            await asyncio.gather(reigning, return_exceptions=True)
            for task in (reigning, thinking, speaking):
                task.result()
