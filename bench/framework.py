"""The same turn over NATS as faststream would have it: typed messages, subscribers and publishers by decorator.

The library stands in an environment of its own, so that it is imported by name, and only where it takes part. As in the
floor each delta is a message of its own on each of two hops, and nothing is durable.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from bench.floor import DELTA, stagger
from bench.stage import Block, Driven, Given

LIBRARY = "faststream"
IN, COMMANDS, EVENTS, OUT = "frame.in", "frame.cmd", "frame.events", "frame.out"

Drive = Callable[[Block], Awaitable[Driven]]


class Asked(BaseModel):
    """What somebody wants to hear."""

    lane: int
    deltas: int
    pace_ms: int


class Said(BaseModel):
    """A delta."""

    lane: int
    text: str


def _broker(given: Given) -> Any:
    library = import_module("faststream.nats")
    return library.NatsBroker(
        given.url, security=library.NatsNKey.from_seed(given.seed), logger=None, log_level=logging.WARNING
    )


@asynccontextmanager
async def hub(given: Given) -> AsyncIterator[None]:
    """The middle: what comes in goes on."""
    broker = _broker(given)

    async def pass_down(asked: Asked) -> Asked:
        return asked

    async def pass_up(said: Said) -> Said:
        return said

    broker.subscriber(IN)(broker.publisher(COMMANDS)(pass_down))
    broker.subscriber(EVENTS)(broker.publisher(OUT)(pass_up))
    async with broker:
        await broker.start()
        yield None


@asynccontextmanager
async def worker(given: Given) -> AsyncIterator[None]:
    """The far end: says its deltas when it is told to."""
    broker = _broker(given)
    told = broker.publisher(EVENTS)
    loop = asyncio.get_running_loop()
    speaking: set[asyncio.Task[None]] = set()

    async def say(asked: Asked) -> None:
        due = loop.time()
        for number in range(asked.deltas):
            if number and asked.pace_ms:
                due += asked.pace_ms / 1000
                await asyncio.sleep(max(0.0, due - loop.time()))
            await told.publish(Said(lane=asked.lane, text=DELTA.decode()))

    async def speak(asked: Asked) -> None:
        if not asked.pace_ms:
            await say(asked)
            return
        task = asyncio.create_task(say(asked))
        speaking.add(task)
        task.add_done_callback(speaking.discard)

    broker.subscriber(COMMANDS)(speak)
    async with broker:
        await broker.start()
        yield None


@asynccontextmanager
async def screen(given: Given) -> AsyncIterator[Drive]:
    """The near end: asks, counts the deltas, and asks again."""
    broker = _broker(given)
    asking = broker.publisher(IN)
    loop = asyncio.get_running_loop()
    left: dict[int, int] = {}
    first: dict[int, float] = {}
    over: dict[int, asyncio.Future[None]] = {}

    async def show(said: Said) -> None:
        lane = said.lane
        first.setdefault(lane, time.perf_counter())
        left[lane] -= 1
        if not left[lane]:
            over[lane].set_result(None)

    async def drive(block: Block) -> Driven:
        firsts: list[float] = []
        wholes: list[float] = []

        async def talk(lane: int) -> None:
            await asyncio.sleep(stagger(block, lane))
            for _ in range(block.turns):
                left[lane], over[lane] = block.deltas, loop.create_future()
                first.pop(lane, None)
                began = time.perf_counter()
                await asking.publish(Asked(lane=lane, deltas=block.deltas, pace_ms=block.pace_ms))
                await over[lane]
                wholes.append(time.perf_counter() - began)
                firsts.append(first[lane] - began)

        began = time.perf_counter()
        await asyncio.gather(*(talk(lane) for lane in range(block.scopes)))
        return Driven(firsts, wholes, time.perf_counter() - began)

    broker.subscriber(OUT)(show)
    async with broker:
        await broker.start()
        yield drive
