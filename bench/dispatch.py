"""Who asks and who answers: a fleet and its worker, a bare request of nats-py and its echo, and that with contracts."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

from nats.aio.msg import Msg
from pydantic import BaseModel

from adapters.nats.fleet import Fleet, Fulfilled, Wish
from bench.floor import joined
from bench.stage import Block, Driven, Given, join
from factory_contracts.capability import CAPABILITY_REPLY, CAPABILITY_REQUEST, CapabilityDone, CapabilityRequest
from factory_contracts.worker import capability
from factory_nats.satellite import Satellite

CAPABILITY = "echo"
WORKER = "echoer"
AT_ONCE = 256
DEADLINE = 60.0
WORDS = "Say this again, please, and as it stands here: a request is about so long."
SUBJECT = "bare.request"
TYPED = "typed.request"

Drive = Callable[[Block], Awaitable[Driven]]


class Words(BaseModel):
    """What is to be said again."""

    text: str


@capability(CAPABILITY, effect="read", at_once=AT_ONCE)
async def echo(words: Words) -> str:
    """Say it again."""
    return words.text


@asynccontextmanager
async def worker(given: Given) -> AsyncIterator[None]:
    """The far end: a satellite as the library serves it."""
    async with Satellite(await join(given), echo, "life"):
        yield None


@asynccontextmanager
async def asker(given: Given) -> AsyncIterator[Drive]:
    """The near end: a fleet, as an agent's tool asks it."""
    transport = await join(given)
    fleet, calls = Fleet(transport, CAPABILITY), count()
    await fleet.listen()

    async def ask() -> None:
        came = await fleet.ask(Wish("turn", str(next(calls)), DEADLINE, arguments=ARGUMENTS), effect="read")
        assert isinstance(came, Fulfilled), came

    async def drive(block: Block) -> Driven:
        return await _driven(block, ask)

    yield drive
    await fleet.close()
    await transport.close()


ARGUMENTS = f'{{"text":"{WORDS}"}}'


@asynccontextmanager
async def bare_worker(given: Given) -> AsyncIterator[None]:
    """A callback that answers with what it was told."""
    async with joined(given) as client:

        async def answer(message: Msg) -> None:
            await client.publish(message.reply, message.data)

        await client.subscribe(SUBJECT, cb=answer)
        await client.flush()
        yield None


@asynccontextmanager
async def bare_asker(given: Given) -> AsyncIterator[Drive]:
    """Requests of nats-py, with nothing around them."""
    async with joined(given) as client:
        payload = ARGUMENTS.encode()

        async def ask() -> None:
            await client.request(SUBJECT, payload, timeout=DEADLINE)

        async def drive(block: Block) -> Driven:
            return await _driven(block, ask)

        yield drive


@asynccontextmanager
async def typed_worker(given: Given) -> AsyncIterator[None]:
    """The callback with our contracts in it: what anybody pays who checks what comes."""
    async with joined(given) as client:

        async def answer(message: Msg) -> None:
            asked = CAPABILITY_REQUEST.decode(message.data)
            assert isinstance(asked, CapabilityRequest)
            words = Words.model_validate_json(asked.arguments)
            await client.publish(message.reply, CAPABILITY_REPLY.encode(CapabilityDone(text=words.text)))

        await client.subscribe(TYPED, cb=answer)
        await client.flush()
        yield None


@asynccontextmanager
async def typed_asker(given: Given) -> AsyncIterator[Drive]:
    """Requests of nats-py with our contracts in them."""
    async with joined(given) as client:
        calls = count()

        async def ask() -> None:
            asked = CapabilityRequest(
                turn="turn", call=str(next(calls)), text="", arguments=ARGUMENTS, deadline=DEADLINE, instance="life"
            )
            answer = await client.request(TYPED, CAPABILITY_REQUEST.encode(asked), timeout=DEADLINE)
            assert isinstance(CAPABILITY_REPLY.decode(answer.data), CapabilityDone)

        async def drive(block: Block) -> Driven:
            return await _driven(block, ask)

        yield drive


async def _driven(block: Block, ask: Callable[[], Awaitable[None]]) -> Driven:
    """So many requests in each of so many lanes side by side."""
    spans: list[float] = []

    async def lane() -> None:
        for _ in range(block.turns):
            began = time.perf_counter()
            await ask()
            spans.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(block.scopes)))
    return Driven(spans, spans, time.perf_counter() - began)
