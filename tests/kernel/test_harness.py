"""Events in, commands out: what one agentic turn does, told step by step."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_contracts.messages import Usage
from hub.kernel.events import Called, Failed, Finished, Said
from hub.kernel.harness import (
    CONTINUE,
    CUT_OFF,
    MAX_ANSWER,
    MAX_SIDE_BY_SIDE,
    NO_ANSWER,
    REFUSAL,
    RETRY_DELAYS,
    AskModel,
    Begin,
    Command,
    End,
    Event,
    Idle,
    Over,
    Say,
    Show,
    State,
    Steer,
    Stop,
    TimeUp,
    ToolFinished,
    UseTool,
    step,
)
from hub.kernel.ports import ModelMessage, ModelRequest, Spoken, ToolCalls, ToolResult, ToolSpec

READ = ToolSpec("look", "Looks.", "{}")
SEND = ToolSpec("send", "Sends.", "{}", effect="external")
ASKED: tuple[ModelMessage, ...] = (Spoken("user", "hello"),)


def begin(*, max_calls: int = 20, unknown_calls: frozenset[str] = frozenset()) -> Begin:
    return Begin("scripted", "be kind", ASKED, "1a2b3c4d", (READ, SEND), max_calls, unknown_calls)


def play(*events: Event) -> tuple[State, list[Command]]:
    """The state after these events, and what the last of them led to."""
    state: State = Idle()
    commands: tuple[Command, ...] = ()
    for event in events:
        state, commands = step(state, event)
    return state, list(commands)


def asked(commands: Sequence[Command]) -> ModelRequest:
    """The one model call among the commands."""
    (ask,) = [command for command in commands if isinstance(command, AskModel)]
    return ask.request


def used(commands: Sequence[Command]) -> list[UseTool]:
    return [command for command in commands if isinstance(command, UseTool)]


def test_a_turn_begins_with_a_model_call_that_is_shown_everything() -> None:
    _, commands = play(begin())

    assert commands == [AskModel(ModelRequest("scripted", "be kind", ASKED, (READ, SEND)))]


def test_text_is_said_as_it_comes_and_the_end_ends_the_turn() -> None:
    _, first = play(begin(), Said("Hel"))
    state, last = play(begin(), Said("Hel"), Said("lo"), Finished("end", 3, 2))

    assert first == [Say("Hel")]
    assert last == [End("complete", Usage(calls=1, input_tokens=3, output_tokens=2))]
    assert state == Over((*ASKED, Spoken("assistant", "Hello")))


def test_tools_of_one_answer_run_side_by_side_and_their_results_stand_in_the_order_of_the_calls() -> None:
    events: list[Event] = [
        begin(),
        Called("a", "look", '{"at":1}'),
        Called("b", "look", '{"at":2}'),
        Finished("tools", 1, 1),
    ]
    _, started = play(*events)
    first, second = used(started)

    _, waiting = play(*events, ToolFinished(second.call, "two"))
    _, commands = play(*events, ToolFinished(second.call, "two"), ToolFinished(first.call, "one"))

    assert [type(command) for command in started] == [Show, UseTool, Show, UseTool]
    assert waiting == [Show(second.call, "look", "ok", "Used look")]
    assert asked(commands).messages == (
        *ASKED,
        ToolCalls("", ((first.call, "look", '{"at":1}'), (second.call, "look", '{"at":2}'))),
        ToolResult(first.call, "look", "one"),
        ToolResult(second.call, "look", "two"),
    )


def test_a_tool_with_an_effect_waits_for_those_before_it_and_those_after_wait_for_it() -> None:
    events: list[Event] = [
        begin(),
        Called("a", "look", "{}"),
        Called("b", "send", "{}"),
        Called("c", "look", "{}"),
        Finished("tools"),
    ]
    order: list[list[str]] = []
    for _ in range(3):
        _, commands = play(*events)
        order.append([command.tool.name for command in used(commands)])
        events.append(ToolFinished(used(commands)[0].call, "done"))

    assert order == [["look"], ["send"], ["look"]]


def test_no_more_tools_than_the_limit_run_side_by_side() -> None:
    calls = [Called("", "look", f'{{"at":{number}}}') for number in range(MAX_SIDE_BY_SIDE + 2)]

    _, started = play(begin(), *calls, Finished("tools"))
    _, more = play(begin(), *calls, Finished("tools"), ToolFinished(used(started)[3].call, "x"))

    assert len(used(started)) == MAX_SIDE_BY_SIDE
    assert len(used(more)) == 1


@pytest.mark.parametrize(
    ("called", "observation"),
    [
        (Called("a", "fly", "{}"), "There is no tool 'fly'. There is: look, send."),
        (Called("a", "", "{}"), "There is no tool 'unnamed'. There is: look, send."),
        (Called("a", "look", '{"at":'), "The arguments are no valid JSON."),
        (Called("a", "look", '{"at":NaN}'), "The arguments are no valid JSON."),
        (Called("a", "look", "[" * 100_000), "The arguments are no valid JSON."),
        (Called("a", "look", "[1]"), "The arguments are no JSON object."),
        (Called("a", "look", '"' + "x" * 100_001 + '"'), "The arguments are longer than 100000 characters."),
    ],
)
def test_a_call_that_cannot_be_run_is_an_observation_for_the_model(called: Called, observation: str) -> None:
    _, commands = play(begin(), called, Finished("tools"))

    result = asked(commands).messages[-1]
    assert isinstance(result, ToolResult)
    assert (result.content, result.is_error) == (observation, True)
    assert used(commands) == []


def test_the_same_call_has_the_same_id_in_every_attempt_and_another_when_it_is_made_again() -> None:
    once: list[Event] = [begin(), Called("x", "send", '{"to": "a", "by": 1}'), Finished("tools")]
    _, first = play(*once)
    _, after_a_retry = play(begin(), Failed("busy", True), Called("y", "send", '{"by":1,"to":"a"}'), Finished("tools"))
    done = ToolFinished(used(first)[0].call, "sent")
    _, again = play(*once, done, Called("z", "send", '{"to":"a","by":1}'), Finished("tools"))

    assert used(first)[0].call == used(after_a_retry)[0].call
    assert used(again)[0].call != used(first)[0].call


def test_a_call_whose_outcome_is_unknown_is_told_to_the_model_and_not_run_again() -> None:
    events: list[Event] = [Called("x", "send", "{}"), Finished("tools")]
    _, before = play(begin(), *events)
    call = used(before)[0].call

    _, commands = play(begin(unknown_calls=frozenset({call})), *events)

    assert used(commands) == []
    result = asked(commands).messages[-1]
    assert isinstance(result, ToolResult)
    assert "not known" in result.content


def test_a_call_that_only_reads_is_run_again_whatever_happened_before() -> None:
    events: list[Event] = [Called("x", "look", "{}"), Finished("tools")]
    _, before = play(begin(), *events)

    _, commands = play(begin(unknown_calls=frozenset({used(before)[0].call})), *events)

    assert len(used(commands)) == 1


def test_text_after_tools_begins_a_paragraph_of_its_own() -> None:
    events: list[Event] = [begin(), Said("Let me see."), Called("a", "look", "{}"), Finished("tools")]
    _, started = play(*events)

    _, commands = play(*events, ToolFinished(used(started)[0].call, "x"), Said("Here it is."))

    assert commands == [Say("\n\nHere it is.")]


def test_an_answer_cut_by_its_length_goes_on_once_and_then_says_that_it_was_cut() -> None:
    once: list[Event] = [begin(), Said("One, "), Finished("length")]
    _, asking = play(*once)
    _, saying = play(*once, Said("two"))
    _, ending = play(*once, Said("two"), Finished("length"))

    assert asked(asking).messages == (*ASKED, Spoken("assistant", "One, "), Spoken("user", CONTINUE))
    assert saying == [Say("two")]
    assert ending == [Say(CUT_OFF), End("complete", Usage(calls=2))]


def test_a_length_without_a_word_is_not_sent_again() -> None:
    _, commands = play(begin(), Finished("length"))

    assert commands == [Say(NO_ANSWER), End("complete", Usage(calls=1))]


def test_a_refusal_without_a_word_is_put_into_words() -> None:
    _, commands = play(begin(), Finished("refusal"))

    assert commands == [Say(REFUSAL), End("complete", Usage(calls=1))]


def test_a_transient_failure_is_tried_twice_more_with_growing_pauses_and_then_fails_the_turn() -> None:
    failures: list[Event] = [Failed("busy", True)] * 3
    _, first = play(begin(), *failures[:1])
    _, second = play(begin(), *failures[:2])
    _, third = play(begin(), *failures)

    assert [command.delay for command in (*first, *second) if isinstance(command, AskModel)] == list(RETRY_DELAYS)
    assert third == [
        Say("Sorry, I could not finish this. Reference 1a2b3c4d."),
        End("failed", Usage(calls=3), "busy"),
    ]


@pytest.mark.parametrize("failure", [Failed("no such model"), Failed("busy", False)])
def test_a_failure_that_will_not_pass_is_not_tried_again(failure: Failed) -> None:
    _, commands = play(begin(), failure)

    assert isinstance(commands[-1], End)
    assert commands[-1].outcome == "failed"


def test_nothing_is_tried_again_once_something_was_said() -> None:
    _, commands = play(begin(), Said("I think"), Failed("busy", True))

    assert commands == [
        Say("\n\nSorry, I could not finish this. Reference 1a2b3c4d."),
        End("failed", Usage(calls=1), "busy"),
    ]


def test_a_stop_keeps_what_was_said() -> None:
    state, commands = play(begin(), Said("I was"), Stop())

    assert commands == [End("stopped", Usage(calls=1))]
    assert state == Over((*ASKED, Spoken("assistant", "I was")))


def test_a_stop_while_tools_run_gives_each_its_result_and_its_last_line() -> None:
    state, commands = play(begin(), Called("a", "send", "{}"), Called("b", "look", "{}"), Finished("tools"), Stop())

    assert [type(command) for command in commands] == [Show, End]
    assert isinstance(state, Over)
    assert [result.tool for result in state.messages if isinstance(result, ToolResult)] == ["send", "look"]


def test_time_that_is_up_ends_the_turn_with_an_apology() -> None:
    _, commands = play(begin(), TimeUp())

    assert commands[0] == Say("Sorry, this took too long. Reference 1a2b3c4d.")
    assert isinstance(commands[-1], End)
    assert commands[-1].outcome == "failed"


def test_a_steer_joins_at_the_next_model_call() -> None:
    events: list[Event] = [begin(), Called("a", "look", "{}"), Finished("tools"), Steer("and in blue")]
    _, started = play(*events[:3])

    _, commands = play(*events, ToolFinished(used(started)[0].call, "x"))

    assert asked(commands).messages[-1] == Spoken("user", "and in blue")


def test_a_steer_that_comes_with_the_last_words_is_answered_too() -> None:
    _, commands = play(begin(), Said("Done."), Steer("one more thing"), Finished("end"))

    assert asked(commands).messages == (*ASKED, Spoken("assistant", "Done."), Spoken("user", "one more thing"))


def test_an_endless_answer_is_ended() -> None:
    _, commands = play(begin(), Said("x" * MAX_ANSWER), Said("y"))

    assert commands[1:] == [Say(CUT_OFF), End("complete", Usage(calls=1))]


def test_the_limit_of_model_calls_ends_a_turn_that_only_calls_tools() -> None:
    state, commands = step(Idle(), begin(max_calls=2))
    calls = 0
    while not isinstance(state, Over):
        calls += sum(isinstance(command, AskModel) for command in commands)
        tools = used(commands)
        if tools:
            state, commands = step(state, ToolFinished(tools[0].call, "x"))
            continue
        state, _ = step(state, Called("a", "look", "{}"))
        state, commands = step(state, Finished("tools"))

    assert calls == 2
    assert commands[-2] == Say("Sorry, I could not finish this in 2 steps. Reference 1a2b3c4d.")


def test_what_comes_after_the_end_changes_nothing() -> None:
    over, _ = play(begin(), Finished("end"))

    for event in (begin(), Said("x"), Called("a", "look", "{}"), Finished("end"), Failed("x"), Stop(), Steer("x")):
        assert step(over, event) == (over, ())


names = st.sampled_from(["look", "send", "fly", ""])
arguments = st.sampled_from(["{}", '{"at":1}', "{", "[]", "null"])
model_events = st.one_of(
    st.builds(Said, st.text(max_size=5)),
    st.builds(Called, st.sampled_from(["a", "a", "b"]), names, arguments),
    st.builds(Finished, st.sampled_from(["end", "tools", "length", "refusal"])),
    st.builds(Failed, st.just("x"), st.booleans()),
)
other_events = st.one_of(st.builds(Stop), st.builds(TimeUp), st.builds(Steer, st.text(max_size=3)))


@given(
    st.lists(st.one_of(model_events, model_events, model_events, other_events), max_size=40),
    st.integers(min_value=1, max_value=5),
    st.randoms(use_true_random=False),
)
def test_every_call_gets_exactly_one_result_whatever_happens(
    events: list[Event], max_calls: int, chance: Random
) -> None:
    state, commands = step(Idle(), begin(max_calls=max_calls))
    everything: list[Command] = list(commands)
    running = [use.call for use in used(commands)]
    for event in (*events, Stop()):
        if running and chance.random() < 0.7:
            event = ToolFinished(running.pop(chance.randrange(len(running))), "x", chance.random() < 0.3)
        state, commands = step(state, event)
        everything += commands
        running += [use.call for use in used(commands)]
    state, commands = step(state, Stop())
    everything += commands

    assert isinstance(state, Over)
    made = [call for message in state.messages if isinstance(message, ToolCalls) for call, _, _ in message.calls]
    results = [message.call for message in state.messages if isinstance(message, ToolResult)]
    assert results == made
    assert len(set(made)) == len(made)
    assert sum(isinstance(command, AskModel) for command in everything) <= max_calls
    assert [isinstance(command, End) for command in everything].count(True) == 1
    assert isinstance(everything[-1], End)
    lines = [command for command in everything if isinstance(command, Show)]
    begun = [line.call for line in lines if line.state == "running"]
    assert sorted(begun) == sorted({use.call for use in used(everything)})
    ended = [line.call for line in lines if line.state != "running"]
    assert len(ended) == len(set(ended))
    assert set(begun) <= set(ended)
