"""What a turn did, step by step, for whoever asks afterwards: each model call and each tool call, shortened."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from factory_contracts.envelope import Part

MAX_EXCERPT = 4_000

Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Excerpt = Annotated[str, StringConstraints(max_length=MAX_EXCERPT)]
Tokens = Annotated[int, Field(ge=0, lt=2**63)]
Money = Annotated[Decimal, Field(ge=0, max_digits=30, decimal_places=18)]
Seconds = Annotated[float, Field(ge=0)]


class ModelStep(Part):
    """One model call: how much it was shown, what it said, why it ended and what it cost; `error` is the operator's.

    A cost of None is unknown, which is not nothing. `within` names the call of the tool that a helper worked for.
    """

    kind: Literal["model"] = "model"
    call: Name
    model: Name
    messages: Tokens
    text: Excerpt = ""
    reason: Name
    error: Excerpt = ""
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cache_read_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0
    cost: Money | None = None
    seconds: Seconds = 0.0
    within: Name | None = None


class ToolStep(Part):
    """One tool call: its arguments, and what the model was told came of it."""

    kind: Literal["tool"] = "tool"
    call: Name
    tool: Name
    effect: Literal["read", "write", "external"]
    arguments: Excerpt = ""
    outcome: Literal["ok", "error", "unknown", "dry run"]
    content: Excerpt = ""
    seconds: Seconds = 0.0
    within: Name | None = None


class EngineStep(Part):
    """One step of an engine: of which kind, what it was given, and what it put out; what it did stands within it."""

    kind: Literal["engine"] = "engine"
    call: Name
    engine: Name
    version: Name
    step: Literal["harness", "tool", "code"]
    arguments: Excerpt = ""
    outcome: Literal["ok", "error", "stopped", "known"]
    content: Excerpt = ""
    seconds: Seconds = 0.0
    within: Name | None = None


Step = Annotated[ModelStep | ToolStep | EngineStep, Field(discriminator="kind")]


def hearing(blob: str) -> str:
    """The call by which the voice message that lies under this name was written down."""
    return f"hear-{blob[:32]}"


def excerpt(text: str) -> str:
    """The text, or its beginning and its end where it is long, with a mark between them."""
    if len(text) <= MAX_EXCERPT:
        return text
    mark = f"\n[… {len(text)} characters in all …]\n"
    half = (MAX_EXCERPT - len(mark)) // 2
    return text[:half] + mark + text[-half:]
