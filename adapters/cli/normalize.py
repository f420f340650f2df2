"""A typed line -> what it asks for: a message to the hub, or a command that this terminal carries out itself."""

import re
from dataclasses import dataclass
from typing import TextIO

from factory_contracts.messages import MAX_TEXT, Address, Attachment, InboundMessage

PLATFORM = "cli"
PACE_MS = 30

# In the order in which /help tells them.
COMMANDS = {
    "/help": "what can be typed here",
    "/new": "begin afresh; what was said is no longer seen",
    "/stop": "stop the answer; what was said stays",
    "/sessions": "the sessions of this terminal",
    "/resume": "go on with a session: /resume NAME",
    "/attach": "have a file go with the next message: /attach PATH; /attach - none",
    "/retry": "ask the last question again",
    "/undo": "take back the last exchange; /undo N the last N",
    "/agent": "who answers; /agent NAME asks another",
    "/model": "with which model; /model NAME chooses another",
    "/usage": "what was used, what it cost, what is left",
    "/why": "how the last answer came to be; /voice says it",
    "/compact": "put what was said in short; /expand takes it back",
    "/expand": "see again what was said instead of its summary",
    "/approvals": "what waits for your leave; /approve CODE and /deny CODE answer",
    "/forget": "have everything removed that was said here",
    "/fork": "go on in a copy of this session: /fork NAME",
    "/exit": "leave; the session waits",
}
# Words about people, each with what it is for: /help names them in a line, for it must fit a screen.
POWERS = {
    "/limits": "what holds here, and what is left",
    "/people": "who was let in where; /people BOT on one bot",
    "/invite": "a code that lets somebody in: /invite trusted BOT, /invite owner BOT",
    "/grant": "let somebody in without a code: /grant USER trusted BOT",
    "/revoke": "take back what somebody was granted: /revoke USER BOT",
    "/block": "shut somebody out: /block USER BOT; /unblock USER BOT",
    "/unblock": "hear somebody again",
    "/link": "a code by which your account elsewhere is you; /unlink ACCOUNT",
    "/unlink": "make an account a person of its own again",
    "/whoami": "what you are here, and why",
}
# What /help names beside another word.
BESIDE = {
    "/approve": "allow what an agent asked leave for: /approve CODE",
    "/deny": "deny what an agent asked leave for: /deny CODE",
    "/voice": "the last answer as a sound file",
    "/use": "one of the agent's tools yourself: /use TOOL WORDS",
    "/run": "have an engine run: /run NAME and words",
}
WORDS = COMMANDS | POWERS | BESIDE
# The hub answers these without waiting for what is being answered; /link where a code stands with it.
TOLD_AT_ONCE = ("/stop", "/approvals", "/approve", "/deny", "/forget", "/link")

FORK = "/fork "
FORGET_ALL = "/forget everything"
ATTACH = "/attach "

_COMMAND = re.compile(r"/[a-z]+")


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who types, and to which bot."""

    bot_id: str
    user_id: str
    user_name: str = ""


@dataclass(frozen=True, slots=True)
class Say:
    """A message for the hub; what begins with a command that is not the terminal's is the hub's to understand."""

    text: str


@dataclass(frozen=True, slots=True)
class Help:
    """What can be typed here."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Which sessions this terminal had."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with another session: by name, by the beginning of one, or (empty) the one before."""

    name: str


@dataclass(frozen=True, slots=True)
class Attach:
    """Have files go with the next message; "-" drops them, and empty words ask which there are."""

    words: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave."""


@dataclass(frozen=True, slots=True)
class Unsayable:
    """Nothing is sent; the sentence says why, and is empty where there was nothing to send."""

    why: str = ""


class Unsendable(Exception):
    """A text that cannot go with a message; the sentence says why."""


Typed = Say | Help | Sessions | Resume | Attach | Exit | Unsayable


def sendable(text: str) -> str:
    """The text as it crosses the bus. Raises `Unsendable` where it is too long for a message."""
    if len(text) > MAX_TEXT:
        raise Unsendable(f"too long: {len(text):,} characters, and {MAX_TEXT:,} are the limit")
    # A terminal may hand over half a surrogate pair, which is no text and cannot cross the bus.
    return text.encode("utf-8", "replace").decode("utf-8")


def piped(stdin: TextIO) -> str:
    """All that is piped in. Raises `Unsendable` where that is no text."""
    try:
        text = stdin.read()
        # Where the locale says nothing of an encoding, bytes that are no text come as half surrogate pairs.
        text.encode()
    except UnicodeError:
        raise Unsendable("what is piped in is no text in UTF-8; --file PATH sends a file as it is") from None
    return text


def read(line: str) -> Typed:
    """What a line asks for."""
    try:
        text = sendable(line.strip("\n"))
    except Unsendable as error:
        return Unsayable(f"{error}; /attach PATH sends a file")
    if not text.strip():
        return Unsayable()
    word, _, rest = text.strip().partition(" ")
    if not _COMMAND.fullmatch(word):
        return Say(text)
    match word:
        case "/help":
            return Help()
        case "/sessions":
            return Sessions()
        case "/resume":
            return Resume(rest.strip())
        case "/attach":
            return Attach(rest.strip())
        case "/exit":
            return Exit()
        case _ if word in WORDS:
            return Say(text.strip())
        case _:
            return Unsayable(f"no command {word}; /help tells them")


def is_word(text: str) -> bool:
    """Whether it is said to the hub and not to an agent."""
    return text.partition(" ")[0] in WORDS


def is_told_at_once(text: str) -> bool:
    """Whether the hub's word to it may come while another answer is being given."""
    return text.partition(" ")[0] in TOLD_AT_ONCE


def message(
    text: str,
    *,
    speaker: Speaker,
    scope_id: str,
    message_id: str,
    sent_at: float | None = None,
    attachments: tuple[Attachment, ...] = (),
    quoted: str | None = None,
) -> InboundMessage:
    """A person's words, and the files that go with them, as the hub takes them."""
    return InboundMessage(
        message_id=message_id,
        user_id=speaker.user_id,
        user_name=speaker.user_name,
        text=text,
        attachments=attachments,
        quoted=quoted,
        address=Address(
            platform=PLATFORM, bot_id=speaker.bot_id, scope_id=scope_id, pace_ms=PACE_MS, echo=True, names_scopes=True
        ),
        sent_at=sent_at,
    )


def matching(text: str) -> tuple[str, ...]:
    """The commands that a line may be on the way to."""
    if not text.startswith("/") or " " in text or "\n" in text:
        return ()
    return tuple(command for command in WORDS if command.startswith(text))
