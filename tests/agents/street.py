"""A house with a front door for agents of others, and those who stand outside with the real SDK in their hands.

All is as in the product but the model: the server with its accounts, the hub, the worker, and the door.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from synadia_ai.agents import Agent as Theirs
from synadia_ai.agents import Agents, DiscoverFilter

from adapters.agents.door import Door
from adapters.agents.settings import AgentsSettings, BotSettings, Visitor
from adapters.models.prices import GenaiPrices
from adapters.models.scripted import Scripted, parse
from adapters.tools.choices import CHOICES
from factory_cli.config import Bot, Caller, Configuration
from factory_cli.membership import members
from factory_contracts import subjects
from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Transport
from hub.composition import HubSettings, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.ports import Media, Model, Observation
from hub.kernel.routing import Binding, Bindings
from hub.kernel.schema import equip
from tests.bus.raw import Raw
from workers.clipool.composition import joined, run
from workers.clipool.kit import Given, Kit

SCOUT = Bot(subjects.AGENTS, "scout", access="public")
CALLERS = (
    Caller("ci", ("scout",), ("main", "nightly")),
    Caller("eve", ("scout",)),
    Caller("olga", ("scout",)),
    Caller("mallory", ("scout",)),
    Caller("walt", ("scout",)),
)
SCRIPT = """
[[reply]]
match = "slowly"
steps = [{ burst = 100, text = "word ", pace_ms = 20 }]

[[reply]]
match = "ring (\\\\S+)"
steps = [{ say = "I ask. " }, { call = "ring", arguments = { name = "{1}" } }, { say = "It says: {tool}" }]

[[reply]]
match = "choose"
steps = [{ call = "choices", arguments = { options = ["tea", "coffee"] } }, { say = "Which?" }]

[[reply]]
match = "draw"
steps = [{ call = "draw", arguments = { name = "cat.txt" } }, { say = "Here it is." }]

[[reply]]
match = "break"
steps = [{ say = "So " }, { error = "the model is on fire" }]

[[reply]]
steps = [{ say = "You said: {said}" }]
"""


@dataclass(slots=True)
class Street:
    """The house, the keys of all, and how often the bell rang."""

    server: EmbeddedServer
    seeds: dict[str, str]
    who: dict[str, Identity]
    folder: Path
    stack: AsyncExitStack
    rung: list[str] = field(default_factory=list)
    calls: Path = Path()
    trouble: list[str] = field(default_factory=list)
    clients: dict[str, Client] = field(default_factory=dict)

    async def outside(self, caller: str) -> Client:
        """A connection as somebody outside makes it, with the client of everybody; one is enough for each."""
        if caller in self.clients and self.clients[caller].is_connected:
            return self.clients[caller]

        async def complain(error: Exception) -> None:
            self.trouble.append(str(error))

        client = await nats.connect(
            self.server.url, nkeys_seed_str=self.seeds[f"caller-{caller}"], error_cb=complain, allow_reconnect=False
        )
        self.clients[caller] = client

        async def leave() -> None:
            with suppress(NatsError):
                await client.close()

        self.stack.push_async_callback(leave)
        return client

    async def agents(self, caller: str) -> Agents:
        """The SDK of others, in the hands of somebody outside."""
        made = Agents(nc=await self.outside(caller))

        async def close() -> None:
            # Who left in the middle has nothing to close.
            with suppress(NatsError):
                await made.close()

        self.stack.push_async_callback(close)
        return made

    async def agent(self, caller: str, session: str = "main") -> Theirs:
        """Our agent as somebody outside finds it."""
        agents = await self.agents(caller)
        (found,) = await agents.discover(filter=DiscoverFilter(session_name=session), stall=0.1)
        return found

    async def raw(self, key: str) -> Raw:
        """Whoever took somebody's key."""
        raw = await Raw.join(self.server, self.seeds[key])
        self.stack.push_async_callback(raw.close)
        return raw

    async def join(self, identity: str) -> Transport:
        """A member as the product's processes join."""
        return await _joined(self.server.url, self.who[identity])

    def settings(self) -> AgentsSettings:
        """What the door is told."""
        return AgentsSettings(self.server.url, (self._bot(),), alive_s=0.2, beat_s=1)

    def _bot(self) -> BotSettings:
        visitors = tuple(Visitor(one.name, one.sessions) for one in CALLERS)
        return BotSettings("scout", self.who[SCOUT.identity], visitors, self.folder / "scout.notes")

    async def door_process(self) -> asyncio.subprocess.Process:
        """The door in a process of its own, which may be killed; it serves when this returns."""
        identity = self.who[SCOUT.identity]
        assert identity.store is not None
        told = {"url": self.server.url, "folder": str(self.folder), "seed": identity.seed, "store": identity.store.seed}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.agents.door_process", stdin=asyncio.subprocess.PIPE
        )

        async def end() -> None:
            if process.returncode is None:
                process.kill()
            await process.wait()

        self.stack.push_async_callback(end)
        assert process.stdin is not None
        process.stdin.write(json.dumps(told).encode())
        process.stdin.close()
        agents = await self.agents("ci")
        while not await agents.discover(stall=0.1, max_wait=0.5):
            assert process.returncode is None
        return process


@asynccontextmanager
async def street(
    folder: Path, *, with_door: bool = True, model: str = "scripted", others: Model | None = None
) -> AsyncIterator[Street]:
    """Everything runs; the door too, unless a test has one of its own. With `others` the model may be theirs."""
    async with AsyncExitStack() as stack:
        everybody = {one.identity: one for one in members(Configuration(bots=(SCOUT,), callers=CALLERS))}
        seeds = {key: generate_seed() for one in everybody.values() for key, _ in one.grants}
        who = {name: one.proves(seeds.__getitem__) for name, one in everybody.items()}
        users = [user for one in everybody.values() for user in one.users(lambda key: public_key(seeds[key]))]
        bus = await stack.enter_async_context(EmbeddedServer(folder / "nats", users=users))
        stop = asyncio.Event()
        made = Street(bus, seeds, who, folder, stack, calls=folder / "calls.jsonl")

        async def reign() -> None:
            tools = ("ring", "choices", "draw") if others is None else ()
            agent = Agent("alice", model, tools=tools, allow_unpriced=True)
            policy = BotPolicy(
                SCOUT.platform,
                SCOUT.bot_id,
                access="public",
                owners=frozenset(("olga",)),
                blocked=frozenset(("mallory",)),
                rate_per_minute=1_000,
                rate_per_scope_minute=1_000,
            )
            bindings = Bindings({"alice": agent}, (Binding("alice"),))
            assert await serve(HubSettings(bus.url, who[subjects.HUB], bindings, (policy,)), stop) == 0

        async def think() -> None:
            transport = await _joined(bus.url, who[subjects.CLIPOOL])
            script = f"calls_file = {json.dumps(str(made.calls))}\n{SCRIPT}"
            models: dict[str, Model] = {"scripted": Scripted(parse(script, "street", Path()))}
            if others is not None:
                models["agents"] = others

            async def ring(name: str) -> str:
                """Rings somebody's bell.

                name: whose
                """
                made.rung.append(name)
                return f"{name} is awake"

            async def draw(name: str) -> Observation:
                """Draws.

                name: of the file
                """
                return Observation("drawn", files=(Media("document", name, "text/plain", b"a cat"),))

            tools = {
                "ring": equip(ring, effect="external", is_foreign=False),
                "draw": equip(draw, is_foreign=False),
                "choices": CHOICES,
            }
            kit = joined(Kit(Given(models), tools, GenaiPrices({}), time.time), transport)
            await run(transport, kit, stop)
            await kit.close()
            await transport.close()

        async def open_door() -> None:
            transport = await _joined(bus.url, who[SCOUT.identity])
            try:
                await Door(made.settings(), made.settings().bots[0], transport).run()
            finally:
                await transport.close()

        tasks = [asyncio.create_task(one()) for one in (reign, think, *([open_door] if with_door else []))]
        try:
            if with_door:
                agents = await made.agents("ci")
                while not await agents.discover(stall=0.1, max_wait=0.5):
                    assert not any(task.done() for task in tasks)
            yield made
        finally:
            stop.set()
            for task in tasks[2:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in tasks[:2]:
                task.result()


async def _joined(url: str, identity: Identity) -> Transport:
    connected = await connect(url, identity, patience=10)
    assert isinstance(connected, Ok), connected
    return connected.value
