"""Words to the hub: what each puts on the log, what the person reads, and what the model is shown afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest

from factory_contracts.messages import Accepted, Attachment, Final, Usage, Welcome
from factory_contracts.records import Bound, Compacted, HeadMoved, TurnAnswered
from hub.commands import APPROVALS, APPROVE, COMMANDS, DENY, MAX_MODEL_NAME, SUMMARISE, WELCOME_OWNER
from hub.kernel.access import BotPolicy
from hub.kernel.agent import BY_HAND, Agent
from hub.kernel.budget import Budget
from hub.kernel.routing import Binding, Bindings
from hub.kernel.session import COMPACT_AFTER
from tests.fakes import idle, pass_time, until
from tests.hub.world import ALICE, BOB, BOT, PLATFORM, World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")

FERN = Agent("fern", "scripted:a", fallbacks=("scripted:b",), tools=("clock",), description="has two models")
CAT = Attachment(kind="image", name="cat.png", mime="image/png", size=3, blob="b1")


async def shown(world: World, text: str = "next", scope: str = "chat") -> list[str]:
    """What the model is shown for the next message, which is answered as well."""
    turn = await world.accepted(text, scope=scope)
    lines = [line.text for line in (await world.begun(turn)).lines]
    await world.answered(turn)
    return lines


def records(world: World, kind: type[HeadMoved] | type[Bound], scope: str = "chat") -> int:
    return sum(isinstance(one.record, kind) for one in world.stream.of(key_of(scope)))


async def test_a_word_that_the_hub_does_not_know_is_for_the_agent(world: World) -> None:
    turn = await world.accepted("/dance with me")

    assert [line.text for line in (await world.begun(turn)).lines] == ["/dance with me"]


@pytest.mark.parametrize("word", [*sorted(set(COMMANDS) - {"/stop"}), APPROVALS, APPROVE, DENY])
async def test_no_word_to_the_hub_is_left_unanswered_in_an_empty_conversation(world: World, word: str) -> None:
    final = await world.told(word)

    assert final.text
    assert "reference" not in final.text.lower()


@pytest.mark.parametrize("word", ["/new", "/agent bob", "/usage", "/undo", "/stop", "/model", "/why", "/expand"])
async def test_what_the_hub_says_is_never_shown_to_a_model_and_costs_no_model_call(world: World, word: str) -> None:
    final = await world.told(word)

    assert final.text not in " ".join(await shown(world))
    assert final.usage == Usage()


@pytest.mark.parametrize(
    "word", ["/new", "/agent bob", "/model scripted", "/undo", "/usage", "/why", "/expand", "/fork copy", "/agent x"]
)
async def test_a_hub_that_dies_anywhere_in_a_word_to_it_obeys_it_once(world: World, word: str) -> None:
    world.policy = replace(world.policy, everyone_owns=True)
    await world.restart()
    await world.exchange("one", "1")
    await world.exchange("two", "2")
    for steps in range(18):
        before, history = len(world.kinds()), len(world.pool().session.history)
        message = world.message(word, id=f"at {steps}", names_scopes=True)
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
        await until(lambda: not world.pool().session.turns)
        await world.deliveries.flush()

        kinds = world.kinds()[before:]
        changes = [kind for kind in kinds if kind in ("session", "bound", "head")]
        assert kinds.count("answered") == 1
        assert len(changes) == (word in ("/new", "/agent bob", "/model scripted", "/undo"))
        if word == "/undo":
            assert len(world.pool().session.history) == max(0, history - 1)
            await world.exchange("more", "3")
    assert world.workers.runs_of(world.turn("at 3")) == 0


# /start and /help


@pytest.mark.parametrize("word", ["/start", "/start with words that somebody left over"])
async def test_start_greets_with_who_answers_and_what_one_can_do(world: World, word: str) -> None:
    final = await world.told(word)

    assert "**alice** answers here. answers first" in final.text
    assert "`/help`" in final.text
    assert WELCOME_OWNER not in final.text
    assert 2 <= len(final.text.splitlines()) <= 4


async def test_start_tells_owners_that_they_are(world: World) -> None:
    world.policy = replace(world.policy, owners=frozenset({"ann"}))
    await world.restart()

    assert WELCOME_OWNER in (await world.told("/start", user="ann")).text


async def test_help_tells_an_owner_every_word_in_a_line(world: World) -> None:
    await world.let_in("ann", "owner")
    final = await world.told("/help", names_scopes=True)

    told = [line.split("`")[1] for line in final.text.splitlines() if line.startswith("- ")]
    assert told == [*COMMANDS]


async def test_help_tells_no_word_that_means_nothing_here(world: World) -> None:
    assert "/fork" not in (await world.told("/help")).text


# /model


async def test_model_alone_tells_which_one_answers_and_which_may_be_chosen(world: World) -> None:
    await world.serve(FERN)

    final = await world.told("/model")

    assert "**fern** answers here with `scripted:a`" in final.text
    assert "`scripted:b`" in final.text


async def test_a_model_that_is_chosen_answers_from_then_on_and_under_the_next_hub(world: World) -> None:
    await world.serve(FERN)
    await world.let_in("ann")
    await world.told("/model scripted:b")
    await world.restart()

    turn = await world.accepted("hello")
    agent = (await world.begun(turn)).agent
    welcome = await world.hello("chat")

    assert (agent.name, agent.model, agent.fallbacks) == ("fern", "scripted:b", ())
    assert isinstance(welcome, Welcome)
    assert welcome.model == "scripted:b"
    assert "answers here with `scripted:b`" in (await answer_of(world, turn, "/model")).text


async def answer_of(world: World, running: str, word: str) -> Final:
    await world.answered(running)
    return await world.told(word)


async def test_a_model_that_was_chosen_is_given_up_with_a_dash_or_with_its_agent(world: World) -> None:
    await world.serve(FERN)
    await world.let_in("ann")
    for word in ("/model -", "/agent fern"):
        await world.told("/model scripted:b")
        await world.told(word)

        turn = await world.accepted("hello")
        agent = (await world.begun(turn)).agent
        assert (agent.model, agent.fallbacks) == ("scripted:a", ("scripted:b",))
        await world.answered(turn)


async def test_only_an_owner_names_a_model_that_the_agents_file_does_not(world: World) -> None:
    world.policy = BotPolicy(PLATFORM, BOT, access="public", owners=frozenset({"ann"}), rate_per_minute=1_000)
    await world.serve(FERN)
    await world.let_in("ben")

    refused = await world.told("/model scripted:c", user="ben")
    granted = await world.told("/model scripted:c", user="ann")

    assert (refused.outcome, refused.text) == ("failed", "Here you can choose among: `scripted:a`, `scripted:b`.")
    assert (granted.outcome, records(world, Bound)) == ("complete", 1)


async def test_a_model_whose_provider_no_worker_has_is_refused_with_those_there_are(world: World) -> None:
    world.policy = replace(world.policy, everyone_owns=True)
    world.workers.providers = frozenset({"scripted", "anthropic"})
    await world.serve(FERN)

    final = await world.told("/model oracle:delphi")

    assert final.outcome == "failed"
    assert final.text == "No worker knows the provider `oracle`. There are: anthropic, scripted."
    assert records(world, Bound) == 0


async def test_a_model_with_an_endless_name_is_refused_in_words(world: World) -> None:
    world.policy = replace(world.policy, everyone_owns=True)
    await world.restart()

    final = await world.told("/model " + "x" * (MAX_MODEL_NAME + 1))

    assert "255" in final.text
    assert records(world, Bound) == 0


async def test_a_model_that_was_chosen_for_an_agent_that_is_gone_is_no_other_agents(world: World) -> None:
    await world.serve(ALICE, FERN)
    await world.told("/agent fern")
    await world.told("/model scripted:b")
    await world.kill()
    world.bindings = Bindings({"alice": ALICE, "bob": BOB}, (Binding("alice", platform=PLATFORM),))
    await world.reign()

    turn = await world.accepted("hello")
    agent = (await world.begun(turn)).agent

    assert (agent.name, agent.model) == ("alice", "scripted")


# /undo


async def test_what_is_undone_is_not_shown_any_more_also_under_the_next_hub(world: World) -> None:
    for number in "123":
        await world.exchange(f"question {number}", f"answer {number}")

    final = await world.told("/undo 2")
    await world.restart()

    assert final.text == "Taken back; I no longer see:\n- question 2\n- question 3"
    assert await shown(world) == ["question 1", "answer 1", "next"]


async def test_more_than_there_is_is_all_there_is(world: World) -> None:
    await world.exchange("one")
    await world.told("/undo 50")

    assert await shown(world) == ["next"]


@pytest.mark.parametrize("count", ["0", "-1", "51", "two", "1.5", "²", "9" * 5_000])
async def test_undo_takes_a_number_that_makes_sense(world: World, count: str) -> None:
    await world.exchange("one", "1")

    final = await world.told(f"/undo {count}")

    assert final.outcome == "failed"
    assert "from 1 to 50" in final.text
    assert records(world, HeadMoved) == 0


async def test_undo_with_nothing_to_undo_says_so(world: World) -> None:
    assert (await world.told("/undo")).text == "There is nothing to undo."


async def test_a_long_question_is_named_by_its_beginning(world: World) -> None:
    await world.exchange("word " * 100)

    final = await world.told("/undo")

    assert len(final.text) < 150


# /retry


async def test_what_is_tried_again_is_asked_again_and_only_the_new_answer_stays(world: World) -> None:
    await world.exchange("one", "1")
    await world.exchange("two", "bad")
    turn = await world.accepted("/retry")
    asked = [line.text for line in (await world.begun(turn)).lines]
    await world.answered(turn, "2")
    await world.restart()

    assert asked == ["one", "1", "two"]
    assert await shown(world) == ["one", "1", "two", "2", "next"]


async def test_what_is_tried_again_brings_its_files(world: World) -> None:
    answer = await world.submit(world.message("look", attachments=(CAT,)))
    assert isinstance(answer, Accepted)
    await world.answered(answer.turn)

    turn = await world.accepted("/retry")

    assert (await world.begun(turn)).lines[-1].attachments == (CAT,)


async def test_with_nothing_to_try_again_the_hub_says_so(world: World) -> None:
    assert (await world.told("/retry")).text == "There is nothing to try again."


async def test_a_hub_that_dies_anywhere_in_a_retry_takes_back_one_answer_and_asks_once(world: World) -> None:
    await world.exchange("zero", "0")
    await world.exchange("one", "1")
    for steps in range(18):
        message = world.message("/retry", id=f"at {steps}")
        asking = asyncio.create_task(world.submit(message))
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await world.restart()
        await world.submit(message)
        turn = world.turn(f"at {steps}")
        lines = [line.text for line in (await world.begun(turn)).lines]
        await world.answered(turn, "1")

        assert lines == ["zero", "0", "one"]
        assert records(world, HeadMoved) == steps + 1
        assert [one.asked for one in world.pool().session.history] == ["zero", "one"]


# /usage and /why


async def test_usage_tells_what_was_used_and_how_the_budgets_stand(world: World) -> None:
    world.budgets = (Budget("daily", Decimal(5), "user"),)
    await world.restart()
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.end(turn, usage=Usage(calls=3, input_tokens=1_234, output_tokens=5, cost=Decimal("0.5"), unpriced=1))
    await until(lambda: turn in world.screen.finals)

    final = await world.told("/usage")

    assert "3 model calls, 1,234 tokens in, 5 out, $0.50, and 1 call of unknown price" in final.text
    assert "Budget “daily” ($5.00 a day for each user): $0.00 spent, $5.00 left. It renews at" in final.text


async def test_why_tells_how_the_last_answer_came_to_be(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    await pass_time(2)
    world.workers.kill("w1")
    world.workers.join("w2")
    await world.begun(turn, times=2)
    world.workers.end(turn, "failed", reference="abc", usage=Usage(calls=1, input_tokens=10, output_tokens=2))
    await until(lambda: turn in world.screen.finals)

    final = await world.told("/why")

    assert "and used 1 model call, 10 tokens in" in final.text
    assert "**alice** with `scripted`, at worker `w2` in 2 attempts" in final.text
    assert "It is failed" in final.text
    assert f"`factory turns show {turn}`" in final.text
    assert "Its reference is abc." in final.text


async def test_why_is_asked_of_the_agents_last_answer_and_not_of_the_hubs(world: World) -> None:
    turn = await world.exchange("hello")
    await world.told("/usage")

    assert turn in (await world.told("/why")).text


# /fork


async def test_a_fork_begins_with_what_was_said_and_goes_its_own_way(world: World) -> None:
    world.policy = replace(world.policy, everyone_owns=True)
    await world.serve(ALICE, FERN)
    await world.exchange("one", "1")
    await world.told("/agent fern")
    await world.told("/model scripted:b")
    final = await world.told("/fork copy", names_scopes=True)
    there = await shown(world, "there", scope="copy")
    here = await shown(world, "here")
    await world.restart()
    turn = await world.accepted("more", scope="copy")
    assignment = await world.begun(turn)

    assert final.outcome == "complete"
    assert there == ["one", "1", "there"]
    assert here == ["one", "1", "here"]
    assert [line.text for line in assignment.lines] == ["one", "1", "there", "Fine.", "more"]
    assert (assignment.agent.name, assignment.agent.model) == ("fern", "scripted:b")
    assert world.pool("copy").session.used.calls == 1


async def test_a_fork_waits_for_room_on_a_full_log(world: World) -> None:
    world.policy = replace(world.policy, everyone_owns=True)
    await world.restart()
    await world.exchange("one", "1")
    answer = await world.submit(world.message("/fork copy", names_scopes=True))
    assert isinstance(answer, Accepted)
    world.stream.is_full = True
    await pass_time(5)
    waited = not world.finals(answer.turn)

    world.stream.is_full = False
    await until(lambda: answer.turn in world.screen.finals)

    assert waited
    assert world.screen.finals[answer.turn].outcome == "complete"
    assert world.kinds("copy") == ["compacted"]


async def test_a_fork_is_refused_where_conversations_have_no_names(world: World) -> None:
    final = await world.told("/fork copy")

    assert final.outcome == "failed"
    assert "no names here" in final.text
    assert world.kinds("copy") == []


@pytest.mark.parametrize("name", ["", "é" * 43, "a" * 256])
async def test_a_fork_needs_a_name_that_can_be_one(world: World, name: str) -> None:
    final = await world.told(f"/fork {name}", names_scopes=True)

    assert final.outcome == "failed"
    assert final.text == "`/fork NAME` needs a short name for the copy, such as `/fork second-try`."


@pytest.mark.parametrize("name", ["chat", "other"])
async def test_a_fork_writes_over_no_conversation(world: World, name: str) -> None:
    await world.exchange("one")
    await world.exchange("something", scope="other")
    before = world.kinds("other")

    final = await world.told(f"/fork {name}", names_scopes=True)

    assert final.text == f"There is a conversation `{name}` already."
    await world.deliveries.flush()
    assert [kind for kind in world.kinds("other") if kind != "shown"] == [kind for kind in before if kind != "shown"]


async def test_a_hub_that_dies_anywhere_in_a_fork_forks_once(world: World) -> None:
    await world.exchange("one", "1")
    for steps in range(18):
        message = world.message(f"/fork copy{steps}", names_scopes=True, id=f"at {steps}")
        asking = asyncio.create_task(world.submit(message))
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await world.restart()
        await world.submit(message)
        turn = world.turn(f"at {steps}")
        await until(partial(world.screen.finals.__contains__, turn))

        assert world.screen.finals[turn].outcome == "complete"
        views = [one.record for one in world.stream.of(key_of(f"copy{steps}"))]
        assert {view.id for view in views if isinstance(view, Compacted)} == {f"fork.{turn}"}
        assert await shown(world, scope=f"copy{steps}") == ["one", "1", "next"]


# /use


async def test_a_tool_that_a_person_uses_is_asked_for_by_no_model_and_shown_to_none(world: World) -> None:
    agent = Agent("fern", "scripted", system="Be kind.", tools=("clock", "fetch"), workers=("image.qr",))
    world.bindings = Bindings({"fern": agent}, (Binding("fern"),))
    await world.restart()
    await world.exchange("one", "1")

    turn = await world.accepted("/use image.qr  https://a.example ")
    run = await world.begun(turn)
    await world.answered(turn, "The code is drawn.")

    assert (run.agent.model, run.agent.tools, run.agent.workers, run.agent.system) == (BY_HAND, (), ("image.qr",), "")
    assert [line.text for line in run.lines] == ["https://a.example"]
    assert await shown(world) == ["one", "1", "next"]


@pytest.mark.parametrize("word", ["/use", "/use wand x", "/use clo"])
async def test_a_tool_that_the_agent_has_not_is_used_by_nobody(world: World, word: str) -> None:
    world.bindings = Bindings({"fern": FERN}, (Binding("fern"),))
    await world.restart()

    final = await world.told(word)

    assert final.text.endswith("There is: `clock`.")


# /compact and /expand


async def test_a_summary_is_written_by_the_agents_model_alone_and_stands_for_what_was_said(world: World) -> None:
    await world.serve(FERN)
    await world.exchange("one", "1")
    await world.exchange("two", "2")
    turn = await world.accepted("/compact")
    assignment = await world.begun(turn)
    await world.answered(turn, "They count.")
    await world.restart()
    short = await shown(world, "three")
    await world.told("/expand")

    assert assignment.agent.tools == ()
    assert assignment.agent.system == SUMMARISE
    assert [line.text for line in assignment.lines] == ["one", "1", "two", "2", SUMMARISE]
    assert world.screen.finals[turn].text == "They count."
    assert short == ["[What was said before, in short: They count.]", "three"]
    assert await shown(world, "four") == ["one", "1", "two", "2", "three", "Fine.", "four"]


async def test_a_second_summary_begins_with_the_first(world: World) -> None:
    await world.exchange("one", "1")
    await world.exchange("/compact", "They began.")
    await world.exchange("two", "2")

    assert (await shown(world, "/compact"))[:3] == ["[What was said before, in short: They began.]", "two", "2"]


async def test_there_is_nothing_to_put_in_short_or_to_take_back_at_first(world: World) -> None:
    assert (await world.told("/compact")).text == "There is nothing to put in short."
    assert (await world.told("/expand")).text == "There is no summary to take back."


async def test_a_summary_that_is_stopped_changes_nothing(world: World) -> None:
    await world.exchange("one", "1")
    turn = await world.accepted("/compact")
    await world.begun(turn)
    world.workers.say(turn, "They ")
    await idle()
    await world.accepted("/stop")
    await until(lambda: turn in world.screen.finals)

    assert await shown(world) == ["one", "1", "next"]


@pytest.mark.parametrize("while_running", ["steer", "interrupt"])
async def test_what_is_said_while_a_summary_is_written_is_no_part_of_it(world: World, while_running: str) -> None:
    agent = Agent("fern", "scripted", while_running="steer" if while_running == "steer" else "interrupt")
    await world.serve(agent)
    await world.exchange("one", "1")
    turn = await world.accepted("/compact")
    await world.begun(turn)

    said = await world.accepted("and now?")
    steers = world.workers.kept[turn].steers
    await world.answered(turn, "They count.")

    assert steers == {}
    assert [line.text for line in (await world.begun(said)).lines][-1] == "and now?"
    assert world.screen.finals[turn].outcome == "complete"


async def test_a_summary_survives_the_compaction_of_the_log(world: World) -> None:
    await world.exchange("one", "1")
    await world.exchange("/compact", "They began.")
    for number in range(COMPACT_AFTER):
        await world.exchange(f"{number}", "ok")
    await world.deliveries.flush()
    await until(lambda: "compacted" in world.kinds())
    await world.restart()

    assert (await shown(world))[:2] == ["[What was said before, in short: They began.]", "0"]


async def test_an_answer_of_the_hub_is_no_agents(world: World) -> None:
    await world.told("/usage")

    (answer,) = (one.record for one in world.stream.of(key_of()) if isinstance(one.record, TurnAnswered))
    assert (answer.agent, answer.model, answer.steps) == (None, None, ())


async def test_a_word_to_the_hub_leaves_nothing_in_memory(world: World) -> None:
    for _ in range(3):
        await world.told("/usage")

    assert world.pool().fresh is None
