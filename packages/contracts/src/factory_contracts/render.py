"""What should appear to a person, whatever the platform."""

from typing import Annotated, Literal

from pydantic import Field

from factory_contracts.envelope import Envelope, Part, Wire
from factory_contracts.messages import Answer, Choices, Count, Id, Outcome, Text, Usage


class TextDelta(Envelope):
    """More text, after all that was there."""

    kind: Literal["text"] = "text"
    turn: Id
    text: Answer


class TextReplaced(Envelope):
    """The answer starts over in place."""

    kind: Literal["replaced"] = "replaced"
    turn: Id
    text: Answer


class ToolSummary(Envelope):
    """One line about what a tool does; the next replaces it."""

    kind: Literal["tool"] = "tool"
    turn: Id
    text: Text


class QuestionAsked(Envelope):
    """Somebody is asked whether a call may be made."""

    kind: Literal["question"] = "question"
    turn: Id
    text: Text


class SavedFile(Part):
    """A file that an answer brought, and where it lies now; no path where it could not be had."""

    name: Text
    mime: Text
    size: Count
    path: Text | None = None


class AnswerEnded(Envelope):
    """The whole answer, the files that it brought, and what may be said next."""

    kind: Literal["end"] = "end"
    turn: Id
    text: Answer
    outcome: Outcome
    usage: Usage | None = None
    files: tuple[SavedFile, ...] | None = None
    choices: Choices | None = None


RenderEvent = Annotated[
    TextDelta | TextReplaced | ToolSummary | QuestionAsked | AnswerEnded, Field(discriminator="kind")
]

RENDER: Wire[RenderEvent] = Wire(RenderEvent)
