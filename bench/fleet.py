"""What it costs to have a worker do something, and how long nobody notices that it died.

Dispatch: a wish through our fleet to our worker, held against a bare request of nats-py that is echoed, under the same
server. Blocks alternate A B B A, so that whatever drifts on the machine falls on both sides alike.

Deaths: a worker that holds a request is killed, or frozen, and the time is taken until another has answered it.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from adapters.nats.fleet import Fleet, Fulfilled, Wish
from bench.dispatch import CAPABILITY, WORKER
from bench.figures import Interval, Report, bootstrap, quantile, quartiles
from bench.stage import FLOOR, ROOT, Block, Child, Cost, Stage, paths, run_block, settings, stage
from factory_cli import config
from factory_contracts import subjects
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.worker_pool import SILENT, YOUNG

HOLD = "hold"
HOLDERS = ("h1", "h2", "h3")
# Blocks are short, and nothing is written late.
SETTLE = 0.0
MOST_RATIO = 1.5
MOST_KILLED = 0.1
# From the last heartbeat, which may be as old as one, and one look and one request after it.
MOST_FROZEN = SILENT + 0.25
HELD = 0.2
DEADLINE = 60.0

CPU_METHOD = "user + system of asker, worker and nats-server, per request"
RATIO_METHOD = "four blocks A B B A under one server give one ratio; median of the ratios"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many requests in a block of each cell, how many times four blocks, how many deaths and frosts."""

    cells: tuple[Block, ...]
    quartets: int
    checks: int
    deaths: int
    frosts: int


FULL = Plan((Block(1, 2_000, 0), Block(64, 100, 0)), quartets=15, checks=5, deaths=100, frosts=10)
QUICK = Plan((Block(1, 600, 0), Block(64, 30, 0)), quartets=6, checks=2, deaths=20, frosts=2)
SMOKE = Plan((Block(1, 20, 0), Block(8, 5, 0)), quartets=2, checks=2, deaths=2, frosts=1)


def plan(is_quick: bool, is_smoke: bool) -> Plan:
    """The plan that was asked for."""
    return SMOKE if is_smoke else QUICK if is_quick else FULL


@dataclass(frozen=True, slots=True)
class Chain:
    """One side: who asks, and whose time is counted."""

    driver: Child
    members: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Quartet:
    """Four blocks A B B A."""

    a: tuple[Cost, Cost]
    b: tuple[Cost, Cost]

    @property
    def cpu(self) -> float:
        """The CPU of B as a multiple of A's."""
        return sum(cost.cpu for cost in self.b) / sum(cost.cpu for cost in self.a)

    @property
    def wall(self) -> float:
        """The time that B took as a multiple of A's."""
        return sum(cost.driven.seconds for cost in self.b) / sum(cost.driven.seconds for cost in self.a)


async def run(chosen: Plan, folder: Path) -> Report:
    """The whole measurement."""
    report = Report("fleet", settings())
    workers = [config.Worker(WORKER, CAPABILITY), *(config.Worker(name, HOLD) for name in HOLDERS)]
    async with stage(folder, workers) as made:
        await _dispatch(report, chosen, made)
        await made.leave()
        await _trouble(report, chosen, made)
    return report


async def _dispatch(report: Report, chosen: Plan, made: Stage) -> None:
    fleet = await _chain(made, "fleet", WORKER, subjects.CLIPOOL)
    floor = await _chain(made, "bare", FLOOR, FLOOR)
    typed = await _chain(made, "typed", FLOOR, FLOOR)
    for block in chosen.cells:
        for chain in (floor, typed, fleet):
            await run_block(chain.driver, chain.members, block, SETTLE)
    alike = [
        quartet.cpu
        for block in chosen.cells
        for chain in (floor, fleet)
        for quartet in [await _quartet(chain, chain, block) for _ in range(chosen.checks)]
    ]
    same = report.add("A/A ratio", bootstrap(alike), "x", f"CPU, both sides the same, all cells; {RATIO_METHOD}")
    report.contains("A/A: the same against the same", same, 1.0)
    for block in chosen.cells:
        _tell(report, block, [await _quartet(floor, fleet, block) for _ in range(chosen.quartets)])
        checked = [(await _quartet(typed, fleet, block)).cpu for _ in range(chosen.checks)]
        method = "against a bare request that carries and checks the same contracts; CPU; " + RATIO_METHOD
        report.add(f"CPU ratio with contracts on both sides, {_name(block)}", bootstrap(checked), "x", method)


async def _chain(made: Stage, kind: str, worker: str, asker: str) -> Chain:
    far, near = await made.put(f"{kind}-worker", worker), await made.put(f"{kind}-asker", asker)
    return Chain(near, (("asker", near.pid), ("worker", far.pid), ("nats-server", made.server.pid or 0)))


async def _quartet(a: Chain, b: Chain, block: Block) -> Quartet:
    costs = [await run_block(chain.driver, chain.members, block, SETTLE) for chain in (a, b, b, a)]
    return Quartet((costs[0], costs[3]), (costs[1], costs[2]))


def _tell(report: Report, block: Block, quartets: Sequence[Quartet]) -> None:
    name = _name(block)
    for side, costs in (
        ("ours", [cost for quartet in quartets for cost in quartet.b]),
        ("bare", [cost for quartet in quartets for cost in quartet.a]),
    ):
        report.add(f"{side} CPU, {name}", _microseconds([cost.cpu for cost in costs]), "us", CPU_METHOD)
        for process in costs[0].by_process:
            share = _microseconds([cost.cpu_of(process) for cost in costs])
            report.add(f"{side} CPU, {name}, {process}", share, "us", "of this process alone")
        spans = [1e6 * span for cost in costs for span in cost.driven.wholes]
        report.add(f"{side} latency, {name}", quartiles(spans), "us", "all requests of all blocks", "quartiles")
    cpu = report.add(f"CPU ratio, {name}", bootstrap([quartet.cpu for quartet in quartets]), "x", RATIO_METHOD)
    wall = report.add(f"time ratio, {name}", bootstrap([quartet.wall for quartet in quartets]), "x", RATIO_METHOD)
    report.at_most(f"CPU ratio, {name}", cpu, MOST_RATIO)
    report.at_most(f"time ratio, {name}", wall, MOST_RATIO)


@dataclass(slots=True)
class Ward:
    """Workers of which one at a time is in trouble, and somebody who asks them."""

    made: Stage
    fleet: Fleet
    running: dict[str, Process] = field(default_factory=dict)
    calls: "count[int]" = field(default_factory=count)

    async def start(self, name: str) -> None:
        """Start it; it is there when it is heard."""
        seed = self.made.seeds[name]
        self.running[name] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "factory_nats", str(ROOT / "bench" / "holder.py"), "--name", name),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            env={
                **os.environ,
                "PYTHONPATH": paths(),
                "WORKER": name,
                "NATS_SEED": seed,
                "NATS_URL": self.made.server.url,
            },
        )

    async def all_are_there(self) -> None:
        """Return when everybody lives."""
        while sum(one.standing.is_alive for one in self.fleet.opinions()) < len(HOLDERS):
            await self.fleet.change(DEADLINE)

    async def hold(self) -> tuple[str, "asyncio.Task[str]"]:
        """Ask until one of them holds it; who, and what will be told by another."""
        for call in self.calls:
            holder = HOLDERS[call % len(HOLDERS)]
            asking = asyncio.create_task(self._ask(call, holder))
            done, _ = await asyncio.wait({asking}, timeout=HELD)
            if not done:
                return holder, asking
        raise AssertionError

    async def _ask(self, call: int, holder: str) -> str:
        wish = Wish("turn", str(call), DEADLINE, arguments=f'{{"holder":"{holder}"}}')
        came = await self.fleet.ask(wish, effect="read")
        assert isinstance(came, Fulfilled), came
        return came.text

    async def end(self) -> None:
        """End everybody."""
        for process in self.running.values():
            process.kill()
            await process.wait()


async def _trouble(report: Report, chosen: Plan, made: Stage) -> None:
    joined = await connect(made.server.url, Identity(subjects.CLIPOOL, made.seeds[subjects.CLIPOOL]))
    assert isinstance(joined, Ok)
    ward = Ward(made, Fleet(joined.value, HOLD))
    await ward.fleet.listen()
    try:
        for name in HOLDERS:
            await ward.start(name)
        await ward.all_are_there()
        await asyncio.sleep(YOUNG)
        killed = [await _killed(ward) for _ in range(chosen.deaths)]
        frozen = [await _frozen(ward) for _ in range(chosen.frosts)]
    finally:
        await ward.end()
        await ward.fleet.close()
        await joined.value.close()
    method = "from SIGKILL of the worker that holds a request until another has answered it"
    report.add("killed: served elsewhere, p50", bootstrap([1000 * one for one in killed]), "ms", method)
    tail = bootstrap([1000 * one for one in killed], partial(quantile, share=0.99))
    report.add("killed: served elsewhere, p99", tail, "ms", method)
    report.at_most("killed: served elsewhere, p99 (ms)", tail, 1000 * MOST_KILLED)
    method = "from SIGSTOP of the worker that holds a request until another has answered it"
    still = bootstrap([1000 * one for one in frozen], max)
    report.add("frozen: served elsewhere, worst", still, "ms", method)
    report.at_most("frozen: served elsewhere, worst (ms)", still, 1000 * MOST_FROZEN)


async def _killed(ward: Ward) -> float:
    name, asking = await ward.hold()
    process = ward.running.pop(name)
    began = time.perf_counter()
    process.kill()
    assert await asking != name
    lasted = time.perf_counter() - began
    await process.wait()
    await ward.start(name)
    await ward.all_are_there()
    return lasted


async def _frozen(ward: Ward) -> float:
    name, asking = await ward.hold()
    process = ward.running[name]
    began = time.perf_counter()
    process.send_signal(signal.SIGSTOP)
    assert await asking != name
    lasted = time.perf_counter() - began
    process.send_signal(signal.SIGCONT)
    await ward.all_are_there()
    return lasted


def _name(block: Block) -> str:
    return f"{block.scopes} in flight"


def _microseconds(seconds: Sequence[float]) -> Interval:
    return bootstrap([1e6 * value for value in seconds])
