"""What all processes of a run share: who is who on the bus, and where it is."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from factory_contracts import subjects
from factory_nats.connect import Identity, generate_seed, public_key
from factory_nats.server import User

SLATE = "slate"
TELEGRAM = "telegram"
DISCORD = "discord"
PLATFORMS = (SLATE, TELEGRAM, DISCORD)
BOTS = ("chalk", "flint")
WORKERS = ("clipool", "clipool-two")
HUBS = ("hub-one", "hub-two")
AUDITOR = "auditor"
SCRIPT = "script.toml"

_FILE = "bus.json"
# Reading the log is all that the auditor may do.
_AUDIT = subjects.Permissions(publish=("$JS.API.DIRECT.GET.>",), subscribe=())


@dataclass(frozen=True, slots=True)
class Bus:
    """Where the bus is, every identity's secret, and where the platform is."""

    url: str
    seeds: dict[str, str]
    platform: str = SLATE
    platform_at: str = ""

    def identity(self, name: str) -> Identity:
        """Who a process is."""
        return Identity(name, self.seeds[name])

    def write(self, run: Path) -> None:
        """Leave it where the processes find it."""
        (run / _FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, run: Path) -> "Bus":
        """What the conductor left."""
        return cls(**json.loads((run / _FILE).read_text()))


def spoke(platform: str, bot_id: str) -> str:
    """A spoke's name on the bus."""
    return f"{platform}-{bot_id}"


def seeds(platform: str) -> dict[str, str]:
    """A fresh secret for everyone."""
    return {name: generate_seed() for name in _permissions(platform)}


def users(platform: str, secrets: dict[str, str]) -> tuple[User, ...]:
    """What the server is told: everyone's key, and the same rights as in production."""
    return tuple(
        User(name, public_key(secrets[name]), rights.publish, rights.subscribe)
        for name, rights in _permissions(platform).items()
    )


def _permissions(platform: str) -> dict[str, subjects.Permissions]:
    return {
        subjects.HUB: subjects.hub_permissions(),
        AUDITOR: _AUDIT,
        **{worker: subjects.clipool_permissions(worker) for worker in WORKERS},
        **{spoke(platform, bot): subjects.spoke_permissions(platform, bot) for bot in BOTS},
    }
