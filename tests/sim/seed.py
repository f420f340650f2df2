"""One seed: a house, its people, what is done to it, and what the checker says."""

import asyncio
import gc
import logging
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.kernel import session
from tests.chaos import script
from tests.chaos.script import Question
from tests.sim.checker import judge
from tests.sim.faults import Blow, Crashes, awaits, plan, strike
from tests.sim.house import SPOKE, WORKERS, House
from tests.sim.loop import Loop, Place, Stuck
from tests.sim.replaced import replaced
from tests.sim.script import Word

# Fewer than in the product, so that a conversation of a few turns is compacted as well.
COMPACT_AFTER = 4
TURNS = (20, 22)
STANDBY = 0.2
NEW = 0.04
STOPS = 0.3
SCOPES = (3, 4)
ASKED_WITHIN = 9.0
LOOK = 0.25
# After the last fault nobody has a reason to wait for longer than this.
STUCK = 90.0
AFTER = 3.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed."""

    seed: int
    faults: tuple[str, ...]
    digest: str
    blows: tuple[str, ...]
    turns: int
    seconds: float
    steps: int
    tried: frozenset[Place]
    passed: frozenset[Place]


class _Defects(logging.Handler):
    """What the product itself says went wrong in a way that nobody foresaw."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # A platform that does not answer is foreseen here.
        if record.exc_info is not None and record.name != "adapters.spoke":
            error = record.exc_info[1]
            self.found.append(f"defect: {record.getMessage()}: {type(error).__name__}: {error}")


def run(seed: int, *, also: Sequence[str] = (), trace: bool = False, is_compared: bool = False) -> Outcome:
    """Live through one seed; the same seed gives the same outcome."""
    dice = random.Random(seed)
    loop = Loop(dice)
    defects = _Defects()
    root = logging.getLogger()
    root.addHandler(defects)
    disabled = root.manager.disable
    if not trace:
        logging.disable(logging.WARNING)
    gc.disable()
    crashes = Crashes(awaits()[seed % len(awaits())], dice.choice((1, 1, 2, 3, 5, 8)), float("inf"))
    blows = plan(dice, also)
    try:
        with tempfile.TemporaryDirectory(prefix="sim-") as folder, replaced(session, "COMPACT_AFTER", COMPACT_AFTER):
            house = House(loop, dice, Path(folder), trace=trace, is_compared=is_compared)
            try:
                loop.run_until_complete(_live(house, blows, crashes))
            except Stuck as stuck:
                house.evidence.defects.append(f"stuck: {stuck}")
            seconds, digest = loop.time(), house.digest
            house.evidence.defects += defects.found
            faults = judge(house)
            house.is_over = house.bus.is_over = True
            loop.bury()
    finally:
        root.removeHandler(defects)
        logging.disable(disabled)
        gc.enable()
    return Outcome(
        seed,
        tuple(faults),
        digest,
        tuple(blow.what for blow in blows),
        len(house.platform.said),
        seconds,
        loop.steps,
        frozenset(crashes.tried),
        frozenset(crashes.passed),
    )


async def _live(house: House, blows: list[Blow], crashes: Crashes) -> None:
    dice = house.dice
    # A hub that stands still is of no great interest where nobody takes over.
    has_two = house.shares or any(blow.what in ("freeze hub", "stale hub") for blow in blows) or dice.random() < STANDBY
    hubs = house.hubs if has_two else house.hubs[:1]
    house.open([*hubs, *WORKERS, SPOKE])
    house.bus.weather.full = dice.choice((0.0, 0.05))
    async with asyncio.TaskGroup() as group:
        group.create_task(strike(house, blows, crashes))
        group.create_task(_ask(house, dice.randint(*TURNS), dice.randint(*SCOPES)))
    deadline = house.loop.time() + STUCK
    while house.loop.time() < deadline and (house.platform.untaken or house.evidence.open):
        await asyncio.sleep(LOOK)
    # What is done twice is done late.
    await asyncio.sleep(AFTER)


async def _ask(house: House, turns: int, scopes: int) -> None:
    dice = house.dice
    times = sorted(ASKED_WITHIN * dice.random() for _ in range(turns))
    # Where people stop answers, nobody can know how much a model is shown of them later, and what was lost with workers
    # counts as foreign: before a tool is used, a person would be asked.
    stops = dice.randrange(scopes) if dice.random() < STOPS and house.while_running != "steer" else None
    for number, at in enumerate(times, 1):
        await asyncio.sleep(max(0.0, at - house.loop.time()))
        # Everywhere is something said, and somewhere much.
        scope = number % scopes if number < 2 * scopes else min(dice.randrange(scopes), dice.randrange(scopes))
        name, words = f"q{number}", " ".join(dice.sample(script.WORDS, 3))
        kind = dice.choices(script.KINDS, script.WEIGHTS)[0]
        # Nor where an answer may be too dear, or one message meddles with the answer to another.
        is_vague = scope == stops or house.cap is not None or house.while_running != "queue"
        is_tame = house.cap is None and house.while_running != "steer"
        may_act = is_tame and (not is_vague or house.asks)
        kind = "stream" if (is_vague and kind == "memory") or (not may_act and kind == "tool") else kind
        question = Question(name, kind, words)
        if scope == stops and dice.random() < STOPS:
            question = Word(name, "short", words, command="/stop")
        elif scope != stops and dice.random() < NEW:
            question = Word(name, "short", words, command="/new")
        house.platform.ask(f"tower.{scope}", question)
