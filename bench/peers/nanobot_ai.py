"""nanobot-ai: its agent loop alone, with a hook that hears each delta, over its provider for OpenAI's wire.

The library stands in an environment of its own, so that it is imported by name. Its product around the loop (sessions,
memory, skills, channels) is left out, as the others have none.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.peers.bare import begin
from bench.peers.task import MODEL, TOOL, Ask, connect, tell_time

PACKAGES = ("nanobot-ai",)
CALLS = 3
RESULT_CHARS = 10_000
WINDOW_TOKENS = 128_000

runner = import_module("nanobot.agent.runner")
hooks = import_module("nanobot.agent.hook")
base = import_module("nanobot.agent.tools.base")
registry = import_module("nanobot.agent.tools.registry")
providers: Any = import_module("nanobot.providers.openai_compat_provider")
runtimes = import_module("nanobot.utils.llm_runtime")
logs = import_module("loguru")


async def _execute(_: Any, timezone: str) -> str:
    return await tell_time(timezone)


async def _hear(hook: Any, _: Any, delta: str) -> None:
    hook.said.append(delta)


CLOCK: Any = type("Clock", (base.Tool,), {**TOOL["function"], "execute": _execute})
EAR: Any = type("Ear", (hooks.AgentHook,), {"wants_streaming": lambda _: True, "on_stream": _hear})


@asynccontextmanager
async def contestant(url: str, _: Path) -> AsyncIterator[Ask]:
    """One loop for all turns; what each says is heard by its own hook."""
    logs.logger.remove()
    logs.logger.add(sys.stderr, level="WARNING")
    async with connect(url) as client:
        # It would open a connection for each call of a server on this machine, and for no other's.
        providers.AsyncOpenAI = lambda **_: client
        provider = providers.OpenAICompatProvider(api_key="none", api_base=f"{url}/v1", default_model=MODEL)
        runtime = runtimes.LLMRuntime.capture(provider, MODEL, context_window_tokens=WINDOW_TOKENS)
        tools, loop = registry.ToolRegistry(), runner.AgentRunner()
        tools.register(CLOCK())

        async def ask(words: str) -> str:
            hook = EAR()
            hook.said = []
            spec = runner.AgentRunSpec(
                initial_messages=begin(words),
                tools=tools,
                runtime=runtime,
                max_iterations=CALLS,
                max_tool_result_chars=RESULT_CHARS,
                hook=hook,
            )
            result = await loop.run(spec)
            if result.error is not None:
                raise RuntimeError(result.error)
            return "".join(hook.said)

        yield ask
