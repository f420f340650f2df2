"""What is too much, too fast or too long, and that each of it is told in words before it is met and when it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from factory_contracts.messages import Accepted, Noted, Refused, Submit
from factory_contracts.records import Linked, TurnRefused, record_id
from factory_contracts.work import Limits
from hub.kernel.agent import Agent
from hub.kernel.budget import Budget
from hub.pool import QUEUE
from tests.fakes import idle
from tests.hub.world import BOT, GENEROUS, PLATFORM, World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def at_once(world: World, most: int) -> None:
    world.policy = replace(GENEROUS, turns_at_once=most)
    await world.restart()


async def test_who_waits_for_answers_in_many_conversations_is_refused_one_more_and_told_why(world: World) -> None:
    await at_once(world, 2)
    turns = [await world.accepted("hello", scope=scope) for scope in ("a", "b")]

    refused = await world.refused("hello", scope="c")
    more_here = await world.accepted("and this", scope="a")
    another = await world.accepted("hello", scope="c", user="ben")
    await world.answered(turns[1])

    assert refused.reason == "queue full"
    assert "2 other conversations" in refused.text and "/stop" in refused.text
    assert more_here and another
    assert await world.accepted("hello", scope="d")


async def test_of_many_that_come_at_once_none_passes_by_the_others(world: World) -> None:
    await at_once(world, 2)
    world.stream.hold()
    asking = [asyncio.create_task(world.submit(world.message("hello", scope=f"s{number}"))) for number in range(5)]
    await idle()

    world.stream.release()
    answers = await asyncio.gather(*asking)

    assert [type(answer) for answer in answers].count(Accepted) == 2


async def test_what_could_not_be_stored_is_not_waited_for(world: World) -> None:
    await at_once(world, 1)
    world.stream.is_full = True
    await world.refused("hello", scope="a")

    world.stream.is_full = False

    assert await world.accepted("hello", scope="b")


async def test_where_another_hub_answers_nobody_waits_here_though_a_message_was_on_its_way(world: World) -> None:
    await at_once(world, 1)
    world.stream.hold()
    asking = asyncio.create_task(world.submit(world.message("hello", scope="a")))
    await idle()

    world.pools.lose(key_of("a").partition)
    world.stream.release()
    await asking

    assert await world.accepted("hello", scope="b")


async def test_where_another_hub_answers_nobody_waits_here_though_an_answer_was_on_its_way(world: World) -> None:
    await at_once(world, 1)
    first = await world.accepted("hello", scope="a")
    await world.accepted("and?", scope="a")
    pool = world.pool("a")
    world.stream.hold()
    refusal = TurnRefused(id=record_id(first, "refused"), turn=first, at=0.0, reason="budget", text="No money.")
    recording = asyncio.create_task(pool.record(refusal))
    await idle()

    # What is stored already is known here before it is known that the conversation is another hub's.
    world.pools.lose(key_of("a").partition)
    world.stream.release()
    await recording

    assert await world.accepted("hello", scope="b")


async def test_the_next_hub_knows_where_somebody_waits(world: World) -> None:
    await at_once(world, 1)
    turn = await world.accepted("hello", scope="a")
    await world.restart()

    refused = await world.refused("hello", scope="b")
    await world.answered(turn)

    assert refused.reason == "queue full"
    assert await world.accepted("hello", scope="b")


async def test_one_person_waits_with_all_their_accounts(world: World) -> None:
    await at_once(world, 1)
    act = Linked(id="l", at=0.0, by="paper:ben", one="paper:ann", other="paper:ben", code="0" * 64)
    assert await world.people.do(act) == ""
    await world.accepted("hello", scope="a", user="ann")

    assert (await world.refused("hello", scope="b", user="ben")).reason == "queue full"


async def test_a_stop_is_heard_however_much_somebody_waits_for(world: World) -> None:
    world.policy = replace(GENEROUS, turns_at_once=1, rate_per_minute=1)
    await world.restart()
    await world.accepted("hello", scope="a")

    assert (await world.told("/stop", scope="b")).text


async def test_a_spoke_that_asks_first_is_told_of_every_limit_and_counts_none(world: World) -> None:
    world.policy = replace(GENEROUS, rate_per_scope_minute=2)
    await world.restart()
    await world.accepted("hello")
    message = world.message("hello")
    asked = Submit(platform=PLATFORM, bot_id=BOT, scope_id=message.address.scope_id, message=message, only_asks=True)

    before = [await world.hub.answer(asked) for _ in range(5)]
    await world.accepted("hello")
    after = await world.hub.answer(asked)

    assert all(isinstance(answer, Noted) for answer in before)
    assert isinstance(after, Refused)
    assert "2 messages a minute in one conversation" in after.text


async def test_limits_tells_all_that_holds_here_and_what_is_left_of_it(world: World) -> None:
    limits = Limits(max_calls=3, max_seconds=45, max_tokens=512, stall_seconds=9)
    world.budgets = (Budget("daily", Decimal(5)),)
    world.policy = replace(GENEROUS, rate_per_minute=20, rate_per_scope_minute=60, turns_at_once=8, max_text=2_000)
    await world.serve(Agent("fern", "scripted", limits=limits))
    await world.accepted("hello", scope="elsewhere")
    await world.accepted("hello")

    final = await world.told("/limits", scope="third")

    lines = final.text.splitlines()[1:]
    for expected in (
        "20 messages a minute from one person, 17 left",
        "60 messages a minute in one conversation, 59 left",
        "2,000 characters",
        f"{QUEUE} messages that wait in one conversation, {QUEUE} left",
        "answers in 8 conversations at once for one person, you wait in 2 others",
        "Budget “daily”",
        "at most 3 model calls, of at most 512 tokens each, in 45 s",
        "9 s",
    ):
        assert [line for line in lines if expected in line], expected
