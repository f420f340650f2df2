"""The commands that Telegram offers where one types a slash: by kind of chat and by language."""

import logging

from adapters.chat.menu import MENU
from adapters.chat.trouble import Barred, Rejected, Unauthorized, Unreachable
from adapters.spoke import NotNow
from adapters.telegram.client import Client, Conflict
from adapters.telegram.sdk import (
    BotCommand,
    BotCommandScopeAllGroupChats,
    BotCommandScopeAllPrivateChats,
    GetMyCommands,
    SetMyCommands,
)

logger = logging.getLogger(__name__)

# What only who talks alone with the bot is offered.
PRIVATE = frozenset(("model", "compact"))


async def register(client: Client) -> None:
    """Have Telegram offer them; what it offers already is not told again."""
    for scope in (BotCommandScopeAllPrivateChats(), BotCommandScopeAllGroupChats()):
        for language, words in MENU.items():
            wanted = [
                BotCommand(command=name, description=description)
                for name, description in words.items()
                if name not in PRIVATE or isinstance(scope, BotCommandScopeAllPrivateChats)
            ]
            try:
                offered = await client.ask(GetMyCommands(scope=scope, language_code=language or None))
                if offered != wanted:
                    await client.ask(SetMyCommands(commands=wanted, scope=scope, language_code=language or None))
            except (NotNow, Rejected, Barred, Unreachable, Unauthorized, Conflict) as error:
                logger.warning("the menu of commands is not told: %s", error)
                return
