"""The slash commands that Discord offers, in every language of the menu; told only when they are not as before."""

import json
import logging
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from discord.http import Route

from adapters.chat.menu import MENU
from adapters.chat.trouble import Rejected, Unauthorized, Unreachable
from adapters.discord.client import Client
from adapters.discord.memory import Memory
from adapters.discord.normalize import ASK
from adapters.spoke import NotNow

logger = logging.getLogger(__name__)

_STRING = 3
# A language of ours is several of Discord's.
_LOCALES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"": (), "de": ("de",), "es": ("es-ES", "es-419"), "fr": ("fr",)}
)
_QUESTION = MappingProxyType({"": "Your question", "de": "Deine Frage", "es": "Tu pregunta", "fr": "Votre question"})
_ASKED = MappingProxyType(
    {"": "Ask something", "de": "Etwas fragen", "es": "Preguntar algo", "fr": "Poser une question"}
)
_CHOICE = MappingProxyType(
    {
        "": "Which one; nothing shows them",
        "de": "Wer oder welches; leer zeigt sie",
        "es": "Cuál; vacío los muestra",
        "fr": "Lequel ; vide les montre",
    }
)
# What takes a word behind it, and what that is called.
_NAMED = frozenset(("agent", "model", "use"))


def menu() -> list[dict[str, Any]]:
    """All commands as Discord takes them."""
    ask = _told(ASK, _ASKED) | {"options": [_told("text", _QUESTION) | {"type": _STRING, "required": True}]}
    others = (_told(name, {language: words[name] for language, words in MENU.items()}) for name in MENU[""])
    choice = [_told("name", _CHOICE) | {"type": _STRING, "required": False}]
    return [ask, *(one | ({"options": choice} if one["name"] in _NAMED else {}) for one in others)]


async def register(client: Client, memory: Memory, application: str) -> None:
    """Have Discord offer them; what it offers already is not told again, for it may be told only so often a day."""
    wanted = menu()
    mark = sha256(json.dumps([application, wanted], sort_keys=True).encode()).hexdigest()
    if memory.menu == mark:
        return
    route = Route("PUT", "/applications/{application_id}/commands", application_id=application)
    try:
        await client.ask(route, wanted)
    except (NotNow, Rejected, Unreachable, Unauthorized) as error:
        logger.warning("the menu of commands is not told: %s", error)
        return
    memory.menu = mark
    logger.info("the menu of commands is told")


def _told(name: str, words: Mapping[str, str]) -> dict[str, Any]:
    locales = {locale: words[language] for language, its in _LOCALES.items() for locale in its}
    return {"name": name, "description": words[""], "description_localizations": locales}
