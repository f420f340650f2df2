"""What is said again and again is written a few times, and counted."""

import logging

from factory_cli.sparing import ALIKE, DIFFERENT, MINUTE, Sparing


def said(words: str, *arguments: object, line: int = 1) -> logging.LogRecord:
    return logging.LogRecord("hub.dispatch", logging.INFO, "dispatch.py", line, words, arguments, None)


def test_what_is_said_again_and_again_is_written_a_few_times_a_minute() -> None:
    sparing = Sparing(0.0)

    written = [sparing.writes(said("refused a message: %s", "too fast")) for _ in range(1000)]
    sparing.left_out(MINUTE)

    assert written == [True] * ALIKE + [False] * (1000 - ALIKE)
    assert sparing.writes(said("refused a message: %s", "too fast"))


def test_a_reason_is_written_however_often_another_was() -> None:
    sparing = Sparing(0.0)

    for _ in range(1000):
        sparing.writes(said("refused a message: %s", "too fast"))

    assert sparing.writes(said("refused a message: %s", "blocked"))


def test_who_always_chooses_other_words_is_left_out_too_and_nobody_else() -> None:
    sparing = Sparing(0.0)

    written = [sparing.writes(said("passed over: %s", number)) for number in range(1000)]

    assert sum(written) == DIFFERENT + ALIKE
    assert sparing.writes(said("something else", line=2))


def test_what_somebody_was_told_the_reference_of_is_always_written() -> None:
    sparing = Sparing(0.0)

    assert all(sparing.writes(said("turn failed, reference %s", number)) for number in range(1000))


def test_how_much_was_left_out_is_told_when_the_minute_is_over() -> None:
    sparing = Sparing(0.0)
    for number in range(1000):
        sparing.writes(said("refused a message: %s", "too fast"))
        sparing.writes(said("passed over: %s", number, line=2))

    within, after, afterwards = (sparing.left_out(now) for now in (MINUTE - 1, MINUTE, 2 * MINUTE))

    assert (within, afterwards) == ([], [])
    assert after == [
        f"left out {1000 - ALIKE} times: refused a message: too fast",
        f"left out {1000 - DIFFERENT - ALIKE} times: other words of hub.dispatch, line 2",
    ]
