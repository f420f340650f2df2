"""Telegram as a platform of the chaos runs: a strict Bot API over HTTP, whose clock runs a hundred times faster.

People talk in groups, where an answer hangs on its question, so that the ledger tells what answers what.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.botapi.chats import Chat
from tests.botapi.ledger import Ledger as Seen
from tests.botapi.server import BotApi
from tests.chaos import ledger
from tests.chaos.surroundings import BOTS

SPEED = 100.0
ACTIVITY = "italic"
# As a model reads it in a group, before what was said.
SPEAKER = "Ann: "


def token(bot: str) -> str:
    """A bot's token."""
    return f"{42 + BOTS.index(bot)}:CHAOS"


class Telegram:
    """Everything a person can see, and everything a bot has not taken yet."""

    def __init__(self, file: Path, on_show: Callable[[str, str], None], pid_of: Callable[[str], int]) -> None:
        self.changed = asyncio.Event()
        self._ledger = ledger.Ledger(file)
        self._on_show = on_show
        self._pid_of = pid_of
        self._server = BotApi(speed=SPEED)
        self._server.ledger = _Watched(self._seen)
        self._bots = {bot: self._server.bot(token(bot), f"{bot}_bot") for bot in BOTS}
        self._names = {one.id: bot for bot, one in self._bots.items()}
        self._ann = self._server.user("Ann")
        self._chats: dict[str, Chat] = {}
        self._bot_in: dict[int, str] = {}
        self._questions: dict[tuple[int, int], int] = {}

    async def open(self, folder: Path) -> str:
        """Be there for bots; where that is."""
        await self._server.start()
        return self._server.url

    async def close(self) -> None:
        """Leave them."""
        await self._server.stop()
        self._ledger.close()

    def scopes(self, bot: str, count: int) -> list[str]:
        """So many groups in which people talk with a bot."""
        chats = [self._server.chat("supergroup", self._ann, bots=[self._bots[bot]]) for _ in range(count)]
        self._chats |= {str(chat.id): chat for chat in chats}
        self._bot_in |= {chat.id: bot for chat in chats}
        return [str(chat.id) for chat in chats]

    def ask(self, bot: str, scope: str, text: str) -> str:
        """A person writes; the message's id."""
        chat = self._chats[scope]
        message = self._server.say(chat, self._ann, f"@{bot}_bot {text}")
        update = self._bots[bot].mail.queue[-1].id
        self._ledger.write(
            did="asked",
            bot=bot,
            at=time.time(),
            update=update,
            scope=scope,
            message=str(message),
            text=text,
            speaker=SPEAKER,
        )
        return str(message)

    def untaken(self) -> int:
        """How many messages no bot has confirmed yet."""
        return sum(len(bot.mail.queue) for bot in self._bots.values())

    speaker = SPEAKER

    def faults(self) -> list[str]:
        """What no correct bot does."""
        return [f"{fault.method}: {fault.what}" for fault in self._server.faults]

    def _seen(self, entry: dict[str, Any]) -> None:
        match entry:
            case {"kind": "confirm", "bot": bot, "updates": updates}:
                self._ledger.write(did="confirmed", bot=self._names[bot], updates=updates, at=time.time())
            case {"kind": "message", "bot": True, "chat": chat, "message": message, "reply_to": asked}:
                self._questions[chat, message] = asked
                self._write("sent", entry, reply_to=str(asked))
            case {"kind": "edit", "chat": chat, "message": message} if (chat, message) in self._questions:
                self._write("edited", entry)
        self.changed.set()

    def _write(self, did: str, entry: dict[str, Any], **more: str) -> None:
        chat, message = entry["chat"], entry["message"]
        bot = self._bot_in[chat]
        text = _without_activity(entry["text"], entry["entities"])
        place = {"scope": str(chat), "message": str(message), "text": text, "pid": self._pid_of(bot)}
        self._ledger.write(did=did, bot=bot, at=time.time(), **place, **more)
        self._on_show(f"{bot} {chat} {self._questions[chat, message]}", text)


class _Watched(Seen):
    """A ledger that tells of each entry."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._tell = tell

    def note(self, kind: str, at: float, **fields: Any) -> dict[str, Any]:
        entry = super().note(kind, at, **fields)
        self._tell(dict(entry))
        return dict(entry)


def _without_activity(text: str, entities: list[dict[str, Any]]) -> str:
    """What is said, without the line that tells what a tool does."""
    head, gap, last = text.rpartition("\n\n")
    length = len(last.encode("utf-16-le")) // 2
    is_activity = any(one["type"] == ACTIVITY and one["length"] == length for one in entities)
    return head if gap and is_activity else "…" if is_activity and not gap else text
