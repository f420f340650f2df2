"""How another process moves the people of a server: a few calls under `/control/`, JSON both ways.

    POST bot    {"token", "username"?, "reads_all"?}                                   -> {"bot"}
    POST chat   {"kind", "members": ["Ann"], "title"?, "is_forum"?, "bots": [42]?}     -> {"chat", "members": [number]}
    POST topic  {"chat", "user"?, "name"}                                              -> {"message"}
    POST say    {"chat", "user"?, "text", and what else `People.say` takes in JSON}    -> {"message"}
    POST press  {"chat", "user"?, "message", "button"}                                 -> {"query"}
    POST stop   {"chat", "thread"?}
    POST delete {"chat", "message"}
    POST plan   {"method", "trouble": a kind of `trouble`, "times"?, "chat"?, and what that trouble holds}
    GET  screen?chat=  -> {"now", "all": {number: message}, "drafts", "actions"}
    GET  faults, calls -> a list

Without `user` it is the chat's first. `bot` beside `chat` tells apart the private chats of one person.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web

from tests.botapi.chats import Chat, User
from tests.botapi.refusal import Json
from tests.botapi.server import BotApi
from tests.botapi.trouble import KINDS


class Control:
    """Answers the calls; what cannot be done is answered with 400 and why."""

    def __init__(self, server: BotApi) -> None:
        self._server = server
        self._verbs: Mapping[str, Callable[[Json], object]] = {
            "bot": self._bot,
            "chat": self._chat,
            "topic": self._topic,
            "say": self._say,
            "press": self._press,
            "stop": self._stop,
            "delete": self._delete,
            "plan": self._plan,
            "screen": self._screen,
            "faults": lambda given: [asdict(fault) for fault in server.faults],
            "calls": lambda given: [asdict(call) for call in server.ledger.calls],
        }

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        verb = request.path.removeprefix("/control/")
        if verb not in self._verbs:
            return web.json_response({"error": f"there is no {verb}"}, status=404)
        given: Json = await request.json() if request.method == "POST" else dict(request.query)
        try:
            return web.json_response(self._verbs[verb](given))
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": repr(error)}, status=400)

    def _bot(self, given: Json) -> Json:
        return {"bot": self._server.bot(**given).id}

    def _chat(self, given: Json) -> Json:
        members = tuple(self._server.user(name) for name in given.pop("members", ("Ann",)))
        if (ids := given.pop("bots", None)) is not None:
            given["bots"] = tuple(bot for bot in self._server.bots.values() if bot.id in ids)
        chat = self._server.chat(given.pop("kind"), *members, **given)
        return {"chat": chat.id, "members": [member.id for member in members]}

    def _topic(self, given: Json) -> Json:
        return {"message": self._server.topic(*self._where(given), **given)}

    def _say(self, given: Json) -> Json:
        return {"message": self._server.say(*self._where(given), **given)}

    def _press(self, given: Json) -> Json:
        chat, user = self._where(given)
        return {"query": self._server.press(chat, given["message"], user, given["button"])}

    def _stop(self, given: Json) -> Json:
        chat, _ = self._where(given)
        self._server.stop_draft(chat, given.get("thread"))
        return {}

    def _delete(self, given: Json) -> Json:
        chat, _ = self._where(given)
        self._server.delete(chat, given["message"])
        return {}

    def _plan(self, given: Json) -> Json:
        chat = self._where(given)[0] if "chat" in given else None
        method, times, kind = given.pop("method"), given.pop("times", 1), given.pop("trouble")
        self._server.plan(method, KINDS[kind](**given), times=times, chat=chat)
        return {}

    def _screen(self, given: Json) -> Json:
        chat, _ = self._where(given)
        return {"now": self._server.clock.now(), **asdict(self._server.screen(chat))}

    def _where(self, given: Json) -> tuple[Chat, User]:
        """The chat and the person; what named them is taken out."""
        id, bot = int(given.pop("chat")), given.pop("bot", None)
        chats = (chat for chat in self._server.chats if chat.id == id and (bot is None or int(bot) in chat.bots))
        if (chat := next(chats, None)) is None:
            raise ValueError(f"there is no chat {id}")
        user: Any = given.pop("user", None)
        return chat, chat.members[user] if user is not None else next(iter(chat.members.values()))
