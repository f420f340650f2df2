"""What every log does: the fake, and the real one over the bus in memory and over a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import pytest

from adapters.nats.log import JetStreamLog
from factory_contracts import subjects
from factory_contracts.messages import Address, InboundMessage
from factory_contracts.records import (
    OWNERS,
    Act,
    Balance,
    Blocked,
    Compacted,
    Forgotten,
    Granted,
    LeaseGiven,
    Owner,
    Owners,
    Record,
    Tally,
    TurnAnswered,
    TurnReceived,
    record_id,
)
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.testing import FakeBus
from factory_nats.transport import Entry, Transport
from hub.kernel.budget import SHARDS
from hub.kernel.ports import Fenced, Full, Logged, Unwritable
from hub.kernel.routing import RoutingKey
from hub.leases import LeaseLog
from hub.people import AccessLog
from hub.recovery import MarkedLog
from tests.fakes import PAGE, Breaths, FakeLog, FakeStream, all_of

HERE, THERE = RoutingKey("paper", "desk", "here"), RoutingKey("paper", "desk", "there")
OTHER = RoutingKey("paper", "other", "here")


class OwnedLog(MarkedLog, AccessLog, LeaseLog, Protocol):
    """All that a hub uses of its log."""

    def epoch(self, partition: int) -> int: ...

    async def create(self) -> None: ...

    async def take_over(self, now: float) -> bool: ...

    async def append(self, key: RoutingKey, records: list[Record]) -> tuple[Logged, ...]: ...

    async def history(self, key: RoutingKey) -> tuple[Logged, ...]: ...

    async def past(self, key: RoutingKey, until: int) -> tuple[Logged, ...]: ...

    async def scopes(self, platform: str, bot_id: str) -> tuple[RoutingKey, ...]: ...


class Disk(Protocol):
    """Something on which one hub's log after another is opened."""

    async def open(self) -> OwnedLog: ...

    async def put_owners(self, owners: Owners) -> None:
        """Store what a hub stored before there were acts."""
        ...

    async def close(self) -> None: ...


class FakeDisk:
    def __init__(self) -> None:
        self.stream = FakeStream()

    async def open(self) -> OwnedLog:
        return FakeLog(self.stream)

    async def put_owners(self, owners: Owners) -> None:
        self.stream.owners[owners.platform, owners.bot_id] = owners.owners

    async def close(self) -> None:
        pass


class BusDisk:
    def __init__(self) -> None:
        self.bus = FakeBus()
        self._opened = 0

    async def open(self) -> OwnedLog:
        self._opened += 1
        return JetStreamLog(self.bus.join(f"hub{self._opened}"), f"hub{self._opened}")

    async def put_owners(self, owners: Owners) -> None:
        await put_owners(self.bus.join("older"), owners)

    async def close(self) -> None:
        pass


class RealDisk:
    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedServer(folder, streams=[subjects.STREAM])
        self._joined: list[Transport] = []

    async def open(self) -> OwnedLog:
        joined = await connect(self.server.url, Identity(f"hub{len(self._joined)}"))
        assert isinstance(joined, Ok)
        self._joined.append(joined.value)
        return JetStreamLog(joined.value, joined.value.identity)

    async def put_owners(self, owners: Owners) -> None:
        await put_owners(self._joined[0], owners)

    async def close(self) -> None:
        for transport in self._joined:
            await transport.close()
        await self.server.stop()


async def put_owners(transport: Transport, owners: Owners) -> None:
    entry = Entry(subjects.owners(owners.platform, owners.bot_id), OWNERS.encode(owners), rollup=True)
    assert isinstance(await transport.append([entry], timeout=5.0), Ok)


@pytest.fixture(params=["fake", "bus", "real"])
async def disk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Disk]:
    disk: Disk
    if request.param == "fake":
        disk = FakeDisk()
    elif request.param == "bus":
        disk = BusDisk()
    else:
        real = RealDisk(tmp_path)
        assert await real.server.start() == Ok(None)
        disk = real
    yield disk
    await disk.close()


async def reign(disk: Disk) -> OwnedLog:
    log = await disk.open()
    await log.create()
    await log.take_over(0.0)
    return log


def received(id: str, key: RoutingKey = HERE, *, compacted: int = 0, text: str = "hello") -> TurnReceived:
    address = Address(platform=key.platform, bot_id=key.bot_id, scope_id=key.scope_id)
    return TurnReceived(
        id=record_id(id, "received"),
        turn=id,
        at=0.0,
        compacted=compacted,
        message=InboundMessage(message_id=id, user_id="ann", text=text, address=address),
        trust="public",
    )


def answered(id: str, *, compacted: int = 0) -> TurnAnswered:
    return TurnAnswered(
        id=record_id(id, "answered"), turn=id, at=0.0, compacted=compacted, text="Fine.", outcome="complete"
    )


def compacted(id: str, *, compacted: int = 0) -> Compacted:
    return Compacted(id=id, turn=id, at=0.0, compacted=compacted, history=(), forgotten=0, seen=(), tally=Tally())


async def test_what_was_appended_is_the_history_in_its_order(disk: Disk) -> None:
    log = await reign(disk)

    stored = [*await log.append(HERE, [received("a"), answered("a")]), *await log.append(HERE, [received("b")])]

    assert list(await log.history(HERE)) == stored
    assert [one.record.id for one in stored] == ["a.received", "a.answered", "b.received"]
    assert [one.sequence for one in stored] == sorted({one.sequence for one in stored})


async def test_a_scope_sees_nothing_of_another(disk: Disk) -> None:
    log = await reign(disk)
    await log.append(HERE, [received("a")])
    await log.append(OTHER, [received("b", OTHER)])

    assert [one.record.turn for one in await log.history(OTHER)] == ["b"]
    assert await log.history(THERE) == ()
    assert set(await log.scopes("paper", "desk")) == {HERE}


async def test_appends_asked_for_together_are_all_stored_and_known_in_that_order(disk: Disk) -> None:
    log = await reign(disk)
    known: list[str] = []

    async def append(id: str, key: RoutingKey) -> Logged:
        (logged,) = await log.append(key, [received(id, key)])
        known.append(id)
        return logged

    stored = await asyncio.gather(*(append(f"{number}", HERE if number % 3 else THERE) for number in range(300)))

    assert [one.sequence for one in stored] == sorted({one.sequence for one in stored})
    here = [one for number, one in enumerate(stored) if number % 3]
    assert list(await log.history(HERE)) == here
    assert known == [f"{number}" for number in range(300)]


async def test_a_history_begins_at_the_last_compaction(disk: Disk) -> None:
    log = await reign(disk)
    await log.append(HERE, [received("a"), answered("a")])
    (view,) = await log.append(HERE, [compacted("c")])
    assert [one.record.id for one in await log.history(HERE)] == ["c"]

    await log.append(HERE, [received("b", compacted=view.sequence)])

    assert [one.record.id for one in await log.history(HERE)] == ["c", "b.received"]


async def test_a_history_begins_where_all_was_forgotten(disk: Disk) -> None:
    log = await reign(disk)
    (*_, before) = await log.append(HERE, [received("a"), answered("a")])
    record = Forgotten(
        id="f", turn="f", at=0.0, compacted=0, by="ann", files=0, seen=(), tally=Tally(received=1, answered=1)
    )
    (emptied,) = await log.append(HERE, [record])
    alone = await log.history(HERE)
    (later,) = await log.append(HERE, [received("b", compacted=emptied.sequence)])

    assert before.sequence < emptied.sequence
    assert alone == (emptied,)
    assert await log.history(HERE) == (emptied, later)


async def test_the_past_goes_up_to_a_record_and_tells_nothing_that_was_forgotten_since(disk: Disk) -> None:
    log = await reign(disk)
    (a, b) = await log.append(HERE, [received("a"), answered("a")])
    (view,) = await log.append(HERE, [compacted("c")])
    assert await log.past(HERE, b.sequence) == (a, b)
    assert await log.past(HERE, view.sequence) == (a, b, view)
    assert await log.past(THERE, view.sequence) == ()

    record = Forgotten(id="f", turn="f", at=0.0, compacted=view.sequence, by="ann", files=0, seen=(), tally=Tally())
    (emptied,) = await log.append(HERE, [record])

    assert await log.past(HERE, b.sequence) == ()
    assert await log.past(HERE, emptied.sequence) == (emptied,)


async def test_a_history_longer_than_a_page_is_whole(disk: Disk) -> None:
    log = await reign(disk)
    for start in range(0, 1_200, 100):
        await log.append(HERE, [received(f"{number}") for number in range(start, start + 100)])

    history = await log.history(HERE)

    assert [one.record.turn for one in history] == [f"{number}" for number in range(1_200)]


async def test_since_gives_every_scope_from_a_sequence_on(disk: Disk) -> None:
    log = await reign(disk)
    await log.append(HERE, [received("a")])
    (b,) = await log.append(THERE, [received("b", THERE)])
    (c,) = await log.append(HERE, [received("c")])

    assert await all_of(log.since(b.sequence)) == ((THERE, b), (HERE, c))


async def test_however_much_there_is_since_then_all_else_goes_on_while_it_is_read(disk: Disk) -> None:
    log = await reign(disk)
    names = [f"{number}" for number in range(2 * PAGE + 300)]
    for start in range(0, len(names), 100):
        await log.append(HERE, [received(name) for name in names[start : start + 100]])
    breaths, read = Breaths(), list[str]()

    async for _, logged in log.since(1):
        breaths.note()
        read.append(logged.record.turn)
    await breaths.close()

    assert read == names
    assert breaths.most <= PAGE


async def test_an_epoch_rises_with_every_reign(disk: Disk) -> None:
    first, second = await reign(disk), await reign(disk)

    assert all(second.epoch(part) > first.epoch(part) for part in range(64))
    assert len({second.epoch(part) for part in range(64)}) == 64


async def test_whoever_was_followed_is_fenced_on_every_scope(disk: Disk) -> None:
    first, second = await reign(disk), await reign(disk)
    await second.append(HERE, [received("a")])

    for key in (THERE, HERE):
        with pytest.raises(Fenced):
            await first.append(key, [received("zombie", key)])
    with pytest.raises(Fenced):
        await first.move_mark(7, {})

    assert await second.history(THERE) == ()
    assert await second.mark() == 1


async def test_a_fenced_log_fails_all_that_was_asked_for_at_once(disk: Disk) -> None:
    first = await reign(disk)
    await reign(disk)

    results = await asyncio.gather(
        *(first.append(HERE, [received(f"{number}")]) for number in range(20)), return_exceptions=True
    )

    assert all(isinstance(result, Fenced) for result in results)


async def test_the_mark_is_kept_for_the_next_reign(disk: Disk) -> None:
    first = await reign(disk)
    assert await first.mark() == 1
    await first.move_mark(7, {})
    await first.move_mark(9, {})

    assert await (await reign(disk)).mark() == 9


def balance(spent: str, who: str = "") -> Balance:
    return Balance(budget="daily", who=who, window="2026-01-01", spent=Decimal(spent))


async def test_what_was_spent_is_kept_for_the_next_reign_with_the_mark(disk: Disk) -> None:
    first = await reign(disk)
    assert await first.spent() == {}
    assert await first.move_mark(7, {3: (balance("0.1"),), 5: (balance("0.25", "ann"), balance("1", "ben"))})
    assert await first.move_mark(9, {3: (balance("0.3"),)})
    assert await first.move_mark(11, {})

    second = await reign(disk)

    assert await second.mark() == 11
    assert await second.spent() == {3: (9, (balance("0.3"),)), 5: (7, (balance("0.25", "ann"), balance("1", "ben")))}


async def test_all_shards_are_written_at_once_and_no_scope_sees_any(disk: Disk) -> None:
    log = await reign(disk)
    every = {shard: tuple(balance("0.000000000000000001", f"{n}") for n in range(20)) for shard in range(SHARDS)}
    (a,) = await log.append(HERE, [received("a")])

    assert await log.move_mark(a.sequence, every)

    assert await log.spent() == {shard: (a.sequence, balances) for shard, balances in every.items()}
    assert await all_of(log.since(a.sequence)) == ((HERE, a),)
    assert await log.scopes("paper", "desk") == (HERE,)


async def test_whoever_was_followed_writes_no_balance(disk: Disk) -> None:
    first, second = await reign(disk), await reign(disk)

    with pytest.raises(Fenced):
        await first.move_mark(7, {3: (balance("0.1"),)})

    assert await second.spent() == {}
    assert await second.mark() == 1


@pytest.mark.parametrize("disk", ["fake", "bus"], indirect=True)
async def test_a_mark_that_finds_no_room_is_unheard_and_moves_nothing(disk: Disk) -> None:
    log = await reign(disk)
    full = disk.stream if isinstance(disk, FakeDisk) else disk.bus if isinstance(disk, BusDisk) else None
    assert full is not None
    full.is_full = True

    assert not await log.move_mark(7, {3: (balance("0.1"),)})

    full.is_full = False
    assert (await log.mark(), await log.spent()) == (1, {})


def owners(platform: str, bot_id: str, *user_ids: str) -> Owners:
    named = tuple(Owner(user_id=user_id, code=user_id[0] * 64, at=1.0) for user_id in user_ids)
    return Owners(platform=platform, bot_id=bot_id, owners=named)


def granted(id: str, *, bot: str = HERE.bot) -> Act:
    return Granted(id=id, at=1.0, by="paper:ann", to="paper:ben", bot=bot, level="trusted")


async def test_owners_of_before_there_were_acts_are_told_apart_though_their_bots_names_run_together(disk: Disk) -> None:
    log = await reign(disk)
    assert await log.owners() == {}

    for one in (owners("paper-a", "b", "ann", "ben"), owners("paper", "a-b", "cid")):
        await disk.put_owners(one)

    assert {bot: [owner.user_id for owner in found] for bot, found in (await log.owners()).items()} == {
        ("paper-a", "b"): ["ann", "ben"],
        ("paper", "a-b"): ["cid"],
    }
    assert (await all_of(log.since(1)), await log.scopes("paper", "a-b")) == ((), ())


async def test_acts_are_kept_in_their_order_for_the_next_reign_and_no_scope_sees_them(disk: Disk) -> None:
    first = await reign(disk)
    assert await first.acts() == ()
    wanted = (granted("a"), Blocked(id="b", at=2.0, by="paper:ann", who="paper:eve", bot=HERE.bot), granted("c"))

    through = 0
    for act in wanted:
        assert await first.note_act(act, through)
        ((through, _),) = await first.acts(through)
    second = await reign(disk)
    assert await second.note_act(granted("d", bot=OTHER.bot), through)

    assert [act for _, act in await second.acts()] == [*wanted, granted("d", bot=OTHER.bot)]
    assert await all_of(second.since(1)) == ()
    assert await second.scopes("paper", "desk") == ()


def lease(instance: str, bot_id: str = "desk") -> LeaseGiven:
    return LeaseGiven(platform="paper", bot_id=bot_id, instance=instance, inbox="_INBOX_paper-desk.hub.c.1", at=1.0)


async def test_the_last_lease_of_each_bot_is_kept_for_the_next_reign_and_each_has_a_greater_generation(
    disk: Disk,
) -> None:
    first = await reign(disk)
    assert await first.lease("paper", "desk") is None

    earlier = await first.note_lease(lease("a"))
    other = await first.note_lease(lease("b", "other"))
    second = await reign(disk)
    later = await second.note_lease(lease("c"))

    assert earlier < other < later
    assert await second.lease("paper", "desk") == (later, lease("c"))
    assert await second.lease("paper", "other") == (other, lease("b", "other"))
    assert await all_of(second.since(1)) == ()


async def test_whoever_was_followed_gives_no_lease(disk: Disk) -> None:
    first, second = await reign(disk), await reign(disk)

    with pytest.raises(Fenced):
        await first.note_lease(lease("a"))

    assert await second.lease("paper", "desk") is None


async def test_whoever_was_followed_lets_nobody_in(disk: Disk) -> None:
    first, second = await reign(disk), await reign(disk)

    with pytest.raises(Fenced):
        await first.note_act(granted("a"), 0)

    assert await second.acts() == ()


async def test_what_does_not_know_of_the_last_act_is_not_done(disk: Disk) -> None:
    log = await reign(disk)
    assert await log.note_act(granted("a"), 0)

    assert not await log.note_act(granted("b"), 0)

    assert [act.id for _, act in await log.acts()] == ["a"]


@pytest.mark.parametrize("disk", ["fake", "bus"], indirect=True)
async def test_an_act_for_which_there_is_no_room_is_not_done(disk: Disk) -> None:
    log = await reign(disk)
    full = disk.stream if isinstance(disk, FakeDisk) else disk.bus if isinstance(disk, BusDisk) else None
    assert full is not None
    full.is_full = True

    with pytest.raises(Full):
        await log.note_act(granted("a"), 0)

    full.is_full = False
    assert await log.acts() == ()


async def test_the_highest_sequence_is_known(disk: Disk) -> None:
    log = await reign(disk)
    (logged,) = await log.append(HERE, [received("a")])

    assert log.sequence == logged.sequence


async def test_what_nobody_could_read_afterwards_is_not_stored(disk: Disk) -> None:
    log = await reign(disk)
    stored = await log.append(HERE, [received("a"), answered("a")])
    view = compacted("c").model_copy(update={"seen": tuple(f"{number:0255}" for number in range(3_600))})

    with pytest.raises(Unwritable):
        await log.append(HERE, [view])
    with pytest.raises(Unwritable):
        await log.append(HERE, [received("b"), view])

    assert await log.history(HERE) == stored
    assert await log.append(HERE, [received("b")])


@pytest.mark.parametrize("disk", ["fake", "bus"], indirect=True)
async def test_a_full_log_refuses_and_takes_again_when_there_is_room(disk: Disk) -> None:
    log = await reign(disk)
    full = disk.stream if isinstance(disk, FakeDisk) else disk.bus if isinstance(disk, BusDisk) else None
    assert full is not None
    full.is_full = True
    with pytest.raises(Full):
        await log.append(HERE, [received("a")])

    full.is_full = False
    await log.append(HERE, [received("b")])

    assert [one.record.turn for one in await log.history(HERE)] == ["b"]


async def test_a_log_without_room_on_a_real_disk_refuses(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.server = EmbeddedServer(tmp_path, max_file_bytes=1 << 20)
    assert await disk.server.start() == Ok(None)
    try:
        log = await reign(disk)
        with pytest.raises(Full):
            for number in range(200):
                await log.append(HERE, [received(f"{number}", text="x" * 50_000)])
    finally:
        await disk.close()
