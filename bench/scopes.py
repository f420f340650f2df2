"""Many conversations beside each other: whether the hub's loop stays free, what a noisy one does to the others, and
what it costs to have two hubs share them.

One hub and two stand on two servers side by side, since they cannot reign over one log together. Blocks alternate
A B B A between them, so that whatever drifts on the machine falls on both alike; each four blocks give one ratio.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.figures import Interval, Report, bootstrap, quantile, quartiles
from bench.lag import TICK
from bench.stage import (
    BOT,
    PATIENCE,
    PLATFORM,
    SPOKE,
    Block,
    Child,
    Cost,
    Given,
    Stage,
    cpu_seconds,
    join,
    run_block,
    settings,
    stage,
)
from factory_cli.log import Balance, balance
from factory_contracts import subjects
from factory_contracts.lifecycle import HUB_HEARTBEAT
from factory_contracts.messages import FROM_SPOKE, TO_SPOKE, Address, InboundMessage, Refused, Submit
from factory_nats.result import Ok

MOST_LAG = 0.050
MOST_LATE = 1.1
MOST_NOISE = 2.0
LEAST_FLOOD = 0.95
MOST_SHARED = 1.1
SETTLE = 0.7
# Before anything is measured, the one who floods has had what is granted to it.
WARM = 1.0
BURST_EVERY = 0.01
ANSWERED_WITHIN = 2.0
NOISY = "noisy"
NOISE = "25 deltas every 20 ms"
LOOK_EVERY = 0.05

CPU_METHOD = f"user + system, per turn; each block with the {SETTLE} s after it, in which late receipts are written"
RATIO_METHOD = "four blocks A B B A, one hub and two, each under a server of its own; median of the ratios"

Work = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What streams, who waits beside a noisy conversation and how noisy that is, and what one hub and two are given."""

    streams: Block
    beside: Block
    flood: int
    floods: int
    cells: tuple[Block, ...]
    quartets: int
    idle: float


FULL = Plan(
    streams=Block(scopes=500, turns=3, pace_ms=20, deltas=250),
    beside=Block(scopes=16, turns=8, pace_ms=20, deltas=25, conversation=1),
    flood=1_000,
    floods=2,
    cells=(Block(1, 60, 0), Block(64, 16, 0), Block(64, 8, 0, conversation=1), Block(500, 2, 0)),
    quartets=4,
    idle=3.0,
)
QUICK = replace(
    FULL,
    streams=Block(scopes=500, turns=3, pace_ms=20, deltas=100),
    beside=Block(scopes=16, turns=4, pace_ms=20, deltas=25, conversation=1),
    floods=1,
    cells=(Block(1, 20, 0), Block(64, 4, 0), Block(64, 3, 0, conversation=1), Block(500, 1, 0)),
    quartets=1,
    idle=1.0,
)
SMOKE = Plan(
    streams=Block(scopes=4, turns=3, pace_ms=20, deltas=25),
    beside=Block(scopes=2, turns=1, pace_ms=20, deltas=25, conversation=1),
    flood=100,
    floods=1,
    cells=(Block(8, 1, 0),),
    quartets=1,
    idle=0.1,
)


def plan(is_quick: bool, is_smoke: bool) -> Plan:
    """The plan that was asked for."""
    return SMOKE if is_smoke else QUICK if is_quick else FULL


@dataclass(frozen=True, slots=True)
class Chain:
    """Everybody who answers on one server."""

    made: Stage
    hubs: tuple[str, ...]

    @property
    def members(self) -> tuple[tuple[str, int], ...]:
        """Whose time is counted."""
        roles = (*self.hubs, "worker", "spoke")
        return *((role, self.made.children[role].pid) for role in roles), ("nats-server", self.made.server.pid or 0)

    @property
    def driver(self) -> Child:
        """Who asks."""
        return self.made.children["spoke"]

    async def run(self, block: Block) -> Cost:
        """One block."""
        return await run_block(self.driver, self.members, block, SETTLE)


async def run(chosen: Plan, folder: Path) -> Report:
    """The whole measurement."""
    report = Report("scopes", settings())
    for name in ("crowd", "one", "two"):
        (folder / name).mkdir()
    async with stage(folder / "crowd") as made:
        chain = await _chain(made, 1, "limited")
        await _stream(report, chosen, chain)
        await _flood(report, chosen, chain)
    async with stage(folder / "one") as alone, stage(folder / "two") as shared:
        await _share(report, chosen, await _chain(alone, 1), await _chain(shared, 2, "shares"))
    return report


async def _chain(made: Stage, hubs: int, *ways: str) -> Chain:
    names = tuple("hub" if not number else f"hub {number + 1}" for number in range(hubs))
    await made.put("worker", subjects.CLIPOOL)
    for name in names:
        await made.put("hub", subjects.HUB, *ways, place=name)
    await made.put("spoke", SPOKE)
    return Chain(made, names)


async def _stream(report: Report, chosen: Plan, chain: Chain) -> None:
    """Everybody streams at once, and the hub's loop is watched from when the last has begun until the first ends."""
    block, hub = chosen.streams, chain.made.children["hub"]
    name = f"{block.scopes} scopes of {1000 // block.pace_ms} tokens a second"
    lasts = block.deltas * block.pace_ms / 1000
    await chain.run(replace(block, turns=1, deltas=25))
    driving = asyncio.create_task(chain.driver.drive(block))
    await asyncio.sleep(lasts)
    before, began = dict(_cpu(chain)), time.perf_counter()
    await hub.ask(do="watch")
    await asyncio.sleep((block.turns - 1) * lasts)
    lags = await hub.ask(do="lags")
    seconds = time.perf_counter() - began
    spent = {process: (now - before[process]) / seconds for process, now in _cpu(chain).items()}
    driven = await driving
    method = f"how late a timer of {TICK * 1000:.0f} ms goes off in the hub's loop while all stream"
    milliseconds = [1000 * lag for lag in lags]
    lag = report.add(
        f"hub's loop lag p99, {name}", bootstrap(milliseconds, partial(quantile, share=0.99)), "ms", method
    )
    report.add(f"hub's loop lag p50, {name}", bootstrap(milliseconds), "ms", method)
    for process, share in spent.items():
        report.add(f"CPU of {process}, {name}", _exactly(share), "cores", "process time over the time of the watch")
    late = [whole / lasts for whole in driven.wholes]
    method = "from the submission to the whole answer, over the time in which the model says it"
    lateness = report.add(f"whole answer / the model's time, {name}", bootstrap(late), "x", method)
    report.at_most(f"hub's loop lag p99 (ms), {name}", lag, 1000 * MOST_LAG)
    report.at_most(f"whole answer / the model's time, {name}", lateness, MOST_LATE)


async def _flood(report: Report, chosen: Plan, chain: Chain) -> None:
    """One person floods, from a process of its own; the others' first words, with and without."""
    noisy = await chain.made.put("flooder", SPOKE)
    quiet: list[list[float]] = []
    loud: list[list[float]] = []
    ratios: list[float] = []
    floods: list[dict[str, float]] = []
    await chain.run(chosen.beside)

    async def first(is_loud: bool) -> list[float]:
        if not is_loud:
            return (await chain.run(chosen.beside)).driven.firsts
        await noisy.ask(do="work", work={"do": "flood", "each_second": chosen.flood})
        await asyncio.sleep(WARM)
        driven = await chain.driver.drive(chosen.beside)
        floods.append(await noisy.ask(do="work", work={"do": "calm"}))
        return driven.firsts

    for _ in range(chosen.floods):
        found = [await first(is_loud) for is_loud in (False, True, True, False)]
        quiet += [found[0], found[3]]
        loud += [found[1], found[2]]
        ratios += [quantile(found[1], 0.5) / quantile(found[0], 0.5), quantile(found[2], 0.5) / quantile(found[3], 0.5)]
    name = f"{chosen.beside.scopes} conversations beside one of {chosen.flood} messages a second"
    for words, blocks in (("without", quiet), ("with", loud)):
        spans = [1000 * span for block in blocks for span in block]
        method = "from the submission until it is on the screen; all turns of all blocks"
        report.add(f"first word, {name}, {words} it", quartiles(spans), "ms", method, "quartiles")
        tail = bootstrap(spans, partial(quantile, share=0.99))
        report.add(f"first word p99, {name}, {words} it", tail, "ms", method, "95 % bootstrap interval of the p99")
    method = "p50 of a block with the flood over that of the block beside it without; median of these"
    ratio = report.add(f"first word with / without, {name}", bootstrap(ratios), "x", method)
    pace = bootstrap([one["sent"] / one["seconds"] for one in floods])
    report.add("flood", pace, "1/s", "messages sent over the time in which they were sent")
    total = {what: sum(one[what] for one in floods) for what in ("sent", "refused", "accepted", "unanswered")}
    report.notes.append("of the flood's messages: " + ", ".join(f"{n:.0f} {what}" for what, n in total.items()))
    report.at_least("flood (messages a second)", pace, LEAST_FLOOD * chosen.flood)
    report.at_most(f"first word with / without, {name}", ratio, MOST_NOISE)
    report.at_most("messages of the flood that nobody answered", _exactly(total["unanswered"]), 0)


async def _share(report: Report, chosen: Plan, one: Chain, two: Chain) -> None:
    """The same through one hub and through two."""
    sizes = await _parts(two)
    for number, size in enumerate(sizes, 1):
        gate = f"partitions of hub {number} of {len(sizes)}"
        share = report.add(gate, _exactly(size), "", "what its heartbeat names")
        report.contains(gate, share, subjects.PARTITIONS / len(sizes))
    for block in chosen.cells:
        for chain in (one, two):
            await chain.run(block)
    await _idle(report, chosen, one, two)
    for block in chosen.cells:
        quartets = [[await chain.run(block) for chain in (one, two, two, one)] for _ in range(chosen.quartets)]
        _tell(report, block, one, two, quartets)
    for words, chain in (("one hub", one), ("two hubs", two)):
        found = await _balance(chain.made)
        report.notes.append(f"{words}: {found}")
        report.at_most(f"turns that are lost or open, {words}", _exactly(found.received - found.answered), 0)


def _tell(report: Report, block: Block, one: Chain, two: Chain, quartets: Sequence[Sequence[Cost]]) -> None:
    name = "1 scope" if block.scopes == 1 else f"{block.scopes} scopes"
    if block.conversation == 1:
        name += " new each turn"
    sides = (
        ("one hub", one, [quartet[at] for quartet in quartets for at in (0, 3)]),
        ("two hubs", two, [quartet[at] for quartet in quartets for at in (1, 2)]),
    )
    for words, chain, costs in sides:
        pace = [block.scopes * block.turns / cost.driven.seconds for cost in costs]
        method = "turns of a block over the time from its first submission to its last whole answer; none was lost"
        report.add(f"turns a second, {name}, {words}", bootstrap(pace), "1/s", method)
        report.add(f"CPU, {name}, {words}", _milliseconds([cost.cpu for cost in costs]), "ms/turn", CPU_METHOD)
        for process in (*chain.hubs, "worker", "spoke", "nats-server"):
            of_it = _milliseconds([cost.cpu_of(process) for cost in costs])
            report.add(f"CPU, {name}, {words}, {process}", of_it, "ms/turn", f"of this process alone; {CPU_METHOD}")
    # What the hubs themselves take, and what everybody takes.
    for what, of in (("hubs' CPU", _of_hubs), ("CPU of the whole chain", _of_all)):
        ratios = [
            (of(two, quartet[1]) + of(two, quartet[2])) / (of(one, quartet[0]) + of(one, quartet[3]))
            for quartet in quartets
        ]
        ratio = report.add(f"{what}, two hubs / one, {name}", bootstrap(ratios), "x", RATIO_METHOD)
        # A single scope is one hub's: what the other does meanwhile is the idle figures' matter.
        if block.scopes > 1:
            report.at_most(f"{what}, two hubs / one, {name}", ratio, MOST_SHARED)


def _of_hubs(chain: Chain, cost: Cost) -> float:
    return sum(cost.cpu_of(hub) for hub in chain.hubs)


def _of_all(chain: Chain, cost: Cost) -> float:
    return cost.cpu


async def _idle(report: Report, chosen: Plan, *chains: Chain) -> None:
    """What it costs that nobody says anything."""
    before = [_cpu(chain) for chain in chains]
    await asyncio.sleep(chosen.idle)
    for words, chain, then in zip(("one hub", "two hubs"), chains, before, strict=True):
        now = _cpu(chain)
        for process in (*chain.hubs, "nats-server"):
            spent = 1000 * (now[process] - then[process]) / chosen.idle
            report.add(f"CPU while nobody speaks, {words}, {process}", _exactly(spent), "ms/s", "user + system")


async def _parts(chain: Chain) -> list[int]:
    """How many partitions each hub has, as soon as together they have all of them, each its own."""
    heard: dict[str, frozenset[int]] = {}
    client, who = Client(), chain.made.identity("listener")
    await client.connect(chain.made.server.url, nkeys_seed_str=who.seed, inbox_prefix=f"_INBOX_{who.name}")

    async def hear(message: Msg) -> None:
        said = HUB_HEARTBEAT.decode(message.data)
        heard[said.hub] = frozenset(said.parts or ())

    try:
        await client.subscribe(subjects.heartbeats(subjects.HUB), cb=hear)
        async with asyncio.timeout(PATIENCE):
            while len(heard) < len(chain.hubs) or not _are_shared(heard):
                await asyncio.sleep(LOOK_EVERY)
    finally:
        await client.close()
    return sorted(len(parts) for parts in heard.values())


def _are_shared(heard: Mapping[str, frozenset[int]]) -> bool:
    together = frozenset[int]().union(*heard.values())
    return sum(map(len, heard.values())) == len(together) == subjects.PARTITIONS


async def _balance(made: Stage) -> Balance:
    """What became of every turn, by the whole log."""
    reader = Given(made.server.url, subjects.READER, made.seeds[subjects.READER], str(made.folder))
    transport = await join(reader)
    try:
        return await balance(transport)
    finally:
        await transport.close()


def _cpu(chain: Chain) -> dict[str, float]:
    return {name: cpu_seconds(pid) for name, pid in chain.members}


def _milliseconds(seconds: Sequence[float]) -> Interval:
    return bootstrap([1000 * value for value in seconds])


def _exactly(value: float) -> Interval:
    return Interval(value, value, value, 1)


@dataclass(slots=True)
class Flood:
    """What came of a flood."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    unanswered: int = 0
    seconds: float = 0.0


@asynccontextmanager
async def flooder(given: Given) -> AsyncIterator[Work]:
    """A spoke's second process: one person in one conversation, as fast as is asked, whatever is answered."""
    transport = await join(given)
    loop = asyncio.get_running_loop()
    address = Address(platform=PLATFORM, bot_id=BOT, scope_id=NOISY, pace_ms=1000)
    subject = subjects.inbound(PLATFORM, BOT, subjects.partition(NOISY))
    asking: set[asyncio.Task[None]] = set()
    flooding: asyncio.Task[None] | None = None
    flood = Flood()
    number = 0

    async def ask(payload: bytes) -> None:
        answer = await transport.request(subject, payload, timeout=ANSWERED_WITHIN, responder=subjects.HUB)
        if not isinstance(answer, Ok):
            flood.unanswered += 1
        elif isinstance(TO_SPOKE.decode(answer.value), Refused):
            flood.refused += 1
        else:
            flood.accepted += 1

    async def pour(each_second: int) -> None:
        nonlocal number
        began = loop.time()
        try:
            while True:
                while flood.sent < (loop.time() - began) * each_second:
                    flood.sent, number = flood.sent + 1, number + 1
                    message = InboundMessage(
                        message_id=str(number),
                        user_id=NOISY,
                        user_name=NOISY,
                        text="25 deltas every 20 ms",
                        address=address,
                    )
                    asked = Submit(platform=PLATFORM, bot_id=BOT, scope_id=NOISY, message=message)
                    task = asyncio.create_task(ask(FROM_SPOKE.encode(asked)))
                    asking.add(task)
                    task.add_done_callback(asking.discard)
                await asyncio.sleep(BURST_EVERY)
        finally:
            flood.seconds = loop.time() - began

    async def work(what: Any) -> Any:
        nonlocal flooding, flood
        if what["do"] == "flood":
            flood = Flood()
            flooding = asyncio.create_task(pour(what["each_second"]))
            return None
        assert flooding is not None
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        await asyncio.gather(*asking)
        return asdict(flood)

    try:
        yield work
    finally:
        await transport.close()
