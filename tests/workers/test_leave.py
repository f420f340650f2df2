"""A call that a person is asked about, at a worker: it waits as long as it takes, and happens only when it may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from factory_contracts import subjects
from factory_contracts.messages import MAX_TEXT
from factory_contracts.records import ToolDone, ToolStarted
from factory_contracts.trace import ToolStep
from factory_contracts.work import (
    AgentSpec,
    Approvals,
    ApprovalWanted,
    Limits,
    NotRecorded,
    Recorded,
    RecordReply,
    RecordRequest,
    Requested,
    Run,
    Stepped,
    Stop,
)
from factory_nats.testing import FakeBus
from hub.approvals import HOLD
from hub.kernel.approval import digest
from hub.kernel.events import Called, Finished, ModelEvent, Said
from hub.kernel.ports import Model, ModelRequest, ToolFailed, ToolResult
from tests.fakes import idle, pass_time
from tests.workers.stage import WORKER, Bell, Hub, end, kit, run, text, working
from workers.clipool.errand import UNANSWERED, UNASKED
from workers.clipool.worker import QUESTION_TIMEOUT, Worker

pytestmark = pytest.mark.asyncio(loop_scope="function")

HOUR = 3_600.0
RING = '{ call = "ring", arguments = { at = 1 } }, { say = "{tool}" }'


class Desk:
    """A hub whose people have decided nothing yet."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.reply: RecordReply | None = None
        self.asked: list[Requested] = []
        hub.grant = self.grant

    def grant(self, request: RecordRequest) -> RecordReply | None:
        self.asked.append(request.record)
        return self.reply if isinstance(request.record, ApprovalWanted) else Recorded()

    @property
    def wanted(self) -> list[ApprovalWanted]:
        return [one for one in self.asked if isinstance(one, ApprovalWanted)]

    @property
    def steps(self) -> list[ToolStep]:
        steps = [event.step for event in self.hub.heard() if isinstance(event, Stepped)]
        return [step for step in steps if isinstance(step, ToolStep)]

    async def until_asked(self) -> ApprovalWanted:
        await self.hub.until(lambda: bool(self.wanted))
        return self.wanted[0]


@asynccontextmanager
async def at_work(steps: str, bell: Bell, model: Model | None = None) -> AsyncIterator[tuple[Desk, Worker]]:
    bus = FakeBus()
    hub = Hub(bus.join(subjects.HUB))
    await hub.listen()
    await hub.listen_to_records()
    given = kit(steps, model=model, tools={"ring": ("external", bell)}, timeout=5.0)
    async with working(bus.join(WORKER), given) as worker:
        await hub.until(lambda: bool(hub.heartbeats))
        yield Desk(hub), worker
    await hub.transport.close()


def asks(*, helper: bool = False, limits: Limits | None = None, seconds: int = 3_600) -> Run:
    """A command to run a turn of an agent that asks before it rings, or has a helper that does."""
    command = run(tools=() if helper else ("ring",), limits=limits)
    approvals = Approvals(external="always", seconds=seconds)
    agent = command.agent.model_copy(update={"approvals": approvals})
    if helper:
        bob = AgentSpec(
            name="bob",
            hash="h",
            model="scripted",
            tools=("ring",),
            namespace="bob",
            limits=Limits(max_seconds=20),
            approvals=approvals,
        )
        agent = agent.model_copy(update={"helpers": (bob,)})
    return command.model_copy(update={"agent": agent})


async def test_a_call_is_asked_about_before_it_is_claimed_and_claimed_for_the_same_arguments() -> None:
    bell = Bell()
    async with at_work(RING, bell) as (desk, _):
        desk.reply = Recorded()
        await desk.hub.tell(asks(seconds=600))
        await desk.hub.until_over()

    wanted, started, done = desk.asked
    assert isinstance(wanted, ApprovalWanted) and isinstance(started, ToolStarted) and isinstance(done, ToolDone)
    assert (wanted.tool, wanted.effect, wanted.arguments, wanted.seconds) == ("ring", "external", '{"at":1}', 600)
    assert wanted.reasons
    assert wanted.call == started.call == done.call
    assert started.arguments == digest("ring", '{"at":1}')
    assert bell.rung == ['{"at":1}']


async def test_nothing_happens_before_the_answer_and_everything_after_it() -> None:
    bell = Bell()
    async with at_work(RING, bell) as (desk, _):
        await desk.hub.tell(asks())
        await desk.until_asked()
        await pass_time(HOUR)
        before = list(bell.rung)
        desk.reply = Recorded()
        events = await desk.hub.until_over()

    assert before == []
    assert bell.rung == ['{"at":1}']
    assert text(events) == "rung"
    assert len({one.call for one in desk.wanted}) == 1
    assert len(desk.wanted) == pytest.approx(HOUR / QUESTION_TIMEOUT, abs=2)


async def test_what_is_denied_is_an_observation_and_the_turn_goes_on() -> None:
    bell = Bell()
    async with at_work(RING, bell) as (desk, _):
        desk.reply = NotRecorded(words="The person did not allow this.")
        await desk.hub.tell(asks())
        events = await desk.hub.until_over()

    assert bell.rung == []
    assert (text(events), end(events).outcome) == ("The person did not allow this.", "complete")
    assert [type(one) for one in desk.asked] == [ApprovalWanted]
    assert [(one.outcome, one.content) for one in desk.steps] == [("error", "The person did not allow this.")]


async def test_the_time_of_a_turn_stands_still_while_a_person_thinks_and_goes_on_after_it() -> None:
    bell = Bell(hold=asyncio.Event())
    async with at_work(RING, bell) as (desk, _):
        await desk.hub.tell(asks(limits=Limits(max_seconds=4)))
        await desk.until_asked()
        await pass_time(HOUR)
        is_over = any(one.done for one in desk.hub.events)
        desk.reply = Recorded()
        events = await desk.hub.until_over()

    assert not is_over
    assert end(events).outcome == "failed"
    assert "Sorry, this took too long." in text(events)


async def test_a_helpers_time_stands_still_while_a_person_thinks_and_goes_on_after_it() -> None:
    steps = '{ call = "ask_bob", arguments = { question = "ring it" } }, { say = "{tool}" }'
    bell = Bell()
    async with at_work(f"{RING} ], match = 'ring it' }}, {{ steps = [ {steps}", bell) as (desk, _):
        await desk.hub.tell(asks(helper=True))
        wanted = await desk.until_asked()
        await pass_time(HOUR)
        desk.reply = Recorded()
        events = await desk.hub.until_over()

    assert "." in wanted.call
    assert text(events) == "rung"
    assert bell.rung == ['{"at":1}']


async def test_a_stop_ends_a_turn_that_waits_for_a_person_at_once() -> None:
    bell = Bell()
    async with at_work(RING, bell) as (desk, _):
        await desk.hub.tell(asks())
        await desk.until_asked()
        began = asyncio.get_running_loop().time()
        await desk.hub.tell(Stop(turn="t1", epoch=7, partition=0))
        events = await desk.hub.until_over()
        took = asyncio.get_running_loop().time() - began
        desk.reply = Recorded()
        await pass_time(HOUR)

    assert end(events).outcome == "stopped"
    assert took < 0.1
    assert bell.rung == []
    assert [(one.outcome, one.content) for one in desk.steps] == [("error", UNANSWERED)]


async def test_an_attempt_that_is_over_does_nothing_more() -> None:
    bell = Bell()
    async with at_work(RING, bell) as (desk, worker):
        await desk.hub.tell(asks())
        await desk.until_asked()
        desk.reply = NotRecorded()
        await pass_time(HOUR)
        asked = len(desk.wanted)
        await pass_time(HOUR)

        assert len(desk.wanted) == asked
        assert desk.hub.heartbeats[-1].turns == {}
    assert bell.rung == []
    assert worker.name == WORKER


async def test_a_hub_that_is_away_is_asked_again_and_again() -> None:
    bell = Bell()
    bus = FakeBus()
    hub = Hub(bus.join(subjects.HUB))
    await hub.listen()
    async with working(bus.join(WORKER), kit(RING, tools={"ring": ("external", bell)})):
        await hub.until(lambda: bool(hub.heartbeats))
        desk = Desk(hub)
        desk.reply = Recorded()
        await hub.tell(asks())
        await pass_time(60)
        was_rung = bool(bell.rung)
        await hub.listen_to_records()
        await hub.until_over()

    assert not was_rung
    assert bell.rung == ['{"at":1}']


class Wordy:
    """A model that writes more than a person can be shown, in letters that take six signs in the one spelling."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        last = request.messages[-1]
        if isinstance(last, ToolResult):
            yield Said(last.content)
            yield Finished("end")
        else:
            yield Called("x", "ring", f'{{"at":"{"é" * (MAX_TEXT // 6 + 1)}"}}')
            yield Finished("tools")

    async def close(self) -> None:
        """Nothing is held."""


async def test_nobody_is_asked_about_what_is_longer_than_a_question_can_carry() -> None:
    bell = Bell()
    async with at_work("", bell, Wordy()) as (desk, _):
        await desk.hub.tell(asks())
        events = await desk.hub.until_over()

    assert (bell.rung, desk.asked, text(events)) == ([], [], UNASKED)


async def test_a_tool_that_fails_after_it_was_allowed_says_so_as_ever() -> None:
    bell = Bell(error=ToolFailed("The bell is broken."))
    async with at_work(RING, bell) as (desk, _):
        desk.reply = Recorded()
        await desk.hub.tell(asks())
        events = await desk.hub.until_over()
        await idle()

    assert text(events) == "The bell is broken."
    assert [type(one) for one in desk.asked] == [ApprovalWanted, ToolStarted, ToolDone]


async def test_a_hub_holds_a_question_longer_than_a_worker_waits_so_that_no_answer_falls_between() -> None:
    assert QUESTION_TIMEOUT < HOLD
