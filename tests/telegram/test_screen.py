"""Answers as they stand in a chat, written by the real client on a strict server."""

from __future__ import annotations

import pytest

from adapters.spoke import Reply
from adapters.telegram.client import Client
from adapters.telegram.screen import DRAFT_KEPT, Screen
from factory_contracts.messages import Address, Attachment
from tests.botapi.server import BotApi
from tests.telegram.stage import SPEED, TOKEN

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def nothing(file: Attachment) -> bytes | None:
    """There are no files."""
    return None


async def test_a_draft_is_kept_until_a_message_takes_its_place() -> None:
    async with BotApi(speed=SPEED) as server:
        server.bot(TOKEN, "factory_bot")
        chat = server.chat("private", server.user("Ann"))
        client, now = Client(TOKEN, server.url), 0.0
        screen = Screen(client, "entities", "draft", nothing, lambda: now)
        reply = Reply("turn", Address(platform="telegram", bot_id="main", scope_id=str(chat.id)), "Let me see.")
        await screen.draft(reply)
        now += DRAFT_KEPT + 1
        (draft,) = screen.fading()
        assert draft.turn == "turn"

        await screen.send(reply)

        assert screen.fading() == ()
        await client.close()
