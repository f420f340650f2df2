"""`factory nats`: the bus by itself."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from factory_cli import config, privacy
from factory_cli.console import Failed, HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.home import Home
from factory_cli.ink import say_document

app = typer.Typer(help="The bus by itself: start, config, permissions.", no_args_is_help=True)

DEFAULT_PORT = 4222
STORE = Path("/data")

PortOption = Annotated[int, typer.Option("--port", metavar="N", min=1, max=65535, help="Where it listens.")]


@app.command("start")
def start(home: HomeOption = None, port: PortOption = DEFAULT_PORT) -> None:
    """Run the server alone, on loopback, until you end it."""
    with told():
        import asyncio

        privacy.seal()
        where, environment = surroundings(home)
        privacy.report(environment.log_level, privacy.of_surroundings())
        where.prepare()
        asyncio.run(_serve(where, port))


@app.command("config")
def write_configuration(
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write a server's whole configuration there.")
    ] = None,
    store: Annotated[Path, typer.Option("--store", metavar="DIR", help="With --write: where it stores.")] = STORE,
    host: Annotated[str, typer.Option("--host", help="With --write: where it listens.")] = "127.0.0.1",
    port: PortOption = DEFAULT_PORT,
    home: HomeOption = None,
) -> None:
    """A server's configuration, or the accounts that the owner of another server must add."""
    with told():
        from factory_cli.membership import users
        from factory_nats.server import render_config, write_config

        where, _ = surroundings(home)
        where.prepare()
        listed = users(where, config.load(where.configuration))
        text = render_config(port=port, store_dir=store, users=listed, host=host, server_name="factory")
        if write is not None:
            write_config(write, text)
    if write is not None:
        typer.echo(f"factory: wrote {write}", err=True)
        return
    typer.echo("# Add these accounts to a server with JetStream, and set NATS_URL to its address.")
    typer.echo(text[text.index("system_account:") :].rstrip())


@app.command("permissions")
def show_permissions(home: HomeOption = None, is_json: JsonOption = False) -> None:
    """Who may say and hear what, beside what is sent to them alone."""
    with told():
        from factory_cli.membership import members

        where, _ = surroundings(home)
        listed = members(config.load(where.configuration))
    if is_json:
        say_document(
            [
                {
                    "identity": member.identity,
                    "publish": member.permissions.publish,
                    "subscribe": member.permissions.subscribe,
                }
                for member in listed
            ]
        )
        return
    rows = [("IDENTITY", "MAY", "SUBJECT")]
    for member in listed:
        rows += [(member.identity, "publish", subject) for subject in member.permissions.publish]
        rows += [(member.identity, "subscribe", subject) for subject in member.permissions.subscribe]
    say_table(rows)


async def _serve(where: Home, port: int) -> None:
    import asyncio

    from factory_cli.membership import users
    from factory_nats.result import Err
    from factory_nats.server import EmbeddedServer

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = EmbeddedServer(where.nats, users=users(where, config.load(where.configuration)), port=port)
    started = await server.start()
    if isinstance(started, Err):
        raise Failed(f"nats-server did not start: {started.detail}")
    typer.echo(f"factory: the bus is at {server.url}", err=True)
    died = asyncio.create_task(server.wait())
    told_to_end = asyncio.create_task(ended.wait())
    await asyncio.wait((died, told_to_end), return_when=asyncio.FIRST_COMPLETED)
    was_told = ended.is_set()
    told_to_end.cancel()
    await server.stop()
    await asyncio.gather(died, told_to_end, return_exceptions=True)
    if not was_told:
        raise Failed(f"nats-server ended: {server.last_words()}")
