"""An effect: each wish is a line in a book, and takes a moment before it is there, or for ever where it says so."""

import asyncio
import os
from pathlib import Path

from pydantic import BaseModel

from factory_contracts.worker import capability

BOOK = Path(os.environ["BOOK"])


class Entry(BaseModel):
    text: str


@capability("ledger", effect="write", at_once=64)
async def ledger(entry: Entry) -> str:
    """Write it down."""
    with BOOK.open("a") as book:
        book.write(f"{entry.text}\n")
    await (asyncio.Event().wait() if entry.text.startswith("ever") else asyncio.sleep(0.01))
    return f"written: {entry.text}"
