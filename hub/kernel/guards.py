"""Who is heard, how much and how fast: a message comes in, an admitted message or a refusal in words goes out.

One pipeline, one order, no exceptions: a bot that nobody configured is an outcome like any other.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from factory_contracts.messages import InboundMessage, RefusalReason
from factory_contracts.records import Trust
from hub.kernel.access import NOT_LET_IN, NOT_SET_UP, Access, BotPolicy, Decision, Place, decide, speaker
from hub.kernel.routing import RoutingKey

RATES_KEPT = 10_000
START = "/start"
LINK = "/link"
CODE_BYTES = 12
# What stands on the log where a code stood.
HIDDEN = "[code]"

_CODE = re.compile(f"[0-9a-f]{{{2 * CODE_BYTES}}}")
_SOME_CODE = re.compile(rf"(?<![0-9A-Za-z]){_CODE.pattern}(?![0-9A-Za-z])")


@dataclass(frozen=True, slots=True)
class Pairing:
    """A code on offer, which makes whoever sends it an owner, once: its digest, and until when."""

    digest: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """May be a turn; the trust is the hub's own finding."""

    message: InboundMessage
    trust: Trust


@dataclass(frozen=True, slots=True)
class Claimed:
    """Somebody sends a code, of which the digest alone is kept: what it opens, the people's keeper knows."""

    message: InboundMessage
    word: Literal["/start", "/link"]
    digest: str


@dataclass(frozen=True, slots=True)
class Declined:
    """Is no turn; the words are for the person, and empty where silence is the answer."""

    reason: RefusalReason
    words: str = ""


class Rates:
    """How fast each of many goes: a bucket that refills, told the time."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._taken: dict[str, tuple[int, int]] = {}

    def take(self, who: str, per_minute: int, now: float, *, only_asks: bool = False) -> float:
        """Take one from the bucket, or only ask: 0, or the seconds until there is one to take."""
        tokens = self.left(who, per_minute, now)
        granted = tokens >= 1
        if not only_asks:
            self._put(who, tokens - 1 if granted else tokens, now)
        if granted and not only_asks and len(self._taken) < RATES_KEPT:
            self._taken[who] = self._taken.get(who, (0, 0))[0] + 1, per_minute
        return 0.0 if granted else (1 - tokens) * 60 / per_minute

    def charge(self, who: str, times: int, per_minute: int, now: float) -> None:
        """Take what was taken elsewhere, whether it is there or not."""
        self._put(who, max(0.0, self.left(who, per_minute, now) - times), now)

    def taken(self) -> dict[str, tuple[int, int]]:
        """What each has taken here since this was asked last, and how much they may in a minute."""
        taken, self._taken = self._taken, {}
        return taken

    def _put(self, who: str, tokens: float, now: float) -> None:
        self._buckets[who] = tokens, now
        self._buckets.move_to_end(who)
        # Forgetting the one who was silent longest gives a full bucket, which time had given anyway.
        if len(self._buckets) > RATES_KEPT:
            self._buckets.popitem(last=False)

    def left(self, who: str, per_minute: int, now: float) -> float:
        """What is in the bucket by now."""
        tokens, then = self._buckets.get(who, (float(per_minute), now))
        return min(float(per_minute), tokens + max(0.0, now - then) * per_minute / 60)


class Waits:
    """In which conversations each identity waits for an answer, here and where other hubs answer."""

    def __init__(self) -> None:
        self._places: dict[str, set[str]] = {}
        self._elsewhere: dict[str, Mapping[str, Sequence[str]]] = {}

    @property
    def here(self) -> dict[str, tuple[str, ...]]:
        """Everybody who waits here, and in which conversations."""
        return {who: tuple(sorted(places)) for who, places in self._places.items()}

    def hear(self, hub: str, places: Mapping[str, Sequence[str]]) -> None:
        """Everybody who waits where another hub answers."""
        self._elsewhere[hub] = places

    def keep(self, hubs: Collection[str]) -> None:
        """Nobody waits any more where others answered than these."""
        self._elsewhere = {hub: places for hub, places in self._elsewhere.items() if hub in hubs}

    def note(self, who: str, place: str, is_waiting: bool) -> None:
        """They wait there, or wait there no more."""
        if is_waiting:
            self._places.setdefault(who, set()).add(place)
            return
        places = self._places.get(who, set())
        places.discard(place)
        if not places:
            self._places.pop(who, None)

    def beside(self, person: Iterable[str], place: str) -> int:
        """In how many other places a person waits."""
        everywhere = (self._places, *self._elsewhere.values())
        return len({one for who in person for places in everywhere for one in places.get(who, ())} - {place})


class Traffic:
    """How fast each person speaks, over all their chats, how fast each conversation goes, whoever speaks in it, and how
    many answers each person waits for."""

    def __init__(self) -> None:
        self.people = Rates()
        self.scopes = Rates()
        self.waits = Waits()

    def take(self, who: str, scope: str, policy: BotPolicy, now: float, *, only_asks: bool = False) -> Declined | None:
        """Count one more message, or only ask; the refusal where that were one too many."""
        for rates, name, per_minute, whose in (
            (self.people, who, policy.rate_per_minute, "from one person"),
            (self.scopes, scope, policy.rate_per_scope_minute, "in one conversation"),
        ):
            seconds = rates.take(name, per_minute, now, only_asks=only_asks)
            if seconds:
                return Declined(
                    "too fast",
                    f"That is a little fast for me: I take {per_minute} messages a minute {whose}. "
                    f"Please try again in {int(seconds) + 1} s.",
                )
        return None


Guard = Callable[[InboundMessage, BotPolicy, Decision], Declined | None]


def screen(
    message: InboundMessage, access: Access, traffic: Traffic, now: float, *, only_asks: bool = False
) -> Admitted | Claimed | Declined:
    """The whole pipeline: configured, not blocked, let in, addressed, small enough, slow enough.

    Who sends a code is let in by the code, after all else: a guess costs as much as any message.
    """
    key, who = RoutingKey.of(message.address), speaker(message)
    policy = access.policies.get(key.bot)
    if policy is None:
        return Declined("no owner", NOT_SET_UP)
    decision = decide(access, key.bot, who, "speak", Place(message.in_group))
    claimed = claim_in(message)
    for guard in _GUARDS if claimed is None else (_not_blocked,):
        declined = guard(message, policy, decision)
        if declined is not None:
            return declined
    # To stop a running answer must always be possible.
    if message.text.strip() != "/stop":
        declined = traffic.take(access.name(who), key.to_pool_id(), policy, now, only_asks=only_asks)
        if declined is not None:
            return declined
    return claimed or Admitted(message, decision.trust)


def claim_in(message: InboundMessage) -> Claimed | None:
    """What may be a code: in private alone, where nobody else reads it. The log shall not hold it."""
    match message.text.split():
        case [("/start" | "/link") as word, code] if not message.in_group and _CODE.fullmatch(code):
            return Claimed(message.model_copy(update={"text": word}), word, digest_of(code))
    return None


def without_codes(message: InboundMessage, is_code: Callable[[str], bool]) -> InboundMessage:
    """The message without the codes that it holds: quoted, passed on or sent where all can read them."""
    texts = {"text": message.text, "quoted": message.quoted}
    hidden = {name: _hide(text, is_code) for name, text in texts.items() if text and _SOME_CODE.search(text)}
    return message.model_copy(update=hidden) if hidden else message


def digest_of(code: str) -> str:
    """All that is kept of a code."""
    return sha256(code.encode()).hexdigest()


def _hide(text: str, is_code: Callable[[str], bool]) -> str:
    return _SOME_CODE.sub(lambda found: HIDDEN if is_code(digest_of(found[0])) else found[0], text)


def _not_blocked(message: InboundMessage, policy: BotPolicy, decision: Decision) -> Declined | None:
    return Declined("blocked") if decision.level == "blocked" else None


def _let_in(message: InboundMessage, policy: BotPolicy, decision: Decision) -> Declined | None:
    if decision.allowed:
        return None
    # A group does not want to read a refusal to each of its members.
    if message.in_group and not message.is_addressed:
        return Declined("not addressed")
    return Declined("not allowed" if decision.words == NOT_LET_IN else "no owner", decision.words)


def _addressed(message: InboundMessage, policy: BotPolicy, decision: Decision) -> Declined | None:
    if message.in_group and not message.is_addressed and not policy.answers_unaddressed:
        return Declined("not addressed")
    return None


def _sized(message: InboundMessage, policy: BotPolicy, decision: Decision) -> Declined | None:
    length = len(message.text) + len(message.quoted or "")
    if length > policy.max_text:
        words = f"That is too long for me: {length:,} characters, and I read up to {policy.max_text:,}."
        return Declined("too large", f"{words} Send it as a file.")
    if not message.text.strip() and not message.attachments:
        return Declined("not addressed")
    return None


_GUARDS: tuple[Guard, ...] = (_not_blocked, _let_in, _addressed, _sized)
