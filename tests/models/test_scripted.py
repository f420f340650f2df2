"""What the scripted model says, with a script and without one."""

import json
from pathlib import Path

import pytest

from adapters.models.scripted import Script, Scripted, ScriptError, load, parse
from hub.kernel.events import Called, Failed, Finished, ModelEvent, Said
from hub.kernel.harness import CONTINUE
from hub.kernel.ports import ModelMessage, ModelRequest, Spoken, ToolCalls, ToolResult


def script(text: str) -> Script:
    return parse(text, "a script", Path())


def request(*messages: ModelMessage | str, model: str = "scripted") -> ModelRequest:
    return ModelRequest(model, "", tuple(Spoken("user", one) if isinstance(one, str) else one for one in messages))


async def hear(model: Scripted, asked: ModelRequest) -> list[ModelEvent]:
    return [event async for event in model.stream(asked)]


def text(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Said))


async def test_the_first_reply_whose_pattern_is_found_is_said_word_by_word() -> None:
    model = Scripted(
        script("""
        [[reply]]
        match = "weather in (\\\\w+)"
        steps = [{ say = "It rains in {1}. You said: {said}" }]
        [[reply]]
        steps = [{ say = "What?" }]
        """)
    )

    rain = await hear(model, request("The weather in Rome"))
    other = await hear(model, request("Well"))

    assert text(rain) == "It rains in Rome. You said: The weather in Rome"
    assert rain[:2] == [Said("It"), Said(" rains")]
    assert other == [Said("What?"), Finished("end", 1, 1)]


async def test_a_burst_is_the_same_delta_many_times() -> None:
    model = Scripted(script('reply = [{ steps = [{ burst = 3, text = "word " }] }]'))

    assert await hear(model, request("go")) == [Said("word ")] * 3 + [Finished("end", 1, 3)]


async def test_what_stands_after_calls_is_said_by_the_next_model_call() -> None:
    model = Scripted(
        script("""
        [[reply]]
        steps = [
            { say = ["One ", "moment"] },
            { call = "clock", arguments = { timezone = "{said}" } },
            { call = "calculator", arguments = "{broken" },
            { say = "It is {tool}" },
        ]
        """)
    )

    first = await hear(model, request('a "b"'))
    second = await hear(model, request('a "b"', ToolCalls("", ()), ToolResult("x", "clock", "late")))

    assert first[:2] == [Said("One "), Said("moment")]
    assert first[2:4] == [
        Called("call_0", "clock", json.dumps({"timezone": 'a "b"'})),
        Called("call_0", "calculator", "{broken"),
    ]
    assert first[4] == Finished("tools", 2, 2)
    assert text(second) == "It is late"
    assert isinstance(second[-1], Finished)
    assert second[-1].reason == "end"


async def test_an_answer_cut_by_its_length_goes_on_where_it_stopped() -> None:
    model = Scripted(
        script('reply = [{ match = "go", steps = [{ say = "a" }, { finish = "length" }, { say = "b" }] }]')
    )

    first = await hear(model, request("go"))
    second = await hear(model, request("go", Spoken("assistant", "a"), CONTINUE))

    assert [event.reason for event in first if isinstance(event, Finished)] == ["length"]
    assert text(second) == "b"


async def test_an_error_can_be_given_so_many_times_and_then_no_more() -> None:
    steps = '{ error = "busy", transient = true, times = 1 }, { say = "now" }'
    model = Scripted(script(f"reply = [{{ steps = [{steps}] }}]"))

    assert await hear(model, request("go")) == [Failed("busy", True)]
    assert text(await hear(model, request("go"))) == "now"


async def test_a_message_for_which_there_is_no_reply_is_a_failure() -> None:
    model = Scripted(script('reply = [{ match = "x", steps = [] }]'))

    assert await hear(model, request("hello")) == [Failed("a script: no reply matches what was said")]


async def test_a_stall_ends_when_the_call_is_ended() -> None:
    model = Scripted(script('reply = [{ steps = [{ say = "well" }, { stall = true }] }]'))
    stream = model.stream(request("go"))

    assert await anext(stream) == Said("well")
    await stream.aclose()

    assert [event async for event in stream] == []


async def test_calls_are_counted_here_and_in_a_file_for_those_outside(tmp_path: Path) -> None:
    (tmp_path / "talk.toml").write_text('calls_file = "calls.jsonl"\nreply = [{ steps = [{ say = "x" }] }]')
    model = Scripted(folder=tmp_path)

    for said in ("one", "two"):
        await hear(model, request(said, model="scripted:talk"))

    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [(line["call"], line["said"]) for line in lines] == [(1, "one"), (2, "two")]
    assert model.calls == 2


async def test_a_script_that_is_not_there_is_a_failure_of_the_call(tmp_path: Path) -> None:
    (failed,) = await hear(Scripted(folder=tmp_path), request("x", model="scripted:none"))

    assert isinstance(failed, Failed)
    assert "none.toml: cannot be read" in failed.reason
    assert not failed.is_transient


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("reply = [", "a script: "),
        ("", "a script: reply: there must be at least one"),
        ("replies = []", "a script: unknown key 'replies'"),
        ("calls_file = 5\nreply = [{ steps = [] }]", "a script: calls_file: must be a text"),
        ("reply = [{ step = [] }]", "a script: reply 1: unknown key 'step'"),
        ("reply = [{ steps = 5 }]", "a script: reply 1: steps: must be a list"),
        ("reply = [{ match = '(', steps = [] }]", "a script: reply 1: match: "),
        ("reply = [{ steps = [{ sing = 'x' }] }]", "a script: reply 1: step 1: must have one of say, burst"),
        ("reply = [{ steps = [{ say = 'x', pace = 1 }] }]", "a script: reply 1: step 1: pace: "),
        ("reply = [{ steps = [{ say = 'x', pace_ms = -1 }] }]", "a script: reply 1: step 1: pace_ms: "),
    ],
)
def test_a_broken_script_names_file_reply_step_and_key(content: str, sentence: str) -> None:
    with pytest.raises(ScriptError) as error:
        script(content)

    assert str(error.value).startswith(sentence)


def test_a_script_in_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"none\.toml: cannot be read"):
        load(tmp_path / "none.toml")


async def test_without_a_script_it_says_that_no_model_is_connected_and_how_to_connect_one() -> None:
    said = text(await hear(Scripted(), request("Who are you?")))

    assert said.startswith("**No model is connected.**")
    assert "“Who are you?”" in said
    for way in ("ANTHROPIC_API_KEY", "Ollama", 'model = "provider:model"', "factory doctor"):
        assert way in said


async def test_without_a_script_it_shows_that_it_remembers_what_was_said() -> None:
    said = text(await hear(Scripted(), request("My cat is Tom.", Spoken("assistant", "Fine."), "And now?")))

    assert "2 of your messages" in said
    assert "You said earlier: “My cat is Tom.”" in said
    assert "You said now: “And now?”" in said
