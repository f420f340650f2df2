"""The commands that are one process each, as the supervisor starts them and as a container or unit does."""

import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from factory_cli import config, privacy, secret, spokes
from factory_cli.config import Bot, Configuration
from factory_cli.console import AgentsOption, Failed, HomeOption, UnderOption, run, surroundings, told
from factory_cli.home import Home
from factory_cli.platforms import DISCORD, PLATFORMS, TELEGRAM, Platform
from factory_contracts import subjects

DEFAULT_URL = "nats://127.0.0.1:4222"
# Processes may start in any order: one that comes first waits for the bus.
PATIENCE = 3600.0
_SET_PARENT_DEATH_SIGNAL = 1
_ADAPTERS = ", ".join((config.LOCAL_PLATFORM, *PLATFORMS, subjects.AGENTS))


def hub(
    home: HomeOption = None,
    agents: AgentsOption = None,
    standby: Annotated[bool, typer.Option("--standby", help="Wait until the hub that serves is gone.")] = False,
    under: UnderOption = None,
) -> None:
    """The one routing authority: accepts, logs, assigns, shows."""
    with told():
        begin(under)
        from adapters.high_water import FileHighWater
        from factory_cli import membership, models, pairing
        from factory_cli.access import policies
        from factory_cli.ending import until_told
        from factory_cli.seeds import by_surroundings, load
        from hub.composition import HubSettings, serve
        from hub.kernel.budget import Budget
        from hub.kernel.secrecy import Redactor

        where, environment = surroundings(home)
        configuration, folder = _configuration(where, under), config.agents_folder(agents, where)
        handed = secret.handed(folder)
        variables = config.providers_variables(handed=handed)
        identity = membership.identity(where, configuration, subjects.HUB)
        eraser = membership.identity(where, configuration, subjects.ERASER)
        seeds = (*membership.seeds(identity), *membership.seeds(eraser))
        known = (*config.secrets(environment.nats_url), *secret.values(variables, handed), *seeds)
        privacy.report(environment.log_level, Redactor.of(known).redact)
        settings = HubSettings(
            nats_url=environment.nats_url or DEFAULT_URL,
            identity=identity,
            eraser=eraser,
            bindings=load(folder, by_surroundings(variables, environment.script), configuration.routes),
            policies=policies(configuration),
            budgets=tuple(
                Budget(budget.name, budget.amount, budget.per, budget.period) for budget in configuration.budgets
            ),
            offers=partial(pairing.offered, where.keys),
            payer=lambda model: models.describe(model, variables).payer,
            max_pools=configuration.max_pools,
            standby=standby,
            shares=configuration.hubs > 1,
            high_water=FileHighWater(where.high_water),
        )
        raise typer.Exit(run(until_told(partial(serve, settings))))


def clipool(called: str, home: Path | None, agents: Path | None, under: int | None) -> None:
    """The worker that runs agents' turns."""
    with told():
        begin(under)
        from adapters.models.scripted import ScriptError
        from factory_cli import membership
        from factory_nats.process import leave
        from hub.kernel.secrecy import Redactor
        from workers.clipool.composition import ClipoolSettings, serve

        where, environment = surroundings(home)
        configuration, folder = _configuration(where, under), config.agents_folder(agents, where)
        handed = secret.handed(folder)
        variables = config.providers_variables(handed=handed)
        identity = membership.identity(where, configuration, called)
        known = (*config.secrets(environment.nats_url), *secret.values(variables, handed), *membership.seeds(identity))
        redactor = Redactor.of(known)
        privacy.report(environment.log_level, redactor.redact)
        settings = ClipoolSettings(
            nats_url=environment.nats_url or DEFAULT_URL,
            identity=identity,
            script=environment.script,
            folder=where.work,
            agents=folder,
            engines=where.engines,
            variables=variables,
            prices=configuration.prices,
            redactor=redactor,
            patience=PATIENCE,
        )
        try:
            status = serve(settings)
        except ScriptError as error:
            raise Failed(f"FACTORY_SCRIPT: {error}") from None
        # A function of an engine may still compute, and nobody waits for it.
        leave(status)


def service(name: str, home: Path | None, under: int | None) -> None:
    """The worker that hears and speaks, or the one that makes pictures."""
    with told():
        begin(under)
        from factory_cli import membership, services
        from hub.kernel.secrecy import Redactor

        wanted = services.SERVICES[name]
        where, environment = surroundings(home)
        configuration = _configuration(where, under)
        if wanted not in services.wanted(configuration):
            raise Failed(f"{where.configuration} has no table {wanted.tables}, so there is nothing to serve")
        for problem in services.missing(configuration, wanted):
            raise Failed(problem)
        identities = {
            worker.capability: membership.identity(where, configuration, worker.name)
            for worker in config.own_workers(configuration.voice, configuration.image)
            if worker.capability in wanted.capabilities
        }
        url, variables = environment.nats_url or DEFAULT_URL, config.keys(services.keys(configuration, wanted))
        seeds = (seed for one in identities.values() for seed in membership.seeds(one))
        known = (*config.secrets(environment.nats_url), *variables.values(), *seeds)
        privacy.report(environment.log_level, Redactor.of(known).redact)
        if name == services.VOICE:
            from workers.voice import composition as voice

            said = configuration.voice
            every = config.variables_here() | variables
            status = voice.run(voice.VoiceSettings(url, said.mouth, said.ear, identities, every, patience=PATIENCE))
        else:
            from workers.image import composition as image

            painter = None if configuration.image is None else configuration.image.painter
            status = image.run(image.ImageSettings(url, painter, identities, variables, patience=PATIENCE))
        raise typer.Exit(status)


def adapter(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"The platform: {_ADAPTERS}.")],
    bot: Annotated[str | None, typer.Option("--bot", metavar="ID", help="Which bot of it alone.")] = None,
    home: HomeOption = None,
    under: UnderOption = None,
) -> None:
    """The spoke of one platform, for all its bots; `cli` is a chat that starts nothing else."""
    with told():
        begin(under)
        where, environment = surroundings(home)
        url = environment.nats_url or DEFAULT_URL
        if name == config.LOCAL_PLATFORM:
            if bot not in (None, config.LOCAL_BOT):
                raise Failed(f"the terminal has one bot: {config.LOCAL_BOT}")
            from factory_cli.talk import Wish, talk

            raise typer.Exit(talk(where, environment, url, Wish()))
        if name == subjects.AGENTS:
            raise typer.Exit(run(_agents(where, environment, _configuration(where, under), bot)))
        if name not in PLATFORMS:
            raise Failed(f"no adapter {name!r} in this version; there are: {_ADAPTERS}")
        raise typer.Exit(run(_spoke(where, environment, _configuration(where, under), PLATFORMS[name], bot)))


def _spoke(
    where: Home, environment: config.Environment, configuration: Configuration, platform: Platform, only: str | None
) -> Coroutine[None, None, int]:
    """The work of serving all bots of a platform, or one of them; it ends in an exit status."""
    from factory_cli import membership
    from hub.kernel.secrecy import Redactor

    bots = configuration.of(platform.name)
    if not bots:
        raise Failed(
            f"{where.configuration} names no bot of {platform.title}; begin with: factory init {platform.name}"
        )
    if only is not None and only not in (bot.bot_id for bot in bots):
        raise Failed(f"no bot {only!r} of {platform.title}; there is: {', '.join(bot.bot_id for bot in bots)}")
    needs = spokes.needs(where.keys, configuration, platform.name, only)
    where.spokes.mkdir(mode=0o700, parents=True, exist_ok=True)
    served = [bot for bot in bots if bot.bot_id in needs.tokens]
    known = [*config.secrets(environment.nats_url), needs.reach.secret]
    for one in served:
        known += (
            needs.tokens[one.bot_id].value,
            *membership.seeds(membership.identity(where, configuration, one.identity)),
        )
    privacy.report(environment.log_level, Redactor.of(known).redact)
    serving = {TELEGRAM: _telegram, DISCORD: _discord}[platform.name]
    return serving(where, environment.nats_url or DEFAULT_URL, configuration, served, needs)


def _telegram(
    where: Home, url: str, configuration: Configuration, bots: Sequence[Bot], needs: spokes.Needs
) -> Coroutine[None, None, int]:
    from adapters.telegram.settings import BotSettings, TelegramSettings, Webhook
    from factory_cli import membership

    chosen, webhook = configuration.telegram, configuration.telegram.webhook
    settings = TelegramSettings(
        nats_url=url,
        bots=tuple(
            BotSettings(
                bot_id=bot.bot_id,
                token=needs.tokens[bot.bot_id].value,
                identity=membership.identity(where, configuration, bot.identity),
                notes=where.spokes / f"{bot.identity}.notes",
            )
            for bot in bots
        ),
        api_base=needs.reach.api_base,
        stream=chosen.stream,
        render=chosen.render,
        observes=chosen.observe,
        reactions=chosen.reactions,
        webhook=None if webhook is None else Webhook(webhook.url, needs.reach.secret, webhook.host, webhook.port),
    )
    from adapters.telegram.__main__ import serve

    return serve(settings)


def _discord(
    where: Home, url: str, configuration: Configuration, bots: Sequence[Bot], needs: spokes.Needs
) -> Coroutine[None, None, int]:
    from adapters.discord.settings import BotSettings, DiscordSettings
    from factory_cli import membership

    chosen = configuration.discord
    settings = DiscordSettings(
        nats_url=url,
        bots=tuple(
            BotSettings(
                bot_id=bot.bot_id,
                token=needs.tokens[bot.bot_id].value,
                identity=membership.identity(where, configuration, bot.identity),
                notes=where.spokes / f"{bot.identity}.notes",
                cursors=where.spokes / f"{bot.identity}.cursors",
            )
            for bot in bots
        ),
        api_base=needs.reach.api_base,
        gateway=needs.reach.gateway,
        threads=chosen.threads,
        dedicated=chosen.dedicated,
        observes=chosen.observe,
        reactions=chosen.reactions,
        message_content=chosen.message_content,
    )
    from adapters.discord.__main__ import serve

    return serve(settings)


def _agents(
    where: Home, environment: config.Environment, configuration: Configuration, only: str | None
) -> Coroutine[None, None, int]:
    """The front door for agents and programs of others."""
    from adapters.agents.settings import AgentsSettings, BotSettings, Visitor
    from factory_cli import membership
    from hub.kernel.secrecy import Redactor

    bots = [bot for bot in configuration.of(subjects.AGENTS) if only in (None, bot.bot_id)]
    if not bots:
        which = "" if only is None else f" called {only!r}"
        raise Failed(f'{where.configuration} names no bot{which} with platform = "{subjects.AGENTS}"')
    where.spokes.mkdir(mode=0o700, parents=True, exist_ok=True)
    identities = {bot.bot_id: membership.identity(where, configuration, bot.identity) for bot in bots}
    seeds = (seed for one in identities.values() for seed in membership.seeds(one))
    privacy.report(environment.log_level, Redactor.of((*config.secrets(environment.nats_url), *seeds)).redact)
    settings = AgentsSettings(
        nats_url=environment.nats_url or DEFAULT_URL,
        bots=tuple(
            BotSettings(
                bot_id=bot.bot_id,
                identity=identities[bot.bot_id],
                visitors=tuple(
                    Visitor(one.name, one.sessions) for one in configuration.callers if bot.bot_id in one.bots
                ),
                notes=where.spokes / f"{bot.identity}.notes",
            )
            for bot in bots
        ),
    )
    from adapters.agents.__main__ import serve

    return serve(settings)


def _configuration(where: Home, under: int | None) -> Configuration:
    """What a process goes by: its supervisor's word, so that no edit comes between those who run together."""
    return config.load(where.configuration) if under is None else config.settled(where)


def begin(under: int | None) -> None:
    """What every process does first; `under` is the supervisor, without which it does not live."""
    privacy.seal()
    if under is None:
        return
    if sys.platform == "linux":
        import ctypes

        # The signal comes when the thread that spawned us ends: the supervisor spawns from its main thread.
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != under:
        raise typer.Exit(1)
