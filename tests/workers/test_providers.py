"""A provider of models is a package that names itself: nothing of ours knows of it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.models.scripted import Scripted
from factory_contracts.work import Run
from hub.kernel.ports import ModelSettings
from tests.workers.conftest import Bus
from tests.workers.stage import FakePrices, end, kit, run, text, working
from workers.clipool.discretion import DiscreetModel
from workers.clipool.kit import Kit
from workers.clipool.providers import GROUP, Installed

SETTINGS = ModelSettings({"ORACLE_KEY": "k"}, "/somewhere")

ORACLE = """
import threading
from factory_contracts.messages import Usage
from hub.kernel.events import Finished, Said

LOADED_IN = threading.current_thread().name
MADE = []

class Oracle:
    def __init__(self, settings):
        MADE.append(settings)
        self.closed = 0

    async def stream(self, request):
        yield Said(f"{request.model}: it depends. {MADE[0].variables['ORACLE_KEY']}")
        yield Finished("end")

    async def close(self):
        self.closed += 1
"""

Install = Callable[[str, str, str], str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package on the path, as an installer does; answers with its module's name."""
    modules: list[str] = []
    monkeypatch.syspath_prepend(tmp_path)

    def add(provider: str, source: str, points_at: str) -> str:
        module = f"{tmp_path.name.replace('-', '_')}_{provider}"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{provider} = {module}:{points_at}\n")
        modules.append(module)
        return module

    yield add
    for module in modules:
        sys.modules.pop(module, None)


def installed(**given: Scripted) -> Installed:
    return Installed(given, SETTINGS)


async def test_a_provider_that_is_installed_is_found_and_made_with_the_settings_once(install: Install) -> None:
    module = install("oracle", ORACLE, "Oracle")
    models = installed()
    was_loaded = module in sys.modules

    found = await asyncio.gather(*(models.find("oracle") for _ in range(5)))

    assert "oracle" in models.names
    assert not was_loaded
    assert len({id(model) for model in found}) == 1
    assert sys.modules[module].MADE == [SETTINGS]
    assert threading.main_thread().name != sys.modules[module].LOADED_IN


async def test_what_is_given_comes_first_and_a_stranger_is_none(install: Install) -> None:
    module = install("oracle", ORACLE, "Oracle")
    mine = Scripted()
    models = installed(oracle=mine)

    assert await models.find("oracle") is mine
    assert await models.find("nobody") is None
    assert module not in sys.modules


async def test_what_was_made_is_closed_and_nothing_else(install: Install) -> None:
    module = install("oracle", ORACLE, "Oracle")
    install("other", ORACLE, "Oracle")
    models = installed()
    oracle = await models.find("oracle")

    await models.close()

    assert isinstance(oracle, DiscreetModel)
    assert isinstance(oracle.model, sys.modules[module].Oracle)
    assert vars(oracle.model)["closed"] == 1


def with_models(models: Installed) -> Kit:
    return Kit(models=models, tools={}, prices=FakePrices(), now=lambda: 0.0)


def falling_back(model: str) -> Run:
    command = run(model=model)
    agent = command.agent.model_copy(update={"fallbacks": ("scripted",)})
    return command.model_copy(update={"agent": agent})


async def test_a_worker_answers_with_a_provider_that_nobody_told_it_of(bus: Bus, install: Install) -> None:
    install("oracle", ORACLE, "Oracle")
    async with working(bus.worker, with_models(installed())):
        await bus.hub.until(lambda: bool(bus.hub.heartbeats))
        await bus.hub.tell(run(model="oracle:delphi"))
        events = await bus.hub.until_over()

    assert text(events) == "oracle:delphi: it depends. k"
    assert "oracle" in bus.hub.heartbeats[-1].models


@pytest.mark.parametrize(
    ("source", "points_at"),
    [
        pytest.param("raise RuntimeError('secret')", "Oracle", id="its module breaks"),
        pytest.param("import no_such_module_anywhere", "Oracle", id="something is missing"),
        pytest.param("import sys; sys.exit(3)", "Oracle", id="it exits"),
        pytest.param("x = (", "Oracle", id="it is no Python"),
        pytest.param(ORACLE, "Delphi", id="it names nothing"),
        pytest.param("Oracle = 7", "Oracle", id="it names no maker"),
        pytest.param("def Oracle(settings): raise KeyError('ORACLE_KEY')", "Oracle", id="it cannot be made"),
        pytest.param("def Oracle(settings): return 7", "Oracle", id="it makes no model"),
    ],
)
async def test_a_provider_that_is_broken_is_a_failure_of_a_turn_and_the_worker_goes_on(
    bus: Bus, install: Install, source: str, points_at: str, caplog: pytest.LogCaptureFixture
) -> None:
    install("oracle", source, points_at)
    scripted = await kit('{ say = "Fine." }').models.find("scripted")
    assert isinstance(scripted, Scripted)
    async with working(bus.worker, with_models(installed(scripted=scripted))):
        await bus.hub.until(lambda: bool(bus.hub.heartbeats))
        await bus.hub.tell(run("t1", model="oracle:delphi"))
        failed = await bus.hub.until_over("t1")
        await bus.hub.tell(falling_back("oracle:delphi").model_copy(update={"turn": "t2"}))
        saved = await bus.hub.until_over("t2")

    assert end(failed).outcome == "failed"
    assert "secret" not in text(failed)
    assert "oracle" in caplog.text
    assert (text(saved), end(saved).outcome) == ("Fine.", "complete")
