"""What was said, taken off the disk of a real server by the one identity that may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from adapters.nats.eraser import Join, NatsEraser, as_eraser
from adapters.nats.log import CONFIG, JetStreamLog
from factory_contracts import subjects
from factory_contracts.messages import Address, Attachment, InboundMessage
from factory_contracts.records import Record, ToolDone, TurnReceived
from factory_nats import blobs
from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.result import Err, Ok
from factory_nats.server import EmbeddedServer, User
from factory_nats.transport import Entry, StreamConfig, Transport
from hub.kernel.routing import RoutingKey
from tests.fakes import eventually

PLATFORM, BOT = "paper", "desk"
STORE = subjects.blobs(PLATFORM, BOT)
HERE, THERE = (RoutingKey(PLATFORM, BOT, scope) for scope in ("here", "there"))
SECRET = b"canary of the mine"
MEMBERS = {
    subjects.HUB: subjects.hub_store_permissions(STORE, "old"),
    subjects.ERASER: subjects.eraser_permissions(STORE),
    "paper-desk": subjects.store_permissions(STORE, "old"),
}


@dataclass
class Ground:
    """A server with everybody's rights as in the product, a log and a store."""

    folder: Path
    server: EmbeddedServer
    hub: Transport
    spoke: Transport
    log: JetStreamLog
    join: Join
    eraser: NatsEraser
    points: list[str]

    def holds(self, needle: bytes) -> list[str]:
        """The files that hold these bytes."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [path.name for path in files if needle in path.read_bytes()]

    async def keep(self, key: RoutingKey, data: bytes, *, is_old: bool = False) -> Attachment:
        folder = "" if is_old else subjects.folder(key.scope_id)
        kept = await blobs.put(self.spoke, STORE, data, folder=folder)
        assert isinstance(kept, Ok)
        return Attachment(kind="document", name="a", mime="text/plain", size=len(data), blob=kept.value)

    async def read(self, attachment: Attachment) -> bytes | None:
        found = await blobs.get(self.spoke, STORE, attachment.blob)
        assert isinstance(found, Ok)
        return found.value

    async def below(self, key: RoutingKey) -> int:
        """A sequence after all that stands there."""
        (last,) = await self.log.append(key, [received(key, "the end")])
        return last.sequence

    async def kinds(self, key: RoutingKey) -> list[str]:
        return [one.record.kind for one in await self.log.history(key)]


def received(key: RoutingKey, text: str, *attachments: Attachment, turn: str = "t") -> TurnReceived:
    message = InboundMessage(
        message_id=turn,
        user_id="ann",
        text=text,
        attachments=attachments,
        address=Address(platform=key.platform, bot_id=key.bot_id, scope_id=key.scope_id),
    )
    return TurnReceived(id=f"{turn}.received", turn=turn, at=0.0, message=message, trust="public")


def made(*attachments: Attachment) -> ToolDone:
    return ToolDone(id="d", turn="t", at=0.0, attempt=1, call="c", outcome="ok", attachments=attachments)


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground_on(tmp_path, is_old=False) as ground:
        yield ground


@asynccontextmanager
async def ground_on(tmp_path: Path, *, is_old: bool) -> AsyncIterator[Ground]:
    """A ground, as it is made today or as an earlier version made it."""
    seeds = {name: generate_seed() for name in MEMBERS}
    users = [
        User(name, public_key(seeds[name]), may.publish, may.subscribe, may.place) for name, may in MEMBERS.items()
    ]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer(tmp_path / "nats", users=users))

        async def join(name: str) -> Transport:
            joined = await connect(server.url, Identity(name, seeds[name]))
            assert isinstance(joined, Ok)
            stack.push_async_callback(joined.value.close)
            return joined.value

        hub, spoke = await join(subjects.HUB), await join("paper-desk")
        points: list[str] = []
        identity = Identity(subjects.ERASER, seeds[subjects.ERASER])
        as_nobody_else = as_eraser(server.url, identity)
        eraser = NatsEraser(hub, as_nobody_else, at=points.append)
        log = JetStreamLog(hub, "hub")
        for config in (CONFIG, blobs.config(STORE)):
            assert await hub.ensure_stream(replace(config, deny_delete=is_old)) == Ok(None)
        await log.take_over(0.0)
        yield Ground(tmp_path / "nats", server, hub, spoke, log, as_nobody_else, eraser, points)


async def test_of_a_scope_that_is_erased_no_byte_is_left_and_others_are_whole(ground: Ground) -> None:
    for key in (HERE, THERE):
        words: list[Record] = [received(key, f"{SECRET.decode()} of {key.scope_id} {at}") for at in range(40)]
        await ground.log.append(key, words)
    file = await ground.keep(HERE, SECRET * 40_000)
    await ground.log.append(HERE, [received(HERE, "look", file)])
    below = await ground.below(HERE)
    other, mine = f"{SECRET.decode()} of there".encode(), f"{SECRET.decode()} of here".encode()

    await ground.eraser.erase(HERE, below, await ground.eraser.reach(HERE))

    assert ground.holds(mine) == ground.holds(SECRET * 2) == []
    assert ground.holds(other)
    assert await ground.read(file) is None
    assert await ground.kinds(HERE) == ["received"]
    assert len(await ground.kinds(THERE)) == 40
    assert ground.points == ["files erased", *["erasing"] * 3, "log erased"]


async def test_erased_is_erased_though_the_server_is_killed_right_after(ground: Ground) -> None:
    await ground.log.append(HERE, [received(HERE, SECRET.decode()) for _ in range(3)])
    below = await ground.below(HERE)
    await ground.eraser.erase(HERE, below, 0)

    await ground.server.stop()
    assert ground.holds(SECRET) == []
    assert isinstance(await ground.server.start(), Ok)
    history = await eventually(lambda: ground.log.history(HERE), bool)

    assert [one.sequence for one in history] == [below]
    assert ground.holds(SECRET) == []


async def test_what_other_scopes_show_is_spared_whoever_it_came_from(ground: Ground) -> None:
    mine, copied = await ground.keep(HERE, b"mine"), await ground.keep(HERE, b"copied")
    old, old_and_shared = await ground.keep(HERE, b"old", is_old=True), await ground.keep(HERE, b"both", is_old=True)
    tools, theirs = await ground.keep(HERE, b"made by a tool"), await ground.keep(THERE, b"theirs")
    await ground.log.append(HERE, [received(HERE, "a", mine, copied, old, old_and_shared), made(tools)])
    await ground.log.append(THERE, [received(THERE, "b", copied, old_and_shared, theirs)])
    below = await ground.below(HERE)

    await ground.eraser.erase(HERE, below, await ground.eraser.reach(HERE))

    assert [await ground.read(one) for one in (mine, old, tools)] == [None] * 3
    assert [await ground.read(one) for one in (copied, old_and_shared, theirs)] == [b"copied", b"both", b"theirs"]

    # With the last that showed it, it goes too.
    await ground.eraser.erase(THERE, await ground.below(THERE), await ground.eraser.reach(THERE))

    assert [await ground.read(one) for one in (copied, old_and_shared, theirs)] == [None] * 3


async def test_what_only_speaks_of_a_file_does_not_keep_it(ground: Ground) -> None:
    file = await ground.keep(HERE, b"mine")
    await ground.log.append(HERE, [received(HERE, "a", file)])
    await ground.log.append(THERE, [received(THERE, f'{{"blob":"{file.blob}"}}')])

    await ground.eraser.erase(HERE, await ground.below(HERE), await ground.eraser.reach(HERE))

    assert await ground.read(file) is None


async def test_a_file_that_was_put_and_never_said_goes_and_one_that_came_later_stays(ground: Ground) -> None:
    unsaid = await ground.keep(HERE, b"put and never said")
    reach = await ground.eraser.reach(HERE)
    later = await ground.keep(HERE, b"for what comes next")

    await ground.eraser.erase(HERE, await ground.below(HERE), reach)

    assert [await ground.read(one) for one in (unsaid, later)] == [None, b"for what comes next"]


async def test_erasing_again_changes_nothing(ground: Ground) -> None:
    await ground.log.append(HERE, [received(HERE, "a", await ground.keep(HERE, b"mine"))])
    below, reach = await ground.below(HERE), await ground.eraser.reach(HERE)

    for _ in range(2):
        await ground.eraser.erase(HERE, below, reach)

    assert await ground.kinds(HERE) == ["received"]


async def test_what_an_earlier_version_made_is_opened_up_and_holds_what_it_held(tmp_path: Path) -> None:
    async with ground_on(tmp_path, is_old=True) as ground:
        for key in (HERE, THERE):
            await ground.log.append(key, [received(key, SECRET.decode()) for _ in range(20)])
        file = await ground.keep(HERE, SECRET, is_old=True)
        await ground.log.append(HERE, [received(HERE, "look", file)])

        await ground.eraser.open_up((CONFIG, blobs.config(STORE)))

        assert await ground.read(file) == SECRET
        # The reign goes on, for its epoch is where it was.
        below = await ground.below(HERE)
        assert len(await ground.kinds(HERE)) == 22
        await ground.eraser.erase(HERE, below, await ground.eraser.reach(HERE))
        assert await ground.kinds(HERE) == ["received"]
        await ground.eraser.erase(THERE, await ground.below(THERE), 0)
        assert ground.holds(SECRET) == []


async def test_where_nobody_may_open_it_up_a_log_stays_as_it_is(ground: Ground) -> None:
    old = StreamConfig("OBJ_old", ("$O.old.C.>",), deny_delete=True)
    assert await ground.hub.ensure_stream(old) == Ok(None)
    await ground.spoke.append([Entry("$O.old.C.a", SECRET)])

    await ground.eraser.open_up((CONFIG, replace(old, deny_delete=False)))

    assert ground.holds(SECRET)
    assert isinstance(await ground.spoke.append([Entry("$O.old.C.a", b"more")]), Ok)


async def test_the_eraser_may_do_nothing_but_erase_where_it_is_named(ground: Ground) -> None:
    joined = await ground.join()
    assert isinstance(joined, Ok)
    eraser = joined.value

    outcomes = [
        await eraser.last(subjects.STREAM, HERE.subject),
        await eraser.append([Entry(HERE.subject, b"forged")]),
        await eraser.erase("OBJ_other", 1),
        await eraser.request(f"$JS.API.STREAM.PURGE.{subjects.STREAM}", b"{}", timeout=5),
        await eraser.request(f"$JS.API.CONSUMER.CREATE.{subjects.STREAM}", b"{}", timeout=5),
        await eraser.subscribe(subjects.plane("turns")[0], lambda delivery: None),
    ]
    await eraser.close()

    assert [one.reason for one in outcomes if isinstance(one, Err)] == ["forbidden"] * 6
