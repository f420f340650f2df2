"""openai-agents: an `Agent` with a function tool, `Runner.run_streamed`, and the text deltas among its events.

The library stands in an environment of its own, so that it is imported by name. Its tracing is off.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

from bench.peers.task import MODEL, SYSTEM, Ask, connect, tell_time

PACKAGES = ("openai-agents",)

library = import_module("agents")


@asynccontextmanager
async def contestant(url: str, _: Path) -> AsyncIterator[Ask]:
    """The model is asked over the SDK's client that everybody has."""
    async with connect(url) as client:
        agent = library.Agent(
            name="bench",
            instructions=SYSTEM,
            model=library.OpenAIChatCompletionsModel(model=MODEL, openai_client=client),
            model_settings=library.ModelSettings(include_usage=True),
            tools=[library.function_tool(tell_time)],
        )
        untraced = library.RunConfig(tracing_disabled=True)

        async def ask(words: str) -> str:
            said: list[str] = []
            run = library.Runner.run_streamed(agent, words, run_config=untraced)
            async for event in run.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    said.append(event.data.delta)
            return "".join(said)

        yield ask
