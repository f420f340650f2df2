"""What model calls cost: reserved before each, settled after it, and never more than a budget, whoever dies when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

import pytest

from factory_contracts.messages import Accepted
from factory_contracts.records import MoneyReserved, MoneySettled, TurnAnswered, record_id
from factory_contracts.trace import ModelStep
from factory_contracts.work import NotRecorded, Recorded, RecordReply, RecordRequest, Stepped
from hub.kernel.agent import Agent
from hub.kernel.budget import Budget
from hub.kernel.ports import Fenced
from hub.money import LOOK, LOOKS
from tests.fakes import idle, pass_time, until
from tests.hub.world import ALICE, BOT, PLATFORM, World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")

DOLLAR = Budget("daily", Decimal(1))
FREE = Agent("fern", "oracle:delphi", allow_unpriced=True)


async def poor(world: World, *budgets: Budget) -> None:
    """From now on there is a dollar a day, or what else is said."""
    world.budgets = budgets or (DOLLAR,)
    await world.restart()


def wanted(
    world: World,
    turn: str,
    call: str = "m1",
    amount: str | None = "0.40",
    *,
    scope: str = "chat",
    agent: str = "alice",
    attempt: int = 1,
    instance: str = "i1",
) -> RecordRequest:
    record = MoneyReserved(
        id=record_id(turn, "reserved", attempt, call),
        turn=turn,
        at=0.0,
        attempt=attempt,
        call=call,
        user_id="ann",
        agent=agent,
        model="oracle:delphi",
        amount=None if amount is None else Decimal(amount),
    )
    return RecordRequest(
        platform=PLATFORM, bot_id=BOT, scope_id=scope, attempt=attempt, instance=instance, record=record
    )


async def ask(
    world: World, turn: str, call: str = "m1", amount: str | None = "0.40", *, scope: str = "chat", agent: str = "alice"
) -> RecordReply | None:
    """Ask as the turn's worker does."""
    chosen = (await world.begun(turn)).chosen
    return await world.hub.record(
        chosen.worker, wanted(world, turn, call, amount, scope=scope, agent=agent, instance=chosen.instance)
    )


def step(call: str = "m1", cost: str | None = "0.10") -> Stepped:
    """A model call is over."""
    return Stepped(
        step=ModelStep(
            call=call, model="oracle:delphi", messages=1, reason="end", cost=None if cost is None else Decimal(cost)
        )
    )


def standing(world: World, scope: str = "chat") -> tuple[str, str]:
    """What is spent and held of the first budget."""
    one = world.ledger.standings(key_of(scope), "ann", "alice", world.clock())[0]
    return str(one.spent), str(one.held)


def money(world: World, scope: str = "chat") -> list[str]:
    return [kind for kind in world.kinds(scope) if kind in ("reserved", "settled")]


async def test_a_call_is_on_the_log_before_it_is_granted(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.stream.hold_answers()
    asking = asyncio.create_task(ask(world, turn))
    await until(lambda: money(world) == ["reserved"])
    was_granted = asking.done()
    held = standing(world)

    world.stream.release()

    assert not was_granted
    assert held == ("0", "0.40")
    assert await asking == Recorded()


async def test_a_reservation_that_is_asked_for_twice_is_made_once(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")
    await world.begun(turn)

    at_once = await asyncio.gather(*(ask(world, turn) for _ in range(3)))
    later = await ask(world, turn)
    await world.restart()
    after_a_restart = await ask(world, turn)

    assert [*at_once, later, after_a_restart] == [Recorded()] * 5
    assert money(world) == ["reserved"]
    assert standing(world) == ("0", "0.40")


async def test_a_call_is_settled_as_soon_as_it_is_over(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")
    await ask(world, turn)

    world.workers.tell(turn, step())
    await until(lambda: "settled" in money(world))

    assert standing(world) == ("0.10", "0")
    assert "answered" not in world.kinds()
    await ask(world, turn, "m2")
    world.workers.tell(turn, step("m2", None))
    await world.answered(turn)
    assert money(world) == ["reserved", "settled"] * 2
    assert standing(world) == ("0.50", "0")


async def test_the_last_call_is_settled_together_with_the_answer(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")
    await ask(world, turn)
    world.workers.say(turn, "Fine.")
    await until(lambda: "opened" in world.kinds())
    attempts = world.stream.attempts
    kept = world.workers.kept[turn]
    runs, kept.runs = kept.runs, []
    world.workers.tell(turn, step())
    world.workers.end(turn)
    for run in runs:
        run.catch_up(kept)
    await until(lambda: "answered" in world.kinds())

    settled, answered = [
        one.sequence for one in world.stream.of(key_of()) if isinstance(one.record, MoneySettled | TurnAnswered)
    ]
    assert answered == settled + 1
    assert world.stream.attempts == attempts + 1
    assert standing(world) == ("0.10", "0")


async def test_the_steps_of_a_turn_are_kept_with_its_answer(world: World) -> None:
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.workers.tell(turn, step("m1"), step("m2"))
    await world.answered(turn)

    (answer,) = (one.record for one in world.stream.of(key_of()) if isinstance(one.record, TurnAnswered))
    assert [one.call for one in answer.steps] == ["m1", "m2"]
    assert answer.model == "oracle:delphi"
    assert money(world) == []


async def test_a_call_that_is_too_dear_is_refused_in_words_and_not_on_the_log(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")

    reply = await ask(world, turn, amount="1.01")

    assert isinstance(reply, NotRecorded)
    assert "“daily”" in reply.words
    assert money(world) == []
    assert standing(world) == ("0", "0")


async def test_what_an_attempt_did_not_settle_when_its_worker_died_counts_in_full(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")
    await ask(world, turn)
    world.workers.kill("w1")
    world.workers.join("w2")
    await world.begun(turn, times=2)
    assert standing(world) == ("0.40", "0")

    world.workers.tell(turn, step())
    await world.answered(turn)

    assert standing(world) == ("0.40", "0")
    assert money(world) == ["reserved"]


async def test_what_a_stopped_turn_did_not_settle_counts_in_full(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")
    await ask(world, turn)

    await world.accepted("/stop")
    await until(lambda: turn in world.screen.finals)

    assert standing(world) == ("0.40", "0")


@pytest.mark.parametrize("ends", [True, False], ids=["answered", "given away"])
async def test_nothing_is_reserved_for_an_attempt_that_is_over(world: World, ends: bool) -> None:
    await poor(world)
    turn = await world.accepted("hello")
    old = (await world.begun(turn)).chosen
    if ends:
        await world.answered(turn)
    else:
        world.workers.kill("w1")
        world.workers.join("w2")
        await world.begun(turn, times=2)

    reply = await world.hub.record(old.worker, wanted(world, turn, instance=old.instance))

    assert reply == NotRecorded()
    assert money(world) == []
    assert standing(world) == ("0", "0")


async def test_whoever_waits_for_money_is_granted_what_others_leave_over(world: World) -> None:
    await poor(world)
    turn, other = await world.accepted("one"), await world.accepted("two", scope="there")
    await ask(world, turn, amount="0.80")
    asking = asyncio.create_task(ask(world, other, amount="0.50", scope="there"))
    await pass_time(5 * LOOK)
    waited = not asking.done()

    world.workers.tell(turn, step(cost="0.20"))

    assert await asking == Recorded()
    assert waited
    assert standing(world) == ("0.20", "0.50")


async def test_whoever_waited_long_for_money_is_told_nothing_so_that_he_asks_again(world: World) -> None:
    await poor(world)
    turn, other = await world.accepted("one"), await world.accepted("two", scope="there")
    await ask(world, turn, amount="0.80")

    assert await ask(world, other, amount="0.50", scope="there") is None
    world.workers.tell(turn, step(cost="0.80"))
    await idle()
    refused = await ask(world, other, amount="0.50", scope="there")

    assert isinstance(refused, NotRecorded)
    assert refused.words
    assert LOOKS * LOOK < 2.0


async def test_a_turn_that_is_stopped_while_it_waits_for_money_reserves_nothing_any_more(world: World) -> None:
    await poor(world)
    turn, other = await world.accepted("one"), await world.accepted("two", scope="there")
    await ask(world, turn, amount="0.80")
    asking = asyncio.create_task(ask(world, other, amount="0.50", scope="there"))
    await pass_time(2 * LOOK)
    await world.accepted("/stop", scope="there")
    await until(lambda: other in world.screen.finals)
    world.workers.tell(turn, step(cost="0.20"))

    assert await asking == NotRecorded()
    assert money(world, "there") == []
    assert standing(world) == ("0.20", "0")


async def test_a_call_counts_on_the_day_on_which_it_is_granted(world: World) -> None:
    await poor(world)
    midnight = (world.clock() // 86_400 + 1) * 86_400
    world.clock.forward(midnight - world.clock() - 2 * LOOK)
    turn, other = await world.accepted("one"), await world.accepted("two", scope="there")
    await ask(world, turn, amount="0.80")

    reply = await ask(world, other, amount="0.50", scope="there")

    assert reply == Recorded()
    assert world.clock() >= midnight
    assert standing(world) == ("0", "0.50")


async def test_a_reservation_for_which_there_is_no_room_is_asked_for_again_and_holds_nothing(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")
    await world.begun(turn)
    world.stream.is_full = True

    async with asyncio.timeout(1.0):
        assert await ask(world, turn) is None
    assert standing(world) == ("0", "0")

    world.stream.is_full = False
    assert await ask(world, turn) == Recorded()


async def test_a_model_without_a_price_is_refused_where_there_are_budgets(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")

    reply = await ask(world, turn, amount=None)

    assert isinstance(reply, NotRecorded)
    assert "oracle:delphi" in reply.words
    assert money(world) == []


async def test_a_model_without_a_price_is_allowed_where_the_agent_says_so_and_its_cost_counts(world: World) -> None:
    world.budgets = (DOLLAR,)
    await world.serve(FREE)
    turn = await world.accepted("hello")

    assert await ask(world, turn, amount=None, agent="fern") == Recorded()
    world.workers.tell(turn, step(cost="0.30"))
    await world.answered(turn)

    assert money(world) == ["reserved", "settled"]
    assert standing(world) == ("0.30", "0")


async def test_a_helper_may_call_what_its_own_file_allows(world: World) -> None:
    world.budgets = (DOLLAR,)
    await world.serve(ALICE, FREE)
    turn = await world.accepted("hello")

    assert isinstance(await ask(world, turn, "c.m1", amount=None, agent="alice"), NotRecorded)
    assert await ask(world, turn, "c.m1", amount=None, agent="fern") == Recorded()


async def test_what_was_spent_is_known_to_every_later_hub_though_it_reads_no_old_records(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")
    await ask(world, turn)
    world.workers.tell(turn, step())
    await world.answered(turn)
    await pass_time(10)
    assert world.stream.mark > world.stream.of(key_of())[-1].sequence

    for _ in range(3):
        await world.restart()
        assert standing(world) == ("0.10", "0")
        await pass_time(3)


async def test_a_mark_that_lies_within_a_turn_which_is_over_loses_no_money(world: World) -> None:
    await poor(world)
    world.screen.gone.add("lost")
    early = await world.accepted("hello", scope="early")
    await ask(world, early, scope="early")
    lost = await world.accepted("hello", scope="lost")
    await world.answered_unseen(lost)
    world.workers.tell(early, step())
    await world.answered(early)
    await pass_time(10)
    settled = next(one.sequence for one in world.stream.of(key_of("early")) if isinstance(one.record, MoneySettled))
    assert world.stream.of(key_of("early"))[0].sequence < world.stream.mark < settled

    await world.restart()

    assert standing(world) == ("0.10", "0")


async def test_balances_that_could_not_be_written_are_written_with_the_next(world: World) -> None:
    await poor(world)
    turn = await world.accepted("hello")
    await ask(world, turn)
    world.workers.tell(turn, step())
    await world.answered(turn)
    await world.deliveries.flush()
    world.stream.is_full = True
    await pass_time(5)
    assert world.stream.spent == {}
    world.stream.is_full = False
    await pass_time(5)

    await world.restart()

    assert standing(world) == ("0.10", "0")


@dataclass
class Spender:
    """A worker that asks until it is told, makes a call when it may, and knows what it truly cost."""

    world: World
    scope: str
    cost: Decimal
    paid: Decimal = Decimal(0)
    words: str = ""
    calls: list[str] = field(default_factory=list)

    async def work(self, turn: str) -> None:
        for number in range(3):
            call = f"m{number}"
            if not await self.may_call(turn, call):
                break
            self.calls.append(call)
            self.paid += self.cost
            await asyncio.sleep(0.3)
            self.world.workers.tell(turn, step(call, str(self.cost)))
        self.world.workers.say(turn, self.words or "Fine.")
        self.world.workers.end(turn)

    async def may_call(self, turn: str, call: str) -> bool:
        while True:
            hub = self.world.hub
            try:
                async with asyncio.timeout(2):
                    reply = await ask(self.world, turn, call, "0.05", scope=self.scope)
            except (Fenced, TimeoutError):
                reply = None
            # A hub that is dead answers nobody.
            if reply is not None and hub is self.world.hub:
                self.words = reply.words if isinstance(reply, NotRecorded) else ""
                return isinstance(reply, Recorded)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kills", [0, 9])
async def test_fifty_turns_that_ask_at_once_never_spend_more_than_there_is(world: World, kills: int) -> None:
    await poor(world)
    spenders: dict[str, Spender] = {}
    for number in range(50):
        answer = await world.submit(world.message("hello", scope=f"chat {number}"))
        assert isinstance(answer, Accepted)
        spenders[answer.turn] = Spender(world, f"chat {number}", Decimal("0.01") * (1 + number % 5))
    working = [asyncio.create_task(spender.work(turn)) for turn, spender in spenders.items()]
    for number in range(kills):
        await pass_time(0.07 * number)
        # Some of what is asked for is on the log when the hub dies, and nobody was told.
        world.stream.hold_answers()
        await pass_time(0.1)
        await world.restart()
    await asyncio.gather(*working)
    await until(lambda: set(spenders) <= set(world.screen.finals))

    one = world.ledger.standings(key_of(), "ann", "alice", world.clock())[0]
    true = sum(spender.paid for spender in spenders.values())
    assert true <= one.spent <= DOLLAR.amount
    assert one.held == 0
    assert true > Decimal("0.50")
    assert any(spender.words for spender in spenders.values())
    assert all(world.workers.runs_of(turn) == 1 for turn in spenders)
    reserved = [one.record.id for _, one in world.stream.all() if isinstance(one.record, MoneyReserved)]
    assert len(reserved) == len(set(reserved))


async def test_a_hub_that_dies_anywhere_between_a_call_and_its_answer_counts_it_once(world: World) -> None:
    await poor(world, Budget("all", Decimal(1_000), period="ever"))
    for steps in range(25):
        turn = await world.accepted("hello", id=f"at {steps}")
        await ask(world, turn)
        world.workers.tell(turn, step())
        world.workers.say(turn, "Fine.")
        world.workers.end(turn)
        for _ in range(steps):
            await asyncio.sleep(0)
        await world.restart()
        await until(partial(world.screen.finals.__contains__, turn))
        await until(lambda: not world.pool().session.turns if world.pools.peek(key_of()) else True)

        assert standing(world) == (str(Decimal("0.10") * (steps + 1)), "0")
