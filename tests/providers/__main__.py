"""The server as a process of its own: `python -m tests.providers --port 0` prints its address and serves until ended.

Point ANTHROPIC_BASE_URL at the address, OPENAI_BASE_URL at the address with /v1; any key will do. What the person says
last names the scenario (see `scenarios`). With `--asked FILE` each request is a line of JSON there, for whoever counts
from outside.
"""

import argparse
import asyncio
from contextlib import suppress
from json import dumps
from pathlib import Path

from tests.providers.scenarios import Scenarios
from tests.providers.server import Answer, Asked, ProviderServer, said_last


async def _serve(port: int, notes: Path | None) -> None:
    scenarios = Scenarios()

    def reply(asked: Asked) -> Answer:
        if notes is not None:
            line = {"path": asked.path, "said": said_last(asked.body), "messages": len(asked.body.get("messages", ()))}
            with notes.open("a") as file:
                file.write(dumps(line) + "\n")
        return scenarios(asked)

    async with ProviderServer(reply, port) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.providers", description="A provider of models on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--asked", type=Path, help="a file that gets a line of JSON for each request")
    given = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(given.port, given.asked))


if __name__ == "__main__":
    main()
