"""Our adapter without the harness: one that knows no tools beyond their names and joins what it hears.

It shows how much of what we spend is the harness's own, for the adapter reads the wire with less ado than the SDK.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from json import loads
from pathlib import Path

from adapters.models.openai import OPENAI, OpenAI
from bench.peers.ours import PACKAGES
from bench.peers.task import MODEL, SYSTEM, Ask, tell_time
from hub.kernel.events import Called, Failed, Said
from hub.kernel.ports import ModelMessage, ModelRequest, ModelSettings, Spoken, ToolCalls, ToolResult
from hub.kernel.schema import describe

__all__ = ["PACKAGES", "contestant"]


@asynccontextmanager
async def contestant(url: str, folder: Path) -> AsyncIterator[Ask]:
    """The loop of the bare SDK, written over our adapter."""
    variables = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{url}/v1"}
    model = OpenAI(OPENAI, ModelSettings(variables, str(folder)))
    tools = (describe(tell_time),)

    async def ask(words: str) -> str:
        messages: tuple[ModelMessage, ...] = (Spoken("user", words),)
        while True:
            said: list[str] = []
            calls: list[Called] = []
            async with aclosing(model.stream(ModelRequest(f"openai:{MODEL}", SYSTEM, messages, tools))) as stream:
                async for event in stream:
                    match event:
                        case Said():
                            said.append(event.text)
                        case Called():
                            calls.append(event)
                        case Failed():
                            raise RuntimeError(event.reason)
                        case _:
                            pass
            if not calls:
                return "".join(said)
            made = tuple((called.call, called.tool, called.arguments) for called in calls)
            results = [
                ToolResult(called.call, called.tool, await tell_time(**loads(called.arguments))) for called in calls
            ]
            messages = (*messages, ToolCalls("", made), *results)

    try:
        yield ask
    finally:
        await model.close()
