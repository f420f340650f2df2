"""A hub that is killed at any moment, and the one that follows it."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from factory_contracts.messages import Accepted
from factory_contracts.records import Record, ReplyShown, TurnReceived, TurnSuperseded, record_id
from hub.commands import APPROVALS, NOT_TOLD
from hub.kernel.budget import Ledger
from hub.kernel.ports import Fenced
from hub.kernel.routing import RoutingKey
from hub.recovery import recover
from tests.fakes import PAGE, Breaths, FakeLog, idle, pass_time, until
from tests.hub.world import World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def finish(world: World, turn: str) -> None:
    """See that a turn ends with one answer, one bubble and one model run, and that nothing stays open."""
    await world.begun(turn)
    kept = world.workers.kept.get(turn)
    if kept is not None and not kept.is_over:
        world.workers.say(turn, "the end.")
        world.workers.end(turn)
    await until(lambda: turn in world.screen.finals)
    await until(lambda: not world.pool().session.turns)
    await world.deliveries.flush()
    assert world.kinds().count("answered") == 1
    assert world.kinds().count("opened") == 1
    assert world.kinds().count("shown") == 1
    assert world.workers.runs_of(turn) == 1
    assert len(world.screen.bubbles[turn]) == 1


async def test_a_hub_killed_when_a_turn_was_received_goes_on(world: World) -> None:
    world.workers.kill("w1")
    turn = await world.accepted("hello")
    assert world.kinds() == ["received"]

    await world.restart()
    world.workers.join("w2")

    await finish(world, turn)


async def test_a_hub_killed_between_stored_and_accepted_knows_the_message_when_it_comes_again(world: World) -> None:
    world.stream.hold_answers()
    message = world.message("hello")
    asking = asyncio.create_task(world.submit(message))
    await until(lambda: "received" in world.kinds())
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    await world.restart()
    again = await world.known(message)

    # What was started and never commanded is begun again by whoever follows.
    world.workers.say((await world.begun(again.turn)).turn, "Fine.")
    world.workers.end(again.turn)
    await until(lambda: again.turn in world.screen.finals)
    assert world.kinds().count("received") == 1


async def test_a_hub_killed_when_a_turn_was_started_goes_on_with_the_same_run(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)

    await world.restart()

    await finish(world, turn)


async def test_a_hub_killed_in_mid_sentence_goes_on_in_the_same_bubble(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.say(turn, "Half an ans")
    await until(lambda: "opened" in world.kinds())

    await world.restart()
    await idle()
    snapshot = world.updates(turn)[-1]
    world.workers.say(turn, "wer and ")

    await finish(world, turn)
    assert (snapshot.base, snapshot.text) == (0, "Half an ans")
    assert world.screen.finals[turn].text == "Half an answer and the end."


async def test_what_a_worker_said_while_no_hub_was_there_is_not_lost(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.say(turn, "One, ")
    await idle()
    await world.kill()
    world.workers.say(turn, "two, three.")
    world.workers.end(turn)

    await world.reign()

    await finish(world, turn)
    assert world.screen.finals[turn].text == "One, two, three."


async def test_a_hub_killed_when_a_turn_was_answered_shows_it(world: World) -> None:
    world.screen.is_there = False
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.say(turn, "Fine.")
    world.workers.end(turn)
    await until(lambda: "answered" in world.kinds())

    world.screen.is_there = True
    await world.restart()

    await finish(world, turn)


async def test_a_hub_killed_when_an_answer_was_shown_but_not_noted_shows_it_in_the_same_bubble(world: World) -> None:
    turn = await world.exchange("hello")
    assert "shown" not in world.kinds()

    await world.restart()

    await finish(world, turn)


async def test_a_hub_killed_when_all_was_done_does_nothing(world: World) -> None:
    await world.exchange("hello")
    await world.deliveries.flush()
    before = len(world.outbox.published)

    await world.restart()
    await pass_time(20)

    assert len(world.outbox.published) == before
    assert len(world.pools) == 0


async def test_a_queue_survives_in_its_order(world: World) -> None:
    turns = [await world.accepted(f"number {number}") for number in range(4)]
    await world.begun(turns[0])

    await world.restart()
    for turn in turns:
        await world.answered(turn)

    assert [assignment.turn for assignment in world.workers.started] == turns
    assert world.screen.order == turns


async def test_a_hub_that_dies_again_and_again_makes_one_model_run(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    for number in range(8):
        world.workers.say(turn, f"{number} ")
        await idle()
        await world.restart()

    await finish(world, turn)


async def test_a_turn_whose_worker_died_with_the_hub_is_run_again(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.kill("w1")
    await world.kill()
    world.workers.join("w2")
    await world.reign()

    assert (await world.begun(turn, times=2)).attempt == 2


async def test_one_model_run_for_every_turn_wherever_the_hub_was_killed(world: World) -> None:
    points = 0
    while points < 30:
        turn = await world.accepted("hello", id=f"at {points}")
        await world.begun(turn)
        world.workers.say(turn, "Fine.")
        world.workers.end(turn)
        # One more step of the event loop each time: so the kill falls on every point between here and the receipt.
        for _ in range(points):
            await asyncio.sleep(0)
        await world.restart()
        await until(partial(world.screen.finals.__contains__, turn))
        await until(lambda: not world.pool().session.turns if world.pools.peek(key_of()) else True)
        assert world.workers.runs_of(turn) == 1
        points += 1

    session = (await world.pools.get(key_of())).session
    assert (session.received, session.answered) == (30, 30)


async def test_a_hub_that_is_superseded_learns_it_at_its_next_append(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.stream.take_over()

    with pytest.raises(Fenced):
        await world.submit(world.message("hello again", scope="elsewhere"))
    world.workers.end(turn)

    await asyncio.wait_for(world.is_fenced.wait(), 5)
    assert "answered" not in world.kinds()


async def test_a_superseded_hub_rests(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.stream.take_over()
    world.workers.end(turn)
    await asyncio.wait_for(world.is_fenced.wait(), 5)
    appends = world.stream.attempts

    await pass_time(10)

    assert world.stream.attempts - appends <= 1


async def test_the_mark_never_passes_an_open_turn(world: World) -> None:
    world.screen.gone.add("lost")
    await world.exchange("hello", scope="before")
    lost = await world.accepted("hello", scope="lost")
    await world.answered_unseen(lost)
    for number in range(10):
        await world.exchange("hello", scope=f"after {number}")
    await pass_time(10)

    received = world.stream.of(key_of("lost"))[0].sequence

    assert world.stream.mark == received


async def test_the_mark_never_passes_a_receipt_that_is_not_written(world: World) -> None:
    await world.exchange("hello", scope="first")
    received = world.stream.of(key_of("first"))[0].sequence
    world.stream.is_full = True
    await pass_time(10)
    assert world.stream.mark <= received

    world.stream.is_full = False
    await pass_time(10)

    assert world.stream.mark > received


async def test_the_mark_moves_past_what_is_closed(world: World) -> None:
    await world.exchange("hello")
    await pass_time(5)

    assert world.stream.mark > world.stream.of(key_of())[-1].sequence


async def test_the_mark_does_not_pass_a_turn_on_its_way_to_the_log(world: World) -> None:
    world.stream.hold_answers()
    asking = asyncio.create_task(world.submit(world.message("hello")))
    await until(lambda: "received" in world.kinds())
    await pass_time(10)

    assert world.stream.mark <= world.stream.of(key_of())[0].sequence

    world.stream.release()
    assert isinstance(await asking, Accepted)


async def test_a_new_hub_reads_from_the_mark_and_wakes_only_what_is_open(world: World) -> None:
    for number in range(5):
        await world.exchange("hello", scope=f"done {number}")
    world.screen.gone.add("lost")
    lost = await world.accepted("hello", scope="lost")
    await world.answered_unseen(lost)
    await pass_time(5)

    await world.restart()

    assert [pool.key.scope_id for pool in world.pools] == ["lost"]


async def test_superseded_and_shown_turns_are_not_woken(world: World) -> None:
    log = FakeLog(world.stream)
    await log.take_over(0.0)
    for name, closing in (
        ("a", TurnSuperseded(id="s", turn="t-a", at=0.0, by="another")),
        ("b", ReplyShown(id=record_id("t-b", "shown"), turn="t-b", at=0.0)),
    ):
        message = world.message("hello", scope=name)
        received = TurnReceived(id=f"r-{name}", turn=f"t-{name}", at=0.0, message=message, trust="public")
        world.stream.put(key_of(name), received, closing)

    await world.restart()

    assert len(world.pools) == 0


@pytest.mark.parametrize("word", ["/approve 0123456789abcdef", "/deny 0123456789abcdef", "/approvals"])
async def test_a_word_of_leave_whose_answer_the_power_took_is_told_so_and_shown_to_no_model(
    world: World, word: str
) -> None:
    await world.let_in("ann", "owner")
    log = FakeLog(world.stream)
    await log.take_over(0.0)
    message = world.message(word, scope="a")
    world.stream.put(key_of("a"), TurnReceived(id="r-a", turn="t-a", at=0.0, message=message, trust="public"))

    await world.restart()

    await until(lambda: "t-a" in world.screen.finals)
    final = world.screen.finals["t-a"]
    assert (final.text, final.outcome, final.choices) == (NOT_TOLD, "failed", (APPROVALS,))
    assert world.workers.runs_of("t-a") == 0


class Breathing(Ledger):
    """Books in which nothing but their keeping is looked at."""

    def __init__(self, breaths: Breaths) -> None:
        super().__init__()
        self._breaths = breaths

    def apply(self, sequence: int, key: RoutingKey, record: Record) -> None:
        self._breaths.note()


async def test_a_hub_that_finds_much_to_read_goes_on_with_all_else_meanwhile(world: World) -> None:
    await world.exchange("hello")
    world.stream.put(key_of(), *(3 * PAGE * [world.stream.of(key_of())[0].record]))
    breaths = Breaths()

    await recover(FakeLog(world.stream), world.pools, Breathing(breaths), world.forgetting)
    await breaths.close()

    assert 0 < breaths.most <= PAGE
