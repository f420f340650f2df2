"""What a test lets go wrong: each stands in for the answer to one call."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Answer:
    """This status and description; 200 is answered with `ok: false`. A `retry_after` is in the client's seconds."""

    status: int
    description: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    after: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A page of HTML, as a proxy sends it that has lost Telegram."""

    status: int = 502
    after: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is gone, without a byte of an answer."""

    after: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer at all, until the client leaves."""

    after: bool = False


@dataclass(frozen=True, slots=True)
class Garbage:
    """Status 200 and half a JSON."""

    after: bool = False


@dataclass(frozen=True, slots=True)
class Empty:
    """Status 200 and nothing."""

    after: bool = False


@dataclass(frozen=True, slots=True)
class Newer:
    """The right answer, with a message in it of a kind that came after the client."""

    after: bool = True


@dataclass(frozen=True, slots=True)
class Delay:
    """The right answer, so many of the client's seconds later; the effect takes place at once if `after` says so."""

    seconds: float
    after: bool = False


# With `after` the effect takes place first, and only the answer is lost.
Trouble = Answer | Page | Cut | Hang | Garbage | Empty | Newer | Delay
KINDS: Mapping[str, type[Trouble]] = {
    "answer": Answer,
    "page": Page,
    "cut": Cut,
    "hang": Hang,
    "garbage": Garbage,
    "empty": Empty,
    "newer": Newer,
    "delay": Delay,
}


@dataclass(slots=True)
class Planned:
    """A trouble that waits for its call."""

    method: str
    trouble: Trouble
    chat: int | None
    times: int

    def meets(self, method: str, chat: object) -> bool:
        """Whether this is the call."""
        return self.times > 0 and self.method in ("*", method) and self.chat in (None, chat)
