"""The example spoke is a stranger's: it joins a system that is running and is served like any other."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from factory_cli import state
from factory_cli.home import Home

ROOT = Path(__file__).parents[2]
CARRIER = Path(__file__).parent / "carrier.py"
LINES = 60
PATIENCE = 30.0


async def test_a_spoke_of_a_platform_nobody_heard_of_joins_a_running_system(tmp_path: Path) -> None:
    (tmp_path / "factory.toml").write_text('[[bots]]\nplatform = "pigeon"\nbot_id = "loft"\naccess = "public"\n')
    up = await _start("-m", "factory_cli", "up", "--home", str(tmp_path))
    try:
        carrier = await _start(str(CARRIER), await _url(tmp_path, up), str(tmp_path / "keys" / "pigeon-loft.nk"))
        try:
            letters = [await _ask(carrier, "north 1 What news?"), await _ask(carrier, "south 1 And here?")]
        finally:
            await _end(carrier)
    finally:
        await _end(up)

    assert letters[0].startswith("pigeon 1 to north: **No model is connected.**")
    assert letters[1].startswith("pigeon 2 to south: **No model is connected.**")


def test_the_example_is_short_enough_to_be_read_at_once() -> None:
    assert len(CARRIER.read_text().splitlines()) < LINES


async def _start(*arguments: str) -> Process:
    # Nobody's key is spent by a test.
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=ROOT, env=kept
    )


async def _url(home: Path, up: Process) -> str:
    """Where the bus is, once the system that was started says so."""
    async with asyncio.timeout(PATIENCE):
        while (found := state.read(Home(home))) is None:
            assert up.returncode is None
            await asyncio.sleep(0)
    return found.url


async def _ask(carrier: Process, letter: str) -> str:
    assert carrier.stdin is not None
    assert carrier.stdout is not None
    carrier.stdin.write(f"{letter}\n".encode())
    await carrier.stdin.drain()
    async with asyncio.timeout(PATIENCE):
        while not (line := await carrier.stdout.readline()).startswith(b"pigeon"):
            assert line
    return line.decode()


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    await asyncio.wait_for(process.communicate(), PATIENCE)
