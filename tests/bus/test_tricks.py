"""The ways around permissions that are known, each tried in earnest by whoever took a key, and what came of it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from importlib import import_module
from itertools import product
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

import factory_contracts
from adapters.nats.blobs import NatsBlobs
from adapters.nats.clipool import NatsCliPool
from adapters.nats.log import JetStreamLog
from factory_contracts import subjects
from factory_contracts.capability import CAPABILITY_REPLY, CAPABILITY_REQUEST, CapabilityDone, CapabilityRequest
from factory_contracts.envelope import Malformed, Wire
from factory_contracts.lifecycle import HEARTBEAT, Heartbeat
from factory_contracts.messages import FROM_SPOKE, Hello
from factory_contracts.work import COMMAND_REPLY, WORKER_HEARTBEAT, Unknown, WorkerHeartbeat
from factory_nats import blobs
from factory_nats.connect import connect
from factory_nats.identity import Identity, User, generate_seed, public_key
from factory_nats.result import Err, Ok
from factory_nats.rights import USER_INFO
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Delivery, Transport
from tests.bus.raw import Heard, Raw
from tests.bus.town import AUDITOR, BOTS, CLIPOOLS, GRANTS, OWNERS, SPOKES, STORES, WITNESS, WORKERS, Town, town

FORGED = b'{"forged": true}'
OURS, THEIRS = SPOKES[0], SPOKES[2]
SECRET = b"what a person sent to another bot"
# Everybody whom the hub does not hold itself.
STRANGERS = tuple(key for key in GRANTS if OWNERS[key] not in (subjects.HUB, subjects.ERASER))


async def attack(thief: Raw, key: str) -> None:
    """Have every answer that the key's holder can get sent to every place where it would do harm."""
    for (subject, data), target in product(questions(key), targets()):
        thief.publish(subject, data, reply=target)
    # The server answers in order: when these answers are there, so are the others where they were sent to.
    inbox = f"_INBOX_{OWNERS[key]}.end"
    thief.subscribe(inbox)
    for subject, data in questions(key):
        thief.publish(subject, data, reply=inbox)
    answered = 0
    while answered < len(questions(key)):
        said = await thief.barrier()
        assert not said.may_not_publish
        answered += sum(one.subject == inbox for one in said.heard)


class Victim:
    """A system that has said and stored something, and somebody who sees all that becomes of it."""

    def __init__(self, where: Town, hub: Transport, auditor: Transport, witness: Raw) -> None:
        self.town = where
        self.hub = hub
        self._auditor = auditor
        self._witness = witness

    async def heard(self) -> list[Heard]:
        """All that was said on the bus since the last time."""
        await self.hub.barrier()
        return (await self._witness.barrier()).heard

    async def stored(self) -> dict[str, tuple[object, dict[str, int]]]:
        """All streams as they are configured, with what they hold, and who consumes them."""
        listed = await self._auditor.request("$JS.API.STREAM.LIST", b"", timeout=5)
        assert isinstance(listed, Ok)
        kept = ("messages", "bytes", "first_seq", "last_seq", "consumer_count")
        return {
            one["config"]["name"]: (one["config"], {name: one["state"][name] for name in kept})
            for one in json.loads(listed.value)["streams"]
        }


@pytest.fixture
async def victim(tmp_path: Path) -> AsyncIterator[Victim]:
    async with town(tmp_path) as where:
        hub = await where.join(subjects.HUB)
        log = JetStreamLog(hub, "hub-1")
        await log.create()
        for bot in BOTS:
            await NatsBlobs(hub).create(*bot)
        await log.take_over(0.0)
        assert isinstance(await hub.ensure_bucket(subjects.READY_BUCKET, ttl=None), Ok)
        assert isinstance(await hub.put(subjects.READY_BUCKET, subjects.HUB, b"ready"), Ok)
        assert isinstance(await blobs.put(await where.join(THEIRS), STORES[THEIRS], SECRET), Ok)
        auditor = await where.connect(Identity(AUDITOR, where.seeds[AUDITOR]))
        witness = await where.thief(WITNESS)
        witness.subscribe(f"{subjects.ROOT}.>")
        witness.subscribe("_INBOX_hub.>")
        witness.subscribe("_INBOX_telegram-main.>")
        await witness.barrier()
        yield Victim(where, hub, auditor, witness)


def targets() -> tuple[str, ...]:
    """Where an answer of the server's would do harm."""
    consumer = "$JS.API.CONSUMER.CREATE"
    return (
        *(f"$JS.API.STREAM.{verb}.{subjects.STREAM}" for verb in ("DELETE", "PURGE", "UPDATE", "MSG.DELETE")),
        *("$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.DELETE.OBJ_" + STORES[THEIRS]),
        *(f"{consumer}.{subjects.STREAM}", f"{consumer}.OBJ_{STORES[THEIRS]}"),
        *(subjects.turns("telegram", "main", "x"), subjects.epoch(0), subjects.mark(0), subjects.money(0)),
        *(f"$KV.{subjects.READY_BUCKET}.{subjects.HUB}", f"$O.{STORES[THEIRS]}.M.x", f"$O.{STORES[THEIRS]}.C.x"),
        *(subjects.outbound("telegram", "main"), subjects.outbound("telegram", "other")),
        *(subjects.inbound("telegram", "other", 0), subjects.clipool_command("clipool"), subjects.clipool_hello()),
        *(subjects.clipool_events("clipool"), subjects.heartbeat(subjects.CLIPOOL, "clipool")),
        *("_INBOX_hub.clipool.c0ffee.commands.t.1", "_INBOX_telegram-main.hub.c0ffee._.1"),
    )


def questions(key: str) -> tuple[tuple[str, bytes], ...]:
    """All that the key's holder may ask the server itself, in such a way that the answer holds what they chose."""
    found: list[tuple[str, bytes]] = [(USER_INFO, b"")]
    for subject in GRANTS[key].publish:
        if subject.startswith("$O."):
            found.append((subject.replace("*", "mine"), FORGED))
        elif subject.startswith("$JS.API.DIRECT.GET.OBJ_"):
            store = subject.removeprefix("$JS.API.DIRECT.GET.OBJ_").removesuffix(".>")
            last = {"last_by_subj": f"$O.{store}.C.mine"}
            if subject.endswith(".>"):
                stem = subject.removesuffix(">")
                found += [(f"{stem}$O.{store}.C.mine", b'{"no_hdr": true}'), (f"{stem}nothing.there", b"")]
            else:
                found += [(subject, json.dumps({**last, "no_hdr": bare}).encode()) for bare in (True, False)]
        elif subject.startswith("$JS.API.DIRECT.GET."):
            asked = b'{"seq": 1, "no_hdr": true}'
            found.append((subject.removesuffix(".>"), asked))
    return tuple(found)


async def test_an_answer_of_the_servers_that_is_sent_elsewhere_changes_nothing_that_is_stored(victim: Victim) -> None:
    before = {name: one for name, one in (await victim.stored()).items() if name == subjects.STREAM}

    for key in STRANGERS:
        await attack(await victim.town.thief(key), key)
    stored = await victim.stored()

    assert {name: one for name, one in stored.items() if name == subjects.STREAM} == before
    assert set(stored) == {subjects.STREAM, f"KV_{subjects.READY_BUCKET}", *(f"OBJ_{one}" for one in STORES.values())}
    reader = await victim.town.join(subjects.READER)
    assert await reader.get(subjects.READY_BUCKET, subjects.HUB) == Ok(b"ready")


async def test_where_the_streams_are_a_right_to_read_would_be_one_to_delete_so_nobody_else_is_let_in_there(
    tmp_path: Path,
) -> None:
    seeds = {name: generate_seed() for name in ("keeper", "thief")}
    may = (f"$JS.API.DIRECT.GET.{subjects.STREAM}.>",)
    users = (User("keeper", public_key(seeds["keeper"])), User("thief", public_key(seeds["thief"]), may, ()))
    async with EmbeddedServer(tmp_path, users=users) as server:
        joined = await connect(server.url, Identity("keeper", seeds["keeper"]))
        assert isinstance(joined, Ok)
        keeper, thief = joined.value, await Raw.join(server, seeds["thief"])
        await JetStreamLog(keeper, "hub-1").create()

        thief.publish(f"$JS.API.DIRECT.GET.{subjects.STREAM}.x", reply=f"$JS.API.STREAM.DELETE.{subjects.STREAM}")
        said = await thief.barrier()
        async with asyncio.timeout(5):
            while isinstance(found := await keeper.last(subjects.STREAM, "x"), Ok):
                await keeper.barrier()

        assert not said.may_not_publish
        assert found.reason == "no responders"
        await thief.close()
        await keeper.close()


async def test_a_spoke_that_has_the_server_write_reaches_no_other_bots_files(victim: Victim) -> None:
    before = (await victim.stored())[f"OBJ_{STORES[THEIRS]}"]

    await attack(await victim.town.thief(f"{OURS}.store"), f"{OURS}.store")

    assert (await victim.stored())[f"OBJ_{STORES[THEIRS]}"] == before


async def test_an_answer_of_the_servers_that_is_sent_elsewhere_says_nothing_to_anybody(victim: Victim) -> None:
    await victim.heard()

    for key in STRANGERS:
        await attack(await victim.town.thief(key), key)
    heard = await victim.heard()

    assert heard
    assert not [one for one in heard if FORGED in one.data]
    assert {one.header for one in heard} == {b""}
    for one, wire in product(heard, wires()):
        with pytest.raises(Malformed):
            wire.decode(one.data)


def wires() -> tuple[Wire[Any], ...]:
    """Every contract that there is."""
    modules = [import_module(f"factory_contracts.{one.name}") for one in iter_modules(factory_contracts.__path__)]
    return tuple(one for module in modules for one in vars(module).values() if isinstance(one, Wire))


async def test_nothing_that_the_server_says_by_itself_can_be_read_as_anything_of_ours(victim: Victim) -> None:
    auditor = await victim.town.thief(AUDITOR)
    auditor.subscribe("_INBOX_auditor.>")
    asked = (
        (USER_INFO, b""),
        (f"$JS.API.STREAM.INFO.{subjects.STREAM}", b""),
        ("$JS.API.STREAM.INFO.NONE", b""),
        ("$JS.API.STREAM.LIST", b""),
        (f"$JS.API.STREAM.MSG.GET.{subjects.STREAM}", b'{"seq": 1}'),
        (f"$JS.API.DIRECT.GET.{subjects.STREAM}.nothing", b""),
        (f"$O.{STORES[OURS]}.C.x", b"{}"),
        (f"$KV.{subjects.READY_BUCKET}.x", b"{}"),
    )
    for number, (subject, data) in enumerate(asked):
        auditor.publish(subject, data, reply=f"_INBOX_auditor.{number}")
    auditor.publish(f"$O.{STORES[OURS]}.C.x", reply="_INBOX_auditor.8", headers={"Nats-Expected-Last-Sequence": "9"})

    said = [*(await auditor.barrier()).heard]
    while len(said) <= len(asked):
        said += (await auditor.barrier()).heard

    assert {one.subject for one in said} == {f"_INBOX_auditor.{number}" for number in range(len(asked) + 1)}
    for one, wire in product(said, wires()):
        with pytest.raises(Malformed):
            wire.decode(one.data)


async def test_nobody_makes_a_consumer_that_delivers_to_where_they_may_not_send(victim: Victim) -> None:
    await victim.heard()
    target = subjects.outbound("telegram", "other")
    for key, stream in product(STRANGERS, (subjects.STREAM, *(f"OBJ_{store}" for store in STORES.values()))):
        thief = await victim.town.thief(key)
        config = {"deliver_subject": target, "ack_policy": "none", "deliver_policy": "all"}
        request = json.dumps({"stream_name": stream, "config": config}).encode()
        thief.publish(f"$JS.API.CONSUMER.CREATE.{stream}", request)
        durable = json.dumps({"stream_name": stream, "config": {**config, "durable_name": "spy"}}).encode()
        thief.publish(f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.spy", durable)
        refused = (await thief.barrier()).may_not_publish

        assert len(refused) == 2

    assert await victim.heard() == []
    states = [state for _, state in (await victim.stored()).values()]
    assert {state["consumer_count"] for state in states} == {0}


async def test_nobody_reads_what_was_sent_to_another_bot(victim: Victim) -> None:
    store = STORES[THEIRS]
    for key in STRANGERS:
        # Who copies a whole home reads what is in it, as the reader reads every conversation anyway.
        if key in (f"{THEIRS}.store", *(f"{name}.store" for name in CLIPOOLS), subjects.READER):
            continue
        thief = await victim.town.thief(key)
        for subject in (">", f"$O.{store}.>", f"_INBOX_{THEIRS}.>", f"_INBOX_{THEIRS}.hub.>", "_INBOX_*.>"):
            if subject.startswith(f"_INBOX_{THEIRS}.") and key == THEIRS:
                continue
            thief.subscribe(subject)
        inbox = f"_INBOX_{key.removesuffix('.store')}.x"
        thief.subscribe(inbox)
        thief.publish(f"$JS.API.DIRECT.GET.OBJ_{store}", b'{"seq": 1}', reply=inbox)
        thief.publish(f"$JS.API.STREAM.MSG.GET.OBJ_{store}", b'{"seq": 1}', reply=inbox)
        first = await thief.barrier()
        reading = await victim.town.join(THEIRS)
        assert await blobs.get(reading, store, await _name(reading, store)) == Ok(SECRET)
        await reading.close()
        then = await thief.barrier()

        assert not [one for one in (*first.heard, *then.heard) if SECRET in one.data], key


async def _name(spoke: Transport, store: str) -> str:
    kept = await blobs.put(spoke, store, SECRET)
    assert isinstance(kept, Ok)
    return kept.value


async def test_nobody_listens_in_on_what_another_is_answered(victim: Victim) -> None:
    hub, spoke = victim.hub, await victim.town.join(OURS)
    thief = await victim.town.thief(THEIRS)
    for subject in (f"_INBOX_{OURS}.>", f"_INBOX_{OURS}.hub.*.*.*", "_INBOX_*.hub.>", ">", "*.*.*.*.*"):
        thief.subscribe(subject)
    refused = await thief.barrier()

    async def answer(delivery: Delivery) -> None:
        await hub.publish(delivery.reply, SECRET)

    tasks: list[asyncio.Task[None]] = []
    await hub.subscribe(
        subjects.plane("inbound")[0], lambda one: tasks.append(asyncio.get_running_loop().create_task(answer(one)))
    )
    hello = FROM_SPOKE.encode(Hello(platform="telegram", bot_id="main", scope_id="*"))
    answered = await spoke.request(subjects.inbound("telegram", "main", 0), hello, timeout=5, responder=subjects.HUB)

    assert len(refused.may_not_subscribe) == 5
    assert answered == Ok(SECRET)
    assert (await thief.barrier()).heard == []


async def epochs(partition: int) -> bool:
    return True


async def test_a_forged_heartbeat_is_nobodys(victim: Victim, caplog: pytest.LogCaptureFixture) -> None:
    pool = NatsCliPool(victim.hub, lambda part: 1, epochs)
    await pool.start()
    thief = await victim.town.thief("clipool-2")
    forged = WORKER_HEARTBEAT.encode(WorkerHeartbeat(worker="clipool", instance="i", models=("scripted",)))

    with caplog.at_level(logging.WARNING):
        thief.publish(subjects.heartbeat(subjects.CLIPOOL, "clipool"), forged)
        for _ in range(50):
            thief.publish(subjects.heartbeat(subjects.CLIPOOL, "clipool-2"), forged)
        refused = (await thief.barrier()).may_not_publish
        await victim.hub.barrier()

        assert refused == {subjects.heartbeat(subjects.CLIPOOL, "clipool")}
        assert pool.pick() is None
        assert [one.getMessage() for one in caplog.records if "heartbeat" in one.getMessage()] == [
            f"heartbeats on {subjects.heartbeat(subjects.CLIPOOL, 'clipool-2')} are dropped: "
            "it names another worker than its subject"
        ]
    true = WORKER_HEARTBEAT.encode(WorkerHeartbeat(worker="clipool-2", instance="i", models=("scripted",)))
    thief.publish(subjects.heartbeat(subjects.CLIPOOL, "clipool-2"), true)
    await thief.barrier()
    await victim.hub.barrier()
    chosen = pool.pick()
    assert chosen is not None
    assert chosen.worker == "clipool-2"
    await pool.close()


async def test_a_flood_of_workers_names_makes_no_worker(victim: Victim) -> None:
    pool = NatsCliPool(victim.hub, lambda part: 1, epochs)
    await pool.start()
    thief = await victim.town.thief("clipool-2")
    names = [f"worker-{number}" for number in range(1_000)]
    await victim.heard()

    for name in names:
        said = WORKER_HEARTBEAT.encode(WorkerHeartbeat(worker=name, instance="i", models=("scripted",)))
        thief.publish(subjects.heartbeat(subjects.CLIPOOL, name), said)
        thief.publish(subjects.heartbeat(subjects.CLIPOOL, "clipool-2"), said)
    refused = (await thief.barrier()).may_not_publish
    await victim.hub.barrier()

    assert refused == {subjects.heartbeat(subjects.CLIPOOL, name) for name in names}
    assert {one.subject for one in await victim.heard()} == {subjects.heartbeat(subjects.CLIPOOL, "clipool-2")}
    assert pool.pick() is None
    await pool.close()


async def test_a_worker_that_was_not_asked_cannot_answer(victim: Victim) -> None:
    asker, painter = await victim.town.join("clipool"), await victim.town.join("painter")
    thief = await victim.town.thief("loud")
    asked: asyncio.Queue[Delivery] = asyncio.Queue()
    await painter.subscribe(subjects.request("image", "painter"), asked.put_nowait)
    request = CAPABILITY_REQUEST.encode(CapabilityRequest(turn="t", call="c", text="a cat", deadline=5.0))
    asking = asyncio.create_task(
        asker.request(subjects.request("image", "painter"), request, timeout=5, responder="painter")
    )
    reply = (await asked.get()).reply
    # Even one who had seen where the answer goes.
    theirs = reply.replace(".painter.", ".loud.")

    thief.publish(reply, FORGED)
    thief.publish(theirs, FORGED)
    refused = (await thief.barrier()).may_not_publish
    await asker.barrier()
    is_still_asking = not asking.done()
    await painter.publish(reply, CAPABILITY_REPLY.encode(CapabilityDone(text="a cat")))
    answered = await asking

    assert refused == {reply}
    assert is_still_asking
    assert isinstance(answered, Ok)
    assert CAPABILITY_REPLY.decode(answered.value) == CapabilityDone(text="a cat")


async def test_who_is_asked_learns_nothing_of_where_the_answers_of_others_are_awaited(victim: Victim) -> None:
    asker = await victim.town.join("clipool")
    asked: asyncio.Queue[Delivery] = asyncio.Queue()
    for capability, name in WORKERS:
        worker = await victim.town.join(name)
        await worker.subscribe(subjects.request(capability, name), asked.put_nowait)
    asking = [
        asyncio.create_task(asker.request(subjects.request(capability, name), b"{}", timeout=5, responder=name))
        for capability, name in (*WORKERS, *WORKERS)
    ]
    replies = [(await asked.get()).reply.split(".") for _ in asking]
    secrets = {name: {tokens[-2] for tokens in replies if tokens[1] == name} for _, name in WORKERS}

    assert [len(found) for found in secrets.values()] == [1, 1]
    assert len(set.union(*secrets.values())) == 2
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_a_worker_cannot_say_what_another_replies_to_a_command(victim: Victim) -> None:
    pool = NatsCliPool(victim.hub, lambda part: 1, epochs)
    await pool.start()
    clipool, thief = await victim.town.join("clipool"), await victim.town.thief("clipool-2")
    commands: asyncio.Queue[Delivery] = asyncio.Queue()
    await clipool.subscribe(subjects.clipool_command("clipool"), commands.put_nowait)
    beat = WORKER_HEARTBEAT.encode(WorkerHeartbeat(worker="clipool", instance="i", models=("scripted",)))
    await clipool.publish(subjects.heartbeat(subjects.CLIPOOL, "clipool"), beat)
    await clipool.barrier()
    await victim.hub.barrier()
    chosen = pool.pick()
    assert chosen is not None
    await victim.hub.publish(
        subjects.clipool_command("clipool"), b"{}", reply=victim.hub.inbox("clipool", "commands.t.1")
    )
    reply = (await commands.get()).reply
    forged = COMMAND_REPLY.encode(Unknown(turn="t"))
    await victim.heard()

    thief.publish(reply, forged)
    thief.publish(reply.replace(".clipool.", ".clipool-2."), forged)
    refused = (await thief.barrier()).may_not_publish

    assert refused == {reply}
    assert [one.subject for one in await victim.heard()] == [reply.replace(".clipool.", ".clipool-2.")]
    await pool.close()


async def test_a_worker_cannot_speak_for_another_capability_or_name(victim: Victim) -> None:
    thief = await victim.town.thief("loud")
    said = HEARTBEAT.encode(Heartbeat(worker="painter", instance="i"))

    for subject in (subjects.heartbeat("image", "painter"), subjects.heartbeat("image", "loud")):
        thief.publish(subject, said)
    refused = (await thief.barrier()).may_not_publish

    assert len(refused) == 2


async def test_a_member_joins_and_finds_all_that_it_needs(victim: Victim) -> None:
    for identity in ("hub", "reader", "clipool-2", "discord-main", "cli-main", "painter"):
        assert (await victim.town.join(identity)).is_connected
    reader = await victim.town.join("reader")

    found = await reader.read(subjects.STREAM, subjects.plane("epochs")[0])

    assert isinstance(found, Ok)
    assert len(found.value) == subjects.PARTITIONS
    refused = await reader.append([])
    assert isinstance(refused, Err)
