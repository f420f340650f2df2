"""What a message does that comes while another is answered: it joins, it interrupts, or it waits."""

from __future__ import annotations

import asyncio

import pytest

from factory_contracts.messages import Accepted, Attachment
from factory_contracts.records import TurnSuperseded
from hub.kernel.agent import Agent, WhileRunning
from hub.kernel.session import HISTORY_CHARACTERS
from hub.turn import MODEL_STARTS
from tests.fakes import idle, pass_time, until
from tests.hub.world import World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")

CAT = Attachment(kind="image", name="cat.png", mime="image/png", size=3, blob="b1")


async def serve(world: World, while_running: WhileRunning) -> None:
    await world.serve(Agent("fern", "scripted", while_running=while_running))


def steers(world: World, turn: str) -> dict[str, str]:
    """What the worker was told to have join."""
    return {joining: line.text for joining, line in world.workers.kept[turn].steers.items()}


def superseded(world: World) -> list[tuple[str, str]]:
    """Which turns are on the log as superseded, and by which."""
    found = [one.record for one in world.stream.of(key_of())]
    return [(one.turn, one.by) for one in found if isinstance(one, TurnSuperseded)]


async def running(world: World, text: str = "one") -> str:
    turn = await world.accepted(text)
    await world.begun(turn)
    return turn


async def test_a_message_that_is_heard_in_a_running_turn_is_superseded_by_it_once(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    joined = await world.accepted("two")
    assert steers(world, turn) == {joined: "two"}

    world.workers.say(turn, "Both.")
    world.workers.end(turn, joined=(joined,))
    await until(lambda: turn in world.screen.finals)
    await pass_time(1)

    assert superseded(world) == [(joined, turn)]
    assert world.workers.runs_of(joined) == 0
    assert joined not in world.screen.finals
    session = world.pool().session
    assert [(one.asked, one.answered) for one in session.history] == [("one\n\ntwo", "Both.")]
    assert (session.tally.received, session.tally.answered, session.tally.superseded) == (2, 1, 1)


async def test_messages_that_got_lost_on_their_way_to_the_worker_are_told_again_in_their_order(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    told = [await world.accepted(text) for text in ("two", "three")]
    world.workers.kept[turn].steers.clear()

    last = await world.accepted("four")

    assert list(steers(world, turn)) == [*told, last]


async def test_the_turn_that_joined_and_the_answer_stand_on_the_log_together(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    joined = await world.accepted("two")
    world.workers.say(turn, "Both.")
    await until(lambda: "opened" in world.kinds())
    attempts = world.stream.attempts

    world.workers.end(turn, joined=(joined,))
    await until(lambda: "answered" in world.kinds())

    assert world.stream.attempts == attempts + 1
    assert world.kinds()[-2:] == ["superseded", "answered"]


async def test_a_message_that_was_not_heard_is_answered_afterwards(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    waiting = await world.accepted("two")
    await world.answered(turn)
    await world.answered(waiting, "Two.")

    assert superseded(world) == []
    assert world.screen.finals[waiting].text == "Two."


async def test_of_several_messages_some_may_be_heard_and_the_others_are_answered(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    first, second = await world.accepted("two"), await world.accepted("three")
    world.workers.say(turn, "One and two.")
    world.workers.end(turn, joined=(first,))
    await world.answered(second)

    assert superseded(world) == [(first, turn)]
    assert [line.text for line in world.workers.started[-1].lines] == ["one\n\ntwo", "One and two.", "three"]


async def test_a_message_that_joined_and_comes_again_is_known(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    message = world.message("two")
    answer = await world.submit(message)
    assert isinstance(answer, Accepted)
    world.workers.end(turn, joined=(answer.turn,))
    await until(lambda: turn in world.screen.finals)

    assert (await world.known(message)).turn == answer.turn
    await world.restart()
    assert (await world.known(message)).turn == answer.turn


async def test_when_the_worker_dies_the_next_one_is_told_again_what_joins(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    joined = await world.accepted("two")
    world.workers.kill("w1")
    world.workers.join("w2")
    await world.begun(turn, times=2)
    await idle()

    assert steers(world, turn) == {joined: "two"}
    assert [line.text for line in world.workers.started[-1].lines] == ["one"]


async def test_when_the_hub_dies_the_next_one_tells_the_worker_again_what_joins(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    joined = await world.accepted("two")
    world.workers.kept[turn].steers.clear()

    await world.restart()
    await idle()

    assert steers(world, turn) == {joined: "two"}


async def test_a_hub_that_dies_anywhere_around_the_answer_supersedes_once(world: World) -> None:
    await serve(world, "steer")
    for steps in range(25):
        turn = await running(world, f"one {steps}")
        joined = await world.accepted(f"two {steps}")
        world.workers.say(turn, "Both.")
        world.workers.end(turn, joined=(joined,))
        for _ in range(steps):
            await asyncio.sleep(0)
        await world.restart()
        await until(lambda: not world.pool().session.turns if world.pools.peek(key_of()) else True)

        assert superseded(world)[-1:] == [(joined, turn)]
        assert len(superseded(world)) == steps + 1
        assert world.workers.runs_of(joined) == 0
    session = (await world.pools.get(key_of())).session
    assert (session.received, session.answered, session.superseded) == (50, 25, 25)


async def test_a_worker_that_names_strangers_supersedes_nobody(world: World) -> None:
    await serve(world, "steer")
    answered = await world.exchange("before")
    turn = await running(world)
    world.workers.end(turn, joined=("stranger", answered, turn))
    await until(lambda: turn in world.screen.finals)

    assert superseded(world) == []
    assert world.kinds().count("answered") == 2


@pytest.mark.parametrize("obstacle", ["/usage", "files"])
async def test_nothing_overtakes_a_message_that_may_not_join(world: World, obstacle: str) -> None:
    await serve(world, "steer")
    turn = await running(world)
    attachments = (CAT,) if obstacle == "files" else ()
    await world.submit(world.message("look" if attachments else obstacle, attachments=attachments))
    await world.accepted("two")

    assert steers(world, turn) == {}


async def test_what_joins_is_no_more_than_can_be_shown_to_later_turns(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    for _ in range(30):
        await world.accepted("x" * 20_000)

    joined = steers(world, turn)

    assert 0 < sum(map(len, joined.values())) <= HISTORY_CHARACTERS


async def test_a_message_that_comes_before_the_worker_is_there_joins_when_it_is(world: World) -> None:
    await serve(world, "steer")
    world.workers.kill("w1")
    turn = await world.accepted("one")
    joined = await world.accepted("two")

    world.workers.join("w2")
    await world.begun(turn)
    await idle()

    assert steers(world, turn) == {joined: "two"}


async def test_a_message_interrupts_what_runs_and_is_answered_next(world: World) -> None:
    await serve(world, "interrupt")
    turn = await running(world)
    world.workers.say(turn, "Half an ")
    await idle()
    following = await world.accepted("no, rather this")
    await world.answered(following, "This.")

    assert (world.screen.finals[turn].outcome, world.screen.finals[turn].text) == ("stopped", "Half an ")
    assert world.screen.finals[following].outcome == "complete"
    assert [line.text for line in world.workers.started[-1].lines] == ["one", "Half an ", "no, rather this"]


async def test_a_message_interrupts_what_waits_for_a_worker(world: World) -> None:
    await serve(world, "interrupt")
    world.workers.kill("w1")
    turn = await world.accepted("one")
    following = await world.accepted("no, rather this")
    await until(lambda: turn in world.screen.finals)
    world.workers.join("w2")
    await world.answered(following)

    assert world.screen.finals[turn].outcome == "stopped"
    assert world.screen.finals[following].outcome == "complete"


async def test_a_word_to_the_hub_interrupts_nothing(world: World) -> None:
    await serve(world, "interrupt")
    turn = await running(world)
    word = await world.accepted("/usage")
    await world.answered(turn)
    await until(lambda: word in world.screen.finals)

    assert world.screen.finals[turn].outcome == "complete"


async def test_a_first_message_interrupts_nobody(world: World) -> None:
    await serve(world, "interrupt")

    await world.exchange("one", "Fine.")

    assert [final.outcome for final in world.screen.finals.values()] == ["complete"]


async def test_an_interruption_is_no_interruption_of_another_conversation(world: World) -> None:
    await serve(world, "interrupt")
    turn = await running(world)
    await world.accepted("elsewhere", scope="there")
    await world.answered(turn)

    assert world.screen.finals[turn].outcome == "complete"


async def test_where_messages_queue_nothing_joins_and_nothing_is_interrupted(world: World) -> None:
    await serve(world, "queue")
    turn = await running(world)
    waiting = await world.accepted("two")
    told = steers(world, turn)
    await world.answered(turn)
    await world.answered(waiting)

    assert told == {}
    assert {final.outcome for final in world.screen.finals.values()} == {"complete"}


async def test_a_stop_ends_the_turn_and_what_was_heard_in_it_is_not_answered_again(world: World) -> None:
    await serve(world, "steer")
    world.workers.stops_answer = False
    turn = await running(world)
    heard, unheard = await world.accepted("two"), await world.accepted("three")
    await world.accepted("/stop")
    world.workers.end(turn, "stopped", joined=(heard,))
    await world.answered(unheard)

    assert superseded(world) == [(heard, turn)]
    assert world.workers.runs_of(heard) == 0
    assert world.screen.finals[unheard].outcome == "complete"


async def test_messages_that_joined_a_turn_which_is_given_up_are_answered(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    joined = await world.accepted("two")
    for number in range(1, MODEL_STARTS + 1):
        await world.begun(turn, times=number)
        world.workers.say(turn, "Half an ")
        await idle()
        world.workers.kill(f"w{number}")
        world.workers.join(f"w{number + 1}")
    await world.answered(joined, "Two.")

    assert world.screen.finals[turn].outcome == "failed"
    assert superseded(world) == []


async def test_the_screens_of_a_conversation_are_told_in_which_turn_a_message_was_heard(world: World) -> None:
    await serve(world, "steer")
    turn = await running(world)
    answer = await world.submit(world.message("two", echo=True))
    assert isinstance(answer, Accepted)
    world.workers.end(turn, joined=(answer.turn,))
    await until(lambda: turn in world.screen.finals)

    assert world.finals(turn)[0].joined == (answer.turn,)


# In a group


async def said_in_group(world: World, text: str, user: str) -> str:
    answer = await world.submit(world.message(text, user=user, in_group=True))
    assert isinstance(answer, Accepted)
    await idle()
    return answer.turn


@pytest.mark.parametrize("while_running", ["steer", "interrupt"])
async def test_in_a_group_somebody_elses_message_waits_whatever_the_agents_file_says(
    world: World, while_running: WhileRunning
) -> None:
    await serve(world, while_running)
    turn = await said_in_group(world, "one", "ann")
    await world.begun(turn)

    waiting = await said_in_group(world, "two", "ben")

    assert steers(world, turn) == {}
    assert not world.workers.kept[turn].is_stopped
    await world.answered(turn)
    await world.answered(waiting)
    assert [world.screen.finals[one].outcome for one in (turn, waiting)] == ["complete", "complete"]


@pytest.mark.parametrize(("user", "joins"), [("ann", True), ("olga", True), ("ben", False)])
async def test_in_a_group_who_asked_and_an_owner_join_and_nobody_overtakes_who_waits(
    world: World, user: str, joins: bool
) -> None:
    await serve(world, "steer")
    await world.let_in("olga", "owner")
    turn = await said_in_group(world, "one", "ann")
    await world.begun(turn)

    second = await said_in_group(world, "two", user)
    third = await said_in_group(world, "three", "ann")

    assert list(steers(world, turn)) == ([second, third] if joins else [])


@pytest.mark.parametrize(("user", "is_stopped"), [("ann", True), ("olga", True), ("ben", False)])
async def test_in_a_group_who_asked_and_an_owner_interrupt(world: World, user: str, is_stopped: bool) -> None:
    await serve(world, "interrupt")
    await world.let_in("olga", "owner")
    turn = await said_in_group(world, "one", "ann")
    await world.begun(turn)

    await said_in_group(world, "two", user)

    assert (turn in world.screen.finals and world.screen.finals[turn].outcome == "stopped") == is_stopped
