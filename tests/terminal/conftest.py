"""A terminal that was let in and shows its prompt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal.actor import Settings
from tests.terminal.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """80 columns, 24 rows, in the scope `here`."""
    with Stage(Settings(str(tmp_path))) as stage:
        stage.see(">")
        stage.welcome()
        stage.see("session here")
        yield stage
