"""What a turn puts on the bus, counted by a listener to everything."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.aio.msg import Msg

from factory_contracts import subjects
from factory_nats.connect import Identity

LAZY = ("shown", "undeliverable")


@dataclass(slots=True)
class Traffic:
    """Messages by plane, records by kind, and commits: appends that end in one acknowledged sync."""

    messages: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    commits: int = 0
    waited_commits: int = 0

    def take(self, message: Msg) -> None:
        """Count one message."""
        subject = message.subject
        tokens = subject.split(".")
        if tokens[-2:-1] == ["heartbeat"] or tokens[0] not in (subjects.ROOT, f"_INBOX_{subjects.HUB}"):
            # Answers to others than the hub are counted where they are asked for.
            if tokens[0].startswith("_INBOX_"):
                self.messages["answers"] += 1
            return
        if tokens[0] != subjects.ROOT:
            self.messages["answers to the hub"] += 1
        elif subjects.read_turns(subject) is not None:
            self._append(message)
        elif tokens[1] != "turns":
            self.messages[".".join(tokens[1:3]) if tokens[1] == subjects.CLIPOOL else tokens[1]] += 1

    def _append(self, message: Msg) -> None:
        kind = json.loads(message.data)["kind"]
        self.messages["appends"] += 1
        self.records[kind] += 1
        headers = message.headers or {}
        if "Nats-Batch-Id" not in headers or "Nats-Batch-Commit" in headers:
            self.commits += 1
            self.waited_commits += kind not in LAZY

    def found(self) -> dict[str, int]:
        """Everything that was counted, in one row."""
        return {
            "messages": sum(self.messages.values()),
            **{f"messages: {plane}": number for plane, number in sorted(self.messages.items())},
            **{f"records: {kind}": number for kind, number in sorted(self.records.items())},
            "commits": self.commits,
            "commits waited for": self.waited_commits,
        }


@asynccontextmanager
async def watch(url: str, identities: Iterable[Identity]) -> AsyncIterator[Traffic]:
    """Count while the block lasts, what each of them hears."""
    traffic = Traffic()

    async def note(message: Msg) -> None:
        traffic.take(message)

    async with AsyncExitStack() as stack:
        for identity in identities:
            client = Client()
            await client.connect(url, nkeys_seed_str=identity.seed, inbox_prefix=f"_INBOX_{identity.name}")
            stack.push_async_callback(client.close)
            await client.subscribe(">", cb=note)
            await client.flush()
        yield traffic
