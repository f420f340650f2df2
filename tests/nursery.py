"""Processes that need not import anything any more: each is forked from one that has.

A child has the descriptors, the variables, the folder and the arguments that it is given, a session of its own, and
ends as an interpreter ends. What it starts of its own kind is forked from it likewise, by the same call as ever, with
its own pid and parent. Only how their modules came into their memory is not as it is for a person; for a child that is
born afresh, which begins with an interpreter of its own, even that.

Run by the tests as `python -P -m tests.nursery CONTROL MODULE...`.
"""

import atexit
import ctypes
import gc
import io
import json
import logging
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIMIT = 1 << 17
INTERPRETER = (sys.executable, "-P", "-m")
SET_DUMPABLE = 4


class Child:
    """A process that was born here."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        said, descriptors, _, _ = socket.recv_fds(channel, 64, 1)
        self.pid = int(said)
        self._descriptor = descriptors[0]
        self.returncode: int | None = None
        self._reading = threading.Lock()

    def poll(self) -> int | None:
        """How it ended, if it has."""
        with suppress(BlockingIOError):
            self._read(socket.MSG_DONTWAIT)
        return self.returncode

    def wait(self, seconds: float | None = None) -> int:
        """How it ended, once it has."""
        self._channel.settimeout(seconds)
        self._read()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing happens to who has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def end(self) -> None:
        """Kill it, and let go of it."""
        self.send_signal(signal.SIGKILL)
        self.wait()
        self._channel.close()
        os.close(self._descriptor)

    def _read(self, flags: int = 0) -> None:
        # Threads may wait for the same end, which is said once.
        with self._reading:
            if self.returncode is None:
                said = self._channel.recv(64, flags)
                assert said, "the nursery has died"
                self.returncode = int(said)


class Nursery:
    """A process that has imported what its children need."""

    def __init__(self, *modules: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tests.nursery", str(theirs.fileno()), *modules],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def bear(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        folder: Path = ROOT,
        variables: Mapping[str, str] | None = None,
        is_afresh: bool = False,
    ) -> Child:
        """Run a module as `python -m` does."""
        order = {
            "is_afresh": is_afresh,
            "module": module,
            "arguments": list(arguments),
            "folder": str(folder),
            "variables": dict(os.environ if variables is None else variables),
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._control, [json.dumps(order).encode()], [stdin, stdout, stderr, theirs.fileno()])
        return Child(ours)

    def close(self) -> None:
        """It ends when nobody is left to ask it."""
        self._control.close()
        self._process.wait()


@cache
def nursery(*modules: str) -> Nursery:
    """The one for these modules in this run of tests."""
    made = Nursery(*modules)
    atexit.register(made.close)
    return made


def _serve(control: socket.socket) -> str:
    """Fork for each order; returns in the child alone, with the module that it is to run."""
    channels: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != control.fileno():
                poll.unregister(ready)
                os.close(ready)
                pid, channel = channels.pop(ready)
                _, status = os.waitpid(pid, 0)
                with suppress(BrokenPipeError), channel:
                    channel.send(str(os.waitstatus_to_exitcode(status)).encode())
                continue
            order, descriptors, _, _ = socket.recv_fds(control, LIMIT, 4)
            if not order:
                sys.exit()
            pid = os.fork()
            if not pid:
                control.close()
                for descriptor, (_, channel) in channels.items():
                    os.close(descriptor)
                    channel.close()
                return _become(json.loads(order), descriptors)
            child = os.pidfd_open(pid)
            channel = socket.socket(fileno=descriptors.pop())
            for descriptor in descriptors:
                os.close(descriptor)
            socket.send_fds(channel, [str(pid).encode()], [child])
            channels[child] = pid, channel
            poll.register(child, select.POLLIN)


def _become(order: dict[str, Any], descriptors: list[int]) -> str:
    os.setsid()
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    os.chdir(order["folder"])
    module: str = order["module"]
    if order["is_afresh"]:
        os.execve(sys.executable, [*INTERPRETER, module, *order["arguments"]], order["variables"])
    _begin(order["variables"], order["arguments"])
    vars(subprocess)["Popen"] = Kin
    return module


def _begin(variables: Mapping[str, str], arguments: Sequence[str]) -> None:
    os.environ.clear()
    os.environ.update(variables)
    # The streams as an interpreter makes them.
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = _stream(1, "strict", is_buffered=not os.isatty(1))
    sys.stderr = _stream(2, "backslashreplace", is_buffered=False)
    sys.argv[1:] = arguments


def _stream(number: int, errors: str, *, is_buffered: bool) -> io.TextIOWrapper:
    raw = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors, line_buffering=not is_buffered)


class Kin(subprocess.Popen[Any]):
    """What is started on this interpreter goes on where others load it."""

    def __init__(self, args: Any, *more: Any, **options: Any) -> None:
        if tuple(args[: len(INTERPRETER)]) == INTERPRETER:
            module, *arguments = args[len(INTERPRETER) :]
            variables = dict(os.environ) if options.get("env") is None else options["env"]
            options["preexec_fn"] = partial(_go_on, module, arguments, variables, options.get("pass_fds", ()))
            # What has not left us yet is not to be said twice.
            sys.stdout.flush()
        super().__init__(args, *more, **options)


def _go_on(module: str, arguments: Sequence[str], variables: Mapping[str, str], descriptors: Iterable[int]) -> None:
    """Be the process that was to be: nothing of who started it is left but what is in memory. Does not return."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        # Whoever seals itself is sealed by its own doing.
        ctypes.CDLL(None).prctl(SET_DUMPABLE, 1, 0, 0, 0)
        # As the last of these is closed, whoever started us takes us for begun.
        kept = sorted({2, *descriptors})
        for low, high in pairwise((*kept, os.sysconf("SC_OPEN_MAX"))):
            os.closerange(low + 1, high)
        logging.getLogger().handlers.clear()
        _begin(variables, arguments)
        # Run by its name, as a module that was imported cannot be.
        sys.modules.pop(module, None)
        status = _run(module)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # What is below us on the stack is not ours to unwind.
        _leave(status)


def _run(module: str) -> int:
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _end(statuses: Iterable[int]) -> None:
    for status in statuses:
        _leave(status)


def _leave(status: int) -> None:
    """End without taking apart what was never ours alone: each page that is touched for it would be copied first."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        import_module(name)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as ordered:
        chosen = _serve(ordered)
    statuses: list[int] = []
    # Asked first, it is done last: after threads, and after whatever the module asks for at its end.
    atexit.register(_end, statuses)
    statuses.append(_run(chosen))
    sys.exit(statuses[0])
