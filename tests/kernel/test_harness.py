"""Events in, commands out: what one agentic turn does, told step by step."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_contracts.messages import Attachment
from factory_contracts.work import KnownCall
from hub.kernel.events import Called, Did, Failed, Finished, Kept, Said, Thought
from hub.kernel.foreign import labelled
from hub.kernel.harness import (
    ACTED,
    CONTINUE,
    CUT_CALL,
    CUT_OFF,
    HERE_IT_IS,
    LONGEST_WAIT,
    MAX_ANSWER,
    MAX_FILES,
    MAX_SIDE_BY_SIDE,
    NO_ANSWER,
    REFUSAL,
    RETRY_DELAYS,
    THINKING,
    TOO_LONG,
    AskModel,
    Begin,
    Command,
    Denied,
    End,
    Event,
    Idle,
    Over,
    Say,
    Show,
    Skip,
    State,
    Steer,
    Stop,
    TimeUp,
    ToolFinished,
    UseTool,
    room,
    step,
)
from hub.kernel.ports import ModelMessage, ModelRequest, Spoken, ToolCalls, ToolResult, ToolSpec

READ = ToolSpec("look", "Looks.", "{}")
SEND = ToolSpec("send", "Sends.", "{}", effect="external")
KEEP = ToolSpec("keep", "Keeps.", "{}", effect="write", is_idempotent=True)
STRICT = ToolSpec("count", "Counts.", '{"type":"object","properties":{"to":{"type":"integer"}},"required":["to"]}')
few = settings(max_examples=40, deadline=None)

ASKED: tuple[ModelMessage, ...] = (Spoken("user", "hello"),)
REQUEST = ModelRequest("scripted", "be kind", ASKED, (READ, SEND, KEEP, STRICT), temperature=0.5, thinking=100)
THINKS = Show(THINKING, THINKING, "running", "Thinking")
THOUGHT = Show(THINKING, THINKING, "ok", "Thought")
APOLOGY = "Sorry, I could not finish this. Reference 1a2b3c4d."


def begin(
    *,
    max_calls: int = 20,
    known_calls: Sequence[KnownCall] = (),
    fallbacks: tuple[str, ...] = (),
    is_dry: bool = False,
) -> Begin:
    return Begin(REQUEST, "1a2b3c4d", fallbacks, max_calls, tuple(known_calls), is_dry)


def steer(text: str, joining: str = "", after: str = "") -> Steer:
    return Steer(joining or text, Spoken("user", text), after=after)


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

    assert commands == [AskModel(REQUEST)]


def test_text_is_said_as_it_comes_and_the_end_ends_the_turn() -> None:
    _, first = play(begin(), Said("Hel"))
    state, last = play(begin(), Said("Hel"), Said("lo"), Finished("end", 3, 2))

    assert first == [Say("Hel")]
    assert last == [End("complete")]
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
        ToolCalls("", ((first.call, "look", '{"at":1}'), (second.call, "look", '{"at":2}')), model="scripted"),
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
        (Called("a", "fly", "{}"), "There is no tool 'fly'. There is: look, send, keep, count."),
        (Called("a", "", "{}"), "There is no tool 'unnamed'. There is: look, send, keep, count."),
        (Called("a", "look", '{"at":'), "The arguments are no valid JSON."),
        (Called("a", "look", '{"at":NaN}'), "The arguments are no valid JSON."),
        (Called("a", "look", "[" * 100_000), "The arguments are no valid JSON."),
        (Called("a", "look", '{"a":' * 64 + "[]" + "}" * 64), "The arguments are nested more than 64 deep."),
        (Called("a", "look", '{"a":' + "[" * 600 + "]" * 600 + "}"), "The arguments are nested more than 64 deep."),
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
    assert [command for command in commands if isinstance(command, Skip)] == [Skip(result, "{}")]


@pytest.mark.parametrize("end", [Finished("tools"), Stop(), TimeUp(), Failed("x")])
@pytest.mark.parametrize("depth", [63, 64, 300, 495, 990, 20_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_no_nesting_of_arguments_breaks_a_turn(end: Event, depth: int, opening: str, closing: str) -> None:
    called = Called("a", "look", '{"a":' + opening * depth + "1" + closing * depth + "}")

    _, commands = play(begin(), called, end)

    assert bool(used(commands)) == (isinstance(end, Finished) and depth < 64)


def test_a_tool_whose_schema_nobody_can_read_is_an_observation() -> None:
    deep = '{"anyOf":[' * 100_000 + "{}" + "]}" * 100_000
    given = replace(begin(), request=replace(REQUEST, tools=(ToolSpec("look", "Looks.", deep),)))

    _, commands = play(given, Called("a", "look", "{}"), Finished("tools"))

    assert [command.result.is_error for command in commands if isinstance(command, Skip)] == [True]


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

    _, commands = play(begin(known_calls=[KnownCall(call=call, outcome="unknown")]), *events)

    assert used(commands) == []
    result = asked(commands).messages[-1]
    assert isinstance(result, ToolResult)
    assert "not known" in result.content


def test_a_call_that_only_reads_is_run_again_whatever_happened_before() -> None:
    events: list[Event] = [Called("x", "look", "{}"), Finished("tools")]
    _, before = play(begin(), *events)

    known = KnownCall(call=used(before)[0].call, outcome="ok", content="long ago")
    _, commands = play(begin(known_calls=[known]), *events)

    assert len(used(commands)) == 1


@pytest.mark.parametrize("outcome", ["ok", "error"])
@pytest.mark.parametrize("tool", ["send", "keep"])
def test_a_call_that_was_done_is_told_with_what_it_said_and_not_run_again(
    tool: str, outcome: Literal["ok", "error"]
) -> None:
    events: list[Event] = [Called("x", tool, "{}"), Finished("tools")]
    _, before = play(begin(), *events)
    known = KnownCall(call=used(before)[0].call, outcome=outcome, content="the letter is 42")

    _, commands = play(begin(known_calls=[known]), *events)

    assert used(commands) == []
    result = asked(commands).messages[-1]
    assert isinstance(result, ToolResult)
    assert "the letter is 42" in result.content
    assert result.is_error == (outcome == "error")


def test_a_call_whose_outcome_is_unknown_is_run_again_where_that_does_no_harm() -> None:
    events: list[Event] = [Called("x", "keep", "{}"), Finished("tools")]
    _, before = play(begin(), *events)

    _, commands = play(begin(known_calls=[KnownCall(call=used(before)[0].call, outcome="unknown")]), *events)

    assert [use.tool for use in used(commands)] == [KEEP]


@pytest.mark.parametrize(
    ("outcome", "told"), [("ok", "done, and it said: sent to Ann"), ("unknown", "whether it took effect is unknown")]
)
def test_before_it_acts_in_other_words_a_model_is_told_once_what_an_earlier_attempt_did(
    outcome: Literal["ok", "unknown"], told: str
) -> None:
    _, before = play(begin(), Called("x", "send", '{"to": "Ann"}'), Finished("tools"))
    known = KnownCall(call=used(before)[0].call, outcome=outcome, content="sent to Ann" if outcome == "ok" else "")
    reworded: list[Event] = [Called("y", "send", '{"to": "Ann, please"}'), Finished("tools")]

    _, first = play(begin(known_calls=[known]), *reworded)
    _, second = play(begin(known_calls=[known]), *reworded, *reworded)

    assert used(first) == []
    result = asked(first).messages[-1]
    assert isinstance(result, ToolResult) and result.is_error
    assert told in result.content.replace(labelled("a tool", "sent to Ann"), "sent to Ann")
    assert [use.arguments for use in used(second)] == ['{"to":"Ann, please"}']


def test_what_only_reads_or_does_no_harm_twice_is_not_held_up_by_what_an_earlier_attempt_did() -> None:
    _, before = play(begin(), Called("x", "send", '{"to": "Ann"}'), Finished("tools"))
    known = KnownCall(call=used(before)[0].call, outcome="ok", content="sent")
    calls: list[Event] = [Called("y", "look", "{}"), Called("z", "keep", "{}"), Finished("tools")]

    _, commands = play(begin(known_calls=[known]), *calls)

    assert [use.tool for use in used(commands)][:1] == [READ]
    assert not [one for one in commands if isinstance(one, Skip)]


def test_who_repeats_what_an_earlier_attempt_did_goes_on_as_if_nothing_had_happened() -> None:
    sends: list[Event] = [Called("x", "send", '{"to": "Ann"}'), Finished("tools")]
    _, before = play(begin(), *sends)
    known = KnownCall(call=used(before)[0].call, outcome="ok", content="sent")

    _, commands = play(begin(known_calls=[known]), *sends, Called("y", "send", '{"to": "Ben"}'), Finished("tools"))

    assert [use.arguments for use in used(commands)] == ['{"to":"Ben"}']


def test_only_the_call_that_is_known_is_told_and_the_next_like_it_is_run() -> None:
    calls: list[Event] = [Called("x", "send", "{}"), Called("y", "send", "{}"), Finished("tools")]
    _, before = play(begin(), *calls)
    known = KnownCall(call=used(before)[0].call, outcome="ok", content="sent")

    _, commands = play(begin(known_calls=[known]), *calls)

    assert [use.call for use in used(commands)] == [used(before)[0].call.replace("-1", "-2")]


def test_in_a_dry_run_what_has_an_effect_is_told_instead_of_done() -> None:
    calls: list[Event] = [
        *(Called("", name, '{"to":"a"}') for name in ("send", "keep", "look")),
        Finished("tools"),
    ]

    _, commands = play(begin(is_dry=True), *calls)

    assert [use.tool for use in used(commands)] == [READ]
    told = [command.result.content for command in commands if isinstance(command, Skip)]
    assert told == [f'Dry run: {name} would have been called with {{"to":"a"}}.' for name in ("send", "keep")]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [("{}", "to is missing."), ('{"to":"x"}', "to must be of type integer."), ('{"to":1}', "")],
)
def test_arguments_that_do_not_fit_are_an_observation_for_the_model(arguments: str, complaint: str) -> None:
    _, commands = play(begin(), Called("x", "count", arguments), Finished("tools"))

    told = [command.result.content for command in commands if isinstance(command, Skip)]
    assert told == ([f"The arguments do not fit: {complaint}"] if complaint else [])
    assert len(used(commands)) == (not complaint)


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
    assert ending == [Say(CUT_OFF), End("complete")]


def test_a_length_without_a_word_is_not_sent_again() -> None:
    _, commands = play(begin(), Finished("length"))

    assert commands == [Say(NO_ANSWER), End("complete")]


@pytest.mark.parametrize("arguments", ["", "  ", '{"at"'])
def test_a_call_that_was_cut_off_before_its_arguments_were_written_is_not_run(arguments: str) -> None:
    _, commands = play(begin(), Called("a", "send", arguments), Finished("length"))

    (result,) = (command.result for command in commands if isinstance(command, Skip))
    assert used(commands) == []
    assert result.is_error and result.content == CUT_CALL


def test_a_call_that_was_written_before_the_answer_was_cut_off_is_run() -> None:
    _, commands = play(begin(), Called("a", "look", "{}"), Called("b", "look", ""), Finished("length"))
    _, whole = play(begin(), Called("a", "look", ""), Finished("tools"))

    assert [use.tool for use in used(commands)] == [use.tool for use in used(whole)] == [READ]


def test_a_refusal_without_a_word_is_put_into_words() -> None:
    _, commands = play(begin(), Finished("refusal"))

    assert commands == [Say(REFUSAL), End("complete")]


def test_a_transient_failure_is_tried_again_with_growing_pauses_and_then_fails_the_turn() -> None:
    failures: list[Event] = [Failed("busy", True)] * (len(RETRY_DELAYS) + 1)
    asks = [play(begin(), *failures[:count])[1] for count in range(1, len(failures))]
    _, last = play(begin(), *failures)

    assert [command.delay for commands in asks for command in commands if isinstance(command, AskModel)] == list(
        RETRY_DELAYS
    )
    assert last == [Say(APOLOGY), End("failed", "busy")]


@pytest.mark.parametrize(("asked_for", "delay"), [(0.1, RETRY_DELAYS[0]), (5.0, 5.0), (LONGEST_WAIT, LONGEST_WAIT)])
def test_whoever_says_when_to_come_back_is_not_asked_before(asked_for: float, delay: float) -> None:
    _, commands = play(begin(), Failed("busy", True, asked_for))

    assert commands == [AskModel(REQUEST, delay)]


def test_whoever_says_to_come_back_much_later_is_not_waited_for() -> None:
    patience = Failed("busy", True, LONGEST_WAIT + 1)
    _, alone = play(begin(), patience)
    _, with_another = play(begin(fallbacks=("other",)), patience)

    assert alone == [Say(APOLOGY), End("failed", "busy")]
    assert with_another == [AskModel(replace(REQUEST, model="other"))]


def test_the_agents_next_model_is_asked_where_the_first_one_fails_and_has_its_own_retries() -> None:
    busy: Event = Failed("busy", True)
    whole = len(RETRY_DELAYS) + 1
    models: list[str] = []
    for count in range(2 * whole):
        _, commands = play(begin(fallbacks=("second",)), *[busy] * count)
        models.append(asked(commands).model)
    _, last = play(begin(fallbacks=("second",)), *[busy] * 2 * whole)

    assert models == ["scripted"] * whole + ["second"] * whole
    assert last == [Say(APOLOGY), End("failed", "busy")]


def test_retries_and_fallbacks_stay_within_the_limit_of_model_calls() -> None:
    _, commands = play(begin(max_calls=2, fallbacks=("a", "b", "c")), Failed("x"), Failed("y"))

    assert commands == [Say(APOLOGY), End("failed", "y")]


def test_a_model_that_was_given_up_is_not_asked_again_in_the_same_turn() -> None:
    events: list[Event] = [begin(fallbacks=("second",)), Failed("no"), Called("a", "look", "{}"), Finished("tools")]
    _, started = play(*events)

    _, commands = play(*events, ToolFinished(used(started)[0].call, "x"))

    assert asked(commands).model == "second"


@pytest.mark.parametrize("failure", [Failed("no such model"), Failed("busy", False)])
def test_a_failure_that_will_not_pass_is_not_tried_again(failure: Failed) -> None:
    _, commands = play(begin(), failure)

    assert isinstance(commands[-1], End)
    assert commands[-1].outcome == "failed"


@pytest.mark.parametrize(
    ("failure", "model", "delay"), [(Failed("busy", True), "scripted", RETRY_DELAYS[0]), (Failed("gone"), "other", 0.0)]
)
def test_an_answer_that_breaks_off_goes_on_where_it_stopped(failure: Failed, model: str, delay: float) -> None:
    begun: list[Event] = [begin(fallbacks=("other",)), Said("One, "), Called("a", "send", "{}"), failure]
    _, asking = play(*begun)
    _, saying = play(*begun, Said("two."))
    state, _ = play(*begun, Said("two."), Finished("end"))

    shown = (*ASKED, Spoken("assistant", "One, "), Spoken("user", CONTINUE))
    assert asking == [AskModel(replace(REQUEST, model=model, messages=shown), delay)]
    assert saying == [Say("two.")]
    assert state == Over((*shown, Spoken("assistant", "two.")))


def test_an_answer_that_breaks_off_again_without_a_word_is_told_once_to_go_on() -> None:
    _, commands = play(begin(), Said("One, "), Failed("busy", True), Failed("busy", True))

    assert asked(commands).messages.count(Spoken("user", CONTINUE)) == 1


def test_an_answer_that_cannot_be_gone_on_with_ends_with_an_apology_below_it() -> None:
    _, commands = play(begin(), Said("I think"), Failed("no"))

    assert commands == [Say(f"\n\n{APOLOGY}"), End("failed", "no")]


@pytest.mark.parametrize("is_transient", [True, False])
def test_a_call_in_which_the_provider_acted_is_not_made_again_and_not_by_another(is_transient: bool) -> None:
    acted: list[Event] = [begin(fallbacks=("other",)), Said("I push."), Did("1", "Bash", "running", "Bash: git push")]
    _, broken = play(*acted, Failed("overloaded", is_transient))
    _, done = play(*acted, Did("1", "Bash", "ok", "Bash: git push"), Failed("overloaded", is_transient))

    assert broken == done == [Say(f"\n\n{ACTED} Reference 1a2b3c4d."), End("failed", "overloaded", is_tainted=True)]


def test_a_call_in_which_the_provider_only_read_is_made_again() -> None:
    _, commands = play(begin(), Did("1", "web_search", "ok", "Used it", effect="read"), Failed("overloaded", True))

    assert commands == [AskModel(REQUEST, RETRY_DELAYS[0])]


def test_the_call_after_one_in_which_the_provider_acted_is_made_again() -> None:
    _, commands = play(begin(), Did("1", "Bash", "ok", "ls"), Said("One, "), Finished("length"), Failed("busy", True))

    assert isinstance(commands[0], AskModel)


def test_a_pause_is_gone_on_from_with_what_the_provider_wants_to_see_again() -> None:
    paused: list[Event] = [begin(), Said("Let me "), Kept('{"a":1}'), Kept('{"b":2}'), Finished("pause")]
    _, asking = play(*paused)
    _, saying = play(*paused, Said("look."))

    assert asked(asking).messages == (*ASKED, ToolCalls("Let me ", (), ('{"a":1}', '{"b":2}'), "scripted"))
    assert saying == [Say("look.")]


def test_another_model_is_asked_to_go_on_from_a_pause() -> None:
    _, commands = play(begin(fallbacks=("other",)), Finished("pause"), Failed("no"))

    assert asked(commands).messages[-1] == Spoken("user", CONTINUE)


def test_pauses_without_end_are_ended_by_the_limit() -> None:
    _, commands = play(begin(max_calls=2), Finished("pause"), Finished("pause"))

    assert commands[0] == Say("Sorry, I could not finish this in 2 steps. Reference 1a2b3c4d.")
    assert isinstance(commands[-1], End)
    assert commands[-1].outcome == "failed"


def test_what_is_kept_goes_with_the_calls_it_came_with() -> None:
    events: list[Event] = [begin(), Kept("k"), Called("a", "look", "{}"), Finished("tools")]
    _, started = play(*events)

    _, commands = play(*events, ToolFinished(used(started)[0].call, "x"))

    message = asked(commands).messages[-2]
    assert isinstance(message, ToolCalls)
    assert (message.kept, message.model) == (("k",), "scripted")


def test_a_conversation_longer_than_the_model_reads_is_told_with_the_way_out() -> None:
    _, at_once = play(begin(), Finished("full"))
    _, later = play(begin(), Said("So far"), Finished("full"))

    assert at_once == [Say(TOO_LONG), End("failed")]
    assert later == [Say(CUT_OFF), End("complete")]


def test_thinking_is_shown_once_until_there_is_a_word() -> None:
    shown = [play(begin(), *[Thought()] * count)[1] for count in (1, 2)]
    _, said = play(begin(), Thought(), Said("x"))
    _, ended = play(begin(), Thought(), Finished("end"))
    _, failed = play(begin(), Thought(), Failed("busy", True))
    _, after_a_word = play(begin(), Said("x"), Thought())

    assert shown == [[THINKS], []]
    assert said == [THOUGHT, Say("x")]
    assert ended[0] == failed[0] == THOUGHT
    assert after_a_word == []


@pytest.mark.parametrize("end", [Stop(), TimeUp()])
def test_a_turn_that_is_ended_while_it_thinks_shows_no_thinking_any_more(end: Event) -> None:
    _, commands = play(begin(), Thought(), end)

    assert commands[0] == THOUGHT


def test_what_the_providers_side_does_is_shown() -> None:
    _, commands = play(begin(), Did("s1", "web_search", "running", "Searching"))

    assert commands == [Show("s1", "web_search", "running", "Searching")]


def test_a_call_that_may_not_be_paid_for_ends_the_turn_with_the_words() -> None:
    _, at_once = play(begin(fallbacks=("other",)), Denied("No money."))
    events: list[Event] = [begin(), Said("Let me see."), Called("a", "look", "{}"), Finished("tools")]
    _, started = play(*events)
    _, later = play(*events, ToolFinished(used(started)[0].call, "x"), Denied("No money."))

    assert at_once == [Say("No money."), End("failed")]
    assert later == [Say("\n\nNo money."), End("failed")]


def test_a_stop_keeps_what_was_said() -> None:
    state, commands = play(begin(), Said("I was"), Stop())

    assert commands == [End("stopped")]
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
    events: list[Event] = [begin(), Called("a", "look", "{}"), Finished("tools"), steer("and in blue")]
    _, started = play(*events[:3])

    _, commands = play(*events, ToolFinished(used(started)[0].call, "x"))

    assert asked(commands).messages[-1] == Spoken("user", "and in blue")


def test_a_steer_that_comes_with_the_last_words_is_answered_too() -> None:
    _, commands = play(begin(), Said("Done."), steer("one more thing"), Finished("end"))

    assert asked(commands).messages == (*ASKED, Spoken("assistant", "Done."), Spoken("user", "one more thing"))


def test_an_end_names_the_turns_that_were_heard_and_no_others() -> None:
    events: list[Event] = [begin(max_calls=2), steer("a"), steer("a"), steer("b"), Finished("end"), steer("a")]
    _, going_on = play(*events[:-1])
    _, ending = play(*events, steer("c"), Said("Both."), Finished("end"))
    _, stopped = play(begin(), steer("never heard"), Stop())

    assert [message.text for message in asked(going_on).messages if isinstance(message, Spoken)] == ["hello", "a", "b"]
    assert ending == [End("complete", joined=("a", "b"))]
    assert stopped == [End("stopped")]


def test_what_was_said_after_a_message_that_got_lost_waits_with_it() -> None:
    early, late = steer("a"), steer("b", after="a")

    _, too_soon = play(begin(), late, steer("c", after="b"), Said("Done."), Finished("end"))
    _, in_order = play(begin(), late, early, late, steer("c", after="b"), Finished("end"))
    _, once_heard = play(begin(), early, Finished("end"), late, Finished("end"))

    assert too_soon == [End("complete")]
    assert [message.text for message in asked(in_order).messages[1:] if isinstance(message, Spoken)] == ["a", "b", "c"]
    assert asked(once_heard).messages[-1] == Spoken("user", "b")


def test_an_endless_answer_is_ended() -> None:
    _, commands = play(begin(), Said("x" * MAX_ANSWER), Said("y"))

    assert commands[1:] == [Say(CUT_OFF), End("complete")]


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

    for event in (
        begin(),
        Said("x"),
        Called("a", "look", "{}"),
        Finished("end"),
        Failed("x"),
        Stop(),
        steer("x"),
        Thought(),
        Denied("x"),
    ):
        assert step(over, event) == (over, ())


names = st.sampled_from(["look", "send", "keep", "count", "fly", ""])
arguments = st.sampled_from(["{}", '{"at":1}', '{"to":1}', "{", "[]", "null"])
model_events = st.one_of(
    st.builds(Said, st.text(max_size=5)),
    st.builds(Thought),
    st.builds(Kept, st.just("k")),
    st.builds(Did, st.just("d"), st.just("Bash"), st.just("ok"), st.just("ls"), st.sampled_from(["read", "external"])),
    st.builds(Called, st.sampled_from(["a", "a", "b"]), names, arguments),
    st.builds(Finished, st.sampled_from(["end", "tools", "length", "refusal", "pause", "full"])),
    st.builds(Failed, st.just("x"), st.booleans(), st.sampled_from([0.0, 1.0, 100.0])),
)
other_events = st.one_of(
    st.builds(Stop),
    st.builds(TimeUp),
    st.builds(steer, st.text(min_size=1, max_size=2)),
    st.builds(Denied, st.just("no")),
)
lives: st.SearchStrategy[list[Event]] = st.lists(
    st.one_of(model_events, model_events, model_events, other_events), max_size=40
)
begins = st.builds(
    begin,
    max_calls=st.integers(min_value=1, max_value=5),
    fallbacks=st.sampled_from([(), ("b",), ("b", "c")]),
    is_dry=st.booleans(),
)


def carry_out(given: Begin, events: Sequence[Event], chance: Random) -> tuple[Over, list[Command]]:
    """Play these events, with tools that come back now and then, and a stop at the end; every command there was."""
    state, commands = step(Idle(), given)
    everything: list[Command] = list(commands)
    running = [use.call for use in used(commands)]
    for event in (*events, Stop(), Stop()):
        if running and chance.random() < 0.7:
            event = ToolFinished(running.pop(chance.randrange(len(running))), "x", chance.random() < 0.3)
        state, commands = step(state, event)
        everything += commands
        running += [use.call for use in used(commands)]
    state, commands = step(state, Stop())
    everything += commands
    assert isinstance(state, Over)
    return state, everything


@few
@given(begins, lives, st.randoms())
def test_every_call_gets_exactly_one_result_whatever_happens(given: Begin, events: list[Event], chance: Random) -> None:
    state, everything = carry_out(given, events, chance)

    made = [call for message in state.messages if isinstance(message, ToolCalls) for call, _, _ in message.calls]
    results = [message.call for message in state.messages if isinstance(message, ToolResult)]
    assert results == made
    assert len(set(made)) == len(made)
    begun = [use.call for use in used(everything)]
    skipped = [command.result.call for command in everything if isinstance(command, Skip)]
    assert len(begun) == len(set(begun))
    assert not set(begun) & set(skipped)
    assert not given.is_dry or all(use.tool.effect == "read" for use in used(everything))


@few
@given(begins, lives, st.randoms())
def test_a_turn_ends_once_and_within_its_limit_whatever_happens(
    given: Begin, events: list[Event], chance: Random
) -> None:
    state, everything = carry_out(given, events, chance)

    assert sum(isinstance(command, AskModel) for command in everything) <= given.max_calls
    assert [isinstance(command, End) for command in everything].count(True) == 1
    end = everything[-1]
    assert isinstance(end, End)
    heard = [message.text for message in state.messages if isinstance(message, Spoken) and message.role == "user"]
    joined = [text for text in heard if text not in ("hello", CONTINUE)]
    assert list(end.joined) == joined
    assert len(set(joined)) == len(joined)


@few
@given(begins, lives, st.randoms())
def test_every_line_that_begins_ends_whatever_happens(given: Begin, events: list[Event], chance: Random) -> None:
    _, everything = carry_out(given, events, chance)

    running: set[str] = set()
    for line in everything:
        if isinstance(line, Show) and line.state == "running":
            assert line.call not in running
            running.add(line.call)
        elif isinstance(line, Show):
            running.discard(line.call)
    assert running == set()


@given(st.lists(st.tuples(names, arguments), max_size=6), st.integers(0, 2), st.text(max_size=3))
def test_calls_have_the_same_ids_in_every_attempt(calls: list[tuple[str, str]], failures: int, said: str) -> None:
    def ids(*before: Event) -> list[str]:
        made: list[Event] = [Called(f"{index}", *call) for index, call in enumerate(calls)]
        _, commands = play(begin(), *before, *made, Finished("tools"))
        if not calls:
            return []
        return sorted(
            command.call if isinstance(command, UseTool) else command.result.call
            for command in commands
            if isinstance(command, UseTool | Skip)
        )

    assert ids() == ids(*[Failed("busy", True)] * failures, Said(said), Called("x", "send", "{}"), Failed("x", True))


# What is for the person


def file(name: str, blob: str = "") -> Attachment:
    return Attachment(kind="document", name=name, mime="text/plain", size=1_234, blob=blob or name)


def look(*numbers: int) -> list[Event]:
    """An answer that calls a tool so many times, and the ids of the calls."""
    calls = [Called("x", "look", f'{{"at":{number}}}') for number in numbers]
    return [*calls, Finished("tools")]


def looked(*brought: ToolFinished) -> list[Event]:
    """A turn whose one answer calls a tool for each of these, which bring them."""
    events = [begin(), *look(*range(len(brought)))]
    _, commands = play(*events)
    calls = [use.call for use in used(commands)]
    return [*events, *(replace(one, call=call) for one, call in zip(brought, calls, strict=True))]


def the_end(*events: Event) -> End:
    _, commands = play(*events)
    (end,) = [command for command in commands if isinstance(command, End)]
    return end


def results(commands: Sequence[Command]) -> list[str]:
    return [message.content for message in asked(commands).messages if isinstance(message, ToolResult)]


def test_files_go_with_the_answer_in_the_order_of_the_calls_and_the_model_is_told_of_each() -> None:
    first, second, *rest = looked(
        ToolFinished("", "made", attachments=(file("a.txt"),)), ToolFinished("", "", attachments=(file("b.txt"),))
    )[::-1]
    events = [*rest[::-1], first, second]

    _, commands = play(*events)
    end = the_end(*events, Said("Here."), Finished("end"))

    assert end == End("complete", attachments=(file("a.txt"), file("b.txt")))
    assert results(commands) == [
        "made\n[the file 'a.txt' (text/plain, 1,234 bytes) goes to the person with your answer]",
        "[the file 'b.txt' (text/plain, 1,234 bytes) goes to the person with your answer]",
    ]


def test_a_file_that_is_sent_again_goes_once_and_another_of_its_name_goes_too() -> None:
    again = ToolFinished("", "", attachments=(file("a.txt", "one"),))
    events = looked(again, again, ToolFinished("", "", attachments=(file("a.txt", "two"), file("b.txt", "one"))))

    end = the_end(*events, Said("Here."), Finished("end"))

    assert end.attachments == (file("a.txt", "one"), file("a.txt", "two"), file("b.txt", "one"))


def test_so_many_files_go_with_an_answer_and_the_model_is_told_which_do_not() -> None:
    files = tuple(file(f"{number}.txt") for number in range(MAX_FILES + 1))
    events = looked(ToolFinished("", "", attachments=files))

    state, commands = play(*events)

    assert room(state) == 0
    (told,) = results(commands)
    assert told.count("goes to the person") == MAX_FILES
    assert told.endswith(
        "[the file '10.txt' does not go to the person: 10 files go with an answer, and it has as many]"
    )
    assert the_end(*events, Said("Here."), Finished("end")).attachments == files[:-1]


def test_there_is_less_room_for_files_as_soon_as_a_tool_brought_some() -> None:
    events = looked(ToolFinished("", "", attachments=(file("a"), file("b"))), ToolFinished("", ""))

    states = [play(*events[:until])[0] for until in (0, 1, 3, 5, 6)]

    assert [room(state) for state in states] == [0, MAX_FILES, MAX_FILES, MAX_FILES - 2, MAX_FILES - 2]


def test_the_last_offer_of_things_to_say_counts() -> None:
    events = looked(
        ToolFinished("", "offered", choices=("Yes", "No")),
        ToolFinished("", "offered", choices=("A", "B")),
    )
    later = the_end(*events, Said("Which?"), Finished("end"))

    assert later == End("complete", choices=("A", "B"))


@pytest.mark.parametrize("last", [Stop(), TimeUp(), Failed("no")])
def test_an_answer_that_is_not_complete_brings_nothing(last: Event) -> None:
    events = looked(ToolFinished("", "", attachments=(file("a"),), choices=("Yes",)))

    end = the_end(*events, Said("Her"), last)

    assert end.outcome != "complete"
    assert (end.attachments, end.choices) == ((), ())


def test_who_sends_a_file_and_says_nothing_is_not_told_to_have_given_no_answer() -> None:
    events = looked(ToolFinished("", "", attachments=(file("a"),)))

    _, commands = play(*events, Finished("end"))

    assert commands == [Say(HERE_IT_IS), End("complete", attachments=(file("a"),))]


def test_what_an_earlier_attempt_made_goes_with_the_answer_of_this_one() -> None:
    events: list[Event] = [Called("a", "send", "{}"), Finished("tools")]
    _, before = play(begin(), *events)
    known = KnownCall(call=used(before)[0].call, outcome="ok", content="painted", attachments=(file("a.png"),))
    events = [begin(known_calls=[known]), *events]

    _, commands = play(*events)

    assert used(commands) == []
    (told,) = results(commands)
    assert "\npainted\n" in told and "[the file 'a.png'" in told
    assert the_end(*events, Said("Here."), Finished("end")).attachments == (file("a.png"),)


# A call that was ordered


def ordered(tool: str, arguments: str = "{}", *, is_dry: bool = False) -> Begin:
    return replace(begin(is_dry=is_dry), ordered=Called("x", tool, arguments))


def test_a_call_that_was_ordered_is_made_without_a_model_and_what_came_of_it_is_the_end() -> None:
    brought = file("a.txt")
    _, started = play(ordered("look"))
    (use,) = used(started)
    state, commands = play(ordered("look"), ToolFinished(use.call, "blue", attachments=(brought,), is_foreign=True))

    (end,) = (command for command in commands if isinstance(command, End))
    said = "blue\n[the file 'a.txt' (text/plain, 1,234 bytes) goes to the person with your answer]"
    assert (end.outcome, end.result, end.attachments, end.is_tainted) == ("complete", said, (brought,), True)
    assert isinstance(state, Over)
    assert [command for command in (*started, *commands) if isinstance(command, AskModel)] == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (ordered("erase"), "There is no tool 'erase'. There is: look, send, keep, count."),
        (ordered("count", '{"to":"x"}'), "The arguments do not fit"),
        (ordered("count", "nonsense"), ""),
    ],
)
def test_a_call_that_was_ordered_is_held_to_the_rules_of_all_calls(given: Begin, words: str) -> None:
    _, commands = play(given)

    (end,) = (command for command in commands if isinstance(command, End))
    assert end.outcome == "failed"
    assert end.reason.startswith(words)
    assert used(commands) == []


def test_a_call_that_was_ordered_only_says_in_a_dry_run_what_it_would_do() -> None:
    _, commands = play(ordered("send", is_dry=True))

    assert commands[-1] == End("complete", result="Dry run: send would have been called with {}.")


def test_a_call_that_was_ordered_and_may_have_been_done_is_not_done_again() -> None:
    (use,) = used(play(ordered("send"))[1])
    known = (KnownCall(call=use.call, outcome="unknown"),)

    _, commands = play(replace(ordered("send"), known_calls=known))

    (end,) = (command for command in commands if isinstance(command, End))
    assert end.outcome == "failed" and "It was not run again." in end.reason


@pytest.mark.parametrize("event", [Stop(), TimeUp()], ids=["stop", "time"])
def test_a_call_that_was_ordered_ends_when_it_is_told_to(event: Event) -> None:
    state, commands = play(ordered("look"), event)

    (end,) = (command for command in commands if isinstance(command, End))
    assert end.outcome == ("stopped" if isinstance(event, Stop) else "failed")
    assert isinstance(state, Over)
