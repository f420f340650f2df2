"""How far the log goes, noted in a small file beside it."""

import asyncio
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from hub.kernel.seals import Head, Heads

# Nobody writes for so long: what is older was left by a process that died over it.
LEFT = 60.0


class FileHighWater:
    """One home's file: whoever reads it sees the old note or the new one, also after a power cut."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> Heads | None:
        """What was noted; None where there is no file. Raises `OSError` where it is no note."""
        return await asyncio.to_thread(self._read)

    async def note(self, heads: Heads) -> None:
        """Keep this instead."""
        # Nobody waits for a disk.
        await asyncio.to_thread(self._write, heads)

    def _read(self) -> Heads | None:
        self._sweep()
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return {int(part): _head(head) for part, head in json.loads(text)["heads"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise OSError(f"{self._path} is damaged; `factory log verify` tells how the log is without it") from None

    def _write(self, heads: Heads) -> None:
        said = {
            str(part): {
                "number": head.number,
                "digest": head.digest,
                "sequence": head.sequence,
                "through": head.through,
                "newest": dict(head.newest),
            }
            for part, head in heads.items()
            if head.number
        }
        beside = self._path.with_name(f"{self._unfinished}{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            # Encoded at once, which takes a twentieth of the time of encoding piece by piece.
            file.write(json.dumps({"at": time.time(), "heads": said}))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)

    @property
    def _unfinished(self) -> str:
        return f".{self._path.name}."

    def _sweep(self) -> None:
        for beside in self._path.parent.glob(f"{self._unfinished}*"):
            with suppress(OSError):
                if beside.stat().st_mtime < time.time() - LEFT:
                    beside.unlink()


def _head(said: dict[str, object]) -> Head:
    match said:
        case {
            "number": int(number),
            "digest": str(digest),
            "sequence": int(sequence),
            "through": int(through),
            "newest": dict(newest),
        }:
            told = {str(subject): int(at) for subject, at in newest.items()}
            return Head(number, digest, sequence, through, MappingProxyType(told))
    raise ValueError("no head")
