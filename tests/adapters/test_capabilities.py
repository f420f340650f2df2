"""The workers of other capabilities, as the tools of an agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from adapters.nats.capabilities import MARGIN, TIMEOUT, Capabilities
from adapters.nats.fleet import BUS_PATIENCE, BUSY_PATIENCE, PATIENCE
from factory_contracts import subjects
from factory_contracts.capability import CAPABILITY_REPLY, CapabilityDone
from factory_contracts.lifecycle import HEARTBEAT, Heartbeat
from factory_contracts.messages import Attachment
from factory_contracts.records import Effect
from factory_contracts.work import AgentSpec, Opinion
from factory_contracts.worker import File, Made, Report, Unable, capability
from factory_nats.satellite import Satellite
from factory_nats.testing import FakeBus, FakeTransport
from factory_nats.transport import Delivery
from hub.kernel.ports import ANYWHERE, Equipped, Media, Observation, OutcomeUnknown, ToolFailed
from hub.kernel.schema import complaint
from tests.fakes import ANYBODY, idle, pass_time, words_of

pytestmark = pytest.mark.asyncio(loop_scope="function")

NAME = "voice.tts"


class Words(BaseModel):
    """What is to be said."""

    model_config = ConfigDict(extra="allow")

    text: str = ""


Say = Callable[[Words], Awaitable[object]]


def agent(*workers: str) -> AgentSpec:
    return AgentSpec(name="a", hash="h", model="scripted", namespace="a", workers=workers)


def clipool(bus: FakeBus) -> FakeTransport:
    may = subjects.clipool_permissions(subjects.CLIPOOL, *((NAME, name) for name in ("w1", "w2", "gone")))
    return bus.join(subjects.CLIPOOL, publish=may.publish, subscribe=may.subscribe)


def member(bus: FakeBus, name: str) -> FakeTransport:
    may = subjects.worker_permissions(NAME, name)
    kept = subjects.store_permissions(subjects.store(NAME))
    return bus.join(name, publish=(*may.publish, *kept.publish), subscribe=may.subscribe)


@asynccontextmanager
async def worker(
    bus: FakeBus, name: str, say: Say, *, effect: Effect = "external", at_once: int = 4, instance: str = "i1"
) -> AsyncIterator[FakeTransport]:
    @capability(NAME, effect=effect, at_once=at_once, seconds=60)
    async def speak(words: Words) -> object:
        """Says it."""
        return await say(words)

    transport = member(bus, name)
    async with Satellite(transport, speak, instance, grace=0.0):
        await idle()
        yield transport


async def tool_of(transport: FakeTransport) -> Equipped:
    (tool,) = await Capabilities(transport).tools(agent(NAME))
    return tool


async def ask(tool: Equipped, request: str = "say hey", **arguments: object) -> str:
    """Ask in words, as one asks whom nobody has described."""
    given = {"request": request, **({"arguments": arguments} if arguments else {})}
    return await call(tool, given)


async def call(tool: Equipped, given: dict[str, Any]) -> str:
    assert not complaint(json.loads(tool.spec.parameters), given)
    return await words_of(tool, json.dumps(given))


async def beat(bus: FakeBus, name: str, *, instance: str = "i1") -> None:
    said = HEARTBEAT.encode(Heartbeat(worker=name, instance=instance))
    await member(bus, name).publish(subjects.heartbeat(NAME, name), said)
    await idle()


class Speaker:
    """Work that notes what is to be said."""

    def __init__(self, answer: object = "said") -> None:
        self.asked: list[dict[str, Any]] = []
        self._answer = answer

    async def __call__(self, words: Words) -> object:
        self.asked.append(words.model_dump())
        return self._answer


class Sleeper(Speaker):
    """Work that does not come to an end by itself."""

    async def __call__(self, words: Words) -> object:
        self.asked.append(words.model_dump())
        return await asyncio.Event().wait()


async def test_an_agent_that_names_no_capability_has_no_such_tool() -> None:
    assert await Capabilities(clipool(FakeBus())).tools(agent()) == ()


@pytest.mark.parametrize(("effect", "reaches"), [("read", ANYWHERE), ("write", ""), ("external", "")])
async def test_a_tool_that_only_reads_may_go_wherever_an_argument_leads(effect: Effect, reaches: str) -> None:
    bus = FakeBus()
    async with worker(bus, "w1", Speaker(), effect=effect):
        tool = await tool_of(clipool(bus))

    assert (tool.spec.effect, tool.spec.reaches) == (effect, reaches)


async def test_each_capability_that_nobody_describes_is_one_tool_that_acts_outside_and_is_not_done_twice() -> None:
    tools = await Capabilities(clipool(FakeBus())).tools(agent("image", NAME, "image"))

    assert [tool.spec.name for tool in tools] == ["ask_image", "ask_voice_tts"]
    assert {(tool.spec.effect, tool.spec.is_idempotent, tool.spec.timeout) for tool in tools} == {
        ("external", False, TIMEOUT)
    }


@pytest.mark.parametrize(("effect", "is_idempotent"), [("read", True), ("write", False), ("external", False)])
async def test_a_tool_is_as_its_worker_describes_it(effect: Effect, is_idempotent: bool) -> None:
    bus, speaker = FakeBus(), Speaker()
    async with worker(bus, "w1", speaker, effect=effect):
        tool = await tool_of(clipool(bus))
        answer = await call(tool, {"text": "hey", "times": 2})

    assert (tool.spec.name, tool.spec.description) == ("ask_voice_tts", "Says it.")
    assert json.loads(tool.spec.parameters)["properties"].keys() == {"text"}
    assert (tool.spec.effect, tool.spec.is_idempotent) == (effect, is_idempotent)
    assert tool.spec.timeout == 60.0 + MARGIN
    assert (answer, speaker.asked) == ("said", [{"text": "hey", "times": 2}])


async def test_the_longest_names_are_still_told_apart_by_every_provider() -> None:
    names = [f"{'a' * 32}.{'b' * 31}{last}" for last in "cd"]

    one, other = await Capabilities(clipool(FakeBus())).tools(agent(*names))

    assert one.spec.name != other.spec.name
    assert max(len(one.spec.name), len(other.spec.name)) <= 64


async def test_whom_nobody_has_described_is_asked_in_words() -> None:
    bus, speaker = FakeBus(), Speaker()
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", speaker):
        answer = await ask(tool, "say 'hé'", times=2, mood={"loud": True})

    assert answer == "said"
    assert speaker.asked == [{"text": "say 'hé'", "times": 2, "mood": {"loud": True}}]


async def test_what_a_worker_makes_is_for_the_person() -> None:
    bus, png = FakeBus(), b"\x89PNG\r\n\x1a\n\0"
    made = Made("painted", (File("cat", png), File("said.txt", b"meow")))
    async with worker(bus, "w1", Speaker(made)):
        tool = await tool_of(clipool(bus))
        said = await tool.tool.run('{"text": "paint"}', ANYBODY)

    assert said == Observation(
        "painted",
        files=(Media("image", "cat", "image/png", png), Media("document", "said.txt", "text/plain", b"meow")),
    )


async def test_how_far_it_is_is_told_to_the_person_and_not_too_often() -> None:
    @capability(NAME, effect="read")
    async def count(words: Words, report: Report) -> str:
        """Counts."""
        for number in range(1, 31):
            report(f"word {number}", share=number / 30)
            await asyncio.sleep(0.2)
        return "30"

    bus, told = FakeBus(), list[str]()
    async with Satellite(member(bus, "w1"), count, "i1"):
        tool = await tool_of(clipool(bus))
        answer = await words_of(tool, '{"text": "hey"}', replace(ANYBODY, report=told.append))

    assert answer == "30"
    assert told[0] == "3 %, word 1"
    assert len(told) == 6


async def test_half_a_character_does_not_keep_the_rest_from_the_worker() -> None:
    bus, speaker = FakeBus(), Speaker()
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", speaker):
        await ask(tool, "say \ud800", mood="\udfff")

    assert speaker.asked == [{"text": "say ?", "mood": "?"}]


async def answering(bus: FakeBus, answer: bytes) -> None:
    """A worker of its own kind, that has always the same answer."""
    stranger = member(bus, "w1")
    answers: list[asyncio.Task[object]] = []

    def take(delivery: Delivery) -> None:
        answers.append(asyncio.get_running_loop().create_task(stranger.publish(delivery.reply, answer)))

    await stranger.subscribe(subjects.request(NAME, "w1"), take)
    await beat(bus, "w1")


async def test_files_that_were_made_are_named() -> None:
    made = Attachment(kind="audio", name="hey.ogg", mime="audio/ogg", size=9, blob="b1")
    bus = FakeBus()
    tool = await tool_of(clipool(bus))
    await answering(bus, CAPABILITY_REPLY.encode(CapabilityDone(text="said", attachments=(made,))))

    assert await ask(tool) == "said\n[it made a file 'hey.ogg' (audio/ogg), which cannot be shown here]"


async def test_nobody_there_is_words_and_no_doubt() -> None:
    tool = await tool_of(clipool(FakeBus()))
    loop = asyncio.get_running_loop()
    began = loop.time()

    with pytest.raises(ToolFailed, match=r"No worker for voice\.tts is there now; nothing was done") as raised:
        await ask(tool)

    assert not isinstance(raised.value, OutcomeUnknown)
    assert PATIENCE <= loop.time() - began < 2 * PATIENCE


async def test_when_all_are_busy_the_model_is_told_so() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    async with worker(bus, "w1", sleeper, at_once=1):
        tool = await tool_of(clipool(bus))
        first = asyncio.create_task(words_of(tool, '{"text": "a"}', ANYBODY))
        await pass_time(0.1)
        other = await tool_of(clipool(bus))
        with pytest.raises(ToolFailed, match=r"All workers for voice\.tts are busy; nothing was done") as raised:
            await call(other, {"text": "b"})
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    assert not isinstance(raised.value, OutcomeUnknown)
    assert BUSY_PATIENCE > PATIENCE
    assert len(sleeper.asked) == 1


async def test_an_answer_that_is_lost_leaves_open_what_was_done() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    async with worker(bus, "w1", sleeper) as dying:
        tool = await tool_of(clipool(bus))
        asking = asyncio.create_task(call(tool, {"text": "hey"}))
        await pass_time(0.1)
        await dying.close()
        with pytest.raises(OutcomeUnknown, match="not known, and it was not asked again"):
            await asking

    assert len(sleeper.asked) == 1


async def test_what_only_reads_and_is_not_answered_leaves_nothing_open() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    async with worker(bus, "w1", sleeper, effect="read") as dying:
        tool = await tool_of(clipool(bus))
        asking = asyncio.create_task(call(tool, {"text": "hey"}))
        await pass_time(0.1)
        await dying.close()
        with pytest.raises(ToolFailed, match=r"No worker|did not answer") as raised:
            await asking

    assert not isinstance(raised.value, OutcomeUnknown)


async def test_a_tool_says_itself_that_nobody_answered() -> None:
    bus = FakeBus()
    async with worker(bus, "w1", Sleeper()):
        tool = await tool_of(clipool(bus))
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(OutcomeUnknown):
            await call(tool, {"text": "hey"})

        assert loop.time() - began < tool.spec.timeout


async def test_a_refusal_is_told_in_the_workers_words() -> None:
    bus, speaker = FakeBus(), Speaker(Unable("My throat hurts."))
    async with worker(bus, "w1", speaker):
        tool = await tool_of(clipool(bus))
        with pytest.raises(ToolFailed, match=r"^My throat hurts\.") as raised:
            await call(tool, {"text": "hey"})

    assert not isinstance(raised.value, OutcomeUnknown)
    assert len(speaker.asked) == 1


async def test_a_refusal_without_words_says_at_least_that() -> None:
    bus = FakeBus()
    async with worker(bus, "w1", Speaker(Unable(" "))):
        tool = await tool_of(clipool(bus))
        with pytest.raises(ToolFailed, match="gives no reason"):
            await call(tool, {"text": "hey"})


@pytest.mark.parametrize(("effect", "is_open"), [("external", True), ("read", False)])
async def test_a_worker_whose_code_breaks_leaves_open_what_it_did(effect: Effect, is_open: bool) -> None:
    async def fail(words: Words) -> object:
        raise RuntimeError("a secret")

    bus = FakeBus()
    async with worker(bus, "w1", fail, effect=effect):
        tool = await tool_of(clipool(bus))
        with pytest.raises(ToolFailed) as raised:
            await call(tool, {"text": "hey"})

    assert isinstance(raised.value, OutcomeUnknown) == is_open
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"\xff", b'{"kind":"done"}', CAPABILITY_REPLY.encode(CapabilityDone(text="x")).replace(b"1", b"9")],
)
async def test_an_answer_that_cannot_be_read_leaves_open_what_was_done(answer: bytes) -> None:
    bus = FakeBus()
    tool = await tool_of(clipool(bus))
    await answering(bus, answer)

    with pytest.raises(OutcomeUnknown, match="nobody can read"):
        await ask(tool)


async def test_a_bus_that_is_away_when_a_worker_is_wanted_is_waited_for() -> None:
    bus = FakeBus()
    bus.stop()
    asking = asyncio.create_task(ask(await tool_of(clipool(bus))))
    await pass_time(BUS_PATIENCE / 2)
    assert not asking.done()

    bus.start()
    async with worker(bus, "w1", Speaker()):
        assert await asking == "said"


async def test_a_bus_that_stays_away_is_words_and_no_doubt() -> None:
    bus = FakeBus()
    bus.stop()

    with pytest.raises(ToolFailed, match="cannot be reached now; nothing was done") as raised:
        await ask(await tool_of(clipool(bus)))

    assert not isinstance(raised.value, OutcomeUnknown)


async def test_what_the_bus_forbids_is_told_at_once() -> None:
    tool = await tool_of(FakeBus().join("somebody", publish=(), subscribe=()))

    with pytest.raises(ToolFailed, match="may not ask workers"):
        await ask(tool)
    assert asyncio.get_running_loop().time() == 0.0


async def test_what_is_thought_of_the_workers_is_told_by_capability() -> None:
    bus = FakeBus()
    source = Capabilities(clipool(bus))
    async with worker(bus, "w1", Speaker()):
        await source.tools(agent(NAME))
        opinions = source.opinions()
        await source.close()

    assert opinions == (Opinion(capability=NAME, worker="w1", score=0.25, circuit="closed"),)
