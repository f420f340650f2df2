"""`factory chat` and `factory up`: the two that bring a home to life."""

import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from factory_cli import config, joining, locks, privacy, secret, spokes
from factory_cli.console import AgentsOption, Failed, HomeOption, is_piped, run, surroundings, told, utf8
from factory_cli.home import Home
from factory_cli.joining import NotRunning

TEND_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked of a chat."""

    prompt: str | None = None
    piped: str = ""
    files: tuple[str, ...] = ()
    is_json: bool = False
    allows: bool = False
    resume: str | None = None
    session: str | None = None
    agent: str | None = None
    tells_progress: bool = False


def chat(
    prompt: Annotated[
        str | None, typer.Option("-p", "--prompt", metavar="TEXT", callback=utf8, help="Ask once and leave.")
    ] = None,
    file: Annotated[
        list[str] | None, typer.Option("--file", metavar="PATH", help="With -p: a file that goes with it; repeatable.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="With -p: render events, one JSON per line.")] = False,
    allows: Annotated[bool, typer.Option("--yes", help="With -p: allow what an agent asks to do.")] = False,
    is_resuming: Annotated[bool, typer.Option("--resume", help="Go on with session ID, or the last.")] = False,
    resumed: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            callback=utf8,
            help="With --resume: which session, or PLATFORM:BOT:SCOPE of another platform.",
        ),
    ] = None,
    continues: Annotated[bool, typer.Option("-c", "--continue", help="Go on with the last session.")] = False,
    session: Annotated[
        str | None, typer.Option("--session", metavar="NAME", callback=utf8, help="A session of that name.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="NAME", callback=utf8, help="Who shall answer.")
    ] = None,
    home: HomeOption = None,
    agents: AgentsOption = None,
) -> None:
    """Talk with an agent here. Starts everything that is needed. Text piped in goes with the prompt."""
    with told():
        where, environment = surroundings(home)
        if sum((continues, is_resuming, session is not None)) > 1:
            raise typer.BadParameter("choose one of --resume, --continue and --session")
        if resumed is not None and not is_resuming:
            raise typer.BadParameter(f"what is {resumed!r}? A prompt is given with -p, a session with --resume")
        if is_json and prompt is None and not is_piped():
            raise typer.BadParameter("--json needs a prompt: -p TEXT, or text piped in")
        if allows and prompt is None and not is_piped():
            raise typer.BadParameter("--yes needs a prompt: -p TEXT, or text piped in; a chat asks")
        if file and prompt is None and not is_piped():
            raise typer.BadParameter("--file needs a prompt: -p TEXT, or text piped in; a chat has /attach PATH")
        where.prepare()
        seeds = config.agents_folder(agents, where)
        with joining.Joining(where, joining.starter(where, seeds)) as joined:
            # Load and read while the system comes up; what we started ends with us if it is broken.
            import_module("adapters.cli.bot" if prompt is None and not is_piped() else "adapters.cli.once")
            import_module("adapters.cli.__main__")
            if joined.is_ours:
                for platform, trouble in spokes.trouble(where.keys, _examine(where, seeds)).items():
                    typer.echo(f"factory: {platform} is not started: {trouble}", err=True)
            running = joined.wait()
            if agents is not None and running.agents != str(seeds):
                typer.echo(f"factory: --agents is ignored: {running.agents} is already running", err=True)
            wish = Wish(
                prompt=prompt,
                piped=_piped() if prompt is not None and is_piped() else "",
                files=tuple(file or ()),
                is_json=is_json,
                allows=allows,
                resume=(resumed or "") if is_resuming or continues else None,
                session=session,
                agent=agent,
            )
            status = talk(where, environment, running.url, wish, joined.tend)
    raise typer.Exit(status)


def _piped() -> str:
    from adapters.cli import normalize

    try:
        return normalize.piped(sys.stdin).strip()
    except normalize.Unsendable as error:
        raise typer.BadParameter(str(error)) from None


def up(home: HomeOption = None, agents: AgentsOption = None) -> None:
    """Run everything until you end it (Ctrl-C or SIGTERM); chats join."""
    with told():
        where, environment = surroundings(home)
        where.prepare()
        seeds = config.agents_folder(agents, where)
        for trouble in spokes.trouble(where.keys, _examine(where, seeds)).values():
            raise trouble
        lock = locks.take(where.run / joining.SUPERVISOR)
        if lock is None:
            raise typer.Exit(_stay(where))
        from factory_cli.supervisor import Plan, supervise

        locks.sign(lock, None)
        typer.echo(f"factory: running on {where.path}; logs are in {where.log}; Ctrl-C ends it", err=True)
        plan = Plan(where, seeds, environment.nats_url, stays=True, log_level=environment.log_level)
        raise typer.Exit(supervise(plan, lock))


def talk(
    where: Home, environment: config.Environment, url: str, wish: Wish, tend: Callable[[], str] | None = None
) -> int:
    """Be the terminal's spoke on the bus at `url`, and see after what runs there. The exit status."""
    privacy.seal()
    from adapters.cli.__main__ import chat as converse
    from factory_cli import seat

    settings = seat.of(where, environment, url, wish)
    return run(converse(settings) if tend is None else _tended(converse(settings), tend))


async def _tended(work: Coroutine[None, None, int], tend: Callable[[], str]) -> int:
    """Converse, and look now and then whether there is still somebody to converse with."""
    import asyncio

    talking = asyncio.create_task(work)
    try:
        while True:
            done, _ = await asyncio.wait((talking,), timeout=TEND_EVERY)
            if done:
                return talking.result()
            why = tend()
            if why:
                raise NotRunning(why)
    finally:
        if not talking.done():
            talking.cancel()
            await asyncio.wait((talking,))


def _examine(where: Home, seeds: Path) -> config.Configuration:
    from factory_cli.seeds import load

    configuration = config.load(where.configuration)
    load(seeds)
    # A key that cannot be read would end the hub again and again.
    config.providers_variables(handed=secret.handed(seeds))
    return configuration


def _stay(where: Home) -> int:
    """Keep a system alive that a chat has started, until told to end or until it ends."""
    typer.echo(f"factory: already running on {where.path}; it goes on until this ends too (Ctrl-C)", err=True)
    presence = locks.take(where.run / joining.CHATS, shared=True, wait=True)
    # Shared: got when the supervisor has ended.
    ended = locks.take(where.run / joining.SUPERVISOR, shared=True, wait=True)
    for descriptor in (presence, ended):
        if descriptor is not None:
            os.close(descriptor)
    raise Failed(f"the supervisor has ended; see {where.log / 'supervisor.log'}")
