"""What happened, as a list of entries, and what each channel shows, which is folded from it.

The entries may go to a file as well, a line of JSON each, written out at once: `Ledger.read` makes the same of it.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from tests.discordapi.refusal import Json


@dataclass(slots=True)
class Call:
    """A call of a bot: its answer has a status once it was sent (0 if the connection was cut instead).

    `bot` is 0 where no bot says who it is, as with interactions and webhooks; `path` has the numbers.
    """

    number: int
    at: float
    bot: int
    method: str
    verb: str
    path: str
    body: Json
    status: int | None = None
    code: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What a correct client never does."""

    at: float
    bot: int
    method: str
    what: str
    body: Json


@dataclass(frozen=True, slots=True)
class Version:
    """A message as it stood from then on."""

    at: float
    text: str
    embeds: tuple[Json, ...] = ()
    components: tuple[Json, ...] = ()
    attachments: tuple[Json, ...] = ()
    flags: int = 0
    # Whom it called out: "everyone", "here", "user:5", "role:6".
    pings: tuple[str, ...] = ()


@dataclass(slots=True)
class Shown:
    """A message on the screen, with all that it ever was; `only_for` is who alone sees it."""

    id: int
    sender: int
    reply_to: int | None
    type: int
    nonce: str | None
    only_for: int | None
    versions: list[Version] = field(default_factory=list)
    deleted: float | None = None
    reactions: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What it says now."""
        return self.versions[-1].text

    @property
    def embeds(self) -> tuple[Json, ...]:
        """Its embeds now."""
        return self.versions[-1].embeds

    @property
    def components(self) -> tuple[Json, ...]:
        """Its buttons now, in their rows."""
        return self.versions[-1].components

    @property
    def attachments(self) -> tuple[Json, ...]:
        """Its files now, by name and size."""
        return self.versions[-1].attachments

    @property
    def flags(self) -> int:
        """Its flags now."""
        return self.versions[-1].flags

    @property
    def pings(self) -> tuple[str, ...]:
        """Whom it ever called out."""
        return tuple(ping for version in self.versions for ping in version.pings)


@dataclass(frozen=True, slots=True)
class Typing:
    """Somebody who is typing."""

    at: float
    by: int
    until: float


@dataclass(slots=True)
class Screen:
    """What a channel shows, and has shown."""

    all: dict[int, Shown] = field(default_factory=dict)
    typed: list[Typing] = field(default_factory=list)

    @property
    def messages(self) -> list[Shown]:
        """The messages to be seen now, in the order of their coming."""
        return [shown for shown in self.all.values() if shown.deleted is None]

    def by(self, sender: int) -> list[Shown]:
        """Those of one sender."""
        return [shown for shown in self.messages if shown.sender == sender]

    def typing(self, now: float) -> tuple[int, ...]:
        """Who is seen to type now."""
        return tuple({typing.by: None for typing in self.typed if now < typing.until})


class Ledger:
    """All entries in their order, and what follows from them."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Json] = []
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.screens: defaultdict[int, Screen] = defaultdict(Screen)
        # Half a surrogate pair, which a client may send, is written as JSON writes it.
        self._file: TextIOWrapper | None = (
            path.open("a", encoding="utf-8", errors="backslashreplace") if path is not None else None
        )
        self._turned = asyncio.Event()

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """The ledger of another process; a last line that is not whole is left out."""
        ledger = cls()
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                ledger._add(json.loads(line))
        return ledger

    def note(self, kind: str, at: float, **fields: Any) -> Json:
        """Add an entry."""
        entry = {"kind": kind, "at": at, **fields}
        self._add(entry)
        if self._file is not None:
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()
        self._turned.set()
        self._turned = asyncio.Event()
        return entry

    def called(self, *methods: str) -> list[Call]:
        """The calls of these methods."""
        return [call for call in self.calls if call.method in methods]

    def happened(self, *kinds: str) -> list[Json]:
        """The entries of these kinds, such as "identify", "resume", "event" or "press"."""
        return [entry for entry in self.entries if entry["kind"] in kinds]

    async def until(self, claim: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until a claim holds; it is looked at again with each entry."""
        async with asyncio.timeout(seconds):
            while not claim():
                await self._turned.wait()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def __iter__(self) -> Iterator[Json]:
        return iter(self.entries)

    def _add(self, entry: Json) -> None:
        self.entries.append(entry)
        match entry["kind"]:
            case "call":
                keys = ("number", "at", "bot", "method", "verb", "path", "body")
                self.calls.append(Call(*(entry[key] for key in keys)))
            case "answer":
                call = self.calls[entry["number"] - 1]
                call.status, call.code = entry["status"], entry["code"]
            case "fault":
                self.faults.append(Fault(*(entry[key] for key in ("at", "bot", "method", "what", "body"))))
            case "message" | "edit" | "delete" | "reaction" | "typing":
                _show(self.screens[entry["channel"]], entry)


def _show(screen: Screen, entry: Json) -> None:
    """Let the screen show what happened."""
    at = entry["at"]
    match entry["kind"]:
        case "message":
            keys = ("message", "by", "reply_to", "type", "nonce", "only_for")
            shown = Shown(*(entry[key] for key in keys))
            shown.versions.append(_version(entry))
            screen.all[shown.id] = shown
            # What somebody says ends their typing.
            screen.typed = [_ended(typing, entry) for typing in screen.typed]
        case "edit":
            screen.all[entry["message"]].versions.append(_version(entry))
        case "delete":
            screen.all[entry["message"]].deleted = at
        case "reaction":
            reactions = {emoji: tuple(by) for emoji, by in entry["reactions"].items()}
            screen.all[entry["message"]].reactions = reactions
        case "typing":
            screen.typed.append(Typing(at, entry["by"], entry["until"]))


def _version(entry: Json) -> Version:
    embeds, components, attachments = (tuple(entry[key]) for key in ("embeds", "components", "attachments"))
    pings = tuple(entry["pings"])
    return Version(entry["at"], entry["text"], embeds, components, attachments, entry["flags"], pings)


def _ended(typing: Typing, entry: Json) -> Typing:
    """The typing, which ends when its person has spoken."""
    if typing.by != entry["by"]:
        return typing
    return Typing(typing.at, typing.by, min(typing.until, entry["at"]))
