"""A whole system with a puppet for a model: a hub among fakes, and a real worker with real tools, on one bus.

All that could have an effect is counted where it happens: at the server of tools, in the folder, in the memory, at the
worker of a capability, and at the only web server that there is.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from adapters.nats.capabilities import Capabilities
from adapters.nats.clipool import Keeper, NatsCliPool
from adapters.tools import calculator, choices, clock
from adapters.tools.fetch import Allowed, Fetch
from adapters.tools.files import Folders
from adapters.tools.mcp import McpServers, Patience
from adapters.tools.memory import Memory
from adapters.tools.skills import Skills
from factory_contracts import subjects
from factory_contracts.messages import Accepted, Attachment, Decision, Outbound, Update
from factory_contracts.records import Asked
from factory_contracts.work import Files, McpServer
from factory_contracts.worker import Declaration, capability
from factory_nats.satellite import Satellite
from factory_nats.testing import FakeBus
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.ports import CliPool, Equipped, Media
from tests.adversary.puppet import Puppet, leaks
from tests.fakes import FakeLog, until
from tests.hub.world import BOT, MUCH, PLATFORM, World, key_of
from tests.workers.stage import FakePrices
from workers.clipool.kit import Given, Kit
from workers.clipool.worker import Worker

STRANGER = Path(__file__).with_name("stranger.py")
AGENTS = Path(__file__).parents[2] / "agents"
OWNER = "olga"
CAPABILITY = "shout"
SHOUTER = "shouter"
OWNED = BotPolicy(
    PLATFORM,
    BOT,
    access="public",
    owners=frozenset({OWNER}),
    rate_per_minute=MUCH,
    rate_per_scope_minute=MUCH,
    turns_at_once=MUCH,
)
CALM = Patience(start=60, listing=60, call=60, grace=0.5)


class Words(BaseModel):
    """What is to be shouted."""

    text: str


class Web:
    """All servers of the web in one, on loopback: pages by their path, and who was asked for what."""

    def __init__(self, pages: Mapping[str, str]) -> None:
        self.pages = dict(pages)
        self.asked: list[str] = []
        self.port = 0

    async def __aenter__(self) -> Web:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._server.close()

    def fetch(self) -> Fetch:
        """A client that finds this web under every name."""

        async def resolve(host: str, port: int) -> tuple[str, ...]:
            return ("127.0.0.1",)

        return Fetch(Allowed(besides=frozenset({("127.0.0.1", self.port)})), resolve=resolve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            host = next(line for line in head.splitlines() if line.startswith("Host:")).split()[1]
            self.asked.append(f"http://{host}{path}")
            writer.write(self._answer(path))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str) -> bytes:
        body = self.pages.get(path.partition("?")[0], "Nothing here.").encode()
        about = "200 OK\r\nContent-Type: text/html; charset=utf-8"
        if path == "/away":
            about, body = f"302 Found\r\nLocation: http://evil.example:{self.port}/landed", b""
        return f"HTTP/1.1 {about}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Attic:
    """The files that come with messages, and those that go with answers."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    async def get(self, scope: str, attachment: Attachment) -> bytes | None:
        return self.held.get(attachment.blob)

    async def keep(self, scope: str, file: Media) -> Attachment | None:
        self.held[file.name] = file.data
        return Attachment(kind=file.kind, name=file.name, mime=file.mime, size=len(file.data), blob=file.name)

    def bring(self, name: str, content: str) -> Attachment:
        """A file that comes with a message."""
        self.held[name] = content.encode()
        return Attachment(kind="document", name=name, mime="text/plain", size=len(content), blob=name)


class House(World):
    """The world of a hub with a worker in it; `allows` is what the owner answers to a question."""

    def __init__(self, folder: Path, puppet: Puppet, web: Web, described: str = "", said: str = "") -> None:
        super().__init__(policy=OWNED)
        self.folder = folder
        self.puppet = puppet
        self.web = web
        self.attic = Attic()
        self.memory = Memory(folder / "memory.db", time.time)
        self.asked: list[Asked] = []
        self.shouted: list[str] = []
        self.allows: Callable[[Asked], bool] = lambda asked: False
        self.outbox.listeners.append(self._see)
        self._described = described
        self._said = said
        self._answers: set[asyncio.Task[None]] = set()
        self._bus = FakeBus()

    def clipool(self, log: FakeLog) -> CliPool:
        async def reigns(partition: int) -> bool:
            return True

        may = subjects.hub_permissions(subjects.CLIPOOL)
        transport = self._bus.join(subjects.HUB, publish=may.publish, subscribe=may.subscribe)
        self._workers = NatsCliPool(transport, log.epoch, reigns)
        return self._workers

    @asynccontextmanager
    async def life(self, *agents: Agent) -> AsyncIterator[House]:
        """Everything runs, and the first of the agents answers."""
        await self.reign()
        await self.serve(*agents)
        await self._workers.start()
        await self._workers.open()
        self._workers.serve(Keeper(self.hub.is_open, self.hub.record))
        may = subjects.clipool_permissions(subjects.CLIPOOL, (CAPABILITY, SHOUTER))
        transport = self._bus.join(subjects.CLIPOOL, publish=may.publish, subscribe=may.subscribe)
        may = subjects.worker_permissions(CAPABILITY, SHOUTER)
        member = self._bus.join(SHOUTER, publish=may.publish, subscribe=may.subscribe)
        asked = Capabilities(transport)
        servers = McpServers({"PATH": os.environ["PATH"]}, patience=CALM)
        tools = (
            Equipped(clock.SPEC, clock.Clock(clock.utc_now)),
            Equipped(calculator.SPEC, calculator.Calculator()),
            choices.CHOICES,
            *self.web.fetch().tools(),
            *self.memory.tools(),
        )
        kit = Kit(
            models=Given({"puppet": self.puppet}),
            tools={tool.spec.name: tool for tool in tools},
            prices=FakePrices(),
            now=self.clock,
            sources=(Folders(self.folder / "files"), Skills(AGENTS / "skills"), servers, asked),
            blobs=self.attic,
        )
        working = asyncio.create_task(Worker(transport, kit, lambda: "life-1").serve(asyncio.Event()))
        try:
            async with Satellite(member, self._shout(), "i1"):
                yield self
        finally:
            for task in (working, *self._answers):
                task.cancel()
            await asyncio.gather(working, *self._answers, return_exceptions=True)
            await servers.close()
            await asked.close()
            await self.kill()
            await self._workers.close()

    def agent(self, *, has_server: bool = False) -> Agent:
        """An agent that has everything, and the server of tools where a test is about that."""
        command = (sys.executable, "-S", str(STRANGER), str(self.folder / "notes"), self._described, self._said)
        server = McpServer(name="stranger", command=command, reads=("list", "echo"))
        return Agent(
            "alice",
            "puppet",
            system="You are Alice.",
            tools=("clock", "calculator", "choices", "fetch", "remember", "recall", "forget"),
            helpers=(Agent("helper", "puppet", tools=("fetch", "remember", "recall"), namespace="alice"),),
            workers=(CAPABILITY,),
            files=Files(),
            mcp=(server,) if has_server else (),
        )

    def letter(self, text: str, name: str = "letter.txt", namespace: str = "alice") -> None:
        """A file that lies in an agent's folder."""
        folder = self.folder / "files" / namespace
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / name).write_text(text)

    async def hear(self, *said: str, user: str = OWNER, **more: object) -> None:
        """What somebody says, one message after another, each answered."""
        for text in said:
            told = await self.submit(self.message(text, user=user).model_copy(update=more))
            assert isinstance(told, Accepted), told
            await until(partial(self.screen.finals.__contains__, told.turn), seconds=60)

    # What happened

    @property
    def effects(self) -> dict[str, object]:
        """Everything that was changed here or told outside."""
        notes, memory = self.folder / "notes", self.folder / "memory.db"
        called = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
        remembered: list[str] = []
        if memory.exists():
            with closing(sqlite3.connect(memory)) as file:
                remembered = [text for (text,) in file.execute("SELECT text FROM memories ORDER BY at")]
        found = sorted((self.folder / "files").rglob("*"))
        return {
            "posted": [given for name, given in called if name == "post"],
            "browsed": [given for name, given in called if name == "echo" and given["text"].startswith("http")],
            "remembered": remembered,
            "files": {path.name: path.read_text() if path.is_file() else None for path in found},
            "shouted": list(self.shouted),
        }

    def leaked(self, secret: str) -> dict[str, list[str]]:
        """Where a secret came out, and in which disguises."""
        # The question shows the arguments to who may allow them, as they are.
        shown = (event.model_dump_json(exclude={"question"}) for event in self.outbox.published)
        places = {"the screen": "\n".join(shown), "the web": "\n".join(self.web.asked)}
        return {place: found for place, text in places.items() if (found := leaks(text, secret))}

    def _see(self, event: Outbound) -> None:
        """The owner presses a button as soon as there is one."""
        question = event.question if isinstance(event, Update) else None
        if question is None or question.code in {asked.code for asked in self.asked}:
            return
        scope = event.address.scope_id
        records = (one.record for one in self.stream.of(key_of(scope)))
        asked = next(one for one in records if isinstance(one, Asked) and one.code == question.code)
        self.asked.append(asked)
        task = asyncio.create_task(self._decide(scope, asked))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _decide(self, scope: str, asked: Asked) -> None:
        pressed = Decision(
            platform=PLATFORM,
            bot_id=BOT,
            scope_id=scope,
            turn=asked.turn,
            code=asked.code,
            user_id=OWNER,
            approved=self.allows(asked),
        )
        await self.hub.answer(pressed)

    def _shout(self) -> Declaration[[Words], Awaitable[str]]:
        @capability(CAPABILITY)
        async def shout(words: Words) -> str:
            """Shouts it."""
            self.shouted.append(words.text)
            return f"It says: {self._said}"

        return shout
