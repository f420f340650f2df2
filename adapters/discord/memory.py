"""What a bot remembers over its death: how far each channel was read, and the commands that wait for an answer."""

import logging
from collections import OrderedDict
from pathlib import Path

from adapters.journal import Journal

logger = logging.getLogger(__name__)

# Channels that were not heard of for longest are forgotten beyond this.
MOST_CHANNELS = 10_000
# The file is written anew when it holds so many lines more than there is to remember.
MOST_LINES = 20_000

# Stands for all channels that nothing is known of: from there on they are read.
ANYWHERE = ""

_READ, _COMMAND, _MENU, _LEASE = "read", "command", "menu", "lease"


class Memory:
    """Kept in a file; None is a memory that ends with the process.

    What a full disk does not take is known all the same, and written with what comes next. Who dies before that has
    what was read read again, and the hub knows it.
    """

    def __init__(self, path: Path | None) -> None:
        self._journal = Journal(path)
        self._unwritten: dict[tuple[str, str], object] = {}
        self._read: OrderedDict[str, tuple[int, bool]] = OrderedDict()
        self._commands: dict[str, object] = {}
        self._menu = ""
        self._generation = 0
        self._newest = 0
        for noted in self._journal.read():
            match noted:
                case [str(kind), str(key), value]:
                    self._take(kind, key, value)
        self.tidy()

    @property
    def newest(self) -> int:
        """The newest message that was read anywhere; 0 if none ever was."""
        return self._newest

    def read(self, channel: str) -> int | None:
        """The last message that was read in a channel: all up to it is accepted, refused or nothing for us."""
        known = self._read.get(channel)
        return None if known is None else known[0]

    def private(self) -> tuple[str, ...]:
        """The channels in which one person talks with the bot."""
        return tuple(channel for channel, (_, is_private) in self._read.items() if is_private)

    def move(self, channel: str, message: int, *, is_private: bool) -> None:
        """A channel is read up to this message; on return the kernel has it, and a kill cannot take it back."""
        if message > (self.read(channel) or -1):
            self._put(_READ, channel, [message, is_private])

    def commands(self) -> tuple[object, ...]:
        """The commands that were begun and not ended, as they came."""
        return tuple(self._commands.values())

    def begin(self, command: str, event: object) -> None:
        """A command came that nobody would tell us of again."""
        if command not in self._commands:
            self._put(_COMMAND, command, event)

    def end(self, command: str) -> None:
        """It is answered, or never will be."""
        if command in self._commands:
            self._put(_COMMAND, command, None)

    @property
    def menu(self) -> str:
        """What tells the menu that Discord offers from another."""
        return self._menu

    @menu.setter
    def menu(self, menu: str) -> None:
        self._put(_MENU, "", menu)

    def follow(self, before: int, own: int, message: int) -> None:
        """Take over from who spoke under a generation; where that was not by this file, whatever came before a message
        was read by others."""
        if self._generation != before:
            for channel, (read, is_private) in tuple(self._read.items()):
                if read < message:
                    self._put(_READ, channel, [message, is_private])
            self.move(ANYWHERE, message, is_private=False)
        self.speak(own)

    def speak(self, generation: int) -> None:
        """It is under this generation that the file is written."""
        self._put(_LEASE, "", generation)

    def tidy(self) -> None:
        """Leave nothing in the file that is over. Raises `OSError` on a full disk."""
        self._journal.begin(
            (
                *([_READ, channel, known] for channel, known in self._read.items()),
                *([_COMMAND, command, event] for command, event in self._commands.items()),
                [_MENU, "", self._menu],
                [_LEASE, "", self._generation],
            )
        )
        self._unwritten.clear()

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()

    def _put(self, kind: str, key: str, value: object) -> None:
        self._take(kind, key, value)
        is_told = bool(self._unwritten)
        self._unwritten[kind, key] = value
        try:
            for (noted, of), known in tuple(self._unwritten.items()):
                self._journal.add([noted, of, known])
                del self._unwritten[noted, of]
            if self._journal.added > MOST_LINES + len(self._read):
                self.tidy()
        except OSError as error:
            if not is_told:
                logger.error("what was read is not on the disk, and is written later: %s", error)

    def _take(self, kind: str, key: str, value: object) -> None:
        match kind, value:
            case "read", [int(message), bool(is_private)]:
                self._read[key] = message, is_private
                self._read.move_to_end(key)
                self._newest = max(self._newest, message)
                if len(self._read) > MOST_CHANNELS:
                    del self._read[next(channel for channel in self._read if channel != ANYWHERE)]
            case "command", None:
                self._commands.pop(key, None)
            case "command", _:
                self._commands[key] = value
            case "menu", str(menu):
                self._menu = menu
            case "lease", int(generation):
                self._generation = generation
            case _:
                pass
