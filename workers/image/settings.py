"""By what the image worker makes pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from factory_nats.identity import Identity

IMAGE = "image"
QR = "image.qr"
CARD = "image.card"
CHART = "image.chart"
OFFLINE = (QR, CARD, CHART)


@dataclass(frozen=True, slots=True)
class Painter:
    """A server that speaks OpenAI's protocol, the model it is asked for, and the variable that holds its key."""

    base_url: str
    model: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What the image worker is told; without a painter it draws codes, cards and charts."""

    nats_url: str
    painter: Painter | None = None
    identities: Mapping[str, Identity] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    patience: float = 30.0
