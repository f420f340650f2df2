"""What the Telegram spoke is told when it starts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from factory_nats.connect import Identity

API_BASE = "https://api.telegram.org"

Stream = Literal["edit", "draft"]
Style = Literal["entities", "rich", "plain"]


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where Telegram brings updates: the address it is told, the word it must say, and where we listen behind it."""

    url: str
    secret: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8443


@dataclass(frozen=True, slots=True)
class BotSettings:
    """One bot: its name in the configuration, its token, who it is on the bus, and the file of its notes."""

    bot_id: str
    token: str = field(repr=False)
    identity: Identity
    notes: Path


@dataclass(frozen=True, slots=True)
class TelegramSettings:
    """All bots of one process, and how they behave.

    `observes` lets an answer see what a group said since the last one; `reactions` marks a message while it waits.
    """

    nats_url: str
    bots: tuple[BotSettings, ...]
    api_base: str = API_BASE
    stream: Stream = "edit"
    render: Style = "entities"
    observes: bool = False
    reactions: bool = False
    webhook: Webhook | None = None
