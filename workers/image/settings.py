"""By what the image worker makes pictures."""

from dataclasses import dataclass

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
