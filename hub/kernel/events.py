"""What a model says in one call: the events that every model adapter yields to the harness."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from factory_contracts.records import Effect


@dataclass(frozen=True, slots=True)
class Said:
    """More text."""

    text: str


@dataclass(frozen=True, slots=True)
class Relayed:
    """What is said from here on was written elsewhere: the model is an agent of others."""


@dataclass(frozen=True, slots=True)
class Thought:
    """The model thinks: a sign of life, which is no part of the answer."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Called:
    """The model wants a tool; the arguments are its own JSON text, believed by nobody yet, or empty: it wrote none."""

    call: str
    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Did:
    """The provider's side used a tool of its own; the text is a line that a person may see.

    Unless the tool is known to "read" and nothing else, the call in which it was used is not made again.
    """

    call: str
    tool: str
    state: Literal["running", "ok", "error"]
    text: str
    effect: Effect = "external"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the provider wants to be shown again, unchanged, with this answer, in the provider's own JSON."""

    content: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The call is over, for this reason, having cost so much; input counts all that was read, from a cache or not.

    "pause" asks to be asked again as it stands; "full" says that the conversation is longer than the model can read.
    `cost` is in US dollars where the provider itself names it.
    """

    reason: Literal["end", "tools", "length", "refusal", "pause", "full"]
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The call broke off; the reason is the operator's to read, never a person's.

    What is transient may work when tried again, not before `retry_after` seconds where the provider said so. What was
    consumed until then is told as far as it is known. What `has_begun` may have cost more than that, unless its `cost`
    is named; so may all that failed after another event.
    """

    reason: str
    is_transient: bool = False
    retry_after: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost: Decimal | None = None
    has_begun: bool = False


ModelEvent = Said | Relayed | Thought | Called | Did | Kept | Finished | Failed
