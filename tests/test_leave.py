"""Leave for a call, in real processes that are killed while it is asked, given, and used."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from adapters.spoke import Reply, Spoke
from factory_cli import log
from factory_cli.home import Home
from factory_cli.keys import seed_of
from factory_contracts import subjects
from factory_contracts.messages import Accepted, Address, AlreadyAccepted, InboundMessage, Said
from factory_contracts.records import Asked, Decided, Record, ToolStarted
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from tests.cli.conftest import factory as factory
from tests.cli.installation import Factory

BELL = Path(__file__).with_name("bell.py")
WORKERS = ("clipool", "clipool-2")
PATIENCE = 60.0
CONFIGURATION = """
[clipool]
workers = 2

[[bots]]
platform = "crowd"
bot_id = "main"
access = "public"
owners = ["olga"]
rate_per_minute = 1000
"""
SCRIPT = """
[[reply]]
match = "^ring (\\\\S+)$"
steps = [{ say = "I ask." }, { call = "bell_ring", arguments = { name = "{1}" } }, { say = "It says: {tool}" }]
"""


class Screen:
    """A screen on which every answer and every question is waited for."""

    def __init__(self) -> None:
        self.finals: dict[str, str] = {}
        self.questions: dict[str, str] = {}
        self.changed = asyncio.Event()

    async def send(self, reply: Reply) -> str:
        return f"b-{reply.turn}"

    async def edit(self, message_id: str, reply: Reply) -> None:
        if reply.question is not None:
            self.questions[reply.turn] = reply.question.code
        if reply.is_final:
            self.finals[reply.turn] = reply.text
        self.changed.set()

    async def said(self, said: Said) -> None:
        raise AssertionError("nobody else speaks here")


class Stack:
    """Everything that `factory up` runs, and a person before it."""

    def __init__(self, factory: Factory, spoke: Spoke, screen: Screen) -> None:
        self.notes = factory.folder / "notes"
        self.gate = factory.folder / "gate"
        self.turns: dict[str, str] = {}
        self.factory, self.spoke, self.screen = factory, spoke, screen

    async def asks(self, name: str) -> None:
        """A person has the bell rung, and the question is seen."""
        message = InboundMessage(
            message_id="m",
            user_id="ann",
            text=f"ring {name}",
            address=Address(platform="crowd", bot_id="main", scope_id=name, pace_ms=100),
        )
        accepted = await self.spoke.submit(message)
        # Whoever had to ask twice is told the second.
        assert isinstance(accepted, Accepted | AlreadyAccepted)
        self.turns[name] = accepted.turn
        await self.until(lambda: accepted.turn in self.screen.questions, f"the question of {name}")

    async def press(self, name: str, *, approved: bool) -> None:
        """The owner answers."""
        turn = self.turns[name]
        refused = await self.spoke.decide(name, turn, self.screen.questions[turn], "olga", approved=approved)
        assert refused is None

    def noted(self, line: str) -> int:
        """How often the bell noted this."""
        return self.notes.read_text().splitlines().count(line) if self.notes.exists() else 0

    def signal(self, number: signal.Signals, *names: str) -> None:
        for name in names:
            pid = self.factory.state()["children"][name]["pid"]
            with suppress(ProcessLookupError, TypeError):
                os.kill(pid, number)

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not is_so():
                    self.screen.changed.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await self.screen.changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}") from None


async def with_workers(stack: Stack) -> None:
    stack.signal(signal.SIGKILL, *WORKERS)


async def with_the_hub(stack: Stack) -> None:
    stack.signal(signal.SIGKILL, "hub")
    stack.signal(signal.SIGCONT, *WORKERS)


async def with_everything(stack: Stack) -> None:
    stack.signal(signal.SIGKILL, "hub", *WORKERS)


@pytest.mark.timeout(180)
async def test_whoever_is_killed_while_leave_is_asked_given_or_used_nothing_is_done_twice_or_without_it(
    factory: Factory,
) -> None:
    seeds = factory.home / "agents"
    seeds.mkdir(parents=True)
    factory.home.chmod(0o700)
    notes, gate, script = (factory.folder / name for name in ("notes", "gate", "script.toml"))
    command = json.dumps([sys.executable, str(BELL), str(notes), str(gate)])
    (seeds / "ringer.toml").write_text(f'model = "scripted"\n[[mcp]]\nname = "bell"\ncommand = {command}\n')
    (factory.home / "factory.toml").write_text(CONFIGURATION)
    script.write_text(SCRIPT)
    await asyncio.to_thread(factory.up, FACTORY_SCRIPT=str(script))
    where = Home(factory.home)
    url = factory.state()["url"]
    joined = await connect(url, Identity("crowd-main", seed_of(where.keys, "crowd-main")), patience=20)
    assert isinstance(joined, Ok)
    screen = Screen()
    spoke = Spoke(joined.value, "crowd", "main", screen)
    await spoke.start()
    stack = Stack(factory, spoke, screen)
    for number, kill in enumerate((with_workers, with_the_hub, with_everything)):
        await round_of(stack, str(number), kill)
    async with log.bus(where, url) as transport:
        found = [one async for _, _, one in log.records(transport, subjects.plane("scopes")[0])]
    await spoke.close()
    await joined.value.close()

    for name, turn in stack.turns.items():
        judge(stack, name, [one for one in found if one.turn == turn])
    rung = {name: stack.noted(f"rung {name}") for name in stack.turns}
    assert [rung[f"asked-{number}"] for number in range(3)] == [1] * 3
    assert [rung[f"given-{number}"] for number in range(3)] == [1] * 3
    assert [rung[f"denied-{number}"] for number in range(3)] == [0] * 3


async def round_of(stack: Stack, number: str, kill: Callable[[Stack], Awaitable[None]]) -> None:
    """Three calls, one at each point: asked, given and not begun, begun; and one that will be denied."""
    asked, given, begun, denied = (f"{what}-{number}" for what in ("asked", "given", "held", "denied"))
    stack.gate.unlink(missing_ok=True)
    await asyncio.gather(*(stack.asks(name) for name in (asked, given, begun, denied)))
    await stack.press(begun, approved=True)
    await stack.until(lambda: stack.noted(f"begun {begun}") == 1, f"the beginning of {begun}")
    stack.signal(signal.SIGSTOP, *WORKERS)
    await stack.press(given, approved=True)
    await kill(stack)
    stack.gate.touch()
    await stack.press(asked, approved=True)
    await stack.press(denied, approved=False)
    ends = [stack.turns[name] for name in (asked, given, begun, denied)]
    await stack.until(lambda: all(turn in stack.screen.finals for turn in ends), f"the answers of round {number}")


def judge(stack: Stack, name: str, records: list[Record]) -> None:
    """One question, one decision, at most one beginning after it, and at most one effect."""
    decided = [one for one in records if isinstance(one, Decided)]
    begun = {(one.attempt, one.call) for one in records if isinstance(one, ToolStarted)}
    assert len({one.code for one in records if isinstance(one, Asked)}) == 1, name
    assert {(one.user_id, one.approved) for one in decided} == {("olga", not name.startswith("denied"))}, name
    assert len(begun) <= 1, name
    for one in records:
        if isinstance(one, ToolStarted):
            assert any(before.approved for before in records[: records.index(one)] if isinstance(before, Decided)), name
    assert stack.noted(f"begun {name}") <= len(begun), name
    assert stack.noted(f"rung {name}") <= 1, name
