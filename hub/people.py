"""Who may do what, as it is while the hub lives: what was done is brought back, and what is done is put on the log.

A code is shown once, to who asked for it. The log holds its digest; the codes by which accounts are linked, which are
good for minutes, are held here alone.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from hmac import compare_digest
from typing import Protocol, TypeVar

from factory_contracts.messages import InboundMessage
from factory_contracts.peers import Offered
from factory_contracts.records import Act, Given, Granted, Invited, Linked, Owner, record_id
from hub.kernel import guards
from hub.kernel.access import Access, Action, BotPolicy, Decision, Place, decide, objection, paired, speaker
from hub.kernel.guards import CODE_BYTES, HIDDEN, Claimed, Pairing, digest_of
from hub.kernel.ports import Full
from hub.kernel.routing import RoutingKey

V = TypeVar("V")

Offers = Callable[[str, str], Pairing | None]
Tell = Callable[[], Awaitable[None]]

INVITED_FOR = 3_600.0
LINKING_FOR = 600.0
CODES_KEPT = 1_000
NO_ROOM = "I cannot keep that right now, because my storage is full. Please try again later."
OTHER_ACCOUNT = "Send that from your other account: it is by that one that you say who you are as well."
LOST = "\n\nThe code was lost on the way. Please ask for a fresh one."


class AccessLog(Protocol):
    """The part of the log that tells a new hub who may do what."""

    async def owners(self) -> dict[tuple[str, str], tuple[Owner, ...]]:
        """Who became an owner of which bot before there were acts, by platform and bot."""
        ...

    async def acts(self, after: int = 0) -> tuple[tuple[int, Act], ...]:
        """What was done after a sequence, oldest first, each with its own. Raises `Malformed` where any of it cannot
        be read: a block could be in it."""
        ...

    async def note_act(self, act: Act, after: int) -> bool:
        """On return the act is on the log as the next after that sequence; false where another is, or this one is
        already. Waits out a lost bus.

        Raises `Fenced`, `Full` or `Unwritable`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Paired:
    """The code lets its sender in."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """The code is another account's; by a second one its sender says that they are one person with it."""

    other: str
    code: str


@dataclass(frozen=True, slots=True)
class Joined:
    """Its sender is one person with another account from now on; or may not be, and the words say why."""

    other: str
    refused: str = ""


Opened = Paired | Proposed | Joined


@dataclass(slots=True)
class _Offer:
    """An account that waits for another; once somebody answered, who that is and what they have to send now."""

    one: str
    expires_at: float
    other: str | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class _Proposal:
    """Two accounts of which one has to say once more that they are one person."""

    one: str
    other: str
    expires_at: float


async def tell_nobody() -> None:
    """No other hub need know."""


class People:
    """Everybody's power by now; `restore` brings back what was done under earlier hubs.

    `tell` returns when the other hubs that share know what was done here.
    """

    def __init__(
        self,
        log: AccessLog,
        policies: Iterable[BotPolicy] = (),
        offers: Offers = lambda platform, bot_id: None,
        tell: Tell = tell_nobody,
    ) -> None:
        self.access = Access(policies)
        self._log = log
        self._offers = offers
        self._offered: OrderedDict[str, _Offer] = OrderedDict()
        self._proposed: OrderedDict[str, _Proposal] = OrderedDict()
        self._secrets: OrderedDict[str, str] = OrderedDict()
        self._acting = asyncio.Lock()
        self._tell = tell
        self.through = 0

    async def restore(self) -> None:
        """Know what was done under earlier hubs."""
        for (platform, bot_id), owners in (await self._log.owners()).items():
            self.access.apply_owners(platform, bot_id, owners)
        await self.follow()

    async def follow(self) -> int:
        """Know what was done under other hubs by now; answers with the sequence up to which everything is known."""
        for sequence, act in await self._log.acts(self.through):
            if sequence > self.through:
                self.access.apply(act)
                self.through = sequence
        return self.through

    def policy(self, key: RoutingKey) -> BotPolicy | None:
        """What the configuration says of the bot; None where it says nothing."""
        return self.access.policies.get(key.bot)

    def decide(
        self, key: RoutingKey, who: str, action: Action, *, in_group: bool, asker: str | None = None
    ) -> Decision:
        """Whether somebody may do something there, to the turn that this one asked for if it is done to one."""
        return decide(self.access, key.bot, who, action, Place(in_group, asker))

    def other_name(self, who: str) -> str | None:
        """The person's name, where it is not that of the identity."""
        name = self.access.name(who)
        return None if name == who else name

    async def do(self, act: Act) -> str:
        """Put an act on the log; words where it may not be done. What is known to be done is not done again.

        Raises `Fenced` or `Unwritable`.
        """
        # Each of two acts at once might be allowed by what the other takes away.
        async with self._acting:
            try:
                return await self._do(lambda: act) or ""
            except Full:
                return NO_ROOM

    async def invite(self, turn: str, by: str, bot: str, level: Given, now: float) -> str:
        """Make a code that lets its first sender in; words where it may not be made. The turn's answer shows it."""
        code = secrets.token_hex(CODE_BYTES)
        digest = digest_of(code)
        refused = await self.do(
            Invited(
                # What a hub made that died before it could show it is nobody's, and the turn makes another.
                id=record_id(turn, "invited", digest[:CODE_BYTES]),
                at=now,
                by=by,
                bot=bot,
                level=level,
                code=digest,
                expires_at=now + INVITED_FOR,
            )
        )
        if not refused:
            self.keep_secret(turn, code)
        return refused

    def offer_link(self, turn: str, who: str, now: float) -> Offered:
        """Make a code by which another account says that it is the same person; the turn's answer shows it."""
        code = secrets.token_hex(CODE_BYTES)
        offered = Offered(code=digest_of(code), who=who, expires_at=now + LINKING_FOR)
        self.hear_offer(offered.code, who, offered.expires_at)
        self.keep_secret(turn, code)
        return offered

    def hear_offer(self, digest: str, who: str, expires_at: float) -> None:
        """Somebody has a code by which another account may say that it is the same person."""
        for other in [other for other, offer in self._offered.items() if offer.one == who]:
            del self._offered[other]
        _keep(self._offered, digest, _Offer(who, expires_at))

    def opens(self, claimed: Claimed, now: float) -> bool:
        """Whether a code would open anything for its sender; asking uses none up."""
        who, digest = speaker(claimed.message), claimed.digest
        if claimed.word == "/start":
            return self._grant(claimed, now) is not None
        proposal = self._proposed.get(digest)
        may_join = proposal is not None and proposal.other == who and now < proposal.expires_at
        return may_join or self._offer(claimed, now) is not None or self._link(claimed) is not None

    async def redeem(self, claimed: Claimed, now: float) -> Opened | None:
        """What a code opens for its sender, the same however often it is sent; None where it opens nothing.

        Raises `Fenced`, `Full` or `Unwritable`.
        """
        async with self._acting:
            if claimed.word == "/start":
                granted = await self._do(lambda: self._grant(claimed, now))
                return None if granted is None or granted else Paired()
            offer = self._offer(claimed, now)
            return await self._join(claimed, now) if offer is None else self._propose(claimed, offer, now)

    def without_codes(self, message: InboundMessage) -> InboundMessage:
        """The message without any code that opens or opened something: logs and models are no place for one."""
        address = message.address

        def is_code(digest: str) -> bool:
            offered = self._offers(address.platform, address.bot_id)
            ours = digest in self._offered or digest in self._proposed or self.access.is_code(digest)
            return ours or (offered is not None and compare_digest(digest, offered.digest))

        return guards.without_codes(message, is_code)

    def keep_secret(self, turn: str, code: str) -> None:
        """Keep a code for this turn's answer, which holds a mark in its place."""
        _keep(self._secrets, turn, code)

    def drop_secret(self, turn: str) -> None:
        """The answer was shown, and with it its code."""
        self._secrets.pop(turn, None)

    def disclose(self, turn: str, text: str, choices: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """An answer and what it offers, as the reader sees them. A code that died with a hub is said to be lost."""
        if HIDDEN not in text:
            return text, choices
        code = self._secrets.get(turn)
        if code is None:
            return text + LOST, tuple(choice for choice in choices if HIDDEN not in choice)
        return text.replace(HIDDEN, code), tuple(choice.replace(HIDDEN, code) for choice in choices)

    async def _do(self, wanted: Callable[[], Act | None]) -> str | None:
        """Put on the log what is wanted once all is known that was done before; words where it may not be done, None
        where nothing is wanted any more."""
        was_tried = False
        while (act := wanted()) is not None:
            if was_tried and self.access.knows(act.id):
                # It was stored by the very append whose answer was lost.
                await self._tell()
                return ""
            refused = objection(self.access, act)
            if refused or self.access.knows(act.id):
                return refused
            # Where another hub did something meanwhile, this may not be allowed any more.
            was_tried, is_noted = True, await self._log.note_act(act, self.through)
            await self.follow()
            if is_noted:
                # Who is told that it is done may count on it wherever they speak next.
                await self._tell()
                return ""
        return None

    def _grant(self, claimed: Claimed, now: float) -> Granted | None:
        """What a code stands for, be it done already; None where that is nothing for its sender."""
        who, key, digest = speaker(claimed.message), RoutingKey.of(claimed.message.address), claimed.digest
        spent = self.access.spent_on(digest)
        if isinstance(spent, Granted) and (spent.to, spent.bot) == (who, key.bot):
            # What was taken back since is not given again by the code that gave it once.
            return spent if self.decide(key, who, "speak", in_group=False).allowed else None
        if spent is not None:
            return None
        offered, invited = self._offers(key.platform, key.bot_id), self.access.invitation(digest)
        if offered is not None and compare_digest(digest, offered.digest) and now < offered.expires_at:
            return paired(None, who, key.bot, "owner", digest, now)
        if invited is None or invited.bot != key.bot or now >= invited.expires_at:
            return None
        act = paired(invited.by, who, key.bot, invited.level, digest, now)
        return None if objection(self.access, act) else act

    def _offer(self, claimed: Claimed, now: float) -> _Offer | None:
        """The account whose code this is, while it waits for anybody or for this one."""
        offer = self._offered.get(claimed.digest)
        is_open = offer is not None and now < offer.expires_at and offer.other in (None, speaker(claimed.message))
        return offer if is_open else None

    def _link(self, claimed: Claimed) -> Linked | None:
        """What the code did when this account sent it before, if that still stands."""
        spent, who = self.access.spent_on(claimed.digest), speaker(claimed.message)
        if isinstance(spent, Linked) and spent.other == who and spent.one in self.access.person(who):
            return spent
        return None

    def _propose(self, claimed: Claimed, offer: _Offer, now: float) -> Proposed | Joined:
        who = speaker(claimed.message)
        if offer.one == who:
            return Joined(offer.one, OTHER_ACCOUNT)
        if offer.other is None:
            code = secrets.token_hex(CODE_BYTES)
            wanted = _linked(offer.one, who, digest_of(code), now)
            if refused := objection(self.access, wanted):
                return Joined(offer.one, refused)
            offer.other, offer.code = who, code
            _keep(self._proposed, wanted.code, _Proposal(offer.one, who, offer.expires_at))
        return Proposed(offer.one, offer.code)

    async def _join(self, claimed: Claimed, now: float) -> Joined | None:
        who, digest = speaker(claimed.message), claimed.digest
        done = self._link(claimed)
        if done is not None:
            return Joined(done.one)
        # Whoever else has come to know it, nobody is linked by it any more.
        proposal = self._proposed.pop(digest, None)
        if proposal is None or proposal.other != who or now >= proposal.expires_at:
            return None
        linked = _linked(proposal.one, who, digest, now)
        return Joined(proposal.one, await self._do(lambda: linked) or "")


def _linked(one: str, other: str, code: str, at: float) -> Linked:
    return Linked(id=f"linked.{code}", at=at, by=other, one=one, other=other, code=code)


def _keep(kept: OrderedDict[str, V], name: str, value: V) -> None:
    kept[name] = value
    if len(kept) > CODES_KEPT:
        kept.popitem(last=False)
