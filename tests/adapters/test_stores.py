"""The store of a capability is made when somebody who serves it is heard of."""

from __future__ import annotations

import logging

import pytest

from adapters.nats.stores import CapabilityStores
from factory_contracts import subjects
from factory_nats import blobs
from factory_nats.result import Err, Ok
from factory_nats.testing import FakeBus, FakeTransport
from tests.fakes import idle

pytestmark = pytest.mark.asyncio(loop_scope="function")


def hub(bus: FakeBus, *capabilities: str) -> FakeTransport:
    may = subjects.hub_permissions()
    stored = subjects.hub_store_permissions(*(subjects.store(one) for one in capabilities))
    kept = subjects.store_permissions(*(subjects.store(one) for one in capabilities))
    publish = (*may.publish, *stored.publish, *kept.publish)
    return bus.join(subjects.HUB, publish=publish, subscribe=may.subscribe)


async def beat(bus: FakeBus, capability: str, worker: str = "w1") -> None:
    await bus.join(worker).publish(subjects.heartbeat(capability, worker), b"alive")
    await idle()


@pytest.mark.parametrize("capability", ["image", "voice.tts"])
async def test_a_worker_that_is_heard_of_has_a_store(capability: str) -> None:
    bus = FakeBus()
    transport = hub(bus, capability)
    stores = CapabilityStores(transport)
    await stores.open()

    before = await blobs.put(transport, subjects.store(capability), b"large")
    await beat(bus, capability)
    after = await blobs.put(transport, subjects.store(capability), b"large")
    await stores.close()

    assert isinstance(before, Err)
    assert isinstance(after, Ok)


async def test_no_store_is_tried_for_those_who_need_none(caplog: pytest.LogCaptureFixture) -> None:
    bus = FakeBus()
    stores = CapabilityStores(hub(bus))
    await stores.open()

    await beat(bus, subjects.CLIPOOL, "clipool")
    await beat(bus, subjects.HUB, subjects.HUB)
    await stores.close()

    assert caplog.records == []


async def test_a_store_that_cannot_be_made_is_tried_again_and_complained_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    bus = FakeBus()
    stores = CapabilityStores(hub(bus))
    await stores.open()

    for _ in range(3):
        await beat(bus, "image")
    await stores.close()

    assert len(caplog.records) == 1
