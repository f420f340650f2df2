"""What people say beside questions: words to the hub, which no model is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tests.chaos import script
from tests.chaos.script import Question

Command = Literal["/new", "/stop", "/approve", "/deny"]

# Between what is said to one message and to another that joined it.
PARAGRAPH = "\n\n"
NEW = "A new conversation begins: I no longer see what was said before."
STOPPED = ("Stopped.", "Nothing is running.")
GRANTED, DENIED = "Allowed.", "Not allowed, and not done."
# What is told to who answers too late; nobody here answers a question twice in two ways.
GONE = "There is nothing to decide here any more."
LATE = (GONE, "That question is too old.")
# What is told while it is not known whose a conversation is.
SAY_AGAIN = "I cannot see every conversation at the moment. Please say this again in a little while."
# What is told where the power went between somebody's word and the answer to it.
NOT_TOLD = "I was interrupted before I could tell you what came of this. `/approvals` tells what still waits for you."
ANSWERS: Mapping[Command, tuple[str, ...]] = MappingProxyType(
    {
        "/new": (NEW,),
        "/stop": STOPPED,
        "/approve": (GRANTED, *LATE, NOT_TOLD, SAY_AGAIN),
        "/deny": (DENIED, *LATE, NOT_TOLD, SAY_AGAIN),
    }
)


@dataclass(frozen=True, slots=True)
class Word(Question):
    """A word to the hub; it has a name all the same, by which we speak of it."""

    command: Command = "/new"
    code: str = ""

    @property
    def text(self) -> str:
        """The message as it is sent."""
        return f"{self.command} {self.code}".rstrip()


def answers(question: Question, earlier: int) -> tuple[str, ...]:
    """What may be said to it, if `earlier` questions of the conversation were answered before."""
    if isinstance(question, Word):
        return ANSWERS[question.command]
    return (script.answer(question, earlier),)


def calls(question: Question) -> int:
    """How many model calls an undisturbed answer takes."""
    return 0 if isinstance(question, Word) else script.calls(question)
