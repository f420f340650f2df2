"""What a person sees of answers: each once, in order, whole, whatever happens on the way."""

from pathlib import Path

import pytest

from adapters.cli import sessions
from tests.terminal.actor import Settings
from tests.terminal.stage import Stage

LONG = (
    "# A heading 漢字\n\n"
    + "".join(
        f"Paragraph {number} with **bold** and 漢字漢字 wide glyphs, long enough to wrap. " * 3 + "\n\n"
        for number in range(9)
    )
    + "| name | value |\n|---|---|\n"
    + "".join(f"| row {number} | 漢字 {number} |\n" for number in range(12))
    + "\n```python\n"
    + "".join(f"line_{number} = '漢字'\n\n" for number in range(40))
    + "```\n\n"
    + "".join(f"{number}. item {number} end\n" for number in range(1, 12))
    + "\nThe last words."
)


def test_an_answer_streams_above_a_prompt_that_stays_usable(stage: Stage) -> None:
    stage.type("hello\r")
    turn = stage.accepted()
    stage.show(turn, "First **block**.\n\nSecond bl")
    stage.see("Second bl")
    stage.type("typed meanwhile")
    stage.see("> typed meanwhile")
    stage.finish(turn, "First **block**.\n\nSecond block.", usage={"calls": 1, "input_tokens": 5, "output_tokens": 7})
    stage.see("1 model call · 5 tokens in · 7 out")

    assert stage.shown().strip().split("\n")[3:] == [
        "> hello",
        "",
        "First block.",
        "",
        "Second block.",
        "",
        "1 model call · 5 tokens in · 7 out",
        "",
        "> typed meanwhile",
    ]


def test_the_prompt_never_leaves_the_screen_while_an_answer_streams(stage: Stage) -> None:
    stage.type("hello\r")
    turn = stage.accepted()
    stage.see("> hello")
    stage.type("a line begun")
    stage.see("> a line begun")
    stage.steady = "> a line begun"
    for end in range(0, 600, 5):
        stage.show(turn, ("Some words and more.\n\n" * 30)[:end])
    stage.finish(turn, "Some words and more.\n\n" * 30)

    assert stage.lapses == 0


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 10), (20, 5)])
def test_a_long_answer_leaves_every_line_once(tmp_path: Path, columns: int, rows: int) -> None:
    with Stage(Settings(str(tmp_path)), columns=columns, rows=rows) as stage:
        stage.see(">")
        stage.welcome()
        stage.type("tell me\r")
        turn = stage.accepted()
        for end in range(0, len(LONG), 40):
            stage.show(turn, LONG[:end])
        stage.finish(turn, LONG)
        stage.see("The last words.")
        text = stage.transcript()

    for number in range(40):
        assert text.count(f"line_{number} =") == 1
    for number in range(12):
        assert text.count(f"row {number} ") == 1
    for number in range(1, 12):
        assert text.count(f"item {number} end") == 1
    assert text.index("A heading") < text.index("row 3") < text.index("line_7") < text.index("item 11 end")
    assert "Window too small" not in text


def test_a_question_typed_during_an_answer_is_printed_when_its_own_turn_comes(stage: Stage) -> None:
    stage.type("first question\r")
    first = stage.accepted()
    stage.show(first, "First ans")
    stage.see("First ans")
    stage.type("second question\r")
    second = stage.accepted()
    stage.see("next: second question")
    stage.finish(first, "First answer.")
    stage.finish(second, "Second answer.")
    stage.see("Second answer.")

    assert [line for line in stage.shown().split("\n") if line][2:6] == [
        "> first question",
        "First answer.",
        "> second question",
        "Second answer.",
    ]


def test_the_next_answer_waits_for_the_end_of_the_one_before(stage: Stage) -> None:
    stage.type("first question\r")
    first = stage.accepted()
    stage.type("second question\r")
    second = stage.accepted()
    stage.show(first, "First ans")
    stage.see("First ans")
    stage.show(second, "Second answer.", is_final=True)
    stage.finish(first, "First answer.")
    stage.see("Second answer.")

    assert stage.shown().index("First answer.") < stage.shown().index("Second answer.")


def test_a_final_that_is_sent_again_is_printed_once(stage: Stage) -> None:
    stage.type("hello\r")
    turn = stage.accepted()
    stage.finish(turn, "Hi there.")
    stage.finish(turn, "Hi there.")
    stage.type("next\r")
    stage.finish(stage.accepted(), "Done.")
    stage.see("Done.")

    assert stage.transcript().count("Hi there.") == 1


def test_another_terminal_of_the_session_is_seen_with_both_sides(stage: Stage) -> None:
    stage.order("said", turn="theirs", text="what they ask", user_name="Ada")
    stage.see("Ada > what they ask")
    stage.finish("theirs", "What they are told.")

    stage.see("What they are told.")


def test_what_was_said_here_is_not_said_again(stage: Stage) -> None:
    stage.type("hello\r")
    turn = stage.accepted()
    stage.order("said", turn=turn, text="hello")
    stage.finish(turn, "Hi.")
    stage.see("Hi.")

    assert stage.shown().count("hello") == 1


def test_a_restart_that_says_the_same_goes_on_in_place(stage: Stage) -> None:
    stage.type("hello\r")
    turn = stage.accepted()
    stage.show(turn, "One.\n\nTwo.\n\nThr")
    stage.see("Thr")
    stage.show(turn, "One", attempt=2)
    stage.finish(turn, "One.\n\nTwo.\n\nThree.", attempt=2)
    stage.see("Three.")

    assert "starts over" not in stage.transcript()
    assert stage.transcript().count("One.") == 1


def test_a_restart_that_says_something_else_is_told_and_printed_anew(stage: Stage) -> None:
    stage.type("hello\r")
    turn = stage.accepted()
    stage.show(turn, "One.\n\nTwo.\n\nThr")
    stage.see("Thr")
    stage.show(turn, "Ein", attempt=2)
    stage.see("the answer starts over")
    stage.finish(turn, "Eins.\n\nZwei.", attempt=2)
    stage.see("Zwei.")

    assert stage.shown().index("starts over") < stage.shown().index("Eins.")
    assert "Thr" not in stage.shown()


def test_what_a_tool_does_is_one_line_that_is_replaced(stage: Stage) -> None:
    stage.type("look it up\r")
    turn = stage.accepted()
    stage.show(turn, "", activity="reading a page")
    stage.see("· reading a page")
    stage.show(turn, "", activity="reading another")
    stage.see("· reading another")
    stage.finish(turn, "Found.")
    stage.see("Found.")

    assert "reading" not in stage.transcript()


def test_a_refusal_is_told_in_its_own_words(stage: Stage) -> None:
    stage.type("hello\r")
    stage.told("submitted")
    stage.order("refuse", reason="queue full", text="100 messages wait already.")
    stage.see("100 messages wait already.")
    stage.type("again\r")

    assert stage.told("submitted")["text"] == "again"


def test_a_refusal_during_an_answer_leaves_the_answer_whole(stage: Stage) -> None:
    stage.type("first\r")
    turn = stage.accepted()
    stage.show(turn, "One.\n\nTw")
    stage.see("Tw")
    stage.type("second\r")
    stage.told("submitted")
    stage.order("refuse", reason="too fast", text="Slowly.")
    stage.see("Slowly.")
    stage.finish(turn, "One.\n\nTwo.")
    stage.see("Two.")

    assert stage.shown().count("One.") == 1


def test_an_answer_cannot_steer_the_terminal(stage: Stage) -> None:
    stage.type("hello\r")
    stage.finish(stage.accepted(), "a\x1b]0;owned\x07b\x1b[2Jc\x9b31m `\x1b[5m`\n\n```\n\x1b[6m\n```")
    stage.see("a]0;ownedb[2Jc31m [5m")

    assert b"\x1b]0;" not in stage.written
    assert b"\x1b[5m" not in stage.written
    assert b"\x1b[6m" not in stage.written


def test_a_hub_that_is_away_is_waited_for_and_the_line_is_sent_once_it_is_back(tmp_path: Path) -> None:
    with Stage(Settings(str(tmp_path))) as stage:
        stage.see("waiting for the hub…")
        stage.type("said early\r")
        stage.see("next: said early")
        stage.welcome()
        turn = stage.accepted()
        stage.finish(turn, "Heard.")
        stage.see("Heard.")

        assert "waiting" not in stage.shown()
        assert stage.shown().index("session here") < stage.shown().index("> said early")


def test_what_could_not_be_sent_is_told_at_the_end(stage: Stage) -> None:
    stage.type("lost words\r")
    stage.told("submitted")
    stage.see("waiting for the hub…")
    stage.type("\x04")
    code = stage.end()

    assert code == 0
    assert "not sent, the hub is away: lost words" in stage.shown()


def test_a_resumed_session_shows_what_was_said_and_only_what_is_new_is_printed_again(tmp_path: Path) -> None:
    with Stage(Settings(str(tmp_path))) as stage:
        stage.see(">")
        stage.welcome(history=[{"turn": "old", "asked": "old question", "answered": "Old answer."}])
        stage.see("Old answer.")
        stage.finish("old", "Old answer.")
        stage.finish("missed", "What was missed.")
        stage.finish("missed", "What was missed.")
        stage.see("What was missed.")

        assert stage.transcript().count("Old answer.") == 1
        assert stage.transcript().count("What was missed.") == 1


def test_a_long_answer_of_before_is_recalled_by_its_end(tmp_path: Path) -> None:
    with Stage(Settings(str(tmp_path))) as stage:
        stage.see(">")
        long = "".join(f"- point {number} made\n" for number in range(60))
        stage.welcome(history=[{"turn": name, "asked": f"ask {name}", "answered": long} for name in ("one", "two")])
        stage.see("> ask two")

        assert stage.transcript().count("point 59 made") == 2
        assert stage.transcript().count("point 50 made") == 1
        assert stage.transcript().count("point 10 made") == 0


def test_resume_goes_on_with_another_session_of_this_terminal(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text('{"name": "earlier", "started": "2025-01-01 10:00", "words": "hi"}\n')
    stage.type("/sessions\r")
    stage.see("earlier  hi")
    stage.type("/resume ear\t")
    stage.see("> /resume earlier\n")
    stage.type("\r")
    stage.told("closed")
    stage.told("joined")
    joined = stage.told("joined")
    stage.welcome(agent="other", history=[{"turn": "old", "asked": "old question", "answered": "Old answer."}])
    stage.see("Old answer.")

    assert joined["scope"] == "earlier"
    assert "session earlier" in stage.shown()


def test_a_copy_of_the_session_can_be_resumed_once_it_is_made(stage: Stage, tmp_path: Path) -> None:
    stage.type("hello\r")
    stage.finish(stage.accepted(), "Hi.")
    stage.type("/fork  a-copy\r")
    fork = stage.told("submitted")
    stage.order("accept")
    stage.type("/resume a-copy\r")
    stage.see("there is no session to resume yet")
    stage.finish(stage.turn(fork), "`a-copy` begins with all that was said here.")
    stage.see("begins with all")
    assert [noted.name for noted in sessions.load(tmp_path / "sessions")] == ["a-copy", "here"]

    stage.type("/resume a-c\t")
    stage.see("> /resume a-copy\n")
    stage.type("\r")
    stage.told("closed")
    stage.told("joined")
    joined = stage.told("joined")
    stage.welcome(history=[{"turn": "old", "asked": "hello", "answered": "Hi."}])
    stage.see("session a-copy")

    assert joined["scope"] == "a-copy"


def test_a_copy_that_was_not_made_is_not_noted(stage: Stage, tmp_path: Path) -> None:
    stage.type("/fork taken\r")
    stage.finish(stage.accepted(), "There is a conversation `taken` already.", outcome="failed")
    stage.see("already.")
    stage.type("/sessions\r")
    stage.see("here  /fork taken")

    assert [noted.name for noted in sessions.load(tmp_path / "sessions")] == ["here"]


def test_a_question_that_joined_a_running_answer_is_shown_and_waited_for_no_more(stage: Stage) -> None:
    stage.type("first question\r")
    first = stage.accepted()
    stage.show(first, "First ans")
    stage.see("First ans")
    stage.type("and another thing\r")
    second = stage.accepted()
    stage.see("next: and another thing")

    stage.order("said", turn=second, text="and another thing", joined=first)
    stage.see_no_more("next:")
    stage.finish(first, "First answer, to both.")
    stage.see("First answer, to both.")
    stage.see_no_more("…")
    stage.type("third question\r")
    stage.finish(stage.accepted(), "Third answer.")
    stage.see("Third answer.")

    assert [line for line in stage.shown().split("\n") if line][2:] == [
        "> first question",
        "> and another thing",
        "First answer, to both.",
        "> third question",
        "Third answer.",
        ">",
    ]


def test_a_question_of_another_terminal_that_joined_is_waited_for_no_more(stage: Stage) -> None:
    stage.order("said", turn="theirs", text="what they ask", user_name="Ada")
    stage.see("Ada > what they ask")
    stage.show("theirs", "What")
    stage.see("What")
    stage.order("said", turn="too", text="and that", user_name="Ada")
    stage.see("next: and that")
    stage.order("said", turn="too", text="and that", user_name="Ada", joined="theirs")
    stage.see("Ada > and that")
    stage.finish("theirs", "What they are told.")
    stage.see("What they are told.")

    stage.see_no_more("…")


def test_nothing_is_left_to_stop_once_all_that_was_asked_has_joined_an_ended_answer(stage: Stage) -> None:
    stage.type("first\r")
    first = stage.accepted()
    stage.type("second\r")
    second = stage.accepted()
    stage.order("said", turn=second, text="second", joined=first)
    stage.finish(first, "To both.")
    stage.see("To both.")
    stage.see_no_more("…")

    stage.type("\x03")
    stage.see("press Ctrl-C again to exit")
    stage.type("hello\r")

    assert stage.told("submitted")["text"] == "hello"


@pytest.mark.parametrize("word", ["/approvals", "/approve 0123456789abcdef", "/forget", "/stop"])
def test_what_the_hub_says_at_once_stands_in_an_answer_that_goes_on(stage: Stage, word: str) -> None:
    stage.type("first question\r")
    first = stage.accepted()
    stage.show(first, "One.\n\nTw")
    stage.see("Tw")
    stage.type("second question\r")
    second = stage.accepted()
    stage.see("next: second question")
    stage.type(f"{word}\r")
    stage.finish(stage.accepted(), "Told at once.")
    stage.see("Told at once.")
    stage.finish(first, "One.\n\nTwo.")
    stage.finish(second, "Three.")
    stage.see("Three.")

    assert [line for line in stage.shown().split("\n") if line][2:9] == [
        "> first question",
        "One.",
        f"> {word}",
        "Told at once.",
        "Two.",
        "> second question",
        "Three.",
    ]


def test_what_the_hub_says_at_once_leaves_what_was_asked_before_to_be_stopped(stage: Stage) -> None:
    stage.type("tell me\r")
    turn = stage.accepted()
    stage.type("/approvals\r")
    stage.finish(stage.accepted(), "Nothing waits.")
    stage.see("Nothing waits.")
    stage.type("\x03")
    stop = stage.told("submitted")
    stage.order("accept")
    stage.finish(turn, "", outcome="stopped")
    stage.see("stopped")

    assert stop["text"] == "/stop"


def test_what_another_terminal_is_told_at_once_stands_in_an_answer_that_goes_on(stage: Stage) -> None:
    stage.type("hello\r")
    turn = stage.accepted()
    stage.show(turn, "One.\n\nTw")
    stage.see("Tw")
    stage.order("said", turn="theirs", text="/approvals", user_name="Ada")
    stage.finish("theirs", "Nothing waits.")
    stage.finish(turn, "One.\n\nTwo.")
    stage.see("Two.")

    shown = stage.shown()
    assert shown.index("Ada > /approvals") < shown.index("Nothing waits.") < shown.index("Two.")


def test_the_word_that_an_answer_was_stopped_stands_below_its_end_and_above_the_next(stage: Stage) -> None:
    stage.type("tell me\r")
    turn = stage.accepted()
    stage.show(turn, "Once upon")
    stage.see("Once upon")
    stage.type("and then\r")
    following = stage.accepted()
    stage.type("/stop\r")
    stage.show(stage.accepted(), "Stopped.", is_final=True)
    stage.finish(turn, "Once upon a", outcome="stopped")
    stage.see("Stopped.")
    stage.finish(following, "Then.")
    stage.see("Then.")

    assert [line for line in stage.shown().split("\n") if line][2:9] == [
        "> tell me",
        "Once upon a",
        "stopped",
        "> /stop",
        "Stopped.",
        "> and then",
        "Then.",
    ]


def test_an_unknown_session_is_told(stage: Stage) -> None:
    stage.type("/resume nothing\r")

    stage.see("there is no session to resume yet")


def test_the_wanted_agent_is_asked_for_before_anything_else(tmp_path: Path) -> None:
    with Stage(Settings(str(tmp_path), agent="scout")) as stage:
        stage.see(">")
        stage.type("hello\r")
        stage.welcome()
        asked = stage.told("submitted")
        stage.order("accept")
        stage.finish(stage.turn(asked), "scout answers here now.")
        stage.welcome(agent="scout")
        stage.see("factory · scout")

        assert asked["text"] == "/agent scout"
        assert stage.told("submitted")["text"] == "hello"


def test_without_colour_nothing_is_styled(tmp_path: Path) -> None:
    with Stage(Settings(str(tmp_path), use_color=False)) as stage:
        stage.see(">")
        stage.welcome()
        stage.type("hello\r")
        stage.finish(stage.accepted(), "Some **bold** text.\n\n```python\nx = 1\n```\n")
        stage.see("x = 1")

        assert "Some bold text." in stage.shown()
        assert b"m" not in stage.escapes()


def test_an_unfinished_answer_stays_on_the_screen_when_one_leaves(stage: Stage) -> None:
    stage.type("hello\r")
    stage.show(stage.accepted(), "Unfinished bus")
    stage.see("Unfinished bus")
    stage.type("\x04")
    stage.end()

    assert "Unfinished bus" in stage.shown()
