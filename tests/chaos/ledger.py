"""Append-only files of JSON lines: what nobody who is killed can take back."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCREEN = "screen.jsonl"
EFFECTS = "effects.jsonl"
CALLS = "calls.jsonl"
DEEDS = "deeds.jsonl"


class Ledger:
    """One file, written by one process or by many: each line is a single write in append mode."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **entry: Any) -> None:
        """On return the kernel has the line, and a kill cannot take it back."""
        os.write(self._file, f"{json.dumps(entry, ensure_ascii=False)}\n".encode())

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Every line so far."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            yield json.loads(line)
