"""Engines as the hub sees them: who may have one run, what it is given, and which steps may be left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_contracts.messages import Attachment
from factory_contracts.records import StepDone, StepOutput, record_id
from factory_contracts.work import NotRecorded, Recorded
from hub.kernel.agent import Agent
from hub.kernel.ports import Assignment
from tests.fakes import idle, until
from tests.hub.hands import request
from tests.hub.world import GENEROUS, World

pytestmark = pytest.mark.asyncio(loop_scope="function")

READER = Agent("reader", "scripted", engines=("digest",))
NOTES = Attachment(kind="document", name="notes.txt", mime="text/plain", size=3, blob="b1")


def output(step: str, value: str = '"x"') -> StepOutput:
    return StepOutput(step=step, engine="digest", version="v1", value=value)


def done(assignment: Assignment, step: str, value: str = '"x"') -> StepDone:
    return StepDone(
        id=record_id(assignment.turn, "step done", assignment.attempt, step),
        turn=assignment.turn,
        at=0.0,
        attempt=assignment.attempt,
        output=output(step, value),
    )


async def assigned(world: World, text: str) -> Assignment:
    turn = await world.accepted(text)
    return await world.begun(turn)


async def test_an_engine_is_given_the_words_that_follow_its_name(world: World) -> None:
    await world.serve(READER)
    await world.exchange("what was said before")

    assignment = await assigned(world, "/run digest one two\nthree")

    (line,) = assignment.lines
    assert (assignment.engine, line.text) == ("digest", "one two\nthree")


async def test_an_engine_is_given_the_file_that_comes_without_words(world: World) -> None:
    await world.serve(READER)
    message = world.message("/run digest", attachments=(NOTES,))
    await world.submit(message)

    assignment = await world.begun(world.turn(message.message_id))

    (line,) = assignment.lines
    assert (line.text, line.attachments, line.trusted) == ("", (NOTES,), None)
    assert assignment.is_tainted


async def test_an_engine_is_given_what_the_message_answers_to(world: World) -> None:
    await world.serve(READER)
    message = world.message("/run digest", quoted="somebody's long words")
    await world.submit(message)

    assignment = await world.begun(world.turn(message.message_id))

    assert [line.text for line in assignment.lines] == ["somebody's long words"]
    assert assignment.is_tainted


async def test_only_an_owner_has_an_engine_run_that_the_agents_file_does_not_name(world: World) -> None:
    await world.serve(READER)

    final = await world.told("/run other x")

    assert final.text == "There is no engine `other` for this. **reader** runs: `digest`."
    world.policy = replace(GENEROUS, owners=frozenset({"olga"}))
    await world.restart()
    turn = await world.accepted("/run other x", user="olga")
    assert (await world.begun(turn)).engine == "other"


async def test_an_agent_without_engines_says_that_it_is_allowed_none(world: World) -> None:
    await world.serve(replace(READER, engines=()))

    final = await world.told("/run digest x")

    none = "**reader** is allowed to run no engine: its file names none under `engines`."
    assert final.text == f"There is no engine `digest` for this. {none}"


async def test_a_name_that_can_be_no_engines_is_refused_to_an_owner_too(world: World) -> None:
    world.policy = replace(GENEROUS, owners=frozenset({"olga"}))
    await world.serve(READER)

    assert (await world.told("/run ../evil x", user="olga")).outcome == "failed"


async def test_run_alone_tells_which_engines_there_are(world: World) -> None:
    await world.serve(READER)

    final = await world.told("/run")

    assert "**reader** runs: `digest`." in final.text
    assert final.choices == ("/run digest",)


async def test_what_an_engine_put_out_is_part_of_the_conversation(world: World) -> None:
    await world.serve(READER)
    await world.exchange("/run digest one two", "Short.")

    turn = await world.accepted("go on")

    assert [line.text for line in (await world.begun(turn)).lines] == ["/run digest one two", "Short.", "go on"]


async def test_an_engine_that_is_tried_again_is_run_again(world: World) -> None:
    await world.serve(READER)
    await world.exchange("/run digest one two", "Short.")

    assignment = await assigned(world, "/retry")

    assert (assignment.engine, [line.text for line in assignment.lines]) == ("digest", ["one two"])


@pytest.mark.parametrize("dies", ["worker", "hub and worker"])
async def test_steps_that_are_on_the_log_are_told_to_the_next_attempt(world: World, dies: str) -> None:
    await world.serve(READER)
    world.workers.join("w2")
    turn = await world.accepted("/run digest one two")
    first = await world.begun(turn)
    for step in ("count", "summary", "count"):
        assert await world.hub.record(first.chosen.worker, request(first, done(first, step))) == Recorded()

    world.workers.kill(first.chosen.worker)
    if dies != "worker":
        await world.restart()

    second = await world.begun(turn, times=2)
    assert (second.attempt, second.engine) == (2, "digest")
    assert second.known_steps == (output("count"), output("summary"))
    assert await world.hub.record(first.chosen.worker, request(first, done(first, "page"))) == NotRecorded()


async def test_the_first_that_a_step_put_out_counts(world: World) -> None:
    await world.serve(READER)
    turn = await world.accepted("/run digest one two")
    first = await world.begun(turn)
    for value in ('"first"', '"second"'):
        await world.hub.record(first.chosen.worker, request(first, done(first, "count", value)))

    assert world.pool().session.turns[turn].known_steps == (output("count", '"first"'),)


async def test_a_chat_turn_knows_of_no_steps(world: World) -> None:
    assignment = await assigned(world, "hello")

    assert (assignment.engine, assignment.known_steps) == (None, ())
    await world.answered(assignment.turn)
    await until(lambda: not world.pool().session.turns)
    await idle()
    assert "step done" not in world.kinds()
