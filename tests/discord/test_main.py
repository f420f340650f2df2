"""The Discord spoke as a process is composed: several bots, a bus, a server, and an end when it is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.discord.__main__ import serve
from adapters.discord.settings import BotSettings, DiscordSettings
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from tests.discord.stage import SPEED, TIMES, fast_pace
from tests.discordapi.server import DiscordApi
from tests.fakes import until
from tests.spokes import Listener

TOKENS = {"first": "the.first.token", "second": "the.second.token"}


@asynccontextmanager
async def served(
    server: EmbeddedServer, folder: Path, **tokens: str
) -> AsyncIterator[tuple[DiscordApi, Listener, asyncio.Task[int]]]:
    """Both bots in one spoke, each in a direct message with Ann."""
    connected = await connect(server.url, Identity("hub", None))
    assert isinstance(connected, Ok)
    hub = Listener(connected.value)
    await hub.open()
    async with DiscordApi(speed=SPEED, times=TIMES) as api:
        for name, token in TOKENS.items():
            api.bot(token, name)
        bots = tuple(
            BotSettings(
                name,
                tokens.get(name, token),
                Identity(f"discord-{name}", None),
                folder / f"{name}.notes",
                folder / f"{name}.cursors",
            )
            for name, token in TOKENS.items()
        )
        settings = DiscordSettings(server.url, bots, api_base=api.api, gateway=api.gateway_url)
        serving = asyncio.create_task(serve(settings, new_pace=fast_pace))
        try:
            yield api, hub, serving
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await connected.value.close()


async def test_several_bots_are_served_by_one_process(nats_server: EmbeddedServer, tmp_path: Path) -> None:
    async with served(nats_server, tmp_path) as (api, hub, _):
        await until(lambda: len(api.ledger.happened("identify")) == 2)
        ann = api.user("Ann")
        for bot in api.bots.values():
            api.say(api.dm(ann, bot), ann, f"Hello, {bot.user.name}")

        await until(lambda: len(hub.heard) == 2)

        assert {(one.address.bot_id, one.text) for one in hub.heard} == {
            ("first", "Hello, first"),
            ("second", "Hello, second"),
        }
        assert not api.faults


@pytest.mark.parametrize("wrong", ["the.wrong.token", "no token\nat all"])
async def test_a_bot_with_a_wrong_token_holds_up_no_other(
    nats_server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    async with served(nats_server, tmp_path, second=wrong) as (api, hub, _):
        await until(lambda: bool(api.ledger.happened("identify")))
        ann = api.user("Ann")
        api.say(api.dm(ann, api.bots[TOKENS["first"]]), ann, "Hello")

        await until(lambda: len(hub.heard) == 1 and "second cannot serve" in caplog.text)

        assert wrong not in caplog.text


async def test_it_ends_when_it_is_told(nats_server: EmbeddedServer, tmp_path: Path) -> None:
    async with served(nats_server, tmp_path) as (api, hub, serving):
        await until(lambda: len(api.ledger.happened("identify")) == 2)
        ann = api.user("Ann")
        api.say(api.dm(ann, api.bots[TOKENS["first"]]), ann, "Hello")
        await until(lambda: len(hub.heard) == 1)

        os.kill(os.getpid(), signal.SIGTERM)

        assert await serving == 0
