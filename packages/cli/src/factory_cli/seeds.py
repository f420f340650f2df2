"""Agent seeds: from a folder of TOML files to agents and their bindings.

Every complaint is a `BadConfiguration` that names file, line and key.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from factory_cli.document import BadConfiguration, Table, read, shown, similar
from factory_contracts.subjects import BadToken, bot_token, platform_token, scope_token
from factory_contracts.work import Limits
from hub.kernel.agent import Agent
from hub.kernel.routing import Binding, Bindings

# Spelled here too, so that a look at a seed does not load every tool; a test holds it against `adapters.tools`.
TOOLS = ("calculator", "clock")
BINDINGS = "bindings.toml"
_LIMITS = ("max_calls", "max_seconds")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A named bundle of tools and of words about them."""

    tools: tuple[str, ...]
    prompt: str


def load(folder: Path) -> Bindings:
    """Every agent of the folder and who serves where. Raises `BadConfiguration`."""
    plugins = {path.stem: _plugin(path) for path in sorted((folder / "plugins").glob("*.toml"))}
    agents: dict[str, Agent] = {}
    for path in sorted(folder.glob("*.toml")):
        if path.name == BINDINGS:
            continue
        top = read(path)
        agent = _agent(top, path, plugins)
        if agent.name in agents:
            raise top.wrong("name", f"{agent.name!r} is taken by another file of this folder")
        agents[agent.name] = agent
    if not agents:
        raise BadConfiguration(shown(folder), None, "", "holds no agent; an agent is a file like assistant.toml")
    return Bindings(agents, _bindings(folder / BINDINGS, agents))


def _agent(top: Table, path: Path, plugins: Mapping[str, Plugin]) -> Agent:
    name = top.text("name", path.stem)
    try:
        bot_token(name)
    except BadToken:
        raise top.wrong("name", f"{name!r} must be 1 to 32 of a-z, 0-9, '_' and '-'") from None
    used = [plugins[plugin] for plugin in _known(top, "plugins", "plugin", tuple(plugins))]
    tools = [*_known(top, "tools", "tool", TOOLS), *(tool for plugin in used for tool in plugin.tools)]
    agent = Agent(
        name=name,
        model=top.text("model"),
        system="\n\n".join(part for part in (_system(top, path), *(plugin.prompt for plugin in used)) if part),
        tools=tuple(dict.fromkeys(tools)),
        namespace=top.text("namespace", ""),
        limits=_limits(top.table("limits")),
        description=top.text("description", ""),
    )
    top.done()
    return agent


def _system(top: Table, path: Path) -> str:
    system, soul = top.text("system", ""), top.text("soul", "")
    if not soul:
        return system.strip()
    if system:
        raise top.wrong("soul", "an agent has either a system text or a soul, not both")
    file = path.parent / soul
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise top.wrong("soul", f"{soul!r} leaves the folder of the agents")
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise top.wrong("soul", f"{soul!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise top.wrong("soul", f"{soul!r} is not UTF-8") from error


def _limits(table: Table) -> Limits:
    # The bounds are the contract's own; here they only find their way to file and line.
    given = {key: table.integer(key, 0, -(2**62), 2**62) for key in _LIMITS if key in table}
    table.asked.update(_LIMITS)
    table.done()
    try:
        return Limits(**given)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{first['msg'][:1].lower()}{first['msg'][1:]}, not {first['input']}"
        raise table.wrong(str(first["loc"][0]), reason) from None


def _plugin(path: Path) -> Plugin:
    top = read(path)
    top.text("description", "")
    plugin = Plugin(_known(top, "tools", "tool", TOOLS), top.text("prompt", "").strip())
    top.done()
    return plugin


def _known(table: Table, key: str, kind: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = table.texts(key)
    for name in names:
        if name not in known:
            there = ", ".join(known) or "none"
            raise table.wrong(key, f"unknown {kind} {name!r}{similar(name, known)}; there are: {there}")
    return names


def _bindings(path: Path, agents: Mapping[str, Agent]) -> tuple[Binding, ...]:
    if not path.exists():
        if len(agents) == 1:
            return tuple(Binding(name) for name in agents)
        raise BadConfiguration(shown(path), None, "", "is missing; with several agents it must say who serves where")
    top = read(path)
    found: list[Binding] = []
    if "default" in top:
        found.append(Binding(_agent_named(top, "default", agents)))
    top.asked.add("default")
    for table in top.tables("binding"):
        binding = Binding(
            agent=_agent_named(table, "agent", agents),
            platform=_part(table, "platform", platform_token),
            bot_id=_part(table, "bot_id", bot_token),
            scope_id=_part(table, "scope_id", scope_token),
        )
        table.done()
        found.append(binding)
    top.done()
    return tuple(found)


def _agent_named(table: Table, key: str, agents: Mapping[str, Agent]) -> str:
    name = table.text(key)
    if name not in agents:
        raise table.wrong(key, f"unknown agent {name!r}{similar(name, tuple(agents))}; there are: {', '.join(agents)}")
    return name


def _part(table: Table, key: str, check: Callable[[str], str]) -> str | None:
    value = table.text(key, "")
    if key not in table:
        return None
    try:
        check(value)
    except BadToken as error:
        raise table.wrong(key, str(error)) from None
    return value
