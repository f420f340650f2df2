"""Who asks whether a message would be heard: is told what a submit would be told, and nothing comes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from factory_contracts.messages import Accepted, AlreadyAccepted, Attachment, InboundMessage, Noted, Submit, ToSpoke
from hub.kernel.access import BotPolicy
from hub.kernel.guards import Pairing, digest_of
from hub.pool import QUEUE
from tests.fakes import idle
from tests.hub.world import BOT, PLATFORM, World

pytestmark = pytest.mark.asyncio(loop_scope="function")

CAT = Attachment(kind="image", name="cat.png", mime="image/png", size=3, blob="b1")
CODE = "0123456789abcdef01234567"
STRICT = BotPolicy(PLATFORM, BOT, owners=frozenset({"ann"}), blocked=frozenset({"eve"}), max_text=100)


async def ask(world: World, message: InboundMessage) -> ToSpoke | None:
    address = message.address
    return await world.hub.answer(
        Submit(
            platform=address.platform,
            bot_id=address.bot_id,
            scope_id=address.scope_id,
            message=message,
            only_asks=True,
        )
    )


async def governed(world: World, policy: BotPolicy) -> None:
    world.policy = policy
    await world.restart()


async def test_asking_leaves_nothing_anywhere_and_the_message_is_taken_afterwards(world: World) -> None:
    message = world.message("look", attachments=(CAT,))
    for _ in range(3):
        assert isinstance(await ask(world, message), Noted)
    await idle()

    assert world.stream.all() == ()
    assert world.outbox.published == []
    assert world.workers.started == []
    assert not world.pool().session.turns
    assert isinstance(await world.submit(message), Accepted)


async def test_asking_costs_nothing_of_what_a_person_may_say(world: World) -> None:
    await governed(world, replace(world.policy, rate_per_minute=2))
    for _ in range(10):
        assert isinstance(await ask(world, world.message("look")), Noted)

    assert await world.accepted("one")
    assert await world.accepted("two")


async def test_who_is_too_fast_is_told_so_before_the_files_are_fetched_and_waits_no_longer_for_asking(
    world: World,
) -> None:
    await governed(world, replace(world.policy, rate_per_minute=1))
    await world.accepted("one")

    asked = [await ask(world, world.message("two")) for _ in range(3)]
    submitted = await world.submit(world.message("two"))

    assert asked == [submitted] * 3
    world.clock.forward(60)
    assert isinstance(await ask(world, world.message("two")), Noted)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({"user": "ben"}, id="a stranger"),
        pytest.param({"user": "ben", "in_group": True}, id="a stranger in a group"),
        pytest.param({"user": "eve"}, id="who is blocked"),
        pytest.param({"text": "x" * 101}, id="too long"),
        pytest.param({"text": " "}, id="nothing"),
        pytest.param({"bot": "other"}, id="a bot that nobody set up"),
        pytest.param({"text": f"/start {CODE[::-1]}"}, id="a wrong code of an owner"),
        pytest.param({"text": f"/start {CODE[::-1]}", "user": "ben"}, id="a wrong code of a stranger"),
    ],
)
async def test_what_is_asked_is_answered_word_for_word_as_if_it_were_submitted(
    world: World, told: dict[str, str | bool]
) -> None:
    await governed(world, STRICT)
    text, user = str(told.get("text", "look")), str(told.get("user", "ann"))
    message = world.message(text, user=user, bot=str(told.get("bot", BOT)), in_group=bool(told.get("in_group")))

    asked = await ask(world, message)
    submitted = await world.submit(message)

    assert asked == submitted or (isinstance(asked, Noted) and isinstance(submitted, Accepted))


async def test_a_code_that_is_asked_about_makes_nobody_an_owner_and_stays_good(world: World) -> None:
    await governed(world, BotPolicy(PLATFORM, BOT))
    world.offers[PLATFORM, BOT] = Pairing(digest_of(CODE), world.clock() + 60)

    asked = await ask(world, world.message(f"/start {CODE}"))

    assert isinstance(asked, Noted)
    assert world.stream.acts == []
    assert (await world.refused("hello")).reason == "no owner"
    assert await world.told(f"/start {CODE}")


async def test_where_no_agent_answers_that_is_told(world: World) -> None:
    await world.kill()
    world.bindings = type(world.bindings)(world.bindings.agents, ())
    await world.reign()
    message = world.message("look")

    assert await ask(world, message) == await world.submit(message)


async def test_where_the_queue_is_full_that_is_told_and_a_stop_is_heard_all_the_same(world: World) -> None:
    world.workers.kill("w1")
    for _ in range(QUEUE):
        await world.submit(world.message("hello"))
    message = world.message("look")

    asked = await ask(world, message)

    assert asked == await world.submit(message)
    assert isinstance(await ask(world, world.message("/stop", attachments=(CAT,))), Noted)


async def test_a_message_that_is_on_the_log_is_told_so_whatever_its_sender_may_by_now(world: World) -> None:
    message = world.message("hello", id="m1", covers=("m2",))
    accepted = await world.submit(message)
    assert isinstance(accepted, Accepted)
    await governed(world, replace(world.policy, blocked=frozenset({"ann"})))

    asked = await ask(world, message)

    assert isinstance(asked, AlreadyAccepted)
    assert (asked.turn, set(asked.covers)) == (accepted.turn, {"m1", "m2"})
    assert asked == await world.known(message)


async def test_a_message_on_its_way_to_the_log_is_waited_for(world: World) -> None:
    world.stream.hold()
    message = world.message("hello")
    submitting = asyncio.create_task(world.submit(message))
    await idle()
    asking = asyncio.create_task(ask(world, message))
    await idle()
    assert not asking.done()

    world.stream.release()

    assert await asking == await submitting
    assert world.kinds().count("received") == 1
