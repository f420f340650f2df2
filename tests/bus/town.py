"""A bus with everybody whom a configuration can name, each with the keys and rights that they have in the product."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from factory_cli.config import Bot, Caller, Configuration, Worker
from factory_cli.membership import Member, members
from factory_contracts import subjects
from factory_nats.connect import connect
from factory_nats.identity import Identity, User, generate_seed, public_key
from factory_nats.result import Ok
from factory_nats.rights import USER_INFO
from factory_nats.server import EmbeddedServer
from factory_nats.subject import answers_prefix, covers, inbox_prefix, matches
from factory_nats.transport import Transport
from tests.bus.raw import Raw

BOTS = (("telegram", "main"), ("telegram", "other"), ("discord", "main"), ("agents", "scout"), ("cli", "main"))
CALLERS = ("ci", "eve")
CLIPOOLS = ("clipool", "clipool-2")
WORKERS = (("image", "painter"), ("voice.tts", "loud"))
CONFIGURATION = Configuration(
    bots=tuple(Bot(*bot) for bot in BOTS if bot[0] != "cli"),
    clipools=len(CLIPOOLS),
    workers=tuple(Worker(name, capability) for capability, name in WORKERS),
    callers=tuple(Caller(name, ("scout",)) for name in CALLERS),
)
MEMBERS = {member.identity: member for member in members(CONFIGURATION)}
GRANTS = {key: may for member in MEMBERS.values() for key, may in member.grants}
OWNERS = {key: member.identity for member in MEMBERS.values() for key, _ in member.grants}
# Who hears everything there is to be heard; nobody in the product may.
WITNESS, AUDITOR = "witness", "auditor"

SPOKES = tuple(f"{platform}-{bot_id}" for platform, bot_id in BOTS)
STORES = {spoke: subjects.blobs(*bot) for spoke, bot in zip(SPOKES, BOTS, strict=True)}
STREAMS = (subjects.STREAM, f"KV_{subjects.READY_BUCKET}", *(f"OBJ_{store}" for store in STORES.values()), "OTHER")
# What is asked about a stream, and what about no particular one.
VERBS = (
    *("CREATE", "UPDATE", "INFO", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "MSG.GET", "MSG.DELETE"),
    *("PEER.REMOVE", "LEADER.STEPDOWN"),
)
CONSUMER_VERBS = ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT", "PAUSE", "LEADER.STEPDOWN")
OTHERS = (
    *("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.ACCOUNT.PURGE.APP"),
    *("$JS.API.META.LEADER.STEPDOWN", "$JS.ACK.TURNS.c.1.1.1.1.1", "$JS.FC.TURNS.c.x"),
    *("$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.APP.INFO", "$SYS.ACCOUNT.APP.CONNECT", USER_INFO),
    *("$SRV.PING", "_R_.abc.def", "_INBOX.abc", "x", subjects.ROOT, f"{subjects.ROOT}.x", f"{subjects.ROOT}.x.y.z"),
)
BROAD = (
    *(">", "*", "*.>", *(f"{subjects.ROOT}.{rest}" for rest in (">", "*.>", "*.*", "*.*.*", "*.*.*.*"))),
    *("$JS.>", "$JS.API.>", "$JS.EVENT.>", "$JS.EVENT.ADVISORY.>", "$SYS.>", "$KV.>", "$O.>", "_INBOX_*.>", "*.*.*"),
    *("_R_.>", "_INBOX.>"),
)


def catalogue() -> Iterator[str]:
    """Every place that somebody could want to send to or listen to, each with the names that there are."""
    for platform, bot_id in BOTS:
        yield from (subjects.inbound(platform, bot_id, part) for part in (0, 63))
        yield subjects.outbound(platform, bot_id)
        yield subjects.typing(platform, bot_id)
        yield subjects.turns(platform, bot_id, "a chat")
        yield subjects.owners(platform, bot_id)
    yield from (subjects.epoch(0), subjects.mark(0), subjects.money(0), subjects.clipool_hello())
    for worker in (*CLIPOOLS, "stranger"):
        yield subjects.clipool_command(worker)
        yield subjects.clipool_events(worker)
        yield subjects.clipool_record(worker)
        yield subjects.heartbeat(subjects.CLIPOOL, worker)
    yield from (subjects.heartbeat(subjects.HUB, name) for name in (subjects.HUB, "stranger"))
    for (capability, _), (_, worker) in product(WORKERS, (*WORKERS, ("", "stranger"))):
        yield subjects.heartbeat(capability, worker)
        yield subjects.request(capability, worker)
    for identity, responder in product(MEMBERS, (*MEMBERS, "$", "stranger")):
        yield f"{answers_prefix(identity, responder)}.c0ffee.{'_.1' if responder != 'hub' else 'commands.t.1'}"
    for caller in (*CALLERS, "stranger"):
        for bot_id in ("scout", "other"):
            yield from (subjects.offered(verb, bot_id, caller, "main") for verb in ("prompt", "status", "hb"))
            yield subjects.asked_back(bot_id, caller, "main", "x")
        for verb in subjects.FINDS:
            yield from (f"agents.find.{caller}.{verb}", f"agents.find.{caller}.{verb}.x")
    yield from ("$SRV.INFO.agents", "$SRV.PING.agents.x", "$SRV.INFO", "_INBOX.agents.x.y")
    for stream in STREAMS:
        yield from (f"$JS.API.STREAM.{verb}.{stream}" for verb in VERBS)
        yield from (f"$JS.API.CONSUMER.{verb}.{stream}.c" for verb in CONSUMER_VERBS)
        yield from (f"$JS.API.CONSUMER.{verb}.{stream}" for verb in ("CREATE", "NAMES", "LIST"))
        yield f"$JS.API.DIRECT.GET.{stream}"
        yield f"$JS.API.DIRECT.GET.{stream}.{subjects.turns('telegram', 'main', 'x')}"
    for store in (*STORES.values(), "other"):
        yield from (f"$O.{store}.{kind}.x" for kind in ("C", "M", "X"))
    yield from (f"$KV.{subjects.READY_BUCKET}.{key}" for key in (subjects.HUB, "other"))
    yield f"$JS.API.DIRECT.GET.KV_{subjects.READY_BUCKET}.$KV.{subjects.READY_BUCKET}.{subjects.HUB}"
    yield from OTHERS


def may_publish(key: str, subject: str) -> bool:
    """What the table says."""
    return any(matches(one, subject) for one in (*GRANTS[key].publish, USER_INFO))


def may_subscribe(key: str, subject: str) -> bool:
    """What the table says, and everybody's own inbox."""
    return any(covers(one, subject) for one in (*GRANTS[key].subscribe, f"{inbox_prefix(OWNERS[key])}.>"))


@dataclass(slots=True)
class Town:
    """The server, and everybody's secrets."""

    server: EmbeddedServer
    seeds: dict[str, str]
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def thief(self, key: str) -> Raw:
        """Whoever took somebody's key."""
        raw = await Raw.join(self.server, self.seeds[key])
        self.stack.push_async_callback(raw.close)
        return raw

    async def join(self, identity: str) -> Transport:
        """A member as the product's processes join."""
        return await self.connect(MEMBERS[identity].proves(self.seeds.__getitem__))

    async def connect(self, identity: Identity) -> Transport:
        """Anybody as the product's processes join."""
        joined = await connect(self.server.url, identity)
        assert isinstance(joined, Ok), joined
        self.stack.push_async_callback(joined.value.close)
        return joined.value


def users(seeds: dict[str, str], *listed: Member) -> tuple[User, ...]:
    """What a server is told of these members."""
    return tuple(user for member in listed for user in member.users(lambda key: public_key(seeds[key])))


@asynccontextmanager
async def town(folder: Path) -> AsyncIterator[Town]:
    """A server of its own with everybody on it."""
    seeds = {key: generate_seed() for key in (*GRANTS, WITNESS, AUDITOR)}
    watching = (User(WITNESS, public_key(seeds[WITNESS]), account="bus"), User(AUDITOR, public_key(seeds[AUDITOR])))
    async with EmbeddedServer(folder, users=(*users(seeds, *MEMBERS.values()), *watching)) as server:
        made = Town(server, seeds)
        async with made.stack:
            yield made
