"""What every outbox does: the fake, and the real one over the bus in memory and over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from adapters.nats.outbound import NatsOutbox
from factory_contracts import subjects
from factory_contracts.messages import OUTBOUND, Address, Outbound, Update
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery, Transport
from hub.kernel.ports import Outbox
from tests.fakes import FakeOutbox, until

BOTS = ("here", "there")


class Stage(Protocol):
    """An outbox, and what the spoke of each bot heard."""

    outbox: Outbox
    heard: dict[str, list[Outbound]]


class FakeStage:
    def __init__(self) -> None:
        outbox = FakeOutbox()
        outbox.listeners.append(lambda event: self.heard[event.address.bot_id].append(event))
        self.outbox: Outbox = outbox
        self.heard: dict[str, list[Outbound]] = {bot: [] for bot in BOTS}


class BusStage:
    def __init__(self, transport: Transport) -> None:
        self.outbox: Outbox = NatsOutbox(transport)
        self.heard: dict[str, list[Outbound]] = {bot: [] for bot in BOTS}

    async def listen(self, transport: Transport) -> None:
        for bot in BOTS:
            listening = await transport.subscribe(subjects.outbound("paper", bot), self._on_outbound)
            assert isinstance(listening, Ok)

    def _on_outbound(self, delivery: Delivery) -> None:
        self.heard[delivery.subject.rpartition(".")[2]].append(OUTBOUND.decode(delivery.data))


@pytest.fixture(params=["fake", "bus", "real"])
async def stage(request: pytest.FixtureRequest, nats_server: EmbeddedServer) -> AsyncIterator[Stage]:
    if request.param == "fake":
        yield FakeStage()
        return
    joined: list[Transport] = []
    bus = FakeBus()
    for name in ("hub", "spoke"):
        if request.param == "bus":
            joined.append(bus.join(name))
        else:
            connected = await connect(nats_server.url, Identity(name))
            assert isinstance(connected, Ok)
            joined.append(connected.value)
    stage = BusStage(joined[0])
    await stage.listen(joined[1])
    yield stage
    for transport in joined:
        await transport.close()


def update(number: int, bot: str = "here", text: str = "word ") -> Update:
    address = Address(platform="paper", bot_id=bot, scope_id=f"chat {number % 3}")
    return Update(turn=f"t{number % 3}", attempt=1, events=number, base=0, text=text, epoch=1, address=address)


async def test_events_reach_their_bot_in_order_and_nobody_else(stage: Stage) -> None:
    for number in range(200):
        await stage.outbox.publish(update(number, BOTS[number % 2]))
    await until(lambda: sum(map(len, stage.heard.values())) == 200)

    for remainder, bot in enumerate(BOTS):
        assert stage.heard[bot] == [update(number, bot) for number in range(remainder, 200, 2)]


async def test_the_longest_answer_arrives_whole(stage: Stage) -> None:
    await stage.outbox.publish(update(1, text="x" * 600_000))
    await until(lambda: bool(stage.heard["here"]))

    assert stage.heard["here"] == [update(1, text="x" * 600_000)]


async def test_what_cannot_be_sent_is_no_error_of_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    bus = FakeBus(max_payload=10_000)
    outbox = NatsOutbox(bus.join("hub"))
    await outbox.publish(update(1, text="secret" * 5_000))
    bus.stop()

    await outbox.publish(update(2, text="secret"))

    assert "too large" in caplog.text
    assert "secret" not in caplog.text
