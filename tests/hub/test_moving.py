"""A conversation to which its platform gives another scope: it goes on there as if nothing had happened."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from factory_contracts.messages import Moved, Noted, ToSpoke
from factory_contracts.records import Compacted
from hub.kernel.agent import Agent
from hub.kernel.ports import Fenced
from tests.fakes import idle, pass_time, until
from tests.hub.world import ALICE, BOT, PLATFORM, World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")

FERN = Agent("fern", "scripted:a", fallbacks=("scripted:b",))
OLD, NEW = "group", "supergroup"


async def move(world: World, old: str = OLD, new: str = NEW) -> ToSpoke | None:
    return await world.hub.answer(Moved(platform=PLATFORM, bot_id=BOT, scope_id=new, old_scope=old))


async def shown(world: World, scope: str) -> list[str]:
    """What the model is shown for the next message there."""
    turn = await world.accepted("next", scope=scope)
    lines = [line.text for line in (await world.begun(turn)).lines]
    await world.answered(turn)
    return lines


def views(world: World, scope: str = NEW) -> list[Compacted]:
    return [one.record for one in world.stream.of(key_of(scope)) if isinstance(one.record, Compacted)]


async def test_the_new_scope_begins_with_what_was_said_with_its_agent_and_its_model(world: World) -> None:
    await world.serve(ALICE, FERN)
    await world.let_in("ann")
    await world.exchange("one", "1", scope=OLD)
    await world.told("/agent fern", scope=OLD)
    await world.told("/model scripted:b", scope=OLD)
    await world.exchange("two", "2", scope=OLD)

    told = await move(world)
    await world.restart()
    turn = await world.accepted("three", scope=NEW)
    assignment = await world.begun(turn)

    assert isinstance(told, Noted)
    assert [line.text for line in assignment.lines] == ["one", "1", "two", "2", "three"]
    assert (assignment.agent.name, assignment.agent.model) == ("fern", "scripted:b")


async def test_what_was_counted_and_spent_stays_with_the_old_scope(world: World) -> None:
    await world.exchange("one", scope=OLD)
    await move(world)
    await world.exchange("two", scope=NEW)

    old, new = world.pool(OLD).session, world.pool(NEW).session
    assert (old.received, new.received) == (1, 1)
    assert (old.used.calls, new.used.calls) == (1, 1)
    assert [view.seen for view in views(world)] == [()]


async def test_a_message_id_of_the_old_scope_is_a_new_one_in_the_new(world: World) -> None:
    await world.accepted("one", scope=OLD, id="7")
    await world.answered(world.turn("7", OLD))
    await move(world)

    assert await world.accepted("another", scope=NEW, id="7") == world.turn("7", NEW)


async def test_told_twice_it_is_done_once(world: World) -> None:
    await world.exchange("one", "1", scope=OLD)
    answers = [await move(world), await move(world)]
    await world.exchange("two", "2", scope=NEW)

    answers.append(await move(world))
    await world.restart()
    answers.append(await move(world))

    assert all(isinstance(answer, Noted) for answer in answers)
    assert len(views(world)) == 1
    assert await shown(world, NEW) == ["one", "1", "two", "2", "next"]


async def test_told_again_while_it_is_done_it_is_one_conversation_and_nothing_said_there_is_lost(
    world: World,
) -> None:
    await world.exchange("one", "1", scope=OLD)
    world.stream.hold()
    moving = [asyncio.create_task(move(world)) for _ in range(3)]
    await idle()
    asking = asyncio.create_task(world.submit(world.message("two", scope=NEW, id="m")))
    await idle()
    moving.append(asyncio.create_task(move(world)))
    await idle()

    world.stream.release()
    answers = await asyncio.gather(*moving)
    await asking
    await world.restart()
    turn = world.turn("m", NEW)
    lines = [line.text for line in (await world.begun(turn)).lines]
    await world.answered(turn, "2")

    assert all(isinstance(answer, Noted) for answer in answers)
    assert lines == ["one", "1", "two"]
    assert await shown(world, NEW) == ["one", "1", "two", "2", "next"]


async def test_while_a_turn_is_open_there_is_silence_and_then_its_answer_moves_as_well(world: World) -> None:
    turn = await world.accepted("one", scope=OLD)
    await world.begun(turn)
    waiting = await world.accepted("two", scope=OLD)
    early = [await move(world)]
    await world.answered(turn, "1")
    early.append(await move(world))
    await world.answered(waiting, "2")

    late = await move(world)

    assert early == [None, None]
    assert isinstance(late, Noted)
    assert await shown(world, NEW) == ["one", "1", "two", "2", "next"]


async def test_while_the_log_is_full_there_is_silence_and_nothing_waits_for_room(world: World) -> None:
    await world.exchange("one", "1", scope=OLD)
    await world.deliveries.flush()
    world.stream.is_full = True
    async with asyncio.timeout(1.0):
        assert [await move(world) for _ in range(20)] == [None] * 20
    attempts = world.stream.attempts
    await pass_time(60)
    assert world.stream.attempts == attempts

    world.stream.is_full = False

    assert isinstance(await move(world), Noted)
    assert len(views(world)) == 1


async def test_a_message_on_its_way_to_the_old_scopes_log_is_waited_for(world: World) -> None:
    world.stream.hold()
    asking = asyncio.create_task(world.submit(world.message("one", scope=OLD)))
    await idle()

    early = await move(world)
    world.stream.release()
    await asking

    assert early is None
    assert views(world) == []


async def test_an_answer_that_nobody_can_be_shown_any_more_does_not_hold_the_move_up(world: World) -> None:
    world.screen.gone.add(OLD)
    turn = await world.accepted("one", scope=OLD)
    await world.answered_unseen(turn)

    assert isinstance(await move(world), Noted)
    assert (await shown(world, NEW))[0] == "one"


async def test_a_conversation_that_is_there_already_is_not_written_over(world: World) -> None:
    await world.exchange("old", scope=OLD)
    await world.exchange("new", "yes", scope=NEW)

    told = await move(world)
    await world.restart()

    assert isinstance(told, Noted)
    assert views(world) == []
    assert await shown(world, NEW) == ["new", "yes", "next"]


async def test_a_conversation_in_which_nothing_was_said_may_move_too(world: World) -> None:
    assert isinstance(await move(world), Noted)
    await world.restart()

    assert await shown(world, NEW) == ["next"]


async def test_a_conversation_with_the_longest_name_may_move(world: World) -> None:
    old, new = "o" * 255, "n" * 255
    await world.exchange("one", "1", scope=old)

    assert isinstance(await move(world, old, new), Noted)
    assert await shown(world, new) == ["one", "1", "next"]


async def test_a_conversation_moves_on_and_on(world: World) -> None:
    await world.exchange("one", "1", scope="first")
    for old, new in (("first", "second"), ("second", "third")):
        await move(world, old, new)
        await world.exchange(f"in the {new}", "Yes.", scope=new)
    await world.restart()

    assert await shown(world, "third") == ["one", "1", "in the second", "Yes.", "in the third", "Yes.", "next"]


async def test_a_hub_that_dies_anywhere_in_a_move_moves_once(world: World) -> None:
    await world.exchange("one", "1", scope=OLD)
    for steps in range(12):
        new = f"{NEW} {steps}"
        moving = asyncio.create_task(move(world, OLD, new))
        for _ in range(steps):
            await asyncio.sleep(0)
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
        await world.restart()

        assert isinstance(await move(world, OLD, new), Noted)
        assert len({view.id for view in views(world, new)}) == 1
        assert await shown(world, new) == ["one", "1", "next"]
        await until(partial(lambda scope: not world.pool(scope).session.turns, new))


async def test_a_hub_that_reigns_no_more_moves_nothing(world: World) -> None:
    await world.exchange("one", scope=OLD)
    world.stream.take_over()

    with pytest.raises(Fenced):
        await move(world)

    assert views(world) == []
