"""A real server, and workers that are processes of their own, to be killed, frozen and driven mad."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from adapters.nats.fleet import Fleet
from factory_cli.config import Configuration, Worker
from factory_cli.membership import Member, members
from factory_contracts import subjects
from factory_nats import blobs
from factory_nats.connect import connect, generate_seed, public_key
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Transport

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0


@dataclass(slots=True)
class Yard:
    """A bus on which some names may serve one capability."""

    folder: Path
    capability: str
    url: str
    seeds: Mapping[str, str]
    listed: tuple[Member, ...]
    running: dict[str, Process] = field(default_factory=dict)

    async def join(self, name: str) -> Transport:
        """A connection under the name of a member."""
        member = next(one for one in self.listed if one.identity == name)
        joined = await connect(self.url, member.proves(self.seeds.__getitem__))
        assert isinstance(joined, Ok)
        return joined.value

    async def start(self, name: str, file: Path, *, python: str = sys.executable, **variables: str) -> Process:
        """A worker of that name, which serves the file; its log is beside its key."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                python,
                "-m",
                "factory_nats",
                str(file),
                "--url",
                self.url,
                "--key",
                str(self.folder / f"{name}.nk"),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "WORKER": name, **variables},
            )
        self.running[name] = process
        return process

    async def kill(self, name: str) -> None:
        """SIGKILL, and no word to anybody."""
        process = self.running.pop(name)
        process.kill()
        await process.wait()

    def freeze(self, name: str) -> None:
        """It stands still with all it holds, until it is thawed."""
        self.running[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """It goes on as if nothing had happened."""
        self.running[name].send_signal(signal.SIGCONT)

    async def end(self) -> None:
        """End all who still run."""
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.running.values():
            async with asyncio.timeout(PATIENCE):
                await process.communicate()

    async def all_are_there(self, fleet: Fleet, count: int) -> None:
        """Return when so many workers live."""
        async with asyncio.timeout(PATIENCE):
            while sum(one.standing.is_alive for one in fleet.opinions()) < count:
                await fleet.change(PATIENCE)


@asynccontextmanager
async def yard(folder: Path, capability: str, *names: str) -> AsyncIterator[Yard]:
    """A server that lets in these workers of one capability, with the store that a hub would have made."""
    listed = members(Configuration(workers=tuple(Worker(name, capability) for name in names)))
    seeds = {key: generate_seed() for one in listed for key, _ in one.grants}
    for key, seed in seeds.items():
        (folder / f"{key}.nk").write_text(seed)
    users = [user for one in listed for user in one.users(lambda key: public_key(seeds[key]))]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer(folder / "nats", users=users))
        made = Yard(folder, capability, server.url, seeds, listed)
        hub = await made.join(subjects.HUB)
        assert await blobs.ensure(hub, subjects.store(capability)) == Ok(None)
        await hub.close()
        stack.push_async_callback(made.end)
        yield made


@asynccontextmanager
async def asking(yard: Yard) -> AsyncIterator[Fleet]:
    """Somebody who asks the workers of a yard."""
    transport = await yard.join(subjects.CLIPOOL)
    fleet = Fleet(transport, yard.capability)
    assert await fleet.listen() is None
    yield fleet
    await fleet.close()
    await transport.close()
