"""What the spokes of platforms cannot do without, and the processes that they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from factory_cli import config, tokens
from factory_cli.config import Configuration, Reach
from factory_cli.document import BadConfiguration
from factory_cli.platforms import PLATFORMS
from factory_cli.tokens import Token


@dataclass(frozen=True, slots=True)
class Needs:
    """What the environment has a say in: how the platform is reached, and the token of each bot."""

    reach: Reach
    tokens: Mapping[str, Token]


def needs(keys: Path, configuration: Configuration, platform: str, only: str | None = None) -> Needs:
    """All of that for the bots of a platform, or one. Raises `BadConfiguration` where something is missing or wrong."""
    said, bots = config.platforms_variables(platform), configuration.of(platform)
    served = [bot for bot in bots if only is None or bot.bot_id == only]
    return Needs(config.reach(configuration, platform, said), tokens.of_all(served, bots, said, keys))


def trouble(keys: Path, configuration: Configuration) -> dict[str, BadConfiguration]:
    """Which platforms' spokes cannot run as they are set up, and why."""
    found: dict[str, BadConfiguration] = {}
    for platform in PLATFORMS:
        if configuration.of(platform):
            try:
                needs(keys, configuration, platform)
            except BadConfiguration as error:
                found[platform] = error
    return found


@dataclass(frozen=True, slots=True)
class Process:
    """A spoke's process: its name, what the command is told, and the platform that it speaks with."""

    name: str
    command: tuple[str, ...]
    platform: str


def processes(configuration: Configuration) -> tuple[Process, ...]:
    """The processes that serve all bots but the terminal's: for each of our platforms one, and those that stand by for
    it; for others one a bot."""
    found: dict[str, Process] = {}
    for bot in configuration.bots:
        platform = bot.platform
        if platform == config.LOCAL_PLATFORM or find_spec(f"adapters.{platform}") is None:
            continue
        if platform in PLATFORMS:
            for number in range(1, configuration.at(platform).spokes + 1):
                name = platform if number == 1 else f"{platform}-{number}"
                found[name] = Process(name, ("adapter", platform), platform)
        else:
            found[bot.identity] = Process(bot.identity, ("adapter", platform, "--bot", bot.bot_id), platform)
    return tuple(found.values())
