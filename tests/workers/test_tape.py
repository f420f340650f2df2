"""How a turn's events get their numbers and cross in messages that fit."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from factory_contracts.messages import Usage
from factory_contracts.trace import MAX_EXCERPT, ModelStep, Step, ToolStep
from factory_contracts.work import EVENTS, Ended, Events, LlmEvent, SaidText, Stepped, ToolEvent
from workers.clipool.tape import Tape

LINE = ToolEvent(call="c", tool="look", state="running", text="Using look")


def read(payloads: list[bytes]) -> list[Events]:
    return [EVENTS.decode(payload) for payload in payloads]


def test_text_between_two_lines_is_one_event() -> None:
    tape = Tape("t", 1, "i")
    for text in ("a", "b"):
        tape.say(text)
    tape.show(LINE)
    tape.say("c")
    tape.end("complete", Usage(), None)

    (told,) = read(tape.tell(0))

    assert told.events == (SaidText(text="ab"), LINE, SaidText(text="c"), Ended(outcome="complete"))
    assert told.done == 4


def test_a_step_stands_after_the_text_of_its_call_and_before_what_comes_then() -> None:
    step = ModelStep(call="m1", model="scripted", messages=1, text="a", reason="tools")
    tape = Tape("t", 1, "i")
    tape.say("a")
    tape.note(step)
    tape.show(LINE)
    tape.say("b")
    tape.end("stopped", Usage(), None, ("t2",))

    (told,) = read(tape.tell(0))

    ended = Ended(outcome="stopped", joined=("t2",))
    assert told.events == (SaidText(text="a"), Stepped(step=step), LINE, SaidText(text="b"), ended)


def test_what_comes_after_the_end_is_not_told() -> None:
    tape = Tape("t", 1, "i")
    tape.end("complete", Usage(), None)
    tape.show(LINE)
    tape.note(ModelStep(call="m1", model="scripted", messages=1, reason="end"))

    (told,) = read(tape.tell(0))

    assert (told.events, told.done) == ((Ended(outcome="complete"),), 1)


def test_text_has_no_number_before_it_is_told() -> None:
    tape = Tape("t", 1, "i")
    tape.say("a")
    assert tape.told == 0
    tape.tell(0)
    tape.say("b")
    tape.say("c")

    (told,) = read(tape.tell(tape.told))

    assert (told.first, told.events, told.done) == (1, (SaidText(text="bc"),), None)


def test_half_of_a_pair_cannot_stop_an_answer() -> None:
    tape = Tape("t", 1, "i")
    for text in ("\ud83d", "\ude00", " and \ud83d"):
        tape.say(text)

    (told,) = read(tape.tell(0))

    assert told.events == (SaidText(text="\N{GRINNING FACE} and \N{REPLACEMENT CHARACTER}"),)


texts = st.builds(
    lambda text, times: text * times,
    st.sampled_from(["a", "ä", "\N{GRINNING FACE}", "\x00", '"']),
    st.integers(0, 90_000),
)


letters = st.sampled_from(["a", "ä", "\N{GRINNING FACE}", "\x00", '"'])
steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        lambda letter: ModelStep(
            call="m1",
            model=letter * 255,
            messages=1,
            text=letter * MAX_EXCERPT,
            reason="failed",
            error=letter * MAX_EXCERPT,
            cost=Decimal("0.000000000000000001"),
            within="x" * 255,
        ),
        letters,
    ),
    st.builds(
        lambda letter: ToolStep(
            call="x" * 255,
            tool=letter * 64,
            effect="external",
            arguments=letter * MAX_EXCERPT,
            outcome="ok",
            content=letter * MAX_EXCERPT,
        ),
        letters,
    ),
)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.one_of(texts, st.just(LINE), st.lists(steps, min_size=1, max_size=40)), max_size=6), st.integers(0, 3)
)
def test_whatever_is_said_every_message_fits_and_nothing_is_missing(
    said: list[str | ToolEvent | list[Step]], start: int
) -> None:
    tape = Tape("t", 1, "i")
    for one in said:
        if isinstance(one, str):
            tape.say(one)
        elif isinstance(one, ToolEvent):
            tape.show(one)
        else:
            for step in one:
                tape.note(step)
    tape.end("complete", Usage(), None, ("t2",))

    payloads = tape.tell(0)
    again = tape.tell(start)

    assert max(map(len, payloads)) < 500_000
    events: list[LlmEvent] = []
    for told in read(payloads):
        assert told.first == len(events)
        assert told.events
        events += told.events
    assert "".join(event.text for event in events if isinstance(event, SaidText)) == "".join(
        one for one in said if isinstance(one, str)
    )
    assert [event.step for event in events if isinstance(event, Stepped)] == [
        step for one in said if isinstance(one, list) for step in one
    ]
    assert [event for told in read(again) for event in told.events] == events[start:]
