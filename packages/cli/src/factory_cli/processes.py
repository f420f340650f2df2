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
        from factory_cli import models
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
    name: Annotated[str, typer.Argument(metavar="NAME", help="The platform: cli.")],
    bot: Annotated[str, typer.Option("--bot", metavar="ID", help="Which bot of it.")] = config.LOCAL_BOT,
    home: HomeOption = None,
    under: UnderOption = None,
) -> None:
    """The spoke of one platform; `cli` is a chat that starts nothing else."""
    _begin(under)
    with told():
        if name != config.LOCAL_PLATFORM:
            raise Failed(f"no adapter {name!r} in this version; there is: {config.LOCAL_PLATFORM}")
        if bot != config.LOCAL_BOT:
            raise Failed(f"the terminal has one bot: {config.LOCAL_BOT}")
        from factory_cli.talk import Wish, talk

        where, environment = surroundings(home)
        raise typer.Exit(talk(where, environment, environment.nats_url or DEFAULT_URL, Wish()))


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
