"""What a hub says to the screens when it may have a successor."""

from __future__ import annotations

from adapters.nats.outbound import NatsOutbox
from factory_contracts import subjects
from factory_contracts.messages import Address, Update
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery
from tests.fakes import idle


async def test_a_hub_whose_reign_is_over_says_nothing_to_the_screens_and_leaves() -> None:
    bus = FakeBus()
    heard: list[Delivery] = []
    left: list[str] = []
    await bus.join("spoke").subscribe(subjects.outbound("paper", "desk"), heard.append)
    address = Address(platform="paper", bot_id="desk", scope_id="chat")

    async def is_over() -> bool:
        return False

    outbox = NatsOutbox(bus.join("hub"), is_over, lambda: left.append("left"))
    await outbox.publish(Update(turn="t", attempt=1, events=1, base=0, text="stale", epoch=1, address=address))
    await idle()

    assert heard == []
    assert left == ["left"]
