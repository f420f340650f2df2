"""This terminal's own note of its sessions: names to resume, nothing that is not on the hub's log as well."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

KEPT = 200
_WORDS = 60


class UnknownSession(Exception):
    """No session of this terminal, or more than one, is meant; the sentence says which."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session as a person recognises it."""

    name: str
    started: str
    words: str


def name_for(now: datetime, random: str) -> str:
    """A new session's name: when, and what tells it from others of that minute."""
    return f"{now:%Y-%m-%d-%H%M}-{random}"


def note(name: str, said: str, now: datetime) -> Session:
    """What is worth noting of a session at its first message."""
    words = " ".join(said.split())
    return Session(name, _second(now), words if len(words) <= _WORDS else f"{words[: _WORDS - 1]}…")


def find(sessions: Iterable[Session], name: str, hint: str = "/sessions lists them") -> Session:
    """The session of that name, the only one that begins so, or (empty name) the last. Raises `UnknownSession`."""
    newest_last = tuple(sessions)
    if not newest_last:
        raise UnknownSession("there is no session to resume yet")
    if not name:
        return newest_last[-1]
    for session in newest_last:
        if session.name == name:
            return session
    matching = [session for session in newest_last if session.name.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise UnknownSession(f"no session begins with {name!r}; {hint}")
    raise UnknownSession(f"{len(matching)} sessions begin with {name!r}: {', '.join(s.name for s in matching[:5])}")


def load(file: Path) -> tuple[Session, ...]:
    """The sessions noted, the last used last; a line that is no note is passed over."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ()
    latest: dict[str, Session] = {}
    for line in lines:
        session = _parse(line)
        if session is None:
            continue
        first = latest.pop(session.name, session)
        latest[session.name] = first
    return tuple(latest.values())[-KEPT:]


def add(file: Path, session: Session) -> None:
    """Note that the session is in use now; the file stays short."""
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(session), ensure_ascii=False) + "\n"
    # One write of one short line: two terminals may note at once.
    with file.open("a", encoding="utf-8") as notes:
        notes.write(line)
    if file.stat().st_size > 4 * KEPT * 256:
        kept = "".join(json.dumps(asdict(noted), ensure_ascii=False) + "\n" for noted in load(file))
        shorter = file.with_suffix(f".{os.getpid()}")
        shorter.write_text(kept, "utf-8")
        shorter.replace(file)


def forget(file: Path, name: str, until: datetime) -> None:
    """Keep no note of the session from until then."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return
    noted = [(line, session) for line in lines if (session := _parse(line)) is not None]
    kept = [line for line, session in noted if session.name != name or session.started > _second(until)]
    if len(kept) < len(lines):
        shorter = file.with_suffix(f".{os.getpid()}")
        shorter.write_text("".join(f"{line}\n" for line in kept), "utf-8")
        shorter.replace(file)


def _second(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _parse(line: str) -> Session | None:
    try:
        match json.loads(line):
            case {"name": str(name), "started": str(started), "words": str(words)} if name:
                return Session(name, started, words)
    except ValueError:
        return None
    return None
