"""Large values in a store of their own: cut into chunks on a log, named by their content, checked when read.

Laid out as the object store of NATS is, so that its tools can read it. Reading goes by direct get: the usual way makes
a consumer, and who may make consumers may write anywhere.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from base64 import urlsafe_b64encode
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

# A name that others may be told apart by is longer than one token of theirs.
_STORE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


async def ensure(transport: Transport, store: str, *, max_age: float = 0.0, max_bytes: int = -1) -> Result[None]:
    """Make the store exist; what is older than `max_age` seconds vanishes, where that is not 0."""
    if _STORE.fullmatch(store) is None:
        return Err("malformed", f"no name for a store: {store[:100]!r}")
    subjects = (f"$O.{store}.C.>", f"$O.{store}.M.>")
    config = StreamConfig(_stream(store), subjects, max_age=max_age, max_bytes=max_bytes)
    return await transport.ensure_stream(config)


async def put(transport: Transport, store: str, data: bytes) -> Result[str]:
    """Store the value and return its name, the same for the same value; "no responders" while the store is not there.

    After an error nothing is known to be stored; putting it again is right, whatever happened. What an interrupted put
    leaves behind is never read.
    """
    if _STORE.fullmatch(store) is None:
        return Err("malformed", f"no name for a store: {store[:100]!r}")
    if len(data) > MOST_BYTES:
        return Err("too large", f"{len(data)} bytes, and {MOST_BYTES} are the limit")
    digest = await _digest(data)
    name = digest.hex()
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
    nuid = secrets.token_hex(11)
    for at in range(0, len(data), CHUNK):
        stored = await transport.append([Entry(_chunks(store, nuid), data[at : at + CHUNK])])
        if isinstance(stored, Err):
            await _discard(transport, store, nuid)
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
    if isinstance(stored, Ok):
        return Ok(name)
    if stored.reason == "fenced":
        # Somebody else was quicker with the same value.
        await _discard(transport, store, nuid)
        return Ok(name)
    return stored


async def get(transport: Transport, store: str, name: str) -> Result[bytes | None]:
    """The value; None where there is none of that name, or where what is stored is not what was put."""
    if _STORE.fullmatch(store) is None or not is_name(name):
        return Err("malformed", f"no name for a value: {name[:100]!r}")
    known = await transport.last(_stream(store), _about(store, name))
    if isinstance(known, Err):
        return known
    return Ok(None) if known.value is None else await _read(transport, store, name, known.value)


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
    return Ok(b"".join(chunks) if digest.hexdigest() == name else None)


async def _discard(transport: Transport, store: str, nuid: str) -> None:
    """Give back the room of what nobody will read, if that can be done now: all of it becomes one empty message."""
    await transport.append([Entry(_chunks(store, nuid), b"", rollup=True)])


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
