"""Who may join the bus, and what each may say and hear there: the permission matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

from factory_cli import config, keys
from factory_cli.home import Home
from factory_contracts import subjects
from factory_nats.server import User


@dataclass(frozen=True, slots=True)
class Member:
    """One identity on the bus."""

    identity: str
    permissions: subjects.Permissions


def members(configuration: config.Configuration) -> tuple[Member, ...]:
    """Everybody: the hub and who it is when it erases, the CliPool workers, the spoke of each bot and the workers that
    the configuration names."""
    bots = config.bots_of(configuration)
    stores = [subjects.blobs(bot.platform, bot.bot_id) for bot in bots]
    return (
        Member(subjects.HUB, subjects.hub_permissions()),
        Member(subjects.ERASER, subjects.eraser_permissions(*stores)),
        *(Member(name, subjects.clipool_permissions(name, *stores)) for name in config.clipools_of(configuration)),
        *(Member(bot.identity, subjects.spoke_permissions(bot.platform, bot.bot_id)) for bot in bots),
        *(Member(one.name, subjects.worker_permissions(one.capability, one.name)) for one in configuration.workers),
    )


def users(where: Home, configuration: config.Configuration) -> Sequence[User]:
    """The same as a server is told, each with its public key; the secrets are made where there are none."""
    return [
        User(
            member.identity,
            keys.public_key_of(where.keys, member.identity),
            member.permissions.publish,
            member.permissions.subscribe,
        )
        for member in members(configuration)
    ]
