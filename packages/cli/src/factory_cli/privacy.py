"""What a process does first, so that what it knows stays with it: no memory left behind, and a log without secrets."""

import logging
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import TracebackType
from typing import TextIO

from factory_cli import config
from factory_cli.sparing import Sparing

# Takes secrets out of a text.
Redact = Callable[[str], str]

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_SET_DUMPABLE = 4


def leave_no_core() -> None:
    """Have neither this process nor a child of it leave its memory on the disk when it crashes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def seal() -> None:
    """Close the process: no core, no look into its memory and surroundings for others of its user, its files its own.

    What it starts can be looked into again, but is told no more than it needs.
    """
    leave_no_core()
    os.umask(0o077)
    if sys.platform == "linux":
        import ctypes

        # The limit alone does not hold for a core that is piped to a program, and the surroundings hold every key.
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def of_surroundings(url: str | None = None) -> Redact:
    """What knows the secrets of the surroundings, and how one logs in at the bus; made when it is first needed."""

    @cache
    def made() -> Redact:
        from hub.kernel.secrecy import Redactor

        return Redactor.of(config.secrets(url)).redact

    return lambda text: made()(text)


def report(level: str, redact: Redact) -> None:
    """Log to stderr from this level on, whoever speaks: libraries, warnings and what nobody caught; no secret among it.

    As more becomes known, it is called again. What is said again and again is counted, unless the level is DEBUG.
    """
    handler = _Handler(redact, None if level == "DEBUG" else Sparing(time.monotonic()))
    handler.setFormatter(_Formatter(redact))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    guard(redact)


def guard(redact: Redact) -> None:
    """Have what nobody catches told without secrets."""

    def tell(
        kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, where: str = ""
    ) -> None:
        if kind is not None:
            text = "".join([where, *traceback.format_exception(kind, error, trace)])
            print(redact(text), end="", file=sys.stderr, flush=True)

    def in_thread(of: threading.ExceptHookArgs) -> None:
        if of.exc_type is not SystemExit:
            name = of.thread.name if of.thread is not None else "a thread"
            tell(of.exc_type, of.exc_value, of.exc_traceback, f"Exception in {name}:\n")

    def unraisable(of: "sys.UnraisableHookArgs") -> None:
        tell(of.exc_type, of.exc_value, of.exc_traceback, f"Exception ignored in {of.object!r}:\n")

    sys.excepthook = tell
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable


class _Formatter(logging.Formatter):
    """Redacts the whole of what is written, tracebacks too."""

    def __init__(self, redact: Redact) -> None:
        super().__init__(FORMAT)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    """Stderr; what cannot be logged is told without its arguments, which logging itself would print as they are."""

    # Of what is left out nothing is written, not even the end of a line.
    terminator = ""

    def __init__(self, redact: Redact, sparing: Sparing | None) -> None:
        super().__init__(sys.stderr)
        self._redact = redact
        self._sparing = sparing

    def format(self, record: logging.LogRecord) -> str:
        records = [record]
        if self._sparing is not None:
            said = self._sparing.left_out(time.monotonic())
            records = [_record(words) for words in said] + (records if self._sparing.writes(record) else [])
        return "".join(f"{line}\n" for line in map(super().format, records))

    def handleError(self, record: logging.LogRecord) -> None:
        said = f"{record.name}:{record.lineno} cannot be logged:\n{traceback.format_exc()}"
        # Nobody reads it any more: then there is nobody to tell.
        with suppress(OSError):
            print(self._redact(said), end="", file=sys.stderr)


def _record(words: str) -> logging.LogRecord:
    return logging.makeLogRecord({"name": __name__, "levelno": logging.INFO, "levelname": "INFO", "msg": words})
