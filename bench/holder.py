"""A worker for a measurement of deaths: whoever is named in a wish holds it for ever, all others answer at once."""

import asyncio
import os

from pydantic import BaseModel

from factory_contracts.worker import capability

NAME = os.environ["WORKER"]


class Words(BaseModel):
    """Who is to hold it."""

    holder: str


@capability("hold", effect="read", at_once=64, seconds=600)
async def hold(words: Words) -> str:
    """Answer with one's name, or never."""
    if words.holder == NAME:
        await asyncio.Event().wait()
    return NAME
