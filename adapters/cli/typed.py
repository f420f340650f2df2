"""What was typed at the prompt: a file in which each line stands with its time and its session, to go with it."""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from factory_contracts.subjects import scope_token


def add(file: Path, text: str, scope: str, now: datetime) -> None:
    """Note what was typed, in the form of the prompt's library."""
    lines = "".join(f"+{line}\n" for line in text.split("\n"))
    with open(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as noted:
        noted.write(f"\n# {now} {scope_token(scope)}\n{lines}".encode("utf-8", "replace"))


def forget(file: Path, scope: str, until: datetime) -> None:
    """Keep nothing that was typed in a session until then, nor what nobody knows the session of."""
    try:
        lines = file.read_text("utf-8", "replace").split("\n")
    except FileNotFoundError:
        return
    kept = "".join(f"\n{head}\n{typed}" for head, typed in _entries(lines) if _stays(head, scope, until))
    beside = file.with_suffix(f".{os.getpid()}")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as fresh:
        fresh.write(kept)
    beside.replace(file)


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    head, typed = "", ""
    for line in (*lines, "#"):
        if line.startswith("#"):
            if typed:
                yield head, typed
            head, typed = line, ""
        elif line.startswith("+"):
            typed += f"{line}\n"


def _stays(head: str, scope: str, until: datetime) -> bool:
    match head.split(" "):
        case ["#", day, time, its]:
            return its != scope_token(scope) or f"{day} {time}" > f"{until}"
        case _:
            return False
