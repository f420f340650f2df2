"""Anthropic's side of the wire: what its Messages API refuses, and how it streams.

Stricter than the original in one thing: there, turns of one side that follow each other are joined; here they are
refused, for other servers that speak alike do so.
"""

import re
from base64 import b64decode
from binascii import Error as NoBase64
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256
from json import dumps
from types import MappingProxyType
from typing import Any

from tests.providers.server import Answer, Asked, Cut, Stall, Step, Wait, sse
from tests.providers.speech import Broken, Refusal, Search, Speech, Text, Thinking, Tool, Usage

VERSION = "2026-10-21"
FIELDS = frozenset(
    {
        "cache_control",
        "container",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
BLOCKS = frozenset(
    {
        "document",
        "image",
        "redacted_thinking",
        "server_tool_use",
        "text",
        "thinking",
        "tool_result",
        "tool_use",
        "web_search_tool_result",
    }
)
IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "end": "end_turn",
        "tools": "tool_use",
        "length": "max_tokens",
        "refusal": "refusal",
        "pause": "pause_turn",
        "full": "model_context_window_exceeded",
    }
)
NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
REDACTED = "EmwKAhgBEgy3va3pzix"


class Refused(Exception):
    """The request is not what the API takes; the sentence is its own."""


def signature(thinking: str) -> str:
    """The seal of a thinking block."""
    return sha256(thinking.encode()).hexdigest()[:24]


def answer(speech: Speech) -> Answer:
    """The speech as a stream of events."""
    return Answer(tuple(_steps(speech)))


def refusal(told: Refusal) -> Answer:
    """The error as the API tells it."""
    body = {"type": "error", "error": {"type": told.kind, "message": told.message}, "request_id": "req_1"}
    return Answer((dumps(body).encode(),), told.status, (("content-type", "application/json"), *told.headers))


def problem(asked: Asked) -> Refusal | None:
    """What the API finds wrong with a request."""
    if not asked.headers.get("authorization", "").startswith("Bearer ") and "x-api-key" not in asked.headers:
        return Refusal(401, "authentication_error", "invalid x-api-key")
    if asked.headers.get("anthropic-version") != VERSION:
        return Refusal(400, "invalid_request_error", "anthropic-version: header is required")
    try:
        _check(asked.body)
    except Refused as refused:
        return Refusal(400, "invalid_request_error", str(refused))
    return None


def _steps(speech: Speech) -> Iterator[Step]:
    usage = speech.usage
    yield sse(("message_start", {"type": "message_start", "message": _message(usage)}), ("ping", {"type": "ping"}))
    index = -1
    is_texting = False
    for part in speech.parts:
        if is_texting and not isinstance(part, Text | Wait | Stall | Cut | Broken):
            is_texting = False
            yield _stop(index)
        match part:
            case Text():
                if not is_texting:
                    index += 1
                    is_texting = True
                    yield _start(index, {"type": "text", "text": ""})
                yield _delta(index, {"type": "text_delta", "text": part.text})
            case Thinking():
                index += 1
                yield _start(index, {"type": "thinking", "thinking": "", "signature": ""})
                for piece in part.pieces:
                    yield _delta(index, {"type": "thinking_delta", "thinking": piece})
                yield _delta(index, {"type": "signature_delta", "signature": signature("".join(part.pieces))})
                yield _stop(index)
            case Tool():
                index += 1
                yield _start(index, {"type": "tool_use", "id": part.call, "name": part.name, "input": {}})
                yield _delta(index, {"type": "input_json_delta", "partial_json": ""})
                for piece in part.arguments:
                    yield _delta(index, {"type": "input_json_delta", "partial_json": piece})
                yield _stop(index)
            case Search():
                yield from _search(index + 1, part)
                index += 2
            case Broken():
                error = {"type": "error", "error": {"type": part.kind, "message": part.message}}
                yield sse(("error", error))
                return
            case Wait() | Stall() | Cut():
                yield part
    if is_texting:
        yield _stop(index)
    delta = {"stop_reason": REASONS[speech.reason], "stop_sequence": None, "stop_details": None}
    yield sse(
        ("message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage.output}}),
        ("message_stop", {"type": "message_stop"}),
    )


def _search(index: int, search: Search) -> Iterator[Step]:
    call = f"srvtoolu_{index}"
    yield _start(index, {"type": "server_tool_use", "id": call, "name": "web_search", "input": {}})
    yield _delta(index, {"type": "input_json_delta", "partial_json": dumps({"query": search.query})})
    yield _stop(index)
    found: Any = [
        {"type": "web_search_result", "url": "https://example.com/", "title": "A", "encrypted_content": "Eo8"}
    ]
    failed = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    content = {"type": "web_search_tool_result", "tool_use_id": call, "content": found if search.is_ok else failed}
    yield _start(index + 1, content)
    yield _stop(index + 1)


def _message(usage: Usage) -> Mapping[str, Any]:
    told = {
        "input_tokens": usage.input - usage.read - usage.written,
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.read,
        "output_tokens": 1,
    }
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-told",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": told,
    }


def _start(index: int, block: Mapping[str, Any]) -> bytes:
    event = {"type": "content_block_start", "index": index, "content_block": block}
    return sse(("content_block_start", event))


def _delta(index: int, delta: Mapping[str, Any]) -> bytes:
    event = {"type": "content_block_delta", "index": index, "delta": delta}
    return sse(("content_block_delta", event))


def _stop(index: int) -> bytes:
    return sse(("content_block_stop", {"type": "content_block_stop", "index": index}))


def _must(is_so: object, words: str) -> None:
    if not is_so:
        raise Refused(words)


def _check(body: Any) -> None:
    _must(isinstance(body, dict), "the body must be an object")
    for name in ("temperature", "top_p", "top_k"):
        _must(name not in body, f"{name}: Extra inputs are not permitted")
    for name in body:
        _must(name in FIELDS, f"{name}: Extra inputs are not permitted")
    _must(isinstance(body.get("model"), str) and body["model"], "model: Field required")
    most = body.get("max_tokens")
    _must(isinstance(most, int) and most > 0, "max_tokens: Field required")
    thinking = body.get("thinking") or {"type": "disabled"}
    if thinking["type"] == "enabled":
        budget = thinking.get("budget_tokens", 0)
        _must(budget >= 1024, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        _must(most > budget, "`max_tokens` must be greater than `thinking.budget_tokens`")
    else:
        _must("budget_tokens" not in thinking, f"thinking.{thinking['type']}.budget_tokens: Extra inputs")
    for block in body.get("system") or ():
        _must(block["text"].strip(), "system: text content blocks must be non-empty")
    _check_tools(body.get("tools") or [])
    _check_turns(body.get("messages") or [], thinking["type"] == "enabled")
    _must(dumps(body).count('"cache_control"') <= 4, "A maximum of 4 blocks with cache_control may be provided")


def _check_tools(tools: list[Any]) -> None:
    names = Counter(tool["name"] for tool in tools)
    _must(not names or max(names.values()) == 1, "tools: Tool names must be unique.")
    for tool in tools:
        _must(NAME.fullmatch(tool["name"]), f"tools.{tool['name']}: String should match pattern")
        if "type" in tool and tool["type"] != "custom":
            continue
        schema = tool["input_schema"]
        _must(schema.get("type") == "object", "tools.input_schema.type: Field required")
        choices = {"anyOf", "oneOf", "allOf"} & schema.keys()
        _must(not choices, "tools: input_schema does not support oneOf, allOf, or anyOf at the top level")


def _check_turns(turns: list[Any], is_thinking: bool) -> None:
    _must(turns, "messages: at least one message is required")
    _must(turns[0]["role"] == "user", "messages: first message must use the user role")
    calls: list[str] = []
    seen: set[str] = set()
    for number, turn in enumerate(turns):
        _must(turn.keys() == {"role", "content"}, f"messages.{number}: Extra inputs are not permitted")
        expected = ("user", "assistant")[number % 2]
        _must(turn["role"] == expected, f"messages.{number}: roles must alternate")
        content = turn["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        _must(blocks, f"messages.{number}: content must be non-empty")
        for block in blocks:
            _check_block(number, turn["role"], block)
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        first = [block["tool_use_id"] for block in blocks[: len(results)] if block["type"] == "tool_result"]
        _must(set(results) <= set(calls), f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks")
        _must(set(calls) <= set(results), f"messages.{number}: `tool_use` ids were found without `tool_result` blocks")
        _must(first == results, f"messages.{number}: `tool_result` blocks must come first")
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        _must(not seen & set(calls) and len(set(calls)) == len(calls), "messages: `tool_use` ids must be unique")
        seen |= set(calls)
        begins = blocks[0]["type"]
        if is_thinking and calls and number >= len(turns) - 2:
            _must(
                begins in ("thinking", "redacted_thinking"), f"messages.{number}: Expected `thinking`, found {begins}"
            )
    _must(not calls, "messages: `tool_use` ids were found without `tool_result` blocks")
    if turns[-1]["role"] == "assistant":
        kinds = {block["type"] for block in turns[-1]["content"]}
        _must("server_tool_use" in kinds, "This model does not support assistant message prefill.")


def _check_block(number: int, role: str, block: Any) -> None:
    place, kind = f"messages.{number}", block.get("type")
    _must(kind in BLOCKS, f"{place}: Input tag {kind!r} found using 'type' does not match any of the expected tags")
    if "thinking" in kind:
        _must("cache_control" not in block, f"{place}: cache_control: Extra inputs are not permitted")
    match kind:
        case "text":
            _must(block["text"].strip(), f"{place}: text content blocks must contain non-whitespace text")
        case "image" | "document":
            _must(role == "user", f"{place}: {kind} blocks are only permitted within user messages")
            allowed = IMAGES if kind == "image" else ("application/pdf",)
            _must(block["source"]["media_type"] in allowed, f"{place}: media_type: Input should be one of {allowed}")
            try:
                b64decode(block["source"]["data"], validate=True)
            except NoBase64:
                raise Refused(f"{place}: Invalid base64 data") from None
        case "tool_use":
            _must(role == "assistant", f"{place}: `tool_use` blocks can only be in assistant messages")
            _must(NAME.fullmatch(block["id"]), f"{place}: tool_use.id: String should match pattern")
            _must(NAME.fullmatch(block["name"]), f"{place}: tool_use.name: String should match pattern")
            _must(isinstance(block["input"], dict), f"{place}: tool_use.input: Input should be a valid dictionary")
        case "tool_result":
            _must(role == "user", f"{place}: `tool_result` blocks can only be in user messages")
            has_content = block.get("content") or not block.get("is_error")
            _must(has_content, f"{place}: content cannot be empty if `is_error` is true")
        case "thinking":
            is_sealed = signature(block["thinking"]) == block["signature"]
            _must(is_sealed, f"{place}: `thinking` blocks in the latest assistant message cannot be modified.")
        case "redacted_thinking":
            _must(block["data"] == REDACTED, f"{place}: Invalid `data` in `redacted_thinking` block")
        case _:
            pass
