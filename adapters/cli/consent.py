"""Whether an agent may do what it asks for, as who ran the command says: beforehand, at the terminal or not at all."""

import asyncio
import os
import termios
from collections.abc import Callable
from typing import TextIO

ALLOWED = "allowed: --yes"
DENIED = "denied: nobody is here to be asked; --yes allows it"
PROMPT = "allow it? y/n "


class Consent:
    """Asks one question at a time; `allows` is the answer to all of them."""

    def __init__(self, stdin: TextIO, stderr: TextIO, tell: Callable[[str], None], *, allows: bool) -> None:
        self._stdin = stdin
        self._stderr = stderr
        self._tell = tell
        self._allows = allows
        self._answer: asyncio.Future[bool | None] | None = None

    async def ask(self, question: str) -> bool | None:
        """Show it and wait for a line that says y or n; None where it was withdrawn before."""
        self._tell(f"\n{question}\n")
        if self._allows:
            self._tell(ALLOWED)
            return True
        if not (self._stdin.isatty() and self._stderr.isatty()):
            self._tell(DENIED)
            return False
        loop, terminal = asyncio.get_running_loop(), self._stdin.fileno()
        self._answer = loop.create_future()
        # What was typed before it was asked is no answer.
        termios.tcflush(terminal, termios.TCIFLUSH)
        self._prompt()
        loop.add_reader(terminal, self._read, terminal, self._answer)
        try:
            return await self._answer
        finally:
            loop.remove_reader(terminal)
            self._answer = None

    def withdraw(self) -> None:
        """It is decided elsewhere, or its time is over."""
        if self._answer is not None and not self._answer.done():
            self._tell("\n")
            self._answer.set_result(None)

    def _read(self, terminal: int, answer: asyncio.Future[bool | None]) -> None:
        try:
            line = os.read(terminal, 4_096)
        except OSError:
            # The terminal is gone.
            line = b""
        if answer.done():
            return
        match line.strip().lower():
            case b"y":
                answer.set_result(True)
            case b"n":
                answer.set_result(False)
            case _ if not line:
                self._tell(DENIED)
                answer.set_result(False)
            case _:
                self._prompt()

    def _prompt(self) -> None:
        self._stderr.write(PROMPT)
        self._stderr.flush()
