"""Faults that are put into the product on purpose, one at a time: a simulation that does not find them is no test."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import hub.composition
import hub.dispatch
import hub.turn
from adapters.nats.log import JetStreamLog
from adapters.nats.outbound import NatsOutbox
from adapters.spoke import Gone, Reply, Spoke
from factory_contracts.messages import Accepted, AlreadyAccepted, InboundMessage, Refused
from factory_contracts.records import Asked, Balance, Decided, Record, ToolStarted, TurnAnswered
from factory_contracts.work import ApprovalWanted, Ended, Recorded, RecordReply, RecordRequest, Requested, Run
from factory_nats.result import Err, Ok, Result
from factory_nats.transport import Entry, Transport
from hub.approvals import Approvals
from hub.delivery import Deliveries
from hub.kernel.agent import Agent
from hub.kernel.approval import Approval
from hub.kernel.ports import Fenced, Logged
from hub.kernel.routing import RoutingKey
from hub.kernel.session import OpenTurn, Session
from hub.kernel.stream import StreamProcessor
from hub.pool import Pool, Pools
from tests.sim import house
from tests.sim.house import Intake, Slate
from tests.sim.platform import Said, Unheard
from tests.sim.replaced import replaced
from workers.clipool.turn import Turn
from workers.clipool.worker import Worker

SOON = 0.3


class _ConfirmsEarly(Intake):
    """Moves the offset before the hub has accepted anything."""

    async def take(self, updates: list[Said]) -> int:
        waiting = asyncio.create_task(super().take(updates))
        await asyncio.wait([waiting], timeout=0)
        return updates[-1].update + 1


class _BelievesSilence(Spoke):
    """Takes a message for accepted that nobody answered in time."""

    async def submit(self, message: InboundMessage) -> Accepted | AlreadyAccepted | Refused:
        try:
            async with asyncio.timeout(SOON):
                return await super().submit(message)
        except TimeoutError:
            return Accepted(turn="believed", epoch=0)


class _Other:
    """A transport that does one thing otherwise."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Unfenced(_Other):
    async def append(self, entries: Sequence[Entry], *, timeout: float = 5.0) -> Result[int]:
        free = [
            one if one.expect and one.expect[0] == one.subject else Entry(one.subject, one.payload) for one in entries
        ]
        return await self._transport.append(free, timeout=timeout)


class _Hopeful(_Other):
    async def append(self, entries: Sequence[Entry], *, timeout: float = 5.0) -> Result[int]:
        stored = await self._transport.append(entries, timeout=SOON)
        is_unknown = isinstance(stored, Err) and stored.reason in ("timeout", "disconnected")
        return Ok(1) if is_unknown and entries[-1].expect and entries[-1].expect[0] != entries[-1].subject else stored


def _log_over(other: Callable[[Transport], Any]) -> type[JetStreamLog]:
    class Log(JetStreamLog):
        def __init__(self, transport: Transport, *rest: Any, **more: Any) -> None:
            super().__init__(other(transport), *rest, **more)

    return Log


class _HastyMark(JetStreamLog):
    """Lets the next hub begin after turns that are still open."""

    async def move_mark(self, sequence: int, spent: Mapping[int, tuple[Balance, ...]] | None) -> bool:
        return await super().move_mark(self.sequence + 1, spent)


class _FreeHanded(JetStreamLog):
    """Gives money away whatever others gave meanwhile."""

    async def reserve(self, key: RoutingKey, record: Record, after: int) -> Logged | None:
        return await super().reserve(key, record, await self.purse())


class _BlindMark(JetStreamLog):
    """Lets the next hub begin after money that nobody has told of."""

    async def move_mark(self, sequence: int, spent: Mapping[int, tuple[Balance, ...]] | None) -> bool:
        return await super().move_mark(sequence, spent or {})


_submit, _record = Pool.submit, Pool.record
_reply, _put = Approvals._reply, Approvals._put
_closed = hub.turn._closed


async def _accept_at_once(pool: Pool, message: InboundMessage, *rest: Any, **more: Any) -> Any:
    """Says "accepted" while the record is still on its way."""
    known = pool.already(message)
    if known is None:
        task = asyncio.create_task(_submit(pool, message, *rest, **more))
        _background.add(task)
        task.add_done_callback(_background.discard)
    return known or Accepted(turn=pool.turn_of(message), epoch=pool.epoch)


_background: set[asyncio.Task[Any]] = set()


async def _show_before(pool: Pool, *records: Record) -> None:
    """Sends an answer that is not on the log yet."""
    for record in records:
        turn = pool.session.turns.get(record.turn)
        if isinstance(record, TurnAnswered) and turn is not None:
            pool.session.apply(pool.session.sequence, record)
            await pool.crew.deliver(pool, turn)
    await _record(pool, *records)


def _any_time(session: Session) -> OpenTurn | None:
    """Begins a turn as soon as the last one is answered, wherever that stands on the screen."""
    return next((turn for turn in session.turns.values() if not turn.is_answered), None)


def _unasked(approvals: Approvals, turn: OpenTurn, started: ToolStarted) -> str:
    """Lets begin what nobody has allowed."""
    return ""


def _allow(approvals: Approvals, turn: OpenTurn, wanted: ApprovalWanted, known: Approval | None) -> RecordReply | None:
    """Takes a question for leave."""
    return Recorded() if known is not None else _reply(approvals, turn, wanted, known)


async def _hear_at_once(approvals: Approvals, pool: Pool, turn: OpenTurn, record: Asked | Decided) -> None:
    """Says that an answer counts while its record is still on its way."""
    if isinstance(record, Asked):
        await _put(approvals, pool, turn, record)
        return
    pool.session.apply(pool.session.sequence, record)
    task = asyncio.create_task(_later(_put(approvals, pool, turn, record)))
    _background.add(task)
    task.add_done_callback(_background.discard)


async def _later(put: Awaitable[None]) -> None:
    with suppress(Fenced):
        await put


def _outspoken(transport: Transport, *proof: object) -> NatsOutbox:
    """Speaks to the screens whether it still reigns or not."""
    return NatsOutbox(transport)


class _Believing(Deliveries):
    """Takes for shown what was sent."""

    async def deliver(self, pool: Pool, turn: OpenTurn) -> None:
        await super().deliver(pool, turn)
        pool.settle(turn.turn, turn.bubble, None)


class _Forgetful(Worker):
    """Drops a turn as soon as all of it was told."""

    def stir(self, turn: Turn) -> None:
        super().stir(turn)
        if turn.is_over:
            asyncio.get_running_loop().call_later(SOON, self.drop, turn)


class _Sleepwalker(Worker):
    """Goes on with what it did before it stood still."""

    last = 0.0

    def tick(self, now: float) -> None:
        self.last = min(now, self.last + 1.0) if self.last else now
        super().tick(self.last)


class _Unasked(Worker):
    """Begins what cannot be taken back before that is on the log."""

    async def record(self, run: Run, record: Requested) -> RecordReply:
        return Recorded() if isinstance(record, ToolStarted) else await super().record(run, record)


class _SendsAgain(Slate):
    """Sends anew what may have been edited."""

    async def edit(self, message_id: str, reply: Reply) -> None:
        try:
            await super().edit(message_id, reply)
        except Unheard:
            raise Gone(0) from None


@contextmanager
def _in_memory() -> Iterator[None]:
    """Knows a message again only as long as the hub lives that heard it."""
    seen: dict[tuple[int, str, str], str] = {}
    numbers = iter(range(1_000_000))

    def turn_of(pool: Pool, message: InboundMessage) -> str:
        place = id(pool.ports), pool.key.to_pool_id(), message.message_id
        return seen.setdefault(place, f"turn{next(numbers)}")

    def already(pool: Pool, message: InboundMessage) -> AlreadyAccepted | None:
        place = id(pool.ports), pool.key.to_pool_id(), message.message_id
        if place not in seen:
            return None
        return AlreadyAccepted(turn=seen[place], covers=message.ids, epoch=pool.epoch)

    with replaced(Pool, "turn_of", turn_of), replaced(Pool, "already", already):
        yield


@contextmanager
def _unchecked() -> Iterator[None]:
    """Attempts that are over are not told from the one that counts, and a worker that slept goes on."""

    def counts(pool: Pool, worker: str, asked: RecordRequest) -> bool:
        return asked.record.turn in pool.session.turns

    with replaced(hub.dispatch, "_counts", counts), replaced(house, "Worker", _Sleepwalker):
        yield


@contextmanager
def _shared(log: type[JetStreamLog], capped: float = 1.0) -> Iterator[None]:
    """In all houses hubs share, and in all have too little money."""
    in_all = replaced(house, "SHARED", 1.0), replaced(house, "CAPPED", capped)
    with in_all[0], in_all[1], replaced(hub.composition, "JetStreamLog", log):
        yield


def _forgetting_who_joined(
    pool: Pool, turn: OpenTurn, agent: Agent, processor: StreamProcessor, ended: Ended
) -> tuple[Record, ...]:
    """Answers by itself what was heard in another answer."""
    return _closed(pool, turn, agent, processor, ended.model_copy(update={"joined": ()}))


@contextmanager
def _joining() -> Iterator[None]:
    """In all houses messages join."""
    with replaced(house, "MEDDLING", (0, 1, 0)), replaced(hub.turn, "_closed", _forgetting_who_joined):
        yield


@contextmanager
def _without_leave() -> Iterator[None]:
    """Nobody waits for what a person says."""
    with (
        replaced(house, "ASKING", 1.0),
        replaced(Approvals, "_reply", _allow),
        replaced(Approvals, "refusal", _unasked),
    ):
        yield


@contextmanager
def _unheard() -> Iterator[None]:
    """What a person says is told to be heard before it is on the log."""
    with replaced(house, "ASKING", 1.0), replaced(Approvals, "_put", _hear_at_once):
        yield


@contextmanager
def _clinging() -> Iterator[None]:
    """A hub goes on with what it had in a partition that another has taken."""
    with _shared(JetStreamLog, 0.0), replaced(Pools, "lose", lambda pools, part: None):
        yield


@dataclass(frozen=True, slots=True)
class Plant:
    """A fault, and what is to happen more often than usual so that it comes to light."""

    grow: Callable[[], AbstractContextManager[None]]
    provoked_by: tuple[str, ...] = ()


PLANTED: Mapping[str, Plant] = {
    "offset before acceptance": Plant(lambda: replaced(house, "Intake", _ConfirmsEarly)),
    "unchecked reply": Plant(lambda: replaced(house, "Spoke", _BelievesSilence)),
    "accepted before stored": Plant(lambda: replaced(Pool, "submit", _accept_at_once)),
    "dedupe in memory": Plant(_in_memory),
    "no fence": Plant(lambda: replaced(hub.composition, "JetStreamLog", _log_over(_Unfenced))),
    "unknown taken for stored": Plant(lambda: replaced(hub.composition, "JetStreamLog", _log_over(_Hopeful))),
    "mark too far": Plant(lambda: replaced(hub.composition, "JetStreamLog", _HastyMark), ("kill hub", "kill hub")),
    "final before answered": Plant(lambda: replaced(Pool, "record", _show_before)),
    "next turn before bubble": Plant(lambda: replaced(Session, "next_turn", _any_time)),
    "receipts unchecked": Plant(lambda: replaced(hub.composition, "Deliveries", _Believing)),
    "worker forgets early": Plant(lambda: replaced(house, "Worker", _Forgetful)),
    "stale worker goes on": Plant(_unchecked, ("freeze worker",) * 4),
    "stale hub speaks": Plant(lambda: replaced(hub.composition, "NatsOutbox", _outspoken), ("stale hub",) * 5),
    "effect before its record": Plant(lambda: replaced(house, "Worker", _Unasked)),
    "keeps what was taken": Plant(_clinging, ("freeze hub",) * 2),
    "money not compared": Plant(lambda: _shared(_FreeHanded)),
    "mark passes by money": Plant(lambda: _shared(_BlindMark), ("kill hub",) * 2),
    "answered though it joined": Plant(_joining),
    "acts without leave": Plant(_without_leave),
    "leave before its record": Plant(_unheard, ("slow disk", "kill hub") * 4),
    "send instead of edit": Plant(lambda: replaced(house, "Slate", _SendsAgain), ("platform is unheard",) * 3),
}
