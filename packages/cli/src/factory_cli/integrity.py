"""`factory log`: whether all that was stored is there, as it was stored."""

from collections.abc import Sequence

import typer

from factory_cli.console import HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.home import Home
from factory_cli.ink import harmless, say_document
from factory_contracts import subjects
from factory_nats.transport import Transport
from hub.kernel.seals import Fault, Heads, Inspection

app = typer.Typer(help="Whether all that was stored is there: verify, accept.", no_args_is_help=True)

_SHOWN = 3


@app.command("verify")
def verify(home: HomeOption = None, is_json: JsonOption = False) -> None:
    """Look for records that are missing, altered or added. What was forgotten is none of these.

    Exit status 1 where there are any. --json: is_whole, records, sealed, unsealed, erased, faults.
    """
    with told():
        import asyncio

        where, environment = surroundings(home)
        found = asyncio.run(_inspected(where, environment.nats_url))
    faults = found.faults()
    if is_json:
        say_document(
            {
                "is_whole": not faults,
                "records": found.records,
                "sealed": found.sealed,
                "unsealed": found.unsealed,
                "erased": found.erased,
                "faults": [
                    {"kind": one.kind, "scope": _named(one.subject), "sequence": one.sequence, "said": one.said}
                    for one in faults
                ],
            }
        )
    else:
        if faults:
            say_table([("SCOPE", "WHAT", "WHERE", "SAID"), *_rows(faults)])
        typer.echo(in_words(found), err=bool(faults))
    if faults:
        raise typer.Exit(1)


@app.command("accept")
def accept(home: HomeOption = None) -> None:
    """Let the hub begin though the log lacks what it held before; `verify` goes on to tell what is gone."""
    with told():
        import asyncio

        where, environment = surroundings(home)
        found = asyncio.run(_accepted(where, environment.nats_url))
    typer.echo(f"factory: the hub begins with the log as it is: {found.records:,} records", err=True)


async def inspected(transport: Transport, noted: Heads | None) -> Inspection:
    """What is to be said of the whole log. Raises `Failed`."""
    from factory_cli import log

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


async def _inspected(where: Home, url: str | None, *, is_noted: bool = True) -> Inspection:
    from adapters.high_water import FileHighWater
    from factory_cli import alone, log

    async with alone.bus(where, url) as address, log.bus(where, address) as transport:
        # Noted before the log is read: what is stored meanwhile cannot be missed.
        noted = await FileHighWater(where.high_water).read() if is_noted else None
        return await inspected(transport, noted)


async def _accepted(where: Home, url: str | None) -> Inspection:
    from adapters.high_water import FileHighWater

    # What was noted may itself be what is damaged.
    found = await _inspected(where, url, is_noted=False)
    await FileHighWater(where.high_water).note(found.heads)
    return found


def _rows(faults: Sequence[Fault]) -> list[tuple[str, ...]]:
    """One row for each conversation and each thing that is wrong with it."""
    alike: dict[tuple[str, str, str], list[int]] = {}
    for one in faults:
        alike.setdefault((one.subject, one.kind, one.said), []).append(one.sequence)
    rows: list[tuple[str, ...]] = []
    for (subject, kind, said), sequences in alike.items():
        more = f" and {len(sequences) - _SHOWN:,} more" if len(sequences) > _SHOWN else ""
        at = ", ".join(str(sequence) for sequence in sequences[:_SHOWN]) + more
        rows.append((harmless(_named(subject)), kind, at, said))
    return rows


def _named(subject: str) -> str:
    from factory_cli import history

    tokens = subjects.read_turns(subject)
    return history.named(*tokens) if tokens is not None else subject or "?"
