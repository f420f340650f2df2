"""A model that is none: it uses the one tool it is given, by the words of a person, and says what the tool said.

So what somebody types goes the same way as what a model wants: it is checked, asked about, logged and bounded alike.
"""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from hub.kernel.agent import BY_HAND
from hub.kernel.events import Called, Finished, ModelEvent, Said
from hub.kernel.foreign import bare
from hub.kernel.harness import FILE, SENT
from hub.kernel.ports import ModelRequest, Spoken, ToolResult

NOT_HERE = "That is not here now."
HERE = "Here it is."


class Hand:
    """The provider of that name."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """One call: the use of the tool, or what came of it."""
        return _used(request)

    async def close(self) -> None:
        """Nothing is held."""


def arguments(words: str, parameters: str) -> str:
    """What is typed, as a tool's arguments: an object of them, or the words for what the tool mainly wants."""
    typed = words.strip()
    if typed.startswith("{"):
        return typed
    schema: Mapping[str, Any] = json.loads(parameters)
    named, needed = schema.get("properties", {}), schema.get("required", ())
    wanted = [name for name in ("text", *needed, *named) if named.get(name, {}).get("type") == "string"]
    return json.dumps({wanted[0]: typed} if typed and wanted else {}, ensure_ascii=False)


async def _used(request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
    last = request.messages[-1] if request.messages else None
    if isinstance(last, ToolResult):
        lines = bare(last.content).splitlines()
        # Whoever reads this sees the files.
        told = [line for line in lines if not (line.startswith(FILE) and line.endswith(f"{SENT}]"))]
        yield Said("\n".join(told).strip() or HERE)
    elif not request.tools:
        yield Said(NOT_HERE)
    elif isinstance(last, Spoken):
        tool = request.tools[0]
        yield Called(BY_HAND, tool.name, arguments(last.text, tool.parameters))
        yield Finished("tools", 0, 0)
        return
    yield Finished("end", 0, 0)
