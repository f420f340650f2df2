"""The folder that one installation lives in, and where each thing lies there."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """A folder of one person's own: nobody else may look inside."""

    path: Path

    @property
    def run(self) -> Path:
        """Locks and the state of what runs: worthless once everything has ended."""
        return self.path / "run"

    @property
    def log(self) -> Path:
        """What each process says on stderr."""
        return self.path / "log"

    @property
    def keys(self) -> Path:
        """One secret per identity."""
        return self.path / "keys"

    @property
    def nats(self) -> Path:
        """The embedded server's store: every conversation."""
        return self.path / "nats"

    @property
    def agents(self) -> Path:
        """Agent seeds of the person's own."""
        return self.path / "agents"

    @property
    def engines(self) -> Path:
        """Engines of the person's own."""
        return self.path / "engines"

    @property
    def spokes(self) -> Path:
        """What spokes note of replies that are not finished."""
        return self.path / "spokes"

    @property
    def work(self) -> Path:
        """What workers keep: memories, folders of agents, sessions of command lines."""
        return self.path / "work"

    @property
    def configuration(self) -> Path:
        """The person's `factory.toml`, if there is one."""
        return self.path / "factory.toml"

    @property
    def settled(self) -> Path:
        """What `factory.toml` said when what runs was last told of it."""
        return self.run / "factory.toml"

    @property
    def high_water(self) -> Path:
        """How far the log went when it was last noted: without it a log that lost its end counts as whole."""
        return self.path / "high-water.json"

    @property
    def state(self) -> Path:
        """Where a running supervisor says how to join it."""
        return self.run / "state.json"

    @property
    def bus(self) -> Path:
        """The address of a server of the person's own, where a password stands in it."""
        return self.keys / "bus.url"

    @property
    def unfinished(self) -> Path:
        """There from the first file of a backup that is brought back to the last record."""
        return self.path / ".restoring"

    def prepare(self) -> None:
        """Make what is missing, closed to others. Raises `OSError` where that is not possible, or not all is back."""
        if self.unfinished.exists():
            why = "a backup is being brought back into it, or was until that was cut off"
            raise OSError(f"{self.path} is not whole: {why}; if nothing does so now, take it away and restore again")
        for folder in (self.path, self.run, self.log, self.keys, self.nats, self.spokes, self.work):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                why = f"{error.strerror}; choose another home with --home or FACTORY_HOME"
                raise OSError(error.errno, why, str(folder)) from None

    def obstacles(self) -> Iterator[str]:
        """What keeps it, or whoever would make it, from being written to, and what to do."""
        from factory_nats.server import ROOM

        there = next(path for path in (self.path, *self.path.parents) if os.path.exists(path))
        if not there.is_dir():
            yield f"{there} is no folder; choose another home with --home"
        elif not os.access(there, os.W_OK | os.X_OK):
            yield f"{there} cannot be written to; choose another home with --home"
        elif (free := shutil.disk_usage(there).free) < ROOM:
            yield f"the disk of {there} has {free:,} bytes left, and less than {ROOM:,} is too little; make room there"


def is_open_above(path: Path) -> bool:
    """Whether everybody on this machine gets as far as to this file or folder."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def write_atomically(path: Path, text: str) -> None:
    """Whoever reads the file sees the old text or the new one, also after a power cut. Raises `OSError`, of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        # Only we know the file beside it.
        raise OSError(error.errno, error.strerror, str(path)) from None
