"""Leave for single calls: asked once, given once by who may, and good for one effect at most, whoever dies when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio

from factory_contracts.messages import Accepted, Noted, Refused, StopPressed
from factory_contracts.records import Asked, Record
from factory_contracts.work import NotRecorded, Recorded
from hub.approvals import (
    BEGUN_BEFORE,
    DECIDED,
    DENIED,
    GONE,
    HOLD,
    MOST_OPEN,
    NOT_ALLOWED,
    NOT_IN_TIME,
    NOT_YOURS,
    OTHER_ARGUMENTS,
    RUN_OUT,
    TOO_MANY,
    TOO_OLD,
    UNREADABLE,
)
from hub.kernel.ports import Fenced
from hub.kernel.routing import RoutingKey
from tests.fakes import idle, pass_time, until
from tests.hub.hands import CALL, OWNED, Hands, asked, begins, decided, press, pressed, seen, shown, waiting, wanted
from tests.hub.world import BOT, PLATFORM, World

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(loop_scope="function")
async def world() -> AsyncIterator[World]:
    """A hub that reigns over a bot of Olga's and Otto's, to which everybody may speak."""
    world = World(policy=OWNED)
    await world.reign()
    yield world
    await world.kill()


def refusal(words: str) -> Refused:
    return Refused(reason="not allowed", text=words)


# Asking


async def test_a_question_is_on_the_log_before_it_is_shown_and_says_what_is_really_to_be_done(world: World) -> None:
    turn = await world.accepted("send it")
    await world.begun(turn)
    world.stream.hold_answers()
    using = asyncio.create_task(Hands(world).use(turn))
    await until(lambda: "asked" in world.kinds())
    await idle()
    was_shown = seen(world, turn)
    world.stream.release()
    code = await shown(world, turn)

    (record,) = asked(world)
    question = world.updates(turn)[-1].question
    using.cancel()
    assert was_shown is None
    assert question is not None
    assert (question.code, question.text, question.expires_at) == (code, record.text, record.expires_at)
    assert 'to: "all"' in record.text
    assert "`send`" in record.text
    assert "it reaches outside" in record.text
    assert record.user_id == "ann"
    assert record.expires_at == pytest.approx(world.clock() + 3_600, abs=1)


async def test_a_call_that_is_asked_for_again_and_again_is_one_question(world: World) -> None:
    turn = await world.accepted("send it")
    asking = [asyncio.create_task(Hands(world).ask(turn)) for _ in range(5)]
    code = await shown(world, turn)
    await pass_time(10 * HOLD)

    assert len(asked(world)) == 1
    await press(world, turn, code)
    assert await asyncio.gather(*asking) == [Recorded()] * 5


async def test_a_worker_that_asks_is_held_and_told_nothing_until_it_asks_again(world: World) -> None:
    turn = await world.accepted("send it")
    assignment = await world.begun(turn)
    began = world.clock()

    assert await world.hub.record("w1", wanted(assignment)) is None
    assert world.clock() - began == pytest.approx(HOLD)


async def test_every_update_of_the_turn_carries_the_question_until_it_is_decided(world: World) -> None:
    scene = await waiting(world)
    world.workers.say(scene.turn, "meanwhile")
    await idle()
    during = world.updates(scene.turn)[-1]
    await press(world, scene.turn, scene.code)
    await scene.using
    await idle()
    after = world.updates(scene.turn)[-1]

    assert (during.text, during.question and during.question.code) == ("meanwhile", scene.code)
    assert (after.base, after.text, after.question) == (0, "meanwhile", None)


async def test_a_screen_that_comes_anew_is_shown_the_question(world: World) -> None:
    scene = await waiting(world)
    world.outbox.published.clear()

    await world.hello()

    assert seen(world, scene.turn) == scene.code
    await scene.close()


async def test_of_two_questions_the_oldest_stands_and_then_the_other(world: World) -> None:
    turn = await world.accepted("send it")
    assignment = await world.begun(turn)
    asking = []
    for call in ("c1", "c2"):
        asking.append(asyncio.create_task(world.hub.record("w1", wanted(assignment, call=call))))
        await until(lambda: len(asked(world)) == len(asking))
    first, second = (one.code for one in asked(world))

    assert seen(world, turn) == first
    await press(world, turn, first)
    assert seen(world, turn) == second
    await press(world, turn, second, approved=False)
    assert seen(world, turn) is None
    assert await asyncio.gather(*asking) == [Recorded(), NotRecorded(words=DENIED)]


async def test_a_turn_can_ask_so_much_at_once_and_no_more(world: World) -> None:
    turn = await world.accepted("send it")
    assignment = await world.begun(turn)
    replies = []
    for number in range(MOST_OPEN + 1):
        replies.append(asyncio.create_task(world.hub.record("w1", wanted(assignment, call=f"c{number}"))))
        await idle()

    assert await replies[-1] == NotRecorded(words=TOO_MANY)
    assert len(asked(world)) == MOST_OPEN
    await asyncio.gather(*replies)


@pytest.mark.parametrize("arguments", ["", "[]", "{", '{"to": "all"}', '{"to":1,"to":2}'])
async def test_what_cannot_be_shown_for_what_it_is_is_not_asked_and_not_done(world: World, arguments: str) -> None:
    turn = await world.accepted("send it")
    assignment = await world.begun(turn)

    assert await world.hub.record("w1", wanted(assignment, arguments=arguments)) == NotRecorded(words=UNREADABLE)
    assert asked(world) == []


# Deciding


async def test_what_is_allowed_is_done_at_once_and_once(world: World) -> None:
    scene = await waiting(world)
    began = world.clock()

    answer = await press(world, scene.turn, scene.code)
    await scene.using

    assert isinstance(answer, Noted)
    assert (scene.effects, decided(world)) == (1, [("olga", True)])
    assert world.clock() == began
    kinds = [kind for kind in world.kinds() if kind in ("asked", "decided", "tool started", "tool done")]
    assert kinds == ["asked", "decided", "tool started", "tool done"]


async def test_what_is_denied_is_not_done_and_the_turn_goes_on(world: World) -> None:
    scene = await waiting(world)

    answer = await press(world, scene.turn, scene.code, approved=False)

    assert isinstance(answer, Noted)
    assert await scene.using == NotRecorded(words=DENIED)
    assert (scene.effects, decided(world)) == (0, [("olga", False)])
    await world.answered(scene.turn, "Then not.")


async def test_a_decision_takes_effect_only_once_it_is_on_the_log(world: World) -> None:
    scene = await waiting(world)
    world.stream.hold_answers()
    pressing = asyncio.create_task(press(world, scene.turn, scene.code))
    await until(lambda: bool(decided(world)))
    await idle()

    assert (pressing.done(), scene.using.done(), scene.effects) == (False, False, 0)
    world.stream.release()
    assert isinstance(await pressing, Noted)
    await scene.using
    assert scene.effects == 1


@pytest.mark.parametrize("user", ["ann", "ben", "Olga", "olga "])
async def test_a_stranger_decides_nothing_not_even_who_asked_for_it(world: World, user: str) -> None:
    scene = await waiting(world, user="ann")

    for approved in (True, False):
        assert await press(world, scene.turn, scene.code, user, approved=approved) == refusal(NOT_YOURS)

    assert (decided(world), seen(world, scene.turn), scene.using.done()) == ([], scene.code, False)
    await scene.close()


async def test_an_owner_who_is_blocked_decides_nothing(world: World) -> None:
    world.policy = replace(OWNED, blocked=frozenset({"olga"}))
    await world.restart()
    scene = await waiting(world)

    assert await press(world, scene.turn, scene.code) == refusal(NOT_YOURS)
    await scene.close()


async def test_where_everyone_is_an_owner_everyone_may_decide(world: World) -> None:
    world.policy = replace(OWNED, everyone_owns=True, owners=frozenset())
    await world.restart()
    scene = await waiting(world)

    assert isinstance(await press(world, scene.turn, scene.code, "ann"), Noted)
    await scene.using


async def test_who_presses_twice_is_told_the_same_and_it_is_done_once(world: World) -> None:
    scene = await waiting(world)

    at_once = await asyncio.gather(*(press(world, scene.turn, scene.code) for _ in range(5)))
    await scene.using
    later = await press(world, scene.turn, scene.code)

    assert all(isinstance(answer, Noted) for answer in (*at_once, later))
    assert (scene.effects, decided(world)) == (1, [("olga", True)])


async def test_of_two_who_answer_at_once_the_first_counts_and_the_other_is_told(world: World) -> None:
    scene = await waiting(world)

    answers = await asyncio.gather(
        press(world, scene.turn, scene.code, "otto", approved=False), press(world, scene.turn, scene.code, "olga")
    )

    assert (isinstance(answers[0], Noted), answers[1]) == (True, refusal(DECIDED))
    assert await scene.using == NotRecorded(words=DENIED)
    assert (scene.effects, decided(world)) == (0, [("otto", False)])


async def test_nobody_changes_their_mind(world: World) -> None:
    scene = await waiting(world)
    await press(world, scene.turn, scene.code, approved=False)

    assert await press(world, scene.turn, scene.code, approved=True) == refusal(DECIDED)
    assert await press(world, scene.turn, scene.code, "otto", approved=False) == refusal(DECIDED)
    assert decided(world) == [("olga", False)]


async def test_a_question_is_decided_in_its_own_chat_alone(world: World) -> None:
    scene = await waiting(world, scope="chat")
    other = await waiting(world, scope="other")

    in_another_chat = await press(world, scene.turn, scene.code, scope="other")
    of_another_turn = await press(world, other.turn, scene.code, scope="other")
    with_another_code = await press(world, scene.turn, other.code)
    nowhere = await press(world, scene.turn, scene.code, scope="nowhere")

    assert [in_another_chat, of_another_turn, with_another_code, nowhere] == [refusal(GONE)] * 4
    assert decided(world) == decided(world, "other") == []
    await scene.close()
    await other.close()


async def test_a_code_that_somebody_made_up_decides_nothing(world: World) -> None:
    scene = await waiting(world)
    dice = random.Random(1)

    for _ in range(50):
        assert await press(world, scene.turn, f"{dice.randrange(2**64):016x}") == refusal(GONE)

    assert decided(world) == []
    await scene.close()


async def test_codes_are_not_to_be_guessed_from_one_another(world: World) -> None:
    codes = set()
    for number in range(20):
        scene = await waiting(world, scope=f"s{number}")
        codes.add(scene.code)
        await scene.close()

    assert len(codes) == 20
    assert all(len(code) == 16 for code in codes)


@pytest.mark.parametrize("text", ["yes", "ok", "Yes, do it!", "approve", "approve all", "/approve all", "allow", "y"])
async def test_nothing_that_somebody_says_is_ever_taken_for_leave(world: World, text: str) -> None:
    scene = await waiting(world)

    await world.submit(world.message(text, user="olga"))
    await idle()

    assert (decided(world), seen(world, scene.turn), scene.using.done()) == ([], scene.code, False)
    await scene.close()


# Time


async def test_a_question_that_nobody_answers_is_denied_when_its_time_is_over(world: World) -> None:
    scene = await waiting(world, seconds=600)
    began = world.clock()

    reply = await asyncio.wait_for(scene.using, 10_000)

    assert reply == NotRecorded(words=NOT_IN_TIME)
    assert world.clock() - began == pytest.approx(600, abs=1)
    assert (scene.effects, decided(world), seen(world, scene.turn)) == (0, [(None, False)], None)


async def test_a_press_after_its_time_is_too_late_though_nobody_asks_any_more(world: World) -> None:
    scene = await waiting(world, seconds=600)
    await scene.close()
    world.clock.forward(600)

    answers = [await press(world, scene.turn, scene.code) for _ in range(3)]
    reply = await scene.hands.ask(scene.turn)

    assert answers == [refusal(TOO_OLD)] * 3
    assert reply == NotRecorded(words=NOT_IN_TIME)
    assert decided(world) == [(None, False)]


async def test_a_press_in_the_last_moment_is_in_time_and_its_call_may_begin(world: World) -> None:
    scene = await waiting(world, seconds=600)
    await scene.close()
    world.clock.forward(599)
    await press(world, scene.turn, scene.code)
    world.clock.forward(5)

    assert await scene.hands.use(scene.turn) == Recorded()
    assert scene.effects == 1


async def test_what_was_allowed_long_ago_is_not_done_any_more(world: World) -> None:
    scene = await waiting(world, seconds=600)
    await scene.close()
    await press(world, scene.turn, scene.code)
    world.clock.forward(601)

    assert await scene.hands.use(scene.turn) == NotRecorded(words=RUN_OUT)
    assignment = await world.begun(scene.turn)
    assert await world.hub.record("w1", begins(assignment)) == NotRecorded(words=NOT_ALLOWED)
    assert "tool started" not in world.kinds()


# The call itself


async def test_leave_is_for_these_arguments_and_no_others(world: World) -> None:
    scene = await waiting(world)
    assignment = await world.begun(scene.turn)
    more = '{"to":"all","with":"everything"}'
    before = await world.hub.record("w1", wanted(assignment, arguments=more))
    await press(world, scene.turn, scene.code)

    after = await world.hub.record("w1", wanted(assignment, arguments=more))
    begun = await world.hub.record("w1", begins(assignment, arguments=more))
    of_another_tool = await world.hub.record("w1", begins(assignment, tool="burn"))

    assert [before, after, begun, of_another_tool] == [NotRecorded(words=OTHER_ARGUMENTS)] * 4
    await scene.using
    assert scene.effects == 1


async def test_a_call_that_is_asked_about_does_not_begin_before_it_is_allowed_nor_when_it_is_denied(
    world: World,
) -> None:
    scene = await waiting(world)
    assignment = await world.begun(scene.turn)

    early = await world.hub.record("w1", begins(assignment))
    await press(world, scene.turn, scene.code, approved=False)
    late = await world.hub.record("w1", begins(assignment))

    assert early == late == NotRecorded(words=NOT_ALLOWED)
    assert "tool started" not in world.kinds()


async def test_leave_is_good_for_one_call(world: World) -> None:
    scene = await waiting(world)
    await press(world, scene.turn, scene.code)
    await scene.using

    assert await scene.hands.ask(scene.turn) == NotRecorded(words=BEGUN_BEFORE)
    assignment = await world.begun(scene.turn)
    asking = asyncio.create_task(world.hub.record("w1", wanted(assignment, call="c1-2")))
    await until(lambda: len(asked(world)) == 2)
    assert not asking.done()
    assert seen(world, scene.turn) not in (None, scene.code)
    await asking


async def test_a_start_whose_answer_was_lost_is_granted_again_to_the_same_attempt(world: World) -> None:
    scene = await waiting(world)
    await press(world, scene.turn, scene.code)
    await scene.using
    assignment = await world.begun(scene.turn)

    assert await world.hub.record("w1", begins(assignment)) == Recorded()


# The end of the turn


@pytest.mark.parametrize("way", ["word", "button"])
async def test_a_stop_ends_the_question_with_the_turn(world: World, way: str) -> None:
    scene = await waiting(world)
    began = world.clock()

    if way == "word":
        await world.told("/stop", user="ann")
    else:
        await world.hub.answer(
            StopPressed(platform=PLATFORM, bot_id=BOT, scope_id="chat", turn=scene.turn, user_id="ann")
        )
    reply = await scene.using
    await until(lambda: scene.turn in world.screen.finals)

    assert reply == NotRecorded()
    assert world.clock() == began
    assert await press(world, scene.turn, scene.code) == refusal(GONE)
    assert (scene.effects, decided(world)) == (0, [])


async def test_a_decision_that_comes_again_after_the_turn_changes_nothing(world: World) -> None:
    scene = await waiting(world)
    await press(world, scene.turn, scene.code)
    await scene.using
    await world.answered(scene.turn)
    await world.deliveries.flush()
    before = world.kinds()

    assert await press(world, scene.turn, scene.code) == refusal(GONE)
    await world.restart()
    assert await press(world, scene.turn, scene.code) == refusal(GONE)
    assert (world.kinds(), scene.effects) == (before, 1)


async def test_while_a_turn_waits_for_leave_the_next_ones_wait_in_their_order(world: World) -> None:
    scene = await waiting(world)
    following = await world.accepted("and then?")
    await pass_time(100)

    assert world.workers.runs_of(following) == 0
    await press(world, scene.turn, scene.code)
    await scene.using
    await world.answered(scene.turn)
    await world.answered(following)


# Deaths


async def test_a_new_hub_shows_the_same_question_and_takes_the_answer_to_it(world: World) -> None:
    scene = await waiting(world)
    world.workers.say(scene.turn, "In a moment.")
    await idle()
    world.outbox.published.clear()
    await world.restart()
    again = await shown(world, scene.turn)

    answer = await press(world, scene.turn, scene.code)
    await asyncio.wait_for(scene.using, 100)

    assert again == scene.code
    assert isinstance(answer, Noted)
    assert (scene.effects, len(asked(world)), decided(world)) == (1, 1, [("olga", True)])


async def test_a_decision_under_one_hub_holds_under_the_next(world: World) -> None:
    scene = await waiting(world)
    await scene.close()
    await press(world, scene.turn, scene.code)
    await world.restart()

    again = await press(world, scene.turn, scene.code)
    changed = await press(world, scene.turn, scene.code, "otto", approved=False)
    await scene.hands.use(scene.turn)

    assert (isinstance(again, Noted), changed) == (True, refusal(DECIDED))
    assert (scene.effects, decided(world)) == (1, [("olga", True)])


async def test_the_next_attempt_asks_the_same_question_and_it_stands_as_long_as_before(world: World) -> None:
    scene = await waiting(world)
    await scene.close()
    expires_at = asked(world)[0].expires_at
    world.workers.join("w2")
    world.workers.kill("w1")
    await world.begun(scene.turn, times=2)
    world.workers.say(scene.turn, "Anew.")
    await until(lambda: seen(world, scene.turn) is None)
    using = asyncio.create_task(scene.hands.use(scene.turn, times=2))

    assert await shown(world, scene.turn) == scene.code
    await world.restart()
    assert await shown(world, scene.turn) == scene.code
    assert {(one.code, one.expires_at) for one in asked(world)} == {(scene.code, expires_at)}
    await press(world, scene.turn, scene.code)
    await using
    assert scene.effects == 1


async def test_a_question_whose_storing_is_not_known_yet_is_no_other_one_for_the_next_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, is_known = world.stream.store, asyncio.Event()

    async def unheard(epoch: int, key: RoutingKey, records: Sequence[Record]) -> int:
        first = await store(epoch, key, records)
        if isinstance(records[0], Asked):
            await is_known.wait()
        return first

    turn = await world.accepted("send it")
    await world.begun(turn)
    hands = Hands(world)
    monkeypatch.setattr(world.stream, "store", unheard)
    dead = asyncio.create_task(hands.use(turn))
    await until(lambda: "asked" in world.kinds())
    world.workers.join("w2")
    world.workers.kill("w1")
    await world.begun(turn, times=2)
    using = asyncio.create_task(hands.use(turn, times=2))
    await idle()
    is_known.set()

    code = await shown(world, turn)
    await press(world, turn, code)
    await using
    dead.cancel()
    assert {one.code for one in asked(world)} == {code}
    assert hands.effects.total() == 1


async def test_what_was_decided_while_no_worker_was_there_holds_for_the_next_attempt(world: World) -> None:
    scene = await waiting(world)
    await scene.close()
    world.workers.kill("w1")
    await idle()
    answer = await press(world, scene.turn, scene.code)
    world.workers.join("w2")

    await scene.hands.use(scene.turn, times=2)

    assert isinstance(answer, Noted)
    assert (scene.effects, len(asked(world))) == (1, 1)


@pytest.mark.parametrize("approved", [True, False])
async def test_what_was_decided_is_not_asked_again_by_the_next_attempt(world: World, approved: bool) -> None:
    scene = await waiting(world)
    await scene.close()
    await press(world, scene.turn, scene.code, approved=approved)
    world.workers.join("w2")
    world.workers.kill("w1")

    reply = await scene.hands.use(scene.turn, times=2)

    assert reply == (Recorded() if approved else NotRecorded(words=DENIED))
    assert (scene.effects, len(asked(world))) == (int(approved), 1)


async def test_a_dead_attempt_gets_no_leave_and_may_not_begin(world: World) -> None:
    scene = await waiting(world)
    dead = await world.begun(scene.turn)
    world.workers.join("w2")
    world.workers.kill("w1")
    await world.begun(scene.turn, times=2)
    await press(world, scene.turn, scene.code)

    assert await scene.using == NotRecorded()
    assert await world.hub.record("w1", wanted(dead)) == NotRecorded()
    assert await world.hub.record("w1", begins(dead)) == NotRecorded()
    assert scene.effects == 0


async def test_what_was_begun_is_never_begun_by_another_attempt(world: World) -> None:
    scene = await waiting(world)
    await scene.close()
    await press(world, scene.turn, scene.code)
    first = await world.begun(scene.turn)
    assert await world.hub.record("w1", begins(first)) == Recorded()
    world.workers.join("w2")
    world.workers.kill("w1")
    second = await world.begun(scene.turn, times=2)

    assert [(one.call, one.outcome) for one in second.known_calls] == [(CALL, "unknown")]
    assert await world.hub.record("w2", wanted(second)) == NotRecorded(words=BEGUN_BEFORE)
    assert await world.hub.record("w2", begins(second)) == NotRecorded(words=BEGUN_BEFORE)
    assert world.kinds().count("tool started") == 1


async def test_a_hub_that_reigns_no_more_can_neither_ask_nor_decide(world: World) -> None:
    scene = await waiting(world)
    await scene.close()
    zombie = world.hub
    await world.reign()
    assignment = await world.begun(scene.turn)
    old, world.hub = world.hub, zombie

    with pytest.raises(Fenced):
        await press(world, scene.turn, scene.code)
    with pytest.raises(Fenced):
        await world.hub.record("w1", wanted(assignment, call="c2"))
    world.hub = old

    assert (decided(world), len(asked(world))) == ([], 1)
    assert isinstance(await press(world, scene.turn, scene.code, approved=False), Noted)


async def test_while_the_log_is_full_nothing_is_asked_decided_or_done(world: World) -> None:
    scene = await waiting(world)
    other = await world.accepted("send it", scope="there")
    assignment = await world.begun(other)
    world.stream.is_full = True

    async with asyncio.timeout(1.0):
        assert await world.hub.answer(pressed(scene.turn, scene.code)) is None
        assert await world.hub.record("w1", wanted(assignment)) is None
        said = await world.refused(f"/approve {scene.code}", user="olga")
    await pass_time(5)

    assert (said.reason, decided(world), asked(world, "there"), scene.effects) == ("unavailable", [], [], 0)
    world.stream.is_full = False
    assert isinstance(await press(world, scene.turn, scene.code), Noted)
    await scene.using
    assert scene.effects == 1


async def test_a_question_outlives_the_pressure_for_room(world: World) -> None:
    world.max_pools = 1
    await world.restart()
    scene = await waiting(world)
    for number in range(10):
        await world.exchange("hello", scope=f"s{number}")
        await world.deliveries.flush()
    reads = world.stream.reads

    answer = await press(world, scene.turn, scene.code)
    await scene.using

    assert isinstance(answer, Noted)
    assert (scene.effects, world.stream.reads) == (1, reads)


async def test_a_question_that_lies_on_the_log_alone_is_decided_before_its_hub_has_read_all(world: World) -> None:
    scene = await waiting(world)
    await scene.close()
    await world.kill()
    world.max_pools = 1
    await world.reign()
    for number in range(3):
        await world.exchange("hello", scope=f"s{number}")

    await press(world, scene.turn, scene.code)
    await scene.hands.use(scene.turn)

    assert scene.effects == 1


async def test_a_thousand_at_once_are_each_decided_for_themselves(world: World) -> None:
    scopes = [f"s{number}" for number in range(1_000)]
    hands = Hands(world)
    turns = {scope: await world.hub.receive(world.message("send it", scope=scope)) for scope in scopes}
    names = {scope: one.turn for scope, one in turns.items() if isinstance(one, Accepted)}
    using = [asyncio.create_task(hands.use(turn)) for turn in names.values()]
    await pass_time(3 * HOLD)
    every = [logged.record for _, logged in world.stream.all()]
    codes = {record.turn: record.code for record in every if isinstance(record, Asked)}

    answers = await asyncio.gather(
        *(
            press(world, turn, codes[turn], approved=number % 2 == 0, scope=scope)
            for number, (scope, turn) in enumerate(names.items())
        )
    )
    await asyncio.gather(*using)

    assert len(set(codes.values())) == len(codes) == 1_000
    assert all(isinstance(answer, Noted) for answer in answers)
    assert all(hands.effects[turn] == (number % 2 == 0) for number, turn in enumerate(names.values()))
