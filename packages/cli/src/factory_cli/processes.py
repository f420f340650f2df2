"""The commands that are one process each, as the supervisor starts them and as a container or unit does."""

import logging
import os
import signal
import sys
from functools import partial
from typing import Annotated

import typer

from factory_cli import config, keys
from factory_cli.console import AgentsOption, Failed, HomeOption, UnderOption, run, surroundings, told
from factory_cli.home import Home
from factory_contracts import subjects

DEFAULT_URL = "nats://127.0.0.1:4222"
# Processes may start in any order: one that comes first waits for the bus.
PATIENCE = 3600.0
_SET_PARENT_DEATH_SIGNAL = 1


def hub(
    home: HomeOption = None,
    agents: AgentsOption = None,
    standby: Annotated[bool, typer.Option("--standby", help="Wait until the hub that serves falls silent.")] = False,
    under: UnderOption = None,
) -> None:
    """The one routing authority: accepts, logs, assigns, shows."""
    _begin(under)
    with told():
        from factory_cli import models, pairing
        from factory_cli.ending import until_told
        from factory_cli.seeds import by_surroundings, load
        from factory_nats.identity import Identity
        from hub.composition import HubSettings, serve
        from hub.kernel.budget import Budget
        from hub.kernel.guards import BotPolicy

        where, environment = surroundings(home)
        configuration = config.load(where.configuration)
        variables = config.providers_variables()
        settings = HubSettings(
            nats_url=environment.nats_url or DEFAULT_URL,
            identity=Identity(subjects.HUB, keys.seed_of(where.keys, subjects.HUB)),
            bindings=load(
                config.agents_folder(agents, where),
                by_surroundings(variables, environment.script),
                configuration.routes,
            ),
            policies=tuple(
                BotPolicy(
                    platform=bot.platform,
                    bot_id=bot.bot_id,
                    access=bot.access,
                    owners=bot.owners,
                    blocked=bot.blocked,
                    max_text=bot.max_text,
                    rate_per_minute=bot.rate_per_minute,
                    answers_unaddressed=bot.answers_unaddressed,
                    everyone_owns=bot.platform == config.LOCAL_PLATFORM,
                )
                for bot in config.bots_of(configuration)
            ),
            budgets=tuple(
                Budget(budget.name, budget.amount, budget.per, budget.period) for budget in configuration.budgets
            ),
            offers=partial(pairing.offered, where.keys),
            payer=lambda model: models.describe(model, variables).payer,
            max_pools=configuration.max_pools,
            standby=standby,
        )
        raise typer.Exit(run(until_told(partial(serve, settings))))


def worker(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it does: clipool.")],
    called: Annotated[str, typer.Option("--name", metavar="NAME", help="Which of several.")] = subjects.CLIPOOL,
    home: HomeOption = None,
    agents: AgentsOption = None,
    under: UnderOption = None,
) -> None:
    """A worker that serves one capability."""
    _begin(under)
    with told():
        if name != subjects.CLIPOOL:
            raise Failed(f"no worker {name!r} in this version; there is: {subjects.CLIPOOL}")
        from adapters.models.scripted import ScriptError
        from factory_nats.identity import Identity
        from workers.clipool.composition import ClipoolSettings, serve

        where, environment = surroundings(home)
        settings = ClipoolSettings(
            nats_url=environment.nats_url or DEFAULT_URL,
            identity=Identity(called, keys.seed_of(where.keys, called)),
            script=environment.script,
            folder=where.work,
            agents=config.agents_folder(agents, where),
            variables=config.providers_variables(),
            prices=config.load(where.configuration).prices,
            patience=PATIENCE,
        )
        try:
            status = serve(settings)
        except ScriptError as error:
            raise Failed(f"FACTORY_SCRIPT: {error}") from None
        raise typer.Exit(status)


def adapter(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The platform: cli, telegram.")],
    bot: Annotated[str | None, typer.Option("--bot", metavar="ID", help="Which bot of it alone.")] = None,
    home: HomeOption = None,
    under: UnderOption = None,
) -> None:
    """The spoke of one platform, for all its bots; `cli` is a chat that starts nothing else."""
    _begin(under)
    with told():
        where, environment = surroundings(home)
        url = environment.nats_url or DEFAULT_URL
        match name:
            case config.LOCAL_PLATFORM:
                if bot not in (None, config.LOCAL_BOT):
                    raise Failed(f"the terminal has one bot: {config.LOCAL_BOT}")
                from factory_cli.talk import Wish, talk

                raise typer.Exit(talk(where, environment, url, Wish()))
            case config.TELEGRAM:
                raise typer.Exit(_telegram(where, url, bot))
            case _:
                known = ", ".join((config.LOCAL_PLATFORM, config.TELEGRAM))
                raise Failed(f"no adapter {name!r} in this version; there are: {known}")


def _telegram(where: Home, url: str, only: str | None) -> int:
    """Serve the bots of Telegram, or one of them. The exit status."""
    from adapters.telegram.settings import BotSettings, TelegramSettings, Webhook
    from factory_cli import spokes
    from factory_nats.identity import Identity

    configuration = config.load(where.configuration)
    bots = configuration.of(config.TELEGRAM)
    if not bots:
        raise Failed(f"{where.configuration} names no bot of Telegram; begin with: factory init telegram")
    if only is not None and only not in (bot.bot_id for bot in bots):
        raise Failed(f"no bot {only!r} of Telegram; there is: {', '.join(bot.bot_id for bot in bots)}")
    needs = spokes.telegram(where.keys, configuration, only)
    where.spokes.mkdir(mode=0o700, parents=True, exist_ok=True)
    chosen, webhook = configuration.telegram, configuration.telegram.webhook
    settings = TelegramSettings(
        nats_url=url,
        bots=tuple(
            BotSettings(
                bot_id=bot.bot_id,
                token=needs.tokens[bot.bot_id].value,
                identity=Identity(bot.identity, keys.seed_of(where.keys, bot.identity)),
                notes=where.spokes / f"{bot.identity}.notes",
            )
            for bot in bots
            if bot.bot_id in needs.tokens
        ),
        api_base=needs.api_base,
        stream=chosen.stream,
        render=chosen.render,
        observes=chosen.observe,
        reactions=chosen.reactions,
        webhook=None if webhook is None else Webhook(webhook.url, needs.secret, webhook.host, webhook.port),
    )
    from adapters.telegram.__main__ import serve

    return run(serve(settings))


def _begin(under: int | None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if under is None:
        return
    if sys.platform == "linux":
        import ctypes

        # The signal comes when the thread that spawned us ends: the supervisor spawns from its main thread.
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != under:
        raise typer.Exit(1)
