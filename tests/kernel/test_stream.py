"""An answer as it grows."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from factory_contracts.messages import OUTBOUND, Address, Final, Usage
from factory_contracts.work import Ended, LlmEvent, SaidText, ToolEvent
from hub.kernel.stream import ANSWER_BYTES, CUT, Piece, StreamProcessor

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
