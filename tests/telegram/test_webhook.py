"""Updates that Telegram brings by itself: believed with the secret alone, and answered "done" when they are settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest

from adapters.telegram.intake import Settled
from adapters.telegram.settings import Webhook
from adapters.telegram.webhook import MOST_AT_ONCE, SECRET, listening
from tests.fakes import until

pytestmark = pytest.mark.asyncio(loop_scope="function")

WORD = "a-word_that-Telegram-knows"


@dataclass
class Door:
    """A listening webhook, one bot behind it, and somebody who calls."""

    http: aiohttp.ClientSession
    url: str
    came: list[object] = field(default_factory=list)
    open: list[Settled] = field(default_factory=list)

    def feed(self, update: object) -> Settled:
        self.came.append(update)
        self.open.append(asyncio.get_running_loop().create_future())
        return self.open[-1]

    async def call(self, bot: str = "main", word: str | None = WORD, body: bytes = b'{"update_id": 1}') -> int:
        headers = {} if word is None else {SECRET: word}
        async with self.http.post(f"{self.url}/{bot}", data=body, headers=headers) as response:
            return response.status


@asynccontextmanager
async def a_door() -> AsyncIterator[Door]:
    feeds: dict[str, Callable[[object], Settled]] = {}
    webhook = Webhook("https://example.org/telegram", WORD, port=0)
    calls = aiohttp.TCPConnector(limit=0)
    async with listening(webhook, feeds) as port, aiohttp.ClientSession(connector=calls) as http:
        door = Door(http, f"http://127.0.0.1:{port}")
        feeds["main"] = door.feed
        yield door


async def test_an_update_is_done_when_it_is_settled_and_not_before() -> None:
    async with a_door() as door:
        calling = asyncio.create_task(door.call())
        await until(lambda: bool(door.open))
        assert not calling.done()

        door.open[0].set_result(None)

        assert await calling == 200
        assert door.came == [{"update_id": 1}]


@pytest.mark.parametrize("word", [None, "", "another", WORD + "x", WORD[:-1]])
async def test_who_does_not_know_the_secret_is_not_believed(word: str | None) -> None:
    async with a_door() as door:
        assert await door.call(word=word) == 401
        assert await door.call(bot="nobody", word=word) == 401

        assert door.came == []


async def test_a_bot_that_does_not_serve_yet_is_brought_its_updates_later() -> None:
    async with a_door() as door:
        assert await door.call(bot="other") == 503


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
async def test_what_is_no_update_is_refused_and_nothing_falls(body: bytes) -> None:
    async with a_door() as door:
        status = await door.call(body=body)

        assert status == 400
        assert door.came == []


async def test_with_too_much_in_hand_updates_are_to_come_again() -> None:
    async with a_door() as door:
        calls = [asyncio.create_task(door.call()) for _ in range(MOST_AT_ONCE)]
        await until(lambda: len(door.open) == MOST_AT_ONCE)

        assert await door.call() == 503

        for settled in door.open:
            settled.set_result(None)
        assert {await call for call in calls} == {200}
