"""A voice that takes a moment, and makes a sound where it is told to; while a file says so, it is mad."""

import asyncio
import os
from pathlib import Path

from pydantic import BaseModel

from factory_contracts.worker import Declaration, Desk, Errand, File, Made

NAME = os.environ["WORKER"]
MADNESS = Path(f"{NAME}.mad")
MOMENT = float(os.environ.get("MOMENT", "0.02"))
MAKES_SOUND = bool(os.environ.get("SOUND"))
SOUND = b"OggS" + bytes(24) + b"OpusHead"


class Words(BaseModel):
    text: str


async def say(words: Words) -> Made | str:
    """Say it, and who said it."""
    await asyncio.sleep(MOMENT)
    said = f"{NAME}: {words.text}"
    return Made(said, (File("voice.ogg", SOUND),)) if MAKES_SOUND else said


class Mad(Declaration[..., object]):
    """What answers with garbage now and then."""

    async def work(self, errand: Errand, given: bytes | None, desk: Desk) -> bytes:
        return b"\xff garbage" if MADNESS.exists() else await super().work(errand, given, desk)


tts = Mad(say, "voice.tts", "read", 8, 30.0, 60.0)
