"""Hubs in processes of their own on a bus with everybody's keys, and people who watch one screen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from adapters.spoke import Reply, Spoke
from factory_cli.config import Bot, Configuration
from factory_cli.membership import Member, members
from factory_contracts import subjects
from factory_contracts.lifecycle import HUB_HEARTBEAT
from factory_contracts.messages import Accepted, Address, AlreadyAccepted, InboundMessage, Said
from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer, User
from factory_nats.transport import Delivery, Transport
from tests import reign
from tests.fakes import until
from tests.nursery import Child, nursery
from tests.reign import BOT, PLATFORM
from workers.clipool.composition import ClipoolSettings, compose, run

ENDS_WITHIN = 20.0
SCRIPT = """
[[reply]]
match = "slowly"
steps = [{ burst = 80, text = "word ", pace_ms = 20 }]

[[reply]]
steps = [{ say = "You said: {said}" }]
"""
WORKER = "clipool"
_MEMBERS: dict[str, Member] = {member.identity: member for member in members(Configuration(bots=(Bot(PLATFORM, BOT),)))}


class Wall:
    """A screen that knows when each bubble changed last."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.stands: dict[str, str] = {}
        self.turned: dict[str, float] = {}
        self.finals: dict[str, Reply] = {}

    async def send(self, reply: Reply) -> str:
        self.sent.append(reply.turn)
        self._put(reply)
        return f"b.{reply.turn}.{len(self.sent)}"

    async def edit(self, message_id: str, reply: Reply) -> None:
        self._put(reply)
        if reply.is_final:
            self.finals[reply.turn] = reply

    async def said(self, said: Said) -> None:
        pass

    def _put(self, reply: Reply) -> None:
        if len(reply.text) > len(self.stands.get(reply.turn, "")):
            self.turned[reply.turn] = asyncio.get_running_loop().time()
        self.stands[reply.turn] = reply.text


class City:
    """Everything that runs, and how it is started and ended."""

    def __init__(self, folder: Path) -> None:
        self._seeds = {key: generate_seed() for member in _MEMBERS.values() for key, _ in member.grants}
        users: tuple[User, ...] = tuple(
            user for member in _MEMBERS.values() for user in member.users(lambda key: public_key(self._seeds[key]))
        )
        self.server = EmbeddedServer(folder / "nats", users=users, streams=[subjects.STREAM])
        self.wall = Wall()
        self.calls = folder / "calls.jsonl"
        self._keys = folder / "hub.json"
        self._script = folder / "script.toml"
        self._script.write_text(SCRIPT)
        self._messages = 0
        self._folder = folder
        self._logs: list[Path] = []
        self._stack = AsyncExitStack()
        self._workers = AsyncExitStack()
        reign.keep(self.identity(subjects.HUB), self._keys)

    def identity(self, name: str) -> Identity:
        return _MEMBERS[name].proves(self._seeds.__getitem__)

    async def join(self, name: str) -> Transport:
        joined = await connect(self.server.url, self.identity(name), patience=10)
        assert isinstance(joined, Ok), joined
        self._stack.push_async_callback(joined.value.close)
        return joined.value

    def hub(self, *options: str) -> Child:
        with open(os.devnull, "rb") as nothing, (self._folder / f"hub-{len(self._logs)}.log").open("wb") as log:
            self._logs.append(Path(log.name))
            arguments = [self.server.url, "--as", str(self._keys), *options]
            here = nursery("hub.composition")
            stdin, out = nothing.fileno(), log.fileno()
            process = here.bear("tests.reign", arguments, stdin=stdin, stdout=out, stderr=out)
        self._stack.callback(process.end)
        return process

    async def worker(self) -> None:
        transport, until_told = await self.join(WORKER), asyncio.Event()
        kit = compose(
            ClipoolSettings(self.server.url, self.identity(WORKER), script=self._script, calls_file=self.calls)
        )
        task = asyncio.create_task(run(transport, kit, until_told))

        async def end() -> None:
            until_told.set()
            await task

        self._workers.push_async_callback(end)

    async def spoke(self) -> Spoke:
        spoke = Spoke(await self.join(f"{PLATFORM}-{BOT}"), PLATFORM, BOT, self.wall)
        self._stack.push_async_callback(spoke.close)
        await spoke.start()
        return spoke

    def message(self, text: str, scope: str = "chat", *, who: str = "ann", names: bool = False) -> InboundMessage:
        self._messages += 1
        return InboundMessage(
            message_id=f"m{self._messages}",
            user_id=who,
            user_name=who,
            text=text,
            address=Address(platform=PLATFORM, bot_id=BOT, scope_id=scope, pace_ms=10, names_scopes=names),
        )

    async def heard(self, spoke: Spoke, text: str, scopes: Sequence[str], who: str) -> list[object]:
        """What somebody is told who says the same in many places at once."""
        return list(await asyncio.gather(*(spoke.submit(self.message(text, scope, who=who)) for scope in scopes)))

    async def say(self, spoke: Spoke, text: str, scope: str = "chat", *, who: str = "ann", names: bool = False) -> str:
        answer = await spoke.submit(self.message(text, scope, who=who, names=names))
        assert isinstance(answer, Accepted | AlreadyAccepted), answer
        return answer.turn

    async def answered(self, turn: str) -> Reply:
        await until(lambda: turn in self.wall.finals, seconds=20)
        return self.wall.finals[turn]

    async def standing_by(self, hubs: int = 1) -> None:
        """Return when so many stood by."""
        await until(lambda: sum("standing by" in log.read_text() for log in self._logs) >= hubs, seconds=20)

    async def after(self, owner: Child, turn: str) -> float:
        """How long after the end of a hub the answer went on, by another one; less than nothing where all was said."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.to_thread(owner.wait, ENDS_WITHIN)
        stood = self.wall.stands[turn]
        await until(lambda: len(self.wall.stands[turn]) > len(stood) or turn in self.wall.finals, seconds=20)
        return self.wall.turned[turn] - began

    async def shared(self, *sizes: int) -> None:
        """Return when so many hubs have so many partitions each, whoever they are."""
        transport = await self.join(subjects.HUB)
        heard: dict[str, tuple[float, int]] = {}
        loop = asyncio.get_running_loop()

        def hear(delivery: Delivery) -> None:
            said = HUB_HEARTBEAT.decode(delivery.data)
            heard[said.hub] = loop.time(), len(said.parts or ())

        def are_shared() -> bool:
            late = loop.time() - 1.0
            return sorted(size for at, size in heard.values() if at > late) == sorted(sizes)

        listening = await transport.subscribe(subjects.heartbeats(subjects.HUB), hear)
        assert isinstance(listening, Ok)
        await until(are_shared, seconds=20)
        await listening.value.unsubscribe()

    def model_calls(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0

    async def __aenter__(self) -> City:
        await self._stack.enter_async_context(self.server)
        return self

    async def __aexit__(self, *error: object) -> None:
        # A worker that is told to end while no hub is left keeps what is told for some seconds, for the next one.
        await self._workers.aclose()
        await self._stack.aclose()
