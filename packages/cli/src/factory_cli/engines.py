"""`factory engine` and `factory run`: what runs the same steps every time."""

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from factory_cli import config, joining
from factory_cli.console import AgentsOption, Failed, HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.home import Home, write_atomically
from factory_cli.ink import say_document
from factory_cli.talk import Wish, talk

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
    words: Annotated[str | None, typer.Argument(metavar="[WORDS]", help="What it works on, where that is short.")] = None,
    given: Annotated[str | None, typer.Option("--input", metavar="FILE", help="Or the text of a file, - for stdin.")] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Render events, one JSON per line.")] = False,
    allows: Annotated[bool, typer.Option("--yes", help="Allow what it asks to do.")] = False,
    agent: Annotated[str | None, typer.Option("--agent", metavar="NAME", help="Whose tools and rights it has.")] = None,
    home: HomeOption = None,
    agents: AgentsOption = None,
) -> None:
    """Run an engine: the result on stdout, how far it is on stderr."""
    with told():
        where, environment = surroundings(home)
        is_piped = given == PIPED or (given is None and words is None and sys.stdin is not None and not sys.stdin.isatty())
        if words is not None and given is not None:
            raise typer.BadParameter("it works on words or on --input, not on both")
        where.prepare()
        if not _NAME.fullmatch(name) or not (where.engines / f"{name}.py").is_file():
            raise Failed(f"there is no engine {name!r} in {where.engines}; there is: {_there(where)}")
        text = (sys.stdin.read() if is_piped else words) or ""
        seeds = config.agents_folder(agents, where)
        with joining.Joining(where, joining.starter(where, seeds)) as joined:
            import_module("adapters.cli.once")
            import_module("adapters.cli.__main__")
            running = joined.wait()
            file = given if not is_piped else None
            wish = Wish(
                prompt=f"/run {name}" + (f" {text}" if text.strip() else ""),
                files=(file,) if file is not None else (),
                is_json=is_json,
                allows=allows,
                agent=agent,
                tells_progress=not is_json,
            )
            status = talk(where, environment, running.url, wish, joined.tend)
    raise typer.Exit(status)


@app.command("list")
def list_engines(home: HomeOption = None, is_json: JsonOption = False) -> None:
    """Every engine, with its version and what it does."""
    with told():
        from workers.engine.shelf import load

        where, _ = surroundings(home)
        found = [load(path) for path in sorted(where.engines.glob("*.py"))]
    if is_json:
        say_document([{"name": one.name, "version": one.version, "description": one.description} for one in found])
    elif not found:
        typer.echo(f"no engines in {where.engines}; `factory engine new NAME` writes one", err=True)
    else:
        rows = [(one.name, one.version, one.description) for one in found]
        say_table([("NAME", "VERSION", "DESCRIPTION"), *rows])
