"""Words by which leave is listed and given from anywhere, by who may give it there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest
import pytest_asyncio

from factory_contracts.messages import Accepted, Final, Noted, Refused
from factory_contracts.records import Linked
from factory_contracts.work import NotRecorded, Recorded
from hub.approvals import DECIDED, DENIED, GONE, MOST_LISTED, MOST_OFFERED, NOT_YOURS, NOTHING_WAITS, TOO_OLD
from hub.kernel.routing import Binding, Bindings
from hub.pool import QUEUE
from tests.fakes import pass_time, until
from tests.hub.hands import OWNED, asked, decided, press, waiting
from tests.hub.world import ALICE, World

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(loop_scope="function")
async def world() -> AsyncIterator[World]:
    """A hub that reigns over a bot of Olga's and Otto's, to which everybody may speak."""
    world = World(policy=OWNED)
    await world.reign()
    yield world
    await world.kill()


async def said(
    world: World, text: str, *, user: str = "olga", scope: str = "desk", in_group: bool = False, id: str | None = None
) -> Final:
    """What the hub itself answers, at once and whatever else waits there."""
    answer = await world.submit(world.message(text, scope=scope, user=user, in_group=in_group, id=id))
    assert isinstance(answer, Accepted), answer
    await until(lambda: bool(world.finals(answer.turn)))
    assert world.workers.runs_of(answer.turn) == 0
    return world.finals(answer.turn)[-1]


async def test_an_owner_is_told_what_waits_wherever_it_is_asked_with_a_choice_for_each_answer(world: World) -> None:
    one = await waiting(world, scope="chat")
    await pass_time(1)
    two = await waiting(world, scope="other")

    final = await said(world, "/approvals")

    assert [asked(world, scope)[0].text in final.text for scope in ("chat", "other")] == [True, True]
    assert final.text.index("`paper:desk:chat`") < final.text.index("`paper:desk:other`")
    assert final.choices == tuple(f"{word} {code}" for code in (one.code, two.code) for word in ("/approve", "/deny"))
    assert final.asker == "olga"
    await one.close()
    await two.close()


async def test_who_may_decide_nothing_is_told_of_nothing(world: World) -> None:
    scene = await waiting(world)

    final = await said(world, "/approvals", user="ann", scope="chat")

    assert (final.text, final.choices) == (NOTHING_WAITS, None)
    await scene.close()


async def test_a_group_is_told_of_no_question_but_its_own(world: World) -> None:
    private = await waiting(world, scope="chat")
    own = await waiting(world, scope="group")

    final = await said(world, "/approvals", scope="group", in_group=True)

    assert own.code in final.text
    assert private.code not in final.text
    await private.close()
    await own.close()


async def test_of_many_questions_the_oldest_are_told_and_the_others_counted(world: World) -> None:
    scenes = [await waiting(world, scope=f"s{number}") for number in range(MOST_LISTED + 3)]

    final = await said(world, "/approvals")

    assert sum(scene.code in final.text for scene in scenes) == MOST_LISTED
    assert final.text.endswith("3 more wait behind these.")
    assert len(final.choices or ()) == 2 * MOST_OFFERED
    for scene in scenes:
        await scene.close()


@pytest.mark.parametrize(
    ("word", "reply", "effects"), [("/approve", Recorded(), 1), ("/deny", NotRecorded(words=DENIED), 0)]
)
async def test_a_question_is_decided_by_its_code_from_another_chat(
    world: World, word: str, reply: Recorded | NotRecorded, effects: int
) -> None:
    scene = await waiting(world)

    final = await said(world, f"{word} {scene.code}")

    assert await scene.using == reply
    assert (scene.effects, decided(world)) == (effects, [("olga", word == "/approve")])
    assert final.text == ("Allowed." if effects else "Not allowed, and not done.")
    assert (await said(world, "/approvals")).text == NOTHING_WAITS


async def test_a_question_is_decided_in_its_own_chat_though_its_turn_stands_before_all_that_is_said(
    world: World,
) -> None:
    scene = await waiting(world)
    for _ in range(QUEUE):
        await world.submit(world.message("and?"))
    assert isinstance(await world.submit(world.message("and?")), Refused)

    await said(world, f"/approve {scene.code}", scope="chat")

    assert await scene.using == Recorded()


async def test_a_stranger_who_learns_a_code_decides_nothing(world: World) -> None:
    scene = await waiting(world)

    final = await said(world, f"/approve {scene.code}", user="ann", scope="chat")

    assert (final.text, decided(world)) == (NOT_YOURS, [])
    await scene.close()


@pytest.mark.parametrize(
    "text",
    [
        "/approve",
        "/approve all",
        "/approve {code} please",
        "/approve {code} {code}",
        "/approve {code}0",
        "/approve {upper}",
        "/deny",
        "/deny all",
        "/approvals {code}",
    ],
)
async def test_what_is_not_exactly_one_code_decides_nothing_and_reaches_no_model(world: World, text: str) -> None:
    scene = await waiting(world)

    await said(world, text.format(code=scene.code, upper=scene.code.upper() + " "))

    assert (decided(world), scene.using.done()) == ([], False)
    await scene.close()


async def test_a_code_that_nobody_knows_any_more_decides_nothing(world: World) -> None:
    scene = await waiting(world)
    await said(world, f"/deny {scene.code}")
    again = await said(world, f"/deny {scene.code}")
    changed = await said(world, f"/approve {scene.code}")
    other = await said(world, f"/deny {scene.code}", user="otto")
    await world.answered(scene.turn)
    await world.deliveries.flush()

    assert (again.text, changed.text, other.text) == ("Not allowed, and not done.", DECIDED, DECIDED)
    assert (await said(world, f"/deny {scene.code}")).text == GONE
    assert (await said(world, "/approve 0123456789abcdef")).text == GONE
    assert decided(world) == [("olga", False)]


async def test_what_is_too_old_is_neither_told_nor_decided(world: World) -> None:
    scene = await waiting(world, seconds=600)
    await scene.close()
    world.clock.forward(601)

    assert (await said(world, "/approvals")).text == NOTHING_WAITS
    assert (await said(world, f"/approve {scene.code}")).text == TOO_OLD
    assert decided(world) == [(None, False)]


async def test_a_new_hub_tells_what_waited_under_the_old_one(world: World) -> None:
    scene = await waiting(world)
    await world.restart()

    final = await said(world, "/approvals")
    await said(world, f"/approve {scene.code}")

    assert scene.code in final.text
    await scene.using
    assert scene.effects == 1


async def test_a_word_that_comes_again_decides_once_wherever_its_hub_died(world: World) -> None:
    for steps in range(18):
        scope = f"s{steps}"
        scene = await waiting(world, scope=scope)
        message = world.message(f"/approve {scene.code}", user="olga", scope="desk", id=f"at {steps}")
        asking = asyncio.create_task(world.submit(message))
        # One more step of the event loop each time: so the kill falls on every point until the answer is given.
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await world.restart()
        await world.submit(message)
        await scene.using

        assert (scene.effects, decided(world, scope)) == (1, [("olga", True)])
        turn = world.turn(f"at {steps}", "desk")
        await until(partial(world.screen.finals.__contains__, turn))
        assert world.finals(turn)[-1].text == "Allowed."


async def test_a_guess_costs_what_every_message_costs(world: World) -> None:
    world.policy = replace(OWNED, rate_per_minute=3)
    await world.restart()

    answers = [await world.submit(world.message(f"/approve {n:016x}", user="eve")) for n in range(5)]

    assert [isinstance(answer, Refused) and answer.reason for answer in answers[3:]] == ["too fast"] * 2


async def test_neither_a_question_nor_its_answer_is_ever_shown_to_a_model(world: World) -> None:
    scene = await waiting(world)
    await said(world, "/approvals", scope="chat")
    await said(world, f"/approve {scene.code}", scope="chat")
    await scene.using
    await world.answered(scene.turn)
    await world.deliveries.flush()
    turn = await world.accepted("next")
    lines = (await world.begun(turn)).lines

    assert scene.code not in " ".join(line.text for line in lines)
    assert [line.text for line in lines] == ["send it", "Fine.", "next"]


@pytest.mark.parametrize(
    ("user", "is_linked", "says"), [("ned", False, NOT_YOURS), ("ned", True, "Allowed."), ("ivy", False, "Allowed.")]
)
async def test_an_owner_decides_from_the_account_that_is_linked_and_from_the_terminal(
    world: World, user: str, is_linked: bool, says: str
) -> None:
    stone = replace(OWNED, platform="stone", bot_id="mill", owners=frozenset())
    terminal = replace(OWNED, platform="cli", bot_id="main", owners=frozenset(), everyone_owns=True)
    world.others = (stone, terminal)
    world.bindings = Bindings({"alice": ALICE}, (Binding("alice"),))
    await world.restart()
    if is_linked:
        act = Linked(id="l", at=0.0, by="stone:ned", one="paper:olga", other="stone:ned", code="0" * 64)
        assert await world.people.do(act) == ""
    scene = await waiting(world)

    platform, bot = ("cli", "main") if user == "ivy" else ("stone", "mill")
    final = await world.told(f"/approve {scene.code}", user=user, platform=platform, bot=bot)

    assert final.text == says
    await scene.close()


async def test_who_is_no_owner_any_more_decides_nothing(world: World) -> None:
    await world.let_in("ben", "owner")
    scene = await waiting(world)
    await said(world, "/revoke ben")

    refused = await press(world, scene.turn, scene.code, "ben")
    allowed = await press(world, scene.turn, scene.code, "olga")

    assert (type(refused), type(allowed)) == (Refused, Noted)
    await scene.close()
