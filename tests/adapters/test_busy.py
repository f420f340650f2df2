"""Where an answer is worked on, people see that somebody types."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.chat.busy import Busy
from factory_contracts.messages import Address
from tests.fakes import idle, until

HERE = Address(platform="telegram", bot_id="main", scope_id="here")
THERE = Address(platform="telegram", bot_id="main", scope_id="there")


@asynccontextmanager
async def typing(every: float) -> AsyncIterator[tuple[Busy, list[str]]]:
    said: list[str] = []

    async def say(address: Address) -> None:
        said.append(address.scope_id)

    busy = Busy(say, every)
    running = asyncio.create_task(busy.run())
    try:
        yield busy, said
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_is_said_once_in_each_place_however_many_turns_are_worked_on_there() -> None:
    async with typing(60.0) as (busy, said):
        busy.begin("one", HERE)
        busy.begin("two", HERE)
        busy.begin("three", THERE)

        await until(lambda: len(said) == 2)

        assert sorted(said) == ["here", "there"]


async def test_it_is_said_again_until_the_work_ends() -> None:
    async with typing(0.0) as (busy, said):
        busy.begin("one", HERE)
        await until(lambda: len(said) >= 2)

        busy.end("one")
        before = len(said)
        await idle()

        assert len(said) == before
