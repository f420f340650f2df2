"""`factory turns`: what the log says."""

import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, TypeVar

import typer

from factory_cli import config, joining
from factory_cli.console import AgentsOption, Failed, HomeOption, JsonOption, say_table, surroundings, told, utf8
from factory_cli.home import Home
from factory_cli.ink import harmless, say_document, say_lines, width

T = TypeVar("T")

app = typer.Typer(help="What the log says: ls, show, replay, fork, diff.", no_args_is_help=True)

_WORDS = 60


@app.command("ls")
def list_turns(
    scope: Annotated[str | None, typer.Option("--scope", metavar="ID", help="Only this conversation.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="The newest so many.")] = 20,
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """The newest turns: when, where, how they ended, what they cost, how they began."""
    with told():
        from factory_cli import history

        where, _ = surroundings(home)
        found = reading(where, lambda url: history.through(where, url, lambda bus: history.newest(bus, scope, limit)))
    if is_json:
        say_document([one.as_json() for one in found])
    elif not found:
        typer.echo("no turns yet" if scope is None else f"no turns in a conversation {scope!r}", err=True)
    else:
        rows = [(one.turn, one.at, one.scope, one.state, one.total.in_words, _short(one.asked)) for one in found]
        head = ("TURN", "RECEIVED", "SCOPE", "STATE", "COST", "ASKED")
        say_table([head, *([harmless(cell) for cell in row] for row in rows)])


@app.command("show")
def show(
    turn: Annotated[str, typer.Argument(metavar="TURN", help="Its id, how that begins, or a reference.")],
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """What a turn saw, said, did and cost, step by step.

    --json: turn, scope, records (each with its sequence), steps, usage. Money is a string.
    """
    with told():
        from factory_cli import history, trace

        where, environment = surroundings(home)
        found = reading(where, lambda url: history.through(where, url, lambda bus: history.one(bus, turn)))
        folded = trace.fold(found.turn, found.key, [record for _, record in found.records])
    if is_json:
        records = [{"sequence": at, **record.model_dump()} for at, record in found.records]
        steps = [step.model_dump() for step in folded.steps]
        usage = folded.total.as_json()
        say_document(
            {"turn": found.turn, "scope": found.key.scope_id, "records": records, "steps": steps, "usage": usage}
        )
        return
    say_lines(trace.lines(folded, width()), is_color=sys.stdout.isatty() and not environment.is_plain)


@app.command("replay")
def replay(
    wanted: Annotated[str, typer.Argument(metavar="SCOPE|TURN", help="A conversation, or up to the end of a turn.")],
    until: Annotated[int | None, typer.Option("--until", metavar="SEQ", min=1, help="Up to this record.")] = None,
    steps: Annotated[bool, typer.Option("--step", help="Every record, and how the turns stand after it.")] = False,
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """A conversation as it was live at some point: what a model was shown, what was open, who answered, what it cost.

    --json: scope, sequence, last, state.
    """
    with told():
        from factory_cli import history
        from factory_cli import replay as past

        where, environment = surroundings(home)
        found = reading(where, lambda url: history.through(where, url, lambda bus: history.past(bus, wanted, until)))
        session = found.session
    if is_json and steps:
        say_document([{"sequence": at, "state": past.state(session)} for at, _, session in found.steps()])
    elif is_json:
        place = {"scope": found.key.to_pool_id(), "sequence": session.sequence, "last": found.last}
        say_document({**place, "state": past.state(session)})
    else:
        lines = past.step_lines(found) if steps else past.lines(found, width=width())
        say_lines(lines, is_color=sys.stdout.isatty() and not environment.is_plain)


@app.command("fork")
def fork(
    wanted: Annotated[str, typer.Argument(metavar="SCOPE|TURN", help="A conversation, or up to the end of a turn.")],
    until: Annotated[int | None, typer.Option("--until", metavar="SEQ", min=1, help="Up to this record.")] = None,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", callback=utf8, help="What the new session is called.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Begin a session here with a conversation as it was at some point, which stays as it is. Its name."""
    with told():
        from factory_cli import forking

        where, environment = surroundings(home)
        begun = reading(where, lambda url: forking.fork(where, environment, url, wanted, until, name))
    if begun is None:
        raise typer.Exit(1)
    typer.echo(begun)
    typer.echo(f"factory: go on with it: factory chat --resume {begun}", err=True)


@app.command("diff")
def diff(
    agent: Annotated[str, typer.Option("--agent", metavar="NEW", help="An agent's name, or its file.")],
    scope: Annotated[str | None, typer.Option("--scope", metavar="ID", help="Only this conversation.")] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", metavar="DATE", formats=["%Y-%m-%d"], help="From this day on (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="The newest so many.")] = 10,
    budget: Annotated[str, typer.Option("--budget", metavar="DOLLARS", help="What it may cost at most.")] = "1.00",
    is_allowed: Annotated[bool, typer.Option("--yes", help="Do not ask before money is spent.")] = False,
    agents: AgentsOption = None,
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """What another agent would have said to what was asked. Nothing is sent, and no tool with an effect is run.

    --json: for each turn both texts, tools, costs, seconds, and notes.
    """
    with told():
        from adapters.models.scripted import ScriptError
        from factory_cli import comparing, trial

        where, environment = surroundings(home)
        trial.hush()
        wish = comparing.Wish(agent, scope, since, limit, budget)
        chosen = comparing.prepare(where, environment, agents, wish)
        found = reading(where, chosen.read)
        if not found:
            raise Failed("no turn was answered by an agent there")
        if not chosen.is_free and not is_allowed:
            typer.confirm(
                f"{chosen.agent.name} is asked {len(found)} turns, for at most ${chosen.most}. Go on?",
                abort=True,
                err=True,
            )
        try:
            compared = comparing.run(chosen, found)
        except ScriptError as error:
            raise Failed(f"FACTORY_SCRIPT: {error}") from None
    if is_json:
        say_document([comparing.as_json(one) for one in compared])
    else:
        say_table([comparing.HEAD, *(comparing.row(one) for one in compared)])
        for one in compared:
            say_lines(comparing.lines(one, width()), is_color=sys.stdout.isatty() and not environment.is_plain)


def reading(where: Home, what: Callable[[str], Awaitable[T]]) -> T:
    """Read from what runs on the home; where nothing runs, it is started for as long as this takes."""
    import asyncio

    where.prepare()
    seeds = config.agents_folder(None, where)
    with joining.Joining(where, joining.starter(where, seeds)) as joined:
        return asyncio.run(_awaited(what(joined.wait().url)))


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _WORDS else f"{words[: _WORDS - 1]}…"
