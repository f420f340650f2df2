"""Tools for the folder of an agent: it lists, reads, searches and changes what lies there, and nothing else.

The folder is held open, and every path is opened from there: without a link on the way, without a step upwards, on the
same file system, in one act of the operating system, so that exchanging what lies on the way wins nothing. A file that
has a second name may come from elsewhere, and what is no ordinary file may do anything: neither is touched.
"""

import asyncio
import ctypes
import errno
import fcntl
import logging
import os
import platform
import re
import secrets
import stat
import sys
import threading
import time
import unicodedata
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, TypeVar

from adapters.mime import kind_of, mime_of
from factory_contracts.work import AgentSpec
from hub.kernel.harness import MAX_FILE, MAX_OBSERVATION
from hub.kernel.ports import Equipped, Media, Observation, ToolFailed
from hub.kernel.schema import equip

logger = logging.getLogger(__name__)

MAX_PATH = 2_000
MAX_NAME = 255
MAX_DEPTH = 32
# What the harness would cut off must hold no mark that says how to read on.
MAX_SHOWN = min(200_000, MAX_OBSERVATION - 1_000)
MAX_LINES = 2_000
MAX_LINE = 5_000_000
MAX_SCANNED = 50_000_000
MAX_SEARCHED = 5_000_000
MAX_FOUND = 200
MAX_NEEDLE = 1_000
MAX_WRITTEN = 1_000_000
MAX_KEPT = 100_000_000
MAX_ENTRIES = 10_000
MAX_QUOTED = 200
EXCERPT = 300
SAMPLE = 8_192
PATIENCE = 10.0
MAX_LOOKS = 8
# File systems note times in steps of at most 10 ms.
TICK_NS = 25_000_000
UNFINISHED = ".factory-unfinished-"

Opener = Callable[[int, bytes, int], int]
Way = tuple[str, ...]
T = TypeVar("T")

_LEFTOVER = re.compile(re.escape(UNFINISHED) + r"[0-9a-f]{32}")
_PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_LIKE_A_SLASH = frozenset("\u2044\u2215\u2216\u2571\u27cb\u27cd\u29f5\u29f8\u29f9\ufe68\uff0f\uff3c")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe without a writer would otherwise keep the thread that opens it for ever.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_OPENAT2 = 437
_RENAMEAT2: Mapping[str, int] = MappingProxyType({"x86_64": 316, "aarch64": 276})
_RENAME_NOREPLACE = 1
_RESOLVE_NO_XDEV, _RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 1, 2, 4, 8
_MACHINE = platform.machine() if sys.platform == "linux" and sys.maxsize > 2**32 else ""
_LIBC = ctypes.CDLL(None, use_errno=True)

_WORDS: Mapping[int, str] = MappingProxyType(
    {
        errno.ENOENT: "does not exist",
        errno.ENOTDIR: "is no folder, or leads through something that is none",
        errno.EISDIR: "is a folder",
        errno.ELOOP: "is a link or leads through one, and links are not followed",
        errno.EXDEV: "leads to another file system, which is not allowed",
        errno.EACCES: "may not be used: the operating system denies it",
        errno.EPERM: "may not be used: the operating system denies it",
        errno.EEXIST: "exists already",
        errno.ENOTEMPTY: "is a folder that is not empty",
        errno.ENAMETOOLONG: "is too long for a path",
        errno.ENXIO: "is no ordinary file",
        errno.EROFS: "cannot be changed: it lies on a disk that can only be read",
        errno.ENOSPC: "cannot be written: the disk is full",
        errno.EDQUOT: "cannot be written: the disk is full",
        errno.EBUSY: "is in use; try again later",
        errno.EAGAIN: "is in use; try again later",
        errno.EMFILE: "cannot be opened now, because too many files are open; try again later",
        errno.ENFILE: "cannot be opened now, because too many files are open; try again later",
    }
)


class Folders:
    """The tools of every agent that has a folder: the one it names, or one that is kept for its namespace in `base`."""

    def __init__(self, base: Path, opener: Opener | None = None) -> None:
        self._base = base
        self._opener = opener or best_opener()
        # Turns that are at work in one folder share it, and with it the lock; it is closed when the last one ends.
        self._roots: weakref.WeakValueDictionary[tuple[int, int], _Root] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def serves(self, agent: AgentSpec) -> bool:
        """Whether the agent has a folder."""
        return agent.files is not None

    async def tools(self, agent: AgentSpec) -> tuple[Equipped, ...]:
        """The tools; none for an agent without a folder or whose folder cannot be had, which is logged."""
        if agent.files is None:
            return ()
        try:
            root = await asyncio.to_thread(self._open, agent.files.root, agent.namespace)
        except (OSError, ValueError) as error:
            logger.warning("agent %s goes without tools for files: %s", agent.name, error)
            return ()
        return Folder(root, is_kept=not agent.files.root).tools(can_write=agent.files.can_write)

    def _open(self, root: str, namespace: str) -> "_Root":
        fd = _open_named(root) if root else _open_kept(self._base, namespace)
        found = os.fstat(fd)
        # Two threads that open the same folder must not get two locks for it.
        with self._lock:
            held = self._roots.get((found.st_dev, found.st_ino))
            if held is not None:
                os.close(fd)
                return held
            return self._roots.setdefault((found.st_dev, found.st_ino), _Root(fd, self._opener))


def _open_named(root: str) -> int:
    if not root.startswith("/"):
        raise ValueError(f"files.root: {root!r} is no absolute path")
    return os.open(root, _FOLDER)


def _open_kept(base: Path, namespace: str) -> int:
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = folder_name(namespace)
    within = os.open(base, _FOLDER)
    try:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=within)
        fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=within)
    finally:
        os.close(within)
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "the folder belongs to another user", str(base / name))
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.fchmod(fd, 0o700)
    except OSError:
        os.close(fd)
        raise
    return fd


def folder_name(namespace: str) -> str:
    """A namespace as the name of a folder: another one for each, also where capital and small letters are the same."""
    raw = namespace.encode()
    name = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
    return name if 0 < len(name) <= 200 else f"%%{sha256(raw).hexdigest()}"


class Folder:
    """One agent's tools for one folder; what is kept by us has a quota."""

    __slots__ = ("_is_kept", "_root")

    def __init__(self, root: "_Root", *, is_kept: bool) -> None:
        self._root = root
        self._is_kept = is_kept

    def tools(self, *, can_write: bool) -> tuple[Equipped, ...]:
        """The tools, without those that change something where that is not allowed."""
        reading = (
            equip(self.list_files, is_idempotent=True),
            equip(self.read_file, is_idempotent=True),
            equip(self.search_files, is_idempotent=True, timeout=60.0),
            equip(self.send_file, is_idempotent=True, is_foreign=False),
        )
        writing = (
            equip(self.write_file, effect="write", is_idempotent=True, is_foreign=False),
            equip(self.edit_file, effect="write", is_foreign=False),
            equip(self.make_folder, effect="write", is_idempotent=True, is_foreign=False),
            equip(self.move_file, effect="write", is_foreign=False),
            equip(self.delete_file, effect="write", is_foreign=False),
        )
        return reading + writing if can_write else reading

    async def list_files(self, folder: str = ".", start_entry: int = 1) -> str:
        """Lists what lies in your folder, or in a folder within it, with sizes in bytes.

        folder: a relative path such as notes; "." is your whole folder
        start_entry: the first entry to show, counted from 1
        """
        start_entry = _count("start_entry", start_entry)
        return await _aside(lambda given_up: _list(self._root, folder, start_entry))

    async def read_file(self, path: str, start_line: int = 1, lines: int = MAX_LINES, start_column: int = 1) -> str:
        """Reads a text file of your folder. What does not fit ends in a mark that says how to read on.

        path: a relative path such as notes/today.md
        start_line: the first line to show, counted from 1
        lines: how many lines to show at most
        start_column: the first character to show of the first line, counted from 1
        """
        start_line, lines = _count("start_line", start_line), _count("lines", lines)
        start_column = _count("start_column", start_column)
        return await _aside(lambda given_up: _read(self._root, path, start_line, lines, start_column, given_up))

    async def search_files(self, text: str, folder: str = ".") -> str:
        """Finds a text in the files of your folder and of all folders within, whether in capital or small letters.

        text: what to look for, within one line and taken literally
        folder: a relative path of the folder to search; "." is your whole folder
        """
        return await _aside(lambda given_up: _search(self._root, text, folder, given_up))

    async def send_file(self, path: str) -> Observation:
        """Sends a file of your folder to the person: it goes with your answer, as it stands in the folder now.

        path: a relative path such as charts/may.png
        """
        return await _aside(lambda given_up: _send(self._root, path, given_up))

    async def write_file(self, path: str, content: str) -> str:
        """Writes a whole text file in your folder; one that is already there is replaced.

        path: a relative path such as notes/today.md, in a folder that exists
        content: all that the file is to hold
        """
        return await _aside(lambda given_up: self._write(path, content, given_up))

    async def edit_file(self, path: str, old: str, new: str) -> str:
        """Replaces one place of a text file in your folder, which must hold the old text exactly once.

        path: a relative path such as notes/today.md
        old: the text to replace, character by character, with enough around it to be unique
        new: what is to stand there instead; empty to remove the old text
        """
        return await _aside(lambda given_up: self._edit(path, old, new, given_up))

    async def make_folder(self, path: str) -> str:
        """Makes a folder in your folder, and those on the way to it.

        path: a relative path such as notes/2024
        """
        return await _aside(lambda given_up: self._make(path, given_up))

    async def move_file(self, path: str, to: str) -> str:
        """Moves or renames a file or a folder within your folder; nothing that is there is replaced.

        path: the relative path of what to move
        to: its new relative path, with its new name, in a folder that exists
        """
        return await _aside(lambda given_up: self._move(path, to, given_up))

    async def delete_file(self, path: str) -> str:
        """Deletes a file in your folder, or a folder that is empty. It cannot be undone.

        path: a relative path such as notes/old.md
        """
        return await _aside(lambda given_up: _delete(self._root, path, given_up))

    def _write(self, path: str, content: str, given_up: threading.Event) -> str:
        way = _way_of_file(path)
        data = _encoded("content", content)
        with _naming(path), self._root.alone(given_up) as is_alone, self._root.parent(way) as (folder, name):
            old = _look(folder, name)
            if old is None:
                _insist_no_twin(folder, name)
            else:
                _insist_ordinary(old)
            if is_alone:
                _sweep(folder)
            self._insist_room(len(data), old, given_up)
            _replace(folder, name, data, old, given_up)
        was = "a new file" if old is None else f"it had {old.st_size:,} before"
        return f"wrote {_quoted(path)}: {len(data):,} bytes, {was}"

    def _edit(self, path: str, old: str, new: str, given_up: threading.Event) -> str:
        way = _way_of_file(path)
        _encoded("old", old), _encoded("new", new)
        if not old:
            raise ToolFailed("old is empty; it must be the text to replace, or use write_file to write the whole file")
        with _naming(path), self._root.alone(given_up) as is_alone, self._root.file(way) as file:
            text = _whole_text(file, given_up)
            changed, at = _exchanged(text, old, new)
            data = _encoded("the file with the new text", changed)
            if is_alone:
                _sweep(file.folder)
            self._insist_room(len(data), file.found, given_up)
            _replace(file.folder, file.name, data, file.found, given_up)
        return f"changed {_quoted(path)} at line {text.count(chr(10), 0, at) + 1}: it has {len(data):,} bytes now"

    def _make(self, path: str, given_up: threading.Event) -> str:
        way = _way(path)
        made = 0
        with _naming(path), self._root.alone(given_up):
            for depth in range(1, len(way) + 1):
                with self._root.parent(way[:depth]) as (folder, name):
                    found = _look(folder, name)
                    if found is None:
                        _insist_no_twin(folder, name)
                        self._insist_room(0, None, given_up)
                        _insist_wanted(given_up)
                        os.mkdir(name, 0o700, dir_fd=folder)
                        made += 1
                    elif stat.S_ISLNK(found.st_mode):
                        raise OSError(errno.ELOOP, "")
                    elif not stat.S_ISDIR(found.st_mode):
                        raise OSError(errno.ENOTDIR if depth < len(way) else errno.EEXIST, "")
        return f"made the folder {_quoted(path)}" if made else f"the folder {_quoted(path)} was already there"

    def _move(self, path: str, to: str, given_up: threading.Event) -> str:
        source, target = _way_of_entry(path), _way_of_entry(to)
        if target[: len(source)] == source and target != source:
            raise ToolFailed(f"{_quoted(path)} cannot be moved into itself")
        with _naming(path), self._root.alone(given_up), self._root.parent(source) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self._insist_addressable(source, target, given_up)
            else:
                _insist_ordinary(found)
            with _naming(to), self._root.parent(target) as (new_folder, new_name):
                if _look(new_folder, new_name) is not None:
                    raise FileExistsError(errno.EEXIST, "")
                _insist_no_twin(new_folder, new_name, but=name if source[:-1] == target[:-1] else "")
                _insist_wanted(given_up)
                _rename_to_new(folder, name, new_folder, new_name)
                _flush(new_folder)
            _flush(folder)
        return f"moved {_quoted(path)} to {_quoted(to)}"

    def _insist_addressable(self, source: Way, target: Way, given_up: threading.Event) -> None:
        """What lies too deep for a path of ours could be neither found, counted nor deleted any more."""
        entries, is_cut = self._root.walk(source, given_up)
        if is_cut:
            raise _Refused(f"holds more than {MAX_ENTRIES:,} files and folders, too many to move at once")
        for entry in entries:
            after = target + entry.way[len(source) :]
            if len(after) > MAX_DEPTH or len(os.fsencode("/".join(after))) > MAX_PATH:
                raise _Refused("holds folders that would lie too deep there")

    def _insist_room(self, size: int, old: os.stat_result | None, given_up: threading.Event) -> None:
        if not self._is_kept:
            return
        entries, is_cut = self._root.walk((), given_up)
        if is_cut or (old is None and len(entries) >= MAX_ENTRIES):
            raise ToolFailed(f"your folder holds {MAX_ENTRIES:,} files and folders, the most it may; delete some first")
        used = sum(entry.found.st_size for entry in entries if stat.S_ISREG(entry.found.st_mode))
        wanted = used + size - (old.st_size if old is not None else 0)
        # A file that shrinks is welcome also where there is too much already.
        if wanted > max(MAX_KEPT, used):
            raise ToolFailed(
                f"your folder would hold {wanted:,} bytes, and {MAX_KEPT:,} is the most it may; delete something first"
            )


async def _aside(work: Callable[[threading.Event], T]) -> T:
    """Do it in a thread, so that a slow disk keeps nobody waiting; who is cancelled does not begin to change things."""
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(work, given_up)
    finally:
        given_up.set()


def _insist_wanted(given_up: threading.Event) -> None:
    if given_up.is_set():
        raise ToolFailed("this was given up before it was done")


# What is read


def _list(root: "_Root", folder: str, start_entry: int) -> str:
    way = _way(folder)
    with _naming(folder):
        entries, is_cut = root.entries(way, MAX_ENTRIES)
    marks = [f"[there are more than {MAX_ENTRIES:,} entries; the others are not shown]"] if is_cut else []
    listed: list[str] = []
    room = MAX_SHOWN
    for number, entry in enumerate(sorted(entries, key=lambda entry: entry.way), 1):
        if number < start_entry:
            continue
        line = _line(entry)
        room -= len(line) + 1
        if room < 0:
            marks.insert(0, f"[the folder goes on: start_entry={number} shows more of {len(entries):,} entries]")
            break
        listed.append(line)
    if not listed:
        marks.insert(0, f"[the folder has only {len(entries):,} entries]" if entries else "[the folder is empty]")
    return "\n".join([*listed, *marks])


def _line(entry: "_Entry") -> str:
    name, found = entry.way[-1], entry.found
    is_folder = stat.S_ISDIR(found.st_mode)
    if _fault(name):
        return f"{_printable(os.fsencode(name).decode(errors='backslashreplace'))} [no tool can use this name]"
    if is_folder:
        return f"{name}/"
    fault = _not_ordinary(found)
    return f"{name} [{fault}]" if fault else f"{name} ({found.st_size:,} bytes)"


def _read(root: "_Root", path: str, start_line: int, lines: int, start_column: int, given_up: threading.Event) -> str:
    way = _way_of_file(path)
    with _naming(path), root.file(way) as file:
        if _is_binary(os.pread(file.fd, SAMPLE, 0)):
            shown = f"{_quoted(path)} holds no UTF-8 text but something else (binary?), {file.found.st_size:,} bytes"
        else:
            with open(file.fd, "rb", closefd=False) as content:
                shown = _excerpt(content, start_line, lines, start_column, given_up)
        file.confirm(given_up)
    return shown


def _excerpt(content: BinaryIO, start_line: int, lines: int, start_column: int, given_up: threading.Event) -> str:
    """Some lines as they stand, and marks for what is not shown as it stands."""
    shown: list[str] = []
    marks: list[str] = []
    room = MAX_SHOWN
    broken = number = 0
    for number, (raw, is_cut) in enumerate(_lines(content, given_up), 1):
        if number < start_line:
            continue
        if len(shown) == lines:
            marks.append(f"[the file goes on: start_line={number} reads on]")
            break
        text, wrong = _decoded(raw)
        if number == 1:
            text = text.removeprefix("\ufeff")
        begin = start_column - 1 if number == start_line else 0
        text = text[begin:]
        if len(text) > room and shown:
            marks.append(f"[the file goes on: start_line={number} reads on]")
            break
        broken += wrong
        shown.append(text[:room])
        if len(text) > room:
            marks.append(
                f"[line {number} goes on: start_line={number} and start_column={begin + room + 1} reads on, "
                f"start_line={number + 1} leaves it out]"
            )
            break
        room -= len(text)
        if is_cut:
            marks.append(f"[line {number} has more than {MAX_LINE:,} bytes; its rest cannot be shown]")
    else:
        if content.read(1):
            marks.append(f"[only the first {MAX_SCANNED:,} bytes of a file can be read, and this one has more]")
        elif number == 0:
            marks.append("[the file is empty]")
        elif number < start_line:
            marks.append(f"[the file has only {number:,} {'line' if number == 1 else 'lines'}]")
    if broken:
        marks.insert(0, f"[{broken:,} places that are no UTF-8 text are shown as \ufffd]")
    body = "".join(shown)
    if not body and not marks:
        marks.append(f"[line {start_line} ends before column {start_column}]")
    return "\n".join([*([body.removesuffix("\n")] if body else []), *marks]) if marks else body


def _lines(content: BinaryIO, given_up: threading.Event) -> Iterator[tuple[bytes, bool]]:
    """The lines with their ends; of one that is too long the beginning, and that it was cut."""
    left = MAX_SCANNED
    while left > 0 and (line := content.readline(min(left, MAX_LINE))):
        _insist_wanted(given_up)
        left -= len(line)
        rest = line
        while left > 0 and len(rest) == MAX_LINE and not rest.endswith(b"\n"):
            rest = content.readline(min(left, MAX_LINE))
            left -= len(rest)
        yield line, rest is not line and rest != b""


def _decoded(raw: bytes) -> tuple[str, int]:
    """The text, and how many places of it were none."""
    try:
        text, wrong = raw.decode(), 0
    except UnicodeDecodeError:
        text = raw.decode(errors="replace")
        wrong = text.count("\ufffd")
    return (text.replace("\0", "\ufffd"), wrong + text.count("\0")) if "\0" in text else (text, wrong)


def _is_binary(sample: bytes) -> bool:
    """Whether somebody who expects text would be shown rubbish."""
    text, wrong = _decoded(sample)
    return b"\0" in sample or wrong * 4 > len(text)


def _search(root: "_Root", text: str, folder: str, given_up: threading.Event) -> str:
    way = _way(folder)
    if not text.strip() or "\n" in text or "\r" in text or len(text) > MAX_NEEDLE:
        raise ToolFailed(f"text must be something to look for within one line, of at most {MAX_NEEDLE:,} characters")
    with _naming(folder):
        entries, is_cut = root.walk(way, given_up)
    found: list[str] = []
    room, left, skipped = MAX_SHOWN, MAX_SCANNED, 0
    marks = [f"[only the first {MAX_ENTRIES:,} files and folders were searched]"] if is_cut else []
    for entry in sorted(entries, key=lambda entry: entry.way):
        if stat.S_ISDIR(entry.found.st_mode):
            continue
        if left <= 0:
            marks.append(f"[only {MAX_SCANNED:,} bytes were searched; search a folder within for the rest]")
            break
        try:
            hits = _hits(root, entry, text.casefold(), given_up)
        except (_Refused, OSError):
            skipped += 1
            continue
        left -= entry.found.st_size
        for hit in hits:
            room -= len(hit) + 1
            if len(found) == MAX_FOUND or room < 0:
                marks.append(f"[there is more than these {len(found)} lines; look for something rarer]")
                break
            found.append(hit)
        else:
            continue
        break
    if skipped:
        what = "file was" if skipped == 1 else "files were"
        marks.append(f"[{skipped:,} {what} not searched: no text, a link, or larger than {MAX_SEARCHED:,} bytes]")
    return "\n".join([*(found or ["[nothing was found]"]), *marks])


def _hits(root: "_Root", entry: "_Entry", needle: str, given_up: threading.Event) -> list[str]:
    """The lines of a file that hold it, at most so many that it is clear that there are too many."""
    if any(_fault(name) for name in entry.way) or entry.found.st_size > MAX_SEARCHED:
        raise _Refused("is not searched")
    path = "/".join(entry.way)
    hits: list[str] = []
    with root.file(entry.way) as file:
        if _is_binary(os.pread(file.fd, SAMPLE, 0)):
            raise _Refused("is not searched")
        with open(file.fd, "rb", closefd=False) as content:
            for number, (raw, _) in enumerate(_lines(content, given_up), 1):
                line, _ = _decoded(raw)
                at = line.casefold().find(needle)
                if at >= 0:
                    hits.append(f"{path}:{number}: {_around(line, at)}")
                if len(hits) > MAX_FOUND:
                    break
        # To be sure costs as much as reading a large folder, and nothing is told of a file that holds nothing.
        if hits:
            file.confirm(given_up)
    return hits


def _around(line: str, at: int) -> str:
    if len(line) <= EXCERPT:
        return line.strip()
    begin = max(0, min(at - EXCERPT // 3, len(line) - EXCERPT))
    end = begin + EXCERPT
    return f"{'… ' if begin else ''}{line[begin:end].strip()}{' …' if end < len(line) else ''}"


def _send(root: "_Root", path: str, given_up: threading.Event) -> Observation:
    way = _way_of_file(path)
    with _naming(path), root.file(way) as file:
        size = file.found.st_size
        if not size:
            raise _Refused("is empty, and there is nothing to send")
        if size > MAX_FILE:
            raise _Refused(f"has {size:,} bytes, and {MAX_FILE:,} is the most that can be sent")
        with open(file.fd, "rb", closefd=False) as content:
            data = content.read(size)
        file.confirm(given_up)
    name = way[-1]
    mime = mime_of(name, data)
    return Observation(files=(Media(kind_of(mime, data), name, mime, data),))


# What is changed


def _encoded(what: str, text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise ToolFailed(f"{what} holds half of a character (a lone surrogate), which no file can hold") from None
    if len(data) > MAX_WRITTEN:
        raise ToolFailed(f"{what} has {len(data):,} bytes, and {MAX_WRITTEN:,} is the most that can be written")
    return data


def _whole_text(file: "_File", given_up: threading.Event) -> str:
    if file.found.st_size > MAX_WRITTEN:
        raise _Refused(f"has {file.found.st_size:,} bytes, and {MAX_WRITTEN:,} is the most that can be edited")
    with open(file.fd, "rb", closefd=False) as content:
        raw = content.read(MAX_WRITTEN + 1)
    file.confirm(given_up)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _Refused("is no UTF-8 text throughout, and editing would damage it") from None


def _exchanged(text: str, old: str, new: str) -> tuple[str, int]:
    """The text with the new in place of the old, and where that is."""
    at = text.find(old)
    if at < 0 and "\r\n" in text and "\r" not in old:
        # Models write line ends as they are used to; the file keeps its own.
        old, new = old.replace("\n", "\r\n"), new.replace("\r\n", "\n").replace("\n", "\r\n")
        at = text.find(old)
    if at < 0:
        raise _Refused("does not hold the old text; read the file and copy the text exactly, with its spaces")
    if text.find(old, at + 1) >= 0:
        raise _Refused("holds the old text more than once; give more of what stands around the right place")
    if old == new:
        raise _Refused("would stay as it is, because the old and the new text are the same")
    return text[:at] + new + text[at + len(old) :], at


def _replace(folder: int, name: str, data: bytes, old: os.stat_result | None, given_up: threading.Event) -> None:
    """Put a file in place, whole or not at all; what comes in its way meanwhile is not overwritten."""
    unfinished = f"{UNFINISHED}{secrets.token_hex(16)}"
    fd = os.open(unfinished, _NEW, 0o600, dir_fd=folder)
    is_in_place = False
    try:
        try:
            new = _fill(fd, data, old)
        finally:
            os.close(fd)
        _insist_wanted(given_up)
        if old is None:
            _rename_to_new(folder, unfinished, folder, name)
        else:
            now = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if (_identity(now), now.st_mtime_ns, now.st_size) != (_identity(old), old.st_mtime_ns, old.st_size):
                raise _Refused(_CHANGED)
            os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
        is_in_place = True
    finally:
        if not is_in_place:
            with suppress(OSError):
                os.unlink(unfinished, dir_fd=folder)
    if _identity(os.stat(name, dir_fd=folder, follow_symlinks=False)) != _identity(new):
        raise _Refused(_CHANGED)
    _flush(folder)


def _fill(fd: int, data: bytes, old: os.stat_result | None) -> os.stat_result:
    """Bring the data to the disk, under the owner and the rights of what it replaces."""
    written = 0
    while written < len(data):
        written += os.write(fd, data[written:])
    if old is not None:
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            with suppress(PermissionError):
                os.fchown(fd, old.st_uid, old.st_gid)
        # The bits that lend the owner's rights to whoever runs a file were given to the old content alone.
        os.fchmod(fd, stat.S_IMODE(old.st_mode) & 0o777)
    os.fsync(fd)
    return os.fstat(fd)


def _sweep(folder: int) -> None:
    """Remove what a writer that died has left: whoever is alone here knows that nobody is writing it."""
    with os.scandir(folder) as entries:
        left = [entry.name for entry in entries if _LEFTOVER.fullmatch(entry.name)]
    for name in left:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
            logger.info("removed %s, which an unfinished write had left", name)


def _delete(root: "_Root", path: str, given_up: threading.Event) -> str:
    way = _way_of_entry(path)
    with _naming(path), root.alone(given_up) as is_alone, root.parent(way) as (folder, name):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            if is_alone:
                with root.folder(way) as inner:
                    _sweep(inner)
            _insist_wanted(given_up)
            os.rmdir(name, dir_fd=folder)
        else:
            _insist_ordinary(found)
            _insist_wanted(given_up)
            os.unlink(name, dir_fd=folder)
        _flush(folder)
    return f"deleted {_quoted(path)}"


def _flush(folder: int) -> None:
    """A change of names survives a loss of power only so; not every file system can, and it is done all the same."""
    with suppress(OSError):
        os.fsync(folder)


def _rename_to_new(folder: int, name: str, new_folder: int, new_name: str) -> None:
    """Rename and overwrite nothing; raises `FileExistsError`."""
    number = _RENAMEAT2.get(_MACHINE)
    if number is not None:
        ended: int = _LIBC.syscall(
            ctypes.c_long(number),
            ctypes.c_int(folder),
            ctypes.c_char_p(os.fsencode(name)),
            ctypes.c_int(new_folder),
            ctypes.c_char_p(os.fsencode(new_name)),
            ctypes.c_uint(_RENAME_NOREPLACE),
        )
        if ended == 0:
            return
        code = ctypes.get_errno()
        # A sandbox or a file system that does not know the call answers so; all else is an answer.
        if code not in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
            raise OSError(code, os.strerror(code))
    if _look(new_folder, new_name) is not None:
        raise FileExistsError(errno.EEXIST, "")
    os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder)


# Paths


def _way(path: str) -> Way:
    """The names on the way to something; raises `ToolFailed` with what is wrong with the path."""
    shown = _quoted(path)
    if not path:
        raise ToolFailed('the path is empty; "." is your whole folder')
    if len(path) > MAX_PATH:
        raise ToolFailed(f"{shown} has {len(path):,} characters, and a path may have {MAX_PATH:,}")
    if path.startswith("/"):
        raise ToolFailed(f"{shown} begins with '/', and paths are relative to your folder, such as notes/today.md")
    if path.startswith("~") or _ADDRESS.fullmatch(path.partition("/")[0]):
        raise ToolFailed(f"{shown} is no path in your folder, which would be such as notes/today.md")
    way = tuple(name for name in path.split("/") if name not in ("", "."))
    for name in way:
        if fault := _fault(name):
            raise ToolFailed(f"{shown} {fault}")
    if len(way) > MAX_DEPTH or len(path.encode()) > MAX_PATH:
        raise ToolFailed(f"{shown} is too deep: at most {MAX_DEPTH} folders and {MAX_PATH:,} bytes")
    return way


def _way_of_entry(path: str) -> Way:
    way = _way(path)
    if not way:
        raise ToolFailed(f"{_quoted(path)} is your whole folder; name something in it")
    return way


def _way_of_file(path: str) -> Way:
    way = _way_of_entry(path)
    if path.endswith(("/", "/.")):
        raise ToolFailed(f"{_quoted(path)} names a folder, because it ends in '/'")
    return way


def _fault(name: str) -> str:
    """Why a name cannot stand in a path, or nothing."""
    if any(unicodedata.category(char) in _UNSEEN for char in name):
        return "holds a control character or one that cannot be seen"
    if name == "..":
        return "leads upwards by '..', which is not allowed"
    if "\\" in name:
        return "holds a backslash, and '/' parts folders here"
    if not name.strip():
        return "holds a name that is blank"
    if len(name.encode()) > MAX_NAME:
        return f"holds a name of more than {MAX_NAME} bytes"
    plain = unicodedata.normalize("NFKC", name)
    if _LIKE_A_SLASH & set(name) or "/" in plain or "\\" in plain or plain.strip() in (".", ".."):
        return "holds characters that only look like a '/' or '..'"
    if plain.casefold().startswith(UNFINISHED):
        return "holds a name that is kept for unfinished files"
    return ""


def _insist_no_twin(folder: int, name: str, but: str = "") -> None:
    """Two names that look the same would be taken for each other by everybody who reads them."""
    plain = unicodedata.normalize("NFKC", name)
    with os.scandir(folder) as entries:
        for _, entry in zip(range(MAX_ENTRIES), entries, strict=False):
            if entry.name in (name, but) or (entry.name.isascii() and name.isascii()):
                continue
            if unicodedata.normalize("NFKC", entry.name) == plain:
                raise _Refused("looks just like the name of something else that is there already")


def _quoted(path: str) -> str:
    """A path as the model gave it, as far as that can be shown."""
    return f"'{_printable(path[:MAX_QUOTED])}{'…' if len(path) > MAX_QUOTED else ''}'"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _count(what: str, value: float) -> int:
    if not 1 <= value < 2**63:
        raise ToolFailed(f"{what} must be a number from 1 on")
    # JSON has one kind of number, and 2.0 is a count as well.
    return int(value)


# The folder


class _Refused(Exception):
    """What is wrong with what a path leads to, to be said after the path."""


_CHANGED = "was changed by somebody else at the same moment; look again before you go on"


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """What the operating system says is told of the path that the model gave, and of no other."""
    try:
        yield
    except _Refused as refused:
        raise ToolFailed(f"{_quoted(path)} {refused}") from None
    except OSError as error:
        code = error.errno or 0
        words = _WORDS.get(code) or f"cannot be used: {os.strerror(code) if code else type(error).__name__}"
        raise ToolFailed(f"{_quoted(path)} {words}") from None


def _look(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _not_ordinary(found: os.stat_result) -> str:
    if stat.S_ISLNK(found.st_mode):
        return "is a link, and links are not followed"
    if stat.S_ISDIR(found.st_mode):
        return "is a folder"
    if not stat.S_ISREG(found.st_mode):
        return "is no ordinary file"
    if found.st_nlink > 1:
        return "has a second name somewhere (a hard link), and such files are left alone"
    return ""


def _insist_ordinary(found: os.stat_result) -> None:
    if fault := _not_ordinary(found):
        raise _Refused(fault)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something that lies in the folder, and the way to it."""

    way: Way
    found: os.stat_result


@dataclass(frozen=True, slots=True)
class _File:
    """An ordinary file, open for reading, and the folder it was found in."""

    folder: int
    name: str
    fd: int
    found: os.stat_result

    def confirm(self, given_up: threading.Event) -> None:
        """That it lies here under its only name; to be asked between reading it and believing it.

        A hard link to elsewhere may be put here and taken away again, and while it is being taken away it still has its
        name but is no longer counted. Reading the folder waits until that is over, and making another link leaves its
        time on the file, which is to be told from the time before.
        """
        for _ in range(MAX_LOOKS):
            now = time.time_ns()
            before = os.fstat(self.fd)
            _insist_ordinary(before)
            with os.scandir(self.folder) as entries:
                next(entries, None)
            after = _look(self.folder, self.name)
            if after is None or _identity(after) != _identity(before):
                raise _Refused(_CHANGED)
            _insist_ordinary(after)
            if before.st_ctime_ns == after.st_ctime_ns and not 0 <= now - after.st_ctime_ns < TICK_NS:
                return
            given_up.wait(TICK_NS / 1e9)
        raise _Refused(_CHANGED)


class _Root:
    """A folder that is held open until nobody has it any more: its name may come to lead elsewhere, this does not."""

    __slots__ = ("__weakref__", "_fd", "_lock", "_opener")

    def __init__(self, fd: int, opener: Opener) -> None:
        self._fd = fd
        self._opener = opener
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, fd)

    @contextmanager
    def folder(self, way: Way) -> Iterator[int]:
        """A folder, open."""
        fd = self._opener(self._fd, os.fsencode("/".join(way)) or b".", _FOLDER)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def parent(self, way: Way) -> Iterator[tuple[int, str]]:
        """The folder that something lies in, open, and its name there."""
        with self.folder(way[:-1]) as fd:
            yield fd, way[-1]

    @contextmanager
    def file(self, way: Way) -> Iterator[_File]:
        """An ordinary file, open for reading."""
        with self.parent(way) as (folder, name):
            # Opening some devices has effects, so what is known to be one is not even opened.
            _insist_ordinary(os.stat(name, dir_fd=folder, follow_symlinks=False))
            fd = self._opener(folder, os.fsencode(name), _READ)
            try:
                found = os.fstat(fd)
                _insist_ordinary(found)
                yield _File(folder, name, fd, found)
            finally:
                os.close(fd)

    def entries(self, way: Way, most: int) -> tuple[list[_Entry], bool]:
        """What lies in a folder, and whether there is more."""
        found: list[_Entry] = []
        with self.folder(way) as fd, os.scandir(fd) as entries:
            for entry in entries:
                if _LEFTOVER.fullmatch(entry.name):
                    continue
                if len(found) == most:
                    return found, True
                with suppress(FileNotFoundError):
                    found.append(_Entry((*way, entry.name), entry.stat(follow_symlinks=False)))
        return found, False

    def walk(self, way: Way, given_up: threading.Event) -> tuple[list[_Entry], bool]:
        """What lies in a folder and in all folders within, and whether there is more than so much."""
        found: list[_Entry] = []
        folders = [way]
        while folders:
            _insist_wanted(given_up)
            here = folders.pop()
            try:
                entries, is_cut = self.entries(here, MAX_ENTRIES - len(found))
            except OSError:
                if here == way:
                    raise
                continue
            found += entries
            if is_cut:
                return found, True
            folders += (entry.way for entry in reversed(entries) if stat.S_ISDIR(entry.found.st_mode))
        return found, False

    @contextmanager
    def alone(self, given_up: threading.Event) -> Iterator[bool]:
        """Keeps writers apart, of which each looks before it changes something; tells whether other processes are, too.

        Not every file system can lock a folder.
        """
        waited = 0.0
        while not self._lock.acquire(timeout=0.05):
            waited = _wait(waited, given_up)
        try:
            fd = os.open(".", _FOLDER, dir_fd=self._fd)
            try:
                while (is_alone := _lock(fd)) is None:
                    given_up.wait(0.05)
                    waited = _wait(waited, given_up)
                yield is_alone
            finally:
                os.close(fd)
        finally:
            self._lock.release()


def _wait(waited: float, given_up: threading.Event) -> float:
    _insist_wanted(given_up)
    if waited >= PATIENCE:
        raise ToolFailed("somebody else is writing in your folder all the time; try again later")
    return waited + 0.05


def _lock(fd: int) -> bool | None:
    """Whether it is locked now; None when somebody else has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True


# Openers


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def best_opener() -> Opener:
    """`beneath` where the operating system has it, otherwise `stepwise`."""
    if not _MACHINE:
        return stepwise
    # An answer to a call of no size tells that it is known; a sandbox may deny what the system has.
    call = (ctypes.c_long(_OPENAT2), ctypes.c_int(-1), ctypes.c_char_p(b"."), ctypes.c_void_p(), ctypes.c_size_t())
    is_known = _LIBC.syscall(*call) == -1 and ctypes.get_errno() == errno.EINVAL
    return beneath if is_known else stepwise


def beneath(folder: int, path: bytes, flags: int) -> int:
    """Open what lies beneath a folder in one act of Linux, by no link and on one file system; raises `OSError`."""
    _insist_plain(path)
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV
    how = _How(flags | os.O_CLOEXEC, 0, resolve)
    while True:
        fd: int = _LIBC.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(folder),
            ctypes.c_char_p(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def stepwise(folder: int, path: bytes, flags: int) -> int:
    """Open what lies beneath a folder name by name, by no link and on one device; raises `OSError`."""
    _insist_plain(path)
    device = os.fstat(folder).st_dev
    *folders, name = path.split(b"/")
    at = os.dup(folder)
    try:
        for each in folders:
            inner = _step(at, each, _FOLDER, device)
            os.close(at)
            at = inner
        return _step(at, name, flags, device)
    finally:
        os.close(at)


def _step(folder: int, name: bytes, flags: int, device: int) -> int:
    try:
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise
    if os.fstat(fd).st_dev != device:
        os.close(fd)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return fd


def _insist_plain(path: bytes) -> None:
    """The last to look at a path: C would end it at its first NUL, and `..` belongs to nobody here."""
    if b"\0" in path or any(name in (b"", b"..") for name in path.split(b"/")):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
