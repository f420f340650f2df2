"""A backup as a file: a zip archive of what is stored, line by line, and of the files of a home.

`streams/NAME.jsonl` holds one message in each line: sequence, subject, data in base64. `home/` holds files as they lie
in a home. `manifest.json`, which comes last, says what must be there: an archive without it is none.
"""

import json
import os
import shutil
import sqlite3
import stat
import zipfile
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from factory_cli.console import Failed
from factory_cli.ink import harmless
from factory_nats.transport import Stored

FORMAT = 1
MANIFEST = "manifest.json"
SECRETS = "keys"
# What is of use on this machine and at this moment alone. What spokes note of replies under way would, when it is old,
# have them take for unread what was answered since.
LEFT = frozenset(("nats", "run", "log", "spokes", "high-water.json"))
_SQLITE = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds; `streams` tells of each how many messages there are, and up to which sequence."""

    version: str
    at: float
    has_secrets: bool
    streams: dict[str, tuple[int, int]]
    format: int = FORMAT


@dataclass(slots=True)
class Writer:
    """An archive that is being written; `amiss` tells of files that are not in it as they lie in the home."""

    file: zipfile.ZipFile
    streams: dict[str, tuple[int, int]] = field(default_factory=dict)
    amiss: list[str] = field(default_factory=list)

    async def put_stream(self, name: str, messages: AsyncIterator[Stored], last: int = 0) -> None:
        """Add what is stored in a stream, which goes up to `last` at least."""
        count = 0
        with self.file.open(f"streams/{name}.jsonl", "w", force_zip64=True) as lines:
            async for one in messages:
                said = {"seq": one.sequence, "subject": one.subject, "data": b64encode(one.data).decode()}
                lines.write(json.dumps(said).encode() + b"\n")
                count, last = count + 1, max(last, one.sequence)
        self.streams[name] = count, last

    def put_home(self, home: Path, *, with_secrets: bool) -> None:
        """Add the files of a home; a file that goes away meanwhile is left out."""
        left = LEFT if with_secrets else LEFT | {SECRETS}
        for top in sorted(home.iterdir()):
            if top.name in left or top.name.startswith("."):
                continue
            for path in [top] if top.is_file() else self._below(top):
                self._put_file(path, f"home/{path.relative_to(home).as_posix()}")

    def close(self, version: str, at: float, *, has_secrets: bool) -> None:
        """Say what is there."""
        manifest = Manifest(version, at, has_secrets, self.streams)
        self.file.writestr(MANIFEST, json.dumps(asdict(manifest), indent=1) + "\n")

    def _below(self, top: Path) -> Iterator[Path]:
        for folder, folders, names in os.walk(top, onerror=self._leave):
            folders.sort()
            for path in (Path(folder, name) for name in sorted(names)):
                # What is linked from elsewhere is no part of the home.
                if not os.path.islink(path):
                    yield path

    def _leave(self, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            self.amiss.append(f"{harmless(str(error.filename))} is left out: {error.strerror}")

    def _put_file(self, path: Path, name: str) -> None:
        try:
            if not path.is_file() or path.name.endswith(_BESIDE):
                return
            name.encode()
            info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            descriptor = os.open(path, os.O_RDONLY)
        except UnicodeEncodeError:
            self.amiss.append(f"{harmless(str(path))} is left out: its name is not UTF-8")
            return
        except OSError as error:
            self._leave(error)
            return
        with open(descriptor, "rb") as opened:
            if opened.read(len(_SQLITE)) == _SQLITE and self._put_database(path, info):
                return
            opened.seek(0)
            self._put(opened, info)

    def _put_database(self, path: Path, info: zipfile.ZipInfo) -> bool:
        # A database that is written to meanwhile is copied as it is at one moment.
        with TemporaryDirectory(prefix="factory-") as folder:
            copy = Path(folder) / path.name
            try:
                with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
                    source.backup(target)
            except sqlite3.Error as error:
                self.amiss.append(f"{harmless(str(path))} is copied as it lies, and may not be whole: {error}")
                return False
            with open(copy, "rb") as opened:
                self._put(opened, info)
        return True

    def _put(self, opened: IO[bytes], info: zipfile.ZipInfo) -> None:
        info.compress_type = self.file.compression
        # It may grow meanwhile.
        with self.file.open(info, "w", force_zip64=True) as target:
            shutil.copyfileobj(opened, target)


class Reader:
    """An archive that is being read. Raises `Failed` where it is none of ours, or not whole."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        try:
            said = json.loads(file.read(MANIFEST))
            if said["format"] != FORMAT:
                raise Failed("the backup was written by a newer version of factory")
            self.manifest = Manifest(
                version=str(said["version"]),
                at=float(said["at"]),
                has_secrets=bool(said["has_secrets"]),
                streams={str(name): (int(count), int(last)) for name, (count, last) in said["streams"].items()},
            )
        except (KeyError, ValueError, TypeError):
            raise Failed("this is no backup of ours, or only a part of one") from None
        damaged = file.testzip()
        if damaged is not None:
            raise Failed(f"the backup is damaged: {damaged} is not what was written")

    def messages(self, stream: str) -> Iterator[Stored]:
        """What is stored in a stream, oldest first."""
        with self._file.open(f"streams/{stream}.jsonl") as lines:
            yield from _messages(lines)

    def unpack(self, home: Path) -> None:
        """Put the files where they were in a home, closed to others."""
        for info in self._file.infolist():
            parts = PurePosixPath(info.filename).parts
            if parts[0] != "home" or info.is_dir():
                continue
            if ".." in parts or len(parts) < 2 or parts[1] in LEFT:
                raise Failed(f"the backup holds a file that belongs elsewhere: {info.filename}")
            path = home.joinpath(*parts[1:])
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What a person or an agent may run stays so.
            mode = 0o700 if info.external_attr >> 16 & stat.S_IXUSR else 0o600
            with (
                self._file.open(info) as source,
                open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as target,
            ):
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())


def _messages(lines: IO[bytes]) -> Iterator[Stored]:
    for line in lines:
        said = json.loads(line)
        yield Stored(said["subject"], said["seq"], b64decode(said["data"]), {})
