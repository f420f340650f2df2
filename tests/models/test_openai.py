"""What OpenAI and its look-alikes are asked and what is heard of them, through the real SDK and a real wire."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import pytest

from adapters.models import openai as endpoints
from adapters.models.openai import PRESETS, OpenAI
from hub.kernel.events import Called, Failed, Finished, Kept, ModelEvent, Said, Thought
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
from tests.providers.chat import chunk, counted
from tests.providers.scenarios import Scenarios, Told, as_json, raw, said
from tests.providers.server import Answer, Cut, ProviderServer, Reply, Stall, Wait, sse
from tests.providers.speech import Broken, Refusal, Speech, Text, Tool, Usage

KEY = "sk-proj-very-secret"
MODEL = "openai:gpt-5.6"
CLOCK = ToolSpec("clock", "Tells the time.", '{"type":"object","properties":{"timezone":{"type":"string"}}}')
PNG = b"\x89PNG\r\n\x1a\n and so on"
DONE = sse(("", "[DONE]"))

Many = dict[str, OpenAI]


@pytest.fixture(scope="module")
async def listening() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(Scenarios()) as server:
        yield server


@pytest.fixture
def server(listening: ProviderServer) -> ProviderServer:
    listening.asked.clear()
    listening.queue.clear()
    return listening


@pytest.fixture(scope="module")
async def many(listening: ProviderServer) -> AsyncIterator[Many]:
    """Every preset, at the same server."""
    made = {name: OpenAI(quirks, settings(f"{listening.url}/{name}/v1")) for name, quirks in PRESETS.items()}
    yield made
    for model in made.values():
        await model.close()


@pytest.fixture
def gpt(many: Many) -> OpenAI:
    return many["openai"]


def settings(url: str, **more: str) -> ModelSettings:
    keys = {quirks.key_variable: KEY for quirks in PRESETS.values()}
    addresses = {quirks.base_url_variable: url for quirks in PRESETS.values()}
    return ModelSettings({**keys, **addresses, **more}, "/nowhere")


def request(*messages: ModelMessage | str, model: str = MODEL, **more: Any) -> ModelRequest:
    lines = tuple(Spoken("user", one) if isinstance(one, str) else one for one in messages)
    return ModelRequest(model, more.pop("system", "Be brief."), lines, **more)


async def hear(model: Model, asked: ModelRequest) -> list[ModelEvent]:
    async with asyncio.timeout(20), aclosing(model.stream(asked)) as stream:
        return [event async for event in stream]


async def told(server: ProviderServer, model: Model, what: Told, asked: ModelRequest | None = None) -> list[Any]:
    server.queue.append(said(what))
    return await hear(model, asked or request("Hello"))


def text(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Said))


def last_body(server: ProviderServer) -> Any:
    return server.asked[-1].body


def messages(server: ProviderServer) -> list[Any]:
    told: list[Any] = last_body(server)["messages"]
    return told


def piece(name: str | None = None, arguments: Any = None, **more: Any) -> bytes:
    """A piece of a tool call."""
    function = {**({"name": name} if name is not None else {}), "arguments": arguments}
    return chunk({"tool_calls": [{**more, "function": function}]})


async def test_each_delta_is_said_once_and_the_end_tells_what_was_consumed(server: ProviderServer, gpt: OpenAI) -> None:
    events = await told(server, gpt, Speech((Text("Hel"), Text("lo"), Text("!")), Usage(7, 3, 5, 1)))

    assert events == [Said("Hel"), Said("lo"), Said("!"), Finished("end", 7, 3, 5, 1)]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thinking_is_no_part_of_the_answer(server: ProviderServer, many: Many, field: str) -> None:
    stream = chunk({field: "Let me "}) + chunk({field: "see."}) + chunk({"content": "Four."}) + chunk({}, "stop")

    events = await told(server, many["vllm"], raw(stream, DONE), request("2+2?", model="vllm:qwen"))

    assert events == [Thought("Let me "), Thought("see."), Said("Four."), Finished("end")]


async def test_thinking_may_stand_beside_text_in_a_list_of_parts(server: ProviderServer, gpt: OpenAI) -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Four."}, {"type": "new"}, None]

    events = await told(server, gpt, raw(chunk({"content": parts}) + chunk({}, "stop") + DONE))

    assert events == [Thought(), Said("Four."), Finished("end")]


async def test_calls_of_several_tools_come_in_their_order_with_their_own_raw_arguments(
    server: ProviderServer, gpt: OpenAI
) -> None:
    calls = (Tool("clock", ('{"timezone": ', '"UTC" }'), "call_a"), Tool("dice", (), "call_b"))

    events = await told(server, gpt, Speech((Text("Well. "), *calls)))

    assert events == [
        Said("Well. "),
        Called("call_a", "clock", '{"timezone": "UTC" }'),
        Called("call_b", "dice", ""),
        Finished("tools", 11, 5),
    ]


A = Called("call_0", "a", '{"x": 1}')
B = Called("call_1", "b", "{}")


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((piece("a", '{"x": 1}'),), (A,)),
        (
            (piece("a", '{"x": 1}', index=0, id=""), piece("b", None, index=1, id=None)),
            (A, Called("call_1", "b", "")),
        ),
        ((piece("a", '{"x":', id="i"), piece(None, " 1}")), (Called("i", "a", '{"x": 1}'),)),
        ((piece("a", '{"x":', index=0, id="i"), piece("a", " 1}", index=0, id="i")), (Called("i", "a", '{"x": 1}'),)),
        ((piece("a", '{"x":', id="i"), piece("a", " 1}", id="i")), (Called("i", "a", '{"x": 1}'),)),
        ((piece("a", '{"x":'), piece("a", " 1}")), (A,)),
        ((piece("a", '{"x":', index=0, id="i"), piece("", " 1}", index=0, id="j")), (Called("i", "a", '{"x": 1}'),)),
        ((piece("a", '{"x": 1}', index=0), piece("b", "{}", index=0)), (A, B)),
        ((piece("a", '{"x": 1}', index=0), piece("a", "{}", index=0)), (A, Called("call_1", "a", "{}"))),
        (
            (piece("a", '{"x": 1}', id="i"), piece("b", "{}", id="j")),
            (Called("i", "a", '{"x": 1}'), Called("j", "b", "{}")),
        ),
        (
            (piece("a", "{}", index=0, id="i"), piece("a", "{}", index=0, id="j")),
            (Called("i", "a", "{}"), Called("j", "a", "{}")),
        ),
        ((piece("b", "{}", index=5), piece("a", '{"x": 1}', index=2)), (A, B)),
        (
            (piece("a", "", index=0), piece("b", "", index=1), piece(None, "{1", index=1), piece(None, "{0", index=0)),
            (Called("call_0", "a", "{0"), Called("call_1", "b", "{1")),
        ),
        ((piece("a", {"x": 1}, index=0),), (A,)),
        ((piece("a", 5, index="0"), piece(None, None, index=None)), (Called("call_0", "a", ""),)),
        ((piece(None, "{}", index=0), chunk({"tool_calls": [None, 5, {}]}), chunk({"tool_calls": {"a": 1}})), ()),
        (
            (
                chunk({"function_call": {"name": "a", "arguments": '{"x"'}}),
                chunk({"function_call": {"arguments": ": 1}"}}),
            ),
            (A,),
        ),
    ],
    ids=range(17),
)
async def test_calls_are_put_together_from_pieces_of_any_manner(
    server: ProviderServer, gpt: OpenAI, pieces: tuple[bytes, ...], expected: tuple[Called, ...]
) -> None:
    events = await told(server, gpt, raw(*pieces, chunk({}, "stop"), DONE))

    assert events == [*expected, Finished("tools" if expected else "end")]


@pytest.mark.parametrize("arguments", ['{"timezone": "Eu', "{]", "nonsense", "[" * 100_000])
async def test_broken_arguments_stay_visible_and_break_nothing(
    server: ProviderServer, gpt: OpenAI, arguments: str
) -> None:
    events = await told(server, gpt, Speech((Tool("clock", (arguments,)),), stop="length"))

    assert events == [Called("call_1", "clock", arguments), Finished("length", 11, 5)]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end"),
        ("length", "length"),
        ("content_filter", "refusal"),
        ("tool_calls", "end"),
        ("a_new_reason", "end"),
    ],
)
async def test_each_reason_to_stop_has_its_name(server: ProviderServer, gpt: OpenAI, finish: str, reason: Any) -> None:
    events = await told(server, gpt, raw(chunk({"content": "So far"}, finish), DONE))

    assert events == [Said("So far"), Finished(reason)]


async def test_a_refusal_is_said_and_named(server: ProviderServer, gpt: OpenAI) -> None:
    stream = chunk({"refusal": "I can't "}) + chunk({"refusal": "do that."}) + chunk({}, "stop") + DONE

    assert await told(server, gpt, raw(stream)) == [Said("I can't "), Said("do that."), Finished("refusal")]


async def test_an_answer_may_be_empty_or_long(server: ProviderServer, gpt: OpenAI) -> None:
    empty = await told(server, gpt, Speech((), Usage(output=0)))
    long = await told(server, gpt, Speech(tuple(Text("é" * 500) for _ in range(400))))

    assert empty == [Finished("end", 11, 0)]
    assert text(long) == "é" * 200_000


async def test_a_stream_cut_into_single_bytes_is_the_same_stream(server: ProviderServer, gpt: OpenAI) -> None:
    stream = (
        b": hello\n\n" + chunk({"content": "naïve 🙂"}) + chunk({}, "stop") + counted(Usage(2, 1)) + DONE
    ).replace(b"\n", b"\r\n")

    events = await told(server, gpt, raw(*(stream[at : at + 1] for at in range(len(stream)))))

    assert events == [Said("naïve 🙂"), Finished("end", 2, 1)]


@pytest.mark.parametrize("ending", [b"", DONE, b"data: [DONE]", counted(Usage(3, 2)), b"data:[DONE]\n\nnonsense"])
async def test_who_said_why_it_stopped_has_ended_whatever_follows(
    server: ProviderServer, gpt: OpenAI, ending: bytes
) -> None:
    events = await told(server, gpt, raw(chunk({"content": "All."}, "stop"), *([ending] if ending else [])))

    assert events[0] == Said("All.")
    assert isinstance(events[1], Finished)


async def test_a_stream_that_stays_open_after_its_end_keeps_nobody_waiting(server: ProviderServer, gpt: OpenAI) -> None:
    async with asyncio.timeout(10):
        events = await told(server, gpt, raw(chunk({"content": "All."}, "stop"), DONE, Stall()))

    assert events == [Said("All."), Finished("end")]


async def test_usage_that_is_told_again_and_again_is_counted_once(server: ProviderServer, gpt: OpenAI) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4}
    more = {**usage, "completion_tokens": 2}
    stream = chunk({"content": "a"}, usage=usage) + chunk({"content": "b"}, "stop", usage=more) + chunk({}, usage=None)

    events = await told(server, gpt, raw(stream, DONE))

    assert events[-1] == Finished("end", 9, 2, 4)


@pytest.mark.parametrize(
    ("counts", "output"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, 603),
        ({"prompt_tokens": 20, "completion_tokens": 603, "total_tokens": 623}, 603),
        ({"prompt_tokens": 20, "completion_tokens": 603}, 603),
        ({"prompt_tokens": 20, "completion_tokens": 603, "total_tokens": 20}, 603),
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 603,
                "total_tokens": 623,
                "completion_tokens_details": {"reasoning_tokens": 405},
            },
            603,
        ),
    ],
)
async def test_what_was_thought_is_counted_also_where_the_total_alone_tells(
    server: ProviderServer, gpt: OpenAI, counts: dict[str, Any], output: int
) -> None:
    events = await told(server, gpt, raw(chunk({}, "stop", usage=counts), DONE))

    assert events == [Finished("end", 20, output)]


@pytest.mark.parametrize("count", [-1, "7", None, 1.5, True, 2**60, [], {"a": 1}])
async def test_a_count_that_is_none_counts_nothing(server: ProviderServer, gpt: OpenAI, count: object) -> None:
    usage = {
        "prompt_tokens": count,
        "completion_tokens": count,
        "total_tokens": count,
        "prompt_tokens_details": count,
    }

    assert await told(server, gpt, raw(chunk({}, "stop", usage=usage), DONE)) == [Finished("end")]


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        ("0.1", "0.1"),
        ("0.000123456789012345", "0.000123456789012345"),
        ("1.2345e-7", "1.2345e-7"),
        ("0.1234567890123456789012", "0.123456789012345679"),
        ("3", "3"),
        ('"0.25"', "0.25"),
        ("0", "0"),
        ("-1", None),
        ("1e400", None),
        ("NaN", None),
        ("true", None),
        ('"free"', None),
        ("null", None),
    ],
)
async def test_a_cost_the_provider_names_is_exact(
    server: ProviderServer, many: Many, cost: str, expected: str | None
) -> None:
    events = await told(
        server,
        many["openrouter"],
        Speech((Text("x"),), Usage(7, 3, cost=cost)),
        request("Hello", model="openrouter:a/b"),
    )

    assert events[-1] == Finished("end", 7, 3, cost=None if expected is None else Decimal(expected))


@pytest.mark.parametrize(
    "told_so",
    [
        Refusal(400, "context_length_exceeded", "too many tokens"),
        Refusal(400, "invalid_request_error", "This model's maximum context length is 8192 tokens. However ..."),
        as_json({"error": {"code": 400, "message": "x", "type": "exceed_context_size_error"}}, 400),
        raw(sse(("", {"error": {"code": "context_length_exceeded", "message": "x"}}))),
    ],
)
async def test_what_is_too_long_is_full(server: ProviderServer, gpt: OpenAI, told_so: Told) -> None:
    assert await told(server, gpt, told_so) == [Finished("full")]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_what_may_work_later_is_transient(server: ProviderServer, gpt: OpenAI, status: int) -> None:
    (failed,) = await told(server, gpt, Refusal(status, "busy", "not now", (("retry-after", "7"),)))

    assert failed == Failed(f"openai answered {status} busy: not now", is_transient=True, retry_after=7.0)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_what_will_never_work_is_not(server: ProviderServer, gpt: OpenAI, status: int) -> None:
    (failed,) = await told(server, gpt, Refusal(status, "no", "never", (("retry-after", "9"),)))

    assert (failed.is_transient, failed.retry_after) == (False, 0.0)


async def test_an_account_that_is_empty_is_not_asked_again(server: ProviderServer, gpt: OpenAI) -> None:
    (failed,) = await hear(gpt, request("quota"))

    assert failed == Failed("openai answered 429 insufficient_quota: You exceeded your current quota")


async def test_asked_again_after_a_refusal_it_answers(server: ProviderServer, gpt: OpenAI) -> None:
    first = await hear(gpt, request("429 then ok"))
    second = await hear(gpt, request("429 then ok"))

    assert first == [Failed("openai answered 429 rate_limit_error: told to", True, 0.05)]
    assert text(second) == "ok"


@pytest.mark.parametrize(
    ("error", "is_transient", "words"),
    [
        ({"message": "busy", "code": "server_error"}, True, "server_error: busy"),
        ({"message": "busy", "code": 502}, True, "busy"),
        ({"message": "slow down", "code": 429}, True, "slow down"),
        ({"message": "no money", "code": 402}, False, "no money"),
        ({"message": "spent", "type": "insufficient_quota", "code": None}, False, "insufficient_quota: spent"),
        ({"message": "bad", "type": "invalid_request_error"}, False, "invalid_request_error: bad"),
        ("just words", True, "just words"),
        ({}, True, ""),
        ([1], True, "an error without a message"),
        ({"message": None, "code": []}, True, "an error without a message"),
    ],
)
async def test_an_error_inside_the_stream_ends_it(
    server: ProviderServer, gpt: OpenAI, error: Any, is_transient: bool, words: str
) -> None:
    events = await told(server, gpt, raw(chunk({"content": "So far"}), sse(("", {"error": error}))))

    assert events[0] == Said("So far")
    assert isinstance(events[1], Failed)
    assert events[1].is_transient is is_transient
    assert words in events[1].reason


async def test_an_error_beside_choices_ends_the_stream_as_well(server: ProviderServer, many: Many) -> None:
    error = {"code": 502, "message": "Provider disconnected"}
    stream = chunk({"content": "So far"}) + chunk({"content": ""}, "error", error=error)

    events = await told(server, many["openrouter"], raw(stream, DONE), request("Hello", model="openrouter:a/b"))

    reason = "openrouter broke off with Provider disconnected"
    assert events == [Said("So far"), Failed(reason, is_transient=True, has_begun=True)]


async def test_an_error_as_the_reason_to_stop_is_one(server: ProviderServer, gpt: OpenAI) -> None:
    (failed,) = await told(server, gpt, raw(chunk({}, "error"), DONE))

    assert failed == Failed("openai broke off with an error", is_transient=True, has_begun=True)


@pytest.mark.parametrize("body", [None, "text", [], {"error": "no"}, [{"error": {"status": "UNAVAILABLE"}}], {"a": 1}])
async def test_an_error_of_any_shape_is_a_failure(server: ProviderServer, gpt: OpenAI, body: Any) -> None:
    (failed,) = await told(server, gpt, as_json(body, 503))

    assert failed.is_transient
    assert failed.reason.startswith("openai answered 503")


async def test_a_page_of_a_proxy_is_told_without_its_markup(server: ProviderServer, gpt: OpenAI) -> None:
    assert await hear(gpt, request("proxy")) == [
        Failed("openai answered 502 a page of HTML instead of an answer", is_transient=True)
    ]


async def test_a_connection_cut_in_the_middle_of_a_chunk_is_transient(server: ProviderServer, gpt: OpenAI) -> None:
    events = await told(server, gpt, Speech((Text("So far"), Cut())))

    assert events[0] == Said("So far")
    assert isinstance(events[1], Failed)
    assert events[1].is_transient


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (b"\x00\xff\xfe\x80 no stream\n\n\xc3\x28",),
        (b"data: \xff\xfe\n\n",),
        (chunk({"content": ""}), b"data: {\n\n"),
        (chunk({"content": ""})[:40],),
        (b"data: 5\n\n",),
        (b"data: " + b"[" * 200_000 + b"\n\n",),
        (b"<html>we moved</html>",),
        (b'{"id": "x", "choices": []}',),
        (b": nothing but comments\n\n" * 3,),
        (sse(("", {"choices": None}), ("", {"choices": [None, 5, {"delta": None}, {"delta": {"content": 7}}]})),),
    ],
    ids=range(11),
)
async def test_what_is_no_stream_of_chunks_is_transient(
    server: ProviderServer, gpt: OpenAI, steps: tuple[bytes, ...]
) -> None:
    events = await told(server, gpt, raw(*steps))

    assert [type(event) for event in events] == [Failed]
    assert events[0].is_transient


async def test_a_call_in_an_answer_that_broke_off_is_none(server: ProviderServer, gpt: OpenAI) -> None:
    events = await told(server, gpt, raw(piece("clock", "{}", index=0, id="call_a")))

    assert events == [Failed("the answer broke off before its end", is_transient=True, has_begun=True)]


@pytest.mark.parametrize("steps", [(Cut(),), (chunk({"role": "assistant", "content": ""}), Cut())])
async def test_who_broke_off_before_the_first_word_may_have_thought_until_then(
    server: ProviderServer, gpt: OpenAI, steps: tuple[Any, ...]
) -> None:
    (failed,) = await told(server, gpt, raw(*steps))

    assert isinstance(failed, Failed) and failed.has_begun


async def test_whose_first_word_is_an_error_has_not_begun(server: ProviderServer, gpt: OpenAI) -> None:
    error = sse(("", {"error": {"message": "no", "code": "server_error"}}))

    (at_once,) = await told(server, gpt, raw(error))
    (later,) = await told(server, gpt, raw(chunk({"role": "assistant", "content": ""}), error))

    assert (at_once.has_begun, later.has_begun) == (False, True)


async def test_signs_of_life_are_told_only_where_it_is_quiet(server: ProviderServer, gpt: OpenAI) -> None:
    comment, end = b": OPENROUTER PROCESSING\n\n", chunk({}, "stop") + DONE

    lively = await told(server, gpt, raw(*[comment] * 50, end))
    quiet = await told(server, gpt, raw(Wait(1.1), comment, end))

    assert lively[-1] == Finished("end")
    assert len(lively) < 10
    assert quiet == [Thought(), Finished("end")]


async def test_closed_early_the_connection_is_gone_at_once(server: ProviderServer, gpt: OpenAI) -> None:
    server.queue.append(said(Speech((Text("a"), Text("b"), Stall()))))
    stream = gpt.stream(request("Hello"))

    heard = [await anext(stream), await anext(stream)]
    await stream.aclose()

    assert heard == [Said("a"), Said("b")]
    async with asyncio.timeout(5):
        await server.asked[0].is_over.wait()
    assert server.asked[0].has_left


@pytest.mark.parametrize("answer", [said(Speech((Text("a"), Stall()))), said(Speech((Stall(),))), Answer(wait=60)])
async def test_cancelled_the_connection_is_gone_at_once(
    server: ProviderServer, gpt: OpenAI, answer: Answer | Reply
) -> None:
    server.queue.append(answer)
    listening = asyncio.create_task(hear(gpt, request("Hello")))
    await server.until_asked(1)

    listening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await listening
    async with asyncio.timeout(5):
        await server.asked[0].is_over.wait()
    assert server.asked[0].has_left


async def test_one_connection_serves_one_call_after_another(server: ProviderServer, gpt: OpenAI) -> None:
    for _ in range(3):
        await hear(gpt, request("Hello"))

    assert len({asked.connection for asked in server.asked}) == 1


async def test_many_calls_side_by_side_are_heard_apart(server: ProviderServer, gpt: OpenAI) -> None:
    heard = await asyncio.gather(*(hear(gpt, request(f"line {number}")) for number in range(20)))

    assert [text(events) for events in heard] == [f"line {number}" for number in range(20)]


@pytest.mark.parametrize(
    ("make", "variables", "words"),
    [
        (endpoints.openai, {}, "OPENAI_API_KEY is not set"),
        (endpoints.openrouter, {"OPENAI_API_KEY": KEY}, "OPENROUTER_API_KEY is not set"),
        (endpoints.gemini, {}, "GEMINI_API_KEY is not set"),
        (endpoints.openai_like, {}, "OPENAI_LIKE_BASE_URL is not set"),
        (endpoints.openai_like, {"OPENAI_LIKE_BASE_URL": "example"}, "OPENAI_LIKE_BASE_URL is no address"),
        (endpoints.ollama, {"OLLAMA_HOST": "http://a:b:c"}, "OLLAMA_HOST is no address"),
        (endpoints.vllm, {"VLLM_BASE_URL": "http://[::1"}, "VLLM_BASE_URL is no address"),
        (endpoints.lmstudio, {"LMSTUDIO_API_KEY": "a\nb"}, "LMSTUDIO_API_KEY holds characters"),
    ],
)
async def test_a_wrong_surrounding_is_a_failure_that_names_the_variable(
    make: Callable[[ModelSettings], Model], variables: dict[str, str], words: str
) -> None:
    (failed,) = await hear(make(ModelSettings(variables, "")), request("Hello"))

    assert isinstance(failed, Failed)
    assert failed.reason.startswith(words)
    assert not failed.is_transient


@pytest.mark.parametrize(
    ("more", "words"), [({"model": "openai:"}, "names no model"), ({"own_tools": ("magic",)}, "'magic'")]
)
async def test_what_cannot_be_asked_is_a_failure_that_says_why(gpt: OpenAI, more: dict[str, Any], words: str) -> None:
    (failed,) = await hear(gpt, request("Hello", **more))

    assert isinstance(failed, Failed)
    assert words in failed.reason


async def test_where_nobody_listens_the_failure_is_transient() -> None:
    async with ProviderServer(Scenarios()) as gone:
        address = gone.url
    model = OpenAI(PRESETS["ollama"], settings(address))

    (failed,) = await hear(model, request("Hello", model="ollama:qwen3"))
    await model.close()

    assert isinstance(failed, Failed)
    assert failed.is_transient
    assert "could not be reached" in failed.reason


@pytest.mark.parametrize("words", [f"the key {KEY} is wrong", KEY * 200, "a " * 600 + KEY, f"{'x' * 495}{KEY}"])
async def test_a_reason_is_short_and_tells_no_key(server: ProviderServer, gpt: OpenAI, words: str) -> None:
    (before,) = await told(server, gpt, Refusal(401, "invalid_api_key", words))
    (midway,) = await told(server, gpt, Speech((Broken("server_error", words),)))

    for failed in (before, midway):
        assert KEY not in failed.reason
        assert KEY[:12] not in failed.reason
        assert len(failed.reason) <= 500


async def test_the_key_is_told_to_the_provider_alone(
    server: ProviderServer, gpt: OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        await hear(gpt, request("401"))

    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in caplog.text


async def test_a_look_alike_is_told_nothing_of_the_account_at_openai(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-from-the-surroundings")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-from-the-surroundings")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "admin-from-the-surroundings")
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", "hook-from-the-surroundings")
    monkeypatch.setenv(
        "OPENAI_CUSTOM_HEADERS", "X-Gateway: from-the-surroundings\nAuthorization: from-the-surroundings"
    )
    local = endpoints.vllm(ModelSettings({"VLLM_BASE_URL": server.url}, ""))
    original = endpoints.openai(settings(server.url, OPENAI_ORG_ID="org-told"))

    await hear(local, request("Hello", model="vllm:qwen"))
    await hear(original, request("Hello"))
    for model in (local, original):
        assert isinstance(model, OpenAI)
        await model.close()

    assert server.asked[0].headers["authorization"] == "Bearer none"
    assert "from-the-surroundings" not in str(server.asked[0].headers)
    assert server.asked[1].headers["openai-organization"] == "org-told"
    assert server.asked[1].headers["x-gateway"] == "from-the-surroundings"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
async def test_no_proxy_hears_what_a_model_of_this_machine_is_asked(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    local = endpoints.vllm(ModelSettings({"VLLM_BASE_URL": server.url.replace("127.0.0.1", host)}, ""))

    *_, end = await hear(local, request("Hello", model="vllm:qwen"))
    await local.close()

    assert isinstance(end, Finished), end


@pytest.mark.parametrize(("without", "is_asked"), [("", True), ("model.invalid", False)])
async def test_the_surroundings_say_which_proxy_leads_to_other_machines(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch, without: str, is_asked: bool
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", without)
    far = endpoints.vllm(ModelSettings({"VLLM_BASE_URL": "http://model.invalid/v1"}, ""))

    *_, end = await hear(far, request("Hello", model="vllm:qwen"))
    await far.close()

    assert isinstance(end, Finished) is is_asked, end
    assert [one.path for one in server.asked] == ["http://model.invalid/v1/chat/completions"] * is_asked


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("", "http://127.0.0.1:11434/v1"),
        ("box", "http://box:11434/v1"),
        ("box:1", "http://box:1/v1"),
        (":1", "http://127.0.0.1:1/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0:5", "http://127.0.0.1:5/v1"),
        ("http://box", "http://box/v1"),
        ("https://box/", "https://box/v1"),
        ("https://box:8/ollama/", "https://box:8/ollama/v1"),
        ("http://box:1/v1", "http://box:1/v1"),
        ("[::1]", "http://[::1]:11434/v1"),
        ("[::]:7", "http://[::1]:7/v1"),
    ],
)
def test_ollama_is_where_its_host_variable_says(host: str, address: str) -> None:
    assert endpoints.ollama_address(host) == address


REQUESTS: dict[str, dict[str, Any]] = {
    "openai": {
        "max_completion_tokens": 2_100,
        "reasoning_effort": "low",
        "parallel_tool_calls": True,
        "stream_options": {"include_usage": True},
        "prompt_cache_key": "87428fc522803d31065e7bce3cf03fe4",
    },
    "ollama": {"max_tokens": 100, "stream_options": {"include_usage": True}},
    "vllm": {"max_tokens": 100, "stream_options": {"include_usage": True}},
    "lmstudio": {"max_tokens": 100, "stream_options": {"include_usage": True}},
    "openrouter": {"max_tokens": 2_100, "reasoning": {"max_tokens": 2_000}, "usage": {"include": True}},
    "gemini": {"max_tokens": 2_100, "reasoning_effort": "low", "stream_options": {"include_usage": True}},
    "openai_like": {"max_tokens": 100, "stream_options": {"include_usage": True}},
}


@pytest.mark.parametrize("name", PRESETS)
async def test_each_endpoint_is_asked_in_its_own_manner(server: ProviderServer, many: Many, name: str) -> None:
    asked = request(
        "Hello", model=f"{name}:m", max_tokens=100, temperature=0.5, thinking=2_000, tools=(CLOCK,), conversation="a\n"
    )

    events = await hear(many[name], asked)

    assert text(events) == "Hello"
    assert isinstance(events[-1], Finished)
    assert events[-1].input_tokens == 11
    function = {"name": "clock", "description": "Tells the time.", "parameters": json.loads(CLOCK.parameters)}
    assert last_body(server) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "stream": True,
        "temperature": 0.5,
        "tools": [{"type": "function", "function": function}],
        **REQUESTS[name],
    }


async def test_the_least_is_sent(server: ProviderServer, many: Many) -> None:
    await hear(many["openrouter"], ModelRequest("openrouter:meta/llama:free", "", (Spoken("user", "Hello"),)))

    assert last_body(server) == {
        "model": "meta/llama:free",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "max_tokens": 8_192,
        "usage": {"include": True},
    }


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("",),
        (Spoken("assistant", "I greet you"),),
        (Spoken("assistant", "I greet you"), "Hello"),
        ("Hello", Spoken("assistant", "I began to say ")),
        ("Hello", Spoken("assistant", "")),
        (ToolResult("lost", "clock", "noon"), "Hello"),
        ("Hello", ToolCalls("", (("c1", "clock", "{}"),))),
        ("Hello", ToolCalls("", (("c1", "clock", "{}"),)), "And?"),
        ("Hello", ToolCalls("", (("c1", "clock", "{}"),)), Spoken("assistant", "So."), ToolResult("c1", "clock", "x")),
        ("Hello", ToolCalls("", (("c1", "clock", "{}"),)), "Hurry", ToolResult("c1", "clock", "x")),
        ("Hello", ToolCalls("", (("a/b c", "no such.tool", "[1]"),)), ToolResult("a/b c", "no such.tool", "", True)),
        ("Hello", ToolCalls("Paused", (), ('{"type": "server_tool_use"}',), "anthropic:claude-sonnet-5")),
        ("Hello", ToolCalls("", (), ("no json", "[]"), MODEL)),
        ("half a character \ud800", ToolCalls("\udfff", (("c1", "clock", '{"a": "\\ud800"}'),), model=MODEL)),
    ],
    ids=range(15),
)
async def test_whatever_the_conversation_looks_like_the_api_takes_it(
    server: ProviderServer, gpt: OpenAI, lines: tuple[ModelMessage | str, ...]
) -> None:
    events = await hear(gpt, request(*lines))

    assert isinstance(events[-1], Finished)


async def test_lines_of_one_speaker_are_one_message(server: ProviderServer, gpt: OpenAI) -> None:
    picture = Spoken("user", "Three", (Media("image", "a.png", "image/png", PNG),))

    await hear(gpt, request("One", "Two", Spoken("assistant", "A"), Spoken("assistant", "B"), "  ", picture))

    assert [message["role"] for message in messages(server)] == ["system", "user", "assistant", "user"]
    assert messages(server)[1]["content"] == "One\n\nTwo"
    assert messages(server)[2]["content"] == "A\n\nB"
    assert [part["type"] for part in messages(server)[3]["content"]] == ["text", "image_url", "text"]


async def test_every_call_is_followed_by_its_results_and_then_by_what_was_said_meanwhile(
    server: ProviderServer, gpt: OpenAI
) -> None:
    calls = ToolCalls("Well. ", (("c1", "clock", '{"timezone":"UTC"}'), ("c2", "dice", "broken")), model=MODEL)
    results = (ToolResult("c1", "clock", "noon"), ToolResult("c2", "dice", "", is_error=True))
    picture = Spoken("user", "Hurry", (Media("image", "a.png", "image/png", PNG),))

    await hear(gpt, request("Hello", calls, results[0], picture, results[1], "Now"))

    assert messages(server)[2:5] == [
        {
            "role": "assistant",
            "content": "Well. ",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": '{"timezone":"UTC"}'}},
                {"id": "c2", "type": "function", "function": {"name": "dice", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        {"role": "tool", "tool_call_id": "c2", "content": "(nothing)"},
    ]
    assert [part["type"] for part in messages(server)[5]["content"]] == ["image_url", "text", "text"]


@pytest.mark.parametrize(
    ("name", "deltas", "kept"),
    [
        (
            "openrouter",
            (
                {"reasoning_details": [{"type": "reasoning.text", "text": "Let ", "index": 0, "format": "f"}]},
                {"reasoning_details": [{"type": "reasoning.text", "text": "me", "index": 0, "signature": None}]},
                {"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]},
            ),
            {
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "Let me", "index": 0, "format": "f", "signature": "s"}
                ]
            },
        ),
        ("openai_like", ({"reasoning_content": "Let "}, {"reasoning_content": "me"}), {"reasoning_content": "Let me"}),
    ],
)
async def test_what_an_endpoint_wants_to_see_again_with_a_call_goes_back_as_it_came(
    server: ProviderServer, many: Many, name: str, deltas: tuple[dict[str, Any], ...], kept: dict[str, Any]
) -> None:
    model = f"{name}:m"
    stream = (
        *(chunk(delta) for delta in deltas),
        piece("clock", "{}", index=0, id="c1"),
        chunk({}, "tool_calls"),
        DONE,
    )
    events = await told(server, many[name], raw(*stream), request("Hello", model=model))
    told_back = tuple(event.content for event in events if isinstance(event, Kept))
    calls = ToolCalls("", (("d-1", "clock", "{}"),), told_back, model)

    await told(server, many[name], raw(DONE), request("Hello", calls, ToolResult("d-1", "clock", "x"), model=model))
    again = messages(server)[2]
    await hear(many["vllm"], request("Hello", calls, ToolResult("d-1", "clock", "x"), model="vllm:m"))

    assert [json.loads(content) for content in told_back] == [kept]
    assert {key: again[key] for key in kept} == kept
    assert not kept.keys() & messages(server)[2].keys()


async def test_what_hangs_on_a_call_goes_back_with_it(server: ProviderServer, many: Many) -> None:
    extra = {"google": {"thought_signature": "abc"}}
    call = {"index": 0, "id": "c1", "function": {"name": "clock", "arguments": "{}"}, "extra_content": extra}
    model = "gemini:gemini-3-pro"
    stream = (chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), DONE)
    events = await told(server, many["gemini"], raw(*stream), request("Hello", model=model))
    kept = tuple(event.content for event in events if isinstance(event, Kept))

    calls = ToolCalls("", (("d-1", "clock", "{}"),), kept, model)
    await hear(many["gemini"], request("Hello", calls, ToolResult("d-1", "clock", "x"), model=model))

    assert messages(server)[2]["tool_calls"][0]["extra_content"] == extra


async def test_a_schema_is_sent_without_the_words_an_endpoint_refuses(server: ProviderServer, many: Many) -> None:
    schema = {
        "$schema": "x",
        "additionalProperties": False,
        "properties": {"default": {"type": "string", "default": "a"}, "n": {"anyOf": [{"$id": 1, "type": "null"}]}},
        "required": ["default"],
    }
    tools = (ToolSpec("t", "Does.", json.dumps(schema)), ToolSpec("u", "Does.", "no json"))

    await hear(many["gemini"], request("Hello", tools=tools, model="gemini:g"))
    pruned = [tool["function"]["parameters"] for tool in last_body(server)["tools"]]
    await hear(many["openai"], request("Hello", tools=tools))

    assert pruned == [
        {
            "type": "object",
            "properties": {"default": {"type": "string"}, "n": {"anyOf": [{"type": "null"}]}},
            "required": ["default"],
        },
        {"type": "object", "properties": {}},
    ]
    assert last_body(server)["tools"][0]["function"]["parameters"] == {**schema, "type": "object"}


async def test_a_tool_whose_name_the_api_refuses_goes_by_another_and_is_called_by_its_own(
    server: ProviderServer, gpt: OpenAI
) -> None:
    names = ("git.log", "git/log", "x" * 70, "")
    tools = tuple(ToolSpec(name, "Does.", "{}") for name in (*names, "git.log"))
    wire = ("git_log", "git_log_2", "x" * 64, "unnamed")

    events = await told(
        server, gpt, Speech(tuple(Tool(name, call=name) for name in wire)), request("Hello", tools=tools)
    )

    assert [tool["function"]["name"] for tool in last_body(server)["tools"]] == list(wire)
    assert [event.tool for event in events if isinstance(event, Called)] == list(names)


async def test_images_and_texts_are_shown_pdfs_where_they_are_read_and_anything_else_is_told_of(
    server: ProviderServer, many: Many
) -> None:
    media = (
        Media("image", "a.png", "image/png", PNG),
        Media("document", "paper\n.pdf", "application/pdf", b"%PDF-1.7"),
        Media("document", "notes.md", "text/markdown; charset=utf-8", b"# Na\xff"),
        Media("voice", "voice.ogg", "audio/ogg", b"OggS"),
    )

    await hear(many["openai"], request(Spoken("user", "Look", media)))
    shown = messages(server)[1]["content"]
    await hear(many["ollama"], request(Spoken("user", "Look", media), model="ollama:m"))
    elsewhere = messages(server)[1]["content"]
    await hear(many["ollama"], request(Spoken("user", "Look", media[2:]), model="ollama:m"))
    only_text = messages(server)[1]["content"]

    assert shown[0] == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64(PNG)}"}}
    data = f"data:application/pdf;base64,{base64(b'%PDF-1.7')}"
    assert shown[1] == {"type": "file", "file": {"filename": "paper .pdf", "file_data": data}}
    assert shown[2]["text"] == "The file notes.md (text/markdown) that came with this message:\n\n# Na\ufffd"
    assert "voice.ogg" in shown[3]["text"]
    assert shown[4] == {"type": "text", "text": "Look"}
    assert elsewhere[1]["type"] == "text"
    assert "paper .pdf" in elsewhere[1]["text"]
    assert isinstance(only_text, str)


def base64(data: bytes) -> str:
    return b64encode(data).decode()


async def test_thinking_of_the_original_has_room_and_effort(server: ProviderServer, gpt: OpenAI) -> None:
    found = []
    for tokens in (1, 9_000, 50_000):
        await hear(gpt, request("think", thinking=tokens, max_tokens=10))
        found.append((last_body(server)["reasoning_effort"], last_body(server)["max_completion_tokens"]))

    assert found == [("low", 1_034), ("medium", 9_010), ("high", 50_010)]


async def test_deeply_nested_json_is_a_failure_and_no_exception(gpt: OpenAI) -> None:
    deep = '{"a":' * 400 + "1" + "}" * 400

    events = await hear(gpt, request("Hello", tools=(ToolSpec("t", "Does.", deep),)))

    assert isinstance(events[-1], Finished | Failed)
