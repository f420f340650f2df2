"""The product's chain: the hub as it is composed, a CliPool worker with the scripted model, a spoke that counts."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.spoke import Reply, Spoke
from bench.floor import DELTA, stagger
from bench.stage import BOT, PLATFORM, Block, Driven, Given, join
from factory_contracts.messages import Address, InboundMessage, Refused, Said
from hub.composition import HubSettings, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.routing import Binding, Bindings
from workers.clipool import composition

TERMINAL_PACE_MS = 30
PLATFORM_PACE_MS = 250
MUCH = 100_000_000

Drive = Callable[[Block], Awaitable[Driven]]


@asynccontextmanager
async def hub(given: Given) -> AsyncIterator[None]:
    """The hub's own composition, with one agent bound everywhere."""
    agent = Agent(name="bench", model="scripted", system="You are a measuring rod.")
    settings = HubSettings(
        nats_url=given.url,
        identity=given.who,
        bindings=Bindings({agent.name: agent}, (Binding(agent.name),)),
        policies=(
            BotPolicy(
                PLATFORM, BOT, access="public", rate_per_minute=MUCH, rate_per_scope_minute=MUCH, turns_at_once=MUCH
            ),
        ),
        max_pools=given.max_pools,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(settings, stop))
    try:
        yield None
    finally:
        stop.set()
        await serving


@asynccontextmanager
async def worker(given: Given) -> AsyncIterator[None]:
    """The worker's own composition, with a script of bursts."""
    script = Path(given.folder) / "script.toml"
    script.write_text(SCRIPT)
    kit = composition.compose(composition.ClipoolSettings(given.url, given.who, script=script))
    until = asyncio.Event()
    transport = await join(given)
    working = asyncio.create_task(composition.run(transport, kit, until))
    try:
        yield None
    finally:
        until.set()
        await working
        await transport.close()


SCRIPT = """
[[reply]]
match = '^(\\d+) deltas every 2 ms'
steps = [{ burst = 50, text = "word ", pace_ms = 2 }]

[[reply]]
match = '^(\\d+) deltas'
steps = [{ burst = 50, text = "word " }]
"""


class CountingScreen:
    """A platform that shows nothing and counts everything."""

    def __init__(self) -> None:
        self.sends = 0
        self.edits = 0
        self._first: dict[str, float] = {}
        self._over: dict[str, asyncio.Future[str]] = {}

    def expect(self, scope_id: str) -> asyncio.Future[str]:
        """The whole answer that is shown next in a scope."""
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._over[scope_id] = over
        return over

    def first(self, scope_id: str) -> float:
        """When the answer's first words appeared."""
        return self._first.pop(scope_id)

    async def send(self, reply: Reply) -> str:
        """Open a bubble."""
        self._first[reply.address.scope_id] = time.perf_counter()
        self.sends += 1
        return str(self.sends)

    async def edit(self, message_id: str, reply: Reply) -> None:
        """Change one."""
        self.edits += 1
        if reply.is_final:
            self._over.pop(reply.address.scope_id).set_result(reply.text)

    async def said(self, said: Said) -> None:
        """Nobody else is here."""


@asynccontextmanager
async def spoke(given: Given) -> AsyncIterator[Drive]:
    """A spoke as every platform's, whose people ask for bursts."""
    transport = await join(given)
    screen = CountingScreen()
    joined = Spoke(transport, PLATFORM, BOT, screen, notes=Path(given.folder) / "notes")
    await joined.start()
    asked: dict[int, int] = {}

    async def drive(block: Block) -> Driven:
        words = f"{block.deltas} deltas" + (f" every {block.pace_ms} ms" if block.pace_ms else "")
        # One scope is a terminal's, many are a platform's; the address states how often each wants to be told.
        pace_ms = TERMINAL_PACE_MS if block.scopes == 1 else PLATFORM_PACE_MS
        wanted = DELTA.decode() * block.deltas
        firsts: list[float] = []
        wholes: list[float] = []

        async def talk(lane: int) -> None:
            await asyncio.sleep(stagger(block, lane))
            for _ in range(block.turns):
                number = asked[lane] = asked.get(lane, -1) + 1
                scope = f"{lane}-{number // block.conversation}"
                address = Address(platform=PLATFORM, bot_id=BOT, scope_id=scope, pace_ms=pace_ms)
                over = screen.expect(scope)
                began = time.perf_counter()
                message = InboundMessage(
                    message_id=str(number), user_id=f"u{lane}", user_name="Bench", text=words, address=address
                )
                accepted = await joined.submit(message)
                if isinstance(accepted, Refused):
                    raise RuntimeError(f"a message was refused: {accepted.reason} {accepted.text}")
                text = await over
                wholes.append(time.perf_counter() - began)
                firsts.append(screen.first(scope) - began)
                if text != wanted:
                    raise RuntimeError(f"an answer of {len(text)} characters is not the one that was said")

        began = time.perf_counter()
        await asyncio.gather(*(talk(lane) for lane in range(block.scopes)))
        return Driven(firsts, wholes, time.perf_counter() - began)

    try:
        yield drive
    finally:
        await joined.close()
        await transport.close()
