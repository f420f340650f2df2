"""What cards and charts are drawn on: a white sheet of fixed size, a few colours, text that fits."""

from functools import cache
from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw, ImageFont

WIDTH: Final = 1200
HEIGHT: Final = 675
MARGIN: Final = 60
INK: Final = "#1c2430"
FAINT: Final = "#8a94a3"
RULE: Final = "#dde2e9"
PAPER: Final = "#ffffff"
COLOURS: Final = ("#2f6fde", "#e2703a", "#2c9c69", "#b04ac2", "#c9a227", "#c43d55", "#3aa6b9", "#6b7280")
ELLIPSIS: Final = "…"
# The one that comes with Pillow has no letter beyond ASCII, so that it is the last that is asked.
FONTS: Final = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "Arial Unicode.ttf",
    "Arial.ttf",
)
# What is no character of any font, and is drawn as what a font has not.
NONE: Final = "\ufffe"
LOOKED_AT: Final = 20
MOST_TOLD: Final = 20

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Canvas:
    """One sheet."""

    def __init__(self, paper: str = PAPER) -> None:
        self._image = Image.new("RGB", (WIDTH, HEIGHT), paper)
        self.draw = ImageDraw.Draw(self._image)

    def width(self, text: str, size: float) -> float:
        """How wide a line of text is."""
        return self.draw.textlength(text, font=_font(size))

    def say(self, at: tuple[float, float], text: str, size: float, colour: str = INK, anchor: str = "la") -> None:
        """Write a line of text."""
        self.draw.text(at, text, fill=colour, font=_font(size), anchor=anchor)

    def cut(self, text: str, size: float, room: float) -> str:
        """As much of a line as there is room for."""
        if self.width(text, size) <= room:
            return text
        least, most = 0, len(text)
        while least < most:
            middle = (least + most + 1) // 2
            if self.width(text[:middle] + ELLIPSIS, size) <= room:
                least = middle
            else:
                most = middle - 1
        return text[:least].rstrip() + ELLIPSIS

    def wrap(self, text: str, size: float, room: float, most: int) -> list[str]:
        """The text in lines, broken between words; of what is more than `most` lines the last one tells."""
        lines: list[str] = []
        for paragraph in text.splitlines() or [""]:
            line = ""
            for word in paragraph.split():
                longer = f"{line} {word}" if line else word
                if line and self.width(longer, size) > room:
                    lines.append(line)
                    line = word
                else:
                    line = longer
            lines.append(line)
        shown = [self.cut(line, size, room) for line in lines[:most]]
        if len(lines) > most:
            shown[-1] = self.cut(shown[-1].removesuffix(ELLIPSIS) + ELLIPSIS, size, room)
        return shown

    def png(self) -> bytes:
        """The sheet as a file."""
        file = BytesIO()
        self._image.save(file, "PNG", optimize=True)
        return file.getvalue()


def unwritten(*texts: str) -> str:
    """A sentence about the letters that the font has not; empty where it has all."""
    font = _font(LOOKED_AT)
    nothing = _drawn(font, NONE)
    missing = {one: None for text in texts for one in text if one.isprintable() and not one.isspace()}
    found = [one for one in missing if _drawn(font, one) == nothing]
    return f" The font here lacks: {' '.join(found[:MOST_TOLD])}" if found else ""


def _drawn(font: Font, letter: str) -> tuple[object, bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@cache
def _font(size: float) -> Font:
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
