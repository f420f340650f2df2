"""The composition root of the CliPool worker: the one place that names its models and tools."""

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from importlib import import_module
from pathlib import Path

from adapters.models.hand import Hand
from adapters.models.scripted import PROVIDER, Scripted, load
from adapters.nats.blobs import NatsBlobs
from adapters.nats.capabilities import Capabilities
from adapters.nats.voice import NatsVoice
from adapters.tools import calculator, choices, clock
from adapters.tools.fetch import Fetch
from adapters.tools.files import Folders
from adapters.tools.memory import Memory
from adapters.tools.skills import Skills
from factory_contracts.work import AgentSpec
from factory_nats import process
from factory_nats.connect import Identity, connect
from factory_nats.result import Err
from factory_nats.transport import Transport
from hub.kernel.agent import BY_HAND
from hub.kernel.events import Failed, Finished
from hub.kernel.ports import Equipped, ModelRequest, ModelSettings, Prices, ToolSource
from hub.kernel.secrecy import LOOKS_ALONE, Redactor
from workers.clipool.kit import Kit, Point, pass_by
from workers.clipool.providers import Installed
from workers.clipool.worker import Worker
from workers.engine.shelf import Shelf

logger = logging.getLogger(__name__)

PATIENCE = 30.0
MEMORY = "memory.db"
FILES = "files"
SKILLS = "skills"


@dataclass(frozen=True, slots=True)
class ClipoolSettings:
    """What the CliPool worker is told; on the bus it goes by its identity's name.

    `script` is what the model `scripted` follows, `scripts` where `scripted:<path>` looks for relative paths, and
    `calls_file` gets a line for each of its calls. `folder` is where tools and providers keep what they must, `agents`
    where the skills are and `engines` where engines are; `variables` are those of the surroundings, `prices` what they
    do not know, `redactor` what of all this nobody may hear.
    """

    nats_url: str
    identity: Identity
    script: Path | None = None
    scripts: Path | None = None
    calls_file: Path | None = None
    folder: Path = Path("work")
    agents: Path = Path("agents")
    engines: Path = Path("engines")
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    prices: Mapping[str, Sequence[Decimal]] = field(default_factory=dict)
    redactor: Redactor = LOOKS_ALONE
    patience: float = PATIENCE


def serve(
    settings: ClipoolSettings,
    *,
    at: Callable[[Point], None] = pass_by,
    extra_tools: Sequence[Equipped] = (),
) -> int:
    """Work until SIGTERM or SIGINT; the exit code. Raises `ScriptError` for a script that cannot be followed."""
    kit = compose(settings, at=at, extra_tools=extra_tools)
    return process.run(_work(settings, kit))


def compose(
    settings: ClipoolSettings,
    *,
    at: Callable[[Point], None] = pass_by,
    extra_tools: Sequence[Equipped] = (),
) -> Kit:
    """The models and tools that these settings ask for."""
    mcp = LateMcp(settings.variables)
    memory = Memory(settings.folder / MEMORY, time.time)
    script = load(settings.script) if settings.script is not None else None
    scripted = Scripted(script, folder=settings.scripts, calls_file=settings.calls_file)
    tools = (
        Equipped(clock.SPEC, clock.Clock(clock.utc_now)),
        Equipped(calculator.SPEC, calculator.Calculator()),
        choices.CHOICES,
        *Fetch().tools(),
        *memory.tools(),
        *extra_tools,
    )
    prices = LatePrices(settings.prices)
    models = Installed(
        {PROVIDER: scripted, BY_HAND: Hand()},
        ModelSettings(settings.variables, str(settings.folder)),
        beside=prices.load,
        redactor=settings.redactor,
    )
    return Kit(
        models=models,
        tools={tool.spec.name: tool for tool in tools},
        prices=prices,
        now=time.time,
        sources=(Folders(settings.folder / FILES), Skills(settings.agents / SKILLS), mcp),
        keepers=(memory, models),
        engines=Shelf(settings.engines),
        closers=(mcp.close, models.close),
        at=at,
        redactor=settings.redactor,
    )


class LatePrices:
    """What calls cost, from a table that takes a while to load: not before a model is asked that costs something."""

    def __init__(self, overrides: Mapping[str, Sequence[Decimal]]) -> None:
        self._overrides = overrides
        self._prices: Prices | None = None
        self._is_free = not any(name.startswith(f"{PROVIDER}:") for name in overrides)

    def load(self) -> Prices:
        """The table; whoever has time for it calls this first."""
        if self._prices is None:
            made: Prices = import_module("adapters.models.prices").GenaiPrices(self._overrides)
            self._prices = made
        return self._prices

    def most(self, request: ModelRequest) -> Decimal | None:
        """More than the call can cost."""
        return Decimal(0) if self._costs_nothing(request.model) else self.load().most(request)

    def cost(self, model: str, ended: Finished | Failed) -> Decimal | None:
        """What the call did cost."""
        return Decimal(0) if self._costs_nothing(model) else self.load().cost(model, ended)

    def _costs_nothing(self, model: str) -> bool:
        return model == BY_HAND or (self._is_free and model.partition(":")[0] == PROVIDER)


class LateMcp:
    """The tools of MCP servers, whose client takes a second to load: only where an agent names a server."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._loading = asyncio.Lock()
        self._close: Callable[[], Awaitable[None]] | None = None
        self._source: ToolSource | None = None

    def serves(self, agent: AgentSpec) -> bool:
        """Whether the agent names servers."""
        return bool(agent.mcp)

    async def tools(self, agent: AgentSpec) -> tuple[Equipped, ...]:
        """The tools of the agent's servers."""
        # Two agents that ask at once must not each start the servers.
        async with self._loading:
            if self._source is None:
                module = await asyncio.to_thread(import_module, "adapters.tools.mcp")
                servers = module.McpServers(self._variables)
                self._source, self._close = servers, servers.close
        return await self._source.tools(agent)

    async def close(self) -> None:
        """End the servers."""
        if self._close is not None:
            await self._close()


def joined(kit: Kit, transport: Transport) -> Kit:
    """The kit with what comes over the bus: files, and the workers of other capabilities."""
    workers, voice = Capabilities(transport), NatsVoice(transport)
    return replace(
        kit,
        blobs=NatsBlobs(transport),
        voice=voice,
        sources=(*kit.sources, workers),
        closers=(workers.close, voice.close, *kit.closers),
        opinions=workers.opinions,
    )


async def run(transport: Transport, kit: Kit, until: asyncio.Event) -> None:
    """The worker over a transport that somebody else opened and closes."""
    await Worker(transport, kit, _new_instance).serve(until)


async def _work(settings: ClipoolSettings, kit: Kit) -> int:
    until = asyncio.Event()
    closed: list[str] = []

    def note_closed(why: str) -> None:
        closed.append(why)
        until.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, until.set)
    connected = await connect(
        settings.nats_url, settings.identity, patience=settings.patience, until=until, on_closed=note_closed
    )
    if isinstance(connected, Err):
        if until.is_set():
            return 0
        logger.error("%s", connected.detail)
        return 1
    kit = joined(kit, connected.value)
    try:
        await run(connected.value, kit, until)
    finally:
        await kit.close()
        await connected.value.close()
    return 1 if closed else 0


def _new_instance() -> str:
    return secrets.token_hex(6)
