"""The live context of one conversation, and all of them: a queue of at most 100 turns, one running.

A pool holds nothing that the log does not: evict it, and the next message refills it.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar
from weakref import WeakValueDictionary

from factory_contracts.messages import Accepted, AlreadyAccepted, InboundMessage, Outcome, Refused, Said, turn_id
from factory_contracts.records import (
    Compacted,
    Record,
    ReplyOpened,
    ReplyShown,
    ReplyUndeliverable,
    Start,
    Trust,
    TurnAnswered,
    TurnReceived,
    TurnRefused,
    TurnSuperseded,
    record_id,
)
from hub.kernel.access import Action, Decision, speaker
from hub.kernel.agent import Agent
from hub.kernel.budget import Ledger
from hub.kernel.guards import Traffic
from hub.kernel.ports import Alone, CliPool, Fenced, Full, Log, Logged, Outbox, Peers, Unwritable
from hub.kernel.ports import Run as PoolRun
from hub.kernel.routing import Bindings, PoolId, RoutingKey
from hub.kernel.session import HISTORY_CHARACTERS, OpenTurn, Session, fold
from hub.kernel.stream import StreamProcessor
from hub.people import People

K = TypeVar("K")
T = TypeVar("T")

logger = logging.getLogger(__name__)

QUEUE = 100
FULL_RETRY = 1.0
# So many conversations are read from the log at once: a long one holds up nobody, and all of them fit into memory.
FILLED_AT_ONCE = 16
QUEUE_FULL = f"I still have {QUEUE} messages of this conversation to answer. Please wait a little, or send /stop."
TOO_MANY = (
    "You wait for an answer in {most} other conversations already, and more at once I do not give to one person. "
    "Please wait for one of them, or send /stop there."
)
TOO_LARGE = "That is more than I can keep in one message. Send it as a file."
LOG_FULL = "I cannot take messages right now, because my storage is full. Please try again later."


@dataclass(frozen=True, slots=True)
class Ports:
    """What every pool works with."""

    log: Log
    outbox: Outbox
    clipool: CliPool
    bindings: Bindings
    ledger: Ledger
    people: People
    clock: Callable[[], float]
    at: Callable[[str], None]
    traffic: Traffic = field(default_factory=Traffic)
    peers: Peers = field(default_factory=Alone)


@dataclass(frozen=True, slots=True)
class Following:
    """The attempt that this hub follows at the moment, and the agent that makes it."""

    turn: str
    run: PoolRun
    processor: StreamProcessor
    agent: Agent


RunTurn = Callable[["Pool", OpenTurn], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does a pool's work: the turn's runner, the answer's delivery, the receipts' keeper, who begins another
    conversation with this one's view, who has all removed that was said, the alarm."""

    run_turn: RunTurn
    deliver: Callable[["Pool", OpenTurn], Awaitable[None]]
    settle: Callable[["Pool", OpenTurn, ReplyShown | ReplyUndeliverable], None]
    fork: Callable[[RoutingKey, Compacted], Awaitable[bool]]
    forget: Callable[["Pool"], Awaitable[None]]
    fenced: Callable[[], None]


@dataclass(slots=True)
class Pool:
    """One conversation."""

    key: RoutingKey
    session: Session
    ports: Ports
    crew: Crew
    following: Following | None = None
    is_stopping: bool = False
    is_parting: bool = False
    is_lost: bool = False
    pending: int = 0
    fresh: set[str] | None = None
    accepting: dict[str, asyncio.Future[Accepted | Refused]] | None = None
    _opening: dict[tuple[str, int], asyncio.Future[None]] | None = None
    _change: asyncio.Future[None] | None = None
    _view: asyncio.Future[None] | None = None
    _task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Nothing is open, nothing is under way: the log alone holds all there is to know."""
        is_open = self.session.turns or self.is_ending
        return not is_open and not self.pending and not self.accepting and self._task is None

    @property
    def is_ending(self) -> bool:
        """All that was said is to be removed, and until it is nothing more may be said."""
        return self.is_parting or self.session.farewell is not None

    @property
    def is_full(self) -> bool:
        """As many turns wait as may."""
        return self.session.queued + len(self.accepting or ()) >= QUEUE

    async def submit(
        self,
        message: InboundMessage,
        trust: Trust,
        *,
        answer: str | None = None,
        choices: tuple[str, ...] = (),
        outcome: Outcome = "complete",
    ) -> Accepted | AlreadyAccepted | Refused:
        """Put the message on the log as a turn, unless it is there or too many wait; with its answer, if that is known
        and waits for nobody."""
        known = self.already(message)
        if known is not None:
            return known
        turn = self.turn_of(message)
        accepting = self.accepting = self.accepting or {}
        if answer is None and turn not in accepting and (refused := self.refusal(message)) is not None:
            return refused
        # A message that is submitted again while its record is on the way waits for that record.
        return await once(accepting, turn, lambda: self._accept(turn, message, trust, answer, choices, outcome))

    async def part(self, message: InboundMessage, trust: Trust, answer: str, waiting: str) -> Accepted | Refused:
        """Put a farewell on the log as a turn with its answer: what runs is stopped, what waits is refused with these
        words, and nothing more is accepted before all that was said is removed."""
        self.is_parting = True
        try:
            # What is on its way to the log stands before the farewell, and so belongs to what is removed.
            while self.accepting:
                await asyncio.gather(*map(asyncio.shield, self.accepting.values()), return_exceptions=True)
            await self.stop()
            refusals = self._refusals(waiting)
            return await self._accept(self.turn_of(message), message, trust, answer, refusals=refusals)
        finally:
            self.is_parting = False
            self.kick()

    def refusal(self, message: InboundMessage) -> Refused | None:
        """What speaks against one more turn of whoever says this; None where nothing does."""
        if self.is_full:
            return Refused(reason="queue full", text=QUEUE_FULL)
        policy, person = self.ports.people.policy(self.key), self.ports.people.access.person(speaker(message))
        most = policy.turns_at_once if policy is not None else 0
        if self.ports.traffic.waits.beside(person, self.key.to_pool_id()) >= most:
            return Refused(reason="queue full", text=TOO_MANY.format(most=most))
        return None

    def decide(self, turn: OpenTurn, action: Action, to: OpenTurn | None = None) -> Decision:
        """Whether who asked for a turn may do something here, to another turn if it is done to one."""
        return self.ports.people.decide(
            self.key,
            speaker(turn.message),
            action,
            in_group=turn.message.in_group,
            asker=speaker(to.message) if to is not None else None,
        )

    def already(self, message: InboundMessage) -> AlreadyAccepted | None:
        """The word that some of these platform ids are a turn already."""
        known = self.session.known(message)
        if known is None:
            return None
        return AlreadyAccepted(turn=known[0], covers=known[1], epoch=self.epoch)

    async def word(self, message: InboundMessage) -> Accepted | AlreadyAccepted | Refused | None:
        """What was said to this message before, or will be once its record is stored; None where it is new."""
        known = self.already(message)
        if known is not None:
            return known
        under_way = (self.accepting or {}).get(self.turn_of(message))
        return None if under_way is None else await asyncio.shield(under_way)

    def turn_of(self, message: InboundMessage) -> str:
        """The turn that this message is, or would be."""
        return turn_id(self.key.platform, self.key.bot_id, self.key.scope_id, message.message_id)

    @property
    def agent(self) -> Agent | None:
        """Who answers here, with the model that was chosen here; None where nobody is bound."""
        agent = self.ports.bindings.agent_for(self.key, self.session.agent)
        # A model was chosen for one agent; where that one is gone, another keeps its own.
        return agent.on(self.session.model) if agent is not None and agent.name == self.session.agent else agent

    @property
    def epoch(self) -> int:
        """The epoch in which this hub serves the scope."""
        return self.ports.log.epoch(self.key.partition)

    async def record(self, *records: Record) -> None:
        """Persist the records and know them. While the log is full, wait: what is accepted must end on the log.

        Is for who goes on with a turn; who asks again would wait here once more each time. Raises `Unwritable`.
        """
        self.pending += 1
        try:
            while True:
                with suppress(Full):
                    return await self.put(*records)
                await asyncio.sleep(FULL_RETRY)
        finally:
            self.pending -= 1

    async def put(self, *records: Record) -> None:
        """Persist the records and know them. Raises as `append` does."""
        self.pending += 1
        try:
            self._know(await self.append(records))
        finally:
            self.pending -= 1

    async def append(self, records: Sequence[Record], *, is_urgent: bool = True) -> tuple[Logged, ...]:
        """Persist the records, unless another hub has had this conversation since: then it is known here no more.

        Raises `Fenced`, `Full` or `Unwritable`.
        """
        if self.is_lost:
            raise Fenced
        return await self.ports.log.append(self.key, records, is_urgent=is_urgent)

    async def reserve(self, append: Callable[[], Awaitable[Logged | None]]) -> int | None:
        """Know what is appended so, and where; None where it is not. Raises as `append` does."""
        if self.is_lost:
            raise Fenced
        self.pending += 1
        try:
            logged = await append()
            if logged is None:
                return None
            self._know((logged,))
            return logged.sequence
        finally:
            self.pending -= 1

    async def begin(self, view: Compacted) -> None:
        """Persist a view of another conversation, with which this one begins. Raises as `append` does."""
        with self._viewing():
            await self.put(view)

    async def viewed(self) -> None:
        """Return when no view is being persisted, for what is said meanwhile must stand after it."""
        while self._view is not None:
            await asyncio.shield(self._view)

    @contextmanager
    def _viewing(self) -> Iterator[None]:
        """Where its outcome is unknown a view is stored again, and what stood before it by then would be lost."""
        view = self._view = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            self._view = None
            view.set_result(None)

    async def change(self, seconds: float) -> None:
        """Return when the log says more of this conversation, or after so long."""
        if self._change is None:
            self._change = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._change,), timeout=seconds)

    async def shown(self, turn: str, message_id: str, part: int = 0) -> str | None:
        """A part of the reply is on the screen: note it, and answer with the message that the log holds for it. Raises
        as `append` does."""
        open_turn = self.session.turns.get(turn)
        if open_turn is None:
            return None
        if part == len(open_turn.bubbles):
            opening = self._opening = self._opening or {}
            await once(opening, (turn, part), lambda: self._open(turn, message_id, part))
            self.kick()
        return open_turn.bubbles[part] if part < len(open_turn.bubbles) else None

    def settle(self, turn: str, message_id: str | None, undeliverable: str | None) -> None:
        """The whole answer is on the screen, or never will be."""
        open_turn = self.session.turns.get(turn)
        if open_turn is None or not open_turn.is_answered:
            return
        now = self.ports.clock()
        record: ReplyShown | ReplyUndeliverable
        if undeliverable is None:
            record = ReplyShown(
                id=record_id(turn, "shown"), turn=turn, at=now, compacted=self.session.compacted, message_id=message_id
            )
        else:
            record = ReplyUndeliverable(
                id=record_id(turn, "undeliverable"),
                turn=turn,
                at=now,
                compacted=self.session.compacted,
                reason=undeliverable,
            )
        self.session.apply(self.session.sequence, record)
        self.crew.settle(self, open_turn, record)
        self.kick()

    async def stop(self) -> bool:
        """End the running turn; what was said stays. False when nothing runs."""
        if self.session.next_turn() is None and self.following is None:
            return False
        self.is_stopping = True
        if self.following is not None:
            await self.following.run.stop()
        return True

    def kick(self) -> None:
        """Go on with whatever is due."""
        if (
            self._task is None
            and not self.is_lost
            and (self._due() is not None or self._may_forget() or self._may_compact())
        ):
            self._task = asyncio.create_task(self._work(), name=self.key.to_pool_id())

    async def close(self) -> None:
        """Drop what runs; the log knows how to go on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def lose(self) -> None:
        """Another hub has this conversation: let go of it at once."""
        self.is_lost = True
        if self._task is not None:
            self._task.cancel()
        for turn in self.session.turns.values():
            self.ports.traffic.waits.note(speaker(turn.message), self.key.to_pool_id(), is_waiting=False)

    async def echo(self, turn: str, message: InboundMessage) -> None:
        """Tell what was said to the scope's other screens, if it has any."""
        if message.address.echo:
            said = Said(
                turn=turn,
                user_name=message.user_name,
                text=message.text,
                epoch=self.epoch,
                address=message.address,
            )
            await self.ports.outbox.publish(said)

    def _refusals(self, words: str) -> tuple[TurnRefused, ...]:
        """The end of every turn that waits; the one whose time has come is stopped and ends by itself."""
        due = self.session.next_turn()
        return tuple(
            TurnRefused(
                id=record_id(turn.turn, "refused"),
                turn=turn.turn,
                at=self.ports.clock(),
                compacted=self.session.compacted,
                reason="forgotten",
                text=words,
            )
            for turn in self.session.turns.values()
            if turn is not due and not turn.is_answered
        )

    async def _accept(
        self,
        turn: str,
        message: InboundMessage,
        trust: Trust,
        answer: str | None,
        choices: tuple[str, ...] = (),
        outcome: Outcome = "complete",
        refusals: tuple[TurnRefused, ...] = (),
    ) -> Accepted | Refused:
        await self.viewed()
        at, compacted = self.ports.clock(), self.session.compacted
        start = self._start_now(turn) if answer is None else None
        records: list[Record] = [
            *refusals,
            TurnReceived(
                id=record_id(turn, "received"),
                turn=turn,
                at=at,
                compacted=compacted,
                message=message,
                trust=trust,
                start=start,
            ),
        ]
        if answer is not None:
            records.append(
                TurnAnswered(
                    id=record_id(turn, "answered"),
                    turn=turn,
                    at=at,
                    compacted=compacted,
                    text=answer,
                    outcome=outcome,
                    choices=choices or None,
                )
            )
        self.pending += 1
        if answer is None:
            # Counted before it is stored: of many that come at once none may pass by the others.
            self.ports.traffic.waits.note(speaker(message), self.key.to_pool_id(), is_waiting=True)
        try:
            self._know(await self.append(records))
        except Full:
            return Refused(reason="unavailable", text=LOG_FULL)
        except Unwritable:
            return Refused(reason="too large", text=TOO_LARGE)
        finally:
            self.pending -= 1
            self.count_waits(message)
        self.ports.at("appended")
        if start is not None:
            self.fresh = (self.fresh or set()) | {turn}
        self.kick()
        if answer is None:
            await self._join(self.session.turns[turn])
        await self.echo(turn, message)
        for name in (*(refusal.turn for refusal in refusals), *((turn,) if answer is not None else ())):
            await self.crew.deliver(self, self.session.turns[name])
        return Accepted(turn=turn, epoch=self.epoch)

    async def _join(self, turn: OpenTurn) -> None:
        """What a message does that comes while another is answered, as the agent's file has it."""
        due, agent = self.session.next_turn(), self.following.agent if self.following is not None else self.agent
        # A word to the hub waits for its turn, and what waits alone has nobody to join.
        if due is None or due is turn or turn.is_word or agent is None:
            return
        match agent.while_running:
            case "steer":
                await self.steer()
            case "interrupt" if self.decide(turn, "interrupt", due).allowed:
                await self.stop()
            case "queue" | "interrupt":
                pass

    async def steer(self) -> None:
        """Have the messages that wait join the running turn; those that are not heard in it wait on."""
        following = self.following
        if following is None or following.agent.while_running != "steer":
            return
        running, *waiting = (turn for turn in self.session.turns.values() if not turn.is_answered)
        room, before = HISTORY_CHARACTERS - len(running.asked), None
        for turn in waiting:
            room -= len(turn.asked)
            # Nothing overtakes what may not join, and what was asked must be shown to later turns as well.
            if not turn.may_join or room < 0 or not self.decide(turn, "steer", running).allowed:
                return
            await following.run.steer(turn.turn, turn.line, after=before, is_tainted=turn.is_tainted)
            before = turn.turn

    def _start_now(self, turn: str) -> Start | None:
        """Where the scope is idle and a worker is there, received and started are one record."""
        is_first = not self.session.waiting and set(self.accepting or ()) <= {turn}
        if not is_first or any(open_turn.bubble is None for open_turn in self.session.turns.values()):
            return None
        chosen = self.ports.clipool.pick()
        if chosen is None:
            return None
        return Start(attempt=1, worker=chosen.worker, instance=chosen.instance)

    def count_waits(self, message: InboundMessage) -> None:
        """Note whether who said this waits for an answer here."""
        turns, who = self.session.turns.values(), speaker(message)
        # Where another hub has the conversation they wait there, whatever of it was still on its way here.
        is_waiting = not self.is_lost and any(not turn.is_answered and speaker(turn.message) == who for turn in turns)
        self.ports.traffic.waits.note(who, self.key.to_pool_id(), is_waiting)

    def _know(self, logged: Sequence[Logged]) -> None:
        for one in logged:
            turn = self.session.turns.get(one.record.turn)
            self.session.apply(one.sequence, one.record)
            self.ports.ledger.apply(one.sequence, self.key, one.record)
            if turn is not None and isinstance(one.record, TurnAnswered | TurnRefused | TurnSuperseded):
                self.count_waits(turn.message)
        if self._change is not None:
            self._change.set_result(None)
            self._change = None

    async def _open(self, turn: str, message_id: str, part: int) -> None:
        await self.put(
            ReplyOpened(
                id=record_id(turn, "opened", part) if part else record_id(turn, "opened"),
                turn=turn,
                at=self.ports.clock(),
                compacted=self.session.compacted,
                message_id=message_id,
                part=part or None,
            )
        )

    def _may_compact(self) -> bool:
        # A record on its way would stand before the view that does not know of it.
        return self.session.is_long and not self.pending and not self.accepting

    def _due(self) -> OpenTurn | None:
        # What waits when everything is to be forgotten is refused, and must not begin before that is on the log.
        return None if self.is_parting else self.session.next_turn()

    def _may_forget(self) -> bool:
        return self.session.farewell is not None and not self.session.waiting

    async def _compact(self) -> None:
        id = f"compacted.{self.session.sequence}"
        try:
            with self._viewing():
                self._know(await self.append([self.session.compaction(id, id, self.ports.clock())]))
        except (Full, Unwritable) as error:
            # Without the view nothing is wrong but the time of the next refill.
            logger.warning("%s cannot be compacted: %s", self.key.to_pool_id(), type(error).__name__)
            self.session.answered_since = 0

    async def _work(self) -> None:
        try:
            while (turn := self._due()) is not None:
                await self.crew.run_turn(self, turn)
            if self._may_forget():
                await self.crew.forget(self)
            elif self._may_compact():
                await self._compact()
        except Fenced:
            self.crew.fenced()
            return
        finally:
            self._task = None
        # A message or a receipt may have come between the last look and the end of this task.
        self.kick()


async def once(under_way: dict[K, asyncio.Future[T]], name: K, work: Callable[[], Awaitable[T]]) -> T:
    """Do it once: whoever asks again meanwhile is given the same outcome."""
    if name in under_way:
        return await asyncio.shield(under_way[name])
    outcome = under_way[name] = asyncio.get_running_loop().create_future()
    try:
        result = await work()
        outcome.set_result(result)
        return result
    finally:
        del under_way[name]
        # What failed here is answered to nobody else: they ask again.
        outcome.cancel()


@dataclass(slots=True)
class Pools:
    """All conversations in memory, least recently used first.

    All that have an open turn are among them, but for those of the partitions that are just being read.
    """

    ports: Ports
    crew: Crew
    most: int
    reading: frozenset[int] = frozenset()
    _pools: OrderedDict[PoolId, Pool] = field(default_factory=OrderedDict)
    _filling: WeakValueDictionary[PoolId, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    _readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FILLED_AT_ONCE))

    def peek(self, key: RoutingKey) -> Pool | None:
        """The pool, if it is in memory."""
        return self._pools.get(key.to_pool_id())

    def __iter__(self) -> Iterator[Pool]:
        return iter(tuple(self._pools.values()))

    def __len__(self) -> int:
        return len(self._pools)

    async def get(self, key: RoutingKey) -> Pool:
        """The conversation's pool, refilled from the log where it is not in memory. Raises `Fenced`."""
        pool_id = key.to_pool_id()
        pool = self._pools.get(pool_id)
        if pool is None:
            # Refilling awaits: of two first messages one creates the pool, and no other conversation waits for that.
            async with self._filling.setdefault(pool_id, asyncio.Lock()):
                pool = self._pools.get(pool_id)
                if pool is None:
                    pool = await self._create(key)
        self._pools.move_to_end(pool_id)
        return pool

    async def fork(self, key: RoutingKey, view: Compacted) -> bool:
        """Begin a conversation with a view of another; false where there is one already. Raises as `append` does."""
        pool = await self.get(key)
        await pool.viewed()
        session = pool.session
        if session.compacted or session.received or pool.accepting:
            # A hub that died after it had written the view is asked to write it again.
            return session.forked == view.id
        await pool.begin(view)
        return True

    def lose(self, part: int) -> None:
        """Another hub has the conversations of a partition: they are known here no more."""
        for pool_id, pool in tuple(self._pools.items()):
            if pool.key.partition == part:
                del self._pools[pool_id]
                pool.lose()

    async def close(self) -> None:
        """Drop all pools."""
        await asyncio.gather(*(pool.close() for pool in self))

    async def _create(self, key: RoutingKey) -> Pool:
        epoch = self.ports.log.epoch(key.partition)
        async with self._readers:
            records = await self.ports.log.history(key)
        if not epoch or epoch != self.ports.log.epoch(key.partition):
            raise Fenced
        # Until the pool is known nothing is awaited: else the conversation could be lost and nobody would hear of it.
        session = fold(key.platform, key.bot_id, key.scope_id, ((one.sequence, one.record) for one in records))
        # What still runs where all is to be removed was to be stopped by a hub that is gone.
        is_stopping = session.farewell is not None and session.waiting > 0
        pool = Pool(key, session, self.ports, self.crew, is_stopping=is_stopping)
        self._make_room()
        self._pools[key.to_pool_id()] = pool
        for turn in tuple(session.turns.values()):
            if turn.is_answered:
                await self.crew.deliver(pool, turn)
            else:
                pool.count_waits(turn.message)
        if pool.is_lost:
            raise Fenced
        pool.kick()
        return pool

    def _make_room(self) -> None:
        """Let go of those that are idle, the least recently used first; what is under way is never interrupted."""
        surplus = len(self._pools) - self.most + 1
        if surplus <= 0:
            return
        idle = (pool_id for pool_id, pool in self._pools.items() if pool.is_idle)
        for pool_id in tuple(islice(idle, surplus)):
            del self._pools[pool_id]
            logger.info("evicted %s", pool_id)
        # Said when it begins, and not of each one more.
        if len(self._pools) == self.most:
            logger.warning("more conversations are under way than the %s pools that are allowed", self.most)
