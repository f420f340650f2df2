"""autogen-core: an agent in its runtime that answers a message, its deltas through a queue as in the library's samples.

The library stands in an environment of its own, so that it is imported by name. It has no client for OpenAI: its agents
call what they like, here the bare SDK.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.peers.bare import arguments, asked, begin, call, result
from bench.peers.task import Ask, connect, tell_time

PACKAGES = ("autogen-core",)
AGENT = "bench"

library = import_module("autogen_core")
tools = import_module("autogen_core.tools")


@dataclass
class Question:
    """What the agent is sent."""

    words: str


@dataclass
class Answered:
    """What it sends back when all is said."""

    deltas: int


@asynccontextmanager
async def contestant(url: str, _: Path) -> AsyncIterator[Ask]:
    """One agent for each turn that is under way, since an agent takes one message at a time."""
    queues: dict[str, asyncio.Queue[str | None]] = {}
    idle: list[str] = []
    tool = tools.FunctionTool(tell_time, description="The present date and time.")
    async with connect(url) as client:

        async def answer(agent: Any, message: Question, context: Any) -> Answered:
            queue = queues[agent.id.key]
            messages = begin(message.words)
            deltas = 0

            def hear(text: str) -> None:
                nonlocal deltas
                deltas += 1
                queue.put_nowait(text)

            while calls := await call(client, messages, hear):
                messages.append(asked(calls))
                for one in calls:
                    value = await tool.run_json(arguments(one), context.cancellation_token, call_id=one["id"])
                    messages.append(result(one, tool.return_value_as_string(value)))
            queue.put_nowait(None)
            return Answered(deltas)

        runtime = library.SingleThreadedAgentRuntime()
        await library.ClosureAgent.register_closure(runtime, AGENT, answer)
        runtime.start()

        async def ask(words: str) -> str:
            key = idle.pop() if idle else str(len(queues))
            queue = queues.setdefault(key, asyncio.Queue())
            answering = asyncio.create_task(runtime.send_message(Question(words), library.AgentId(AGENT, key)))
            said: list[str] = []
            while (text := await queue.get()) is not None:
                said.append(text)
            await answering
            idle.append(key)
            return "".join(said)

        yield ask
        await runtime.stop_when_idle()
