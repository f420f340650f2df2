"""No secret leaves a worker: no tool tells one to a model, no model tells one to a person, no trace keeps one."""

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from factory_contracts.trace import MAX_EXCERPT, ModelStep, ToolStep
from factory_contracts.work import Stepped, ToolEvent
from hub.kernel.events import Called, Did, Failed, Finished, Kept, ModelEvent, Said, Thought
from hub.kernel.ports import (
    Equipped,
    Media,
    ModelRequest,
    Observation,
    Occasion,
    OutcomeUnknown,
    ToolFailed,
    ToolResult,
    ToolSpec,
)
from hub.kernel.secrecy import WORD, Redactor
from tests.workers.conftest import Bus
from tests.workers.stage import FakePrices, end, run, text, working
from workers.clipool.discretion import DiscreetModel, DiscreetTool, discreet_step
from workers.clipool.kit import Given, Kit

CANARY = "canary-4d1f-sings-no-more"
LOOKS = "sk-ant-api03-whoever-sees-this-owns-it"
REDACTOR = Redactor.of([CANARY])
# As often as it fits into a step, so that it does no more with a longer word for what is secret in it.
ADDRESS = "postgres://app:dev@db "
FITS = MAX_EXCERPT // len(ADDRESS)
REQUEST = ModelRequest("fed:m", "", ())
AGENT = run().agent
OCCASION = Occasion("t", "c", "s", "u", AGENT)


@dataclass(slots=True)
class Fed:
    """A model that says what it is fed, call by call, and notes what it was asked."""

    calls: list[Sequence[ModelEvent]]
    asked: list[ModelRequest] = field(default_factory=list)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        self.asked.append(request)
        for event in self.calls[len(self.asked) - 1]:
            yield event

    async def close(self) -> None:
        return


@dataclass(frozen=True, slots=True)
class Teller:
    """A tool that says this, or fails with it."""

    told: str | Observation | Exception

    async def run(self, arguments: str, occasion: Occasion) -> str | Observation:
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


async def said(*events: ModelEvent) -> list[ModelEvent]:
    return [event async for event in DiscreetModel(Fed([events]), REDACTOR).stream(REQUEST)]


@pytest.mark.parametrize("size", range(1, len(CANARY) + 2))
async def test_a_secret_in_an_answer_is_not_said_however_it_is_cut(size: int) -> None:
    whole = f"It is {CANARY}, and I can say {LOOKS}."
    pieces = [Said(whole[at : at + size]) for at in range(0, len(whole), size)]

    heard = await said(*pieces, Finished("end"))

    assert heard[-1] == Finished("end")
    assert "".join(event.text for event in heard if isinstance(event, Said)) == whole.replace(CANARY, WORD)


async def test_a_thought_does_not_let_the_first_half_of_a_secret_out() -> None:
    heard = await said(Said(CANARY[:9]), Thought(), Said(CANARY[9:]), Finished("end"))

    assert heard == [Thought(), Said(WORD), Finished("end")]


async def test_what_only_begins_like_a_secret_is_said_at_the_latest_at_the_end() -> None:
    begins = CANARY[:6]

    assert await said(Said(begins), Finished("end")) == [Said(begins), Finished("end")]
    assert await said(Said(begins), Called("1", "t", "{}")) == [Said(begins), Called("1", "t", "{}")]
    assert await said(Said(begins)) == [Said(begins)]


async def test_no_other_event_of_a_model_holds_a_secret() -> None:
    kept = Kept('{"signed": "by the provider"}')

    heard = await said(
        kept,
        Did("1", "bash", "ok", f"$ curl -H x-api-key:{LOOKS} {CANARY}"),
        Called("2", "fetch", json.dumps({"url": f"http://a/{CANARY}", "token": LOOKS})),
        Failed(f"401 for {CANARY} and {LOOKS}", is_transient=True, retry_after=2.0),
    )

    assert heard == [
        kept,
        Did("1", "bash", "ok", f"$ curl -H x-api-key:{WORD} {WORD}"),
        # What looks secret may be the person's own, who wants it used.
        Called("2", "fetch", json.dumps({"url": f"http://a/{WORD}", "token": LOOKS})),
        Failed(f"401 for {WORD} and {WORD}", is_transient=True, retry_after=2.0),
    ]


async def test_a_tool_tells_no_secret() -> None:
    picture = Media("image", "a.png", "image/png", b"\x89PNG\xff" + CANARY.encode())
    table = Media("document", "a.csv", "text/csv", f"a,{CANARY}\nb,{LOOKS}\n".encode())
    made = Observation(f"{LOOKS} {CANARY}", files=(picture, table), choices=(f"use {CANARY}",))

    words = await DiscreetTool(Teller(f"{LOOKS} {CANARY}"), REDACTOR).run("{}", OCCASION)
    brought = await DiscreetTool(Teller(made), REDACTOR).run("{}", OCCASION)

    assert words == f"{WORD} {WORD}"
    assert brought == replace(
        made,
        content=f"{WORD} {WORD}",
        files=(picture, replace(table, data=f"a,{WORD}\nb,{LOOKS}\n".encode())),
        choices=(f"use {WORD}",),
    )


@pytest.mark.parametrize("kind", [ToolFailed, OutcomeUnknown])
async def test_a_tool_that_fails_tells_no_secret_and_fails_in_the_same_way(kind: type[ToolFailed]) -> None:
    with pytest.raises(ToolFailed) as raised:
        await DiscreetTool(Teller(kind(f"no {CANARY}")), REDACTOR).run("{}", OCCASION)

    assert (type(raised.value), str(raised.value)) == (kind, f"no {WORD}")


async def test_neither_model_nor_person_nor_trace_sees_what_a_tool_let_slip(bus: Bus) -> None:
    arguments = json.dumps({"q": f"with {LOOKS}"})
    fed = Fed([[Called("1", "leak", arguments), Finished("tools")], [Failed(f"broke at {CANARY}")]])
    leak = Equipped(ToolSpec("leak", "", '{"type": "object"}'), Teller(f"key {CANARY}, {LOOKS}"))
    models = Given({"fed": DiscreetModel(fed, REDACTOR)})
    kit = Kit(models=models, tools={"leak": leak}, prices=FakePrices(), now=lambda: 0.0, redactor=REDACTOR)

    async with working(bus.worker, kit):
        await bus.hub.until(lambda: bool(bus.hub.heartbeats))
        await bus.hub.tell(run(model="fed:m", tools=["leak"]))
        events = await bus.hub.until_over()

    (told,) = (one.content for one in fed.asked[1].messages if isinstance(one, ToolResult))
    assert f"key {WORD}, {WORD}" in told and CANARY not in told and LOOKS not in told
    steps = [event.step for event in events if isinstance(event, Stepped)]
    (tool,) = (step for step in steps if isinstance(step, ToolStep))
    assert (tool.arguments, tool.content) == (f'{{"q":"with {WORD}"}}', f"key {WORD}, {WORD}")
    assert [step.error for step in steps if isinstance(step, ModelStep)] == ["", f"broke at {WORD}"]
    shown = [event.text for event in events if isinstance(event, ToolEvent)]
    assert CANARY not in "".join([*shown, text(events), repr(end(events))])


async def test_a_step_whose_secrets_were_shorter_than_the_word_for_them_can_be_read() -> None:
    step = ToolStep(
        call="c", tool="write_file", effect="write", arguments=ADDRESS * FITS, outcome="ok", content=ADDRESS * FITS
    )
    broken = ModelStep(call="m", model="m", messages=1, reason="failed", error=ADDRESS * FITS)

    told = [discreet_step(one, REDACTOR) for one in (step, broken)]

    assert [type(one).model_validate(one.model_dump()) for one in told] == told
    assert not [one for one in told if "dev" in one.model_dump_json()]
