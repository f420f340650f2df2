"""Two connections as one: what is said goes over the one, what is stored over the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.paired import PairedTransport
from factory_nats.result import Err, Ok
from factory_nats.server import EmbeddedServer, User
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery, Entry, StreamConfig, Transport

SEEDS = {name: generate_seed() for name in ("one", "one.store", "keeper", "keeper.store", "stranger")}
LOG = StreamConfig("LOG", ("log.>",))
READING = ("$JS.API.DIRECT.GET.LOG", "$JS.API.DIRECT.GET.LOG.>")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    users = (
        User("one", public_key(SEEDS["one"]), ("said", "_INBOX_keeper.one.>"), ("said",), "bus"),
        User("one", public_key(SEEDS["one.store"]), ("log.a", *READING), (), "apart"),
        User("keeper", public_key(SEEDS["keeper"]), ("said", "_INBOX_one.keeper.>"), ("said",), "bus"),
        User("keeper", public_key(SEEDS["keeper.store"])),
    )
    async with EmbeddedServer(tmp_path, users=users) as own:
        yield own


async def join(server: EmbeddedServer, name: str) -> Transport:
    joined = await connect(server.url, Identity(name, SEEDS[name], store=Identity(name, SEEDS[f"{name}.store"])))
    assert isinstance(joined, Ok)
    return joined.value


async def test_what_is_said_and_what_is_stored_do_not_meet(server: EmbeddedServer) -> None:
    keeper, one = await join(server, "keeper"), await join(server, "one")
    heard: asyncio.Queue[Delivery] = asyncio.Queue()
    assert await keeper.ensure_stream(LOG) == Ok(None)
    await keeper.subscribe("said", heard.put_nowait)

    stored = await one.append([Entry("log.a", b"stored")])
    refused = await one.append([Entry("log.b", b"forged")])
    asked = asyncio.create_task(one.request("said", b"?", timeout=5, responder="keeper"))
    delivery = await heard.get()
    await keeper.publish(delivery.reply, b"!")
    read = await one.read("LOG", "log.>")

    assert stored == Ok(1)
    assert isinstance(refused, Err) and refused.reason == "forbidden"
    assert await asked == Ok(b"!")
    assert isinstance(read, Ok) and [found.data for found in read.value] == [b"stored"]
    assert keeper.owns_inbox(delivery.reply, "one") and not one.owns_inbox(delivery.reply, "keeper")
    assert (one.identity, one.is_connected) == ("one", True)
    await keeper.close()
    await one.close()
    assert not one.is_connected


async def test_before_a_store_is_there_nobody_answers_who_is_apart_either(server: EmbeddedServer) -> None:
    one = await join(server, "one")

    outcomes = [await one.last("LOG", "log.a"), await one.read("LOG", "log.>"), await one.append([Entry("log.a", b"")])]

    assert [found.reason for found in outcomes if isinstance(found, Err)] == ["no responders"] * 3
    await one.close()


async def test_a_store_that_does_not_let_us_in_ends_the_joining(server: EmbeddedServer) -> None:
    who = Identity("one", SEEDS["one"], store=Identity("one", SEEDS["stranger"]))

    joined = await connect(server.url, who, patience=10)

    assert isinstance(joined, Err) and joined.reason == "unauthorized"


async def test_every_call_goes_to_the_connection_that_it_is_for() -> None:
    talking, keeping = FakeBus(), FakeBus()
    both = PairedTransport(talking.join("one"), keeping.join("one"))
    keeping.stop()

    assert await both.publish("said", b"") == Ok(None)
    assert await both.barrier() == Ok(None)
    assert both.is_connected
    for outcome in (
        await both.ensure_stream(LOG),
        await both.append([Entry("log.a", b"")]),
        await both.last("LOG", "log.a"),
        await both.read("LOG", "log.a"),
        await both.subjects("LOG", ">"),
        await both.ensure_bucket("b", ttl=None),
        await both.put("b", "k", b""),
        await both.get("b", "k"),
    ):
        assert isinstance(outcome, Err) and outcome.reason == "disconnected"
    keeping.start()
    assert await both.ensure_bucket("b", ttl=None) == Ok(None)
    assert await both.put("b", "k", b"v") == Ok(1)
    assert await both.get("b", "k") == Ok(b"v")
    talking.stop()
    assert not both.is_connected
    assert isinstance(await both.publish("said", b""), Err)
