"""Large values in a store of their own: cut into chunks on a log, named by their content, checked when read.

Laid out as the object store of NATS is, so that its tools can read it. Reading goes by direct get: the usual way makes
a consumer, and who may make consumers may write anywhere. What is put into a folder of the store can be erased with it,
also what an interrupted put left behind.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from factory_nats.result import Err, Ok, Result
from factory_nats.subject import is_name
from factory_nats.transport import Entry, Stored, StreamConfig, Transport

MOST_BYTES: Final = 20 * 1024 * 1024
# More in one piece holds up whatever else is sent over the same connection.
CHUNK: Final = 128 * 1024
# What reading takes at a time, 4 MB of whole chunks; and how many pieces a value of another writer may have.
PAGE: Final = 32
MOST_CHUNKS: Final = 4_096

# Between a folder and what lies in it.
_PART: Final = "-"
# What is erased at a time.
_AT_ONCE: Final = 16

# A name that others may be told apart by is longer than one token of theirs.
_LONG: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FOLDER: Final = re.compile(r"[A-Za-z0-9_]{1,40}")


async def ensure(transport: Transport, store: str, *, max_age: float = 0.0, max_bytes: int = -1) -> Result[None]:
    """Make the store exist; what is older than `max_age` seconds vanishes, where that is not 0."""
    if _LONG.fullmatch(store) is None:
        return Err("malformed", f"no name for a store: {store[:100]!r}")
    return await transport.ensure_stream(replace(config(store), max_age=max_age, max_bytes=max_bytes))


def config(store: str) -> StreamConfig:
    """The log that a store is kept in."""
    return StreamConfig(_stream(store), (f"$O.{store}.C.>", f"$O.{store}.M.>"), deny_delete=False)


def gap(store: str) -> str:
    """Where nothing lies that is a value: what a store that is brought back holds for a moment."""
    return _chunks(store, "gap")


async def put(transport: Transport, store: str, data: bytes, *, folder: str = "") -> Result[str]:
    """Store the value and return its name, the same for the same value in the same folder; "no responders" while the
    store is not there.

    After an error nothing is known to be stored; putting it again is right, whatever happened. What an interrupted put
    leaves behind is never read.
    """
    if _LONG.fullmatch(store) is None or (folder and _FOLDER.fullmatch(folder) is None):
        return Err("malformed", f"no name for a store or a folder: {store[:100]!r} {folder[:100]!r}")
    if len(data) > MOST_BYTES:
        return Err("too large", f"{len(data)} bytes, and {MOST_BYTES} are the limit")
    digest = await _digest(data)
    name = f"{folder}{_PART}{digest.hex()}" if folder else digest.hex()
    known = await transport.last(_stream(store), _about(store, name))
    if isinstance(known, Err):
        return known
    if known.value is not None:
        # What was damaged since it was put is put anew.
        held = await _read(transport, store, name, known.value)
        if isinstance(held, Err):
            return held
        if held.value is not None:
            return Ok(name)
    # Nobody else writes on this subject, so neither an interrupted put nor another one at the same time can get in
    # between; only the message about it, which comes last, makes it the value.
    nuid = f"{folder}{_PART}{secrets.token_hex(11)}" if folder else secrets.token_hex(11)
    for at in range(0, len(data), CHUNK):
        stored = await transport.append([Entry(_chunks(store, nuid), data[at : at + CHUNK])])
        if isinstance(stored, Err):
            return stored
    about = {
        "name": name,
        "bucket": store,
        "nuid": nuid,
        "size": len(data),
        "chunks": -(-len(data) // CHUNK),
        "digest": f"SHA-256={urlsafe_b64encode(digest).decode()}",
        "options": {"max_chunk_size": CHUNK},
    }
    before = 0 if known.value is None else known.value.sequence
    subject = _about(store, name)
    entry = Entry(subject, json.dumps(about).encode(), expect=(subject, before), rollup=True)
    stored = await transport.append([entry])
    # Somebody else may have been quicker with the same value.
    return Ok(name) if isinstance(stored, Ok) or stored.reason == "fenced" else stored


async def get(transport: Transport, store: str, name: str) -> Result[bytes | None]:
    """The value; None where there is none of that name, or where what is stored is not what was put."""
    if _LONG.fullmatch(store) is None or _LONG.fullmatch(name) is None:
        return Err("malformed", f"no name for a value: {name[:100]!r}")
    known = await transport.last(_stream(store), _about(store, name))
    if isinstance(known, Err):
        return known
    return Ok(None) if known.value is None else await _read(transport, store, name, known.value)


async def names(transport: Transport, store: str, folder: str) -> Result[frozenset[str]]:
    """What lies in a folder."""
    found = await transport.subjects(_stream(store), f"$O.{store}.M.>")
    if isinstance(found, Err):
        return found
    told = (_told_of(store, subject) for subject in found.value)
    return Ok(frozenset(name for name in told if name is not None and name.startswith(f"{folder}{_PART}")))


async def reach(transport: Transport, store: str) -> Result[int]:
    """Up to where the store's log goes by now."""
    last = await transport.last(_stream(store), f"$O.{store}.>")
    if isinstance(last, Err):
        return last
    return Ok(0 if last.value is None else last.value.sequence)


async def erase(
    transport: Transport,
    store: str,
    folder: str,
    *,
    until: int,
    also: Collection[str] = (),
    spared: Collection[str] = (),
) -> Result[None]:
    """Overwrite on the disk all that was put into the folder, and the values of these names, up to a sequence of the
    store's log; but no value that is spared.

    After an error some of it may be left; erasing it again is right, whatever happened.
    """
    found = await transport.subjects(_stream(store), f"$O.{store}.>")
    if isinstance(found, Err):
        return found
    doomed, chunks, kept = list[Stored](), set[str](), set[str]()
    for subject in found.value:
        name = _told_of(store, subject)
        if name is None or not (name in also or name.startswith(f"{folder}{_PART}")):
            continue
        known = await transport.last(_stream(store), subject)
        if isinstance(known, Err):
            return known
        if known.value is None:
            continue
        match _parsed(known.value.data):
            case {"nuid": str(nuid)}:
                (kept if name in spared or known.value.sequence > until else chunks).add(nuid)
            case _:
                pass
        if name not in spared:
            doomed.append(known.value)
    prefix = _chunks(store, f"{folder}{_PART}")
    gone = {_chunks(store, nuid) for nuid in chunks} | {one for one in found.value if one.startswith(prefix)}
    for subject in gone - {_chunks(store, nuid) for nuid in kept}:
        if subject in found.value:
            erased = await _erase_all(transport, store, subject, until)
            if isinstance(erased, Err):
                return erased
    # What tells which pieces a value has goes last: without it they would not be found again.
    return await _erase_each(transport, store, [one.sequence for one in doomed if one.sequence <= until])


async def _erase_all(transport: Transport, store: str, subject: str, until: int) -> Result[None]:
    start = 1
    while True:
        page = await transport.read(_stream(store), subject, start=start, limit=PAGE)
        if isinstance(page, Err):
            return page
        sequences = [one.sequence for one in page.value if one.sequence <= until]
        erased = await _erase_each(transport, store, sequences)
        if isinstance(erased, Err) or len(page.value) < PAGE:
            return erased
        start = page.value[-1].sequence + 1


async def _erase_each(transport: Transport, store: str, sequences: list[int]) -> Result[None]:
    for at in range(0, len(sequences), _AT_ONCE):
        few = sequences[at : at + _AT_ONCE]
        for erased in await asyncio.gather(*(transport.erase(_stream(store), sequence) for sequence in few)):
            if isinstance(erased, Err) and erased.reason != "not found":
                return erased
    return Ok(None)


async def _read(transport: Transport, store: str, name: str, known: Stored) -> Result[bytes | None]:
    match _parsed(known.data):
        case {"nuid": str(nuid), "size": int(size), "chunks": int(count)} if (
            is_name(nuid) and 0 <= size <= MOST_BYTES and 0 <= count <= MOST_CHUNKS
        ):
            pass
        case _:
            return Ok(None)
    digest = sha256()
    chunks: list[bytes] = []
    held, start = 0, 1
    while len(chunks) < count:
        limit = min(PAGE, count - len(chunks))
        page = await transport.read(_stream(store), _chunks(store, nuid), start=start, limit=limit)
        if isinstance(page, Err):
            return page
        for stored in page.value:
            digest.update(stored.data)
            chunks.append(stored.data)
            held += len(stored.data)
        if not page.value or held > size:
            return Ok(None)
        start = page.value[-1].sequence + 1
    return Ok(b"".join(chunks) if digest.hexdigest() == name.rpartition(_PART)[2] else None)


async def _digest(data: bytes) -> bytes:
    digest = sha256()
    view = memoryview(data)
    for at in range(0, len(data), 1 << 20):
        digest.update(view[at : at + (1 << 20)])
        await asyncio.sleep(0)
    return digest.digest()


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _stream(store: str) -> str:
    return f"OBJ_{store}"


def _chunks(store: str, nuid: str) -> str:
    return f"$O.{store}.C.{nuid}"


def _about(store: str, name: str) -> str:
    return f"$O.{store}.M.{urlsafe_b64encode(name.encode()).decode()}"


def _told_of(store: str, subject: str) -> str | None:
    """The value's name, where the subject is one that tells about a value."""
    prefix = f"$O.{store}.M."
    try:
        return urlsafe_b64decode(subject.removeprefix(prefix)).decode() if subject.startswith(prefix) else None
    except ValueError:
        return None
