"""What hubs that share the work ask of each other: whatever concerns a conversation that another of them has."""

from typing import Annotated, Literal

from pydantic import Field

from factory_contracts.envelope import Envelope, Part, Wire
from factory_contracts.messages import Count, Id, Scope, Token
from factory_contracts.records import Asked, Compacted, Digest, Identity

PoolName = Annotated[str, Field(min_length=1, max_length=400)]


class Begin(Envelope):
    """Begin a conversation with a view of another one."""

    kind: Literal["begin"] = "begin"
    platform: Token
    bot_id: Token
    scope_id: Scope
    view: Compacted


class Decide(Envelope):
    """Somebody answers the question of this code, if it is asked in a conversation of yours."""

    kind: Literal["decide"] = "decide"
    platform: Token
    user_id: Id
    code: Id
    approved: bool


class ListQuestions(Envelope):
    """Which questions of your conversations may this person decide?"""

    kind: Literal["list"] = "list"
    platform: Token
    user_id: Id


class Greeted(Envelope):
    """A spoke that serves all scopes of a bot is there: send it again what has no receipt."""

    kind: Literal["greeted"] = "greeted"
    platform: Token
    bot_id: Token


class Offered(Envelope):
    """Whoever sends the code with this digest may become one person with this account."""

    kind: Literal["offered"] = "offered"
    code: Digest
    who: Identity
    expires_at: float


class Spoken(Part):
    """How often a person spoke, and how often they may in a minute."""

    who: Id
    times: Count
    per_minute: Count


class Waiting(Part):
    """In which conversations somebody waits for an answer."""

    who: Id
    places: tuple[PoolName, ...]


class Counted(Envelope):
    """Who spoke lately in conversations of mine, and everybody who waits in them."""

    kind: Literal["counted"] = "counted"
    hub: Id
    spoken: tuple[Spoken, ...] = ()
    waiting: tuple[Waiting, ...] = ()


PeerAsked = Annotated[Begin | Decide | ListQuestions | Greeted | Offered | Counted, Field(discriminator="kind")]


class OpenQuestion(Part):
    """A question that waits, and in which conversation."""

    scope: PoolName
    asked: Asked


class Heard(Envelope):
    """What a hub says to another: whether it was done, what a person is to be told, which questions wait."""

    done: bool = True
    text: Annotated[str, Field(max_length=4000)] | None = None
    questions: tuple[OpenQuestion, ...] | None = None


PEER_ASKED: Wire[PeerAsked] = Wire(PeerAsked)
HEARD: Wire[Heard] = Wire(Heard)
