"""`factory tools`: what agents can do, for people to see and for other programs to use."""

import signal
from typing import Annotated

import typer

from factory_cli import config, privacy
from factory_cli.console import HomeOption, JsonOption, say_table, surroundings, told
from factory_cli.home import Home
from factory_cli.ink import say_document

app = typer.Typer(help="What agents can do, also for other programs: list, serve.", no_args_is_help=True)

MAX_LINE = 80


@app.command("list")
def list_tools(home: HomeOption = None, is_json: JsonOption = False) -> None:
    """Every tool, and what it does to the world."""
    with told():
        import asyncio

        from factory_cli.offering import offered

        where, _ = surroundings(home)
        where.prepare()
        specs = [tool.spec for tool in asyncio.run(offered(where))]
    if is_json:
        say_document(
            [
                {
                    "name": spec.name,
                    "effect": spec.effect,
                    "is_idempotent": spec.is_idempotent,
                    "description": spec.description,
                }
                for spec in specs
            ]
        )
        return
    say_table(
        [("NAME", "EFFECT", "DESCRIPTION"), *((spec.name, spec.effect, _line(spec.description)) for spec in specs)]
    )


@app.command("serve")
def serve_tools(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Which tools; no others can be called.")],
    home: HomeOption = None,
) -> None:
    """Serve tools over MCP to the program that starts this one."""
    # The library waits for its next line in a thread, which no polite end would interrupt.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with told():
        import asyncio

        privacy.seal()
        where, environment = surroundings(home)
        # Standard output is the protocol's, so that all talk goes to standard error.
        privacy.report("WARNING", privacy.of_surroundings(environment.nats_url))
        where.prepare()
        asyncio.run(_serve(where, names))


async def _serve(where: Home, names: list[str]) -> None:
    from importlib.metadata import version

    from adapters.tools.mcp import serve
    from factory_cli.offering import OCCASION, chosen, offered
    from hub.kernel.secrecy import Redactor
    from workers.clipool.discretion import discreet_tool

    redactor = Redactor.of(config.secrets())
    tools = chosen(await offered(where), names)
    await serve(tuple(discreet_tool(tool, redactor) for tool in tools), OCCASION, version("factory-chat"))


def _line(description: str) -> str:
    """The beginning of a description, on one line."""
    line = description.partition("\n")[0]
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 1].rstrip()}…"
