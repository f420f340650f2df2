"""The past of a hub's conversations, read from the log later: it is what was live then."""

from __future__ import annotations

import asyncio
import random

import pytest

from factory_cli.replay import Past, state
from hub.kernel.session import Session
from tests.hub.world import World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")


def replayed(world: World, scope: str, until: int) -> Session:
    """The conversation as the log tells of it, up to there."""
    records = [(one.sequence, one.record) for one in world.stream.of(key_of(scope))]
    return Past(key_of(scope), tuple(one for one in records if one[0] <= until), records[-1][0]).session


def unreceipted(session: Session) -> dict[str, object]:
    """All that is known but for receipts, which stand on the log up to half a second after they came."""
    told = state(session)
    waiting = {turn for turn, one in session.turns.items() if not one.is_answered}
    turns = told["turns"]
    assert isinstance(turns, dict)
    return {**told, "turns": {name: turn for name, turn in turns.items() if name in waiting}}


async def test_what_was_live_at_any_instant_under_traffic_is_replayed_from_the_log(world: World) -> None:
    dice = random.Random(24)
    await world.restart()
    noted: dict[tuple[str, int], dict[str, object]] = {}

    def note() -> None:
        for pool in world.pools:
            noted[pool.key.scope_id, pool.session.sequence] = unreceipted(pool.session)

    async def talk(scope: str) -> None:
        for number in range(8):
            note()
            word = dice.choice(("hello", "hello", "hello", "/new", "/undo", "/agent bob"))
            if word.startswith("/"):
                await world.told(word, scope=scope)
            else:
                turn = await world.accepted(f"{word} {number}", scope=scope)
                note()
                await world.answered(turn, f"answer {number}")
            note()

    await asyncio.gather(*(talk(f"scope{number}") for number in range(4)))

    assert len(noted) > 60
    for (scope, sequence), was in noted.items():
        assert unreceipted(replayed(world, scope, sequence)) == was


async def test_once_the_receipts_are_written_the_whole_log_is_all_that_is_live(world: World) -> None:
    await world.restart()
    for text in ("one", "/agent bob", "two", "/undo", "three", "/new", "four"):
        if text.startswith("/"):
            await world.told(text)
        else:
            await world.exchange(text)
    await world.accepted("five")
    await world.deliveries.flush()

    live = world.pool().session

    assert live.waiting == 1
    last = world.stream.of(key_of())[-1].sequence
    assert {**state(replayed(world, "chat", last)), "sequence": 0} == {**state(live), "sequence": 0}
