"""A worker that makes a file, and says in words when it cannot.

factory worker examples/poster.py
"""

from html import escape

from pydantic import BaseModel

from factory_contracts.worker import File, Made, Unable, capability

PAPER = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 80"><rect width="100%" height="100%" fill="navy"/>'
LINE = '<text x="400" y="52" font-size="32" text-anchor="middle" fill="white">{words}</text></svg>'


class Words(BaseModel):
    text: str


@capability("poster", effect="read")
async def poster(words: Words) -> Made | Unable:
    """Make a poster of a few words, as a picture."""
    if len(words.text) > 40:
        return Unable("A poster has room for 40 letters.")
    return Made("Here it is.", (File("poster.svg", (PAPER + LINE.format(words=escape(words.text))).encode()),))
