"""What every worker of a capability does, whatever it can do."""

import asyncio
import signal
from pathlib import Path

import pytest

from factory_contracts import subjects
from factory_contracts.capability import (
    CAPABILITY_REPLY,
    CAPABILITY_REQUEST,
    CapabilityDone,
    CapabilityRefused,
    CapabilityReply,
    CapabilityRequest,
)
from factory_contracts.envelope import Envelope, Wire
from factory_contracts.lifecycle import HEARTBEAT
from factory_nats.connect import Identity, generate_seed, public_key
from factory_nats.result import Err, Ok
from factory_nats.server import EmbeddedServer, User
from factory_nats.testing import FakeBus, FakeTransport
from workers.serve import Capability, CapabilityWorker, Refusal, Work, for_agents, serve


class Shout(Envelope):
    """What is to be said loudly."""

    text: str


class Shouted(Envelope):
    """What was said, or why not."""

    text: str = ""
    refused: str | None = None


SHOUT: Wire[Shout] = Wire(Shout)
SHOUTED: Wire[Shouted] = Wire(Shouted)


async def shout(asked: Shout) -> Shouted:
    if not asked.text:
        raise RuntimeError("nothing to shout")
    return Shouted(text=asked.text.upper())


def refuse(why: Refusal) -> Shouted:
    return Shouted(refused=why)


CAPABILITY = Capability("voice.shout", SHOUT, SHOUTED, shout, refuse)


async def ask(hub: FakeTransport, raw: bytes) -> Shouted:
    answer = await hub.request(subjects.request("voice.shout", "w1"), raw, timeout=5.0, responder="w1")
    assert isinstance(answer, Ok)
    return SHOUTED.decode(answer.value)


async def wish(work: Work, raw: bytes, *, at_once: int = 4) -> CapabilityReply:
    """What an agent is told that asks for it."""
    bus = FakeBus()
    asker = bus.join(subjects.CLIPOOL)
    async with CapabilityWorker(bus.join("w1"), for_agents("shout", work, at_once=at_once), "life-1"):
        answer = await asker.request(subjects.request("shout", "w1"), raw, timeout=5.0, responder="w1")
    assert isinstance(answer, Ok)
    return CAPABILITY_REPLY.decode(answer.value)


def wanted(*, deadline: float = 5.0) -> bytes:
    return CAPABILITY_REQUEST.encode(CapabilityRequest(turn="t", call="c", text="hey", deadline=deadline))


@pytest.mark.parametrize("asker", [subjects.HUB, subjects.CLIPOOL])
async def test_a_request_is_answered(asker: str) -> None:
    bus = FakeBus()
    hub = bus.join(asker)
    async with CapabilityWorker(bus.join("w1"), CAPABILITY, "life-1"):
        answer = await ask(hub, SHOUT.encode(Shout(text="hey")))

    assert answer == Shouted(text="HEY")


async def test_what_is_no_request_and_what_goes_wrong_are_refused_and_the_next_is_answered() -> None:
    bus = FakeBus()
    hub = bus.join(subjects.HUB)
    async with CapabilityWorker(bus.join("w1"), CAPABILITY, "life-1"):
        malformed = await ask(hub, b'{"text": 5}')
        failed = await ask(hub, SHOUT.encode(Shout(text="")))
        answered = await ask(hub, SHOUT.encode(Shout(text="x")))

    assert (malformed.refused, failed.refused, answered.text) == ("malformed", "failed", "X")


async def test_nobody_is_answered_who_expects_the_answer_of_another() -> None:
    bus = FakeBus()
    stranger = bus.join("stranger")
    async with CapabilityWorker(bus.join("w1"), CAPABILITY, "life-1"):
        answer = await stranger.request(
            subjects.request("voice.shout", "w1"), SHOUT.encode(Shout(text="x")), timeout=0.05, responder="w2"
        )

    assert isinstance(answer, Err)
    assert answer.reason == "timeout"


async def test_a_worker_that_may_not_serve_its_capability_says_so_and_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seed = generate_seed()
    may = subjects.worker_permissions("voice.whisper", "w1")
    async with EmbeddedServer(tmp_path, users=[User("w1", public_key(seed), may.publish, may.subscribe)]) as server:
        status = await serve(server.url, Identity("w1", seed), CAPABILITY)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)

    assert status == 1
    alive, asked = subjects.heartbeat("voice.shout", "w1"), subjects.request("voice.shout", "w1")
    assert f"does not let w1 publish to {alive} or subscribe to {asked}, which it needs" in caplog.text


async def test_its_heartbeat_names_worker_and_instance() -> None:
    bus = FakeBus()
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await bus.join(subjects.HUB).subscribe(
        subjects.heartbeat("voice.shout", "w1"), lambda delivery: heard.put_nowait(delivery.data)
    )
    async with CapabilityWorker(bus.join("w1"), CAPABILITY, "life-1"):
        beat = HEARTBEAT.decode(await heard.get())

    assert (beat.worker, beat.instance, beat.load) == ("w1", "life-1", 0.0)


async def test_what_agents_may_ask_is_a_function_of_their_request() -> None:
    async def work(request: CapabilityRequest) -> CapabilityReply:
        return CapabilityDone(text=request.text.upper())

    assert await wish(work, wanted()) == CapabilityDone(text="HEY")


async def test_what_is_no_request_of_an_agent_never_reaches_the_work() -> None:
    async def work(request: CapabilityRequest) -> CapabilityReply:
        raise AssertionError(request)

    reply = await wish(work, b'{"text": "hey"}')

    assert isinstance(reply, CapabilityRefused)
    assert (reply.reason, reply.words) == (
        "malformed",
        "The worker does not understand such a request; nothing was done.",
    )


async def test_who_has_its_hands_full_says_so() -> None:
    async def work(request: CapabilityRequest) -> CapabilityReply:
        raise AssertionError(request)

    reply = await wish(work, wanted(), at_once=0)

    assert isinstance(reply, CapabilityRefused)
    assert reply.reason == "busy"


async def test_work_is_ended_when_nobody_waits_for_it_any_more() -> None:
    ended = asyncio.Event()

    async def work(_: CapabilityRequest) -> CapabilityReply:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return CapabilityDone(text="late")

    reply = await wish(work, wanted(deadline=0.01))

    assert isinstance(reply, CapabilityRefused)
    assert (reply.reason, ended.is_set()) == ("late", True)


@pytest.mark.parametrize("error", [RuntimeError("a secret"), TimeoutError("a secret")])
async def test_work_that_breaks_is_a_refusal_without_detail(error: Exception) -> None:
    async def work(_: CapabilityRequest) -> CapabilityReply:
        raise error

    reply = await wish(work, wanted())

    assert isinstance(reply, CapabilityRefused)
    assert (reply.reason, "secret" in reply.words) == ("failed", False)
