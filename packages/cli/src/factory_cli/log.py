"""The scopes' log as a command reads it: directly, with an identity that can change nothing."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from factory_cli import keeping, membership
from factory_cli.console import Failed
from factory_cli.home import Home
from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.records import MARK, RECORD, Record
from factory_nats.connect import connect
from factory_nats.result import Err
from factory_nats.transport import Stored, Transport
from hub.kernel.routing import RoutingKey
from hub.kernel.session import Session

PAGE = 1000
PATIENCE = 5.0
# One mark serves all partitions as long as one hub owns all of them.
MARK_PARTITION = 0
_COUNTED = tuple(
    f'"kind":"{kind}"'.encode() for kind in ("received", "answered", "refused", "superseded", "compacted", "forgotten")
)


@asynccontextmanager
async def bus(where: Home, url: str) -> AsyncIterator[Transport]:
    """A connection for reading. Raises `Failed`."""
    identity = membership.identity(where, keeping.known(where), subjects.READER)
    connected = await connect(url, identity, name="factory reads", patience=PATIENCE)
    if isinstance(connected, Err):
        raise Failed(f"the bus cannot be read: {connected.detail}")
    try:
        yield connected.value
    finally:
        await connected.value.close()


async def messages(transport: Transport, stream: str, subject: str, start: int = 1) -> AsyncIterator[Stored]:
    """All that is stored on the subjects, oldest first; nothing while no hub has made the stream."""
    # The first message tells whether there is a stream; nobody who answers later on is no end of one.
    limit = 1
    while True:
        page = await transport.read(stream, subject, start=start, limit=limit)
        if isinstance(page, Err):
            if limit == 1 and page.reason in ("no responders", "not found"):
                return
            raise Failed(f"{stream} cannot be read: {page.detail}")
        for stored in page.value:
            yield stored
        if len(page.value) < limit:
            return
        start, limit = page.value[-1].sequence + 1, PAGE


async def records(transport: Transport, subject: str, start: int = 1) -> AsyncIterator[tuple[str, int, Record]]:
    """Every readable record of the subjects, oldest first; none while no hub has made the log."""
    async for stored in messages(transport, subjects.STREAM, subject, start):
        try:
            yield stored.subject, stored.sequence, RECORD.decode(stored.data)
        except Malformed:
            continue


async def sessions(transport: Transport, *, only_recent: bool = False) -> Mapping[RoutingKey, Session]:
    """Every scope's session, folded from the log; with `only_recent` from where a new hub would read."""
    start = await _mark(transport) if only_recent else 1
    found: dict[RoutingKey, Session] = {}
    async for subject, sequence, record in records(transport, subjects.plane("scopes")[0], start):
        tokens = subjects.read_turns(subject)
        if tokens is not None:
            session = found.setdefault(RoutingKey(*tokens), Session(*tokens))
            session.apply(sequence, record)
    return found


@dataclass(frozen=True, slots=True)
class Balance:
    """What became of every turn that was ever accepted; with what is open, it comes out even."""

    received: int
    answered: int
    refused: int
    superseded: int
    open: int

    @property
    def is_even(self) -> bool:
        """Whether each of them is accounted for."""
        return self.received == self.answered + self.refused + self.superseded + self.open

    def __str__(self) -> str:
        ended = f"{self.answered:,} answered + {self.refused:,} refused + {self.superseded:,} superseded"
        return f"{self.received:,} received = {ended} + {self.open:,} open" + (
            "" if self.is_even else ", which is wrong"
        )


async def balance(transport: Transport) -> Balance:
    """How the turns of all conversations stand, by the whole log."""
    found: dict[str, Session] = {}
    async for stored in messages(transport, subjects.STREAM, subjects.plane("scopes")[0]):
        tokens = subjects.read_turns(stored.subject)
        # Inside of what somebody said, quotation marks stand behind a backslash.
        if tokens is None or not any(kind in stored.data for kind in _COUNTED):
            continue
        try:
            record = RECORD.decode(stored.data)
        except Malformed:
            continue
        found.setdefault(stored.subject, Session(*tokens)).apply(stored.sequence, record)
    every = tuple(found.values())
    return Balance(
        received=sum(session.received for session in every),
        answered=sum(session.answered for session in every),
        refused=sum(session.refused for session in every),
        superseded=sum(session.superseded for session in every),
        open=sum(session.waiting for session in every),
    )


async def _mark(transport: Transport) -> int:
    last = await transport.last(subjects.STREAM, subjects.mark(MARK_PARTITION))
    if isinstance(last, Err) or last.value is None:
        return 1
    return MARK.decode(last.value.data).sequence
