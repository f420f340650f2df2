"""When to stop asking somebody who keeps failing, and when to try again.

Reads no clock: every call is told the time.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Closed lets everything through; after `failures` in a row it is open for `pause` seconds, then half-open.

    Half-open lets one through: its success closes the circuit, its failure opens it again. One whose outcome is never
    told holds the place for another `pause`.
    """

    def __init__(self, *, failures: int = 3, pause: float = 5.0) -> None:
        self._limit = failures
        self._pause = pause
        self._failed = 0
        self._shut_until: float | None = None

    def state(self, now: float) -> State:
        """What the circuit is at this time."""
        if self._shut_until is None:
            return "closed"
        return "open" if now < self._shut_until else "half-open"

    def admit(self, now: float) -> bool:
        """True when the caller may try, and must then tell how it went."""
        state = self.state(now)
        if state == "half-open":
            self._shut_until = now + self._pause
        return state != "open"

    def succeeded(self) -> None:
        """It worked: everything may pass."""
        self._failed = 0
        self._shut_until = None

    def failed(self, now: float) -> None:
        """It did not work."""
        self._failed += 1
        if self._failed >= self._limit:
            self._shut_until = now + self._pause
