"""Who may join the bus, and what each may say and hear there: the permission matrix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from factory_cli import config, keys
from factory_cli.home import Home
from factory_contracts import subjects
from factory_nats.identity import Identity, User

REMEDY = "`factory nats config` prints what belongs into the server's configuration"

OfKey = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Member:
    """One identity: what it may do on the bus, and with what is stored, for which it has another key."""

    identity: str
    permissions: subjects.Permissions
    store: subjects.Permissions | None = None

    @property
    def grants(self) -> tuple[tuple[str, subjects.Permissions], ...]:
        """What it may do by each of its keys, which have names."""
        own = (self.identity, self.permissions)
        return (own,) if self.store is None else (own, (f"{self.identity}.store", self.store))

    def users(self, public_key: OfKey) -> tuple[User, ...]:
        """What a server is told about it."""
        return tuple(
            User(self.identity, public_key(key), may.publish, may.subscribe, may.place, may.asks, may.hears)
            for key, may in self.grants
        )

    def proves(self, seed: OfKey) -> Identity:
        """How it shows who it is, and what it needs."""
        own, *others = (
            Identity(self.identity, seed(key), may.publish, may.subscribe, REMEDY) for key, may in self.grants
        )
        return replace(own, store=others[0]) if others else own


def members(configuration: config.Configuration) -> tuple[Member, ...]:
    """Everybody: the hub and its eraser, the command, the CliPool workers, each bot's spoke, and the workers and the
    callers that are named."""
    bots = config.bots_of(configuration)
    stores = [subjects.blobs(bot.platform, bot.bot_id) for bot in bots]
    clipools = config.clipools_of(configuration)
    workers = [(one.capability, one.name) for one in config.workers_of(configuration)]
    large = list(dict.fromkeys(subjects.store(capability) for capability, _ in workers))
    return (
        Member(
            subjects.HUB,
            subjects.hub_permissions(*clipools, *(bot.identity for bot in bots)),
            subjects.hub_store_permissions(*stores, *large),
        ),
        Member(subjects.ERASER, subjects.eraser_permissions(*stores)),
        Member(subjects.READER, subjects.reader_permissions(*stores)),
        *(
            Member(name, subjects.clipool_permissions(name, *workers), subjects.store_permissions(*stores, *large))
            for name in clipools
        ),
        *(
            Member(
                bot.identity,
                _spokes_permissions(configuration, bot),
                subjects.store_permissions(subjects.blobs(bot.platform, bot.bot_id)),
            )
            for bot in bots
        ),
        *(
            (Member(subjects.ASKER, subjects.asker_permissions(*workers), subjects.store_permissions(*large)),)
            if workers
            else ()
        ),
        *(
            Member(
                name,
                subjects.worker_permissions(capability, name, *clipools, subjects.ASKER),
                subjects.store_permissions(subjects.store(capability)),
            )
            for capability, name in workers
        ),
        *(Member(one.identity, subjects.caller_permissions(one.name, *one.bots)) for one in configuration.callers),
    )


def _spokes_permissions(configuration: config.Configuration, bot: config.Bot) -> subjects.Permissions:
    if bot.platform != subjects.AGENTS:
        return subjects.spoke_permissions(bot.platform, bot.bot_id)
    callers = (one.name for one in configuration.callers if bot.bot_id in one.bots)
    return subjects.door_permissions(bot.bot_id, *callers)


def users(where: Home, configuration: config.Configuration) -> Sequence[User]:
    """The same as a server is told, each with its public keys; the secrets are made where there are none."""
    return [
        user
        for member in members(configuration)
        for user in member.users(lambda key: keys.public_key_of(where.keys, key))
    ]


def identity(where: Home, configuration: config.Configuration, name: str) -> Identity:
    """How a member shows who it is; whom the configuration does not name can only try."""
    for member in members(configuration):
        if member.identity == name:
            return member.proves(lambda key: keys.seed_of(where.keys, key))
    return Identity(name, keys.seed_of(where.keys, name))


def seeds(identity: Identity) -> tuple[str, ...]:
    """The secrets by which an identity shows who it is."""
    own = () if identity.seed is None else (identity.seed,)
    return own if identity.store is None else (*own, *seeds(identity.store))
