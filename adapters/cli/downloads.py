"""What an answer brings -> files of this machine, each under a name that is safe and that was free."""

import asyncio
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from adapters.cli.conversation import Conversation
from adapters.cli.files import one_line, size_of
from factory_contracts.messages import Attachment
from factory_contracts.render import SavedFile
from factory_contracts.subjects import scope_token

logger = logging.getLogger(__name__)

# Names of files have 255 bytes at most, of which a number in brackets takes some.
_LONGEST = 200
_MOST_ALIKE = 10_000


def folder_of(folder: Path, scope: str) -> Path:
    """Where the files of a session lie, whatever it is called."""
    return folder / scope_token(scope)


async def save(conversation: Conversation, attachments: Iterable[Attachment], folder: Path) -> tuple[SavedFile, ...]:
    """Put the files into a folder; nothing that lies there is replaced."""
    saved = []
    for one in attachments:
        data = await conversation.read(one)
        path = await asyncio.to_thread(_put, folder, one.name, data) if data is not None else None
        saved.append(SavedFile(name=one.name, mime=one.mime, size=one.size, path=path))
    return tuple(saved)


def forget(folder: Path, until: float) -> None:
    """Remove what was saved there until then, and the folder with the last of it."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        found = path.lstat()
        # Only files are saved there; a folder is somebody's own.
        if found.st_mtime <= until and not stat.S_ISDIR(found.st_mode):
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def announced(file: SavedFile) -> str:
    """The one line about a file."""
    where = f"saved as {file.path}" if file.path is not None else "it could not be saved"
    return f"file: {one_line(file.name)}, {size_of(file.size)}, {where}"


def _put(folder: Path, name: str, data: bytes) -> str | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (folder / other for other in _names(safe(name))):
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            with open(descriptor, "wb") as file:
                file.write(data)
            return str(path)
    except OSError as error:
        logger.error("a file cannot be saved: %s", error.strerror)
    return None


def safe(name: str) -> str:
    """A name that leads nowhere, hides nothing and can be shown, whatever somebody else chose."""
    shown = "".join(one if one.isprintable() and one not in "/\\" else "_" for one in name)
    stem, dot, ending = shown.strip().lstrip(".").rpartition(".")
    ending = dot + ending
    room = _LONGEST - len(ending.encode())
    if room < 1:
        stem, ending, room = f"{stem}{ending}", "", _LONGEST
    return stem.encode()[:room].decode(errors="ignore") + ending or "file"


def _names(name: str) -> Iterator[str]:
    yield name
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, dot + ending) if stem else (name, "")
    for number in range(2, _MOST_ALIKE):
        yield f"{stem} ({number}){ending}"
