"""What happened, as a list of entries, and what each chat shows, which is folded from it.

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

from tests.botapi.chats import Key
from tests.botapi.refusal import Json


@dataclass(slots=True)
class Call:
    """A call of a bot: its answer has a status once it was sent (0 if the connection was cut instead)."""

    number: int
    at: float
    bot: int
    method: str
    parameters: Json
    status: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a correct client never does."""

    at: float
    bot: int
    method: str
    what: str
    parameters: Json


@dataclass(frozen=True, slots=True)
class Version:
    """A message as it stood from then on."""

    at: float
    text: str
    entities: tuple[Json, ...] = ()
    markup: Json | None = None
    # Kind and file of what it carries, or the source of a rich message.
    media: Json | None = None


@dataclass(slots=True)
class Shown:
    """A message on the screen, with all that it ever was."""

    id: int
    thread: int | None
    sender: int
    reply_to: int | None
    versions: list[Version] = field(default_factory=list)
    deleted: float | None = None
    reactions: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Its text or caption now."""
        return self.versions[-1].text

    @property
    def entities(self) -> tuple[Json, ...]:
        """Its marks now."""
        return self.versions[-1].entities

    @property
    def markup(self) -> Json | None:
        """Its buttons now."""
        return self.versions[-1].markup

    @property
    def media(self) -> Json | None:
        """What it carries now."""
        return self.versions[-1].media


@dataclass(slots=True)
class Draft:
    """A message in the making; it is seen until a moment, unless it is written again."""

    id: int
    thread: int | None
    can_stop: bool
    keep_on_stop: bool
    until: float
    versions: list[Version] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What it says."""
        return self.versions[-1].text


@dataclass(frozen=True, slots=True)
class Action:
    """A bot that is typing, or the like."""

    at: float
    bot: int
    thread: int | None
    action: str
    until: float


@dataclass(slots=True)
class Screen:
    """What a chat shows, and has shown."""

    all: dict[int, Shown] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)

    @property
    def messages(self) -> list[Shown]:
        """The messages to be seen now, in the order of their coming."""
        return [shown for shown in self.all.values() if shown.deleted is None]

    def by(self, sender: int) -> list[Shown]:
        """Those of one sender."""
        return [shown for shown in self.messages if shown.sender == sender]

    def draft(self, now: float, thread: int | None = None) -> Draft | None:
        """The draft to be seen now."""
        return next((draft for draft in self.drafts[::-1] if draft.thread == thread and now < draft.until), None)

    def action(self, now: float, thread: int | None = None) -> str | None:
        """What the bot is shown to do now."""
        shown = (each for each in self.actions[::-1] if each.thread == thread)
        return next((each.action for each in shown if now < each.until), None)


class Ledger:
    """All entries in their order, and what follows from them."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Json] = []
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.screens: defaultdict[Key, Screen] = defaultdict(Screen)
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
                self.calls.append(Call(*(entry[key] for key in ("number", "at", "bot", "method", "parameters"))))
            case "answer":
                call = self.calls[entry["number"] - 1]
                call.status, call.description = entry["status"], entry["description"]
            case "fault":
                self.faults.append(Fault(*(entry[key] for key in ("at", "bot", "method", "what", "parameters"))))
            case "update" | "confirm":
                pass
            case _:
                _show(self.screens[entry["chat"], entry["private"]], entry)


def _show(screen: Screen, entry: Json) -> None:
    """Let the screen show what happened."""
    at, thread = entry["at"], entry.get("thread")
    match entry["kind"]:
        case "message":
            shown = Shown(entry["message"], thread, entry["by"], entry["reply_to"], [_version(entry)])
            screen.all[shown.id] = shown
            if entry["bot"]:
                for draft in screen.drafts:
                    if draft.thread == thread:
                        draft.until = min(draft.until, at)
                screen.actions = [_ended(action, entry) for action in screen.actions]
        case "edit":
            screen.all[entry["message"]].versions.append(_version(entry))
        case "delete":
            screen.all[entry["message"]].deleted = at
        case "reaction":
            screen.all[entry["message"]].reactions[entry["by"]] = tuple(entry["reactions"])
        case "draft":
            before = screen.draft(at, thread)
            if before is None or before.id != entry["draft"]:
                if before is not None:
                    before.until = at
                before = Draft(entry["draft"], thread, entry["can_stop"], entry["keep_on_stop"], entry["until"])
                screen.drafts.append(before)
            before.can_stop, before.keep_on_stop = entry["can_stop"], entry["keep_on_stop"]
            before.until = entry["until"]
            before.versions.append(_version(entry))
        case "stop":
            stopped = screen.draft(at, thread)
            if stopped is not None:
                stopped.can_stop = False
                stopped.until = stopped.until if stopped.keep_on_stop else at
        case "action":
            screen.actions = [_ended(action, entry) for action in screen.actions]
            screen.actions.append(Action(at, entry["by"], thread, entry["action"], entry["until"]))


def _version(entry: Json) -> Version:
    return Version(entry["at"], entry["text"], tuple(entry["entities"]), entry["markup"], entry["media"])


def _ended(action: Action, entry: Json) -> Action:
    """The action, which ends when its bot does something else in the same place."""
    if (action.bot, action.thread) != (entry["by"], entry.get("thread")):
        return action
    return Action(action.at, action.bot, action.thread, action.action, min(action.until, entry["at"]))
