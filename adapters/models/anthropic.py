"""Claude, by Anthropic's Messages API: a request as the API wants it, and its stream of events as ours.

The events are read as the wire brings them, so that a block nobody knew when this was written is kept unchanged, and
broken JSON in a tool's arguments breaks nothing but that call.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from json import dumps
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from anthropic import (
    AnthropicError,
    APIConnectionError,
    APIStatusError,
    AsyncAnthropic,
    AsyncStream,
    DefaultAsyncHttpxClient,
    Timeout,
)
from anthropic.types import Message, RawMessageStreamEvent
from httpx2 import HTTPError, InvalidURL, LocalProtocolError, StreamError, UnsupportedProtocol

from adapters.provider import (
    LIFE,
    MAX_TOOL_NAME,
    NO_PROXY,
    QUIET_SECONDS,
    TRANSIENT_STATUS,
    Json,
    count_of,
    drain,
    events_of,
    image_of,
    loaded,
    model_name,
    named,
    object_of,
    one_line,
    parsed,
    retry_after,
    sound,
    text_of,
    told_only,
    wire_names,
)
from factory_contracts.records import Effect
from hub.kernel.events import Called, Did, Failed, Finished, Kept, ModelEvent, Said, Thought
from hub.kernel.ports import (
    Media,
    Model,
    ModelMessage,
    ModelRequest,
    ModelSettings,
    Spoken,
    ToolCalls,
    ToolResult,
    ToolSpec,
)

PROVIDER = "anthropic"
KEY = "ANTHROPIC_API_KEY"
BASE_URL = "ANTHROPIC_BASE_URL"
DEFAULT_BASE_URL = "https://api.anthropic.com"
# A stalled answer is noticed by whoever reads it; this is only so that nothing waits for ever.
TIMEOUT = Timeout(600, connect=10)

MAX_REASON = 500
MAX_IMAGE = 3_900_000
MAX_PDF = 20_000_000
MIN_THINKING = 1_024
LITTLE_THINKING = 4_096
SOME_THINKING = 16_384
MARKED_TURNS = 2

EMPTY_MESSAGE = "(an empty message)"
EMPTY_RESULT = "(nothing)"
NO_RESULT = "What came of this call is not known."
EARLIER = "(The conversation began earlier.)"
GO_ON = "Go on."

Reason = Literal["end", "tools", "length", "refusal", "pause", "full"]

_REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        "end_turn": "end",
        "stop_sequence": "end",
        "max_tokens": "length",
        "tool_use": "tools",
        "pause_turn": "pause",
        "refusal": "refusal",
        "model_context_window_exceeded": "full",
    }
)
_LASTING = frozenset(
    {
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
    }
)
_TOO_LONG = ("prompt is too long", "exceed context limit", "exceeds the maximum context")
_OWN_TOOLS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "web_search": MappingProxyType({"type": "web_search_20250305", "name": "web_search", "max_uses": 5}),
        "web_fetch": MappingProxyType({"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 5}),
    }
)
# From Claude 4.6 on a model decides by itself how much it thinks; what is no Claude knows the older way.
_ADAPTIVE = re.compile(r"claude-(?!3|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:-\d{8})?(?:-latest)?$)")
_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


class Anthropic:
    """The provider `anthropic`: one client, and so one pool of connections, for all calls of an event loop."""

    def __init__(self, settings: ModelSettings) -> None:
        self._key = settings.variables.get(KEY, "").strip()
        self._base_url = settings.variables.get(BASE_URL, "").strip() or DEFAULT_BASE_URL
        self._client: AsyncAnthropic | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """One call. The generator ends after `Finished` or `Failed`; closing it early closes the connection."""
        names = wire_names(request, request.own_tools)
        if problem := self._problem(request):
            yield Failed(problem)
            return
        try:
            stream = await self._open().post(
                "/v1/messages",
                cast_to=Message,
                body=_body(request, names),
                stream=True,
                stream_cls=AsyncStream[RawMessageStreamEvent],
            )
        except (AnthropicError, HTTPError, InvalidURL) as error:
            yield self._refused(error)
            return
        except RecursionError:
            yield Failed("the conversation holds JSON that is nested too deeply to be sent")
            return
        reading = _Reading({wire: name for name, wire in names.items()})
        clock = asyncio.get_running_loop().time
        heard_at = clock()
        try:
            async with aclosing(events_of(stream.response)) as events:
                async for data in events:
                    for event in reading.hear(data):
                        if event is LIFE and clock() - heard_at < QUIET_SECONDS:
                            continue
                        yield event
                        heard_at = clock()
                    if reading.is_over:
                        await drain(events)
                        break
            end = reading.end or Failed("the answer broke off before its end", is_transient=True)
        except (HTTPError, StreamError) as error:
            end = Failed(f"the connection broke in the middle of the answer: {named(error)}", is_transient=True)
        except (ValueError, RecursionError):
            end = Failed("the answer is no stream of events that can be read", is_transient=True)
        finally:
            await stream.close()
        yield self._tidy(end, reading)

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        client, self._client, self._loop = self._client, None, None
        if client is not None:
            await client.close()

    def _problem(self, request: ModelRequest) -> str:
        """What keeps the call from being made at all."""
        if not self._key:
            return f"{KEY} is not set: put the key of an Anthropic account there, or choose another model"
        if not (self._key.isascii() and self._key.isprintable()):
            return f"{KEY} holds characters that no key has: copy the key again"
        try:
            address = urlsplit(self._base_url)
            is_address = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        except ValueError:
            is_address = False
        if not is_address:
            return f"{BASE_URL} is no address: it should look like {DEFAULT_BASE_URL}"
        if not model_name(request.model):
            return f"{request.model!r} names no model: it should look like {PROVIDER}:claude-sonnet-5"
        if unknown := [name for name in request.own_tools if name not in _OWN_TOOLS]:
            return f"{PROVIDER} has no tool {unknown[0]!r} of its own: own_tools may hold {', '.join(_OWN_TOOLS)}"
        return ""

    def _open(self) -> AsyncAnthropic:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            self._client = AsyncAnthropic(
                api_key=self._key,
                base_url=self._base_url,
                timeout=TIMEOUT,
                max_retries=0,
                open_telemetry=False,
                http_client=DefaultAsyncHttpxClient(mounts=NO_PROXY),
            )
        return self._client

    def _refused(self, error: Exception) -> Finished | Failed:
        """What became of a call that brought no stream."""
        match error:
            case APIStatusError():
                kind, message = _error(error.body)
                if _is_too_long(message):
                    return Finished("full")
                status = error.status_code
                asked = error.response.headers.get("x-should-retry", "")
                is_transient = asked == "true" or (
                    asked != "false" and (status in TRANSIENT_STATUS or status >= 500) and kind not in _LASTING
                )
                hint = {401: f" (look at {KEY})", 404: " (look at the agent's model)"}.get(status, "")
                words = f"{status} {kind}: {message}" if kind else f"{status}: {message}"
                wait = retry_after(error.response.headers) if is_transient else 0.0
                return self._tidy(Failed(f"{PROVIDER} answered {words}{hint}", is_transient, wait))
            case InvalidURL():
                return Failed(f"{BASE_URL} is no address: it should look like {DEFAULT_BASE_URL}")
            case APIConnectionError() | HTTPError():
                cause = error.__cause__ or error
                is_ours = isinstance(cause, UnsupportedProtocol | LocalProtocolError)
                return self._tidy(Failed(f"{PROVIDER} could not be reached: {named(cause)}", is_transient=not is_ours))
            case _:
                return self._tidy(Failed(f"{PROVIDER} could not be asked: {named(error)}"))

    def _tidy(self, end: Finished | Failed, reading: "_Reading | None" = None) -> Finished | Failed:
        """The end with all that is known of what was consumed, and with a reason that is short and tells no key."""
        counts = reading.counts if reading is not None else {}
        has_begun = reading is not None and reading.has_begun
        match end:
            case Finished():
                return Finished(end.reason, **counts)
            case Failed():
                reason = " ".join(end.reason.split()).replace(self._key or "\0", "***")[:MAX_REASON]
                return Failed(reason, end.is_transient, end.retry_after, has_begun=has_begun, **counts)


def provider(settings: ModelSettings) -> Model:
    """The provider as a worker gets it."""
    return Anthropic(settings)


@dataclass(slots=True)
class _Block:
    """A block of the answer while it is streamed."""

    content: Json
    pieces: list[str] = field(default_factory=list)
    grown: dict[str, list[str]] = field(default_factory=dict)
    is_over: bool = False

    @property
    def kind(self) -> str:
        return str(self.content.get("type", ""))

    def add(self, delta: Json) -> None:
        """Text grows, lists grow, and what is new is put there: so a kind of delta yet unknown is kept as well."""
        if delta.get("type") == "input_json_delta":
            self.pieces.append(text_of(delta.get("partial_json")))
            return
        if delta.get("type") == "citations_delta":
            delta = {"citations": [delta.get("citation")]}
        for key, value in delta.items():
            held = self.content.get(key)
            if key == "type":
                continue
            if isinstance(value, str):
                self.grown.setdefault(key, [text_of(held)]).append(value)
            elif isinstance(held, list) and isinstance(value, list):
                held.extend(value)
            else:
                self.content[key] = value

    @property
    def input(self) -> str:
        """A tool's arguments as they were written."""
        given = self.content.get("input")
        return "".join(self.pieces) or (dumps(given) if given else "")

    def whole(self) -> Json:
        """The block as the provider wants to see it again."""
        whole = {**self.content, **{key: "".join(pieces) for key, pieces in self.grown.items()}}
        return {**whole, "input": object_of(parsed("".join(self.pieces)))} if self.pieces else whole


class _Reading:
    """What has been heard of an answer so far."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._blocks: dict[object, _Block] = {}
        self._unkept: list[_Block] = []
        self._doing: dict[str, str] = {}
        self._stop = ""
        self._has_called = False
        self._has_begun = False
        self._tokens = {"input": 0, "output": 0, "read": 0, "write": 0}
        self.end: Finished | Failed | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to hear."""
        return self.end is not None

    @property
    def has_begun(self) -> bool:
        """Whether there was an answer, be it one that broke off before its first word."""
        return self._has_begun or not self.is_over

    @property
    def counts(self) -> dict[str, Any]:
        """What is known to be consumed; the provider counts what it read from a cache, or wrote to one, apart."""
        tokens = self._tokens
        return {
            "input_tokens": tokens["input"] + tokens["read"] + tokens["write"],
            "output_tokens": tokens["output"],
            "cache_read_tokens": tokens["read"],
            "cache_write_tokens": tokens["write"],
        }

    def hear(self, data: str) -> Iterator[ModelEvent]:
        """The events in one event of the wire. Raises `ValueError` or `RecursionError` where it is no JSON."""
        if not data:
            yield LIFE
            return
        event = loaded(data)
        if not isinstance(event, dict):
            raise ValueError("an event is no object")
        self._has_begun = self._has_begun or event.get("type") != "error"
        match event.get("type"):
            case "message_start":
                self._count(object_of(event.get("message")).get("usage"))
            case "content_block_start":
                block = _Block(object_of(event.get("content_block")))
                self._blocks[event.get("index")] = block
                yield from self._more(block.kind, block.content)
            case "content_block_delta":
                delta = object_of(event.get("delta"))
                if found := self._blocks.get(event.get("index")):
                    found.add(delta)
                yield from self._more(str(delta.get("type", "")).removesuffix("_delta"), delta)
            case "content_block_stop":
                if found := self._blocks.get(event.get("index")):
                    yield from self._stopped(found)
            case "message_delta":
                self._count(event.get("usage"))
                self._stop = text_of(object_of(event.get("delta")).get("stop_reason")) or self._stop
            case "message_stop":
                for block in tuple(self._blocks.values()):
                    if block.kind == "tool_use" and not block.is_over:
                        yield from self._stopped(block)
                self.end = Finished(self._reason())
            case "error":
                kind, message = _error(event)
                if _is_too_long(message):
                    self.end = Finished("full")
                else:
                    reason = f"{PROVIDER} broke off with {kind or 'an error'}: {message}"
                    self.end = Failed(reason, is_transient=kind not in _LASTING)
            case "ping":
                yield LIFE
            case _:
                pass

    def _more(self, kind: str, content: Json) -> Iterator[ModelEvent]:
        match kind:
            case "text":
                if text := text_of(content.get("text")):
                    yield Said(text)
            case "thinking":
                yield Thought(text_of(content.get("thinking")))
            case "input_json":
                yield LIFE
            case _:
                pass

    def _stopped(self, block: _Block) -> Iterator[ModelEvent]:
        if block.is_over:
            return
        block.is_over = True
        content = block.content
        if block.kind == "text":
            self._unkept.append(block)
            return
        if block.kind == "tool_use":
            self._has_called = True
            wire = text_of(content.get("name"))
            yield Called(text_of(content.get("id")), self._names.get(wire, wire), block.input)
            return
        # What is kept stands between texts, and must do so again; only text that follows it needs no keeping.
        for text in self._unkept:
            whole = text.whole()
            if text_of(whole.get("text")).strip():
                yield Kept(dumps(whole))
        self._unkept.clear()
        yield Kept(dumps(block.whole()))
        if block.kind in ("server_tool_use", "mcp_tool_use"):
            call, tool = text_of(content.get("id")), text_of(content.get("name"))
            self._doing[call] = tool
            yield Did(call, tool, "running", one_line(f"Using {tool}{_about(block.whole())}"), _effect(tool))
        elif block.kind.endswith("_tool_result"):
            call = text_of(content.get("tool_use_id"))
            tool = self._doing.get(call, block.kind.removesuffix("_tool_result"))
            if str(object_of(content.get("content")).get("type", "")).endswith("_error"):
                yield Did(call, tool, "error", one_line(f"{tool} did not work"), _effect(tool))
            else:
                yield Did(call, tool, "ok", one_line(f"Used {tool}"), _effect(tool))

    def _count(self, usage: object) -> None:
        """Counts are told again and again, each the whole until then; some tell them at the end alone."""
        told = object_of(usage)
        for name, key in (
            ("input", "input_tokens"),
            ("output", "output_tokens"),
            ("read", "cache_read_input_tokens"),
            ("write", "cache_creation_input_tokens"),
        ):
            self._tokens[name] = max(self._tokens[name], count_of(told.get(key)))

    def _reason(self) -> Reason:
        reason = _REASONS.get(self._stop, "end")
        return "tools" if reason == "end" and self._has_called else reason


def _body(request: ModelRequest, names: Mapping[str, str]) -> Json:
    model = model_name(request.model)
    turns = _turns(request, names)
    body: Json = {"model": model, "max_tokens": max(1, request.max_tokens), "messages": turns, "stream": True}
    tools = [_tool(spec, names[spec.name]) for spec in {spec.name: spec for spec in request.tools}.values()]
    tools += [dict(_OWN_TOOLS[name]) for name in dict.fromkeys(request.own_tools)]
    if tools:
        body["tools"] = tools
    if request.system.strip():
        body["system"] = [_marked({"type": "text", "text": request.system})]
    elif tools:
        tools[-1] = _marked(tools[-1])
    if request.thinking > 0:
        body |= _thinking(model, request, turns)
    for turn in [turn for turn in turns if turn["role"] == "user"][-MARKED_TURNS:]:
        turn["content"][-1] = _marked(turn["content"][-1])
    whole: Json = sound(body)
    return whole


def _thinking(model: str, request: ModelRequest, turns: Sequence[Json]) -> Json:
    budget = max(MIN_THINKING, request.thinking)
    room: Json = {"max_tokens": max(1, request.max_tokens) + budget}
    if _ADAPTIVE.match(model):
        effort = "low" if budget <= LITTLE_THINKING else "medium" if budget <= SOME_THINKING else ""
        adaptive: Json = {"thinking": {"type": "adaptive", "display": "summarized"}}
        return room | adaptive | ({"output_config": {"effort": effort}} if effort else {})
    # An answer that another model began without thinking cannot be gone on with by one that thinks.
    last = next((turn for turn in reversed(turns) if turn["role"] == "assistant"), None)
    kinds = [block["type"] for block in last["content"]] if last is not None else []
    if "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking"):
        return {}
    return room | {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _tool(spec: ToolSpec, wire: str) -> Json:
    return {"name": wire, "description": spec.description, "input_schema": _schema(spec.parameters)}


def _schema(text: str) -> Json:
    """The schema without what the API refuses: choices at the top, and names of properties with odd letters."""
    schema = object_of(parsed(text))
    properties: Json = dict(object_of(schema.get("properties")))
    for word in ("anyOf", "oneOf", "allOf"):
        choices = schema.get(word)
        for choice in choices if isinstance(choices, list) else ():
            properties = {**object_of(object_of(choice).get("properties")), **properties}
    properties = {name: value for name, value in properties.items() if _PROPERTY.fullmatch(name)}
    required = schema.get("required")
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf", "allOf", "required")}
    found = {**kept, "type": "object", "properties": properties}
    if isinstance(required, list):
        found["required"] = [name for name in required if name in properties]
    return found


def _turns(request: ModelRequest, names: Mapping[str, str]) -> list[Json]:
    """The conversation as turns that alternate, begin with the person, and leave no call without a result."""
    turns: list[Json] = []
    waiting: dict[str, None] = {}
    for message in request.messages:
        match message:
            case Spoken(role="user"):
                _join(turns, "user", _spoken(message))
            case Spoken():
                _settle(turns, waiting)
                _join(turns, "assistant", _assistant(message))
            case ToolCalls():
                _settle(turns, waiting)
                _join(turns, "assistant", _asked(message, names))
                waiting |= dict.fromkeys(_id(call) for call, _, _ in message.calls)
            case ToolResult():
                call = _id(message.call)
                if call in waiting:
                    del waiting[call]
                    _join(turns, "user", [_result(call, message.content, message.is_error)])
                else:
                    _join(turns, "user", [_words(f"{message.tool} returned: {message.content}")])
    _settle(turns, waiting)
    if not turns or (turns[-1]["role"] == "assistant" and not _is_pause(request.messages)):
        _join(turns, "user", [_words(GO_ON)])
    if turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [_words(EARLIER)]})
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return turns


def _join(turns: list[Json], role: str, blocks: Sequence[Json]) -> None:
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": list(blocks)})


def _settle(turns: list[Json], waiting: dict[str, None]) -> None:
    """Before the model speaks again, every call has a result."""
    if waiting:
        _join(turns, "user", [_result(call, NO_RESULT, is_error=True) for call in waiting])
        waiting.clear()


def _is_pause(messages: Sequence[ModelMessage]) -> bool:
    last = messages[-1] if messages else None
    return isinstance(last, ToolCalls) and not last.calls and bool(_kept(last))


def _assistant(message: Spoken) -> list[Json]:
    texts = [message.text, *(told_only(media) for media in message.media)]
    return [_words(text) for text in texts if text.strip()]


def _asked(message: ToolCalls, names: Mapping[str, str]) -> list[Json]:
    kept, text = _kept(message), message.text
    for block in [block for block in kept if block["type"] == "text"]:
        said = text_of(block.get("text"))
        if not text.startswith(said):
            # Blank text is not kept: what stands between the two may be that.
            text, said = text.lstrip(), said.lstrip()
        if not text.startswith(said):
            # What was kept is of another text: where it stood is not known any more.
            kept, text = [other for other in kept if other["type"] != "text"], message.text
            break
        text = text[len(said) :]
    blocks = [*kept, *([_words(text)] if text.strip() else [])]
    for call, name, arguments in message.calls:
        wire = names.get(name, _NAME.sub("_", name)[:MAX_TOOL_NAME] or "unnamed")
        blocks.append({"type": "tool_use", "id": _id(call), "name": wire, "input": object_of(parsed(arguments))})
    return blocks


def _kept(message: ToolCalls) -> list[Json]:
    """The provider's own blocks, where they are this provider's."""
    if message.model.partition(":")[0] != PROVIDER:
        return []
    blocks: list[Json] = []
    for content in message.kept:
        block = object_of(parsed(content))
        is_blank = block.get("type") == "text" and not text_of(block.get("text")).strip()
        if isinstance(block.get("type"), str) and not is_blank:
            blocks.append(block)
    return blocks


def _result(call: str, content: str, is_error: bool) -> Json:
    result: Json = {"type": "tool_result", "tool_use_id": call, "content": content if content.strip() else EMPTY_RESULT}
    return {**result, "is_error": True} if is_error else result


def _spoken(message: Spoken) -> list[Json]:
    blocks = [_shown(media) for media in message.media]
    if message.text.strip():
        blocks.append(_words(message.text))
    return blocks or [_words(EMPTY_MESSAGE)]


def _shown(media: Media) -> Json:
    mime, image = media.type, image_of(media)
    if image and 0 < len(media.data) <= MAX_IMAGE:
        return {"type": "image", "source": _source(image, media.data)}
    if mime == "application/pdf" and 0 < len(media.data) <= MAX_PDF:
        return {"type": "document", "source": _source(mime, media.data), "title": one_line(media.name) or "document"}
    if media.is_text:
        text = media.data.decode(errors="replace").replace("\0", "")
        return _words(f"The file {one_line(media.name)} ({mime}) that came with this message:\n\n{text}")
    return _words(told_only(media))


def _source(mime: str, data: bytes) -> Json:
    return {"type": "base64", "media_type": mime, "data": b64encode(data).decode()}


def _words(text: str) -> Json:
    return {"type": "text", "text": text}


def _marked(block: Mapping[str, Any]) -> Json:
    """What is shown up to here is worth being kept in the provider's cache."""
    return {**block, "cache_control": {"type": "ephemeral"}}


def _error(body: object) -> tuple[str, str]:
    """The kind of an error and its message, from whatever shape it came in."""
    error = object_of(body).get("error", body)
    if isinstance(error, dict):
        return text_of(error.get("type")), text_of(error.get("message")) or "without a message"
    text = text_of(error).strip()
    return "", "a page of HTML instead of an answer" if text.startswith("<") else text or "without a message"


def _is_too_long(message: str) -> bool:
    return any(words in message.lower() for words in _TOO_LONG)


def _effect(tool: str) -> Effect:
    """All that may be named in `own_tools` only read."""
    return "read" if tool in _OWN_TOOLS else "external"


def _about(block: Json) -> str:
    """What the provider's own tool is used for, where it says so."""
    given = object_of(block.get("input"))
    about = text_of(given.get("query")) or text_of(given.get("url"))
    return f": {about}" if about else ""


def _id(call: str) -> str:
    return _NAME.sub("_", call) or "call"
