"""All that one attempt at a turn has said, numbered, and kept until the turn's answer is on the log."""

from factory_contracts.envelope import FIRST_VERSION
from factory_contracts.messages import Attachment, Outcome, Usage
from factory_contracts.trace import ModelStep, Step
from factory_contracts.work import EVENTS, Ended, Events, LlmEvent, SaidText, Stepped, ToolEvent

# A character takes at most six bytes in JSON, so that what weighs this much stays below half of what a message may be.
MAX_WEIGHT = 80_000
EVENT_WEIGHT = 200


class Tape:
    """Events get their number when they are taken down: all text since the last one is a single event."""

    __slots__ = ("_attempt", "_events", "_instance", "_texts", "_turn", "is_over", "told")

    def __init__(self, turn: str, attempt: int, instance: str) -> None:
        self.told = 0
        self.is_over = False
        self._turn = turn
        self._attempt = attempt
        self._instance = instance
        self._events: list[LlmEvent] = []
        self._texts: list[str] = []

    def say(self, text: str) -> None:
        """Add to the text that has no number yet."""
        self._texts.append(text)

    def show(self, event: ToolEvent) -> None:
        """Add a line about a tool, after the text before it."""
        if not self.is_over:
            self._seal()
            self._events.append(event)

    def note(self, step: Step) -> None:
        """Add what came of a call, after the text before it."""
        if not self.is_over:
            self._seal()
            self._events.append(Stepped(step=step))

    def end(
        self,
        outcome: Outcome,
        usage: Usage,
        reference: str | None,
        joined: tuple[str, ...] = (),
        attachments: tuple[Attachment, ...] = (),
        choices: tuple[str, ...] = (),
        *,
        is_tainted: bool = False,
    ) -> None:
        """Add the last event."""
        self._seal()
        self._events.append(
            Ended(
                outcome=outcome,
                usage=usage,
                reference=reference,
                joined=joined,
                attachments=attachments or None,
                choices=choices or None,
                tainted=is_tainted or None,
            )
        )
        self.is_over = True

    def has_after(self, start: int) -> bool:
        """Whether anything is to be told from this event on, were it only that there is no more."""
        return self.is_over or bool(self._texts) or start < len(self._events)

    def tell(self, start: int, understood: int = FIRST_VERSION) -> list[bytes]:
        """The events from this one on, in as few messages as their size allows, for who understands so much."""
        self._seal()
        events = self._events
        done = len(events) if self.is_over else None
        payloads: list[bytes] = []
        first = min(start, len(events))
        self.told = len(events)
        while True:
            after, weight = first, 0
            while after < len(events) and (weight := weight + _weight(events[after])) <= MAX_WEIGHT:
                after += 1
            payloads.append(self._encode(first, tuple(events[first:after]), done, understood))
            if after >= len(events):
                return payloads
            first = after

    def _encode(self, first: int, events: tuple[LlmEvent, ...], done: int | None, understood: int) -> bytes:
        told = Events(
            turn=self._turn, attempt=self._attempt, instance=self._instance, first=first, events=events, done=done
        )
        return EVENTS.encode(told, understood)

    def _seal(self) -> None:
        if not self._texts:
            return
        text = clean("".join(self._texts))
        self._texts.clear()
        longest = MAX_WEIGHT - EVENT_WEIGHT
        if len(text) <= longest:
            self._events.append(SaidText(text=text))
        else:
            self._events += (SaidText(text=text[at : at + longest]) for at in range(0, len(text), longest))


def clean(text: str) -> str:
    """The text with halves of surrogate pairs joined or replaced: JSON carries no half."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _weight(event: LlmEvent) -> int:
    match event:
        case SaidText() | ToolEvent():
            return EVENT_WEIGHT + len(event.text)
        case Stepped(step=step):
            said = step.text + step.error if isinstance(step, ModelStep) else step.arguments + step.content
            return 2 * EVENT_WEIGHT + len(said)
        case Ended(attachments=attachments):
            return EVENT_WEIGHT + sum(2 * EVENT_WEIGHT + len(one.name) for one in attachments or ())
