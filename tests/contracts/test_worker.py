"""A function that is declared to be a capability: how it is asked, and what its answers become."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import pytest
from pydantic import BaseModel, Field, field_validator

from factory_contracts import subjects
from factory_contracts.capability import (
    CAPABILITY_REPLY,
    CAPABILITY_REQUEST,
    MOST_FILE_BYTES,
    CapabilityAsked,
    CapabilityCancel,
    CapabilityDescription,
    CapabilityDone,
    CapabilityInquiry,
    CapabilityProgress,
    CapabilityRefused,
    CapabilityReply,
    CapabilityRequest,
    Kept,
    KeptFile,
    MadeFile,
)
from factory_contracts.lifecycle import HEARTBEAT, Memory
from factory_contracts.messages import MAX_TEXT
from factory_contracts.worker import Declaration, Errand, File, Made, Report, Unable, capability

T = TypeVar("T")


class Words(BaseModel):
    text: str = "hey"
    times: Annotated[int, Field(le=3)] = 1

    @field_validator("text")
    @classmethod
    def is_no_secret(cls, text: str) -> str:
        if text == "secret":
            raise ValueError("the secret is 1234")
        return text


class Count(BaseModel):
    words: int


@dataclass(slots=True)
class Desk:
    """Somebody who notes what a worker reports and keeps."""

    reports: list[tuple[str, float | None]] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)
    aside_count: int = 0

    def report(self, words: str = "", *, share: float | None = None) -> None:
        self.reports.append((words, share))

    async def keep(self, data: bytes) -> str:
        name = f"b{len(self.kept)}"
        self.kept[name] = data
        return name

    async def aside(self, work: Callable[[], T]) -> T:
        self.aside_count += 1
        return work()


@capability("shout", effect="read", at_once=2, seconds=60)
async def shout(words: Words) -> str:
    """Says it in capitals.

    As often as one likes.
    """
    return words.text.upper() * words.times


@capability("voice.count")
def count(words: Words, report: Report) -> Count:
    """Counts the words."""
    report("counting", share=0.5)
    return Count(words=len(words.text.split()))


def request(**changed: object) -> CapabilityRequest:
    said = {"turn": "t", "call": "c", "text": "", "deadline": 5.0, **changed}
    return CapabilityRequest.model_validate(said)


def understood(declared: Declaration[..., object], asked: CapabilityAsked) -> Errand:
    return declared.understand(CAPABILITY_REQUEST.encode(asked))


async def answer(
    declared: Declaration[..., object],
    asked: CapabilityRequest,
    *,
    given: bytes | None = None,
    desk: Desk | None = None,
) -> CapabilityReply:
    errand = understood(declared, asked)
    assert errand.kind == "wish"
    return CAPABILITY_REPLY.decode(await declared.work(errand, given, desk or Desk()))


async def made(returned: object, desk: Desk | None = None) -> CapabilityReply:
    """What becomes of what a function returns."""

    @capability("make")
    async def make(words: Words) -> object:
        """Makes it."""
        return returned

    return await answer(make, request(), desk=desk)


async def test_the_function_is_still_a_function() -> None:
    assert await shout(Words(text="hey", times=2)) == "HEYHEY"


async def test_a_wish_becomes_what_the_function_takes() -> None:
    reply = await answer(shout, request(arguments='{"text": "ho", "times": 3}'))

    assert reply == CapabilityDone(text="HOHOHO")


async def test_who_asks_in_words_means_the_text() -> None:
    said = await answer(shout, request(text="ho", arguments='{"times": 2}'))
    named = await answer(shout, request(text="ho", arguments='{"text": "ha"}'))

    assert (said, named) == (CapabilityDone(text="HOHO"), CapabilityDone(text="HA"))


async def test_arguments_that_are_too_large_to_go_along_are_given() -> None:
    reply = await answer(shout, request(large=Kept(blob="b", size=9)), given=b'{"text": "large"}')

    assert reply == CapabilityDone(text="LARGE")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"times": 9}', "times: Input should be less than or equal to 3; nothing was done."),
        ('{"times": "often"}', "times: Input should be a valid integer"),
        ('{"text": "secret"}', "text: that is not possible; nothing was done."),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_with_what_is_wrong(arguments: str, words: str) -> None:
    reply = await answer(shout, request(arguments=arguments))

    assert isinstance(reply, CapabilityRefused)
    assert reply.reason == "malformed"
    assert reply.words.startswith(words)


async def test_a_function_that_computes_is_done_aside_and_may_report() -> None:
    desk = Desk()
    reply = await answer(count, request(text="one two"), desk=desk)

    assert reply == CapabilityDone(text='{"words":2}')
    assert (desk.aside_count, desk.reports) == (1, [("counting", 0.5)])


@pytest.mark.parametrize(
    ("returned", "reply"),
    [
        ("said", CapabilityDone(text="said")),
        ("half \ud800", CapabilityDone(text="half ?")),
        (Unable("My throat hurts."), CapabilityRefused(reason="unable", words="My throat hurts.")),
        (File("a.txt", b"x"), CapabilityDone(text="", files=(MadeFile.of("a.txt", b"x"),))),
        (Made("look", (File("a.txt", b"x"),)), CapabilityDone(text="look", files=(MadeFile.of("a.txt", b"x"),))),
        (["a", 1], CapabilityDone(text='["a",1]')),
        (None, CapabilityDone(text="null")),
    ],
)
async def test_what_the_function_returns_becomes_a_reply(returned: object, reply: CapabilityReply) -> None:
    assert await made(returned) == reply


async def test_a_text_that_is_too_long_for_a_message_goes_into_the_store() -> None:
    desk = Desk()
    reply = await made("é" * (MAX_TEXT + 1), desk)

    assert reply == CapabilityDone(text="", large=Kept(blob="b0", size=2 * MAX_TEXT + 2))
    assert desk.kept["b0"].decode() == "é" * (MAX_TEXT + 1)


@pytest.mark.parametrize("text", ["", "\0" * MAX_TEXT])
async def test_files_that_are_too_large_for_a_message_go_into_the_store(text: str) -> None:
    desk, data = Desk(), bytes(MOST_FILE_BYTES + (0 if text else 1))
    reply = await made(Made(text, (File("a.bin", data),)), desk)

    assert reply == CapabilityDone(text=text, kept_files=(KeptFile(name="a.bin", blob="b0", size=len(data)),))
    assert desk.kept == {"b0": data}


def test_what_is_asked_is_told_apart() -> None:
    asked = request(deadline=7.0, instance="i", large=Kept(blob="b", size=1), wants_progress=True)

    assert understood(shout, asked) == Errand("wish", "t/c", 7.0, "i", "b", True, asked)
    assert understood(shout, request(id="mine")).id == "mine"
    assert understood(shout, CapabilityCancel(id="t/c")) == Errand("cancel", "t/c")
    assert understood(shout, CapabilityInquiry()) == Errand("describe")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "malformed"),
        (b'{"schema_version":1}', "malformed"),
        (b'{"schema_version":1,"turn":"t","call":"c","text":"","deadline":1.0,"new":1}', "malformed"),
        (b'{"schema_version":9,"turn":"t","call":"c","text":"","deadline":1.0,"new":1}', "newer version"),
    ],
)
def test_what_cannot_be_understood_is_refused(data: bytes, reason: str) -> None:
    errand = shout.understand(data)
    refusal = CAPABILITY_REPLY.decode(errand.refusal)

    assert errand.kind == "refused"
    assert isinstance(refusal, CapabilityRefused)
    assert refusal.reason == reason


def test_it_says_how_it_is_asked() -> None:
    description = CAPABILITY_REPLY.decode(shout.describe())

    assert isinstance(description, CapabilityDescription)
    assert (description.name, description.effect, description.seconds) == ("shout", "read", 60.0)
    assert description.description == "Says it in capitals.\n\nAs often as one likes."
    assert json.loads(description.parameters)["properties"].keys() == {"text", "times"}


def test_its_shape_changes_with_how_it_is_asked() -> None:
    async def louder(words: Words) -> str:
        """Says it in capitals."""
        return words.text.upper()

    shapes = {
        capability("shout", effect="read")(louder).shape,
        capability("shout", effect="write")(louder).shape,
        shout.shape,
    }

    assert len(shapes) == 3
    assert capability("shout", effect="read")(louder).shape in shapes


def test_its_heartbeat_says_how_it_does() -> None:
    beat = HEARTBEAT.decode(shout.heartbeat("w1", "i1", 1, True, (5, 9)))
    idle = HEARTBEAT.decode(shout.heartbeat("w1", "i1", 0, False, None))

    assert (beat.worker, beat.instance, beat.load, beat.at_once, beat.running) == ("w1", "i1", 0.5, 2, 1)
    assert (beat.shape, beat.is_draining, beat.gpu) == (shout.shape, True, Memory(free=5, total=9))
    assert (idle.is_draining, idle.gpu) == (None, None)


def test_progress_is_a_share_and_words_of_a_line_or_two() -> None:
    said = CAPABILITY_REPLY.decode(shout.progress("x" * 5_000, 1.5))

    assert said == CapabilityProgress(share=1.0, words="x" * 1_000)


def test_a_refusal_has_words_for_whoever_asked() -> None:
    busy, late = (CAPABILITY_REPLY.decode(shout.refuse(trouble)) for trouble in ("busy", "stalled"))

    assert isinstance(busy, CapabilityRefused) and isinstance(late, CapabilityRefused)
    assert (busy.reason, late.reason) == ("busy", "late")
    assert "nothing was done" in busy.words


def test_it_knows_its_places() -> None:
    places = count.places("w1")

    assert places.requests == subjects.request("voice.count", "w1")
    assert places.heartbeats == subjects.heartbeat("voice.count", "w1")
    assert places.store == subjects.store("voice.count")


def test_who_reports_nothing_cannot_stall() -> None:
    assert (shout.stall, count.stall) == (math.inf, 30.0)


def _no_words(words: Words) -> str:
    return ""


async def _too_many(words: Words, report: Report, more: int) -> str:
    """Says it."""
    return ""


async def _none() -> str:
    """Says it."""
    return ""


async def _no_object(words: str) -> str:
    """Says it."""
    return ""


@pytest.mark.parametrize(
    ("function", "name", "wrong"),
    [
        (_no_words, "shout", "docstring"),
        (_too_many, "shout", "takes what is wanted"),
        (_none, "shout", "takes what is wanted"),
        (_no_object, "shout", "must have fields"),
        (_no_object, "Shout", "must be 1 to 32"),
    ],
)
def test_what_cannot_be_served_is_said_where_it_is_declared(
    function: Callable[..., object], name: str, wrong: str
) -> None:
    with pytest.raises((TypeError, subjects.BadToken), match=wrong):
        capability(name)(function)


@pytest.mark.parametrize("name", [subjects.CLIPOOL, subjects.HUB])
def test_nobody_declares_what_the_system_serves_itself(name: str) -> None:
    async def shouting(words: Words) -> str:
        """Says it."""
        return ""

    with pytest.raises((TypeError, subjects.BadToken)):
        capability(name)(shouting)
