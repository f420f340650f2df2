"""Where a process spends its CPU time: the stack, noted at every tick of the CPU clock.

A tick comes only while the process works, so waiting is not counted; what a C function takes is its caller's own time.
"""

import signal
from collections import Counter
from types import FrameType

TICK = 0.001
LINES = 60


class Sampler:
    """Counts, for every function, in how many samples it was at work and in how many it was under way."""

    def __init__(self) -> None:
        self._own: Counter[str] = Counter()
        self._whole: Counter[str] = Counter()
        self._samples = 0

    def begin(self) -> None:
        """Begin to look."""
        self._own, self._whole, self._samples = Counter(), Counter(), 0
        signal.signal(signal.SIGPROF, self._note)
        signal.setitimer(signal.ITIMER_PROF, TICK, TICK)

    def end(self) -> dict[str, object]:
        """What was seen since the beginning, the busiest first."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        return {
            "samples": self._samples,
            "own": self._own.most_common(LINES),
            "whole": self._whole.most_common(LINES),
        }

    def _note(self, _: int, frame: FrameType | None) -> None:
        self._samples += 1
        if frame is not None:
            self._own[_place(frame)] += 1
        seen: set[str] = set()
        while frame is not None:
            place = _place(frame)
            if place not in seen:
                seen.add(place)
                self._whole[place] += 1
            frame = frame.f_back


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(code.co_filename.split('/')[-2:])}:{code.co_qualname}"
