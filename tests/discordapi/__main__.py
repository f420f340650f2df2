"""The server as a process of its own: `python -m tests.discordapi --port 0 --token T` prints its address and serves.

What happens there goes to `--ledger FILE`, a line of JSON each (`Ledger.read` takes it); people are moved by calls to
`/control/` (see `control`). The address is the root: the API is under `/api/v10`, the gateway at `/gateway`.
"""

import argparse
import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tests.discordapi.control import Control
from tests.discordapi.flood import DISCORDS, UNLIMITED
from tests.discordapi.people import Times
from tests.discordapi.server import DiscordApi


async def _serve(given: argparse.Namespace) -> None:
    times = replace(Times(), **dict(given.last))
    budgets = UNLIMITED if given.unlimited else DISCORDS
    server = DiscordApi(speed=given.speed, budgets=budgets, times=times, ledger=given.ledger, port=given.port)
    server.routes["control"] = Control(server)
    for token in given.token:
        server.bot(token, given.name, reads_content=not given.no_content)
    async with server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


def _lasting(text: str) -> tuple[str, float]:
    name, _, seconds = text.partition("=")
    if name not in Times.__dataclass_fields__:
        raise argparse.ArgumentTypeError(f"nothing is called {name!r} in Times")
    return name, float(seconds)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.discordapi", description="A Discord API on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--token", action="append", default=[], help="a bot's; may be given again")
    parser.add_argument("--name", default="factory", help="that of the bots")
    parser.add_argument("--no-content", action="store_true", help="grant no bot the content of messages")
    parser.add_argument("--speed", type=float, default=1.0, help="server seconds in a real one")
    parser.add_argument(
        "--last", type=_lasting, action="append", default=[], help="how long something lasts: answer=60"
    )
    parser.add_argument("--unlimited", action="store_true", help="let bots call as much as they like")
    parser.add_argument("--ledger", type=Path, help="a file that gets a line of JSON for all that happens")
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
