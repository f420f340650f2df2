"""How a process is run: it takes a processor that is free, and interrupts nobody on one that is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from factory_nats.server import EmbeddedServer

RUN = """
import asyncio, os, sys
from factory_nats.process import run

async def tell():
    print(os.sched_getscheduler(0))

if len(sys.argv) > 1:
    os.sched_setscheduler(0, int(sys.argv[1]), os.sched_param(0))
run(tell())
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has such a way to wait")


def policy_of(*arguments: str) -> int:
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_process_that_is_woken_waits_for_others() -> None:
    assert policy_of() == os.SCHED_BATCH


def test_who_was_started_with_less_keeps_to_that() -> None:
    assert policy_of(str(os.SCHED_IDLE)) == os.SCHED_IDLE


async def test_the_server_waits_with_all_its_threads(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        threads = [int(thread.name) for thread in Path(f"/proc/{server.pid}/task").iterdir()]

        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}
