"""What Claude is asked and what is heard of it, through the real SDK and a server that speaks the real wire."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from adapters.models.anthropic import Anthropic, provider
from hub.kernel.events import Called, Did, Failed, Finished, Kept, ModelEvent, Said, Thought
from hub.kernel.ports import (
    Media,
    ModelMessage,
    ModelRequest,
    ModelSettings,
    Spoken,
    ToolCalls,
    ToolResult,
    ToolSpec,
)
from tests.providers.claude import REDACTED, signature
from tests.providers.scenarios import Scenarios, Told, as_json, raw, said
from tests.providers.server import Answer, Cut, ProviderServer, Reply, Stall, Wait, sse
from tests.providers.speech import Broken, Refusal, Search, Speech, Text, Thinking, Tool, Usage

KEY = "sk-ant-api03-very-secret"
MODEL = "anthropic:claude-sonnet-5"
OLDER = "anthropic:claude-sonnet-4-5"
CLOCK = ToolSpec("clock", "Tells the time.", '{"type":"object","properties":{"timezone":{"type":"string"}}}')
ADAPTIVE = {"type": "adaptive", "display": "summarized"}
MARK = {"cache_control": {"type": "ephemeral"}}
PNG = b"\x89PNG\r\n\x1a\n and so on"


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
async def claude(listening: ProviderServer) -> AsyncIterator[Anthropic]:
    model = Anthropic(settings(listening.url))
    yield model
    await model.close()


def settings(url: str, key: str = KEY) -> ModelSettings:
    return ModelSettings({"ANTHROPIC_API_KEY": key, "ANTHROPIC_BASE_URL": url}, "/nowhere")


def request(*messages: ModelMessage | str, model: str = MODEL, **more: Any) -> ModelRequest:
    lines = tuple(Spoken("user", one) if isinstance(one, str) else one for one in messages)
    return ModelRequest(model, more.pop("system", "Be brief."), lines, **more)


async def hear(model: Anthropic, asked: ModelRequest) -> list[ModelEvent]:
    async with asyncio.timeout(20), aclosing(model.stream(asked)) as stream:
        return [event async for event in stream]


async def told(server: ProviderServer, model: Anthropic, what: Told, asked: ModelRequest | None = None) -> list[Any]:
    server.queue.append(said(what))
    return await hear(model, asked or request("Hello"))


def text(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Said))


def last_body(server: ProviderServer) -> Any:
    return server.asked[-1].body


async def test_each_delta_is_said_once_and_the_end_tells_what_was_consumed(
    server: ProviderServer, claude: Anthropic
) -> None:
    events = await told(server, claude, Speech((Text("Hel"), Text("lo"), Text("!")), Usage(input=7, output=3)))

    assert events == [Said("Hel"), Said("lo"), Said("!"), Finished("end", 7, 3)]


async def test_input_counts_what_was_read_from_a_cache_and_what_was_written_to_it(
    server: ProviderServer, claude: Anthropic
) -> None:
    events = await told(server, claude, Speech((Text("x"),), Usage(input=5_000, output=7, read=4_000, written=900)))

    assert events[-1] == Finished("end", 5_000, 7, 4_000, 900)


async def test_counts_that_come_with_the_end_alone_are_counted(server: ProviderServer, claude: Anthropic) -> None:
    usage = {"input_tokens": 30, "output_tokens": 4, "cache_read_input_tokens": 12}
    stream = sse(
        ("", {"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}}),
        ("", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}),
        ("", {"type": "message_stop"}),
    )

    assert await told(server, claude, raw(stream)) == [Finished("end", 42, 4, 12)]


@pytest.mark.parametrize("count", [-1, "7", None, 1.5, True, 2**60, [], {"a": 1}])
async def test_a_count_that_is_none_counts_nothing(server: ProviderServer, claude: Anthropic, count: object) -> None:
    stream = sse(
        ("", {"type": "message_start", "message": {"usage": {"input_tokens": count, "output_tokens": count}}}),
        ("", {"type": "message_stop"}),
    )

    assert await told(server, claude, raw(stream)) == [Finished("end")]


async def test_thinking_is_no_part_of_the_answer_and_is_kept_as_it_was(
    server: ProviderServer, claude: Anthropic
) -> None:
    events = await told(server, claude, Speech((Thinking(("Let me ", "see.")), Text("Four."))))

    assert events[:3] == [Thought(), Thought("Let me "), Thought("see.")]
    assert json.loads(events[3].content) == {
        "type": "thinking",
        "thinking": "Let me see.",
        "signature": signature("Let me see."),
    }
    assert events[4:] == [Said("Four."), Finished("end", 11, 5)]


async def test_calls_of_several_tools_come_in_their_order_with_their_own_raw_arguments(
    server: ProviderServer, claude: Anthropic
) -> None:
    calls = (Tool("clock", ('{"timezone": ', '"UTC" }'), "toolu_1"), Tool("dice", ("",), "toolu_2"))

    events = await told(server, claude, Speech((Text("Well. "), *calls)))

    assert events == [
        Said("Well. "),
        Called("toolu_1", "clock", '{"timezone": "UTC" }'),
        Called("toolu_2", "dice", ""),
        Finished("tools", 11, 5),
    ]


@pytest.mark.parametrize("arguments", ['{"timezone": "Eu', "{]", "nonsense", "[" * 100_000, '"\\ud800'])
async def test_broken_arguments_stay_visible_and_break_nothing(
    server: ProviderServer, claude: Anthropic, arguments: str
) -> None:
    events = await told(server, claude, Speech((Tool("clock", (arguments,)),), stop="length"))

    assert events == [Called("call_1", "clock", arguments), Finished("length", 11, 5)]


async def test_a_call_that_never_stopped_is_still_a_call(server: ProviderServer, claude: Anthropic) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {"timezone": "UTC"}}
    stream = sse(
        ("", {"type": "content_block_start", "index": 0, "content_block": block}), ("", {"type": "message_stop"})
    )

    events = await told(server, claude, raw(stream))

    assert events == [Called("toolu_1", "clock", '{"timezone": "UTC"}'), Finished("tools")]


async def test_the_providers_own_tools_are_shown_and_kept_with_the_text_between_them(
    server: ProviderServer, claude: Anthropic
) -> None:
    parts = (Text("I look. "), Search("factory"), Text("Hm. "), Search("works", is_ok=False), Text("No."))

    events = await told(server, claude, Speech(parts), request("?", own_tools=("web_search",)))

    kept = [json.loads(event.content) for event in events if isinstance(event, Kept)]
    assert text(events) == "I look. Hm. No."
    assert [block["type"] for block in kept] == [
        "text",
        "server_tool_use",
        "web_search_tool_result",
        "text",
        "server_tool_use",
        "web_search_tool_result",
    ]
    assert kept[1]["input"] == {"query": "factory"}
    assert [event for event in events if isinstance(event, Did)] == [
        Did("srvtoolu_1", "web_search", "running", "Using web_search: factory", "read"),
        Did("srvtoolu_1", "web_search", "ok", "Used web_search", "read"),
        Did("srvtoolu_4", "web_search", "running", "Using web_search: works", "read"),
        Did("srvtoolu_4", "web_search", "error", "web_search did not work", "read"),
    ]
    assert last_body(server)["tools"] == [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]


async def test_a_block_nobody_knows_yet_is_kept_unchanged(server: ProviderServer, claude: Anthropic) -> None:
    block: dict[str, Any] = {"type": "dream", "about": "", "scenes": [1], "odd": {"a": None}}
    stream = sse(
        ("", {"type": "message_start", "message": {}}),
        ("", {"type": "a_new_kind_of_event"}),
        ("", {"type": "content_block_start", "index": 0, "content_block": block}),
        ("", {"type": "content_block_delta", "index": 0, "delta": {"type": "dream_delta", "about": "she"}}),
        ("", {"type": "content_block_delta", "index": 0, "delta": {"type": "dream_delta", "about": "ep"}}),
        ("", {"type": "content_block_delta", "index": 0, "delta": {"type": "dream_delta", "scenes": [2], "end": 1}}),
        ("", {"type": "content_block_stop", "index": 0}),
        ("", {"type": "message_delta", "delta": {"stop_reason": "a_new_reason"}, "usage": None}),
        ("", {"type": "message_stop"}),
    )

    events = await told(server, claude, raw(stream))

    assert json.loads(events[0].content) == {
        "type": "dream",
        "about": "sheep",
        "scenes": [1, 2],
        "odd": {"a": None},
        "end": 1,
    }
    assert events[1:] == [Finished("end")]


@pytest.mark.parametrize(
    ("stop", "reason"),
    [("length", "length"), ("refusal", "refusal"), ("pause", "pause"), ("full", "full"), ("end", "end")],
)
async def test_each_reason_to_stop_has_its_name(
    server: ProviderServer, claude: Anthropic, stop: Any, reason: Any
) -> None:
    events = await told(server, claude, Speech((Text("So far"),), stop=stop))

    assert events == [Said("So far"), Finished(reason, 11, 5)]


async def test_an_answer_may_be_empty_or_long(server: ProviderServer, claude: Anthropic) -> None:
    empty = await told(server, claude, Speech((), Usage(output=0)))
    long = await told(server, claude, Speech(tuple(Text("é" * 500) for _ in range(400))))

    assert empty == [Finished("end", 11, 1)]
    assert text(long) == "é" * 200_000


async def test_a_stream_cut_into_single_bytes_is_the_same_stream(server: ProviderServer, claude: Anthropic) -> None:
    server.queue.append(said(Speech((Text("naïve 🙂"),))))
    whole = await hear(claude, request("Hello"))
    stream = sse(
        ("message_start", {"type": "message_start", "message": {"usage": {"input_tokens": 11, "output_tokens": 5}}}),
        ("content_block_delta", {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "naïve 🙂"}}),
        ("message_stop", {"type": "message_stop"}),
    ).replace(b"\n", b"\r\n")

    pieces = await told(server, claude, raw(*(stream[at : at + 1] for at in range(len(stream)))))

    assert pieces == whole


async def test_what_was_refused_because_it_is_too_long_is_full(server: ProviderServer, claude: Anthropic) -> None:
    words = "prompt is too long: 215000 tokens > 200000 maximum"
    midway = Speech((Text("So"), Broken("invalid_request_error", words)))

    assert await told(server, claude, Refusal(400, "invalid_request_error", words)) == [Finished("full")]
    assert (await told(server, claude, midway))[-1] == Finished("full", 11, 1)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_what_may_work_later_is_transient(server: ProviderServer, claude: Anthropic, status: int) -> None:
    (failed,) = await told(server, claude, Refusal(status, "api_error", "not now"))

    assert failed == Failed(f"anthropic answered {status} api_error: not now", is_transient=True)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_what_will_never_work_is_not(server: ProviderServer, claude: Anthropic, status: int) -> None:
    (failed,) = await told(server, claude, Refusal(status, "some_error", "no", (("retry-after", "9"),)))

    assert isinstance(failed, Failed)
    assert (failed.is_transient, failed.retry_after) == (False, 0.0)


async def test_the_provider_itself_may_say_whether_to_try_again(server: ProviderServer, claude: Anthropic) -> None:
    (never,) = await told(server, claude, Refusal(429, "rate_limit_error", "no", (("x-should-retry", "false"),)))
    (again,) = await told(server, claude, Refusal(400, "api_error", "well", (("x-should-retry", "true"),)))

    assert (never.is_transient, again.is_transient) == (False, True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((("retry-after", "7"),), 7.0),
        ((("retry-after", "0.5"),), 0.5),
        ((("retry-after-ms", "1500"), ("retry-after", "7")), 1.5),
        ((("retry-after", "Sat, 21 Nov 2026 10:00:30 GMT"), ("date", "Sat, 21 Nov 2026 10:00:00 GMT")), 30.0),
        ((("retry-after", "Sat, 21 Nov 2026 09:00:00 GMT"), ("date", "Sat, 21 Nov 2026 10:00:00 GMT")), 0.0),
        ((("retry-after", "-3"),), 0.0),
        ((("retry-after", "nan"),), 0.0),
        ((("retry-after", "inf"),), 0.0),
        ((("retry-after", "soon"),), 0.0),
        ((("retry-after", ""),), 0.0),
    ],
)
async def test_how_long_to_wait_is_read_from_the_headers(
    server: ProviderServer, claude: Anthropic, headers: tuple[tuple[str, str], ...], seconds: float
) -> None:
    (failed,) = await told(server, claude, Refusal(429, "rate_limit_error", "slow down", headers))

    assert failed.retry_after == seconds


async def test_a_date_to_wait_for_is_seen_from_now(server: ProviderServer, claude: Anthropic) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)

    (failed,) = await told(server, claude, Refusal(529, "overloaded_error", "busy", (("retry-after", when),)))

    assert 290 < failed.retry_after <= 300


async def test_asked_again_after_a_refusal_it_answers(server: ProviderServer, claude: Anthropic) -> None:
    first = await hear(claude, request("429 then ok"))
    second = await hear(claude, request("429 then ok"))

    assert first == [Failed("anthropic answered 429 rate_limit_error: told to", True, 0.05)]
    assert text(second) == "ok"


@pytest.mark.parametrize(
    ("kind", "is_transient"),
    [
        ("overloaded_error", True),
        ("api_error", True),
        ("rate_limit_error", True),
        ("timeout_error", True),
        ("a_new_error", True),
        ("invalid_request_error", False),
        ("authentication_error", False),
        ("billing_error", False),
    ],
)
async def test_an_error_in_the_middle_keeps_what_was_said_and_consumed(
    server: ProviderServer, claude: Anthropic, kind: str, is_transient: bool
) -> None:
    events = await told(server, claude, Speech((Text("So far"), Broken(kind, "gone"))))

    reason = f"anthropic broke off with {kind}: gone"
    assert events == [Said("So far"), Failed(reason, is_transient, input_tokens=11, output_tokens=1, has_begun=True)]


@pytest.mark.parametrize("error", [None, "text", [], {"error": None}, {"error": "no"}, {"error": {"type": 5}}])
async def test_an_error_of_any_shape_is_a_failure(server: ProviderServer, claude: Anthropic, error: Any) -> None:
    event = {"type": "error", **(error if isinstance(error, dict) else {"error": error})}

    (midway,) = await told(server, claude, raw(sse(("error", event))))
    (before,) = await told(server, claude, as_json(error, 500))

    assert midway.is_transient and before.is_transient
    assert before.reason.startswith("anthropic answered 500")


async def test_a_page_of_a_proxy_is_told_without_its_markup(server: ProviderServer, claude: Anthropic) -> None:
    assert await hear(claude, request("proxy")) == [
        Failed("anthropic answered 502: a page of HTML instead of an answer", is_transient=True)
    ]


async def test_a_connection_cut_in_the_middle_of_a_chunk_is_transient(
    server: ProviderServer, claude: Anthropic
) -> None:
    events = await told(server, claude, Speech((Text("So far"), Cut())))

    assert events[0] == Said("So far")
    assert isinstance(events[1], Failed)
    assert events[1].is_transient
    assert events[1].input_tokens == 11


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (b"\x00\xff\xfe\x80 no stream\n\n\xc3\x28",),
        (b"data: \xff\xfe\n\n",),
        (b"data: {\n\n",),
        (b"data: 5\n\n",),
        (b"data: " + b"[" * 200_000 + b"\n\n",),
        (b"<html>we moved</html>",),
        (b"data: {}\n\ndata: null",),
        (b": nothing but comments\n\n" * 3,),
    ],
    ids=range(9),
)
async def test_what_is_no_stream_of_events_is_transient(
    server: ProviderServer, claude: Anthropic, steps: tuple[bytes, ...]
) -> None:
    events = await told(server, claude, raw(*steps))

    assert [type(event) for event in events] == [Failed]
    assert events[0].is_transient


async def test_a_stream_that_ends_too_soon_broke_off(server: ProviderServer, claude: Anthropic) -> None:
    start = sse(("", {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}))

    events = await told(server, claude, raw(start))

    reason = "the answer broke off before its end"
    assert events == [Failed(reason, True, input_tokens=9, output_tokens=1, has_begun=True)]


async def test_who_broke_off_before_the_first_word_has_begun_and_whose_first_word_is_an_error_has_not(
    server: ProviderServer, claude: Anthropic
) -> None:
    start = sse(("", {"type": "message_start", "message": {}}))
    error = sse(("error", {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}))

    failed = [(await told(server, claude, raw(*steps)))[-1] for steps in ((Cut(),), (start, error), (error,))]

    assert [one.has_begun for one in failed] == [True, True, False]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_delta", "index": 0, "delta": None},
        {"type": "content_block_start", "index": 0, "content_block": None},
        {"type": "content_block_start", "content_block": {"type": ["text"]}},
        {"type": "content_block_stop", "index": {}} | {"index": 99},
        {"type": "message_start", "message": []},
        {"type": "message_delta", "delta": [], "usage": 7},
        {"type": None},
        {},
    ],
)
async def test_an_event_of_a_wrong_shape_ends_nothing(
    server: ProviderServer, claude: Anthropic, event: dict[str, Any]
) -> None:
    events = await told(server, claude, raw(sse(("", event), ("", {"type": "message_stop"}))))

    assert isinstance(events[-1], Finished)


async def test_signs_of_life_are_told_only_where_it_is_quiet(server: ProviderServer, claude: Anthropic) -> None:
    ping = sse(("ping", {"type": "ping"}))
    end = sse(("", {"type": "message_stop"}))

    lively = await told(server, claude, raw(*[ping] * 50, end))
    quiet = await told(server, claude, raw(Wait(1.1), ping, end))

    assert lively[-1] == Finished("end")
    assert len(lively) < 10
    assert quiet == [Thought(), Finished("end")]


async def test_closed_early_the_connection_is_gone_at_once(server: ProviderServer, claude: Anthropic) -> None:
    server.queue.append(said(Speech((Text("a"), Text("b"), Stall()))))
    stream = claude.stream(request("Hello"))

    heard = [await anext(stream), await anext(stream)]
    await stream.aclose()

    assert heard == [Said("a"), Said("b")]
    async with asyncio.timeout(5):
        await server.asked[0].is_over.wait()
    assert server.asked[0].has_left


@pytest.mark.parametrize("answer", [said(Speech((Text("a"), Stall()))), said(Speech((Stall(),))), Answer(wait=60)])
async def test_cancelled_the_connection_is_gone_at_once(
    server: ProviderServer, claude: Anthropic, answer: Answer | Reply
) -> None:
    server.queue.append(answer)
    listening = asyncio.create_task(hear(claude, request("Hello")))
    await server.until_asked(1)

    listening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await listening
    async with asyncio.timeout(5):
        await server.asked[0].is_over.wait()
    assert server.asked[0].has_left


async def test_one_connection_serves_one_call_after_another(server: ProviderServer, claude: Anthropic) -> None:
    for _ in range(3):
        await hear(claude, request("Hello"))

    assert len({asked.connection for asked in server.asked}) == 1


async def test_many_calls_side_by_side_are_heard_apart(server: ProviderServer, claude: Anthropic) -> None:
    heard = await asyncio.gather(*(hear(claude, request(f"line {number}")) for number in range(20)))

    assert [text(events) for events in heard] == [f"line {number}" for number in range(20)]


async def test_a_provider_outlives_an_event_loop(server: ProviderServer) -> None:
    model = Anthropic(settings(server.url))

    def ask() -> str:
        with asyncio.Runner() as runner:
            heard = text(runner.run(hear(model, request("Hello"))))
            runner.run(model.close())
            return heard

    assert [await asyncio.to_thread(ask), await asyncio.to_thread(ask)] == ["Hello", "Hello"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "ANTHROPIC_API_KEY is not set"),
        ({"ANTHROPIC_API_KEY": "  "}, "ANTHROPIC_API_KEY is not set"),
        ({"ANTHROPIC_API_KEY": "sk\nant"}, "ANTHROPIC_API_KEY holds characters"),
        ({"ANTHROPIC_API_KEY": "sk-ünt"}, "ANTHROPIC_API_KEY holds characters"),
        ({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "localhost"}, "ANTHROPIC_BASE_URL is no address"),
        ({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "http://a:99999"}, "ANTHROPIC_BASE_URL is no address"),
        ({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "ftp://a/"}, "ANTHROPIC_BASE_URL is no address"),
    ],
)
async def test_a_wrong_surrounding_is_a_failure_that_names_the_variable(variables: dict[str, str], words: str) -> None:
    events = [event async for event in provider(ModelSettings(variables, "")).stream(request("Hello"))]

    assert [type(event) for event in events] == [Failed]
    assert isinstance(events[0], Failed)
    assert events[0].reason.startswith(words)
    assert not events[0].is_transient


@pytest.mark.parametrize(
    ("more", "words"), [({"model": "anthropic:"}, "names no model"), ({"own_tools": ("magic",)}, "'magic'")]
)
async def test_what_cannot_be_asked_is_a_failure_that_says_why(
    claude: Anthropic, more: dict[str, Any], words: str
) -> None:
    (failed,) = await hear(claude, request("Hello", **more))

    assert isinstance(failed, Failed)
    assert words in failed.reason


async def test_where_nobody_listens_the_failure_is_transient() -> None:
    async with ProviderServer(Scenarios()) as gone:
        address = gone.url
    model = Anthropic(settings(address))

    (failed,) = await hear(model, request("Hello"))
    await model.close()

    assert isinstance(failed, Failed)
    assert failed.is_transient
    assert "could not be reached" in failed.reason


@pytest.mark.parametrize("words", [f"the key {KEY} is wrong", KEY * 200, "a " * 600 + KEY, f"{'x' * 495}{KEY}"])
async def test_a_reason_is_short_and_tells_no_key(server: ProviderServer, claude: Anthropic, words: str) -> None:
    (before,) = await told(server, claude, Refusal(401, "authentication_error", words))
    (midway,) = await told(server, claude, Speech((Broken("api_error", words),)))

    for failed in (before, midway):
        assert KEY not in failed.reason
        assert KEY[:12] not in failed.reason
        assert len(failed.reason) <= 500


async def test_the_key_is_told_to_the_provider_alone(
    server: ProviderServer, claude: Anthropic, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        await hear(claude, request("401"))

    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in caplog.text


async def test_no_proxy_hears_what_a_gateway_of_this_machine_is_asked(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    local = Anthropic(settings(server.url))

    *_, end = await hear(local, request("Hello"))
    await local.close()

    assert isinstance(end, Finished), end


async def test_the_least_is_sent_and_the_model_is_named_without_its_provider(
    server: ProviderServer, claude: Anthropic
) -> None:
    await hear(claude, ModelRequest(MODEL, "", (Spoken("user", "Hello"),), temperature=0.5, max_tokens=100))

    assert last_body(server) == {
        "model": "claude-sonnet-5",
        "max_tokens": 100,
        "stream": True,
        "messages": [{"role": "user", "content": [{**words("Hello"), **MARK}]}],
    }
    assert server.asked[0].headers["anthropic-version"] == "2026-10-21"


def words(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def content(server: ProviderServer, turn: int = -1) -> list[dict[str, Any]]:
    blocks = last_body(server)["messages"][turn]["content"]
    return [{key: value for key, value in block.items() if key != "cache_control"} for block in blocks]


async def test_system_tools_and_the_last_turns_are_marked_for_the_cache(
    server: ProviderServer, claude: Anthropic
) -> None:
    lines = [Spoken("user" if number % 2 == 0 else "assistant", f"line {number}") for number in range(9)]

    await hear(claude, request(*lines, tools=(CLOCK,)))
    with_system = last_body(server)
    await hear(claude, request(*lines, tools=(CLOCK,), system=""))

    marked = [number for number, turn in enumerate(with_system["messages"]) if "cache_control" in turn["content"][-1]]
    assert marked == [6, 8]
    assert with_system["system"] == [{**words("Be brief."), **MARK}]
    assert "cache_control" not in with_system["tools"][-1]
    assert last_body(server)["tools"][-1]["cache_control"] == {"type": "ephemeral"}


async def test_lines_of_one_speaker_are_one_turn_and_empty_ones_none(server: ProviderServer, claude: Anthropic) -> None:
    answers = (Spoken("assistant", "A"), Spoken("assistant", " \n"), Spoken("assistant", "B"))

    events = await hear(claude, request("One", "Two", *answers, "  ", "Three"))

    assert isinstance(events[-1], Finished)
    assert [turn["role"] for turn in last_body(server)["messages"]] == ["user", "assistant", "user"]
    assert content(server, 0) == [words("One"), words("Two")]
    assert content(server, 1) == [words("A"), words("B")]
    assert content(server, 2) == [words("(an empty message)"), words("Three")]


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
        ("Hello", ToolCalls("", (("", "", "{}"),)), ToolResult("", "", "")),
        ("Hello", ToolCalls("", (("a/b c", "no such.tool", "[1]"),)), ToolResult("a/b c", "no such.tool", "", True)),
        ("Hello", ToolCalls("", (), ("no json", "[]", "{}", '{"type": 5}'), MODEL)),
        ("half a character \ud800", ToolCalls("\udfff", (("c1", "clock", '{"a": "\\ud800"}'),), model=MODEL)),
    ],
    ids=range(15),
)
async def test_whatever_the_conversation_looks_like_the_api_takes_it(
    server: ProviderServer, claude: Anthropic, lines: tuple[ModelMessage | str, ...]
) -> None:
    events = await hear(claude, request(*lines))

    assert isinstance(events[-1], Finished)


async def test_the_results_of_one_answers_calls_go_together_before_what_was_said_meanwhile(
    server: ProviderServer, claude: Anthropic
) -> None:
    calls = ToolCalls("Well. ", (("c1", "clock", '{"timezone":"UTC"}'), ("c2", "dice", "broken")), model=MODEL)
    results = (ToolResult("c1", "clock", "noon"), ToolResult("c2", "dice", "", is_error=True))

    await hear(claude, request("Hello", calls, results[0], "Hurry", results[1]))

    assert content(server, 1) == [
        words("Well. "),
        {"type": "tool_use", "id": "c1", "name": "clock", "input": {"timezone": "UTC"}},
        {"type": "tool_use", "id": "c2", "name": "dice", "input": {}},
    ]
    assert content(server, 2) == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "noon"},
        {"type": "tool_result", "tool_use_id": "c2", "content": "(nothing)", "is_error": True},
        words("Hurry"),
    ]


@pytest.mark.parametrize("model", [MODEL, OLDER])
async def test_an_answer_with_thinking_goes_back_as_it_came(
    server: ProviderServer, claude: Anthropic, model: str
) -> None:
    parts = (Thinking(("Let me see.",)), Text("A moment. "), Tool("clock", ("{}",), "toolu_1"))
    events = await told(server, claude, Speech(parts), request("Hello", model=model, thinking=2_000, tools=(CLOCK,)))
    kept = (*(event.content for event in events if isinstance(event, Kept)), redacted())
    calls = ToolCalls("A moment. ", (("d-1", "clock", "{}"),), kept, model)

    asked = request("Hello", calls, ToolResult("d-1", "clock", "noon"), model=model, thinking=2_000, tools=(CLOCK,))
    events = await told(server, claude, Speech((Text("Noon."),)), asked)

    assert text(events) == "Noon."
    assert [block["type"] for block in content(server, 1)] == ["thinking", "redacted_thinking", "text", "tool_use"]
    assert "thinking" in last_body(server)


def redacted() -> str:
    return json.dumps({"type": "redacted_thinking", "data": REDACTED})


async def test_what_another_provider_kept_is_not_shown_and_thinking_waits_for_the_next_answer(
    server: ProviderServer, claude: Anthropic
) -> None:
    foreign = ToolCalls("", (("c1", "clock", "{}"),), ('{"type":"thinking","thinking":"?"}',), "openai:gpt-5.6")
    ours = request("Hello", foreign, ToolResult("c1", "clock", "noon"), model=OLDER, thinking=2_000)

    events = await hear(claude, ours)

    assert isinstance(events[-1], Finished)
    assert [block["type"] for block in content(server, 1)] == ["tool_use"]
    assert "thinking" not in last_body(server)


async def test_a_pause_is_sent_back_as_it_stands_and_asked_again(server: ProviderServer, claude: Anthropic) -> None:
    first = request("Find it", own_tools=("web_search",))
    paused = await told(server, claude, Speech((Text("I look. "), Search("a"), Text("Wait. ")), stop="pause"), first)
    kept = tuple(event.content for event in paused if isinstance(event, Kept))

    again = request("Find it", ToolCalls(text(paused), (), kept, MODEL), own_tools=("web_search",))
    events = await told(server, claude, Speech((Text("Found."),)), again)

    assert paused[-1] == Finished("pause", 11, 5)
    assert text(events) == "Found."
    assert [turn["role"] for turn in last_body(server)["messages"]] == ["user", "assistant"]
    assert [block["type"] for block in content(server)] == ["text", "server_tool_use", "web_search_tool_result", "text"]
    assert content(server)[0] == words("I look. ")
    assert content(server)[3] == words("Wait. ")


@pytest.mark.parametrize(
    ("said_then", "kinds"),
    [
        ("One. \n\n Two. Three.", ["text", "dream", "text", "dream", "text"]),
        ("One. Two. ", ["text", "dream", "text", "dream"]),
        ("Another text.", ["dream", "dream", "text"]),
        ("", ["dream", "dream"]),
    ],
)
async def test_text_between_what_was_kept_stands_there_again_and_is_never_said_twice(
    claude: Anthropic, server: ProviderServer, said_then: str, kinds: list[str]
) -> None:
    dream: dict[str, Any] = {"type": "dream"}
    blocks = (words("One. "), dream, words(" Two."), words(" "), dream, {"a": 1})
    kept = tuple(json.dumps(block) for block in blocks)

    await hear(claude, request("Hello", ToolCalls(said_then, (), kept, MODEL), "And?"))

    assert [block["type"] for block in content(server, 1)] == kinds


@pytest.mark.parametrize(
    ("model", "tokens", "expected", "most"),
    [
        (OLDER, 5_000, {"thinking": {"type": "enabled", "budget_tokens": 5_000}}, 5_100),
        ("anthropic:claude-3-7-sonnet-latest", 1, {"thinking": {"type": "enabled", "budget_tokens": 1_024}}, 1_124),
        ("anthropic:claude-opus-4-20250514", 2_000, {"thinking": {"type": "enabled", "budget_tokens": 2_000}}, 2_100),
        ("anthropic:another-makers-model", 2_000, {"thinking": {"type": "enabled", "budget_tokens": 2_000}}, 2_100),
        (MODEL, 2_000, {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}, 2_100),
        ("anthropic:claude-opus-4-6", 9_000, {"thinking": ADAPTIVE, "output_config": {"effort": "medium"}}, 9_100),
        ("anthropic:claude-haiku-5-5", 50_000, {"thinking": ADAPTIVE}, 50_100),
        (MODEL, 0, {}, 100),
    ],
)
async def test_thinking_is_asked_for_in_the_models_own_manner_and_has_room(
    server: ProviderServer, claude: Anthropic, model: str, tokens: int, expected: dict[str, Any], most: int
) -> None:
    events = await hear(claude, request("Hello", model=model, thinking=tokens, max_tokens=100))

    body = last_body(server)
    assert isinstance(events[-1], Finished)
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected
    assert body["max_tokens"] == most


@pytest.mark.parametrize(
    ("parameters", "schema"),
    [
        (CLOCK.parameters, json.loads(CLOCK.parameters)),
        ("no json", {"type": "object", "properties": {}}),
        ("[1]", {"type": "object", "properties": {}}),
        (
            '{"anyOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"properties":{"b":{}}}],"$schema":"x"}',
            {"type": "object", "$schema": "x", "properties": {"a": {"type": "string"}, "b": {}}},
        ),
        (
            '{"type":["object","null"],"properties":{"a b":{},"c":{}},"required":["a b","c"]}',
            {"type": "object", "properties": {"c": {}}, "required": ["c"]},
        ),
    ],
)
async def test_a_schema_is_sent_without_what_the_api_refuses(
    server: ProviderServer, claude: Anthropic, parameters: str, schema: dict[str, Any]
) -> None:
    events = await hear(claude, request("Hello", tools=(ToolSpec("t", "Does.", parameters),)))

    assert isinstance(events[-1], Finished)
    assert last_body(server)["tools"] == [{"name": "t", "description": "Does.", "input_schema": schema}]


async def test_a_tool_whose_name_the_api_refuses_goes_by_another_and_is_called_by_its_own(
    server: ProviderServer, claude: Anthropic
) -> None:
    names = ("git.log", "git/log", "x" * 70, "web_search", "")
    tools = tuple(ToolSpec(name, "Does.", "{}") for name in (*names, "git.log"))
    asked = request("Hello", tools=tools, own_tools=("web_search",))
    wire = ("git_log", "git_log_2", "x" * 64, "web_search_2", "unnamed")

    events = await told(server, claude, Speech(tuple(Tool(name, call=name) for name in wire)), asked)

    assert [tool["name"] for tool in last_body(server)["tools"]] == [*wire, "web_search"]
    assert [event.tool for event in events if isinstance(event, Called)] == list(names)


async def test_images_pdfs_and_texts_are_shown_and_anything_else_is_told_of(
    server: ProviderServer, claude: Anthropic
) -> None:
    media = (
        Media("image", "a.png", "image/png", PNG),
        Media("image", "wrongly named.jpg", "image/jpeg; q=1", PNG),
        Media("document", "paper\n.pdf", "application/pdf", b"%PDF-1.7"),
        Media("document", "notes.md", "text/markdown; charset=utf-8", "# Naïve\xff".encode() + b"\xff"),
        Media("document", "data.json", "application/json", b'{"a": 1}'),
        Media("voice", "voice.ogg", "audio/ogg", b"OggS"),
        Media("image", "huge.png", "image/png", PNG + b"\0" * 4_000_000),
        Media("image", "photo.heic", "image/heic", b"ftypheic"),
        Media("image", "", "image/png", b""),
    )

    events = await hear(claude, request(Spoken("user", "Look", media)))

    shown = content(server)
    assert isinstance(events[-1], Finished)
    assert shown[0] == {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64(PNG)}}
    assert shown[1] == shown[0]
    assert shown[2]["source"] == {"type": "base64", "media_type": "application/pdf", "data": base64(b"%PDF-1.7")}
    assert shown[2]["title"] == "paper .pdf"
    assert shown[3]["text"] == "The file notes.md (text/markdown) that came with this message:\n\n# Naïveÿ\ufffd"
    assert shown[4]["text"].endswith('{"a": 1}')
    for block, name in zip(shown[5:9], ("voice.ogg", "huge.png", "photo.heic", "without a name"), strict=True):
        assert block["type"] == "text"
        assert name in block["text"]
        assert "cannot be read" in block["text"]
    assert shown[9] == words("Look")


def base64(data: bytes) -> str:
    return b64encode(data).decode()


async def test_deeply_nested_json_is_a_failure_and_no_exception(claude: Anthropic) -> None:
    deep = '{"a":' * 400 + "1" + "}" * 400
    lines = ("Hello", ToolCalls("", (("c1", "clock", deep),)), ToolResult("c1", "clock", "x"))

    events = await hear(claude, request(*lines, tools=(ToolSpec("t", "Does.", deep),)))

    assert isinstance(events[-1], Finished | Failed)
