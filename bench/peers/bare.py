"""The bare SDK: a loop that puts deltas together and, where a tool is called, runs it and calls again."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from json import loads
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from bench.peers.task import MODEL, SYSTEM, TOOL, Ask, connect, tell_time

PACKAGES = ("openai", "httpx2", "pydantic")

Message = dict[str, Any]


@asynccontextmanager
async def contestant(url: str, _: Path) -> AsyncIterator[Ask]:
    """As somebody writes it who has nothing but the SDK."""
    async with connect(url) as client:

        async def ask(words: str) -> str:
            messages = begin(words)
            while True:
                said: list[str] = []
                calls = await call(client, messages, said.append)
                if not calls:
                    return "".join(said)
                messages.append(asked(calls))
                for one in calls:
                    messages.append(result(one, await tell_time(**arguments(one))))

        yield ask


async def call(client: AsyncOpenAI, messages: list[Message], hear: Callable[[str], object]) -> list[Message]:
    """One call of the model, each delta told as it comes; the tools that it wants to use."""
    body: dict[str, Any] = {"model": MODEL, "messages": messages, "tools": [TOOL]}
    calls: dict[int, Message] = {}
    stream = await client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})
    async for chunk in stream:
        for choice in chunk.choices:
            delta = choice.delta
            if delta.content:
                hear(delta.content)
            for piece in delta.tool_calls or ():
                held = calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
                held["id"] = held["id"] or piece.id
                if piece.function is not None:
                    held["name"] = held["name"] or piece.function.name
                    held["arguments"] += piece.function.arguments or ""
    return list(calls.values())


def begin(words: str) -> list[Message]:
    """The conversation before the first call."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": words}]


def asked(calls: list[Message]) -> Message:
    """The line of the conversation in which the model called tools."""
    functions = [
        {"id": one["id"], "type": "function", "function": {"name": one["name"], "arguments": one["arguments"]}}
        for one in calls
    ]
    return {"role": "assistant", "tool_calls": functions}


def result(one: Message, content: str) -> Message:
    """The line that answers a call."""
    return {"role": "tool", "tool_call_id": one["id"], "content": content}


def arguments(one: Message) -> Mapping[str, Any]:
    """What the tool is called with."""
    found: Mapping[str, Any] = loads(one["arguments"])
    return found
