"""Two hubs that share: what concerns a person holds wherever they speak."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from factory_contracts.messages import Accepted, Refused
from factory_contracts.peers import Counted, Heard, PeerAsked, Spoken, Waiting
from hub.approvals import GONE, HOLD, MAY_BE_MORE, NOT_YOURS, NOTHING_WAITS, SAY_AGAIN
from hub.kernel.ports import Fenced
from tests.fakes import idle, pass_time, until
from tests.hub.hands import OWNED, decided, waiting
from tests.hub.world import BOT, PLATFORM, World

pytestmark = pytest.mark.asyncio(loop_scope="function")


class Beside:
    """The one other hub."""

    def __init__(self, other: World) -> None:
        self._other = other

    async def ask(self, partition: int, asked: PeerAsked) -> Heard | None:
        return await self._other.hub.hear(asked)

    async def everyone(self, asked: PeerAsked) -> tuple[Heard | None, ...]:
        try:
            return (await self._other.hub.hear(asked),)
        except Fenced:
            return (None,)

    def has(self, partition: int) -> bool:
        return True

    async def tell(self, asked: PeerAsked) -> None:
        await self._other.hub.hear(asked)


@pytest_asyncio.fixture(loop_scope="function")
async def hubs() -> AsyncIterator[tuple[World, World]]:
    """Two hubs with a log each, for what they share is not theirs to write."""
    here, there = (World(policy=replace(OWNED, rate_per_minute=3, turns_at_once=2)) for _ in range(2))
    here.peers, there.peers = Beside(there), Beside(here)
    for world in (here, there):
        await world.reign()
    yield here, there
    for world in (here, there):
        await world.kill()


async def test_a_question_is_listed_and_decided_from_where_another_hub_answers(hubs: tuple[World, World]) -> None:
    here, there = hubs
    scene = await waiting(there, scope="elsewhere")

    listed = await here.told("/approvals", user="olga")
    answer = await here.told(f"/approve {scene.code}", user="olga")
    again = await here.told(f"/approve {scene.code[::-1]}", user="otto")

    assert scene.code in listed.text
    assert f"/approve {scene.code}" in (listed.choices or ())
    assert answer.text == "Allowed."
    assert again.text == GONE
    assert decided(there, "elsewhere") == [("olga", True)]
    await until(lambda: scene.effects == 1)
    await scene.close()


async def test_while_a_hub_still_reads_what_is_open_nobody_is_told_that_there_is_nothing(
    hubs: tuple[World, World],
) -> None:
    here, there = hubs
    scene = await waiting(there, scope="elsewhere")
    there.pools.reading = frozenset({1})
    listing = asyncio.create_task(here.told("/approvals", user="olga"))
    deciding = asyncio.create_task(here.told(f"/approve {scene.code}", user="olga"))
    await pass_time(HOLD - 1)

    assert not listing.done() and not deciding.done()
    there.pools.reading = frozenset()

    assert scene.code in (await listing).text
    assert (await deciding).text == "Allowed."
    await until(lambda: scene.effects == 1)
    await scene.close()


@pytest.mark.parametrize("is_here", [True, False])
async def test_where_a_hub_reads_for_long_a_person_is_told_to_say_it_again(
    hubs: tuple[World, World], *, is_here: bool
) -> None:
    here, there = hubs
    (here if is_here else there).pools.reading = frozenset({1})

    listed = await here.told("/approvals", user="olga")
    decided = await here.told("/approve 0123456789abcdef", user="olga")

    assert (listed.text, decided.text) == (f"{NOTHING_WAITS}\n\n{MAY_BE_MORE}", SAY_AGAIN)


async def test_who_may_not_decide_here_may_not_decide_there(hubs: tuple[World, World]) -> None:
    here, there = hubs
    scene = await waiting(there, scope="elsewhere")

    listed = await here.told("/approvals", user="ben")
    answer = await here.told(f"/deny {scene.code}", user="ben")

    assert scene.code not in listed.text
    assert answer.text == NOT_YOURS
    assert decided(there, "elsewhere") == []
    await scene.close()


async def test_what_a_person_said_where_another_hub_answers_counts_here(hubs: tuple[World, World]) -> None:
    here, _ = hubs
    await here.hub.hear(Counted(hub="other", spoken=(Spoken(who=f"{PLATFORM}:ben", times=3, per_minute=3),)))

    refused = await here.submit(here.message("hello", user="ben"))
    heard = await here.submit(here.message("hello", user="eve"))

    assert isinstance(refused, Refused)
    assert refused.reason == "too fast"
    assert isinstance(heard, Accepted)


async def test_who_waits_where_another_hub_answers_waits_here_until_that_hub_is_gone(
    hubs: tuple[World, World],
) -> None:
    here, _ = hubs
    places = (f"{PLATFORM}:{BOT}:one", f"{PLATFORM}:{BOT}:two")
    await here.hub.hear(Counted(hub="other", waiting=(Waiting(who=f"{PLATFORM}:ben", places=places),)))

    refused = await here.submit(here.message("hello", user="ben"))
    here.ports.traffic.waits.keep(("this",))
    heard = await here.submit(here.message("hello", user="ben"))
    await idle()

    assert isinstance(refused, Refused)
    assert refused.reason == "queue full"
    assert isinstance(heard, Accepted)
