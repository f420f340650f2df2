"""Hub, workers and spokes of the version before and the one after work side by side, and replace each other."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from factory_contracts.envelope import SCHEMA_VERSION
from tests.chaos.surroundings import HUBS, TELEGRAM, WORKERS
from tests.standby.stage import ROOT, Stage, staged

CONTRACTS = ROOT / "packages" / "contracts" / "src" / "factory_contracts"
# What hub, spokes and workers say to each other, each of which says more in each later version.
MESSAGES = (
    "Submit",
    "ShownReceipt",
    "FinalReceipt",
    "Hello",
    "Accepted",
    "Noted",
    "Welcome",
    "Update",
    "Final",
    "Claim",
)
WORK = ("Run", "Resume", "Events", "RecordRequest", "Recorded", "HubHello", "WorkerHeartbeat")


def contracts(folder: Path, version: int) -> Path:
    """The contracts of another version, each of whose messages says more than those of the version before."""
    package = folder / f"v{version}" / "factory_contracts"
    shutil.copytree(CONTRACTS, package)
    _replace(package / "envelope.py", f"SCHEMA_VERSION = {SCHEMA_VERSION}", f"SCHEMA_VERSION = {version}")
    fields = "".join(
        f'    later_{since}: Annotated[str | None, Since({since}, may_be_missed=True)] = "news"\n'
        for since in range(SCHEMA_VERSION + 1, version + 1)
    )
    for name, says in (("messages.py", MESSAGES), ("work.py", WORK)):
        file = package / name
        text = file.read_text()
        text = text.replace("from factory_contracts.envelope import ", "from factory_contracts.envelope import Since, ")
        for one in says:
            head = text.index(f"class {one}(")
            end = text.index("\n\n\n", head)
            text = f"{text[:end]}\n{fields.rstrip()}{text[end:]}"
        file.write_text(text)
    return package.parent


async def talk(stage: Stage) -> None:
    """Some turns of every kind."""
    for kind in ("short", "tool", "stream"):
        stage.ask(kind)
    await stage.answered()


async def killed(stage: Stage, name: str) -> None:
    process = stage.processes[name]
    stage.deeds.write(deed="kill", point="", slot=name, pid=process.pid, at=0.0)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()


@pytest.mark.timeout(180)
async def test_every_pair_of_the_version_before_this_one_and_the_one_after_works(tmp_path: Path) -> None:
    before, now, after = (contracts(tmp_path, SCHEMA_VERSION + more) for more in range(3))
    folder = tmp_path / "run"
    folder.mkdir()
    async with staged(folder, TELEGRAM, are_ours=False) as stage:
        stage.start(HUBS[0], "hub_process", HUBS[0], contracts=now)
        stage.start(WORKERS[0], "worker_process", WORKERS[0], contracts=before)
        stage.start_spoke(1, before)
        await talk(stage)

        stage.start(WORKERS[1], "worker_process", WORKERS[1], contracts=after)
        stage.start_spoke(2, after)
        await stage.stands_by(2)
        growing = stage.ask("long")
        await stage.begun(growing)
        stage.signal(1, signal.SIGKILL)
        await talk(stage)

        await killed(stage, WORKERS[0])
        await talk(stage)
        for others in (after, before):
            growing = stage.ask("long")
            await stage.begun(growing)
            await killed(stage, HUBS[0])
            stage.start(HUBS[0], "hub_process", HUBS[0], contracts=others)
            await talk(stage)

        told = "".join(stage.told(name) for name in stage.processes)
        assert "newer version" not in told


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
