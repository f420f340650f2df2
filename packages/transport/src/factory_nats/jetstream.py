"""A log's values, and how JetStream is asked for them: subjects, headers and JSON, no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from factory_nats.result import Err, Ok, Reason, Result

# The server refuses a longer batch (error 10199).
MOST_IN_A_BATCH: Final = 1000
# A page of a read: enough to make round trips rare, small enough not to be cut off as a slow consumer.
PAGE: Final = 500
PAGE_BYTES: Final = 4 << 20

_NANOSECONDS: Final = 1_000_000_000
_TWO_MINUTES: Final = 120 * _NANOSECONDS

_REASONS: Final[Mapping[int, Reason]] = {
    10071: "fenced",  # wrong last sequence
    10164: "fenced",  # wrong last sequence, without the number
    10002: "no space",  # account's limit
    10023: "no space",  # insufficient resources
    10028: "no space",  # memory
    10047: "no space",  # storage
    10077: "no space",  # a stream's limit, or a write that failed
    10054: "too large",
    10043: "not found",  # a sequence that holds no message
    10059: "not found",
    10058: "exists",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """One message of a log, as it lies there."""

    subject: str
    sequence: int
    data: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One message to be appended.

    `expect` is a subject and the sequence its last message must have, 0 when there must be none. The server checks it
    for every entry that carries one, and refuses a batch as a whole. `rollup` replaces what the subject held before.
    """

    subject: str
    payload: bytes
    expect: tuple[str, int] | None = None
    rollup: bool = False


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """A log: on disk, never trimmed unless a limit is named, refusing new messages when full."""

    name: str
    subjects: tuple[str, ...]
    max_message_bytes: int = -1
    max_bytes: int = -1
    max_age: float = 0.0
    max_per_subject: int = -1
    replicas: int = 1
    deny_delete: bool = True
    deny_purge: bool = False


def stream_request(config: StreamConfig) -> dict[str, Any]:
    """The configuration as JetStream spells it."""
    age = int(config.max_age * _NANOSECONDS)
    return {
        "name": config.name,
        "subjects": list(config.subjects),
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msgs": -1,
        "max_msgs_per_subject": config.max_per_subject,
        "max_msg_size": config.max_message_bytes,
        "max_bytes": config.max_bytes,
        "max_age": age,
        "duplicate_window": min(age, _TWO_MINUTES) if age else _TWO_MINUTES,
        "num_replicas": config.replicas,
        "allow_direct": True,
        "allow_atomic": True,
        "allow_rollup_hdrs": True,
        "deny_delete": config.deny_delete,
        "deny_purge": config.deny_purge,
    }


def bucket(name: str, ttl: float | None) -> StreamConfig:
    """A bucket of small values is a log that keeps one message for each key."""
    return StreamConfig(f"KV_{name}", (f"$KV.{name}.>",), max_age=ttl or 0.0, max_per_subject=1)


def headers(entry: Entry) -> dict[str, str] | None:
    """What must stand on an entry that is appended alone."""
    if entry.expect is None and not entry.rollup:
        return None
    found: dict[str, str] = {}
    if entry.expect is not None:
        subject, sequence = entry.expect
        found["Nats-Expected-Last-Subject-Sequence"] = str(sequence)
        if subject != entry.subject:
            found["Nats-Expected-Last-Subject-Sequence-Subject"] = subject
    if entry.rollup:
        found["Nats-Rollup"] = "sub"
    return found


def batch_headers(entry: Entry, batch: str, number: int, last: bool) -> dict[str, str]:
    """What must stand on an entry that is the `number`-th of a batch, counted from 1."""
    found = headers(entry) or {}
    found["Nats-Batch-Id"] = batch
    found["Nats-Batch-Sequence"] = str(number)
    if last:
        found["Nats-Batch-Commit"] = "1"
    return found


def parse_json(data: bytes) -> Result[dict[str, Any]]:
    """An answer of JetStream's: its object, or the error it names."""
    try:
        answer = json.loads(data)
    except ValueError:
        return Err("malformed", "JetStream's answer is no JSON")
    if not isinstance(answer, dict):
        return Err("malformed", "JetStream's answer is no object")
    error = answer.get("error")
    if isinstance(error, dict):
        code = error.get("err_code", 0)
        return Err(_REASONS.get(code, "refused"), f"{error.get('description', 'no description')} ({code})")
    return Ok(answer)


def parse_ack(data: bytes) -> Result[int]:
    """The sequence at which something was stored."""
    answer = parse_json(data)
    if isinstance(answer, Err):
        return answer
    sequence = answer.value.get("seq")
    if not isinstance(sequence, int) or sequence < 1:
        return Err("malformed", "an acknowledgement names no sequence: is the subject's stream a stream?")
    return Ok(sequence)


def parse_stored(data: bytes, found: Mapping[str, str]) -> Result[Stored]:
    """A message that was read back by direct get."""
    subject, sequence = found.get("Nats-Subject", ""), found.get("Nats-Sequence", "")
    if not subject or not sequence.isdigit():
        return Err("malformed", "a stored message came without its subject and sequence")
    return Ok(Stored(subject, int(sequence), data, found))
