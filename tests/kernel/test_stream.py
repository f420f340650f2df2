"""An answer as it grows."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from factory_contracts.messages import OUTBOUND, Address, Final, Usage
from factory_contracts.records import RECORD, TurnAnswered
from factory_contracts.trace import MAX_EXCERPT, ModelStep, Step, ToolStep
from factory_contracts.work import Ended, LlmEvent, SaidText, Stepped, ToolEvent
from hub.kernel.stream import ANSWER_BYTES, CUT, STEPS_BYTES, STEPS_KEPT, Piece, StreamProcessor

few = settings(max_examples=25, deadline=None)


def said(text: str) -> SaidText:
    return SaidText(text=text)


def tool(state: str, text: str = "Using clock") -> ToolEvent:
    return ToolEvent.model_validate({"call": "c", "tool": "clock", "state": state, "text": text})


def test_the_first_piece_is_a_snapshot_and_the_next_go_on() -> None:
    processor = StreamProcessor()
    pieces: list[Piece] = []
    for event in (said("One "), said("two "), said("three.")):
        processor.feed(event)
        pieces.append(processor.take())

    assert pieces == [Piece(0, "One ", None), Piece(4, "two ", None), Piece(8, "three.", None)]


def test_a_snapshot_is_all_of_it_and_the_next_piece_goes_on_from_there() -> None:
    processor = StreamProcessor()
    processor.feed(said("One "))
    processor.take()
    processor.feed(said("two "))

    assert processor.snapshot() == Piece(0, "One two ", None)
    processor.feed(said("three."))
    assert processor.take() == Piece(8, "three.", None)


def test_a_tool_is_shown_while_it_runs() -> None:
    processor = StreamProcessor()
    processor.feed(tool("running"))
    assert processor.take() == Piece(0, "", "Using clock")

    processor.feed(tool("ok"))

    assert processor.take() == Piece(0, "", None)


def test_the_end_is_known() -> None:
    processor = StreamProcessor()
    end = Ended(outcome="stopped", usage=Usage(calls=2))
    processor.feed(said("so far"))
    processor.feed(end)

    assert processor.ended == end
    assert processor.events == 2
    assert processor.text == "so far"


def test_an_answer_that_no_message_could_hold_is_cut_in_words() -> None:
    processor = StreamProcessor()
    for _ in range(20):
        processor.feed(said("🙂" * 10_000))

    assert processor.text.endswith(CUT)
    assert len(processor.text.encode()) <= ANSWER_BYTES + len(CUT.encode())
    address = Address(platform="p", bot_id="b", scope_id="s")
    final = Final(turn="t", text=processor.text, outcome="complete", epoch=1, address=address)
    assert OUTBOUND.decode(OUTBOUND.encode(final)) == final


def test_what_was_done_is_kept_in_its_order_and_is_no_part_of_the_answer() -> None:
    steps: tuple[Step, ...] = (
        ModelStep(call="m1", model="scripted", messages=1, text="I look.", reason="tools"),
        ToolStep(call="c", tool="clock", effect="read", outcome="ok", content="noon", within="ask"),
    )
    processor = StreamProcessor()
    for step in steps:
        processor.feed(Stepped(step=step))

    assert processor.trace == steps
    assert processor.take() == Piece(0, "", None)
    assert processor.events == 2


def test_the_later_steps_of_a_long_turn_lose_their_words_first() -> None:
    processor = StreamProcessor()
    for number in range(100):
        processor.feed(
            Stepped(
                step=ToolStep(
                    call=f"c{number}",
                    tool="clock",
                    effect="read",
                    arguments="a" * MAX_EXCERPT,
                    outcome="ok",
                    content="x" * MAX_EXCERPT,
                    seconds=1.0,
                    within="ask",
                )
            )
        )

    first, last = processor.trace[0], processor.trace[-1]

    assert len(processor.trace) == 100
    assert (first, last) == (
        processor.steps[0],
        processor.steps[-1].model_copy(update={"arguments": "", "content": ""}),
    )


worst = st.sampled_from(["a", "é", "\x00", '"', "🙂"])


@settings(max_examples=10, deadline=None)
@given(worst, worst, st.integers(0, 600))
def test_the_record_of_the_longest_turn_can_be_read_again(letter: str, other: str, count: int) -> None:
    processor = StreamProcessor()
    for number in range(count):
        words = letter * (MAX_EXCERPT if number % 2 else 300)
        step: Step = ModelStep(call=letter * 99, model=other * 255, messages=1, text=words, error=words, reason="end")
        processor.feed(Stepped(step=step))
    processor.feed(said(letter * ANSWER_BYTES))

    steps = processor.trace
    record = TurnAnswered(id="r", turn="t", at=0.0, text=processor.text, outcome="complete", steps=steps)

    assert RECORD.decode(RECORD.encode(record)) == record
    assert len(steps) <= STEPS_KEPT
    assert sum(len(step.model_dump_json().encode()) for step in steps) <= STEPS_BYTES


@few
@given(st.lists(st.one_of(st.text().map(said), st.just(tool("running"))), max_size=30), st.data())
def test_the_pieces_make_the_text(events: list[LlmEvent], data: st.DataObject) -> None:
    processor = StreamProcessor()
    screen = ""
    for event in events:
        processor.feed(event)
        if data.draw(st.booleans()):
            piece = processor.snapshot() if data.draw(st.booleans()) else processor.take()
            assert piece.base <= len(screen)
            screen = screen[: piece.base] + piece.text
            assert screen == processor.text
    piece = processor.take()

    whole = "".join(event.text for event in events if isinstance(event, SaidText))
    assert screen[: piece.base] + piece.text == whole == processor.text
    assert processor.events == len(events)


@few
@given(st.lists(st.integers(1, 400_000), max_size=6))
def test_a_cut_answer_stays_one_text_for_every_reader(lengths: list[int]) -> None:
    once, gathered = StreamProcessor(), StreamProcessor()
    screen = ""
    for length in lengths:
        once.feed(said("é" * length))
        piece = once.take()
        screen = screen[: piece.base] + piece.text
        gathered.feed(said("é" * length))

    assert screen == once.text == gathered.take().text
