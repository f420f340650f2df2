"""One turn: ask, stream, show, record.

The hub holds no model's stream. It tells a worker to run the turn and follows numbered events, so that whoever takes
over the hub's work follows the same events from the first.
"""

import asyncio
import logging
from collections.abc import Iterable
from hashlib import sha256

from factory_contracts.messages import Question, Update
from factory_contracts.records import MoneySettled, Record, Start, TurnAnswered, TurnStarted, TurnSuperseded, record_id
from factory_contracts.trace import ModelStep, Step
from factory_contracts.work import Ended, Stepped
from hub.commands import GoOn, obey, said_by_hub
from hub.kernel.access import speaker
from hub.kernel.agent import Agent
from hub.kernel.ports import Assignment, Chosen, Fenced, Lost, Run, Unwritable
from hub.kernel.session import OpenTurn
from hub.kernel.stream import Piece, StreamProcessor
from hub.pool import Following, Pool

logger = logging.getLogger(__name__)

MODEL_STARTS = 5
LOSSES = 20
BACK_OFF = 0.1
BACK_OFF_MOST = 2.0
LOOK_EVERY = 0.5
LOOKS_BEFORE_WORD = 6
STOPPED = Ended(outcome="stopped")


async def run_turn(pool: Pool, turn: OpenTurn) -> None:
    """See the turn through to its answer on the log and, as far as it is known to be there, on the screen."""
    try:
        obeyed = await obey(pool, turn)
        answer = await _ask(pool, turn, obeyed) if isinstance(obeyed, GoOn) else obeyed
    except Fenced:
        raise
    except Exception:
        # One turn that meets a defect of ours must not take the conversation with it: the person gets an apology
        # under a reference, and the log has the reason under the same one.
        reference = _reference(turn)
        logger.exception("turn %s failed, reference %s", turn.turn, reference)
        answer = _failed(pool, turn, reference)
    try:
        await _answer(pool, turn, answer)
    except Unwritable:
        reference = _reference(turn)
        logger.exception("turn %s has an answer that the log will not take, reference %s", turn.turn, reference)
        await _answer(pool, turn, _failed(pool, turn, reference))


async def _answer(pool: Pool, turn: OpenTurn, answer: tuple[Record, ...]) -> None:
    """Persist the answer, let the worker forget the turn, and send the answer on its way."""
    await pool.record(*answer)
    # A stop that came while the answer was being stored is no stop of the next turn.
    pool.is_stopping = False
    _spend_fresh(pool, turn)
    pool.ports.at("answered-unsent")
    following, pool.following = pool.following, None
    if following is not None and following.turn == turn.turn:
        await following.run.close(forget=True)
    await pool.crew.deliver(pool, turn)


async def show(pool: Pool, turn: OpenTurn, piece: Piece, processor: StreamProcessor) -> None:
    """Tell the screens what is new of an answer that grows, and what a person is asked on the way."""
    await pool.ports.outbox.publish(
        Update(
            turn=turn.turn,
            attempt=turn.start.attempt if turn.start is not None else 1,
            events=processor.events,
            base=piece.base,
            text=piece.text,
            activity=piece.activity,
            question=_question(turn),
            message_id=turn.bubble,
            further=turn.bubbles[1:] or None,
            epoch=pool.epoch,
            address=turn.message.address,
        )
    )


def _question(turn: OpenTurn) -> Question | None:
    """One at a time: the oldest that is open."""
    for asked in turn.questions:
        return Question(code=asked.code, text=asked.text, expires_at=asked.expires_at)
    return None


async def _ask(pool: Pool, turn: OpenTurn, brief: GoOn) -> tuple[Record, ...]:
    """Have a worker run the turn, on another one if need be, and follow it to its end."""
    if brief.records:
        await pool.record(*brief.records)
    agent = brief.agent or pool.agent
    if agent is None:
        return (said_by_hub(pool, turn, "No agent answers here any more.", outcome="failed"),)
    why = "" if turn.start is not None else "begin"
    model_starts = losses = 0
    while model_starts < MODEL_STARTS and losses < LOSSES:
        is_ours = pool.fresh is not None and turn.turn in pool.fresh
        if why:
            start = await _start(pool, turn, why if turn.start is not None else "")
            if start is None:
                return (_answered(pool, turn, agent, StreamProcessor(), STOPPED),)
            is_ours = True
        _spend_fresh(pool, turn)
        pool.ports.at("started")
        processor = StreamProcessor()
        run = await _command(pool, turn, agent, brief, is_ours)
        pool.following = Following(turn.turn, run, processor, agent)
        # A person who said stop before there was anything to stop is heard now.
        if pool.is_stopping:
            await run.stop()
        await pool.steer()
        why = await _follow(pool, turn, run, processor)
        if processor.ended is not None:
            return _closed(pool, turn, agent, processor, processor.ended)
        await run.close(forget=False)
        pool.following = None
        logger.warning("turn %s attempt %s is lost: %s", turn.turn, turn.start and turn.start.attempt, why)
        if pool.is_stopping:
            # Nobody told what of it came from elsewhere.
            ended = STOPPED.model_copy(update={"tainted": processor.events > 0 or None})
            return (_answered(pool, turn, agent, processor, ended),)
        model_starts += processor.events > 0
        await asyncio.sleep(min(BACK_OFF_MOST, BACK_OFF * 2**losses))
        losses += 1
    reference = _reference(turn)
    logger.error("turn %s is given up after %s losses, reference %s", turn.turn, losses + 1, reference)
    return _failed(pool, turn, reference)


async def _start(pool: Pool, turn: OpenTurn, why: str) -> Start | None:
    """Choose a worker and put that on the log; None when the person stopped the turn before one was there."""
    clipool = pool.ports.clipool
    looks = 0
    while (chosen := clipool.pick()) is None:
        if pool.is_stopping:
            return None
        if looks == LOOKS_BEFORE_WORD:
            await show(pool, turn, Piece(0, "", "waiting for a worker"), StreamProcessor())
        looks += 1
        await clipool.wait(LOOK_EVERY)
    attempt = 1 if turn.start is None else turn.start.attempt + 1
    start = Start(attempt=attempt, worker=chosen.worker, instance=chosen.instance, why=why)
    await pool.record(
        TurnStarted(
            id=record_id(turn.turn, "started", attempt),
            turn=turn.turn,
            at=pool.ports.clock(),
            compacted=pool.session.compacted,
            start=start,
        )
    )
    return start


def _spend_fresh(pool: Pool, turn: OpenTurn) -> None:
    if pool.fresh is not None:
        pool.fresh.discard(turn.turn)
        pool.fresh = pool.fresh or None


async def _command(pool: Pool, turn: OpenTurn, agent: Agent, brief: GoOn, is_ours: bool) -> Run:
    """Run what this hub has just started; of what another hub started, ask for the events from the first."""
    start = turn.start
    if start is None:
        raise AssertionError("a turn is started before it is commanded")
    assignment = Assignment(
        key=pool.key,
        turn=turn.turn,
        attempt=start.attempt,
        chosen=Chosen(start.worker, start.instance),
        user_id=turn.message.user_id,
        person=pool.ports.people.other_name(speaker(turn.message)),
        agent=agent.spec(),
        lines=brief.lines or pool.session.lines(turn),
        pace_ms=turn.message.address.pace_ms,
        known_calls=turn.known_calls,
        is_tainted=pool.session.is_tainted(turn) if brief.engine is None else turn.is_tainted,
        aloud=brief.aloud,
        engine=brief.engine,
        known_steps=turn.known_steps,
    )
    clipool = pool.ports.clipool
    return await (clipool.run(assignment) if is_ours else clipool.resume(assignment))


async def _follow(pool: Pool, turn: OpenTurn, run: Run, processor: StreamProcessor) -> str:
    """Feed the events and show what is new; returns why the attempt was lost, or nothing at its end."""
    while True:
        report = await run.next()
        if isinstance(report, Lost):
            return report.why
        for event in report.events:
            processor.feed(event)
        if processor.ended is not None:
            return ""
        settled = _settled(pool, turn, (event.step for event in report.events if isinstance(event, Stepped)))
        if settled:
            await pool.record(*settled)
        await show(pool, turn, processor.take(), processor)


def _settled(pool: Pool, turn: OpenTurn, steps: Iterable[Step]) -> tuple[Record, ...]:
    """The records that settle what was reserved for the model calls among these steps."""
    start = turn.start
    if start is None:
        return ()
    return tuple(
        MoneySettled(
            id=record_id(turn.turn, "settled", start.attempt, step.call),
            turn=turn.turn,
            at=pool.ports.clock(),
            compacted=pool.session.compacted,
            attempt=start.attempt,
            call=step.call,
            amount=step.cost,
        )
        for step in steps
        if isinstance(step, ModelStep)
        if pool.ports.ledger.holds(turn.turn, start.attempt, step.call)
    )


def _closed(pool: Pool, turn: OpenTurn, agent: Agent, processor: StreamProcessor, ended: Ended) -> tuple[Record, ...]:
    """Everything that the end of a turn puts on the log: the last calls' cost, the turns it heard, the answer."""
    joined = tuple(
        TurnSuperseded(
            id=record_id(name, "superseded"),
            turn=name,
            at=pool.ports.clock(),
            compacted=pool.session.compacted,
            by=turn.turn,
        )
        for name in ended.joined
        if (other := pool.session.turns.get(name)) is not None
        if other is not turn and other.may_join and not other.is_answered
    )
    return *_settled(pool, turn, processor.steps), *joined, _answered(pool, turn, agent, processor, ended)


def _answered(pool: Pool, turn: OpenTurn, agent: Agent, processor: StreamProcessor, ended: Ended) -> TurnAnswered:
    models = [step.model for step in processor.steps if isinstance(step, ModelStep) and step.within is None]
    return TurnAnswered(
        id=record_id(turn.turn, "answered"),
        turn=turn.turn,
        at=pool.ports.clock(),
        compacted=pool.session.compacted,
        text=processor.text,
        outcome=ended.outcome,
        usage=ended.usage,
        agent=agent.name,
        agent_hash=agent.hash,
        model=models[-1] if models else agent.model,
        reference=ended.reference,
        attachments=ended.attachments,
        choices=ended.choices,
        tainted=ended.tainted or pool.session.is_tainted(turn) or None,
        steps=processor.trace,
    )


def _failed(pool: Pool, turn: OpenTurn, reference: str) -> tuple[Record, ...]:
    text = f"Sorry, I could not finish this. Reference {reference}."
    record = said_by_hub(pool, turn, text, outcome="failed")
    return (record.model_copy(update={"reference": reference}),)


def _reference(turn: OpenTurn) -> str:
    return sha256(turn.turn.encode()).hexdigest()[:8]
