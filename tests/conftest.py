"""What tests of several folders share: a real server for the whole run, and which files begin it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from factory_nats.server import EmbeddedServer

# Hundreds of processes import the same modules: what the first one compiles is kept, whatever the shell would have.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

HERE = Path(__file__).parent
# A file is run by one process: whichever takes longest comes first, so that none is waited for at the end.
LONGEST = (
    "cli/test_supervisor.py",
    "test_house.py",
    "test_readme.py",
    "chaos/test_slice.py",
    "bench/test_bench.py",
    "telegram/test_bot.py",
    "discord/test_bot.py",
    "botapi/test_botapi.py",
    "secrets/test_canaries.py",
    "tools/test_mcp.py",
    "fleet/test_versions.py",
    "cli/test_workers.py",
    "fleet/test_trouble.py",
    "test_walk.py",
    "test_forgetting.py",
    "cli/test_main.py",
    "transport/test_link.py",
    "transport/test_transport.py",
    "cli/test_serving.py",
    "terminal/test_answer.py",
    "terminal/test_prompt.py",
    "terminal/test_once.py",
    "terminal/test_attach.py",
    "cli/test_usage.py",
    "cli/test_agents.py",
    "bench/test_harness.py",
    "tools/test_files.py",
    "tools/test_fetch_attacks.py",
    "models/test_claude_cli.py",
    "examples/test_agents.py",
    "examples/test_carrier.py",
    "test_attachments.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Collecting makes much that stays and nothing that goes: looking through it again and again took half the time."""
    gc.disable()
    if os.environ.get("FACTORY_CANARIES"):
        config.pluginmanager.import_plugin("tests.canaries")


def pytest_collection_finish() -> None:
    """What was collected stays to the end, and need not be looked through by the tests either."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and leave the order within each."""
    ranks = {HERE / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedServer]:
    """A real nats-server that lets everybody in, on a free port. Give your streams names of your own."""
    async with EmbeddedServer(tmp_path_factory.mktemp("nats")) as server:
        yield server
