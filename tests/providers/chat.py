"""OpenAI's side of the wire: what its chat completions refuse, and how they stream."""

import re
from collections.abc import Iterator, Mapping
from json import dumps
from types import MappingProxyType
from typing import Any

from tests.providers.server import Answer, Asked, Cut, Stall, Step, Wait, sse
from tests.providers.speech import Broken, Refusal, Search, Speech, Text, Thinking, Tool, Usage

FIELDS = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "user",
    }
)
REASONS: Mapping[str, str] = MappingProxyType(
    {"end": "stop", "tools": "tool_calls", "length": "length", "refusal": "content_filter"}
)
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Refused(Exception):
    """The request is not what the API takes; the sentence is its own."""


def answer(speech: Speech, asked: Asked) -> Answer:
    """The speech as a stream of chunks; who asks OpenRouter is told the cost as well."""
    is_router = "openrouter" in asked.path
    wants_usage = is_router or bool((asked.body.get("stream_options") or {}).get("include_usage"))
    return Answer(tuple(_steps(speech, wants_usage=wants_usage, tells_cost=is_router)))


def refusal(told: Refusal) -> Answer:
    """The error as the API tells it."""
    error = {"message": told.message, "type": told.kind, "param": None, "code": told.kind}
    return Answer(
        (dumps({"error": error}).encode(),), told.status, (("content-type", "application/json"), *told.headers)
    )


def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """One event of the stream."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return sse(("", {**_about(), "choices": [choice], **more}))


def counted(usage: Usage, *, tells_cost: bool = False) -> bytes:
    """The last chunk, which tells what was consumed."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.read, "cache_write_tokens": usage.written},
    }
    text = dumps({**_about(), "choices": [], "usage": told})
    if tells_cost and usage.cost:
        text = text.removesuffix("}}") + f', "cost": {usage.cost}}}}}'
    return sse(("", text))


def problem(asked: Asked) -> Refusal | None:
    """What the API finds wrong with a request."""
    if not asked.headers.get("authorization", "").startswith("Bearer "):
        return Refusal(401, "invalid_api_key", "You didn't provide an API key.")
    try:
        _check(asked.body, asked.path)
    except Refused as refused:
        return Refusal(400, "invalid_request_error", str(refused))
    return None


def _about() -> Mapping[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "told"}


def _steps(speech: Speech, *, wants_usage: bool, tells_cost: bool) -> Iterator[Step]:
    yield chunk({"role": "assistant", "content": "", "refusal": None})
    index = -1
    for part in speech.parts:
        match part:
            case Text():
                yield chunk({"content": part.text})
            case Thinking():
                for piece in part.pieces:
                    yield chunk({"reasoning_content": piece})
            case Tool():
                index += 1
                function = {"name": part.name, "arguments": ""}
                call = {"index": index, "id": part.call, "type": "function", "function": function}
                yield chunk({"tool_calls": [call]})
                for piece in part.arguments:
                    yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            case Search():
                pass
            case Broken():
                yield sse(("", {"error": {"message": part.message, "type": part.kind, "code": part.kind}}))
                return
            case Wait() | Stall() | Cut():
                yield part
    yield chunk({}, REASONS.get(speech.reason, "stop"))
    if wants_usage:
        yield counted(speech.usage, tells_cost=tells_cost)
    yield sse(("", "[DONE]"))


def _must(is_so: object, words: str) -> None:
    if not is_so:
        raise Refused(words)


def _check(body: Any, path: str) -> None:
    _must(isinstance(body, dict), "We could not parse the JSON body of your request.")
    known = FIELDS | ({"reasoning", "usage"} if "openrouter" in path else set())
    for name in body:
        _must(name in known, f"Unrecognized request argument supplied: {name}")
    _must(isinstance(body.get("model"), str) and body["model"], "you must provide a model parameter")
    is_reasoning = body["model"].startswith(("gpt-5", "o"))
    _must(not (is_reasoning and "max_tokens" in body), "Unsupported parameter: 'max_tokens' is not supported")
    _must("stream_options" not in body or body.get("stream"), "'stream_options' is only allowed when streaming")
    for tool in body.get("tools") or ():
        function = tool["function"]
        _must(NAME.fullmatch(function["name"]), "Invalid 'tools[0].function.name': string does not match pattern")
        _must(function["parameters"].get("type") == "object", "Invalid schema for function: type must be 'object'")
    _must("parallel_tool_calls" not in body or body.get("tools"), "'parallel_tool_calls' is only allowed with tools")
    _check_messages(body.get("messages") or [])


def _check_messages(messages: list[Any]) -> None:
    _must(messages, "Invalid 'messages': empty array.")
    waiting: set[str] = set()
    for number, message in enumerate(messages):
        place, role = f"messages.[{number}]", message.get("role")
        if role == "tool":
            found = message.get("tool_call_id")
            _must(
                found in waiting, f"{place}: messages with role 'tool' must be a response to a preceding 'tool_calls'"
            )
            _must(isinstance(message.get("content"), str), f"{place}.content: expected a string")
            waiting.discard(found)
            continue
        _must(not waiting, f"{place}: an assistant message with 'tool_calls' must be followed by tool messages")
        match role:
            case "system" | "developer":
                _must(message["content"], f"{place}.content: must not be empty")
            case "user":
                _check_content(place, message.get("content"))
            case "assistant":
                calls = message.get("tool_calls")
                _must(calls is None or calls, f"{place}.tool_calls: empty array")
                _must(message.get("content") or calls, f"{place}.content: expected a string, got null")
                for call in calls or ():
                    _must(isinstance(call["function"]["arguments"], str), f"{place}: arguments must be a string")
                    _must(NAME.fullmatch(call["function"]["name"]), f"{place}: name does not match pattern")
                waiting = {call["id"] for call in calls or ()}
                _must(len(waiting) == len(calls or ()), f"{place}: duplicate tool call ids")
            case _:
                _must(False, f"{place}.role: invalid value {role!r}")
    _must(not waiting, "an assistant message with 'tool_calls' must be followed by tool messages")


def _check_content(place: str, content: Any) -> None:
    if isinstance(content, str):
        return
    _must(isinstance(content, list) and content, f"{place}.content: expected a string or an array")
    for part in content:
        match part:
            case {"type": "text", "text": str()}:
                pass
            case {"type": "image_url", "image_url": {"url": str() as url}}:
                _must(re.match(r"data:image/(png|jpeg|gif|webp);base64,", url), f"{place}: unsupported image")
            case {"type": "file", "file": {"filename": str(), "file_data": str() as data}}:
                _must(data.startswith("data:application/pdf;base64,"), f"{place}: unsupported file")
            case _:
                _must(False, f"{place}.content: invalid part")
