"""How much a bot may write, and the penalty for more."""

from collections import defaultdict, deque
from dataclasses import dataclass

from tests.botapi.chats import Chat, Key
from tests.botapi.clock import Clock
from tests.botapi.refusal import too_fast


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many calls in any so many server seconds."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Budgets:
    """What a bot may write into a private chat, into any other, and in all; None is no limit."""

    private: Rate | None = Rate(5, 5)
    group: Rate | None = Rate(20, 60)
    everywhere: Rate | None = Rate(30, 1)


TELEGRAMS = Budgets()
UNLIMITED = Budgets(None, None, None)


class Flood:
    """Counts the writes of one bot; during a penalty each further write is a fault and begins it anew."""

    def __init__(self, clock: Clock, budgets: Budgets) -> None:
        self.budgets = budgets
        self._clock = clock
        self._written: defaultdict[Key | None, deque[float]] = defaultdict(deque)
        self._penalties: dict[Key, tuple[float, float]] = {}

    def punish(self, chat: Chat, seconds: float) -> None:
        """Let nothing be written for so many of the client's seconds."""
        length = self._clock.to_server(seconds)
        self._penalties[chat.key] = (self._clock.now() + length, length)

    def check_penalty(self, chat: Chat) -> None:
        """Refuse whatever is written during a penalty."""
        now = self._clock.now()
        until, length = self._penalties.get(chat.key, (0.0, 0.0))
        if now < until:
            self._penalties[chat.key] = (now + length, length)
            raise too_fast(self._clock.to_client(length), fault="wrote during a penalty")

    def spend(self, chat: Chat) -> None:
        """Count a write, or refuse it and begin a penalty."""
        now = self._clock.now()
        rates = {
            chat.key: self.budgets.private if chat.kind == "private" else self.budgets.group,
            None: self.budgets.everywhere,
        }
        waits = [self._wait(key, rate, now) for key, rate in rates.items() if rate is not None]
        if (wait := max(waits, default=0.0)) > 0:
            seconds = self._clock.to_client(wait)
            self.punish(chat, seconds)
            raise too_fast(seconds)
        for key in rates:
            self._written[key].append(now)

    def _wait(self, key: Key | None, rate: Rate, now: float) -> float:
        written = self._written[key]
        while written and written[0] <= now - rate.seconds:
            written.popleft()
        return written[-rate.calls] + rate.seconds - now if len(written) >= rate.calls else 0.0
