"""Our tools for other programs: what there is, and that it works by the protocol over standard streams."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import pytest
from mcp import Client, StdioServerParameters, types

from tests.cli.installation import PATIENCE, Factory

COMMAND = (sys.executable, "-P", "-c", "from factory_cli.serving import app; app(prog_name='factory tools')")


def run(factory: Factory, *arguments: str) -> subprocess.CompletedProcess[str]:
    return factory.run("tools", *arguments)


@asynccontextmanager
async def served(factory: Factory, *names: str) -> AsyncIterator[Client]:
    """A client of the real library that has started us."""
    server = StdioServerParameters(
        command=COMMAND[0], args=[*COMMAND[1:], "serve", *names], env=factory.variables, cwd=factory.folder
    )
    async with Client(server) as client:
        yield client


def text(result: types.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text


def test_the_list_tells_name_effect_and_purpose(factory: Factory) -> None:
    table = run(factory, "list")
    found = json.loads(run(factory, "list", "--json").stdout)

    assert table.returncode == 0
    assert table.stdout.splitlines()[0].split() == ["NAME", "EFFECT", "DESCRIPTION"]
    names = [tool["name"] for tool in found]
    assert [line.split()[0] for line in table.stdout.splitlines()[1:]] == names
    assert {"clock", "calculator"} <= set(names)
    assert {tool["effect"] for tool in found if tool["name"] == "clock"} == {"read"}
    assert all(set(tool) == {"name", "effect", "is_idempotent", "description"} for tool in found)


async def test_only_what_was_named_is_served_and_described_as_it_is(factory: Factory) -> None:
    async with served(factory, "calculator", "remember") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        about = client.server_info

    assert about is not None
    assert (about.name, about.version) == ("factory", version("factory-chat"))
    assert list(tools) == ["calculator", "remember"]
    assert tools["calculator"].input_schema["required"] == ["expression"]
    hints = {name: tool.annotations for name, tool in tools.items()}
    assert hints["calculator"] == types.ToolAnnotations(
        read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )
    assert hints["remember"] == types.ToolAnnotations(
        read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
    )


async def test_a_call_is_answered_and_what_fails_is_an_error_with_a_reason(factory: Factory) -> None:
    async with served(factory, "calculator") as client:
        right = await client.call_tool("calculator", {"expression": "6*7"})
        wrong = await client.call_tool("calculator", {"expression": "1/0"})
        odd = await client.call_tool("calculator", {"expression": 5})
        more = await client.call_tool("calculator", {"expression": "1", "more": 1})
        unknown = await client.call_tool("clock", {})

    assert (right.is_error, text(right)) == (False, "42")
    assert (wrong.is_error, text(wrong)) == (True, "division by zero")
    assert (odd.is_error, text(odd)) == (True, "The arguments do not fit: expression must be of type string.")
    assert more.is_error
    assert (unknown.is_error, text(unknown)) == (True, "There is no tool 'clock'; there is: calculator.")


async def test_what_is_remembered_is_there_for_the_next_program(factory: Factory) -> None:
    async with served(factory, "remember") as client:
        assert not (await client.call_tool("remember", {"text": "The key is under the mat."})).is_error
    async with served(factory, "recall") as client:
        recalled = await client.call_tool("recall", {})

    assert "under the mat" in text(recalled)


def test_an_unknown_tool_is_named_beside_those_there_are(factory: Factory) -> None:
    done = run(factory, "serve", "calculator", "oracle")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("factory: no tool 'oracle'; there is: clock, calculator")


def test_to_serve_nothing_is_a_mistake_of_usage(factory: Factory) -> None:
    assert run(factory, "serve").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(factory: Factory, number: signal.Signals) -> None:
    (theirs, asking), (answering, ours) = os.pipe(), os.pipe()
    child = factory.bear("tools", "serve", "clock", stdin=theirs, stdout=ours, stderr=2)
    os.close(theirs)
    os.close(ours)
    with open(asking, "w") as questions, open(answering) as answers:
        try:
            questions.write('{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
            questions.flush()
            assert json.loads(answers.readline())["id"] == 1

            child.send_signal(number)

            assert child.wait(PATIENCE) == -number
        finally:
            child.end()
