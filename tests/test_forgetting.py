"""A conversation that is forgotten is gone from every file of the home, and nothing else is, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import operator
import os
import signal
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from adapters.spoke import Reply, Spoke
from factory_cli import config, log, membership
from factory_cli.home import Home
from factory_contracts import subjects
from factory_contracts.messages import Address, AlreadyAccepted, Attachment, InboundMessage, Refused, Said
from factory_contracts.records import MARK, RECORD, Forgotten, Record, Tally
from factory_nats.connect import connect
from factory_nats.result import Ok
from factory_nats.transport import Stored, Transport
from hub.kernel.session import FORGET, FORGET_ALL, Session
from tests.cli.conftest import factory as factory
from tests.cli.installation import Factory
from tests.fakes import eventually
from tests.nursery import Child
from tests.reign import BOT as DESK
from tests.reign import PLATFORM as TOWN
from tests.test_walk import Town

PLATFORM, BOT = "crowd", "main"
HERE, THERE = "here", "there"
# Not ASCII, so that it is written in other ways in some places than in others.
SECRET = "Kanarienvögel"
END = b"the end of what both conversations were sent"
SHARED = bytes(500_000) + END
WITHIN = 60.0
SCRIPT = """
[[reply]]
match = "remember (.+)"
steps = [{ call = "remember", arguments = { text = "{1}" } }, { say = "{tool}" }]

[[reply]]
match = "recall"
steps = [{ call = "recall", arguments = {} }, { say = "I found: {tool}" }]

[[reply]]
match = "draw (.+)"
steps = [
    { call = "write_file", arguments = { path = "{1}.txt", content = "drawn: {1}" } },
    { call = "send_file", arguments = { path = "{1}.txt" } },
    { call = "delete_file", arguments = { path = "{1}.txt" } },
    { say = "There it is, {1}." },
]

[[reply]]
match = "name"
steps = [{ say = "I was shown {messages} messages." }]

[[reply]]
steps = [{ say = "You said: {said}" }]
"""
AGENT = """
model = "scripted:{script}"
tools = ["remember", "recall"]
memory = "agent"
allow_unpriced = true

[approvals]
write = "never"

[files]
"""
CONFIGURATION = """
[[bots]]
platform = "crowd"
bot_id = "main"
access = "public"
rate_per_minute = 1000

[[budgets]]
name = "purse"
amount = "100.00"
period = "ever"

[prices."scripted:*"]
input = "1"
output = "1"
"""


def spellings(secret: str) -> list[bytes]:
    """The secret as it may stand in a file: as it is, in JSON, in Base64 wherever it begins."""
    raw = secret.encode()
    coded = [b64encode(bytes(shift) + raw)[4 if shift else 0 :].rstrip(b"=")[:-4] for shift in range(3)]
    return [raw, json.dumps(secret).strip('"').encode(), *coded]


def holding(home: Path, needle: bytes) -> list[str]:
    """The files that hold these bytes, and how often."""
    found = []
    for folder, _, names in os.walk(home):
        for path in (Path(folder, name) for name in names):
            # A server's files come and go.
            with suppress(FileNotFoundError):
                count = path.read_bytes().count(needle) if path.is_file() else 0
                found += [f"{path.relative_to(home)}: {count}"] if count else []
    return sorted(found)


def telling(home: Path) -> list[str]:
    """The files that tell the secret, in any spelling."""
    return [place for spelling in spellings(SECRET) for place in holding(home, spelling)]


def where(places: list[str]) -> set[str]:
    """What lies in the home and is meant by these."""
    return {place.partition(":")[0].partition("/")[0] for place in places}


@dataclass
class Crowd:
    """A screen that keeps the end of every turn."""

    finals: dict[str, Reply] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, reply: Reply) -> str:
        return f"b-{reply.turn}"

    async def edit(self, message_id: str, reply: Reply) -> None:
        if reply.is_final:
            self.finals[reply.turn] = reply
            self.changed.set()

    async def said(self, said: Said) -> None:
        raise AssertionError("nobody else speaks here")


class Table:
    """One spoke, joined to a system that runs."""

    def __init__(self, spoke: Spoke, crowd: Crowd, numbers: list[int]) -> None:
        self.spoke = spoke
        self._crowd = crowd
        self._numbers = numbers

    def message(
        self, text: str, scope: str = HERE, *files: Attachment, id: str | None = None, quoted: str | None = None
    ) -> InboundMessage:
        self._numbers.append(len(self._numbers))
        return InboundMessage(
            message_id=id or f"m{self._numbers[-1]}",
            user_id="ann",
            user_name="Ann",
            text=text,
            quoted=quoted,
            attachments=files,
            address=Address(platform=PLATFORM, bot_id=BOT, scope_id=scope, pace_ms=50),
        )

    async def ask(self, message: InboundMessage) -> Reply:
        """Say something; the whole answer."""
        accepted = await self.spoke.submit(message)
        # A spoke that had to ask again, for the hub was slow, is told that it has it already.
        assert not isinstance(accepted, Refused), accepted
        async with asyncio.timeout(30):
            while accepted.turn not in self._crowd.finals:
                self._crowd.changed.clear()
                await self._crowd.changed.wait()
        return self._crowd.finals[accepted.turn]

    async def keep(self, scope: str, name: str, data: bytes) -> Attachment:
        kept = await self.spoke.keep(scope, "document", name, "text/plain", data)
        assert kept is not None
        return kept


@asynccontextmanager
async def at_table(home: Path, numbers: list[int]) -> AsyncIterator[Table]:
    where = Home(home)
    url = json.loads((where.run / "state.json").read_text())["url"]
    name = f"{PLATFORM}-{BOT}"
    identity = membership.identity(where, config.load(where.configuration), name)
    joined = await connect(url, identity, patience=20)
    assert isinstance(joined, Ok)
    crowd = Crowd()
    spoke = Spoke(joined.value, PLATFORM, BOT, crowd, notes=where.spokes / f"{name}.notes")
    await spoke.start()
    try:
        yield Table(spoke, crowd, numbers)
    finally:
        await spoke.close()
        await joined.value.close()


async def scope_of(home: Path, scope: str) -> list[Record]:
    """What stands on the scope's log."""
    where = Home(home)
    url = json.loads((where.run / "state.json").read_text())["url"]
    async with log.bus(where, url) as transport:
        subject = subjects.turns(PLATFORM, BOT, scope)
        return [record async for _, _, record in log.records(transport, subject)]


async def until_gone(home: Path) -> None:
    """Wait until no file tells the secret; fails after a minute with those that do."""
    await eventually(lambda: asyncio.to_thread(telling, home), operator.not_, seconds=WITHIN)


def installed(factory: Factory) -> None:
    """A home in which an agent remembers, keeps files and costs money."""
    script = factory.folder / "script.toml"
    script.write_text(SCRIPT)
    seeds = factory.home / "agents"
    seeds.mkdir(parents=True)
    factory.home.chmod(0o700)
    (seeds / "keeper.toml").write_text(AGENT.format(script=script))
    (factory.home / "factory.toml").write_text(CONFIGURATION)


@pytest.mark.timeout(240)
async def test_a_forgotten_conversation_is_gone_from_every_file_and_others_are_not(factory: Factory) -> None:
    installed(factory)
    await asyncio.to_thread(factory.up)
    home, numbers = factory.home, list[int]()
    async with at_table(home, numbers) as table:
        shared_there = await table.keep(THERE, "shared.txt", SHARED)
        await table.ask(table.message("keep this", THERE, shared_there))
        await table.ask(table.message("remember the harbour", THERE))
        shared_here = await table.keep(HERE, "shared.txt", SHARED)
        private = await table.keep(HERE, f"{SECRET}.txt", f"{SECRET} ".encode() * 30_000)
        unsaid = await table.keep(HERE, "unsaid.txt", f"{SECRET} put and never said".encode())
        first = table.message(f"hello {SECRET}", HERE, shared_here, private, quoted=f"{SECRET} quoted")
        await table.ask(first)
        await table.ask(table.message(f"remember {SECRET}"))
        await table.ask(table.message(f"remember {SECRET} of the harbour"))
        drawn = await table.ask(table.message(f"draw {SECRET}"))
        await table.ask(table.message("/compact"))
        asked = await table.ask(table.message(FORGET))
        before = telling(home)

        told = await table.ask(table.message(FORGET_ALL))
        spent = await asyncio.to_thread(budget, factory)
        await until_gone(home)

        # Records go a few at a time, and those that tell nothing may be the last.
        (record,) = await eventually(partial(scope_of, home, HERE), lambda left: len(left) == 1, seconds=WITHIN)
        files = [await table.spoke.read(one) for one in (shared_here, private, unsaid, *drawn.attachments)]
        kept = await table.spoke.read(shared_there)
    copies = holding(home, END)

    assert where(before) == {"nats", "work"}
    assert asked.choices == (FORGET_ALL,)
    assert "being removed" in told.text
    assert isinstance(record, Forgotten)
    assert (files, kept) == ([None] * 4, SHARED)
    assert [copy.rpartition(" ")[2] for copy in copies] == ["1"]

    # All of it is ended and begun again.
    await asyncio.to_thread(factory.end)
    await asyncio.to_thread(factory.up)
    async with at_table(home, numbers) as table:
        again = await table.spoke.submit(first)
        spent_after = await asyncio.to_thread(budget, factory)
        recalled = [(await table.ask(table.message("recall", scope))).text for scope in (HERE, THERE)]
        asked_again = await table.ask(table.message("what is my name?"))
        session = Session(PLATFORM, BOT, HERE)
        for number, one in enumerate(await scope_of(home, HERE), 1):
            session.apply(number, one)

    assert isinstance(again, AlreadyAccepted)
    assert spent_after == spent > 0
    assert all("harbour" in text and SECRET not in text for text in recalled)
    assert "shown 3 messages" in asked_again.text
    tally = session.tally
    assert tally.received == tally.answered + tally.refused + tally.superseded == 9
    assert telling(home) == []
    (listed,) = json.loads(
        factory.run("turns", "ls", "--scope", f"{PLATFORM}:{BOT}:{HERE}", "-n", "3", "--json").stdout
    )[:1]
    assert (listed["turn"], listed["state"]) == (record.turn, "forgotten")


def budget(factory: Factory) -> Decimal:
    """What all together have spent."""
    (purse,) = json.loads(factory.run("usage", "--json").stdout)["budgets"]
    return Decimal(purse["spent"])


@pytest.mark.timeout(120)
def test_what_a_terminal_keeps_goes_too_though_it_leaves_at_once(factory: Factory) -> None:
    installed(factory)
    factory.up()
    file = factory.folder / "a.txt"
    file.write_text(f"{SECRET} in a file")

    def chat(text: str, session: str, *more: str) -> str:
        done = factory.run("chat", "--session", session, "-p", text, *more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    chat("hello", THERE)
    chat(f"hello {SECRET}", HERE, "--file", str(file))
    chat(f"draw {SECRET}", HERE)
    before = telling(factory.home)
    told = chat(FORGET_ALL, HERE)

    asyncio.run(until_gone(factory.home))

    assert where(before) == {"nats", "files", "sessions.jsonl"}
    assert "being removed" in told
    assert not (factory.home / "files" / HERE).exists()
    assert "shown 1 messages" in chat("what is my name?", HERE)
    assert "shown 3 messages" in chat("what is my name?", THERE)


# A hub dies


POINTS = ("appended 6", "forget-answered", "forgotten-unerased", "files erased", "erasing", "log erased")


async def reigning(town: Town, spoke: Spoke, *options: str) -> Child:
    """A hub that has taken over."""
    epoch = (await spoke.hello("chat")).epoch
    hub = town.hub_process(*options)
    await eventually(lambda: spoke.hello("chat"), lambda welcome: welcome.epoch > epoch)
    return hub


async def stands(reader: Transport, scope: str) -> list[Stored]:
    """What lies on a scope's log."""
    found = await reader.read(subjects.STREAM, subjects.turns(TOWN, DESK, scope))
    assert isinstance(found, Ok)
    return list(found.value)


async def mark(reader: Transport) -> int:
    """From where the next hub reads."""
    found = await reader.last(subjects.STREAM, subjects.mark(0))
    assert isinstance(found, Ok)
    return MARK.decode(found.value.data).sequence if found.value is not None else 0


@pytest.mark.timeout(240)
async def test_whenever_a_hub_is_killed_the_next_one_finishes_within_a_minute(tmp_path: Path) -> None:
    # Each of them mostly waits.
    async with asyncio.TaskGroup() as group:
        for point in POINTS:
            group.create_task(_finishes(point, tmp_path / point))


async def _finishes(point: str, folder: Path) -> None:
    """In a town of its own a hub is killed at this point of forgetting, and another one comes."""
    folder.mkdir()
    async with Town(folder) as town:
        town.hub_process()
        await town.worker()
        spoke = await town.spoke()
        reader = await town.join("reader")
        dying = await reigning(town, spoke, "--die-at", point)
        kept = await spoke.keep(point, "document", "a.txt", "text/plain", f"{SECRET} ".encode() * 20_000)
        assert kept is not None
        said = town.message(f"hello {SECRET}", point).model_copy(update={"attachments": (kept,)})
        for message in (said, *(town.message(f"{SECRET} {number}", point) for number in range(4))):
            turn = await town.submitted(spoke, message)
        await town.answered(turn)
        assert telling(town.server.directory)

        parting = asyncio.create_task(town.say(spoke, FORGET_ALL, point))
        assert await asyncio.to_thread(dying.wait, WITHIN) == -signal.SIGKILL
        town.hub_process()
        await parting
        await until_gone(town.server.directory)
        (alone,) = await eventually(partial(stands, reader, point), lambda found: len(found) == 1)

        assert isinstance(await spoke.submit(said), AlreadyAccepted), point
        await town.answered(await town.say(spoke, "who am I?", point))
        record = RECORD.decode(alone.data)
        assert isinstance(record, Forgotten)
        assert record.tally == Tally(received=6, answered=6)
        assert await spoke.read(kept) is None
        # What a hub did not finish for certain is done again by the next, which would die of it at once.
        await eventually(partial(mark, reader), partial(int.__lt__, alone.sequence))
