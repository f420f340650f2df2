"""A turn of 50 deltas through the product, held against the same turn through a framework for messages on NATS.

Blocks alternate A B B A, so that whatever drifts on the machine falls on both sides alike; each four blocks give one
ratio. The raw chain runs between them, and shows what the framework itself takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Interval, Report, bootstrap, quartiles
from bench.framework import LIBRARY
from bench.harness import environment, tell_who_is_missing
from bench.stage import FLOOR, SPOKE, Block, Child, Cost, Stage, run_block, settings, stage
from factory_contracts import subjects

SETTLE = 0.7
MOST = 1.0

CPU_METHOD = f"user + system of all processes and nats-server, per turn; each block with the {SETTLE} s after it"
RATIO_METHOD = "a round A B C C B A under one server gives one ratio; median of the ratios"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which cells are run how often."""

    cells: tuple[Block, ...]
    rounds: int
    peers: tuple[str, ...] = (LIBRARY,)


FULL = Plan((Block(1, 60, 0), Block(64, 4, 0), Block(1, 8, 2)), rounds=5)
QUICK = Plan((Block(1, 20, 0), Block(64, 2, 0), Block(1, 4, 2)), rounds=2)
SMOKE = Plan((Block(2, 2, 0),), rounds=1, peers=())


def plan(is_quick: bool, is_smoke: bool) -> Plan:
    """The plan that was asked for."""
    return SMOKE if is_smoke else QUICK if is_quick else FULL


@dataclass(frozen=True, slots=True)
class Chain:
    """One side: who drives it, and whose time is counted."""

    driver: Child
    members: tuple[tuple[str, int], ...]

    async def run(self, block: Block) -> Cost:
        """One block."""
        return await run_block(self.driver, self.members, block, SETTLE)


async def run(chosen: Plan, folder: Path) -> Report:
    """The whole measurement; where the framework cannot be had, the raw chain alone."""
    report = Report("bus", settings())
    python, trouble = environment(chosen.peers)
    missing = {peer: trouble for peer in chosen.peers if trouble}
    async with stage(folder, python=python) as made:
        chains = {
            "ours": await _chain(made, ("hub", subjects.HUB), ("worker", subjects.CLIPOOL), ("spoke", SPOKE)),
            "floor": await _floor(made, "floor"),
        }
        if chosen.peers and not missing:
            chains[LIBRARY] = await _floor(made, "frame")
        for block in chosen.cells:
            for chain in chains.values():
                await chain.run(block)
            _tell(report, block, [await _round(chains, block) for _ in range(chosen.rounds)])
    tell_who_is_missing(report, chosen.peers, missing)
    return report


async def _floor(made: Stage, kind: str) -> Chain:
    return await _chain(made, *((f"{kind}-{part}", FLOOR) for part in ("hub", "worker", "screen")))


async def _chain(made: Stage, *roles: tuple[str, str]) -> Chain:
    children = [await made.put(role, identity) for role, identity in roles]
    members = ((child.role, child.pid) for child in children)
    return Chain(children[-1], (*members, ("nats-server", made.server.pid or 0)))


async def _round(chains: dict[str, Chain], block: Block) -> dict[str, tuple[Cost, Cost]]:
    there = {name: await chain.run(block) for name, chain in chains.items()}
    back = {name: await chains[name].run(block) for name in reversed(chains)}
    return {name: (there[name], back[name]) for name in chains}


def _tell(report: Report, block: Block, rounds: Sequence[dict[str, tuple[Cost, Cost]]]) -> None:
    name = f"{block.scopes} scopes, {f'every {block.pace_ms} ms' if block.pace_ms else 'no delay'}"
    for side in rounds[0]:
        costs = [cost for one in rounds for cost in one[side]]
        report.add(f"{side}: CPU, {name}", bootstrap([1000 * cost.cpu for cost in costs]), "ms/turn", CPU_METHOD)
        firsts = [1000 * first for cost in costs for first in cost.driven.firsts]
        method = "from the submission until it is on the screen; all turns of all blocks"
        report.add(f"{side}: first delta, {name}", quartiles(firsts), "ms", method, "quartiles")
    for other in ("floor", LIBRARY):
        if other in rounds[0]:
            ratio = report.add(f"ours / {other}, {name}", _ratio(rounds, "ours", other), "x", RATIO_METHOD)
            if other == LIBRARY:
                report.at_most(f"CPU, ours / {other}, {name}", ratio, MOST)
    if LIBRARY in rounds[0]:
        report.add(f"{LIBRARY} / floor, {name}", _ratio(rounds, LIBRARY, "floor"), "x", RATIO_METHOD)


def _ratio(rounds: Sequence[dict[str, tuple[Cost, Cost]]], one: str, other: str) -> Interval:
    return bootstrap([sum(cost.cpu for cost in r[one]) / sum(cost.cpu for cost in r[other]) for r in rounds])
