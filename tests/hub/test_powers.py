"""Words about people: what a code opens and for whom, who is one person with whom, and what nobody gets to read."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest

from adapters.nats.log import JetStreamLog
from factory_contracts.messages import Accepted, Final, Refused
from factory_contracts.records import ACT, Granted, Invited, MoneyReserved, TurnReceived
from factory_contracts.subjects import PARTITIONS
from factory_contracts.work import Recorded, RecordRequest
from factory_nats.testing import FakeBus
from hub.commands import WELCOME_TRUSTED
from hub.kernel.access import NOT_HERE, NOT_OWNER, NOT_TRUSTED_HERE
from hub.kernel.budget import Budget
from hub.kernel.guards import HIDDEN
from hub.kernel.routing import Binding, Bindings
from hub.people import INVITED_FOR, LINKING_FOR, LOST, NO_ROOM, OTHER_ACCOUNT, People
from hub.powers import TERMINAL_ONLY, WRONG_CODE
from tests.fakes import idle, until
from tests.hub.world import ALICE, BOT, GENEROUS, PLATFORM, World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")

OWNED = replace(GENEROUS, access="owners", owners=frozenset({"ann"}))
MILL = replace(GENEROUS, platform="stone", bot_id="mill", access="owners", owners=frozenset({"max"}))
TERMINAL = replace(GENEROUS, platform="cli", bot_id="main", everyone_owns=True)
NOTHING_OPENS = WRONG_CODE.format(platform=PLATFORM)


@pytest.fixture
def world(world: World) -> World:
    """A bot of Ann's, one of Max's on another platform, and a terminal."""
    world.policy, world.others = OWNED, (MILL, TERMINAL)
    world.bindings = Bindings({"alice": ALICE}, (Binding("alice"),))
    return world


def code_in(final: Final) -> str:
    """The code that somebody is shown."""
    (code,) = {found[0] for found in re.finditer("[0-9a-f]{24}", final.text)}
    return code


async def at_the_mill(world: World, text: str, user: str = "max") -> Final:
    return await world.told(text, user=user, platform="stone", bot="mill")


async def at_the_terminal(world: World, text: str) -> Final:
    return await world.told(text, user="ivy", platform="cli", bot="main")


async def linked(world: World, one: str = "ann", other: str = "max") -> None:
    """An account of the paper and one of the stone are one person."""
    first = code_in(await world.told("/link", user=one, scope=one))
    second = code_in(await at_the_mill(world, f"/link {first}", other))
    assert "are one person from now on" in (await at_the_mill(world, f"/link {second}", other)).text


# Letting in


@pytest.mark.parametrize("word", ["/invite", "/invite trusted"])
async def test_whom_an_owner_invites_is_let_in_by_the_code_and_welcomed(world: World, word: str) -> None:
    await world.restart()
    code = code_in(await world.told(word))
    before = await world.refused("hello", user="ben", scope="ben")

    welcome = await world.told(f"/start {code}", user="ben", scope="ben")
    await world.accepted("hello", user="ben", scope="ben")

    assert before.reason == "not allowed"
    assert WELCOME_TRUSTED in welcome.text
    trusts = [one.record.trust for one in world.stream.of(key_of("ben")) if isinstance(one.record, TurnReceived)]
    assert trusts == ["trusted", "trusted"]


async def test_who_is_invited_as_an_owner_may_invite_in_turn_and_who_is_trusted_may_not(world: World) -> None:
    await world.restart()
    await world.told(f"/start {code_in(await world.told('/invite owner'))}", user="ben", scope="ben")
    await world.told(f"/start {code_in(await world.told('/invite', user='ben', scope='ben'))}", user="cid", scope="cid")

    refused = await world.told("/invite", user="cid", scope="cid")

    assert (refused.outcome, refused.text) == ("failed", NOT_OWNER)
    assert await world.accepted("hello", user="cid", scope="cid")


async def test_a_code_lets_in_one_and_is_nothing_to_the_second(world: World) -> None:
    await world.restart()
    code = code_in(await world.told("/invite"))
    await world.told(f"/start {code}", user="ben", scope="ben")

    late = await world.refused(f"/start {code}", user="cid", scope="cid")
    again = await world.told(f"/start {code}", user="ben", scope="ben")

    assert late.text == NOTHING_OPENS
    assert WELCOME_TRUSTED in again.text


async def test_a_code_is_good_for_an_hour_for_its_bot_and_while_its_maker_is_an_owner(world: World) -> None:
    await world.restart()
    await world.let_in("olga", "owner")
    old, current, theirs = [code_in(await world.told(word, user="olga", scope="olga")) for word in ("/invite",) * 3]
    elsewhere = await world.refused(f"/start {current}", user="ben", scope="ben", platform="stone", bot="mill")
    await world.told(f"/start {current}", user="ben", scope="ben")
    await world.told("/revoke olga")
    theirs_now = await world.refused(f"/start {theirs}", user="cid", scope="cid")
    ben_now = await world.refused("hello", user="ben", scope="ben")
    mine = code_in(await world.told("/invite"))
    world.clock.forward(INVITED_FOR)

    too_late = [await world.refused(f"/start {code}", user="cid", scope="cid") for code in (old, mine)]

    assert [refused.text for refused in (theirs_now, *too_late)] == [NOTHING_OPENS] * 3
    assert elsewhere.text == WRONG_CODE.format(platform="stone")
    assert ben_now.reason == "not allowed"


@pytest.mark.parametrize("word", ["/invite", "/link", "/people", "/whoami"])
async def test_nothing_secret_is_said_in_a_group(world: World, word: str) -> None:
    await world.restart()

    final = await world.told(word, in_group=True)

    assert (final.outcome, final.text) == ("failed", NOT_HERE)
    assert world.stream.acts == []


async def test_an_owner_grants_revokes_blocks_and_unblocks_by_name(world: World) -> None:
    await world.restart()
    told: list[str] = []
    for word in ("/grant ben trusted", "/revoke ben", "/grant paper:ben owner", "/block ben", "/unblock ben"):
        told.append((await world.told(word)).outcome)
        answer = await world.submit(world.message("hello", user="ben", scope="ben"))
        told.append(answer.reason if isinstance(answer, Refused) else "heard")

    assert told[::2] == ["complete"] * 5
    assert told[1::2] == ["heard", "not allowed", "heard", "blocked", "heard"]


@pytest.mark.parametrize(
    "word",
    [
        *("/invite everything", "/invite trusted owner", "/people ann", "/grant", "/grant ben", "/grant ben king"),
        *("/grant ben trusted please", f"/grant {'b' * 256} trusted", "/revoke", "/block ben cid", "/link now"),
        *("/unlink paper:zoe", "/unlink", "/revoke zoe", "/unblock zoe", "/block ann"),
    ],
)
async def test_a_word_that_cannot_be_obeyed_is_answered_in_words_and_does_nothing(world: World, word: str) -> None:
    await world.restart()

    final = await world.told(word)

    assert final.outcome == "failed"
    assert len(final.text) > 20
    assert "reference" not in final.text.lower()
    assert world.stream.acts == []


async def test_people_are_listed_with_who_let_them_in_and_who_is_blocked(world: World) -> None:
    await world.restart()
    for word in ("/grant ben owner", "/grant cid trusted", "/block eve"):
        await world.told(word)
    await world.told("/grant dan trusted", user="ben", scope="ben")
    await world.told("/block ben")

    lines = (await world.told("/people")).text.splitlines()

    assert lines[0] == "**paper:desk** answers its owners and whom they let in:"
    assert "- paper:ann: owner, by the configuration" in lines
    assert any(line.startswith("- paper:cid: trusted. paper:ann made paper:cid trusted on") for line in lines)
    assert any(line.startswith("- paper:dan: trusted.") and "does not count" in line for line in lines)
    assert "- paper:eve: blocked" in lines


async def test_other_bots_are_named_at_the_terminal_alone(world: World) -> None:
    await world.restart()
    await linked(world)

    at_home = await at_the_terminal(world, "/invite owner stone:mill")
    elsewhere = await world.told("/invite owner stone:mill")
    here = await world.told(f"/invite owner {PLATFORM}:{BOT}")
    welcome = await at_the_mill(world, f"/start {code_in(at_home)}", "ned")

    assert "to stone:mill" not in at_home.text and "stone:mill" in at_home.text
    assert (elsewhere.outcome, elsewhere.text) == ("failed", TERMINAL_ONLY)
    assert here.outcome == "complete"
    assert welcome.outcome == "complete"


async def test_at_the_terminal_one_is_asked_for_whom_of_which_bot_a_code_is(world: World) -> None:
    await world.restart()

    asked = await at_the_terminal(world, "/invite owner")
    every = (await at_the_terminal(world, "/people")).text

    assert asked.choices == ("/invite owner paper:desk", "/invite owner stone:mill")
    assert all(f"**{bot}**" in every for bot in ("paper:desk", "stone:mill", "cli:main"))


async def test_a_word_that_waited_is_not_obeyed_once_its_speaker_may_not_say_it_any_more(world: World) -> None:
    await world.restart()
    await world.let_in("ben", "owner")
    running = await world.accepted("hello", user="ben", scope="ben")
    waiting = await world.accepted("/invite owner", user="ben", scope="ben")
    await world.told("/revoke ben")

    await world.answered(running)
    await until(lambda: waiting in world.screen.finals)

    assert world.screen.finals[waiting].text == NOT_OWNER
    assert not [data for data in world.stream.acts if isinstance(ACT.decode(data), Invited)]


async def test_where_the_log_is_full_nothing_is_granted_and_it_is_said(world: World) -> None:
    await world.restart()
    answer = await world.submit(world.message("/grant ben owner"))
    world.stream.is_full = True
    await idle()
    world.stream.is_full = False

    assert isinstance(answer, Accepted)
    await until(lambda: answer.turn in world.screen.finals)
    assert world.screen.finals[answer.turn].text == NO_ROOM
    assert world.stream.acts == []


@pytest.mark.parametrize("word", ["/invite", "/grant ben owner", "/revoke cid", "/block ben", "/unblock eve", "/link"])
async def test_a_hub_that_dies_anywhere_in_a_word_about_people_has_obeyed_it(world: World, word: str) -> None:
    await world.restart()
    for steps in range(16):
        for before in ("/revoke ben", "/unblock ben", "/grant cid trusted", "/block eve"):
            await world.told(before, scope="before")
        message = world.message(word, id=f"at {steps}")
        asking = asyncio.create_task(world.submit(message))
        # One more step of the event loop each time: so the kill falls on every point until the answer is shown.
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await world.restart()
        await world.submit(message)
        turn = world.turn(f"at {steps}")
        await until(partial(world.screen.finals.__contains__, turn))
        final = world.screen.finals[turn]

        assert final.outcome == "complete"
        if word in ("/invite", "/link"):
            shown = re.findall("[0-9a-f]{24}", final.text)
            assert shown or final.text.endswith(LOST)
        if word == "/invite" and shown:
            welcome = await world.told(f"/start {shown[0]}", user=f"new{steps}", scope=f"new{steps}")
            assert WELCOME_TRUSTED in welcome.text
    ids = [ACT.decode(data).id for data in world.stream.acts]
    assert len(ids) == len(set(ids))


# Codes are for one reader


async def test_no_code_stands_on_the_log_nor_is_one_shown_again_once_it_was(world: World) -> None:
    await world.restart()
    invited = await world.told("/invite")
    first = await world.told("/link")
    second = await at_the_mill(world, f"/link {code_in(first)}")
    codes = {code_in(final) for final in (invited, first, second)}
    await world.told(f"/start {code_in(invited)}", user="ben", scope="ben")
    await at_the_mill(world, f"/link {code_in(second)}")
    await world.deliveries.flush()
    shown = len(world.outbox.published)

    await world.hello()
    await world.restart()
    await world.hello()
    await idle()

    assert len(codes) == 3
    assert second.choices == (f"/link {code_in(second)}",)
    stored = [*(one.record.model_dump_json() for _, one in world.stream.all()), *map(bytes.decode, world.stream.acts)]
    assert not [text for text in stored if any(code in text for code in codes)]
    again = [event.model_dump_json() for event in world.outbox.published[shown:]]
    assert not [text for text in again if any(code in text for code in codes)]
    assert HIDDEN in " ".join(stored)


async def test_a_code_that_is_quoted_or_passed_on_reaches_neither_the_model_nor_the_log(world: World) -> None:
    await world.restart()
    invitation = await world.told("/invite")
    code = code_in(invitation)
    answer = await world.submit(world.message(f"is {code} for Ben?", quoted=invitation.text, scope="elsewhere"))
    assert isinstance(answer, Accepted)

    lines = " ".join(line.text for line in (await world.begun(answer.turn)).lines)
    group = await world.submit(world.message(f"/start {code}", scope="group", in_group=True))

    assert f"is {HIDDEN} for Ben?" in lines
    assert code not in lines
    assert isinstance(group, Accepted)
    assert not [one for _, one in world.stream.all() if code in one.record.model_dump_json()]


@pytest.mark.parametrize("words", ["/stop", "/forget", "/forget everything", "/approve {}", "/deny {}", "/approvals"])
async def test_no_word_takes_a_code_to_the_log(world: World, words: str) -> None:
    await world.restart()
    invitation = await world.told("/invite")
    code = code_in(invitation)

    answer = await world.submit(world.message(words.format(code), quoted=invitation.text, scope="elsewhere"))

    assert isinstance(answer, Accepted)
    stored = [one.record.model_dump_json() for _, one in world.stream.all()]
    assert HIDDEN in " ".join(stored)
    assert not [text for text in stored if code in text]


async def test_who_comes_by_one_code_takes_no_other_to_the_log(world: World) -> None:
    await world.restart()
    first, second = await world.told("/invite"), await world.told("/invite")

    came = world.message(f"/start {code_in(first)}", quoted=second.text, user="ben", scope="ben")

    assert isinstance(await world.submit(came), Accepted)
    stored = [one.record.model_dump_json() for _, one in world.stream.all()]
    assert not [text for text in stored if code_in(second) in text]


async def test_an_answer_whose_code_died_with_a_hub_says_so(world: World) -> None:
    await world.restart()
    world.screen.is_there = False
    turn = await world.accepted("/invite")
    await until(lambda: bool(world.finals(turn)))
    world.screen.is_there = True

    await world.restart()
    await until(lambda: turn in world.screen.finals)

    assert world.screen.finals[turn].text.endswith(LOST)
    assert not re.search("[0-9a-f]{24}", world.screen.finals[turn].text)


# One person on two platforms


async def test_two_accounts_are_one_person_once_both_have_said_so(world: World) -> None:
    await world.restart()
    first = await world.told("/link")
    proposal = await at_the_mill(world, f"/link {code_in(first)}")
    before = world.people.access.person("paper:ann")
    joined = await at_the_mill(world, f"/link {code_in(proposal)}")

    assert "paper:ann" in proposal.text
    assert before == ("paper:ann",)
    assert "paper:ann and stone:max are one person" in joined.text
    assert world.people.access.person("stone:max") == ("paper:ann", "stone:max")
    await world.restart()
    assert world.people.access.person("stone:max") == ("paper:ann", "stone:max")


async def test_what_one_account_may_the_other_may_until_they_part(world: World) -> None:
    await world.restart()
    await world.let_in("zoe")
    await at_the_terminal(world, "/grant stone:max owner paper:desk")
    before = await world.told("/invite", user="zoe", scope="zoe")
    await linked(world, one="zoe")
    together = await world.told("/invite", user="zoe", scope="zoe")
    who = (await world.told("/whoami", user="zoe", scope="zoe")).text

    parted = await at_the_mill(world, "/unlink")
    after = await world.told("/invite", user="zoe", scope="zoe")

    assert [one.outcome for one in (before, together, after)] == ["failed", "complete", "failed"]
    assert "**owner**" in who and "paper:zoe and stone:max are one person." in who
    assert "stone:max is a person of its own" in parted.text


async def test_who_is_let_in_nowhere_links_an_account_where_nobody_hears_them(world: World) -> None:
    await world.restart()
    first = code_in(await at_the_mill(world, "/link"))

    proposal = await world.told(f"/link {first}", user="ben", scope="ben")
    await world.told(f"/link {code_in(proposal)}", user="ben", scope="ben")

    assert world.people.access.person("paper:ben") == ("stone:max", "paper:ben")
    assert (await world.refused("hello", user="ben", scope="ben")).reason == "not allowed"


@pytest.mark.parametrize("seconds", [0.0, LINKING_FOR])
async def test_a_code_for_linking_is_for_the_first_who_sends_it_and_for_ten_minutes(
    world: World, seconds: float
) -> None:
    await world.restart()
    first = code_in(await world.told("/link"))
    proposal = await at_the_mill(world, f"/link {first}")
    world.clock.forward(seconds)

    by_another = await world.refused(f"/link {first}", user="ben", scope="ben")
    second_by_another = await world.refused(f"/link {code_in(proposal)}", user="ben", scope="ben")
    then = await world.submit(world.message(f"/link {code_in(proposal)}", user="max", platform="stone", bot="mill"))

    assert (by_another.text, second_by_another.text) == (NOTHING_OPENS, NOTHING_OPENS)
    # What somebody else sent is good for nobody any more.
    assert isinstance(then, Refused)
    assert world.people.access.person("stone:max") == ("stone:max",)


async def test_a_step_of_linking_that_is_sent_again_says_the_same(world: World) -> None:
    await world.restart()
    first = code_in(await world.told("/link"))
    proposals = [await at_the_mill(world, f"/link {first}") for _ in range(2)]
    joined = [await at_the_mill(world, f"/link {code_in(proposals[0])}") for _ in range(2)]
    await at_the_mill(world, "/unlink")

    after = await world.submit(
        world.message(f"/link {code_in(proposals[0])}", user="max", platform="stone", bot="mill")
    )

    assert proposals[0].text == proposals[1].text
    assert joined[0].text == joined[1].text
    assert isinstance(after, Refused)


async def test_one_account_cannot_be_both_sides(world: World) -> None:
    await world.restart()
    first = code_in(await world.told("/link"))

    assert (await world.told(f"/link {first}")).text == OTHER_ACCOUNT
    assert world.people.access.person("paper:ann") == ("paper:ann",)


async def test_who_is_blocked_anywhere_is_linked_with_nobody_and_hears_why(world: World) -> None:
    await world.restart()
    await at_the_terminal(world, "/block paper:ben stone:mill")
    await world.let_in("ben")
    first = code_in(await world.told("/link"))

    final = await world.told(f"/link {first}", user="ben", scope="ben")

    assert "blocked" in final.text
    assert world.people.access.person("paper:ben") == ("paper:ben",)


async def test_one_person_is_one_to_memory_and_to_budgets_and_no_worker_says_whose_money_it_is(world: World) -> None:
    world.budgets = (Budget("each", Decimal(1), per="user"),)
    await world.restart()
    await linked(world)
    message = world.message("hello", user="max", platform="stone", bot="mill")
    said = await world.submit(message)
    assert isinstance(said, Accepted)
    assignment = await world.begun(said.turn)
    wanted = MoneyReserved(
        id="r", turn=said.turn, at=0.0, attempt=1, call="m1", user_id="zoe", agent="alice", model="m", amount=Decimal(1)
    )
    asked = RecordRequest(
        platform="stone", bot_id="mill", scope_id="chat", attempt=1, instance=assignment.chosen.instance, record=wanted
    )

    answer = await world.hub.record("w1", asked)

    assert (assignment.user_id, assignment.person) == ("max", "paper:ann")
    assert isinstance(answer, Recorded)
    noted = [one.record for _, one in world.stream.all() if isinstance(one.record, MoneyReserved)]
    assert [(one.user_id, one.person) for one in noted] == [("max", "paper:ann")]
    assert "$1.00 held" in (await world.told("/usage", user="ann")).text


async def test_who_is_linked_with_nobody_has_the_memory_and_the_budgets_they_had(world: World) -> None:
    await world.restart()
    turn = await world.accepted("hello")

    assignment = await world.begun(turn)

    assert (assignment.user_id, assignment.person) == ("ann", None)


# In a group


@pytest.mark.parametrize("word", ["/new", "/undo", "/retry", "/compact", "/expand"])
async def test_in_a_group_only_who_is_trusted_changes_what_all_see(world: World, word: str) -> None:
    world.policy = GENEROUS
    await world.restart()
    await world.let_in("ben")
    await world.exchange("one", "1")
    before = world.kinds()

    refused = await world.told(word, user="cid", in_group=True)

    assert (refused.outcome, refused.text) == ("failed", NOT_TRUSTED_HERE)
    assert not {"session", "head", "bound"} & set(world.kinds()[len(before) :])
    assert [one.asked for one in world.pool().session.history] == ["one"]
    in_private = await world.submit(world.message(word, user="cid", scope="private"))
    assert isinstance(in_private, Accepted)
    assert (await world.told("/undo", user="ben", in_group=True)).outcome == "complete"


async def test_what_is_put_in_short_in_a_group_is_taken_back_by_who_is_trusted_alone(world: World) -> None:
    world.policy = GENEROUS
    await world.restart()
    await world.let_in("ben")
    await world.exchange("one", "1")
    short = await world.accepted("/compact")
    await world.answered(short, "In short.")

    await world.told("/expand", user="cid", in_group=True)
    kept = world.pool().session.summary
    await world.told("/expand", user="ben", in_group=True)

    assert (kept, world.pool().session.summary) == ("In short.", "")


async def test_help_tells_everybody_what_they_may_say(world: World) -> None:
    world.policy = GENEROUS
    await world.restart()

    in_private = (await world.told("/help", user="cid")).text
    in_a_group = (await world.told("/help", user="cid", in_group=True)).text

    assert all(word in in_private for word in ("`/new`", "`/link`", "`/limits`"))
    assert not [word for word in ("`/invite`", "`/people`", "`/block`") if word in in_private]
    assert not [word for word in ("`/new`", "`/link`", "`/undo`") if word in in_a_group]


# Hubs that share


async def test_an_act_whose_answer_the_bus_lost_is_known_to_the_other_hubs_before_it_is_told() -> None:
    bus = FakeBus()
    log = JetStreamLog(bus.join("hub"), "this")
    await log.create()
    assert await log.take(range(PARTITIONS), 0.0)
    told: list[bool] = []

    async def tell() -> None:
        told.append(people.access.standing(key_of().bot, "paper:ann").level == "trusted")

    people = People(log, (GENEROUS,), tell=tell)
    bus.lose_answers()

    refused = await people.do(Granted(id="g", at=0.0, to="paper:ann", bot=key_of().bot, level="trusted"))

    assert refused == ""
    assert told == [True]
