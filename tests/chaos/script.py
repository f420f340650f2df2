"""What is asked, what the scripted model is told to say, and what an undisturbed answer therefore is.

Every answer derives from its question, so that a checker knows each one without having seen the system at work.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

Kind = Literal["short", "stream", "long", "tool", "memory"]

KINDS: tuple[Kind, ...] = ("short", "stream", "long", "tool", "memory")
WEIGHTS = (3, 3, 1, 2, 1)
WORDS = ("otter", "Äpfel", "naïve", "quill", "🦊", "日本", "amber", "vortex", "pebble", "fjord", "ζήτα", "lantern")
# How many exchanges the product shows a model at most.
SHOWN = 50

# What is said on the made-up platform where a message is not taken because there is no room for it.
REFUSED = "REFUSED: unavailable"
TOOL = "engrave"
_STREAM, _LONG, _AFTER = 40, 150, 15


@dataclass(frozen=True, slots=True)
class Question:
    """What a person asks: a name that is used once, what it does to the model, and some words.

    Where several people speak, a model is shown who does.
    """

    name: str
    kind: Kind
    words: str
    speaker: str = ""

    @property
    def text(self) -> str:
        """The message as it is sent."""
        return f"{self.name} {self.kind} {self.words}"

    @classmethod
    def read(cls, text: str, speaker: str = "") -> "Question":
        """The question that a message was."""
        name, kind, words = text.split(" ", 2)
        for known in KINDS:
            if kind == known:
                return cls(name, known, words, speaker)
        raise ValueError(f"no question: {text!r}")


def answer(question: Question, earlier: int) -> str:
    """What is said to it, if `earlier` questions of the same scope were answered before."""
    name, text = question.name, question.speaker + question.text
    match question.kind:
        case "short":
            return f"{name}: {text}"
        case "stream":
            return f"{name} counts for {text}:{_numbers(_STREAM)}."
        case "long":
            return f"{name} counts far for {text}:{_numbers(_LONG)}."
        case "tool":
            return f"{name} engraves, as it was told by {text}.\n\n{name} is done:{_numbers(_AFTER)}."
        case "memory":
            return f"{name} was shown {2 * min(earlier, SHOWN) + 1} lines when it was asked {text}"


def calls(question: Question) -> int:
    """How many model calls an undisturbed answer takes."""
    return 2 if question.kind == "tool" else 1


def toml() -> str:
    """The same for the scripted model."""
    said = "{1}"
    return "\n".join(
        (
            _reply("short", f'{{ say = "{said}: {{said}}" }}'),
            _reply("stream", f'{{ say = "{said} counts for {{said}}:{_numbers(_STREAM)}.", pace_ms = 10 }}'),
            _reply("long", f'{{ say = "{said} counts far for {{said}}:{_numbers(_LONG)}.", pace_ms = 8 }}'),
            _reply(
                "tool",
                f'{{ say = "{said} engraves, as it was told by {{said}}.", pace_ms = 5 }}',
                f'{{ call = "{TOOL}", arguments = {{ question = "{said}" }} }}',
                f'{{ say = "{said} is done:{_numbers(_AFTER)}.", pace_ms = 8 }}',
            ),
            _reply("memory", f'{{ say = "{said} was shown {{messages}} lines when it was asked {{said}}" }}'),
        )
    )


def _reply(kind: Kind, *steps: str) -> str:
    listed = "".join(f"  {step},\n" for step in steps)
    return f'[[reply]]\nmatch = "^(?:\\\\w+: )?(q\\\\d+) {kind} "\nsteps = [\n{listed}]\n'


@cache
def _numbers(count: int) -> str:
    return "".join(f" {number}" for number in range(1, count + 1))
