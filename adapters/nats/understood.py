"""Up to which version the spokes of each bot understand what they are told, by their own word."""

import time
from collections import defaultdict
from collections.abc import Callable

from factory_contracts.envelope import FIRST_VERSION

# A spoke says hello every half a minute; who was silent for so long is no longer there.
SILENCE = 90.0

Bot = tuple[str, str]


class Understood:
    """The lowest version of all who listen for a bot: what is said there is said to all of them at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: defaultdict[Bot, dict[int, float]] = defaultdict(dict)

    def heed(self, bot: Bot, version: int) -> None:
        """A spoke of the bot said how much it understands."""
        self._heard[bot] = {**self._living(bot), version: self._clock()}

    def of(self, bot: Bot) -> int:
        """What all understand; the first version where nobody has said anything yet."""
        return min(self._living(bot), default=FIRST_VERSION)

    def _living(self, bot: Bot) -> dict[int, float]:
        now = self._clock()
        return {version: at for version, at in self._heard[bot].items() if now - at < SILENCE}
