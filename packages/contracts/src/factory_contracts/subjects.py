"""Every subject on the bus, spelled once.

The rule: `factory.<plane>.<who...>`, domain first. A platform and a bot id are `[a-z0-9_-]{1,32}`, a worker's name the
same up to 64, a scope is percent-encoded to at most 255 bytes, a capability is one or two tokens. No other file spells
a subject; a token that breaks the rule raises `BadToken` here, at boot, and never becomes a subject nobody listens to.
What begins with `agents.` is spelled as the agent protocol of others wants it, for those who talk to us from outside.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote, unquote
from zlib import crc32

ROOT = "factory"
PARTITIONS = 64
STREAM = "TURNS"
READY_BUCKET = "factory_ready"
CLIPOOL = "clipool"
HUB = "hub"
# What concerns a whole bot is asked of whoever owns this scope's partition.
EVERY_SCOPE = "*"
READER = "reader"
ERASER = "eraser"
ASKER = "asker"
AGENTS = "agents"
SPEAKING = "voice.tts"
HEARING = "voice.stt"

_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_WORKER = re.compile(r"[a-z0-9_-]{1,64}")
_CAPABILITY = re.compile(r"[a-z0-9_-]{1,32}(\.[a-z0-9_-]{1,32})?")
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,63}")
_SCOPE_BYTES = 255
# Planes that are no capability's: a heartbeat or a request under such a name would be read as something else.
_TAKEN = frozenset(("inbound", "outbound", "turns", "typing"))
# What stands at the end of every capability's subjects: a bot of that name would be read as a capability's own.
_ENDS = frozenset(("heartbeat", "request"))


# Every message asks for some of these, and the same few come again and again.
_remembered = lru_cache(maxsize=8192)


class BadToken(ValueError):
    """A name that cannot stand in a subject."""


# Where a connection is let in: where processes talk; with whoever keeps the streams; or apart from everybody, with a
# view of what it is granted and of nothing else. The server sends an answer wherever it is told to, whatever the asker
# may publish: so nobody who may ask it anything is let in where a wrong answer could do harm. Who is outside is none of
# us: alone with what it may ask of the bus, and with answers that the server itself leads there.
Place = Literal["bus", "streams", "apart", "outside"]
# What others' agent protocol asks of one agent, and what it asks of all.
Verb = Literal["prompt", "status", "hb"]
FINDS = ("PING", "INFO")


@dataclass(frozen=True, slots=True)
class Permissions:
    """What one connection of an identity may publish and subscribe to, beside its own inbox.

    Who is outside `asks` subjects of the bus, each by the name that it has there and the one on the bus, and `hears`
    others.
    The `tidings` are what it may hear too, and does without where a server does not tell them.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...] = ()
    place: Place = "bus"
    tidings: tuple[str, ...] = ()
    asks: tuple[tuple[str, str], ...] = ()
    hears: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody outside asks, by the subject alone, which the server lets nobody else use: who it is, and of which
    bot in which session; for an answer to a question of ours also which, for finding agents also how."""

    what: str
    caller: str
    bot_id: str = ""
    session: str = ""
    rest: str = ""


def platform_token(value: str) -> str:
    """The platform, if it may stand in a subject."""
    return _unlike_an_end("platform", _checked("platform", value, _NAME, 32))


def bot_token(value: str) -> str:
    """The bot id, if it may stand in a subject."""
    return _unlike_an_end("bot id", _checked("bot id", value, _NAME, 32))


def worker_token(value: str) -> str:
    """The worker's name, if it may stand in a subject."""
    return _checked("worker", value, _WORKER, 64)


def capability_token(value: str) -> str:
    """The capability, if it may stand in a subject."""
    first, dot, second = _checked("capability", value, _CAPABILITY, 32).partition(".")
    if first in _TAKEN or (dot and first == CLIPOOL) or second in _ENDS:
        raise BadToken(f"capability {value!r}: that name is another plane's")
    return value


@_remembered
def scope_token(scope_id: str) -> str:
    """The scope, percent-encoded so that it is one token whatever the platform calls it."""
    try:
        # `quote` leaves dots alone, and a dot parts tokens.
        token = quote(scope_id, safe="").replace(".", "%2E").replace("~", "%7E")
    except UnicodeEncodeError:
        raise BadToken("scope: holds half a character") from None
    # A turn's id is derived from what NUL bytes part.
    if not token or len(token) > _SCOPE_BYTES or "\0" in scope_id:
        raise BadToken(f"scope: must be 1 to {_SCOPE_BYTES} bytes when percent-encoded, without NUL")
    return token


@_remembered
def partition(scope_id: str) -> int:
    """Which of the partitions a scope belongs to."""
    return crc32(scope_id.encode()) % PARTITIONS


@_remembered
def inbound(platform: str, bot_id: str, part: int) -> str:
    """Where a spoke hands messages and receipts to the hub."""
    return f"{ROOT}.inbound.{platform_token(platform)}.{bot_token(bot_id)}.{_part(part)}"


@_remembered
def outbound(platform: str, bot_id: str) -> str:
    """Where a spoke is told what to show."""
    return f"{ROOT}.outbound.{platform_token(platform)}.{bot_token(bot_id)}"


@_remembered
def turns(platform: str, bot_id: str, scope_id: str) -> str:
    """A scope's log."""
    return f"{ROOT}.turns.{platform_token(platform)}.{bot_token(bot_id)}.{scope_token(scope_id)}"


def turns_of_bot(platform: str, bot_id: str) -> str:
    """Every log of one bot."""
    return f"{ROOT}.turns.{platform_token(platform)}.{bot_token(bot_id)}.*"


@_remembered
def epoch(part: int) -> str:
    """Who owns a partition."""
    return f"{ROOT}.turns._epoch.{_part(part)}"


def mark(part: int) -> str:
    """The oldest sequence that the next hub must read."""
    return f"{ROOT}.turns._mark.{_part(part)}"


def seal(part: int) -> str:
    """What tells once more which records a partition holds, so that none is missed unnoticed."""
    return f"{ROOT}.turns._seal.{_part(part)}"


def gap() -> str:
    """What a log that is brought back holds for a moment where there is nothing."""
    return f"{ROOT}.turns._gap"


def money(shard: int) -> str:
    """What was spent, as far as a new hub need not read it from the log."""
    return f"{ROOT}.turns._money.{_part(shard)}"


def reckoned() -> str:
    """From where a new hub must read what was spent, where several write the log."""
    return f"{ROOT}.turns._reckoned"


def purse() -> str:
    """Who reserved money last, where several hubs may."""
    return f"{ROOT}.turns._purse"


def owners(platform: str, bot_id: str) -> str:
    """Who became an owner of a bot by a code, before there were acts."""
    return f"{ROOT}.turns._owners.{_bot(platform, bot_id)}"


def lease(platform: str, bot_id: str) -> str:
    """Which of a bot's spokes speaks for it."""
    return f"{ROOT}.turns._lease.{_bot(platform, bot_id)}"


def access() -> str:
    """What was done about who may do what, on every bot."""
    return f"{ROOT}.turns._access"


def blobs(platform: str, bot_id: str) -> str:
    """The store of the files that come to a bot."""
    return f"{ROOT}_{_bot(platform, bot_id)}"


def folder(scope_id: str) -> str:
    """What the files of a scope have in common in their bot's store."""
    return sha256(scope_id.encode()).hexdigest()[:20]


def typing(platform: str, bot_id: str) -> str:
    """Display feedback that may be lost."""
    return f"{ROOT}.typing.{platform_token(platform)}.{bot_token(bot_id)}"


def heartbeat(capability: str, worker: str) -> str:
    """Where one worker of a capability, and nobody else, says that it lives."""
    return f"{heartbeats(capability)[:-1]}{worker_token(worker)}"


def heartbeats(capability: str) -> str:
    """Where all workers of a capability say that they live."""
    return f"{ROOT}.{capability_token(capability)}.heartbeat.*"


@_remembered
def request(capability: str, worker: str) -> str:
    """Where one worker of a capability is asked."""
    return f"{ROOT}.{capability_token(capability)}.request.{worker_token(worker)}"


def store(capability: str) -> str:
    """The store of what is too large for the messages of a capability."""
    first, _, second = capability_token(capability).partition(".")
    return f"{ROOT}_work_{len(first)}_{first}" + (f"_{second}" if second else "")


@_remembered
def clipool_command(worker: str) -> str:
    """Where the hub tells one CliPool worker what to do."""
    return f"{ROOT}.{CLIPOOL}.cmd.{worker_token(worker)}"


@_remembered
def clipool_events(worker: str, part: int) -> str:
    """Where one CliPool worker, and nobody else, tells what its turns in a partition say."""
    return f"{ROOT}.{CLIPOOL}.events.{worker_token(worker)}.{_part(part)}"


@_remembered
def clipool_record(worker: str, part: int) -> str:
    """Where one CliPool worker asks for a record in a partition before it acts."""
    return f"{ROOT}.{CLIPOOL}.record.{worker_token(worker)}.{_part(part)}"


def peer(hub: str) -> str:
    """Where a hub is asked by the others that share with it."""
    return f"{ROOT}.{HUB}.peer.{worker_token(hub)}"


def clipool_hello() -> str:
    """Where a new hub greets the CliPool workers."""
    return f"{ROOT}.{CLIPOOL}.hello"


def departures() -> str:
    """Where the server tells whose connection to the bus has ended."""
    return "$SYS.ACCOUNT.BUS.DISCONNECT"


def caller_token(value: str) -> str:
    """The name of somebody outside, if it may stand in a subject."""
    return _checked("caller", value, _NAME, 32)


def session_token(value: str) -> str:
    """The name of a session, as somebody outside chooses it, if it may stand in a subject."""
    if not _SESSION.fullmatch(value):
        raise BadToken(f"session {value[:80]!r}: must be 1 to 63 of A-Z, a-z, 0-9, '_' and '-'")
    return value


def offered(verb: Verb, bot_id: str, caller: str, session: str) -> str:
    """Where one from outside prompts or looks at a bot, or hears that it lives, in one session."""
    return f"{AGENTS}.{verb}.{bot_token(bot_id)}.{caller_token(caller)}.{session_token(session)}"


def asked_back(bot_id: str, caller: str, session: str, question: str) -> str:
    """Where one from outside answers one question of ours."""
    return f"{AGENTS}.reply.{bot_token(bot_id)}.{caller_token(caller)}.{session_token(session)}.{question}"


def finding(caller: str) -> str:
    """Everything by which one from outside finds agents."""
    return f"{AGENTS}.find.{caller_token(caller)}.>"


def door(bot_id: str) -> tuple[str, ...]:
    """Everything that anybody outside may ask of one bot."""
    bot = bot_token(bot_id)
    return f"{AGENTS}.prompt.{bot}.*.*", f"{AGENTS}.status.{bot}.*.*", f"{AGENTS}.reply.{bot}.*.*.*"


def read_asked(subject: str) -> Asked:
    """Who outside asks for what."""
    match subject.split("."):
        case ["agents", "prompt" | "status" as what, bot_id, caller, session]:
            return Asked(what, caller_token(caller), bot_token(bot_id), session_token(session))
        case ["agents", "reply", bot_id, caller, session, question]:
            return Asked("reply", caller_token(caller), bot_token(bot_id), session_token(session), question)
        case ["agents", "find", caller, verb, *rest] if len(rest) < 2:
            return Asked("find", caller_token(caller), rest=".".join((verb, *rest)))
    raise BadToken("nothing that is asked from outside")


def plane(name: str) -> tuple[str, ...]:
    """The wildcards that cover one plane."""
    return _PLANES[name]


@_remembered
def read_inbound(subject: str) -> tuple[str, str, int]:
    """Platform, bot id and partition of an inbound subject."""
    _, name, platform, bot_id, part = _split(subject, 5)
    if name != "inbound" or part not in _PARTITIONS:
        raise BadToken("no inbound subject")
    return platform_token(platform), bot_token(bot_id), _PARTITIONS[part]


def read_turns(subject: str) -> tuple[str, str, str] | None:
    """Platform, bot id and scope of a log's subject; None where it is no scope's."""
    tokens = subject.split(".")
    if len(tokens) != 5 or tokens[0] != ROOT or tokens[1] != "turns":
        return None
    return tokens[2], tokens[3], unquote(tokens[4])


def within(plane: str, part: int) -> str:
    """What of a plane's wildcard, which ends with the partition, is in one of them."""
    return f"{plane.removesuffix('*')}{_part(part)}"


def read_worker(subject: str) -> str:
    """The worker at the end of a command's subject, or of a heartbeat's."""
    return worker_token(subject.rpartition(".")[2])


def read_record(subject: str) -> tuple[str, int]:
    """The worker that asks for a record, and in which partition."""
    *_, worker, part = _split(subject, 5)
    if part not in _PARTITIONS:
        raise BadToken("no subject of a record")
    return worker_token(worker), _PARTITIONS[part]


def read_capability(subject: str) -> str:
    """The capability of a heartbeat's subject."""
    root, *tokens = subject.split(".")
    if root != ROOT or len(tokens) not in (3, 4) or tokens[-2] != "heartbeat":
        raise BadToken("no subject of a heartbeat")
    return capability_token(".".join(tokens[:-2]))


def hub_permissions(*askers: str) -> Permissions:
    """The hub tells every spoke and CliPool worker, and answers those `askers`, which are the same by identity.

    Hubs that share have the same key, and ask each other.
    """
    return Permissions(
        publish=(
            *plane("outbound"),
            *plane("commands"),
            clipool_hello(),
            heartbeat(HUB, HUB),
            *plane("peers"),
            *(_answers(asker, HUB) for asker in (HUB, *askers)),
        ),
        subscribe=(
            *plane("inbound"),
            *plane("events"),
            *plane("record"),
            *plane("heartbeat"),
            *plane("peers"),
        ),
        tidings=(departures(),),
    )


def hub_store_permissions(*stores: str) -> Permissions:
    """The hub alone writes the log, and makes the streams: the log's, those of the stores, and the one of readiness."""
    streams = (STREAM, f"KV_{READY_BUCKET}", *(f"OBJ_{store}" for store in stores))
    return Permissions(
        publish=(
            *plane("turns"),
            f"$KV.{READY_BUCKET}.{HUB}",
            *(f"$JS.API.STREAM.{verb}.{stream}" for stream in streams for verb in ("CREATE", "UPDATE")),
            f"$JS.API.STREAM.INFO.{STREAM}",
            *_asking(STREAM),
        ),
        place="streams",
    )


def eraser_permissions(*stores: str) -> Permissions:
    """What is forgotten is taken off the log and out of the stores; the hub holds this key for nothing else.

    A purge leaves the bytes on the disk, a delete of each message overwrites them. No stream can be deleted with it.
    """
    streams = (STREAM, *(f"OBJ_{store}" for store in stores))
    return Permissions(
        publish=(
            *(f"$JS.API.STREAM.MSG.DELETE.{stream}" for stream in streams),
            *(f"$JS.API.STREAM.INFO.{stream}" for stream in streams),
            *(subject for stream in streams[1:] for subject in _asking(stream)),
        ),
        place="streams",
    )


def reader_permissions(*stores: str) -> Permissions:
    """The command looks at every log, keeps a copy of all that is stored, and hears which workers live; it writes
    nothing."""
    streams = (STREAM, *(f"OBJ_{store}" for store in stores))
    reading = (subject for stream in streams for subject in _asking(stream))
    return Permissions(
        publish=(*reading, f"$JS.API.DIRECT.GET.KV_{READY_BUCKET}.$KV.{READY_BUCKET}.{HUB}"),
        subscribe=plane("heartbeat"),
        place="apart",
    )


def spoke_permissions(platform: str, bot_id: str) -> Permissions:
    """A spoke speaks for its own bot, and hears nothing of another."""
    return Permissions(
        publish=(f"{ROOT}.inbound.{platform_token(platform)}.{bot_token(bot_id)}.*",),
        subscribe=(outbound(platform, bot_id),),
    )


def door_permissions(bot_id: str, *callers: str) -> Permissions:
    """The spoke by which those from outside talk to a bot hears them alone, and answers where the server leads out."""
    spoke = spoke_permissions(AGENTS, bot_id)
    return Permissions(
        publish=(*spoke.publish, f"{AGENTS}.hb.{bot_token(bot_id)}.*.*", "_R_.>"),
        subscribe=(*spoke.subscribe, *door(bot_id), *(finding(caller) for caller in callers)),
    )


def caller_permissions(caller: str, *bots: str) -> Permissions:
    """Who is outside finds, prompts and looks at these bots in its own name, and hears that they live; the inbox is the
    one that the SDKs of others have."""
    found = f"{AGENTS}.find.{caller_token(caller)}"
    asks = [(f"$SRV.{verb}.{AGENTS}", f"{found}.{verb}") for verb in FINDS]
    asks += [(f"$SRV.{verb}.{AGENTS}.*", f"{found}.{verb}.*") for verb in FINDS]
    for bot in map(bot_token, bots):
        for verb, rest in (("prompt", "*"), ("status", "*"), ("reply", "*.*")):
            asks.append((f"{AGENTS}.{verb}.{bot}.{caller}.{rest}",) * 2)
    return Permissions(
        publish=tuple(here for here, _ in asks),
        subscribe=(f"{AGENTS}.hb.*.*.*", "_INBOX.>"),
        place="outside",
        asks=tuple(asks),
        hears=tuple(f"{AGENTS}.hb.{bot}.{caller}.*" for bot in bots),
    )


def clipool_permissions(worker: str, *asked: tuple[str, str]) -> Permissions:
    """A CliPool worker hears its own commands and speaks in its own name; its word goes to the hub's inbox alone.

    It hears of the workers of other capabilities and asks them, each named by capability and worker. For voices it
    always listens, since a person may speak before anybody is there who hears.
    """
    return Permissions(
        publish=(
            f"{ROOT}.{CLIPOOL}.events.{worker_token(worker)}.*",
            f"{ROOT}.{CLIPOOL}.record.{worker_token(worker)}.*",
            heartbeat(CLIPOOL, worker),
            _answers(HUB, worker),
            *(request(capability, other) for capability, other in asked),
        ),
        subscribe=(
            clipool_command(worker),
            clipool_hello(),
            *dict.fromkeys(heartbeats(capability) for capability in (HEARING, SPEAKING, *(one for one, _ in asked))),
        ),
    )


def asker_permissions(*asked: tuple[str, str]) -> Permissions:
    """The command asks workers for the person who types it, each named by capability and worker."""
    return Permissions(
        publish=tuple(request(capability, other) for capability, other in asked),
        subscribe=tuple(dict.fromkeys(heartbeats(capability) for capability, _ in asked)),
    )


def store_permissions(*stores: str) -> Permissions:
    """A spoke keeps and reads the files of its bot; a CliPool worker those of every bot, for it runs turns of all.

    A worker of another capability keeps and reads what is too large for the messages of its capability, and so does
    whoever asks it.
    """
    writing = (f"$O.{store}.{kind}.*" for store in stores for kind in ("C", "M"))
    reading = (subject for store in stores for subject in _asking(f"OBJ_{store}"))
    return Permissions(publish=(*writing, *reading), place="apart")


def worker_permissions(capability: str, worker: str, *askers: str) -> Permissions:
    """A worker of any other capability answers its own requests, and those who may ask: all CliPool workers."""
    return Permissions(
        publish=(heartbeat(capability, worker), *(_answers(asker, worker) for asker in askers or (CLIPOOL,))),
        subscribe=(request(capability, worker),),
    )


def _answers(asker: str, responder: str) -> str:
    """The inbox in which an asker waits for the answers of one responder, and nobody else may write."""
    return f"_INBOX_{asker}.{responder}.>"


def _asking(stream: str) -> tuple[str, ...]:
    """How messages of a stream are read: directly, by a question that makes no consumer."""
    return f"$JS.API.DIRECT.GET.{stream}", f"$JS.API.DIRECT.GET.{stream}.>"


_PARTITIONS: Mapping[str, int] = MappingProxyType({str(part): part for part in range(PARTITIONS)})

_PLANES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "inbound": (f"{ROOT}.inbound.*.*.*",),
        "outbound": (f"{ROOT}.outbound.*.*",),
        "turns": (f"{ROOT}.turns.>",),
        "epochs": (f"{ROOT}.turns._epoch.*",),
        "marks": (f"{ROOT}.turns._mark.*",),
        "seals": (f"{ROOT}.turns._seal.*",),
        "money": (f"{ROOT}.turns._money.*",),
        "owners": (f"{ROOT}.turns._owners.*",),
        "access": (f"{ROOT}.turns._access",),
        "scopes": (f"{ROOT}.turns.*.*.*",),
        "typing": (f"{ROOT}.typing.*.*",),
        "heartbeat": (f"{ROOT}.*.heartbeat.*", f"{ROOT}.*.*.heartbeat.*"),
        "commands": (f"{ROOT}.{CLIPOOL}.cmd.*",),
        "events": (f"{ROOT}.{CLIPOOL}.events.*.*",),
        "record": (f"{ROOT}.{CLIPOOL}.record.*.*",),
        "peers": (f"{ROOT}.{HUB}.peer.*",),
        "request": (f"{ROOT}.*.request.*", f"{ROOT}.*.*.request.*"),
    }
)


def _checked(what: str, value: str, pattern: re.Pattern[str], longest: int) -> str:
    if not pattern.fullmatch(value):
        raise BadToken(f"{what} {value!r}: must be 1 to {longest} of a-z, 0-9, '_' and '-'")
    return value


def _unlike_an_end(what: str, value: str) -> str:
    if value in _ENDS:
        raise BadToken(f"{what} {value!r}: that name stands in the subjects of capabilities, choose another")
    return value


def _bot(platform: str, bot_id: str) -> str:
    """Both names as one token."""
    # A name may hold what parts two names, so the first one's length tells where it ends.
    return f"{len(platform_token(platform))}_{platform}_{bot_token(bot_id)}"


def _part(part: int) -> int:
    if not 0 <= part < PARTITIONS:
        raise BadToken(f"partition {part}: must be 0 to {PARTITIONS - 1}")
    return part


def _split(subject: str, count: int) -> list[str]:
    tokens = subject.split(".")
    if len(tokens) != count or tokens[0] != ROOT:
        raise BadToken("a subject of another shape")
    return tokens
