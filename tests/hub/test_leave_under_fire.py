"""Leave while hubs and workers die at random: at most one effect, and none that nobody allowed."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from factory_contracts.records import Decided, ToolStarted
from hub.kernel.ports import Assignment, Fenced
from tests.fakes import pass_time
from tests.hub.hands import OWNED, Hands, asked, press
from tests.hub.world import World, key_of

pytestmark = pytest.mark.asyncio(loop_scope="function")

SCOPES = ("a", "b", "c")
BLOWS = 40


@dataclass
class Fire:
    """A hub, its workers and what people press, all of which may end or come at any step."""

    world: World
    dice: random.Random
    hands: Hands
    turns: dict[str, str] = field(default_factory=dict)
    working: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    pressing: list[asyncio.Task[None]] = field(default_factory=list)

    def work(self) -> None:
        """Whatever a worker was told, it does."""
        for number, assignment in enumerate(self.world.workers.started):
            if number not in self.working:
                self.working[number] = asyncio.create_task(self._carry_out(assignment))

    async def strike(self) -> None:
        """One blow, or one press."""
        blow = self.dice.choice(("hub", "worker", "press", "press", "press", "stranger", "wait", "zombie"))
        match blow:
            case "hub":
                await self.world.restart()
            case "worker":
                (name,) = self.world.workers.instances
                for number, assignment in enumerate(self.world.workers.started):
                    if assignment.chosen.worker == name and number in self.working:
                        self.working[number].cancel()
                self.world.workers.kill(name)
                self.world.workers.join(f"w{self.dice.randrange(10**9)}")
            case "zombie":
                zombie = self.world.hub
                await self.world.restart()
                reigning, self.world.hub = self.world.hub, zombie
                self._press("olga")
                await self._steps()
                self.world.hub = reigning
            case "wait":
                await pass_time(self.dice.uniform(0, 3))
            case _:
                self._press(self.dice.choice(("olga", "otto")) if blow == "press" else "eve")
        await self._steps()

    async def end(self) -> None:
        """Everything goes on undisturbed until nothing waits any more."""
        for _ in range(100):
            self.work()
            await pass_time(50)
            if all(task.done() for task in self.working.values()) and not any(self._open(scope) for scope in SCOPES):
                break
        for task in (*self.working.values(), *self.pressing):
            task.cancel()
        await asyncio.gather(*self.working.values(), *self.pressing, return_exceptions=True)

    def _open(self, scope: str) -> bool:
        pool = self.world.pools.peek(key_of(scope))
        return pool is not None and pool.session.waiting > 0

    def _press(self, user: str) -> None:
        scope = self.dice.choice(SCOPES)
        for question in asked(self.world, scope)[-1:]:
            self.pressing.append(asyncio.create_task(self._pressed(scope, question.code, user)))

    async def _pressed(self, scope: str, code: str, user: str) -> None:
        try:
            await press(self.world, self.turns[scope], code, user, approved=self.dice.random() < 0.7, scope=scope)
        except Fenced:
            # A hub that reigns no more answers nobody.
            return

    async def _carry_out(self, assignment: Assignment) -> None:
        await self.hands.carry_out(assignment)
        kept = self.world.workers.kept.get(assignment.turn)
        if kept is not None and kept.assignment is assignment and not kept.is_over:
            self.world.workers.end(assignment.turn)

    async def _steps(self) -> None:
        for _ in range(self.dice.randrange(12)):
            self.work()
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(25))
async def test_whoever_dies_when_nothing_is_done_twice_or_without_leave(seed: int) -> None:
    world = World(policy=OWNED)
    await world.reign()
    fire = Fire(world, random.Random(seed), Hands(world, seconds=120, delay=1.0))
    for scope in SCOPES:
        fire.turns[scope] = await world.accepted("send it", scope=scope)
    for _ in range(BLOWS):
        await fire.strike()
    await fire.end()

    for scope, turn in fire.turns.items():
        records = [one.record for one in world.stream.of(key_of(scope))]
        decided = [one for one in records if isinstance(one, Decided)]
        begun = [one for one in records if isinstance(one, ToolStarted)]
        assert fire.hands.effects[turn] <= 1
        assert len(begun) <= 1
        assert fire.hands.effects[turn] <= len(begun)
        assert all(one.user_id in ("olga", "otto", None) for one in decided)
        for one in begun:
            before = records[: records.index(one)]
            first = next(decision for decision in before if isinstance(decision, Decided))
            assert first.approved
        assert len({one.code for one in asked(world, scope)}) <= 1
        assert world.kinds(scope).count("answered") == 1
    await world.kill()
