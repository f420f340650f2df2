"""A file to which every change is one more line of JSON, and which is written anew when much of it is over."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


class Journal:
    """What a spoke remembers over its death; without a path, nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None
        self._is_torn = False
        self.added = 0

    def read(self) -> Iterator[object]:
        """What was added, from the first to the last."""
        for line in self._path.read_bytes().splitlines() if self._path is not None and self._path.exists() else ():
            try:
                yield json.loads(line)
            except ValueError:
                # The last line may be torn by a kill.
                continue

    def begin(self, values: Iterable[object]) -> None:
        """Have these in the file and nothing else."""
        if self._path is None:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(b"".join(map(_line, values)))
        fresh.replace(self._path)
        self._let_go()
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._is_torn, self.added = False, 0

    def add(self, value: object) -> None:
        """One more; on return the kernel has it, and a kill cannot take it back. Raises `OSError` on a full disk."""
        if self._file is None:
            return
        line = b"\n" + _line(value) if self._is_torn else _line(value)
        # Of a line for which there is not enough room a part may be written: the next one begins behind it.
        self._is_torn = True
        if os.write(self._file, line) < len(line):
            raise OSError(f"no room for a line in {self._path}")
        self._is_torn = False
        self.added += 1

    def close(self) -> None:
        """Keep nothing from now on: the file may be another's by then."""
        self._let_go()
        self._path = None

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _line(value: object) -> bytes:
    return f"{json.dumps(value)}\n".encode()
