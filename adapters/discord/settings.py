"""What the Discord spoke is told when it starts."""

from dataclasses import dataclass, field
from pathlib import Path

from factory_nats.connect import Identity

API_BASE = "https://discord.com/api/v10"


@dataclass(frozen=True, slots=True)
class BotSettings:
    """One bot: its name in the configuration, its token, who it is on the bus, and the files of what it remembers.

    `notes` says which messages an unfinished answer has, `cursors` how far each channel was read.
    """

    bot_id: str
    token: str = field(repr=False)
    identity: Identity
    notes: Path
    cursors: Path


@dataclass(frozen=True, slots=True)
class DiscordSettings:
    """All bots of one process, and how they behave.

    `gateway` is where events come from, if not where Discord says; `threads` begins a thread for each conversation, in
    the channels of `dedicated` nobody needs to name the bot, `observes` lets an answer see what a channel said since
    the last one, `reactions` marks a message while it waits. Without `message_content` only what names the bot is
    read.
    """

    nats_url: str
    bots: tuple[BotSettings, ...]
    api_base: str = API_BASE
    gateway: str | None = None
    threads: bool = False
    dedicated: frozenset[str] = frozenset()
    observes: bool = False
    reactions: bool = False
    message_content: bool = True
