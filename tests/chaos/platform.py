"""A made-up platform, which is never killed: it gives messages their ids and remembers all that it was told to show.

Like Telegram it keeps what people write until the bot asks for what comes after it, and an answered send is no proof
for a bot that died in between.
"""

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from tests.chaos.ledger import Ledger

SOCKET = "platform.sock"
PATIENCE = 1.0
AT_ONCE = 20
LATENCY = (0.001, 0.006)


class Platform:
    """Everything a person can see, and everything a bot has not taken yet."""

    def __init__(self, ledger: Path, dice: random.Random, on_show: Callable[[str, str], None]) -> None:
        self._ledger = Ledger(ledger)
        self._dice = dice
        self._on_show = on_show
        self._updates = count(1)
        self._messages: defaultdict[str, count[int]] = defaultdict(lambda: count(1))
        self._waiting: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        self._arrived: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._questions: dict[tuple[str, str, str], str] = {}
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self.changed = asyncio.Event()

    async def open(self, folder: Path) -> str:
        """Be there for bots; where that is."""
        self._server = await asyncio.start_unix_server(self._connected, folder / SOCKET)
        return str(folder / SOCKET)

    def scopes(self, bot: str, count: int) -> list[str]:
        """So many places where people talk with a bot."""
        return [f"tower.{number} {bot}" for number in range(count)]

    speaker = ""

    def faults(self) -> list[str]:
        """What no correct bot does."""
        return []

    async def close(self) -> None:
        """Leave them."""
        if self._server is not None:
            self._server.close()
        connections = dict(self._connections)
        for writer in connections:
            writer.close()
        await asyncio.gather(*(task for task in connections.values() if task is not None), return_exceptions=True)
        self._ledger.close()

    def ask(self, bot: str, scope: str, text: str) -> str:
        """A person writes; the message's id."""
        update, message = next(self._updates), str(next(self._messages[f"{bot} {scope}"]))
        said = {"update": update, "scope": scope, "message": message, "text": text}
        self._ledger.write(did="asked", bot=bot, at=time.time(), **said)
        self._waiting[bot][update] = said
        self._arrived[bot].set()
        return message

    def untaken(self) -> int:
        """How many messages no bot has confirmed yet."""
        return sum(len(waiting) for waiting in self._waiting.values())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[writer] = asyncio.current_task()
        try:
            async with asyncio.TaskGroup() as group:
                while line := await reader.readline():
                    group.create_task(self._serve(json.loads(line), writer))
        except* ConnectionError:
            # The bot was killed.
            pass
        finally:
            writer.close()
            del self._connections[writer]

    async def _serve(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        number = asked.pop("number")
        match asked.pop("call"):
            case "fetch":
                answer: Any = await self._fetch(**asked)
            case "send":
                answer = self._send(**asked)
            case "edit":
                answer = None
                self._edit(**asked)
            case call:
                raise ValueError(f"no such call: {call}")
        self.changed.set()
        await asyncio.sleep(self._dice.uniform(*LATENCY))
        if not writer.is_closing():
            writer.write(f"{json.dumps({'number': number, 'answer': answer})}\n".encode())

    async def _fetch(self, bot: str, offset: int) -> list[dict[str, Any]]:
        waiting = self._waiting[bot]
        confirmed = [update for update in waiting if update < offset]
        for update in confirmed:
            del waiting[update]
        if confirmed:
            self._ledger.write(did="confirmed", bot=bot, updates=confirmed, at=time.time())
        if not waiting:
            self._arrived[bot].clear()
            try:
                await asyncio.wait_for(self._arrived[bot].wait(), PATIENCE)
            except TimeoutError:
                return []
        return [waiting[update] for update in sorted(waiting)[:AT_ONCE]]

    def _send(self, bot: str, scope: str, reply_to: str, text: str, pid: int) -> str:
        message = str(next(self._messages[f"{bot} {scope}"]))
        self._ledger.write(
            did="sent", bot=bot, scope=scope, message=message, reply_to=reply_to, text=text, pid=pid, at=time.time()
        )
        self._questions[bot, scope, message] = reply_to
        self._on_show(f"{bot} {scope} {reply_to}", text)
        return message

    def _edit(self, bot: str, scope: str, message: str, text: str, pid: int) -> None:
        self._ledger.write(did="edited", bot=bot, scope=scope, message=message, text=text, pid=pid, at=time.time())
        self._on_show(f"{bot} {scope} {self._questions[bot, scope, message]}", text)


class Line:
    """A bot's connection to the platform."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, path: Path) -> "Line":
        """Connect."""
        return cls(*await asyncio.open_unix_connection(path, limit=1 << 20))

    async def call(self, call: str, **arguments: Any) -> Any:
        """Ask the platform for something."""
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(f"{json.dumps({'number': number, 'call': call, **arguments})}\n".encode())
        return await future

    async def _read(self) -> None:
        while line := await self._reader.readline():
            answer = json.loads(line)
            future = self._waiting.pop(answer["number"])
            if not future.done():
                future.set_result(answer["answer"])
        for future in self._waiting.values():
            future.cancel()
