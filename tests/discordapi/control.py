"""How another process moves the people of a server: a few calls under `/control/`, JSON both ways.

    POST bot     {"token", "name"?, "reads_content"?, "id"?}              -> {"bot"}
    POST guild   {"members": ["Ann"], "channels": ["general"]}            -> {"guild", "members": [id], "channels"}
    POST dm      {"user": "Ann" or a number, "bot"?}                      -> {"channel", "user"}
    POST thread  {"channel", "user", "name"?, "message"?, "is_private"?}  -> {"channel"}
    POST say     {"channel", "user", "text", "reply_to"?, "files"?: [{"name", "text"}]} -> {"message"}
    POST edit    {"message", "text"}
    POST delete  {"message"}
    POST react   {"message", "user", "emoji"}
    POST press   {"message", "user", "button"}                            -> {"token"}
    POST slash   {"channel", "user", "name", "options"?}                  -> {"token"}
    POST archive {"channel", "is_archived"?}
    POST lock    {"channel", "is_locked"?}
    POST plan    {"method", "trouble": a kind of `trouble`, "times"?, "channel"?, and what that trouble holds}
    POST gateway {"do": "drop" | "stall" | "flow" | "ask_to_reconnect" | "forget_sessions" | "invalidate"}
                 {"do": "close", "code"}  {"do": "acks" | "lets_resume", "is_on"}
    GET  screen?channel=  -> {"now", "all": {number: message}, "typed"}
    GET  faults, calls    -> a list

Without `user` it is the first of the guild but its owner, or the person of the direct messages.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict

from aiohttp import web

from tests.discordapi.channels import Channel, User
from tests.discordapi.refusal import Json
from tests.discordapi.server import DiscordApi
from tests.discordapi.trouble import KINDS

# What the gateway may be told to do without more.
PLAIN = frozenset({"drop", "stall", "flow", "ask_to_reconnect", "forget_sessions", "invalidate"})
SWITCHES = frozenset({"acks", "lets_resume"})


class Control:
    """Answers the calls; what cannot be done is answered with 400 and why."""

    def __init__(self, server: DiscordApi) -> None:
        self._server = server
        self._verbs: Mapping[str, Callable[[Json], object]] = {
            "bot": lambda given: {"bot": server.bot(**given).id},
            "guild": self._guild,
            "dm": self._dm,
            "thread": self._thread,
            "say": self._say,
            "edit": lambda given: server.edit(given["message"], given["text"]),
            "delete": lambda given: server.delete(given["message"]),
            "react": self._react,
            "press": self._press,
            "slash": self._slash,
            "archive": self._archive,
            "lock": self._lock,
            "plan": self._plan,
            "gateway": self._gateway,
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
            done = self._verbs[verb](given)
            return web.json_response({} if done is None else done)
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": repr(error)}, status=400)

    def _guild(self, given: Json) -> Json:
        members = [self._server.user(name) for name in given.get("members", ("Ann",))]
        guild = self._server.guild(*members)
        channels = [self._server.channel(guild, name) for name in given.get("channels", ("general",))]
        return {
            "guild": guild.id,
            "members": [member.id for member in members],
            "channels": [channel.id for channel in channels],
        }

    def _dm(self, given: Json) -> Json:
        name = given.get("user", "Ann")
        user = self._server.users[name] if isinstance(name, int) else self._server.user(name)
        bots = [bot for bot in self._server.bots.values() if given.get("bot") in (None, bot.id)]
        return {"channel": self._server.dm(user, bots[0]).id, "user": user.id}

    def _thread(self, given: Json) -> Json:
        channel, user = self._where(given)
        return {"channel": self._server.thread(channel, user, **given).id}

    def _say(self, given: Json) -> Json:
        channel, user = self._where(given)
        files = [self._server.file(each["name"], each["text"].encode()) for each in given.pop("files", ())]
        return {"message": self._server.say(channel, user, attachments=files, **given)}

    def _react(self, given: Json) -> None:
        self._server.react(given["message"], self._server.users[given["user"]], given["emoji"])

    def _press(self, given: Json) -> Json:
        message = self._server.messages[given["message"]]
        user = self._server.users[given["user"]] if "user" in given else self._first(message.channel)
        return {"token": self._server.press(message.id, user, given["button"])}

    def _slash(self, given: Json) -> Json:
        channel, user = self._where(given)
        return {"token": self._server.slash(user, channel, given["name"], **given.get("options", {}))}

    def _archive(self, given: Json) -> None:
        self._server.archive(self._where(given)[0], given.get("is_archived", True))

    def _lock(self, given: Json) -> None:
        self._server.lock(self._where(given)[0], given.get("is_locked", True))

    def _plan(self, given: Json) -> None:
        channel = self._where(given)[0] if "channel" in given else None
        method, times, kind = given.pop("method"), given.pop("times", 1), given.pop("trouble")
        self._server.plan(method, KINDS[kind](**given), times=times, channel=channel)

    def _gateway(self, given: Json) -> None:
        do = given["do"]
        if do in PLAIN:
            getattr(self._server, do)()
        elif do in SWITCHES:
            setattr(self._server.gateway, do, bool(given["is_on"]))
        elif do == "close":
            self._server.close(given["code"])
        else:
            raise ValueError(f"the gateway cannot {do}")

    def _screen(self, given: Json) -> Json:
        channel, _ = self._where(given)
        return {"now": self._server.clock.now(), **asdict(self._server.screen(channel))}

    def _where(self, given: Json) -> tuple[Channel, User]:
        """The channel and the person; what named them is taken out."""
        id, user = int(given.pop("channel")), given.pop("user", None)
        if id not in self._server.channels:
            raise ValueError(f"there is no channel {id}")
        channel = self._server.channels[id]
        return channel, self._server.users[int(user)] if user is not None else self._first(channel)

    def _first(self, channel: Channel) -> User:
        if channel.guild is None:
            return channel.person or next(iter(self._server.users.values()))
        others = (each for each in channel.guild.members.values() if each != channel.guild.owner)
        return next(others, channel.guild.owner)
