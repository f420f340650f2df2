"""A conversation of another platform, gone on with at the terminal: read there, and left as it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from factory_contracts.messages import Hello, Refused, ToSpoke, Welcome
from tests.fakes import idle, until
from tests.hub.world import BOT, GENEROUS, PLATFORM, World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")

THERE, HERE = "channel", "session"


@pytest.fixture
def world(world: World) -> World:
    """Whose machine it is owns everything that is said there."""
    world.policy = replace(GENEROUS, everyone_owns=True)
    return world


async def go_on(
    world: World, of: str = f"{PLATFORM}:{BOT}:{THERE}", scope: str = HERE, until: int | None = None
) -> ToSpoke | None:
    return await world.hub.answer(Hello(platform=PLATFORM, bot_id=BOT, scope_id=scope, of=of, until=until))


async def test_the_first_question_is_answered_from_what_was_said_there_and_nothing_is_written_there(
    world: World,
) -> None:
    await world.restart()
    await world.exchange("one", "1", scope=THERE)
    before = world.stream.of(key_of(THERE))

    welcome = await go_on(world)
    turn = await world.accepted("two", scope=HERE)
    lines = (await world.begun(turn)).lines

    assert isinstance(welcome, Welcome)
    assert [(exchange.asked, exchange.answered) for exchange in welcome.history] == [("one", "1")]
    assert [line.text for line in lines] == ["one", "1", "two"]
    assert world.stream.of(key_of(THERE)) == before


async def test_where_there_is_no_room_for_what_was_said_there_that_is_told(world: World) -> None:
    await world.restart()
    await world.exchange("one", "1", scope=THERE)
    world.stream.is_full = True

    async with asyncio.timeout(1.0):
        refused = await go_on(world)

    assert isinstance(refused, Refused)
    assert "storage" in refused.text


async def test_what_runs_there_is_not_waited_for(world: World) -> None:
    await world.restart()
    await world.exchange("one", "1", scope=THERE)
    await world.accepted("still thinking", scope=THERE)

    welcome = await go_on(world)

    assert isinstance(welcome, Welcome)
    assert [exchange.asked for exchange in welcome.history] == ["one"]


async def test_asked_again_it_is_the_same_conversation(world: World) -> None:
    await world.restart()
    await world.exchange("one", "1", scope=THERE)
    await go_on(world)
    await world.restart()

    again = await go_on(world)

    assert isinstance(again, Welcome)
    assert len(world.stream.of(key_of(HERE))) == 1


@pytest.mark.parametrize("of", [f"{PLATFORM}:{BOT}:nowhere", "nobody", "a.b:c:d", f"{PLATFORM}::", "x:y:\0"])
async def test_what_is_no_conversation_is_refused_in_words(world: World, of: str) -> None:
    await world.restart()

    refused = await go_on(world, of)

    assert isinstance(refused, Refused)
    assert "There is no conversation" in refused.text
    assert not world.stream.of(key_of(HERE))


async def test_a_scope_in_which_something_was_said_is_not_overwritten(world: World) -> None:
    await world.restart()
    await world.exchange("one", "1", scope=THERE)
    await world.exchange("mine", "yours", scope=HERE)

    refused = await go_on(world)

    assert isinstance(refused, Refused)
    assert "already" in refused.text


async def test_only_whose_machine_it_is_may_read_what_is_not_theirs(world: World) -> None:
    world.policy = GENEROUS
    await world.restart()
    await world.exchange("one", "1", scope=THERE)

    refused = await go_on(world)

    assert isinstance(refused, Refused)
    assert refused.reason == "not allowed"


async def test_a_conversation_goes_on_from_where_it_once_stood(world: World) -> None:
    await world.restart()
    await world.exchange("one", "1", scope=THERE)
    await world.deliveries.flush()
    point = world.stream.of(key_of(THERE))[-1].sequence
    await world.exchange("two", "2", scope=THERE)
    await world.told("/new", scope=THERE)
    await idle()
    await world.deliveries.flush()
    before = world.stream.of(key_of(THERE))

    welcome = await go_on(world, until=point)

    assert isinstance(welcome, Welcome)
    assert [(exchange.asked, exchange.answered) for exchange in welcome.history] == [("one", "1")]
    assert world.stream.of(key_of(THERE)) == before
    elsewhere = await go_on(world, scope="another", until=before[-1].sequence)
    assert isinstance(elsewhere, Welcome)
    assert elsewhere.history == ()


async def test_what_was_forgotten_since_is_not_gone_on_with(world: World) -> None:
    await world.restart()
    await world.exchange("one", "1", scope=THERE)
    await world.deliveries.flush()
    point = world.stream.of(key_of(THERE))[-1].sequence
    # It is on the disk for as long as the erasing takes.
    world.stream.may_erase.clear()
    await world.accepted("/forget everything", scope=THERE)
    await until(lambda: "forgotten" in world.kinds(THERE))

    refused = await go_on(world, until=point)

    assert isinstance(refused, Refused)
    assert not world.stream.of(key_of(HERE))
