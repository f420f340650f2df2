"""All that a home keeps, as a copy that is made while it runs, and put back where nothing is yet."""

import os
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from adapters.high_water import FileHighWater
from adapters.nats.log import CONFIG
from factory_cli import alone, archive, config, inspection, joining, keeping, locks, log
from factory_cli.console import Failed
from factory_cli.history import named
from factory_cli.home import Home
from factory_cli.ink import harmless
from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.records import RECORD, Forgotten, Record
from factory_nats import blobs
from factory_nats.connect import Identity, connect
from factory_nats.copying import refill
from factory_nats.identity import generate_seed, public_key
from factory_nats.result import Err
from factory_nats.server import EmbeddedServer, User
from factory_nats.transport import Stored, Transport
from hub.kernel.seals import Heads, Inspection
from hub.kernel.session import Session

# Inside of what somebody said, quotation marks stand behind a backslash.
_FILE = b'"blob":"'


async def back_up(
    where: Home, url: str | None, file: Path, *, with_secrets: bool
) -> tuple[Inspection, tuple[str, ...], tuple[str, ...]]:
    """Write all that a home keeps into a new file: what is to be said of its log, what is amiss with files of the home,
    and the bots whose files nobody may read any more.

    Raises `Failed`.
    """
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with (
            open(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as opened,
            zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED) as zipped,
        ):
            writer = archive.Writer(zipped)
            async with alone.bus(where, url) as address, log.bus(where, address) as transport:
                copied = _Copied(await FileHighWater(where.high_water).read())
                # The log first: files are stored before the log tells of them.
                await writer.put_stream(subjects.STREAM, copied.messages(transport))
                bots = config.bots_of(keeping.known(where))
                for bot in bots:
                    store = subjects.blobs(bot.platform, bot.bot_id)
                    stored = log.messages(transport, f"OBJ_{store}", f"$O.{store}.>")
                    await writer.put_stream(f"OBJ_{store}", stored, copied.reach.get(store, 0))
            writer.put_home(where.path, with_secrets=with_secrets)
            writer.close(metadata.version("factory-chat"), time.time(), has_secrets=with_secrets)
            zipped.close()
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    lost = copied.with_files - {(bot.platform, bot.bot_id) for bot in bots}
    return copied.inspection, tuple(writer.amiss), tuple(harmless(":".join(bot)) for bot in sorted(lost))


class _Copied:
    """The log, looked at while it passes by."""

    def __init__(self, noted: Heads | None) -> None:
        self.inspection = Inspection(noted)
        self.reach: dict[str, int] = {}
        self.with_files: set[tuple[str, str]] = set()

    async def messages(self, transport: Transport) -> AsyncIterator[Stored]:
        """All of it. What is forgotten meanwhile is known to be by the end, which is read last."""
        async for stored in log.messages(transport, subjects.STREAM, subjects.plane("turns")[0]):
            self.inspection.take(stored.subject, stored.sequence, stored.data)
            record, tokens = _record(stored), subjects.read_turns(stored.subject)
            if isinstance(record, Forgotten) and tokens is not None:
                # What it says of the store's numbers must not come to mean files of later.
                store = subjects.blobs(*tokens[:2])
                self.reach[store] = max(self.reach.get(store, 0), record.files)
            if tokens is not None and _FILE in stored.data:
                self.with_files.add(tokens[:2])
            yield stored


class _Past:
    """What an archive's log comes to: what was forgotten in it, and what was open at its end."""

    def __init__(self, messages: Iterator[Stored]) -> None:
        self._forgotten: dict[str, int] = {}
        self._sessions: dict[str, Session] = {}
        for stored in messages:
            record, tokens = _record(stored), subjects.read_turns(stored.subject)
            if record is None or tokens is None:
                continue
            if isinstance(record, Forgotten):
                self._forgotten[stored.subject] = stored.sequence
            self._sessions.setdefault(stored.subject, Session(*tokens)).apply(stored.sequence, record)

    def is_kept(self, stored: Stored) -> bool:
        """Whether the message belongs into the log: what was forgotten before the backup was complete stays away."""
        return stored.sequence >= self._forgotten.get(stored.subject, 0)

    def waiting(self) -> Iterator[str]:
        """What the hub will do about each turn that is open, at its next start."""
        for session in self._sessions.values():
            where = harmless(named(session.platform, session.bot_id, session.scope_id))
            for turn in session.turns.values():
                if turn.is_answered:
                    fate = "was not known to be shown: its answer is sent again, in its own message where that is known"
                else:
                    fate = "has no answer: its agent is asked again, and what has an effect is not done twice"
                yield f"turn {turn.turn} in {where} {fate}"


async def bring_back(where: Home, file: Path) -> tuple[Inspection, tuple[str, ...], bool]:
    """Put it all into an empty home: what is to be said of its log, what was open, and whether it held secrets.

    Raises `Failed`.
    """
    try:
        with zipfile.ZipFile(file) as opened:
            reader = archive.Reader(opened)
            past = _Past(reader.messages(subjects.STREAM))
            with _unfinished(where):
                found = await _unpack(where, reader, past)
    except zipfile.BadZipFile:
        raise Failed(f"{file} is no backup, or only a part of one") from None
    return found, tuple(past.waiting()), reader.manifest.has_secrets


@contextmanager
def _unfinished(where: Home) -> Iterator[None]:
    """A new home, on which nobody starts anything before all is there: not now, and not after this was cut off."""
    where.prepare()
    lock = locks.take(where.run / joining.SUPERVISOR)
    begun = Failed(f"something began on {where.path} meanwhile; choose another with --home")
    if lock is None:
        raise begun
    try:
        if any(where.nats.iterdir()):
            raise begun
        locks.sign(lock, os.getpid())
        where.unfinished.touch(mode=0o600)
        yield
        where.unfinished.unlink()
    finally:
        os.close(lock)


async def _unpack(where: Home, reader: archive.Reader, past: _Past) -> Inspection:
    reader.unpack(where.path)
    seed = generate_seed()
    # Nobody else may be there meanwhile, and at the next start nobody knows this one.
    server = EmbeddedServer(where.nats, users=(User("restorer", public_key(seed)),), streams=[subjects.STREAM])
    started = await server.start()
    try:
        joined = started if isinstance(started, Err) else await connect(server.url, Identity("restorer", seed))
        if isinstance(joined, Err):
            raise Failed(f"the server does not take the backup: {joined.detail}")
        transport = joined.value
        for name, (_, last) in reader.manifest.streams.items():
            store = name.removeprefix("OBJ_")
            is_log = name == subjects.STREAM
            config, gap = (CONFIG, subjects.gap()) if is_log else (blobs.config(store), blobs.gap(store))
            messages = (one for one in reader.messages(name) if not is_log or past.is_kept(one))
            filled = await refill(transport, config, messages, last=last, gap=gap)
            if isinstance(filled, Err):
                raise Failed(f"{name} cannot be brought back: {filled.detail}; take {where.path} away and try again")
        found = await inspection.inspected(transport, None)
        await FileHighWater(where.high_water).note(found.heads)
        await transport.close()
    finally:
        await server.stop()
    return found


def _record(stored: Stored) -> Record | None:
    try:
        return None if subjects.read_turns(stored.subject) is None else RECORD.decode(stored.data)
    except Malformed:
        return None
