"""Additions to `factory.toml` that leave alone whatever a person wrote there."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from factory_cli import config
from factory_cli.config import Bot, Configuration, Worker
from factory_cli.document import BadConfiguration, parsed, shown
from factory_cli.home import write_atomically

_ANY_TABLE = re.compile(r"\s*\[")
_API_BASE = re.compile(r"\s*api_base\s*=")


class NotAmended(Exception):
    """The file cannot be added to without risk; the sentence says what a person should write there."""


def amend(path: Path, bot: Bot, api_base: str | None) -> bool:
    """Have the file name the bot and, if it is given, its platform's address; false where it does already.

    Raises `BadConfiguration` where the file is broken as it stands, `NotAmended` where it would be afterwards.
    """
    before = wanted = config.load(path)
    text = path.read_bytes().decode() if path.exists() else ""
    added: list[str] = []
    if bot.identity not in (other.identity for other in before.bots):
        wanted = replace(wanted, bots=(*wanted.bots, bot))
        added.append(f'[[bots]]\nplatform = "{bot.platform}"\nbot_id = "{bot.bot_id}"\n')
        text = _with_end(text, added[-1])
    if api_base is not None and api_base != before.at(bot.platform).api_base:
        wanted = wanted.asking(bot.platform, api_base)
        line = f"api_base = {json.dumps(api_base)}\n"
        added.append(f"[{bot.platform}]\n{line}")
        text = _with_line(text, bot.platform, line) or _with_end(text, added[-1])
    return bool(added) and _write(path, text, wanted, added)


def name_worker(path: Path, worker: Worker) -> bool:
    """Have the file name the worker; false where it does already. Raises as `amend` does.

    Raises `NotAmended` also where nobody of that name may serve that.
    """
    before = config.load(path)
    if worker in before.workers:
        return False
    text = path.read_bytes().decode() if path.exists() else ""
    added = f'[[workers]]\nname = "{worker.name}"\ncapability = "{worker.capability}"\n'
    text = _with_end(text, added)
    # Whether there may be such a worker at all; whether it can be written there is another question.
    try:
        config.understood(parsed(shown(path), text))
    except BadConfiguration as error:
        # The line that it names is not in the file.
        raise NotAmended(f"nothing is added: {error.reason}") from None
    return _write(path, text, replace(before, workers=(*before.workers, worker)), [added])


def _write(path: Path, text: str, wanted: Configuration, added: Sequence[str]) -> bool:
    if not _says(path, text, wanted):
        raise NotAmended(
            "\n".join((f"{shown(path)} cannot be added to as it is written; write there yourself:\n", *added))
        )
    # A link to a file elsewhere stays one.
    write_atomically(path.resolve(), text)
    return True


def _with_end(text: str, table: str) -> str:
    return f"{text.rstrip()}\n\n{table}" if text.strip() else table


def _with_line(text: str, table: str, line: str) -> str | None:
    """The text with this line in that table, in the place of the one that is like it; None where it has no such."""
    lines = text.splitlines(keepends=True)
    heading = re.compile(rf"\s*\[\s*{table}\s*\]\s*(#.*)?$")
    start = next((at + 1 for at, one in enumerate(lines) if heading.match(one)), None)
    if start is None:
        return None
    for at in range(start, len(lines)):
        if _ANY_TABLE.match(lines[at]):
            break
        if _API_BASE.match(lines[at]):
            return "".join((*lines[:at], line, *lines[at + 1 :]))
    return "".join((*lines[:start], "" if lines[start - 1].endswith("\n") else "\n", line, *lines[start:]))


def _says(path: Path, text: str, wanted: Configuration) -> bool:
    """Whether the file would say what is wanted, and nothing else."""
    try:
        return config.understood(parsed(shown(path), text)) == wanted
    except BadConfiguration:
        return False
