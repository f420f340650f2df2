"""`image`: a picture after a description, by a server."""

from base64 import b64decode
from collections.abc import Awaitable
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from factory_contracts.worker import Declaration, File, capability
from workers.endpoint import Endpoint, NoAnswer
from workers.image.settings import IMAGE, Painter

SECONDS = 180.0
MOST_CHARACTERS = 4_000

_ENDINGS = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpg"), (b"RIFF", "webp"), (b"GIF8", "gif"))


class Scene(BaseModel):
    """What is to be seen."""

    text: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS, description="what the picture shows")]
    size: Annotated[
        Literal["", "256x256", "512x512", "1024x1024", "1024x1536", "1536x1024"],
        Field(description="width and height; empty for what the server likes"),
    ] = ""


def painting(painter: Painter, endpoint: Endpoint) -> Declaration[[Scene], Awaitable[File]]:
    """The capability, by one server."""

    # To paint it again costs again, so that nobody but whoever was asked does it.
    @capability(IMAGE, effect="write", seconds=SECONDS)
    async def paint(scene: Scene) -> File:
        """Make a picture after a description, and send it to the person."""
        asked: dict[str, object] = {"model": painter.model, "prompt": scene.text, "n": 1}
        if scene.size:
            asked["size"] = scene.size
        data = _picture(await endpoint.ask_object("/images/generations", asked))
        ending = next((ending for begins, ending in _ENDINGS if data.startswith(begins)), "")
        if not ending:
            raise NoAnswer("/images/generations: the answer holds no picture")
        return File(f"picture.{ending}", data)

    return paint


def _picture(answer: dict[str, object]) -> bytes:
    """The first picture of an answer; what lies at an address is not fetched, for it may be any address."""
    pictures = answer.get("data")
    first = pictures[0] if isinstance(pictures, list) and pictures else None
    held = first.get("b64_json") if isinstance(first, dict) else None
    if not isinstance(held, str):
        raise NoAnswer("/images/generations: the answer holds no picture in base64")
    try:
        return b64decode(held, validate=True)
    except ValueError:
        raise NoAnswer("/images/generations: the picture is no base64") from None
