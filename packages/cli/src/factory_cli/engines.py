"""`factory engine` and `factory run`: what runs the same steps every time."""

import re
import sys
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer

from factory_cli import config, joining
from factory_cli.console import (
    AgentsOption,
    Failed,
    HomeOption,
    JsonOption,
    is_piped,
    say_table,
    surroundings,
    told,
    utf8,
)
from factory_cli.home import Home, write_atomically
from factory_cli.ink import harmless, say_document
from factory_cli.talk import Wish, talk
from factory_contracts.engine import Engine

app = typer.Typer(help="What runs the same steps every time: list, show, new, add.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]

PIPED = "-"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")

_ENGINE = '''\
"""Try it: echo some words | factory run {name}"""

from factory_contracts.engine import CodeStep, Engine, HarnessStep, ToolStep


# A function gives the same for the same. It has a parameter for each thing that it needs: `input`, or an earlier step.
def count(input: str) -> dict[str, int]:
    return {{"words": len(input.split())}}


def page(answer: str, half: str) -> str:
    return f"{{answer}}\\n\\n(Half as long would be {{half}} words.)"


# Each step may read what was given and what the steps before it put out; the last one's output is the answer.
ENGINE = Engine(
    "{name}",
    "Says in fewer words what it is given.",
    (
        CodeStep("count", count),
        HarnessStep("answer", "Say this in half as many words:\\n{{input}}"),
        ToolStep("half", "calculator", {{"expression": "{{count.words}} / 2"}}),
        CodeStep("page", page),
    ),
)
'''


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which one; `factory engine list` names them.")],
    words: Annotated[str | None, typer.Argument(metavar="[WORDS]", callback=utf8, help="What it works on.")] = None,
    given: Annotated[str | None, typer.Option("--input", metavar="FILE", help="Or a file, - for stdin.")] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Render events, one JSON per line.")] = False,
    allows: Annotated[bool, typer.Option("--yes", help="Allow what it asks to do.")] = False,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="NAME", callback=utf8, help="Whose tools and rights it has.")
    ] = None,
    home: HomeOption = None,
    agents: AgentsOption = None,
) -> None:
    """Run an engine: the result on stdout, how far it is on stderr."""
    with told(), ExitStack() as stack:
        where, environment = surroundings(home)
        if words is not None and given is not None:
            raise typer.BadParameter("it works on words or on --input, not on both")
        where.prepare()
        if not _NAME.fullmatch(name) or not (where.engines / f"{name}.py").is_file():
            raise Failed(f"there is no engine {name!r} in {where.engines}; there is: {_there(where)}")
        if given == PIPED or (given is None and words is None and is_piped()):
            # However long it is, and whoever wrote it: as a file it is material, and goes apart from the message.
            file = stack.enter_context(NamedTemporaryFile(prefix="input-", suffix=".txt", dir=where.run))
            file.write(sys.stdin.buffer.read())
            file.flush()
            given = file.name
        starter = joining.starter(where, config.agents_folder(agents, where))
        joined = stack.enter_context(joining.Joining(where, starter))
        import_module("adapters.cli.once")
        import_module("adapters.cli.__main__")
        wish = Wish(
            prompt=" ".join(part for part in ("/run", name, words) if part),
            files=() if given is None else (given,),
            is_json=is_json,
            allows=allows,
            agent=agent,
            tells_progress=True,
        )
        status = talk(where, environment, joined.wait().url, wish, joined.tend)
    raise typer.Exit(status)


@app.command("list")
def list_engines(home: HomeOption = None, is_json: JsonOption = False) -> None:
    """Every engine, with its version and what it does; and which files hold none that could run."""
    with told():
        where, _ = surroundings(home)
        found, bad = [], []
        for path in sorted(where.engines.glob("*.py")):
            try:
                found.append(_read(path))
            except Failed as failed:
                bad.append(str(failed))
        if is_json:
            say_document([{"name": one.name, "version": one.version, "description": one.description} for one in found])
        elif found:
            rows = [(one.name, one.version, one.description) for one in found]
            say_table([("NAME", "VERSION", "DESCRIPTION"), *rows])
        elif not bad:
            typer.echo(f"no engines in {where.engines}; `factory engine new NAME` writes one", err=True)
        if bad:
            raise Failed("\n".join(bad))


@app.command("show")
def show(name: NameArgument, home: HomeOption = None, is_json: JsonOption = False) -> None:
    """The steps of one engine, and what each of them reads."""
    with told():
        where, _ = surroundings(home)
        path = where.engines / f"{name}.py"
        if not path.is_file():
            raise Failed(f"there is no engine {name!r} in {where.engines}; there is: {_there(where)}")
        engine = _read(path)
    steps = [(step.name, step.kind, ", ".join(dict.fromkeys(step.needs)) or "-") for step in engine.steps]
    if is_json:
        keys = ("name", "kind", "reads")
        about = {"name": engine.name, "version": engine.version, "description": engine.description}
        say_document({**about, "steps": [dict(zip(keys, step, strict=True)) for step in steps]})
        return
    typer.echo(f"{engine.name} {engine.version}: {engine.description}\n")
    say_table([("STEP", "KIND", "READS"), *steps])


@app.command("new")
def new(name: NameArgument, home: HomeOption = None) -> None:
    """Write an engine that can be run, with all three kinds of steps."""
    with told():
        where, _ = surroundings(home)
        if not _NAME.fullmatch(name):
            raise Failed(f"{name!r} must be 1 to 32 of a-z, 0-9 and '_', and begin with a letter")
        _put(where, name, _ENGINE.format(name=name))


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of an engine, which is copied.")],
    home: HomeOption = None,
) -> None:
    """Put an engine where it is found: what runs already finds it as well."""
    with told():
        where, _ = surroundings(home)
        _put(where, _read(file).name, file.read_text(encoding="utf-8"), may_replace=True)


def _read(path: Path) -> Engine:
    """The engine of a file. Raises `Failed`."""
    from workers.engine.shelf import BadEngine, load

    try:
        return load(path)
    except BadEngine as error:
        raise Failed(harmless(str(error))) from None


def _put(where: Home, name: str, text: str, *, may_replace: bool = False) -> None:
    where.prepare()
    where.engines.mkdir(mode=0o700, exist_ok=True)
    path = where.engines / f"{name}.py"
    if path.exists() and not may_replace:
        raise Failed(f"{path} is there already")
    write_atomically(path, text)
    typer.echo(str(path))
    typer.echo(f"Run it: factory run {name} --input FILE", err=True)
    typer.echo(f'An agent runs it whose file says: engines = ["{name}"]', err=True)


def _there(where: Home) -> str:
    return ", ".join(sorted(path.stem for path in where.engines.glob("*.py"))) or "none"
