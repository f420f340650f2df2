"""An engine carried out for a turn: its steps on the log, its rights those of its agent, and its ends."""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from json import loads
from pathlib import Path

import pytest

from factory_contracts.engine import CodeStep, Engine, HarnessStep, Step, ToolStep, Unfit
from factory_contracts.messages import Attachment
from factory_contracts.records import MoneyReserved, StepDone, StepOutput, ToolDone, ToolStarted
from factory_contracts.trace import MAX_EXCERPT, EngineStep, ModelStep
from factory_contracts.work import (
    AgentSpec,
    Approvals,
    ApprovalWanted,
    KnownCall,
    Line,
    NotRecorded,
    Recorded,
    RecordReply,
    Requested,
    Run,
    Steer,
    ToolEvent,
)
from hub.kernel.events import Failed, Said
from hub.kernel.ports import Media
from tests.fakes import idle, until
from tests.workers.stage import Bell, FakePrices, text
from tests.workers.test_errand import END, TOOLS, Player, Scene, call
from workers.clipool import turn as turns
from workers.clipool.kit import Given

MEOW = Media("document", "a.txt", "text/plain", b"meow")
ROOT = Path(__file__).parents[2]


class Counted:
    """A function that tells how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, input: str) -> dict[str, int]:
        self.calls += 1
        return {"words": len(input.split())}


@dataclass
class Shelf:
    """Engines that a test has at hand."""

    engines: dict[str, Engine] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.engines)

    async def find(self, name: str) -> Engine | None:
        if self.error is not None:
            raise self.error
        return self.engines.get(name)


@dataclass
class Store:
    """A store of files in memory; a full one takes nothing."""

    files: dict[str, Media] = field(default_factory=dict)
    is_full: bool = False

    async def get(self, scope: str, attachment: Attachment) -> bytes | None:
        found = self.files.get(attachment.blob)
        return found.data if found is not None else None

    async def keep(self, scope: str, file: Media) -> Attachment | None:
        if self.is_full:
            return None
        blob = f"b{len(self.files)}"
        self.files[blob] = file
        return Attachment(kind=file.kind, name=file.name, mime=file.mime, size=len(file.data), blob=blob)


def page(summary: str, rung: str, count: dict[str, int]) -> str:
    return f"{summary} {rung} {count['words']}"


def engine(*steps: Step, version: str = "v1") -> Engine:
    return Engine("digest", "Digests.", steps, version=version)


def scene_of(
    *steps: Step, model: Player | None = None, bell: Bell | None = None, error: Exception | None = None
) -> Scene:
    """A worker that has this engine, a model that sums up, and a bell that rings outside."""
    scene = Scene({"one": model or Player([Said("Short."), END])}, {"ring": ("external", bell or Bell())})
    scene.kit = replace(scene.kit, engines=Shelf({"digest": engine(*steps)}, error), blobs=Store({"there": MEOW}))
    return scene


def all_kinds(count: Callable[..., object]) -> tuple[Step, ...]:
    return (
        CodeStep("count", count),
        HarnessStep("summary", "Sum up: {input}"),
        ToolStep("rung", "ring", {"times": "{count.words}"}),
        CodeStep("page", page),
    )


def run_of(
    scene: Scene,
    said: str = "one two",
    *,
    agent: AgentSpec | None = None,
    known_steps: Sequence[StepOutput] = (),
    known_calls: Sequence[KnownCall] = (),
    attachments: tuple[Attachment, ...] = (),
    tainted: bool = False,
    name: str = "digest",
) -> Run:
    line = Line(role="user", text=said, attachments=attachments, trusted=None if tainted else True)
    run = scene.run(agent, lines=[line], known_calls=known_calls)
    return run.model_copy(
        update={"engine": name, "known_steps": tuple(known_steps) or None, "tainted": tainted or None}
    )


def outputs(scene: Scene) -> list[StepOutput]:
    return [record.output for record in scene.desk.records if isinstance(record, StepDone)]


def engine_steps(scene: Scene) -> list[tuple[str, str]]:
    return [(step.call, step.outcome) for step in scene.desk.steps if isinstance(step, EngineStep)]


# Chat


async def test_a_chat_turn_puts_nothing_more_on_the_log_and_in_the_trace_than_its_calls() -> None:
    scene = Scene({"one": Player([Said("Hello."), END])})

    assert await scene.play() == "Hello."

    assert scene.desk.records == []
    assert [type(step) for step in scene.desk.steps] == [ModelStep]
    assert [event for event in scene.desk.events if isinstance(event, ToolEvent)] == []


def test_a_chat_turn_has_no_second_path_to_an_agent() -> None:
    """Whoever begins an errand is a step of an engine, or another errand."""
    begins = {
        path.name
        for path in (ROOT / "workers/clipool").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Errand"
    }

    assert begins == {"errand.py", "steps.py"}
    assert "Errand" not in vars(turns)


# Steps


async def test_all_three_kinds_of_steps_are_done_in_order_and_each_is_on_the_log_before_the_next_begins() -> None:
    model, bell = Player([Said("Short."), END]), Bell()
    scene = scene_of(*all_kinds(Counted()), model=model, bell=bell)

    assert await scene.play(run_of(scene)) == "Short. rung 2"

    kinds = [type(record) for record in scene.desk.records]
    assert kinds == [StepDone, StepDone, ToolStarted, ToolDone, StepDone]
    assert [(one.step, loads(one.value), one.version) for one in outputs(scene)] == [
        ("count", {"words": 2}, "v1"),
        ("summary", "Short.", "v1"),
        ("rung", "rung", "v1"),
    ]
    assert [loads(one) for one in bell.rung] == [{"times": 2}]
    assert engine_steps(scene) == [("count", "ok"), ("summary", "ok"), ("rung", "ok"), ("page", "ok")]
    assert scene.end.outcome == "complete"


async def test_the_trace_says_in_which_step_a_model_and_a_tool_were_used() -> None:
    scene = scene_of(*all_kinds(Counted()))

    await scene.play(run_of(scene))

    assert [step.within for step in scene.desk.model_steps] == ["summary"]
    assert [step.within for step in scene.desk.tool_steps] == ["rung"]


async def test_a_step_that_is_on_the_log_is_not_done_again_wherever_the_attempt_before_ended() -> None:
    first = scene_of(*all_kinds(Counted()))
    await first.play(run_of(first))
    recorded = outputs(first)

    for behind in range(len(recorded) + 1):
        count, model, bell = Counted(), Player([Said("Short."), END]), Bell()
        scene = scene_of(*all_kinds(count), model=model, bell=bell)

        assert await scene.play(run_of(scene, known_steps=recorded[:behind])) == "Short. rung 2"

        assert (count.calls, len(model.asked), len(bell.rung)) == (behind < 1, behind < 2, behind < 3)
        assert [one.step for one in outputs(scene)] == ["count", "summary", "rung"][behind:]
        known = [name for name, outcome in engine_steps(scene) if outcome == "known"]
        assert known == ["count", "summary", "rung"][:behind]


async def test_a_tool_step_that_was_begun_and_not_known_to_be_done_is_named_and_not_repeated() -> None:
    first = scene_of(*all_kinds(Counted()))
    await first.play(run_of(first))
    (begun,) = (record for record in first.desk.records if isinstance(record, ToolStarted))
    bell = Bell()
    scene = scene_of(*all_kinds(Counted()), bell=bell)
    known = [KnownCall(call=begun.call, outcome="unknown")]

    said = await scene.play(run_of(scene, known_steps=outputs(first)[:2], known_calls=known))

    assert bell.rung == []
    assert said.startswith("Sorry, I could not finish this.")
    assert scene.end.outcome == "failed" and scene.end.reference is not None
    assert "whether it took effect is not known" in scene.desk.tool_steps[-1].content


async def test_a_tool_step_that_is_known_to_be_done_is_gone_on_from() -> None:
    first = scene_of(*all_kinds(Counted()))
    await first.play(run_of(first))
    (done,) = (record for record in first.desk.records if isinstance(record, ToolDone))
    bell = Bell()
    scene = scene_of(*all_kinds(Counted()), bell=bell)
    known = [KnownCall(call=done.call, outcome="ok", content=done.content)]

    said = await scene.play(run_of(scene, known_steps=outputs(first)[:2], known_calls=known))

    assert bell.rung == []
    assert "rung" in said and scene.end.outcome == "complete"


async def test_an_engine_whose_file_was_changed_meanwhile_is_not_gone_on_with() -> None:
    scene = scene_of(*all_kinds(Counted()))
    known = StepOutput(step="count", engine="digest", version="v0", value="7")

    said = await scene.play(run_of(scene, known_steps=[known]))

    assert said.startswith("Sorry, I could not finish this.")
    assert outputs(scene) == []


async def test_what_is_long_lies_in_the_store_and_is_read_again_by_the_next_attempt() -> None:
    def long(input: str) -> str:
        return "word " * MAX_EXCERPT

    def length(long: str) -> int:
        return len(long)

    steps, store = (CodeStep("long", long), CodeStep("length", length)), Store()
    first, second, third = scene_of(*steps), scene_of(*steps), scene_of(*steps)
    first.kit, second.kit = replace(first.kit, blobs=store), replace(second.kit, blobs=store)
    assert await first.play(run_of(first)) == str(5 * MAX_EXCERPT)
    (output,) = outputs(first)

    assert output.value == "" and output.large is not None
    assert await second.play(run_of(second, known_steps=[output])) == str(5 * MAX_EXCERPT)
    assert await third.play(run_of(third, known_steps=[output])) == (
        "What an earlier attempt at this put out is not there any more."
    )


async def test_what_cannot_be_kept_ends_the_engine() -> None:
    scene = scene_of(CodeStep("long", lambda input: "word " * MAX_EXCERPT), CodeStep("page", lambda long: long))
    scene.kit = replace(scene.kit, blobs=Store(is_full=True))

    assert (await scene.play(run_of(scene))).startswith("Sorry, I could not finish this.")


async def test_a_fault_of_ours_ends_the_engine_and_not_the_worker() -> None:
    class Broken(Store):
        async def keep(self, scope: str, file: Media) -> Attachment | None:
            raise RuntimeError("a fault")

    scene = scene_of(CodeStep("long", lambda input: "word " * MAX_EXCERPT), CodeStep("page", lambda long: long))
    scene.kit = replace(scene.kit, blobs=Broken())

    said = await scene.play(run_of(scene))

    assert said == f"Sorry, I could not finish this. Reference {scene.end.reference}."


async def test_a_function_that_exits_ends_the_engine_and_not_the_worker() -> None:
    scene = scene_of(CodeStep("parse", lambda input: sys.exit(2)))

    said = await scene.play(run_of(scene))

    assert said == f"Sorry, I could not finish this. Reference {scene.end.reference}."


async def test_an_attempt_that_does_not_count_any_more_does_nothing_more() -> None:
    count, model = Counted(), Player([Said("Short."), END])
    scene = scene_of(*all_kinds(count), model=model)
    scene.desk.grant = lambda record: NotRecorded()

    async with scene.begun(run_of(scene)):
        await until(lambda: scene.desk.dropped > 0)
        await idle()

    assert (count.calls, model.asked) == (1, [])


async def test_an_engine_is_given_the_text_of_the_file_where_there_are_no_words() -> None:
    scene = scene_of(CodeStep("loud", lambda input: input.upper()))
    file = Attachment(kind="document", name="a.txt", mime="text/plain", size=4, blob="there")

    assert await scene.play(run_of(scene, "", attachments=(file,), tainted=True)) == "MEOW"


async def test_a_file_that_is_gone_is_said_to_be() -> None:
    scene = scene_of(CodeStep("loud", lambda input: input.upper()))
    file = Attachment(kind="document", name="a.txt", mime="text/plain", size=4, blob="gone")

    said = await scene.play(run_of(scene, "", attachments=(file,)))

    assert said == "What the engine is to work on cannot be read here."
    assert scene.end.outcome == "failed"


async def test_an_engine_that_is_not_here_is_said_not_to_be() -> None:
    loud = CodeStep("loud", lambda input: input)
    scene, broken = scene_of(loud), scene_of(loud, error=ImportError("no such module"))

    assert await scene.play(run_of(scene, name="other")) == "There is no engine `other` here. There is: digest."
    assert "cannot be read here" in await broken.play(run_of(broken))


async def test_where_there_is_no_engine_at_all_it_is_said_how_one_is_made() -> None:
    scene = scene_of(CodeStep("loud", lambda input: input))
    scene.kit = replace(scene.kit, engines=Shelf())

    said = "There is no engine `other` here. None is here; `factory engine new NAME` writes one."
    assert await scene.play(run_of(scene, name="other")) == said


# What an agent may do, its engine may, and nothing else


async def test_an_engine_has_the_tools_of_its_agent_and_no_others() -> None:
    scene = scene_of(ToolStep("gone", "erase", {}))

    said = await scene.play(run_of(scene))

    assert said.startswith("Sorry, I could not finish this.")
    assert "There is no tool 'erase'" in scene.desk.tool_steps[-1].content


async def test_a_harness_step_is_the_agent_or_one_that_it_may_ask() -> None:
    scene = scene_of(HarnessStep("summary", agent="bob"))
    scene.models = {**scene.models}
    bob = scene.agent("bob", "two")
    two = Player([Said("Bob says so."), END])
    scene.kit = replace(scene.kit, models=Given({**scene.models, "two": two}))

    assert await scene.play(run_of(scene, agent=scene.agent().model_copy(update={"helpers": (bob,)}))) == "Bob says so."
    other = scene_of(HarnessStep("summary", agent="bob"))
    assert await other.play(run_of(other)) == "The engine `digest` needs `bob`, whom alice may not ask."


async def test_a_tool_step_asks_a_person_as_a_call_of_the_agent_does_and_a_no_ends_the_engine() -> None:
    bell = Bell()
    scene = scene_of(ToolStep("rung", "ring", {}), bell=bell)
    agent = scene.agent().model_copy(update={"approvals": Approvals(external="always")})
    asked: list[Requested] = []

    def deny(record: Requested) -> RecordReply:
        asked.append(record)
        return NotRecorded(words="The person did not allow this.") if isinstance(record, ApprovalWanted) else Recorded()

    scene.desk.grant = deny
    said = await scene.play(run_of(scene, agent=agent))

    assert [type(record) for record in asked] == [ApprovalWanted]
    assert bell.rung == []
    assert said.startswith("Sorry, I could not finish this.")


async def test_what_a_file_brought_taints_every_step_and_the_answer() -> None:
    bell = Bell()
    scene = scene_of(*all_kinds(Counted()), bell=bell)
    asked: list[ApprovalWanted] = []

    def allow(record: Requested) -> RecordReply:
        asked.extend([record] if isinstance(record, ApprovalWanted) else [])
        return Recorded()

    scene.desk.grant = allow
    await scene.play(run_of(scene, tainted=True))

    assert [wanted.tool for wanted in asked] == ["ring"]
    assert scene.end.tainted is True
    assert [one.tainted for one in outputs(scene)] == [True, True, True]


@pytest.mark.parametrize(("address", "asks"), [("https://a.example/feed", False), ("https://a.example/{count}", True)])
async def test_only_an_address_that_stands_in_the_engine_is_its_authors(address: str, asks: bool) -> None:
    asked: list[Requested] = []

    def allow(record: Requested) -> RecordReply:
        asked.append(record)
        return Recorded()

    scene = scene_of(CodeStep("count", lambda input: input), ToolStep("page", "ring", {"url": address}))
    ring = scene.kit.tools["ring"]
    reaches = replace(ring, spec=replace(ring.spec, effect="read", reaches="url"))
    scene.kit = replace(scene.kit, tools={"ring": reaches})
    scene.desk.grant = allow

    await scene.play(run_of(scene, "secret", tainted=True))

    assert any(isinstance(record, ApprovalWanted) for record in asked) == asks


async def test_taint_outlives_the_attempt_in_which_it_came() -> None:
    scene = scene_of(*all_kinds(Counted()))
    known = StepOutput(step="count", engine="digest", version="v1", value='{"words": 2}', tainted=True)
    asked: list[Requested] = []

    def allow(record: Requested) -> RecordReply:
        asked.append(record)
        return Recorded()

    scene.desk.grant = allow
    await scene.play(run_of(scene, known_steps=[known]))

    assert any(isinstance(record, ApprovalWanted) for record in asked)
    assert scene.end.tainted is True


async def test_money_is_reserved_for_the_model_calls_of_a_step() -> None:
    scene = scene_of(*all_kinds(Counted()))
    scene.kit = replace(scene.kit, prices=FakePrices(Decimal("0.50"), Decimal("0.10")))

    await scene.play(run_of(scene))

    assert [record.call for record in scene.desk.records if isinstance(record, MoneyReserved)] == ["summary.m1"]
    assert scene.end.usage.cost == Decimal("0.10")


async def test_who_may_not_spend_more_is_told_so_and_nothing_follows() -> None:
    bell = Bell()
    scene = scene_of(*all_kinds(Counted()), bell=bell)
    scene.kit = replace(scene.kit, prices=FakePrices(Decimal("0.50"), Decimal("0.10")))
    scene.desk.grant = lambda record: (
        NotRecorded(words="The budget is used up.") if isinstance(record, MoneyReserved) else Recorded()
    )

    assert await scene.play(run_of(scene)) == "The budget is used up."
    assert (bell.rung, scene.end.outcome) == ([], "failed")


async def test_in_a_dry_run_a_tool_step_only_tells_what_it_would_do() -> None:
    bell = Bell()
    scene = scene_of(ToolStep("rung", "ring", {"times": 2}), bell=bell)

    said = await scene.play(run_of(scene, agent=scene.agent().model_copy(update={"is_dry": True})))

    assert said == 'Dry run: ring would have been called with {"times":2}.'
    assert bell.rung == []


# Ends


async def test_a_stop_ends_an_engine_at_once_and_what_its_function_puts_out_later_is_nothing() -> None:
    may_end, begun = threading.Event(), threading.Event()

    def slow(input: str) -> str:
        begun.set()
        may_end.wait(10)
        return input

    scene = scene_of(CodeStep("slow", slow), CodeStep("page", lambda slow: slow))
    async with scene.begun(run_of(scene)) as turn:
        await until(begun.is_set)
        turn.stop()
        await idle()
        assert turn.is_over
    may_end.set()

    assert (text(scene.desk.events), scene.end.outcome) == ("", "stopped")
    assert outputs(scene) == []


@pytest.mark.parametrize("ends", ["stop", "time"])
async def test_an_agents_step_that_is_ended_ends_the_engine(ends: str) -> None:
    model = Player([Said("Well, "), 3600.0])
    scene = scene_of(HarnessStep("summary"), CodeStep("page", lambda summary: summary), model=model)
    async with scene.begun(run_of(scene)) as turn:
        await until(lambda: bool(model.asked))
        await idle()
        turn.stop() if ends == "stop" else turn.run_out()
        await idle()
        assert turn.is_over

    assert scene.end.outcome == ("stopped" if ends == "stop" else "failed")
    assert ("took too long" in text(scene.desk.events)) == (ends == "time")


async def test_a_stop_that_comes_before_the_engine_was_read_ends_it() -> None:
    count = Counted()
    scene = scene_of(*all_kinds(count))
    async with scene.begun(run_of(scene)) as turn:
        turn.stop()
        await idle()
        assert turn.is_over

    assert (count.calls, scene.end.outcome) == (0, "stopped")


async def test_what_a_function_says_will_not_do_is_told_to_the_person() -> None:
    def check(input: str) -> str:
        raise Unfit("There is nothing to sum up.")

    scene = scene_of(CodeStep("check", check))

    assert await scene.play(run_of(scene, "x")) == "There is nothing to sum up."
    assert scene.end.outcome == "failed"


@pytest.mark.parametrize("function", [lambda input: 1 / 0, lambda input: object(), lambda input: float("nan")])
async def test_a_function_that_breaks_is_an_apology_without_detail(function: Callable[[str], object]) -> None:
    scene = scene_of(CodeStep("check", function))

    said = await scene.play(run_of(scene))

    assert said == f"Sorry, I could not finish this. Reference {scene.end.reference}."


async def test_a_model_that_fails_ends_the_engine_with_its_apology() -> None:
    scene = scene_of(*all_kinds(Counted()), model=Player([Failed("no such key")]))

    said = await scene.play(run_of(scene))

    assert said == f"Sorry, I could not finish this. Reference {scene.end.reference}."
    assert engine_steps(scene) == [("count", "ok"), ("summary", "error")]


async def test_what_a_person_adds_joins_no_engine() -> None:
    begun = threading.Event()
    may_end = threading.Event()

    def slow(input: str) -> str:
        begun.set()
        may_end.wait(10)
        return input

    scene = scene_of(CodeStep("slow", slow))
    async with scene.begun(run_of(scene)) as turn:
        await until(begun.is_set)
        line = Line(role="user", text="and more")
        turn.steer(Steer(turn="t1", epoch=1, partition=0, joining="t2", line=line))
        may_end.set()
        await until(lambda: turn.is_over)
        await idle()

    assert scene.end.joined == ()


# As a tool


def asks_for_a_digest() -> Player:
    return Player([call("run_digest", '{"input": "one two"}'), TOOLS], [Said("Short."), END], [Said("Done."), END])


async def test_an_agent_runs_an_engine_as_a_tool_whose_steps_are_on_the_log_of_its_turn() -> None:
    model, bell = asks_for_a_digest(), Bell()
    scene = scene_of(*all_kinds(Counted()), model=model, bell=bell)
    agent = scene.agent().model_copy(update={"engines": ("digest",)})

    assert await scene.play(scene.run(agent)) == "Done."

    (called,) = (step.call for step in scene.desk.tool_steps if step.tool == "run_digest")
    names = [f"{called}.{name}" for name in ("count", "summary", "rung", "page")]
    assert [one.step for one in outputs(scene)] == names
    assert engine_steps(scene) == [(name, "ok") for name in names]
    assert "run_digest" in [tool.name for tool in model.asked[0].tools]
    # Nobody runs an engine for ever.
    assert "run_digest" not in [tool.name for tool in model.asked[1].tools]
    result = model.asked[2].messages[-1]
    assert getattr(result, "content", "") == "Short. rung 2"


async def test_an_engine_that_a_tool_began_is_gone_on_with_by_the_next_attempt() -> None:
    first = scene_of(*all_kinds(Counted()), model=asks_for_a_digest())
    agent = first.agent().model_copy(update={"engines": ("digest",)})
    await first.play(first.run(agent))
    count, bell = Counted(), Bell()
    model = Player([call("run_digest", '{"input": "one two"}'), TOOLS], [Said("Done."), END])
    scene = scene_of(*all_kinds(count), model=model, bell=bell)
    run = scene.run(agent).model_copy(update={"known_steps": tuple(outputs(first))})

    assert await scene.play(run) == "Done."

    assert (count.calls, bell.rung, len(model.asked)) == (0, [], 2)


async def test_an_engine_that_fails_as_a_tool_is_an_observation_of_the_model() -> None:
    def check(input: str) -> str:
        raise Unfit("There is nothing to sum up.")

    model = Player([call("run_digest", '{"input": ""}'), TOOLS], [Said("I see."), END])
    scene = scene_of(CodeStep("check", check), model=model)

    assert await scene.play(scene.run(scene.agent().model_copy(update={"engines": ("digest",)}))) == "I see."

    result = model.asked[1].messages[-1]
    assert getattr(result, "content", "") == "There is nothing to sum up."
    assert getattr(result, "is_error", False)


async def test_an_engine_that_is_not_here_costs_its_agent_nothing_else() -> None:
    model = Player([Said("Hello."), END])
    scene = scene_of(CodeStep("check", lambda input: input), model=model)

    assert await scene.play(scene.run(scene.agent().model_copy(update={"engines": ("other",)}))) == "Hello."
    assert [tool.name for tool in model.asked[0].tools] == ["ring"]
