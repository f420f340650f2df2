"""What a test lets go wrong: each stands in for the answer to one call, or to one knock at the gateway."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.botapi.trouble import Cut, Delay, Empty, Garbage, Hang, Page

__all__ = ["Answer", "Cloudflare", "Cut", "Delay", "Empty", "Garbage", "Hang", "Page", "Planned", "TooFast", "Trouble"]


@dataclass(frozen=True, slots=True)
class Answer:
    """This status, code and sentence; without one, the sentence of the code."""

    status: int
    code: int = 0
    message: str = ""
    after: bool = False


@dataclass(frozen=True, slots=True)
class TooFast:
    """429 as Discord says it, and a penalty of so many of the client's seconds: for the bucket, or for all that the
    bot does (`scope="global"`). Code 30046 is that of edits of old messages."""

    retry_after: float
    scope: str = "user"
    code: int = 0
    after: bool = False


@dataclass(frozen=True, slots=True)
class Cloudflare:
    """429 as the proxy before Discord says it: a page, and nothing that tells whose limit it was."""

    retry_after: int = 60
    after: bool = False


# With `after` the effect takes place first, and only the answer is lost.
Trouble = Answer | TooFast | Cloudflare | Page | Cut | Hang | Garbage | Empty | Delay
KINDS: Mapping[str, type[Trouble]] = {
    "answer": Answer,
    "too_fast": TooFast,
    "cloudflare": Cloudflare,
    "page": Page,
    "cut": Cut,
    "hang": Hang,
    "garbage": Garbage,
    "empty": Empty,
    "delay": Delay,
}


@dataclass(slots=True)
class Planned:
    """A trouble that waits for its call."""

    method: str
    trouble: Trouble
    channel: int | None
    times: int

    def meets(self, method: str, channel: object) -> bool:
        """Whether this is the call."""
        return self.times > 0 and self.method in ("*", method) and self.channel in (None, channel)
