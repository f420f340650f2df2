"""What a seed does to a house: every kind of process is killed, and more goes wrong beside."""

import ast
import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.sim.house import HUBS, SPOKE, WORKERS, House, Slot
from tests.sim.loop import Place, Process, suspended_at, tasks_of

ROOT = f"{Path(__file__).parents[2]}/"
HUB = f"{ROOT}hub/"
BEGIN = 1.0
TARGETED_FOR = 4.0
SPAN = 9.0
FROZEN_FOR = (0.3, 8.0)
# A connection over which nothing was heard for so long is ended by the server.
DEAF_FOR = 4.0
SUCCEEDED_WITHIN = (2.2, 6.0)
MEETS_WITHIN = 0.2
BUSY_WITHIN, BEGUN_WITHIN = 2.0, 0.4
LOOK = 0.02
BUS_AWAY = (0.05, 1.5)
BACK_WITHIN = 0.4
POWER_WITHIN = 3.0
BAD_WEATHER = (0.2, 2.0)


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing that is done to the house, at a time."""

    at: float
    what: str


@lru_cache(maxsize=1)
def awaits() -> tuple[Place, ...]:
    """Every place of the hub where something is awaited."""
    found: set[Place] = set()
    for path in sorted(Path(HUB).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Await | ast.AsyncWith | ast.AsyncFor):
                found.add((str(path)[len(HUB) :], node.lineno))
    return tuple(sorted(found))


@dataclass(slots=True)
class Crashes:
    """At which awaits of the hub a crash is to be, and was."""

    target: Place
    hits: int
    from_then: float
    tried: set[Place] = field(default_factory=set)
    passed: set[Place] = field(default_factory=set)
    is_over: bool = False


def plan(dice: random.Random, also: Sequence[str] = ()) -> list[Blow]:
    """At least five faults, one of each kind of process among them."""
    whats = ["kill hub", "kill worker", "kill spoke", "kill bus", "kill hub at await", *also]
    whats += dice.choices(tuple(BLOWS), [OFTEN.get(what, 1) for what in BLOWS], k=dice.randrange(1, 5))
    return sorted((Blow(BEGIN + SPAN * dice.random(), what) for what in whats), key=lambda blow: blow.at)


async def strike(house: House, blows: list[Blow], crashes: Crashes) -> None:
    """Let all of this happen; returns when the last of it is over."""
    _watch(house, crashes)
    async with asyncio.TaskGroup() as group:
        for blow in blows:
            group.create_task(_strike(house, blow, crashes))


async def _strike(house: House, blow: Blow, crashes: Crashes) -> None:
    await asyncio.sleep(blow.at - house.loop.time())
    house.note(blow.what)
    if blow.what in OUT_OF_REACH:
        with house.trouble():
            await BLOWS[blow.what](house, crashes)
    else:
        await BLOWS[blow.what](house, crashes)


def _watch(house: House, crashes: Crashes) -> None:
    """Kill the hub when it waits where it is to die."""

    def look(process: Process, task: asyncio.Task[Any]) -> None:
        places = suspended_at(task, HUB)
        crashes.passed.update(places)
        if crashes.is_over:
            return
        waited = house.loop.time() - crashes.from_then
        # Where nobody comes to the place, any other must do.
        if waited < 0 or (crashes.target not in places and waited < TARGETED_FOR):
            return
        crashes.hits -= 1
        if crashes.hits <= 0 and places:
            crashes.is_over = True
            _kill(house, house.slots[process.name.partition(".")[0]], f"at {places[-1]}", crashes)

    house.loop.watch = look


async def _kill_hub(house: House, crashes: Crashes) -> None:
    _kill(house, house.reigning(), "hub", crashes)


async def _kill_hub_at_await(house: House, crashes: Crashes) -> None:
    crashes.from_then = house.loop.time()


async def _kill_worker(house: House, crashes: Crashes) -> None:
    _kill(house, house.slots[house.dice.choice(WORKERS)], "worker", crashes)


async def _kill_spoke(house: House, crashes: Crashes) -> None:
    _kill(house, house.slots[SPOKE], "spoke", crashes)


async def _kill_hub_and_spoke(house: House, crashes: Crashes) -> None:
    _kill(house, house.reigning(), "hub", crashes)
    _kill(house, house.slots[SPOKE], "spoke", crashes)


async def _kill_everything(house: House, crashes: Crashes) -> None:
    _kill_all(house, "everything", crashes)
    await _kill_bus(house, crashes)


def _kill_all(house: House, why: str, crashes: Crashes) -> None:
    for slot in house.slots.values():
        _kill(house, slot, why, crashes)


def _kill(house: House, slot: Slot, why: str, crashes: Crashes) -> None:
    process = slot.process
    if process is not None and slot.name in HUBS:
        for task in tasks_of(process, house.loop):
            crashes.tried.update(suspended_at(task, HUB))
    house.kill(slot, why)


async def _kill_bus(house: House, crashes: Crashes) -> None:
    if house.bus.is_up:
        house.bus.stop()
        await _restart_bus(house)


async def _cut_power(house: House, crashes: Crashes) -> None:
    """All goes down at once, while a batch is being stored, of which no more than the beginning is there."""
    gone = house.loop.create_future()

    def go() -> None:
        _kill_all(house, "power", crashes)
        if house.bus.is_up:
            house.bus.stop()
        gone.set_result(None)

    house.bus.tear(go)
    await asyncio.wait((gone,), timeout=POWER_WITHIN)
    house.bus.tear(None)
    if not gone.done():
        go()
    await _restart_bus(house)


async def _restart_bus(house: House) -> None:
    await asyncio.sleep(house.dice.uniform(*BUS_AWAY))
    house.note("bus is back")
    house.bus.is_up = True
    transports = [transport for slot in house.slots.values() for transport in slot.transports]
    house.dice.shuffle(transports)
    for transport in transports:
        await asyncio.sleep(house.dice.random() * BACK_WITHIN)
        if not house.bus.is_up:
            return
        transport.restore()


async def _cut(house: House, crashes: Crashes) -> None:
    """One connection is lost and found again."""
    transports = [transport for slot in house.slots.values() for transport in slot.transports]
    if not transports or not house.bus.is_up:
        return
    transport = house.dice.choice(transports)
    transport.drop()
    await asyncio.sleep(house.dice.uniform(*BUS_AWAY))
    if house.bus.is_up:
        transport.restore()


async def _freeze(house: House, slot: Slot) -> None:
    transports = tuple(slot.transports)
    process = house.freeze(slot)
    if process is None:
        return
    seconds = house.dice.uniform(*FROZEN_FOR)
    await asyncio.sleep(min(seconds, DEAF_FOR))
    if seconds > DEAF_FOR:
        for transport in transports:
            transport.drop()
        await asyncio.sleep(seconds - DEAF_FOR)
    house.thaw(process)
    if seconds > DEAF_FOR:
        await asyncio.sleep(house.dice.random() * BACK_WITHIN)
        if house.bus.is_up:
            for transport in transports:
                transport.restore()


async def _freeze_hub(house: House, crashes: Crashes) -> None:
    await _freeze(house, house.reigning())


async def _stale_hub(house: House, crashes: Crashes) -> None:
    """A hub wakes that has a successor by then, was about to speak, and meets a spoke that knows of neither."""
    until = house.loop.time() + BUSY_WITHIN
    while not house.evidence.received - house.evidence.answered and house.loop.time() < until:
        await asyncio.sleep(LOOK)
    await asyncio.sleep(BEGUN_WITHIN * house.dice.random())
    process = house.freeze(house.reigning())
    if process is None:
        return
    await asyncio.sleep(house.dice.uniform(*SUCCEEDED_WITHIN))
    spoke = house.slots[SPOKE]
    lives = spoke.lives
    _kill(house, spoke, "spoke", crashes)
    while spoke.lives == lives:
        await asyncio.sleep(LOOK)
    await asyncio.sleep(MEETS_WITHIN * house.dice.random())
    house.thaw(process)


async def _freeze_worker(house: House, crashes: Crashes) -> None:
    await _freeze(house, house.slots[house.dice.choice(WORKERS)])


async def _freeze_spoke(house: House, crashes: Crashes) -> None:
    await _freeze(house, house.slots[SPOKE])


async def _end_hub(house: House, crashes: Crashes) -> None:
    house.tell_to_stop(house.reigning())


async def _end_worker(house: House, crashes: Crashes) -> None:
    house.tell_to_stop(house.slots[house.dice.choice(WORKERS)])


async def _end_spoke(house: House, crashes: Crashes) -> None:
    house.tell_to_stop(house.slots[SPOKE])


async def _fill(house: House, crashes: Crashes) -> None:
    house.bus.fill(True)
    await asyncio.sleep(house.dice.uniform(*BAD_WEATHER))
    house.bus.fill(False)


async def _jump(house: House, crashes: Crashes) -> None:
    """Somebody sets a clock."""
    slot = house.dice.choice([house.slots[name] for name in (*house.hubs, *WORKERS)])
    if slot.process is not None:
        house.has_jumped = True
        slot.process.jumped += house.dice.choice((-1, 1)) * 10 ** house.dice.uniform(0, 6)


def _weather(name: str, most: float) -> Callable[[House, Crashes], Awaitable[None]]:
    async def blow(house: House, crashes: Crashes) -> None:
        with _raised(house.bus.weather, name, most * house.dice.random()):
            await asyncio.sleep(house.dice.uniform(*BAD_WEATHER))

    return blow


def _mood(name: str, most: float) -> Callable[[House, Crashes], Awaitable[None]]:
    async def blow(house: House, crashes: Crashes) -> None:
        with _raised(house.platform.mood, name, most * house.dice.random()):
            await asyncio.sleep(house.dice.uniform(*BAD_WEATHER))

    return blow


@contextmanager
def _raised(what: object, name: str, by: float) -> Iterator[None]:
    setattr(what, name, getattr(what, name) + by)
    try:
        yield
    finally:
        setattr(what, name, max(0.0, getattr(what, name) - by))


BLOWS: dict[str, Callable[[House, Crashes], Awaitable[None]]] = {
    "kill hub": _kill_hub,
    "kill hub at await": _kill_hub_at_await,
    "kill worker": _kill_worker,
    "kill spoke": _kill_spoke,
    "kill bus": _kill_bus,
    "kill hub and spoke": _kill_hub_and_spoke,
    "kill everything": _kill_everything,
    "cut power": _cut_power,
    "end hub": _end_hub,
    "end worker": _end_worker,
    "end spoke": _end_spoke,
    "cut": _cut,
    "freeze hub": _freeze_hub,
    "stale hub": _stale_hub,
    "freeze worker": _freeze_worker,
    "freeze spoke": _freeze_spoke,
    "clock jumps": _jump,
    "messages are late": _weather("late", 0.8),
    "messages get lost": _weather("lost", 0.5),
    "messages are doubled": _weather("doubled", 0.5),
    "messages are jumbled": _weather("jumbled", 0.5),
    "slow disk": _weather("disk", 4.0),
    "full disk": _fill,
    "platform is unheard": _mood("unheard", 0.6),
    "platform says not now": _mood("not_now", 0.6),
}
# While these last, or shortly after, a worker may seem to be gone that is not.
OUT_OF_REACH = frozenset(BLOWS) - {
    "kill hub",
    "kill hub at await",
    "kill worker",
    "kill spoke",
    "kill hub and spoke",
    "end hub",
    "end worker",
    "end spoke",
    "clock jumps",
    "platform is unheard",
    "platform says not now",
}
OFTEN = {"freeze worker": 3, "freeze hub": 2, "slow disk": 2}
