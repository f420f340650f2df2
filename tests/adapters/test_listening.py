"""Listening to a bus that is away."""

from __future__ import annotations

import asyncio

import pytest

from adapters.nats.listening import listen
from factory_nats.result import Err, Ok
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery
from tests.fakes import idle, pass_time

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def test_who_begins_to_listen_while_the_bus_is_away_listens_when_it_is_back() -> None:
    bus = FakeBus()
    heard: list[Delivery] = []
    speaker, listener = bus.join("speaker"), bus.join("listener")
    bus.stop()
    listening = asyncio.create_task(listen(listener, "news", heard.append))
    await pass_time(30)

    bus.start()
    assert isinstance(await listening, Ok)
    await speaker.publish("news", b"here")
    await idle()

    assert [one.data for one in heard] == [b"here"]


async def test_what_may_not_be_heard_is_told_at_once() -> None:
    narrow = FakeBus().join("narrow", subscribe=("news.*",))

    refused = await listen(narrow, "secrets", lambda delivery: None)

    assert isinstance(refused, Err)
    assert refused.reason == "forbidden"
