"""An answer that takes several messages of its platform: which they are stands on the log, whatever dies."""

from __future__ import annotations

import asyncio

import pytest

from factory_contracts.messages import FinalReceipt, Noted, ShownReceipt
from factory_contracts.records import ReplyOpened, record_id
from hub.kernel.session import fold
from tests.fakes import idle, until
from tests.hub.world import BOT, PLATFORM, World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def opened(world: World, turn: str, message_id: str, part: int | None = None) -> str | None:
    """A spoke tells that this part is on the screen; the message that counts."""
    noted = await world.noted(
        ShownReceipt(platform=PLATFORM, bot_id=BOT, scope_id="chat", turn=turn, message_id=message_id, part=part)
    )
    return noted.message_id


async def unseen(world: World, text: str = "hello") -> str:
    """A turn that runs, of which no screen knows yet."""
    world.screen.is_there = False
    turn = await world.accepted(text)
    await world.begun(turn)
    return turn


def openings(world: World) -> list[tuple[str, str, int | None]]:
    records = (one.record for one in world.stream.of(key_of()))
    return [(one.id, one.message_id, one.part) for one in records if isinstance(one, ReplyOpened)]


async def test_each_part_is_on_the_log_once_and_the_first_that_was_told_counts(world: World) -> None:
    turn = await unseen(world)

    told = [
        await opened(world, turn, "one"),
        await opened(world, turn, "two", 1),
        await opened(world, turn, "another one"),
        await opened(world, turn, "another two", 1),
        await opened(world, turn, "three", 2),
        await opened(world, turn, "two", 1),
    ]

    assert told == ["one", "two", "one", "two", "three", "two"]
    assert openings(world) == [
        (record_id(turn, "opened"), "one", None),
        (record_id(turn, "opened", 1), "two", 1),
        (record_id(turn, "opened", 2), "three", 2),
    ]


async def test_a_part_that_is_told_twice_at_once_is_one(world: World) -> None:
    turn = await unseen(world)
    await opened(world, turn, "one")
    world.stream.hold()
    telling = [asyncio.create_task(opened(world, turn, name, 1)) for name in ("two", "another two", "two")]
    await idle()

    world.stream.release()

    assert await asyncio.gather(*telling) == ["two", "two", "two"]
    assert len(openings(world)) == 2


async def test_a_part_whose_forerunner_nobody_told_is_not_noted(world: World) -> None:
    turn = await unseen(world)

    assert await opened(world, turn, "two", 1) is None
    assert await opened(world, turn, "one") == "one"
    assert await opened(world, turn, "three", 2) is None
    assert len(openings(world)) == 1


async def test_a_part_of_an_unknown_turn_is_noted_and_changes_nothing(world: World) -> None:
    assert await opened(world, "nothing", "two", 1) is None
    assert world.stream.all() == ()


async def test_updates_and_finals_name_all_messages_also_under_the_next_hub(world: World) -> None:
    turn = await unseen(world)
    world.workers.say(turn, "One ")
    await idle()
    before = world.updates(turn)[-1]
    for part, name in enumerate(("one", "two", "three")):
        await opened(world, turn, name, part or None)
    world.workers.say(turn, "two ")
    await idle()
    growing = world.updates(turn)[-1]
    await world.restart()
    await until(lambda: world.updates(turn)[-1].epoch > growing.epoch)
    resumed = world.updates(turn)[-1]
    world.workers.end(turn)
    await until(lambda: bool(world.finals(turn)))
    whole = world.finals(turn)[-1]
    await world.restart()
    await until(lambda: world.finals(turn)[-1].epoch > whole.epoch)
    again = world.finals(turn)[-1]

    assert (before.message_id, before.further) == (None, None)
    for event in (growing, resumed, whole, again):
        assert (event.message_id, event.further) == ("one", ("two", "three"))


async def test_one_message_alone_has_no_further_ones(world: World) -> None:
    turn = await unseen(world)
    await opened(world, turn, "one")
    world.workers.end(turn)
    await until(lambda: bool(world.finals(turn)))

    assert (world.finals(turn)[-1].message_id, world.finals(turn)[-1].further) == ("one", None)


async def test_a_part_opened_when_the_answer_is_whole_is_named_by_the_next_final(world: World) -> None:
    turn = await unseen(world)
    await opened(world, turn, "one")
    world.workers.end(turn)
    await until(lambda: bool(world.finals(turn)))

    await opened(world, turn, "two", 1)
    await world.hello()

    assert world.finals(turn)[-1].further == ("two",)


async def test_a_turn_waits_for_the_first_message_of_the_one_before_and_for_no_further_one(world: World) -> None:
    first = await unseen(world, "one")
    second = await world.accepted("two")
    world.workers.end(first)
    await until(lambda: bool(world.finals(first)))
    assert world.workers.runs_of(second) == 0

    await opened(world, first, "one")

    await world.begun(second)


async def test_a_receipt_closes_a_turn_of_several_messages(world: World) -> None:
    turn = await unseen(world)
    for part, name in enumerate(("one", "two")):
        await opened(world, turn, name, part or None)
    world.workers.end(turn)
    await until(lambda: bool(world.finals(turn)))

    receipt = FinalReceipt(platform=PLATFORM, bot_id=BOT, scope_id="chat", turn=turn, message_id="one")
    answer = await world.hub.answer(receipt)
    await world.deliveries.flush()

    assert isinstance(answer, Noted)
    assert not world.pool().session.turns
    assert world.kinds()[-1] == "shown"


async def test_a_double_of_an_opening_is_ignored_wherever_it_stands(world: World) -> None:
    turn = await unseen(world)
    for part, name in enumerate(("one", "two", "three")):
        await opened(world, turn, name, part or None)
    records = [one.record for one in world.stream.of(key_of())]
    doubles = [record for record in records if isinstance(record, ReplyOpened)]
    others = [double.model_copy(update={"message_id": f"another {double.message_id}"}) for double in doubles]

    for more in (doubles, others, doubles[::-1], others[1:]):
        world.stream.put(key_of(), *more)
    await world.restart()

    assert world.pool().session.turns[turn].bubbles == ("one", "two", "three")
    for index, double in enumerate(doubles):
        at = records.index(double) + 1
        doubled = [*records[:at], others[index], double, *records[at:]]
        session = fold(PLATFORM, BOT, "chat", enumerate(doubled, 1))
        assert session.turns[turn].bubbles == ("one", "two", "three")
    gap = [record for record in records if record != doubles[1]]
    assert fold(PLATFORM, BOT, "chat", enumerate(gap, 1)).turns[turn].bubbles == ("one",)


async def test_a_hub_that_dies_anywhere_while_a_part_is_noted_names_what_it_told(world: World) -> None:
    turn = await unseen(world)
    await opened(world, turn, "one")
    for part in range(1, 10):
        telling = asyncio.create_task(opened(world, turn, f"part {part}", part))
        for _ in range(part - 1):
            await asyncio.sleep(0)
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await world.restart()

        assert await opened(world, turn, f"part {part}", part) == f"part {part}"

    assert world.pool().session.turns[turn].bubbles == ("one", *(f"part {part}" for part in range(1, 10)))
