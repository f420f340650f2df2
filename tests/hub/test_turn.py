"""One turn, from the worker that is chosen to the answer on the log."""

from __future__ import annotations

import asyncio

import pytest

from factory_contracts.messages import Accepted
from factory_contracts.records import ToolDone, ToolStarted, TurnAnswered, TurnStarted, record_id
from factory_contracts.work import KnownCall, NotRecorded, ToolEvent
from hub.turn import LOSSES, MODEL_STARTS
from tests.fakes import idle, pass_time, until
from tests.hub.hands import begins
from tests.hub.world import World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")


def answers(world: World, scope: str = "chat") -> list[TurnAnswered]:
    return [one.record for one in world.stream.of(key_of(scope)) if isinstance(one.record, TurnAnswered)]


def attempts(world: World, turn: str) -> list[int]:
    started = (one.record for one in world.stream.of(key_of()))
    return [record.start.attempt for record in started if isinstance(record, TurnStarted) and record.turn == turn]


async def test_an_undisturbed_turn_leaves_four_records(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.say(turn, "Hello yourself.")
    await until(lambda: "opened" in world.kinds())
    world.workers.end(turn)
    await until(lambda: turn in world.screen.finals)
    await idle()
    await world.deliveries.flush()

    assert world.kinds() == ["received", "opened", "answered", "shown"]
    assert answers(world)[0].text == "Hello yourself."
    assert answers(world)[0].agent == "alice"


async def test_an_answer_grows_on_the_screen_and_begins_with_a_snapshot(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    for text in ("One ", "two ", "three."):
        world.workers.say(turn, text)
        await idle()
    world.workers.end(turn)
    await until(lambda: turn in world.screen.finals)

    updates = world.updates(turn)
    assert [(update.base, update.text) for update in updates] == [(0, "One "), (4, "two "), (8, "three.")]
    assert [update.events for update in updates] == [1, 2, 3]
    assert world.screen.finals[turn].text == "One two three."


async def test_a_tool_at_work_is_shown_and_leaves_when_it_is_done(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.tell(turn, ToolEvent(call="c", tool="clock", state="running", text="Using clock"))
    await idle()
    world.workers.tell(turn, ToolEvent(call="c", tool="clock", state="ok", text="Used clock"))
    await idle()

    assert [update.activity for update in world.updates(turn)] == ["Using clock", None]


async def test_the_next_turn_waits_for_the_answer_and_for_its_bubble(world: World) -> None:
    world.screen.is_there = False
    first, second = await world.accepted("one"), await world.accepted("two")
    await world.begun(first)
    world.workers.say(first, "Fine.")
    await idle()
    assert world.workers.runs_of(second) == 0
    world.workers.end(first)
    await idle()
    assert world.finals(first)
    assert world.workers.runs_of(second) == 0

    world.screen.is_there = True
    await world.hello()
    await idle()

    assert world.workers.runs_of(second) == 1


async def test_a_bubble_before_the_answer_does_not_let_the_next_turn_begin(world: World) -> None:
    first, second = await world.accepted("one"), await world.accepted("two")
    await world.begun(first)
    world.workers.say(first, "Fi")
    await until(lambda: "opened" in world.kinds())

    assert world.workers.runs_of(second) == 0


async def test_the_model_is_shown_the_conversation(world: World) -> None:
    await world.exchange("What is 6 times 7?", "42.")
    turn = await world.accepted("And plus one?")

    lines = (await world.begun(turn)).lines

    assert [(line.role, line.text) for line in lines] == [
        ("user", "What is 6 times 7?"),
        ("assistant", "42."),
        ("user", "And plus one?"),
    ]


async def test_a_lost_worker_gives_another_attempt_that_starts_over_in_place(world: World) -> None:
    world.workers.join("w2")
    turn = await world.accepted("hello")
    assert (await world.begun(turn)).chosen.worker == "w1"
    world.workers.say(turn, "Half an ans")
    await idle()

    world.workers.kill("w1")
    second = await world.begun(turn, times=2)
    world.workers.say(turn, "A whole answer.")
    await idle()
    world.workers.end(turn)
    await until(lambda: turn in world.screen.finals)

    assert (second.attempt, second.chosen.worker) == (2, "w2")
    assert attempts(world, turn) == [2]
    update = world.updates(turn)[-1]
    assert (update.attempt, update.base, update.text) == (2, 0, "A whole answer.")
    assert world.screen.finals[turn].text == "A whole answer."
    assert len(world.screen.bubbles[turn]) == 1


async def test_calls_that_had_begun_are_told_to_the_next_attempt_done_or_not(world: World) -> None:
    world.workers.join("w2")
    turn = await world.accepted("hello")
    await world.begun(turn)
    for call in ("done", "unknown"):
        begun = ToolStarted(
            id=record_id(turn, "tool started", call),
            turn=turn,
            at=0.0,
            attempt=1,
            call=call,
            tool="files",
            effect="write",
            arguments="digest",
        )
        await world.pool().record(begun)
    done = ToolDone(id=record_id(turn, "tool done", "done"), turn=turn, at=0.0, attempt=1, call="done", outcome="ok")
    await world.pool().record(done)

    world.workers.kill("w1")

    assert (await world.begun(turn, times=2)).known_calls == (
        KnownCall(call="done", outcome="ok"),
        KnownCall(call="unknown", outcome="unknown"),
    )


async def test_a_call_that_is_stored_after_the_next_attempt_began_may_not_be_made(world: World) -> None:
    world.workers.join("w2")
    turn = await world.accepted("hello")
    first = await world.begun(turn)
    world.stream.hold()
    world.workers.kill("w1")
    await pass_time(1)

    asking = asyncio.create_task(world.hub.record("w1", begins(first)))
    await idle()
    world.stream.release()

    assert await asking == NotRecorded()
    assert [kind for kind in world.kinds() if "started" in kind] == ["started", "tool started"]
    assert (await world.begun(turn, times=2)).known_calls == ()


async def test_model_starts_are_capped_and_the_person_gets_an_apology(world: World) -> None:
    turn = await world.accepted("hello")
    for number in range(MODEL_STARTS):
        await world.begun(turn, times=number + 1)
        world.workers.say(turn, "Once more ")
        await idle()
        name = next(iter(world.workers.instances))
        world.workers.kill(name)
        world.workers.join(f"next {number}")

    await until(lambda: turn in world.screen.finals, seconds=60)

    assert world.workers.runs_of(turn) == MODEL_STARTS
    assert answers(world)[0].outcome == "failed"
    assert "Reference" in world.screen.finals[turn].text


async def test_a_turn_that_no_worker_takes_is_given_up_some_time(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    while not answers(world):
        kept = world.workers.kept.get(turn)
        if kept is not None:
            world.workers.kill("w1")
            world.workers.join("w1")
        await pass_time(0.05)

    assert len(attempts(world, turn)) < LOSSES + 1
    assert answers(world)[0].outcome == "failed"


async def test_without_a_worker_the_turn_waits_and_the_person_is_told(world: World) -> None:
    world.workers.kill("w1")
    turn = await world.accepted("hello")
    await pass_time(10)
    assert world.updates(turn)[-1].activity == "waiting for a worker"

    world.workers.join("w2")
    await world.answered(turn)

    assert attempts(world, turn) == [1]
    assert world.screen.texts[turn] == "Fine."


async def test_an_error_of_ours_reaches_the_person_as_an_apology_without_detail(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.workers.is_broken = True
    turn = await world.accepted("hello")
    await until(lambda: turn in world.screen.finals)

    final = world.screen.finals[turn]
    reference = answers(world)[0].reference
    assert final.outcome == "failed"
    assert "secret" not in final.text
    assert reference is not None
    assert reference in final.text
    assert any(reference in record.getMessage() and record.exc_info for record in caplog.records)


async def test_after_an_error_of_ours_the_conversation_goes_on(world: World) -> None:
    world.workers.is_broken = True
    turn = await world.accepted("hello")
    await until(lambda: turn in world.screen.finals)
    world.workers.is_broken = False

    await world.exchange("hello again", "Here I am.")

    assert answers(world)[-1].text == "Here I am."


async def test_a_model_that_failed_leaves_its_reference(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.say(turn, "Sorry. Reference abc.")
    world.workers.end(turn, "failed", reference="abc")
    await until(lambda: turn in world.screen.finals)

    assert (answers(world)[0].outcome, answers(world)[0].reference) == ("failed", "abc")


async def test_a_stop_ends_what_runs_and_keeps_what_was_said(world: World) -> None:
    turn = await world.accepted("tell me everything")
    await world.begun(turn)
    world.workers.say(turn, "Everything begins ")
    await idle()

    stop = await world.accepted("/stop")
    await until(lambda: {turn, stop} <= set(world.screen.finals))

    assert world.screen.finals[turn].outcome == "stopped"
    assert world.screen.finals[turn].text == "Everything begins "
    assert world.screen.finals[stop].text == "Stopped."


async def test_a_stop_overtakes_the_queue_and_the_next_turn_runs(world: World) -> None:
    running, queued = await world.accepted("one"), await world.accepted("two")
    await world.begun(running)

    await world.accepted("/stop")
    await world.answered(queued, "Two it is.")

    assert world.screen.finals[running].outcome == "stopped"
    assert world.screen.finals[queued].outcome == "complete"


async def test_a_stop_while_nothing_runs_says_so_and_stops_nothing_later(world: World) -> None:
    stop = await world.accepted("/stop")
    assert world.screen.finals[stop].text == "Nothing is running."

    await world.exchange("hello", "All of it.")

    assert answers(world)[-1].text == "All of it."


async def test_a_stop_while_no_worker_is_there_ends_the_waiting(world: World) -> None:
    world.workers.kill("w1")
    turn = await world.accepted("hello")
    await pass_time(1)

    await world.accepted("/stop")
    await until(lambda: turn in world.screen.finals)

    assert world.screen.finals[turn].outcome == "stopped"


async def test_a_stop_that_comes_while_the_answer_is_being_stored_stops_nothing_later(world: World) -> None:
    turn, queued = await world.accepted("one"), await world.accepted("two")
    await world.begun(turn)
    await until(lambda: bool(world.workers.kept))
    world.workers.say(turn, "Done.")
    await until(lambda: "opened" in world.kinds())
    world.stream.hold()
    world.workers.end(turn)
    await idle()
    stopping = world.message("/stop")
    task = asyncio.create_task(world.submit(stopping))
    await idle()

    world.stream.release()
    assert isinstance(await task, Accepted)
    await world.answered(queued, "Two it is.")

    assert world.screen.finals[queued].outcome == "complete"


async def test_a_stop_passes_a_full_queue(world: World) -> None:
    running = await world.accepted("the one that runs")
    await world.begun(running)
    for number in range(100):
        await world.submit(world.message(f"waiting {number}"))

    await world.accepted("/stop")

    assert world.screen.finals[running].outcome == "stopped"


async def test_a_new_session_hides_what_was_said_before(world: World) -> None:
    await world.exchange("My name is Ann.", "Hello Ann.")
    new = await world.accepted("/new")
    await until(lambda: new in world.screen.finals)

    turn = await world.accepted("What is my name?")

    assert [line.text for line in (await world.begun(turn)).lines] == ["What is my name?"]
    assert world.workers.runs_of(new) == 0


async def test_an_agent_that_is_chosen_answers_from_then_on(world: World) -> None:
    await world.let_in("ann")
    chosen = await world.accepted("/agent bob")
    await until(lambda: chosen in world.screen.finals)
    await world.restart()

    turn = await world.accepted("Who are you?")

    assert (await world.begun(turn)).agent.name == "bob"


async def test_an_unknown_agent_is_told_with_those_there_are(world: World) -> None:
    await world.let_in("ann")
    turn = await world.accepted("/agent carol")
    await until(lambda: turn in world.screen.finals)

    assert "alice, bob" in world.screen.finals[turn].text
    assert "bound" not in world.kinds()


async def test_agent_alone_lists_them(world: World) -> None:
    turn = await world.accepted("/agent")
    await until(lambda: turn in world.screen.finals)

    assert "**alice** (here): answers first" in world.screen.finals[turn].text
    assert "**bob**" in world.screen.finals[turn].text


async def test_an_answer_waits_for_room_on_a_full_log(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.say(turn, "Fine.")
    await until(lambda: "opened" in world.kinds())
    world.stream.is_full = True
    world.workers.end(turn)
    await pass_time(5)
    assert not world.finals(turn)
    assert world.workers.forgotten == []

    world.stream.is_full = False
    await until(lambda: turn in world.screen.finals)

    assert world.workers.forgotten == [turn]


async def test_the_worker_forgets_only_after_the_answer_is_on_the_log(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.say(turn, "Fine.")
    await until(lambda: "opened" in world.kinds())
    world.stream.hold()
    world.workers.end(turn)
    await idle()
    assert world.workers.forgotten == []

    world.stream.release()
    await idle()

    assert world.workers.forgotten == [turn]
