"""Seals: what was stored, told once more and chained, so that what is missing or altered afterwards is noticed.

Each partition has a chain of seals. A seal names the records that were stored since the one before it, each with an
imprint of its bytes, and the digest of that one. So a record outlives in its imprint, also where it is erased by right,
which its conversation's `Forgotten` tells. Where the chains ended is noted outside of the log as well: a log that lost
its end, or was exchanged for an older copy, holds together in itself.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from types import MappingProxyType
from typing import Literal, Protocol

from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.records import RECORD, SEAL, Forgotten, Seal

BEGINNING = "0" * 64
# A late copy of a record comes within seconds of it.
REMEMBERED = 10_000
# So many of the conversations that a partition heard last are named outside of the log.
NAMED = 16

Kind = Literal["missing", "altered", "added", "unsealed", "behind"]


def imprint(subject: str, payload: bytes) -> str:
    """What a seal keeps of a record: it changes with every bit of it."""
    return blake2b(b"%b\0%b" % (subject.encode(), payload), digest_size=16).hexdigest()


def digest(payload: bytes) -> str:
    """What the next seal says of this one."""
    return sha256(payload).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """Where a partition's chain ends: its last seal and, of the conversations sealed lately, the newest record."""

    number: int = 0
    digest: str = BEGINNING
    sequence: int = 0
    through: int = 0
    newest: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def after(self, sequence: int, seal: Seal, payload: bytes) -> "Head":
        """The head once this seal stands on the log."""
        newest = dict(self.newest)
        for one in seal.sealed:
            known = newest.pop(one.subject, 0)
            newest[one.subject] = max(known, *(at for at, _ in one.records))
        kept = dict(tuple(newest.items())[-NAMED:])
        return Head(seal.number, digest(payload), sequence, max(self.through, seal.through), MappingProxyType(kept))


Heads = Mapping[int, Head]


class HighWater(Protocol):
    """Where the chains ended when it was last noted, kept outside of the log."""

    async def read(self) -> Heads | None:
        """What was noted; None where nothing ever was. Raises `OSError` where it cannot be read."""
        ...

    async def note(self, heads: Heads) -> None:
        """Keep this instead. Raises `OSError`."""
        ...


class Unnoted:
    """Nothing is noted: the end of the log is what the log says."""

    async def read(self) -> Heads | None:
        return None

    async def note(self, heads: Heads) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was stored; where no conversation can be named, `subject` is empty."""

    kind: Kind
    subject: str
    sequence: int
    said: str


@dataclass(slots=True)
class _Chain:
    """One partition, as far as it was read."""

    head: Head = field(default_factory=Head)
    first: int = 0
    subjects: set[str] = field(default_factory=set)
    loose: dict[int, tuple[str, str]] = field(default_factory=dict)
    is_met: bool = False


class Inspection:
    """The fold of a whole log, message by message in its order, that tells what is not as it was stored."""

    def __init__(self, noted: Heads | None = None) -> None:
        self._noted = noted or {}
        self._chains: dict[int, _Chain] = {}
        self._forgotten: dict[str, int] = {}
        self._newest: dict[str, int] = {}
        self._missing: list[tuple[str, int]] = []
        self._strays: dict[tuple[str, str], int] = {}
        self._sealed: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._faults: list[Fault] = []
        self._untold = 0
        self.records = 0
        self.sealed = 0

    @property
    def heads(self) -> Heads:
        """Where the chains end."""
        return {part: chain.head for part, chain in self._chains.items() if chain.head.number}

    def take(self, subject: str, sequence: int, data: bytes) -> None:
        """Look at the next message."""
        part = _sealed_by(subject)
        if part is not None:
            self._take_seal(part, sequence, data)
            return
        part = partition_of(subject)
        if part is None:
            return
        self.records += 1
        chain = self._chain(part)
        chain.subjects.add(subject)
        chain.loose[sequence] = subject, imprint(subject, data)
        self._newest[subject] = sequence
        # Inside of what somebody said, quotation marks stand behind a backslash.
        if b'"kind":"forgotten"' in data and _is_forgotten(data):
            self._forgotten[subject] = sequence

    def faults(self) -> tuple[Fault, ...]:
        """All that was found, once everything was looked at."""
        lost = [
            Fault("missing", subject, sequence, "a record that was stored is not there")
            for subject, sequence in self._missing
            if sequence >= self._forgotten.get(subject, 0)
        ]
        added = [
            Fault("added", subject, sequence, "a record that no hub tells of")
            for (subject, _), sequence in self._strays.items()
        ]
        return tuple(sorted((*self._faults, *lost, *added, *self._behind()), key=lambda one: one.sequence))

    @property
    def erased(self) -> int:
        """How many records are gone because their conversation was forgotten."""
        return sum(sequence < self._forgotten.get(subject, 0) for subject, sequence in self._missing)

    @property
    def unsealed(self) -> int:
        """How many records are too new to be sealed, or were stored before there were seals."""
        return self._untold + sum(len(chain.loose) for chain in self._chains.values())

    def _chain(self, part: int) -> _Chain:
        return self._chains.setdefault(part, _Chain())

    def _take_seal(self, part: int, sequence: int, data: bytes) -> None:
        chain = self._chain(part)
        try:
            seal = SEAL.decode(data)
        except Malformed:
            self._faults.append(Fault("altered", "", sequence, f"a seal of partition {part} cannot be read"))
            return
        before = chain.head
        is_broken = (seal.number, seal.before) != (before.number + 1, before.digest)
        if is_broken:
            self._faults.extend(self._broken(chain, part, sequence, seal))
        noted = self._noted.get(part)
        chain.head = before.after(sequence, seal, data)
        if noted is not None and (seal.number, chain.head.digest) == (noted.number, noted.digest):
            chain.is_met = True
        for one in seal.sealed:
            chain.subjects.add(one.subject)
            for at, told in one.records:
                self._match(chain, one.subject, at, told)
        self._part_strays(chain, is_broken=is_broken)

    def _broken(self, chain: _Chain, part: int, sequence: int, seal: Seal) -> tuple[Fault, ...]:
        """Seals that are gone took with them what they told; whose it was, only the neighbours tell."""
        between = f"between {chain.head.sequence} and {sequence}"
        said = f"seals {chain.head.number + 1} to {seal.number - 1} of partition {part} are missing, {between}"
        if seal.number <= chain.head.number or seal.number == chain.head.number + 1:
            said = f"seal {seal.number} of partition {part} does not follow the one before it, {between}"
        affected = sorted({*chain.subjects, *(one.subject for one in seal.sealed)}) or [""]
        return tuple(Fault("unsealed", subject, sequence, said) for subject in affected)

    def _match(self, chain: _Chain, subject: str, at: int, told: str) -> None:
        self.sealed += 1
        chain.first = chain.first or at
        found = chain.loose.pop(at, None)
        # What a seal left out and a later one tells of was stored by a hub, and is there.
        is_late = self._strays.pop((subject, told), None) == at
        # A seal whose acknowledgement was lost is written again.
        is_known = is_late or (subject, told) in self._sealed
        self._sealed[subject, told] = None
        if found is None and not is_known:
            self._missing.append((subject, at))
        elif found is not None and found != (subject, told):
            self._faults.append(Fault("altered", subject, at, "a record is not what was stored there"))

    def _part_strays(self, chain: _Chain, *, is_broken: bool) -> None:
        """What nobody told of up to where the seal reaches is a late copy of a record, or nobody of ours stored it."""
        for at in [at for at in chain.loose if at <= chain.head.through]:
            found = chain.loose.pop(at)
            # What a missing seal told of is loose as well.
            if at < chain.first or is_broken:
                self._untold += 1
            elif found not in self._sealed:
                self._strays[found] = at
        while len(self._sealed) > REMEMBERED:
            self._sealed.popitem(last=False)

    def _behind(self) -> list[Fault]:
        """What was there when the heads were noted, and is not."""
        found: list[Fault] = []
        for part, noted in self._noted.items():
            chain = self._chains.get(part, _Chain())
            if chain.is_met:
                continue
            said = f"the log of partition {part} was at seal {noted.number}, and is at {chain.head.number}"
            if chain.head.number >= noted.number:
                said = f"seal {noted.number} of partition {part} is not the one that was there"
            gone = [
                subject
                for subject, newest in noted.newest.items()
                if self._newest.get(subject, 0) < newest and self._forgotten.get(subject, 0) <= newest
            ]
            found += [Fault("behind", subject, noted.sequence, said) for subject in gone or [""]]
        return found


def partition_of(subject: str) -> int | None:
    """Which partition seals what stands on this subject; None where nobody does."""
    # What is done about people belongs to no scope.
    if subject == subjects.access():
        return 0
    tokens = subjects.read_turns(subject)
    return None if tokens is None else subjects.partition(tokens[2])


def _sealed_by(subject: str) -> int | None:
    prefix, _, part = subject.rpartition(".")
    is_seal = prefix == subjects.seal(0).rpartition(".")[0] and part.isdecimal()
    return int(part) if is_seal else None


def _is_forgotten(data: bytes) -> bool:
    try:
        return isinstance(RECORD.decode(data), Forgotten)
    except Malformed:
        return False
