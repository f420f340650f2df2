"""The floor: the same turn through a raw nats-py chain, one core publish for each delta and hop, nothing durable.

And beneath it the bare pair, one publisher and one callback, which shows that the floor itself is not made of lead.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.stage import Block, Driven, Given

DELTA = b"word "

Drive = Callable[[Block], Awaitable[Driven]]


@asynccontextmanager
async def joined(given: Given) -> AsyncIterator[Client]:
    """A client of nats-py under the identity that was given."""
    client = Client()
    await client.connect(given.url, nkeys_seed_str=given.seed, inbox_prefix=f"_INBOX_{given.identity}")
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def hub(given: Given) -> AsyncIterator[None]:
    """The middle: what comes in goes on."""
    async with joined(given) as client:

        async def pass_down(message: Msg) -> None:
            await client.publish("floor.cmd." + message.subject[9:], message.data)

        async def pass_up(message: Msg) -> None:
            await client.publish("floor.out." + message.subject[13:], message.data)

        await client.subscribe("floor.in.*", cb=pass_down)
        await client.subscribe("floor.events.*", cb=pass_up)
        await client.flush()
        yield None


@asynccontextmanager
async def worker(given: Given) -> AsyncIterator[None]:
    """The far end: says its deltas when it is told to."""
    async with joined(given) as client:
        speaking: set[asyncio.Task[None]] = set()

        async def speak(message: Msg) -> None:
            subject = "floor.events." + message.subject[10:]
            deltas, pace_ms = map(int, message.data.split())
            if pace_ms:
                task = asyncio.create_task(_pace(client, subject, deltas, pace_ms))
                speaking.add(task)
                task.add_done_callback(speaking.discard)
                return
            for _ in range(deltas):
                await client.publish(subject, DELTA)

        await client.subscribe("floor.cmd.*", cb=speak)
        await client.flush()
        yield None


async def _pace(client: Client, subject: str, deltas: int, pace_ms: int) -> None:
    """Deltas at an even pace, the first at once: the rhythm of the scripted model."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for number in range(deltas):
        if number:
            due += pace_ms / 1000
            await asyncio.sleep(max(0.0, due - loop.time()))
        await client.publish(subject, DELTA)


@asynccontextmanager
async def screen(given: Given) -> AsyncIterator[Drive]:
    """The near end: asks, counts the deltas, and asks again."""
    async with joined(given) as client:
        loop = asyncio.get_running_loop()
        left: dict[int, int] = {}
        first: dict[int, float] = {}
        over: dict[int, asyncio.Future[None]] = {}

        async def show(message: Msg) -> None:
            lane = int(message.subject[10:])
            rest = left[lane] = left[lane] - 1
            if lane not in first:
                first[lane] = time.perf_counter()
            if not rest:
                over[lane].set_result(None)

        async def drive(block: Block) -> Driven:
            asked = f"{block.deltas} {block.pace_ms}".encode()
            firsts: list[float] = []
            wholes: list[float] = []

            async def talk(lane: int) -> None:
                await asyncio.sleep(stagger(block, lane))
                for _ in range(block.turns):
                    left[lane], over[lane] = block.deltas, loop.create_future()
                    first.pop(lane, None)
                    began = time.perf_counter()
                    await client.publish(f"floor.in.{lane}", asked)
                    await over[lane]
                    wholes.append(time.perf_counter() - began)
                    firsts.append(first[lane] - began)

            began = time.perf_counter()
            await asyncio.gather(*(talk(lane) for lane in range(block.scopes)))
            return Driven(firsts, wholes, time.perf_counter() - began)

        await client.subscribe("floor.out.*", cb=show)
        await client.flush()
        yield drive


@asynccontextmanager
async def giver(given: Given) -> AsyncIterator[None]:
    """Half of the bare pair: as many deltas as it is asked for."""
    async with joined(given) as client:
        speaking: set[asyncio.Task[None]] = set()

        async def give(message: Msg) -> None:
            deltas, pace_ms = map(int, message.data.split())
            if pace_ms:
                task = asyncio.create_task(_pace(client, "pair", deltas, pace_ms))
                speaking.add(task)
                task.add_done_callback(speaking.discard)
                return
            for _ in range(deltas):
                await client.publish("pair", DELTA)

        await client.subscribe("pair.more", cb=give)
        await client.flush()
        yield None


@asynccontextmanager
async def taker(given: Given) -> AsyncIterator[Drive]:
    """The other half: a callback that counts."""
    async with joined(given) as client:
        count = 0
        asked = b""
        size = 1
        total = 0
        window = 0
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def take(_: Msg) -> None:
            nonlocal count
            count += 1
            if not count % size:
                if count == total:
                    over.set_result(None)
                elif count <= total - window:
                    await client.publish("pair.more", asked)

        async def drive(block: Block) -> Driven:
            nonlocal count, asked, size, total, over, window
            count, size, total = 0, block.deltas, block.scopes * block.turns * block.deltas
            window = block.scopes * block.deltas
            asked = f"{block.deltas} {block.pace_ms}".encode()
            over = asyncio.get_running_loop().create_future()
            began = time.perf_counter()
            for lane in range(block.scopes):
                await asyncio.sleep(stagger(block, lane) - stagger(block, lane - 1) if lane else 0.0)
                await client.publish("pair.more", asked)
            await over
            return Driven([], [], time.perf_counter() - began)

        await client.subscribe("pair", cb=take)
        await client.flush()
        yield drive


def stagger(block: Block, lane: int) -> float:
    """Lanes with a pace begin spread over one turn, or all of them would speak at the same instants."""
    return lane / block.scopes * block.deltas * block.pace_ms / 1000
