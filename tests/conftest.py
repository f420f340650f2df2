"""What tests of several folders share: a real server for the whole run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from factory_nats.server import EmbeddedServer


@pytest.fixture(scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedServer]:
    """A real nats-server that lets everybody in, on a free port. Give your streams names of your own."""
    async with EmbeddedServer(tmp_path_factory.mktemp("nats")) as server:
        yield server
