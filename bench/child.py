"""One process of a measurement: takes its place in a chain, then does what each line on stdin says.

`block` drives a block of turns, `work` does another role's work, `sample` and `samples` begin and end to look where
CPU time goes, `watch` and `lags` how late its loop is; the end of stdin is the end.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Any

from bench import dispatch, floor, framework, pools, product, scale, scopes
from bench.lag import Lag
from bench.sampler import Sampler
from bench.stage import Block, Given
from factory_nats import process

Drive = Callable[[Any], Awaitable[Any]]
Role = Callable[[Given], AbstractAsyncContextManager[Drive | None]]

ROLES: Mapping[str, Role] = {
    "hub": product.hub,
    "worker": product.worker,
    "spoke": product.spoke,
    "floor-hub": floor.hub,
    "floor-worker": floor.worker,
    "floor-screen": floor.screen,
    "frame-hub": framework.hub,
    "frame-worker": framework.worker,
    "frame-screen": framework.screen,
    "pair-giver": floor.giver,
    "pair-taker": floor.taker,
    "fleet-worker": dispatch.worker,
    "fleet-asker": dispatch.asker,
    "bare-worker": dispatch.bare_worker,
    "bare-asker": dispatch.bare_asker,
    "typed-worker": dispatch.typed_worker,
    "typed-asker": dispatch.typed_asker,
    "old-friend": scale.friend,
    "flooder": scopes.flooder,
    "pools-writer": pools.writer,
    "pools-reader": pools.reader,
}


async def play(role: Role, given: Given) -> None:
    """Take the place and obey until stdin ends."""
    loop = asyncio.get_running_loop()
    told = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    sampler, lag = Sampler(), Lag()
    async with role(given) as drive:
        while line := await told.readline():
            what = json.loads(line)
            answer: object = None
            match what["do"]:
                case "block" if drive is not None:
                    answer = asdict(await drive(Block(**what["block"])))
                case "work" if drive is not None:
                    answer = await drive(what["work"])
                case "sample":
                    sampler.begin()
                case "samples":
                    answer = sampler.end()
                case "watch":
                    lag.begin()
                case "lags":
                    answer = await lag.end()
                case _:
                    pass
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def main() -> None:
    """`python -m bench.child ROLE GIVEN`."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    role, given = ROLES[sys.argv[1]], Given(**json.loads(sys.argv[2]))
    process.run(play(role, given))


if __name__ == "__main__":
    main()
