"""A log written again elsewhere, each message at the sequence that it had, so that who names one by it stays right."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from factory_nats.jetstream import parse_json
from factory_nats.result import Err, Ok, Result
from factory_nats.transport import Entry, Stored, StreamConfig, Transport

_AT_ONCE: Final = 500
_BYTES: Final = 4 << 20
_TIMEOUT: Final = 30.0


async def refill(
    transport: Transport, config: StreamConfig, messages: Iterable[Stored], *, last: int, gap: str
) -> Result[None]:
    """Make the log of these messages, oldest first, and go on to `last`; their headers are not kept.

    The log must be new, and nobody else may write to it meanwhile. Where a number is missing stands a message of the
    subject `gap` until all are there: the identity must be allowed to purge it. After an error the log is of no use.
    """
    made = await transport.ensure_stream(config)
    if isinstance(made, Err):
        return made
    entries: list[Entry] = []
    size, done = 0, 0
    for entry in _filled(messages, last, gap):
        entries.append(entry)
        size += len(entry.payload)
        if len(entries) == _AT_ONCE or size >= _BYTES:
            done += len(entries)
            written = await _write(transport, config.name, entries, done)
            if isinstance(written, Err):
                return written
            entries, size = [], 0
    if entries:
        written = await _write(transport, config.name, entries, done + len(entries))
        if isinstance(written, Err):
            return written
    wanted = json.dumps({"filter": gap}).encode()
    purged = await transport.request(f"$JS.API.STREAM.PURGE.{config.name}", wanted, timeout=_TIMEOUT)
    if isinstance(purged, Err):
        return purged
    answer = parse_json(purged.value)
    return answer if isinstance(answer, Err) else Ok(None)


def _filled(messages: Iterable[Stored], last: int, gap: str) -> Iterable[Entry]:
    at = 0
    for message in messages:
        for _ in range(at + 1, message.sequence):
            yield Entry(gap, b"")
        yield Entry(message.subject, message.data)
        at = message.sequence
    for _ in range(at, last):
        yield Entry(gap, b"")


async def _write(transport: Transport, stream: str, entries: list[Entry], expected: int) -> Result[None]:
    stored = await transport.append(entries, timeout=_TIMEOUT)
    if isinstance(stored, Err):
        return stored
    if stored.value != expected:
        return Err("exists", f"{stream} is not new: what belongs at {expected} would stand at {stored.value}")
    return Ok(None)
