"""A file of this machine -> what goes with a message: its bytes, its name and what it is."""

import os
import shlex
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from adapters.mime import kind_of, mime_of
from factory_contracts.messages import AttachmentKind
from factory_nats.blobs import MOST_BYTES

MOST_FILES = 10
_OFFERED = 100
_LOOKED_AT = 10_000


class Unattachable(Exception):
    """A file that cannot go with a message; the sentence says why."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as it goes with a message."""

    name: str
    kind: AttachmentKind
    mime: str
    data: bytes

    @property
    def words(self) -> str:
        """What it is, for the person who attached it."""
        return f"{one_line(self.name)} ({self.mime}, {size_of(len(self.data))})"


def read(path: str) -> File:
    """The file. Raises `Unattachable` where it is missing, unreadable, too large or no ordinary file."""
    place = os.path.expanduser(path)
    shown = one_line(path)
    try:
        # Opening a pipe would wait for whoever writes into it, and opening a device may do anything.
        _check(shown, os.stat(place))
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:
            _check(shown, os.fstat(descriptor))
            data = opened.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise Unattachable(f"there is no file {shown}") from None
    except ValueError:
        raise Unattachable(f"{shown} is no name that a file can have") from None
    except OSError as error:
        raise Unattachable(f"{shown} cannot be read: {error.strerror or type(error).__name__}") from None
    if len(data) > MOST_BYTES:
        raise _too_large(shown, len(data))
    name = os.path.basename(place)
    mime = mime_of(name, data)
    return File(name, kind_of(mime, data), mime, data)


def read_all(paths: Sequence[str]) -> tuple[File, ...]:
    """The files that go with one message. Raises `Unattachable` as `read` does, and where they are too much for it."""
    if len(paths) > MOST_FILES:
        raise Unattachable(f"{len(paths)} files are too many: {MOST_FILES} go with a message")
    found = tuple(map(read, paths))
    check_together(len(file.data) for file in found)
    return found


def check_together(sizes: Iterable[int]) -> None:
    """Raises `Unattachable` where files of these sizes are too large to go with one message."""
    whole = sum(sizes)
    if whole > MOST_BYTES:
        raise Unattachable(f"together the files are too large: {whole:,} bytes, and {MOST_BYTES:,} are the limit")


def named(words: str) -> list[str]:
    """The paths that a person typed or dropped: one as it stands, or several, quoted as for a shell."""
    try:
        paths = shlex.split(words)
    except ValueError:
        return [words]
    found = [path for path in paths if _exists(path)]
    return paths if found and not _exists(words) else [words]


def complete(begun: str) -> list[str]:
    """The paths that one begun may become, folders with a slash at their end; hidden ones when they are asked for."""
    folder, beginning = os.path.split(begun)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            offered = [
                os.path.join(folder, entry.name) + ("/" if entry.is_dir() else "")
                for entry in islice(entries, _LOOKED_AT)
                if entry.name.startswith(beginning) and (beginning.startswith(".") or not entry.name.startswith("."))
            ]
    except (OSError, ValueError):
        return []
    # What the keyboard cannot type and the screen cannot show is not offered.
    return sorted(path for path in offered if path.isprintable())[:_OFFERED]


def told(names: Sequence[str]) -> str:
    """Which files stand with a line; nothing where there are none."""
    if not names:
        return ""
    return f"[{len(names)} file{'' if len(names) == 1 else 's'}: {', '.join(map(one_line, names))}]"


def with_files(text: str, names: Iterable[str]) -> str:
    """A line, and below it which files stand with it."""
    return "\n".join(part for part in (text, told(tuple(names))) if part)


def one_line(name: str) -> str:
    """A name that may hold anything, as it can be shown."""
    return " ".join("".join(one if one.isprintable() or one.isspace() else "?" for one in name).split())


def _check(shown: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Unattachable(f"{shown} is a folder; only single files go with a message")
    if not stat.S_ISREG(status.st_mode):
        raise Unattachable(f"{shown} is no ordinary file, but a pipe, a socket or a device")
    if status.st_size > MOST_BYTES:
        raise _too_large(shown, status.st_size)


def _too_large(shown: str, size: int) -> Unattachable:
    return Unattachable(f"{shown} is too large: {size:,} bytes, and {MOST_BYTES:,} are the limit")


def _exists(path: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(path))
    except ValueError:
        return False


def size_of(count: int) -> str:
    """A number of bytes as a person reads it."""
    if count < 1_000:
        return f"{count} byte{'' if count == 1 else 's'}"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"
