"""The Telegram spoke as a process is composed: several bots, a bus, a server, and an end when it is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.telegram.__main__ import serve
from adapters.telegram.settings import BotSettings, TelegramSettings, Webhook
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from tests.botapi.server import BotApi
from tests.fakes import until
from tests.spokes import Listener
from tests.telegram.stage import SPEED, fast_pace

TOKENS = {"first": "42:FIRST", "second": "43:SECOND"}


@asynccontextmanager
async def served(
    server: EmbeddedServer, folder: Path, webhook: Webhook | None = None, **tokens: str
) -> AsyncIterator[tuple[BotApi, Listener, asyncio.Task[int]]]:
    """Both bots in one spoke, each in a private chat with Ann."""
    connected = await connect(server.url, Identity("hub", None))
    assert isinstance(connected, Ok)
    hub = Listener(connected.value)
    await hub.open()
    async with BotApi(speed=SPEED) as api:
        for name, token in TOKENS.items():
            api.bot(token, f"{name}_bot")
        bots = tuple(
            BotSettings(name, tokens.get(name, token), Identity(f"telegram-{name}", None), folder / name)
            for name, token in TOKENS.items()
        )
        settings = TelegramSettings(server.url, bots, api_base=api.url, webhook=webhook)
        serving = asyncio.create_task(serve(settings, new_pace=fast_pace))
        try:
            yield api, hub, serving
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await connected.value.close()


async def test_several_bots_are_served_by_one_process(nats_server: EmbeddedServer, tmp_path: Path) -> None:
    async with served(nats_server, tmp_path) as (api, hub, _):
        ann = api.user("Ann")
        for bot in api.bots.values():
            api.say(api.chat("private", ann, bots=[bot]), ann, f"Hello, {bot.user.username}")

        await until(lambda: len(hub.heard) == 2)

        assert {(one.address.bot_id, one.text) for one in hub.heard} == {
            ("first", "Hello, first_bot"),
            ("second", "Hello, second_bot"),
        }
        assert not api.faults


@pytest.mark.parametrize("wrong", ["43:WRONG", "no token at all"])
async def test_a_bot_with_a_wrong_token_holds_up_no_other(
    nats_server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    async with served(nats_server, tmp_path, second=wrong) as (api, hub, _):
        ann = api.user("Ann")
        first = api.bots[TOKENS["first"]]
        api.say(api.chat("private", ann, bots=[first]), ann, "Hello")

        await until(lambda: len(hub.heard) == 1 and "second cannot serve" in caplog.text)

        assert wrong not in caplog.text


async def test_with_a_webhook_telegram_brings_what_is_said_and_is_not_asked(
    nats_server: EmbeddedServer, tmp_path: Path, unused_tcp_port: int
) -> None:
    webhook = Webhook(f"http://127.0.0.1:{unused_tcp_port}", "a-word", port=unused_tcp_port)
    async with served(nats_server, tmp_path, webhook) as (api, hub, _):
        ann = api.user("Ann")
        for bot in api.bots.values():
            api.say(api.chat("private", ann, bots=[bot]), ann, "Hello")

        await until(lambda: len(hub.heard) == 2)

        assert not api.ledger.called("getUpdates")
        assert not api.faults


async def test_it_ends_when_it_is_told(nats_server: EmbeddedServer, tmp_path: Path) -> None:
    async with served(nats_server, tmp_path) as (api, hub, serving):
        ann = api.user("Ann")
        api.say(api.chat("private", ann, bots=[api.bots[TOKENS["first"]]]), ann, "Hello")
        await until(lambda: len(hub.heard) == 1)

        os.kill(os.getpid(), signal.SIGTERM)

        assert await serving == 0
