"""The bus that worker tests run on, the fake one and a real server in turn; and virtual time for errands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import pytest

from factory_contracts import subjects
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.testing import FakeBus
from factory_nats.transport import Transport
from tests.fakes import VirtualLoop
from tests.workers.stage import WORKER, Hub

VIRTUAL = ("test_errand", "test_leave", "test_limit", "test_taint")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What needs no real bus has a time that may be virtual."""
    return {"virtual": VirtualLoop} if item.path.stem in VIRTUAL else {"real": asyncio.new_event_loop}


@dataclass(frozen=True, slots=True)
class Bus:
    """A worker's connection, a hub that listens, and the way to a connection for the worker's next life."""

    worker: Transport
    hub: Hub
    rejoin: Callable[[], Awaitable[Transport]]


@pytest.fixture(params=["fake", "real"])
async def bus(request: pytest.FixtureRequest, nats_server: EmbeddedServer) -> AsyncIterator[Bus]:
    fake = FakeBus()
    joined: list[Transport] = []

    async def join(name: str) -> Transport:
        if request.param == "fake":
            may = subjects.clipool_permissions(WORKER) if name == WORKER else subjects.hub_permissions(WORKER)
            joined.append(fake.join(name, publish=may.publish, subscribe=may.subscribe))
        else:
            connected = await connect(nats_server.url, Identity(name))
            assert isinstance(connected, Ok)
            joined.append(connected.value)
        return joined[-1]

    hub = Hub(await join(subjects.HUB))
    await hub.listen()
    await hub.listen_to_records()
    yield Bus(await join(WORKER), hub, lambda: join(WORKER))
    for transport in joined:
        await transport.close()


@pytest.fixture
async def fake_bus() -> FakeBus:
    return FakeBus()


@pytest.fixture
async def quiet_bus(fake_bus: FakeBus) -> Bus:
    """A fake bus whose hub does not answer yet when it is asked for records."""
    hub = Hub(fake_bus.join(subjects.HUB))
    await hub.listen()

    async def rejoin() -> Transport:
        return fake_bus.join(WORKER)

    return Bus(await rejoin(), hub, rejoin)
