"""What the hub says to those who ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from factory_contracts.messages import (
    Accepted,
    AlreadyAccepted,
    Decision,
    Final,
    Refused,
    Said,
    Update,
    Welcome,
)
from factory_contracts.records import ToolDone, ToolStarted, TurnReceived, record_id
from factory_contracts.work import NotRecorded, Recorded, RecordRequest
from hub.kernel.access import BotPolicy
from hub.kernel.ports import Assignment, Fenced
from tests.fakes import idle, pass_time
from tests.hub.hands import begins, done
from tests.hub.world import BOT, PLATFORM, World, key_of, shown

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def test_accepted_means_that_the_turn_is_on_the_log(world: World) -> None:
    world.stream.hold()
    asking = asyncio.create_task(world.submit(world.message("hello")))
    await idle()
    assert not asking.done()

    world.stream.release()
    answer = await asking

    assert isinstance(answer, Accepted)
    assert world.kinds()[:1] == ["received"]


async def test_a_message_that_is_known_is_accepted_already_and_names_its_ids(world: World) -> None:
    album = world.message("look", id="m1", covers=("m2", "m3"))
    first = await world.submit(album)
    assert isinstance(first, Accepted)

    again = await world.known(world.message("look", id="m2", covers=("m3", "m4")))

    assert again.turn == first.turn
    assert set(again.covers) == {"m2", "m3"}


async def test_a_message_submitted_again_while_its_record_is_on_the_way_is_one_turn(world: World) -> None:
    world.stream.hold()
    message = world.message("hello")
    asking = [asyncio.create_task(world.submit(message)) for _ in range(3)]
    await idle()

    world.stream.release()
    answers = await asyncio.gather(*asking)

    assert all(isinstance(answer, Accepted | AlreadyAccepted) for answer in answers)
    assert world.kinds().count("received") == 1


async def test_a_message_submitted_again_while_its_record_is_on_the_way_costs_its_sender_nothing(world: World) -> None:
    await world.kill()
    world.policy = BotPolicy(PLATFORM, BOT, access="public", rate_per_minute=2)
    await world.reign()
    world.stream.hold()
    message = world.message("hello")
    asking = [asyncio.create_task(world.submit(message))]
    await idle()
    asking += [asyncio.create_task(world.submit(message)) for _ in range(4)]
    await idle()

    world.stream.release()
    answers = await asyncio.gather(*asking)

    assert not any(isinstance(answer, Refused) for answer in answers)


async def test_a_refused_message_leaves_nothing_on_the_log(world: World) -> None:
    refused = await world.refused("x" * 30_000)

    assert refused.reason == "too large"
    assert refused.text == "That is too long for me: 30,000 characters, and I read up to 20,000. Send it as a file."
    assert world.stream.all() == ()


async def test_an_unknown_bot_is_an_outcome_in_words(world: World) -> None:
    answer = await world.submit(world.message("hello", bot="stranger"))

    assert isinstance(answer, Refused)
    assert answer.reason == "no owner"
    assert answer.text


async def test_a_conversation_without_an_agent_is_an_outcome_in_words(world: World) -> None:
    await world.kill()
    world.bindings = type(world.bindings)(world.bindings.agents, ())
    await world.reign()

    refused = await world.refused("hello")

    assert refused.reason == "no agent"
    assert refused.text


async def test_a_full_log_is_told_and_the_next_message_is_taken_when_there_is_room(world: World) -> None:
    world.stream.is_full = True
    refused = await world.refused("hello")
    assert refused.reason == "unavailable"
    assert "storage" in refused.text

    world.stream.is_full = False

    assert await world.accepted("hello again")


@pytest.mark.parametrize("ask", [begins, done])
async def test_what_a_worker_asks_for_while_the_log_is_full_waits_nowhere_and_is_stored_once(
    world: World, ask: Callable[[Assignment], RecordRequest]
) -> None:
    turn = await world.accepted("hello")
    asked = ask(await world.begun(turn))
    world.stream.is_full = True
    async with asyncio.timeout(1.0):
        assert [await world.hub.record("w1", asked) for _ in range(20)] == [None] * 20
    attempts = world.stream.attempts
    await pass_time(60)
    assert world.stream.attempts == attempts

    world.stream.is_full = False

    assert await world.hub.record("w1", asked) == Recorded()
    await pass_time(60)
    assert world.kinds().count(asked.record.kind) == 1


async def test_what_a_worker_asks_again_while_its_record_is_on_the_way_is_stored_once(world: World) -> None:
    turn = await world.accepted("hello")
    asked = begins(await world.begun(turn))
    world.stream.hold()
    asking = [asyncio.create_task(world.hub.record("w1", asked)) for _ in range(3)]
    await idle()

    world.stream.release()

    assert await asyncio.gather(*asking) == [Recorded()] * 3
    assert world.kinds().count("tool started") == 1


async def test_a_receipt_for_which_there_is_no_room_is_sent_again(world: World) -> None:
    world.screen.is_there = False
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.stream.is_full = True
    async with asyncio.timeout(1.0):
        assert [await world.hub.answer(shown(turn, "one")) for _ in range(20)] == [None] * 20
    attempts = world.stream.attempts
    await pass_time(60)
    assert world.stream.attempts == attempts

    world.stream.is_full = False

    assert (await world.noted(shown(turn, "one"))).message_id == "one"
    assert world.kinds().count("opened") == 1


async def test_trust_is_the_hubs_finding(world: World) -> None:
    await world.kill()
    world.policy = BotPolicy(PLATFORM, BOT, access="public", owners=frozenset({"ann"}))
    await world.reign()

    await world.accepted("hello", user="ann")
    await world.accepted("hello", user="ben")

    received = [one.record for one in world.stream.of(key_of()) if isinstance(one.record, TurnReceived)]
    assert [record.trust for record in received] == ["owner", "public"]


async def test_one_person_in_two_chats_has_two_pools_and_one_rate(world: World) -> None:
    await world.kill()
    world.policy = BotPolicy(PLATFORM, BOT, access="public", rate_per_minute=2)
    await world.reign()

    await world.accepted("one", scope="here")
    await world.accepted("two", scope="there")
    refused = await world.refused("three", scope="here")

    assert len(world.pools) == 2
    assert refused.reason == "too fast"


async def test_two_people_in_one_group_have_one_pool_and_two_rates(world: World) -> None:
    await world.kill()
    world.policy = BotPolicy(PLATFORM, BOT, access="public", rate_per_minute=1)
    await world.reign()

    await world.accepted("one", scope="group", user="ann")
    await world.accepted("two", scope="group", user="ben")
    refused = await world.refused("three", scope="group", user="ann")

    assert len(world.pools) == 1
    assert refused.reason == "too fast"


async def test_a_hello_tells_who_answers_and_what_was_said_last(world: World) -> None:
    await world.exchange("How are you?", "Fine.")

    welcome = await world.hello("chat")

    assert isinstance(welcome, Welcome)
    assert (welcome.agent, welcome.model) == ("alice", "scripted")
    assert [(one.asked, one.answered) for one in welcome.history] == [("How are you?", "Fine.")]


async def test_a_hello_brings_a_growing_answer_and_an_unreceipted_one_again(world: World) -> None:
    world.screen.is_there = False
    growing = await world.accepted("one", scope="a")
    await world.begun(growing)
    world.workers.say(growing, "half an ", "answer")
    whole = await world.accepted("two", scope="b")
    await world.begun(whole)
    world.workers.say(whole, "all")
    world.workers.end(whole)
    await idle()
    before = len(world.outbox.published)

    await world.hello()

    again = world.outbox.published[before:]
    texts = {event.turn: event.text for event in again if isinstance(event, Update | Final)}
    assert texts == {growing: "half an answer", whole: "all"}
    assert world.updates(growing)[-1].base == 0


async def test_a_scope_with_several_screens_hears_what_was_said(world: World) -> None:
    await world.submit(world.message("hello", echo=True))

    said = [event for event in world.outbox.published if isinstance(event, Said)]
    assert [event.text for event in said] == ["hello"]


async def test_a_decision_that_nobody_asked_for_is_refused(world: World) -> None:
    answer = await world.hub.answer(
        Decision(platform=PLATFORM, bot_id=BOT, scope_id="chat", turn="t", code="0" * 16, user_id="ann", approved=True)
    )

    assert isinstance(answer, Refused)


async def test_only_the_attempt_that_counts_may_record_its_tools(world: World) -> None:
    turn = await world.accepted("hello")
    chosen = (await world.begun(turn)).chosen
    begun = ToolStarted(
        id=record_id(turn, "tool started", "c"),
        turn=turn,
        at=0.0,
        attempt=1,
        call="c",
        tool="files",
        effect="write",
        arguments="digest",
    )
    done = ToolDone(id=record_id(turn, "tool done", "c"), turn=turn, at=0.0, attempt=1, call="c", outcome="ok")

    def request(record: ToolStarted | ToolDone, attempt: int, instance: str) -> RecordRequest:
        return RecordRequest(
            platform=PLATFORM, bot_id=BOT, scope_id="chat", attempt=attempt, instance=instance, record=record
        )

    answers = [
        await world.hub.record(chosen.worker, request(begun, 1, "another instance")),
        await world.hub.record(chosen.worker, request(begun, 2, chosen.instance)),
        await world.hub.record("another", request(begun, 1, chosen.instance)),
        await world.hub.record(chosen.worker, request(begun, 1, chosen.instance)),
        await world.hub.record(chosen.worker, request(done, 1, chosen.instance)),
    ]

    refused, granted = NotRecorded(), Recorded()
    assert answers == [refused, refused, refused, granted, granted]
    assert [kind for kind in world.kinds() if kind.startswith("tool")] == ["tool started", "tool done"]


async def test_a_worker_may_forget_what_is_answered_or_unknown_and_nothing_else(world: World) -> None:
    turn = await world.accepted("hello")
    scope = key_of().to_pool_id()
    assert world.hub.is_open(scope, turn)

    await world.answered(turn)

    assert not world.hub.is_open(scope, turn)
    assert not world.hub.is_open(key_of("elsewhere").to_pool_id(), turn)
    assert not world.hub.is_open("no scope", turn)


async def test_a_hub_that_has_a_successor_tells_no_worker_that_its_turn_is_over(world: World) -> None:
    assignment = await world.begun(await world.accepted("hello"))
    of_the_next = begins(replace(assignment, attempt=2))
    before = await world.hub.record("w1", of_the_next)
    world.stream.take_over()

    with pytest.raises(Fenced):
        await world.hub.record("w1", of_the_next)

    assert before == NotRecorded()
