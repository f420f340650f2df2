"""Answers as they stand in a chat, written by the real client on a strict server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from adapters.spoke import NotNow, Reply
from adapters.telegram.client import Client
from adapters.telegram.screen import DRAFT_KEPT, UPLOADS, Screen
from adapters.telegram.settings import Stream
from factory_contracts.messages import Address, Attachment, AttachmentKind
from tests.botapi.chats import Chat
from tests.botapi.flood import UNLIMITED
from tests.botapi.ledger import Shown
from tests.botapi.server import BotApi
from tests.botapi.trouble import Answer, Cut, Hang, Page, Trouble
from tests.telegram.stage import TOKEN

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def content(file: Attachment) -> bytes | None:
    """Every file holds the same."""
    return b"content"


@dataclass
class Scene:
    """A screen on a strict server, a private chat there, and a clock that a test turns."""

    server: BotApi
    chat: Chat
    screen: Screen
    reply: Reply
    now: float = 0.0

    def shown(self) -> list[Shown]:
        """What stands in the chat."""
        return self.server.screen(self.chat).messages

    async def answered(self, *kinds: AttachmentKind) -> Reply:
        """A whole answer with files, whose text and the name of each file stand there."""
        files = tuple(Attachment(kind=kind, name=kind, mime="x/y", size=7, blob=kind) for kind in kinds)
        reply = self.reply
        whole = replace(reply, is_final=True, attachments=files)
        while True:
            message = await self.screen.send(reply)
            reply, whole = (replace(one, parts=(*whole.parts, message)) for one in (reply, whole))
            if len(whole.parts) > len(files):
                return whole
            while await self.screen.edit(whole.parts[0], whole) == "write":
                pass


@asynccontextmanager
async def opened(stream: Stream = "edit") -> AsyncIterator[Scene]:
    """A scene in which no correct client's server has anything to complain of at the end."""
    async with BotApi(budgets=UNLIMITED) as server:
        bot = server.bot(TOKEN, "factory_bot")
        chat = server.chat("private", server.user("Ann"), bots=(bot,))
        client = Client(TOKEN, server.url)
        reply = Reply("turn", Address(platform="telegram", bot_id="main", scope_id=str(chat.id)), "Let me see.")
        scene = Scene(server, chat, Screen(client, "entities", stream, content, lambda: scene.now), reply)
        try:
            yield scene
            assert not server.faults
        finally:
            await client.close()


async def test_a_draft_is_kept_until_a_message_takes_its_place() -> None:
    async with opened("draft") as scene:
        await scene.screen.draft(scene.reply)
        scene.now += DRAFT_KEPT + 1
        (draft,) = scene.screen.fading()
        assert draft.turn == "turn"

        await scene.screen.send(scene.reply)

        assert scene.screen.fading() == ()


async def test_a_file_has_more_time_than_words_and_leaves_its_name_if_that_never_suffices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.telegram.screen.FILE_SECONDS", 0.05)
    async with opened() as scene:
        whole = await scene.answered("video")
        scene.server.plan("editMessageMedia", Hang(), times=99)

        for _ in range(UPLOADS):
            with pytest.raises(NotNow):
                await scene.screen.edit(whole.parts[0], whole)
        left = await scene.screen.edit(whole.parts[0], whole)

        assert left is None
        assert [shown.text for shown in scene.shown()] == ["Let me see.", "📎 video"]
        assert len(scene.server.ledger.called("editMessageMedia")) == UPLOADS


async def test_a_file_is_sent_however_long_telegram_was_not_reached() -> None:
    async with opened() as scene:
        whole = await scene.answered("document")
        scene.server.plan("*", Cut(), times=4 * UPLOADS)

        for _ in range(2 * UPLOADS):
            with pytest.raises(NotNow):
                await scene.screen.edit(whole.parts[0], whole)
        left = await scene.screen.edit(whole.parts[0], whole)

        assert left is None
        assert "document" in (scene.shown()[1].media or {})


@pytest.mark.parametrize("trouble", [Answer(413, "Request Entity Too Large"), Page(413)], ids=repr)
async def test_a_file_that_is_too_large_leaves_its_name(trouble: Trouble) -> None:
    async with opened() as scene:
        whole = await scene.answered("document")
        scene.server.plan("editMessageMedia", trouble)

        left = await scene.screen.edit(whole.parts[0], whole)

        assert left is None
        assert [shown.text for shown in scene.shown()] == ["Let me see.", "📎 document"]


async def test_a_voice_that_never_gets_through_leaves_its_name() -> None:
    async with opened() as scene:
        scene.server.plan("sendVoice", Page(), times=99)
        for _ in range(UPLOADS):
            with pytest.raises(NotNow):
                await scene.answered("voice")

        whole = await scene.answered("voice")
        left = await scene.screen.edit(whole.parts[0], whole)

        assert left is None
        assert scene.shown()[-1].text == "📎 voice"
        assert not scene.server.ledger.called("editMessageMedia")
