"""From what a worker reports to what should appear: LlmEvents in, the answer so far and its next piece out."""

from dataclasses import dataclass
from json import JSONEncoder

from factory_contracts.trace import ModelStep, Step
from factory_contracts.work import Ended, LlmEvent, SaidText, Stepped, ToolEvent

_in_json = JSONEncoder(ensure_ascii=False).encode

ANSWER_BYTES = 600_000
CUT = "\n\n[cut: the answer was longer than can be shown]"
STEPS_KEPT = 400
STEPS_BYTES = 200_000
# Names, numbers and words of its own that a step has in JSON.
FRAME = 2_000


@dataclass(frozen=True, slots=True)
class Piece:
    """What is new on the screen: text that stands at `base`, 0 being the whole answer so far."""

    base: int
    text: str
    activity: str | None


class StreamProcessor:
    """One attempt at an answer, as it grows.

    What is on a screen is never a join of two streams: the first piece of every processor is a snapshot.
    """

    __slots__ = ("_activity", "_bytes", "_parts", "_taken", "_total", "ended", "events", "steps")

    def __init__(self) -> None:
        self.events = 0
        self.ended: Ended | None = None
        self.steps: list[Step] = []
        self._parts: list[str] = []
        self._total = 0
        self._bytes = 0
        self._taken = 0
        self._activity: str | None = None

    def feed(self, event: LlmEvent) -> None:
        """Take the attempt's next event."""
        self.events += 1
        match event:
            case SaidText():
                self._say(event.text)
            case ToolEvent():
                self._activity = event.text if event.state == "running" else None
            case Stepped():
                self.steps.append(event.step)
            case Ended():
                self.ended = event

    @property
    def text(self) -> str:
        """The answer so far."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    def take(self) -> Piece:
        """What came since the last piece was taken."""
        piece = Piece(self._taken, self.text[self._taken :], self._activity)
        self._taken = self._total
        return piece

    def snapshot(self) -> Piece:
        """All of it, for a screen that missed something."""
        self._taken = self._total
        return Piece(0, self.text, self._activity)

    @property
    def trace(self) -> tuple[Step, ...]:
        """What was done, within what one record may hold: the later steps of a long turn lose their words first."""
        # A character takes at most six bytes in JSON: most turns are short enough not to be weighed.
        if len(self.steps) <= STEPS_KEPT and sum(map(_length, self.steps)) * 6 <= STEPS_BYTES:
            return tuple(self.steps)
        kept: list[tuple[Step, Step]] = []
        room = STEPS_BYTES
        for step in self.steps[:STEPS_KEPT]:
            bare = _bare(step)
            room -= _bytes(bare)
            if room < 0:
                break
            kept.append((step, bare))
        told: list[Step] = []
        for step, bare in kept:
            words = _bytes(step) - _bytes(bare)
            if words > room:
                told.append(bare)
            else:
                told.append(step)
                room -= words
        return tuple(told)

    def _say(self, text: str) -> None:
        if self._bytes > ANSWER_BYTES:
            return
        # An answer travels as JSON in one message, so what counts is its length there.
        self._bytes += len(_in_json(text).encode(errors="replace")) - 2
        if self._bytes > ANSWER_BYTES:
            excess = self._bytes - ANSWER_BYTES
            text = (text[:-excess] if excess < len(text) else "") + CUT
        self._parts.append(text)
        self._total += len(text)


def _length(step: Step) -> int:
    """No fewer characters than the step takes in JSON, were each of them a letter."""
    words = step.text + step.error if isinstance(step, ModelStep) else step.arguments + step.content
    return FRAME + len(words)


def _bytes(step: Step) -> int:
    return len(step.model_dump_json().encode())


def _bare(step: Step) -> Step:
    words = ("text", "error") if isinstance(step, ModelStep) else ("arguments", "content")
    return step.model_copy(update=dict.fromkeys(words, ""))
