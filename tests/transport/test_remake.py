"""A log that denies deletes, made anew: it holds what it held, whoever dies in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from itertools import count

import pytest

from factory_nats.connect import Identity, connect
from factory_nats.remake import beside, remake
from factory_nats.result import Err, Ok, Result
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Entry, Stored, StreamConfig, Transport

NUMBERS = count()
MESSAGES = 700
# Everything that changes something, from closing the old log to opening the new one.
CHANGES = 7


@dataclass(slots=True)
class Mortal:
    """A connection whose owner dies after so many changes."""

    transport: Transport
    changes: int

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> Result[bytes]:
        if ".STREAM.INFO." not in subject:
            if not self.changes:
                raise EOFError
            self.changes -= 1
        return await self.transport.request(subject, payload, timeout=timeout)


@pytest.fixture
async def transport(nats_server: EmbeddedServer) -> AsyncIterator[Transport]:
    connected = await connect(nats_server.url, Identity("hub"))
    assert isinstance(connected, Ok)
    yield connected.value
    await connected.value.close()


async def old(transport: Transport) -> StreamConfig:
    """A log as earlier versions made it; answers with how it should be."""
    name = f"OLD{next(NUMBERS)}"
    config = StreamConfig(name, (f"{name}.>",), deny_delete=False)
    assert await transport.ensure_stream(replace(config, deny_delete=True)) == Ok(None)
    for at in range(0, MESSAGES, 100):
        entries = [Entry(f"{name}.{number % 3}", b"%d" % number) for number in range(at, at + 100)]
        assert isinstance(await transport.append(entries), Ok)
    # What was replaced leaves a gap, and the sequences after it must stay what they are.
    assert isinstance(await transport.append([Entry(f"{name}.1", b"alone", rollup=True)]), Ok)
    return config


async def held(transport: Transport, config: StreamConfig) -> tuple[Stored, ...]:
    found = await transport.read(config.name, ">", limit=10 * MESSAGES)
    assert isinstance(found, Ok)
    return tuple(replace(one, headers={}) for one in found.value)


async def test_it_holds_what_it_held_takes_more_and_lets_messages_be_erased(transport: Transport) -> None:
    config = await old(transport)
    before = await held(transport, config)

    assert await remake(transport, config) == Ok(None)

    assert await held(transport, config) == before
    assert await remake(Mortal(transport, 0), config) == Ok(None)
    fence = (f"{config.name}.1", before[-1].sequence)
    batch = [Entry(f"{config.name}.2", b"a", expect=fence), Entry(f"{config.name}.2", b"b", expect=fence)]
    assert await transport.append(batch) == Ok(MESSAGES + 3)
    assert await transport.ensure_stream(config) == Ok(None)
    assert await transport.erase(config.name, before[0].sequence) == Ok(None)
    assert (await held(transport, config))[0] == before[1]


async def test_whoever_comes_after_a_death_goes_on_and_nothing_is_taken_meanwhile_that_would_be_lost(
    transport: Transport,
) -> None:
    config = await old(transport)
    before = await held(transport, config)

    for _ in range(CHANGES - 1):
        with pytest.raises(EOFError):
            await remake(Mortal(transport, 1), config)
        assert isinstance(await transport.append([Entry(f"{config.name}.0", b"lost")]), Err)

    assert await remake(Mortal(transport, 1), config) == Ok(None)
    assert await held(transport, config) == before
    assert await transport.append([Entry(f"{config.name}.0", b"new")]) == Ok(before[-1].sequence + 1)


async def test_a_log_that_is_as_it_should_be_or_not_there_is_let_alone(transport: Transport) -> None:
    config = StreamConfig(f"NEW{next(NUMBERS)}", ("new.>",), deny_delete=False)
    nowhere = await remake(Mortal(transport, 0), config)
    assert await transport.ensure_stream(config) == Ok(None)

    assert (nowhere, await remake(Mortal(transport, 0), config)) == (Ok(None), Ok(None))


async def test_where_two_logs_claim_to_be_the_one_nothing_is_deleted(transport: Transport) -> None:
    config = await old(transport)
    before = await held(transport, config)
    with pytest.raises(EOFError):
        await remake(Mortal(transport, 3), config)
    # An earlier version came, and made an empty log where it found none.
    assert await transport.ensure_stream(replace(config, deny_delete=True)) == Ok(None)

    refused = await remake(transport, config)

    assert isinstance(refused, Err) and refused.reason == "exists"
    assert await held(transport, replace(config, name=beside(config.name))) == before
