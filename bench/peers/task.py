"""The turn that everybody does: what is asked, the tool that is there, what has to come out, and over which client."""

from collections.abc import Awaitable, Callable
from typing import Any

from openai import AsyncOpenAI

DELTAS = 50
WORD = "word "
ANSWER = WORD * DELTAS

MODEL = "gpt-4o-mini"
SYSTEM = "You are a measuring rod."
SAY = "Say it."
LOOK = "Look at the clock and say it."
TIME = "Thursday, 1 January 2026, 12:00:00 UTC"

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "tell_time",
        "description": "The present date and time.",
        "parameters": {
            "type": "object",
            "properties": {"timezone": {"type": "string", "description": "an IANA name"}},
            "required": ["timezone"],
            "additionalProperties": False,
        },
    },
}

Ask = Callable[[str], Awaitable[str]]


def connect(url: str) -> AsyncOpenAI:
    """The SDK's client, the same for all who let it be given to them."""
    return AsyncOpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0)


async def tell_time(timezone: str) -> str:
    """The present date and time.

    timezone: an IANA name
    """
    return TIME
