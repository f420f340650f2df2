"""The providers of models that are installed: each is an entry point, loaded when it is first asked for."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points

from hub.kernel.ports import Model, ModelSettings
from hub.kernel.secrecy import LOOKS_ALONE, Redactor
from workers.clipool.discretion import DiscreetModel

logger = logging.getLogger(__name__)

GROUP = "factory.models"


class Installed:
    """Every entry point of the group, whose models are discreet; those given are there already and come first.

    Loading a provider's SDK takes seconds of work: it is done in a thread, while other turns go on; and `beside` it
    whatever else the first call of a provider needs.
    """

    def __init__(
        self,
        given: Mapping[str, Model],
        settings: ModelSettings,
        beside: Callable[[], object] = lambda: None,
        redactor: Redactor = LOOKS_ALONE,
    ) -> None:
        self._beside = beside
        self._redactor = redactor
        self._made: dict[str, Model] = dict(given)
        self._found: Mapping[str, EntryPoint] = {one.name: one for one in entry_points(group=GROUP)}
        self._settings = settings
        self._lock = asyncio.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(sorted({*self._made, *self._found}))

    async def close(self) -> None:
        """Let go of what the providers hold."""
        for model in self._made.values():
            await model.close()

    async def find(self, provider: str) -> Model | None:
        """The provider, made at its first use; None where there is none of that name."""
        made = self._made.get(provider)
        if made is not None or provider not in self._found:
            return made
        # Two turns that ask at once must not load it twice.
        async with self._lock:
            if provider not in self._made:
                make = await asyncio.to_thread(_load, self._found[provider], self._beside)
                self._made[provider] = DiscreetModel(make(self._settings), self._redactor)
                logger.info("the model provider %s is loaded", provider)
            return self._made[provider]


def _load(found: EntryPoint, beside: Callable[[], object]) -> Callable[[ModelSettings], Model]:
    """What makes the provider. Raises `ImportError`, among others, where it is broken."""
    beside()
    try:
        make: Callable[[ModelSettings], Model] = found.load()
    except SystemExit as error:
        # Somebody else's module must not end this process.
        raise ImportError(f"the module of the model provider {found.name} exits") from error
    return make
