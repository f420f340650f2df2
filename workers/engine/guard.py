"""The one place where what other people's code raises becomes a value."""

from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Exited(Exception):
    """It would have ended the whole process."""


async def guarded(work: Awaitable[T]) -> T | Exception:
    """What it comes to, or what it raised."""
    try:
        return await work
    # Models, tools and engines are other people's code: what they raise is an event of one turn, and the worker has
    # many.
    except Exception as error:
        return error
    except SystemExit as error:
        return Exited(f"it exits with {error.code}").with_traceback(error.__traceback__)
