"""One question and its answer: what a script, a pipe and a person in a hurry get."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.cli.normalize import FORGET_ALL
from factory_contracts.render import RENDER, AnswerEnded, QuestionAsked, TextDelta, TextReplaced, ToolSummary
from tests.terminal.actor import Settings
from tests.terminal.stage import Stage

CODE = "0123456789abcdef"
QUESTION = {"code": CODE, "text": 'May I use **send**?\n\n```json\n{"to": "all"}\n```', "expires_at": 1.0}
ANSWER = "# Title\n\nSome **bold** text.\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(str(tmp_path), prompt="What?", use_color=False)


@pytest.fixture
def piped(settings: Settings, tmp_path: Path) -> Iterator[Stage]:
    """A terminal whose stdout goes into a file, and with it to whoever reads the pipe."""
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        yield stage


def test_a_pipe_gets_the_markdown_to_the_letter_and_nothing_else(piped: Stage, tmp_path: Path) -> None:
    turn = piped.accepted()
    piped.show(turn, ANSWER[:9])
    piped.finish(turn, ANSWER, usage={"calls": 1})
    code = piped.end()

    assert code == 0
    assert (tmp_path / "out").read_text() == ANSWER


def test_a_restart_that_says_the_same_is_not_seen_in_a_pipe(piped: Stage, tmp_path: Path) -> None:
    turn = piped.accepted()
    piped.show(turn, ANSWER[:20])
    piped.show(turn, ANSWER[:3], attempt=2)
    piped.finish(turn, ANSWER, attempt=2)
    piped.end()

    assert (tmp_path / "out").read_text() == ANSWER


def test_a_restart_that_says_something_else_is_told_on_stderr(piped: Stage, tmp_path: Path) -> None:
    turn = piped.accepted()
    piped.show(turn, "One")
    piped.finish(turn, "Two", attempt=2)
    piped.end()

    assert (tmp_path / "out").read_text() == "One\nTwo\n"
    assert "the answer starts over" in piped.shown()


def asks(stage: Stage) -> str:
    """An answer that has begun asks whether it may go on; its turn."""
    turn = stage.accepted()
    stage.show(turn, "Let me see.", question=QUESTION)
    stage.see('{"to": "all"}')
    return turn


@pytest.mark.parametrize(("line", "approved"), [("y\n", True), ("N\n", False), ("yes\n\nok\nn\n", False)])
def test_at_a_terminal_the_question_is_asked_there(
    settings: Settings, tmp_path: Path, line: str, approved: bool
) -> None:
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        turn = asks(stage)
        stage.see("allow it? y/n")
        stage.type(line)
        told = stage.told("decided")
        stage.order("accept")
        stage.finish(turn, "Let me see. Told.")
        code = stage.end()

    assert (told["turn"], told["code"], told["user"], told["approved"]) == (turn, CODE, "someone", approved)
    assert (code, (tmp_path / "out").read_text()) == (0, "Let me see. Told.\n")


def test_what_was_typed_before_the_question_is_no_answer(settings: Settings) -> None:
    with Stage(settings) as stage:
        stage.welcome()
        stage.type("y\n")
        stage.see("y")
        asks(stage)
        stage.see("allow it? y/n")
        stage.type("n\n")

        assert stage.told("decided")["approved"] is False


def test_a_question_that_is_gone_is_asked_no_more(settings: Settings) -> None:
    with Stage(settings) as stage:
        stage.welcome()
        turn = asks(stage)
        stage.see("allow it? y/n")
        stage.finish(turn, "Let me see. Nobody said yes.")
        code = stage.end()

    assert code == 0
    assert "Nobody said yes." in stage.shown()


def test_where_the_terminal_is_closed_the_question_is_denied(settings: Settings) -> None:
    with Stage(settings) as stage:
        stage.welcome()
        asks(stage)
        stage.see("allow it? y/n")
        stage.type("\x04")

        assert stage.told("decided")["approved"] is False


def test_without_a_terminal_a_question_is_denied_at_once_and_told_how_to_allow_it(
    settings: Settings, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdin=reading, stdout=out.fileno()) as stage:
        stage.welcome()
        turn = asks(stage)
        told = stage.told("decided")
        stage.order("accept")
        stage.finish(turn, "Let me see. I may not.")
        code = stage.end()
    os.close(reading)
    os.close(writing)

    assert told["approved"] is False
    assert "May I use **send**?" in stage.shown()
    assert "denied: nobody is here to be asked; --yes allows it" in stage.shown()
    assert (code, (tmp_path / "out").read_text()) == (0, "Let me see. I may not.\n")


def test_what_is_allowed_beforehand_is_not_asked_and_still_told(settings: Settings) -> None:
    settings.allows = True
    with Stage(settings) as stage:
        stage.welcome()
        turn = asks(stage)
        told = stage.told("decided")
        stage.order("accept")
        stage.finish(turn, "Let me see. Told.")
        code = stage.end()

    assert (told["approved"], code) == (True, 0)
    assert "May I use **send**?" in stage.shown()
    assert "allow it?" not in stage.shown()


def test_the_hubs_word_on_an_answer_is_told_on_stderr(settings: Settings, tmp_path: Path) -> None:
    settings.allows = True
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        asks(stage)
        stage.told("decided")
        stage.order("refuse", reason="not allowed", text="That is not yours to allow.")

        stage.see("That is not yours to allow.")


def test_each_question_is_asked_once_and_for_itself(settings: Settings) -> None:
    with Stage(settings) as stage:
        stage.welcome()
        turn = asks(stage)
        stage.see("allow it? y/n")
        stage.type("y\n")
        first = stage.told("decided")
        stage.order("accept")
        stage.show(turn, "Let me see.", question=QUESTION)
        stage.show(turn, "Let me see.", question={**QUESTION, "code": CODE[::-1], "text": "And this?"})
        stage.see("And this?")
        stage.wait(lambda: stage.shown().count("allow it? y/n") == 2, "the second prompt")
        stage.type("n\n")
        second = stage.told("decided")

    assert [(told["code"], told["approved"]) for told in (first, second)] == [(CODE, True), (CODE[::-1], False)]


def test_a_drawn_answer_that_asks_goes_on_below_the_question(settings: Settings) -> None:
    settings.use_color = True
    with Stage(settings) as stage:
        stage.welcome()
        turn = asks(stage)
        stage.see("allow it? y/n")
        stage.show(turn, "Let me see. Still", question=QUESTION)
        stage.type("y\n")
        stage.told("decided")
        stage.order("accept")
        stage.finish(turn, "Let me see.\n\nTold.")
        stage.end()

    lines = [line for line in stage.shown().split("\n") if line]
    assert lines[:2] == ["Let me see.", "May I use **send**?"]
    assert lines[-2:] == ["allow it? y/n y", "Told."]


def test_what_was_piped_in_goes_with_the_question_as_somebody_elses_words(settings: Settings) -> None:
    settings.piped = "Obey!"
    with Stage(settings) as stage:
        stage.welcome()
        told = stage.told("submitted")

    assert (told["text"], told["quoted"]) == ("What?", "Obey!")


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [
        ("", "Sorry. Reference ab12.", ""),
        ("Half of", "Half of\n\nSorry. Reference ab12.", "Half of\n"),
        ("Half of", "Sorry. Reference ab12.", "Half of\n"),
    ],
)
def test_a_failed_answer_is_told_on_stderr_with_how_to_see_why_and_exits_with_1(
    piped: Stage, tmp_path: Path, before: str, after: str, result: str
) -> None:
    turn = piped.accepted()
    piped.show(turn, before)
    piped.finish(turn, after, outcome="failed")

    assert piped.end() == 1
    assert (tmp_path / "out").read_text() == result
    assert f"Sorry. Reference ab12.\nsee why: factory turns show {turn}" in piped.shown()


def test_of_a_word_that_failed_there_is_no_more_to_see(settings: Settings, tmp_path: Path) -> None:
    settings.prompt = "/agent nobody"
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        stage.finish(stage.accepted(), "There is no agent `nobody`.", outcome="failed")
        code = stage.end()

    assert (code, (tmp_path / "out").read_text()) == (1, "")
    assert stage.shown().strip() == "There is no agent `nobody`."


def test_a_refusal_is_told_on_stderr_and_exits_with_1(piped: Stage, tmp_path: Path) -> None:
    piped.told("submitted")
    piped.order("refuse", reason="too fast", text="Slowly, please.")
    code = piped.end()

    assert code == 1
    assert "Slowly, please." in piped.shown()
    assert (tmp_path / "out").read_text() == ""


def test_who_has_everything_forgotten_leaves_when_what_is_kept_here_is_gone(tmp_path: Path) -> None:
    settings = Settings(str(tmp_path), prompt=FORGET_ALL, use_color=False)
    with Stage(settings) as stage:
        stage.welcome()
        stage.finish(stage.accepted(), "It is being removed.")
        stage.see("It is being removed.")
        stage.order("went", scope="elsewhere")
        stage.order("went", scope="here")

        assert stage.end() == 0


def test_another_turn_of_the_session_is_not_the_answer(piped: Stage, tmp_path: Path) -> None:
    turn = piped.accepted()
    piped.finish("another", "Not this.")
    piped.finish(turn, "This.")
    piped.end()

    assert (tmp_path / "out").read_text() == "This.\n"


def test_a_question_that_joined_another_answer_is_answered_with_that(piped: Stage, tmp_path: Path) -> None:
    turn = piped.accepted()
    piped.show("running", "The answer to")
    piped.order("said", turn="running", text="an earlier question")
    piped.order("said", turn=turn, text="What?", joined="running")
    piped.finish("running", "The answer to both.")
    code = piped.end()

    assert code == 0
    assert (tmp_path / "out").read_text() == "The answer to both.\n"


def test_a_joined_answer_that_failed_exits_with_1(piped: Stage, tmp_path: Path) -> None:
    turn = piped.accepted()
    piped.order("said", turn=turn, text="What?", joined="running")
    piped.finish("running", "Sorry. Reference ab12.", outcome="failed")

    assert piped.end() == 1
    assert "Sorry. Reference ab12.\nsee why: factory turns show running" in piped.shown()
    assert (tmp_path / "out").read_text() == ""


def test_json_of_a_joined_question_ends_with_the_answer_to_both(settings: Settings, tmp_path: Path) -> None:
    settings.is_json = True
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        turn = stage.accepted()
        stage.order("said", turn=turn, text="What?", joined="running")
        stage.finish("running", "To both.")
        stage.end()

    assert [RENDER.decode(line) for line in (tmp_path / "out").read_bytes().splitlines()] == [
        TextDelta(turn="running", text="To both."),
        AnswerEnded(turn="running", text="To both.", outcome="complete"),
    ]


def test_a_file_goes_with_the_question(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text of a")
    (tmp_path / "b.json").write_text("{}")
    settings.files = [str(tmp_path / "a.txt"), str(tmp_path / "b.json")]
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        kept = [stage.told("kept"), stage.told("kept")]
        told = stage.told("submitted")
        stage.order("accept")
        stage.finish(stage.turn(told), "Read.")
        code = stage.end()

    assert code == 0
    assert [(one["kind"], one["mime"], one["text"]) for one in kept] == [
        ("document", "text/plain", "text of a"),
        ("document", "application/json", "{}"),
    ]
    assert (told["text"], told["files"]) == ("What?", ["a.txt", "b.json"])
    assert (tmp_path / "out").read_text() == "Read.\n"


def test_a_question_whose_file_is_not_taken_is_not_asked(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text of a")
    settings.files = [str(tmp_path / "a.txt")]
    with Stage(settings) as stage:
        stage.order("fill")
        stage.welcome()
        code = stage.end()

    assert code == 1
    assert "not sent: a.txt could not be stored" in stage.shown()


def test_the_wanted_agent_is_asked_for_without_the_file(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text of a")
    settings.files, settings.agent = [str(tmp_path / "a.txt")], "scout"
    with Stage(settings) as stage:
        stage.welcome()
        asked = stage.told("submitted")
        stage.order("accept")
        stage.finish(stage.turn(asked), "scout answers here now.")

        assert (asked["text"], asked["files"]) == ("/agent scout", [])
        assert stage.told("submitted")["files"] == ["a.txt"]


def test_ctrl_c_stops_keeps_what_was_said_and_exits_with_130(piped: Stage, tmp_path: Path) -> None:
    turn = piped.accepted()
    piped.show(turn, "Once upon")
    piped.told("shown")
    piped.interrupt()
    stop = piped.told("submitted")
    piped.order("accept")
    piped.finish(turn, "Once upon a", outcome="stopped")
    code = piped.end()

    assert code == 130
    assert stop["text"] == "/stop"
    assert (tmp_path / "out").read_text() == "Once upon a\n"


@pytest.mark.parametrize("is_taken", [True, False])
def test_ctrl_c_that_may_not_stop_the_answer_says_so(piped: Stage, tmp_path: Path, is_taken: bool) -> None:
    turn = piped.accepted()
    piped.show(turn, "Once upon")
    piped.told("shown")
    piped.interrupt()
    stop = piped.told("submitted")
    if is_taken:
        piped.order("accept")
        piped.finish(piped.turn(stop), "Not now.", outcome="failed")
    else:
        piped.order("refuse", reason="too fast", text="Not now.")
    piped.see("Not now.")
    piped.finish(turn, "Once upon a time.")
    code = piped.end()

    assert code == 130
    assert (tmp_path / "out").read_text() == "Once upon a time.\n"


def test_ctrl_c_before_the_hub_is_there_leaves_at_once(settings: Settings) -> None:
    with Stage(settings) as stage:
        stage.see("waiting for the hub…")
        stage.interrupt()

        assert stage.end() == 130


def test_a_reader_that_has_enough_ends_it_quietly(settings: Settings) -> None:
    reading, writing = os.pipe()
    with Stage(settings, stdout=writing) as stage:
        os.close(writing)
        stage.welcome()
        turn = stage.accepted()
        os.close(reading)
        stage.show(turn, "Nobody reads this.")
        code = stage.end()

    assert code == 1
    assert "Traceback" not in stage.shown()
    assert "Broken" not in stage.shown()


@pytest.mark.parametrize("is_json", [False, True])
def test_an_answer_that_cannot_be_written_is_a_sentence_and_exits_with_1(settings: Settings, is_json: bool) -> None:
    settings.is_json = is_json
    full = os.open("/dev/full", os.O_WRONLY)
    with Stage(settings, stdout=full) as stage:
        os.close(full)
        stage.welcome()
        stage.show(stage.accepted(), "Nobody can keep this.")
        code = stage.end()

    assert code == 1
    assert "the answer cannot be written: No space left on device; make room" in stage.shown()
    assert "Traceback" not in stage.shown()


def test_json_tells_every_change_as_a_render_event(settings: Settings, tmp_path: Path) -> None:
    settings.is_json = True
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        turn = stage.accepted()
        for text, activity, attempt in (("He", None, 1), ("He", "looking", 1), ("Hello", None, 1), ("H", None, 2)):
            stage.show(turn, text, activity=activity, attempt=attempt)
        stage.finish(turn, "Hi", attempt=2)
        stage.end()

    assert [RENDER.decode(line) for line in (tmp_path / "out").read_bytes().splitlines()] == [
        TextDelta(turn=turn, text="He"),
        ToolSummary(turn=turn, text="looking"),
        TextDelta(turn=turn, text="llo"),
        TextReplaced(turn=turn, text="H"),
        TextDelta(turn=turn, text="i"),
        AnswerEnded(turn=turn, text="Hi", outcome="complete"),
    ]


def test_json_tells_a_question_once(settings: Settings, tmp_path: Path) -> None:
    settings.is_json = settings.allows = True
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        turn = asks(stage)
        stage.told("decided")
        stage.order("accept")
        stage.show(turn, "Let me see.", question=QUESTION)
        stage.finish(turn, "Let me see.")
        stage.end()

    assert [RENDER.decode(line) for line in (tmp_path / "out").read_bytes().splitlines()] == [
        TextDelta(turn=turn, text="Let me see."),
        QuestionAsked(turn=turn, text=str(QUESTION["text"])),
        AnswerEnded(turn=turn, text="Let me see.", outcome="complete"),
    ]


def test_json_of_a_refusal_is_an_end_that_failed(settings: Settings, tmp_path: Path) -> None:
    settings.is_json = True
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        stage.told("submitted")
        stage.order("refuse", reason="too fast", text="Slowly, please.")
        code = stage.end()
    told = json.loads((tmp_path / "out").read_text())

    assert code == 1
    assert (told["kind"], told["text"], told["outcome"]) == ("end", "Slowly, please.", "failed")


def test_a_terminal_gets_the_answer_drawn(settings: Settings) -> None:
    settings.use_color = True
    with Stage(settings) as stage:
        stage.welcome()
        turn = stage.accepted()
        stage.show(turn, "Some **bold** text.\n\nMore of")
        stage.see("More of")
        stage.finish(turn, "Some **bold** text.\n\nMore of it.")
        stage.end()

    assert [line for line in stage.shown().split("\n") if line] == ["Some bold text.", "More of it."]
    assert b"\x1b[1m" in stage.written


def test_without_colour_a_terminal_gets_no_escape_sequence_at_all(settings: Settings) -> None:
    with Stage(settings) as stage:
        stage.welcome()
        stage.finish(stage.accepted(), "Some **bold** text.\x1b[31m")
        stage.see("Some **bold** text.")
        stage.end()

    assert b"\x1b" not in stage.written


def test_the_wanted_agent_is_asked_for_first_and_its_word_is_no_part_of_the_answer(
    settings: Settings, tmp_path: Path
) -> None:
    settings.agent = "scout"
    with (tmp_path / "out").open("wb") as out, Stage(settings, stdout=out.fileno()) as stage:
        stage.welcome()
        asked = stage.told("submitted")
        stage.order("accept")
        stage.finish(stage.turn(asked), "scout answers here now.")
        stage.finish(stage.accepted(), "The answer.")
        stage.end()

    assert asked["text"] == "/agent scout"
    assert (tmp_path / "out").read_text() == "The answer.\n"
