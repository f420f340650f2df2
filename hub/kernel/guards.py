"""Who may speak, how much and how fast: a message comes in, an admitted message or a refusal in words goes out.

One pipeline, one order, no exceptions: a bot that nobody configured is an outcome like any other.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Literal

from factory_contracts.messages import InboundMessage, RefusalReason
from factory_contracts.records import Trust

RATES_KEPT = 10_000
START = "/start"
CODE_BYTES = 12
NO_OWNER = 'This bot has no owner yet. Whoever runs it becomes one by the link that "factory init {platform}" prints.'
WRONG_CODE = 'That code opens nothing here. A fresh one, good for an hour, comes from "factory init {platform}".'

_CODE = re.compile(f"[0-9a-f]{{{2 * CODE_BYTES}}}")


@dataclass(frozen=True, slots=True)
class BotPolicy:
    """What a bot's owner decided about who may speak to it."""

    platform: str
    bot_id: str
    access: Literal["owners", "public"] = "owners"
    owners: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    max_text: int = 20_000
    rate_per_minute: int = 20
    answers_unaddressed: bool = False
    everyone_owns: bool = False


@dataclass(frozen=True, slots=True)
class Pairing:
    """A code on offer, which makes whoever sends it an owner, once: its digest, and until when."""

    digest: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """May be a turn; the trust is the hub's own finding.

    With a `claim` that is the digest of the code which makes the speaker an owner, as soon as the log says so.
    """

    message: InboundMessage
    trust: Trust
    claim: str | None = None


@dataclass(frozen=True, slots=True)
class Declined:
    """Is no turn; the words are for the person, and empty where silence is the answer."""

    reason: RefusalReason
    words: str = ""


class Rates:
    """How fast each person speaks, over all their chats: a bucket that refills, told the time."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, person: tuple[str, str], per_minute: int, now: float, *, only_asks: bool = False) -> float:
        """Take one from the person's bucket, or only ask: 0, or the seconds until there is one to take."""
        tokens, then = self._buckets.get(person, (float(per_minute), now))
        tokens = min(float(per_minute), tokens + max(0.0, now - then) * per_minute / 60)
        granted = tokens >= 1
        if not only_asks:
            self._buckets[person] = (tokens - 1 if granted else tokens, now)
            self._buckets.move_to_end(person)
            # Forgetting the one who was silent longest gives a full bucket, which time had given anyway.
            if len(self._buckets) > RATES_KEPT:
                self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - tokens) * 60 / per_minute


Guard = Callable[[InboundMessage, BotPolicy], Declined | None]


def screen(
    message: InboundMessage,
    policy: BotPolicy | None,
    rates: Rates,
    now: float,
    pairing: Pairing | None = None,
    *,
    only_asks: bool = False,
) -> Admitted | Declined:
    """The whole pipeline: configured, not blocked, let in, addressed, small enough, slow enough.

    Who sends a code is let in by the code, after all else: a guess costs as much as any message.
    """
    if policy is None:
        return Declined("no owner", "This bot is not set up yet: its owner has to name it in the configuration.")
    code = code_in(message)
    for guard in _GUARDS if code is None else (_not_blocked,):
        declined = guard(message, policy)
        if declined is not None:
            return declined
    # To stop a running answer must always be possible.
    if message.text.strip() != "/stop":
        person = (message.address.platform, message.user_id)
        seconds = rates.take(person, policy.rate_per_minute, now, only_asks=only_asks)
        if seconds:
            return Declined("too fast", f"That is a little fast for me. Please try again in {int(seconds) + 1} s.")
    if code is not None:
        return _by_code(message, code, policy, now, pairing)
    return Admitted(message, trust(message, policy))


def code_in(message: InboundMessage) -> str | None:
    """What may be a code: in private alone, where nobody else reads it."""
    match message.text.split():
        case [word, code] if word == START and not message.in_group and _CODE.fullmatch(code):
            return code
    return None


def digest_of(code: str) -> str:
    """All that is kept of a code."""
    return sha256(code.encode()).hexdigest()


def trust(message: InboundMessage, policy: BotPolicy) -> Trust:
    """What the hub knows of the speaker; what the message says of itself counts for nothing."""
    return "owner" if policy.everyone_owns or message.user_id in policy.owners else "public"


def _by_code(
    message: InboundMessage, code: str, policy: BotPolicy, now: float, pairing: Pairing | None
) -> Admitted | Declined:
    # The log is read by more people than the code was made for.
    greeting = message.model_copy(update={"text": START})
    digest = digest_of(code)
    if pairing is not None and now < pairing.expires_at and compare_digest(digest, pairing.digest):
        return Admitted(greeting, "owner", digest)
    # An owner's code that comes again is the one that made them an owner.
    if trust(message, policy) == "owner":
        return Admitted(greeting, "owner")
    return Declined("not allowed", WRONG_CODE.format(platform=policy.platform))


def _not_blocked(message: InboundMessage, policy: BotPolicy) -> Declined | None:
    return Declined("blocked") if message.user_id in policy.blocked else None


def _let_in(message: InboundMessage, policy: BotPolicy) -> Declined | None:
    if policy.access == "public" or message.user_id in policy.owners:
        return None
    # A group does not want to read a refusal to each of its members.
    if message.in_group and not message.is_addressed:
        return Declined("not addressed")
    if not policy.owners:
        return Declined("no owner", NO_OWNER.format(platform=policy.platform))
    return Declined("not allowed", "This bot answers its owner only.")


def _addressed(message: InboundMessage, policy: BotPolicy) -> Declined | None:
    if message.in_group and not message.is_addressed and not policy.answers_unaddressed:
        return Declined("not addressed")
    return None


def _sized(message: InboundMessage, policy: BotPolicy) -> Declined | None:
    length = len(message.text) + len(message.quoted or "")
    if length > policy.max_text:
        return Declined(
            "too large", f"That is too long for me: {length} characters, and I read up to {policy.max_text}."
        )
    if not message.text.strip() and not message.attachments:
        return Declined("not addressed")
    return None


_GUARDS: tuple[Guard, ...] = (_not_blocked, _let_in, _addressed, _sized)
