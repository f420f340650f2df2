"""What Discord tells of a bot and of the application it belongs to, and what that means here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from factory_cli import config
from factory_cli.config import Configuration
from factory_cli.question import Unanswered, UnknownToken, ask, place_of

SERVER = "API of Discord"

# What a server is asked to grant, in words and as Discord numbers it.
PERMISSIONS: Mapping[str, int] = MappingProxyType(
    {
        "view channels": 1 << 10,
        "send messages": 1 << 11,
        "send messages in threads": 1 << 38,
        "read message history": 1 << 16,
        "attach files": 1 << 15,
        "add reactions": 1 << 6,
    }
)
THREADS: Mapping[str, int] = MappingProxyType({"create public threads": 1 << 35})

# Flags of an application: GATEWAY_MESSAGE_CONTENT, and its like for bots that few servers have.
_READS_CONTENT = 1 << 18 | 1 << 19


@dataclass(frozen=True, slots=True)
class Account:
    """A bot as Discord knows it; without its application's intent it is told no text but of what names it."""

    id: str
    username: str
    application: str
    reads_content: bool

    def rows(self, configuration: Configuration, code: str) -> Sequence[tuple[str, str]]:
        """What a person is shown who sets it up: the link brings it to a server, the code makes them its owner."""
        return (
            ("bot", self.username),
            ("messages", self._of_messages(configuration.discord)),
            ("invite", _invite(self.application, configuration.discord)),
            ("asks to", ", ".join(_permissions(configuration.discord))),
            ("send it", f"/start {code}"),
        )

    def document(self, configuration: Configuration, code: str) -> Mapping[str, object]:
        """The same for a program."""
        return {
            "id": self.id,
            "username": self.username,
            "application": self.application,
            "message_content": self.reads_content,
            "invite": _invite(self.application, configuration.discord),
            "permissions": list(_permissions(configuration.discord)),
        }

    def remarks(self, configuration: Configuration, log: Path | None) -> Iterator[tuple[bool, str]]:
        """What the doctor says of it, and whether that is good."""
        settings = configuration.discord
        yield True, f"{self.username} {self._of_messages(settings)}"
        if not (self.reads_content and settings.message_content):
            for key, is_set in (
                ("threads", settings.threads),
                ("dedicated", bool(settings.dedicated)),
                ("observe", settings.observe),
            ):
                if is_set:
                    yield False, f"discord.{key} is set, and what it is about cannot be read without message content"

    def _of_messages(self, settings: config.Discord) -> str:
        """What it is told of a server's messages, and how that is changed."""
        little = "is told only what mentions it, direct messages and commands"
        if not settings.message_content:
            return f"{little} (message_content = false)"
        if self.reads_content:
            return "is told every message (the message content intent is on); it answers what is addressed to it"
        return (
            f"{little} (the message content intent is off); to have it read the rest, switch on Message Content Intent "
            f"at https://discord.com/developers/applications/{self.application}/bot"
        )


def look(api_base: str, token: str, seconds: float) -> Account:
    """The bot of this token. Raises `Unanswered`."""
    match _ask(api_base, token, "users/@me", seconds):
        case {"id": str(id), "bot": True, "username": str(name), **more} if _is_number(id):
            username = f"{name}#{number}" if (number := str(more.get("discriminator") or "0")) != "0" else name
        case _:
            raise Unanswered(f"{place_of(api_base)} tells of no bot: it is no {SERVER}")
    match _ask(api_base, token, "applications/@me", seconds):
        case {"id": str(application), **more} if _is_number(application):
            flags = more.get("flags")
            return Account(id, username, application, isinstance(flags, int) and bool(flags & _READS_CONTENT))
    raise Unanswered(f"{place_of(api_base)} tells of no application: it is no {SERVER}")


def _ask(api_base: str, token: str, path: str, seconds: float) -> object:
    """What there is to read at a path. Raises `Unanswered`."""
    place = place_of(api_base)
    # Whoever does not introduce itself in this form is turned away; this program has no page of its own to name.
    headers = {"Authorization": f"Bot {token}", "User-Agent": f"DiscordBot (https://factory.invalid, {_version()})"}
    status, said = ask("GET", f"{api_base}/{path}", headers, seconds, server=SERVER)
    match status, said:
        case 200, dict():
            return said
        case 401, {"message": str()}:
            raise UnknownToken(
                f"{place} knows no bot by this token: it is mistyped, or was reset in the developer portal"
            )
        case ((403 | 429 | 500 | 502 | 503 | 504), _):
            raise Unanswered(f"{place} refuses to tell, with status {status}; try again later")
    raise Unanswered(f"{place} answers with status {status} and not as Discord does; is the address right?")


def _permissions(settings: config.Discord) -> Mapping[str, int]:
    return {**PERMISSIONS, **THREADS} if settings.threads else PERMISSIONS


def _invite(application: str, settings: config.Discord) -> str:
    """The page on which a server's administrator lets the bot in, with the least that it needs."""
    asked = sum(_permissions(settings).values())
    return (
        f"https://discord.com/oauth2/authorize?client_id={application}"
        f"&scope=bot+applications.commands&permissions={asked}"
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _version() -> str:
    return version("factory-chat")
