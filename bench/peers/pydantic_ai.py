"""pydantic-ai-slim: an `Agent` with a tool, `run_stream`, and every delta of its text without waiting for more.

The library stands in an environment of its own, so that it is imported by name.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

from bench.peers.task import MODEL, SYSTEM, Ask, connect, tell_time

PACKAGES = ("pydantic-ai-slim",)

library = import_module("pydantic_ai")
models = import_module("pydantic_ai.models.openai")
providers = import_module("pydantic_ai.providers.openai")


@asynccontextmanager
async def contestant(url: str, _: Path) -> AsyncIterator[Ask]:
    """The model is asked over the SDK's client that everybody has."""
    async with connect(url) as client:
        model = models.OpenAIChatModel(MODEL, provider=providers.OpenAIProvider(openai_client=client))
        agent = library.Agent(model, instructions=SYSTEM, tools=[tell_time])

        async def ask(words: str) -> str:
            said: list[str] = []
            async with agent.run_stream(words) as run:
                async for text in run.stream_text(delta=True, debounce_by=None):
                    said.append(text)
            return "".join(said)

        yield ask
