"""`image.card`: a few words, set as a picture."""

from typing import Annotated

from pydantic import BaseModel, Field

from factory_contracts.worker import File, Made, capability
from workers.image.canvas import COLOURS, FAINT, HEIGHT, INK, MARGIN, WIDTH, Canvas, unwritten
from workers.image.settings import CARD

BAND = 18
HEAD, BODY, FOOTER = 64, 34, 26
LINE = 1.3
ROOM = WIDTH - 2 * MARGIN


class Card(BaseModel):
    """What stands on the card."""

    text: Annotated[str, Field(min_length=1, max_length=200, description="what is read first, in large letters")]
    more: Annotated[str, Field(max_length=1_000, description="what stands beneath it")] = ""
    footer: Annotated[str, Field(max_length=100, description="what stands small at the bottom")] = ""
    colour: Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$", description="of the band on the left")] = COLOURS[0]


@capability(CARD, effect="read")
def draw_card(card: Card) -> Made:
    """Set a few words as a picture, with sentences beneath them, and send it to the person."""
    canvas = Canvas()
    canvas.draw.rectangle((0, 0, BAND, HEIGHT), fill=card.colour)
    top = float(MARGIN)
    for line in canvas.wrap(card.text, HEAD, ROOM, 2):
        canvas.say((MARGIN, top), line, HEAD)
        top += HEAD * LINE
    top += BODY / 2
    most = int((HEIGHT - MARGIN - FOOTER * 2 - top) // (BODY * LINE))
    for line in canvas.wrap(card.more, BODY, ROOM, most):
        canvas.say((MARGIN, top), line, BODY, INK)
        top += BODY * LINE
    canvas.say((MARGIN, HEIGHT - MARGIN), canvas.cut(card.footer, FOOTER, ROOM), FOOTER, FAINT, "ls")
    return Made(f"The card is drawn.{unwritten(card.text, card.more, card.footer)}", (File("card.png", canvas.png()),))
