"""Where a process spends its CPU time: the stack, noted at every tick of the CPU clock.

A tick comes only while the process works, so waiting is not counted; what a C function takes is its caller's own time.
"""

import signal
from collections import Counter
from types import FrameType
from typing import TypedDict

TICK = 0.001
LINES = 60
# Whose code it is tells what it is for; the innermost of these counts.
PURPOSES = (
    ("/pydantic/", "contracts"),
    ("/factory_contracts/", "contracts"),
    ("/factory_nats/wire.py", "the wire"),
    ("/factory_nats/link.py", "the wire"),
    ("/factory_nats/", "requests and appends"),
    ("/adapters/nats/", "requests and appends"),
    ("/hub/people.py", "who may do what"),
    *((f"/hub/kernel/{name}", "who may do what") for name in ("access", "addresses", "approval", "guards")),
    *((f"/hub/kernel/{name}", "what is foreign or secret") for name in ("foreign", "links", "secrecy", "taint")),
    ("/workers/clipool/discretion.py", "what is foreign or secret"),
    ("/hub/kernel/budget.py", "money"),
    ("/adapters/models/prices.py", "money"),
    ("/adapters/models/", "the model"),
    ("/hub/kernel/harness.py", "the agent"),
    ("/workers/", "the agent"),
    ("/hub/", "the conversation"),
    ("/adapters/spoke.py", "the reply on the screen"),
    ("/asyncio/", "tasks and wake-ups"),
    ("/uvloop/", "tasks and wake-ups"),
)


class Found(TypedDict):
    """How many samples there were, and how many of them in each place; the busiest first."""

    samples: int
    purposes: list[tuple[str, int]]
    own: list[tuple[str, int]]
    whole: list[tuple[str, int]]


class Sampler:
    """Counts, for every function, in how many samples it was at work and in how many it was under way."""

    def __init__(self) -> None:
        self._own: Counter[str] = Counter()
        self._whole: Counter[str] = Counter()
        self._purposes: Counter[str] = Counter()
        self._samples = 0

    def begin(self) -> None:
        """Begin to look."""
        self._own, self._whole, self._purposes, self._samples = Counter(), Counter(), Counter(), 0
        signal.signal(signal.SIGPROF, self._note)
        signal.setitimer(signal.ITIMER_PROF, TICK, TICK)

    def end(self) -> Found:
        """What was seen since the beginning, the busiest first."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        return {
            "samples": self._samples,
            "purposes": self._purposes.most_common(),
            "own": self._own.most_common(LINES),
            "whole": self._whole.most_common(LINES),
        }

    def _note(self, _: int, frame: FrameType | None) -> None:
        self._samples += 1
        if frame is not None:
            self._own[_place(frame)] += 1
            self._purposes[_purpose(frame)] += 1
        seen: set[str] = set()
        while frame is not None:
            place = _place(frame)
            if place not in seen:
                seen.add(place)
                self._whole[place] += 1
            frame = frame.f_back


def _purpose(frame: FrameType | None) -> str:
    while frame is not None:
        path = frame.f_code.co_filename
        for mark, purpose in PURPOSES:
            if mark in path:
                return purpose
        frame = frame.f_back
    return "all else"


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(code.co_filename.split('/')[-2:])}:{code.co_qualname}"
