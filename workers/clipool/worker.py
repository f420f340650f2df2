"""A CliPool worker: takes the hub's commands, keeps turns until they may be forgotten, and says that it lives."""

import asyncio
import logging
from asyncio import TaskGroup
from collections.abc import Callable

from factory_contracts import subjects
from factory_contracts.envelope import FIRST_VERSION, SCHEMA_VERSION, Malformed
from factory_contracts.work import (
    COMMAND,
    COMMAND_REPLY,
    HUB_HELLO,
    MOST_OPINIONS,
    RECORD_REPLY,
    RECORD_REQUEST,
    WORKER_HEARTBEAT,
    ApprovalWanted,
    Command,
    CommandReply,
    Done,
    Erase,
    Forget,
    KeptTurn,
    RecordReply,
    RecordRequest,
    Requested,
    Resume,
    Run,
    Stale,
    Steer,
    Stop,
    Unknown,
    WorkerHeartbeat,
)
from factory_nats.result import Err
from factory_nats.transport import Delivery, Handler, Transport
from workers.clipool.kit import Kit
from workers.clipool.outlet import Outlet
from workers.clipool.turn import Turn
from workers.engine.guard import guarded

logger = logging.getLogger(__name__)

BEAT = 0.5
FROZEN = 2.0
DRAIN = 8.0
MAX_TURNS = 2_000
RECORD_TIMEOUT = 2.0
RECORD_PAUSES = (0.05, 1.0)
# A person thinks longer than a log; the hub holds such a request a little longer than this.
QUESTION_TIMEOUT = 4.0
LISTEN_PAUSE = 0.25


class Worker:
    """All turns of one process. An instance is a life: with a new one, every turn of the older is gone."""

    def __init__(self, transport: Transport, kit: Kit, new_instance: Callable[[], str]) -> None:
        self.name = subjects.worker_token(transport.identity)
        self._transport = transport
        self._kit = kit
        self._new_instance = new_instance
        self._instance = new_instance()
        self._turns: dict[str, Turn] = {}
        self._epochs: dict[int, int] = {}
        self.understood = FIRST_VERSION
        self._outlet = Outlet(transport, kit)
        self._group = TaskGroup()
        self._loop = asyncio.get_running_loop()
        self._ticked = self._loop.time()
        self._is_draining = False
        self._emptied = asyncio.Event()
        self._erasing = asyncio.Lock()

    async def serve(self, until: asyncio.Event) -> None:
        """Work until told otherwise, then finish what is begun, for a few seconds. Raises when the bus forbids it."""
        async with self._group as group:
            outlet = group.create_task(self._outlet.run(), name="outlet")
            try:
                # A bus that is away keeps nobody from being told to end.
                being = group.create_task(self._be_there(), name="heartbeat")
                await until.wait()
                await self._drain()
                being.cancel()
            finally:
                outlet.cancel()
                for turn in self._turns.values():
                    turn.close()

    def tick(self, now: float) -> None:
        """What is done at every heartbeat, on the event loop's clock."""
        if now - self._ticked > FROZEN:
            # The hub has given the turns away by now. To go on would be to say and do everything twice.
            logger.warning("worker %s stood still for %.1f s and drops its turns", self.name, now - self._ticked)
            self._drop_all()
        self._ticked = now
        for turn in tuple(self._turns.values()):
            if not turn.is_over and turn.limit.is_past(now):
                turn.run_out()
        self._outlet.put((subjects.heartbeat(subjects.CLIPOOL, self.name), self._heartbeat()))

    def stir(self, turn: Turn) -> None:
        """The turn has something to tell."""
        self._outlet.put(turn)

    def drop(self, turn: Turn) -> None:
        """End the turn here and keep nothing of it."""
        turn.close()
        if self._turns.get(turn.run.turn) is turn:
            del self._turns[turn.run.turn]
        if not self._turns:
            self._emptied.set()

    async def record(self, run: Run, record: Requested) -> RecordReply:
        """Whether the record is on the log, or the call allowed; asks until somebody answers."""
        platform, bot_id, scope_id = _place(run)
        request = RecordRequest(
            platform=platform,
            bot_id=bot_id,
            scope_id=scope_id,
            attempt=run.attempt,
            instance=self._instance,
            record=record,
        )
        subject = subjects.clipool_record(self.name, run.partition)
        payload = RECORD_REQUEST.encode(request, self.understood)
        pause, longest = RECORD_PAUSES
        is_question = isinstance(record, ApprovalWanted)
        while True:
            timeout = QUESTION_TIMEOUT if is_question else RECORD_TIMEOUT
            answer = await self._transport.request(subject, payload, timeout=timeout, responder=subjects.HUB)
            if isinstance(answer, Err):
                # Nobody has answered yet, and whoever does should not find us resting.
                if is_question and answer.reason == "timeout":
                    continue
                logger.info("turn %s waits for a record: %s", run.turn, answer.detail)
            else:
                try:
                    return RECORD_REPLY.decode(answer.value)
                except Malformed as error:
                    logger.error("the answer to a record of turn %s is refused: %s", run.turn, error)
            await asyncio.sleep(pause)
            pause = min(longest, 2 * pause)

    async def _listen(self, subject: str, handler: Handler) -> None:
        while isinstance(listening := await self._transport.subscribe(subject, handler), Err):
            if listening.reason != "disconnected" and listening.reason != "timeout":
                raise RuntimeError(f"worker {self.name} cannot listen to {subject}: {listening.detail}")
            await asyncio.sleep(LISTEN_PAUSE)

    async def _be_there(self) -> None:
        await self._listen(subjects.clipool_command(self.name), self._on_command)
        await self._listen(subjects.clipool_hello(), self._on_hello)
        logger.info("worker %s serves as instance %s", self.name, self._instance)
        while True:
            self.tick(self._loop.time())
            await asyncio.sleep(BEAT)

    async def _drain(self) -> None:
        logger.info("worker %s drains %s turns", self.name, len(self._turns))
        self._is_draining = True
        if self._turns:
            self._emptied.clear()
            self.tick(self._loop.time())
            timer = self._loop.call_later(DRAIN, self._emptied.set)
            await self._emptied.wait()
            timer.cancel()
        # A last heartbeat of a life without turns spares the hub to wait for our silence.
        self._drop_all()
        await self._transport.publish(subjects.heartbeat(subjects.CLIPOOL, self.name), self._heartbeat())

    def _drop_all(self) -> None:
        for turn in tuple(self._turns.values()):
            self.drop(turn)
        self._instance = self._new_instance()

    def _heartbeat(self) -> bytes:
        kept = {
            name: KeptTurn(scope=turn.run.scope, attempt=turn.run.attempt, events=turn.told)
            for name, turn in self._turns.items()
        }
        models = () if self._is_draining else self._kit.models.names
        return WORKER_HEARTBEAT.encode(
            WorkerHeartbeat(
                worker=self.name,
                instance=self._instance,
                turns=kept,
                models=models,
                opinions=self._kit.opinions()[:MOST_OPINIONS] or None,
                understands=SCHEMA_VERSION,
            ),
            # Whoever reigns next reads it, too.
            FIRST_VERSION,
        )

    def _on_hello(self, delivery: Delivery) -> None:
        try:
            self.understood = HUB_HELLO.decode(delivery.data).understands
        except Malformed as error:
            logger.error("a hub's hello is refused: %s", error)
            return
        self.tick(self._loop.time())

    def _on_command(self, delivery: Delivery) -> None:
        try:
            command = COMMAND.decode(delivery.data)
        except Malformed as error:
            logger.error("a command is refused: %s", error)
            return
        reply = self._carry_out(command, delivery.reply)
        if reply is not None:
            self._answer(delivery.reply, reply)

    def _answer(self, to: str, reply: CommandReply) -> None:
        if not to:
            return
        if not self._transport.owns_inbox(to, subjects.HUB):
            logger.error("a command wants its answer sent to somebody else than the hub")
            return
        self._outlet.put((to, COMMAND_REPLY.encode(reply, self.understood)))

    def _carry_out(self, command: Command, to: str) -> CommandReply | None:
        """What is to be answered, or None where events are the answer or it comes later."""
        highest = self._epochs.get(command.partition, 0)
        if command.epoch < highest:
            logger.warning("a command of epoch %s is refused, the present one is %s", command.epoch, highest)
            return Stale(epoch=highest)
        self._epochs[command.partition] = command.epoch
        if isinstance(command, Forget):
            for name in command.turns:
                if name in self._turns:
                    self.drop(self._turns[name])
            return Done()
        if isinstance(command, Erase):
            # It is asked for until it is answered; who is at it answers every time.
            self._group.create_task(self._erase(command, to), name=f"erase {command.scope}")
            return None
        turn = self._turns.get(command.turn)
        if isinstance(command, Run):
            return self._run(command, turn)
        if turn is None:
            return Unknown(turn=command.turn)
        match command:
            case Resume():
                if turn.run.attempt != command.attempt:
                    return Unknown(turn=command.turn)
                return None if turn.tell_from(command.start) else Done()
            case Stop():
                turn.stop()
            case Steer():
                turn.steer(command)
        return Done()

    async def _erase(self, command: Erase, to: str) -> None:
        """Remove what is kept of a scope; silence where something of it is left, which makes the hub ask again."""
        # Two at once would only wait for each other.
        async with self._erasing:
            erased = await guarded(self._kit.erase(command.scope, command.namespaces, command.until))
        if isinstance(erased, Exception):
            logger.error("what is kept of a scope cannot be removed", exc_info=erased)
        elif erased:
            self._answer(to, Done())

    def _run(self, command: Run, known: Turn | None) -> CommandReply | None:
        self._kit.at("commanded")
        # The hub believes in a life that is over: to begin would be to do the work for nobody.
        if command.instance not in (None, self._instance):
            return Unknown(turn=command.turn)
        if known is not None:
            if known.run.attempt == command.attempt:
                return Done()
            if known.run.attempt > command.attempt:
                return Unknown(turn=command.turn)
            self.drop(known)
        if self._is_draining or len(self._turns) >= MAX_TURNS:
            logger.warning("turn %s is not taken on", command.turn)
            return Unknown(turn=command.turn)
        turn = Turn(command, self._instance, self._kit, self)
        self._turns[command.turn] = turn
        turn.task = self._group.create_task(turn.carry_out(), name=command.turn)
        return None


def _place(run: Run) -> tuple[str, str, str]:
    """Platform, bot and scope of a run: the pool's name holds them, and only the scope may contain a colon."""
    platform, bot_id, scope_id = run.scope.split(":", 2)
    return platform, bot_id, scope_id
