"""Answers on their way to a screen, and receipts on their way to the log."""

from __future__ import annotations

import pytest

from factory_contracts.records import ReplyUndeliverable
from hub.recovery import TRIED_FOR, UNDELIVERABLE_AFTER
from tests.fakes import idle, pass_time, until
from tests.hub.world import World, final, key_of, shown

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def test_an_answer_without_receipt_is_sent_again_four_times(world: World) -> None:
    world.screen.is_there = False
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.end(turn)
    await idle()
    counts = [len(world.finals(turn))]

    for seconds in (1, 2, 4, 8, 60):
        await pass_time(seconds + 0.01)
        counts.append(len(world.finals(turn)))

    assert counts == [1, 2, 3, 4, 5, 5]


async def test_a_hello_after_that_brings_the_answer_again(world: World) -> None:
    world.screen.is_there = False
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.end(turn)
    await pass_time(60)

    world.screen.is_there = True
    await world.hello()
    await idle()

    assert turn in world.screen.finals
    assert not world.pool().session.turns


async def test_a_receipt_ends_the_sending(world: World) -> None:
    turn = await world.exchange("hello")

    await pass_time(60)

    assert len(world.finals(turn)) == 1


async def test_receipts_of_many_conversations_are_noted_later_and_together(world: World) -> None:
    for number in range(5):
        await world.exchange("hello", scope=f"chat {number}")
    assert "shown" not in world.kinds("chat 0")

    await pass_time(1)

    assert all(world.kinds(f"chat {number}")[-1] == "shown" for number in range(5))


async def test_the_first_receipt_decides_which_bubble_counts(world: World) -> None:
    world.screen.is_there = False
    turn = await world.accepted("hello")
    await world.begun(turn)

    first = await world.noted(shown(turn, "one"))
    second = await world.noted(shown(turn, "two"))

    assert (first.message_id, second.message_id) == ("one", "one")
    assert world.kinds().count("opened") == 1


async def test_a_receipt_for_an_unknown_turn_is_noted_and_changes_nothing(world: World) -> None:
    assert (await world.noted(shown("nothing", "one"))).message_id is None
    await world.noted(final("nothing", "one"))

    assert world.kinds() == []


async def test_a_final_receipt_before_the_answer_is_no_receipt(world: World) -> None:
    world.screen.is_there = False
    turn = await world.accepted("hello")
    await world.begun(turn)

    await world.noted(final(turn, "one"))

    assert turn in world.pool().session.turns


async def test_a_spoke_that_is_gone_blocks_nobody_else(world: World) -> None:
    world.screen.gone.add("lost")
    lost = await world.accepted("hello", scope="lost")
    await world.begun(lost)
    world.workers.end(lost)
    await idle()

    await world.exchange("hello", "Fine.", scope="here")
    await world.exchange("hello again", "Fine.", scope="here")

    assert world.pool("lost").session.turns[lost].is_answered


async def test_what_a_platform_refuses_for_good_is_over_and_the_next_turn_begins(world: World) -> None:
    world.screen.is_there = False
    first, second = await world.accepted("one"), await world.accepted("two")
    await world.begun(first)
    world.workers.end(first)
    await idle()

    await world.noted(final(first, "", undeliverable="the chat is gone"))
    await world.begun(second)

    await world.deliveries.flush()
    assert world.kinds().count("undeliverable") == 1


async def test_an_answer_that_nobody_took_for_a_day_is_given_up(world: World) -> None:
    world.screen.is_there = False
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.end(turn)
    await pass_time(60)
    assert turn in world.pool().session.turns

    world.clock.forward(UNDELIVERABLE_AFTER)
    await pass_time(TRIED_FOR + 3)

    records = [one.record for one in world.stream.of(key_of())]
    assert isinstance(records[-1], ReplyUndeliverable)
    assert not world.pool().session.turns


async def test_receipts_wait_for_room_on_a_full_log(world: World) -> None:
    await world.exchange("hello")
    world.stream.is_full = True
    await pass_time(5)
    assert "shown" not in world.kinds()

    world.stream.is_full = False
    await pass_time(5)

    assert world.kinds()[-1] == "shown"
    assert world.deliveries.unwritten() == ()


async def test_a_receipt_repeated_is_written_once(world: World) -> None:
    turn = await world.exchange("hello")
    await world.noted(final(turn, "one"))
    await until(lambda: "shown" in world.kinds())
    await world.noted(final(turn, "one"))
    await pass_time(2)

    assert world.kinds().count("shown") == 1


async def test_a_receipt_of_a_conversation_that_another_hub_has_taken_meanwhile_stops_no_others(world: World) -> None:
    await world.exchange("hello", scope="taken")
    await world.exchange("hello", scope="kept")
    world.pools.lose(key_of("taken").partition)

    await world.deliveries.flush()

    assert world.kinds("kept")[-1] == "shown"
    assert "shown" not in world.kinds("taken")
    assert world.deliveries.unwritten() == ()
    assert world.is_fenced.is_set()


async def test_a_machine_that_slept_for_days_tries_again_before_it_gives_up(world: World) -> None:
    world.screen.is_there = False
    turn = await world.accepted("Hello?")
    await world.answered_unseen(turn)
    world.clock.forward(3 * UNDELIVERABLE_AFTER)
    await pass_time(60)
    assert "undeliverable" not in world.kinds()

    world.screen.is_there = True
    await world.hello()
    await until(lambda: turn in world.screen.finals)
    await pass_time(2)

    assert world.kinds()[-1] == "shown"


async def test_a_hub_that_begins_days_later_tries_before_it_gives_up(world: World) -> None:
    world.screen.is_there = False
    await world.answered_unseen(await world.accepted("Hello?"))
    await world.kill()
    world.clock.forward(3 * UNDELIVERABLE_AFTER)

    await world.reign()
    await pass_time(TRIED_FOR - 10)
    assert "undeliverable" not in world.kinds()
    await pass_time(20)

    assert world.kinds()[-1] == "undeliverable"
