"""A spoke of the made-up platform that may die at its points: `python -m tests.chaos.spoke_process RUN BOT`."""

import asyncio
import os
import signal
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import uvloop

from adapters.spoke import Reply, Spoke
from factory_contracts.messages import Address, InboundMessage, Refused, Said
from factory_nats.connect import connect
from factory_nats.result import Err
from tests.chaos import fuse
from tests.chaos.platform import Line
from tests.chaos.surroundings import SLATE, Bus, spoke

PATIENCE = 3600.0
PACE_MS = 60


class Slate:
    """The platform as a screen."""

    def __init__(self, line: Line, bot: str) -> None:
        self._line = line
        self._bot = bot

    async def send(self, reply: Reply) -> str:
        """Open a bubble under the question."""
        message = await self._line.call(
            "send",
            bot=self._bot,
            scope=reply.address.scope_id,
            reply_to=reply.address.reply_to,
            text=reply.text,
            pid=os.getpid(),
        )
        return str(message)

    async def edit(self, message_id: str, reply: Reply) -> None:
        """Let the bubble show the reply."""
        await self._line.call(
            "edit",
            bot=self._bot,
            scope=reply.address.scope_id,
            message=message_id,
            text=reply.text,
            pid=os.getpid(),
        )

    async def said(self, said: Said) -> None:
        """The platform shows what people say by itself."""


class Intake:
    """What people write, handed to the hub in their order, and confirmed when all of a batch is accepted."""

    def __init__(self, line: Line, bot: str, joined: Spoke, seam: fuse.Fuse) -> None:
        self._line = line
        self._bot = bot
        self._spoke = joined
        self._seam = seam

    async def run(self) -> None:
        """Fetch and submit until cancelled."""
        offset = 0
        while True:
            updates = await self._line.call("fetch", bot=self._bot, offset=offset)
            if not updates:
                continue
            self._seam.at("fetched")
            by_scope = groupby(sorted(updates, key=_scope), key=_scope)
            async with asyncio.TaskGroup() as group:
                for _, of_scope in by_scope:
                    group.create_task(self._submit(list(of_scope)))
            offset = updates[-1]["update"] + 1

    async def _submit(self, updates: list[dict[str, Any]]) -> None:
        for update in updates:
            scope, message = update["scope"], update["message"]
            address = Address(platform=SLATE, bot_id=self._bot, scope_id=scope, reply_to=message, pace_ms=PACE_MS)
            told = await self._spoke.submit(
                InboundMessage(message_id=message, user_id=scope, text=update["text"], address=address)
            )
            if isinstance(told, Refused):
                words = f"REFUSED: {told.reason}"
                await self._line.call("send", bot=self._bot, scope=scope, reply_to=message, text=words, pid=os.getpid())


def _scope(update: dict[str, Any]) -> str:
    scope: str = update["scope"]
    return scope


async def _serve(run: Path, bot: str, seam: fuse.Fuse) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bus = Bus.read(run)
    closed: list[str] = []

    def end(why: str) -> None:
        closed.append(why)
        stop.set()

    name = spoke(SLATE, bot)
    connected = await connect(bus.url_of(name), bus.identity(name), patience=PATIENCE, on_closed=end)
    if isinstance(connected, Err):
        print(connected.detail, file=sys.stderr)
        return 1
    line = await Line.open(Path(bus.platform_at))
    joined = Spoke(connected.value, SLATE, bot, Slate(line, bot), notes=run / f"notes-{bot}.jsonl", at=seam.at)
    work = asyncio.create_task(_work(joined, line, bot, seam))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
    failed = work.done()
    work.cancel()
    stopped.cancel()
    await asyncio.gather(stopped, return_exceptions=True)
    if failed:
        await work
    await asyncio.gather(work, return_exceptions=True)
    await joined.close()
    await connected.value.close()
    return 1 if closed else 0


async def _work(joined: Spoke, line: Line, bot: str, seam: fuse.Fuse) -> None:
    await joined.start()
    await Intake(line, bot, joined, seam).run()


def main(run: Path, bot: str) -> int:
    """The spoke's exit status."""
    return uvloop.run(_serve(run, bot, fuse.begin(run, spoke(SLATE, bot))))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
