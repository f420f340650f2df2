"""How every command speaks and ends: results on stdout, talk on stderr, one sentence instead of a traceback."""

import os
import re
import shutil
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import Annotated

import typer

from factory_cli import config, privacy
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_cli.joining import NotRunning

HomeOption = Annotated[
    Path | None, typer.Option("--home", metavar="DIR", help="Where everything lies (else $FACTORY_HOME).")
]
AgentsOption = Annotated[
    Path | None, typer.Option("--agents", metavar="DIR", help="Agent seeds (else HOME/agents, else the built-in ones).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
UnderOption = Annotated[int | None, typer.Option("--under", hidden=True)]

_NUMBER = re.compile(r"\[Errno (\d+)\]")


class Failed(Exception):
    """What was asked for cannot be done; the sentence says why and what to do."""


@contextmanager
def told() -> Iterator[None]:
    """Turn what a person can mend into a sentence and an exit status; no secret is in it, nor in what nobody mends."""
    privacy.leave_no_core()
    redact = privacy.of_surroundings()
    privacy.guard(redact)
    try:
        yield
    except (BadConfiguration, Failed, NotRunning, OSError) as error:
        words = in_words(error) if isinstance(error, OSError) else str(error)
        typer.echo(f"factory: {redact(words)}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def in_words(error: OSError) -> str:
    """What the system refused, and where."""
    if isinstance(error, shutil.Error):
        # Of many files each has its reason; one is enough.
        _, place, why = error.args[0][0]
        number = _NUMBER.match(why)
        return in_words(OSError(int(number[1]), os.strerror(int(number[1])), place)) if number else f"{place}: {why}"
    why = error.strerror or str(error)
    if error.errno == ENOSPC:
        why += "; make room"
    return why if error.filename is None else f"{os.fspath(error.filename)}: {why}"


def surroundings(chosen: Path | None) -> tuple[Home, config.Environment]:
    """The home that is meant, and what else the environment says."""
    environment = config.environment()
    return config.home(chosen, environment), environment


def run(work: Coroutine[None, None, int]) -> int:
    """Run a process's work to its end."""
    # Not every command needs an event loop.
    from factory_nats import process

    return process.run(work)


def say_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns that stand under each other."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())


def is_piped() -> bool:
    """Whether somebody hands us text instead of typing."""
    return not sys.stdin.isatty()


def utf8(said: str | None) -> str | None:
    """What an argument says, whose bytes a shell does not look at. Raises `typer.BadParameter` where it is no text."""
    try:
        (said or "").encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("is not UTF-8") from None
    return said
