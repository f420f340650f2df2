"""A pseudo-terminal with a screen that can be read, and the terminal spoke running on it."""

import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import asdict
from types import TracebackType
from typing import Any

import pyte

from factory_contracts.messages import turn_id
from tests.nursery import nursery
from tests.terminal.actor import Settings

DEADLINE = 20.0


class Stage:
    """The process, its screen, and the hub's side of it as this test plays it."""

    def __init__(
        self,
        settings: Settings,
        *,
        columns: int = 80,
        rows: int = 24,
        stdout: int | None = None,
        stdin: int | None = None,
    ) -> None:
        self.written = bytearray()
        # What must stand on the screen at every instant from now on, and how often it did not.
        self.steady = ""
        self.lapses = 0
        self.screen = pyte.HistoryScreen(columns, rows, history=5_000)
        self._stream = pyte.ByteStream(self.screen)
        self._events: list[dict[str, Any]] = []
        self._said = b""
        self._main, side = os.openpty()
        _set_size(side, columns, rows)
        path = f"{settings.folder}/control"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        listener.settimeout(DEADLINE)
        self._process = nursery("tests.terminal.actor").bear(
            "tests.terminal.play",
            [path, json.dumps(asdict(settings))],
            stdin=side if stdin is None else stdin,
            stdout=side if stdout is None else stdout,
            stderr=side,
        )
        os.close(side)
        self._control, _ = listener.accept()
        listener.close()

    def __enter__(self) -> "Stage":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.end()
        self._control.close()
        os.close(self._main)

    # The person's side.

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._main, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Pull at the corner of the window."""
        self.screen.resize(rows, columns)
        _set_size(self._main, columns, rows)

    def interrupt(self) -> None:
        """What a terminal in its usual mode makes of Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """What a closing desktop sends."""
        self._process.send_signal(signal.SIGTERM)

    def is_cooked(self) -> bool:
        """Whether the terminal echoes again and makes lines of keys."""
        flags = termios.tcgetattr(self._main)[3]
        return bool(flags & termios.ECHO and flags & termios.ICANON)

    def escapes(self) -> list[bytes]:
        """The last byte of each control sequence that was written."""
        return re.findall(rb"\x1b\[[0-9;?]*([@-~])", bytes(self.written))

    def see(self, text: str) -> None:
        """Wait until the screen shows a text."""
        self.wait(lambda: text in self.shown(), f"{text!r} on the screen")

    def see_no_more(self, text: str) -> None:
        """Wait until the screen does not show a text."""
        self.wait(lambda: text not in self.shown(), f"no {text!r} on the screen")

    def shown(self) -> str:
        """The screen as it stands."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def transcript(self) -> str:
        """All that scrolled away, and the screen."""
        columns = self.screen.columns
        gone = ["".join(line[x].data for x in range(columns)).rstrip() for line in self.screen.history.top]
        return "\n".join([*gone, self.shown()])

    def end(self) -> int:
        """Wait until the process has ended; its exit code."""
        self.wait(lambda: self._process.poll() is not None, "the end")
        self._read(0)
        return self._process.wait()

    # The hub's side.

    def order(self, order: str, **more: object) -> None:
        """Make the hub say something."""
        self._control.sendall(json.dumps({"order": order, **more}).encode() + b"\n")

    def welcome(self, **more: object) -> None:
        """Let the terminal in."""
        self.order("welcome", **{"agent": "assistant", "model": "scripted", **more})

    def told(self, event: str) -> dict[str, Any]:
        """Wait for what the terminal does next, of this kind."""
        found: list[dict[str, Any]] = []

        def is_told() -> bool:
            found.extend(told for told in self._events if told["event"] == event)
            return bool(found)

        self.wait(is_told, f"the event {event}")
        self._events.remove(found[0])
        return found[0]

    def accepted(self) -> str:
        """Accept the next message; its turn."""
        told = self.told("submitted")
        self.order("accept")
        return self.turn(told)

    def turn(self, submitted: dict[str, Any]) -> str:
        """The turn that a message makes."""
        return turn_id("cli", "main", "here", submitted["id"])

    def show(self, turn: str, text: str, **more: object) -> None:
        """Show an answer as it stands now."""
        self.order("show", turn=turn, text=text, **more)

    def finish(self, turn: str, text: str, **more: object) -> None:
        """Show a whole answer, and wait until it stands there."""
        self.show(turn, text, is_final=True, **more)
        while True:
            told = self.told("shown")
            if told["turn"] == turn and told["is_final"]:
                return

    def wait(self, is_so: Callable[[], bool], what: str) -> None:
        """Read what comes until it is so."""
        deadline = time.monotonic() + DEADLINE
        while not is_so():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {what}; the screen:\n{self.shown()}\n{self._events}")
            self._read(0.05)

    def _read(self, timeout: float) -> None:
        ready, _, _ = select.select([self._main, self._control.fileno()], [], [], timeout)
        if self._main in ready:
            try:
                data = os.read(self._main, 65536)
            except OSError:
                data = b""
            self.written += data
            self._stream.feed(data)
            self.lapses += self.steady not in self.shown()
        if self._control.fileno() in ready:
            try:
                self._said += self._control.recv(65536)
            except ConnectionResetError:
                return
            *lines, self._said = self._said.split(b"\n")
            self._events += [json.loads(line) for line in lines]


def _set_size(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
