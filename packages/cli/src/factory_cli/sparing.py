"""What a log leaves out, so that nobody fills the disk with what is refused: the same words, said again and again.

It reads no clock.
"""

import logging
from collections import Counter

MINUTE = 60.0
ALIKE = 5
DIFFERENT = 100


class Sparing:
    """Counts what each place in the program says within a minute.

    The same words are written a few times, so that every reason stands there, and of other words so many of each place.
    Whoever was told a reference finds it in any case.
    """

    def __init__(self, now: float) -> None:
        self._since = now
        self._said: dict[tuple[str, int], Counter[str]] = {}

    def writes(self, record: logging.LogRecord) -> bool:
        """Count it; whether it is to be written."""
        if "reference" in str(record.msg):
            return True
        said = self._said.setdefault((record.pathname, record.lineno), Counter())
        words = record.getMessage()
        if words not in said and len(said) >= DIFFERENT:
            words = f"other words of {record.name}, line {record.lineno}"
        said[words] += 1
        return said[words] <= ALIKE

    def left_out(self, now: float) -> list[str]:
        """What the last minute kept back, told when it is over; the next one begins."""
        if now - self._since < MINUTE:
            return []
        told = [
            f"left out {count - ALIKE} times: {words}"
            for said in self._said.values()
            for words, count in said.items()
            if count > ALIKE
        ]
        self._since = now
        self._said.clear()
        return told
