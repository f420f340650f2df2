"""`factory log`: whether all that was stored is there, as it was stored."""

import typer

from factory_cli.console import HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.ink import say_document

app = typer.Typer(help="Whether all that was stored is there: verify, accept.", no_args_is_help=True)


@app.command("verify")
def verify(home: HomeOption = None, is_json: JsonOption = False) -> None:
    """Look for records that are missing, altered or added. What was forgotten is none of these.

    Exit status 1 where there are any. --json: is_whole, records, sealed, unsealed, erased, faults.
    """
    with told():
        import asyncio

        from factory_cli.inspection import in_words, named, of_home, rows

        where, environment = surroundings(home)
        found = asyncio.run(of_home(where, environment.nats_url))
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
                    {"kind": one.kind, "scope": named(one.subject), "sequence": one.sequence, "said": one.said}
                    for one in faults
                ],
            }
        )
    else:
        if faults:
            say_table([("SCOPE", "WHAT", "WHERE", "SAID"), *rows(faults)])
        typer.echo(in_words(found), err=bool(faults))
    if faults:
        raise typer.Exit(1)


@app.command("accept")
def accept(home: HomeOption = None) -> None:
    """Let the hub begin though the log lacks what it held before; `verify` goes on to tell what is gone."""
    with told():
        import asyncio

        from factory_cli.inspection import accepted

        where, environment = surroundings(home)
        found = asyncio.run(accepted(where, environment.nats_url))
    typer.echo(f"factory: the hub begins with the log as it is: {found.records:,} records", err=True)
