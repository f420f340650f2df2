"""`factory agent`: who there is to talk to."""

from typing import Annotated

import typer

from factory_cli import config
from factory_cli.console import AgentsOption, Failed, HomeOption, JsonOption, say_json, say_table, surroundings, told

app = typer.Typer(help="Who there is to talk to: list, show, validate.", no_args_is_help=True)


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
        say_json(
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
def show(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    agents: AgentsOption = None,
    home: HomeOption = None,
    is_json: JsonOption = False,
) -> None:
    """One agent, whole, as a model is shown it."""
    with told():
        from factory_cli.seeds import load

        where, _ = surroundings(home)
        folder = config.agents_folder(agents, where)
        agent = load(folder).agents.get(name)
        if agent is None:
            raise Failed(f"no agent {name!r} in {folder}; `factory agent list` names them")
    content = agent.spec().model_dump(mode="json", exclude={"schema_version"}) | {"description": agent.description}
    if is_json:
        say_json(content)
        return
    system = content.pop("system")
    limits = content.pop("limits")
    tools = content.pop("tools")
    rows = [(key, str(value)) for key, value in content.items()]
    rows += [("tools", ", ".join(tools) or "none"), ("limits", ", ".join(f"{k} {v}" for k, v in limits.items()))]
    say_table(rows)
    if system:
        typer.echo(f"\n{system}")


@app.command("validate")
def validate(agents: AgentsOption = None, home: HomeOption = None) -> None:
    """Check every seed; what is wrong is named with file, line and key."""
    with told():
        from factory_cli.seeds import load

        where, _ = surroundings(home)
        folder = config.agents_folder(agents, where)
        found = load(folder)
        config.load(where.configuration)
    typer.echo(f"{len(found.agents)} agents and {len(found.bindings)} bindings in {folder} are in order")
