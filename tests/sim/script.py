"""What people say beside questions: words to the hub, which no model is shown."""

from dataclasses import dataclass
from typing import Literal

from tests.chaos import script
from tests.chaos.script import Question

Command = Literal["/new", "/stop"]

NEW = "A new conversation begins: I no longer see what was said before."
STOPPED = ("Stopped.", "Nothing is running.")


@dataclass(frozen=True, slots=True)
class Word(Question):
    """A word to the hub; it has a name all the same, by which we speak of it."""

    command: Command = "/new"

    @property
    def text(self) -> str:
        """The message as it is sent."""
        return self.command


def answers(question: Question, earlier: int) -> tuple[str, ...]:
    """What may be said to it, if `earlier` questions of the conversation were answered before."""
    if isinstance(question, Word):
        return (NEW,) if question.command == "/new" else STOPPED
    return (script.answer(question, earlier),)


def calls(question: Question) -> int:
    """How many model calls an undisturbed answer takes."""
    return 0 if isinstance(question, Word) else script.calls(question)
