"""A bus that lets something fall which a promise rests on, so that it can be weighed what the promise costs.

Nobody else is to have one: what is let fall is lost.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from factory_contracts import subjects
from factory_contracts.messages import TO_SPOKE, Noted
from factory_nats.paired import PairedTransport
from factory_nats.result import Ok, Result
from factory_nats.subject import SERVER
from factory_nats.transport import Entry, More, Transport

Fall = Callable[[Entry], Entry | None]

_EPOCHS = subjects.epoch(0).rpartition(".")[0]
_SEALS = subjects.seal(0).rpartition(".")[0]
_OPENED = b'"kind":"shown"'


def without_fence(entry: Entry) -> Entry:
    """A record that is stored whoever reigns; epochs themselves still follow each other."""
    fence, _ = entry.expect or ("", 0)
    return replace(entry, expect=None) if fence.startswith(_EPOCHS) and fence != entry.subject else entry


def without_seal(entry: Entry) -> Entry | None:
    """Everything but seals."""
    return None if entry.subject.startswith(_SEALS) else entry


FALLS: Mapping[str, Fall] = MappingProxyType({"unfenced": without_fence, "unsealed": without_seal})


class Lossy(PairedTransport):
    """Whoever stores something on it believes that all of it is stored."""

    def __init__(self, bus: Transport, *falls: Fall) -> None:
        super().__init__(bus, bus)
        self._falls = falls

    async def append(self, entries: Sequence[Entry], *, timeout: float = 5.0) -> Result[int]:
        """Store what is left of them."""
        left = [one for entry in entries if (one := self._after(entry)) is not None]
        return await super().append(left, timeout=timeout) if left else Ok(len(entries))

    def _after(self, entry: Entry | None) -> Entry | None:
        for fall in self._falls:
            entry = None if entry is None else fall(entry)
        return entry


class Silent(PairedTransport):
    """The hub does not hear on it that an answer was opened, and under which message id; whoever tells believes so."""

    def __init__(self, bus: Transport) -> None:
        super().__init__(bus, bus)
        self._noted = TO_SPOKE.encode(Noted(epoch=0))

    async def request(
        self, subject: str, payload: bytes, *, timeout: float, responder: str = SERVER, more: More | None = None
    ) -> Result[bytes]:
        """Ask, but for that."""
        if _OPENED in payload:
            return Ok(self._noted)
        return await super().request(subject, payload, timeout=timeout, responder=responder, more=more)
