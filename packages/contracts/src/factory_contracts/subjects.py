"""Every subject on the bus, spelled once.

The rule: `factory.<plane>.<who...>`, domain first. A platform and a bot id are `[a-z0-9_-]{1,32}`, a worker's name the
same up to 64, a scope is percent-encoded to at most 255 bytes, a capability is one or two tokens. No other file spells
a subject; a token that breaks the rule raises `BadToken` here, at boot, and never becomes a subject nobody listens to.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import quote, unquote
from zlib import crc32

ROOT = "factory"
PARTITIONS = 64
STREAM = "TURNS"
READY_BUCKET = "factory_ready"
CLIPOOL = "clipool"
HUB = "hub"
# Who may ask a worker of another capability, and so whom it answers.
ASKERS = (HUB, CLIPOOL)

_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_WORKER = re.compile(r"[a-z0-9_-]{1,64}")
_CAPABILITY = re.compile(r"[a-z0-9_-]{1,32}(\.[a-z0-9_-]{1,32})?")
_SCOPE_BYTES = 255
# Planes that are no capability's: a heartbeat or a request under such a name would be read as something else.
_TAKEN = frozenset(("inbound", "outbound", "turns", "typing"))
# What stands at the end of every capability's subjects: a bot of that name would be read as a capability's own.
_ENDS = frozenset(("heartbeat", "request"))


# Every message asks for some of these, and the same few come again and again.
_remembered = lru_cache(maxsize=8192)


class BadToken(ValueError):
    """A name that cannot stand in a subject."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """What one identity may publish and subscribe to, beside its own inbox."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


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


def money(shard: int) -> str:
    """What was spent, as far as a new hub need not read it from the log."""
    return f"{ROOT}.turns._money.{_part(shard)}"


def owners(platform: str, bot_id: str) -> str:
    """Who became an owner of a bot by a code."""
    return f"{ROOT}.turns._owners.{_bot(platform, bot_id)}"


def blobs(platform: str, bot_id: str) -> str:
    """The store of the files that come to a bot."""
    return f"{ROOT}_{_bot(platform, bot_id)}"


def typing(platform: str, bot_id: str) -> str:
    """Display feedback that may be lost."""
    return f"{ROOT}.typing.{platform_token(platform)}.{bot_token(bot_id)}"


def heartbeat(capability: str) -> str:
    """Where the workers of a capability say that they live."""
    return f"{ROOT}.{capability_token(capability)}.heartbeat"


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
def clipool_events(worker: str) -> str:
    """Where one CliPool worker, and nobody else, tells what its turns say."""
    return f"{ROOT}.{CLIPOOL}.events.{worker_token(worker)}"


def clipool_record(worker: str) -> str:
    """Where one CliPool worker asks for a record before it acts."""
    return f"{ROOT}.{CLIPOOL}.record.{worker_token(worker)}"


def clipool_hello() -> str:
    """Where a new hub greets the CliPool workers."""
    return f"{ROOT}.{CLIPOOL}.hello"


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


def read_worker(subject: str) -> str:
    """The worker at the end of a work subject."""
    return worker_token(subject.rpartition(".")[2])


def hub_permissions() -> Permissions:
    """The hub creates streams and alone writes the log."""
    return Permissions(publish=(">",), subscribe=(f"{ROOT}.>",))


def spoke_permissions(platform: str, bot_id: str) -> Permissions:
    """A spoke speaks for its own bot, keeps the files that come to it, and hears nothing of another."""
    store = blobs(platform, bot_id)
    return Permissions(
        publish=(
            f"{ROOT}.inbound.{platform_token(platform)}.{bot_token(bot_id)}.*",
            typing(platform, bot_id),
            *_writing(store),
            *_reading(store),
        ),
        subscribe=(outbound(platform, bot_id), typing(platform, bot_id)),
    )


def clipool_permissions(worker: str, *stores: str) -> Permissions:
    """A CliPool worker hears its own commands and speaks in its own name; its word goes to the hub's inbox alone.

    It reads the files in the stores that are named, keeps there those that its agents send, and asks the workers of any
    capability that it hears of.
    """
    return Permissions(
        publish=(
            clipool_events(worker),
            clipool_record(worker),
            heartbeat(CLIPOOL),
            f"_INBOX_{HUB}.>",
            *plane("request"),
            *(subject for store in stores for subject in (*_writing(store), *_reading(store))),
        ),
        subscribe=(clipool_command(worker), clipool_hello(), *plane("heartbeat")),
    )


def worker_permissions(capability: str, worker: str) -> Permissions:
    """A worker of any other capability answers its own requests, and those who may ask.

    It reads and keeps what is large in the store of its capability alone.
    """
    inboxes = (f"_INBOX_{asker}.>" for asker in ASKERS)
    place = store(capability)
    return Permissions(
        publish=(heartbeat(capability), *inboxes, *_writing(place), *_reading(place)),
        subscribe=(request(capability, worker),),
    )


def _writing(store: str) -> tuple[str, ...]:
    return f"$O.{store}.C.*", f"$O.{store}.M.*"


def _reading(store: str) -> tuple[str, ...]:
    return f"$JS.API.DIRECT.GET.OBJ_{store}", f"$JS.API.DIRECT.GET.OBJ_{store}.>"


_PARTITIONS: Mapping[str, int] = MappingProxyType({str(part): part for part in range(PARTITIONS)})

_PLANES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "inbound": (f"{ROOT}.inbound.*.*.*",),
        "outbound": (f"{ROOT}.outbound.*.*",),
        "turns": (f"{ROOT}.turns.>",),
        "epochs": (f"{ROOT}.turns._epoch.*",),
        "money": (f"{ROOT}.turns._money.*",),
        "owners": (f"{ROOT}.turns._owners.*",),
        "scopes": (f"{ROOT}.turns.*.*.*",),
        "typing": (f"{ROOT}.typing.*.*",),
        "heartbeat": (f"{ROOT}.*.heartbeat", f"{ROOT}.*.*.heartbeat"),
        "commands": (f"{ROOT}.{CLIPOOL}.cmd.*",),
        "events": (f"{ROOT}.{CLIPOOL}.events.*",),
        "record": (f"{ROOT}.{CLIPOOL}.record.*",),
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
