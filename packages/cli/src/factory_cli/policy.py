"""`factory policy`: who may do what, and why."""

from typing import Annotated

import typer

from factory_cli.console import HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.ink import harmless, say_document
from factory_cli.turns import reading

app = typer.Typer(help="Who may do what, and why: explain.", no_args_is_help=True)


@app.callback()
def policy() -> None:
    """Who may do what, and why."""


@app.command("explain")
def explain(
    bot: Annotated[str, typer.Option("--bot", metavar="PLATFORM:BOT", help="Which bot, as telegram:main.")],
    user: Annotated[str, typer.Option("--user", metavar="ID", help="Whose account: 123, or telegram:123.")],
    in_group: Annotated[bool, typer.Option("--group", help="In a group instead of in private.")] = False,
    scope: Annotated[
        str | None, typer.Option("--scope", metavar="ID", help="Do it to the answer that is written there.")
    ] = None,
    action: Annotated[str | None, typer.Option("--action", metavar="NAME", help="One thing to do alone.")] = None,
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """What somebody may do on a bot, and what makes it so.

    --json: bot, user, person, level, why, actions (each with action, allowed, why, words).
    """
    with told():
        from factory_cli import access, history, keeping

        where, _ = surroundings(home)
        configuration = keeping.known(where)
        found = reading(
            where,
            lambda url: history.through(
                where,
                url,
                lambda bus: access.explain(
                    bus, configuration, bot, user, action=action, in_group=in_group, scope=scope
                ),
            ),
        )
    if is_json:
        say_document(found.as_json())
        return
    for sentence in (f"{found.who} is {found.level} on {found.bot}.", *found.standing, ""):
        typer.echo(harmless(sentence))
    say_table([("ACTION", "MAY", "BECAUSE"), *(tuple(harmless(cell) for cell in row) for row in found.rows())])
