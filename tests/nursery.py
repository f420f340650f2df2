"""Processes that need not import anything any more: each is forked from one that has.

A child has the descriptors, the variables, the folder and the arguments that it is given, a session of its own, and
ends as an interpreter ends. Only how its modules came into its memory is not as it is for a person.

Run by the tests as `python -P -m tests.nursery CONTROL MODULE...`.
"""

import atexit
import gc
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIMIT = 1 << 17


class Child:
    """A process that was born here."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        said, descriptors, _, _ = socket.recv_fds(channel, 64, 1)
        self.pid = int(said)
        self._descriptor = descriptors[0]
        self.returncode: int | None = None

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
    ) -> Child:
        """Run a module as `python -m` does."""
        order = {
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
    os.environ.clear()
    os.environ.update(order["variables"])
    # The streams as an interpreter makes them.
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = _stream(1, "strict", is_buffered=not os.isatty(1))
    sys.stderr = _stream(2, "backslashreplace", is_buffered=False)
    sys.argv[1:] = order["arguments"]
    module: str = order["module"]
    return module


def _stream(number: int, errors: str, *, is_buffered: bool) -> io.TextIOWrapper:
    raw = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors, line_buffering=not is_buffered)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        import_module(name)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as ordered:
        chosen = _serve(ordered)
    runpy.run_module(chosen, run_name="__main__", alter_sys=True)
