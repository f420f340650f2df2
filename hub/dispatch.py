"""Where everything that spokes and workers ask of the hub arrives: screen, route, put on the log, hand to a pool."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from factory_contracts.envelope import SCHEMA_VERSION
from factory_contracts.messages import (
    Claim,
    Decision,
    Erased,
    Exchange,
    FinalReceipt,
    FromSpoke,
    Hello,
    InboundMessage,
    Moved,
    Noted,
    Refused,
    ShownReceipt,
    StandBy,
    StopPressed,
    Submit,
    ToSpoke,
    Welcome,
    turn_id,
)
from factory_contracts.peers import Begin, Counted, Decide, Greeted, Heard, ListQuestions, Offered, PeerAsked
from factory_contracts.records import Compacted, MoneyReserved, StepDone, ToolDone, ToolStarted, Trust
from factory_contracts.subjects import EVERY_SCOPE, BadToken
from factory_contracts.work import ApprovalWanted, NotRecorded, Recorded, RecordReply, RecordRequest
from hub.approvals import Approvals, Person, is_word
from hub.commands import FORGETTING, NOT_ANSWERED, NOTHING_RUNS, STOPPED, WHAT_IS_FORGOTTEN
from hub.forgetting import Forgetting
from hub.kernel.access import NOT_ALLOWED, name_of, speaker
from hub.kernel.budget import CallId, TooDear
from hub.kernel.guards import Admitted, Claimed, Declined, screen
from hub.kernel.ports import Fenced, Full, Unwritable
from hub.kernel.routing import RoutingKey
from hub.kernel.session import FORGET, FORGET_ALL, OpenTurn, Session, fold
from hub.leases import Leases
from hub.money import Money
from hub.people import Joined, Paired, Proposed
from hub.pool import LOG_FULL, Pool, Pools, Ports, once
from hub.powers import WRONG_CODE, joined, proposed
from hub.turn import show

logger = logging.getLogger(__name__)

HISTORY_SHOWN = 10
BEGIN_AGAIN = 0.1


@dataclass(slots=True)
class Hub:
    """The one routing authority."""

    ports: Ports
    pools: Pools
    forgetting: Forgetting
    money: Money
    leases: Leases
    payer: Callable[[str], str] = lambda model: ""
    approvals: Approvals = field(init=False)
    _reserving: dict[CallId, asyncio.Future[RecordReply | None]] = field(default_factory=dict)
    _recording: dict[tuple[str, str], asyncio.Future[None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.approvals = Approvals(self.ports, self.pools)

    async def answer(self, asked: FromSpoke, inbox: str = "") -> ToSpoke | None:
        """What a spoke is told, into its inbox; None means silence, which makes it ask again. Raises `Fenced`."""
        try:
            return await self._answer(asked, inbox)
        except Full:
            # Nobody waits here for room: who asks again would wait once more each time, until nobody else is heard.
            # Behind these is a person, who is told so.
            return Refused(reason="unavailable", text=LOG_FULL) if isinstance(asked, Submit | Hello) else None

    async def _answer(self, asked: FromSpoke, inbox: str) -> ToSpoke | None:
        key = RoutingKey(asked.platform, asked.bot_id, asked.scope_id)
        if (speaking := await self.leases.later(asked)) is not None:
            return StandBy(generation=speaking)
        match asked:
            case Claim():
                return await self.leases.claim(asked, inbox)
            case Submit():
                return await self.receive(asked.message, only_asks=asked.only_asks is True)
            case ShownReceipt():
                pool = await self.pools.get(key)
                bubble = await pool.shown(asked.turn, asked.message_id, asked.part or 0)
                return Noted(message_id=bubble, epoch=pool.epoch)
            case FinalReceipt():
                pool = await self.pools.get(key)
                pool.settle(asked.turn, asked.message_id, asked.undeliverable)
                return Noted(message_id=asked.message_id, epoch=pool.epoch)
            case StopPressed():
                return await self._stop_pressed(await self.pools.get(key), asked)
            case Decision():
                return await self.approvals.press(await self.pools.get(key), asked)
            case Moved():
                return await self._move(RoutingKey(asked.platform, asked.bot_id, asked.old_scope), key)
            case Erased(turn=turn):
                self.forgetting.heard(turn)
                return Noted(epoch=self.ports.log.epoch(key.partition))
            case Hello(of=other, until=until):
                refused = await self._copy(other, until, key) if other is not None else None
                return refused or await self._welcome(key)

    async def receive(self, message: InboundMessage, *, only_asks: bool = False) -> ToSpoke | None:
        """Accepted means persisted: the reply is given when the turn is on the log.

        Who only asks is told what would be said; nothing is counted and nothing kept. Where all that was said is just
        being removed the answer is silence, which makes the spoke ask again.
        """
        key = RoutingKey.of(message.address)
        # What is known is no new message, whatever the guards think of its sender by now.
        pool = self.pools.peek(key)
        if pool is not None and (word := await pool.word(message)) is not None:
            return word
        if pool is not None and pool.is_ending:
            return None
        people, now = self.ports.people, self.ports.clock()
        match screen(message, people.access, self.ports.traffic, now, only_asks=only_asks):
            case Declined(reason=reason, words=words):
                logger.info("refused a message on %s/%s: %s", key.platform, key.bot_id, reason)
                return Refused(reason=reason, text=words)
            case Claimed() as claimed if only_asks and people.opens(claimed, now):
                return Noted(epoch=self.ports.log.epoch(key.partition))
            case Claimed() as claimed:
                return _wrong_code(key) if only_asks else await self._redeem(key, claimed)
            case Admitted(message=message, trust=trust):
                message = people.without_codes(message)
                pool = await self.pools.get(key)
        if pool.is_ending:
            return pool.already(message)
        words = message.text.strip()
        if words.partition(" ")[0] == FORGET and not only_asks:
            return await self._forget(pool, message, trust)
        if pool.agent is None:
            return Refused(reason="no agent", text="No agent is bound to this conversation yet.")
        is_stop, is_leave = words == "/stop", is_word(message.text)
        if only_asks:
            is_taken = is_stop or is_leave
            return (None if is_taken else pool.refusal(message)) or Noted(epoch=pool.epoch)
        if is_stop:
            return await self._stop(pool, message, trust)
        if is_leave:
            # The turn that waits for it stands before all that is said here.
            told = await self.approvals.obey(message)
            # It may have been idle and let go of meanwhile.
            pool = await self.pools.get(key)
            return await pool.submit(message, trust, answer=told.text, choices=told.choices)
        return await pool.submit(message, trust)

    async def _redeem(self, key: RoutingKey, claimed: Claimed) -> ToSpoke:
        """What a code opens stands on the log before its sender is answered: should it come again, it is known."""
        people = self.ports.people
        message = people.without_codes(claimed.message)
        try:
            opened = await people.redeem(claimed, self.ports.clock())
        except (Full, Unwritable):
            return Refused(reason="unavailable", text=LOG_FULL)
        if opened is None:
            logger.info("refused a code on %s", key.bot)
            return _wrong_code(key)
        logger.info("a code was used on %s", key.bot)
        pool = await self.pools.get(key)
        trust = people.decide(key, speaker(message), "speak", in_group=False).trust
        match opened:
            case Paired() if pool.agent is None:
                return Refused(reason="no agent", text="No agent is bound to this conversation yet.")
            case Paired():
                return await pool.submit(message, trust)
            case Joined():
                return await pool.submit(message, trust, answer=joined(speaker(message), opened))
            case Proposed():
                people.keep_secret(pool.turn_of(message), opened.code)
                words, choice = proposed(speaker(message), opened)
                return await pool.submit(message, trust, answer=words, choices=(choice,))

    async def hear(self, asked: PeerAsked) -> Heard:
        """What another hub is told that shares with this one. Silence is `Fenced` where this is another's by now, and
        `Full`."""
        match asked:
            case Begin(platform=platform, bot_id=bot_id, scope_id=scope_id, view=view):
                return Heard(done=await self.pools.fork(RoutingKey(platform, bot_id, scope_id), view))
            case Decide() | ListQuestions() if self.pools.reading:
                # Silence: what is asked here is not all known yet.
                raise Fenced
            case Decide():
                person = Person(asked.platform, asked.user_id)
                text = await self.approvals.decide(person, asked.code, approved=asked.approved)
                return Heard(done=text is not None, text=text)
            case ListQuestions():
                return Heard(questions=self.approvals.open_to(Person(asked.platform, asked.user_id)))
            case Greeted(platform=platform, bot_id=bot_id):
                await self._greet(platform, bot_id, EVERY_SCOPE)
                return Heard()
            case Offered():
                self.ports.people.hear_offer(asked.code, asked.who, asked.expires_at)
                return Heard()
            case Counted(hub=hub, spoken=spoken, waiting=waiting):
                traffic, now = self.ports.traffic, self.ports.clock()
                for one in spoken:
                    traffic.people.charge(one.who, one.times, one.per_minute, now)
                traffic.waits.hear(hub, {one.who: one.places for one in waiting})
                return Heard()

    async def begin(self, key: RoutingKey, view: Compacted) -> bool:
        """Begin a conversation with a view of another, whichever hub has it; false where there is one already."""
        while True:
            if self.ports.log.epoch(key.partition):
                with suppress(Fenced, Full):
                    return await self.pools.fork(key, view)
            asked = Begin(platform=key.platform, bot_id=key.bot_id, scope_id=key.scope_id, view=view)
            heard = await self.ports.peers.ask(key.partition, asked)
            if heard is not None:
                return heard.done
            await asyncio.sleep(BEGIN_AGAIN)

    async def record(self, worker: str, asked: RecordRequest) -> RecordReply | None:
        """Put a worker's record on the log, if the worker's attempt is the one that counts; None bids it ask again."""
        key = RoutingKey(asked.platform, asked.bot_id, asked.scope_id)
        try:
            reply = await self._record(key, worker, asked)
        except Full:
            return None
        # What another hub began since it took over is unknown here, and a worker that is told no drops it.
        if isinstance(reply, NotRecorded) and not await self.ports.log.reigns(key.partition):
            raise Fenced
        return reply

    async def _record(self, key: RoutingKey, worker: str, asked: RecordRequest) -> RecordReply | None:
        pool = await self.pools.get(key)
        if not _counts(pool, worker, asked):
            return NotRecorded()
        turn = pool.session.turns[asked.record.turn]
        if isinstance(asked.record, ApprovalWanted):
            return await self.approvals.ask(pool, turn, asked.record, lambda: _counts(pool, worker, asked))
        record = asked.record.model_copy(update={"at": self.ports.clock(), "compacted": pool.session.compacted})
        match record:
            case ToolStarted() if refusal := self.approvals.refusal(turn, record):
                return NotRecorded(words=refusal)
            case ToolStarted() | ToolDone() | StepDone():
                # The question comes again every few seconds, however long the log takes to answer.
                await once(self._recording, (record.turn, record.id), lambda: pool.put(record))
                # Where the next attempt's beginning was on its way already, this one does not count any more.
                return Recorded() if _counts(pool, worker, asked) else NotRecorded()
            case MoneyReserved():
                call = (record.turn, record.attempt, record.call)
                if call not in self._reserving and self.ports.ledger.knows(*call):
                    return Recorded()
                # Whose money it is, the hub knows, and a worker cannot say otherwise.
                message = pool.session.turns[record.turn].message
                payer = {"user_id": message.user_id, "person": self.ports.people.other_name(speaker(message))}
                wanted = record.model_copy(update=payer)
                return await once(self._reserving, call, lambda: self._reserve(pool, worker, asked, wanted))
            case _:
                return NotRecorded()

    async def _reserve(
        self, pool: Pool, worker: str, asked: RecordRequest, wanted: MoneyReserved
    ) -> RecordReply | None:
        agent = self.ports.bindings.agents.get(wanted.agent)

        def still_wanted() -> MoneyReserved | None:
            if not _counts(pool, worker, asked):
                return None
            return wanted.model_copy(update={"at": self.ports.clock(), "compacted": pool.session.compacted})

        may_be_unpriced = agent is not None and agent.allow_unpriced
        match await self.money.reserve(pool, still_wanted, allow_unpriced=may_be_unpriced):
            case TooDear(words=words):
                logger.info("turn %s may not spend more", wanted.turn)
                return NotRecorded(words=words)
            case None:
                return None
            case is_reserved:
                return Recorded() if is_reserved and _counts(pool, worker, asked) else NotRecorded()

    def is_open(self, scope: str, turn: str) -> bool:
        """Whether a turn that a worker keeps may still be asked for."""
        match scope.split(":", 2):
            case platform, bot_id, scope_id:
                pool = self.pools.peek(RoutingKey(platform, bot_id, scope_id))
            case _:
                pool = None
        open_turn = pool.session.turns.get(turn) if pool is not None else None
        return open_turn is not None and not open_turn.is_answered

    async def _stop(self, pool: Pool, message: InboundMessage, trust: Trust) -> ToSpoke:
        """A stop overtakes the queue: what runs is ended, and the word that it is stands on the log at once."""
        running = pool.session.next_turn()
        if running is not None and (refused := self._unstoppable(pool, speaker(message), running)):
            return await pool.submit(message, trust, answer=refused, outcome="failed")
        was_running = await pool.stop()
        return await pool.submit(message, trust, answer=STOPPED if was_running else NOTHING_RUNS)

    async def _forget(self, pool: Pool, message: InboundMessage, trust: Trust) -> ToSpoke:
        """It overtakes the queue as a stop does; what it would do is told first, for it cannot be taken back."""
        decision = self.ports.people.decide(pool.key, speaker(message), "forget", in_group=message.in_group)
        if not decision.allowed:
            return await pool.submit(message, trust, answer=decision.words or NOT_ALLOWED, outcome="failed")
        if message.text.strip() != FORGET_ALL:
            return await pool.submit(message, trust, answer=WHAT_IS_FORGOTTEN, choices=(FORGET_ALL,))
        return await pool.part(message, trust, FORGETTING, NOT_ANSWERED)

    async def _stop_pressed(self, pool: Pool, asked: StopPressed) -> ToSpoke:
        """A button stops the turn under which it stands, for who asked there and for owners; it is no turn itself."""
        turn = pool.session.turns.get(asked.turn)
        # Who asked for what is over is known no more.
        if turn is None or turn is not pool.session.next_turn():
            return Refused(reason="not allowed", text=NOTHING_RUNS)
        if refused := self._unstoppable(pool, name_of(asked.platform, asked.user_id), turn):
            return Refused(reason="not allowed", text=refused)
        await pool.stop()
        return Noted(epoch=pool.epoch)

    def _unstoppable(self, pool: Pool, who: str, turn: OpenTurn) -> str:
        """Why somebody may not stop what runs; empty where they may."""
        message = turn.message
        asker = speaker(message)
        decision = self.ports.people.decide(pool.key, who, "stop", in_group=message.in_group, asker=asker)
        return "" if decision.allowed else decision.words or NOT_ALLOWED

    async def _move(self, old: RoutingKey, new: RoutingKey) -> Noted | None:
        """The conversation goes on under its new key, where it begins with the view of what was said under the old."""
        session = await self._settled(old)
        if session is None:
            return None
        # Where there is a conversation already, this was told before.
        name = turn_id(new.platform, new.bot_id, new.scope_id, old.scope_id)
        await self.pools.fork(new, session.copy(f"fork.{name}", self.ports.clock()))
        return Noted(epoch=self.ports.log.epoch(new.partition))

    async def _settled(self, old: RoutingKey) -> Session | None:
        """What was said in a conversation; None while something of it is being answered or removed, which belongs to
        it as well: the spoke asks again."""
        if self.ports.log.epoch(old.partition):
            pool = await self.pools.get(old)
            return None if pool.session.waiting or pool.accepting or pool.is_ending else pool.session
        # Another hub has it, and this one reads what it has put on the log.
        logged = await self.ports.log.history(old)
        session = fold(old.platform, old.bot_id, old.scope_id, ((one.sequence, one.record) for one in logged))
        return None if session.waiting or session.farewell is not None else session

    async def _copy(self, other: str, until: int | None, new: RoutingKey) -> Refused | None:
        """Begin a conversation with all that was said in another, whose own log is only read; words where it cannot.
        With `until` it is what was said up to that record.

        Whose machine it is may read all conversations on it, and nobody else.
        """
        policy = self.ports.people.policy(new)
        if policy is None or not policy.everyone_owns:
            return Refused(reason="not allowed", text="Only at the terminal can another conversation be gone on with.")
        platform, _, rest = other.partition(":")
        bot_id, _, scope_id = rest.partition(":")
        try:
            key = RoutingKey(platform, bot_id, scope_id)
            logged = await (self.ports.log.history(key) if until is None else self.ports.log.past(key, until))
        except BadToken as error:
            return Refused(reason="malformed", text=f"There is no conversation {other!r}: {error}.")
        session = fold(platform, bot_id, scope_id, ((one.sequence, one.record) for one in logged))
        if session.farewell is not None or not session.received:
            return Refused(
                reason="malformed", text=f"There is no conversation {other!r}; `factory turns ls` lists them."
            )
        point = other if until is None else f"{other}@{until}"
        id = f"fork.{turn_id(new.platform, new.bot_id, new.scope_id, point)}"
        if not await self.pools.fork(new, session.copy(id, self.ports.clock())):
            return Refused(reason="malformed", text=f"There is a conversation {new.scope_id!r} already.")
        return None

    async def _welcome(self, key: RoutingKey) -> Welcome:
        """Send again what has no receipt, and tell who answers here."""
        await self._greet(key.platform, key.bot_id, key.scope_id)
        if key.scope_id == EVERY_SCOPE:
            await self.ports.peers.everyone(Greeted(platform=key.platform, bot_id=key.bot_id))
            return Welcome(epoch=self.ports.log.epoch(key.partition), understands=SCHEMA_VERSION)
        pool = await self.pools.get(key)
        agent = pool.agent
        history = tuple(
            Exchange(
                turn=passage.turn,
                asked=passage.asked,
                answered=passage.answered,
                user_name=passage.user_name,
                attachments=passage.attachments,
                outcome=passage.outcome,
            )
            for passage in pool.session.history[-HISTORY_SHOWN:]
        )
        return Welcome(
            epoch=pool.epoch,
            understands=SCHEMA_VERSION,
            agent=agent.name if agent is not None else None,
            model=agent.model if agent is not None else None,
            payer=self.payer(agent.model) if agent is not None else "",
            history=history,
            erased_at=pool.session.erased_at,
        )

    async def _greet(self, platform: str, bot_id: str, scope_id: str) -> None:
        for pool in self.pools:
            same_bot = (pool.key.platform, pool.key.bot_id) == (platform, bot_id)
            if same_bot and scope_id in (EVERY_SCOPE, pool.key.scope_id):
                await self._send_again(pool)

    async def _send_again(self, pool: Pool) -> None:
        following = pool.following
        for turn in tuple(pool.session.turns.values()):
            await pool.echo(turn.turn, turn.message)
            if turn.is_answered:
                await pool.crew.deliver(pool, turn)
            elif following is None or following.turn != turn.turn:
                continue
            elif following.processor.events or turn.questions:
                await show(pool, turn, following.processor.snapshot(), following.processor)


def _wrong_code(key: RoutingKey) -> Refused:
    """What whoever sends a code is told that opens nothing, whatever the reason."""
    return Refused(reason="not allowed", text=WRONG_CODE.format(platform=key.platform))


def _counts(pool: Pool, worker: str, asked: RecordRequest) -> bool:
    """Whether the attempt that asks is the one that counts."""
    turn = pool.session.turns.get(asked.record.turn)
    if turn is None or turn.is_answered or turn.start is None:
        return False
    return (turn.start.worker, turn.start.instance, turn.start.attempt) == (worker, asked.instance, asked.attempt)
