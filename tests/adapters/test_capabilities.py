"""The workers of other capabilities, as the tools of an agent."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

import pytest

from adapters.nats.capabilities import ANSWER, BUS_PATIENCE, PATIENCE, TIMEOUT, Capabilities
from factory_contracts import subjects
from factory_contracts.capability import (
    CAPABILITY_REPLY,
    CapabilityDone,
    CapabilityRefused,
    CapabilityReply,
    CapabilityRequest,
    MadeFile,
    RefusalReason,
)
from factory_contracts.lifecycle import HEARTBEAT, Heartbeat
from factory_contracts.messages import Attachment
from factory_contracts.work import AgentSpec
from factory_nats.testing import FakeBus, FakeTransport
from factory_nats.transport import Delivery
from factory_nats.worker_pool import LOOK, SILENT_LOOKS
from hub.kernel.ports import Equipped, Media, Observation, OutcomeUnknown, ToolFailed
from hub.kernel.schema import complaint
from tests.fakes import ANYBODY, idle, pass_time, words_of
from workers.serve import CapabilityWorker, Work, for_agents

pytestmark = pytest.mark.asyncio(loop_scope="function")

NAME = "voice.tts"
SILENT = LOOK * SILENT_LOOKS


def agent(*workers: str) -> AgentSpec:
    return AgentSpec(name="a", hash="h", model="scripted", namespace="a", workers=workers)


def clipool(bus: FakeBus) -> FakeTransport:
    may = subjects.clipool_permissions(subjects.CLIPOOL, *((NAME, name) for name in ("w1", "w2", "gone")))
    return bus.join(subjects.CLIPOOL, publish=may.publish, subscribe=may.subscribe)


def member(bus: FakeBus, name: str) -> FakeTransport:
    may = subjects.worker_permissions(NAME, name)
    return bus.join(name, publish=may.publish, subscribe=may.subscribe)


def worker(
    bus: FakeBus, name: str, work: Work, *, at_once: int = 4, instance: str = "i1"
) -> CapabilityWorker[CapabilityRequest, CapabilityReply]:
    return CapabilityWorker(member(bus, name), for_agents(NAME, work, at_once=at_once), instance)


async def tool_of(transport: FakeTransport) -> Equipped:
    (tool,) = await Capabilities(transport).tools(agent(NAME))
    return tool


async def ask(tool: Equipped, request: str = "say hey", **arguments: object) -> str:
    given = {"request": request, **({"arguments": arguments} if arguments else {})}
    assert not complaint(json.loads(tool.spec.parameters), given)
    return await words_of(tool, json.dumps(given))


async def beat(bus: FakeBus, name: str, *, load: float = 0.0, instance: str = "i1") -> None:
    said = HEARTBEAT.encode(Heartbeat(worker=name, instance=instance, load=load))
    await member(bus, name).publish(subjects.heartbeat(NAME, name), said)
    await idle()


class Speaker:
    """A worker's work, which notes what it was asked."""

    def __init__(self, reply: CapabilityReply | None = None) -> None:
        self.asked: list[CapabilityRequest] = []
        self._reply = reply or CapabilityDone(text="said")

    async def __call__(self, request: CapabilityRequest) -> CapabilityReply:
        self.asked.append(request)
        return self._reply


class Sleeper(Speaker):
    """Work that does not come to an end by itself."""

    async def __call__(self, request: CapabilityRequest) -> CapabilityReply:
        self.asked.append(request)
        return await asyncio.Event().wait() and self._reply


async def test_an_agent_that_names_no_capability_has_no_such_tool() -> None:
    assert await Capabilities(clipool(FakeBus())).tools(agent()) == ()


async def test_each_capability_is_one_tool_that_acts_outside_and_is_not_done_twice() -> None:
    tools = await Capabilities(clipool(FakeBus())).tools(agent("image", NAME, "image"))

    assert [tool.spec.name for tool in tools] == ["ask_image", "ask_voice_tts"]
    assert {(tool.spec.effect, tool.spec.is_idempotent, tool.spec.timeout) for tool in tools} == {
        ("external", False, TIMEOUT)
    }


async def test_the_longest_names_are_still_told_apart_by_every_provider() -> None:
    names = [f"{'a' * 32}.{'b' * 31}{last}" for last in "cd"]

    one, other = await Capabilities(clipool(FakeBus())).tools(agent(*names))

    assert one.spec.name != other.spec.name
    assert max(len(one.spec.name), len(other.spec.name)) <= 64


async def test_a_worker_is_told_what_is_wanted_and_how_long_anybody_waits() -> None:
    bus, speaker = FakeBus(), Speaker()
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", speaker):
        answer = await ask(tool, "say 'hé'", times=2, mood={"loud": True})

    (asked,) = speaker.asked
    assert answer == "said"
    assert (asked.turn, asked.call, asked.text) == (ANYBODY.turn, ANYBODY.call, "say 'hé'")
    assert asked.details == {"times": 2, "mood": {"loud": True}}
    assert asked.deadline == pytest.approx(ANSWER, abs=PATIENCE)


async def test_what_a_worker_makes_is_for_the_person() -> None:
    bus, png = FakeBus(), b"\x89PNG\r\n\x1a\n\0"
    done = CapabilityDone(text="painted", files=(MadeFile.of("cat", png), MadeFile.of("said.txt", b"meow")))
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", Speaker(done)):
        said = await tool.tool.run('{"request": "paint"}', ANYBODY)

    assert said == Observation(
        "painted",
        files=(Media("image", "cat", "image/png", png), Media("document", "said.txt", "text/plain", b"meow")),
    )


async def test_half_a_character_does_not_keep_the_rest_from_the_worker() -> None:
    bus, speaker = FakeBus(), Speaker()
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", speaker):
        await ask(tool, "say \ud800", mood="\udfff")

    assert (speaker.asked[0].text, speaker.asked[0].details) == ("say ?", {"mood": "?"})


async def test_files_that_were_made_are_named() -> None:
    made = Attachment(kind="audio", name="hey.ogg", mime="audio/ogg", size=9, blob="b1")
    bus = FakeBus()
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", Speaker(CapabilityDone(text="said", attachments=(made,)))):
        answer = await ask(tool)

    assert answer == "said\n[it made a file 'hey.ogg' (audio/ogg), which cannot be shown here]"


async def test_agents_that_ask_at_once_share_one_subscription(caplog: pytest.LogCaptureFixture) -> None:
    bus = FakeBus()
    source = Capabilities(clipool(bus))
    await asyncio.gather(*(source.tools(agent(NAME)) for _ in range(3)))

    await member(bus, "w1").publish(subjects.heartbeat(NAME, "w1"), b"no heartbeat")
    await idle()

    assert len(caplog.records) == 1


async def test_the_least_busy_worker_is_asked() -> None:
    bus, busy, idler = FakeBus(), Speaker(), Speaker()
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", busy), worker(bus, "w2", idler):
        await pass_time(0.1)
        await beat(bus, "w1", load=1.0)
        await ask(tool)

    assert (len(busy.asked), len(idler.asked)) == (0, 1)


async def test_nobody_there_is_words_and_no_doubt() -> None:
    tool = await tool_of(clipool(FakeBus()))
    loop = asyncio.get_running_loop()

    with pytest.raises(ToolFailed, match=r"No worker for voice\.tts is there now; nothing was done") as raised:
        await ask(tool)

    assert not isinstance(raised.value, OutcomeUnknown)
    assert PATIENCE <= loop.time() < 2 * PATIENCE


async def test_a_worker_that_comes_in_time_is_asked() -> None:
    bus = FakeBus()
    asking = asyncio.create_task(ask(await tool_of(clipool(bus))))
    await pass_time(PATIENCE / 2)
    async with worker(bus, "w1", Speaker()):
        assert await asking == "said"


@pytest.mark.parametrize("name", ["a.b", ">", "*", "W1", "x" * 65, "w2"])
async def test_a_heartbeat_that_names_another_than_who_sends_it_changes_nothing(name: str) -> None:
    bus = FakeBus()
    tool = await tool_of(clipool(bus))
    said = HEARTBEAT.encode(Heartbeat(worker=name, instance="i1"))
    await member(bus, "w1").publish(subjects.heartbeat(NAME, "w1"), said)

    async with worker(bus, "w1", Speaker()):
        assert await ask(tool) == "said"


async def test_a_worker_that_is_gone_is_left_for_the_next_and_asked_again_when_it_is_back() -> None:
    bus, back = FakeBus(), Speaker()
    tool = await tool_of(clipool(bus))
    await beat(bus, "gone")
    async with worker(bus, "w2", Speaker()) as there:
        await beat(bus, "w2", load=1.0)
        assert await ask(tool) == "said"
        assert there.running == 0
    async with worker(bus, "gone", back):
        assert await ask(tool) == "said"

    assert len(back.asked) == 1


async def test_who_is_busy_did_nothing_and_the_next_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bus, sleeper, speaker = FakeBus(), Sleeper(), Speaker()
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", sleeper, at_once=1), worker(bus, "w2", speaker):
        first = asyncio.create_task(ask(tool))
        await pass_time(0.1)
        await beat(bus, "w1")
        await beat(bus, "w2", load=1.0)
        second = await ask(tool)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    assert second == "said"
    assert "worker w1 refuses call c: busy" in caplog.messages
    assert (len(sleeper.asked), len(speaker.asked)) == (1, 1)


async def test_when_all_are_busy_the_model_is_told_so() -> None:
    bus, sleeper = FakeBus(), Sleeper()
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", sleeper, at_once=1):
        first = asyncio.create_task(ask(tool))
        await pass_time(0.1)
        with pytest.raises(ToolFailed, match=r"All workers for voice\.tts are busy; nothing was done") as raised:
            await ask(tool)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    assert not isinstance(raised.value, OutcomeUnknown)
    assert len(sleeper.asked) == 1


async def test_who_becomes_free_in_time_is_asked_again() -> None:
    bus, free = FakeBus(), asyncio.Event()

    async def work(_: CapabilityRequest) -> CapabilityReply:
        await free.wait()
        return CapabilityDone(text="said")

    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", work, at_once=1):
        asking = [asyncio.create_task(ask(tool)) for _ in range(2)]
        await pass_time(0.1)
        free.set()
        assert await asyncio.gather(*asking) == ["said", "said"]


async def fall_silent(bus: FakeBus, one: CapabilityWorker[CapabilityRequest, CapabilityReply]) -> None:
    await one.transport.close()


async def begin_anew(bus: FakeBus, one: CapabilityWorker[CapabilityRequest, CapabilityReply]) -> None:
    await one.transport.close()
    await beat(bus, "w1", instance="i2")


async def lose_the_bus(bus: FakeBus, one: CapabilityWorker[CapabilityRequest, CapabilityReply]) -> None:
    bus.stop()
    bus.start()


async def take_forever(bus: FakeBus, one: CapabilityWorker[CapabilityRequest, CapabilityReply]) -> None:
    await idle()


@pytest.mark.parametrize(
    ("happens", "longest"),
    [(fall_silent, SILENT + 2), (begin_anew, 1.0), (lose_the_bus, 1.0), (take_forever, ANSWER + 1)],
)
async def test_an_answer_that_is_lost_leaves_open_what_was_done_and_nobody_else_is_asked(
    happens: Callable[[FakeBus, CapabilityWorker[CapabilityRequest, CapabilityReply]], Awaitable[None]], longest: float
) -> None:
    bus, sleeper, speaker = FakeBus(), Sleeper(), Speaker()
    tool = await tool_of(clipool(bus))
    loop = asyncio.get_running_loop()
    async with worker(bus, "w1", sleeper) as first:
        await pass_time(0.1)
        async with worker(bus, "w2", speaker):
            await beat(bus, "w2", load=1.0)
            asking = asyncio.create_task(ask(tool))
            await idle()
            began = loop.time()
            await happens(bus, first)
            with pytest.raises(OutcomeUnknown, match="not known"):
                await asking
            lasted = loop.time() - began
            await pass_time(1)

    assert lasted <= longest < TIMEOUT
    assert (len(sleeper.asked), speaker.asked) == (1, [])


async def test_a_worker_stops_when_nobody_waits_any_more() -> None:
    bus, ended = FakeBus(), list[str]()

    async def work(_: CapabilityRequest) -> CapabilityReply:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")
        return CapabilityDone(text="said")

    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", work):
        with pytest.raises(OutcomeUnknown):
            await ask(tool)
        await idle()

        assert ended == ["ended"]


@pytest.mark.parametrize(
    ("reason", "is_open"), [("unable", False), ("malformed", False), ("failed", True), ("late", True)]
)
async def test_a_refusal_is_told_in_the_workers_words(reason: RefusalReason, is_open: bool) -> None:
    bus, speaker = FakeBus(), Speaker(CapabilityRefused(reason=reason, words="My throat hurts."))
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", speaker):
        with pytest.raises(ToolFailed, match=r"^My throat hurts\.") as raised:
            await ask(tool)

    assert isinstance(raised.value, OutcomeUnknown) == is_open
    assert len(speaker.asked) == 1


async def test_a_refusal_without_words_says_at_least_that() -> None:
    bus = FakeBus()
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", Speaker(CapabilityRefused(reason="unable", words=" "))):
        with pytest.raises(ToolFailed, match="gives no reason"):
            await ask(tool)


async def test_a_worker_whose_code_breaks_leaves_open_what_it_did() -> None:
    async def work(_: CapabilityRequest) -> CapabilityReply:
        raise RuntimeError("a secret")

    bus = FakeBus()
    tool = await tool_of(clipool(bus))
    async with worker(bus, "w1", work):
        with pytest.raises(OutcomeUnknown) as raised:
            await ask(tool)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"\xff", b'{"kind":"done"}', CAPABILITY_REPLY.encode(CapabilityDone(text="x")).replace(b"1", b"2")],
)
async def test_an_answer_that_cannot_be_read_leaves_open_what_was_done(answer: bytes) -> None:
    bus = FakeBus()
    tool = await tool_of(clipool(bus))
    stranger = member(bus, "w1")
    answers: list[asyncio.Task[object]] = []

    def take(delivery: Delivery) -> None:
        answers.append(asyncio.get_running_loop().create_task(stranger.publish(delivery.reply, answer)))

    await stranger.subscribe(subjects.request(NAME, "w1"), take)
    await beat(bus, "w1")

    with pytest.raises(OutcomeUnknown, match="nobody can read"):
        await ask(tool)
    assert len(answers) == 1


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


async def test_workers_that_fail_again_and_again_are_left_alone_for_a_while() -> None:
    bus = FakeBus()
    tool = await tool_of(clipool(bus))
    for _ in range(3):
        await beat(bus, "gone")
        with pytest.raises(ToolFailed, match="No worker"):
            await ask(tool)

    await beat(bus, "gone")
    with pytest.raises(ToolFailed, match="failed again and again"):
        await ask(tool)
