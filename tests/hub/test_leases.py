"""Which of a bot's spokes speaks for it."""

from __future__ import annotations

import asyncio

import pytest

from adapters.nats.log import JetStreamLog
from factory_contracts.messages import Claim, Hello, Leased, Noted, StandBy, Submit, ToSpoke, Welcome
from factory_nats.testing import FakeBus
from hub.kernel.ports import Fenced
from hub.leases import PARTITION, SILENCE, Leases
from tests.fakes import FakePresence, idle
from tests.hub.world import BOT, PLATFORM, World

pytestmark = pytest.mark.asyncio(loop_scope="function")

OTHER = "other"


def claim(instance: str, *, leaves: bool | None = None, bot: str = BOT) -> Claim:
    return Claim(platform=PLATFORM, bot_id=bot, scope_id="*", instance=instance, leaves=leaves)


async def told(world: World, instance: str, *, leaves: bool | None = None, bot: str = BOT) -> ToSpoke | None:
    return await world.hub.answer(claim(instance, leaves=leaves, bot=bot), f"inbox of {instance}")


async def generation(world: World, instance: str) -> int:
    answer = await told(world, instance)
    assert isinstance(answer, Leased), answer
    return answer.generation


async def test_the_first_who_asks_speaks_and_the_second_stands_by(world: World) -> None:
    first = await generation(world, "a")

    assert await told(world, "b") == StandBy(generation=first)
    assert await told(world, "a") == Leased(generation=first)


async def test_of_many_who_ask_at_once_one_speaks(world: World) -> None:
    answers = await asyncio.gather(*(told(world, f"i{number}") for number in range(20)))

    assert len([one for one in answers if isinstance(one, Leased)]) == 1
    assert len({one.generation for one in answers if isinstance(one, Leased | StandBy)}) == 1


async def test_who_asks_again_before_it_is_answered_is_told_that_it_speaks(world: World) -> None:
    answers = await asyncio.gather(*(told(world, "a") for _ in range(5)))

    assert len(set(answers)) == 1
    assert isinstance(answers[0], Leased)


async def test_each_bot_has_a_lease_of_its_own(world: World) -> None:
    assert isinstance(await told(world, "a"), Leased)
    assert isinstance(await told(world, "b", bot=OTHER), Leased)


async def test_who_is_not_connected_any_more_is_succeeded_within_half_a_second(world: World) -> None:
    first = await generation(world, "a")
    world.presence.gone.add("inbox of a")
    died = asyncio.get_running_loop().time()

    later = await generation(world, "b")

    assert later > first
    assert asyncio.get_running_loop().time() - died < 0.5


async def test_who_is_back_in_a_moment_is_not_succeeded(world: World) -> None:
    first = await generation(world, "a")
    world.presence.gone.add("inbox of a")
    asking = asyncio.create_task(told(world, "b"))
    await asyncio.sleep(0.1)

    assert await told(world, "a") == Leased(generation=first)

    assert await asking == StandBy(generation=first)


async def test_who_is_heard_of_while_it_is_looked_for_once_more_is_not_succeeded(world: World) -> None:
    first = await generation(world, "a")
    world.presence.gone.add("inbox of a")
    looks = 0

    async def heard_meanwhile() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            assert await told(world, "a") == Leased(generation=first)

    world.presence.on_look = heard_meanwhile

    assert await told(world, "b") == StandBy(generation=first)
    assert looks == 2


async def test_who_was_silent_is_not_told_that_it_speaks_while_another_is_given_the_lease(world: World) -> None:
    await generation(world, "a")
    await asyncio.sleep(SILENCE + 0.1)
    world.stream.hold()
    succeeding = asyncio.create_task(told(world, "b"))
    await idle()
    back = [asyncio.create_task(told(world, "a")) for _ in range(3)]
    await idle()
    assert not any(asking.done() for asking in (succeeding, *back))

    world.stream.release()
    later = await succeeding

    assert isinstance(later, Leased)
    assert await asyncio.gather(*back) == [StandBy(generation=later.generation)] * 3


async def test_who_was_silent_speaks_on_where_the_lease_could_not_be_given_to_another(world: World) -> None:
    first = await generation(world, "a")
    await asyncio.sleep(SILENCE + 0.1)
    world.stream.is_full = True
    world.stream.hold()
    succeeding = asyncio.create_task(told(world, "b"))
    await idle()
    back = asyncio.create_task(told(world, "a"))
    await idle()

    world.stream.release()

    assert await succeeding is None
    assert await back == Leased(generation=first)
    assert await told(world, "a") == Leased(generation=first)
    assert await told(world, "b") == StandBy(generation=first)


async def test_a_hub_that_dies_while_it_gives_a_lease_has_told_nobody_that_they_speak(world: World) -> None:
    await generation(world, "a")
    await asyncio.sleep(SILENCE + 0.1)
    world.stream.hold_answers()
    asked = [asyncio.create_task(told(world, "b"))]
    await idle()
    asked.append(asyncio.create_task(told(world, "a")))
    await idle()
    for asking in asked:
        asking.cancel()
    told_before = await asyncio.gather(*asked, return_exceptions=True)

    await world.restart()

    assert all(isinstance(one, asyncio.CancelledError) for one in told_before)
    later = await generation(world, "b")
    assert await told(world, "a") == StandBy(generation=later)


async def test_who_is_silent_is_succeeded_though_connected_but_not_before_it_holds_its_lease_for_lost(
    world: World,
) -> None:
    await generation(world, "a")

    await asyncio.sleep(SILENCE - 0.1)
    assert isinstance(await told(world, "b"), StandBy)
    await asyncio.sleep(0.2)

    assert isinstance(await told(world, "b"), Leased)


async def test_who_is_alone_may_be_silent_for_as_long_as_it_likes(world: World) -> None:
    first = await generation(world, "a")
    await asyncio.sleep(1000 * SILENCE)

    assert await generation(world, "a") == first


async def test_who_leaves_is_succeeded_at_once_and_nobody_else_can_end_a_lease(world: World) -> None:
    first = await generation(world, "a")
    assert isinstance(await told(world, "b", leaves=True), Noted)
    assert await told(world, "c") == StandBy(generation=first)

    assert isinstance(await told(world, "a", leaves=True), Noted)

    assert isinstance(await told(world, "c"), Leased)


async def test_what_is_asked_under_an_earlier_generation_is_not_done(world: World) -> None:
    first = await generation(world, "a")
    await told(world, "a", leaves=True)
    later = await generation(world, "b")
    message = world.message("hello")
    submit = Submit(platform=PLATFORM, bot_id=BOT, scope_id="chat", message=message)

    stale = await world.hub.answer(submit.model_copy(update={"generation": first}))
    taken = await world.hub.answer(submit.model_copy(update={"generation": later}))

    assert stale == StandBy(generation=later)
    assert taken is not None
    assert taken.kind == "accepted"
    assert world.kinds() == ["received"]


async def test_a_new_hub_knows_who_speaks_and_refuses_who_did(world: World) -> None:
    first = await generation(world, "a")
    await told(world, "a", leaves=True)
    later = await generation(world, "b")

    await world.restart()

    hello = Hello(platform=PLATFORM, bot_id=BOT, scope_id="*", generation=first)
    assert await world.hub.answer(hello) == StandBy(generation=later)
    assert isinstance(await world.hub.answer(hello.model_copy(update={"generation": later})), Welcome)
    assert await told(world, "c") == StandBy(generation=later)
    assert await generation(world, "b") == later


async def test_a_new_hub_sees_that_who_spoke_is_gone_though_it_never_heard_of_it(world: World) -> None:
    await generation(world, "a")
    world.presence.gone.add("inbox of a")

    await world.restart()

    assert isinstance(await told(world, "b"), Leased)


async def test_a_hub_that_learns_of_a_later_generation_looks_who_speaks(world: World) -> None:
    await generation(world, "a")
    other = World()
    other.stream, other.presence = world.stream, world.presence
    await other.reign()
    await told(other, "a", leaves=True)
    later = await generation(other, "b")

    hello = Hello(platform=PLATFORM, bot_id=BOT, scope_id="*", generation=later)
    assert isinstance(await world.hub.answer(hello), Welcome)

    stale = Hello(platform=PLATFORM, bot_id=BOT, scope_id="*", generation=later - 1)
    assert await world.hub.answer(stale) == StandBy(generation=later)
    await other.kill()


async def test_without_room_for_the_record_nobody_is_given_the_lease(world: World) -> None:
    world.stream.is_full = True
    assert await told(world, "a") is None
    world.stream.is_full = False

    assert isinstance(await told(world, "a"), Leased)


async def test_who_claims_nothing_is_asked_for_nothing(world: World) -> None:
    await generation(world, "a")

    assert isinstance(await world.hello(), Welcome)


class Sharer:
    """The part of a hub that shares which gives leases."""

    def __init__(self, bus: FakeBus, name: str) -> None:
        self.presence = FakePresence()
        self.log = JetStreamLog(bus.join("hub"), name)
        self.leases = Leases(self.log, self.presence, lambda: 0.0)

    async def generation(self, instance: str) -> int:
        answer = await self.leases.claim(claim(instance), f"inbox of {instance}")
        assert isinstance(answer, Leased), answer
        return answer.generation

    async def later(self, generation: int) -> int | None:
        hello = Hello(platform=PLATFORM, bot_id=BOT, scope_id="*", generation=generation)
        return await self.leases.later(hello)


async def test_of_hubs_that_share_one_gives_leases_and_the_others_know_of_them() -> None:
    bus = FakeBus()
    giver, other = Sharer(bus, "giver"), Sharer(bus, "other")
    await giver.log.create()
    assert await giver.log.take((PARTITION,), 0.0) and await other.log.take((PARTITION + 1,), 0.0)
    first = await giver.generation("a")
    assert await other.later(first) is None
    with pytest.raises(Fenced):
        await other.generation("b")
    giver.presence.gone.add("inbox of a")

    second = await giver.generation("b")

    assert await other.later(first) == second
    assert await other.later(second) is None


async def test_a_lease_outlives_the_hub_that_gave_it_and_no_other_is_given_while_it_holds() -> None:
    bus = FakeBus()
    giver, heir = Sharer(bus, "giver"), Sharer(bus, "heir")
    await giver.log.create()
    assert await giver.log.take((PARTITION,), 0.0)
    generation = await giver.generation("a")

    assert await heir.log.take((PARTITION,), 0.0)

    assert await heir.leases.claim(claim("b"), "inbox of b") == StandBy(generation=generation)
    assert await heir.generation("a") == generation


async def test_a_hub_that_gives_the_leases_again_knows_what_another_gave_meanwhile() -> None:
    bus = FakeBus()
    first, second = Sharer(bus, "first"), Sharer(bus, "second")
    await first.log.create()
    assert await first.log.take((PARTITION,), 0.0)
    early = await first.generation("a")
    assert await second.log.take((PARTITION,), 0.0)
    await second.leases.claim(claim("a", leaves=True), "inbox of a")
    late = await second.generation("b")

    await first.log.verify()
    assert await first.log.take((PARTITION,), 0.0)

    assert await first.later(early) == late
