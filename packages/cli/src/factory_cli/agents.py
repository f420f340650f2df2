"""`factory agent`: who there is to talk to."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from factory_cli import config, console
from factory_cli.console import AgentsOption, Failed, HomeOption, JsonOption, is_piped, say_table, surroundings, told
from factory_cli.document import BadConfiguration
from factory_cli.home import Home, write_atomically
from factory_cli.ink import block, harmless, say_document, say_lines, width

app = typer.Typer(help="Who there is to talk to: list, show, new, validate, test.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]

TEMPLATES = "templates"
BINDINGS = "bindings.toml"
DEFAULT_TEMPLATE = "assistant"
_DEFAULTS: tuple[object, ...] = (None, [], "", 0, False, "scope", "queue")
QUESTION = "Who are you, and what can you do for me? Answer in a few sentences."


@app.command("list")
def list_agents(agents: AgentsOption = None, home: HomeOption = None, is_json: JsonOption = False) -> None:
    """Every agent, and which one serves by default."""
    with told():
        from factory_cli.seeds import load
        from hub.kernel.routing import RoutingKey

        where, _ = surroundings(home)
        found = load(config.agents_folder(agents, where))
        here = found.agent_for(RoutingKey(config.LOCAL_PLATFORM, config.LOCAL_BOT, "-"))
        ordered = sorted(found.agents.values(), key=lambda agent: agent.name)
    if is_json:
        say_document(
            [
                {
                    "name": agent.name,
                    "model": agent.model,
                    "tools": agent.tools,
                    "hash": agent.hash,
                    "description": agent.description,
                    "is_default": agent is here,
                }
                for agent in ordered
            ]
        )
        return
    rows = [(f"{agent.name}{' *' if agent is here else ''}", agent.model, agent.description) for agent in ordered]
    say_table([("NAME", "MODEL", "DESCRIPTION"), *rows])


@app.command("show")
def show(name: NameArgument, agents: AgentsOption = None, home: HomeOption = None, is_json: JsonOption = False) -> None:
    """One agent, whole, as a model is shown it."""
    with told():
        from factory_cli.seeds import load

        where, _ = surroundings(home)
        folder = config.agents_folder(agents, where)
        agent = load(folder).agents.get(name)
        if agent is None:
            raise Failed(f"no agent {name!r} in {folder}; `factory agent list` names them")
    content = agent.spec().model_dump(mode="json", exclude={"schema_version"})
    if is_json:
        say_document(content | {"while_running": agent.while_running})
        return
    system = content.pop("system")
    # Nothing else is worth a line when it is as by default; no tools and how far a turn may go are.
    always = {"tools": ", ".join(agent.tools) or "none", "limits": _spelled(content.pop("limits"))}
    del content["tools"], content["helpers"]
    content["agents"] = [helper.name for helper in agent.helpers]
    content["mcp"] = [f"{server.name} ({server.url or ' '.join(server.command)})" for server in agent.mcp]
    content["while_running"] = agent.while_running
    rows = [(key, _spelled(value)) for key, value in content.items() if value not in _DEFAULTS]
    say_table([*rows, *always.items()])
    if system:
        typer.echo(f"\n{system}")


@app.command("new")
def new(
    name: NameArgument,
    template: Annotated[
        str, typer.Option("--template", metavar="NAME", help="assistant, researcher, coder or minimal.")
    ] = DEFAULT_TEMPLATE,
    is_forced: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    agents: AgentsOption = None,
    home: HomeOption = None,
) -> None:
    """Write a file for a new agent, in which every key is explained."""
    with told():
        from factory_cli.seeds import examine

        where, _ = surroundings(home)
        text = _template(template)
        _check_name(name)
        folder = agents.absolute() if agents is not None else _own_seeds(where)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{name}.toml"
        others = [one for one in examine(folder).bindings.agents if one != name]
        if path.exists() and not is_forced:
            raise Failed(f"{path} is there already; --force writes over it")
        _bring_skills(folder, text)
        write_atomically(path, text)
        if len(others) == 1 and not (folder / BINDINGS).exists():
            write_atomically(folder / BINDINGS, f'default = "{others[0]}"\n')
        faults = examine(folder).faults
    typer.echo(str(path))
    for fault in faults:
        typer.echo(f"factory: {fault}", err=True)
    at = f" --agents {agents}" if agents is not None else ""
    typer.echo(f"Try it: factory agent test {name}{at}. Talk with it: factory chat --agent {name}{at}", err=True)


@app.command("validate")
def validate(agents: AgentsOption = None, home: HomeOption = None) -> None:
    """Check every seed; all that is wrong is named with file, line and key."""
    with told():
        from factory_cli.seeds import examine

        where, _ = surroundings(home)
        folder = config.agents_folder(agents, where)
        faults: list[BadConfiguration] = []
        routes = None
        try:
            routes = config.load(where.configuration).routes
        except BadConfiguration as error:
            faults.append(error)
        found = examine(folder, routes=routes)
        faults += found.faults
    for fault in faults:
        typer.echo(f"factory: {fault}", err=True)
    if faults:
        raise typer.Exit(1)
    bindings = found.bindings
    typer.echo(f"{len(bindings.agents)} agents and {len(bindings.bindings)} bindings in {folder} are in order")


@app.command("test")
def test(
    name: NameArgument,
    prompt: Annotated[
        str | None, typer.Option("-p", "--prompt", metavar="TEXT", callback=console.utf8, help="What it is asked.")
    ] = None,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Change nothing: only tell what would be done.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", callback=console.utf8, help="Another model, for all of it.")
    ] = None,
    agents: AgentsOption = None,
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """Ask an agent once, here, and show what it did. Budgets do not hold; costs are shown."""
    with told():
        from adapters.models.scripted import ScriptError
        from factory_cli import trace, trial
        from factory_cli.seeds import by_surroundings, load

        where, environment = surroundings(home)
        where.prepare()
        configuration = config.load(where.configuration)
        folder = config.agents_folder(agents, where)
        settings, variables = trial.equipment(where, environment, folder, configuration.prices)
        resolve = by_surroundings(variables, environment.script)
        agent = load(folder, resolve, configuration.routes).agents.get(name)
        if agent is None:
            raise Failed(f"no agent {name!r} in {folder}; `factory agent list` names them")
        trial.hush()
        wanted = resolve(model).model if model == "auto" else model
        agent = trial.prepared(agent, model=wanted, is_dry=is_dry)
        try:
            ask = _allowed if not is_piped() and sys.stderr.isatty() else None
            tried = trial.try_out(agent, _asked(prompt), environment.person, settings, _warn, ask)
        except ScriptError as error:
            raise Failed(f"FACTORY_SCRIPT: {error}") from None
    if is_json:
        say_document(
            {
                "agent": name,
                "model": agent.model,
                "outcome": tried.outcome,
                "reason": tried.reason,
                "answer": tried.answer,
                "steps": [step.model_dump() for step in tried.steps],
                "usage": tried.total.as_json(),
            }
        )
    else:
        is_color = sys.stdout.isatty() and not environment.is_plain
        say_lines(block(tried.answer, 0, None), is_color=is_color)
        typer.echo()
        say_lines(trace.of_steps(tried.steps, width()), is_color=is_color)
        typer.echo(f"{tried.outcome}: {trace.of_total(tried.total)}")
    if tried.outcome == "failed":
        typer.echo(f"factory: {name} failed: {harmless(tried.reason) or 'it came to no end'}", err=True)
        raise typer.Exit(1)


def _asked(prompt: str | None) -> str:
    if prompt is not None:
        return prompt
    try:
        piped = sys.stdin.read().strip() if is_piped() else ""
    except UnicodeDecodeError:
        raise typer.BadParameter("what is piped in is not UTF-8") from None
    return piped or QUESTION


async def _allowed(question: str) -> bool:
    """Ask at the terminal; whatever is not yes is no."""
    import asyncio

    typer.echo(f"\n{question}\n[y/N] ", err=True, nl=False)
    loop = asyncio.get_running_loop()
    is_there = loop.create_future()
    # Reading in a thread could not be called off.
    loop.add_reader(sys.stdin, is_there.set_result, None)
    try:
        await is_there
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _warn(words: str) -> None:
    typer.echo(f"factory: {words}", err=True)


def _template(name: str) -> str:
    folder = config.programs_own() / TEMPLATES
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if name not in known:
        raise typer.BadParameter(f"no template {name!r}; there are: {', '.join(known)}")
    return (folder / f"{name}.toml").read_text(encoding="utf-8")


def _check_name(name: str) -> None:
    from factory_contracts.subjects import BadToken, bot_token

    try:
        bot_token(name)
    except BadToken:
        raise typer.BadParameter(f"{name!r} must be 1 to 32 of a-z, 0-9, '_' and '-'") from None
    if f"{name}.toml" == BINDINGS:
        raise typer.BadParameter(f"{BINDINGS} says who serves where; choose another name")


def _own_seeds(where: Home) -> Path:
    """The home's own seeds, which begin as those that came with the program."""
    if not where.agents.is_dir():
        where.prepare()
        # Whole or not at all: half a folder of seeds would be taken for all of it.
        beside = where.agents.with_name(f".agents.{os.getpid()}")
        shutil.copytree(config.programs_own(), beside, ignore=shutil.ignore_patterns(TEMPLATES))
        beside.rename(where.agents)
        typer.echo(f"factory: {where.agents} is yours now: a copy of the agents that came with the program", err=True)
    return where.agents


def _bring_skills(folder: Path, text: str) -> None:
    """The skills that a template names come with it where the folder has none of that name."""
    import tomllib

    for skill in tomllib.loads(text).get("skills", ()):
        target = folder / "skills" / skill
        if not target.exists():
            shutil.copytree(config.programs_own() / "skills" / skill, target)


def _spelled(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_spelled(inner)}" for key, inner in value.items() if inner not in (None, [], ""))
    if isinstance(value, list):
        return ", ".join(_spelled(inner) for inner in value)
    return str(value)
