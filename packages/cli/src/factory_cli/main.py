"""The `factory` command.

Whatever takes long to load is imported where it is used, so that help and the start of a chat do not wait for it.
"""

from typing import Annotated

import typer

from factory_cli import (
    agents,
    asking,
    backup,
    bus,
    diagnosis,
    engines,
    fleet,
    integrity,
    introduction,
    policy,
    processes,
    serving,
    talk,
    turns,
    usage,
    workers,
)

# No room for a sentence of its own, nor for a second box: all of this must fit a screen.
_MAIN = "A chat platform for language-model agents. Begin with: factory chat"

app = typer.Typer(
    name="factory",
    no_args_is_help=True,
    add_completion=False,
    add_help_option=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_help(context: typer.Context, is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(context.get_help())
        raise typer.Exit()


@app.callback()
def _main(
    # Hidden, for a box with nothing but this in it would be three lines.
    is_help: Annotated[bool, typer.Option("--help", "-h", is_eager=True, hidden=True, callback=_show_help)] = False,
) -> None:
    pass


app.command(rich_help_panel=_MAIN, short_help="Talk with an agent here. Starts everything that is needed.")(talk.chat)
app.command(rich_help_panel=_MAIN)(talk.up)
app.command(rich_help_panel=_MAIN)(introduction.init)
app.command(rich_help_panel=_MAIN)(diagnosis.status)
app.command(rich_help_panel=_MAIN)(diagnosis.doctor)
app.command(rich_help_panel=_MAIN, short_help="Run an engine, on words or on a file.")(engines.run)
app.add_typer(engines.app, name="engine", rich_help_panel=_MAIN)
app.add_typer(agents.app, name="agent", rich_help_panel=_MAIN)
app.add_typer(turns.app, name="turns", rich_help_panel=_MAIN)
app.add_typer(integrity.app, name="log", rich_help_panel=_MAIN)
app.command(rich_help_panel=_MAIN, short_help="All that a home keeps, into one file; `restore` brings it back.")(
    backup.backup
)
app.command(hidden=True)(backup.restore)
app.command(rich_help_panel=_MAIN)(usage.usage)
app.add_typer(policy.app, name="policy", rich_help_panel=_MAIN)
app.add_typer(serving.app, name="tools", rich_help_panel=_MAIN)
app.command(rich_help_panel=_MAIN)(fleet.workers)
app.command(rich_help_panel=_MAIN)(asking.ask)
# What the supervisor, containers and units start; `docs/operating.md` tells of them.
app.command(hidden=True)(processes.hub)
app.command(rich_help_panel=_MAIN)(workers.worker)
app.command(hidden=True, short_help="The spoke of one platform.")(processes.adapter)
app.add_typer(bus.app, name="nats", rich_help_panel=_MAIN)
