"""`factory nats`: the bus by itself."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from factory_cli import config, privacy, secret
from factory_cli.console import Failed, HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.home import Home
from factory_cli.ink import say_document

app = typer.Typer(help="The bus by itself: start, config, permissions, caller, revoke.", no_args_is_help=True)

DEFAULT_PORT = 4222
STORE = Path("/data")
PATIENCE = 5.0
PAUSE = 0.05

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
    typer.echo(
        "# Add these accounts to a server with JetStream, and set NATS_URL to its address. Whoever shows none of"
    )
    typer.echo("# these keys must stay outside, on loopback too: let the configuration name no `no_auth_user`.")
    typer.echo(text[text.index("system_account:") :].rstrip())


@app.command("permissions")
def show_permissions(home: HomeOption = None, is_json: JsonOption = False) -> None:
    """Who may say, hear and ask of what is stored what, beside what is sent to them alone."""
    with told():
        from factory_cli.membership import members

        where, _ = surroundings(home)
        listed = members(config.load(where.configuration))
    if is_json:
        say_document(
            [
                {
                    "identity": member.identity,
                    "key": key,
                    "place": may.place,
                    "publish": may.publish,
                    "subscribe": (*may.subscribe, *may.tidings),
                }
                for member in listed
                for key, may in member.grants
            ]
        )
        return
    rows = [("KEY", "WHERE", "MAY", "SUBJECT")]
    for member in listed:
        for key, may in member.grants:
            rows += [(key, may.place, "publish", subject) for subject in may.publish]
            rows += [(key, may.place, "subscribe", subject) for subject in (*may.subscribe, *may.tidings)]
    say_table(rows)


@app.command("caller")
def show_caller(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom; [[callers]] in factory.toml names all.")],
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """What somebody outside is given to talk to agents here: an address and a key."""
    with told():
        from factory_cli import keys
        from factory_contracts import subjects
        from factory_nats.server import address_of

        where, environment = surroundings(home)
        callers = {one.name: one for one in config.load(where.configuration).callers}
        if name not in callers:
            raise Failed(f'no caller {name!r}; to let one in, write in {where.configuration}: [[callers]] name = "ci"')
        where.prepare()
        caller = callers[name]
        keys.seed_of(where.keys, caller.identity)
        url = secret.without_login(environment.nats_url or address_of(where.nats))
        key = where.keys / f"{caller.identity}.nk"
        agents = [
            subjects.offered("prompt", bot, caller.name, session) for bot in caller.bots for session in caller.sessions
        ]
    if is_json:
        say_document({"caller": name, "url": url, "key": str(key), "agents": agents})
        return
    say_table([("url", url or "(begin with: factory up)"), ("key", str(key)), *(("agent", one) for one in agents)])


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(metavar="IDENTITY", help="Whose keys; `factory nats permissions` names all.")],
    home: HomeOption = None,
) -> None:
    """Give an identity new keys. Who holds the old ones is sent away."""
    with told():
        import asyncio

        from factory_cli import keeping, keys
        from factory_cli.membership import members
        from factory_nats.identity import public_key
        from factory_nats.server import held_by

        where, environment = surroundings(home)
        known = {member.identity: member for member in members(config.load(where.configuration))}
        if name not in known:
            raise Failed(f"no identity {name!r}; there are: {', '.join(known)}")
        where.prepare()
        exchanged = [keys.renew(where.keys, key) for key, _ in known[name].grants]
        if keeping.tell(where):
            asyncio.run(_sent_away(where, name, [old for old, _ in exchanged]))
            said = f"{name} has new keys; the old ones are refused, and what runs under that name begins anew"
        elif environment.nats_url is None and held_by(where.nats) is not None:
            raise Failed(f"{name} has new keys, but the server that runs here takes the old ones: {keeping.UNKEPT}")
        elif environment.nats_url is None:
            said = f"{name} has new keys; the next start begins with them"
        else:
            say_table([("OLD", "NEW"), *((public_key(old), public_key(new)) for old, new in exchanged)])
            said = (
                f"{name} has new keys; until the server's owner puts them in the place of the old ones and has the "
                f"server read its configuration again (nats-server --signal reload), the old ones open the bus"
            )
    typer.echo(f"factory: {said}", err=True)


async def _sent_away(where: Home, name: str, seeds: Sequence[str]) -> None:
    """Return once the server refuses the secrets. Raises `Failed`."""
    import asyncio

    from factory_nats.connect import Identity, connect
    from factory_nats.result import Ok
    from factory_nats.server import address_of

    waiting = list(seeds)
    try:
        async with asyncio.timeout(PATIENCE):
            while waiting:
                joined = await connect(address_of(where.nats), Identity(name, waiting[-1]), name="factory tries")
                if isinstance(joined, Ok):
                    await joined.value.close()
                elif joined.reason == "unauthorized":
                    waiting.pop()
                    continue
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise Failed(
            f"{name} has new keys, but the server still takes the old ones; look into {where.log} and start it anew"
        ) from None


async def _serve(where: Home, port: int) -> None:
    import asyncio

    from factory_cli import keeping
    from factory_nats.result import Err

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with keeping.keep(where, port) as server:
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
