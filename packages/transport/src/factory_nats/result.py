"""What every method of this library returns: a value, or a reason from a closed list and a sentence.

Code matches on `reason`. `detail` is for the log: it holds no payload and no secret, and no person is shown it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Reason: TypeAlias = Literal[
    "timeout",
    "no responders",
    "disconnected",
    "unauthorized",
    "forbidden",
    "too large",
    "malformed",
    "newer version",
    "fenced",
    "not found",
    "exists",
    "no space",
    "circuit open",
    "no worker",
    "busy",
    "gone",
    "lost",
    "refused",
]


@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """It worked, and this is what came of it."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Err:
    """It did not work, and this is why."""

    reason: Reason
    detail: str


Result: TypeAlias = Ok[T] | Err
