"""The tests with a canary in every variable that holds a secret, and everything logged: FACTORY_CANARIES=1 pytest.

A test fails in whose logs or output a canary is seen, and the run fails where one lies in a file that a test wrote.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

NAMES = (
    *("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY", "OLLAMA_API_KEY", "VLLM_API_KEY"),
    *("LMSTUDIO_API_KEY", "OPENAI_LIKE_API_KEY", "TELEGRAM_WEBHOOK_SECRET", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY"),
    *("PGPASSWORD", "WEATHER_LOGIN"),
)
CANARIES = {name: f"canary-{number}-of-{name.lower()}-9f3e" for number, name in enumerate(NAMES)}
TOKENS = {
    "TELEGRAM_BOT_TOKEN": "424242:canary_of_telegram-AAF_9f3e-for_nobodys_eyes",
    "DISCORD_TOKEN": "Y2FuYXJ5LW9mLWRpc2NvcmQ6OWYz.Gb5aaa.canary-of-discord-9f3e-for_nobodys_eyes",
}


def pytest_configure(config: pytest.Config) -> None:
    """Set the canaries, and have everything logged, here and in processes that tests start."""
    os.environ.update(CANARIES | TOKENS)
    os.environ["FACTORY_LOG_LEVEL"] = config.option.log_level = "DEBUG"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that lets a canary be seen has failed, whatever else it says."""
    report = yield
    seen = [f"{name} in {where}" for where, content in report.sections for name in _held(content.encode())]
    if seen and report.passed:
        report.outcome, report.longrepr = "failed", f"a canary was seen: {', '.join(seen)}"
    return report


@pytest.fixture(scope="session", autouse=True)
def no_file_holds_a_canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests leave behind is searched, but for the folders that are there to hold secrets."""
    yield
    assert [str(path) for path in _files(tmp_path_factory.getbasetemp()) if _held(path.read_bytes())] == []


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and not {"keys", "credentials"} & set(path.parts):
            yield path


def _held(content: bytes) -> list[str]:
    return [name for name, canary in (CANARIES | TOKENS).items() if canary.encode() in content]
