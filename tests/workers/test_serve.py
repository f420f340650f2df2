"""What every worker of a capability does, whatever it can do."""

import asyncio

from factory_contracts import subjects
from factory_contracts.envelope import Envelope, Wire
from factory_contracts.lifecycle import HEARTBEAT
from factory_nats.result import Err, Ok
from factory_nats.testing import FakeBus, FakeTransport
from workers.serve import Capability, CapabilityWorker, Refusal


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
    answer = await hub.request(subjects.request("voice.shout", "w1"), raw, timeout=5.0)
    assert isinstance(answer, Ok)
    return SHOUTED.decode(answer.value)


async def test_a_request_is_answered() -> None:
    bus = FakeBus()
    hub = bus.join(subjects.HUB)
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


async def test_nobody_but_the_hub_is_answered() -> None:
    bus = FakeBus()
    stranger = bus.join("stranger")
    async with CapabilityWorker(bus.join("w1"), CAPABILITY, "life-1"):
        asked = asyncio.create_task(
            stranger.request(subjects.request("voice.shout", "w1"), SHOUT.encode(Shout(text="x")), timeout=0.05)
        )
        answer = await asked

    assert isinstance(answer, Err)
    assert answer.reason == "timeout"


async def test_its_heartbeat_names_worker_and_instance() -> None:
    bus = FakeBus()
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await bus.join(subjects.HUB).subscribe(
        subjects.heartbeat("voice.shout"), lambda delivery: heard.put_nowait(delivery.data)
    )
    async with CapabilityWorker(bus.join("w1"), CAPABILITY, "life-1"):
        beat = HEARTBEAT.decode(await heard.get())

    assert (beat.worker, beat.instance, beat.load) == ("w1", "life-1", 0.0)
