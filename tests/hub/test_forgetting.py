"""All that was said in a conversation, removed: who may have it done, what goes with it, and that it is finished."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from factory_contracts.messages import Accepted, Erase, Erased, Hello, Noted, Refused, Submit, Welcome
from factory_contracts.records import Forgotten, MoneyReserved, TurnAnswered
from factory_contracts.work import Line, Recorded, RecordRequest
from hub.commands import FORGETTING, NOT_ANSWERED, WHAT_IS_FORGOTTEN
from hub.forgetting import SHOWN_WITHIN, SPOKES_WITHIN
from hub.kernel.access import NOT_OWNER, BotPolicy
from hub.kernel.budget import Budget
from hub.kernel.routing import Bindings
from hub.kernel.session import FORGET, FORGET_ALL
from tests.fakes import idle, pass_time, until
from tests.hub.world import BOT, PLATFORM, World, final, key_of, shown

pytestmark = pytest.mark.asyncio(loop_scope="function")

OWNED = BotPolicy(PLATFORM, BOT, access="public", owners=frozenset({"olga"}), rate_per_minute=1_000)


def emptied(world: World, scope: str = "chat") -> Forgotten:
    """The one record that a forgotten scope has."""
    (logged,) = world.stream.of(key_of(scope))
    assert isinstance(logged.record, Forgotten)
    return logged.record


def erasings(world: World) -> list[Erase]:
    return [event for event in world.outbox.published if isinstance(event, Erase)]


async def farewell(world: World, *, scope: str = "chat") -> str:
    """Have everything forgotten, and wait until a spoke is asked to do its part; answers with the turn."""
    turn = await world.accepted(FORGET_ALL, scope=scope)
    await until(lambda: bool(erasings(world)))
    return turn


async def forgotten(world: World, *, scope: str = "chat") -> str:
    """Have everything forgotten, and wait for the end of it; answers with the turn."""
    turn = await farewell(world, scope=scope)
    await say_erased(world, turn, scope)
    await until(lambda: not world.forgetting.unfinished())
    return turn


async def say_erased(world: World, turn: str, scope: str = "chat") -> None:
    answer = await world.hub.answer(Erased(platform=PLATFORM, bot_id=BOT, scope_id=scope, turn=turn))
    assert isinstance(answer, Noted)
    await idle()


async def running(world: World) -> str:
    """A turn whose answer grows."""
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.say(turn, "Half an ans")
    await idle()
    return turn


@pytest.mark.parametrize("said", [FORGET, "/forget all", "/forget Everything", "/forget everything else"])
async def test_what_it_would_do_is_told_before_it_is_done_and_nothing_stops_for_that(world: World, said: str) -> None:
    turn = await running(world)

    told = await world.told(said)
    await pass_time(60)
    world.workers.say(turn, "wer.")
    world.workers.end(turn)
    await until(lambda: turn in world.screen.finals)

    assert (told.text, told.choices) == (WHAT_IS_FORGOTTEN, (FORGET_ALL,))
    assert world.screen.finals[turn].text == "Half an answer."
    assert "forgotten" not in world.kinds()


async def test_everything_is_removed_and_one_record_says_so(world: World) -> None:
    await world.exchange("my name is Ann", "Hello Ann.")
    await world.let_in("ann")
    await world.told("/agent bob")

    turn = await forgotten(world)
    again = await world.accepted("who am I?")

    record = emptied_first(world)
    assert world.screen.finals[turn].text == FORGETTING
    assert (record.turn, record.by, record.agent) == (turn, "ann", "bob")
    assert world.kinds() == ["forgotten", "received"]
    assert (await world.begun(again)).lines == (Line(role="user", text="who am I?", trusted=True),)
    assert world.workers.erased == [(key_of(), ("alice", "bob"), record.at)]


def emptied_first(world: World, scope: str = "chat") -> Forgotten:
    record = world.stream.of(key_of(scope))[0].record
    assert isinstance(record, Forgotten)
    return record


async def test_what_runs_is_stopped_and_what_waits_is_refused_in_words(world: World) -> None:
    first = await running(world)
    waiting = [await world.accepted(text) for text in ("two", "/new", "three")]

    turn = await forgotten(world)

    finals = world.screen.finals
    assert (finals[first].outcome, finals[first].text) == ("stopped", "Half an ans")
    assert [finals[name].text for name in waiting] == [NOT_ANSWERED] * 3
    assert sum(world.workers.runs_of(name) for name in (*waiting, turn)) == 0
    tally = emptied(world).tally
    assert (tally.received, tally.answered, tally.refused, tally.superseded) == (5, 2, 3, 0)


async def test_what_waits_is_not_begun_when_what_runs_ends_while_the_farewell_is_being_stored(world: World) -> None:
    world.workers.stops_answer = False
    first = await running(world)
    waiting = await world.accepted("two")
    world.stream.hold()
    asking = asyncio.create_task(world.submit(world.message(FORGET_ALL)))
    await idle()
    world.workers.end(first, "stopped")
    await pass_time(3)

    world.stream.release()
    await asking
    await until(lambda: waiting in world.screen.finals)

    assert world.screen.finals[waiting].text == NOT_ANSWERED
    assert world.workers.runs_of(waiting) == 0


async def test_a_message_on_its_way_to_the_log_when_the_farewell_comes_goes_with_the_rest(world: World) -> None:
    world.stream.hold()
    asking = asyncio.create_task(world.submit(world.message("a secret")))
    await idle()
    parting = asyncio.create_task(world.submit(world.message(FORGET_ALL)))
    await idle()
    world.stream.release()
    assert isinstance(await asking, Accepted)
    assert isinstance(await parting, Accepted)

    await until(lambda: bool(erasings(world)))
    await until(lambda: bool(world.stream.erased))

    assert world.kinds() == ["forgotten"]
    assert emptied(world).tally.received == 2


async def test_what_comes_next_is_not_stopped_any_more(world: World) -> None:
    await running(world)
    await forgotten(world)

    turn = await world.exchange("a new life", "Welcome.")

    assert (world.screen.finals[turn].outcome, world.screen.finals[turn].text) == ("complete", "Welcome.")


@pytest.mark.parametrize(("user", "may"), [("ann", False), ("olga", True)])
async def test_in_a_group_it_is_for_owners(world: World, user: str, may: bool) -> None:
    world.policy = OWNED
    await world.restart()
    running_turn = await running(world)

    answer = await world.submit(world.message(FORGET_ALL, user=user, in_group=True))

    assert isinstance(answer, Accepted)
    await until(lambda: answer.turn in world.screen.finals)
    assert world.screen.finals[answer.turn].text == (FORGETTING if may else NOT_OWNER)
    assert world.workers.kept[running_turn].is_stopped is may if running_turn in world.workers.kept else may
    await pass_time(60)
    assert ("forgotten" in world.kinds()) is may


async def test_where_nobody_answers_any_more_it_can_be_forgotten_all_the_same(world: World) -> None:
    await world.exchange("a secret")
    world.bindings = Bindings({})
    await world.restart()

    turn = await forgotten(world)

    assert world.screen.finals[turn].text == FORGETTING
    assert world.kinds() == ["forgotten"]


async def test_until_it_is_empty_a_conversation_takes_nothing_and_costs_nobody_their_rate(world: World) -> None:
    world.policy = replace(world.policy, rate_per_minute=3)
    await world.restart()
    world.screen.is_there = False
    await world.accepted(FORGET_ALL)
    message = world.message("hello again")

    silence = [await world.submit(message) for _ in range(10)]
    asked = await world.hub.answer(
        Submit(platform=PLATFORM, bot_id=BOT, scope_id="chat", message=message, only_asks=True)
    )
    elsewhere = await world.submit(world.message("hello", scope="elsewhere", user="ben"))
    await pass_time(SHOWN_WITHIN + 1)

    assert (silence, asked) == ([None] * 10, None)
    assert isinstance(elsewhere, Accepted)
    assert isinstance(await world.submit(message), Accepted)


async def test_an_answer_that_no_screen_takes_keeps_nothing_alive(world: World) -> None:
    await world.exchange("a secret")
    world.screen.is_there = False
    await world.accepted(FORGET_ALL)
    await pass_time(SHOWN_WITHIN - 1)
    assert "forgotten" not in world.kinds()

    await pass_time(2)
    late = await world.hub.answer(shown(erasings(world)[0].turn, "late"))
    await world.noted(final(erasings(world)[0].turn, "late"))
    await pass_time(2)

    assert isinstance(late, Noted)
    assert world.kinds() == ["forgotten"]
    assert emptied(world).tally.received == 2


async def test_what_was_said_is_known_when_a_platform_brings_it_again(world: World) -> None:
    message = world.message("a secret", covers=("album",))
    answer = await world.submit(message)
    assert isinstance(answer, Accepted)
    await world.answered(answer.turn)
    goodbye = world.message(FORGET_ALL)
    parted = await world.submit(goodbye)
    assert isinstance(parted, Accepted)
    again_at_once = await world.known(goodbye)
    await until(lambda: world.kinds() == ["forgotten"])

    again = [await world.known(one) for one in (message, goodbye)]
    await world.restart()
    again += [await world.known(one) for one in (message, goodbye)]

    assert {one.turn for one in again} == {answer.turn, parted.turn}
    assert again_at_once.turn == parted.turn
    assert again[0].covers == message.ids
    assert world.kinds() == ["forgotten"]
    assert world.workers.runs_of(answer.turn) == 1


async def test_other_conversations_keep_what_was_said(world: World) -> None:
    await world.exchange("here", scope="other")
    await world.deliveries.flush()
    before = world.kinds("other")

    await forgotten(world)

    assert world.kinds("other") == before


async def test_twice_forgotten_leaves_one_record_and_every_turn_in_it(world: World) -> None:
    await world.exchange("a secret")
    await forgotten(world)
    await world.exchange("another secret")

    await world.accepted(FORGET_ALL)
    await until(lambda: len(world.stream.erased) == 2)

    assert emptied(world).tally.received == len({*emptied(world).seen}) == 4


async def test_a_spoke_is_asked_until_it_says_that_it_removed_what_it_kept(world: World) -> None:
    earlier = await world.exchange("a secret")
    turn = await farewell(world)
    await pass_time(7)
    before = len(erasings(world))

    await say_erased(world, turn)
    await pass_time(60)

    asked = erasings(world)[0]
    assert (asked.turn, set(asked.turns), asked.until) == (turn, {earlier, turn}, emptied(world).at)
    assert asked.address.scope_id == "chat"
    assert before == 4
    assert len(erasings(world)) == before
    assert not world.forgetting.unfinished()


async def test_a_spoke_that_never_answers_is_not_asked_for_ever(world: World) -> None:
    await farewell(world)

    await pass_time(SPOKES_WITHIN + 1)
    told = len(erasings(world))
    await pass_time(SPOKES_WITHIN)

    assert not world.forgetting.unfinished()
    assert len(erasings(world)) == told


async def test_a_terminal_that_comes_later_is_told_when_it_was(world: World) -> None:
    before = await world.hello("chat")
    await forgotten(world)

    after = await world.hello("chat")

    assert isinstance(before, Welcome) and isinstance(after, Welcome)
    assert (before.erased_at, after.erased_at, after.history) == (None, emptied(world).at, ())


async def test_it_is_not_done_before_a_worker_removed_what_it_kept(world: World) -> None:
    world.workers.kill("w1")
    turn = await farewell(world)
    await say_erased(world, turn)
    await pass_time(SPOKES_WITHIN + 1)
    assert world.forgetting.unfinished()

    world.workers.join("w2")
    await until(lambda: not world.forgetting.unfinished())

    assert [key for key, *_ in world.workers.erased] == [key_of()]


async def test_the_files_that_are_removed_were_there_when_the_last_answer_ended(world: World) -> None:
    await running(world)
    world.stream.files = 7
    world.screen.is_there = False
    await world.accepted(FORGET_ALL)
    await idle()
    # This comes with what is said afterwards.
    world.stream.files = 9
    await pass_time(SHOWN_WITHIN + 1)

    assert emptied(world).files == 7
    assert [files for *_, files in world.stream.erased] == [7]


async def test_a_conversation_that_is_being_forgotten_is_not_copied(world: World) -> None:
    world.policy = replace(world.policy, everyone_owns=True)
    await world.restart()
    await world.exchange("a secret")
    world.screen.is_there = False
    await world.accepted(FORGET_ALL)

    answer = await world.hub.answer(Hello(platform=PLATFORM, bot_id=BOT, scope_id="copy", of=f"{PLATFORM}:{BOT}:chat"))

    assert isinstance(answer, Refused)
    assert world.kinds("copy") == []


async def test_a_copy_made_before_keeps_what_it_shows(world: World) -> None:
    await world.exchange("a secret", "Hush.")
    await world.told("/fork copy", names_scopes=True)

    await forgotten(world)
    turn = await world.accepted("and?", scope="copy")

    assert [line.text for line in (await world.begun(turn)).lines] == ["a secret", "Hush.", "and?"]


async def test_a_farewell_is_not_evicted_before_it_is_done(world: World) -> None:
    world.max_pools = 1
    await world.restart()
    world.screen.is_there = False
    await world.accepted(FORGET_ALL)

    for scope in ("a", "b", "c"):
        await world.hello(scope)
    await pass_time(SHOWN_WITHIN + 1)

    assert world.kinds() == ["forgotten"]


async def test_a_conversation_that_is_lost_while_it_is_forgotten_takes_no_receipts_of_others_with_it(
    world: World,
) -> None:
    await world.exchange("hello", scope="other")
    turn = await world.accepted(FORGET_ALL)
    await until(lambda: turn in world.screen.finals)
    world.stream.hold()
    await pass_time(0.3)

    world.pools.lose(key_of().partition)
    world.stream.release()
    await pass_time(60)

    assert world.kinds("other")[-1] == "shown"
    assert world.pool("other").is_idle
    assert world.deliveries.unwritten() == ()


# A hub dies


async def test_a_hub_that_dies_before_the_scope_is_empty_leaves_the_wish_to_the_next(world: World) -> None:
    await world.exchange("a secret")
    world.screen.sends_finals = False
    turn = await world.accepted(FORGET_ALL)
    await until(lambda: turn in world.screen.finals)
    await pass_time(3)

    world.screen.sends_finals = True
    await world.restart()
    await until(lambda: bool(erasings(world)))
    await until(lambda: bool(world.stream.erased))

    assert world.kinds() == ["forgotten"]


async def test_the_wish_stands_though_its_answer_was_shown_long_ago_and_the_mark_waits_for_it(world: World) -> None:
    await world.exchange("a secret")
    turn = await world.accepted(FORGET_ALL)
    world.stream.hold()
    await until(lambda: turn in world.screen.finals)
    await pass_time(0.3)
    assert "forgotten" not in world.kinds()
    await world.kill()
    world.stream.release()
    assert world.stream.mark <= next(one.sequence for one in world.stream.of(key_of()) if one.record.turn == turn)

    await world.reign()
    await until(lambda: bool(world.stream.erased))

    assert world.kinds() == ["forgotten"]


async def test_what_still_ran_is_stopped_by_the_next_hub_as_well(world: World) -> None:
    world.workers.stops_answer = False
    first = await running(world)
    await world.accepted(FORGET_ALL)

    world.workers.stops_answer = True
    await world.restart()
    await until(lambda: bool(world.stream.erased))

    assert world.screen.finals[first].outcome == "stopped"
    assert world.kinds() == ["forgotten"]


async def test_a_hub_that_dies_while_it_erases_is_followed_by_one_that_does_and_the_mark_waits(world: World) -> None:
    await world.exchange("a secret")
    world.stream.may_erase.clear()
    await farewell(world)
    await pass_time(60)
    at = next(one.sequence for one in world.stream.of(key_of()) if one.record.kind == "forgotten")
    assert "received" in world.kinds()
    assert world.stream.mark <= at

    await world.kill()
    world.stream.may_erase.set()
    await world.reign()
    await until(lambda: not world.forgetting.unfinished(), seconds=SPOKES_WITHIN + 20)
    await pass_time(3)

    assert world.kinds() == ["forgotten"]
    assert world.stream.erased == [(key_of(), at, 0)]
    assert world.stream.mark > at


async def test_what_is_said_while_it_is_erased_is_kept_whoever_erases_again(world: World) -> None:
    world.stream.may_erase.clear()
    await farewell(world)
    turn = await world.exchange("a new life", "Welcome.")

    await world.kill()
    world.stream.may_erase.set()
    await world.reign()
    await until(lambda: bool(world.stream.erased))

    assert world.kinds()[0] == "forgotten"
    assert [one.record.text for one in world.stream.of(key_of()) if isinstance(one.record, TurnAnswered)] == [
        "Welcome."
    ]
    assert world.workers.runs_of(turn) == 1


async def test_what_was_spent_is_known_to_a_hub_that_comes_right_after(world: World) -> None:
    world.budgets = (Budget("purse", Decimal(1), period="ever"),)
    await world.restart()
    turn = await world.accepted("something dear")
    begun = await world.begun(turn)
    assert await world.hub.record("w1", reservation(turn, begun.chosen.instance, "0.75")) == Recorded()
    await world.answered(turn)
    spent = [one.spent for one in world.ledger.standings(key_of(), "ann", "alice", world.clock())]
    world.stream.mark = 1
    await farewell(world)
    await until(lambda: world.kinds() == ["forgotten"])

    await world.kill()
    world.stream.spent.clear()
    await world.reign()

    again = [one.spent for one in world.ledger.standings(key_of(), "ann", "alice", world.clock())]
    assert again == spent == [Decimal("0.75")]


def reservation(turn: str, instance: str, amount: str) -> RecordRequest:
    record = MoneyReserved(
        id=f"{turn}.reserved.1.m1",
        turn=turn,
        at=0.0,
        attempt=1,
        call="m1",
        user_id="ann",
        agent="alice",
        model="oracle:delphi",
        amount=Decimal(amount),
    )
    return RecordRequest(platform=PLATFORM, bot_id=BOT, scope_id="chat", attempt=1, instance=instance, record=record)


async def test_numbers_add_up_after_all_of_it(world: World) -> None:
    await world.exchange("one")
    await running(world)
    await world.accepted("three")
    await forgotten(world)
    await world.exchange("five")
    await world.restart()
    await world.accepted("six")

    tally, waiting = world.pool().session.tally, world.pool().session.waiting
    assert tally.received == tally.answered + tally.refused + tally.superseded + waiting == 6
