"""What an agent and a worker of some capability say to each other: a wish in words, and what came of it in words."""

import json
from base64 import b64decode, b64encode
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from factory_contracts.envelope import Envelope, Part, Wire
from factory_contracts.messages import Attachment, Id, Text

# All files of a reply together: in base64 and beside a long text they fit a message.
MOST_FILE_BYTES = 400_000

RefusalReason = Literal["malformed", "busy", "unable", "failed", "late"]


def _is_an_object(arguments: str) -> str:
    try:
        value: object = json.loads(arguments, parse_constant=_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return arguments


def _constant(_: str) -> None:
    raise ValueError("a number that is no number")


def _is_base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


def _fit(files: tuple["MadeFile", ...]) -> tuple["MadeFile", ...]:
    size = sum(len(file.data) for file in files)
    if size > MOST_FILE_BYTES:
        raise ValueError(f"the files have {size} bytes together, and {MOST_FILE_BYTES} are the limit")
    return files


Object = Annotated[Text, AfterValidator(_is_an_object)]
Patience = Annotated[float, Field(gt=0, le=86_400)]


class CapabilityRequest(Envelope):
    """What is wanted: in words, and where the worker knows names for details, as a JSON object.

    The same turn and call are the same wish, which is never to be done twice; after `deadline` seconds nobody waits.
    """

    turn: Id
    call: Id
    text: Text
    arguments: Object = "{}"
    deadline: Patience

    @property
    def details(self) -> dict[str, Any]:
        """The arguments by name."""
        found: dict[str, Any] = json.loads(self.arguments)
        return found


class MadeFile(Part):
    """A file that a worker made, with its bytes."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    base64: Annotated[str, AfterValidator(_is_base64)]

    @classmethod
    def of(cls, name: str, data: bytes) -> "MadeFile":
        """The file of this name that holds this."""
        return cls(name=name, base64=b64encode(data).decode())

    @property
    def data(self) -> bytes:
        """What it holds."""
        return b64decode(self.base64)


class CapabilityDone(Envelope):
    """It is done, and this is what came of it; `files` go to the person whose agent asked."""

    kind: Literal["done"] = "done"
    text: Text
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=100)] = ()
    files: Annotated[tuple[MadeFile, ...], Field(max_length=10), AfterValidator(_fit)] | None = None


class CapabilityRefused(Envelope):
    """It is not done; the words are for whoever asked.

    "malformed", "busy" and "unable" say that nothing was done at all. Of what "failed" or was too "late" some may have
    taken effect.
    """

    kind: Literal["refused"] = "refused"
    reason: RefusalReason
    words: Text = ""


CapabilityReply = Annotated[CapabilityDone | CapabilityRefused, Field(discriminator="kind")]

CAPABILITY_REQUEST: Wire[CapabilityRequest] = Wire(CapabilityRequest)
CAPABILITY_REPLY: Wire[CapabilityReply] = Wire(CapabilityReply)
