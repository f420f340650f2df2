"""What tests of several folders share: a real server for the whole run, and which files begin it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis.strategies import none

from factory_nats.server import EmbeddedServer

# Hundreds of processes import the same modules: what the first one compiles is kept, whatever the shell would have.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Properties are judged by what they find, never by how busy the machine was; examples are others in each run.
settings.register_profile("brief", max_examples=50, deadline=None)
settings.load_profile("brief")

HERE = Path(__file__).parent
# A file is run by one process: whichever takes longest comes first, so that none is waited for at the end.
LONGEST = (
    "cli/test_supervisor.py",
    "test_house.py",
    "chaos/test_slice.py",
    "fleet/test_trouble.py",
    "tools/test_mcp.py",
    "standby/test_takeover.py",
    "telegram/test_bot.py",
    "bench/test_bench.py",
    "test_hubs.py",
    "terminal/test_question.py",
    "sim/test_sim.py",
    "cli/test_integrity.py",
    "secrets/test_canaries.py",
    "adversary/test_injection.py",
    "test_walk.py",
    "cli/test_revoke.py",
    "cli/test_engines.py",
    "standby/test_versions.py",
    "test_forgetting.py",
    "test_readme.py",
    "fleet/test_person.py",
    "conformance/test_log.py",
    "transport/test_link.py",
    "cli/test_main.py",
    "test_standby.py",
    "test_voice.py",
    "tools/test_memory.py",
    "cli/test_workers.py",
    "discord/test_bot.py",
    "fleet/test_versions.py",
    "agents/test_calling.py",
    "test_leave.py",
    "agents/test_door.py",
    "discord/test_voice.py",
    "conformance/test_transport.py",
    "transport/test_transport.py",
    "bench/test_harness.py",
    "test_attachments.py",
    "cli/test_services.py",
    "discord/test_layout.py",
    "models/test_claude_cli.py",
    "tools/test_fetch_attacks.py",
    "examples/test_shout.py",
    "discordapi/test_discordapi.py",
    "terminal/test_prompt.py",
    "hub/test_approvals.py",
    "telegram/test_layout.py",
    "test_budget.py",
    "terminal/test_answer.py",
    "tools/test_files.py",
    "terminal/test_once.py",
    "hub/test_trust.py",
    "bus/test_tricks.py",
    "adapters/test_spoke.py",
    "cli/test_comparison.py",
    "cli/test_backup.py",
    "cli/test_replay.py",
    "cli/test_callers.py",
    "workers/test_composition.py",
    "wire/test_golden.py",
    "tools/test_files_attacks.py",
    "cli/test_serving.py",
    "transport/test_wire.py",
    "kernel/test_approval.py",
    "transport/test_blobs.py",
    "examples/test_carrier.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Collecting makes much that stays and nothing that goes: looking through it again and again took half the time."""
    gc.disable()
    if os.environ.get("FACTORY_CANARIES"):
        config.pluginmanager.import_plugin("tests.canaries")


def pytest_collection_finish() -> None:
    """What was collected stays to the end, and need not be looked through by the tests either."""
    # Where it finds its own random numbers only among what is not looked through, it takes them for lost.
    given(none())(lambda nothing: None)()
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
