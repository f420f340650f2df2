"""What Telegram's Bot API tells of a bot: asked once, for its set-up and for the doctor.

A token is part of the address that is asked, so no error here is one of the libraries': each is a sentence of ours.
"""

import json
import socket
import ssl
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Thread
from urllib.parse import urlsplit

SECONDS = 10.0
MOST_BYTES = 100_000


class Unanswered(Exception):
    """The Bot API does not tell; the sentence says why and holds no secret."""


class UnknownToken(Unanswered):
    """The Bot API knows no bot by this token."""


@dataclass(frozen=True, slots=True)
class Account:
    """A bot as Telegram knows it; `webhook` is the host that is brought its messages, empty where they are fetched."""

    id: int
    name: str
    username: str
    reads_groups: bool
    webhook: str

    @property
    def of_groups(self) -> str:
        """What it sees of a group, and how that is changed."""
        if self.reads_groups:
            return "sees every message of its groups (privacy mode is off); it answers what is addressed to it"
        return (
            "sees of its groups only commands, mentions and replies to it (privacy mode is on); to have it see all, "
            "send /setprivacy to @BotFather, then remove the bot from the group and add it again"
        )

    def of_webhook(self, has_ours: bool) -> str:
        """Who is brought its messages, if anybody, and what that means for us, who may have a webhook of our own."""
        if not self.webhook:
            return ""
        if has_ours:
            return f"set to {self.webhook}; ours takes its place when the spoke starts"
        return f"set to {self.webhook}, so that nothing can be fetched; the spoke removes it when it starts"


def look(api_base: str, token: str, seconds: float = SECONDS) -> Account:
    """The bot of this token. Raises `Unanswered`, at the latest after so many seconds."""
    answer: Future[Account] = Future()

    def ask() -> None:
        try:
            answer.set_result(_look(api_base, token, seconds))
        except Unanswered as error:
            answer.set_exception(error)

    # The time-out of a socket does not hold for the look-up of a name, nor for an answer that trickles.
    Thread(target=ask, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        raise Unanswered(_too_slow(api_base, seconds)) from None


def place_of(address: str) -> str:
    """The server of an address, without anything that may be secret."""
    parts = urlsplit(address)
    return f"{parts.hostname}:{parts.port}" if parts.port is not None else str(parts.hostname or "")


def _look(api_base: str, token: str, seconds: float) -> Account:
    match _ask(api_base, token, "getMe", seconds):
        case {"id": int(id), "is_bot": True, "first_name": str(name), "username": str(username), **more}:
            reads_groups = more.get("can_read_all_group_messages") is True
        case _:
            raise Unanswered(f"{place_of(api_base)} tells of no bot: it is no Bot API")
    match _ask(api_base, token, "getWebhookInfo", seconds):
        case {"url": str(url)}:
            return Account(id, name, username, reads_groups, place_of(url))
    raise Unanswered(f"{place_of(api_base)} tells of no webhook: it is no Bot API")


def _ask(api_base: str, token: str, method: str, seconds: float) -> object:
    """The result of a method. Raises `Unanswered`."""
    parts, place = urlsplit(api_base), place_of(api_base)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request("POST", f"{parts.path}/bot{token}/{method}", headers={"Content-Length": "0"})
        response = connection.getresponse()
        status, body = response.status, response.read(MOST_BYTES)
    except TimeoutError:
        raise Unanswered(_too_slow(api_base, seconds)) from None
    except (socket.gaierror, UnicodeError):
        raise Unanswered(f"{place} has no address: is there a network?") from None
    except ssl.SSLError as error:
        raise Unanswered(f"{place} cannot be trusted to be what it says: {error.reason or 'TLS failed'}") from None
    except OSError as error:
        raise Unanswered(f"{place} cannot be reached: {error.strerror or 'the connection broke'}") from None
    except HTTPException:
        raise Unanswered(f"{place} does not speak HTTP: it is no Bot API") from None
    finally:
        connection.close()
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    match said:
        case {"ok": True, "result": result}:
            return result
        case {"ok": False, "error_code": 401 | 404}:
            raise UnknownToken(f"{place} knows no bot by this token: it is mistyped, or was revoked at @BotFather")
        case {"ok": False, "error_code": int(code)}:
            raise Unanswered(f"{place} refuses to tell, with error {code}; try again later")
    raise Unanswered(f"{place} answers with status {status} and not as a Bot API does; is the address right?")


def _too_slow(api_base: str, seconds: float) -> str:
    return f"{place_of(api_base)} does not answer within {seconds:g} s"
