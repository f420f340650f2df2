"""`factory turns`: what the log says."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Annotated, TypeVar

import typer

from factory_cli import config, joining
from factory_cli.console import Failed, HomeOption, JsonOption, say_json, say_table, surroundings, told
from factory_cli.home import Home

T = TypeVar("T")

app = typer.Typer(help="What the log says: ls, show.", no_args_is_help=True)

_WORDS = 60


@app.command("ls")
def list_turns(
    scope: Annotated[str | None, typer.Option("--scope", metavar="ID", help="Only this conversation.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="The newest so many.")] = 20,
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """The newest turns: when, where, how they ended, how they began."""
    with told():
        where, _ = surroundings(home)
        found = _read(where, _turns)
    chosen = [turn for turn in found if scope is None or turn["scope"] == scope][-limit:]
    if is_json:
        say_json(chosen)
    elif not chosen:
        typer.echo("no turns yet", err=True)
    else:
        rows = [(turn["turn"], turn["at"], turn["scope"], turn["state"], _short(turn["asked"])) for turn in chosen]
        say_table([("TURN", "RECEIVED", "SCOPE", "STATE", "ASKED"), *rows])


@app.command("show")
def show(
    turn: Annotated[str, typer.Argument(metavar="TURN", help="Its id, or how it begins.")],
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """Every record of one turn, in the log's order."""
    with told():
        where, _ = surroundings(home)
        found = [(at, body) for at, body in _read(where, _records) if str(body["turn"]).startswith(turn)]
        names = {str(body["turn"]) for _, body in found}
        if not names:
            raise Failed(f"no turn begins with {turn!r}; `factory turns ls` names them")
        if len(names) > 1 and turn not in names:
            raise Failed(f"{len(names)} turns begin with {turn!r}: {', '.join(sorted(names)[:5])}")
        if turn in names:
            found = [(at, body) for at, body in found if body["turn"] == turn]
    if is_json:
        say_json([{"sequence": at, **body} for at, body in found])
        return
    for at, body in found:
        typer.echo(f"{at:>8}  {_time(body['at'])}  {body['kind']}")
        for key, value in body.items():
            if key not in ("id", "turn", "at", "kind", "schema_version", "compacted"):
                for line in _told(key, value):
                    typer.echo(f"{'':10}{_harmless(line)}")


def _read(where: Home, what: Callable[[Home, str], Awaitable[T]]) -> T:
    """Read from what runs on the home; where nothing runs, it is started for as long as this takes."""
    where.prepare()
    seeds = config.agents_folder(None, where)
    with joining.Joining(where, joining.starter(where, seeds)) as joined:
        return asyncio.run(_awaited(what(where, joined.wait().url)))


async def _awaited(work: Awaitable[T]) -> T:
    return await work


async def _turns(where: Home, url: str) -> list[dict[str, str]]:
    from factory_cli import log
    from factory_contracts import subjects

    found: dict[str, dict[str, str]] = {}
    async with log.bus(where, url) as transport:
        async for subject, _, record in log.records(transport, subjects.plane("scopes")[0]):
            if record.kind == "received":
                tokens = subjects.read_turns(subject)
                found.setdefault(
                    record.turn,
                    {
                        "turn": record.turn,
                        "at": _time(record.at),
                        "scope": tokens[2] if tokens else subject,
                        "state": "open",
                        "asked": record.message.text,
                    },
                )
            elif record.turn in found:
                turn = found[record.turn]
                if record.kind == "answered":
                    turn["state"] = f"answered ({record.outcome})"
                elif record.kind in ("refused", "superseded"):
                    turn["state"] = record.kind
    return list(found.values())


async def _records(where: Home, url: str) -> list[tuple[int, dict[str, object]]]:
    from factory_cli import log
    from factory_contracts import subjects

    async with log.bus(where, url) as transport:
        return [
            (sequence, record.model_dump(mode="json"))
            async for _, sequence, record in log.records(transport, subjects.plane("scopes")[0])
        ]


def _told(key: str, value: object) -> Iterator[str]:
    """A field in lines: what is empty is left out, what lies inside another stands below it, further in."""
    if isinstance(value, dict):
        yield f"{key}:"
        for inner, held in value.items():
            yield from (f"  {line}" for line in _told(inner, held))
    elif isinstance(value, str) and "\n" in value:
        yield f"{key}:"
        yield from (f"  {line}" for line in value.splitlines())
    elif value not in (None, "", []):
        yield f"{key}: {value}"


def _harmless(line: str) -> str:
    """What a stranger wrote must not move the cursor of whoever reads the log."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)


def _time(at: object) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S") if isinstance(at, float | int) else str(at)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _WORDS else f"{words[: _WORDS - 1]}…"
