"""Where everything that spokes and workers ask of the hub arrives: screen, route, put on the log, hand to a pool."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from factory_contracts.messages import (
    Exchange,
    FinalReceipt,
    FromSpoke,
    Hello,
    InboundMessage,
    Noted,
    Refused,
    ShownReceipt,
    Submit,
    ToSpoke,
    Welcome,
)
from factory_contracts.records import ToolDone, ToolStarted, Trust
from factory_contracts.work import NotRecorded, Recorded, RecordReply, RecordRequest
from hub.kernel.guards import Admitted, BotPolicy, Declined, Rates, screen
from hub.kernel.routing import RoutingKey
from hub.pool import Pool, Pools, Ports
from hub.turn import NOTHING_RUNS, STOPPED, show

logger = logging.getLogger(__name__)

HISTORY_SHOWN = 10
EVERY_SCOPE = "*"


@dataclass(slots=True)
class Hub:
    """The one routing authority."""

    ports: Ports
    pools: Pools
    policies: Mapping[tuple[str, str], BotPolicy]
    rates: Rates = field(default_factory=Rates)

    async def answer(self, asked: FromSpoke) -> ToSpoke | None:
        """What a spoke is told; None means silence, which makes the spoke ask again. Raises `Fenced`."""
        key = RoutingKey(asked.platform, asked.bot_id, asked.scope_id)
        match asked:
            case Submit():
                return await self.receive(asked.message)
            case ShownReceipt():
                pool = await self.pools.get(key)
                bubble = await pool.shown(asked.turn, asked.message_id)
                return Noted(message_id=bubble, epoch=pool.epoch)
            case FinalReceipt():
                pool = await self.pools.get(key)
                pool.settle(asked.turn, asked.message_id, asked.undeliverable)
                return Noted(message_id=asked.message_id, epoch=pool.epoch)
            case Hello():
                return await self._welcome(key)
            case _:
                # Nothing asks a person for a decision yet, so none is awaited.
                return Refused(reason="not allowed")

    async def receive(self, message: InboundMessage) -> ToSpoke:
        """Accepted means persisted: the reply is given when the turn is on the log."""
        key = RoutingKey.of(message.address)
        # What is known is no new message, whatever the guards think of its sender by now.
        pool = self.pools.peek(key)
        if pool is not None and (word := await pool.word(message)) is not None:
            return word
        policy = self.policies.get((key.platform, key.bot_id))
        match screen(message, policy, self.rates, self.ports.clock()):
            case Declined(reason=reason, words=words):
                logger.info("refused a message on %s/%s: %s", key.platform, key.bot_id, reason)
                return Refused(reason=reason, text=words)
            case Admitted(trust=trust):
                pool = await self.pools.get(key)
        if self.ports.bindings.agent_for(key, pool.session.agent) is None:
            return Refused(reason="no agent", text="No agent is bound to this conversation yet.")
        if message.text.strip() == "/stop":
            return await self._stop(pool, message, trust)
        return await pool.submit(message, trust)

    async def record(self, worker: str, asked: RecordRequest) -> RecordReply:
        """Put a worker's record on the log, if the worker's attempt is the one that counts."""
        record = asked.record
        pool = await self.pools.get(RoutingKey(asked.platform, asked.bot_id, asked.scope_id))
        turn = pool.session.turns.get(record.turn)
        if turn is None or turn.is_answered or turn.start is None or not isinstance(record, ToolStarted | ToolDone):
            return NotRecorded()
        mine = (turn.start.worker, turn.start.instance, turn.start.attempt)
        if mine != (worker, asked.instance, asked.attempt):
            return NotRecorded()
        await pool.record(record.model_copy(update={"at": self.ports.clock(), "compacted": pool.session.compacted}))
        return Recorded()

    def is_open(self, scope: str, turn: str) -> bool:
        """Whether a turn that a worker keeps may still be asked for."""
        platform, bot_id, scope_id = scope.split(":", 2)
        pool = self.pools.peek(RoutingKey(platform, bot_id, scope_id))
        open_turn = pool.session.turns.get(turn) if pool is not None else None
        return open_turn is not None and not open_turn.is_answered

    async def _stop(self, pool: Pool, message: InboundMessage, trust: Trust) -> ToSpoke:
        """A stop overtakes the queue: what runs is ended, and the word that it is stands on the log at once."""
        was_running = await pool.stop()
        return await pool.submit(message, trust, answer=STOPPED if was_running else NOTHING_RUNS)

    async def _welcome(self, key: RoutingKey) -> Welcome:
        """Send again what has no receipt, and tell who answers here."""
        for pool in self.pools:
            same_bot = (pool.key.platform, pool.key.bot_id) == (key.platform, key.bot_id)
            if same_bot and key.scope_id in (EVERY_SCOPE, pool.key.scope_id):
                await self._send_again(pool)
        if key.scope_id == EVERY_SCOPE:
            return Welcome(epoch=self.ports.log.epoch(key.partition))
        pool = await self.pools.get(key)
        agent = self.ports.bindings.agent_for(key, pool.session.agent)
        history = tuple(
            Exchange(
                turn=passage.turn,
                asked=passage.asked,
                answered=passage.answered,
                user_name=passage.user_name,
                outcome=passage.outcome,
            )
            for passage in pool.session.history[-HISTORY_SHOWN:]
        )
        return Welcome(
            epoch=pool.epoch,
            agent=agent.name if agent is not None else None,
            model=agent.model if agent is not None else None,
            history=history,
        )

    async def _send_again(self, pool: Pool) -> None:
        following = pool.following
        for turn in tuple(pool.session.turns.values()):
            await pool.echo(turn.turn, turn.message)
            if turn.is_answered:
                await pool.crew.deliver(pool, turn)
            elif following is not None and following.turn == turn.turn and following.processor.events:
                await show(pool, turn, following.processor.snapshot(), following.processor)
