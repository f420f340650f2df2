"""What a CliPool worker promises the hub, on a bus in memory and on a real one."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256

import pytest

from factory_contracts import subjects
from factory_contracts.envelope import MAX_BYTES
from factory_contracts.records import ToolDone, ToolStarted
from factory_contracts.work import (
    EVENTS,
    Done,
    Erase,
    Forget,
    KnownCall,
    Limits,
    Line,
    NotRecorded,
    Recorded,
    RecordReply,
    RecordRequest,
    Resume,
    Stale,
    Steer,
    Stop,
    ToolEvent,
    Unknown,
)
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery
from hub.kernel.ports import ToolFailed
from tests.workers.conftest import Bus
from tests.workers.stage import SCOPE, WORKER, Bell, Points, end, kit, lives, run, text, working
from workers.clipool.errand import Errand
from workers.clipool.kit import Kit
from workers.clipool.steps import Steps
from workers.clipool.turn import Turn
from workers.clipool.worker import Worker

STALL = "{ stall = true }"


@asynccontextmanager
async def at_work(bus: Bus, given: Kit) -> AsyncIterator[Worker]:
    async with working(bus.worker, given) as worker:
        await bus.hub.until(lambda: bool(bus.hub.heartbeats))
        yield worker


def stop(turn: str = "t1", epoch: int = 7) -> Stop:
    return Stop(turn=turn, epoch=epoch, partition=0)


def resume(start: int = 0, *, turn: str = "t1", attempt: int = 1, epoch: int = 7) -> Resume:
    return Resume(turn=turn, epoch=epoch, partition=0, attempt=attempt, start=start)


def forget(turn: str = "t1") -> Forget:
    return Forget(turns=(turn,), epoch=7, partition=0)


async def test_a_model_that_does_not_wait_is_heard_in_one_message(bus: Bus) -> None:
    async with at_work(bus, kit('{ burst = 50, text = "word " }')):
        await bus.hub.tell(run(pace_ms=250))
        events = await bus.hub.until_over()

    assert len(bus.hub.events) == 1
    assert text(events) == "word " * 50
    assert end(events).outcome == "complete"
    assert end(events).usage.calls == 1
    assert bus.hub.replies == []


async def test_a_model_at_a_pace_is_heard_at_once_and_then_gathered(bus: Bus) -> None:
    async with at_work(bus, kit('{ burst = 30, text = "word ", pace_ms = 2 }')):
        await bus.hub.tell(run(pace_ms=30))
        events = await bus.hub.until_over()

    assert text(bus.hub.events[0].events) == "word "
    assert text(events) == "word " * 30
    assert len(bus.hub.events) < 10


async def test_a_turn_that_is_known_is_not_begun_a_second_time(bus: Bus) -> None:
    async with at_work(bus, kit('{ say = "once" }')):
        await bus.hub.tell(run())
        await bus.hub.until_over()
        await bus.hub.tell(run())
        await bus.hub.until(lambda: bus.hub.replies == [Done()])

    assert len(bus.hub.events) == 1


async def test_a_greater_attempt_ends_the_older_one(bus: Bus) -> None:
    async with at_work(bus, kit('{ say = ["one", "two"], pace_ms = 1 }, ' + STALL)):
        await bus.hub.tell(run(attempt=1))
        await bus.hub.until(lambda: text(bus.hub.heard()) == "onetwo")
        await bus.hub.tell(run(attempt=2))
        await bus.hub.until(lambda: bus.hub.events[-1].attempt == 2)
        await bus.hub.tell(resume(attempt=1))
        await bus.hub.until(lambda: bus.hub.replies == [Unknown(turn="t1")])
        await bus.hub.tell(run(attempt=1))
        await bus.hub.until(lambda: bus.hub.replies == [Unknown(turn="t1")] * 2)


async def test_a_turn_that_was_meant_for_an_earlier_life_is_not_begun(bus: Bus) -> None:
    async with at_work(bus, kit('{ say = "hello" }')):
        await bus.hub.tell(run(instance="long gone"))
        await bus.hub.until(lambda: bus.hub.replies == [Unknown(turn="t1")])
        await bus.hub.tell(run(instance=bus.hub.heartbeats[-1].instance))
        events = await bus.hub.until_over()

    assert text(events) == "hello"


async def test_events_are_sent_again_from_where_the_hub_asks(bus: Bus) -> None:
    bell = Bell()
    async with at_work(bus, kit('{ say = "a" }, { call = "look" }, { say = "b" }', tools={"look": ("read", bell)})):
        await bus.hub.tell(run(tools=["look"]))
        events = await bus.hub.until_over()
        bus.hub.events.clear()
        await bus.hub.tell(resume(2))
        await bus.hub.until(lambda: bool(bus.hub.events))

    (again,) = bus.hub.events
    assert (again.first, again.events, again.done) == (2, events[2:], len(events))


async def test_what_a_turn_was_made_from_is_let_go_of_without_a_search_for_garbage(bus: Bus) -> None:
    bell = Bell()
    steps = '{ call = "look" }, { say = "see https://a.example/b" }'
    async with at_work(bus, kit(steps, tools={"look": ("read", bell)})):
        gc.collect()
        # Other tests may hold some.
        before = _remnants()
        gc.disable()
        try:
            # From what is tainted on, links are held back.
            await bus.hub.tell(run(tools=["look"]).model_copy(update={"tainted": True}))
            await bus.hub.until_over()
            await bus.hub.tell(forget())
            await bus.hub.until(lambda: bus.hub.replies == [Done()])
            left = _remnants()
        finally:
            gc.enable()

    assert [one for one in left if not any(one is other for other in before)] == []


def _remnants() -> list[object]:
    """What turns are made from, as much of it as is still held."""
    return [one for one in gc.get_objects() if isinstance(one, Turn | Steps | Errand)]


async def test_a_hub_that_missed_only_the_end_is_told_that_there_is_no_more(bus: Bus) -> None:
    async with at_work(bus, kit('{ say = "a" }')):
        await bus.hub.tell(run())
        events = await bus.hub.until_over()
        bus.hub.events.clear()
        await bus.hub.tell(resume(len(events)))
        await bus.hub.until(lambda: bool(bus.hub.events))

    assert (bus.hub.events[0].events, bus.hub.events[0].done) == ((), len(events))


async def test_a_turn_without_a_word_yet_is_known_all_the_same(bus: Bus) -> None:
    async with at_work(bus, kit(STALL)):
        await bus.hub.tell(run())
        await bus.hub.tell(resume())
        await bus.hub.tell(resume(turn="t2"))
        await bus.hub.until(lambda: len(bus.hub.replies) == 2)

    assert bus.hub.replies == [Done(), Unknown(turn="t2")]


async def test_a_stop_ends_the_turn_and_keeps_what_was_said(bus: Bus) -> None:
    async with at_work(bus, kit('{ say = "I was about to" }, ' + STALL)):
        await bus.hub.tell(run())
        await bus.hub.until(lambda: bool(bus.hub.heard()))
        await bus.hub.tell(stop())
        events = await bus.hub.until_over()

    assert text(events) == "I was about to"
    assert end(events).outcome == "stopped"


async def test_a_stop_right_after_the_command_ends_the_turn_too(bus: Bus) -> None:
    async with at_work(bus, kit('{ say = "never" }')):
        await bus.hub.tell(run())
        await bus.hub.tell(stop())
        events = await bus.hub.until_over()

    assert end(events).outcome in ("stopped", "complete")


async def test_a_model_that_never_waits_can_be_stopped(bus: Bus) -> None:
    async with at_work(bus, kit('{ burst = 900000, text = "x" }')):
        await bus.hub.tell(run(pace_ms=5))
        await bus.hub.until(lambda: bool(bus.hub.events))
        await bus.hub.tell(stop())
        events = await bus.hub.until_over()

    assert end(events).outcome == "stopped"


async def test_a_steer_is_heard_at_the_next_model_call(bus: Bus) -> None:
    bell = Bell(hold=asyncio.Event())
    steps = '{ call = "look" }, { say = "{said}" }'
    async with at_work(bus, kit(steps, tools={"look": ("read", bell)})):
        await bus.hub.tell(run(tools=["look"]))
        await bus.hub.until(lambda: bool(bus.hub.heard()))
        await bus.hub.tell(Steer(turn="t1", epoch=7, partition=0, joining="t2", line=Line(role="user", text="in blue")))
        await bus.hub.until(lambda: bus.hub.replies == [Done()])
        assert bell.hold is not None
        bell.hold.set()
        # The scripted model takes what was said last for a new question, and calls the tool for that as well.
        events = await bus.hub.until_over()

    assert end(events).usage.calls == 3
    assert text(events) == "in blue"


async def test_a_turn_is_kept_until_it_may_be_forgotten(bus: Bus) -> None:
    async with at_work(bus, kit('{ say = "x" }')):
        await bus.hub.tell(run())
        events = await bus.hub.until_over()
        await bus.hub.greet()
        await bus.hub.until(lambda: "t1" in bus.hub.heartbeats[-1].turns)
        kept = bus.hub.heartbeats[-1].turns["t1"]
        await bus.hub.tell(forget())
        await bus.hub.tell(resume())
        await bus.hub.until(lambda: bus.hub.replies == [Done(), Unknown(turn="t1")])
        await bus.hub.greet()
        await bus.hub.until(lambda: not bus.hub.heartbeats[-1].turns)

    assert (kept.scope, kept.attempt, kept.events) == (SCOPE, 1, len(events))


class Shelf:
    """Somebody who keeps things, and removes them when a test lets them."""

    def __init__(self, *outcomes: bool | Exception) -> None:
        self.asked: list[tuple[str, tuple[str, ...], float]] = []
        self._outcomes = list(outcomes)

    async def erase(self, scope: str, namespaces: Sequence[str], until: float) -> bool:
        self.asked.append((scope, tuple(namespaces), until))
        outcome = self._outcomes.pop(0) if self._outcomes else True
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def erase(*, epoch: int = 7) -> Erase:
    return Erase(scope=SCOPE, namespaces=("a",), until=9.5, epoch=epoch, partition=0)


async def test_what_is_kept_of_a_scope_is_erased_before_that_is_said(bus: Bus) -> None:
    shelves = Shelf(), Shelf()
    async with at_work(bus, replace(kit(STALL), keepers=shelves)):
        await bus.hub.tell(erase())
        await bus.hub.until(lambda: bus.hub.replies == [Done()])

    assert [shelf.asked for shelf in shelves] == [[(SCOPE, ("a",), 9.5)]] * 2


async def test_nothing_is_said_while_something_is_left_and_everybody_is_asked_all_the_same(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    shelves = Shelf(False, ValueError("a shelf of somebody else's")), Shelf()
    async with at_work(bus, replace(kit(STALL), keepers=shelves)):
        for _ in range(3):
            await bus.hub.tell(erase())
        await bus.hub.until(lambda: bus.hub.replies == [Done()])

    assert [len(shelf.asked) for shelf in shelves] == [3, 2]
    assert "cannot be removed" in caplog.text


async def test_a_hub_that_is_over_has_nothing_erased(bus: Bus) -> None:
    shelf = Shelf()
    async with at_work(bus, replace(kit(STALL), keepers=(shelf,))):
        await bus.hub.tell(erase(epoch=9))
        await bus.hub.tell(erase(epoch=8))
        await bus.hub.until(lambda: len(bus.hub.replies) == 2)

    assert Stale(epoch=9) in bus.hub.replies
    assert len(shelf.asked) == 1


async def test_a_command_of_an_epoch_that_is_over_is_refused(bus: Bus) -> None:
    async with at_work(bus, kit(STALL)):
        await bus.hub.tell(run(epoch=9))
        for command in (run("t2", epoch=8), stop(epoch=8), resume(epoch=8)):
            await bus.hub.tell(command)
        await bus.hub.until(lambda: len(bus.hub.replies) == 3)
        await bus.hub.greet()
        await bus.hub.until(lambda: bool(bus.hub.heartbeats[-1].turns))

    assert bus.hub.replies == [Stale(epoch=9)] * 3
    assert set(bus.hub.heartbeats[-1].turns) == {"t1"}


async def test_nobody_but_the_hub_is_answered(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere: list[Delivery] = []
    await bus.hub.transport.subscribe(f"_INBOX_stranger.{WORKER}.x", elsewhere.append)
    async with at_work(bus, kit(STALL)):
        await bus.hub.tell(resume(), reply=f"_INBOX_stranger.{WORKER}.x")
        await bus.hub.tell(resume())
        await bus.hub.until(lambda: bool(bus.hub.replies))

    assert elsewhere == []
    assert "somebody else than the hub" in caplog.text


async def test_what_is_no_command_is_logged_and_the_next_is_carried_out(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    async with at_work(bus, kit('{ say = "x" }')):
        for raw in (b"no json", b'{"kind":"run"}', b'{"kind":"stop","schema_version":2,"turn":"t","epoch":1}'):
            await bus.hub.transport.publish(subjects.clipool_command(bus.worker.identity), raw)
        await bus.hub.tell(run())
        await bus.hub.until_over()

    refusals = [one for one in caplog.records if "command is refused" in one.message]
    assert [one.levelno for one in refusals] == [logging.ERROR] * 3


async def test_a_long_answer_is_told_in_messages_that_fit_also_when_it_is_told_again(bus: Bus) -> None:
    async with at_work(bus, kit('{ burst = 30, text = "' + "ä" * 20_000 + '" }')):
        await bus.hub.tell(run(pace_ms=60_000))
        events = await bus.hub.until_over()
        first = len(bus.hub.events)
        await bus.hub.tell(resume())
        await bus.hub.until(lambda: sum(one.done is not None and not one.first for one in bus.hub.events) > 1)
        await bus.hub.until(lambda: len(bus.hub.events) == 2 * first)

    assert text(events) == "ä" * 600_000
    assert first > 2
    assert max(len(EVENTS.encode(one)) for one in bus.hub.events) < 500_000 < MAX_BYTES


async def test_a_failure_reaches_the_person_as_an_apology_without_detail(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    async with at_work(bus, kit('{ error = "quota of key 123 exceeded" }')):
        await bus.hub.tell(run())
        events = await bus.hub.until_over()

    reference = sha256(b"t1.1").hexdigest()[:8]
    assert text(events) == f"Sorry, I could not finish this. Reference {reference}."
    assert (end(events).outcome, end(events).reference) == ("failed", reference)
    assert f"reference {reference}: quota of key 123 exceeded" in caplog.text


async def test_a_failure_that_passes_is_not_noticed(bus: Bus) -> None:
    async with at_work(bus, kit('{ error = "busy", transient = true, times = 1 }, { say = "fine" }')):
        await bus.hub.tell(run())
        events = await bus.hub.until_over()

    assert text(events) == "fine"
    assert end(events).usage.calls == 2


async def test_a_model_that_is_not_there_is_a_failure(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    async with at_work(bus, kit("")):
        await bus.hub.tell(run(model="oracle:delphi"))
        events = await bus.hub.until_over()

    assert end(events).outcome == "failed"
    assert "no model provider 'oracle'" in caplog.text


@pytest.mark.parametrize(
    ("error", "observation"),
    [(ToolFailed("it is dark"), "it is dark"), (KeyError("secret"), "The tool itself broke.")],
)
async def test_what_a_tool_raises_is_an_observation(bus: Bus, error: Exception, observation: str) -> None:
    bell = Bell(error=error)
    async with at_work(bus, kit('{ call = "look" }, { say = "{tool}" }', tools={"look": ("read", bell)})):
        await bus.hub.tell(run(tools=["look"]))
        events = await bus.hub.until_over()

    assert text(events) == observation
    assert [event.state for event in events if isinstance(event, ToolEvent)] == ["running", "error"]


async def test_a_tool_that_takes_too_long_is_given_up(bus: Bus) -> None:
    bell = Bell(hold=asyncio.Event())
    steps = '{ call = "look" }, { say = "{tool}" }'
    async with at_work(bus, kit(steps, tools={"look": ("read", bell)}, timeout=0.01)):
        await bus.hub.tell(run(tools=["look"]))
        events = await bus.hub.until_over()

    assert text(events).startswith("No answer within 0.01 s")


async def test_an_effect_is_on_the_log_before_it_happens_and_its_outcome_after(bus: Bus) -> None:
    bell = Bell()
    rung_when_asked: list[int] = []

    def grant(_: RecordRequest) -> RecordReply:
        rung_when_asked.append(len(bell.rung))
        return Recorded()

    bus.hub.grant = grant
    async with at_work(bus, kit('{ call = "ring" }, { say = "{tool}" }', tools={"ring": ("external", bell)})):
        await bus.hub.tell(run(tools=["ring"]))
        events = await bus.hub.until_over()

    started, done = (asked.record for asked in bus.hub.records)
    assert isinstance(started, ToolStarted)
    assert isinstance(done, ToolDone)
    assert (started.tool, started.effect, done.outcome) == ("ring", "external", "ok")
    assert started.call == done.call
    assert started.id != done.id
    asked = bus.hub.records[0]
    assert (asked.platform, asked.bot_id, asked.scope_id) == ("cli", "local", "a:b")
    assert rung_when_asked == [0, 1]
    assert text(events) == "rung"


async def test_what_only_reads_asks_nobody(bus: Bus) -> None:
    bell = Bell()
    async with at_work(bus, kit('{ call = "look" }', tools={"look": ("read", bell)})):
        await bus.hub.tell(run(tools=["look"]))
        await bus.hub.until_over()

    assert bell.rung == ["{}"]
    assert bus.hub.records == []


async def test_an_effect_that_is_not_granted_does_not_happen_and_the_attempt_is_over(bus: Bus) -> None:
    bell = Bell()
    bus.hub.grant = lambda _: NotRecorded()
    async with at_work(bus, kit('{ call = "ring" }', tools={"ring": ("write", bell)})):
        await bus.hub.tell(run(tools=["ring"]))
        await bus.hub.until(lambda: bool(bus.hub.records))
        await bus.hub.until(lambda: not bus.hub.heartbeats[-1].turns and len(bus.hub.heartbeats) > 1)
        await bus.hub.tell(resume())
        await bus.hub.until(lambda: bus.hub.replies == [Unknown(turn="t1")])

    assert bell.rung == []


async def test_a_call_that_an_earlier_attempt_began_is_not_made_again(bus: Bus) -> None:
    bell = Bell(hold=asyncio.Event())
    given = kit('{ call = "ring", arguments = { at = 1 } }, { say = "{tool}" }', tools={"ring": ("external", bell)})
    async with at_work(bus, given):
        await bus.hub.tell(run(tools=["ring"]))
        await bus.hub.until(lambda: bool(bus.hub.records))
    begun = bus.hub.records[0].record
    assert isinstance(begun, ToolStarted)

    bell.hold = None
    await bus.worker.close()
    async with working(await bus.rejoin(), given):
        await bus.hub.until(lambda: bus.hub.heartbeats[-1].instance != bus.hub.heartbeats[0].instance)
        await bus.hub.tell(run(attempt=2, tools=["ring"], known_calls=[KnownCall(call=begun.call, outcome="unknown")]))
        events = await bus.hub.until_over()

    assert bell.rung == []
    assert "whether it took effect is not known" in text(events)


async def test_a_started_anew_worker_knows_no_turn_of_its_older_life(bus: Bus) -> None:
    async with at_work(bus, kit(STALL)):
        await bus.hub.tell(run())
        await bus.hub.tell(resume())
        await bus.hub.until(lambda: bus.hub.replies == [Done()])
    older = bus.hub.heartbeats[-1].instance
    await bus.worker.close()

    async with working(await bus.rejoin(), kit(STALL)):
        await bus.hub.until(lambda: bus.hub.heartbeats[-1].instance != older)
        await bus.hub.tell(resume())
        await bus.hub.until(lambda: bus.hub.replies == [Done(), Unknown(turn="t1")])


async def test_a_worker_that_stood_still_drops_its_turns_and_says_so(bus: Bus) -> None:
    async with at_work(bus, kit('{ say = "x" }, ' + STALL)) as worker:
        await bus.hub.tell(run())
        await bus.hub.until(lambda: bool(bus.hub.heard()))
        older = bus.hub.heartbeats[-1].instance
        worker.tick(asyncio.get_running_loop().time() + 3.0)
        await bus.hub.until(lambda: bus.hub.heartbeats[-1].instance != older)
        await bus.hub.tell(resume())
        await bus.hub.until(lambda: bus.hub.replies == [Unknown(turn="t1")])

    assert bus.hub.heartbeats[-1].turns == {}


async def test_a_turn_that_takes_too_long_ends_with_an_apology(bus: Bus) -> None:
    async with at_work(bus, kit(STALL)) as worker:
        await bus.hub.tell(run(limits=Limits(max_seconds=1)))
        await bus.hub.tell(resume())
        await bus.hub.until(lambda: bus.hub.replies == [Done()])
        worker.tick(asyncio.get_running_loop().time() + 1.5)
        events = await bus.hub.until_over()

    assert text(events).startswith("Sorry, this took too long.")


async def test_a_worker_that_is_told_to_end_finishes_what_it_began_and_takes_on_nothing_new(bus: Bus) -> None:
    bell = Bell(hold=asyncio.Event())
    until = asyncio.Event()
    given = kit('{ call = "look" }, { say = "done" }', tools={"look": ("read", bell)})
    serving = asyncio.create_task(Worker(bus.worker, given, lives()).serve(until))
    await bus.hub.until(lambda: bool(bus.hub.heartbeats))
    await bus.hub.tell(run(tools=["look"]))
    await bus.hub.until(lambda: bool(bus.hub.heard()))

    until.set()
    await bus.hub.until(lambda: bus.hub.heartbeats[-1].models == ())
    await bus.hub.tell(run("t2"))
    await bus.hub.until(lambda: bus.hub.replies == [Unknown(turn="t2")])
    assert bell.hold is not None
    bell.hold.set()
    events = await bus.hub.until_over()
    serves_still = not serving.done()
    await bus.hub.tell(forget())
    await serving

    assert text(events) == "done"
    assert serves_still
    await bus.hub.until(lambda: bus.hub.heartbeats[-1].instance != bus.hub.heartbeats[0].instance)


async def test_a_worker_that_is_told_to_end_before_it_could_listen_ends(fake_bus: FakeBus) -> None:
    until = asyncio.Event()
    transport = fake_bus.join(WORKER)
    transport.drop()
    serving = asyncio.create_task(Worker(transport, kit('{ say = "done" }'), lives()).serve(until))
    await asyncio.sleep(0)

    until.set()

    await asyncio.wait_for(serving, 10)


async def test_the_named_points_are_passed_in_order(bus: Bus) -> None:
    points = Points()
    steps = '{ say = ["a", "b"], pace_ms = 5 }, { call = "ring" }, { say = "c" }'
    async with at_work(bus, kit(steps, tools={"ring": ("external", Bell())}, at=points.at)):
        await bus.hub.tell(run(tools=["ring"]))
        await bus.hub.until_over()

    assert points.passed[:2] == ["commanded", "first delta"]
    assert [point for point in points.passed if point.startswith("tool")] == ["tool started", "tool done"]
    assert "mid-stream" in points.passed


async def test_an_effect_waits_for_a_hub_that_is_not_there(quiet_bus: Bus) -> None:
    bus, bell = quiet_bus, Bell()
    async with at_work(bus, kit('{ call = "ring" }', tools={"ring": ("external", bell)})):
        await bus.hub.tell(run(tools=["ring"]))
        await bus.hub.until(lambda: bool(bus.hub.heard()))
        rung_before = list(bell.rung)
        await bus.hub.listen_to_records()
        await bus.hub.until_over()

    assert rung_before == []
    assert bell.rung == ["{}"]


async def test_what_is_lost_with_the_server_is_there_when_it_is_asked_for(quiet_bus: Bus, fake_bus: FakeBus) -> None:
    first, second = Bell(hold=asyncio.Event()), Bell()
    given = kit(
        '{ say = "a" }, { call = "look" }, { say = "b" }, { call = "listen" }, { say = "c" }',
        tools={"look": ("read", first), "listen": ("read", second)},
    )
    async with at_work(quiet_bus, given):
        await quiet_bus.hub.tell(run(tools=["look", "listen"]))
        await quiet_bus.hub.until(lambda: bool(quiet_bus.hub.heard()))
        fake_bus.stop()
        assert first.hold is not None
        first.hold.set()
        await second.reached.wait()
        fake_bus.start()
        await quiet_bus.hub.tell(resume(1))
        events = await quiet_bus.hub.until_over()

    assert text(events) == "a\n\nb\n\nc"
