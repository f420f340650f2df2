"""A satellite lives by the two libraries alone, and beside others of the version before and the version after."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tomllib
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from adapters.nats.fleet import Fulfilled, Wish
from factory_contracts.envelope import SCHEMA_VERSION
from tests.fleet.yard import PATIENCE, ROOT, asking, yard

LIBRARIES = ("contracts", "transport")
CONTRACTS = ROOT / "packages" / "contracts"
SATELLITE = '''
from pydantic import BaseModel

from factory_contracts.worker import File, Made, capability


class Words(BaseModel):
    text: str


@capability("shout", effect="read")
async def shout(words: Words) -> Made:
    """Say something loudly, and on paper."""
    return Made(words.text.upper(), (File(name="said.txt", data=words.text.encode()),))
'''
ROUNDS = 60


def _uv(*arguments: str) -> None:
    command = [shutil.which("uv") or "", *arguments] if shutil.which("uv") else [sys.executable, "-m", "uv", *arguments]
    # What is set for our own environment is not meant for the others.
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")}
    done = subprocess.run(command, capture_output=True, text=True, env=kept)
    assert done.returncode == 0, done.stderr


def _wheels(folder: Path, *sources: Path) -> list[str]:
    for source in sources:
        _uv("build", "--quiet", "--wheel", "--out-dir", str(folder), str(source))
    return [str(path) for path in folder.glob("*.whl")]


def _environment(folder: Path, wheels: list[str]) -> Path:
    """A fresh environment with these wheels and what they need, and nothing else; its interpreter."""
    _uv("venv", "--quiet", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    _uv("pip", "install", "--quiet", "--python", str(python), *wheels)
    return python


def _checked(python: Path, file: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """What mypy says of the file in an environment that has it not."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(cache)),
            *("--python-executable", str(python), str(file)),
        ],
        capture_output=True,
        text=True,
        cwd=file.parent,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the two libraries alone."""
    folder = tmp_path_factory.mktemp("alone")
    wheels = _wheels(folder / "wheels", *(ROOT / "packages" / name for name in LIBRARIES))
    return _environment(folder / "env", wheels)


def test_each_library_has_a_version_of_its_own(alone: Path) -> None:
    script = "import importlib.metadata as m; print(*(f'{d.name} {d.version}' for d in m.distributions()), sep='\\n')"
    installed = subprocess.run([str(alone), "-c", script], capture_output=True, text=True, check=True).stdout
    stated = (tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"] for name in LIBRARIES)

    assert {f"{one['name']} {one['version']}" for one in stated} <= set(installed.splitlines())
    assert "factory-chat" not in installed


async def test_a_satellite_serves_from_the_two_wheels_alone(alone: Path, tmp_path: Path) -> None:
    file = tmp_path / "satellite.py"
    file.write_text(SATELLITE)
    async with yard(tmp_path, "shout", "shouter") as made:
        await made.start("shouter", file, python=str(alone), PYTHONPATH="")
        async with asking(made) as fleet:
            await made.all_are_there(fleet, 1)
            answer = await fleet.ask(Wish("t", "c", PATIENCE, "hello"), effect="read")

    assert answer == Fulfilled("HELLO", (("said.txt", b"hello"),))


@pytest.mark.timeout(300)
def test_a_satellite_that_uses_a_field_fails_its_check_when_the_field_is_renamed(alone: Path, tmp_path: Path) -> None:
    file = tmp_path / "satellite.py"
    file.write_text(SATELLITE)
    renamed = tmp_path / "renamed"
    shutil.copytree(CONTRACTS, renamed)
    _replace(renamed / "src/factory_contracts/worker.py", "    data: bytes\n", "    content: bytes\n")
    other = _environment(tmp_path / "env", _wheels(tmp_path / "wheels", renamed))

    before = _checked(alone, file, tmp_path / "before")
    after = _checked(other, file, tmp_path / "after")

    assert before.returncode == 0, before.stdout
    assert after.returncode == 1
    assert 'Unexpected keyword argument "data" for "File"' in after.stdout


async def test_satellites_of_the_version_before_and_the_one_after_serve_side_by_side(tmp_path: Path) -> None:
    first, middle, last = SCHEMA_VERSION, SCHEMA_VERSION + 1, SCHEMA_VERSION + 2
    trees = {version: _tree(tmp_path / f"v{version}", version) for version in (first, middle, last)}
    tts = Path(__file__).parent / "tts.py"
    async with yard(tmp_path, "voice.tts", "before", "after") as made:
        await made.start("before", tts, PYTHONPATH=trees[first])
        await made.start("after", tts, PYTHONPATH=trees[last])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(__file__).parent / "asker.py")),
            *(made.url, str(tmp_path), "before,after", str(ROUNDS)),
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": trees[middle]},
        )
        async with asyncio.timeout(PATIENCE * 2):
            told, _ = await process.communicate()

    report = json.loads(told)
    answers = [tuple(one) for one in report["answers"]]
    assert report["version"] == middle
    assert {worker for worker, _ in answers[::2]} == {"before", "after"}
    assert [text.partition(": ")[2] for _, text in answers[::2]] == [f"say {number}" for number in range(0, ROUNDS, 2)]
    assert answers[1::2] == [("after", f"after: sing {number}") for number in range(1, ROUNDS, 2)]
    assert report["alone"] == {"before": ["refused", "newer version"], "after": ["done", ""]}


async def test_what_cannot_be_said_in_the_askers_version_is_said_by_another(tmp_path: Path) -> None:
    first, last = SCHEMA_VERSION, SCHEMA_VERSION + 2
    trees = {version: _tree(tmp_path / f"v{version}", version) for version in (first, last)}
    _replace(
        tmp_path / f"v{last}/factory_contracts/worker.py",
        "return written_done(_whole(made))\n        reply = ",
        "reply = CapabilityDone(text=_whole(made), mood='merry')\n        else:\n            reply = ",
    )
    tts = Path(__file__).parent / "tts.py"
    async with yard(tmp_path, "voice.tts", "before", "after") as made:
        await made.start("before", tts, PYTHONPATH=trees[first])
        await made.start("after", tts, PYTHONPATH=trees[last])
        async with asking(made) as fleet:
            await made.all_are_there(fleet, 2)
            wishes = (Wish("t", str(number), PATIENCE, "hello") for number in range(10))
            answers = [await fleet.ask(wish, effect="read") for wish in wishes]

    assert answers == [Fulfilled("before: hello")] * 10


def _tree(folder: Path, version: int) -> str:
    """The contracts of another version, in which more can be said than in the first: where Python finds them."""
    package = folder / "factory_contracts"
    shutil.copytree(CONTRACTS / "src" / "factory_contracts", package)
    _replace(package / "envelope.py", f"SCHEMA_VERSION = {SCHEMA_VERSION}", f"SCHEMA_VERSION = {version}")
    capability = package / "capability.py"
    earlier = "from factory_contracts.envelope import FIRST_VERSION, SCHEMA_VERSION, Envelope, Part, Wire\n"
    _replace(capability, earlier, f"{earlier.replace('Wire', 'Since, Wire')}SINCE = {SCHEMA_VERSION}\n")
    if version > SCHEMA_VERSION:
        field = "    wants_progress: bool | None = None\n"
        _replace(capability, field, f"{field}    accent: Annotated[str | None, Since(SINCE + 1)] = None\n")
    if version > SCHEMA_VERSION + 1:
        field = "    large: Kept | None = None\n    kept_files"
        _replace(capability, field, f"    mood: Annotated[str | None, Since(SINCE + 2)] = None\n{field}")
    return str(folder)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
