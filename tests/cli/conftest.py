"""One installation for each test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.installation import Factory

# How much is logged is for who runs the tests to say.
SAID = ("FACTORY_LOG_LEVEL",)


@pytest.fixture
def factory(tmp_path: Path) -> Iterator[Factory]:
    """A home that does not exist yet, and a folder to stand in."""
    folder = tmp_path / "somewhere"
    folder.mkdir()
    home = tmp_path / "home"
    # Nobody's key is spent by a test, and nobody's model asked.
    providers = ("ANTHROPIC_", "OPENAI_", "OPENROUTER_", "GEMINI_", "OLLAMA_")
    others = ("FACTORY_", "NATS_", "TELEGRAM_", "DISCORD_", *providers)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others) or name in SAID}
    one = Factory(home, folder, {**kept, "FACTORY_HOME": str(home), "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"})
    yield one
    one.end()
