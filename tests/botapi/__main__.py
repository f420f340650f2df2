"""The server as a process of its own: `python -m tests.botapi --port 0 --token 42:TEST` prints its address and serves.

What happens there goes to `--ledger FILE`, a line of JSON each (`Ledger.read` takes it); people are moved by calls to
`/control/` (see `control`).
"""

import argparse
import asyncio
from contextlib import suppress
from pathlib import Path

from tests.botapi.control import Control
from tests.botapi.flood import TELEGRAMS, UNLIMITED
from tests.botapi.server import BotApi


async def _serve(given: argparse.Namespace) -> None:
    budgets = UNLIMITED if given.unlimited else TELEGRAMS
    server = BotApi(speed=given.speed, budgets=budgets, ledger=given.ledger, port=given.port)
    server.routes["control"] = Control(server)
    for token in given.token:
        server.bot(token, given.username)
    async with server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.botapi", description="A Telegram Bot API on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--token", action="append", default=[], help="a bot's; may be given again")
    parser.add_argument("--username", default="factory_bot", help="that of the bots")
    parser.add_argument("--speed", type=float, default=1.0, help="server seconds in a real one")
    parser.add_argument("--unlimited", action="store_true", help="let bots write as much as they like")
    parser.add_argument("--ledger", type=Path, help="a file that gets a line of JSON for all that happens")
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
