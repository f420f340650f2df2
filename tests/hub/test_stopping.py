"""The button under an answer that grows: whom it obeys, what it ends, and that it is no turn."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from factory_contracts.messages import Noted, Refused, StopPressed, ToSpoke
from factory_contracts.records import TurnAnswered
from hub.commands import NOTHING_RUNS, STOPPED
from hub.kernel.access import NOT_YOURS, BotPolicy
from tests.fakes import idle, until
from tests.hub.world import BOT, PLATFORM, World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")

OWNED = BotPolicy(PLATFORM, BOT, access="public", owners=frozenset({"olga"}), rate_per_minute=3)


async def press(world: World, turn: str, user: str = "ann", scope: str = "chat") -> ToSpoke | None:
    return await world.hub.answer(StopPressed(platform=PLATFORM, bot_id=BOT, scope_id=scope, turn=turn, user_id=user))


async def running(world: World) -> str:
    """A turn of Ann's whose answer grows."""
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.say(turn, "Half an ans")
    await idle()
    return turn


def refusal(text: str) -> Refused:
    return Refused(reason="not allowed", text=text)


def is_stopped(world: World, turn: str) -> bool:
    return turn in world.screen.finals and world.screen.finals[turn].outcome == "stopped"


@pytest.mark.parametrize("user", ["ann", "olga"])
async def test_who_asked_and_an_owner_stop_what_runs_and_what_was_said_stays(world: World, user: str) -> None:
    world.policy = OWNED
    await world.restart()
    turn = await running(world)

    answer = await press(world, turn, user)
    await until(lambda: is_stopped(world, turn))

    assert isinstance(answer, Noted)
    assert world.screen.finals[turn].text == "Half an ans"


async def test_a_stranger_stops_nothing_and_is_told_whose_it_is(world: World) -> None:
    turn = await running(world)

    answer = await press(world, turn, "ben")
    await world.answered(turn, "wer.")

    assert answer == refusal(NOT_YOURS)
    assert (world.screen.finals[turn].outcome, world.screen.finals[turn].text) == ("complete", "Half an answer.")


async def test_where_everyone_is_an_owner_everyone_may_stop(world: World) -> None:
    world.policy = replace(world.policy, everyone_owns=True)
    await world.restart()
    turn = await running(world)

    assert isinstance(await press(world, turn, "ben"), Noted)
    await until(lambda: is_stopped(world, turn))


async def test_a_pressed_button_is_no_turn_and_costs_nothing(world: World) -> None:
    world.policy = OWNED
    await world.restart()
    turn = await running(world)
    for _ in range(10):
        await press(world, turn, "ben")

    await press(world, turn)
    await until(lambda: is_stopped(world, turn))

    assert world.kinds().count("received") == world.kinds().count("answered") == 1
    assert len({event.turn for event in world.outbox.published}) == 1
    assert (world.pool().session.received, world.pool().session.answered) == (1, 1)
    assert await world.accepted("two")
    assert await world.accepted("three")


async def test_pressed_twice_it_stops_once_and_the_next_turn_is_not_hit(world: World) -> None:
    world.workers.stops_answer = False
    turn = await running(world)
    following = await world.accepted("and then")

    answers = [await press(world, turn), await press(world, turn)]
    world.workers.end(turn, "stopped")
    await until(lambda: is_stopped(world, turn))
    late = await press(world, turn)
    await world.answered(following, "That.")

    assert all(isinstance(answer, Noted) for answer in answers)
    assert late == refusal(NOTHING_RUNS)
    assert world.screen.finals[following].outcome == "complete"


@pytest.mark.parametrize("user", ["ann", "ben"])
@pytest.mark.parametrize("is_receipted", [True, False])
async def test_what_is_over_runs_no_more_whoever_presses(world: World, user: str, is_receipted: bool) -> None:
    world.screen.sends_finals = is_receipted
    turn = await world.exchange("hello")
    following = await world.accepted("and then")
    await world.begun(following)

    assert await press(world, turn, user) == refusal(NOTHING_RUNS)
    assert not world.workers.kept[following].is_stopped


@pytest.mark.parametrize("turn", ["nothing", "x" * 255])
async def test_a_turn_that_never_was_does_not_run(world: World, turn: str) -> None:
    assert await press(world, turn) == refusal(NOTHING_RUNS)
    assert await press(world, turn, scope="nowhere") == refusal(NOTHING_RUNS)
    assert world.stream.all() == ()


async def test_a_turn_that_waits_has_no_button_yet_and_neither_it_nor_what_runs_is_stopped(world: World) -> None:
    turn = await running(world)
    waiting = await world.accepted("and then")

    answer = await press(world, waiting)
    await world.answered(turn, "wer.")
    await world.answered(waiting, "That.")

    assert answer == refusal(NOTHING_RUNS)
    assert [world.screen.finals[one].outcome for one in (turn, waiting)] == ["complete", "complete"]


async def test_a_turn_of_another_conversation_is_not_stopped_from_here(world: World) -> None:
    turn = await running(world)
    await world.accepted("hello", scope="elsewhere")

    assert await press(world, turn, scope="elsewhere") == refusal(NOTHING_RUNS)
    assert not world.workers.kept[turn].is_stopped


async def test_what_waits_for_a_worker_is_stopped_before_there_is_one(world: World) -> None:
    world.workers.kill("w1")
    turn = await world.accepted("hello")
    await idle()

    answer = await press(world, turn)
    await until(lambda: is_stopped(world, turn))

    assert isinstance(answer, Noted)
    assert world.workers.runs_of(turn) == 0


async def test_what_a_dead_hub_began_is_stopped_under_the_next(world: World) -> None:
    turn = await running(world)
    await world.restart()

    answer = await press(world, turn)
    await until(lambda: is_stopped(world, turn))

    assert isinstance(answer, Noted)
    assert world.workers.runs_of(turn) == 1


async def test_a_stop_that_comes_anywhere_in_a_turn_ends_it_and_no_other(world: World) -> None:
    for steps in range(25):
        turn = await world.accepted("hello")
        await world.begun(turn)
        following = asyncio.create_task(world.submit(world.message("and then", id=f"after {steps}")))
        world.workers.say(turn, "Fine.")
        world.workers.end(turn)
        for _ in range(steps):
            await asyncio.sleep(0)

        await press(world, turn)
        await following
        await world.answered(world.turn(f"after {steps}"), "That.")

        assert world.screen.finals[world.turn(f"after {steps}")].outcome == "complete"

    answers = [one.record for one in world.stream.of(key_of()) if isinstance(one.record, TurnAnswered)]
    assert len(answers) == 50


@pytest.mark.parametrize(("user", "stops"), [("ann", True), ("olga", True), ("ben", False)])
async def test_the_word_stops_what_the_button_would(world: World, user: str, stops: bool) -> None:
    world.policy = OWNED
    await world.restart()
    turn = await running(world)

    answer = await world.told("/stop", user=user, in_group=True)
    await idle()

    assert (answer.text, answer.outcome) == ((STOPPED, "complete") if stops else (NOT_YOURS, "failed"))
    assert is_stopped(world, turn) == stops
