"""The product's chain: the hub as it is composed, a CliPool worker with the scripted model, a spoke that counts."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from adapters.high_water import FileHighWater
from adapters.nats.eraser import as_eraser
from adapters.spoke import Reply, Spoke
from bench.floor import DELTA, stagger
from bench.lossy import FALLS, Fall, Lossy, Silent
from bench.stage import BOT, PLATFORM, Block, Driven, Given, join
from factory_contracts.messages import Address, InboundMessage, Refused, Said
from hub.composition import NOBODY_ELSE, HubSettings, reign, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.budget import Budget
from hub.kernel.routing import Binding, Bindings
from workers.clipool import composition

TERMINAL_PACE_MS = 30
PLATFORM_PACE_MS = 250
MODEL = "scripted"
MUCH = 100_000_000
# How many deltas the scripted model says, and at which pace.
SAID = ((50, 0), (50, 2), (25, 20), (100, 20), (250, 20))

Drive = Callable[[Block], Awaitable[Driven]]


def hub_settings(given: Given) -> HubSettings:
    """One agent bound everywhere, everybody let in, and no limits but where they are asked for."""
    agent = Agent(name="bench", model=MODEL, system="You are a measuring rod.")
    policy = BotPolicy(PLATFORM, BOT, access="public")
    if "limited" not in given.ways:
        policy = replace(policy, rate_per_minute=MUCH, rate_per_scope_minute=MUCH, turns_at_once=MUCH)
    plain = HubSettings(
        nats_url=given.url,
        identity=given.who,
        bindings=Bindings({agent.name: agent}, (Binding(agent.name),)),
        policies=(policy,),
        standby="standby" in given.ways,
        shares="shares" in given.ways,
    )
    if "noted" in given.ways:
        plain = replace(plain, high_water=FileHighWater(Path(given.folder) / "high-water.json"))
    if "budget" in given.ways:
        plain = replace(plain, budgets=(Budget("much", Decimal(MUCH)),))
    return plain


@asynccontextmanager
async def hub(given: Given) -> AsyncIterator[None]:
    """The hub's own composition, on the bus as it is or on one that lets something fall."""
    settings, stop = hub_settings(given), asyncio.Event()
    falls = [fall for way, fall in FALLS.items() if way in given.ways]
    serving = asyncio.create_task(_lossy(given, settings, stop, falls) if falls else serve(settings, stop))
    try:
        yield None
    finally:
        stop.set()
        await serving


async def _lossy(given: Given, settings: HubSettings, stop: asyncio.Event, falls: Sequence[Fall]) -> int:
    transport, name = await join(given), f"hub-{secrets.token_hex(4)}"
    eraser = as_eraser(given.url, NOBODY_ELSE)
    try:
        return await reign(settings, Lossy(transport, *falls), eraser, name, stop, asyncio.Event())
    finally:
        await transport.close()


@asynccontextmanager
async def worker(given: Given) -> AsyncIterator[None]:
    """The worker's own composition, with a script of bursts."""
    script = Path(given.folder) / "script.toml"
    script.write_text(_script())
    settings = composition.ClipoolSettings(given.url, given.who, script=script)
    if "priced" in given.ways:
        settings = replace(settings, prices={f"{MODEL}:*": (Decimal(1), Decimal(1))})
    kit = composition.compose(settings)
    until = asyncio.Event()
    transport = await join(given)
    working = asyncio.create_task(composition.run(transport, kit, until))
    try:
        yield None
    finally:
        until.set()
        await working
        await transport.close()


def _script() -> str:
    return "".join(
        f"""
[[reply]]
match = '^{_words(deltas, pace_ms)}$'
steps = [{{ burst = {deltas}, text = "{DELTA.decode()}", pace_ms = {pace_ms} }}]
"""
        for deltas, pace_ms in SAID
    )


def _words(deltas: int, pace_ms: int) -> str:
    return f"{deltas} deltas" + (f" every {pace_ms} ms" if pace_ms else "")


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
        # What others asked for who are on the same platform nobody here waits for.
        self.sends += reply.address.scope_id in self._over
        return str(self.sends)

    async def edit(self, message_id: str, reply: Reply) -> None:
        """Change one."""
        self.edits += 1
        if reply.is_final:
            over = self._over.pop(reply.address.scope_id, None)
            if over is not None:
                over.set_result(reply.text)

    async def said(self, said: Said) -> None:
        """Nobody else is here."""


@asynccontextmanager
async def spoke(given: Given) -> AsyncIterator[Drive]:
    """A spoke as every platform's, whose people ask for bursts."""
    transport = await join(given)
    screen = CountingScreen()
    bus = Silent(transport) if "silent" in given.ways else transport
    joined = Spoke(bus, PLATFORM, BOT, screen, notes=Path(given.folder) / "notes")
    await joined.start()
    asked: dict[int, int] = {}

    async def drive(block: Block) -> Driven:
        words = _words(block.deltas, block.pace_ms)
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
                # A conversation is one person's.
                message = InboundMessage(
                    message_id=str(number), user_id=f"u{scope}", user_name="Bench", text=words, address=address
                )
                accepted = await joined.submit(message)
                if isinstance(accepted, Refused):
                    raise RuntimeError(f"a message was refused: {accepted.reason} {accepted.text}")
                text = await over
                wholes.append(time.perf_counter() - began)
                firsts.append(screen.first(scope) - began)
                if text != wanted:
                    raise RuntimeError(f"an answer of {len(text)} characters is not the one that was said")

        began, before = time.perf_counter(), screen.sends
        await asyncio.gather(*(talk(lane) for lane in range(block.scopes)))
        if screen.sends - before != len(wholes):
            raise RuntimeError(f"{len(wholes)} answers were shown in {screen.sends - before} bubbles")
        return Driven(firsts, wholes, time.perf_counter() - began)

    try:
        yield drive
    finally:
        await joined.close()
        await transport.close()
