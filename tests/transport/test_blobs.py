"""Files in a store of their own: what was put is what is got, by those who may, whatever happened in between."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path

import nats
import pytest

from factory_contracts import subjects
from factory_contracts.subjects import Permissions
from factory_nats import blobs
from factory_nats.blobs import CHUNK, MOST_BYTES, MOST_CHUNKS, PAGE
from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.result import Err, Ok, Result
from factory_nats.server import EmbeddedServer, User
from factory_nats.subject import inbox_prefix
from factory_nats.testing import FakeBus
from factory_nats.transport import Entry, Transport

OURS, THEIRS = subjects.blobs("paper", "desk"), subjects.blobs("paper", "loft")
MEMBERS = {
    subjects.HUB: Permissions(
        (*subjects.hub_store_permissions(OURS, THEIRS).publish, f"$JS.API.STREAM.INFO.OBJ_{OURS}"), place="streams"
    ),
    subjects.ERASER: subjects.eraser_permissions(OURS, THEIRS),
    "paper-desk": subjects.store_permissions(OURS),
    "paper-loft": subjects.store_permissions(THEIRS),
    "w1": subjects.store_permissions(OURS),
    "w2": subjects.store_permissions("another"),
}
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, PAGE * CHUNK, PAGE * CHUNK + 7]

Join = Callable[[str], Awaitable[Transport]]


def some(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{size} {seed}").randbytes(size)


def stream(store: str) -> str:
    return f"OBJ_{store}"


def about(store: str, name: str) -> str:
    return f"$O.{store}.M.{urlsafe_b64encode(name.encode()).decode()}"


async def join_fake() -> AsyncIterator[Join]:
    bus = FakeBus()

    async def join(identity: str) -> Transport:
        may = MEMBERS[identity]
        return bus.join(identity, publish=may.publish, subscribe=may.subscribe)

    yield join


async def join_real(folder: Path) -> AsyncIterator[Join]:
    seeds = {identity: generate_seed() for identity in MEMBERS}
    users = [
        User(identity, public_key(seeds[identity]), may.publish, may.subscribe, may.place)
        for identity, may in MEMBERS.items()
    ]
    joined: list[Transport] = []
    async with EmbeddedServer(folder, users=users) as server:

        async def join(identity: str) -> Transport:
            connected = await connect(server.url, Identity(identity, seeds[identity]))
            assert isinstance(connected, Ok)
            joined.append(connected.value)
            return connected.value

        yield join
        for transport in joined:
            await transport.close()


@pytest.fixture(params=["fake", "real"])
async def join(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Join]:
    """A bus on which everybody may what they may in the product, with a store for each of two bots."""
    async for join in join_fake() if request.param == "fake" else join_real(tmp_path / "nats"):
        hub = await join(subjects.HUB)
        for store in (OURS, THEIRS):
            assert await blobs.ensure(hub, store) == Ok(None)
        yield join


@pytest.fixture
async def free(nats_server: EmbeddedServer) -> AsyncIterator[Transport]:
    connected = await connect(nats_server.url, Identity("blobs"))
    assert isinstance(connected, Ok)
    yield connected.value
    await connected.value.close()


async def put(transport: Transport, data: bytes, store: str = OURS) -> str:
    kept = await blobs.put(transport, store, data)
    assert kept == Ok(sha256(data).hexdigest())
    return sha256(data).hexdigest()


async def chunks(hub: Transport, store: str = OURS) -> dict[str, int]:
    """The subjects that hold chunks, and how many."""
    found = await hub.subjects(stream(store), f"$O.{store}.C.>")
    assert isinstance(found, Ok)
    return dict(found.value)


async def test_what_a_spoke_puts_a_worker_reads_to_the_byte_whatever_its_size(join: Join) -> None:
    spoke, worker = await join("paper-desk"), await join("w1")

    for size in SIZES:
        name = await put(spoke, some(size))
        assert await blobs.get(worker, OURS, name) == Ok(some(size))


async def test_a_store_that_is_made_again_keeps_what_it_holds(join: Join) -> None:
    spoke, hub = await join("paper-desk"), await join(subjects.HUB)
    name = await put(spoke, b"kept")

    assert await blobs.ensure(hub, OURS) == Ok(None)

    assert await blobs.get(spoke, OURS, name) == Ok(b"kept")


async def test_what_is_there_already_is_not_stored_again(join: Join) -> None:
    spoke, hub = await join("paper-desk"), await join(subjects.HUB)
    await put(spoke, some(3 * CHUNK))
    before = await chunks(hub)

    await put(spoke, some(3 * CHUNK))

    assert await chunks(hub) == before


async def test_a_value_that_was_never_put_is_none(join: Join) -> None:
    assert await blobs.get(await join("w1"), OURS, "0" * 64) == Ok(None)


@pytest.mark.parametrize("is_store_wrong", [False, True])
@pytest.mark.parametrize("bad", ["", "a.b", "*", ">", "a b", "\n", "ü", "../x", "$JS", "a" * 200])
async def test_a_wrong_name_is_no_subject(bad: str, is_store_wrong: bool) -> None:
    transport = FakeBus().join("anybody")

    outcomes: list[Result[object]]
    if is_store_wrong:
        outcomes = [await blobs.ensure(transport, bad), await blobs.put(transport, bad, b"x")]
    else:
        outcomes = [await blobs.get(transport, OURS, bad), await blobs.get(transport, bad, "a")]

    assert [one.reason for one in outcomes if isinstance(one, Err)] == ["malformed"] * 2


async def test_before_the_hub_has_made_the_store_nobody_answers(free: Transport) -> None:
    for transport in (free, FakeBus().join("early")):
        for outcome in (await blobs.put(transport, "missing", b"x"), await blobs.get(transport, "missing", "x")):
            assert isinstance(outcome, Err) and outcome.reason == "no responders"


async def test_a_value_beyond_the_limit_is_refused_before_anything_is_stored(join: Join) -> None:
    spoke, hub = await join("paper-desk"), await join(subjects.HUB)

    refused = await blobs.put(spoke, OURS, bytes(MOST_BYTES + 1))

    assert refused == Err("too large", "20971521 bytes, and 20971520 are the limit")
    assert await chunks(hub) == {}


async def test_a_spoke_reaches_no_store_but_its_own_bots(join: Join) -> None:
    ours, theirs = await join("paper-desk"), await join("paper-loft")
    name = await put(theirs, b"theirs", THEIRS)

    outcomes = [
        await blobs.get(ours, THEIRS, name),
        await blobs.put(ours, THEIRS, b"forged"),
        await ours.append([Entry(about(THEIRS, name), b"forged")]),
        await ours.append([Entry(f"$O.{THEIRS}.C.forged", b"forged")]),
        await ours.last(stream(THEIRS), f"$O.{THEIRS}.C.*"),
    ]

    assert [one.reason for one in outcomes if isinstance(one, Err)] == ["forbidden"] * 5
    assert await blobs.get(theirs, THEIRS, name) == Ok(b"theirs")


async def test_a_worker_reads_and_writes_in_the_stores_it_was_given_and_in_no_other(join: Join) -> None:
    spoke, other = await join("paper-desk"), await join("paper-loft")
    given, not_given = await join("w1"), await join("w2")
    name = await put(spoke, b"ours")
    foreign = await put(other, b"theirs", THEIRS)

    outcomes = [
        await blobs.get(given, THEIRS, foreign),
        await blobs.get(not_given, OURS, name),
        await blobs.put(given, THEIRS, b"forged"),
        await blobs.put(not_given, OURS, b""),
        await given.append([Entry(about(THEIRS, foreign), b"forged")]),
        await given.append([Entry(f"$O.{THEIRS}.C.forged", b"forged")]),
    ]
    made = await put(given, some(CHUNK + 1))

    assert [one.reason for one in outcomes if isinstance(one, Err)] == ["forbidden"] * 6
    assert await blobs.get(given, OURS, name) == Ok(b"ours")
    assert await blobs.get(spoke, OURS, made) == Ok(some(CHUNK + 1))
    assert await blobs.get(other, THEIRS, foreign) == Ok(b"theirs")


async def test_who_may_write_in_a_store_can_lose_a_file_of_another_and_never_put_another_in_its_place(
    join: Join,
) -> None:
    spoke, worker = await join("paper-desk"), await join("w1")
    name, forged = await put(spoke, b"ours"), await put(worker, b"forged")
    told = await worker.last(stream(OURS), about(OURS, forged))
    assert isinstance(told, Ok)
    assert told.value is not None

    await worker.append([Entry(about(OURS, name), told.value.data, rollup=True)])

    assert await blobs.get(spoke, OURS, name) == Ok(None)


@pytest.mark.parametrize("identity", ["paper-desk", "w1", "w2"])
async def test_nobody_but_the_hub_makes_stores_or_consumers(join: Join, identity: str) -> None:
    transport = await join(identity)

    outcomes = [
        await blobs.ensure(transport, "new"),
        await blobs.ensure(transport, OURS),
        await transport.request(f"$JS.API.CONSUMER.CREATE.{stream(OURS)}", b"{}", timeout=5),
        await transport.request(f"$JS.API.STREAM.PURGE.{stream(OURS)}", b"{}", timeout=5),
        await transport.request(f"$JS.API.STREAM.DELETE.{stream(OURS)}", b"{}", timeout=5),
    ]

    assert [one.reason for one in outcomes if isinstance(one, Err)] == ["forbidden"] * 5


async def test_many_who_put_the_same_at_once_all_read_it_right(join: Join) -> None:
    spokes = [await join("paper-desk") for _ in range(4)]
    data = some(5 * CHUNK + 3)

    kept = await asyncio.gather(*(blobs.put(spoke, OURS, data) for spoke in spokes))

    name = sha256(data).hexdigest()
    assert kept == [Ok(name)] * 4
    assert [await blobs.get(spoke, OURS, name) for spoke in spokes] == [Ok(data)] * 4


async def test_a_put_that_was_cut_off_is_not_there_and_putting_it_again_is_right(join: Join) -> None:
    spoke, hub = await join("paper-desk"), await join(subjects.HUB)
    data = some(12 * CHUNK)
    for pieces in (1, 3, 7):
        before = sum((await chunks(hub)).values())
        putting = asyncio.create_task(blobs.put(spoke, OURS, data))
        while sum((await chunks(hub)).values()) < before + pieces:
            await asyncio.sleep(0)
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)
        assert await blobs.get(spoke, OURS, sha256(data).hexdigest()) == Ok(None)

    name = await put(spoke, data)

    assert await blobs.get(spoke, OURS, name) == Ok(data)


@pytest.mark.parametrize("damage", ["a chunk is lost", "a chunk is other", "all are lost", "one is too many"])
async def test_what_was_damaged_is_never_handed_out_and_is_healed_by_putting_it_again(join: Join, damage: str) -> None:
    spoke, worker, hub = await join("paper-desk"), await join("w1"), await join(subjects.HUB)
    data = some(2 * CHUNK)
    name = await put(spoke, data)
    (subject,) = await chunks(hub)
    match damage:
        case "a chunk is lost":
            await worker.append([Entry(subject, data[:CHUNK], rollup=True)])
        case "a chunk is other":
            await worker.append([Entry(subject, data[:CHUNK], rollup=True)])
            await worker.append([Entry(subject, data[:CHUNK])])
        case "all are lost":
            await worker.append([Entry(subject, b"", rollup=True)])
        case "one is too many":
            await worker.append([Entry(subject, b"and more")])
    found = await blobs.get(spoke, OURS, name)

    await put(spoke, data)

    assert found == Ok(data if damage == "one is too many" else None)
    assert await blobs.get(spoke, OURS, name) == Ok(data)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        json.dumps({"nuid": "n", "size": -1, "chunks": 1}).encode(),
        json.dumps({"nuid": "n", "size": MOST_BYTES + 1, "chunks": 1}).encode(),
        json.dumps({"nuid": "n", "size": 1, "chunks": MOST_CHUNKS + 1}).encode(),
        json.dumps({"nuid": "n", "size": 1, "chunks": -1}).encode(),
        json.dumps({"nuid": "n", "size": "1", "chunks": 1}).encode(),
        json.dumps({"nuid": "n", "size": 1, "chunks": 1.0}).encode(),
        json.dumps({"nuid": "*", "size": 1, "chunks": 1}).encode(),
        json.dumps({"nuid": "", "size": 1, "chunks": 1}).encode(),
        json.dumps({"nuid": 7, "size": 1, "chunks": 1}).encode(),
        json.dumps({"nuid": "nobody-wrote-there", "size": 1, "chunks": 1}).encode(),
        b'{"nuid": "n", "chunks": 1, "size": 1' + b"0" * 10_000 + b"}",
    ],
)
async def test_nonsense_about_a_value_is_none_and_is_healed(nonsense: bytes) -> None:
    hub = FakeBus().join("hub")
    await blobs.ensure(hub, OURS)
    name = sha256(b"data").hexdigest()
    await hub.append([Entry(about(OURS, name), nonsense)])
    found = await blobs.get(hub, OURS, name)

    await put(hub, b"data")

    assert found == Ok(None)
    assert await blobs.get(hub, OURS, name) == Ok(b"data")


async def test_more_than_a_value_claims_to_be_is_not_read() -> None:
    hub = FakeBus().join("hub")
    await blobs.ensure(hub, OURS)
    for _ in range(3 * PAGE):
        await hub.append([Entry(f"$O.{OURS}.C.n", bytes(1000))])
    claim = {"nuid": "n", "size": 1000, "chunks": 3 * PAGE}
    await hub.append([Entry(about(OURS, "x"), json.dumps(claim).encode())])

    assert await blobs.get(hub, OURS, "x") == Ok(None)


@pytest.mark.parametrize("size", [0, 3 * CHUNK])
async def test_after_a_lost_answer_putting_it_again_is_right(size: int) -> None:
    bus = FakeBus()
    hub = bus.join("hub")
    await blobs.ensure(hub, OURS)
    bus.lose_answers()

    lost = await blobs.put(hub, OURS, some(size))
    name = await put(hub, some(size))

    assert isinstance(lost, Err) and lost.reason == "timeout"
    assert await blobs.get(hub, OURS, name) == Ok(some(size))
    assert sum((await chunks(hub)).values()) == (4 if size else 0)


async def test_a_full_disk_is_told_and_putting_it_later_is_right() -> None:
    bus = FakeBus()
    hub = bus.join("hub")
    await blobs.ensure(hub, OURS)
    bus.is_full = True

    refused = await blobs.put(hub, OURS, b"data")
    bus.is_full = False

    assert isinstance(refused, Err) and refused.reason == "no space"
    assert await blobs.get(hub, OURS, await put(hub, b"data")) == Ok(b"data")


HERE, THERE = "here", "there"


async def kept(transport: Transport, data: bytes, folder: str) -> str:
    name = await blobs.put(transport, OURS, data, folder=folder)
    assert name == Ok(f"{folder}-{sha256(data).hexdigest()}")
    return f"{folder}-{sha256(data).hexdigest()}"


async def reach(eraser: Transport) -> int:
    found = await blobs.reach(eraser, OURS)
    assert isinstance(found, Ok)
    return found.value


async def test_the_same_value_in_two_folders_is_two_values(join: Join) -> None:
    spoke, hub = await join("paper-desk"), await join(subjects.HUB)
    names = [await kept(spoke, some(3 * CHUNK), folder) for folder in (HERE, THERE, HERE)]

    assert [await blobs.get(spoke, OURS, name) for name in names] == [Ok(some(3 * CHUNK))] * 3
    assert sorted((await chunks(hub)).values()) == [3, 3]
    assert await blobs.names(await join(subjects.ERASER), OURS, HERE) == Ok(frozenset(names[:1]))


async def test_a_folder_is_erased_with_what_an_interrupted_put_left_and_nothing_else_is(join: Join) -> None:
    spoke, hub, eraser = await join("paper-desk"), await join(subjects.HUB), await join(subjects.ERASER)
    gone = [await kept(spoke, some(2 * CHUNK, seed), HERE) for seed in range(3)]
    stay = [await kept(spoke, some(2 * CHUNK), f"{HERE}_{THERE}"), await kept(spoke, some(1), THERE)]
    old = await put(spoke, b"of an earlier version")
    await spoke.append([Entry(f"$O.{OURS}.C.{HERE}-0123", b"half of a value")])

    erased = await blobs.erase(eraser, OURS, HERE, until=await reach(eraser))
    again = await blobs.erase(eraser, OURS, HERE, until=await reach(eraser))

    assert (erased, again) == (Ok(None), Ok(None))
    assert [await blobs.get(spoke, OURS, name) for name in gone] == [Ok(None)] * 3
    assert [await blobs.get(spoke, OURS, name) for name in (*stay, old)] == [
        *(Ok(some(2 * CHUNK)), Ok(some(1)), Ok(b"of an earlier version"))
    ]
    assert not [one for one in await chunks(hub) if one.startswith(f"$O.{OURS}.C.{HERE}-0")]
    assert len(await chunks(hub)) == 3


async def test_values_are_erased_by_name_as_well_and_spared_by_name(join: Join) -> None:
    spoke, eraser = await join("paper-desk"), await join(subjects.ERASER)
    ours = [await kept(spoke, some(CHUNK + seed), HERE) for seed in range(2)]
    old = [await put(spoke, some(CHUNK, seed)) for seed in range(5, 8)]

    erased = await blobs.erase(eraser, OURS, HERE, until=await reach(eraser), also=old[:2], spared=(ours[0], old[1]))

    assert erased == Ok(None)
    found = [await blobs.get(spoke, OURS, name) for name in (*ours, *old)]
    assert [isinstance(one, Ok) and one.value is not None for one in found] == [True, False, False, True, True]


async def test_what_was_put_later_stays_and_can_be_read(join: Join) -> None:
    spoke, eraser = await join("paper-desk"), await join(subjects.ERASER)
    before = await kept(spoke, b"before", HERE)
    until = await reach(eraser)
    after = await kept(spoke, some(2 * CHUNK), HERE)

    assert await blobs.erase(eraser, OURS, HERE, until=until) == Ok(None)

    assert await blobs.get(spoke, OURS, before) == Ok(None)
    assert await blobs.get(spoke, OURS, after) == Ok(some(2 * CHUNK))


async def test_what_is_erased_can_be_put_again(join: Join) -> None:
    spoke, eraser = await join("paper-desk"), await join(subjects.ERASER)
    name = await kept(spoke, some(CHUNK + 1), HERE)
    await blobs.erase(eraser, OURS, HERE, until=await reach(eraser))

    assert await kept(spoke, some(CHUNK + 1), HERE) == name

    assert await blobs.get(spoke, OURS, name) == Ok(some(CHUNK + 1))


@pytest.mark.parametrize("folder", ["a-b", "a.b", "*", "a b", "ü", "f" * 41])
async def test_a_wrong_folder_is_no_subject(folder: str) -> None:
    refused = await blobs.put(FakeBus().join("anybody"), OURS, b"x", folder=folder)

    assert isinstance(refused, Err) and refused.reason == "malformed"


@pytest.mark.parametrize("identity", ["paper-desk", "w1"])
async def test_nobody_but_the_eraser_erases(join: Join, identity: str) -> None:
    spoke, eraser, other = await join("paper-desk"), await join(subjects.ERASER), await join(identity)
    name = await kept(spoke, b"kept", HERE)

    refused = await blobs.erase(other, OURS, HERE, until=await reach(eraser))

    assert isinstance(refused, Err) and refused.reason == "forbidden"
    assert await blobs.get(spoke, OURS, name) == Ok(b"kept")


async def test_a_value_outlives_the_server(tmp_path: Path) -> None:
    data = some(5 * CHUNK + 1)
    for is_first in (True, False):
        async with EmbeddedServer(tmp_path) as server:
            connected = await connect(server.url, Identity("hub"))
            assert isinstance(connected, Ok)
            assert await blobs.ensure(connected.value, OURS) == Ok(None)
            if is_first:
                await put(connected.value, data)
            assert await blobs.get(connected.value, OURS, sha256(data).hexdigest()) == Ok(data)
            await connected.value.close()


async def test_the_largest_value_takes_seconds_and_a_few_times_its_own_memory(free: Transport) -> None:
    await blobs.ensure(free, "large")
    data = some(MOST_BYTES)
    loop = asyncio.get_running_loop()
    tracemalloc.start()
    began = loop.time()

    name = await put(free, data, "large")
    put_took, (_, put_peak) = loop.time() - began, tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    got = await blobs.get(free, "large", name)
    took, (_, got_peak) = loop.time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert got == Ok(data)
    assert put_peak < MOST_BYTES
    assert got_peak < 3 * MOST_BYTES
    assert put_took < 30 and took < 45


@pytest.mark.parametrize("size", [0, 1, CHUNK, 4 * CHUNK + 5])
async def test_the_client_librarys_own_object_store_reads_what_was_put(
    nats_server: EmbeddedServer, free: Transport, size: int
) -> None:
    await blobs.ensure(free, "theirs")
    name = await put(free, some(size), "theirs")

    client = await nats.connect(nats_server.url, inbox_prefix=inbox_prefix("client").encode())
    store = await client.jetstream().object_store("theirs")
    found = await store.get(name)
    await client.close()

    assert found.data == some(size)
    assert (found.info.size, found.info.bucket) == (size, "theirs")


async def test_what_the_client_library_put_under_its_contents_name_is_read_here(
    nats_server: EmbeddedServer, free: Transport
) -> None:
    await blobs.ensure(free, "both")
    data = some(3 * CHUNK + 5)
    name = sha256(data).hexdigest()

    client = await nats.connect(nats_server.url)
    store = await client.jetstream().object_store("both")
    await store.put(name, data)
    found = await blobs.get(free, "both", name)
    await store.delete(name)
    await client.close()

    assert found == Ok(data)
    assert await blobs.get(free, "both", name) == Ok(None)
