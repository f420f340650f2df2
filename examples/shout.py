"""The smallest worker: it shouts what it is asked to, after as long a breath as one likes.

factory worker examples/shout.py
"""

import asyncio
from typing import Annotated

from pydantic import BaseModel, Field

from factory_contracts.worker import capability


class Words(BaseModel):
    text: str
    breath: Annotated[float, Field(ge=0, lt=100, description="so many seconds are waited before")] = 0


@capability("shout")
async def shout(words: Words) -> str:
    """Say something loudly."""
    await asyncio.sleep(words.breath)
    return f"{words.text.upper()}!"
