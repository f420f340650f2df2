"""What Telegram's Bot API tells of a bot, and what that means here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory_cli.config import Configuration
from factory_cli.question import Unanswered, UnknownToken, ask, place_of

SERVER = "Bot API"


@dataclass(frozen=True, slots=True)
class Account:
    """A bot as Telegram knows it; `webhook` is the host that is brought its messages, empty where they are fetched."""

    id: int
    name: str
    username: str
    reads_groups: bool
    webhook: str

    def rows(self, configuration: Configuration, code: str) -> Sequence[tuple[str, str]]:
        """What a person is shown who sets it up: the link makes them its owner."""
        return (
            ("bot", f"{self.name} (@{self.username})"),
            ("groups", self._of_groups),
            ("webhook", self._of_webhook(configuration.telegram.webhook is not None) or "none"),
            ("link", self._link(code)),
        )

    def document(self, configuration: Configuration, code: str) -> Mapping[str, object]:
        """The same for a program."""
        return {
            "id": self.id,
            "name": self.name,
            "username": self.username,
            "reads_all_group_messages": self.reads_groups,
            "webhook": self.webhook or None,
            "link": self._link(code),
        }

    def remarks(self, configuration: Configuration, log: Path | None) -> Iterator[tuple[bool, str]]:
        """What the doctor says of it, and whether that is good."""
        yield True, f"@{self.username} ({self.name}) {self._of_groups}"
        if configuration.telegram.observe and not self.reads_groups:
            yield False, "observe = true has nothing to observe while privacy mode is on"
        ours = configuration.telegram.webhook
        if self.webhook and self.webhook != (place_of(ours.url) if ours is not None else ""):
            yield False, f"its webhook is {self._of_webhook(ours is not None)}"
        elif ours is not None and not self.webhook and log is not None:
            yield False, f"its webhook is not set; {log} may tell why"

    def _link(self, code: str) -> str:
        return f"https://t.me/{self.username}?start={code}"

    @property
    def _of_groups(self) -> str:
        """What it sees of a group, and how that is changed."""
        if self.reads_groups:
            return "sees every message of its groups (privacy mode is off); it answers what is addressed to it"
        return (
            "sees of its groups only commands, mentions and replies to it (privacy mode is on); to have it see all, "
            "send /setprivacy to @BotFather, then remove the bot from the group and add it again"
        )

    def _of_webhook(self, has_ours: bool) -> str:
        """Who is brought its messages, if anybody, and what that means for us, who may have a webhook of our own."""
        if not self.webhook:
            return ""
        if has_ours:
            return f"set to {self.webhook}; ours takes its place when the spoke starts"
        return f"set to {self.webhook}, so that nothing can be fetched; the spoke removes it when it starts"


def look(api_base: str, token: str, seconds: float) -> Account:
    """The bot of this token. Raises `Unanswered`."""
    match _ask(api_base, token, "getMe", seconds):
        case {"id": int(id), "is_bot": True, "first_name": str(name), "username": str(username), **more}:
            reads_groups = more.get("can_read_all_group_messages") is True
        case _:
            raise Unanswered(f"{place_of(api_base)} tells of no bot: it is no {SERVER}")
    match _ask(api_base, token, "getWebhookInfo", seconds):
        case {"url": str(url)}:
            return Account(id, name, username, reads_groups, place_of(url))
    raise Unanswered(f"{place_of(api_base)} tells of no webhook: it is no {SERVER}")


def _ask(api_base: str, token: str, method: str, seconds: float) -> object:
    """The result of a method. Raises `Unanswered`."""
    place = place_of(api_base)
    status, said = ask("POST", f"{api_base}/bot{token}/{method}", {"Content-Length": "0"}, seconds, server=SERVER)
    match said:
        case {"ok": True, "result": result}:
            return result
        case {"ok": False, "error_code": 401 | 404}:
            raise UnknownToken(f"{place} knows no bot by this token: it is mistyped, or was revoked at @BotFather")
        case {"ok": False, "error_code": int(code)}:
            raise Unanswered(f"{place} refuses to tell, with error {code}; try again later")
    raise Unanswered(f"{place} answers with status {status} and not as a {SERVER} does; is the address right?")
