"""Idle conversations: what one weighs in the hub's memory, and how long it takes to bring one back from the log.

The log is written through the contracts, with the views that the hub itself would write, in atomic batches; then the
hub's own pools are refilled from it, in a process of its own.
"""

import asyncio
import gc
import os
import secrets
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from adapters.nats.log import JetStreamLog
from adapters.nats.outbound import NatsOutbox
from bench.figures import Report, bootstrap, quantile
from bench.stage import BOT, PLATFORM, Given, Stage, join, rss_bytes, settings, stage
from factory_contracts import subjects
from factory_contracts.messages import Address, InboundMessage, Usage, turn_id
from factory_contracts.records import (
    RECORD,
    Record,
    ReplyOpened,
    ReplyShown,
    Start,
    TurnAnswered,
    TurnReceived,
    record_id,
)
from factory_nats.result import Err
from factory_nats.transport import Entry, Transport
from hub.delivery import Deliveries
from hub.kernel.budget import Ledger
from hub.kernel.ports import Assignment, Chosen, Run
from hub.kernel.routing import Bindings, RoutingKey
from hub.kernel.session import COMPACT_AFTER, Session
from hub.people import People
from hub.pool import Crew, Pool, Pools, Ports
from hub.turn import run_turn

MOST_BYTES = 3_000
MOST_MILLISECONDS = 10.0
BATCH = 1_000
LONG = "long"
ASKED = "How many words are fifty words, and would you say them?"
ANSWERED = "word " * 50
EPOCH_AT = 1_700_000_000.0

Work = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many scopes are on the log, how long the long one is, how many are refilled and how many are weighed."""

    scopes: tuple[int, ...]
    turns: int
    refills: int
    weighed: int


FULL = Plan(scopes=(1_000, 100_000), turns=10_000, refills=500, weighed=10_000)
QUICK = Plan(scopes=(1_000, 20_000), turns=2_000, refills=200, weighed=4_000)
SMOKE = Plan(scopes=(10, 30), turns=120, refills=5, weighed=20)


def plan(is_quick: bool, is_smoke: bool) -> Plan:
    """The plan that was asked for."""
    return SMOKE if is_smoke else QUICK if is_quick else FULL


async def run(chosen: Plan, folder: Path) -> Report:
    """The whole measurement, each number of scopes on a log of its own."""
    report = Report("pools", settings())
    report.setting["a scope on the log"] = "one answered and shown turn: 4 records; the long one with its views"
    for scopes in chosen.scopes:
        place = folder / str(scopes)
        place.mkdir()
        async with stage(place) as made:
            await _on_one_log(report, chosen, made, scopes)
    return report


async def _on_one_log(report: Report, chosen: Plan, made: Stage, scopes: int) -> None:
    is_first, is_last = scopes == chosen.scopes[0], scopes == chosen.scopes[-1]
    writer = await made.put("pools-writer", subjects.HUB)
    written = await writer.ask(do="work", work={"scopes": scopes, "turns": chosen.turns if is_first else 0})
    await writer.stop()
    report.notes.append(f"{scopes} scopes: {written['records']} records written in {written['seconds']:.1f} s")
    reader = await made.put("pools-reader", subjects.HUB)
    _refill(
        report,
        f"{scopes} scopes",
        await reader.ask(do="work", work={"do": "refill", "scopes": scopes, "times": chosen.refills}),
    )
    if is_first:
        spans = await reader.ask(do="work", work={"do": "long", "times": max(5, chosen.refills // 5)})
        _refill(report, f"one scope of {chosen.turns} turns", spans)
    await reader.stop()
    if is_last:
        weighed = min(scopes, chosen.weighed)
        for how in ("rss", "traced"):
            reader = await made.put("pools-reader", subjects.HUB)
            _weigh(report, how, await reader.ask(do="work", work={"do": how, "scopes": weighed}))
            await reader.stop()


def _refill(report: Report, name: str, spans: list[float]) -> None:
    milliseconds = [1000 * span for span in spans]
    method = "Pools.get of a scope that is not in memory: the log read over the bus, decoded and folded; one at a time"
    p50 = report.add(f"refill p50, {name}", bootstrap(milliseconds), "ms", method)
    p99 = bootstrap(milliseconds, lambda samples: quantile(samples, 0.99))
    report.add(f"refill p99, {name}", p99, "ms", method, "95 % bootstrap interval of the p99")
    report.at_most(f"refill p50 (ms), {name}", p50, MOST_MILLISECONDS)


def _weigh(report: Report, how: str, weights: list[float]) -> None:
    methods = {
        "rss": "growth of the process's resident memory by pools refilled from the log, per pool, in ten parts",
        "traced": "growth of what tracemalloc sees by pools refilled from the log, per pool, in ten parts",
    }
    weight = report.add(f"memory per idle scope, {how}", bootstrap(weights), "bytes", methods[how])
    report.at_most(f"memory per idle scope (bytes), {how}", weight, MOST_BYTES)


@asynccontextmanager
async def writer(given: Given) -> AsyncIterator[Work]:
    """Writes the logs of many scopes as a hub would, only faster."""
    transport = await join(given)
    log = JetStreamLog(transport, f"bench-{secrets.token_hex(4)}")

    async def work(what: Any) -> Any:
        began = time.perf_counter()
        await log.create()
        await log.take_over(time.time())
        count = 0
        batch: list[Entry] = []
        for number in range(what["scopes"]):
            key = _key(str(number))
            fence = subjects.epoch(key.partition), log.epoch(key.partition)
            for record in _turn(key, 0, 0):
                batch.append(Entry(key.subject, RECORD.encode(record), expect=fence))
            if len(batch) + 4 > BATCH:
                count += await _commit(transport, batch)
        count += await _commit(transport, batch)
        if what["turns"]:
            count += await _write_long(transport, log, what["turns"])
        if what.get("mark"):
            # What a hub leaves for the next one: it need not read what is over.
            await log.move_mark(len(log.owned) + count + 1, {})
        return {"records": count, "seconds": time.perf_counter() - began}

    try:
        yield work
    finally:
        await transport.close()


async def _write_long(transport: Transport, log: JetStreamLog, turns: int) -> int:
    """One long scope, with the views that a hub writes; the last is not yet due, when a refill reads most."""
    key = _key(LONG)
    fence = subjects.epoch(key.partition), log.epoch(key.partition)
    session = Session(key.platform, key.bot_id, key.scope_id)
    waiting: list[Record] = []
    count = 0

    async def flush() -> None:
        nonlocal count
        entries = [Entry(key.subject, RECORD.encode(record), expect=fence) for record in waiting]
        last = await _append(transport, entries)
        for sequence, record in enumerate(waiting, last - len(waiting) + 1):
            session.apply(sequence, record)
        count += len(waiting)
        waiting.clear()

    since = 0
    for number in range(turns):
        waiting += _turn(key, number, session.compacted)
        since += 1
        # Only what is applied tells whether the session is long; the answered turns since its last view do so here.
        if since >= COMPACT_AFTER or number == turns - 1:
            await flush()
            since = 0
            if session.is_long and number < turns - 1:
                id = f"compacted.{session.sequence}"
                waiting.append(session.compaction(id, id, EPOCH_AT))
                await flush()
    return count


async def _commit(transport: Transport, batch: list[Entry]) -> int:
    count = len(batch)
    if batch:
        await _append(transport, batch)
        batch.clear()
    return count


async def _append(transport: Transport, entries: list[Entry]) -> int:
    stored = await transport.append(entries, timeout=30.0)
    if isinstance(stored, Err):
        raise RuntimeError(stored.detail)
    return stored.value


def _key(scope_id: str) -> RoutingKey:
    return RoutingKey(PLATFORM, BOT, scope_id)


def _turn(key: RoutingKey, number: int, compacted: int) -> Iterator[Record]:
    """All records of one turn that went well."""
    turn = turn_id(key.platform, key.bot_id, key.scope_id, str(number))
    at = EPOCH_AT + number
    message = InboundMessage(
        message_id=str(number),
        user_id=f"user {key.scope_id}",
        user_name="Bench",
        text=f"{ASKED} {number}",
        address=Address(platform=key.platform, bot_id=key.bot_id, scope_id=key.scope_id),
    )
    yield TurnReceived(
        id=record_id(turn, "received"),
        turn=turn,
        at=at,
        compacted=compacted,
        message=message,
        trust="public",
        start=Start(attempt=1, worker="clipool", instance="0123456789ab"),
    )
    bubble = str(1_000_000 + number)
    opened = record_id(turn, "opened")
    yield ReplyOpened(id=opened, turn=turn, at=at, compacted=compacted, message_id=bubble)
    yield TurnAnswered(
        id=record_id(turn, "answered"),
        turn=turn,
        at=at,
        compacted=compacted,
        text=ANSWERED,
        outcome="complete",
        usage=Usage(calls=1, input_tokens=100, output_tokens=50),
        agent="bench",
        agent_hash="0123456789ab",
    )
    shown = record_id(turn, "shown")
    yield ReplyShown(id=shown, turn=turn, at=at, compacted=compacted, message_id=bubble)


@asynccontextmanager
async def reader(given: Given) -> AsyncIterator[Work]:
    """The hub's own pools, refilled from the log."""
    transport = await join(given)
    log = JetStreamLog(transport, f"bench-{secrets.token_hex(4)}")

    async def work(what: Any) -> Any:
        if not log.owned:
            # Only whoever reigns there knows a conversation.
            await log.take_over(time.time())
        random = Random(1)
        match what["do"]:
            case "refill":
                chosen = random.sample(range(what["scopes"]), min(what["scopes"], what["times"]))
                pools = _pools(transport, log, most=1_000)
                await pools.get(_key("nobody"))
                return [await _timed(pools, _key(str(number))) for number in chosen]
            case "long":
                spans: list[float] = []
                for _ in range(what["times"]):
                    pools = _pools(transport, log, most=1_000)
                    spans.append(await _timed(pools, _key(LONG)))
                    (pool,) = pools
                    if pool.session.received < 2:
                        raise RuntimeError("the long scope is not on the log")
                return spans
            case "rss":
                return await _weights(_pools(transport, log, most=1_000_000), what["scopes"], _rss)
            case _:
                tracemalloc.start()
                try:
                    return await _weights(_pools(transport, log, most=1_000_000), what["scopes"], _traced)
                finally:
                    tracemalloc.stop()

    try:
        yield work
    finally:
        await transport.close()


class _NoWorkers:
    """Idle conversations ask nobody."""

    def pick(self) -> Chosen | None:
        """Nobody."""
        return None

    async def wait(self, seconds: float) -> None:
        """In vain."""

    def providers(self) -> frozenset[str]:
        """None."""
        return frozenset()

    async def run(self, assignment: Assignment) -> Run:
        """Not here."""
        raise AssertionError("an idle conversation asked for a worker")

    async def resume(self, assignment: Assignment) -> Run:
        """Not here."""
        raise AssertionError("an idle conversation asked for a worker")

    async def erase(self, key: RoutingKey, namespaces: Sequence[str], until: float) -> None:
        """Nothing is kept."""


async def _forget(pool: Pool) -> None:
    raise AssertionError(f"nobody asked to forget {pool.key.to_pool_id()}")


def _pools(transport: Transport, log: JetStreamLog, most: int) -> Pools:
    """What the hub's composition makes of its pools."""
    deliveries = Deliveries(lambda: None, lambda point: None)
    ports = Ports(
        log=log,
        outbox=NatsOutbox(transport),
        clipool=_NoWorkers(),
        bindings=Bindings({}),
        ledger=Ledger(),
        people=People(log),
        clock=time.time,
        at=lambda point: None,
    )
    crew = Crew(
        run_turn=run_turn,
        deliver=deliveries.deliver,
        settle=deliveries.settle,
        fork=lambda key, view: pools.fork(key, view),
        forget=_forget,
        fenced=lambda: None,
    )
    pools = Pools(ports, crew, most)
    return pools


async def _timed(pools: Pools, key: RoutingKey) -> float:
    began = time.perf_counter()
    await pools.get(key)
    return time.perf_counter() - began


async def _weights(pools: Pools, scopes: int, weigh: Callable[[], int]) -> list[float]:
    """Bytes for each pool, in ten parts after a warm-up part that fills the process's own reserves."""
    part = max(1, scopes // 11)
    weights: list[float] = []
    before = 0
    for start in range(0, 11 * part, part):
        await asyncio.gather(*(pools.get(_key(str(number))) for number in range(start, min(scopes, start + part))))
        gc.collect()
        after = weigh()
        if start:
            weights.append((after - before) / part)
        before = after
    if not all(pool.is_idle for pool in pools):
        raise RuntimeError("a pool that should be idle is not")
    return weights


def _rss() -> int:
    return rss_bytes(os.getpid())


def _traced() -> int:
    return tracemalloc.get_traced_memory()[0]
