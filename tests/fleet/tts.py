"""A voice that takes a moment; while there is a file that says so, it is mad."""

import asyncio
import os
from pathlib import Path

from pydantic import BaseModel

from factory_contracts.worker import Declaration, Desk, Errand

NAME = os.environ["WORKER"]
MADNESS = Path(f"{NAME}.mad")
MOMENT = 0.02


class Words(BaseModel):
    text: str


async def say(words: Words) -> str:
    """Say it, and who said it."""
    await asyncio.sleep(MOMENT)
    return f"{NAME}: {words.text}"


class Mad(Declaration[..., object]):
    """What answers with garbage now and then."""

    async def work(self, errand: Errand, given: bytes | None, desk: Desk) -> bytes:
        return b"\xff garbage" if MADNESS.exists() else await super().work(errand, given, desk)


tts = Mad(say, "voice.tts", "read", 8, 30.0, 60.0)
