"""What is a platform's own in how its bots are known and introduced; all else is done alike for each of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TELEGRAM = "telegram"
DISCORD = "discord"


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform that knows a bot by a token.

    The variables may hold the token of the bot called "main" or of the only one, the first of them before the others.
    """

    name: str
    title: str
    serves: str
    variables: tuple[str, ...]
    token: re.Pattern[str]
    no_token: str
    source: str
    claim: str
    act: str

    @property
    def prefix(self) -> str:
        """How the variables begin that are meant for its spoke and nobody else."""
        return f"{_as_variable(self.name)}_"

    def variable_of(self, bot_id: str) -> str:
        """The variable that holds the token of this bot and of no other."""
        return f"{self.variables[0]}_{_as_variable(bot_id)}"


def _as_variable(name: str) -> str:
    return name.upper().replace("-", "_")


_TABLE = (
    Platform(
        name=TELEGRAM,
        title="Telegram",
        serves="bots that are made with @BotFather",
        variables=("TELEGRAM_BOT_TOKEN",),
        token=re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,128}"),
        no_token="holds no token; one looks like 123456789:AAF... and comes from @BotFather",
        source=(
            "make a bot with /newbot at https://t.me/BotFather, or choose one with /mybots, and paste its token here"
        ),
        claim="opens the link, or sends the bot /start and the code, owns it",
        act="open the link",
    ),
    Platform(
        name=DISCORD,
        title="Discord",
        serves="bots of applications that are made in the developer portal",
        variables=("DISCORD_TOKEN", "DISCORD_BOT_TOKEN"),
        token=re.compile(r"[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{1,32}\.[A-Za-z0-9_-]{1,128}"),
        no_token="holds no token; one looks like MTA4....Gx1y2z.AbC... and comes from the developer portal, under Bot",
        source=(
            "make an application at https://discord.com/developers/applications, choose Reset Token under Bot, "
            "and paste the token here"
        ),
        claim="sends the bot /start and the code in a direct message, as plain text, owns it",
        act="invite it to a server of yours by the link, and send it the code",
    ),
)

PLATFORMS: Mapping[str, Platform] = MappingProxyType({one.name: one for one in _TABLE})
