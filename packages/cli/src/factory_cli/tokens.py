"""The secrets by which platforms know our bots: from the environment, else from the files that `factory init` wrote."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from factory_cli import config
from factory_cli.config import Bot
from factory_cli.document import BadConfiguration
from factory_cli.home import write_atomically

NO_TOKEN = "holds no token; one looks like 123456789:AAF... and comes from @BotFather"

_SHAPE = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Token:
    """A bot's secret, and where it was found, which alone is ever shown."""

    value: str = field(repr=False)
    source: str

    @property
    def account(self) -> str:
        """The bot that the platform knows by it; no secret."""
        return self.value.partition(":")[0]


def is_token(text: str) -> bool:
    """Whether it looks like a token of Telegram's, which may stand in an address as it is."""
    return _SHAPE.fullmatch(text) is not None


def find(bot: Bot, bots: Sequence[Bot], variables: Mapping[str, str], folder: Path) -> Token | None:
    """The bot's token, if there is one; the bots are all that are configured. Raises `BadConfiguration`."""
    for name in _names(bot, bots):
        value = config.value_of(variables, name)
        if value is not None:
            return _checked(value, name if variables.get(name) else f"{name}_FILE")
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
    return _checked(text, str(path))


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
    return " or ".join(f"{name} (or {name}_FILE)" for name in reversed(_names(bot, bots)))


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
    is_only = not any(other.platform == bot.platform and other.bot_id != bot.bot_id for other in bots)
    return (bot.variable, bot.general_variable) if is_only or bot.bot_id == config.LOCAL_BOT else (bot.variable,)


def _checked(value: str, source: str) -> Token:
    if not is_token(value):
        raise BadConfiguration(source, None, "", NO_TOKEN)
    return Token(value, source)
