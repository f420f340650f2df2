"""The secrets by which platforms know our bots: from the environment, else from the files that `factory init` wrote."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from factory_cli import config, secret
from factory_cli.config import Bot
from factory_cli.document import BadConfiguration
from factory_cli.home import write_atomically
from factory_cli.platforms import PLATFORMS

# What stands before it in a token tells whose it is.
_PARTED = re.compile("[:.]")


@dataclass(frozen=True, slots=True)
class Token:
    """A bot's secret, and where it was found, which alone is ever shown."""

    value: str = field(repr=False)
    source: str

    @property
    def account(self) -> str:
        """The bot that the platform knows by it; no secret."""
        return _PARTED.split(self.value, maxsplit=1)[0]


def find(bot: Bot, bots: Sequence[Bot], variables: Mapping[str, str], folder: Path) -> Token | None:
    """The bot's token, if there is one; the bots are all that are configured. Raises `BadConfiguration`."""
    for name in _names(bot, bots):
        found = secret.find(variables, name)
        if found is not None:
            return _checked(bot, found.value, found.source)
    path = path_of(folder, bot)
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadConfiguration(path, None, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        # The error itself holds what was read.
        raise BadConfiguration(path, None, "", "holds no token") from None
    return _checked(bot, text, str(path))


def of_all(wanted: Sequence[Bot], bots: Sequence[Bot], variables: Mapping[str, str], folder: Path) -> dict[str, Token]:
    """The token of each wanted bot of a platform, by the bot's name. Raises `BadConfiguration` where it has none."""
    found: dict[str, Token] = {}
    for bot in wanted:
        token = find(bot, bots, variables, folder)
        if token is None:
            raise BadConfiguration("environment", None, "", missing(bot, bots))
        for other, its in found.items():
            if its.account == token.account:
                raise BadConfiguration("environment", None, token.source, f"is the token of the bot {other!r} as well")
        found[bot.bot_id] = token
    return found


def missing(bot: Bot, bots: Sequence[Bot]) -> str:
    """That the bot has no token, and every way to give it one."""
    command = f"factory init {bot.platform}" + ("" if bot.bot_id == config.LOCAL_BOT else f" --bot {bot.bot_id}")
    return f"the bot {bot.identity} has no token: set {ways(bot, bots)}, or run: {command}"


def ways(bot: Bot, bots: Sequence[Bot]) -> str:
    """The variables of the environment that may hold the token."""
    own, *general = _names(bot, bots)
    return " or ".join(f"{name} (or {name}_FILE)" for name in (*general, own))


def keep(folder: Path, bot: Bot, token: Token) -> Path:
    """Write the token where it is found from now on, closed to others; the file."""
    path = path_of(folder, bot)
    write_atomically(path, f"{token.value}\n")
    return path


def path_of(folder: Path, bot: Bot) -> Path:
    """The file that holds the token where the environment does not."""
    return folder / f"{bot.identity}.token"


def _names(bot: Bot, bots: Sequence[Bot]) -> tuple[str, ...]:
    """The variables that may hold the token, the one that counts first in front."""
    platform = PLATFORMS[bot.platform]
    is_only = not any(other.platform == bot.platform and other.bot_id != bot.bot_id for other in bots)
    may_be_general = is_only or bot.bot_id == config.LOCAL_BOT
    return (platform.variable_of(bot.bot_id), *(platform.variables if may_be_general else ()))


def _checked(bot: Bot, value: str, source: str) -> Token:
    """The token, which may stand in an address or a header as it is."""
    platform = PLATFORMS[bot.platform]
    if not platform.token.fullmatch(value):
        raise BadConfiguration(source, None, "", platform.no_token)
    return Token(value, source)
