"""A program of this machine that speaks: words go in, sound comes out, and neither lasts for ever."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from workers.voice.opus import NoSound
from workers.voice.settings import OUT, PLACE

# A quarter of an hour, before anybody has made it smaller.
MOST_BYTES = 64 * 1024 * 1024
PIECE = 65_536
LAST_WORDS = 1.0
# What it is told of the surroundings, whatever else these hold.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR")


async def spoken(
    command: tuple[str, ...], words: str, values: Mapping[str, str], variables: Mapping[str, str], *, seconds: float
) -> bytes:
    """What the program makes of the words; of our `variables` it sees what it needs. Raises `NoSound`."""
    with TemporaryDirectory(prefix="voice-") as folder:
        file = Path(folder) / "said"
        filled = tuple(PLACE.sub(lambda found: {**values, OUT: str(file)}[found[1]], part) for part in command)
        is_filed = any(f"{{{OUT}}}" in part for part in command)
        try:
            # What it has to complain of goes where our own log goes.
            process = await asyncio.create_subprocess_exec(
                *filled,
                stdin=PIPE,
                stdout=DEVNULL if is_filed else PIPE,
                env={name: variables[name] for name in INHERITED if name in variables},
                start_new_session=True,
            )
        except OSError as error:
            raise NoSound(f"{command[0]} cannot be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(seconds):
                sound = await _heard(process, words.encode(errors="replace"))
        except TimeoutError:
            raise NoSound(f"{command[0]} was not done within {seconds:g} s") from None
        finally:
            await _end(process)
        # Who makes too much was ended by us.
        if process.returncode and len(sound) <= MOST_BYTES:
            raise NoSound(f"{command[0]} ended with status {process.returncode}")
        if is_filed:
            sound = await asyncio.to_thread(_file, file)
    if not 0 < len(sound) <= MOST_BYTES:
        raise NoSound(f"{command[0]} made {len(sound)} bytes or more, and 1 to {MOST_BYTES} are what can be used")
    return sound


async def _heard(process: Process, words: bytes) -> bytes:
    """What comes out while the words go in, each as fast as the other allows."""
    sound = bytearray()
    writing = asyncio.create_task(_write(process, words))
    try:
        while process.stdout is not None and len(sound) <= MOST_BYTES:
            piece = await process.stdout.read(PIECE)
            if not piece:
                break
            sound += piece
        if len(sound) <= MOST_BYTES:
            await process.wait()
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    return bytes(sound)


async def _end(process: Process) -> None:
    """Let nothing of it go on: it may have children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # A pipe is closed once it was read to its end.
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORDS):
            while process.stdout is not None and await process.stdout.read(PIECE):
                pass
    await process.wait()


async def _write(process: Process, words: bytes) -> None:
    if process.stdin is None:
        return
    # Who has heard enough closes the door.
    with suppress(ConnectionError):
        process.stdin.write(words)
        await process.stdin.drain()
    process.stdin.close()


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError:
        return b""
