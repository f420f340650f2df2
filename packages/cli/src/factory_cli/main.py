"""The `factory` command.

Whatever takes long to load is imported where it is used, so that help and the start of a chat do not wait for it. Of
the commands themselves the one that is asked for is loaded; help, or a word that is none of them, asks for all.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated

import typer

# No room for a sentence of its own, nor for a second box: all of this must fit a screen.
_MAIN = "A chat platform for language-model agents. Begin with: factory chat"


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command is, which is called like its function; a group is its module's `app`."""

    module: str
    short_help: str | None = None
    is_group: bool = False
    is_hidden: bool = False


COMMANDS = {
    "chat": Command("talk", "Talk with an agent here. Starts everything that is needed."),
    "up": Command("talk"),
    "init": Command("introduction"),
    "status": Command("diagnosis"),
    "doctor": Command("diagnosis"),
    "run": Command("engines", "Run an engine, on words or on a file."),
    "backup": Command("backup", "All that a home keeps, into one file; `restore` brings it back."),
    "restore": Command("backup", is_hidden=True),
    "usage": Command("usage"),
    "workers": Command("fleet"),
    "ask": Command("asking"),
    # What the supervisor, containers and units start; `docs/operating.md` tells of them.
    "hub": Command("processes", is_hidden=True),
    "worker": Command("workers"),
    "adapter": Command("processes", "The spoke of one platform.", is_hidden=True),
    "engine": Command("engines", is_group=True),
    "agent": Command("agents", is_group=True),
    "turns": Command("turns", is_group=True),
    "log": Command("integrity", is_group=True),
    "policy": Command("policy", is_group=True),
    "tools": Command("serving", is_group=True),
    "nats": Command("bus", is_group=True),
}


def made_of(names: Iterable[str]) -> typer.Typer:
    """The command as it is made of these alone."""
    app = typer.Typer(
        name="factory",
        no_args_is_help=True,
        add_completion=False,
        add_help_option=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_main)
    for name in names:
        command = COMMANDS[name]
        module = import_module(f"factory_cli.{command.module}")
        if command.is_group:
            app.add_typer(module.app, name=name, rich_help_panel=_MAIN)
        else:
            panel = None if command.is_hidden else _MAIN
            add = app.command(name, short_help=command.short_help, hidden=command.is_hidden, rich_help_panel=panel)
            add(getattr(module, name))
    return app


def _show_help(context: typer.Context, is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(context.get_help())
        raise typer.Exit()


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        typer.echo(version("factory-chat"))
        raise typer.Exit()


def _main(
    # Hidden, for a box with nothing but this in it would be three lines.
    is_help: Annotated[bool, typer.Option("--help", "-h", is_eager=True, hidden=True, callback=_show_help)] = False,
    is_version: Annotated[bool, typer.Option("--version", is_eager=True, hidden=True, callback=_show_version)] = False,
) -> None:
    pass


def _open_streams() -> None:
    """Whichever of the three was closed before us holds nothing, and nothing else is opened in its place."""
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def app() -> None:
    """Do what the command line asks for."""
    _open_streams()
    asked = [word for word in sys.argv[1:2] if word in COMMANDS]
    try:
        try:
            made_of(asked or COMMANDS)(prog_name="factory")
        finally:
            sys.stdout.flush()
    except OSError as error:
        # What Python flushes at its end must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"factory: what was asked for cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)
