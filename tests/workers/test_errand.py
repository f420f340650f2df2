"""One agent at work: what it asks of models, tools, helpers and the log, and what it tells of that, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest

from factory_contracts.envelope import FIRST_VERSION
from factory_contracts.messages import Attachment
from factory_contracts.records import Effect, MoneyReserved, ToolDone, ToolStarted
from factory_contracts.trace import MAX_EXCERPT, ModelStep, Step, ToolStep
from factory_contracts.work import (
    EVENTS,
    AgentSpec,
    Ended,
    KnownCall,
    Limits,
    Line,
    LlmEvent,
    NotRecorded,
    Recorded,
    RecordReply,
    Requested,
    Run,
    Steer,
    Stepped,
    ToolEvent,
)
from factory_nats.blobs import MOST_BYTES
from hub.kernel.events import Called, Did, Failed, Finished, Kept, ModelEvent, Said, Thought
from hub.kernel.harness import ACTED, CONTINUE, MAX_ANSWER, MAX_FILE, MAX_FILES, RETRY_DELAYS
from hub.kernel.ports import (
    Equipped,
    Media,
    Model,
    ModelRequest,
    Observation,
    Occasion,
    Prices,
    Spoken,
    Tool,
    ToolCalls,
    ToolResult,
    ToolSpec,
)
from hub.kernel.secrecy import Redactor
from tests.fakes import idle, pass_time, until
from tests.workers.stage import SCOPE, UNASKED, Bell, FakePrices, end, text
from workers.clipool.discretion import DiscreetModel
from workers.clipool.kit import FAILURES, PAUSE, SOURCE_PATIENCE, Given, Kit, Models
from workers.clipool.turn import Turn

pytestmark = pytest.mark.asyncio(loop_scope="function")

DEAR = FakePrices(Decimal("0.50"), Decimal("0.10"))
END = Finished("end", 7, 3)
TOOLS = Finished("tools", 5, 2)
BUSY = Failed("busy", is_transient=True)

# What a model does at one call: events, seconds to wait, something to wait for, something to raise.
Deed = ModelEvent | float | asyncio.Event | Exception


class Player:
    """A model that plays, call by call, what it was given, and then its last call again."""

    def __init__(self, *calls: Sequence[Deed]) -> None:
        self.asked: list[ModelRequest] = []
        self.at: list[float] = []
        self.closed = 0
        self._calls = calls

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        deeds = self._calls[min(len(self.asked), len(self._calls) - 1)]
        self.asked.append(request)
        self.at.append(asyncio.get_running_loop().time())
        try:
            for deed in deeds:
                match deed:
                    case float():
                        await asyncio.sleep(deed)
                    case asyncio.Event():
                        await deed.wait()
                    case Exception():
                        raise deed
                    case _:
                        yield deed
        finally:
            self.closed += 1

    async def close(self) -> None:
        """Nothing is held."""


class FakeDesk:
    """The worker around a turn: hears it, and has its records granted or not."""

    def __init__(self) -> None:
        self.understood = FIRST_VERSION
        self.events: list[LlmEvent] = []
        self.records: list[Requested] = []
        self.grant: Callable[[Requested], RecordReply] = lambda record: Recorded()
        self.hold: asyncio.Event | None = None
        self.dropped = 0

    def stir(self, turn: Turn) -> None:
        asyncio.get_running_loop().call_soon(self.hear, turn)

    def hear(self, turn: Turn) -> None:
        if turn.is_stirred:
            for told in map(EVENTS.decode, turn.take()):
                assert told.first <= len(self.events)
                self.events[told.first :] = told.events

    async def record(self, run: Run, record: Requested) -> RecordReply:
        self.records.append(record)
        await asyncio.sleep(0)
        if self.hold is not None:
            await self.hold.wait()
        return self.grant(record)

    def drop(self, turn: Turn) -> None:
        self.dropped += 1
        turn.close()

    @property
    def steps(self) -> list[Step]:
        return [event.step for event in self.events if isinstance(event, Stepped)]

    @property
    def model_steps(self) -> list[ModelStep]:
        return [step for step in self.steps if isinstance(step, ModelStep)]

    @property
    def tool_steps(self) -> list[ToolStep]:
        return [step for step in self.steps if isinstance(step, ToolStep)]


@dataclass
class Scene:
    """Models and tools by name, and the agent that has them."""

    models: Mapping[str, Player] = field(default_factory=dict)
    tools: Mapping[str, tuple[Effect, Tool]] = field(default_factory=dict)
    prices: Prices = field(default_factory=FakePrices)
    timeout: float = 30.0
    foreign: frozenset[str] = frozenset()
    desk: FakeDesk = field(default_factory=FakeDesk)

    def __post_init__(self) -> None:
        models: Mapping[str, Model] = self.models
        self.kit = Kit(
            models=Given(models),
            tools={
                name: Equipped(
                    ToolSpec(
                        name,
                        "",
                        "{}",
                        effect,
                        self.timeout,
                        is_idempotent=name == "keep",
                        is_foreign=name in self.foreign,
                    ),
                    tool,
                )
                for name, (effect, tool) in self.tools.items()
            },
            prices=self.prices,
            now=lambda: 1000.0,
        )

    def agent(self, name: str = "alice", model: str = "one") -> AgentSpec:
        return AgentSpec(name=name, hash="h", model=model, tools=tuple(self.tools), namespace=name, approvals=UNASKED)

    def run(
        self,
        agent: AgentSpec | None = None,
        *,
        known_calls: Sequence[KnownCall] = (),
        lines: Sequence[Line] = (Line(role="user", text="hello"),),
        turn: str = "t1",
    ) -> Run:
        return Run(
            turn=turn,
            epoch=1,
            partition=0,
            attempt=1,
            scope=SCOPE,
            user_id="ann",
            agent=agent or self.agent(),
            lines=tuple(lines),
            pace_ms=0,
            known_calls=tuple(known_calls),
        )

    @asynccontextmanager
    async def begun(self, run: Run | None = None) -> AsyncIterator[Turn]:
        """The turn at work; at the end it must be over."""
        turn = Turn(run or self.run(), "i1", self.kit, self.desk)
        turn.task = asyncio.create_task(turn.carry_out())
        try:
            yield turn
        finally:
            turn.close()
            await asyncio.gather(turn.task, return_exceptions=True)

    async def play(self, run: Run | None = None) -> str:
        """The whole turn; what the person reads."""
        async with self.begun(run) as turn:
            await until(lambda: turn.is_over, seconds=3_600)
            await idle()
        return text(self.desk.events)

    @property
    def end(self) -> Ended:
        return end(self.desk.events)


def call(tool: str, arguments: str = "{}") -> Called:
    return Called("x", tool, arguments)


# Models that fail


async def test_another_model_answers_where_the_first_fails_and_the_trace_tells_of_both() -> None:
    scene = Scene({"one": Player([Failed("no such key")]), "two": Player([Said("Fine."), END])})

    said = await scene.play(scene.run(scene.agent().model_copy(update={"fallbacks": ("two:b",)})))

    assert said == "Fine."
    steps = [(step.call, step.model, step.reason, step.error, step.text) for step in scene.desk.model_steps]
    assert steps == [("m1", "one", "failed", "no such key", ""), ("m2", "two:b", "end", "", "Fine.")]
    assert (scene.end.outcome, scene.end.usage.calls, scene.end.usage.input_tokens) == ("complete", 2, 7)


async def test_a_model_that_fails_for_a_while_is_asked_again_with_growing_pauses() -> None:
    model = Player(*[[BUSY]] * len(RETRY_DELAYS), [Said("Fine."), END])
    scene = Scene({"one": model})

    assert await scene.play() == "Fine."
    pauses = [later - sooner for sooner, later in zip(model.at, model.at[1:], strict=False)]
    assert pauses == pytest.approx(list(RETRY_DELAYS))


async def test_a_model_that_says_when_to_come_back_is_asked_then() -> None:
    model = Player([replace(BUSY, retry_after=20.0)], [Said("Fine."), END])
    scene = Scene({"one": model})

    assert await scene.play() == "Fine."
    assert model.at[1] - model.at[0] == pytest.approx(20.0)


async def test_an_answer_that_breaks_off_goes_on_with_another_model_in_the_same_text() -> None:
    other = Player([Said("two."), END])
    scene = Scene({"one": Player([Said("One, "), Failed("gone")]), "two": other})

    said = await scene.play(scene.run(scene.agent().model_copy(update={"fallbacks": ("two",)})))

    assert said == "One, two."
    assert other.asked[0].messages[1:] == (Spoken("assistant", "One, "), Spoken("user", CONTINUE))


async def test_when_nobody_is_left_to_ask_the_person_gets_an_apology_and_the_trace_the_reasons() -> None:
    scene = Scene({"one": Player([BUSY]), "two": Player([Failed("no")])})

    said = await scene.play(scene.run(scene.agent().model_copy(update={"fallbacks": ("two",)})))

    assert said.startswith("Sorry, I could not finish this. Reference ")
    assert scene.end.outcome == "failed"
    assert [step.error for step in scene.desk.model_steps] == ["busy"] * (len(RETRY_DELAYS) + 1) + ["no"]


async def test_an_adapter_that_breaks_is_a_failure_like_any_other() -> None:
    scene = Scene({"one": Player([Said("Hm"), KeyError("secret")]), "two": Player([Said(" fine."), END])})

    said = await scene.play(scene.run(scene.agent().model_copy(update={"fallbacks": ("two",)})))

    assert said == "Hm fine."
    assert scene.desk.model_steps[0].error == "the adapter of one broke: KeyError"


async def test_a_stream_that_just_ends_is_tried_again() -> None:
    scene = Scene({"one": Player([Said("Hm, ")], [Said("fine."), END])})

    assert await scene.play() == "Hm, fine."


class Broken:
    """Providers of which one cannot be had."""

    names = ("one", "two")

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def find(self, provider: str) -> Model | None:
        if provider == "one":
            raise self.error
        return Player([Said("Fine."), END])


@pytest.mark.parametrize("error", [ImportError("no module"), TypeError("what a surprise")])
async def test_a_provider_that_cannot_be_had_is_a_failure_and_the_next_model_is_asked(error: Exception) -> None:
    scene = Scene()
    models: Models = Broken(error)
    scene.kit = replace(scene.kit, models=models)

    said = await scene.play(scene.run(scene.agent().model_copy(update={"fallbacks": ("two",)})))

    assert said == "Fine."
    assert scene.end.usage.calls == 1


async def test_a_provider_that_keeps_failing_is_left_alone_for_a_while_by_every_turn() -> None:
    model = Player([BUSY])
    scene = Scene({"one": model, "two": Player([Said("Fine."), END])})
    run = scene.run(scene.agent().model_copy(update={"fallbacks": ("two",)}))
    await scene.play(run)
    assert len(model.asked) == len(RETRY_DELAYS) + 1 < FAILURES

    for _ in range(2):
        scene.desk = FakeDesk()
        await scene.play(run)
    shut = len(model.asked)
    await pass_time(PAUSE + 1)
    scene.desk = FakeDesk()
    await scene.play(run)

    assert shut == FAILURES
    assert len(model.asked) == FAILURES + 1
    assert scene.end.outcome == "complete"


# Models that say nothing


async def test_a_model_that_says_nothing_for_too_long_is_given_up_and_asked_again() -> None:
    model = Player([3600.0], [Said("Fine."), END])
    scene = Scene({"one": model}, prices=DEAR)

    said = await scene.play(scene.run(scene.agent().model_copy(update={"limits": Limits(stall_seconds=10)})))

    assert said == "Fine."
    assert 10 <= model.at[1] - model.at[0] - RETRY_DELAYS[0] <= 15
    assert model.closed == 2
    silent, _ = scene.desk.model_steps
    assert (silent.error, silent.cost) == ("one said nothing for 10 s", None)
    assert scene.end.usage.unpriced == 1


@pytest.mark.parametrize("sign", [Thought(), Said("x"), Kept("k"), Did("s", "search", "running", "Searching")])
async def test_a_model_that_gives_a_sign_of_life_now_and_then_is_waited_for(sign: ModelEvent) -> None:
    deeds: list[Deed] = [9.0, sign] * 20
    scene = Scene({"one": Player([*deeds, Said("."), END])})

    await scene.play(scene.run(scene.agent().model_copy(update={"limits": Limits(stall_seconds=10)})))

    assert scene.end.outcome == "complete"
    assert scene.end.usage.calls == 1


class Emissary(Player):
    """A model that passes on to somebody what it is asked."""

    asks_once = True


async def test_a_prompt_that_somebody_may_act_on_is_not_sent_again_because_nothing_was_heard_of_it() -> None:
    model = Emissary([3600.0], [Said("Again."), END])
    scene = Scene()
    scene.kit = replace(scene.kit, models=Given({"one": DiscreetModel(model, Redactor.of([]))}))

    said = await scene.play(scene.run(scene.agent().model_copy(update={"limits": Limits(stall_seconds=1)})))

    assert said.startswith("Sorry, I could not finish this.")
    assert len(model.asked) == 1


async def test_whoever_says_that_a_prompt_may_be_sent_again_is_sent_it_again() -> None:
    scene = Scene({"one": Emissary([BUSY], [Said("Fine."), END])})

    assert await scene.play() == "Fine."


@pytest.mark.parametrize("end", [[BUSY], [3600.0], []], ids=["overloaded", "stalled", "killed"])
async def test_what_a_provider_did_by_itself_is_not_done_again_by_it_or_by_another(end: list[Deed]) -> None:
    one, two = Player([Did("1", "Bash", "running", "Bash: git push"), *end]), Player([Said("Fine."), END])
    scene = Scene({"one": one, "two": two})

    said = await scene.play(scene.run(scene.agent().model_copy(update={"fallbacks": ("two",)})))

    assert (len(one.asked), two.asked) == (1, [])
    assert said.startswith(ACTED)
    assert scene.end.outcome == "failed"


# Money


async def test_a_call_is_reserved_before_it_is_made_and_its_step_tells_the_cost() -> None:
    model = Player([Said("Fine."), END])
    scene = Scene({"one": model}, prices=DEAR)
    asked_when_reserved: list[int] = []

    def grant(_: Requested) -> RecordReply:
        asked_when_reserved.append(len(model.asked))
        return Recorded()

    scene.desk.grant = grant
    await scene.play()

    (reserved,) = scene.desk.records
    assert isinstance(reserved, MoneyReserved)
    assert (reserved.call, reserved.amount, reserved.user_id) == ("m1", Decimal("0.50"), "ann")
    assert (reserved.agent, reserved.model, reserved.attempt) == ("alice", "one", 1)
    assert asked_when_reserved == [0]
    assert [(step.call, step.cost) for step in scene.desk.model_steps] == [("m1", Decimal("0.10"))]
    assert (scene.end.usage.cost, scene.end.usage.unpriced) == (Decimal("0.10"), 0)


async def test_what_costs_nothing_by_nature_asks_nobody() -> None:
    scene = Scene({"one": Player([Said("Fine."), END])})

    await scene.play()

    assert scene.desk.records == []
    assert scene.desk.model_steps[0].cost == 0


async def test_a_call_of_unknown_price_is_asked_for_too_and_counted_as_unpriced() -> None:
    scene = Scene({"one": Player([Said("Fine."), END])}, prices=FakePrices(None, None))

    await scene.play()

    (reserved,) = scene.desk.records
    assert isinstance(reserved, MoneyReserved)
    assert reserved.amount is None
    assert (scene.end.usage.cost, scene.end.usage.unpriced) == (Decimal(0), 1)


async def test_a_call_that_may_not_be_paid_for_is_not_made_and_the_person_reads_why() -> None:
    model = Player([Said("never"), END])
    scene = Scene({"one": model}, prices=DEAR)
    scene.desk.grant = lambda _: NotRecorded(words="No money.")

    assert await scene.play() == "No money."
    assert model.asked == []
    assert (scene.end.outcome, scene.end.usage.calls) == ("failed", 0)


async def test_a_call_of_an_attempt_that_is_over_is_not_made_and_nothing_is_told() -> None:
    model = Player([Said("never"), END])
    scene = Scene({"one": model}, prices=DEAR)
    scene.desk.grant = lambda _: NotRecorded()

    async with scene.begun():
        await until(lambda: scene.desk.dropped > 0)
        await pass_time(10)

    assert model.asked == []
    assert scene.desk.events == []


async def test_whoever_waits_for_money_can_be_stopped_and_makes_no_call_then() -> None:
    model = Player([Said("never"), END])
    scene = Scene({"one": model}, prices=DEAR)
    scene.desk.hold = asyncio.Event()
    async with scene.begun() as turn:
        await until(lambda: bool(scene.desk.records))
        turn.stop()
        scene.desk.hold.set()
        await pass_time(10)

    assert model.asked == []
    assert scene.end.outcome == "stopped"


@pytest.mark.parametrize(
    ("deeds", "cost"),
    [
        pytest.param([BUSY], Decimal(0), id="who fails with the first word has not begun"),
        pytest.param([replace(BUSY, input_tokens=9)], None, id="unless it counted, which is not to say how much"),
        pytest.param([replace(BUSY, has_begun=True)], None, id="or was begun with, though not a word was heard"),
        pytest.param([replace(BUSY, cost=Decimal("0.02"))], Decimal("0.10"), id="or told the cost"),
        pytest.param([Said("Hm"), replace(BUSY, cost=Decimal("0.02"))], Decimal("0.10"), id="also in the middle"),
        pytest.param([Said("Hm"), replace(BUSY, input_tokens=9)], None, id="who counted until it broke off did not"),
        pytest.param([Said("Hm"), BUSY], None, id="who breaks off in the middle may have cost anything"),
        pytest.param([Thought(), BUSY], None, id="also while thinking"),
        pytest.param([call("look"), BUSY], None, id="or calling"),
        pytest.param([KeyError("x")], None, id="and so may who breaks"),
        pytest.param([], None, id="or goes away"),
        pytest.param([Finished("end")], Decimal("0.10"), id="who ends is priced"),
    ],
)
async def test_what_a_call_that_failed_has_cost(deeds: list[Deed], cost: Decimal | None) -> None:
    scene = Scene({"one": Player(deeds, [Said("."), END])}, prices=DEAR)

    await scene.play()

    assert scene.desk.model_steps[0].cost == cost


async def test_a_stop_in_the_middle_of_a_call_leaves_its_step_with_a_cost_that_nobody_knows() -> None:
    model = Player([Said("I was about to"), 3600.0])
    scene = Scene({"one": model}, prices=DEAR)
    async with scene.begun() as turn:
        await until(lambda: text(scene.desk.events) == "I was about to")
        turn.stop()
        await idle()

    (step,) = scene.desk.model_steps
    assert (step.text, step.reason, step.cost) == ("I was about to", "failed", None)
    assert isinstance(scene.desk.events[-2], Stepped)
    assert (scene.end.outcome, scene.end.usage.unpriced) == ("stopped", 1)
    assert model.closed == 1


async def test_a_stop_in_the_middle_of_a_call_that_costs_nothing_costs_nothing() -> None:
    scene = Scene({"one": Player([3600.0])})
    async with scene.begun() as turn:
        await idle()
        turn.run_out()
        await idle()

    assert [step.cost for step in scene.desk.model_steps] == [Decimal(0)]
    assert scene.end.outcome == "failed"


async def test_an_answer_without_end_is_ended_together_with_its_call() -> None:
    model = Player([Said("x" * (MAX_ANSWER + 1)), Thought(), Said("never"), 3600.0])
    scene = Scene({"one": model}, prices=DEAR)

    said = await scene.play()

    assert said.startswith("x" * MAX_ANSWER)
    assert "never" not in said
    assert (model.closed, len(scene.desk.model_steps), scene.end.usage.calls) == (1, 1, 1)


async def test_a_stop_while_a_pause_lasts_makes_no_further_call() -> None:
    model = Player([replace(BUSY, retry_after=25.0)])
    scene = Scene({"one": model})
    async with scene.begun() as turn:
        await pass_time(5)
        turn.stop()
        await pass_time(60)

    assert len(model.asked) == 1
    assert scene.end.outcome == "stopped"


class SlowSource:
    """Tools that are long in coming."""

    def serves(self, agent: AgentSpec) -> bool:
        return True

    async def tools(self, agent: AgentSpec) -> tuple[Equipped, ...]:
        await asyncio.sleep(3600)
        return ()


async def test_tools_that_are_long_in_coming_are_done_without() -> None:
    scene = Scene({"one": Player([Said("Fine."), END])})
    scene.kit = replace(scene.kit, sources=(SlowSource(),))

    assert await scene.play() == "Fine."
    assert asyncio.get_running_loop().time() < SOURCE_PATIENCE + 1


async def test_a_stop_is_heard_before_the_tools_are_there() -> None:
    model = Player([Said("never"), END])
    scene = Scene({"one": model})
    scene.kit = replace(scene.kit, sources=(SlowSource(),))
    async with scene.begun() as turn:
        await pass_time(1)
        turn.stop()
        await idle()
        assert scene.end.outcome == "stopped"
        await pass_time(2 * SOURCE_PATIENCE)

    assert model.asked == []


async def test_a_stop_right_after_the_command_is_heard() -> None:
    scene = Scene({"one": Player([Said("never"), END])})
    async with scene.begun() as turn:
        turn.stop()
        await idle()

    assert scene.end.outcome == "stopped"


class BrokenSource:
    def serves(self, agent: AgentSpec) -> bool:
        return True

    async def tools(self, agent: AgentSpec) -> tuple[Equipped, ...]:
        raise OSError("secret")


async def test_a_turn_that_cannot_begin_ends_with_an_apology() -> None:
    scene = Scene({"one": Player([Said("never"), END])})
    scene.kit = replace(scene.kit, sources=(BrokenSource(),))

    said = await scene.play()

    assert said.startswith("Sorry, I could not finish this.")
    assert "secret" not in said
    assert scene.end.outcome == "failed"


# Tools


async def test_a_call_and_what_came_of_it_stand_in_the_trace_in_their_order() -> None:
    model = Player([Said("I look."), call("look", '{"at": 1}'), TOOLS], [Said("Found."), END])
    scene = Scene({"one": model}, {"look": ("read", Bell())})

    assert await scene.play() == "I look.\n\nFound."
    kinds = [type(event).__name__ for event in scene.desk.events]
    assert kinds == [
        *("SaidText", "Stepped", "ToolEvent", "Stepped", "ToolEvent"),
        *("SaidText", "Stepped", "Ended"),
    ]
    first, tool, last = scene.desk.steps
    assert isinstance(first, ModelStep) and isinstance(tool, ToolStep) and isinstance(last, ModelStep)
    assert (first.text, first.reason, first.messages, first.input_tokens) == ("I look.", "tools", 1, 5)
    assert (tool.tool, tool.arguments, tool.outcome, tool.content) == ("look", '{"at":1}', "ok", "rung")
    assert (last.messages, last.within) == (3, None)


async def test_what_a_tool_said_is_kept_for_the_next_attempt_and_told_to_its_model() -> None:
    calls: list[Sequence[Deed]] = [[call("ring"), TOOLS], [Said("Rung."), END]]
    first = Scene({"one": Player(*calls)}, {"ring": ("external", Bell())})
    await first.play()
    started, done = first.desk.records
    assert isinstance(started, ToolStarted) and isinstance(done, ToolDone)
    assert (done.outcome, done.content) == ("ok", "rung")

    bell, model = Bell(), Player(*calls)
    second = Scene({"one": model}, {"ring": ("external", bell)})
    known = KnownCall(call=done.call, outcome=done.outcome, content=done.content)
    await second.play(second.run(known_calls=[known]))

    result = model.asked[1].messages[-1]
    assert bell.rung == []
    assert isinstance(result, ToolResult)
    assert result.content.endswith("said: rung")
    assert [(step.tool, step.outcome) for step in second.desk.tool_steps] == [("ring", "ok")]
    assert second.desk.records == []


@pytest.mark.parametrize(("tool", "rung"), [("keep", 1), ("send", 0)])
async def test_a_call_whose_outcome_is_unknown_is_made_again_only_where_that_does_no_harm(tool: str, rung: int) -> None:
    calls: list[Sequence[Deed]] = [[call(tool), TOOLS], [Said("."), END]]
    first = Scene({"one": Player(*calls)}, {tool: ("write", Bell())})
    await first.play()
    (begun, _) = first.desk.records
    assert isinstance(begun, ToolStarted)

    bell = Bell()
    second = Scene({"one": Player(*calls)}, {tool: ("write", bell)})
    await second.play(second.run(known_calls=[KnownCall(call=begun.call, outcome="unknown")]))

    assert len(bell.rung) == rung


async def test_a_long_result_is_shortened_for_the_log_and_whole_for_the_model() -> None:
    class Chatter:
        async def run(self, arguments: str, occasion: Occasion) -> str:
            return "\ud83d" + "x" * 50_000

    model = Player([call("talk"), TOOLS], [Said("."), END])
    scene = Scene({"one": model}, {"talk": ("write", Chatter())})
    await scene.play()

    done = scene.desk.records[1]
    assert isinstance(done, ToolDone)
    assert len(done.content) <= MAX_EXCERPT
    assert len(scene.desk.tool_steps[0].content) <= MAX_EXCERPT
    result = model.asked[1].messages[-1]
    assert isinstance(result, ToolResult)
    assert len(result.content) == 50_001


async def test_a_tool_is_told_who_speaks_and_with_whom_they_are_one() -> None:
    class Witness:
        def __init__(self) -> None:
            self.seen: list[tuple[str, str | None]] = []

        async def run(self, arguments: str, occasion: Occasion) -> str:
            self.seen.append((occasion.user_id, occasion.person))
            return "seen"

    witness = Witness()
    for person in (None, "stone:max"):
        model = Player([call("look"), TOOLS], [Said("."), END])
        scene = Scene({"one": model}, {"look": ("read", witness)})
        await scene.play(scene.run().model_copy(update={"person": person}))

    assert witness.seen == [("ann", None), ("ann", "stone:max")]


async def test_how_far_a_tool_is_stands_in_its_line_and_leads_nowhere() -> None:
    class Slow:
        async def run(self, arguments: str, occasion: Occasion) -> str:
            occasion.report("half of it, see https://evil.example/x")
            return "seen"

    scene = Scene({"one": Player([call("look"), TOOLS], [Said("."), END])}, {"look": ("read", Slow())})
    await scene.play()

    lines = [event.text for event in scene.desk.events if isinstance(event, ToolEvent)]
    assert lines[0] == "Using look"
    assert lines[1].startswith("Using look: half of it, see ")
    assert "https://evil.example" not in lines[1]
    assert lines[2] == "Used look"


async def test_an_effect_that_is_refused_in_words_does_not_happen_and_the_model_reads_them() -> None:
    bell, model = Bell(), Player([call("ring"), TOOLS], [Said("."), END])
    scene = Scene({"one": model}, {"ring": ("external", bell)})
    scene.desk.grant = lambda _: NotRecorded(words="Not here.")

    await scene.play()

    result = model.asked[1].messages[-1]
    assert isinstance(result, ToolResult)
    assert (result.content, bell.rung, scene.end.outcome) == ("Not here.", [], "complete")


async def test_a_tool_that_takes_too_long_may_have_done_it_and_no_record_says_otherwise() -> None:
    bell = Bell(hold=asyncio.Event())
    scene = Scene({"one": Player([call("ring"), TOOLS], [Said("."), END])}, {"ring": ("external", bell)}, timeout=5.0)

    await scene.play()

    assert [type(record) for record in scene.desk.records] == [ToolStarted]
    assert [step.outcome for step in scene.desk.tool_steps] == ["unknown"]


async def test_a_tool_that_runs_when_the_turn_is_stopped_is_in_the_trace_as_unknown() -> None:
    bell = Bell(hold=asyncio.Event())
    scene = Scene({"one": Player([call("ring"), TOOLS])}, {"ring": ("external", bell)})
    async with scene.begun() as turn:
        await bell.reached.wait()
        turn.stop()
        await idle()

    assert [(step.tool, step.effect, step.outcome) for step in scene.desk.tool_steps] == [
        ("ring", "external", "unknown")
    ]
    lines = [event.state for event in scene.desk.events if isinstance(event, ToolEvent)]
    assert lines == ["running", "error"]


async def test_in_a_dry_run_nothing_happens_and_the_trace_tells_what_would_have() -> None:
    bell, look = Bell(), Bell()
    model = Player([call("ring", '{"at":1}'), call("look"), TOOLS], [Said("."), END])
    scene = Scene({"one": model}, {"ring": ("external", bell), "look": ("read", look)})

    await scene.play(scene.run(scene.agent().model_copy(update={"is_dry": True})))

    assert (bell.rung, look.rung, scene.desk.records) == ([], ["{}"], [])
    told = {step.tool: (step.outcome, step.content) for step in scene.desk.tool_steps}
    assert told["ring"] == ("dry run", 'Dry run: ring would have been called with {"at":1}.')
    assert told["look"] == ("ok", "rung")


async def test_in_a_dry_run_a_provider_has_no_tools_of_its_own_not_even_for_a_helper() -> None:
    one, two = Player(*ASKING), Player([Said("Done."), END])
    scene = Scene({"one": one, "two": two})
    bob = scene.agent("bob", "two").model_copy(update={"own_tools": ("Bash",)})
    agent = scene.agent().model_copy(update={"own_tools": ("Bash",), "helpers": (bob,), "is_dry": True})

    await scene.play(scene.run(agent))

    assert [request.own_tools for request in (*one.asked, *two.asked)] == [(), (), ()]


async def test_every_call_that_was_answered_instead_of_run_is_in_the_trace() -> None:
    ring = Bell(hold=asyncio.Event())
    model = Player([call("ring"), call("look"), call("fly"), TOOLS], [call("fly"), TOOLS], [Said("."), END])
    scene = Scene({"one": model}, {"ring": ("external", ring), "look": ("read", Bell())})
    async with scene.begun() as turn:
        await ring.reached.wait()
        turn.steer(Steer(turn="t1", epoch=1, partition=0, joining="t2", line=Line(role="user", text="and?")))
        assert ring.hold is not None
        ring.hold.set()
        await until(lambda: turn.is_over)
        await idle()

    assert sorted(step.tool for step in scene.desk.tool_steps) == ["fly", "fly", "look", "ring"]
    assert scene.end.joined == ("t2",)


async def test_what_comes_before_the_beginning_joins_at_the_first_call() -> None:
    model = Player([Said("Both."), END])
    scene = Scene({"one": model})
    async with scene.begun() as turn:
        turn.steer(Steer(turn="t1", epoch=1, partition=0, joining="t2", line=Line(role="user", text="and?")))
        await until(lambda: turn.is_over)
        await idle()

    assert scene.end.joined == ("t2",)
    assert [Spoken("user", "and?") in request.messages for request in model.asked][-1]


async def test_names_that_a_provider_chose_for_its_own_tools_stop_no_answer() -> None:
    deeds: list[Deed] = [Did("", "", "running", "x" * 9_000), Did("y" * 999, "\ud83d" * 999, "ok", ""), Said("."), END]
    scene = Scene({"one": Player(deeds)})

    assert await scene.play() == "."
    assert len([event for event in scene.desk.events if isinstance(event, ToolEvent)]) == 2


async def test_what_a_provider_wants_to_see_again_it_is_shown_again() -> None:
    model = Player([Kept('{"sealed":1}'), call("look"), TOOLS], [Said("."), END])
    scene = Scene({"one": model}, {"look": ("read", Bell())})

    await scene.play()

    (message,) = (one for one in model.asked[1].messages if isinstance(one, ToolCalls))
    assert (message.kept, message.model) == (('{"sealed":1}',), "one")


async def test_all_calls_of_a_conversation_with_one_agent_carry_the_same_name() -> None:
    model = Player([call("look"), TOOLS], [Said("."), END])
    scene = Scene({"one": model}, {"look": ("read", Bell())})
    agent = scene.agent().model_copy(update={"temperature": 0.5, "thinking": 9, "own_tools": ("search",)})
    await scene.play(scene.run(agent, turn="t1"))
    await scene.play(scene.run(agent, turn="t2"))

    assert {request.conversation for request in model.asked} == {f"{SCOPE}:alice"}
    assert {(request.temperature, request.thinking, request.own_tools) for request in model.asked} == {
        (0.5, 9, ("search",))
    }


@dataclass
class FakeBlobs:
    kept: list[Media] = field(default_factory=list)
    is_full: bool = False

    async def get(self, scope: str, attachment: Attachment) -> bytes | None:
        return b"meow" if attachment.blob == "there" else None

    async def keep(self, scope: str, file: Media) -> Attachment | None:
        assert scope == SCOPE
        if self.is_full:
            return None
        self.kept.append(file)
        return Attachment(kind=file.kind, name=file.name, mime=file.mime, size=len(file.data), blob=file.data.hex())


async def test_files_are_shown_and_those_that_are_gone_are_told_of() -> None:
    model = Player([Said("."), END])
    scene = Scene({"one": model})
    scene.kit = replace(scene.kit, blobs=FakeBlobs())
    files = tuple(
        Attachment(kind="image", name=f"{blob}.png", mime="image/png", size=4, blob=blob) for blob in ("there", "gone")
    )

    await scene.play(scene.run(lines=[Line(role="user", text="look", attachments=files)]))

    (line,) = model.asked[0].messages
    assert isinstance(line, Spoken)
    assert [media.data for media in line.media] == [b"meow"]
    assert "gone.png" in line.text


# What is for the person


@dataclass
class Maker:
    """A tool that brings the same each time, and counts how often."""

    brings: Observation
    times: int = 0

    async def run(self, arguments: str, occasion: Occasion) -> Observation:
        self.times += 1
        return self.brings


def picture(name: str = "cat.png", data: bytes = b"meow") -> Media:
    return Media("image", name, "image/png", data)


def kept(name: str = "cat.png", data: bytes = b"meow") -> Attachment:
    return Attachment(kind="image", name=name, mime="image/png", size=len(data), blob=data.hex())


def making(model: Player, brings: Observation, effect: Effect = "read", *, blobs: FakeBlobs | None = None) -> Scene:
    """A scene with a tool that brings this."""
    scene = Scene({"one": model}, {"make": (effect, Maker(brings))})
    scene.kit = replace(scene.kit, blobs=blobs or FakeBlobs())
    return scene


def result(model: Player) -> ToolResult:
    """What the model was last told of a tool."""
    told = model.asked[-1].messages[-1]
    assert isinstance(told, ToolResult)
    return told


MAKES: tuple[Sequence[Deed], ...] = ([call("make"), TOOLS], [Said("Here."), END])


async def test_what_tools_make_for_the_person_goes_with_the_answer() -> None:
    model, blobs = Player(*MAKES), FakeBlobs()
    scene = making(model, Observation("painted", files=(picture(),), choices=("More", "Enough")), blobs=blobs)

    assert await scene.play() == "Here."

    assert blobs.kept == [picture()]
    assert (scene.end.attachments, scene.end.choices) == ((kept(),), ("More", "Enough"))
    assert result(model).content.startswith("painted\n[the file 'cat.png' (image/png, 4 bytes) goes to the person")


async def test_an_answer_without_files_and_offers_names_none() -> None:
    scene = Scene({"one": Player([Said("Hi."), END])})

    await scene.play()

    assert (scene.end.attachments, scene.end.choices) == (None, None)


@pytest.mark.parametrize(("said", "is_error"), [("", True), ("painted", False)])
async def test_the_model_is_told_of_a_file_that_is_not_taken(said: str, is_error: bool) -> None:
    model = Player(*MAKES)
    scene = making(model, Observation(said, files=(picture(),)), blobs=FakeBlobs(is_full=True))

    await scene.play()

    assert scene.end.attachments is None
    assert "[the file 'cat.png' does not go to the person: it cannot be kept here now]" in result(model).content
    assert (result(model).is_error, said in result(model).content) == (is_error, True)


async def test_no_more_files_are_kept_than_go_with_the_answer() -> None:
    model, blobs = Player([call("make"), TOOLS], [call("make"), TOOLS], [Said("Here."), END]), FakeBlobs()
    many = tuple(picture(f"{number}.png") for number in range(MAX_FILES + 1))
    scene = making(model, Observation(files=many), blobs=blobs)

    await scene.play()

    assert len(blobs.kept) == MAX_FILES
    assert scene.end.attachments == tuple(kept(file.name) for file in many[:-1])
    assert f"'{MAX_FILES}.png' does not go to the person: {MAX_FILES} files go" in result(model).content
    assert result(model).is_error


async def test_what_an_attempt_made_by_an_effect_is_on_the_log_and_goes_with_the_answer_of_the_next() -> None:
    first = making(Player(*MAKES), Observation("painted", files=(picture(),)), "external")
    await first.play()
    done = first.desk.records[1]
    assert isinstance(done, ToolDone)
    known = KnownCall(call=done.call, outcome=done.outcome, content=done.content, attachments=done.attachments)

    second = making(Player(*MAKES), Observation("painted", files=(picture(),)), "external")
    await second.play(second.run(known_calls=[known]))

    assert done.attachments == (kept(),)
    assert second.end.attachments == (kept(),)
    assert second.desk.tool_steps[0].content.endswith("painted")


async def test_what_is_only_read_is_made_again_by_another_attempt_and_goes_once() -> None:
    blobs = FakeBlobs()
    for _ in range(2):
        scene = making(Player(*MAKES), Observation(files=(picture(),)), blobs=blobs)
        await scene.play()

        assert scene.desk.records == []
        assert scene.end.attachments == (kept(),)


async def test_a_turn_that_is_stopped_brings_nothing() -> None:
    model = Player([call("make"), TOOLS], [Said("Her"), 3600.0])
    scene = making(model, Observation(files=(picture(),), choices=("Yes",)))
    async with scene.begun() as turn:
        await until(lambda: len(model.asked) == 2)
        turn.stop()
        await idle()

    assert (scene.end.outcome, scene.end.attachments, scene.end.choices) == ("stopped", None, None)


async def test_the_end_with_the_longest_names_fits_a_message() -> None:
    names = [f"{number}".ljust(255, "\u0001") for number in range(MAX_FILES)]
    scene = making(Player(*MAKES), Observation(files=tuple(picture(name) for name in names)))

    await scene.play()

    assert [file.name for file in scene.end.attachments or ()] == names


async def test_what_may_be_sent_can_be_stored() -> None:
    assert MAX_FILE <= MOST_BYTES


# Helpers


def with_helper(scene: Scene, **more: object) -> AgentSpec:
    """Alice, who may ask Bob."""
    bob = scene.agent("bob", "two").model_copy(update={"description": "knows bells", **more})
    return scene.agent().model_copy(update={"helpers": (bob,), "tools": ()})


def ask_bob(question: str = "Well?") -> Called:
    return Called("x", "ask_bob", f'{{"question": "{question}"}}')


async def test_a_helpers_files_go_with_the_answer_and_its_offers_do_not() -> None:
    one, two = Player(*ASKING), Player(*MAKES)
    scene = making(one, Observation(files=(picture(),), choices=("Yes",)))
    scene.kit = replace(scene.kit, models=Given({"one": one, "two": two}))

    await scene.play(scene.run(with_helper(scene)))

    assert (scene.end.attachments, scene.end.choices) == ((kept(),), None)
    assert result(one).content.startswith("Here.\n[the file 'cat.png'")


ASKING: tuple[Sequence[Deed], ...] = ([ask_bob(), TOOLS], [Said("Bob says so."), END])


async def test_a_helper_is_asked_and_what_it_does_is_part_of_the_turn() -> None:
    one, two = Player(*ASKING), Player([Said("I ring."), call("ring"), TOOLS], [Said("Rung."), END])
    scene = Scene({"one": one, "two": two}, {"ring": ("external", Bell())}, prices=DEAR)

    said = await scene.play(scene.run(with_helper(scene)))

    assert said == "Bob says so."
    assert "knows bells" in one.asked[0].tools[0].description
    assert [message.text for message in two.asked[0].messages if isinstance(message, Spoken)] == ["Well?"]
    result = one.asked[1].messages[-1]
    assert isinstance(result, ToolResult)
    assert result.content == "I ring.\n\nRung."
    asked = result.call
    steps = [(step.call, step.within) for step in scene.desk.steps]
    ring = next(step.call for step in scene.desk.tool_steps if step.tool == "ring")
    assert steps == [
        ("m1", None),
        (f"{asked}.m1", asked),
        (ring, asked),
        (f"{asked}.m2", asked),
        (asked, None),
        ("m2", None),
    ]
    assert ring.startswith(f"{asked}.")
    assert (scene.end.usage.calls, scene.end.usage.cost) == (4, Decimal("0.40"))
    reserved = [(record.agent, record.call) for record in scene.desk.records if isinstance(record, MoneyReserved)]
    assert reserved == [("alice", "m1"), ("bob", f"{asked}.m1"), ("bob", f"{asked}.m2"), ("alice", "m2")]
    assert [record.call for record in scene.desk.records if isinstance(record, ToolStarted | ToolDone)] == [ring] * 2


async def test_what_a_helper_did_in_an_earlier_attempt_is_known_to_it_and_to_nobody_else() -> None:
    calls: list[Sequence[Deed]] = [[call("ring"), TOOLS], [Said("Rung."), END]]
    models = {"one": Player([ask_bob(), call("ring"), TOOLS], [Said("."), END]), "two": Player(*calls)}
    first = Scene(models, {"ring": ("external", Bell())})
    agent = with_helper(first).model_copy(update={"tools": ("ring",)})
    await first.play(first.run(agent))
    within = next(record.call for record in first.desk.records if isinstance(record, ToolDone) and "." in record.call)

    bell, two = Bell(), Player(*calls)
    models = {"one": Player([ask_bob(), call("ring"), TOOLS], [Said("."), END]), "two": two}
    second = Scene(models, {"ring": ("external", bell)})
    known = KnownCall(call=within, outcome="ok", content="rung long ago")
    await second.play(second.run(agent, known_calls=[known]))

    assert bell.rung == ["{}"]
    result = two.asked[1].messages[-1]
    assert isinstance(result, ToolResult)
    assert "rung long ago" in result.content


async def test_a_stop_stops_the_helper_too_and_its_call_is_in_the_trace() -> None:
    two = Player([Said("Hm"), 3600.0])
    scene = Scene({"one": Player(*ASKING), "two": two}, prices=DEAR)
    async with scene.begun(scene.run(with_helper(scene))) as turn:
        await until(lambda: bool(two.asked))
        await idle()
        turn.stop()
        await idle()

    asked = scene.desk.tool_steps[0].call
    assert [(step.call, step.cost, step.text) for step in scene.desk.model_steps][1:] == [(f"{asked}.m1", None, "Hm")]
    assert (scene.end.outcome, scene.end.usage.calls, scene.end.usage.unpriced) == ("stopped", 2, 1)
    assert two.closed == 1


async def test_a_helper_that_takes_too_long_is_given_up_and_its_call_is_in_the_trace() -> None:
    one, two = Player(*ASKING), Player([3600.0])
    scene = Scene({"one": one, "two": two}, prices=DEAR)

    said = await scene.play(scene.run(with_helper(scene, limits=Limits(max_seconds=20))))

    assert said == "Bob says so."
    result = one.asked[1].messages[-1]
    assert isinstance(result, ToolResult)
    assert "within 20 s" in result.content
    assert [step.cost for step in scene.desk.model_steps] == [Decimal("0.10"), None, Decimal("0.10")]
    assert scene.end.usage.calls == 3


@pytest.mark.parametrize(
    ("deeds", "words"),
    [([Failed("no")], "Sorry, I could not finish this."), ([END], "The model gave no answer.")],
)
async def test_a_helper_that_fails_is_an_observation_for_whoever_asked(deeds: list[Deed], words: str) -> None:
    one = Player(*ASKING)
    scene = Scene({"one": one, "two": Player(deeds)})

    assert await scene.play(scene.run(with_helper(scene))) == "Bob says so."
    result = one.asked[1].messages[-1]
    assert isinstance(result, ToolResult)
    assert words in result.content


async def test_a_helper_that_may_not_be_paid_for_tells_whoever_asked() -> None:
    one = Player(*ASKING)
    scene = Scene({"one": one, "two": Player([Said("never"), END])}, prices=DEAR)
    scene.desk.grant = lambda record: (
        NotRecorded(words="No money.") if isinstance(record, MoneyReserved) and record.agent == "bob" else Recorded()
    )

    assert await scene.play(scene.run(with_helper(scene))) == "Bob says so."
    result = one.asked[1].messages[-1]
    assert isinstance(result, ToolResult)
    assert (result.content, result.is_error) == ("No money.", True)


async def test_a_helper_of_whoever_only_pretends_pretends_as_well() -> None:
    bell = Bell()
    two = Player([call("ring"), TOOLS], [Said("Rung."), END])
    scene = Scene({"one": Player(*ASKING), "two": two}, {"ring": ("external", bell)})

    await scene.play(scene.run(with_helper(scene).model_copy(update={"is_dry": True})))

    assert bell.rung == []
    assert "dry run" in [step.outcome for step in scene.desk.tool_steps]


async def test_helpers_ask_helpers_and_a_stop_reaches_all_of_them() -> None:
    three = Player([Said("Deep."), 3600.0])
    ask_carol = Called("x", "ask_carol", '{"question": "And you?"}')
    scene = Scene({"one": Player(*ASKING), "two": Player([ask_carol, TOOLS]), "three": three}, prices=DEAR)
    carol = scene.agent("carol", "three")
    async with scene.begun(scene.run(with_helper(scene, helpers=(carol,)))) as turn:
        await until(lambda: bool(three.asked))
        turn.stop()
        await idle()

    deep = next(step for step in scene.desk.model_steps if step.model == "three")
    assert deep.call.count(".") == 2
    assert (deep.cost, scene.end.outcome) == (None, "stopped")


async def test_two_questions_at_once_are_two_errands() -> None:
    two = Player([1.0, Said("Yes."), END])
    scene = Scene({"one": Player([ask_bob("a"), ask_bob("b"), ask_bob("b"), TOOLS], [Said("."), END]), "two": two})

    await scene.play(scene.run(with_helper(scene)))

    assert asyncio.get_running_loop().time() < 2
    calls = [step.call for step in scene.desk.model_steps if step.model == "two"]
    assert len(set(calls)) == 3


# A turn that is dropped


@pytest.mark.parametrize("tools", [True, False])
async def test_a_turn_that_is_dropped_tells_nothing_more(tools: bool) -> None:
    one = Player(*ASKING) if tools else Player([Said("Hm"), 3600.0])
    scene = Scene({"one": one, "two": Player([Said("Hm"), 3600.0])})
    async with scene.begun(scene.run(with_helper(scene))) as turn:
        await pass_time(1)
        told = len(scene.desk.events)
        turn.close()
        await pass_time(10)
        assert not turn.is_stirred

    assert len(scene.desk.events) == told
    assert not any(isinstance(event, Ended) for event in scene.desk.events)


async def test_turns_share_nothing_but_their_kit() -> None:
    scene = Scene({"one": Player([1.0, Said("Fine."), END])}, prices=DEAR)
    others = [Scene(desk=FakeDesk()) for _ in range(5)]
    for other in others:
        other.kit = scene.kit

    said = await asyncio.gather(*(other.play(scene.run(turn=f"t{n}")) for n, other in enumerate(others)))

    assert said == ["Fine."] * 5
    assert all(other.end.usage.calls == 1 for other in others)
