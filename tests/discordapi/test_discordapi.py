"""The server is what discord.py, written by others for the real one, takes it for; and it is stricter than that."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import discord
import pytest
import simcord
import yarl
from discord import app_commands

from tests.discordapi.channels import Channel, Guild, Snowflakes, User
from tests.discordapi.contents import SUPPRESS_EMBEDS
from tests.discordapi.files import MOST_BODY, UPLOAD
from tests.discordapi.flood import UNLIMITED, Budgets, Rate
from tests.discordapi.ledger import Ledger
from tests.discordapi.people import Bot, Times
from tests.discordapi.refusal import Json
from tests.discordapi.server import DiscordApi
from tests.discordapi.trouble import Answer, Cloudflare, Cut, Delay, Empty, Garbage, Hang, Page, TooFast, Trouble

ROOT = Path(__file__).parents[2]
TOKEN = "TOKEN"
NOBODY: Json = {"allowed_mentions": {"parse": []}}
QUIET = discord.AllowedMentions.none()


class Listener(discord.Client):
    """A client of discord.py that remembers what came."""

    def __init__(self, content: bool = True, **how: Any) -> None:
        intents = discord.Intents.default()
        intents.message_content = content
        super().__init__(intents=intents, guild_ready_timeout=0.05, allowed_mentions=QUIET, **how)
        self.came: list[tuple[str, tuple[Any, ...]]] = []
        self.tree = app_commands.CommandTree(self)
        self._turned = asyncio.Event()

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Remember, and go on as always."""
        self.came.append((event, args))
        self._turned.set()
        super().dispatch(event, *args, **kwargs)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Begin anew at once, where discord.py would sleep."""

    def got(self, event: str) -> list[Any]:
        """What came with events of a kind."""
        return [args[0] if args else None for name, args in self.came if name == event]

    @property
    def texts(self) -> list[str]:
        """What others said."""
        return [each.content for each in self.got("message") if each.author != self.user]

    async def until(self, claim: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until a claim holds."""
        async with asyncio.timeout(seconds):
            while not claim():
                await self._turned.wait()
                self._turned.clear()

    def text_channel(self, channel: Channel) -> discord.TextChannel:
        """The channel as the client knows it."""
        found = self.get_channel(channel.id)
        assert isinstance(found, discord.TextChannel)
        return found


@dataclass
class Scene:
    """A server, one bot, a guild with two people and a channel, and the ways to call."""

    server: DiscordApi
    bot: Bot
    ann: User
    bob: User
    guild: Guild
    general: Channel
    http: aiohttp.ClientSession
    now: list[float]
    stack: AsyncExitStack

    async def client(self, content: bool = True, **how: Any) -> Listener:
        """The bot in discord.py, ready."""
        client = Listener(content, **how)
        await client.login(TOKEN)
        running = asyncio.create_task(client.connect())

        async def end() -> None:
            await client.close()
            await running

        self.stack.push_async_callback(end)
        await client.until(lambda: client.got("ready"))
        return client

    async def answer(self, verb: str, path: str, body: object = None, **how: Any) -> tuple[int, Json]:
        """The status and the answer of a call."""
        headers = {"Authorization": f"Bot {TOKEN}", **how.pop("headers", {})}
        if body is not None:
            how["data"] = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        url = self.server.api + path
        async with self.http.request(verb, url, headers=headers, **how) as response:
            return response.status, json.loads(await response.read() or b"{}")

    async def send(self, channel: Channel | None = None, **body: Any) -> tuple[int, Json]:
        """Send a message."""
        return await self.answer("POST", f"/channels/{(channel or self.general).id}/messages", NOBODY | body)

    async def edit(self, message: Json, channel: Channel | None = None, **body: Any) -> tuple[int, Json]:
        """Edit a message."""
        path = f"/channels/{(channel or self.general).id}/messages/{message['id']}"
        return await self.answer("PATCH", path, NOBODY | body)

    async def command(self, *commands: Json) -> tuple[int, Json]:
        """Register commands."""
        return await self.answer("PUT", f"/applications/{self.bot.id}/commands", list(commands))

    def texts(self, channel: Channel | None = None) -> list[str]:
        """What the channel shows of the bot."""
        return [shown.text for shown in self.server.screen(channel or self.general).by(self.bot.id)]


@asynccontextmanager
async def opened(
    patch: pytest.MonkeyPatch,
    budgets: Budgets = UNLIMITED,
    times: Times | None = None,
    tick: Callable[[], float] | None = None,
    **bot: Any,
) -> AsyncIterator[Scene]:
    """A scene whose clock stands unless it is given one, and discord.py pointed at it."""
    now = [0.0]
    async with (
        DiscordApi(budgets=budgets, tick=tick or (lambda: now[0]), times=times) as server,
        aiohttp.ClientSession() as http,
        AsyncExitStack() as stack,
    ):
        patch.setattr(discord.http.Route, "BASE", server.api)
        patch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(server.gateway_url))
        server.lets_unfurl = True
        made = server.bot(TOKEN, **bot)
        ann, bob = server.user("Ann"), server.user("Bob")
        guild = server.guild(ann, bob)
        yield Scene(server, made, ann, bob, guild, server.channel(guild), http, now, stack)


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """An ordinary scene, without limits of rate."""
    async with opened(monkeypatch) as scene:
        yield scene


async def refused(call: Awaitable[object]) -> tuple[int, int]:
    """The status and code of the refusal of a call of discord.py."""
    with pytest.raises(discord.HTTPException) as told:
        await call
    return told.value.status, told.value.code


# Coming and going


async def test_discord_py_comes_in_and_knows_where_it_is(scene: Scene) -> None:
    client = await scene.client()

    assert client.user is not None and client.user.id == scene.bot.id
    assert [guild.id for guild in client.guilds] == [scene.guild.id]
    assert client.text_channel(scene.general).permissions_for(client.guilds[0].me).send_messages
    assert (await client.application_info()).flags.gateway_message_content_limited
    assert [entry["kind"] for entry in scene.server.ledger.happened("identify", "resume")] == ["identify"]
    assert not scene.server.faults


async def test_a_wrong_token_comes_nowhere(scene: Scene) -> None:
    client = Listener()
    with pytest.raises(discord.LoginFailure):
        await client.login("WRONG")
    await client.close()

    async with scene.http.ws_connect(f"{scene.server.gateway_url}?v=10&encoding=json") as socket:
        await socket.receive()
        about = {"os": "", "browser": "", "device": ""}
        await socket.send_json({"op": 2, "d": {"token": "WRONG", "intents": 0, "properties": about}})
        assert (await socket.receive()).data == 4004


async def test_an_intent_that_was_not_granted_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, reads_content=False):
        client = Listener(content=True)
        await client.login(TOKEN)
        with pytest.raises(discord.PrivilegedIntentsRequired):
            await client.connect()
        await client.close()


async def test_what_is_not_known_at_the_gateway_ends_the_connection_and_is_a_fault(scene: Scene) -> None:
    async def said(*messages: object) -> int | None:
        async with scene.http.ws_connect(f"{scene.server.gateway_url}?v=10&encoding=json") as socket:
            await socket.receive()
            for message in messages:
                await socket.send_str(message if isinstance(message, str) else json.dumps(message))
            while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
            return socket.close_code

    about = {"os": "", "browser": "", "device": ""}
    given: Json = {"token": TOKEN, "intents": 1, "properties": about}
    identify = {"op": 2, "d": given}

    assert await said("{") == 4002
    assert await said({"op": 3, "d": {"status": "online"}}) == 4003
    assert await said(identify, identify) == 4005
    assert await said(identify, {"op": 4, "d": {}}) == 4001
    assert await said(identify, {"op": 3, "d": {"status": "online", "colour": "red"}}) == 4002
    assert await said({"op": 2, "d": given | {"intents": 1 << 30}}) == 4013
    assert await said({"op": 1, "d": None, "x": 1}) == 4002
    assert len(scene.server.faults) == 7
    assert {fault.method for fault in scene.server.faults} == {"gateway"}


# What a bot is told


async def test_what_people_say_comes_whole(scene: Scene) -> None:
    client = await scene.client()
    server = scene.server
    first = server.say(scene.general, scene.ann, f"Hello {scene.bot.user.mention}")
    file = server.file("a b.txt", b"12345")
    server.say(scene.general, scene.bob, "See this", reply_to=first, attachments=[file])

    await client.until(lambda: len(client.texts) == 2)

    one, two = client.got("message")
    assert one.mentions == [client.user]
    assert (one.author.name, one.author.display_name, one.author.bot) == ("ann", "Ann", False)
    assert two.reference.resolved.id == first
    assert [user.id for user in two.mentions] == [scene.ann.id]
    (attachment,) = two.attachments
    assert (attachment.filename, attachment.size, attachment.content_type) == ("a_b.txt", 5, "text/plain")
    assert await attachment.read() == b"12345"
    assert one.id < two.id and abs(one.created_at.timestamp() - server.clock.now()) < 1


@pytest.mark.parametrize("content", [False, True])
async def test_without_its_intent_content_is_only_told_to_whom_it_is_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, content: bool
) -> None:
    client = await scene.client(content)
    server = scene.server
    mine = await client.text_channel(scene.general).send("mine")
    server.say(scene.general, scene.ann, "not for you", attachments=[server.file()])
    server.say(scene.general, scene.ann, f"{scene.bot.user.mention} for you")
    server.say(scene.general, scene.ann, "a reply", reply_to=mine.id)
    server.say(scene.general, scene.ann, "a quiet reply", reply_to=mine.id, pings_author=False)
    server.say(server.dm(scene.ann), scene.ann, "between us")

    await client.until(lambda: len(client.got("message")) == 6)

    seen = [message.content for message in client.got("message")]
    always = ["mine", f"{scene.bot.user.mention} for you", "a reply", "between us"]
    assert [text for text in seen if text] == (always if not content else [*seen])
    assert [len(message.attachments) for message in client.got("message")][1] == content


async def test_a_bot_without_the_grant_is_not_told_by_asking_either(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, reads_content=False) as scene:
        client = await scene.client(content=False)
        scene.server.say(scene.general, scene.ann, "not for you")
        scene.server.say(scene.general, scene.ann, f"for {scene.bot.user.mention}")

        history = [each.content async for each in client.text_channel(scene.general).history()]

        assert history == [f"for {scene.bot.user.mention}", ""]


async def test_edits_deletions_reactions_and_typing_are_told(scene: Scene) -> None:
    client = await scene.client()
    server = scene.server
    message = server.say(scene.general, scene.ann, "One")
    server.edit(message, "Two")
    server.react(message, scene.bob, "👍")
    server.type(scene.general, scene.bob)
    server.unreact(message, scene.bob, "👍")
    server.delete(message)

    await client.until(lambda: client.got("raw_message_delete"))

    assert [payload.message.content for payload in client.got("raw_message_edit")] == ["Two"]
    assert [(each.emoji.name, each.user_id) for each in client.got("raw_reaction_add")] == [("👍", scene.bob.id)]
    assert len(client.got("raw_reaction_remove")) == len(client.got("raw_message_delete")) == 1
    assert [typing.user_id for typing in client.got("raw_typing")] == [scene.bob.id]
    (shown,) = server.screen(scene.general).all.values()
    assert [version.text for version in shown.versions] == ["One", "Two"]
    assert shown.deleted is not None and not server.screen(scene.general).messages


async def test_webhooks_and_other_bots_are_told_as_what_they_are(scene: Scene) -> None:
    client = await scene.client()
    scene.server.say(scene.general, scene.server.webhook(scene.general), "News")
    scene.server.join(scene.guild, other := scene.server.user("Other", is_bot=True))
    scene.server.say(scene.general, other, "Beep")

    await client.until(lambda: len(client.texts) == 2)

    news, beep = client.got("message")
    assert (news.webhook_id is not None, news.author.bot) == (True, True)
    assert (beep.webhook_id, beep.author.bot) == (None, True)


async def test_a_bot_that_is_thrown_out_is_told_and_let_in_nowhere(scene: Scene) -> None:
    client = await scene.client()
    channel = client.text_channel(scene.general)
    scene.server.kick(scene.guild, scene.bot)
    scene.server.say(scene.general, scene.ann, "Gone?")
    await client.until(lambda: client.got("guild_remove"))

    assert await refused(channel.send("Hello")) == (403, 50001)

    scene.server.join(scene.guild, scene.bot)
    await client.until(lambda: client.got("guild_join"))
    scene.server.say(scene.general, scene.ann, "Back")
    await client.until(lambda: client.texts)
    assert client.texts == ["Back"]


async def test_members_are_told_when_they_are_asked_for(scene: Scene) -> None:
    client = await scene.client()

    found = await client.guilds[0].query_members(user_ids=[scene.bob.id, 5])
    fetched = await client.guilds[0].fetch_member(scene.ann.id)

    assert ([member.id for member in found], fetched.name) == ([scene.bob.id], "ann")
    assert await refused(client.guilds[0].fetch_member(5)) == (404, 10007)


async def test_an_event_of_any_shape_can_be_told(scene: Scene) -> None:
    client = await scene.client()
    told = {"guild_id": str(scene.guild.id), "channel_id": str(scene.general.id), "last_pin_timestamp": None}

    scene.server.raw("CHANNEL_PINS_UPDATE", told)

    await client.until(lambda: client.got("guild_channel_pins_update"))


# Sessions


async def test_a_session_is_resumed_with_all_that_was_missed(scene: Scene) -> None:
    client = await scene.client()
    scene.server.say(scene.general, scene.ann, "one")
    await client.until(lambda: client.texts)
    scene.server.drop()
    await scene.server.until(lambda: bool(scene.server.ledger.happened("leave")))
    scene.server.say(scene.general, scene.ann, "two")
    scene.server.say(scene.general, scene.ann, "three")

    await client.until(lambda: client.got("resumed"))

    assert client.texts == ["one", "two", "three"]
    assert [entry["taken"] for entry in scene.server.ledger.happened("resume")] == [True]
    assert len(scene.server.ledger.happened("identify")) == 1
    assert not scene.server.faults


@pytest.mark.parametrize(
    "trouble",
    [
        lambda server: server.ask_to_reconnect(),
        lambda server: server.invalidate(can_resume=True),
        lambda server: server.close(4000),
        lambda server: server.close(1000),
    ],
)
async def test_a_socket_may_end_in_many_ways_and_the_session_goes_on(
    scene: Scene, trouble: Callable[[DiscordApi], None]
) -> None:
    client = await scene.client()
    trouble(scene.server)

    await client.until(lambda: client.got("resumed"))

    scene.server.say(scene.general, scene.ann, "still there?")
    await client.until(lambda: client.texts)
    assert len(scene.server.ledger.happened("identify")) == 1
    assert not scene.server.faults


@pytest.mark.parametrize(
    "trouble",
    [
        lambda server: server.invalidate(),
        lambda server: server.ask_to_reconnect(),
        lambda server: server.drop(),
    ],
)
async def test_without_its_session_a_bot_begins_anew_and_never_hears_what_it_missed(
    scene: Scene, trouble: Callable[[DiscordApi], None]
) -> None:
    client = await scene.client()
    trouble(scene.server)
    scene.server.forget_sessions()
    scene.server.say(scene.general, scene.ann, "unheard")

    await client.until(lambda: len(client.got("ready")) == 2)

    scene.server.say(scene.general, scene.ann, "heard")
    await client.until(lambda: client.texts)
    assert client.texts == ["heard"]
    assert len(scene.server.ledger.happened("identify")) == 2
    assert not scene.server.faults


async def test_a_server_that_lets_nobody_resume_says_so(scene: Scene) -> None:
    client = await scene.client()
    scene.server.gateway.lets_resume = False
    scene.server.drop()

    await client.until(lambda: len(client.got("ready")) == 2)

    assert [entry["taken"] for entry in scene.server.ledger.happened("resume")] == [False]


@pytest.mark.parametrize(("late", "answers"), [(0.0, ["MESSAGE_CREATE", "RESUMED"]), (1.0, [None])])
async def test_a_session_is_kept_for_a_while(scene: Scene, late: float, answers: list[str | None]) -> None:
    url = f"{scene.server.gateway_url}?v=10&encoding=json"
    about = {"os": "", "browser": "", "device": ""}
    async with scene.http.ws_connect(url) as socket:
        await socket.receive()
        await socket.send_json({"op": 2, "d": {"token": TOKEN, "intents": 1 << 9, "properties": about}})
        ready = json.loads((await socket.receive()).data)
        scene.server.drop()
        await scene.server.until(lambda: bool(scene.server.ledger.happened("leave")))
    scene.server.say(scene.general, scene.ann, "missed")
    scene.now[0] += scene.server.times.resume + late

    async with scene.http.ws_connect(url) as socket:
        await socket.receive()
        given = {"token": TOKEN, "session_id": ready["d"]["session_id"], "seq": ready["s"]}
        await socket.send_json({"op": 6, "d": given})
        told = [json.loads((await socket.receive()).data) for _ in answers]

    assert [each["t"] for each in told] == answers
    assert [each["op"] for each in told] == [0 if each else 9 for each in answers]


async def test_a_socket_that_says_nothing_is_left_and_the_session_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, times=Times(heartbeat=0.05)) as scene:
        client = await scene.client(heartbeat_timeout=0.3)
        scene.server.stall()
        scene.server.say(scene.general, scene.ann, "missed")

        await client.until(lambda: client.got("resumed"))

        assert client.texts == ["missed"]


async def test_a_bot_whose_heartbeats_nobody_answers_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, times=Times(heartbeat=0.05)) as scene:
        scene.server.gateway.acks = False
        client = await scene.client(heartbeat_timeout=0.3)

        await client.until(lambda: client.got("resumed"))

        assert client.latency == float("inf")


async def test_the_server_comes_back_where_it_was_with_its_sessions(scene: Scene) -> None:
    client = await scene.client()
    url = scene.server.url
    await scene.server.stop()
    scene.server.say(scene.general, scene.ann, "Are you there?")

    await scene.server.start()

    # How long discord.py waits before it knocks again is its own business.
    assert scene.server.url == url
    assert [each.bot for each in scene.server.gateway.of(None)] == [scene.bot.id]
    assert (await scene.send(content="Yes"))[0] == 200
    assert client.texts == []


# Sending


async def test_a_message_is_sent_answered_edited_and_deleted(scene: Scene) -> None:
    client = await scene.client()
    channel = client.text_channel(scene.general)
    asked = scene.server.say(scene.general, scene.ann, "A question")

    reply = await channel.get_partial_message(asked).reply("An ans", silent=True)
    await reply.edit(content="An answer", suppress=True)
    other = await channel.send("x", embed=discord.Embed(title="T", description="D", colour=5))
    await other.delete()

    (shown,) = scene.server.screen(scene.general).by(scene.bot.id)
    assert (shown.reply_to, [version.text for version in shown.versions]) == (asked, ["An ans", "An answer"])
    assert [version.flags for version in shown.versions] == [1 << 12, 1 << 12 | 1 << 2]
    assert [each.deleted is not None for each in scene.server.screen(scene.general).all.values()] == [
        False,
        False,
        True,
    ]
    assert scene.server.screen(scene.general).all[other.id].embeds[0]["title"] == "T"
    assert not scene.server.faults


async def test_what_is_blank_around_a_text_is_not_shown(scene: Scene) -> None:
    await scene.send(content=" \n x y \n")

    assert scene.texts() == ["x y"]
    assert (await scene.send(content=" \n "))[1]["code"] == 50006


async def test_a_reply_to_what_is_gone_is_refused_unless_it_says_otherwise(scene: Scene) -> None:
    client = await scene.client()
    channel = client.text_channel(scene.general)
    gone = scene.server.say(scene.general, scene.ann, "x")
    scene.server.delete(gone)

    strict = discord.MessageReference(message_id=gone, channel_id=channel.id)
    lenient = discord.MessageReference(message_id=gone, channel_id=channel.id, fail_if_not_exists=False)

    assert await refused(channel.send("x", reference=strict)) == (400, 50035)
    assert (await channel.send("x", reference=lenient)).reference is None
    assert scene.texts() == ["x"]


async def test_the_same_nonce_is_the_same_message_for_minutes(scene: Scene) -> None:
    client = await scene.client()
    channel = client.text_channel(scene.general)
    other = scene.server.channel(scene.guild, "other")

    first = await channel.send("one", nonce="turn-1")
    again = await channel.send("two", nonce="turn-1")
    elsewhere = await scene.send(other, content="three", nonce="turn-1", enforce_nonce=True)
    loose = await scene.send(content="four", nonce="turn-1")

    assert (first.id, first.nonce) == (again.id, "turn-1")
    assert elsewhere[1]["id"] != str(first.id) != loose[1]["id"]
    assert scene.texts() == ["one", "four"]
    assert [entry["message"] for entry in scene.server.ledger.happened("repeat")] == [first.id]
    scene.now[0] += scene.server.times.nonce + 1
    assert (await channel.send("five", nonce="turn-1")).id != first.id
    await channel.send("six", nonce="turn-2")
    scene.server.delete(scene.server.screen(scene.general).messages[-1].id)
    assert await refused(channel.send("six", nonce="turn-2")) == (404, 10008)
    assert not scene.server.faults


async def test_whom_a_message_calls_out_is_written_down_and_a_fault(scene: Scene) -> None:
    server = scene.server
    role = server.role(scene.guild, "crew", is_mentionable=True)
    text = f"@everyone <@{scene.ann.id}> <@&{role.id}> @here"

    quiet = await scene.send(content=text)
    loud = await scene.answer("POST", f"/channels/{scene.general.id}/messages", {"content": text})
    some = {"parse": ["everyone"], "users": [str(scene.ann.id)]}
    chosen = await scene.send(content=text, allowed_mentions=some)
    reply = {"message_id": server.say(scene.general, scene.bob, "x")}
    replied = await scene.send(content="x", message_reference=reply, allowed_mentions={"replied_user": True})

    shown = server.screen(scene.general).all
    assert shown[int(quiet[1]["id"])].pings == ()
    assert shown[int(loud[1]["id"])].pings == ("everyone", "here", f"user:{scene.ann.id}", f"role:{role.id}")
    assert shown[int(chosen[1]["id"])].pings == ("everyone", "here", f"user:{scene.ann.id}")
    assert shown[int(replied[1]["id"])].pings == (f"user:{scene.bob.id}",)
    assert [fault.what.split(",")[0] for fault in server.faults] == [
        "without allowed_mentions",
        "calls out everyone",
        "calls out everyone",
        f"calls out user:{scene.bob.id}",
    ]
    server.lets_ping = True
    await scene.answer("POST", f"/channels/{scene.general.id}/messages", {"content": text})
    assert len(server.faults) == 4


async def test_a_text_whose_links_would_unfurl_is_a_fault(scene: Scene) -> None:
    scene.server.lets_unfurl = False
    url, quiet = f"/channels/{scene.general.id}/messages", NOBODY | {"content": "x", "flags": SUPPRESS_EMBEDS}
    _, sent = await scene.answer("POST", url, quiet)
    await scene.answer("PATCH", f"{url}/{sent['id']}", NOBODY | {"content": "y"})
    await scene.answer("PATCH", f"{url}/{sent['id']}", NOBODY | {"content": "y", "flags": 0})
    await scene.answer("POST", url, NOBODY | {"content": "x"})

    assert [(fault.method, "unfurl" in fault.what) for fault in scene.server.faults] == [
        ("edit_message", True),
        ("create_message", True),
    ]


async def test_the_same_limits_hold_as_in_simcord(scene: Scene) -> None:
    """Simcord was written by others, from the same manual."""

    def view(*labels: str, custom_id: str = "") -> discord.ui.View:
        view = discord.ui.View(timeout=None)
        for label in labels:
            view.add_item(discord.ui.Button(label=label, custom_id=f"{custom_id}{label}"))
        return view

    calls: dict[str, Callable[[discord.TextChannel, discord.Message], Awaitable[object]]] = {
        "too long": lambda channel, other: channel.send("x" * 2001),
        "just right": lambda channel, other: channel.send("x" * 2000),
        "long nonce": lambda channel, other: channel.send("x", nonce="1234567890123456789012345"),
        "long custom id": lambda channel, other: channel.send("x", view=view("a", custom_id="y" * 100)),
        "long label": lambda channel, other: channel.send("x", view=view("a" * 81)),
        "another's": lambda channel, other: channel.get_partial_message(other.id).edit(content="x"),
        "no message": lambda channel, other: channel.get_partial_message(5).edit(content="x"),
        "nothing to delete": lambda channel, other: channel.get_partial_message(5).delete(),
    }

    async def codes(channel: discord.TextChannel, other: discord.Message) -> dict[str, int]:
        found = {}
        for name, call in calls.items():
            try:
                await call(channel, other)
                found[name] = 0
            except discord.HTTPException as refusal:
                found[name] = refusal.code
        return found

    client = await scene.client()
    scene.server.say(scene.general, scene.ann, "hers")
    await client.until(lambda: client.texts)
    here = await codes(client.text_channel(scene.general), client.got("message")[0])
    theirs: dict[str, int] = {}
    stranger = Listener()
    async with simcord.run(stranger) as env:
        place = env.create_guild().create_text_channel("general")
        await env.settle()
        ann = env.guild.add_member(env.create_user("ann"))
        hers = await ann.send(place, "hers")
        there = stranger.get_channel(place.id)
        assert isinstance(there, discord.TextChannel)
        theirs = await codes(there, hers)

    assert here == theirs
    assert here["too long"] == 50035 and here["another's"] == 50005 and here["no message"] == 10008


ROW: Json = {"type": 1, "components": [{"type": 2, "style": 1, "label": "A", "custom_id": "a"}]}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"content": "x" * 2001}, "content"),
        ({"embeds": [{"title": "x"}] * 11}, "embeds"),
        ({"embeds": [{"title": "x" * 257}]}, "embeds.0.title"),
        ({"embeds": [{"description": "x" * 4097}]}, "embeds.0.description"),
        ({"embeds": [{"description": "x" * 4000}, {"description": "x" * 2001}]}, "embeds"),
        ({"embeds": [{"fields": [{"name": "n", "value": ""}]}]}, "embeds.0.fields.0.value"),
        ({"embeds": [{"fields": [{"name": "n", "value": "v"}] * 26}]}, "embeds.0.fields"),
        ({"embeds": [{}]}, "embeds.0.description"),
        ({"content": "x", "components": [ROW, ROW]}, "components"),
        ({"content": "x", "components": [{"type": 1, "components": []}]}, "components.0.components"),
        ({"content": "x", "components": [{"type": 1, "components": ROW["components"] * 6}]}, "components.0.components"),
        ({"content": "x", "nonce": "x" * 26}, "nonce"),
        ({"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["5"]}}, "allowed_mentions"),
        ({"content": "x", "flags": 1 << 15}, "content"),
        ({"flags": 1 << 15, "components": [{"type": 10, "content": "x" * 4001}]}, "components.0.content"),
    ],
)
async def test_what_is_too_much_is_refused_by_its_place(scene: Scene, body: Json, path: str) -> None:
    status, said = await scene.send(**body)

    assert (status, said["code"], said["message"]) == (400, 50035, "Invalid Form Body")
    inside = said["errors"]
    for key in path.split("."):
        inside = inside[key]
    assert inside["_errors"][0]["message"]
    assert not scene.server.faults


async def test_six_rows_are_too_many_and_five_are_not(scene: Scene) -> None:
    def rows(count: int) -> list[Json]:
        button = ROW["components"][0]
        return [{"type": 1, "components": [{**button, "custom_id": f"{row}"}]} for row in range(count)]

    assert (await scene.send(content="x", components=rows(5)))[0] == 200
    assert (await scene.send(content="x", components=rows(6)))[1]["code"] == 50035


# Faults


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("POST", "/channels/{channel}/messages", {"content": "x", "colour": "red"}, 400),
        ("POST", "/channels/{channel}/messages", {"content": 5}, 400),
        ("POST", "/channels/{channel}/messages", {"content": "x", "tts": "false"}, 400),
        ("POST", "/channels/{channel}/messages", {"content": "x", "sticker_ids": []}, 400),
        ("POST", "/channels/{channel}/messages", {"content": "x", "flags": 64}, 400),
        ("POST", "/channels/{channel}/messages", {"content": "half \ud83d"}, 400),
        ("POST", "/channels/{channel}/messages", ["x"], 400),
        ("POST", "/channels/general/messages", {"content": "x"}, 400),
        ("GET", "/channels/{channel}/messages?limit=x", None, 400),
        ("GET", "/channels/{channel}/messages?colour=red", None, 400),
        ("GET", "/channels/{channel}/messages?before=5&after=6", None, 400),
        ("POST", "/channels/{channel}/typing", {"content": "x"}, 400),
        ("PATCH", "/channels/{channel}/messages", {}, 405),
        ("GET", "/channels/{channel}/weather", None, 404),
        ("PUT", "/applications/{bot}/commands", [{"name": "a", "description": "d", "colour": "red"}], 400),
    ],
)
async def test_what_is_not_known_is_refused_and_a_fault(
    scene: Scene, verb: str, path: str, body: object, status: int
) -> None:
    answered = await scene.answer(verb, path.format(channel=scene.general.id, bot=scene.bot.id), body)

    assert answered[0] == status
    assert len(scene.server.faults) == 1
    assert scene.server.ledger.calls[-1].status == status


async def test_a_body_must_be_json_and_say_so(scene: Scene) -> None:
    path = f"/channels/{scene.general.id}/messages"
    charset = {"Content-Type": "application/json; charset=utf-8"}

    assert (await scene.answer("POST", path, {"content": "x"}, headers=charset))[0] == 400
    broken = await scene.answer("POST", path, data=b"{", headers={"Content-Type": "application/json"})

    assert (broken[0], broken[1]["code"]) == (400, 50109)
    assert len(scene.server.faults) == 2


async def test_who_says_nothing_of_itself_is_refused(scene: Scene) -> None:
    status, said = await scene.answer("GET", "/users/@me", headers={"Authorization": "Bot WRONG"})

    assert (status, said) == (401, {"message": "401: Unauthorized", "code": 0})


# What was said before


async def test_history_is_read_in_all_directions(scene: Scene) -> None:
    client = await scene.client()
    channel = client.text_channel(scene.general)
    said = [scene.server.say(scene.general, scene.ann, str(index)) for index in range(150)]

    async def read(**how: Any) -> list[int]:
        return [int(each.content) async for each in channel.history(**how)]

    assert await read(limit=2) == [149, 148]
    assert await read(after=discord.Object(said[20]), limit=None) == list(range(21, 150))
    assert await read(before=discord.Object(said[3])) == [2, 1, 0]
    assert await read(around=discord.Object(said[50]), limit=5) == [52, 51, 50, 49, 48]
    assert await read(after=discord.Object(0), limit=3) == [0, 1, 2]
    assert (await channel.fetch_message(said[7])).content == "7"
    assert await refused(channel.fetch_message(5)) == (404, 10008)
    assert not scene.server.faults


async def test_who_may_not_read_what_was_gets_nothing(scene: Scene) -> None:
    client = await scene.client()
    said = scene.server.say(scene.general, scene.ann, "x")
    scene.server.remove_permission(scene.general, scene.bot, "read_message_history")
    channel = client.text_channel(scene.general)

    assert [each async for each in channel.history()] == []
    assert await refused(channel.fetch_message(said)) == (403, 50013)
    assert await refused(channel.get_partial_message(said).reply("x")) == (403, 160002)


# Rights


async def test_what_a_bot_may_not_do_is_refused(scene: Scene) -> None:
    client = await scene.client()
    channel = client.text_channel(scene.general)
    said = scene.server.say(scene.general, scene.ann, "x")
    assert await refused(channel.get_partial_message(said).delete()) == (403, 50013)
    scene.server.remove_permission(scene.general, scene.bot, "send_messages", "add_reactions")
    assert await refused(channel.send("x")) == (403, 50013)
    assert await refused(channel.typing().__aenter__()) == (403, 50013)
    assert await refused(channel.get_partial_message(said).add_reaction("👀")) == (403, 50013)
    await client.until(lambda: client.got("guild_channel_update"))
    assert not channel.permissions_for(channel.guild.me).send_messages
    scene.server.restore_permission(scene.general, scene.bot, "send_messages")
    await channel.send("x")
    scene.server.remove_permission(scene.general, scene.bot, "view_channel")
    await client.until(lambda: client.got("guild_channel_delete"))
    assert await refused(channel.send("x")) == (403, 50001)
    scene.server.delete_channel(scene.general)
    assert await refused(channel.send("x")) == (404, 10003)


async def test_a_bot_is_told_of_channels_that_it_may_not_look_into(scene: Scene) -> None:
    scene.server.remove_permission(scene.general, scene.bot, "view_channel")

    client = await scene.client()

    assert await refused(client.text_channel(scene.general).send("x")) == (403, 50001)
    assert scene.general.id in [channel.id for channel in await client.guilds[0].fetch_channels()]


async def test_between_two_all_is_said_until_one_closes_the_door(scene: Scene) -> None:
    client = await scene.client()
    dm = scene.server.dm(scene.ann)
    scene.server.say(dm, scene.ann, "Hello")
    await client.until(lambda: client.texts)
    (hello,) = client.got("message")
    assert isinstance(hello.channel, discord.DMChannel) and hello.guild is None
    await hello.reply("Hi")
    user = await client.fetch_user(scene.bob.id)
    await user.send("Good day")
    fetched = await client.fetch_channel(dm.id)
    assert isinstance(fetched, discord.DMChannel) and fetched.recipient == hello.author

    dm.is_closed = True

    assert await refused(hello.channel.send("x")) == (403, 50007)
    assert (scene.texts(dm), scene.texts(scene.server.dm(scene.bob))) == (["Hi"], ["Good day"])
    assert not scene.server.faults


# Rates


async def test_buckets_tell_what_is_left_and_refuse_what_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, Budgets()) as scene:
        path = f"{scene.server.api}/channels/{scene.general.id}/messages"
        other = scene.server.channel(scene.guild, "other")
        headers = {"Authorization": f"Bot {TOKEN}"}

        async def send() -> aiohttp.ClientResponse:
            async with scene.http.post(path, json=NOBODY | {"content": "x"}, headers=headers) as response:
                await response.read()
                return response

        first, *_, last, refusal = [await send() for _ in range(6)]

        assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("5", "4")
        assert (last.headers["X-RateLimit-Remaining"], last.headers["X-RateLimit-Reset-After"]) == ("0", "5.000")
        assert first.headers["X-RateLimit-Bucket"] == last.headers["X-RateLimit-Bucket"]
        assert (refusal.status, refusal.headers["X-RateLimit-Scope"]) == (429, "user")
        assert refusal.headers["Via"] and float(refusal.headers["X-RateLimit-Reset"]) > scene.server.clock.now()
        assert (await scene.send(other, content="x"))[0] == 200
        # So soon, it was under way before the refusal came.
        assert (await send()).status == 429 and not scene.server.faults
        scene.now[0] += 1
        assert (await scene.send(content="x"))[1]["retry_after"] == 4.0
        assert [fault.what for fault in scene.server.faults] == ["ignored a rate limit"]
        scene.now[0] += 4
        assert (await send()).status == 200


async def test_discord_py_keeps_to_the_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Budgets({"message": Rate(2, 0.05), "edit": Rate(2, 0.05), "reaction": Rate(1, 0.02)})
    async with opened(monkeypatch, quick, tick=time.monotonic) as scene:
        client = await scene.client()
        channel = client.text_channel(scene.general)

        sent = await asyncio.gather(*(channel.send(str(index)) for index in range(6)))
        await asyncio.gather(*(sent[0].edit(content=str(index)) for index in range(4)))
        await asyncio.gather(*(sent[0].add_reaction(emoji) for emoji in "👀👌"))

        assert {call.status for call in scene.server.ledger.calls} <= {200, 204}
        assert not scene.server.faults


async def test_there_is_a_limit_for_all_together_and_one_for_old_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, Budgets({}, Rate(3, 1), Rate(1, 60))) as scene:
        _, sent = await scene.send(content="x")
        await scene.send(content="x")
        await scene.send(content="x")
        status, said = await scene.answer("GET", "/users/@me")
        assert (status, said["global"]) == (429, True)

        scene.now[0] += 3601
        assert (await scene.edit(sent, content="y"))[0] == 200
        status, said = await scene.edit(sent, content="z")

        assert (status, said["code"], said["retry_after"]) == (429, 30046, 60.0)
        scene.now[0] += 60
        assert (await scene.edit(sent, content="z"))[0] == 200


async def test_a_planned_penalty_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, tick=time.monotonic) as scene:
        client = await scene.client()
        scene.server.plan("create_message", TooFast(0.05), channel=scene.general)
        scene.server.plan("edit_message", TooFast(0.05, scope="global"))

        sent = await client.text_channel(scene.general).send("x")
        await sent.edit(content="y")

        calls = scene.server.ledger.called("create_message", "edit_message")
        assert [call.status for call in calls] == [429, 200] * 2
        assert scene.texts() == ["y"]
        assert not scene.server.faults


async def test_who_calls_during_a_planned_penalty_is_at_fault(scene: Scene) -> None:
    scene.server.plan("create_message", TooFast(3), channel=scene.general)
    assert (await scene.send(content="x"))[0] == 429
    scene.now[0] += 1

    status, said = await scene.send(content="x")

    assert (status, said["retry_after"]) == (429, 2.0)
    assert [fault.what for fault in scene.server.faults] == ["ignored a rate limit"]


async def test_a_proxy_that_has_enough_says_it_in_its_own_way(scene: Scene) -> None:
    client = await scene.client()
    scene.server.plan("create_message", Cloudflare())

    assert await refused(client.text_channel(scene.general).send("x")) == (429, 0)


# Reactions and typing


async def test_a_bot_reacts_and_types(scene: Scene) -> None:
    client = await scene.client()
    channel = client.text_channel(scene.general)
    said = scene.server.say(scene.general, scene.ann, "x")
    message = channel.get_partial_message(said)

    await message.add_reaction("👀")
    await message.add_reaction("1️⃣")
    await message.add_reaction("👀")
    await message.remove_reaction("1️⃣", discord.Object(scene.bot.id))
    assert await refused(message.add_reaction("eyes")) == (400, 10014)
    async with channel.typing():
        assert scene.server.screen(scene.general).typing(scene.server.clock.now()) == (scene.bot.id,)
        await channel.send("y")

    assert scene.server.screen(scene.general).all[said].reactions == {"👀": (scene.bot.id,)}
    assert scene.server.screen(scene.general).typing(scene.server.clock.now()) == ()
    await channel.typing()
    scene.now[0] += scene.server.times.typing
    assert scene.server.screen(scene.general).typing(scene.server.clock.now()) == ()
    assert not scene.server.faults


async def test_a_message_has_room_for_twenty_emoji(scene: Scene) -> None:
    said = scene.server.say(scene.general, scene.ann, "x")
    path = f"/channels/{scene.general.id}/messages/{said}/reactions/{{}}/@me"

    codes = [(await scene.answer("PUT", path.format(chr(0x1F600 + each))))[1].get("code") for each in range(21)]

    assert codes == [None] * 20 + [30010]


# Threads


async def test_a_thread_begins_at_a_message_and_has_its_number(scene: Scene) -> None:
    client = await scene.client()
    said = scene.server.say(scene.general, scene.ann, "Let us talk")
    await client.until(lambda: client.texts)

    thread = await client.got("message")[0].create_thread(name="Talk", auto_archive_duration=60)
    await thread.send("Here")
    scene.server.say(scene.server.channels[thread.id], scene.bob, "Yes")

    await client.until(lambda: "Yes" in client.texts)
    heard = client.got("message")[-1]
    assert (thread.id, heard.channel.id, heard.channel.parent_id) == (said, said, scene.general.id)
    starter, *rest = [each async for each in thread.history(oldest_first=True)]
    assert (starter.type, [each.content for each in rest]) == (
        discord.MessageType.thread_starter_message,
        ["Here", "Yes"],
    )
    assert await refused(client.got("message")[0].create_thread(name="Again")) == (400, 160004)
    assert not scene.server.faults


async def test_people_begin_threads_and_a_bot_is_told(scene: Scene) -> None:
    client = await scene.client()
    public = scene.server.thread(scene.general, scene.ann, "Public")
    private = scene.server.thread(scene.general, scene.ann, "Private", is_private=True)
    scene.server.say(private, scene.ann, "unseen")
    scene.server.say(public, scene.ann, "seen")
    await client.until(lambda: "seen" in client.texts)
    assert "unseen" not in client.texts
    assert [thread.name for thread in client.got("thread_create")] == ["Public"]

    scene.server.add_to_thread(private, scene.bot)
    scene.server.say(private, scene.ann, "seen now")

    await client.until(lambda: "seen now" in client.texts)
    active = await client.guilds[0].active_threads()
    assert [thread.id for thread in active] == [public.id, private.id]
    await active[0].join()
    assert scene.bot.id in public.joined


async def test_who_writes_into_an_archived_thread_takes_it_up_again(scene: Scene) -> None:
    client = await scene.client()
    thread = scene.server.thread(scene.general, scene.ann, "Talk")
    mine = await client.get_partial_messageable(thread.id).send("one")
    scene.server.archive(thread)
    await client.until(lambda: client.got("raw_thread_update"))

    assert await refused(mine.edit(content="x")) == (400, 50083)
    archived = [each async for each in client.text_channel(scene.general).archived_threads()]
    await client.get_partial_messageable(thread.id).send("two")
    await mine.edit(content="three")

    assert [each.id for each in archived] == [thread.id]
    assert (thread.is_archived, scene.texts(thread)) == (False, ["three", "two"])
    assert not scene.server.faults


async def test_nobody_but_its_keepers_writes_into_a_locked_thread(scene: Scene) -> None:
    client = await scene.client()
    thread = scene.server.thread(scene.general, scene.ann, "Talk")
    scene.server.lock(thread)
    place = client.get_partial_messageable(thread.id)

    assert await refused(place.send("x")) == (403, 160005)
    scene.server.archive(thread)
    assert await refused(place.send("x")) == (403, 50083)
    with pytest.raises(ValueError, match="locked"):
        scene.server.say(thread, scene.ann, "x")
    scene.server.say(thread, scene.guild.owner, "A last word")


async def test_a_forum_has_posts_whose_first_message_has_their_number(scene: Scene) -> None:
    client = await scene.client()
    forum = scene.server.channel(scene.guild, "help", "forum")
    post = scene.server.post(forum, scene.ann, "How?", "I wonder how")
    await client.until(lambda: client.texts)
    known = client.get_channel(forum.id)
    assert isinstance(known, discord.ForumChannel)

    mine = await known.create_thread(name="Hello", content="This is how")

    (asked,) = (each for each in client.got("message") if each.author != client.user)
    assert (asked.id, asked.channel.id, asked.channel.parent) == (post.id, post.id, known)
    assert mine.message.id == mine.thread.id
    assert await refused(client.get_partial_messageable(forum.id).send("x")) == (400, 50008)
    assert not scene.server.faults


# Commands and buttons

ASK: Json = {
    "name": "ask",
    "description": "Ask",
    "options": [{"type": 3, "name": "text", "description": "What", "required": True}],
}


async def test_a_command_is_registered_given_and_answered(scene: Scene) -> None:
    client = await scene.client()

    @client.tree.command(name="ask", description="Ask something")
    async def ask(interaction: discord.Interaction, text: str, who: discord.Member | None = None) -> None:
        await interaction.response.defer(thinking=True)
        await interaction.edit_original_response(content=f"{text} of {who}")
        await interaction.followup.send("And more", ephemeral=True)

    await client.tree.sync()
    token = scene.server.slash(scene.ann, scene.general, "ask", text="A question", who=scene.bob)
    await scene.server.until(lambda: len(scene.server.screen(scene.general).messages) == 2)

    first, more = scene.server.screen(scene.general).messages
    assert [(version.text, version.flags) for version in first.versions] == [("", 1 << 7), ("A question of bob", 0)]
    assert (more.text, more.only_for) == ("And more", scene.ann.id)
    assert scene.server.answered(token) == 5
    assert [entry["names"] for entry in scene.server.ledger.happened("commands")] == [["ask"]]
    assert [each.name for each in await client.tree.fetch_commands()] == ["ask"]
    assert not scene.server.faults


async def test_nobody_gives_a_command_that_there_is_not(scene: Scene) -> None:
    await scene.command(ASK)
    server = scene.server

    for name, options in (("other", {}), ("ask", {}), ("ask", {"text": 5}), ("ask", {"text": "x", "more": "y"})):
        with pytest.raises(ValueError):
            server.slash(scene.ann, scene.general, name, **options)


async def test_a_button_is_pressed_and_answered(scene: Scene) -> None:
    client = await scene.client()

    class Choice(discord.ui.View):
        @discord.ui.button(label="Yes", custom_id="yes")
        async def yes(self, interaction: discord.Interaction, button: discord.ui.Button[Any]) -> None:
            await interaction.response.edit_message(content=f"{interaction.user} said yes", view=None)

        @discord.ui.button(label="No", custom_id="no")
        async def no(self, interaction: discord.Interaction, button: discord.ui.Button[Any]) -> None:
            await interaction.response.defer()
            await interaction.followup.send("No it is")

    view = Choice(timeout=None)
    sent = await client.text_channel(scene.general).send("Well?", view=view)
    no = scene.server.press(sent.id, scene.ann, "no")
    await scene.server.until(lambda: "No it is" in scene.texts())
    yes = scene.server.press(sent.id, scene.bob, "yes")
    await scene.server.until(lambda: "bob said yes" in scene.texts())

    assert (scene.server.answered(no), scene.server.answered(yes)) == (6, 7)
    shown = scene.server.screen(scene.general).all[sent.id]
    assert (shown.text, shown.components) == ("bob said yes", ())
    with pytest.raises(ValueError, match="no button"):
        scene.server.press(sent.id, scene.ann, "yes")
    view.stop()
    assert not scene.server.faults


async def test_an_answer_is_given_once_in_time_and_while_its_token_lives(scene: Scene) -> None:
    await scene.command(ASK)
    server = scene.server

    def asked() -> str:
        token = server.slash(scene.ann, scene.general, "ask", text="x")
        return f"/interactions/{server.interactions[token].id}/{token}/callback"

    late = asked()
    scene.now[0] += server.times.answer + 1
    assert (await scene.answer("POST", late, {"type": 5}))[1]["code"] == 10062
    path = asked()
    assert (await scene.answer("POST", path, {"type": 5}))[0] == 204
    assert (await scene.answer("POST", path, {"type": 5}))[1]["code"] == 40060
    assert (await scene.answer("POST", asked(), {"type": 7, "data": {"content": "x"}}))[1]["code"] == 50035
    original = f"/webhooks/{scene.bot.id}/{path.split('/')[3]}/messages/@original"
    assert (await scene.answer("PATCH", original, NOBODY | {"content": "x"}))[0] == 200
    assert (await scene.answer("GET", original))[1]["content"] == "x"
    scene.now[0] += server.times.token + 1
    assert (await scene.answer("PATCH", original, NOBODY | {"content": "y"}))[0] == 401
    assert server.ledger.calls[-1].code == 50027
    assert scene.texts() == ["x"]
    assert not server.faults


async def test_what_follows_a_promise_keeps_it_and_what_is_deleted_is_gone(scene: Scene) -> None:
    await scene.command(ASK)
    token = scene.server.slash(scene.ann, scene.general, "ask", text="x")
    id = scene.server.interactions[token].id
    hook = f"/webhooks/{scene.bot.id}/{token}"
    assert (await scene.answer("POST", hook, NOBODY | {"content": "x"}))[1]["code"] == 10015
    _, said = await scene.answer("POST", f"/interactions/{id}/{token}/callback?with_response=1", {"type": 5})
    assert said["interaction"]["response_message_loading"] is True

    _, kept = await scene.answer("POST", hook, NOBODY | {"content": "x"})

    assert kept["id"] == said["interaction"]["response_message_id"]
    assert (await scene.answer("DELETE", f"{hook}/messages/@original"))[0] == 204
    assert (await scene.answer("GET", f"{hook}/messages/@original"))[1]["code"] == 10008


async def test_commands_are_limited_in_number_and_by_the_day(scene: Scene) -> None:
    def named(kind: str, count: int) -> list[Json]:
        return [{"name": f"{kind}{index}", "description": "d"} for index in range(count)]

    _, said = await scene.command(*named("a", 101))
    assert said["code"] == 30032
    for kind in "ab":
        assert (await scene.command(*named(kind, 100)))[0] == 200
    # What is there already is not created.
    assert (await scene.command(*named("b", 100)))[0] == 200
    status, said = await scene.command(*named("c", 1))
    assert (status, said["code"]) == (400, 30034)
    scene.now[0] += 86401
    assert (await scene.command(*named("c", 1)))[0] == 200
    assert (await scene.command({"name": "Big", "description": "d"}))[1]["code"] == 50035
    assert len(scene.server.ledger.called("put_commands")) == 7


# Files


async def test_a_file_is_sent_and_read_while_its_link_lives(scene: Scene) -> None:
    client = await scene.client()
    channel = client.text_channel(scene.general)
    sent = await channel.send("See", file=discord.File(__file__, "a b.py", description="Source"))
    (attachment,) = sent.attachments
    content = Path(__file__).read_bytes()

    assert (attachment.filename, attachment.size, attachment.description) == ("a_b.py", len(content), "Source")
    assert await attachment.read() == content
    scene.now[0] += scene.server.times.link
    with pytest.raises(discord.NotFound):
        await attachment.read()
    again = await channel.fetch_message(sent.id)
    assert await again.attachments[0].read() == content
    await again.edit(content="Seen", attachments=[again.attachments[0]])
    await again.edit(attachments=[])

    (shown,) = scene.server.screen(scene.general).messages
    names = [[file["name"] for file in version.attachments] for version in shown.versions]
    assert names == [["a_b.py"], ["a_b.py"], []]
    assert not scene.server.faults


async def test_what_is_too_large_is_refused(scene: Scene) -> None:
    def form(size: int) -> aiohttp.FormData:
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("payload_json", json.dumps({"attachments": [{"id": 0, "filename": "a"}]}))
        form.add_field("files[0]", BytesIO(b"x" * size), filename="a", content_type="application/octet-stream")
        return form

    path = f"/channels/{scene.general.id}/messages"

    assert (await scene.answer("POST", path, data=form(UPLOAD)))[0] == 200
    for size in (UPLOAD + 1, MOST_BODY):
        status, said = await scene.answer("POST", path, data=form(size))
        assert (status, said["code"]) == (413, 40005)


# What goes wrong


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda after: Cut(after), aiohttp.ClientError),
        (lambda after: Garbage(after), json.JSONDecodeError),
        (lambda after: Empty(after), json.JSONDecodeError),
        (lambda after: Answer(503, after=after), discord.DiscordServerError),
        (lambda after: Answer(403, 50013, after=after), discord.Forbidden),
        (lambda after: Page(520, after), discord.DiscordServerError),
        (lambda after: Cloudflare(after=after), discord.HTTPException),
        (lambda after: Hang(after), None),
        (lambda after: Delay(0.01, after), None),
    ],
)
async def test_what_goes_wrong_has_its_effect_or_not(
    scene: Scene, make: Callable[[bool], Trouble], kind: type[Exception] | None, after: bool
) -> None:
    client = Listener()
    await client.login(TOKEN)
    trouble = make(after)
    scene.server.plan("create_message", trouble, channel=scene.general)
    other = scene.server.channel(scene.guild, "other")
    await client.get_partial_messageable(other.id).send("elsewhere")
    channel = client.get_partial_messageable(scene.general.id)

    if isinstance(trouble, Hang):
        hanging = asyncio.create_task(channel.send("x"))
        await scene.server.until(lambda: len(scene.server.ledger.called("create_message")) == 2)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
    elif kind is None:
        await channel.send("x")
    else:
        with pytest.raises(kind):
            await channel.send("x")

    has_effect = after or isinstance(trouble, Delay)
    assert scene.texts() == ["x"] * has_effect
    await channel.send("y")
    await client.close()
    assert not scene.server.faults


async def test_a_send_whose_answer_was_lost_is_done_once_under_its_nonce(scene: Scene) -> None:
    client = Listener()
    await client.login(TOKEN)
    channel = client.get_partial_messageable(scene.general.id)
    scene.server.plan("create_message", Cut(after=True))
    with pytest.raises(aiohttp.ClientError):
        await channel.send("x", nonce="turn-1")

    sent = await channel.send("x", nonce="turn-1")

    assert [shown.id for shown in scene.server.screen(scene.general).messages] == [sent.id]
    await client.close()


async def test_the_gateway_and_downloads_go_wrong_as_well(scene: Scene) -> None:
    # What was cut, aiohttp asks once more by itself.
    scene.server.plan("gateway", Cut(), Cut(), Page(503))
    scene.server.plan("attachment", Page(502))
    for _ in range(2):
        with pytest.raises(aiohttp.ClientError):
            await scene.http.ws_connect(f"{scene.server.gateway_url}?v=10&encoding=json")
    await (await scene.http.ws_connect(f"{scene.server.gateway_url}?v=10&encoding=json")).close()
    said = scene.server.say(scene.general, scene.ann, attachments=[scene.server.file("a.txt", b"1")])
    _, message = await scene.answer("GET", f"/channels/{scene.general.id}/messages/{said}")
    url = message["attachments"][0]["url"]

    statuses = []
    for each in (url, url, url.split("?")[0]):
        async with scene.http.get(each) as response:
            statuses.append(response.status)

    assert statuses == [502, 200, 404]
    with pytest.raises(ValueError, match="no method"):
        scene.server.plan("send", Cut())


# Numbers and clocks


async def test_numbers_grow_with_the_time_of_the_server(scene: Scene) -> None:
    made = [next(scene.server.ids) for _ in range(5000)]
    scene.now[0] += 10
    later = next(scene.server.ids)

    assert made == sorted(set(made)) and later > made[-1]
    assert abs(Snowflakes.time(later) - scene.server.clock.now()) < 0.01
    assert discord.utils.snowflake_time(later).timestamp() == pytest.approx(Snowflakes.time(later), abs=0.01)


async def test_a_faster_clock_tells_clients_scaled_times() -> None:
    async with DiscordApi(speed=100, tick=lambda: 0.0) as server, aiohttp.ClientSession() as http:
        server.bot(TOKEN)
        general = server.channel(server.guild())
        async with http.ws_connect(f"{server.gateway_url}?v=10&encoding=json") as socket:
            hello = json.loads((await socket.receive()).data)
        url, headers = f"{server.api}/channels/{general.id}/messages", {"Authorization": f"Bot {TOKEN}"}
        async with http.post(url, json=NOBODY | {"content": "x"}, headers=headers) as response:
            after = response.headers["X-RateLimit-Reset-After"]

        assert (hello["d"]["heartbeat_interval"], after) == (412.5, "0.050")


# A process of its own


def test_a_ledger_is_read_as_it_was_written_up_to_a_line_that_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written = Ledger(path)
    where: Json = {"channel": 7, "message": 1}
    seen: Json = {"embeds": [], "components": [], "attachments": [], "flags": 0, "pings": ["user:5"]}
    written.note("call", 0.5, number=1, bot=42, method="create_message", verb="POST", path="/", body={"x": "\ud83d"})
    written.note("answer", 0.6, number=1, status=200, code=0)
    written.note("message", 1.0, **where, by=42, type=0, nonce="n", only_for=None, reply_to=None, text="😀", **seen)
    written.note("edit", 2.0, **where, text="😀😀", **seen)
    written.note("reaction", 2.5, **where, reactions={"👍": [5]})
    written.note("delete", 3.0, **where)
    written.close()
    with path.open("a") as file:
        file.write('{"kind": "edit", "at": 4.0, "channel": 7')

    read = Ledger.read(path)

    assert (read.entries, read.calls, read.screens) == (written.entries, written.calls, written.screens)
    (shown,) = read.screens[7].all.values()
    assert ([each.text for each in shown.versions], shown.deleted) == (["😀", "😀😀"], 3.0)
    assert (shown.pings, shown.reactions) == (("user:5", "user:5"), {"👍": (5,)})


async def test_another_process_moves_people_and_reads_what_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    options = ("--token", TOKEN, "--speed", "50", "--last", "answer=500", "--ledger", str(path))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.discordapi", *options, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    url = yarl.URL((await process.stdout.readline()).decode().strip())
    monkeypatch.setattr(discord.http.Route, "BASE", f"{url}/api/v10")
    gateway = url.with_scheme("ws") / "gateway"
    monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", gateway)

    async with aiohttp.ClientSession() as http:

        async def ask(verb: str, **given: Any) -> Any:
            async with http.post(url / "control" / verb, json=given) as response:
                return await response.json()

        async def look(verb: str, **given: Any) -> Any:
            async with http.get((url / "control" / verb).with_query(given)) as response:
                return await response.json()

        made = await ask("guild", members=["Ann"], channels=["general"])
        (channel,) = made["channels"]
        client = Listener()
        await client.login(TOKEN)
        running = asyncio.create_task(client.connect())
        await client.until(lambda: client.got("ready"))
        asked = await ask("say", channel=channel, text="Hello", files=[{"name": "a.txt", "text": "x"}])
        await client.until(lambda: client.texts)
        await client.got("message")[0].reply("Hi", suppress_embeds=True)
        await ask("gateway", do="drop")
        dm = await ask("dm", user=made["members"][0])
        await ask("say", channel=dm["channel"], text="Psst")
        await client.until(lambda: "Psst" in client.texts)
        await ask("plan", method="trigger_typing", trouble="answer", status=403, code=50013)
        typing = await refused(client.get_partial_messageable(channel).typing().__aenter__())
        await client.http.request(discord.http.Route("GET", "/users/@me"))
        faults = await look("faults")
        screen = await look("screen", channel=channel)
        nonsense = await ask("say", channel=1, text="x")
        await client.close()
        await running
    process.terminate()
    await process.wait()

    assert (typing, faults) == ((403, 50013), [])
    assert [each["versions"][-1]["text"] for each in screen["all"].values()] == ["Hello", "Hi"]
    assert nonsense == {"error": "ValueError('there is no channel 1')"}
    ledger = Ledger.read(path)
    hello, hi = ledger.screens[channel].messages
    assert (hi.reply_to, hello.id, hello.attachments[0]["name"]) == (asked["message"], asked["message"], "a.txt")
    assert [entry["taken"] for entry in ledger.happened("resume")] == [True]
    assert [call.status for call in ledger.called("trigger_typing")] == [403]
