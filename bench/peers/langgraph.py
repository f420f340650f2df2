"""langgraph: a graph of a model and its tools, its deltas by the stream writer to whoever reads the custom stream.

The library stands in an environment of its own, so that it is imported by name. It has no client for OpenAI: its nodes
call what they like, here the bare SDK.
"""

import operator
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypedDict

from bench.peers.bare import Message, arguments, asked, begin, call, result
from bench.peers.task import Ask, connect, tell_time

PACKAGES = ("langgraph",)

graphs = import_module("langgraph.graph")
config = import_module("langgraph.config")


class State(TypedDict):
    """What nodes pass on."""

    messages: Annotated[list[Message], operator.add]
    calls: list[Message]


@asynccontextmanager
async def contestant(url: str, _: Path) -> AsyncIterator[Ask]:
    """A model's node, a tools' node, and an edge between them while tools are called."""
    async with connect(url) as client:

        async def model(state: State) -> dict[str, Any]:
            calls = await call(client, state["messages"], config.get_stream_writer())
            return {"messages": [asked(calls)] if calls else [], "calls": calls}

        async def tools(state: State) -> dict[str, Any]:
            return {"messages": [result(one, await tell_time(**arguments(one))) for one in state["calls"]]}

        def following(state: State) -> str:
            return "tools" if state["calls"] else str(graphs.END)

        builder = graphs.StateGraph(State)
        builder.add_node("model", model)
        builder.add_node("tools", tools)
        builder.add_edge(graphs.START, "model")
        builder.add_conditional_edges("model", following, ["tools", graphs.END])
        builder.add_edge("tools", "model")
        graph = builder.compile()

        async def ask(words: str) -> str:
            said: list[str] = []
            async for text in graph.astream({"messages": begin(words), "calls": []}, stream_mode="custom"):
                said.append(text)
            return "".join(said)

        yield ask
