"""A bot in a Discord that others wrote: what our own server and we might both take wrong, simcord takes otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import simcord

from adapters.discord.bot import Bot
from adapters.discord.client import Client, Feed, Gateway, point_at
from adapters.discord.normalize import PLATFORM
from adapters.discord.settings import BotSettings, DiscordSettings
from factory_contracts.messages import FinalReceipt
from factory_nats.connect import Identity
from factory_nats.testing import FakeBus
from tests.discord.stage import BOT_ID, fast_pace
from tests.fakes import until
from tests.spokes import Hub

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def _always(*_: object) -> None:
    """Everything may be said."""


class Simulated(Client):
    """A client that is told of what happens by simcord, which has no gateway to connect to."""

    def __init__(self, env: simcord.Env, gateway: Gateway) -> None:
        super().__init__("the.bots.token", new_gateway=lambda feed, content, may: gateway)
        self._env = env

    async def listen(self, feed: Feed) -> None:
        def tell(event: str, payload: Mapping[str, Any]) -> None:
            feed({"t": event, "d": json.loads(json.dumps(payload, default=str))})

        tell("READY", {})
        self._env.backend.subscribers.append(tell)
        await asyncio.Event().wait()


class World:
    """simcord, a hub and a bot between them, with a channel that Ann and Bob are in."""

    def __init__(self, env: simcord.Env) -> None:
        self.env = env
        self.bus = FakeBus()
        self.hub = Hub(self.bus, PLATFORM, BOT_ID)
        self.guild = env.create_guild()
        self.channel = self.guild.create_text_channel("general")
        self.ann = self.guild.add_member(env.create_user("Ann"))
        self.bob = self.guild.add_member(env.create_user("Bob"))

    @property
    def name(self) -> str:
        """How people call the bot."""
        return f"<@{self.env.backend.bot_user.id}>"

    async def turn(self, count: int = 1) -> str:
        """The turn of the so-and-so-manieth message, once it is accepted."""
        await until(lambda: len(self.hub.accepted) >= count)
        return list(self.hub.accepted)[count - 1]

    async def finished(self, count: int = 1) -> None:
        """So many answers are whole on the screen."""
        await until(lambda: len(self.hub.told(FinalReceipt)) >= count)

    def shown(self) -> list[Any]:
        """What the bot says in the channel."""
        return [one for one in self.channel.history() if one.author.id == self.env.backend.bot_user.id]


@asynccontextmanager
async def simulated(folder: Path) -> AsyncIterator[World]:
    """A world whose bot runs."""
    settings = BotSettings(
        BOT_ID, "the.bots.token", Identity("discord-main", None), folder / "notes", folder / "cursors"
    )
    everything = DiscordSettings("", (settings,))
    point_at(everything.api_base, None)
    gateway = Gateway(lambda event: None, True, _always)
    async with simcord.run(gateway) as env:
        world = World(env)
        await world.hub.open()
        client = Simulated(env, gateway)
        account = await client.login()
        bot = Bot(everything, settings, account, client, world.bus.join("spoke"), pace=fast_pace())
        running = asyncio.create_task(bot.run())
        await until(lambda: len(world.env.backend.subscribers) > 1)
        try:
            yield world
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_long_answer_with_files_and_choices_is_taken_as_it_is(tmp_path: Path) -> None:
    async with simulated(tmp_path) as world:
        asked = await world.ann.send(world.channel, f"{world.name} Tell me everything, @everyone")
        turn = await world.turn()
        text = "# All\n\n" + "\n\n".join(f"@everyone {number} " + "word " * 60 for number in range(20))
        await world.hub.grow(turn, text[:1000], activity="looks around")
        await world.hub.answer(turn, text, attachments=(await world.hub.keep(b"content"),), choices=("Yes", "No"))
        await world.finished()

        first, *others, file = world.shown()
        assert first.reference.message_id == asked.id
        assert all(len(one.content) <= 2_000 and not one.mention_everyone for one in (first, *others))
        assert [button.label for row in others[-1].components for button in row.children] == ["Yes", "No"]
        assert [one.filename for one in file.attachments] == ["file.txt"]


async def test_what_people_send_is_read_alike(tmp_path: Path) -> None:
    async with simulated(tmp_path) as world:
        said = await world.bob.send(world.channel, "The meeting is at noon")
        await world.ann.send(world.channel, f"{world.name} when?", reply_to=said)
        await world.ann.send(world.channel, f"{world.name} look", attachments=[("cat.png", b"picture")])
        await world.ann.forward(said, world.channel)
        await world.ann.send_dm("Hello")
        await world.turn(5)

        first, when, look, forwarded = (one for one in world.hub.messages if one.in_group)
        (private,) = (one for one in world.hub.messages if not one.in_group)
        assert (first.text, first.is_addressed) == ("The meeting is at noon", False)
        assert (when.text, when.quoted, when.is_addressed) == ("when?", "Bob: The meeting is at noon", True)
        assert [await world.hub.read(one) for one in look.attachments] == [b"picture"]
        assert forwarded.text == "[forwarded]\nThe meeting is at noon"
        assert (private.text, private.in_group, private.is_addressed) == ("Hello", False, True)


async def test_a_command_is_deferred_and_answered_in_its_place(tmp_path: Path) -> None:
    async with simulated(tmp_path) as world:
        await until(lambda: "ask" in world.ann.available_commands(world.channel))
        await world.ann.slash(world.channel, "ask", text="What is a fold?")
        turn = await world.turn()
        await world.hub.answer(turn, "A way to read a log.")
        await world.finished()

        assert [one.content for one in world.shown()] == ["A way to read a log."]
        assert world.hub.messages[0].text == "What is a fold?"


async def test_a_stranger_who_presses_is_told_so_and_a_choice_is_made_once(tmp_path: Path) -> None:
    async with simulated(tmp_path) as world:
        await world.ann.send(world.channel, f"{world.name} Yes or no?")
        await world.hub.answer(await world.turn(), "Choose.", choices=("Yes", "No"))
        await world.finished()
        (shown,) = world.shown()

        await world.bob.click(shown, label="Yes")
        await world.ann.click(shown, label="No")
        await world.turn(2)

        assert [one.text for one in world.hub.messages][1:] == ["No"]
