"""A client that does on the wire whatever it is told, as somebody would who holds a key and means harm."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from factory_nats.identity import sign
from factory_nats.server import EmbeddedServer

REFUSED = re.compile(r'Permissions Violation for (Publish|Subscription) to "(.+)"', re.IGNORECASE)
SHUT = "Authorization Violation"


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as it came: with its headers, should it have any."""

    subject: str
    header: bytes
    data: bytes


@dataclass(slots=True)
class Said:
    """What the server said up to a barrier."""

    may_not_publish: set[str] = field(default_factory=set)
    may_not_subscribe: set[str] = field(default_factory=set)
    heard: list[Heard] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    is_closed: bool = False


class Raw:
    """One connection, and everything that may be written to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._subscribed = 0
        self.info: dict[str, Any] = {}

    @classmethod
    async def join(cls, server: EmbeddedServer, seed: str | None = None) -> Self:
        """Connect, and introduce oneself with a key or without; whether one was let in the next barrier tells."""
        joined = cls(*await asyncio.open_connection(server.host, server.port))
        joined.info = json.loads((await joined._reader.readline())[5:])
        options: dict[str, Any] = {
            "verbose": False,
            "pedantic": False,
            "headers": True,
            "no_responders": True,
            "protocol": 1,
        }
        if seed is not None:
            key, proof = sign(seed, joined.info["nonce"])
            options |= {"nkey": key, "sig": proof}
        joined.write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        return joined

    def write(self, line: bytes) -> None:
        """Anything at all."""
        self._writer.write(line)

    def publish(
        self, subject: str, data: bytes = b"", *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Whatever the subject, and wherever the answer shall go."""
        to = f"{subject} {reply}" if reply else subject
        if headers is None:
            self.write(f"PUB {to} {len(data)}\r\n".encode() + data + b"\r\n")
            return
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        header = f"NATS/1.0\r\n{lines}\r\n".encode()
        self.write(f"HPUB {to} {len(header)} {len(header) + len(data)}\r\n".encode() + header + data + b"\r\n")

    def subscribe(self, subject: str) -> None:
        """Whatever the subject."""
        self._subscribed += 1
        self.write(f"SUB {subject} {self._subscribed}\r\n".encode())

    async def barrier(self) -> Said:
        """What came until the server had read all that was written."""
        said = Said()
        self.write(b"PING\r\n")
        while (line := await self._reader.readline()) and line != b"PONG\r\n":
            await self._take(line.decode().strip(), said)
        said.is_closed = not line
        return said

    async def end(self) -> None:
        """Read until the server hangs up."""
        while await self._reader.readline():
            pass

    async def close(self) -> None:
        """Leave."""
        self._writer.close()
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)

    async def _take(self, line: str, said: Said) -> None:
        if line.startswith(("MSG ", "HMSG ")):
            _, subject, *_, size = line.split()
            between = int(line.split()[-2]) if line.startswith("HMSG ") else 0
            body = await self._reader.readexactly(int(size) + 2)
            said.heard.append(Heard(subject, body[:between], body[between:-2]))
        elif line.startswith("-ERR"):
            refused = REFUSED.search(line)
            if refused is None:
                said.complaints.append(line)
            elif refused.group(1) == "Publish":
                said.may_not_publish.add(refused.group(2))
            else:
                said.may_not_subscribe.add(refused.group(2))
