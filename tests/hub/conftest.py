"""The hub's tests run in virtual time, each in an event loop of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from tests.fakes import VirtualLoop
from tests.hub.world import World


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, type[VirtualLoop]]:
    """Every loop is a virtual one."""
    return {"virtual": VirtualLoop}


@pytest_asyncio.fixture(loop_scope="function")
async def world() -> AsyncIterator[World]:
    """One hub that reigns, one worker, one screen."""
    world = World()
    await world.reign()
    yield world
    await world.kill()
