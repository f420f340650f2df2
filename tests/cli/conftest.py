"""One installation for each test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.installation import Factory


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Factory]:
    """A home that does not exist yet, and a folder to stand in."""
    folder = tmp_path / "somewhere"
    folder.mkdir()
    home = tmp_path / "home"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FACTORY_", "NATS_"))}
    one = Factory(home, folder, {**kept, "FACTORY_HOME": str(home), "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"})
    yield one
    one.end()
