"""How a bot shows itself to those outside: as a micro service for each of their sessions, which says that it lives."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from adapters import chunks
from factory_contracts import subjects

RELEASE = "0.1.0"
TYPE = "io.nats.micro.v1"
DESCRIPTION = "An agent of a Factory, in a conversation of your own."
MAX_PAYLOAD = 900


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation that somebody outside may have with a bot, as this process offers it."""

    bot_id: str
    caller: str
    name: str
    process: str

    @property
    def id(self) -> str:
        """What tells it from the same one that another process offers."""
        named = "/".join((self.process, self.bot_id, self.caller, self.name))
        return sha256(named.encode()).hexdigest()[:22].upper()

    def subject(self, verb: subjects.Verb) -> str:
        """Where it is prompted or looked at, or says that it lives."""
        return subjects.offered(verb, self.bot_id, self.caller, self.name)

    def beat(self, now: float, interval: int) -> bytes:
        """That it lives."""
        at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = {"agent": self.bot_id, "owner": self.caller, "session": self.name, "instance_id": self.id}
        return json.dumps({**told, "ts": at, "interval_s": interval}).encode()

    def record(self, verb: str) -> bytes:
        """What it says to who looks for agents: "PING" for the short form."""
        told: dict[str, object] = {
            "type": f"{TYPE}.{verb.lower()}_response",
            "name": chunks.SERVICE,
            "id": self.id,
            "version": RELEASE,
            "metadata": {
                "agent": self.bot_id,
                "owner": self.caller,
                "session": self.name,
                "protocol_version": chunks.VERSION,
                "platform": "factory",
            },
        }
        if verb != "PING":
            told |= {"description": DESCRIPTION, "endpoints": list(self._endpoints())}
        return json.dumps(told).encode()

    def _endpoints(self) -> Iterator[dict[str, object]]:
        limits = {"max_payload": f"{MAX_PAYLOAD}KB", "attachments_ok": "true"}
        yield self._endpoint("prompt", limits)
        yield self._endpoint("status", {})

    def _endpoint(self, verb: subjects.Verb, metadata: dict[str, str]) -> dict[str, object]:
        return {"name": verb, "subject": self.subject(verb), "queue_group": chunks.GROUP, "metadata": metadata}
