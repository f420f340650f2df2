"""What is said on the wire: bytes to operations, and operations to bytes.

Does no I/O, and never raises over what it is fed: bytes that are no operation end in `Broken`, and nothing grows beyond
one line or one message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"
# An INFO names every server of a cluster, so a line may be longer than the server's own limit.
LONGEST_LINE: Final = 64 << 10
DEFAULT_PAYLOAD: Final = 1 << 20
# What a server puts on top of a message that was as large as it may be: the headers of something read from a log.
HEADROOM: Final = 64 << 10

_CRLF: Final = b"\r\n"
_HEADER: Final = b"NATS/1.0"
_M: Final = ord("M")
_H: Final = ord("H")


class Message(NamedTuple):
    """Something for a subscription; `header` is the block as it came, empty when there is none."""

    sid: str
    subject: str
    reply: str
    header: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Info:
    """What a server says about itself."""

    max_payload: int = DEFAULT_PAYLOAD
    nonce: str = ""
    has_headers: bool = False
    wants_login: bool = False
    wants_tls: bool = False
    has_tls: bool = False
    is_leaving: bool = False
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to the oldest ping."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the server has against us."""

    text: str


@dataclass(frozen=True, slots=True)
class Broken:
    """This is no server, or one that lost its place: nothing after it can be read."""

    why: str


Operation: TypeAlias = Message | Info | Ping | Pong | Complaint | Broken

_PING: Final = Ping()
_PONG: Final = Pong()


class _Unreadable(ValueError):
    """Why the bytes are no operation."""


class Parser:
    """Takes bytes in pieces of any size and gives back the operations that are complete."""

    def __init__(self) -> None:
        self._largest = DEFAULT_PAYLOAD + HEADROOM
        self._held: list[bytes] = []
        self._size = 0
        self._wanted = 0
        self._is_broken = False

    def allow(self, max_payload: int) -> None:
        """Take messages as large as the server says; what it stored under an older, larger limit still comes."""
        self._largest = max(max_payload, DEFAULT_PAYLOAD) + HEADROOM

    def feed(self, data: bytes) -> list[Operation]:
        """The operations that these bytes complete. `Broken` is always the last one, ever."""
        if self._is_broken:
            return []
        if self._held:
            # A large message comes in many pieces; they are put together once.
            self._held.append(data)
            self._size += len(data)
            if self._size < self._wanted:
                return []
            data = b"".join(self._held)
            self._held.clear()
        found: list[Operation] = []
        try:
            rest = self._read(data, found)
        except (ValueError, RecursionError) as error:
            # What Python says about a value repeats it; what we say does not.
            self._is_broken = True
            found.append(Broken(str(error) if isinstance(error, _Unreadable) else "a line makes no sense"))
            return found
        if rest < len(data):
            self._held.append(data[rest:])
            self._size = len(data) - rest
        return found

    def _read(self, data: bytes, found: list[Operation]) -> int:
        """Add what is whole, and return where the rest begins."""
        start, length = 0, len(data)
        while start < length:
            end = data.find(_CRLF, start, start + LONGEST_LINE)
            if end < 0:
                if length - start >= LONGEST_LINE:
                    raise _Unreadable("a line has no end")
                self._wanted = length - start + 1
                return start
            kind = data[start]
            if kind != _M and kind != _H:
                operation = _parse_line(data[start:end])
                if operation is not None:
                    found.append(operation)
                start = end + 2
                continue
            # Whatever a client may write stands in a subject: what is no text must not end the reading.
            words = data[start:end].decode("utf-8", "replace").split(" ")
            size = int(words[-1])
            head = 0
            reply = ""
            if kind == _M:
                if len(words) == 5:
                    word, subject, sid, reply, _ = words
                else:
                    word, subject, sid, _ = words
            else:
                if len(words) == 6:
                    word, subject, sid, reply, between, _ = words
                else:
                    word, subject, sid, between, _ = words
                head = int(between)
            if word != ("MSG" if kind == _M else "HMSG") or not 0 <= head <= size <= self._largest:
                raise _Unreadable("a message has an impossible size")
            body = end + 2
            stop = body + size
            if length < stop + 2:
                self._wanted = stop + 2 - start
                return start
            if data[stop : stop + 2] != _CRLF:
                raise _Unreadable("a message is longer than it says")
            split = body + head
            found.append(Message(sid, subject, reply, data[body:split], data[split:stop]))
            start = stop + 2
        return start


def _parse_line(line: bytes) -> Operation | None:
    if line == b"PING":
        return _PING
    if line == b"PONG":
        return _PONG
    if line == b"+OK":
        return None
    if line.startswith(b"-ERR"):
        return Complaint(line[4:].decode("utf-8", "replace").strip().strip("'"))
    if line.startswith(b"INFO "):
        return _parse_info(line[5:])
    raise _Unreadable("this is no operation")


def _parse_info(line: bytes) -> Info:
    said = json.loads(line)
    if not isinstance(said, dict):
        raise _Unreadable("the server's INFO is no object")
    limit, nonce, others = said.get("max_payload"), said.get("nonce"), said.get("connect_urls")
    return Info(
        max_payload=limit if isinstance(limit, int) and limit > 0 else DEFAULT_PAYLOAD,
        nonce=nonce if isinstance(nonce, str) else "",
        has_headers=said.get("headers") is True,
        wants_login=said.get("auth_required") is True,
        wants_tls=said.get("tls_required") is True,
        has_tls=said.get("tls_available") is True,
        is_leaving=said.get("ldm") is True,
        others=tuple(one for one in others if isinstance(one, str)) if isinstance(others, list) else (),
    )


def introduce(options: Mapping[str, Any]) -> bytes:
    """Who we are and what we understand; the first thing that a client says."""
    return b"CONNECT %b\r\n" % json.dumps(options).encode()


def publish(subject: str, reply: str, header: bytes, payload: bytes) -> bytes:
    """A message; subject and reply have been looked at before."""
    to = f"{subject} {reply}" if reply else subject
    if header:
        head = f"HPUB {to} {len(header)} {len(header) + len(payload)}\r\n"
        return b"".join((head.encode(), header, payload, _CRLF))
    return b"".join((f"PUB {to} {len(payload)}\r\n".encode(), payload, _CRLF))


def subscribe(subject: str, sid: str, group: str = "") -> bytes:
    """From now on, what is sent to the subject comes here, or to another one of the group."""
    return f"SUB {subject} {group} {sid}\r\n".encode() if group else f"SUB {subject} {sid}\r\n".encode()


def unsubscribe(sid: str) -> bytes:
    """No more of it."""
    return f"UNSUB {sid}\r\n".encode()


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """The block that stands before a payload. Raises `ValueError` for a line that would make two."""
    block = "\r\n".join(("NATS/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""))
    if block.count("\r") + block.count("\n") != 2 * (len(headers) + 2):
        raise ValueError("a header must not hold a line break")
    return block.encode()


def status(header: bytes) -> str:
    """The three digits with which a server says something of its own, or nothing."""
    digits = header[len(_HEADER) + 1 : len(_HEADER) + 4]
    return digits.decode() if header.startswith(_HEADER + b" ") and digits.isdigit() else ""


def parse_headers(header: bytes) -> dict[str, str]:
    """The lines of a block, and what a server says of its own as `Status` and `Description`.

    Other clients write what they like here, and the server looks at none of it: what is no header is left out.
    """
    first, *lines = header.split(_CRLF)
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.strip()
        if colon and name.isascii() and len(name.split()) == 1:
            found[name.decode()] = value.strip().decode("utf-8", "replace")
    code = status(header)
    if code:
        found["Status"] = code
        description = first[len(_HEADER) + 4 :].strip()
        if description:
            found["Description"] = description.decode("utf-8", "replace")
    return found
