"""What each promise costs: the product as it is, held against the same product that lets one thing fall.

Each time two whole chains stand side by side, each under a server of its own. Blocks alternate A B B A between them, so
that whatever drifts on the machine falls on both alike; each four blocks give one ratio. Nothing is claimed here: a
price is no gate.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.figures import Report, bootstrap, quantile
from bench.stage import SPOKE, Block, Child, Cost, Stage, fsync_seconds, run_block, settings, stage
from factory_contracts import subjects

SETTLE = 0.7
FSYNCS = 40
AS_IS = ("noted",)

CPU_METHOD = "CPU of all processes and nats-server per turn, with the promise over without"
FIRST_METHOD = "p50 from the submission to the first word on the screen, with the promise over without"
ROUNDS_METHOD = "four blocks A B B A, each side under a server of its own; median of the ratios"


@dataclass(frozen=True, slots=True)
class Side:
    """How a chain differs from the one that `factory` starts on a fresh home."""

    hub: tuple[str, ...] = AS_IS
    hubs: int = 1
    worker: tuple[str, ...] = ()
    spoke: tuple[str, ...] = ()
    syncs_each_second: bool = False


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised, and a side that keeps it and one that does not."""

    words: str
    kept: Side
    let_go: Side


PROMISES = (
    Promise("on the disk before it is accepted", Side(), Side(syncs_each_second=True)),
    Promise("no zombie writes: the fence", Side(), Side(hub=(*AS_IS, "unfenced"))),
    Promise("what is stored is sealed", Side(), Side(hub=("unsealed",))),
    Promise("one bubble whoever dies: its receipt", Side(), Side(spoke=("silent",))),
    Promise("no budget is passed", Side(hub=(*AS_IS, "budget"), worker=("priced",)), Side()),
    Promise("a hub stands by", Side(hubs=2, hub=(*AS_IS, "standby")), Side()),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which cells are run how often for which promises."""

    cells: tuple[Block, ...]
    quartets: int
    promises: tuple[Promise, ...] = PROMISES


FULL = Plan((Block(1, 40, 0), Block(64, 8, 0)), quartets=5)
QUICK = Plan((Block(1, 10, 0), Block(64, 2, 0)), quartets=1)
SMOKE = Plan((Block(2, 2, 0),), quartets=1)


def plan(is_quick: bool, is_smoke: bool, cells: Sequence[int] | None = None) -> Plan:
    """The plan that was asked for, or some of its promises."""
    whole = SMOKE if is_smoke else QUICK if is_quick else FULL
    return whole if not cells else replace(whole, promises=tuple(whole.promises[cell] for cell in cells))


@dataclass(frozen=True, slots=True)
class Chain:
    """One side as it stands."""

    made: Stage
    driver: Child

    async def run(self, block: Block) -> Cost:
        """One block."""
        members = ((name, child.pid) for name, child in self.made.children.items())
        return await run_block(self.driver, (*members, ("nats-server", self.made.server.pid or 0)), block, SETTLE)


async def run(chosen: Plan, folder: Path) -> Report:
    """The whole measurement, one promise after the other."""
    report = Report("promises", settings())
    report.setting["with the promise"] = "as `factory` starts it; a budget and a hub that stands by are added to that"
    async with AsyncExitStack() as stack:
        plain = await _chain(stack, folder, "as it is", Side())
        milliseconds = [1000 * one for one in fsync_seconds(plain.made.log_folder, FSYNCS)]
        report.add("one fsync", bootstrap(milliseconds), "ms", f"a record's bytes, {FSYNCS} times, in the log's folder")
        for promise in chosen.promises:
            async with AsyncExitStack() as other:
                kept, let_go = [
                    # The side that is the product as it is stands already.
                    plain if side == Side() else await _chain(other, folder, f"{words} {promise.words}", side)
                    for words, side in (("with", promise.kept), ("without", promise.let_go))
                ]
                for block in chosen.cells:
                    await _weigh(report, promise, block, kept, let_go, chosen.quartets)
    return report


async def _chain(stack: AsyncExitStack, folder: Path, name: str, side: Side) -> Chain:
    place = folder / name.replace(" ", "-").replace(":", "").replace(",", "")
    place.mkdir()
    made = await stack.enter_async_context(stage(place, syncs_each_second=side.syncs_each_second))
    await made.put("worker", subjects.CLIPOOL, *side.worker)
    for number in range(side.hubs):
        await made.put("hub", subjects.HUB, *side.hub, place=f"hub {number + 1}")
    return Chain(made, await made.put("spoke", SPOKE, *side.spoke))


async def _weigh(report: Report, promise: Promise, block: Block, kept: Chain, let_go: Chain, quartets: int) -> None:
    # Where the hub does not hear that an answer was opened, a conversation's next turn waits for that: each is new.
    fresh = replace(block, conversation=1)
    for chain in (let_go, kept):
        await chain.run(fresh)
    cpu: list[float] = []
    firsts: list[float] = []
    for _ in range(quartets):
        a, b, c, d = [await chain.run(fresh) for chain in (let_go, kept, kept, let_go)]
        cpu.append((b.cpu + c.cpu) / (a.cpu + d.cpu))
        firsts.append(_first(b, c) / _first(a, d))
    name = f"{promise.words}, {'1 scope' if block.scopes == 1 else f'{block.scopes} scopes'}"
    report.add(f"CPU, {name}", bootstrap(cpu), "x", f"{CPU_METHOD}; {ROUNDS_METHOD}")
    report.add(f"first word, {name}", bootstrap(firsts), "x", f"{FIRST_METHOD}; {ROUNDS_METHOD}")


def _first(*costs: Cost) -> float:
    return quantile([span for cost in costs for span in cost.driven.firsts], 0.5)
