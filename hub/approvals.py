"""Leave for single calls: asked once, decided once by who may, and never read out of what somebody says.

All that is known of a question stands on its scope's log, so a hub that begins knows as much as the one before.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from factory_contracts.messages import Decision, InboundMessage, Noted, Refused
from factory_contracts.peers import Decide, ListQuestions, OpenQuestion
from factory_contracts.records import Asked, Decided, ToolStarted, record_id
from factory_contracts.subjects import PARTITIONS
from factory_contracts.work import ApprovalWanted, NotRecorded, Recorded, RecordReply
from hub.commands import APPROVALS, APPROVE, DENY
from hub.kernel.access import name_of
from hub.kernel.approval import Approval, digest, in_code, read, worded
from hub.kernel.routing import RoutingKey
from hub.kernel.session import OpenTurn
from hub.pool import Pool, Pools, Ports, once
from hub.turn import show

logger = logging.getLogger(__name__)

# A worker that asks is held for so long, which is a little longer than it waits before it asks again.
HOLD = 5.0
LOOK_AGAIN = 0.1
MOST_OPEN = 20
MOST_LISTED = 10
# More than anybody reads, and few enough for one message.
MOST_TOLD = 200
# Two for each question, and no more than a final can carry.
MOST_OFFERED = 4
MAX_PLACE = 300
CODE_BYTES = 8
# What was allowed in the last moment has so long to begin.
GRACE = 60.0

# What the model reads instead of a result.
DENIED = "The person did not allow this."
NOT_IN_TIME = "Nobody answered in time, so this was not done."
OTHER_ARGUMENTS = "A person was asked about this with other arguments, so it was not done."
BEGUN_BEFORE = (
    "The person allowed this once, and it was begun in an earlier attempt at the same answer. Whether it took effect "
    "is not known, and it was not run again. Find out first, or tell the person."
)
NOT_ALLOWED = "Nobody has allowed this, so it was not done."
UNREADABLE = "What this is called with cannot be shown to a person, so nobody was asked and it was not done."
RUN_OUT = "A person allowed this, but too long ago, so it was not done."
TOO_MANY = f"{MOST_OPEN} questions wait for an answer already, so nobody was asked and this was not done."

# What a person reads who answers.
GONE = "There is nothing to decide here any more."
NOT_YOURS = "Only an owner of this bot may allow this."
DECIDED = "This was decided already."
TOO_OLD = "That question is too old."
NOTHING_WAITS = "Nothing waits for your leave."
NOT_SEEN = "I cannot see every conversation at the moment."
SAY_AGAIN = f"{NOT_SEEN} Please say this again in a little while."
MAY_BE_MORE = f"{NOT_SEEN} There may be more, so please ask again in a little while."
HOW_TO = "`{word}` needs the code of one question, and nothing else. `/approvals` tells them."

_CODE = re.compile(rf"[0-9a-f]{{{2 * CODE_BYTES}}}")
_WORDS = frozenset((APPROVALS, APPROVE, DENY))
_SAID = MappingProxyType({APPROVE: "Allowed.", DENY: "Not allowed, and not done."})


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever answers, by the platform that vouches for them."""

    platform: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Words:
    """What a person is told, and what they may say next."""

    text: str
    choices: tuple[str, ...] = ()


def is_word(text: str) -> bool:
    """Whether this is a word about questions; what only sounds like leave is for the agent."""
    return not _WORDS.isdisjoint(text.split(maxsplit=1)[:1])


@dataclass(slots=True)
class Approvals:
    """Every question of every conversation in memory, which are all that have an open turn."""

    ports: Ports
    pools: Pools
    _asking: dict[tuple[str, str], asyncio.Future[None]] = field(default_factory=dict)
    _deciding: dict[tuple[str, str], asyncio.Future[None]] = field(default_factory=dict)

    # Workers

    async def ask(
        self, pool: Pool, turn: OpenTurn, wanted: ApprovalWanted, counts: Callable[[], bool]
    ) -> RecordReply | None:
        """Whether the call may be made, once that is decided; None after a while, and then the worker asks again.

        `counts` tells whether the attempt that asks is still the one whose calls may have an effect. Raises as `append`
        does.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + HOLD
        while counts():
            known = turn.approval(wanted.call)
            reply = self._reply(turn, wanted, known)
            if reply is not None:
                return reply
            if known is not None and self._is_late(known):
                await self._decide(pool, turn, known, None, approved=False)
            elif known is None or known.attempt != _attempt(turn):
                # What an earlier attempt asks may still be on its way to the log, and is the same question.
                await once(self._asking, (turn.turn, wanted.call), lambda: self._ask(pool, turn, wanted))
            elif loop.time() >= until:
                return None
            else:
                await pool.change(min(until - loop.time(), known.asked.expires_at - self.ports.clock()))
        return NotRecorded()

    def refusal(self, turn: OpenTurn, started: ToolStarted) -> str:
        """Why a call that was asked about may not begin now; empty where it may, or needs nobody's leave."""
        known = turn.approval(started.call)
        if known is None:
            return ""
        if known.asked.arguments != started.arguments:
            return OTHER_ARGUMENTS
        # The same attempt asks again where the answer was lost; another one would do it a second time.
        if known.begun not in (None, started.attempt):
            return BEGUN_BEFORE
        return "" if self._is_allowed(known) else NOT_ALLOWED

    # People

    async def press(self, pool: Pool, pressed: Decision) -> Noted | Refused:
        """A button under a question decides it, if it stands in this conversation and is pressed by who may."""
        turn = pool.session.turns.get(pressed.turn)
        known = _coded(turn, pressed.code) if turn is not None else None
        if turn is None or known is None:
            return _no(GONE)
        return await self._answer(pool, turn, known, Person(pressed.platform, pressed.user_id), pressed.approved)

    async def obey(self, message: InboundMessage) -> Words:
        """List what the speaker may decide, or decide one by its code."""
        word, *rest = message.text.split()
        person = Person(message.address.platform, message.user_id)
        if word != APPROVALS and (len(rest) != 1 or not _CODE.fullmatch(rest[0])):
            return Words(HOW_TO.format(word=word))
        loop = asyncio.get_running_loop()
        until = loop.time() + HOLD
        while True:
            is_whole = self._is_whole()
            if word == APPROVALS:
                # What is asked in private is not told to everybody in a group.
                only = RoutingKey.of(message.address) if message.in_group else None
                words, have_answered = await self._listed(person, only)
            else:
                text, have_answered = await self._decided(person, rest[0], approved=word == APPROVE)
                if text is not None:
                    return Words(text)
                words = Words(GONE)
            # One that was counted on before may be known to be gone by now.
            if is_whole and have_answered and self._is_whole():
                return words
            # A hub has died, or just begins: what it knew, the next one will in a moment.
            if loop.time() >= until:
                return replace(words, text=SAY_AGAIN if word != APPROVALS else f"{words.text}\n\n{MAY_BE_MORE}")
            await asyncio.sleep(LOOK_AGAIN)

    async def decide(self, person: Person, code: str, *, approved: bool) -> str | None:
        """Decide a question of a conversation in memory by its code; None where there is none with it."""
        for pool in self.pools:
            for turn in pool.session.turns.values():
                known = _coded(turn, code)
                if known is not None:
                    answer = await self._answer(pool, turn, known, person, approved)
                    return answer.text if isinstance(answer, Refused) else _SAID[APPROVE if approved else DENY]
        return None

    def open_to(self, person: Person) -> tuple[OpenQuestion, ...]:
        """The questions of conversations in memory that this person may decide, the oldest of them."""
        found = (
            OpenQuestion(scope=pool.key.to_pool_id(), asked=asked)
            for pool in self.pools
            for turn in pool.session.turns.values()
            if turn.questions and self._may_approve(pool, turn, person)
            for asked in turn.questions
            if self.ports.clock() < asked.expires_at
        )
        return tuple(sorted(found, key=lambda one: one.asked.at)[:MOST_TOLD])

    def _is_whole(self) -> bool:
        """Whether what is asked in each conversation is known, here or by a hub that can be asked."""
        log, peers = self.ports.log, self.ports.peers
        return not self.pools.reading and all(log.epoch(part) or peers.has(part) for part in range(PARTITIONS))

    async def _decided(self, person: Person, code: str, *, approved: bool) -> tuple[str | None, bool]:
        """What who decides is told, None where nobody knows the question; and whether all who might have answered."""
        text = await self.decide(person, code, approved=approved)
        if text is not None:
            return text, True
        wanted = Decide(platform=person.platform, user_id=person.user_id, code=code, approved=approved)
        said = await self.ports.peers.everyone(wanted)
        texts = (heard.text for heard in said if heard is not None)
        return next((text for text in texts if text is not None), None), None not in said

    async def _listed(self, person: Person, only: RoutingKey | None) -> tuple[Words, bool]:
        """What the person may decide, and whether all who might know more have answered."""
        said = await self.ports.peers.everyone(ListQuestions(platform=person.platform, user_id=person.user_id))
        have_answered = None not in said
        others = (one for heard in said if heard is not None for one in heard.questions or ())
        every = (*self.open_to(person), *others)
        found = sorted(
            (one for one in every if only is None or one.scope == only.to_pool_id()), key=lambda one: one.asked.at
        )
        if not found:
            return Words(NOTHING_WAITS), have_answered
        told = [_told(one) for one in found[:MOST_LISTED]]
        if len(found) > MOST_LISTED:
            told.append(f"{len(found) - MOST_LISTED} more wait behind these.")
        offered = (f"{word} {one.asked.code}" for one in found[:MOST_OFFERED] for word in (APPROVE, DENY))
        return Words("\n\n".join(told), tuple(offered)), have_answered

    def _may_approve(self, pool: Pool, turn: OpenTurn, person: Person) -> bool:
        """Whether they own the bot that asks, wherever they answer from; who asked for the turn need not."""
        who = name_of(person.platform, person.user_id)
        return self.ports.people.decide(pool.key, who, "approve", in_group=turn.message.in_group).allowed

    # The log

    async def _answer(
        self, pool: Pool, turn: OpenTurn, known: Approval, person: Person, approved: bool
    ) -> Noted | Refused:
        """The first answer counts; who gives theirs again is told what they were told."""
        if not self._may_approve(pool, turn, person):
            return _no(NOT_YOURS)
        while (decided := known.decided) is None:
            if turn.is_answered:
                return _no(GONE)
            if self._is_late(known):
                await self._decide(pool, turn, known, None, approved=False)
            else:
                await self._decide(pool, turn, known, person, approved=approved)
            known = turn.approval(known.asked.call) or known
        if decided.user_id is None:
            return _no(TOO_OLD)
        if (decided.platform, decided.user_id, decided.approved) != (person.platform, person.user_id, approved):
            return _no(DECIDED)
        return Noted(epoch=pool.epoch)

    async def _ask(self, pool: Pool, turn: OpenTurn, wanted: ApprovalWanted) -> None:
        """Put the question on the log; one that an earlier attempt asked stays what it is, for as long as it was."""
        known, now = turn.approval(wanted.call), self.ports.clock()
        id, compacted = record_id(turn.turn, "asked", _attempt(turn), wanted.call), pool.session.compacted
        if known is not None:
            await self._put(pool, turn, known.asked.model_copy(update={"id": id, "at": now, "compacted": compacted}))
            return
        arguments, expires_at = read(wanted.arguments) or {}, now + wanted.seconds
        asked = Asked(
            id=id,
            turn=turn.turn,
            at=now,
            compacted=compacted,
            call=wanted.call,
            code=secrets.token_hex(CODE_BYTES),
            tool=wanted.tool,
            effect=wanted.effect,
            arguments=digest(wanted.tool, wanted.arguments),
            text=worded(wanted.tool, wanted.effect, arguments, wanted.reasons, expires_at),
            user_id=turn.message.user_id,
            expires_at=expires_at,
        )
        await self._put(pool, turn, asked)

    async def _decide(
        self, pool: Pool, turn: OpenTurn, known: Approval, person: Person | None, *, approved: bool
    ) -> None:
        """Put a decision on the log, unless another one is on its way there."""
        decided = Decided(
            id=record_id(turn.turn, "decided", known.asked.call),
            turn=turn.turn,
            at=self.ports.clock(),
            compacted=pool.session.compacted,
            call=known.asked.call,
            code=known.asked.code,
            approved=approved,
            platform=person.platform if person is not None else None,
            user_id=person.user_id if person is not None else None,
        )
        await once(self._deciding, (turn.turn, known.asked.call), lambda: self._put(pool, turn, decided))

    async def _put(self, pool: Pool, turn: OpenTurn, record: Asked | Decided) -> None:
        await pool.put(record)
        logger.info("turn %s: a call of %s is %s", turn.turn, record.call, record.kind)
        following = pool.following
        # A snapshot, for nothing more may come for long that would heal what a screen has missed.
        if following is not None and following.turn == turn.turn:
            await show(pool, turn, following.processor.snapshot(), following.processor)

    def _reply(self, turn: OpenTurn, wanted: ApprovalWanted, known: Approval | None) -> RecordReply | None:
        if known is not None and known.asked.arguments != digest(wanted.tool, wanted.arguments):
            return NotRecorded(words=OTHER_ARGUMENTS)
        match known:
            case None if read(wanted.arguments) is None:
                return NotRecorded(words=UNREADABLE)
            case None if len(turn.questions) >= MOST_OPEN:
                return NotRecorded(words=TOO_MANY)
            case None | Approval(begun=None, decided=None):
                return None
            case Approval(begun=None, decided=Decided(user_id=None)):
                return NotRecorded(words=NOT_IN_TIME)
            case Approval(begun=None, decided=Decided(approved=False)):
                return NotRecorded(words=DENIED)
            case Approval(begun=None):
                return Recorded() if self._is_allowed(known) else NotRecorded(words=RUN_OUT)
            case _:
                return NotRecorded(words=BEGUN_BEFORE)

    def _is_late(self, known: Approval) -> bool:
        return self.ports.clock() >= known.asked.expires_at

    def _is_allowed(self, known: Approval) -> bool:
        """Whether it was allowed and not too long ago: after an outage nobody expects it any more."""
        decided = known.decided
        if decided is None or not decided.approved:
            return False
        return self.ports.clock() <= max(known.asked.expires_at, decided.at + GRACE)


def _attempt(turn: OpenTurn) -> int:
    return turn.start.attempt if turn.start is not None else 0


def _coded(turn: OpenTurn, code: str) -> Approval | None:
    return next((one for one in turn.approvals if one.asked.code == code), None)


def _told(one: OpenQuestion) -> str:
    place, asked = in_code(one.scope, MAX_PLACE), one.asked
    return f"In {place}:\n\n{asked.text}\n\n`{APPROVE} {asked.code}` or `{DENY} {asked.code}`"


def _no(words: str) -> Refused:
    return Refused(reason="not allowed", text=words)
