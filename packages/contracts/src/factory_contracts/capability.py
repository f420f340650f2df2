"""What an agent and a worker of some capability say to each other: a wish in words, and what came of it in words."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from factory_contracts.envelope import Envelope, Wire
from factory_contracts.messages import Attachment, Id, Text

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


class CapabilityDone(Envelope):
    """It is done, and this is what came of it."""

    kind: Literal["done"] = "done"
    text: Text
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=100)] = ()


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
