"""Tests of adapters over the bus in memory run in virtual time, each in an event loop of its own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.fakes import VirtualLoop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, type[VirtualLoop]]:
    """Every loop is a virtual one."""
    return {"virtual": VirtualLoop}
