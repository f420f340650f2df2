"""What the front door for others is told when it starts."""

from dataclasses import dataclass
from pathlib import Path

from factory_nats.connect import Identity


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody outside who may talk to a bot, and the sessions that they find; others are begun by using their name."""

    name: str
    sessions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BotSettings:
    """One bot: its name in the configuration, who it is on the bus, who may talk to it, and the file of its notes."""

    bot_id: str
    identity: Identity
    visitors: tuple[Visitor, ...]
    notes: Path


@dataclass(frozen=True, slots=True)
class AgentsSettings:
    """All bots of one process.

    Who waits for an answer hears a sign of life every `alive_s` seconds: others give up after a minute of silence.
    """

    nats_url: str
    bots: tuple[BotSettings, ...]
    alive_s: float = 15.0
    beat_s: int = 30
