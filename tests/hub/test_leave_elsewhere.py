"""Leave that is given on another platform: by an owner whose accounts are one person, and by nobody else."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from factory_contracts.messages import Final
from factory_contracts.work import Recorded
from hub.approvals import NOT_YOURS, NOTHING_WAITS
from hub.kernel.routing import Binding, Bindings
from tests.hub.hands import OWNED, decided, waiting
from tests.hub.world import ALICE, World

pytestmark = pytest.mark.asyncio(loop_scope="function")

MILL = replace(OWNED, platform="stone", bot_id="mill", access="public", owners=frozenset())


@pytest.fixture
def world(world: World) -> World:
    """A bot of Olga's, and one for everybody on another platform."""
    world.policy, world.others = OWNED, (MILL,)
    world.bindings = Bindings({"alice": ALICE}, (Binding("alice"),))
    return world


async def at_the_mill(world: World, text: str, user: str = "max") -> Final:
    return await world.told(text, user=user, platform="stone", bot="mill")


def code_in(final: Final) -> str:
    code: str = max(re.findall("[0-9a-f]{24}", final.text))
    return code


async def link(world: World, owner: str, other: str) -> None:
    first = code_in(await world.told("/link", user=owner, scope=f"private-{owner}"))
    second = code_in(await at_the_mill(world, f"/link {first}", other))
    await at_the_mill(world, f"/link {second}", other)


async def test_an_owner_allows_from_another_platform_once_both_accounts_are_one_person(world: World) -> None:
    await world.restart()
    scene = await waiting(world)
    before = await at_the_mill(world, "/approvals")
    await link(world, "olga", "max")

    listed = await at_the_mill(world, "/approvals")
    answer = await at_the_mill(world, f"/approve {scene.code}")

    assert before.text == NOTHING_WAITS
    assert scene.code in listed.text and f"/approve {scene.code}" in (listed.choices or ())
    assert answer.text == "Allowed."
    assert await scene.using == Recorded()
    assert (scene.effects, decided(world)) == (1, [("max", True)])


async def test_whoever_is_linked_with_no_owner_allows_nothing_from_anywhere(world: World) -> None:
    await world.restart()
    scene = await waiting(world)
    await link(world, "ann", "max")

    told = await at_the_mill(world, f"/approve {scene.code}")

    assert told.text == NOT_YOURS
    assert (scene.effects, decided(world)) == (0, [])
    await scene.close()


async def test_who_parted_from_an_owner_allows_nothing_any_more(world: World) -> None:
    await world.restart()
    scene = await waiting(world)
    await link(world, "olga", "max")
    await at_the_mill(world, "/unlink")

    told = await at_the_mill(world, f"/approve {scene.code}")

    assert told.text == NOT_YOURS
    assert decided(world) == []
    await scene.close()
