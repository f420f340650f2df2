"""Models behind OpenAI's chat completions, and behind all that speak alike; how each differs is data.

The stream is read as the wire brings it, for the look-alikes leave out, repeat and misplace what the original promises.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from json import dumps, loads
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from httpx2 import HTTPError, InvalidURL, LocalProtocolError, StreamError, UnsupportedProtocol
from openai import (
    APIConnectionError,
    APIStatusError,
    AsyncOpenAI,
    AsyncStream,
    DefaultAsyncHttpxClient,
    OpenAIError,
    Timeout,
)
from openai.types.chat import ChatCompletion, ChatCompletionChunk

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
from hub.kernel.events import Called, Failed, Finished, Kept, ModelEvent, Said, Thought
from hub.kernel.ports import Media, Model, ModelRequest, ModelSettings, Spoken, ToolCalls, ToolResult, ToolSpec

# A stalled answer is noticed by whoever reads it; this is only so that nothing waits for ever.
TIMEOUT = Timeout(600, connect=10)

MAX_REASON = 500
MAX_IMAGE = 15_000_000
MAX_PDF = 20_000_000
LITTLE_THINKING = 4_096
SOME_THINKING = 16_384
MIN_THINKING = 1_024
CENTS = Decimal(1).scaleb(-18)
MOST_MONEY = Decimal(10) ** 9

EMPTY_MESSAGE = "(an empty message)"
EMPTY_RESULT = "(nothing)"
NO_RESULT = "What came of this call is not known."
GO_ON = "Go on."

Reason = Literal["end", "tools", "length", "refusal", "pause", "full"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """How an endpoint is reached, and where it differs from the others.

    `echoes` are the fields of an answer that called tools which the endpoint wants to see again; `refused_words` are
    words of JSON Schema that it does not take.
    """

    name: str
    base_url: str
    base_url_variable: str
    key_variable: str = ""
    needs_key: bool = False
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    asks_for_usage: bool = True
    tells_cost: bool = False
    thinking: Literal["", "effort", "tokens"] = ""
    thoughts: tuple[str, ...] = ("reasoning_content", "reasoning")
    echoes: tuple[str, ...] = ()
    asks_for_parallel_calls: bool = False
    has_cache_key: bool = False
    reads_pdf: bool = False
    refused_words: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    extra_body: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


OPENAI = Quirks(
    name="openai",
    base_url="https://api.openai.com/v1",
    base_url_variable="OPENAI_BASE_URL",
    key_variable="OPENAI_API_KEY",
    needs_key=True,
    max_tokens="max_completion_tokens",
    thinking="effort",
    asks_for_parallel_calls=True,
    has_cache_key=True,
    reads_pdf=True,
)
OLLAMA = Quirks(
    name="ollama",
    base_url="http://127.0.0.1:11434/v1",
    base_url_variable="OLLAMA_HOST",
    key_variable="OLLAMA_API_KEY",
)
VLLM = Quirks(
    name="vllm",
    base_url="http://127.0.0.1:8000/v1",
    base_url_variable="VLLM_BASE_URL",
    key_variable="VLLM_API_KEY",
)
LMSTUDIO = Quirks(
    name="lmstudio",
    base_url="http://127.0.0.1:1234/v1",
    base_url_variable="LMSTUDIO_BASE_URL",
    key_variable="LMSTUDIO_API_KEY",
)
OPENROUTER = Quirks(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    base_url_variable="OPENROUTER_BASE_URL",
    key_variable="OPENROUTER_API_KEY",
    needs_key=True,
    asks_for_usage=False,
    tells_cost=True,
    thinking="tokens",
    thoughts=("reasoning", "reasoning_content"),
    echoes=("reasoning_details",),
    headers=MappingProxyType({"X-Title": "Factory"}),
    extra_body=MappingProxyType({"usage": MappingProxyType({"include": True})}),
)
GEMINI = Quirks(
    name="gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    base_url_variable="GEMINI_BASE_URL",
    key_variable="GEMINI_API_KEY",
    needs_key=True,
    thinking="effort",
    refused_words=frozenset(
        {"$schema", "$id", "$comment", "additionalProperties", "patternProperties", "default", "examples"}
    ),
)
OPENAI_LIKE = Quirks(
    name="openai_like",
    base_url="",
    base_url_variable="OPENAI_LIKE_BASE_URL",
    key_variable="OPENAI_LIKE_API_KEY",
    echoes=("reasoning_content",),
)
PRESETS: Mapping[str, Quirks] = MappingProxyType(
    {preset.name: preset for preset in (OPENAI, OLLAMA, VLLM, LMSTUDIO, OPENROUTER, GEMINI, OPENAI_LIKE)}
)

_REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        "stop": "end",
        "length": "length",
        "tool_calls": "tools",
        "function_call": "tools",
        "content_filter": "refusal",
    }
)
_LASTING = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "invalid_request_error",
        "invalid_api_key",
        "model_not_found",
        "unsupported_value",
        "unsupported_parameter",
        "content_policy_violation",
    }
)
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TOO_LONG = (
    "maximum context length",
    "context length exceeded",
    "exceeds the context window",
    "exceeds the available context size",
    "exceeds the maximum number of tokens",
    "prompt is too long",
)
_NAME = re.compile(r"[^a-zA-Z0-9_-]")


class OpenAI:
    """An endpoint with its quirks: one client, and so one pool of connections, for all calls of an event loop."""

    def __init__(self, quirks: Quirks, settings: ModelSettings) -> None:
        variables = settings.variables
        self._quirks = quirks
        self._key = variables.get(quirks.key_variable, "").strip() if quirks.key_variable else ""
        told = variables.get(quirks.base_url_variable, "").strip()
        self._base_url = (ollama_address(told) if quirks.name == "ollama" and told else told) or quirks.base_url
        is_original = quirks.name == OPENAI.name
        self._organization = variables.get("OPENAI_ORG_ID") if is_original else None
        self._project = variables.get("OPENAI_PROJECT_ID") if is_original else None
        self._client: AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """One call. The generator ends after `Finished` or `Failed`; closing it early closes the connection."""
        if problem := self._problem(request):
            yield Failed(problem)
            return
        names = wire_names(request)
        try:
            stream = await self._open().post(
                "/chat/completions",
                cast_to=ChatCompletion,
                body=_body(request, names, self._quirks),
                stream=True,
                stream_cls=AsyncStream[ChatCompletionChunk],
            )
        except (OpenAIError, HTTPError, InvalidURL) as error:
            yield self._refused(error)
            return
        except RecursionError:
            yield Failed("the conversation holds JSON that is nested too deeply to be sent")
            return
        reading = _Reading(self._quirks, {wire: name for name, wire in names.items()})
        broken = "the answer broke off before its end"
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
        except (HTTPError, StreamError) as error:
            broken = f"the connection broke in the middle of the answer: {named(error)}"
        except (ValueError, RecursionError):
            broken = "the answer is no stream of events that can be read"
        finally:
            await stream.close()
        for event in reading.last(broken):
            yield self._tidy(event) if isinstance(event, Failed) else event

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        client, self._client, self._loop = self._client, None, None
        if client is not None:
            await client.close()

    def _problem(self, request: ModelRequest) -> str:
        """What keeps the call from being made at all."""
        quirks = self._quirks
        if quirks.needs_key and not self._key:
            return f"{quirks.key_variable} is not set: put the key of the account there, or choose another model"
        if not (self._key.isascii() and self._key.isprintable()):
            return f"{quirks.key_variable} holds characters that no key has: copy the key again"
        example = quirks.base_url or VLLM.base_url
        if not self._base_url:
            return f"{quirks.base_url_variable} is not set: put the address of the server there, such as {example}"
        try:
            address = urlsplit(self._base_url)
            is_address = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        except ValueError:
            is_address = False
        if not is_address:
            return f"{quirks.base_url_variable} is no address: it should look like {example}"
        if not model_name(request.model):
            return f"{request.model!r} names no model: it should look like {quirks.name}:the-model"
        if request.own_tools:
            return f"{quirks.name} has no tools of its own here: take {request.own_tools[0]!r} out of own_tools"
        return ""

    def _open(self) -> AsyncOpenAI:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            self._client = AsyncOpenAI(
                api_key=self._key or "none",
                base_url=self._base_url,
                timeout=TIMEOUT,
                max_retries=0,
                default_headers=dict(self._quirks.headers),
                http_client=DefaultAsyncHttpxClient(mounts=NO_PROXY),
            )
            # Left out, they would be taken from the surroundings and told to whoever is at the address.
            self._client.organization = self._organization
            self._client.project = self._project
            if self._quirks.name != OPENAI.name:
                # The SDK adds `OPENAI_CUSTOM_HEADERS` to what it is given, and has no other way to say no.
                self._client._custom_headers = dict(self._quirks.headers)
        return self._client

    def _refused(self, error: Exception) -> Finished | Failed:
        """What became of a call that brought no stream."""
        name = self._quirks.name
        match error:
            case APIStatusError():
                told = _error(error.body)
                if told.is_too_long:
                    return Finished("full")
                status = error.status_code
                is_transient = (status in TRANSIENT_STATUS or status >= 500) and not told.is_lasting
                hint = {401: f" (look at {self._quirks.key_variable})", 404: " (look at the agent's model)"}
                wait = retry_after(error.response.headers) if is_transient else 0.0
                reason = f"{name} answered {status} {told.words}{hint.get(status, '')}"
                return self._tidy(Failed(reason, is_transient, wait))
            case InvalidURL():
                return Failed(f"{self._quirks.base_url_variable} is no address")
            case APIConnectionError() | HTTPError():
                cause = error.__cause__ or error
                is_ours = isinstance(cause, UnsupportedProtocol | LocalProtocolError)
                return self._tidy(Failed(f"{name} could not be reached: {named(cause)}", is_transient=not is_ours))
            case _:
                return self._tidy(Failed(f"{name} could not be asked: {named(error)}"))

    def _tidy(self, failed: Failed) -> Failed:
        """The failure with a reason that is short and tells no key."""
        reason = " ".join(failed.reason.split()).replace(self._key or "\0", "***")[:MAX_REASON]
        return replace(failed, reason=reason)


def openai(settings: ModelSettings) -> Model:
    """OpenAI itself."""
    return OpenAI(OPENAI, settings)


def ollama(settings: ModelSettings) -> Model:
    """An Ollama, on this machine unless told otherwise."""
    return OpenAI(OLLAMA, settings)


def vllm(settings: ModelSettings) -> Model:
    """A vLLM, on this machine unless told otherwise."""
    return OpenAI(VLLM, settings)


def lmstudio(settings: ModelSettings) -> Model:
    """An LM Studio, on this machine unless told otherwise."""
    return OpenAI(LMSTUDIO, settings)


def openrouter(settings: ModelSettings) -> Model:
    """OpenRouter, which says what each call did cost."""
    return OpenAI(OPENROUTER, settings)


def gemini(settings: ModelSettings) -> Model:
    """Gemini, by the door that Google keeps for clients of OpenAI."""
    return OpenAI(GEMINI, settings)


def openai_like(settings: ModelSettings) -> Model:
    """Any other server that speaks alike."""
    return OpenAI(OPENAI_LIKE, settings)


@dataclass(slots=True)
class _Call:
    """A tool call while its pieces come in."""

    index: int
    call: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    extra: Any = None

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are an object already, to which nothing can be added."""
        return isinstance(parsed("".join(self.arguments)), dict)


class _Calls:
    """The calls of an answer, put together from pieces of many manners."""

    def __init__(self) -> None:
        self.found: list[_Call] = []
        self._at: dict[int, _Call] = {}

    def add(self, piece: Json) -> None:
        """A piece belongs to the call with its index; without one, or with one used again, its id and name tell."""
        function = object_of(piece.get("function"))
        given = function.get("arguments")
        arguments = dumps(given) if isinstance(given, dict) else text_of(given)
        call, name = text_of(piece.get("id")), text_of(function.get("name"))
        index = piece.get("index")
        if isinstance(index, int) and not isinstance(index, bool):
            held = self._at.get(index)
            if held is None or _is_another(held, call, name, arguments):
                held = self._at[index] = self._new(index)
        else:
            same = next((one for one in self.found if call and one.call == call), None)
            held = same or (self.found[-1] if self.found else None)
            if held is None or (same is None and _is_another(held, call, name, arguments)):
                held = self._new(len(self.found))
        held.call = held.call or call
        held.name = held.name or name
        if arguments:
            held.arguments.append(arguments)
        if piece.get("extra_content") is not None:
            held.extra = piece["extra_content"]

    def ordered(self) -> list[_Call]:
        """In the order of their indices; those that share one, as they came."""
        return sorted((call for call in self.found if call.name), key=lambda call: call.index)

    def _new(self, index: int) -> _Call:
        made = _Call(index)
        self.found.append(made)
        return made


def _is_another(held: _Call, call: str, name: str, arguments: str) -> bool:
    """Whether a piece that could go on with this call begins another one."""
    if not name:
        return False
    if name != held.name and held.name:
        return True
    if call and held.call:
        return call != held.call
    return arguments.lstrip().startswith("{") and held.is_whole


class _Reading:
    """What has been heard of an answer so far."""

    def __init__(self, quirks: Quirks, names: Mapping[str, str]) -> None:
        self._quirks = quirks
        self._names = names
        self._calls = _Calls()
        self._echoes: dict[str, list[str]] = {}
        self._details: dict[tuple[object, object], Json] = {}
        self._stop = ""
        self._has_refused = False
        self._usage: Json = {}
        self._cost: Decimal | None = None
        self._error: _Error | None = None
        self._has_begun = False
        self.is_over = False

    def hear(self, data: str) -> Iterator[ModelEvent]:
        """The events in one event of the wire. Raises `ValueError` or `RecursionError` where it is no JSON."""
        if not data:
            yield LIFE
            return
        if data.startswith("[DONE]"):
            self.is_over = True
            return
        chunk = loaded(data)
        if not isinstance(chunk, dict):
            raise ValueError("a chunk is no object")
        if chunk.get("error"):
            self._error = _error(chunk)
            self.is_over = True
        # Who first thinks in silence says at least that it answers.
        self._has_begun = self._has_begun or self._error is None
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
            if self._quirks.tells_cost:
                # Once more, for a price must not pass through a binary fraction.
                self._cost = _money(loads(data, parse_float=Decimal)["usage"].get("cost"))
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and not choice.get("index"):
                yield from self._choice(choice)

    def last(self, broken: str) -> Iterator[ModelEvent]:
        """The events that end the answer, which broke off unless it said why it stopped."""
        if self._error is not None:
            if self._error.is_too_long:
                yield self._finished("full")
            else:
                words = f"{self._quirks.name} broke off with {self._error.words}"
                yield self._failed(words, is_transient=not self._error.is_lasting)
            return
        calls = self._calls.ordered()
        if self._stop == "error" or not (self._stop or self.is_over):
            self._has_begun = True
            yield self._failed(broken if not self._stop else f"{self._quirks.name} broke off with an error")
            return
        if calls and (kept := self._kept(calls)):
            yield Kept(dumps(kept))
        for number, call in enumerate(calls):
            name = self._names.get(call.name, call.name)
            yield Called(call.call or f"call_{number}", name, "".join(call.arguments))
        reason: Reason = _REASONS.get(self._stop, "end")
        if self._has_refused:
            reason = "refusal"
        elif calls and reason == "end":
            reason = "tools"
        elif not calls and reason == "tools":
            reason = "end"
        yield self._finished(reason)

    def _choice(self, choice: Json) -> Iterator[ModelEvent]:
        delta = object_of(choice.get("delta"))
        for thought in self._quirks.thoughts:
            if text := text_of(delta.get(thought)):
                yield Thought(text)
                break
        for name in self._quirks.echoes:
            self._echo(name, delta.get(name))
        yield from _content(delta.get("content"))
        if refusal := text_of(delta.get("refusal")):
            self._has_refused = True
            yield Said(refusal)
        pieces = delta.get("tool_calls")
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict):
                self._calls.add(piece)
                yield LIFE
        if isinstance(delta.get("function_call"), dict):
            self._calls.add({"index": 0, "function": delta["function_call"]})
            yield LIFE
        self._stop = text_of(choice.get("finish_reason")) or self._stop

    def _echo(self, name: str, value: object) -> None:
        if isinstance(value, str):
            self._echoes.setdefault(name, []).append(value)
        for number, detail in enumerate(value if isinstance(value, list) else ()):
            if isinstance(detail, dict):
                key = (detail.get("index", number), detail.get("type"))
                held = self._details.setdefault(key, {})
                for word, told in detail.items():
                    grows = word in ("text", "summary", "data") and isinstance(told, str)
                    if grows:
                        held[word] = text_of(held.get(word)) + told
                    elif told is not None or word not in held:
                        held[word] = told

    def _kept(self, calls: Sequence[_Call]) -> Json:
        """The fields of the answer that the endpoint wants to see again, and what it hung on its calls."""
        kept: Json = {name: "".join(pieces) for name, pieces in self._echoes.items() if any(pieces)}
        if self._details:
            kept[self._quirks.echoes[0]] = list(self._details.values())
        if extras := {str(number): call.extra for number, call in enumerate(calls) if call.extra is not None}:
            kept["extra_content"] = extras
        return kept

    @property
    def _counts(self) -> dict[str, Any]:
        usage = self._usage
        details = object_of(usage.get("prompt_tokens_details"))
        read = count_of(details.get("cached_tokens")) or count_of(usage.get("prompt_cache_hit_tokens"))
        shown, said = count_of(usage.get("prompt_tokens")), count_of(usage.get("completion_tokens"))
        return {
            "input_tokens": shown,
            # Some count what was thought in the total alone.
            "output_tokens": max(said, count_of(usage.get("total_tokens")) - shown),
            "cache_read_tokens": read,
            "cache_write_tokens": count_of(details.get("cache_write_tokens")),
        }

    def _finished(self, reason: Reason) -> Finished:
        return Finished(reason, cost=self._cost, **self._counts)

    def _failed(self, reason: str, *, is_transient: bool = True) -> Failed:
        return Failed(reason, is_transient, cost=self._cost, has_begun=self._has_begun, **self._counts)


@dataclass(frozen=True, slots=True)
class _Error:
    """An error as the endpoint tells it."""

    words: str
    is_lasting: bool
    is_too_long: bool


def _error(body: object) -> _Error:
    """What an error says, from whatever shape it came in."""
    if isinstance(body, list) and body:
        body = body[0]
    error = object_of(body).get("error", body)
    if not isinstance(error, dict):
        text = text_of(error).strip()
        words = "a page of HTML instead of an answer" if text.startswith("<") else text or "an error without a message"
        return _Error(words, is_lasting=False, is_too_long=_is_too_long("", text))
    code, kind, message = error.get("code"), text_of(error.get("type")), text_of(error.get("message"))
    name = text_of(code) or text_of(error.get("status")) or kind
    if isinstance(code, int):
        is_lasting = 400 <= code < 500 and code not in TRANSIENT_STATUS
    else:
        is_lasting = bool({name, kind} & _LASTING)
    words = f"{name}: {message}" if name and message else name or message or "an error without a message"
    return _Error(words, is_lasting, _is_too_long(name, message) or _is_too_long(kind, ""))


def _is_too_long(code: str, message: str) -> bool:
    return code in _TOO_LONG_CODES or any(words in message.lower() for words in _TOO_LONG)


def _content(content: object) -> Iterator[ModelEvent]:
    """Text, or, from some, a list of parts in which thinking stands beside text."""
    if isinstance(content, str) and content:
        yield Said(content)
    for part in content if isinstance(content, list) else ():
        match part:
            case {"type": "text", "text": str() as text} if text:
                yield Said(text)
            case {"type": "thinking"}:
                yield Thought()
            case _:
                pass


def _body(request: ModelRequest, names: Mapping[str, str], quirks: Quirks) -> Json:
    body: Json = {
        "model": model_name(request.model),
        "messages": _messages(request, names, quirks),
        "stream": True,
        quirks.max_tokens: max(1, request.max_tokens),
    }
    if quirks.asks_for_usage:
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        specs = {spec.name: spec for spec in request.tools}.values()
        body["tools"] = [_tool(spec, names[spec.name], quirks) for spec in specs]
        if quirks.asks_for_parallel_calls:
            body["parallel_tool_calls"] = True
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.thinking > 0 and quirks.thinking:
        budget = max(MIN_THINKING, request.thinking)
        body[quirks.max_tokens] += budget
        effort = "low" if budget <= LITTLE_THINKING else "medium" if budget <= SOME_THINKING else "high"
        body |= {"reasoning": {"max_tokens": budget}} if quirks.thinking == "tokens" else {"reasoning_effort": effort}
    if request.conversation and quirks.has_cache_key:
        body["prompt_cache_key"] = sha256(request.conversation.encode(errors="replace")).hexdigest()[:32]
    whole: Json = sound({**body, **quirks.extra_body})
    return whole


def _tool(spec: ToolSpec, wire: str, quirks: Quirks) -> Json:
    schema = {"properties": {}, **object_of(parsed(spec.parameters)), "type": "object"}
    parameters = _pruned(schema, quirks.refused_words) if quirks.refused_words else schema
    return {"type": "function", "function": {"name": wire, "description": spec.description, "parameters": parameters}}


def _pruned(schema: Any, refused: frozenset[str]) -> Any:
    """The schema without words that are refused; what merely has the name of such a word stays."""
    if isinstance(schema, list):
        return [_pruned(one, refused) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: Json = {}
    for word, value in schema.items():
        if word in refused:
            continue
        if word in ("properties", "$defs", "definitions") and isinstance(value, dict):
            found[word] = {name: _pruned(inner, refused) for name, inner in value.items()}
        elif word in ("enum", "required", "const"):
            found[word] = value
        else:
            found[word] = _pruned(value, refused)
    return found


def _messages(request: ModelRequest, names: Mapping[str, str], quirks: Quirks) -> list[Json]:
    """The conversation in which no call is without a result, and no result without its call."""
    messages: list[Json] = []
    waiting: dict[str, None] = {}
    if request.system.strip():
        messages.append({"role": "system", "content": request.system})
    late: list[Json] = []
    for message in request.messages:
        match message:
            case Spoken(role="user"):
                late.append(_spoken(message, quirks))
            case Spoken():
                _settle(messages, waiting, late)
                if text := "\n\n".join(_texts(message)):
                    _say(messages, {"role": "assistant", "content": text})
            case ToolCalls():
                _settle(messages, waiting, late)
                asked = _asked(message, names, quirks)
                if asked.get("tool_calls"):
                    messages.append(asked)
                elif asked.get("content"):
                    _say(messages, asked)
                waiting |= dict.fromkeys(call for call, _, _ in message.calls)
            case ToolResult() if message.call in waiting:
                del waiting[message.call]
                content = message.content if message.content.strip() else EMPTY_RESULT
                messages.append({"role": "tool", "tool_call_id": message.call, "content": content})
            case ToolResult():
                late.append({"role": "user", "content": f"{message.tool} returned: {message.content}"})
        if not waiting:
            _settle(messages, waiting, late)
    _settle(messages, waiting, late)
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        messages.append({"role": "user", "content": GO_ON})
    return messages


def _say(messages: list[Json], message: Json) -> None:
    """Add a line; side by side with one of the same speaker they are one, as some models' templates demand."""
    last = messages[-1] if messages else {}
    if last.get("role") != message["role"] or "tool_calls" in last:
        messages.append(message)
        return
    if isinstance(last["content"], str) and isinstance(message["content"], str):
        last["content"] += f"\n\n{message['content']}"
    else:
        last["content"] = _parts(last["content"]) + _parts(message["content"])


def _parts(content: Any) -> list[Json]:
    return [_words(content)] if isinstance(content, str) else list(content)


def _settle(messages: list[Json], waiting: dict[str, None], late: list[Json]) -> None:
    """Before the model speaks again, every call has a result; what the person said meanwhile comes after them."""
    for call in waiting:
        messages.append({"role": "tool", "tool_call_id": call, "content": NO_RESULT})
    waiting.clear()
    for said in late:
        _say(messages, said)
    late.clear()


def _asked(message: ToolCalls, names: Mapping[str, str], quirks: Quirks) -> Json:
    asked: Json = {"role": "assistant"}
    if message.text.strip():
        asked["content"] = message.text
    kept: Json = {}
    if message.model.partition(":")[0] == quirks.name:
        for content in message.kept:
            kept |= object_of(parsed(content))
    extras = object_of(kept.pop("extra_content", None))
    calls: list[Json] = []
    for number, (call, name, arguments) in enumerate(message.calls):
        wire = names.get(name, _NAME.sub("_", name)[:MAX_TOOL_NAME] or "unnamed")
        written = arguments if isinstance(parsed(arguments), dict) else "{}"
        made: Json = {"id": call, "type": "function", "function": {"name": wire, "arguments": written}}
        if str(number) in extras:
            made["extra_content"] = extras[str(number)]
        calls.append(made)
    if calls:
        asked["tool_calls"] = calls
    return {**{name: kept[name] for name in quirks.echoes if name in kept}, **asked}


def _texts(message: Spoken) -> list[str]:
    return [text for text in (message.text, *(told_only(media) for media in message.media)) if text.strip()]


def _spoken(message: Spoken, quirks: Quirks) -> Json:
    parts = [_shown(media, quirks) for media in message.media]
    if message.text.strip() or not parts:
        parts.append(_words(message.text if message.text.strip() else EMPTY_MESSAGE))
    # A list of texts alone is more than some servers read.
    if all(part["type"] == "text" for part in parts):
        return {"role": "user", "content": "\n\n".join(part["text"] for part in parts)}
    return {"role": "user", "content": parts}


def _shown(media: Media, quirks: Quirks) -> Json:
    mime, image = media.type, image_of(media)
    if image and 0 < len(media.data) <= MAX_IMAGE:
        return {"type": "image_url", "image_url": {"url": _url(image, media.data)}}
    if quirks.reads_pdf and mime == "application/pdf" and 0 < len(media.data) <= MAX_PDF:
        name = one_line(media.name) or "document.pdf"
        return {"type": "file", "file": {"filename": name, "file_data": _url(mime, media.data)}}
    if media.is_text:
        text = media.data.decode(errors="replace").replace("\0", "")
        return _words(f"The file {one_line(media.name)} ({mime}) that came with this message:\n\n{text}")
    return _words(told_only(media))


def _url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{b64encode(data).decode()}"


def _words(text: str) -> Json:
    return {"type": "text", "text": text}


def ollama_address(host: str) -> str:
    """The address in OLLAMA_HOST, which may be a host, a host and a port, or a whole address."""
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = "http", host
    place, slash, path = rest.partition("/")
    name, port = place, ""
    if (found := re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?", place)) is not None:
        name, port = found.group(1), found.group(2) or ""
    # Where it listens everywhere, it is to be asked here.
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(name, name)
    if not port and not separator:
        port = "11434"
    path = f"{slash}{path}".rstrip("/")
    return f"{scheme}://{name}{':' if port else ''}{port}{path if path.endswith('/v1') else f'{path}/v1'}"


def _money(value: object) -> Decimal | None:
    """An amount in dollars, exact to the last place that we keep."""
    try:
        amount = Decimal(value) if isinstance(value, int | str | Decimal) and not isinstance(value, bool) else None
        if amount is None or not amount.is_finite() or not 0 <= amount < MOST_MONEY:
            return None
        exponent = amount.as_tuple().exponent
        return amount if isinstance(exponent, int) and -18 <= exponent <= 0 else amount.quantize(CENTS)
    except InvalidOperation:
        return None
