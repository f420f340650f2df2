"""What a model is made to say, whoever it is: the parts of an answer, which each provider's wire spells its own way."""

from dataclasses import dataclass
from typing import Literal

from tests.providers.server import Cut, Stall, Wait


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """Thinking, in pieces; it is signed, and must come back as it was."""

    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A call, its arguments in pieces of raw JSON."""

    name: str
    arguments: tuple[str, ...] = ("{}",)
    call: str = "call_1"


@dataclass(frozen=True, slots=True)
class Search:
    """The provider's own search of the web, and whether it found anything."""

    query: str
    is_ok: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """What was consumed: all input, of which so much was read from a cache and so much written to one."""

    input: int = 11
    output: int = 5
    read: int = 0
    written: int = 0
    cost: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """The provider gives up in the middle."""

    kind: str = "overloaded_error"
    message: str = "Overloaded"


Stop = Literal["end", "tools", "length", "refusal", "pause", "full"]
Part = Text | Thinking | Tool | Search | Broken | Wait | Stall | Cut


@dataclass(frozen=True, slots=True)
class Speech:
    """A whole answer; without a reason to stop it is the one that fits."""

    parts: tuple[Part, ...]
    usage: Usage = Usage()
    stop: Stop | None = None

    @property
    def reason(self) -> Stop:
        """Why it stops."""
        if self.stop is not None:
            return self.stop
        return "tools" if any(isinstance(part, Tool) for part in self.parts) else "end"


@dataclass(frozen=True, slots=True)
class Refusal:
    """No answer, but a status with an error of this kind."""

    status: int
    kind: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()
