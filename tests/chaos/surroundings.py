"""What all processes of a run share: who is who on the bus, and where it is."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from factory_cli.membership import Member
from factory_contracts import subjects
from factory_nats.connect import Identity, generate_seed, public_key
from factory_nats.server import User

SLATE = "slate"
TELEGRAM = "telegram"
DISCORD = "discord"
PLATFORMS = (SLATE, TELEGRAM, DISCORD)
BOTS = ("chalk", "flint")
WORKERS = ("clipool", "clipool-two")
HUBS = ("hub-one", "hub-two", "hub-three", "hub-four")
AUDITOR = "auditor"
# Each bot has one spoke, or two that share its notes, or two of which each has its own.
PAIRS = ("shared", "apart")
SCRIPT = "script.toml"
HIGH_WATER = "high-water.json"
# What surrounds the processes and may go wrong: they stand still, their way to the bus fails, the server's disk is
# full, the server dies again and again, its power fails.
SURROUNDINGS = ("stop", "link", "disk", "storm", "power")

_FILE = "bus.json"
# Reading the log is all that the auditor may do.
_AUDIT = subjects.Permissions(publish=("$JS.API.DIRECT.GET.>",), place="streams")


@dataclass(frozen=True, slots=True)
class Bus:
    """Where the bus is, every identity's secret, where the platform is, and how many pools a hub may hold."""

    url: str
    seeds: dict[str, str]
    platform: str = SLATE
    platform_at: str = ""
    ways: dict[str, str] = field(default_factory=dict)
    pools: int = 6

    def url_of(self, slot: str) -> str:
        """Where a process of this name finds the bus."""
        return self.ways.get(slot, self.url)

    def identity(self, name: str) -> Identity:
        """Who a process is."""
        return _members(self.platform)[name].proves(self.seeds.__getitem__)

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
    """A fresh secret for every key."""
    return {key: generate_seed() for member in _members(platform).values() for key, _ in member.grants}


def users(platform: str, secrets: dict[str, str]) -> tuple[User, ...]:
    """What the server is told: every key, and the same rights as in production."""
    return tuple(
        user for member in _members(platform).values() for user in member.users(lambda key: public_key(secrets[key]))
    )


def _members(platform: str) -> dict[str, Member]:
    spokes = {spoke(platform, bot): bot for bot in BOTS}
    stores = {bot: subjects.blobs(platform, bot) for bot in BOTS}
    listed = (
        Member(
            subjects.HUB,
            subjects.hub_permissions(*WORKERS, *spokes),
            subjects.hub_store_permissions(*stores.values()),
        ),
        Member(AUDITOR, _AUDIT),
        *(
            Member(worker, subjects.clipool_permissions(worker), subjects.store_permissions(*stores.values()))
            for worker in WORKERS
        ),
        *(
            Member(name, subjects.spoke_permissions(platform, bot), subjects.store_permissions(stores[bot]))
            for name, bot in spokes.items()
        ),
    )
    return {member.identity: member for member in listed}
