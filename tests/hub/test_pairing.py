"""Who becomes an owner by a code, and that it happens once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from factory_contracts.messages import Accepted, Noted, Refused, Submit
from factory_contracts.records import ACT, Granted, Owner, TurnReceived
from hub.commands import WELCOME_OWNER
from hub.kernel.access import BotPolicy
from hub.kernel.guards import Pairing, digest_of
from hub.powers import WRONG_CODE
from tests.fakes import idle, until
from tests.hub.world import BOT, PLATFORM, World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")

DESK = (PLATFORM, BOT)
BOT_NAME = f"{PLATFORM}:{BOT}"
CODE = "0123456789abcdef01234567"
OTHER_CODE = "f" * 24
START = f"/start {CODE}"


async def offered(world: World, *, policy: BotPolicy | None = None) -> None:
    """The hub is started anew with a bot that has no owner, and this code is on offer."""
    await world.kill()
    world.policy = policy or BotPolicy(PLATFORM, BOT, rate_per_minute=1_000)
    await world.reign()
    offer(world, CODE)


def paired(world: World) -> list[str]:
    """Whom the home let in by a code, as it stands on the log."""
    acts = [ACT.decode(data) for data in world.stream.acts]
    assert all(isinstance(act, Granted) and (act.by, act.level, act.bot) == (None, "owner", BOT_NAME) for act in acts)
    return [act.to for act in acts if isinstance(act, Granted)]


def offer(world: World, code: str, seconds: float = 3600.0) -> None:
    world.offers[DESK] = Pairing(digest_of(code), world.clock() + seconds)


async def test_who_sends_the_code_is_welcomed_and_may_speak_from_then_on(world: World) -> None:
    await offered(world)
    before = await world.refused("hello")

    final = await world.told(START)

    assert before.reason == "no owner"
    assert "factory init paper" in before.text
    assert WELCOME_OWNER in final.text
    assert await world.accepted("hello")
    assert paired(world) == ["paper:ann"]


async def test_an_owner_by_code_is_one_under_the_next_hub_in_every_chat_and_has_an_owners_trust(world: World) -> None:
    await offered(world)
    await world.told(START)
    await world.restart()

    await world.accepted("hello", scope="elsewhere")

    (received,) = (one.record for one in world.stream.of(key_of("elsewhere")) if isinstance(one.record, TurnReceived))
    assert received.trust == "owner"


async def test_the_owners_of_the_configuration_stay_owners(world: World) -> None:
    await offered(world, policy=BotPolicy(PLATFORM, BOT, owners=frozenset({"zoe"})))

    await world.told(START)

    assert await world.accepted("hello", user="zoe")
    assert await world.accepted("hello", user="ann")


async def test_a_code_makes_one_owner(world: World) -> None:
    await offered(world)
    await world.told(START)

    late = await world.refused(START, user="ben")
    still = await world.refused("hello", user="ben")

    assert (late.reason, still.reason) == ("not allowed", "not allowed")
    assert "factory init paper" in late.text


async def test_of_two_who_send_the_code_in_one_instant_one_is_an_owner(world: World) -> None:
    await offered(world)
    world.stream.hold()
    asking = [asyncio.create_task(world.submit(world.message(START, scope=user, user=user))) for user in ("ann", "ben")]
    await idle()

    world.stream.release()
    answers = await asyncio.gather(*asking)

    assert [type(answer) for answer in answers] == [Accepted, Refused]
    assert paired(world) == ["paper:ann"]


@pytest.mark.parametrize("steps", range(16))
async def test_a_code_sent_again_after_a_hub_died_anywhere_in_it_is_no_wrong_code(world: World, steps: int) -> None:
    await offered(world)
    message = world.message(START, id="m")
    asking = asyncio.create_task(world.submit(message))
    # One more step of the event loop each time: so the kill falls on every point until the answer is shown.
    for _ in range(steps):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await world.restart()

    answer = await world.submit(message)

    assert not isinstance(answer, Refused)
    await until(partial(world.screen.finals.__contains__, world.turn("m")))
    assert WELCOME_OWNER in world.screen.finals[world.turn("m")].text
    assert paired(world) == ["paper:ann"]
    assert world.kinds().count("received") == 1


async def test_an_owner_who_sends_the_old_code_again_is_greeted(world: World) -> None:
    await offered(world)
    await world.told(START)

    final = await world.told(START)

    assert WELCOME_OWNER in final.text


@pytest.mark.parametrize(
    ("said", "seconds"), [(f"/start {OTHER_CODE}", 3600.0), (START, 0.0), (START, -1.0)], ids=["wrong", "over", "old"]
)
async def test_a_code_that_is_wrong_or_too_late_opens_nothing_and_all_are_told_the_same(
    world: World, said: str, seconds: float
) -> None:
    await offered(world)
    offer(world, CODE, seconds)

    refused = await world.refused(said)

    assert (refused.reason, refused.text) == ("not allowed", WRONG_CODE.format(platform=PLATFORM))
    assert (world.stream.acts, world.stream.all()) == ([], ())


async def test_a_code_is_no_code_in_a_group(world: World) -> None:
    await offered(world)

    answer = await world.submit(world.message(START, in_group=True))

    assert isinstance(answer, Refused)
    assert paired(world) == []


async def test_who_is_blocked_cannot_become_an_owner(world: World) -> None:
    await offered(world, policy=BotPolicy(PLATFORM, BOT, blocked=frozenset({"ann"})))

    refused = await world.refused(START)

    assert (refused.reason, refused.text) == ("blocked", "")
    assert paired(world) == []


async def test_who_guesses_is_slowed_down(world: World) -> None:
    await offered(world, policy=BotPolicy(PLATFORM, BOT, rate_per_minute=3))

    reasons = [(await world.refused(f"/start {number:024x}")).reason for number in range(4)]
    at_last = await world.refused(START)

    assert reasons == ["not allowed"] * 3 + ["too fast"]
    assert at_last.reason == "too fast"


async def test_a_code_that_is_offered_while_the_hub_runs_is_known_at_once(world: World) -> None:
    await offered(world)
    await world.told(START)
    offer(world, OTHER_CODE)

    await world.told(f"/start {OTHER_CODE}", user="ben")

    assert paired(world) == ["paper:ann", "paper:ben"]


async def test_a_used_code_that_is_still_on_offer_stays_used_under_the_next_hub(world: World) -> None:
    await offered(world)
    await world.told(START)
    await world.restart()

    assert (await world.refused(START, user="ben")).reason == "not allowed"


async def test_the_code_stands_neither_on_the_log_nor_on_another_screen(world: World) -> None:
    await offered(world)
    message = world.message(START, echo=True)

    await world.submit(message)
    await idle()

    said = [*(logged.record.model_dump_json() for _, logged in world.stream.all())]
    said += [data.decode() for data in world.stream.acts]
    said += [event.model_dump_json() for event in world.outbox.published]
    assert said
    assert CODE not in " ".join(said)


async def test_where_the_log_is_full_nobody_becomes_an_owner_and_can_try_again(world: World) -> None:
    await offered(world)
    world.stream.is_full = True
    refused = await world.refused(START)

    world.stream.is_full = False
    final = await world.told(START)

    assert refused.reason == "unavailable"
    assert WELCOME_OWNER in final.text


async def test_a_bot_for_everybody_has_owners_by_code_too(world: World) -> None:
    await offered(world, policy=BotPolicy(PLATFORM, BOT, access="public"))

    before = await world.told("/start")
    final = await world.told(START)

    assert WELCOME_OWNER not in before.text
    assert WELCOME_OWNER in final.text


async def test_a_spoke_that_only_asks_is_told_that_a_code_would_be_heard_and_spends_none(world: World) -> None:
    await offered(world)
    message = world.message(START)

    asked = Submit(platform=PLATFORM, bot_id=BOT, scope_id="chat", message=message, only_asks=True)

    assert isinstance(await world.hub.answer(asked), Noted)
    assert paired(world) == []


async def test_who_became_an_owner_before_there_were_acts_is_one_still_and_can_be_put_out(world: World) -> None:
    await offered(world)
    world.stream.owners[DESK] = (Owner(user_id="ann", code=digest_of(CODE), at=1.0),)
    await world.restart()
    is_in = await world.accepted("hello", user="ann")
    used = await world.refused(START, user="ben")
    await world.let_in("zoe", "owner")

    await world.told("/revoke ann", user="zoe", scope="zoe")
    put_out = await world.refused("hello", user="ann")
    await world.restart()

    assert is_in
    assert (used.reason, put_out.reason) == ("not allowed", "not allowed")
    assert (await world.refused("hello", user="ann")).reason == "not allowed"


async def test_who_was_put_out_does_not_come_back_by_the_code_that_let_them_in(world: World) -> None:
    await offered(world)
    await world.told(START)
    await world.let_in("zoe", "owner")
    await world.told("/revoke ann", user="zoe", scope="zoe")

    assert (await world.refused(START)).text == WRONG_CODE.format(platform=PLATFORM)
    assert (await world.refused("hello")).reason == "not allowed"
