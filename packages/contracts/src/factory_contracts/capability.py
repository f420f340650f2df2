"""What an agent and a worker of some capability say to each other: a wish, and what came of it.

What is too large for a message lies in the capability's object store, and the message names it. Whoever writes a worker
sees none of this: `factory_contracts.worker` reads and writes it.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, Self

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, model_validator, with_config
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from factory_contracts.envelope import FIRST_VERSION, SCHEMA_VERSION, Envelope, Part, Wire
from factory_contracts.messages import Attachment, Count, Id, Text, Version
from factory_contracts.records import Effect

# All files of a reply together: in base64 and beside a long text they fit a message.
MOST_FILE_BYTES = 400_000
# Who understands this version takes parcels, and so many wishes in one of them.
PARCELS = 2
MOST_WISHES = 64

RefusalReason = Literal["malformed", "busy", "unable", "failed", "late", "newer version", "gone", "cancelled"]


def _is_an_object(arguments: str) -> str:
    if not isinstance(from_json(arguments, allow_inf_nan=False), dict):
        raise ValueError("no JSON object")
    return arguments


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


class Kept(Part):
    """What was too large for a message: it lies in the capability's store under this name."""

    blob: Id
    size: Count


class CapabilityWish(Part):
    """What is wanted, whether it travels alone or with others, each of which is as if it had come alone."""

    turn: Id
    call: Id
    text: Text
    arguments: Object = "{}"
    deadline: Patience
    id: Id | None = None

    @property
    def key(self) -> str:
        """What makes two requests the same wish."""
        return self.id or f"{self.turn}/{self.call}"

    @property
    def details(self) -> dict[str, Any]:
        """The arguments by name."""
        found: dict[str, Any] = json.loads(self.arguments)
        return found


class CapabilityRequest(CapabilityWish, Envelope):
    """What is wanted: in words, and where the worker knows names for details, as a JSON object.

    The same turn and call, or the same `id`, are the same wish, which is never to be done twice; after `deadline`
    seconds nobody waits. `large` holds arguments that are too large to stand here. `instance` is the one life of a
    worker that is meant, `understands` the highest version in which the reply may be written.
    """

    large: Kept | None = None
    instance: Id | None = None
    understands: Version | None = None
    wants_progress: bool | None = None


class CapabilityParcel(Envelope):
    """Several wishes for one life of a worker; their replies may be written in any version up to `understands`."""

    schema_version: int = Field(default=PARCELS, ge=PARCELS, le=SCHEMA_VERSION)
    kind: Literal["parcel"] = "parcel"
    instance: Id
    understands: Version
    wishes: Annotated[tuple[CapabilityWish, ...], Field(min_length=1, max_length=MOST_WISHES)]


class CapabilityCancel(Envelope):
    """Nobody waits for this wish any more."""

    kind: Literal["cancel"] = "cancel"
    id: Annotated[str, StringConstraints(min_length=1, max_length=511)]


class CapabilityInquiry(Envelope):
    """How is this worker asked?"""

    kind: Literal["describe"] = "describe"


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


class KeptFile(Kept):
    """A file that a worker made and that was too large to go along."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]


class CapabilityDone(Envelope):
    """It is done, and this is what came of it; the files go to the person whose agent asked.

    `large` holds the text where it is too large to stand here.
    """

    kind: Literal["done"] = "done"
    text: Text
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=100)] = ()
    files: Annotated[tuple[MadeFile, ...], Field(max_length=10), AfterValidator(_fit)] | None = None
    large: Kept | None = None
    kept_files: Annotated[tuple[KeptFile, ...], Field(max_length=10)] | None = None


class CapabilityRefused(Envelope):
    """It is not done; the words are for whoever asked.

    "malformed", "newer version", "busy" and "unable" say that nothing was done at all, "gone" that the life which was
    meant is over. Of what "failed", was "cancelled" or too "late" some may have taken effect.
    """

    kind: Literal["refused"] = "refused"
    reason: RefusalReason
    words: Text = ""


CapabilityOutcome = CapabilityDone | CapabilityRefused


class CapabilityAnswers(Envelope):
    """What came of some wishes of a parcel, in which they are counted from 0: the replies in the order of `parts`."""

    schema_version: int = Field(default=PARCELS, ge=PARCELS, le=SCHEMA_VERSION)
    kind: Literal["answers"] = "answers"
    parts: Annotated[tuple[Count, ...], Field(min_length=1, max_length=MOST_WISHES)]
    replies: tuple[Annotated[CapabilityOutcome, Field(discriminator="kind")], ...]

    @model_validator(mode="after")
    def _are_pairs(self) -> Self:
        if len(self.parts) != len(self.replies):
            raise ValueError("not one reply for each part")
        return self


class CapabilityProgress(Envelope):
    """It is being done: how far it is, from 0 to 1, and what is going on."""

    kind: Literal["progress"] = "progress"
    share: Annotated[float, Field(ge=0, le=1)] | None = None
    words: Annotated[str, StringConstraints(max_length=1_000)] = ""


class CapabilityDescription(Envelope):
    """How a worker is asked: the arguments that it knows, as a JSON schema, what asking does to the world, and how long
    it may take."""

    kind: Literal["description"] = "description"
    name: Annotated[str, StringConstraints(max_length=65)]
    description: Text
    parameters: Object
    effect: Effect
    seconds: Patience


# What has a kind is told apart by it, and that is seen sooner than that something is no wish: a wish has none.
CapabilityAsked = Annotated[
    Annotated[CapabilityCancel | CapabilityInquiry | CapabilityParcel, Field(discriminator="kind")] | CapabilityRequest,
    Field(union_mode="left_to_right"),
]
CapabilityReply = Annotated[
    CapabilityOutcome | CapabilityAnswers | CapabilityProgress | CapabilityDescription, Field(discriminator="kind")
]

CAPABILITY_REQUEST: Wire[CapabilityAsked] = Wire(CapabilityAsked)
CAPABILITY_REPLY: Wire[CapabilityReply] = Wire(CapabilityReply)


@with_config(extra="forbid", strict=True, allow_inf_nan=False)
class WishFields(TypedDict):
    """What a `CapabilityWish` says, for who writes many of them: it is checked as strictly, and made no value of."""

    turn: Id
    call: Id
    text: Text
    arguments: Object
    deadline: Patience
    id: NotRequired[Id]


@cache
def _wishes() -> TypeAdapter[WishFields]:
    return TypeAdapter(WishFields)


def written_wish(wish: WishFields) -> bytes:
    """The `CapabilityWish` of these fields. Raises `ValidationError` where there can be no such wish."""
    wishes = _wishes()
    return wishes.serializer.to_json(wishes.validator.validate_python(wish))


def written_request(instance: str, understands: int, wish: bytes) -> bytes:
    """The `CapabilityRequest` of a wish that is written already."""
    return b'{"schema_version":%d,%b,"instance":%b,"understands":%d}' % (
        FIRST_VERSION,
        wish[1:-1],
        to_json(instance),
        understands,
    )


def written_parcel(instance: str, understands: int, wishes: Iterable[bytes]) -> bytes:
    """The `CapabilityParcel` of wishes that are written already."""
    return b'{"schema_version":%d,"kind":"parcel","instance":%b,"understands":%d,"wishes":[%b]}' % (
        PARCELS,
        to_json(instance),
        understands,
        b",".join(wishes),
    )


def written_answers(parts: Sequence[int], replies: Iterable[bytes]) -> bytes:
    """The `CapabilityAnswers` of replies that are written already."""
    return b'{"schema_version":%d,"kind":"answers","parts":[%b],"replies":[%b]}' % (
        PARCELS,
        ",".join(map(str, parts)).encode(),
        b",".join(replies),
    )


def written_done(text: str) -> bytes:
    """The `CapabilityDone` of a text that is no longer than a `Text` may be, and nothing besides."""
    return b'{"schema_version":%d,"kind":"done","text":%b,"attachments":[]}' % (FIRST_VERSION, to_json(text))
