"""The CliPool worker as a process: how it starts, what stops it, and what a kill leaves."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.models.scripted import ScriptError
from factory_contracts import subjects
from factory_contracts.work import Done, Resume, Unknown
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from tests.workers.stage import WORKER, Hub, end, run, text
from workers.clipool.composition import ClipoolSettings, compose, serve

PROGRAM = """
import sys
from pathlib import Path
from factory_nats.connect import Identity
from workers.clipool.composition import ClipoolSettings, serve
sys.exit(serve(ClipoolSettings(sys.argv[1], Identity(sys.argv[2]), script=Path(sys.argv[3]))))
"""
ROOT = Path(__file__).parents[2]
RESUME = Resume(turn="t1", epoch=7, partition=0, attempt=1)


@asynccontextmanager
async def process(url: str, script: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, url, WORKER, str(script), cwd=ROOT)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


@pytest.fixture
async def hub(nats_server: EmbeddedServer) -> AsyncIterator[Hub]:
    connected = await connect(nats_server.url, Identity(subjects.HUB))
    assert isinstance(connected, Ok)
    hub = Hub(connected.value)
    await hub.listen()
    yield hub
    await connected.value.close()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.toml"
    path.write_text("""
        [[reply]]
        match = "what is (.+)"
        steps = [{ call = "calculator", arguments = { expression = "{1}" } }, { say = "{tool}" }]
        [[reply]]
        steps = [{ say = "I hear {said}" }, { stall = true }]
    """)
    return path


async def test_a_worker_that_is_told_to_end_ends_well(nats_server: EmbeddedServer, hub: Hub, script: Path) -> None:
    async with process(nats_server.url, script) as child:
        await hub.until(lambda: bool(hub.heartbeats))
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            code = await child.wait()

    assert code == 0


async def test_a_worker_that_is_told_to_end_while_it_waits_for_the_bus_ends_well(script: Path) -> None:
    arrived = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1") as silent, asyncio.timeout(20):
        port = silent.sockets[0].getsockname()[1]
        async with process(f"nats://127.0.0.1:{port}", script) as child:
            await arrived.wait()
            child.send_signal(signal.SIGTERM)
            code = await child.wait()

    assert code == 0


async def test_a_worker_that_is_killed_knows_nothing_in_its_next_life(
    nats_server: EmbeddedServer, hub: Hub, script: Path
) -> None:
    async with process(nats_server.url, script) as child:
        await hub.until(lambda: bool(hub.heartbeats))
        await hub.tell(run())
        await hub.until(lambda: text(hub.heard()) == "I hear hello")
        await hub.tell(RESUME.model_copy(update={"start": 9}))
        await hub.until(lambda: hub.replies == [Done()])
        older = hub.heartbeats[-1].instance
        child.kill()
        await child.wait()

    async with process(nats_server.url, script):
        await hub.until(lambda: hub.heartbeats[-1].instance != older)
        await hub.tell(RESUME)
        await hub.until(lambda: hub.replies == [Done(), Unknown(turn="t1")])
        await hub.tell(run(attempt=2))
        await hub.until(lambda: hub.events[-1].attempt == 2)


async def test_a_tool_that_comes_with_the_program_is_used(nats_server: EmbeddedServer, hub: Hub, script: Path) -> None:
    async with process(nats_server.url, script):
        await hub.until(lambda: bool(hub.heartbeats))
        await hub.tell(run(said="what is 6*7", tools=["calculator"]))
        events = await hub.until_over()

    assert text(events) == "42"
    assert end(events).outcome == "complete"


def test_a_bus_that_is_not_there_is_an_exit_code() -> None:
    assert serve(ClipoolSettings("nats://127.0.0.1:1", Identity(WORKER), patience=0.0)) == 1


def test_a_broken_script_is_refused_at_boot(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[[replies]]")

    with pytest.raises(ScriptError, match=r"broken\.toml: unknown key 'replies'"):
        compose(ClipoolSettings("nats://127.0.0.1:1", Identity(WORKER), script=path))
