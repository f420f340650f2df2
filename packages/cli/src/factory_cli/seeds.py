"""Agent seeds: from a folder of TOML files to agents and their bindings.

Every complaint is a `BadConfiguration` that names file, line and key. All of a folder's faults are gathered, so that
whoever mends them need not find one after the other.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, ParamSpec, TypeVar

from pydantic import ValidationError

from adapters.tools import skills
from factory_cli import config, models
from factory_cli.document import BadConfiguration, Table, read, shown, similar
from factory_contracts.subjects import BadToken, bot_token, capability_token, platform_token, scope_token
from factory_contracts.work import Approvals, Files, Limits, McpServer
from hub.kernel.addresses import EVERYWHERE
from hub.kernel.agent import Agent, WhileRunning
from hub.kernel.choice import Choice, rank
from hub.kernel.routing import Binding, Bindings
from hub.kernel.secrecy import LOOKS_ALONE

P = ParamSpec("P")
T = TypeVar("T")

Memory = Literal["scope", "person", "agent"]
Asks = Literal["always", "tainted", "never"]
AsksOutside = Literal["always", "tainted"]

# Spelled here too, so that a look at a seed does not load every tool; a test holds it against the worker's own.
TOOLS = ("calculator", "choices", "clock", "fetch", "remember", "recall", "forget")
BINDINGS = "bindings.toml"
SKILLS = "skills"
PLUGINS = "plugins"
ROUTE = "route:"
DEPTH = 3
DIGEST = 12
MOST_THINKING = 1_000_000
MOST_MINUTES = 24 * 60
MAX_DOMAIN = 253

_NONE: tuple[str, ...] = ()
_LIMITS = ("max_calls", "max_seconds", "max_tokens", "stall_seconds")
_SERVER_TEXTS = (("name", None), ("url", ""), ("bearer", ""))
_MEMORIES: tuple[Memory, ...] = ("scope", "person", "agent")
_ASKS: tuple[Asks, ...] = ("always", "tainted", "never")
_ASKS_OUTSIDE: tuple[AsksOutside, ...] = ("always", "tainted")
_WHILE_RUNNING: tuple[WhileRunning, ...] = ("queue", "steer", "interrupt")
_ENGINE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
# What an agent's field is called in its file where that is another name.
_KEYS: Mapping[str, str] = MappingProxyType({"helpers": "agents", "is_dry": "dry_run"})
_A_FOLDER = "comes with a folder: write a [files] table"
_BROUGHT_BY: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("file", "files", "list_files", "read_file", "search_files"), _A_FOLDER),
        **dict.fromkeys(("write_file", "edit_file", "make_folder", "move_file", "delete_file"), _A_FOLDER),
        **dict.fromkeys(("skill", "skills", "read_skill"), 'comes with skills: write skills = ["NAME"]'),
        "mcp": "comes from a server: write an [[mcp]] table",
    }
)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The model that serves where an agent's file leaves it open, and those that serve when it fails."""

    model: str
    fallbacks: tuple[str, ...] = ()
    allow_unpriced: bool = False


@dataclass(frozen=True, slots=True)
class Plugin:
    """A named bundle of tools and of words about them."""

    tools: tuple[str, ...] = ()
    prompt: str = ""


Resolve = Callable[[str], Resolved]
Routes = Mapping[str, config.Route]


@dataclass(frozen=True, slots=True)
class Examined:
    """What a folder holds, as far as it is in order, and everything that is not."""

    bindings: Bindings
    faults: tuple[BadConfiguration, ...]


def as_written(model: str) -> Resolved:
    """Leave open what is open."""
    return Resolved(model)


def by_surroundings(variables: Mapping[str, str], script: Path | None = None) -> Resolve:
    """What answers for `auto` here: a script where there is one, else what keys and servers are found; looked at once.

    A server of one's own has no price.
    """

    @cache
    def resolve(model: str) -> Resolved:
        found = models.SCRIPTED if script is not None else models.look(variables).model
        return Resolved(found, allow_unpriced=found.partition(":")[0] in models.SERVERS)

    return resolve


def load(folder: Path, resolve: Resolve = as_written, routes: Routes | None = None) -> Bindings:
    """Every agent of the folder and who serves where. Raises the first `BadConfiguration`.

    `resolve` says what answers for "auto", `routes` what for "route:<class>"; without routes that stays as it is.
    """
    examined = examine(folder, resolve, routes)
    for fault in examined.faults:
        raise fault
    return examined.bindings


def examine(folder: Path, resolve: Resolve = as_written, routes: Routes | None = None) -> Examined:
    """All that is in order in a folder of seeds, and every fault, file by file."""
    return _Folder(folder, resolve, routes).examine()


@dataclass(slots=True)
class _Seed:
    """A file that is being read: where a key is at fault, that is noted, and reading goes on."""

    top: Table
    faults: list[BadConfiguration] = field(default_factory=list)

    def get(self, otherwise: T, read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What is read, or something else where it cannot be."""
        try:
            return read(*arguments, **named)
        except BadConfiguration as fault:
            self.faults.append(fault)
            return otherwise

    def note(self, table: Table, key: str, reason: str) -> None:
        """Note what is wrong with a key."""
        self.faults.append(table.wrong(key, reason))

    def note_unknown(self, key: str, kind: str, name: str, known: Iterable[str]) -> None:
        """Note a name that nobody knows."""
        self.faults.append(_unknown(self.top, key, kind, name, known))

    def known(self, key: str, kind: str, known: Sequence[str]) -> tuple[str, ...]:
        """The names of a list that are known."""
        names = self.get(_NONE, self.top.texts, key)
        for name in names:
            if name not in known:
                self.note_unknown(key, kind, name, known)
        return tuple(name for name in names if name in known)

    def done(self, table: Table) -> None:
        """Note each key of a table that nobody asked for."""
        self.faults += table.unknown()

    @property
    def sorted_faults(self) -> list[BadConfiguration]:
        """What is wrong, from the first line to the last."""
        return sorted(self.faults, key=lambda fault: fault.line or 0)


@dataclass(slots=True)
class _Draft:
    """An agent before the agents that it may ask are known."""

    seed: _Seed
    name: str
    helpers: tuple[str, ...]
    make: Callable[[tuple[Agent, ...]], Agent]


class _Folder:
    """A folder of seeds that is being read."""

    def __init__(self, folder: Path, resolve: Resolve, routes: Routes | None) -> None:
        self._folder = folder
        self._resolve = resolve
        self._routes = routes
        self._faults: list[BadConfiguration] = []
        self._skills = tuple(sorted(path.parent.name for path in (folder / SKILLS).glob(f"*/{skills.MAIN}")))
        self._plugins: dict[str, Plugin] = {}
        self._drafts: dict[str, _Draft] = {}
        # Agents that are there but cannot be read: nobody is told that these are unknown.
        self._names: dict[str, None] = {}

    def examine(self) -> Examined:
        for path in sorted((self._folder / PLUGINS).glob("*.toml")):
            self._plugins[path.stem] = self._plugin(path)
        agents = [path for path in sorted(self._folder.glob("*.toml")) if path.name != BINDINGS]
        seeds = [self._draft(path) for path in agents]
        made = self._made()
        for seed in seeds:
            self._faults += seed.sorted_faults if isinstance(seed, _Seed) else [seed]
        bindings: tuple[Binding, ...] = ()
        if agents:
            bindings = self._bindings()
        else:
            words = "holds no agent; an agent is a file like assistant.toml, and `factory agent new` writes one"
            self._faults.append(BadConfiguration(shown(self._folder), None, "", words))
        return Examined(Bindings(made, bindings), tuple(self._faults))

    # Agents

    def _draft(self, path: Path) -> _Seed | BadConfiguration:
        try:
            top = read(path)
        except BadConfiguration as fault:
            self._names[path.stem] = None
            return fault
        seed = _Seed(top)
        name = seed.get(path.stem, _name, top, path.stem)
        draft = self._read(seed, name, path)
        if name in self._names:
            seed.note(top, "name", f"{name!r} is taken by another file of this folder")
            return seed
        self._names[name] = None
        self._drafts[name] = draft
        return seed

    def _read(self, seed: _Seed, name: str, path: Path) -> _Draft:
        """Everything that the file says of itself."""
        top, get = seed.top, seed.get
        used = [self._plugins[plugin] for plugin in seed.known("plugins", "plugin", tuple(self._plugins))]
        tools = (*_tools(seed), *(tool for plugin in used for tool in plugin.tools))
        shelf = tuple(self._shelf(seed))
        system = get("", _system, top, path)
        resolved = get(Resolved(models.SCRIPTED), self._model, top)
        fallbacks = (*resolved.fallbacks, *_fallbacks(seed))
        helpers = get(_NONE, top.texts, "agents")
        workers = _workers(seed)
        engines = _engines(seed)
        limits = _limits(seed)
        approvals = _approvals(seed)
        files = _files(seed, path.parent)
        servers = tuple(_servers(seed))
        namespace = get("", top.text, "namespace", "")
        memory = get(_MEMORIES[0], _memory, top)
        temperature = get(None, _temperature, top)
        thinking = get(0, top.integer, "thinking", 0, 0, MOST_THINKING)
        own_tools = get(_NONE, top.texts, "own_tools")
        permission_mode = get(None, _permission_mode, top)
        is_dry = get(False, top.flag, "dry_run", False)
        allow_unpriced = get(False, top.flag, "allow_unpriced", False)
        while_running = get(_WHILE_RUNNING[0], _while_running, top)
        description = get("", top.text, "description", "")
        seed.done(top)

        def make(asked: tuple[Agent, ...]) -> Agent:
            return Agent(
                name=name,
                model=resolved.model,
                fallbacks=tuple(model for model in dict.fromkeys(fallbacks) if model != resolved.model),
                system="\n\n".join(part for part in (system, *(one.prompt for one in used), _told(shelf)) if part),
                tools=tuple(dict.fromkeys(tools)),
                skills=tuple(skill.name for skill in shelf),
                mcp=servers,
                helpers=asked,
                workers=workers,
                engines=engines,
                files=files,
                memory=memory,
                namespace=namespace,
                temperature=temperature,
                thinking=thinking,
                own_tools=own_tools,
                permission_mode=permission_mode,
                is_dry=is_dry,
                allow_unpriced=allow_unpriced or resolved.allow_unpriced,
                while_running=while_running,
                limits=limits,
                approvals=approvals,
                description=description,
            )

        return _Draft(seed, name, helpers, make)

    def _model(self, top: Table) -> Resolved:
        name = top.text("model")
        if name == models.AUTO:
            return self._resolve(name)
        if not name.startswith(ROUTE):
            return Resolved(config.model_name(top, "model", name))
        if self._routes is None:
            return Resolved(name)
        route = self._routes.get(name.removeprefix(ROUTE))
        if route is None:
            known = tuple(self._routes)
            near = similar(name.removeprefix(ROUTE), known)
            there = ", ".join(known) or "none; one is a table [routes.NAME] of factory.toml"
            raise top.wrong("model", f"unknown route {name.removeprefix(ROUTE)!r}{near}; there are: {there}")
        choices = [Choice(one.model, one.cost, one.success, one.attempts) for one in route.choices]
        first, *rest = (one.choice.model for one in rank(choices, route.min_success))
        return Resolved(first, tuple(rest))

    def _shelf(self, seed: _Seed) -> Iterator[skills.Skill]:
        for name in seed.known("skills", "skill", self._skills):
            try:
                yield skills.load(self._folder / SKILLS, name)
            except skills.SkillError as error:
                seed.note(seed.top, "skills", str(error))

    def _made(self) -> dict[str, Agent]:
        """Every agent whose own file and whose helpers' files are in order."""
        for draft in self._drafts.values():
            for name in draft.helpers:
                if name not in self._names:
                    draft.seed.note_unknown("agents", "agent", name, self._names)
        self._complain_of_chains()
        agents: dict[str, Agent] = {}
        waiting = {name: draft for name, draft in self._drafts.items() if not draft.seed.faults}
        while ready := [draft for draft in waiting.values() if all(helper in agents for helper in draft.helpers)]:
            for draft in ready:
                del waiting[draft.name]
                try:
                    agents[draft.name] = draft.make(tuple(agents[helper] for helper in draft.helpers))
                except ValidationError as error:
                    draft.seed.faults += _complaints(draft.seed.top, error)
        return {name: agents[name] for name in self._drafts if name in agents}

    def _complain_of_chains(self) -> None:
        """An agent that waits for itself would never be answered, and in a long chain nobody sees who does what."""
        chains: dict[str, tuple[str, ...]] = {}
        way: list[str] = []

        def follow(name: str) -> tuple[str, ...]:
            """The longest chain of agents from here on; none where it leads into a circle."""
            if name in way:
                circle = " -> ".join((*way[way.index(name) :], name))
                seed = self._drafts[name].seed
                seed.note(seed.top, "agents", f"they ask each other in a circle: {circle}; take one of them out")
                return ()
            if name not in chains and name in self._drafts:
                way.append(name)
                below = [follow(helper) for helper in self._drafts[name].helpers]
                way.pop()
                chains[name] = (name, *max(below, key=len, default=())) if all(below) else ()
            return chains.get(name, (name,))

        for name, draft in self._drafts.items():
            chain = follow(name)
            if len(chain) - 1 > DEPTH:
                words = f"they ask each other {len(chain) - 1} deep, and {DEPTH} is the most: {' -> '.join(chain)}"
                draft.seed.note(draft.seed.top, "agents", words)

    # Plugins and bindings

    def _plugin(self, path: Path) -> Plugin:
        try:
            seed = _Seed(read(path))
        except BadConfiguration as fault:
            self._faults.append(fault)
            return Plugin()
        seed.get("", seed.top.text, "description", "")
        plugin = Plugin(_tools(seed), seed.get("", seed.top.text, "prompt", "").strip())
        seed.done(seed.top)
        self._faults += seed.sorted_faults
        return plugin

    def _bindings(self) -> tuple[Binding, ...]:
        path = self._folder / BINDINGS
        if not path.exists():
            if len(self._names) == 1:
                return tuple(Binding(name) for name in self._names)
            words = "is missing; with several agents it must say who serves where"
            self._faults.append(BadConfiguration(shown(path), None, "", words))
            return ()
        try:
            seed = _Seed(read(path))
        except BadConfiguration as fault:
            self._faults.append(fault)
            return ()
        top, names = seed.top, tuple(self._names)
        found: list[Binding | None] = []
        if "default" in top:
            name = seed.get("", _agent_named, top, "default", names)
            found.append(Binding(name) if name else None)
        top.asked.add("default")
        for table in seed.get((), _tables, top, "binding"):
            found.append(seed.get(None, _binding, table, names))
            seed.done(table)
        seed.done(top)
        self._faults += seed.sorted_faults
        return tuple(binding for binding in found if binding is not None)


def _name(top: Table, stem: str) -> str:
    name = top.text("name", stem)
    try:
        return bot_token(name)
    except BadToken:
        raise top.wrong("name", f"{name!r} must be 1 to 32 of a-z, 0-9, '_' and '-'") from None


def _system(top: Table, path: Path) -> str:
    system, soul = top.text("system", ""), top.text("soul", "")
    if not soul:
        return system.strip()
    if system:
        raise top.wrong("soul", "an agent has either a system text or a soul, not both")
    file = path.parent / soul
    try:
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise top.wrong("soul", f"{soul!r} leaves the folder of the agents")
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise top.wrong("soul", f"{soul!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise top.wrong("soul", f"{soul!r} is not UTF-8") from error
    except ValueError as error:
        raise top.wrong("soul", f"{soul!r} is no path: {error}") from error


def _told(shelf: tuple[skills.Skill, ...]) -> str:
    """What the agent is told of its skills; the digest makes it another agent when a skill changes."""
    if not shelf:
        return ""
    digests = ", ".join(f"{skill.name} {skill.digest[:DIGEST]}" for skill in shelf)
    return f"{skills.lines(shelf)}\n(As of: {digests}.)"


def _tools(seed: _Seed) -> tuple[str, ...]:
    """The tools that a list names; what is no tool by itself is told how to come by."""
    names = seed.get(_NONE, seed.top.texts, "tools")
    for name in names:
        if name.startswith("ask_"):
            helper = name.removeprefix("ask_")
            seed.note(seed.top, "tools", f'{name!r} is another agent: write agents = ["{helper}"]')
        elif name.startswith("run_"):
            engine = name.removeprefix("run_")
            seed.note(seed.top, "tools", f'{name!r} is an engine: write engines = ["{engine}"]')
        elif name in _BROUGHT_BY:
            seed.note(seed.top, "tools", f"{name!r} {_BROUGHT_BY[name]}")
        elif name not in TOOLS:
            seed.note_unknown("tools", "tool", name, TOOLS)
    return tuple(name for name in names if name in TOOLS)


def _workers(seed: _Seed) -> tuple[str, ...]:
    names = seed.get(_NONE, seed.top.texts, "workers")
    return tuple(name for name in names if seed.get("", _capability, seed.top, name))


def _capability(top: Table, name: str) -> str:
    try:
        return capability_token(name)
    except BadToken as error:
        raise top.wrong("workers", str(error)) from None


def _engines(seed: _Seed) -> tuple[str, ...]:
    names = seed.get(_NONE, seed.top.texts, "engines")
    for name in names:
        if not _ENGINE.fullmatch(name):
            words = f"{name!r} is no engine's name: that is 1 to 32 of a-z, 0-9 and '_', and begins with a letter"
            seed.note(seed.top, "engines", words)
    return tuple(name for name in names if _ENGINE.fullmatch(name))


def _fallbacks(seed: _Seed) -> tuple[str, ...]:
    names = seed.get(_NONE, seed.top.texts, "fallbacks")
    return tuple(seed.get(name, config.model_name, seed.top, "fallbacks", name) for name in names)


def _memory(top: Table) -> Memory:
    return top.one_of("memory", _MEMORIES, _MEMORIES[0])


def _while_running(top: Table) -> WhileRunning:
    return top.one_of("while_running", _WHILE_RUNNING, _WHILE_RUNNING[0])


def _temperature(top: Table) -> float | None:
    top.asked.add("temperature")
    return top.number("temperature", None, 0, 2) if "temperature" in top else None


def _permission_mode(top: Table) -> str | None:
    top.asked.add("permission_mode")
    return top.text("permission_mode") if "permission_mode" in top else None


def _files(seed: _Seed, folder: Path) -> Files | None:
    seed.top.asked.add("files")
    table = seed.get(None, seed.top.table, "files") if "files" in seed.top else None
    if table is None:
        return None
    files = Files(root=seed.get("", _root, table, folder), can_write=seed.get(False, table.flag, "can_write", True))
    seed.done(table)
    return files


def _root(table: Table, folder: Path) -> str:
    """The folder's absolute path; empty where the worker is to keep one."""
    root = table.text("root", "")
    if "root" not in table:
        return ""
    if not root.strip() or "\0" in root:
        raise table.wrong("root", "must be the path of a folder; without it the worker keeps one for the agent")
    try:
        path = Path(root).expanduser()
    except RuntimeError:
        raise table.wrong("root", f"{root!r}: nobody knows whose home that is") from None
    return str(path if path.is_absolute() else folder.absolute() / path)


def _tables(top: Table, key: str) -> tuple[Table, ...]:
    return tuple(top.tables(key))


def _servers(seed: _Seed) -> Iterator[McpServer]:
    names: set[str] = set()
    for table in seed.get((), _tables, seed.top, "mcp"):
        server = _server(seed, table)
        seed.done(table)
        if server is not None and server.name in names:
            seed.note(table, "name", f"{server.name!r} is the name of another server of this agent")
        elif server is not None:
            names.add(server.name)
            yield server


def _server(seed: _Seed, table: Table) -> McpServer | None:
    before = len(seed.faults)
    name, url, bearer = (seed.get("", table.text, key, default) for key, default in _SERVER_TEXTS)
    command = seed.get(_NONE, table.texts, "command", may_repeat=True)
    env, reads = seed.get(_NONE, table.texts, "env"), seed.get(_NONE, table.texts, "reads")
    is_trusted = seed.get(False, table.flag, "trusted", False)
    if len(seed.faults) > before:
        return None
    if bool(command) == bool(url):
        seed.note(table, "command" if command else "", "a server has a command or a url, and not both")
    if url and not re.match(r"https?://[^/\s]", url):
        seed.note(table, "url", "must begin with http:// or https:// and name a host")
    if url and env:
        seed.note(table, "env", "goes with a command; what a url needs is a bearer")
    if command and "bearer" in table:
        seed.note(table, "bearer", "goes with a url; what a command needs is env")
    if any(LOOKS_ALONE.redact(word) != word for word in command):
        seed.note(table, "command", "holds a secret, and everybody on the machine can see commands; use env for it")
    if LOOKS_ALONE.redact(url) != url:
        seed.note(table, "url", "holds a secret; name a variable that does, as bearer")
    # Whoever writes the secret itself here must not find it in an error message too.
    if any(not _VARIABLE.fullmatch(variable) for variable in env):
        seed.note(table, "env", "names variables of the worker's surroundings, without their values")
    if "bearer" in table and not _VARIABLE.fullmatch(bearer):
        seed.note(table, "bearer", "names a variable of the worker's surroundings that holds the secret")
    try:
        return McpServer(
            name=name,
            command=command,
            url=url,
            env=env,
            bearer=bearer or None,
            reads=reads,
            trusted=is_trusted or None,
        )
    except ValidationError as error:
        if len(seed.faults) == before:
            seed.faults += _complaints(table, error)
        return None


def _limits(seed: _Seed) -> Limits:
    table = seed.get(None, seed.top.table, "limits")
    if table is None:
        return Limits()
    # The bounds are the contract's own; here they only find their way to file and line.
    given = {key: seed.get(None, table.integer, key, 0, -(2**62), 2**62) for key in _LIMITS if key in table}
    table.asked.update(_LIMITS)
    seed.done(table)
    try:
        return Limits(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        seed.faults += _complaints(table, error)
        return Limits()


def _approvals(seed: _Seed) -> Approvals:
    seed.top.asked.add("approvals")
    table = seed.get(None, seed.top.table, "approvals") if "approvals" in seed.top else None
    if table is None:
        return Approvals()
    default = Approvals()
    approvals = Approvals(
        external=seed.get(default.external, table.one_of, "external", _ASKS_OUTSIDE, default.external),
        write=seed.get(default.write, table.one_of, "write", _ASKS, default.write),
        seconds=60 * seed.get(1, table.integer, "minutes", default.seconds // 60, 1, MOST_MINUTES),
        domains=seed.get(_NONE, _domains, table),
    )
    seed.done(table)
    return approvals


def _domains(table: Table) -> tuple[str, ...]:
    domains = tuple(domain.lower() for domain in table.texts("domains"))
    for domain in domains:
        if domain != EVERYWHERE and (len(domain) > MAX_DOMAIN or not _DOMAIN.fullmatch(domain)):
            raise table.wrong("domains", f"{domain!r} is no domain; one is written as in example.org")
    return domains


def _complaints(table: Table, error: ValidationError) -> Iterator[BadConfiguration]:
    """What a contract does not allow, by the keys of the file."""
    for one in error.errors(include_url=False):
        where = str(one["loc"][0]) if one["loc"] else ""
        reason = f"{one['msg'][:1].lower()}{one['msg'][1:]}"
        said = f", not {one['input']}" if isinstance(one["input"], int) else ""
        yield table.wrong(_KEYS.get(where, where), f"{reason}{said}")


def _unknown(table: Table, key: str, kind: str, name: str, known: Iterable[str]) -> BadConfiguration:
    there = ", ".join(known) or "none"
    return table.wrong(key, f"unknown {kind} {name!r}{similar(name, tuple(known))}; there are: {there}")


def _binding(table: Table, agents: tuple[str, ...]) -> Binding:
    table.asked.update(("agent", "platform", "bot_id", "scope_id"))
    return Binding(
        agent=_agent_named(table, "agent", agents),
        platform=_part(table, "platform", platform_token),
        bot_id=_part(table, "bot_id", bot_token),
        scope_id=_part(table, "scope_id", scope_token),
    )


def _agent_named(table: Table, key: str, agents: tuple[str, ...]) -> str:
    name = table.text(key)
    if name not in agents:
        raise _unknown(table, key, "agent", name, agents)
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
