"""What was said, taken off the disk: the server overwrites each message, as an identity that may do nothing else.

Purging a subject would leave the bytes where they are until the server writes their block anew, which may be never.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from factory_contracts import subjects
from factory_nats import blobs
from factory_nats.connect import Identity, connect
from factory_nats.jetstream import StreamConfig
from factory_nats.remake import remake
from factory_nats.result import Err, Ok, Result
from factory_nats.transport import Transport
from hub.kernel.routing import RoutingKey

T = TypeVar("T")

logger = logging.getLogger(__name__)

PAGE = 500
AT_ONCE = 16
RETRY = (0.25, 10.0)
# As the contracts write the name of a file. In what a person said every quotation mark stands behind a backslash.
_BLOB = re.compile(rb'"blob":"([^"\\]+)"')

Join = Callable[[], Awaitable[Result[Transport]]]
Work = Callable[[Transport], Awaitable[Result[T]]]


def as_eraser(url: str, identity: Identity) -> Join:
    """How to come to a connection that may erase; each is used for one piece of work and then closed."""
    return lambda: connect(url, identity)


class NatsEraser:
    """Reads the log with the hub's connection; for all else it has one of its own, as long as the work lasts."""

    def __init__(self, transport: Transport, join: Join, *, at: Callable[[str], None] = lambda point: None) -> None:
        self._transport = transport
        self._join = join
        self._at = at

    async def open_up(self, logs: Iterable[StreamConfig]) -> None:
        """Make anew those logs that an earlier version made so that nothing in them can be erased."""
        await _until_done(lambda: self._open_up(logs))

    async def reach(self, key: RoutingKey) -> int:
        """Up to where the files of the scope's bot are stored by now."""
        store = subjects.blobs(key.platform, key.bot_id)
        return await _until_done(lambda: self._joined(lambda eraser: blobs.reach(eraser, store)))

    async def erase(self, key: RoutingKey, below: int, files: int) -> None:
        """Erase the scope's files and then its log, for the log tells which files there are."""
        await _until_done(lambda: self._joined(lambda eraser: self._erase(eraser, key, below, files)))

    async def _open_up(self, logs: Iterable[StreamConfig]) -> Result[None]:
        opened = await self._joined(lambda eraser: _remake(eraser, logs))
        if isinstance(opened, Err) and opened.reason in ("unauthorized", "forbidden"):
            logger.error("nothing can be erased: %s", opened.detail)
            return Ok(None)
        return opened

    async def _joined(self, work: Work[T]) -> Result[T]:
        joined = await self._join()
        if isinstance(joined, Err):
            return joined
        try:
            return await work(joined.value)
        finally:
            await joined.value.close()

    async def _erase(self, eraser: Transport, key: RoutingKey, below: int, files: int) -> Result[None]:
        erased = await self._erase_files(eraser, key, below, files)
        if isinstance(erased, Err):
            return erased
        self._at("files erased")
        erased = await self._erase_log(eraser, key.subject, below)
        if isinstance(erased, Ok):
            self._at("log erased")
        return erased

    async def _erase_files(self, eraser: Transport, key: RoutingKey, below: int, files: int) -> Result[None]:
        """Erase the scope's own files, and those of before there were folders; but not what another scope shows."""
        store, folder = subjects.blobs(key.platform, key.bot_id), subjects.folder(key.scope_id)
        shown = await self._shown(key.subject, lambda subject, sequence: sequence < below)
        if isinstance(shown, Err):
            return shown
        held = await blobs.names(eraser, store, folder)
        if isinstance(held, Err):
            return held
        spared: Result[frozenset[str]] = Ok(frozenset())
        if held.value | shown.value:
            # A copy of the conversation shows its files, and what is said here by now may show one of them again.
            of_bot = subjects.turns_of_bot(key.platform, key.bot_id)
            spared = await self._shown(of_bot, lambda subject, at: subject != key.subject or at >= below)
        if isinstance(spared, Err):
            return spared
        return await blobs.erase(eraser, store, folder, until=files, also=shown.value, spared=spared.value)

    async def _shown(self, subject: str, counts: Callable[[str, int], bool]) -> Result[frozenset[str]]:
        """The files that these records name."""
        names, start = set[bytes](), 1
        while True:
            page = await self._transport.read(subjects.STREAM, subject, start=start, limit=PAGE)
            if isinstance(page, Err):
                return page
            for stored in page.value:
                if counts(stored.subject, stored.sequence):
                    names.update(_BLOB.findall(stored.data))
            if len(page.value) < PAGE:
                return Ok(frozenset(name.decode() for name in names))
            start = page.value[-1].sequence + 1

    async def _erase_log(self, eraser: Transport, subject: str, below: int) -> Result[None]:
        while True:
            page = await self._transport.read(subjects.STREAM, subject, limit=PAGE)
            if isinstance(page, Err):
                return page
            sequences = [stored.sequence for stored in page.value if stored.sequence < below]
            if not sequences:
                return Ok(None)
            for at in range(0, len(sequences), AT_ONCE):
                few = sequences[at : at + AT_ONCE]
                for erased in await asyncio.gather(*(eraser.erase(subjects.STREAM, one) for one in few)):
                    if isinstance(erased, Err) and erased.reason != "not found":
                        return erased
                self._at("erasing")


async def _remake(eraser: Transport, logs: Iterable[StreamConfig]) -> Result[None]:
    for log in logs:
        made = await remake(eraser, log)
        if isinstance(made, Err) and made.reason not in ("no space", "exists"):
            return made
        # It is as it was, and all the rest is none the worse for it.
        if isinstance(made, Err):
            logger.error("nothing can be erased from %s: %s", log.name, made.detail)
    return Ok(None)


async def _until_done(work: Callable[[], Awaitable[Result[T]]]) -> T:
    """What it comes to, however long the bus is away or a right is missing; said once for each reason."""
    pause, longest = RETRY
    told = ""
    while isinstance(done := await work(), Err):
        if done.detail != told:
            logger.warning("erasing is tried again (%s): %s", done.reason, done.detail)
            told = done.detail
        await asyncio.sleep(pause)
        pause = min(longest, pause * 1.5)
    return done.value
