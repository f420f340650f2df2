"""One town for all tests that change nothing in it."""

from collections.abc import AsyncIterator

import pytest

from tests.bus.town import Town, town


@pytest.fixture(scope="module")
async def common(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A bus with everybody on it, shared by the tests of a file."""
    async with town(tmp_path_factory.mktemp("bus")) as made:
        yield made
