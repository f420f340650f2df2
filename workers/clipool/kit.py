"""What turns are carried out with: models, tools, prices, files, wall time, and a seam for tests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from factory_contracts.engine import Engine
from factory_contracts.work import AgentSpec, Opinion
from factory_nats.circuit import CircuitBreaker
from hub.kernel.harness import RETRY_DELAYS
from hub.kernel.ports import Blobs, Equipped, Keeper, Model, Prices, ToolSource, Voice
from hub.kernel.secrecy import LOOKS_ALONE, Redactor
from workers.clipool.discretion import discreet_tool

logger = logging.getLogger(__name__)

# More than one turn tries by itself: what fails for one alone shuts nobody else out.
FAILURES = len(RETRY_DELAYS) + 2
PAUSE = 15.0
SOURCE_PATIENCE = 15.0

Point = Literal["commanded", "first delta", "mid-stream", "tool started", "tool done", "step done"]


def pass_by(_: Point) -> None:
    """Nothing happens at a named point; tests put a death here."""


class Models(Protocol):
    """The providers of models that this worker has."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        ...

    async def find(self, provider: str) -> Model | None:
        """The provider, made at its first use; None where there is none of that name."""
        ...


class Engines(Protocol):
    """The engines that this worker can run."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        ...

    async def find(self, name: str) -> Engine | None:
        """The engine as it is now, or None. Raises whatever its file does."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """Providers that are there from the start."""

    models: Mapping[str, Model]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(sorted(self.models))

    async def find(self, provider: str) -> Model | None:
        """The provider, or None."""
        return self.models.get(provider)


@dataclass(slots=True)
class Circuits:
    """One circuit breaker for each provider: while one is open, nobody waits for a provider that keeps failing."""

    _breakers: dict[str, CircuitBreaker] = field(default_factory=dict)

    def of(self, provider: str) -> CircuitBreaker:
        """The provider's breaker."""
        return self._breakers.setdefault(provider, CircuitBreaker(failures=FAILURES, pause=PAUSE))


@dataclass(frozen=True, slots=True)
class Kit:
    """Everything that is the same for all turns of a worker."""

    models: Models
    tools: Mapping[str, Equipped]
    prices: Prices
    now: Callable[[], float]
    sources: tuple[ToolSource, ...] = ()
    keepers: tuple[Keeper, ...] = ()
    blobs: Blobs | None = None
    voice: Voice | None = None
    engines: Engines | None = None
    closers: tuple[Callable[[], Awaitable[None]], ...] = ()
    at: Callable[[Point], None] = pass_by
    circuits: Circuits = field(default_factory=Circuits)
    opinions: Callable[[], tuple[Opinion, ...]] = tuple
    redactor: Redactor = LOOKS_ALONE

    async def close(self) -> None:
        """End what was begun for the turns of this worker."""
        for close in self.closers:
            await close()

    async def erase(self, scope: str, namespaces: Sequence[str], until: float) -> bool:
        """Have everybody remove what they kept of a scope; whether nothing of it is left."""
        return all([await keeper.erase(scope, namespaces, until) for keeper in self.keepers])

    async def equip(self, agent: AgentSpec) -> dict[str, Equipped]:
        """The agent's tools by name: those it names, and those that what it names brings along; all are discreet."""
        found: dict[str, Equipped] = {}
        missing = [name for name in agent.tools if name not in self.tools]
        if missing:
            logger.warning("agent %s wants tools that are not here: %s", agent.name, ", ".join(missing))
        _add(found, (self.tools[name] for name in agent.tools if name in self.tools))
        for source in self.sources:
            if not source.serves(agent):
                continue
            try:
                async with asyncio.timeout(SOURCE_PATIENCE):
                    _add(found, await source.tools(agent))
            except TimeoutError:
                logger.error("%s gave no tools for agent %s in time", type(source).__name__, agent.name)
        return {name: discreet_tool(tool, self.redactor) for name, tool in found.items()}


def _add(found: dict[str, Equipped], tools: Iterable[Equipped]) -> None:
    for tool in tools:
        if tool.spec.name in found:
            logger.warning("two tools are called %s; the first one serves", tool.spec.name)
        else:
            found[tool.spec.name] = tool
