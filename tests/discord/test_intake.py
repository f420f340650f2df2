"""What was missed is read once, in order and within bounds; what comes meanwhile waits behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.discord.client import Client, point_at
from adapters.discord.intake import MOST_MISSED, OLDEST_MISSED, PAGE, READ_AT_ONCE, REFUSALS, Intake
from adapters.discord.memory import Memory
from adapters.discord.normalize import Heard, Me, Pressed, normalize
from adapters.pace import Rhythm
from tests.adapters.test_journal import room_up_to
from tests.discordapi.channels import Channel
from tests.discordapi.flood import UNLIMITED
from tests.discordapi.server import DiscordApi
from tests.discordapi.trouble import Answer, Cut
from tests.fakes import idle, until

pytestmark = pytest.mark.asyncio(loop_scope="function")


class Stage:
    """An intake that reads from a server, and what it took."""

    def __init__(
        self, server: DiscordApi, client: Client, clock: Callable[[], float], path: Path | None, refusals: Rhythm
    ) -> None:
        self.server = server
        self.ann = server.user("Ann")
        self.guild = server.guild(self.ann)
        self.channel = server.channel(self.guild)
        self.memory = Memory(path)
        self.taken: list[str] = []
        self._client, self._clock, self._refusals = client, clock, refusals
        self.intake = self._intake()

    def _intake(self) -> Intake:
        me = Me("777", "main", frozenset((str(self.channel.id),)))
        return Intake(
            self._client,
            self.memory,
            lambda event: normalize(event, me),
            self._take,
            self._act,
            clock=self._clock,
            refusals=self._refusals,
        )

    async def restart(self) -> None:
        """Another life of the bot, with what was remembered."""
        await self.intake.close()
        self.intake = self._intake()

    async def _take(self, heard: Heard) -> None:
        self.taken.append(heard.message.text)

    async def _act(self, pressed: Pressed) -> None:
        raise AssertionError("nobody presses here")

    def say(self, text: str) -> int:
        """Ann says something that the bot is not told of."""
        return self.server.say(self.channel, self.ann, text)

    def begin(self, newest: int, *others: Channel) -> None:
        """A new session tells of the guild and of its last message, and of other channels."""
        self.intake.feed({"t": "READY", "d": {}})
        channels = [{"id": str(self.channel.id), "last_message_id": str(newest)}, *(one.json() for one in others)]
        self.intake.feed({"t": "GUILD_CREATE", "d": {"id": str(self.guild.id), "channels": channels}})

    def hide(self, count: int) -> list[Channel]:
        """So many channels in which something was said, and into which the bot may not look."""
        hidden = [self.server.channel(self.guild) for _ in range(count)]
        for channel in hidden:
            self.server.say(channel, self.ann, "hidden")
            self.server.remove_permission(channel, next(iter(self.server.bots.values())), "view_channel")
        return hidden

    def tell(self, message: int, text: str, private: Channel | None = None) -> None:
        """The gateway tells of a message."""
        data = {"id": str(message), "channel_id": str((private or self.channel).id)}
        if private is None:
            data["guild_id"] = str(self.guild.id)
        event = {**data, "author": {"id": str(self.ann.id), "username": "ann"}, "content": text, "type": 0}
        self.intake.feed({"t": "MESSAGE_CREATE", "d": event})

    def read(self, channel: Channel | None = None) -> int | None:
        """How far a channel is read."""
        return self.memory.read(str((channel or self.channel).id))


@asynccontextmanager
async def staged(later: float = 0.0, path: Path | None = None, refusals: Rhythm = REFUSALS) -> AsyncIterator[Stage]:
    async with DiscordApi(budgets=UNLIMITED) as server:
        server.bot("the.bots.token", id=777)
        point_at(server.api, server.gateway_url)
        client = Client("the.bots.token")
        await client.login()
        stage = Stage(server, client, lambda: server.clock.now() + later, path, refusals)
        try:
            yield stage
        finally:
            await stage.intake.close()
            await client.close()


async def test_what_was_missed_is_taken_in_order_and_before_what_comes_meanwhile() -> None:
    async with staged() as stage:
        stage.memory.move(str(stage.channel.id), stage.say("read"), is_private=False)
        newest = [stage.say(f"missed {number}") for number in range(PAGE + 5)][-1]

        stage.begin(newest)
        now = stage.say("now")
        stage.tell(now, "now")
        await until(lambda: stage.read() == now)

        assert stage.taken == [*(f"missed {number}" for number in range(PAGE + 5)), "now"]


async def test_what_is_older_than_a_day_is_not_taken() -> None:
    async with staged(OLDEST_MISSED + 60) as stage:
        stage.memory.move(str(stage.channel.id), stage.say("read"), is_private=False)
        newest = stage.say("missed")

        stage.begin(newest)
        await until(lambda: stage.read() == newest)

        assert stage.taken == []


async def test_a_channel_in_which_too_much_was_written_is_read_to_a_bound_and_not_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with staged() as stage:
        stage.memory.move(str(stage.channel.id), stage.say("read"), is_private=False)
        newest = [stage.say(f"{number}") for number in range(MOST_MISSED + 10)][-1]

        stage.begin(newest)
        await until(lambda: stage.read() == newest)
        stage.begin(newest)

        assert stage.taken == [f"{number}" for number in range(MOST_MISSED)]
        assert "it is passed over" in caplog.text
        assert len(stage.server.ledger.called("get_messages")) == MOST_MISSED // PAGE


async def test_a_history_that_cannot_be_read_now_is_read_later() -> None:
    async with staged() as stage:
        stage.memory.move(str(stage.channel.id), stage.say("read"), is_private=False)
        newest = stage.say("missed")
        stage.server.plan("get_messages", Cut())

        stage.begin(newest)
        await until(lambda: stage.read() == newest)

        assert stage.taken == ["missed"]


async def test_a_history_that_may_not_be_read_is_not_asked_for_again() -> None:
    async with staged() as stage:
        stage.memory.move(str(stage.channel.id), stage.say("read"), is_private=False)
        newest = stage.say("missed")
        stage.server.plan("get_messages", Answer(403, 50001))

        stage.begin(newest)
        await until(lambda: stage.read() == newest)
        stage.begin(newest)

        assert stage.taken == []
        assert len(stage.server.ledger.called("get_messages")) == 1


async def test_channels_that_are_hidden_are_asked_for_more_slowly_the_more_there_are() -> None:
    async with staged(refusals=Rhythm(every=3600.0, saved=3)) as stage:
        stage.begin(0)
        most = 3 + READ_AT_ONCE

        stage.begin(0, *stage.hide(2 * most))
        await until(lambda: len(stage.server.ledger.called("get_messages")) >= most)
        await idle()

        assert len(stage.server.ledger.called("get_messages")) == most


async def test_behind_many_channels_that_are_hidden_the_others_are_read() -> None:
    async with staged(refusals=Rhythm(every=0.001, saved=1)) as stage:
        stage.begin(0)
        hidden = stage.hide(20)
        missed = stage.say("missed")

        stage.begin(missed, *hidden)
        await until(lambda: stage.read() == missed and all(stage.read(channel) for channel in hidden))

        assert stage.taken == ["missed"]


async def test_where_the_disk_is_full_for_an_instant_every_message_is_taken_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "cursors"
    async with staged(path=path) as stage:
        private = stage.server.dm(stage.ann)
        with room_up_to(path.stat().st_size):
            stage.tell(1 << 40, "one")
            stage.tell(1 << 41, "in private", private)
            await until(lambda: len(stage.taken) == 2)
            await idle()
        for number, text in enumerate(("two", "three"), start=1):
            stage.tell((1 << 40) + number, text)
        await until(lambda: stage.read() == (1 << 40) + 2)

        assert stage.taken == ["one", "in private", "two", "three"]
        again = Memory(path)
        assert (again.read(str(stage.channel.id)), again.private()) == ((1 << 40) + 2, (str(private.id),))


async def test_what_comes_twice_is_taken_once() -> None:
    async with staged() as stage:
        for _ in range(2):
            stage.tell(1 << 40, "hello")
        await until(lambda: stage.read() == 1 << 40)
        stage.tell(1 << 40, "hello")
        stage.tell((1 << 40) + 1, "the end")
        await until(lambda: stage.read() == (1 << 40) + 1)

        assert stage.taken == ["hello", "the end"]


async def test_a_channel_nothing_is_known_of_is_read_although_later_words_of_another_were_settled_before() -> None:
    async with staged() as stage:
        stage.begin(0)
        other = stage.server.channel(stage.guild)
        missed = stage.say("missed")
        stage.memory.move(str(other.id), stage.server.say(other, stage.ann, "later"), is_private=False)

        stage.begin(missed)
        await until(lambda: stage.read() == missed)

        assert stage.taken == ["missed"]


async def test_what_was_missed_is_read_by_the_next_life_when_one_ended_over_what_came_meanwhile() -> None:
    async with staged() as stage:
        stage.begin(0)
        missed = stage.say("missed")
        await stage.restart()
        stage.begin(missed)
        now = stage.say("now")
        stage.tell(now, "now")

        await stage.restart()
        stage.begin(now)
        await until(lambda: stage.read() == now)

        assert stage.taken == ["missed", "now"]
