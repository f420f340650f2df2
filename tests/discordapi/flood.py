"""How much a bot may call: buckets as Discord tells of them in its headers, and the penalty for more.

A bucket belongs to one kind of call at one place (a channel, a webhook). Its window begins with its first call. Whoever
was told to wait and calls before that is at fault; what was under way when it was told is refused without blame.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from zlib import crc32

from tests.botapi.clock import Clock
from tests.discordapi.refusal import Refused

# In the client's seconds: what comes so soon after a refusal was under way before it.
UNDER_WAY = 0.25


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many calls in a window of so many server seconds."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Budgets:
    """What a bot may call of one kind at one place, and in all; None is no limit.

    `old_edits` is for messages older than an hour; the real number is not known.
    """

    kinds: Mapping[str, Rate] = field(
        default_factory=lambda: {
            "message": Rate(5, 5),
            "edit": Rate(5, 5),
            "delete": Rate(5, 1),
            "typing": Rate(5, 5),
            "reaction": Rate(1, 0.25),
            "webhook": Rate(5, 2),
            "thread": Rate(50, 300),
            "dm": Rate(10, 10),
            "commands": Rate(5, 20),
        }
    )
    everything: Rate | None = Rate(50, 1)
    old_edits: Rate | None = Rate(30, 60)


DISCORDS = Budgets()
UNLIMITED = Budgets({}, None, None)


@dataclass(slots=True)
class _Window:
    until: float
    used: int = 0


# A kind of call and the place where it is made.
Key = tuple[str, str]
GLOBAL: Key = ("global", "")


class Flood:
    """Counts the calls of one bot."""

    def __init__(self, clock: Clock, budgets: Budgets) -> None:
        self.budgets = budgets
        self._clock = clock
        self._windows: dict[Key, _Window] = {}
        # When it ends, since when it is known, and how it was told.
        self._penalties: dict[Key, tuple[float, float, Refused]] = {}

    def punish(self, key: Key, seconds: float, scope: str = "user", code: int = 0) -> Refused:
        """Let nothing be called for so many of the client's seconds; gives the refusal that says so."""
        now = self._clock.now()
        refused = self._too_fast(key, seconds, scope, code)
        self._penalties[GLOBAL if scope == "global" else key] = (now + self._clock.to_server(seconds), now, refused)
        return refused

    def check_penalty(self, key: Key) -> None:
        """Refuse whatever is called during a penalty."""
        now = self._clock.now()
        for each in (key, GLOBAL):
            until, since, told = self._penalties.get(each, (0.0, 0.0, None))
            if told is not None and now < until:
                is_blamed = (now - since) / self._clock.speed > UNDER_WAY
                fault = "ignored a rate limit" if is_blamed else ""
                again = self._too_fast(key, (until - now) / self._clock.speed, _scope(told), told.code)
                again.fault = fault
                raise again

    def spend(self, key: Key, is_old: bool = False) -> dict[str, str]:
        """Count a call, or refuse it and begin a penalty; gives the headers that tell what is left."""
        kind, place = key
        now = self._clock.now()
        rates = [(key, self.budgets.kinds.get(kind), "user", 0), (GLOBAL, self.budgets.everything, "global", 0)]
        if is_old:
            rates.append((("old", place), self.budgets.old_edits, "shared", 30046))
        for each, rate, scope, code in rates:
            if rate is None:
                continue
            window = self._window(each, rate, now)
            if window.used >= rate.calls:
                raise self.punish(each, (window.until - now) / self._clock.speed, scope, code)
        for each, rate, _, _ in rates:
            if rate is not None:
                self._windows[each].used += 1
        return self._headers(key, now) if kind in self.budgets.kinds else {}

    def _window(self, key: Key, rate: Rate, now: float) -> _Window:
        window = self._windows.get(key)
        if window is None or window.until <= now:
            window = self._windows[key] = _Window(now + rate.seconds)
        return window

    def _headers(self, key: Key, now: float) -> dict[str, str]:
        """What every answer of a bucket tells."""
        rate, window = self.budgets.kinds[key[0]], self._windows[key]
        after = (window.until - now) / self._clock.speed
        return _told(key, rate.calls, rate.calls - window.used, now, after)

    def _too_fast(self, key: Key, seconds: float, scope: str, code: int) -> Refused:
        sentence = "Maximum number of edits to messages older than 1 hour reached. Try again later"
        rate = self.budgets.kinds.get(key[0], Rate(1, 1))
        headers = _told(key, rate.calls, 0, self._clock.now(), seconds) | {
            "X-RateLimit-Scope": scope,
            "Retry-After": str(int(seconds) + 1),
            "Via": "1.1 google",
        }
        if scope == "global":
            headers["X-RateLimit-Global"] = "true"
        said = sentence if code else "You are being rate limited."
        more = {"retry_after": round(seconds, 3), "global": scope == "global"}
        return Refused(429, code, said, headers=headers, more=more)


def _scope(refused: Refused) -> str:
    return refused.headers["X-RateLimit-Scope"]


def _told(key: Key, limit: int, remaining: int, now: float, after: float) -> dict[str, str]:
    return {
        "X-RateLimit-Bucket": f"{crc32(key[0].encode()):08x}",
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": f"{now + after:.3f}",
        "X-RateLimit-Reset-After": f"{after:.3f}",
    }
