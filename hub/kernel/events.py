"""What a model says in one call: the events that every model adapter yields to the harness."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Said:
    """More text."""

    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """The model wants a tool; the arguments are its own JSON text, believed by nobody yet."""

    call: str
    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The call is over, for this reason, having cost so much."""

    reason: Literal["end", "tools", "length", "refusal"]
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The call broke off; the reason is the operator's to read, never a person's."""

    reason: str
    is_transient: bool = False


ModelEvent = Said | Called | Finished | Failed
