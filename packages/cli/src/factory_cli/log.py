"""The scopes' log as a command reads it: directly, with an identity that can change nothing."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from factory_cli import config, membership
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


@asynccontextmanager
async def bus(where: Home, url: str) -> AsyncIterator[Transport]:
    """A connection for reading. Raises `Failed`."""
    identity = membership.identity(where, config.load(where.configuration), subjects.READER)
    connected = await connect(url, identity, name="factory reads", patience=PATIENCE)
    if isinstance(connected, Err):
        raise Failed(f"the bus cannot be read: {connected.detail}")
    try:
        yield connected.value
    finally:
        await connected.value.close()


async def messages(transport: Transport, stream: str, subject: str, start: int = 1) -> AsyncIterator[Stored]:
    """All that is stored on the subjects, oldest first; nothing while no hub has made the stream."""
    while True:
        page = await transport.read(stream, subject, start=start, limit=PAGE)
        if isinstance(page, Err):
            if page.reason in ("no responders", "not found"):
                return
            raise Failed(f"{stream} cannot be read: {page.detail}")
        for stored in page.value:
            yield stored
        if len(page.value) < PAGE:
            return
        start = page.value[-1].sequence + 1


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


async def _mark(transport: Transport) -> int:
    last = await transport.last(subjects.STREAM, subjects.mark(MARK_PARTITION))
    if isinstance(last, Err) or last.value is None:
        return 1
    return MARK.decode(last.value.data).sequence
