"""The judge of a chaos run must find what it is there for: a run as it should be is spoilt in one way at a time."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from factory_contracts import subjects
from tests.chaos import ledger, script
from tests.chaos.checker import EXPECTED, EXPECTED_SUBJECT, Entry, Verdict, judge
from tests.chaos.script import Question

SCOPE = "tower"
PART = crc32(SCOPE.encode()) % subjects.PARTITIONS
WORKER, HUB, SPOKE = 10, 20, 30


class Story:
    """A whole run by hand: lines of the ledgers, and the log."""

    def __init__(self) -> None:
        self.screen: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.effects: list[dict[str, Any]] = []
        self.deeds: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []
        self.owner = 0
        self.reign()
        self.tell(Question("q1", "short", "amber quill"), message="1", bubble="2")
        self.tell(Question("q2", "tool", "amber quill"), message="3", bubble="4")

    def reign(self) -> None:
        """A hub takes over."""
        for part in range(subjects.PARTITIONS):
            if part == PART:
                self.owner = len(self.log) + 1
            self.log.append({"subject": subjects.epoch(part), "record": {"kind": "epoch"}})

    def record(self, turn: str, kind: str, id: str = "", **values: Any) -> None:
        """The hub writes a record."""
        self.log.append(
            {
                "subject": subjects.turns("slate", "chalk", SCOPE),
                "headers": {EXPECTED_SUBJECT: subjects.epoch(PART), EXPECTED: str(self.owner)},
                "record": {"kind": kind, "id": id or f"{turn}.{kind}", "turn": turn, **values},
            }
        )

    def tell(self, question: Question, message: str, bubble: str) -> None:
        """One question from its asking to its end."""
        turn, answer = f"t{question.name}", script.answer(question, len(self.calls))
        place = {"bot": "chalk", "scope": SCOPE}
        update = len(self.screen) + 1
        self.screen.append(
            {"did": "asked", **place, "update": update, "message": message, "text": question.text, "at": 1.0}
        )
        said = {"address": {"bot_id": "chalk", "scope_id": SCOPE}, "message_id": message, "text": question.text}
        self.record(turn, "received", message=said, start={"attempt": 1, "worker": "w", "instance": "i"})
        self.screen.append({"did": "confirmed", "bot": "chalk", "updates": [update], "at": 1.0})
        self.calls += [{"process": WORKER, "said": question.text}] * script.calls(question)
        opening = {"did": "sent", **place, "message": bubble, "reply_to": message, "text": answer[:9]}
        self.screen.append({**opening, "pid": SPOKE, "at": 2.0})
        self.record(turn, "opened", message_id=bubble)
        if question.kind == "tool":
            self.record(turn, "tool started", call="c")
            self.effects.append({"question": question.name})
            self.record(turn, "tool done", call="c")
        self.record(turn, "answered", text=answer, outcome="complete")
        self.screen.append({"did": "edited", **place, "message": bubble, "text": answer, "pid": SPOKE, "at": 3.0})
        self.record(turn, "shown")

    def find(self, turn: str, kind: str) -> dict[str, Any]:
        """A record of the log."""
        return next(one for one in self.log if one["record"].get("turn") == turn and one["record"]["kind"] == kind)

    def judged(self, folder: Path) -> Verdict:
        """What the checker says of it."""
        for name, lines in (
            (ledger.SCREEN, self.screen),
            (ledger.CALLS, self.calls),
            (ledger.EFFECTS, self.effects),
            (ledger.DEEDS, self.deeds),
        ):
            (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        log = tuple(
            Entry(number, one["subject"], one.get("headers", {}), one["record"])
            for number, one in enumerate(self.log, 1)
        )
        return judge(folder, log)


def lose_the_answer(story: Story) -> None:
    story.log.remove(story.find("tq1", "answered"))


def answer_with_other_words(story: Story) -> None:
    story.find("tq1", "answered")["record"]["text"] += "!"


def answer_twice(story: Story) -> None:
    answered = deepcopy(story.find("tq1", "answered"))
    answered["record"]["id"] = "another"
    story.log.append(answered)


def leave_it_open(story: Story) -> None:
    story.log.remove(story.find("tq2", "shown"))


def invent_a_message(story: Story) -> None:
    said = {"address": {"bot_id": "chalk", "scope_id": SCOPE}, "message_id": "99", "text": "never said"}
    story.record("tx", "received", message=said)


def accept_nothing(story: Story) -> None:
    story.screen = [line for line in story.screen if line["did"] != "confirmed"]


def show_it_in_a_second_bubble(story: Story) -> None:
    second = {**story.screen[2], "message": "77", "text": script.answer(Question("q1", "short", "amber quill"), 0)}
    story.screen.append(second)
    story.deeds.append({"deed": "kill", "point": "spoke", "slot": "s", "pid": SPOKE, "at": 2.0})


def leave_an_orphan_without_a_death(story: Story) -> None:
    story.screen.append({**story.screen[2], "message": "77"})


def show_half_of_it(story: Story) -> None:
    story.screen[3]["text"] = story.screen[3]["text"][:-1]


def join_two_streams(story: Story) -> None:
    story.screen.insert(3, {**story.screen[3], "text": "q1: q1 q1 short"})


def let_the_bubble_go_back(story: Story) -> None:
    story.screen.insert(3, {**story.screen[3], "text": story.screen[2]["text"][:3]})


def show_the_second_first(story: Story) -> None:
    story.screen.insert(2, story.screen.pop(6))
    story.screen.insert(2, story.screen.pop(5))


def begin_before_the_bubble_is_known(story: Story) -> None:
    opened = story.find("tq1", "opened")
    story.log.remove(opened)
    story.log.append(opened)


def call_the_model_again(story: Story) -> None:
    story.calls.append(dict(story.calls[0]))


def call_the_model_again_and_die_later(story: Story) -> None:
    call_the_model_again(story)
    story.deeds.append({"deed": "kill", "point": "worker", "slot": "w", "pid": WORKER, "at": 9.0})


def give_it_to_a_second_worker(story: Story) -> None:
    story.calls.append({**story.calls[0], "process": 11})


def do_it_twice(story: Story) -> None:
    story.effects.append(dict(story.effects[0]))


def write_under_the_old_reign(story: Story) -> None:
    before = story.owner
    story.reign()
    story.owner = before
    story.record("tq1", "shown")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lose_the_answer, "0 terminal records"),
        (answer_with_other_words, "the log says answered"),
        (answer_twice, "2 terminal records"),
        (leave_it_open, "is open"),
        (invent_a_message, "nobody sent"),
        (accept_nothing, "never accepted"),
        (show_it_in_a_second_bubble, "stands on the screen 2 times"),
        (leave_an_orphan_without_a_death, "lived on"),
        (show_half_of_it, "stands on the screen 0 times"),
        (join_two_streams, "no part of the answer"),
        (let_the_bubble_go_back, "went back"),
        (show_the_second_first, "came before"),
        (begin_before_the_bubble_is_known, "was begun before"),
        (call_the_model_again, "2 model calls in one life"),
        (call_the_model_again_and_die_later, "2 model calls in one life"),
        (give_it_to_a_second_worker, "was given to another worker"),
        (do_it_twice, "had 2 effects"),
        (write_under_the_old_reign, "the owner is"),
    ],
)
def test_a_run_that_went_wrong_in_one_way_is_found_out(
    spoil: Callable[[Story], None], words: str, tmp_path: Path
) -> None:
    story = Story()
    spoil(story)

    verdict = story.judged(tmp_path)

    assert any(words in fault for fault in verdict.faults), verdict.faults


def test_a_run_as_it_should_be_has_no_fault(tmp_path: Path) -> None:
    verdict = Story().judged(tmp_path)

    assert verdict.faults == []
    assert verdict.figures["questions"] == 2


def test_opening_words_left_behind_by_a_killed_spoke_are_counted_and_no_fault(tmp_path: Path) -> None:
    story = Story()
    story.screen.insert(2, {**story.screen[2], "message": "77", "pid": 31})
    story.deeds.append({"deed": "kill", "point": "sent-unnoted", "slot": "s", "pid": 31, "at": 2.0})

    verdict = story.judged(tmp_path)

    assert verdict.faults == []
    assert verdict.figures["orphans"] == 1


def test_a_record_that_stands_there_twice_is_counted_and_no_fault(tmp_path: Path) -> None:
    story = Story()
    story.log.append(deepcopy(story.find("tq1", "answered")))

    verdict = story.judged(tmp_path)

    assert verdict.faults == []
    assert verdict.figures["doubled records"] == 1


def test_a_model_call_of_a_killed_worker_may_be_made_again(tmp_path: Path) -> None:
    story = Story()
    story.calls.insert(0, {**story.calls[0], "process": 11})
    story.deeds.append({"deed": "kill", "point": "mid-stream", "slot": "w", "pid": 11, "at": 2.0})

    verdict = story.judged(tmp_path)

    assert verdict.faults == []
    assert verdict.figures["extra model calls"] == 1
