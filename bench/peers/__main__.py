"""One process of the comparison: `python -m bench.peers server`, or `CONTESTANT URL FOLDER`.

It does what each line on stdin says and answers with a line; the end of stdin is the end.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.peers.task import ANSWER, Ask
from bench.sampler import Sampler

Do = Callable[[dict[str, Any]], Awaitable[object]]


@asynccontextmanager
async def server() -> AsyncIterator[Do]:
    """The side that is asked."""
    # Who has an environment of its own does not have what the server stands on.
    from bench.peers.server import serve

    async with serve() as (url, counted):

        async def do(what: dict[str, Any]) -> object:
            return url if what["do"] == "ready" else await counted()

        yield do


@asynccontextmanager
async def contestant(name: str, url: str, folder: Path) -> AsyncIterator[Do]:
    """Who asks."""
    sampler = Sampler()
    module = import_module(f"bench.peers.{name}")
    async with module.contestant(url, folder) as ask:

        async def do(what: dict[str, Any]) -> object:
            match what["do"]:
                case "block":
                    return await block(ask, what["words"], what["lanes"], what["turns"])
                case "sample":
                    sampler.begin()
                    return None
                case "samples":
                    return sampler.end()
                case _:
                    return {package: version(package) for package in module.PACKAGES}

        yield do


async def block(ask: Ask, words: str, lanes: int, turns: int) -> dict[str, Any]:
    """So many turns in each of so many lanes side by side: this process's CPU seconds, and how long each turn took."""
    wholes: list[float] = []

    async def talk() -> None:
        for _ in range(turns):
            began = time.perf_counter()
            answer = await ask(words)
            wholes.append(time.perf_counter() - began)
            if answer != ANSWER:
                raise RuntimeError(f"an answer of {len(answer)} characters is not the one that was said: {answer[:80]}")

    before = time.process_time()
    await asyncio.gather(*(talk() for _ in range(lanes)))
    return {"cpu": time.process_time() - before, "wholes": wholes}


async def obey(role: str, *given: str) -> None:
    """Take the place and do what is said until stdin ends."""
    loop = asyncio.get_running_loop()
    told = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    async with server() if role == "server" else contestant(role, given[0], Path(given[1])) as do:
        while line := await told.readline():
            sys.stdout.write(json.dumps(await do(json.loads(line))) + "\n")
            sys.stdout.flush()


def main() -> None:
    """On the event loop that the product runs on."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        import uvloop
    except ImportError:
        asyncio.run(obey(*sys.argv[1:]))
    else:
        uvloop.run(obey(*sys.argv[1:]))


if __name__ == "__main__":
    main()
