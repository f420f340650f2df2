"""Skills: instructions for certain work, which an agent reads before it does what they are about.

A skill is a folder with a file SKILL.md, which begins with what it is:

    ---
    name: invoices
    description: How an invoice is written and checked. To be read before any work on one.
    ---

A skill is read from the disk whole, before a model sees any of it, so that no path of a model ever leads there.
"""

import asyncio
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

from factory_contracts.work import AgentSpec
from hub.kernel.harness import MAX_OBSERVATION
from hub.kernel.ports import Equipped, Occasion, ToolFailed
from hub.kernel.schema import equip

logger = logging.getLogger(__name__)

MAIN = "SKILL.md"
MAX_FILES = 64
MAX_BYTES = 1_000_000
MAX_DEPTH = 8
MAX_KEPT = 256
MAX_PART = 100
MAX_FRONT = 200
MAX_DESCRIPTION = 1_024
# What the harness would cut off must hold no mark that says how to read on.
MAX_SHOWN = MAX_OBSERVATION - 1_000
FENCE = "---"

_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_KEY = re.compile(r"([A-Za-z][\w-]*):(?:\s+(.*))?")
_FOLDED = frozenset({">", "|", ">-", "|-", ">+", "|+"})
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class SkillError(ValueError):
    """A skill that cannot be used; the sentence names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill as it was read: its text files by their paths, and a digest of them all."""

    name: str
    description: str
    files: Mapping[str, str]
    digest: str


def load(folder: Path, name: str) -> Skill:
    """The skill of that name in a folder of skills; raises `SkillError`."""
    place = folder / name
    if not _NAME.fullmatch(name):
        raise SkillError(f"{folder}: {name!r} is no name of a skill: it has a-z, 0-9, - and _, at most 32 of them")
    with _naming(place):
        within = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with _opened(within, name, _FOLDER, place) as fd:
                raw = dict(_gathered(fd, place, _Budget()))
        finally:
            os.close(within)
    main = place / MAIN
    if MAIN not in raw:
        raise SkillError(f"{main}: does not exist; a skill begins with this file")
    files: dict[str, str] = {}
    for path, content in sorted(raw.items()):
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if path == MAIN:
                raise SkillError(f"{main}: is not UTF-8 text: the byte at {error.start} fits nowhere") from None
            continue
        if "\0" in text and path == MAIN:
            raise SkillError(f"{main}: is no text: it holds a NUL character")
        if "\0" not in text:
            files[path] = text
    return Skill(name, _described(files[MAIN], name, main), MappingProxyType(files), _digest(raw))


def lines(skills: Iterable[Skill]) -> str:
    """What an agent is told of its skills from the start; empty when it has none."""
    each = [f"- {skill.name}: {skill.description}" for skill in skills]
    if not each:
        return ""
    return "\n".join(
        (
            "You have skills: instructions for certain work. Before you do what one of them is about, read it with "
            "read_skill, and then follow it.",
            *each,
        )
    )


class Skills:
    """The tool of every agent that has skills, from a folder of skills.

    An agent's skills are read when it first comes and then stay as they are: another content is another agent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[tuple[str, str], Skill] = {}

    def serves(self, agent: AgentSpec) -> bool:
        """Whether the agent has skills."""
        return bool(agent.skills)

    async def tools(self, agent: AgentSpec) -> tuple[Equipped, ...]:
        """The tool; none for an agent without skills. A skill that cannot be read is logged and missing."""
        found: dict[str, Skill] = {}
        for name in agent.skills:
            skill = self._read.get((agent.hash, name))
            if skill is None:
                try:
                    skill = await asyncio.to_thread(load, self._folder, name)
                except SkillError as error:
                    logger.warning("agent %s goes without a skill: %s", agent.name, error)
                    continue
                self._read[agent.hash, name] = skill
            found[name] = skill
        while len(self._read) > MAX_KEPT:
            self._read.pop(next(iter(self._read)))
        return (
            (equip(Shelf(MappingProxyType(found)).read_skill, is_idempotent=True, is_foreign=False),) if found else ()
        )


@dataclass(frozen=True, slots=True)
class Shelf:
    """The skills of an agent, to be read from."""

    skills: Mapping[str, Skill]

    async def read_skill(self, occasion: Occasion, name: str, file: str = MAIN, start_line: int = 1) -> str:
        """Reads one of your skills: instructions for certain work. Read it before you do what it is about.

        name: the name of the skill
        file: a file of the skill; SKILL.md comes first and tells of the others
        start_line: the first line to show, counted from 1
        """
        skill = self.skills.get(name) if name in occasion.agent.skills else None
        if skill is None:
            there = ", ".join(each for each in self.skills if each in occasion.agent.skills) or "none"
            raise ToolFailed(f"there is no skill {name[:64]!r}; there is: {there}")
        text = skill.files.get(file.removeprefix("./"))
        if text is None:
            raise ToolFailed(f"skill {name} has no file {file[:200]!r}; it has: {', '.join(sorted(skill.files))}")
        if not 1 <= start_line < 2**63:
            raise ToolFailed("start_line must be a number from 1 on")
        others = sorted(set(skill.files) - {MAIN}) if file.removeprefix("./") == MAIN else []
        note = f"\n\n[other files of this skill: {', '.join(others)}]" if others else ""
        return _part(text, int(start_line), MAX_SHOWN - len(note)) + note


def _part(text: str, start_line: int, room: int) -> str:
    """The text from a line on, as much as there is room for, and a mark where there is more."""
    rest = text.split("\n")[start_line - 1 :]
    if not rest:
        return f"[the file has fewer than {start_line:,} lines]"
    shown: list[str] = []
    for number, line in enumerate(rest, start_line):
        if len(line) > room and not shown:
            return f"{line[:room]}\n[line {number} is too long to be shown whole: start_line={number + 1} goes on]"
        if len(line) > room:
            return "\n".join((*shown, f"[the file goes on: start_line={number} reads on]"))
        shown.append(line)
        room -= len(line) + 1
    return "\n".join(shown)


@contextmanager
def _naming(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise SkillError(f"{place}: cannot be read: {reason}") from None


@contextmanager
def _opened(within: int, name: str, flags: int, place: Path) -> Iterator[int]:
    """What lies there itself; a link would let a skill hold what its author cannot read."""
    with _naming(place):
        if stat.S_ISLNK(os.stat(name, dir_fd=within, follow_symlinks=False).st_mode):
            raise SkillError(f"{place}: is a link, and links are not followed; put there what it leads to")
        fd = os.open(name, flags, dir_fd=within)
    try:
        yield fd
    finally:
        os.close(fd)


@dataclass(slots=True)
class _Budget:
    """How much more a skill may hold."""

    files: int = MAX_FILES
    bytes: int = MAX_BYTES


def _gathered(fd: int, place: Path, budget: _Budget, before: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes]]:
    """Every file of a skill's folder by its path there, but those whose names begin with a dot."""
    if len(before) > MAX_DEPTH:
        raise SkillError(f"{place}: lies too deep: a skill has at most {MAX_DEPTH} folders within each other")
    with _naming(place), os.scandir(fd) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_folder in found:
        if name.startswith("."):
            continue
        if not name.isprintable() or len(name) > MAX_PART:
            raise SkillError(f"{place}: holds {name[:MAX_PART]!r}, a name that cannot be shown or is too long")
        with _opened(fd, name, _FOLDER if is_folder else _FILE, place / name) as inner:
            if is_folder:
                yield from _gathered(inner, place / name, budget, (*before, name))
            else:
                yield "/".join((*before, name)), _content(inner, place / name, budget)


def _content(fd: int, place: Path, budget: _Budget) -> bytes:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise SkillError(f"{place}: is no ordinary file")
    with _naming(place), open(fd, "rb", closefd=False) as file:
        content = file.read(budget.bytes + 1)
    budget.files -= 1
    budget.bytes -= len(content)
    if budget.files < 0 or budget.bytes < 0:
        raise SkillError(f"{place}: is too much: a skill has at most {MAX_FILES} files and {MAX_BYTES:,} bytes in all")
    return content


def _described(text: str, name: str, place: Path) -> str:
    """What a skill says it is for; raises `SkillError` where it does not, or is another one than its folder says."""
    said = _front(text, place)
    if "name" not in said:
        raise SkillError(f"{place}: name: is missing; it must be 'name: {name}'")
    if said["name"] != name:
        raise SkillError(f"{place}: name: is {said['name'][:64]!r}, and the folder is called {name!r}")
    description = said.get("description", "")
    if not description:
        raise SkillError(f"{place}: description: is missing; say in a line what the skill is for and when to read it")
    # Whoever looks through a skill before it is trusted must see all that the model will.
    if not description.isprintable():
        raise SkillError(f"{place}: description: holds a character that cannot be seen: {description[:200]!a}")
    if len(description) > MAX_DESCRIPTION:
        raise SkillError(f"{place}: description: has {len(description):,} characters, at most {MAX_DESCRIPTION:,}")
    return description


def _front(text: str, place: Path) -> dict[str, str]:
    """The keys between the fences, each with its words in one line; a line that is set in goes on with the last key."""
    first, *rest = text.splitlines()[:MAX_FRONT] or [""]
    if first.rstrip() != FENCE:
        raise SkillError(f"{place}: must begin with a line '{FENCE}', then 'name: ...' and 'description: ...'")
    said: dict[str, list[str]] = {}
    key = ""
    for number, line in enumerate(rest, 2):
        if line.rstrip() == FENCE:
            return {key: _unquoted(" ".join(" ".join(words).split())) for key, words in said.items()}
        found = _KEY.fullmatch(line.rstrip())
        if found is not None:
            key = found[1]
            if key in said:
                raise SkillError(f"{place}: line {number}: {key}: stands there twice")
            value = (found[2] or "").strip()
            said[key] = [] if value in _FOLDED else [value]
        elif key and line[:1] in (" ", "\t", "-"):
            said[key].append(line.strip())
        elif line.strip() and not line.startswith("#"):
            raise SkillError(f"{place}: line {number}: is no 'key: value'")
    raise SkillError(f"{place}: the second line '{FENCE}' is missing, which ends the part with name and description")


def _unquoted(value: str) -> str:
    for quote in ('"', "'"):
        if len(value) >= 2 and value[0] == value[-1] == quote:
            return value[1:-1].replace("\\" + quote if quote == '"' else quote * 2, quote).strip()
    return value


def _digest(raw: Mapping[str, bytes]) -> str:
    """The same for the same files, and for no others: every part is told apart by its length."""
    digest = sha256()
    for path, content in sorted(raw.items()):
        for part in (path.encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
