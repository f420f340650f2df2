"""`image.qr`: a code that a telephone reads."""

from io import BytesIO
from typing import Annotated, Literal

import segno
from pydantic import BaseModel, Field

from factory_contracts.worker import File, Made, Unable, capability
from workers.image.settings import QR

SCALE = 10
BORDER = 4


class Code(BaseModel):
    """What the code holds."""

    text: Annotated[
        str, Field(min_length=1, max_length=4_296, description="what whoever scans it reads: a link, words")
    ]
    error: Annotated[
        Literal["l", "m", "q", "h"], Field(description="how much of it may be damaged: 7, 15, 25 or 30 of 100")
    ] = "m"
    format: Annotated[Literal["png", "svg"], Field(description="a picture, or a drawing for print")] = "png"


@capability(QR, effect="read")
def draw_code(code: Code) -> Made | Unable:
    """Draw a QR code and send it to the person."""
    try:
        drawn = segno.make_qr(code.text, error=code.error)
    except (segno.DataOverflowError, UnicodeError):
        return Unable("No QR code holds so much.")
    file = BytesIO()
    drawn.save(file, kind=code.format, scale=SCALE, border=BORDER)
    return Made("The code is drawn.", (File(f"qr.{code.format}", file.getvalue()),))
