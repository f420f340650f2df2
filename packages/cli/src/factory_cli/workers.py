"""`factory worker`: serve a worker, let one in, write a new one."""

import keyword
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from factory_cli import config, joining, privacy, services
from factory_cli.amendment import NotAmended, name_worker
from factory_cli.config import Configuration, Worker
from factory_cli.console import AgentsOption, Failed, HomeOption, UnderOption, run, surroundings, told
from factory_cli.home import write_atomically
from factory_cli.processes import DEFAULT_URL, begin, clipool, service
from factory_contracts import subjects

_WAYS = "./FILE.py | clipool | voice | image | add NAME CAPABILITY | new NAME"
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,31}")

_WORKER = '''\
"""Serve it: factory worker ./{name}.py"""

from pydantic import BaseModel

from factory_contracts.worker import capability


class Words(BaseModel):
    text: str


# What only reads may be asked of another worker when this one dies; with effect="write" or "external" it is done once.
@capability("{name}", effect="read")
async def {name}(words: Words) -> str:
    """Say something loudly. (Whoever may ask for it is told this sentence.)"""
    return words.text.upper()
'''

_TEST = '''\
"""Run it: python -m pytest test_{name}.py"""

import asyncio

from {name} import Words, {name}


def test_it_says_it_loudly() -> None:
    assert asyncio.run({name}(Words(text="hello"))) == "HELLO"
'''


def worker(
    words: Annotated[list[str], typer.Argument(metavar=_WAYS, help="Serve a file, add one to the bus, write one.")],
    called: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Which of several.")] = None,
    home: HomeOption = None,
    agents: AgentsOption = None,
    under: UnderOption = None,
) -> None:
    """A worker: one function that is served under a capability."""
    match words:
        case [subjects.CLIPOOL]:
            clipool(called or subjects.CLIPOOL, home, agents, under)
        case [name] if name in services.SERVICES:
            service(name, home, under)
        case ["add", name, capability]:
            with told():
                _add(name, capability, home)
        case ["new", name]:
            with told():
                _new(name, Path.cwd())
        case [file] if file not in ("add", "new"):
            with told():
                _serve(Path(file), called, home, under)
        case _:
            raise typer.BadParameter(f"must be one of: {_WAYS}")


def _serve(file: Path, called: str | None, home: Path | None, under: int | None) -> None:
    """Serve what the file declares, under the name of a worker that may."""
    if file.suffix != ".py":
        raise Failed(f"no worker {str(file)!r}: name its file, or {subjects.CLIPOOL}, voice or image")
    from factory_cli import membership
    from factory_nats.loading import NoWorker, load
    from factory_nats.process import leave
    from factory_nats.satellite import serve
    from hub.kernel.secrecy import Redactor

    begin(under)
    where, environment = surroundings(home)
    configuration = config.load(where.configuration)
    try:
        served = load(file)
    except NoWorker as error:
        raise Failed(str(error)) from None
    name = _name_of(configuration, served.name, called, file)
    running = joining.running(where)
    url = environment.nats_url or (DEFAULT_URL if running is None else running.url)
    identity = membership.identity(where, configuration, name)
    known = (*config.secrets(environment.nats_url), *membership.seeds(identity))
    privacy.report(environment.log_level, Redactor.of(known).redact)
    leave(run(serve(url, identity, served)))


def _name_of(configuration: Configuration, capability: str, called: str | None, file: Path) -> str:
    """Which of the workers that may serve the capability it is. Raises `Failed` with what is to be typed."""
    names = [one.name for one in configuration.workers if one.capability == capability]
    if called is not None and called not in names:
        to_type = f"factory worker add {called} {capability}"
        raise Failed(f"nobody called {called!r} may serve {capability!r}; type: {to_type}")
    if not names:
        suggested = capability.replace(".", "-")
        raise Failed(f"nobody may serve {capability!r} yet; type: factory worker add {suggested} {capability}")
    if called is None and len(names) > 1:
        raise Failed(f"which of {', '.join(names)}? type: factory worker {file} --name {names[0]}")
    return called or names[0]


def _add(name: str, capability: str, home: Path | None) -> None:
    """Give a worker a name, a key and a place on the bus."""
    from factory_cli import keeping
    from factory_cli.membership import users
    from factory_nats.server import held_by

    where, environment = surroundings(home)
    where.prepare()
    try:
        is_new = name_worker(where.configuration, Worker(name, capability))
    except NotAmended as error:
        raise Failed(str(error)) from None
    # The keys are made where there are none.
    users(where, config.load(where.configuration))
    if environment.nats_url is not None:
        said = "put what `factory nats config` prints into the configuration of your server, and reload it"
    elif not is_new:
        said = "it was there already"
    elif keeping.tell(where):
        said = "what runs here lets it in"
    elif held_by(where.nats) is not None:
        said = f"the server that runs here does not let it in: {keeping.UNKEPT}"
    else:
        said = "the next start lets it in"
    typer.echo(f"factory: {name} may serve {capability}: {said}", err=True)
    typer.echo(f"factory: its keys are {where.keys / name}.nk and {where.keys / name}.store.nk", err=True)
    typer.echo(f'factory: agents may ask it whose file says: workers = ["{capability}"]', err=True)


def _new(name: str, folder: Path) -> None:
    """Write a worker that can be run, and its test."""
    if not _IDENTIFIER.fullmatch(name):
        raise Failed(f"{name!r} must be 1 to 32 of a-z, 0-9 and '_', and begin with a letter")
    if name in sys.stdlib_module_names or keyword.iskeyword(name):
        raise Failed(f"{name!r} is a name of Python's own, which {name}.py would hide; choose another")
    files = {folder / f"{name}.py": _WORKER, folder / f"test_{name}.py": _TEST}
    for path in files:
        if path.exists():
            raise Failed(f"{path} is there already")
    for path, text in files.items():
        write_atomically(path, text.format(name=name))
        typer.echo(str(path))
    typer.echo(f"Let it in: factory worker add {name} {name}. Serve it: factory worker ./{name}.py", err=True)
