"""Discord as a platform of the chaos runs: a strict server over HTTP and sockets, with a clock a hundred times faster.

People talk in channels of a guild, where an answer hangs on its question, so that the ledger tells what answers what.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos import ledger
from tests.chaos.surroundings import BOTS
from tests.discordapi.channels import Channel
from tests.discordapi.ledger import Ledger as Seen
from tests.discordapi.people import Times
from tests.discordapi.server import DiscordApi

SPEED = 100.0
# A process that was killed starts no faster because a clock does.
TIMES = Times(nonce=300.0 * SPEED, heartbeat=1_000.0)
ACTIVITY = "-# "
# As a model reads it in a guild, before what was said.
SPEAKER = "Ann: "


def token(bot: str) -> str:
    """A bot's token."""
    return f"token.of.{bot}"


class Discord:
    """Everything a person can see, and everything that no bot has begun to answer yet."""

    speaker = SPEAKER

    def __init__(self, file: Path, on_show: Callable[[str, str], None], pid_of: Callable[[str], int]) -> None:
        self.changed = asyncio.Event()
        self._ledger = ledger.Ledger(file)
        self._on_show = on_show
        self._pid_of = pid_of
        self._server = DiscordApi(speed=SPEED, times=TIMES)
        self._server.ledger = _Watched(self._seen)
        self._bots = {bot: self._server.bot(token(bot), bot) for bot in BOTS}
        self._ids = {one.id for one in self._bots.values()}
        self._ann = self._server.user("Ann")
        self._guild = self._server.guild(self._ann)
        self._channels: dict[str, Channel] = {}
        self._bot_in: dict[int, str] = {}
        self._questions: dict[tuple[int, int], int] = {}
        self._waiting: set[tuple[int, int]] = set()

    async def open(self, folder: Path) -> str:
        """Be there for bots; where that is: for what they ask, and for what they listen to."""
        await self._server.start()
        return f"{self._server.api} {self._server.gateway_url}"

    async def close(self) -> None:
        """Leave them."""
        await self._server.stop()
        self._ledger.close()

    def scopes(self, bot: str, count: int) -> list[str]:
        """So many channels in which people talk with a bot."""
        channels = [self._server.channel(self._guild) for _ in range(count)]
        self._channels |= {str(channel.id): channel for channel in channels}
        self._bot_in |= {channel.id: bot for channel in channels}
        return [str(channel.id) for channel in channels]

    def ask(self, bot: str, scope: str, text: str) -> str:
        """A person writes; the message's id."""
        channel = self._channels[scope]
        message = self._server.say(channel, self._ann, f"{self._bots[bot].user.mention} {text}")
        self._waiting.add((channel.id, message))
        self._ledger.write(
            did="asked",
            bot=bot,
            at=time.time(),
            update=message,
            scope=scope,
            message=str(message),
            text=text,
            speaker=SPEAKER,
        )
        return str(message)

    def untaken(self) -> int:
        """How many messages no bot has begun to answer yet: Discord keeps them all, and none is ever confirmed."""
        return len(self._waiting)

    def faults(self) -> list[str]:
        """What no correct bot does."""
        return [f"{fault.method}: {fault.what}" for fault in self._server.faults]

    def _seen(self, entry: dict[str, Any]) -> None:
        match entry:
            case {"kind": "message", "by": by, "channel": channel, "message": message, "reply_to": asked}:
                if by in self._ids:
                    self._questions[channel, message] = asked
                    self._take(channel, asked)
                    self._write("sent", entry, reply_to=str(asked))
            case {"kind": "edit", "channel": channel, "message": message} if (channel, message) in self._questions:
                self._write("edited", entry)
        self.changed.set()

    def _take(self, channel: int, asked: int) -> None:
        self._waiting.discard((channel, asked))
        self._ledger.write(did="confirmed", bot=self._bot_in[channel], updates=[asked], at=time.time())

    def _write(self, did: str, entry: dict[str, Any], **more: str) -> None:
        channel, message = entry["channel"], entry["message"]
        bot = self._bot_in[channel]
        text = _without_activity(entry["text"])
        place = {"scope": str(channel), "message": str(message), "text": text, "pid": self._pid_of(bot)}
        self._ledger.write(did=did, bot=bot, at=time.time(), **place, **more)
        self._on_show(f"{bot} {channel} {self._questions[channel, message]}", text)


class _Watched(Seen):
    """A ledger that tells of each entry."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._tell = tell

    def note(self, kind: str, at: float, **fields: Any) -> dict[str, Any]:
        entry = super().note(kind, at, **fields)
        self._tell(dict(entry))
        return dict(entry)


def _without_activity(text: str) -> str:
    """What is said, without the line that tells what a tool does."""
    head, sign, _ = text.rpartition(ACTIVITY)
    return (head.removesuffix("\n") or "…") if sign else text
