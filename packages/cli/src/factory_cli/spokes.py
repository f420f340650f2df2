"""What the spokes of platforms cannot do without, and the processes that they are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from factory_cli import config, tokens
from factory_cli.config import Configuration
from factory_cli.document import BadConfiguration
from factory_cli.tokens import Token

# All bots of such a platform are served by one process.
TOGETHER = (config.TELEGRAM,)


@dataclass(frozen=True, slots=True)
class Telegram:
    """What the environment has a say in: the address that is asked, the secret of a webhook, the token of each bot."""

    api_base: str
    secret: str = field(repr=False)
    tokens: Mapping[str, Token]


def telegram(keys: Path, configuration: Configuration, only: str | None = None) -> Telegram:
    """All of that for the bots of Telegram, or one. Raises `BadConfiguration` where something is missing or wrong."""
    said = config.platforms_variables(config.TELEGRAM)
    settings, bots = configuration.telegram, configuration.of(config.TELEGRAM)
    served = [bot for bot in bots if only is None or bot.bot_id == only]
    return Telegram(
        api_base=config.api_base(settings, said),
        secret=config.webhook_secret(said) if settings.webhook is not None else "",
        tokens=tokens.of_all(served, bots, said, keys),
    )


def trouble(keys: Path, configuration: Configuration) -> dict[str, BadConfiguration]:
    """Which platforms' spokes cannot run as they are set up, and why."""
    if not configuration.of(config.TELEGRAM):
        return {}
    try:
        telegram(keys, configuration)
    except BadConfiguration as error:
        return {config.TELEGRAM: error}
    return {}


@dataclass(frozen=True, slots=True)
class Process:
    """A spoke's process: its name, what the command is told, and the platform that it speaks with."""

    name: str
    command: tuple[str, ...]
    platform: str


def processes(configuration: Configuration) -> tuple[Process, ...]:
    """The processes that serve all bots but the terminal's, as far as there are adapters for them."""
    found: dict[str, Process] = {}
    for bot in configuration.bots:
        platform = bot.platform
        if platform == config.LOCAL_PLATFORM or find_spec(f"adapters.{platform}") is None:
            continue
        if platform in TOGETHER:
            found[platform] = Process(platform, ("adapter", platform), platform)
        else:
            found[bot.identity] = Process(bot.identity, ("adapter", platform, "--bot", bot.bot_id), platform)
    return tuple(found.values())
