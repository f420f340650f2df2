"""What is to be said of a whole log: read, folded, and put into rows and words."""

from collections.abc import Sequence

from adapters.high_water import FileHighWater
from factory_cli import alone, history, log
from factory_cli.home import Home
from factory_cli.ink import harmless
from factory_contracts import subjects
from factory_nats.transport import Transport
from hub.kernel.seals import Fault, Heads, Inspection

_SHOWN = 3


async def inspected(transport: Transport, noted: Heads | None) -> Inspection:
    """What is to be said of the whole log. Raises `Failed`."""
    inspection = Inspection(noted)
    async for stored in log.messages(transport, subjects.STREAM, subjects.plane("turns")[0]):
        inspection.take(stored.subject, stored.sequence, stored.data)
    return inspection


def in_words(found: Inspection) -> str:
    """How much was looked at, in a sentence."""
    erased = f", {found.erased:,} erased because they were to be forgotten" if found.erased else ""
    count = len(found.faults())
    state = f"{count:,} fault{'s' if count > 1 else ''}" if count else "the log is whole"
    return f"{state}: {found.records:,} records, {found.unsealed:,} of them not sealed{erased}"


async def of_home(where: Home, url: str | None, *, is_noted: bool = True) -> Inspection:
    """What is to be said of a home's log, and of where it should end if that counts. Raises `Failed`."""
    async with alone.bus(where, url) as address, log.bus(where, address) as transport:
        # Noted before the log is read: what is stored meanwhile cannot be missed.
        noted = await FileHighWater(where.high_water).read() if is_noted else None
        return await inspected(transport, noted)


async def accepted(where: Home, url: str | None) -> Inspection:
    """The same, and from now on the log should end where it does."""
    # What was noted may itself be what is damaged.
    found = await of_home(where, url, is_noted=False)
    await FileHighWater(where.high_water).note(found.heads)
    return found


def rows(faults: Sequence[Fault]) -> list[tuple[str, ...]]:
    """One row for each conversation and each thing that is wrong with it."""
    alike: dict[tuple[str, str, str], list[int]] = {}
    for one in faults:
        alike.setdefault((one.subject, one.kind, one.said), []).append(one.sequence)
    found: list[tuple[str, ...]] = []
    for (subject, kind, said), sequences in alike.items():
        more = f" and {len(sequences) - _SHOWN:,} more" if len(sequences) > _SHOWN else ""
        at = ", ".join(str(sequence) for sequence in sequences[:_SHOWN]) + more
        found.append((harmless(named(subject)), kind, at, said))
    return found


def named(subject: str) -> str:
    """The conversation whose log it is; else the subject itself."""
    tokens = subjects.read_turns(subject)
    return history.named(*tokens) if tokens is not None else subject or "?"
