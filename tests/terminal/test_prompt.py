"""What a person sees who presses keys."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from adapters.cli import sessions
from adapters.cli.normalize import COMMANDS, POWERS, WORDS, Unsayable, matching, read
from adapters.cli.typed import add, forget
from tests.terminal.stage import Stage


def test_the_first_line_names_the_agent_the_model_and_what_pays(stage: Stage) -> None:
    assert stage.shown().startswith("factory · assistant · scripted: offline, costs nothing\n")


def test_enter_sends(stage: Stage) -> None:
    stage.type("hello\r")

    assert stage.told("submitted")["text"] == "hello"


def test_an_empty_line_is_not_sent(stage: Stage) -> None:
    stage.type("\r  \rhello\r")

    assert stage.told("submitted")["text"] == "hello"


def test_a_backslash_at_the_end_begins_a_new_line(stage: Stage) -> None:
    stage.type("one\\\rtwo\r")

    assert stage.told("submitted")["text"] == "one\ntwo"


def test_alt_enter_begins_a_new_line(stage: Stage) -> None:
    stage.type("one\x1b\rtwo\r")

    assert stage.told("submitted")["text"] == "one\ntwo"


def test_a_pasted_text_keeps_its_lines_until_enter(stage: Stage) -> None:
    stage.type("\x1b[200~one\r\ntwo\nthree\x1b[201~")
    stage.see("three")
    stage.type("\r")

    assert stage.told("submitted")["text"] == "one\ntwo\nthree"


def test_an_arrow_up_brings_back_what_was_typed(stage: Stage) -> None:
    stage.type("hello\r")
    stage.finish(stage.accepted(), "Hi.")
    stage.see("Hi.")
    stage.type("\x1b[A")
    stage.wait(lambda: stage.shown().count("> hello") == 2, "the line again")
    stage.type("\r")

    assert stage.told("submitted")["text"] == "hello"


def test_what_was_typed_in_a_session_that_is_forgotten_is_not_offered_again(stage: Stage, tmp_path: Path) -> None:
    stage.type("a secret\r")
    stage.finish(stage.accepted(), "Hush.")
    add(tmp_path / "history", "typed elsewhere", "there", datetime(2025, 1, 1))
    forget(tmp_path / "history", "here", datetime(2125, 1, 1))
    stage.type("half a li")
    stage.order("went", scope="here")
    stage.type("ne")
    stage.see("> half a line")

    stage.type("\x1b[A")
    stage.see("> typed elsewhere")
    stage.type("\x1b[A")
    stage.type("!\r")

    assert stage.told("submitted")["text"] == "typed elsewhere!"


def test_a_session_that_goes_on_after_it_was_forgotten_is_noted_anew(stage: Stage, tmp_path: Path) -> None:
    stage.type("a secret\r")
    stage.finish(stage.accepted(), "Hush.")
    sessions.forget(tmp_path / "sessions", "here", datetime(2125, 1, 1))
    stage.order("went", scope="here")
    stage.type("a new life\r")
    stage.finish(stage.accepted(), "Welcome.")

    assert [noted.words for noted in sessions.load(tmp_path / "sessions")] == ["a new life"]


def test_ctrl_r_finds_what_was_typed(stage: Stage) -> None:
    stage.type("find this line\r")
    stage.finish(stage.accepted(), "Hi.")
    stage.type("\x12find")
    stage.see("> find this line\n")
    stage.type("\r\r")

    assert stage.told("submitted")["text"] == "find this line"


def test_tab_completes_a_command(stage: Stage) -> None:
    stage.type("/ne")
    stage.see("/new  begin afresh")
    stage.type("\t")
    stage.see("> /new\n")
    stage.type("\r")

    assert stage.told("submitted")["text"] == "/new"


def test_help_is_told_without_asking_the_hub(stage: Stage) -> None:
    stage.type("/help\r")

    stage.see("/stop      stop the answer")


def test_help_fits_a_screen_and_no_line_of_it_is_broken(stage: Stage) -> None:
    stage.type("/help\r")
    stage.see("Ctrl-D leaves")
    shown = stage.shown()

    assert all(f"\n{command:10} {what}\n" in shown for command, what in COMMANDS.items())
    assert f"\n{' '.join(POWERS)}\n" in shown
    assert shown.rstrip().endswith("\n>")


def test_every_word_that_help_tells_is_taken(stage: Stage) -> None:
    stage.type("/help\r")
    stage.see("Ctrl-D leaves")
    hints = "\n".join(WORDS.values())
    words = set(re.findall(r"(?<!\S)/[a-z]+", f"{stage.shown()}\n{hints}"))

    assert {"/approve", "/deny", "/voice", "/unblock"} <= words
    assert [word for word in sorted(words) if isinstance(read(word), Unsayable)] == []
    assert words <= set(matching("/"))


def test_what_a_slash_may_become_stays_on_one_line(stage: Stage) -> None:
    stage.type("/")
    stage.see("> /\n/help  /new")
    stage.type("re")
    stage.see("> /re\n/resume  /retry  /revoke")
    stage.type("t")
    stage.see("/retry  ask the last question again")


@pytest.mark.parametrize(
    ("begun", "command"),
    [
        ("/ret", "/retry"),
        ("/und", "/undo"),
        ("/mo", "/model"),
        ("/usa", "/usage"),
        ("/who", "/whoami"),
        ("/why", "/why"),
        ("/peo", "/people"),
        ("/inv", "/invite"),
        ("/gr", "/grant"),
        ("/rev", "/revoke"),
        ("/bl", "/block"),
        ("/unb", "/unblock"),
        ("/lin", "/link"),
        ("/unl", "/unlink"),
        ("/lim", "/limits"),
        ("/com", "/compact"),
        ("/exp", "/expand"),
        ("/fork", "/fork"),
        ("/forg", "/forget"),
        ("/at", "/attach"),
        ("/approve", "/approve"),
        ("/den", "/deny"),
    ],
)
def test_tab_completes_every_command(stage: Stage, begun: str, command: str) -> None:
    stage.type(f"{begun}\t")
    stage.see(f"> {command}\n")


def test_a_word_to_the_hub_reaches_it_as_it_was_typed(stage: Stage) -> None:
    for word in (
        "/retry",
        "/undo 2",
        "/model claude_cli:x",
        "/usage",
        "/why",
        "/compact",
        "/expand",
        "/fork copy",
        "/deny c",
    ):
        stage.type(f"{word}\r")
        told = stage.told("submitted")
        stage.order("accept")
        stage.finish(stage.turn(told), f"Done with {word[1:]}.")
        stage.see(f"Done with {word[1:]}.")

        assert told["text"] == word


def test_an_unknown_command_is_not_sent(stage: Stage) -> None:
    stage.type("/nwe\rhello\r")
    stage.see("no command /nwe")

    assert stage.told("submitted")["text"] == "hello"


def test_a_path_is_no_command(stage: Stage) -> None:
    stage.type("/etc/passwd is what?\r")

    assert stage.told("submitted")["text"] == "/etc/passwd is what?"


def test_ctrl_d_leaves(stage: Stage) -> None:
    stage.type("\x04")

    assert stage.end() == 0


def test_exit_leaves(stage: Stage) -> None:
    stage.type("/exit\r")

    assert stage.end() == 0


def test_ctrl_d_in_a_line_does_not_leave(stage: Stage) -> None:
    stage.type("hello\x04!\r")

    assert stage.told("submitted")["text"] == "hello!"


def test_ctrl_c_clears_a_line(stage: Stage) -> None:
    stage.type("regretted")
    stage.see("> regretted")
    stage.type("\x03")
    stage.see_no_more("regretted")
    stage.type("hello\r")

    assert stage.told("submitted")["text"] == "hello"


def test_ctrl_c_twice_leaves(stage: Stage) -> None:
    stage.type("\x03")
    stage.see("press Ctrl-C again to exit")
    stage.type("\x03")

    assert stage.end() == 130


def test_ctrl_c_is_forgotten_after_a_while(stage: Stage) -> None:
    stage.type("\x03")
    stage.see("press Ctrl-C again to exit")
    stage.see_no_more("press Ctrl-C again to exit")
    stage.type("\x03")
    stage.see("press Ctrl-C again to exit")
    stage.type("hello\r")

    assert stage.told("submitted")["text"] == "hello"


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(stage: Stage) -> None:
    stage.type("tell me\r")
    turn = stage.accepted()
    stage.show(turn, "Once upon")
    stage.see("Once upon")
    stage.type("\x03")
    stop = stage.told("submitted")
    stage.order("accept")
    stage.finish(turn, "Once upon a", outcome="stopped")
    stage.see("stopped")

    assert stop["text"] == "/stop"
    assert "Once upon a\n" in stage.shown()


def test_ctrl_c_that_may_not_stop_the_answer_says_so_and_the_answer_goes_on(stage: Stage) -> None:
    stage.type("tell me\r")
    turn = stage.accepted()
    stage.show(turn, "Once upon")
    stage.see("Once upon")
    stage.type("\x03")
    stop = stage.accepted()
    stage.finish(stop, "Only who asked may stop it.", outcome="failed")
    stage.see("Only who asked may stop it.")
    stage.finish(turn, "Once upon a time.")

    stage.see("Once upon a time.")
    assert "stopped" not in stage.shown()


def test_what_a_person_typed_is_printed_in_their_own_terminal_without_escape_sequences(stage: Stage) -> None:
    stage.type("\x1b[200~red \x1b[31m\x07 alert\x1b[201~\r")
    stage.accepted()
    stage.see("> red")

    assert b"\x1b[31m" not in stage.written


def test_a_terminated_chat_leaves_the_terminal_as_it_was(stage: Stage) -> None:
    stage.terminate()

    assert stage.end() == 130
    assert stage.is_cooked()


def test_a_resized_window_shows_the_prompt_once(stage: Stage) -> None:
    stage.type("hello there")
    stage.see("> hello there")
    stage.resize(40, 10)
    stage.type("!")
    stage.see("> hello there!")

    assert stage.shown().count("hello there") == 1
