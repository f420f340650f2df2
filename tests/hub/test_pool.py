"""One conversation's queue, and which conversations are in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from factory_contracts.messages import Accepted, Refused
from factory_contracts.records import Record
from hub.kernel.ports import Fenced
from hub.kernel.routing import RoutingKey
from hub.pool import FILLED_AT_ONCE
from tests.fakes import FakeStream, idle, until
from tests.hub.world import World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")


class LateViews(FakeStream):
    """A disk on which a compacted view is stored when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = False
        self.may_view = asyncio.Event()

    async def store(self, epoch: int, key: RoutingKey, records: Sequence[Record]) -> int:
        if any(record.kind == "compacted" for record in records):
            self.is_asked = True
            await self.may_view.wait()
        return await super().store(epoch, key, records)


@pytest_asyncio.fixture(loop_scope="function")
async def small() -> AsyncIterator[World]:
    """A hub that keeps two conversations in memory."""
    world = World(max_pools=2)
    await world.reign()
    yield world
    await world.kill()


async def test_the_queue_holds_a_hundred_messages_and_the_next_is_refused_in_words(world: World) -> None:
    running = await world.accepted("the one that runs")
    await world.begun(running)
    for number in range(100):
        assert isinstance(await world.submit(world.message(f"waiting {number}")), Accepted)

    refused = await world.refused("one too many")

    assert refused.reason == "queue full"
    assert "100 messages" in refused.text


async def test_with_no_worker_a_hundred_messages_wait_and_the_next_is_refused(world: World) -> None:
    world.workers.kill("w1")
    for number in range(100):
        assert isinstance(await world.submit(world.message(f"waiting {number}")), Accepted)

    assert (await world.refused("one too many")).reason == "queue full"


async def test_messages_on_their_way_to_the_log_count_as_waiting(world: World) -> None:
    world.workers.kill("w1")
    world.stream.hold()
    asking = [asyncio.create_task(world.submit(world.message("hello"))) for _ in range(150)]
    await idle()
    world.stream.release()

    answers = await asyncio.gather(*asking)

    assert sum(isinstance(answer, Accepted) for answer in answers) == 100
    assert sum(isinstance(answer, Refused) for answer in answers) == 50


async def test_a_full_queue_of_one_conversation_is_no_other_ones(world: World) -> None:
    world.workers.kill("w1")
    for _ in range(100):
        await world.submit(world.message("hello", scope="busy"))

    assert isinstance(await world.submit(world.message("hello", scope="quiet")), Accepted)


async def test_messages_are_answered_in_the_order_in_which_they_were_accepted(world: World) -> None:
    turns = [await world.accepted(f"number {number}") for number in range(5)]

    for turn in turns:
        await world.answered(turn)

    assert [assignment.turn for assignment in world.workers.started] == turns
    assert world.screen.order == turns


async def test_the_third_conversation_evicts_the_one_that_was_idle_longest(small: World) -> None:
    await small.exchange("hello", scope="first")
    await small.exchange("hello", scope="second")
    await small.exchange("hello again", scope="first")
    await small.deliveries.flush()

    await small.exchange("hello", scope="third")

    assert len(small.pools) == 2
    assert small.pools.peek(key_of("second")) is None
    assert small.pools.peek(key_of("first")) is not None


async def test_an_evicted_conversation_remembers_when_it_comes_back(small: World) -> None:
    await small.exchange("My name is Ann.", "Hello Ann.", scope="first")
    await small.exchange("hello", scope="second")
    await small.deliveries.flush()
    await small.exchange("hello", scope="third")
    assert small.pools.peek(key_of("first")) is None

    turn = await small.accepted("What is my name?", scope="first")

    assignment = await small.begun(turn)
    assert [line.text for line in assignment.lines] == ["My name is Ann.", "Hello Ann.", "What is my name?"]


async def test_a_conversation_that_is_under_way_is_never_evicted(small: World) -> None:
    first = await small.accepted("hello", scope="first")
    second = await small.accepted("hello", scope="second")

    third = await small.accepted("hello", scope="third")

    assert len(small.pools) == 3
    for turn in (first, second, third):
        await small.answered(turn)


async def test_more_pools_than_allowed_shrink_back_once_they_are_idle(small: World) -> None:
    turns = [await small.accepted("hello", scope=f"busy {number}") for number in range(5)]
    for turn in turns:
        await small.answered(turn)
    await small.deliveries.flush()

    await small.exchange("hello", scope="one more")

    assert len(small.pools) == 2


async def test_a_conversation_whose_receipt_is_not_on_the_log_yet_is_never_evicted(small: World) -> None:
    await small.exchange("hello", scope="first")
    await small.exchange("hello", scope="second")

    await small.exchange("hello", scope="third")
    assert small.pools.peek(key_of("first")) is not None
    await until(lambda: small.kinds("first")[-1] == "shown")

    await small.exchange("hello", scope="fourth")
    assert small.pools.peek(key_of("first")) is None


async def test_first_messages_that_come_at_once_share_one_pool(world: World) -> None:
    answers = await asyncio.gather(*(world.submit(world.message(f"number {number}")) for number in range(10)))

    assert all(isinstance(answer, Accepted) for answer in answers)
    assert len(world.pools) == 1
    assert world.stream.reads == 1


async def test_many_new_conversations_at_once_stay_within_what_is_allowed(small: World) -> None:
    await small.exchange("hello", scope="first")
    await small.exchange("hello", scope="second")
    await small.deliveries.flush()

    await asyncio.gather(*(small.hello(f"scope {number}") for number in range(20)))

    assert len(small.pools) <= 2


async def test_a_conversation_that_takes_long_to_read_delays_no_other_ones_first_message(world: World) -> None:
    slow = world.stream.may_read[key_of("slow")] = asyncio.Event()
    waiting = [asyncio.create_task(world.submit(world.message("hello", scope="slow"))) for _ in range(2)]
    await idle()

    await world.exchange("hello", scope="quick")

    assert not any(task.done() for task in waiting)
    slow.set()
    assert all(isinstance(answer, Accepted) for answer in await asyncio.gather(*waiting))
    assert world.stream.reads == 2


async def test_only_so_many_conversations_are_read_at_once(world: World) -> None:
    may_read = asyncio.Event()
    scopes = [f"scope {number}" for number in range(3 * FILLED_AT_ONCE)]
    world.stream.may_read = {key_of(scope): may_read for scope in scopes}
    asking = [asyncio.create_task(world.submit(world.message("hello", scope=scope))) for scope in scopes]
    await idle()
    assert world.stream.reads == FILLED_AT_ONCE

    may_read.set()

    assert all(isinstance(answer, Accepted) for answer in await asyncio.gather(*asking))
    assert world.stream.reads == len(scopes)


async def test_a_conversation_that_is_lost_while_it_is_read_is_not_served(world: World) -> None:
    world.screen.sends_finals = False
    await world.exchange("hello", "hi")
    key = world.pool().key
    world.pools.lose(key.partition)
    world.outbox.listeners.append(lambda event: world.pools.lose(key.partition))

    with pytest.raises(Fenced):
        await world.pools.get(key)

    assert world.pools.peek(key) is None


async def test_a_long_conversation_is_compacted_and_goes_on_as_before(world: World) -> None:
    for number in range(55):
        await world.exchange(f"question {number}", f"answer {number}")
    await until(lambda: "compacted" in world.kinds())
    history = world.pool().session.history

    await world.restart()
    turn = await world.accepted("one more")

    assert world.pool().session.history == history
    assert (await world.begun(turn)).lines[-1].text == "one more"
    assert world.pool().session.received == 56


async def test_a_compacted_view_knows_of_no_receipt_that_is_not_on_the_log(world: World) -> None:
    for number in range(50):
        await world.exchange(f"question {number}")

    await until(lambda: "compacted" in world.kinds())

    before = world.kinds()[: world.kinds().index("compacted")]
    assert before.count("shown") == before.count("answered")


async def test_a_message_accepted_while_its_conversation_is_compacted_stays_known(world: World) -> None:
    for number in range(49):
        await world.exchange(f"question {number}", f"answer {number}")
    world.screen.sends_finals = False
    last = await world.exchange("question 49")
    world.screen.sends_finals = True
    world.stream.hold()
    await world.hello()
    await until(lambda: last not in world.pool().session.turns)
    message = world.message("one more")
    asking = asyncio.create_task(world.submit(message))
    await idle()

    world.stream.release()
    answer = await asking

    assert isinstance(answer, Accepted)
    assert (await world.known(message)).turn == answer.turn
    assert world.pool().session.received == 51


async def about_to_view(world: World) -> LateViews:
    """A conversation that is long enough, whose view is asked for and not stored."""
    world.stream = stream = LateViews()
    await world.restart()
    for number in range(50):
        await world.exchange(f"question {number}", f"answer {number}")
    await until(lambda: stream.is_asked)
    return stream


async def test_a_message_is_not_stored_before_the_view_that_does_not_know_of_it(world: World) -> None:
    stream = await about_to_view(world)
    message = world.message("one more")
    asking = asyncio.create_task(world.submit(message))
    await idle()

    stream.may_view.set()
    answer = await asking
    await world.restart()

    assert isinstance(answer, Accepted)
    assert (await world.known(message)).turn == answer.turn
    assert world.pool().session.received == 51


async def test_what_is_said_in_a_copy_while_it_begins_is_stored_after_its_beginning(world: World) -> None:
    await world.exchange("hello")
    view = world.pool().session.copy("fork.copy", 0.0)
    world.stream = stream = LateViews()
    await world.restart()
    forking = asyncio.create_task(world.pools.fork(key_of("copy"), view))
    await until(lambda: stream.is_asked)
    asking = asyncio.create_task(world.submit(world.message("one more", scope="copy")))
    await idle()

    stream.may_view.set()
    answer = await asking

    assert await forking
    assert isinstance(answer, Accepted)
    assert world.kinds("copy")[:2] == ["compacted", "received"]


async def test_where_there_is_no_room_for_a_view_the_conversation_goes_on_without(world: World) -> None:
    stream = await about_to_view(world)
    stream.is_full = True
    stream.may_view.set()
    await idle()
    stream.is_full = False

    await world.exchange("one more")

    assert "compacted" not in world.kinds()
