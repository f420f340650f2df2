"""The agents that come with the program do what they are there for, each by a script in the place of a model."""

import json
import os
from pathlib import Path
from shutil import copytree

import pytest

from tests.cli.installation import Factory

SCRIPTS = Path(__file__).parent / "agents"
AGENTS = Path(__file__).parents[2] / "agents"


def tried(home: Path, name: str, prompt: str, *arguments: str) -> dict[str, object]:
    """What came of asking the agent, which is told what to say by the script of its name."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("FACTORY_", "NATS_"))}
    told = {"FACTORY_HOME": str(home), "FACTORY_SCRIPT": str(SCRIPTS / f"{name}.toml")}
    done = Factory(home, home, {**kept, **told}).run("agent", "test", name, "-p", prompt, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def tools(document: dict[str, object]) -> list[tuple[str, str]]:
    """Which tools were called, and how that ended."""
    steps = document["steps"]
    assert isinstance(steps, list)
    return [(step["tool"], step["outcome"]) for step in steps if step["kind"] == "tool"]


def test_the_reckoner_computes_and_asks_the_clock(tmp_path: Path) -> None:
    document = tried(tmp_path, "reckoner", "How many seconds has a day?")

    assert sorted(tools(document)) == [("calculator", "ok"), ("clock", "ok")]
    assert str(document["answer"]).endswith("86400 seconds.")


def test_the_assistant_remembers_and_asks_the_researcher_who_knows_nothing_of_it(tmp_path: Path) -> None:
    document = tried(tmp_path, "assistant", "I like herons.")

    assert tools(document) == [
        ("remember", "ok"),
        ("recall", "ok"),
        ("recall", "ok"),
        ("fetch", "error"),
        ("ask_researcher", "ok"),
    ]
    steps = document["steps"]
    assert isinstance(steps, list)
    recalled = [step["content"] for step in steps if step.get("tool") == "recall"]
    assert "The person likes herons." in recalled[0]
    assert "herons." not in recalled[1]


def test_the_researcher_reads_no_address_that_nobody_outside_may_read(tmp_path: Path) -> None:
    document = tried(tmp_path, "researcher", "What does the intranet say?")

    assert tools(document) == [("recall", "ok"), ("fetch", "error")]


def test_the_coder_asks_before_it_changes_what_it_has_read(tmp_path: Path) -> None:
    document = tried(tmp_path, "coder", "Write a greeting.")

    # Nobody is there to allow it; what it writes before it has read anything is its own.
    assert [name for name, outcome in tools(document) if outcome == "error"] == ["edit_file"]
    assert [path.read_text() for path in tmp_path.rglob("greeting.py")] == ["print('Good day')\n"]


def test_the_coder_changes_a_file_in_a_folder_of_its_own(tmp_path: Path) -> None:
    agents = tmp_path / "agents"
    copytree(AGENTS, agents)
    with (agents / "coder.toml").open("a") as file:
        file.write("[approvals]\nwrite = 'never'\n")

    document = tried(tmp_path, "coder", "Write a greeting.", "--agents", str(agents))

    assert [name for name, outcome in tools(document) if outcome == "ok"] == [
        *("read_skill", "list_files", "write_file", "edit_file", "read_file")
    ]
    assert [path.read_text() for path in tmp_path.rglob("greeting.py")] == ["print('Good evening')\n"]


def test_in_a_dry_run_the_coder_writes_nothing(tmp_path: Path) -> None:
    document = tried(tmp_path, "coder", "Write a greeting.", "--dry-run")

    assert ("write_file", "dry run") in tools(document)
    assert list(tmp_path.rglob("greeting.py")) == []


@pytest.mark.parametrize("name", sorted(path.stem for path in AGENTS.glob("*.toml") if path.stem != "bindings"))
def test_every_agent_that_comes_with_the_program_has_an_example(name: str) -> None:
    assert (SCRIPTS / f"{name}.toml").is_file()
