"""The server is as strict as those it stands for, and serves as a process of its own."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.models.anthropic import Anthropic
from adapters.models.openai import OPENAI, OpenAI
from hub.kernel.events import Called, Finished, ModelEvent, Said
from hub.kernel.ports import Model, ModelRequest, ModelSettings, Spoken
from tests.providers import chat, claude
from tests.providers.scenarios import said
from tests.providers.server import Asked
from tests.providers.speech import Refusal, Speech, Text

ROOT = Path(__file__).parents[2]
SAID = {"role": "user", "content": "Hello"}
CALL = {"type": "tool_use", "id": "c1", "name": "clock", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "c1", "content": "noon"}
TOOL = {"name": "clock", "description": "x", "input_schema": {"type": "object"}}
ASKED = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}


def by(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def to_claude(**more: Any) -> Asked:
    headers = {"authorization": "Bearer k", "anthropic-version": claude.VERSION}
    body = {"model": "claude-sonnet-5", "max_tokens": 10, "messages": [SAID], "stream": True, **more}
    return Asked("/v1/messages", headers, {key: value for key, value in body.items() if value is not None}, 1)


def to_gpt(*messages: Any, **more: Any) -> Asked:
    body = {"model": "gpt-5.6", "messages": list(messages) or [SAID], "stream": True, **more}
    return Asked("/v1/chat/completions", {"authorization": "Bearer k"}, body, 1)


@pytest.mark.parametrize(
    "asked",
    [
        to_claude(),
        to_claude(tools=[TOOL], messages=[SAID, by("assistant", CALL), by("user", RESULT, text("And?"))]),
        to_claude(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=1025),
        to_gpt(),
        to_gpt(
            SAID, {"role": "assistant", "tool_calls": [ASKED]}, {"role": "tool", "tool_call_id": "c1", "content": ""}
        ),
    ],
)
def test_what_is_right_is_answered(asked: Asked) -> None:
    assert said(Speech((Text("ok"),)))(asked).status == 200


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 1.0},
        {"top_p": 1},
        {"unheard_of": 1},
        {"max_tokens": None},
        {"model": None},
        {"messages": []},
        {"messages": [by("assistant", text("Hi")), SAID]},
        {"messages": [SAID, SAID]},
        {"messages": [SAID, by("assistant", text("Hi")), by("assistant", text("Ho"))]},
        {"messages": [SAID, by("assistant", text("Hi"))]},
        {"messages": [by("user", text(" \n"))]},
        {"messages": [by("user")]},
        {"messages": [by("user", RESULT)]},
        {"messages": [SAID, by("assistant", CALL)]},
        {"messages": [SAID, by("assistant", CALL), SAID]},
        {"messages": [SAID, by("assistant", CALL), by("user", text("And?"), RESULT)]},
        {"messages": [SAID, by("assistant", CALL, CALL), by("user", RESULT)]},
        {"messages": [SAID, by("assistant", {**CALL, "id": "a b"}), by("user", {**RESULT, "tool_use_id": "a b"})]},
        {"messages": [SAID, by("assistant", {**CALL, "input": "{}"}), by("user", RESULT)]},
        {"messages": [SAID, by("assistant", CALL), by("user", {**RESULT, "content": "", "is_error": True})]},
        {"messages": [SAID, by("assistant", {"type": "thinking", "thinking": "a", "signature": "no"}), SAID]},
        {"messages": [by("user", {"type": "image", "source": {"media_type": "image/tiff", "data": ""}})]},
        {"messages": [by("user", {"type": "image", "source": {"media_type": "image/png", "data": "?"}})]},
        {"messages": [by("user", {"type": "dance"})]},
        {"messages": [by("user", *[{**text("x"), "cache_control": {}}] * 5)]},
        {"thinking": {"type": "enabled", "budget_tokens": 1}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1024},
        {"thinking": {"type": "adaptive", "budget_tokens": 1024}},
        {
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "max_tokens": 2_000,
            "messages": [SAID, by("assistant", CALL), by("user", RESULT)],
        },
        {"tools": [TOOL, TOOL]},
        {"tools": [{**TOOL, "name": "a b"}]},
        {"tools": [{**TOOL, "input_schema": {}}]},
        {"tools": [{**TOOL, "input_schema": {"type": "object", "anyOf": []}}]},
        {"system": [text("")]},
    ],
    ids=range(34),
)
def test_what_anthropic_refuses_is_refused(more: dict[str, Any]) -> None:
    refused = claude.problem(to_claude(**more))

    assert isinstance(refused, Refusal)
    assert (refused.status, refused.kind) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "asked",
    [
        to_gpt(unheard_of=1),
        to_gpt(max_tokens=5),
        to_gpt(model=""),
        to_gpt(parallel_tool_calls=True),
        to_gpt(stream=False, stream_options={}),
        to_gpt({"role": "tool", "tool_call_id": "c1", "content": "x"}),
        to_gpt(SAID, {"role": "assistant", "tool_calls": [ASKED]}),
        to_gpt(SAID, {"role": "assistant", "tool_calls": [ASKED]}, SAID),
        to_gpt(SAID, {"role": "assistant", "tool_calls": []}),
        to_gpt(SAID, {"role": "assistant", "content": None}),
        to_gpt(SAID, {"role": "assistant", "tool_calls": [ASKED, ASKED]}),
        to_gpt({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,"}}]}),
        to_gpt({"role": "user", "content": []}),
        to_gpt({"role": "robot", "content": "x"}),
        to_gpt({"role": "system", "content": ""}),
        to_gpt(tools=[{"type": "function", "function": {"name": "a b", "parameters": {"type": "object"}}}]),
        to_gpt(tools=[{"type": "function", "function": {"name": "a", "parameters": {}}}]),
    ],
    ids=range(17),
)
def test_what_openai_refuses_is_refused(asked: Asked) -> None:
    refused = chat.problem(asked)

    assert isinstance(refused, Refusal)
    assert refused.status == 400


@pytest.mark.parametrize("asked", [to_claude(), to_gpt()])
def test_who_brings_no_key_is_refused(asked: Asked) -> None:
    nobody = Asked(asked.path, {}, asked.body, 1)

    assert said(Speech(()))(nobody).status == 401


def test_elsewhere_there_is_nothing() -> None:
    assert said(Speech(()))(Asked("/favicon.ico", {}, None, 1)).status == 404


@asynccontextmanager
async def process(*given: str) -> AsyncIterator[str]:
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.providers", *given, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert made.stdout is not None
    try:
        async with asyncio.timeout(30):
            yield (await made.stdout.readline()).decode().strip()
    finally:
        made.terminate()
        await made.communicate()


async def ask(model: Model, name: str, words: str) -> list[ModelEvent]:
    return [event async for event in model.stream(ModelRequest(name, "", (Spoken("user", words),)))]


async def test_it_serves_both_as_a_process_and_notes_what_it_was_asked(tmp_path: Path) -> None:
    notes = tmp_path / "asked.jsonl"
    async with process("--port", "0", "--asked", str(notes)) as url:
        variables = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": url, "OPENAI_API_KEY": "k"}
        settings = ModelSettings({**variables, "OPENAI_BASE_URL": f"{url}/v1"}, "")
        sonnet, gpt = Anthropic(settings), OpenAI(OPENAI, settings)

        burst = await ask(sonnet, "anthropic:claude-sonnet-5", "burst 50 1")
        tools = await ask(gpt, "openai:gpt-5.6", "tools clock dice")
        await sonnet.close()
        await gpt.close()

    assert burst == [Said("word ")] * 50 + [Finished("end", 11, 50)]
    assert [event.tool for event in tools if isinstance(event, Called)] == ["clock", "dice"]
    assert [json.loads(line)["said"] for line in notes.read_text().splitlines()] == ["burst 50 1", "tools clock dice"]
