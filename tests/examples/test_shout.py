"""A worker of the examples joins a running system from a process of its own, and an agent asks it as it uses a tool."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from factory_cli.config import Bot, Configuration, Worker
from factory_cli.membership import members
from factory_contracts import subjects
from factory_contracts.lifecycle import HEARTBEAT, Heartbeat
from factory_contracts.work import Approvals
from factory_nats.connect import connect, generate_seed, public_key
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Delivery
from hub.composition import HubSettings, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.routing import Binding, Bindings

ROOT = Path(__file__).parents[2]
CARRIER = Path(__file__).parent / "carrier.py"
SHOUT = ROOT / "examples" / "shout.py"
PATIENCE = 30.0

CAPABILITY, SHOUTER, LOFT, WIND = "shout", "shouter", "pigeon-loft", "wind"
AGENT = Agent(name="herald", model="scripted", workers=(CAPABILITY, WIND), approvals=Approvals(external="tainted"))
MEMBERS = members(
    Configuration(bots=(Bot("pigeon", "loft"),), workers=(Worker(SHOUTER, CAPABILITY), Worker(WIND, WIND)))
)
SCRIPT = """
[[reply]]
match = "^Shout (.+) after (.+) s"
steps = [{ call = "ask_shout", arguments = '{"text": "{1}", "breath": {2}}' }, { say = "{tool}" }]

[[reply]]
match = "^Shout (.+) into the wind"
steps = [{ call = "ask_wind", arguments = { request = "{1}" } }, { say = "{tool}" }]

[[reply]]
match = "^Shout (.+)"
steps = [{ call = "ask_shout", arguments = { text = "{1}" } }, { say = "{tool}" }]
"""
CLIPOOL = """
import sys
from pathlib import Path
from factory_nats.connect import Identity
from workers.clipool.composition import ClipoolSettings, serve
url, folder = sys.argv[1], Path(sys.argv[2])
store = Identity("clipool", (folder / "clipool.store.nk").read_text())
identity = Identity("clipool", (folder / "clipool.nk").read_text(), store=store)
sys.exit(serve(ClipoolSettings(url, identity, script=folder / "script.toml", folder=folder / "work")))
"""


@dataclass(slots=True)
class Town:
    """A system that runs, and a loft from which letters are sent to it."""

    url: str
    keys: Path
    carrier: Process
    letters: Iterator[int]
    heartbeats: asyncio.Queue[Delivery]

    async def send(self, words: str) -> None:
        assert self.carrier.stdin is not None
        # A tower for each letter: what a worker has said before would have the next letter asked about first.
        letter = next(self.letters)
        self.carrier.stdin.write(f"tower-{letter} {letter} {words}\n".encode())
        await self.carrier.stdin.drain()

    async def answer(self) -> str:
        line = await _line(self.carrier)
        return line.partition(": ")[2]

    async def ask(self, words: str) -> str:
        await self.send(words)
        return await self.answer()

    async def hear(self, running: int) -> Heartbeat:
        """The next heartbeat of a shouter that has so much to do."""
        while True:
            said = HEARTBEAT.decode((await self.heartbeats.get()).data)
            if said.running == running:
                return said

    @asynccontextmanager
    async def shouter(self) -> AsyncIterator[Process]:
        """A shouter, once it is there."""
        key = str(self.keys / f"{SHOUTER}.nk")
        async with _process("-m", "factory_nats", str(SHOUT), "--url", self.url, "--key", key) as process:
            while not self.heartbeats.empty():
                self.heartbeats.get_nowait()
            async with asyncio.timeout(PATIENCE):
                await self.hear(running=0)
            yield process


@pytest.fixture(scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    seeds = {key: generate_seed() for one in MEMBERS for key, _ in one.grants}
    for name, seed in seeds.items():
        (folder / f"{name}.nk").write_text(seed)
    (folder / "script.toml").write_text(SCRIPT)
    users = [user for one in MEMBERS for user in one.users(lambda key: public_key(seeds[key]))]
    async with EmbeddedServer(folder / "nats", users=users) as server:
        stop = asyncio.Event()
        settings = HubSettings(
            nats_url=server.url,
            identity=MEMBERS[0].proves(seeds.__getitem__),
            bindings=Bindings({AGENT.name: AGENT}, (Binding(AGENT.name),)),
            policies=(BotPolicy("pigeon", "loft", access="public", rate_per_minute=1_000, everyone_owns=True),),
        )
        hub = asyncio.create_task(serve(settings, stop))
        async with (
            _process("-c", CLIPOOL, server.url, str(folder)),
            _process(str(CARRIER), server.url, str(folder / f"{LOFT}.nk")) as carrier,
        ):
            heard: asyncio.Queue[Delivery] = asyncio.Queue()
            reader = next(one for one in MEMBERS if one.identity == subjects.READER)
            listener = await connect(server.url, reader.proves(seeds.__getitem__))
            assert isinstance(listener, Ok)
            await listener.value.subscribe(subjects.heartbeats(CAPABILITY), heard.put_nowait)
            yield Town(server.url, folder, carrier, count(1), heard)
            await listener.value.close()
        stop.set()
        await hub


async def test_a_worker_that_joins_a_running_system_is_asked_by_an_agent(town: Town) -> None:
    async with town.shouter():
        answer = await town.ask("Shout good morning")
        refusal = await town.ask("Shout good night after 1000 s")

    assert answer == "GOOD MORNING!\n"
    assert refusal == "breath: Input should be less than 100; nothing was done.\n"


async def test_a_worker_that_is_not_there_is_told_to_the_model_in_words(town: Town) -> None:
    answer = await town.ask("Shout hello into the wind")

    assert answer.startswith("No worker for wind is there now; nothing was done.")


async def test_what_a_worker_was_killed_at_is_told_to_be_unknown_and_not_done_again(town: Town) -> None:
    async with town.shouter() as first:
        await town.send("Shout my last words after 90 s")
        await town.hear(running=1)
        first.kill()
        await first.wait()

    async with town.shouter():
        lost = await town.answer()
        answer = await town.ask("Shout hello")
        idle = await town.hear(running=0)

    assert lost.startswith("The worker for shout took the request and never answered.")
    assert "Whether it was done is not known" in lost
    assert answer == "HELLO!\n"
    assert idle.running == 0


@asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), PATIENCE)


async def _line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        line = await process.stdout.readline()
    assert line
    return line.decode()
