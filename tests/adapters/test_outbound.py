"""What a hub says to the screens when it may have a successor."""

from __future__ import annotations

import asyncio

from adapters.nats.outbound import NatsOutbox
from factory_contracts import subjects
from factory_contracts.messages import OUTBOUND, Address, Final, Update
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery
from tests.fakes import idle


async def test_a_hub_whose_reign_is_over_says_nothing_to_the_screens_and_leaves() -> None:
    bus = FakeBus()
    heard: list[Delivery] = []
    left: list[str] = []
    await bus.join("spoke").subscribe(subjects.outbound("paper", "desk"), heard.append)
    address = Address(platform="paper", bot_id="desk", scope_id="chat")

    async def is_over(partition: int) -> bool:
        return False

    outbox = NatsOutbox(bus.join("hub"), is_over, lambda: left.append("left"))
    await outbox.publish(Update(turn="t", attempt=1, events=1, base=0, text="stale", epoch=1, address=address))
    await idle()

    assert heard == []
    assert left == ["left"]


async def test_a_final_does_not_pass_what_was_to_be_said_before_it() -> None:
    bus = FakeBus()
    heard: list[Delivery] = []
    await bus.join("spoke").subscribe(subjects.outbound("paper", "desk"), heard.append)
    address = Address(platform="paper", bot_id="desk", scope_id="chat")
    elsewhere = next(scope for scope in map(str, range(100)) if subjects.partition(scope) != subjects.partition("chat"))
    known = asyncio.Event()

    async def reigns(partition: int) -> bool:
        # What was asked first is answered last; what is asked later is known by then.
        if partition == subjects.partition("chat") and not looks:
            looks.append(partition)
            await known.wait()
        return True

    looks: list[int] = []
    outbox = NatsOutbox(bus.join("hub"), reigns)
    update = Update(turn="t", attempt=1, events=1, base=0, text="half of", epoch=1, address=address)
    final = Final(turn="t", text="half of it and the rest", outcome="complete", epoch=1, address=address)
    saying = [asyncio.create_task(outbox.publish(event)) for event in (update, final)]
    await idle()
    await outbox.publish(final.model_copy(update={"address": address.model_copy(update={"scope_id": elsewhere})}))
    await idle()
    assert len(heard) == 1, "another conversation waits for nothing"

    known.set()
    await asyncio.gather(*saying)
    await idle()

    assert [OUTBOUND.decode(delivery.data) for delivery in heard[1:]] == [update, final]
