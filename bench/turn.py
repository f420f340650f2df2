"""A turn of 50 deltas: what it costs through the product, held against a raw chain under the same server.

Blocks alternate A B B A, so that whatever drifts on the machine falls on both sides alike; each four blocks give one
ratio, and what is claimed is claimed of the ratios' interval.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.figures import Interval, Report, bootstrap, quantile, quartiles
from bench.stage import (
    FLOOR,
    OBSERVERS,
    SPOKE,
    Block,
    Child,
    Cost,
    Stage,
    fsync_seconds,
    run_block,
    settings,
    stage,
)
from bench.traffic import watch
from factory_contracts import subjects

DELTAS = 50
HOPS = 2
MOST_RATIO = 1.2
MOST_PACED_RATIO = 0.4
LEAST_TURNS = 1_000.0
MOST_FLOOR_OVER_PAIR = 1.5
MOST_LATER = 0.001
MOST_COMMITS = 3.0
PROFILE_BLOCKS = 8

SETTLE = "each block with the 0.7 s after it, in which late receipts are written"
CPU_METHOD = f"user + system of all processes of the chain with nats-server, per turn; {SETTLE}"
RATIO_METHOD = "four blocks A B B A under one server give one ratio of CPU per turn; median of the ratios"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run: turns per block in each cell, and how many times four blocks."""

    cells: tuple[Block, ...]
    quartets: int
    checks: int
    settle: float = 0.7
    fsyncs: int = 40
    counted: int = 20


FULL = Plan(
    cells=(
        Block(scopes=1, turns=200, pace_ms=0),
        Block(scopes=64, turns=12, pace_ms=0),
        Block(scopes=1, turns=16, pace_ms=2),
        Block(scopes=64, turns=6, pace_ms=2),
    ),
    quartets=10,
    checks=3,
)
QUICK = Plan(
    cells=(
        Block(scopes=1, turns=80, pace_ms=0),
        Block(scopes=64, turns=6, pace_ms=0),
        Block(scopes=1, turns=8, pace_ms=2),
        Block(scopes=64, turns=3, pace_ms=2),
    ),
    quartets=4,
    checks=2,
)
SMOKE = Plan(cells=(Block(scopes=2, turns=3, pace_ms=0),), quartets=2, checks=2, settle=0.1, fsyncs=3, counted=2)


def plan(is_quick: bool, is_smoke: bool, cells: Sequence[int] | None = None) -> Plan:
    """The plan that was asked for, or some of its cells."""
    whole = SMOKE if is_smoke else QUICK if is_quick else FULL
    return whole if not cells else replace(whole, cells=tuple(whole.cells[cell] for cell in cells))


@dataclass(frozen=True, slots=True)
class Chain:
    """One side: who drives it, and whose time is counted."""

    name: str
    driver: Child
    members: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Quartet:
    """Four blocks A B B A."""

    a: tuple[Cost, Cost]
    b: tuple[Cost, Cost]

    @property
    def ratio(self) -> float:
        """What B cost as a multiple of A."""
        return sum(cost.cpu for cost in self.b) / sum(cost.cpu for cost in self.a)


async def run(plan: Plan, folder: Path) -> Report:
    """The whole measurement."""
    report = Report("turn", settings())
    report.setting["nats-server"] = "one for all blocks, sync_interval always, nkeys and permissions as in production"
    async with stage(folder) as made:
        product, floor, pair = await _chains(made)
        for block in plan.cells:
            for chain in (floor, product):
                await run_block(chain.driver, chain.members, block, plan.settle)
        await _check_itself(report, plan, product, floor, pair)
        fsyncs: list[float] = []
        for block in plan.cells:
            quartets = []
            for _ in range(plan.quartets):
                fsyncs.append(quantile(fsync_seconds(made.log_folder, plan.fsyncs), 0.5))
                quartets.append(await _quartet(floor, product, block, plan.settle))
            _tell(report, block, quartets, fsyncs[-plan.quartets :])
        milliseconds = [1000 * seconds for seconds in fsyncs]
        report.add(
            "one fsync",
            bootstrap(milliseconds),
            "ms",
            f"a record's bytes written and synced in the log's folder, {plan.fsyncs} times before every four blocks",
        )
        await _count(report, plan, made, product)
    return report


async def profile(plan: Plan, folder: Path) -> str:
    """Where the product's processes spend their CPU time, by cell."""
    parts: list[str] = []
    async with stage(folder) as made:
        product, _, _ = await _chains(made)
        processes = [made.children[role] for role in ("hub", "worker", "spoke")]
        for block in plan.cells:
            await run_block(product.driver, product.members, block, plan.settle)
        for block in plan.cells:
            long = replace(block, turns=block.turns * PROFILE_BLOCKS)
            for child in processes:
                await child.ask(do="sample")
            cost = await run_block(product.driver, product.members, long, plan.settle)
            shares = ", ".join(f"{name} {1000 * cost.cpu_of(name):.2f}" for name in cost.by_process)
            parts.append(f"\n=== {_name(block)}: {1000 * cost.cpu:.2f} ms of CPU a turn ({shares})\n")
            for child in processes:
                parts.append(_table(child.role, await child.ask(do="samples"), 1e6 * cost.cpu_of(child.role)))
    return "\n".join(parts)


def _table(role: str, found: dict[str, Any], microseconds: float) -> str:
    lines = [f"--- {role}: {microseconds:.0f} microseconds a turn, {found['samples']} samples"]
    for order, words in (
        ("purposes", "what it is for"),
        ("own", "own time"),
        ("whole", "with all that is called from there"),
    ):
        lines.append(f"  {words}")
        lines += [
            f"  {microseconds * count / found['samples']:8.1f}  {100 * count / found['samples']:5.1f} %  {place}"
            for place, count in found[order]
        ]
    return "\n".join(lines)


async def _chains(made: Stage) -> tuple[Chain, Chain, Chain]:
    server = ("nats-server", made.server.pid or 0)
    await made.put("floor-hub", FLOOR)
    await made.put("floor-worker", FLOOR)
    await made.put("floor-screen", FLOOR)
    await made.put("pair-giver", FLOOR)
    await made.put("pair-taker", FLOOR)
    await made.put("worker", subjects.CLIPOOL)
    await made.put("hub", subjects.HUB)
    await made.put("spoke", SPOKE)

    def chain(name: str, roles: Sequence[str]) -> Chain:
        members = ((role, made.children[role].pid) for role in roles)
        return Chain(name, made.children[roles[-1]], (*members, server))

    return (
        chain("product", ("hub", "worker", "spoke")),
        chain("floor", ("floor-hub", "floor-worker", "floor-screen")),
        chain("pair", ("pair-giver", "pair-taker")),
    )


async def _quartet(a: Chain, b: Chain, block: Block, settle: float) -> Quartet:
    async def one(chain: Chain) -> Cost:
        return await run_block(chain.driver, chain.members, block, settle)

    first, second, third, fourth = await one(a), await one(b), await one(b), await one(a)
    return Quartet((first, fourth), (second, third))


async def _check_itself(report: Report, plan: Plan, product: Chain, floor: Chain, pair: Chain) -> None:
    """Before anything is compared: the same against the same is 1, and the floor is as low as a floor can be."""
    alike = [
        (await _quartet(chain, chain, block, plan.settle)).ratio
        for block in plan.cells
        for chain in (floor, product)
        for _ in range(plan.checks)
    ]
    same = report.add("A/A ratio", bootstrap(alike), "x", "both sides the same chain, all cells; " + RATIO_METHOD)
    report.contains("A/A: the same against the same", same, 1.0)
    for block in plan.cells:
        ratios = [(await _quartet(pair, floor, block, plan.settle)).ratio / HOPS for _ in range(plan.checks)]
        method = "CPU per delta and hop: the floor's, which has two hops, over that of a publisher and a bare callback"
        over = report.add(f"floor / bare pair, {_name(block)}", bootstrap(ratios), "x", method)
        report.at_most(f"floor / bare pair, {_name(block)}", over, MOST_FLOOR_OVER_PAIR)


def _tell(report: Report, block: Block, quartets: Sequence[Quartet], fsyncs: Sequence[float]) -> None:
    name = _name(block)
    floors = [cost for quartet in quartets for cost in quartet.a]
    ours = [cost for quartet in quartets for cost in quartet.b]
    for side, costs in (("ours", ours), ("floor", floors)):
        report.add(f"{side} CPU, {name}", _milliseconds([cost.cpu for cost in costs]), "ms/turn", CPU_METHOD)
        for process in costs[0].by_process:
            share = _milliseconds([cost.cpu_of(process) for cost in costs])
            report.add(f"{side} CPU, {name}, {process}", share, "ms/turn", f"of this process alone; {SETTLE}")
        for what, spans in (
            ("first delta", [span for cost in costs for span in cost.driven.firsts]),
            ("whole turn", [span for cost in costs for span in cost.driven.wholes]),
        ):
            report.add(
                f"{side} {what}, {name}",
                quartiles([1000 * span for span in spans]),
                "ms",
                "from the submission until it is on the screen; all turns of all blocks",
                "quartiles",
            )
    ratio = report.add(f"ratio, {name}", bootstrap([quartet.ratio for quartet in quartets]), "x", RATIO_METHOD)
    if not block.pace_ms:
        report.at_most(f"CPU ratio, {name}", ratio, MOST_RATIO)
        pace = [block.scopes * block.turns / cost.driven.seconds for cost in ours]
        method = "turns of a block over the time from its first submission to its last whole answer"
        reached = report.add(f"turns a second, {name}", bootstrap(pace), "1/s", method)
        if block.scopes > 1:
            report.at_least(f"turns a second, {name}", reached, LEAST_TURNS)
    if block.pace_ms:
        later = [_first(quartet.b) - _first(quartet.a) - fsync for quartet, fsync in zip(quartets, fsyncs, strict=True)]
        method = "p50 of ours less the floor's less one fsync, for each four blocks; median of these"
        gap = report.add(f"first delta later than floor + fsync, {name}", _milliseconds(later), "ms", method)
        # Many paced scopes share their wake-ups, on both sides: there the floor is no chain of single messages.
        if block.scopes == 1:
            report.at_most(f"CPU ratio, {name}", ratio, MOST_PACED_RATIO)
            report.at_most(f"first delta later than floor + fsync (ms), {name}", gap, 1000 * MOST_LATER)


async def _count(report: Report, plan: Plan, made: Stage, product: Chain) -> None:
    """What one turn puts on the bus, seen by somebody who hears everything; not while anything is measured."""
    method = "counted on the bus by a listener to everything, one scope, heartbeats left out"
    for pace_ms in sorted({block.pace_ms for block in plan.cells}):
        block = Block(scopes=1, turns=plan.counted, pace_ms=pace_ms)
        async with watch(made.server.url, [made.identity(name) for name in OBSERVERS]) as traffic:
            await product.driver.drive(block)
            await asyncio.sleep(max(plan.settle, 0.7))
        name = _name(block)
        counted = traffic.found()
        for what, number in counted.items():
            value = number / block.turns
            report.add(f"{what} a turn, {name}", Interval(value, value, value, block.turns), "", method, "a mean")
        report.notes.append(f"a turn on the bus, {name}: {_spell(counted, block.turns)}")
        waited = traffic.waited_commits / block.turns
        report.at_most(f"appends waited for, {name}", Interval(waited, waited, waited, block.turns), MOST_COMMITS)


def _spell(counted: dict[str, int], turns: int) -> str:
    return ", ".join(f"{what} {number / turns:.2f}" for what, number in counted.items())


def _first(costs: tuple[Cost, Cost]) -> float:
    return quantile([span for cost in costs for span in cost.driven.firsts], 0.5)


def _milliseconds(seconds: Sequence[float]) -> Interval:
    return bootstrap([1000 * value for value in seconds])


def _name(block: Block) -> str:
    scopes = "1 scope" if block.scopes == 1 else f"{block.scopes} scopes"
    return f"{scopes}, {f'every {block.pace_ms} ms' if block.pace_ms else 'no delay'}"
