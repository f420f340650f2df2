"""A worker's hands: they ask for leave, claim the call, do what can be counted, and say so."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

from factory_contracts.messages import Decision, Noted, Refused, Update
from factory_contracts.records import Asked, Decided, Effect, Record, ToolDone, ToolStarted, record_id
from factory_contracts.work import ApprovalWanted, NotRecorded, Recorded, RecordReply, RecordRequest
from hub.kernel.approval import digest
from hub.kernel.ports import Assignment, Fenced
from tests.fakes import until
from tests.hub.world import BOT, GENEROUS, PLATFORM, World, key_of

OWNED = replace(GENEROUS, owners=frozenset({"olga", "otto"}))
TOOL = "send"
CALL = "c1"
ALL = '{"to":"all"}'


def request(assignment: Assignment, record: Record | ApprovalWanted) -> RecordRequest:
    key = assignment.key
    return RecordRequest(
        platform=key.platform,
        bot_id=key.bot_id,
        scope_id=key.scope_id,
        attempt=assignment.attempt,
        instance=assignment.chosen.instance,
        record=record,
    )


def wanted(
    assignment: Assignment,
    *,
    call: str = CALL,
    tool: str = TOOL,
    effect: Effect = "external",
    arguments: str = ALL,
    seconds: int = 3_600,
) -> RecordRequest:
    asked = ApprovalWanted(
        turn=assignment.turn,
        call=call,
        tool=tool,
        effect=effect,
        arguments=arguments,
        reasons=("it reaches outside",),
        seconds=seconds,
    )
    return request(assignment, asked)


def begins(assignment: Assignment, *, call: str = CALL, tool: str = TOOL, arguments: str = ALL) -> RecordRequest:
    record = ToolStarted(
        id=record_id(assignment.turn, "tool started", assignment.attempt, call),
        turn=assignment.turn,
        at=0.0,
        attempt=assignment.attempt,
        call=call,
        tool=tool,
        effect="external",
        arguments=digest(tool, arguments),
    )
    return request(assignment, record)


def done(assignment: Assignment, *, call: str = CALL) -> RecordRequest:
    record = ToolDone(
        id=record_id(assignment.turn, "tool done", assignment.attempt, call),
        turn=assignment.turn,
        at=0.0,
        attempt=assignment.attempt,
        call=call,
        outcome="ok",
        content="sent",
    )
    return request(assignment, record)


@dataclass
class Hands:
    """Those of whatever worker has the turn; what they do to the world outlives them."""

    world: World
    arguments: str = ALL
    seconds: int = 3_600
    delay: float = 0.0
    effects: Counter[str] = field(default_factory=Counter)

    async def ask(self, turn: str, *, times: int = 1) -> RecordReply:
        """Ask for leave until there is an answer, as a worker does."""
        assignment = await self.world.begun(turn, times=times)
        return await self._recorded(assignment, wanted(assignment, arguments=self.arguments, seconds=self.seconds))

    async def use(self, turn: str, *, times: int = 1) -> RecordReply:
        """The whole call by the attempt of this number, if it may be made; the word that it may not."""
        return await self.carry_out(await self.world.begun(turn, times=times))

    async def carry_out(self, assignment: Assignment) -> RecordReply:
        """The same for an attempt that is at hand."""
        if any(known.call == CALL for known in assignment.known_calls):
            return NotRecorded(words="known")
        asked = wanted(assignment, arguments=self.arguments, seconds=self.seconds)
        reply = await self._recorded(assignment, asked)
        if isinstance(reply, Recorded):
            reply = await self._recorded(assignment, begins(assignment, arguments=self.arguments))
        if isinstance(reply, Recorded):
            await asyncio.sleep(self.delay)
            self.effects[assignment.turn] += 1
            await asyncio.sleep(self.delay)
            await self._recorded(assignment, done(assignment))
        return reply

    async def _recorded(self, assignment: Assignment, asked: RecordRequest) -> RecordReply:
        while True:
            try:
                reply = await self.world.hub.record(assignment.chosen.worker, asked)
            except Fenced:
                # From a hub that reigns no more there is no answer.
                reply = None
            if reply is not None:
                return reply
            await asyncio.sleep(0.05)


def asked(world: World, scope: str = "chat") -> list[Asked]:
    return [one.record for one in world.stream.of(key_of(scope)) if isinstance(one.record, Asked)]


def decided(world: World, scope: str = "chat") -> list[tuple[str | None, bool]]:
    found = [one.record for one in world.stream.of(key_of(scope)) if isinstance(one.record, Decided)]
    return [(one.user_id, one.approved) for one in found]


def seen(world: World, turn: str) -> str | None:
    """The code of the question that stands in the turn's bubble."""
    updates = [event for event in world.outbox.published if isinstance(event, Update) and event.turn == turn]
    shown = updates[-1].question if updates else None
    return shown.code if shown is not None else None


async def shown(world: World, turn: str) -> str:
    """Wait until a question stands in the turn's bubble; its code."""
    await until(lambda: seen(world, turn) is not None)
    code = seen(world, turn)
    assert code is not None
    return code


def pressed(turn: str, code: str, user: str = "olga", *, approved: bool = True, scope: str = "chat") -> Decision:
    return Decision(
        platform=PLATFORM, bot_id=BOT, scope_id=scope, turn=turn, code=code, user_id=user, approved=approved
    )


async def press(
    world: World, turn: str, code: str, user: str = "olga", *, approved: bool = True, scope: str = "chat"
) -> Noted | Refused:
    answer = await world.hub.answer(pressed(turn, code, user, approved=approved, scope=scope))
    assert isinstance(answer, Noted | Refused)
    return answer


@dataclass
class Scene:
    """A turn that waits for leave."""

    world: World
    turn: str
    hands: Hands
    using: asyncio.Task[RecordReply]
    code: str

    @property
    def effects(self) -> int:
        return self.hands.effects[self.turn]

    async def close(self) -> None:
        """Nobody works on it any more."""
        self.using.cancel()
        await asyncio.gather(self.using, return_exceptions=True)


async def waiting(world: World, *, scope: str = "chat", user: str = "ann", seconds: int = 3_600) -> Scene:
    """Have a turn's worker ask for leave, and wait until the question is shown."""
    turn = await world.accepted("send it", scope=scope, user=user)
    hands = Hands(world, seconds=seconds)
    using = asyncio.create_task(hands.use(turn))
    return Scene(world, turn, hands, using, await shown(world, turn))
