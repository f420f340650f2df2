"""`factory backup` and `factory restore`: all that a home keeps, in one file."""

from pathlib import Path
from typing import Annotated

import typer

from factory_cli.console import Failed, HomeOption, surroundings, told

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Where the backup is.")]


def backup(
    file: FileArgument,
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="Keys and tokens as well: keep it like a password.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Copy conversations, files, memories and configuration into FILE, also while all runs."""
    with told():
        import asyncio

        from factory_cli.copies import back_up
        from factory_cli.inspection import in_words

        where, environment = surroundings(home)
        if file.exists():
            raise Failed(f"{file} exists; choose another name")
        if file.resolve().is_relative_to(where.path.resolve()):
            raise Failed(f"{file} would be lost with the home, and be in the next backup; choose another place")
        found, amiss, lost = asyncio.run(back_up(where, environment.nats_url, file, with_secrets=with_secrets))
    typer.echo(f"factory: wrote {file} ({file.stat().st_size:,} bytes); {in_words(found)}", err=True)
    for one in amiss:
        typer.echo(f"factory: {one}", err=True)
    for bot in lost:
        said = f"{bot} is not named in {where.configuration}: the files of its conversations are left out"
        typer.echo(f"factory: {said}", err=True)
    if found.faults() or amiss:
        raise typer.Exit(1)


def restore(file: FileArgument, home: HomeOption = None) -> None:
    """Bring a backup back, into a home that does not exist yet."""
    with told():
        import asyncio

        from factory_cli.copies import bring_back
        from factory_cli.inspection import in_words

        where, environment = surroundings(home)
        if environment.nats_url is not None:
            raise Failed("a backup is brought back into the server of a home; unset NATS_URL")
        if where.path.exists() and any(where.path.iterdir()):
            raise Failed(f"{where.path} is not empty; choose another with --home, or move it away")
        found, waiting, has_secrets = asyncio.run(bring_back(where, file))
    typer.echo(f"factory: brought back into {where.path}; {in_words(found)}", err=True)
    for one in waiting:
        typer.echo(f"factory: {one}", err=True)
    if not has_secrets:
        said = "keys of processes are made anew; tokens of platforms and keys of providers are to be given again"
        typer.echo(f"factory: no secrets were in the backup: {said}", err=True)
    if found.faults():
        raise typer.Exit(1)
