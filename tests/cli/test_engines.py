"""Engines by the command: one is written, found and run, and what is on the log of it survives every death."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.cli.installation import PATIENCE, Factory, is_alive, kill, until

EXAMPLE = Path(__file__).parents[2] / "examples/digest.py"
SCRIPT = """
[[reply]]
match = "Sum this up"
steps = [{ say = ["Bees ", "fly."], pace_ms = 300 }]

[[reply]]
match = "^Digest (.+)"
steps = [{ call = "run_digest", arguments = { input = "{1}" } }, { say = "It says: {tool}" }]

[[reply]]
steps = [{ say = "You said: {said}" }]
"""
AGENT = """
description = "Reads."
model = "scripted"
tools = ["calculator"]
engines = ["digest"]
"""
# Each of its functions leaves a mark, and the second waits at a gate that the test opens.
STAGES = """
from factory_contracts.engine import CodeStep, Engine, HarnessStep

def note(step):
    with open({marks!r}, "a") as file:
        file.write(step + "\\n")

def first(input: str) -> str:
    note("first")
    return input.upper()

def second(first: str) -> str:
    note("second")
    # A gate for each time, so that who dies at one holds open no other.
    with open({marks!r}) as marks:
        times = marks.read().count("second")
    with open({gate!r} + str(times)) as gate:
        gate.read()
    return first + "!"

def third(second: str, said: str) -> str:
    note("third")
    return second + " " + said

ENGINE = Engine("stages", "Takes its time.", (
    CodeStep("first", first),
    CodeStep("second", second),
    HarnessStep("said", "Sum this up: {{second}}"),
    CodeStep("third", third),
))
"""


@pytest.fixture
def reader(factory: Factory) -> Factory:
    """A home whose model follows a script."""
    script = factory.folder / "script.toml"
    script.write_text(SCRIPT)
    factory.variables["FACTORY_SCRIPT"] = str(script)
    return factory


@pytest.fixture
def digester(reader: Factory) -> Factory:
    """The same with the example."""
    added = reader.run("engine", "add", str(EXAMPLE))
    assert added.returncode == 0, added.stderr
    return reader


def test_a_fresh_home_without_a_key_runs_the_example_on_a_file(digester: Factory) -> None:
    (digester.folder / "notes.txt").write_text("Bees are insects.\n" * 20_000)

    done = digester.run("run", "digest", "--input", "notes.txt")

    assert (done.returncode, done.stdout) == (0, "Bees fly.\n\n60000 words in 20000 lines, 300 min to read.\n")
    assert re.search(r"digest: \w+ \([1-4] of 4\)", done.stderr)


def test_what_is_piped_in_is_run_on_and_a_program_reads_the_events(digester: Factory) -> None:
    done = digester.run("run", "digest", "--json", text="one two three")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, events[-1]["kind"], events[-1]["outcome"]) == (0, "end", "complete")
    assert events[-1]["text"] == "Bees fly.\n\n3 words in 1 lines, 1 min to read."


def test_an_engine_that_will_not_do_it_says_why_and_fails(digester: Factory) -> None:
    done = digester.run("run", "digest", " ")

    assert (done.returncode, done.stdout) == (1, "")
    assert "There is nothing to sum up.\nsee why: factory turns show " in done.stderr


def test_an_engine_that_is_not_there_is_named_with_those_that_are(digester: Factory) -> None:
    done = digester.run("run", "digets", "x")

    assert done.returncode == 1
    assert "there is no engine 'digets'" in done.stderr and "there is: digest" in done.stderr


def test_words_and_a_file_at_once_are_a_mistake_of_usage(digester: Factory) -> None:
    assert digester.run("run", "digest", "x", "--input", "notes.txt").returncode == 2


def test_an_agent_runs_an_engine_as_a_tool_and_the_trace_shows_its_steps(digester: Factory) -> None:
    agents = digester.home / "agents"
    agents.mkdir()
    (agents / "reader.toml").write_text(AGENT)

    done = digester.run("chat", "-p", "Digest some words")

    assert done.stdout == "It says: Bees fly.\n\n2 words in 1 lines, 1 min to read.\n", done.stderr
    (turn,) = json.loads(digester.run("turns", "ls", "--json").stdout)
    shown = digester.run("turns", "show", turn["turn"]).stdout
    assert [word in shown for word in ("run_digest", ".count", ".summary", ".minutes", ".page")] == [True] * 5
    assert "unknown" not in shown


def test_what_new_writes_is_found_shown_and_run(reader: Factory) -> None:
    made = reader.run("engine", "new", "half")
    again = reader.run("engine", "new", "half")

    assert made.returncode == 0 and again.returncode == 1
    assert len(Path(made.stdout.strip()).read_text().splitlines()) <= 30
    (listed,) = json.loads(reader.run("engine", "list", "--json").stdout)
    shown = json.loads(reader.run("engine", "show", "half", "--json").stdout)
    assert listed["name"] == "half" and shown["version"] == listed["version"]
    assert [step["kind"] for step in shown["steps"]] == ["code", "harness", "tool", "code"]
    assert "(Half as long would be 2 words.)" in reader.run("run", "half", "one two three four").stdout


def test_a_file_with_a_mistake_in_it_is_named(reader: Factory) -> None:
    (reader.folder / "bad.py").write_text("from factory_contracts.engine import Engine\nE = Engine('bad', 'B.', ())\n")

    done = reader.run("engine", "add", "bad.py")

    assert done.returncode == 1
    assert "factory: bad.py: TypeError: engine bad: it has 0 steps" in done.stderr


def test_a_broken_file_is_named_beside_the_engines_that_are_in_order(digester: Factory) -> None:
    (digester.home / "engines" / "bad.py").write_text("import nothing_of_the_kind\n")
    (digester.home / "engines" / "worse.py").write_text("def\n")

    listed = digester.run("engine", "list")
    read = digester.run("engine", "list", "--json")
    shown = digester.run("engine", "show", "bad")

    assert (listed.returncode, listed.stdout.splitlines()[1].split()[0]) == (1, "digest")
    assert listed.stderr.startswith("factory: ")
    assert [word in listed.stderr for word in ("bad.py: ModuleNotFoundError", "worse.py: SyntaxError")] == [True, True]
    assert "Traceback" not in listed.stderr + shown.stderr
    assert (read.returncode, [one["name"] for one in json.loads(read.stdout)]) == (1, ["digest"])
    assert (shown.returncode, "bad.py: ModuleNotFoundError" in shown.stderr) == (1, True)


class Stages:
    """An engine under way, the gate before its second step, and which of its functions ran."""

    def __init__(self, factory: Factory) -> None:
        self.factory = factory
        self._marks, self._gate = factory.folder / "marks", factory.folder / "gate"
        for times in (1, 2):
            os.mkfifo(f"{self._gate}{times}")
        file = factory.folder / "stages.py"
        file.write_text(STAGES.format(marks=str(self._marks), gate=str(self._gate)))
        factory.up()
        self._pids = factory.running()
        assert factory.run("engine", "add", str(file)).returncode == 0
        self.running = factory.start("run", "stages", "words")

    @property
    def ran(self) -> list[str]:
        return self._marks.read_text().split()

    def reach(self, times: int = 1) -> int:
        """Wait until the second step stands at its gate for this time; closing what this answers with opens it."""
        return os.open(f"{self._gate}{times}", os.O_WRONLY)

    def kill(self, name: str) -> None:
        """Kill a process, and wait until it is gone."""
        pid = self._pids[name]
        kill(pid)
        until(lambda: not is_alive(pid), f"the end of {name}")

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it put out."""
        stdout, stderr = self.running.communicate()
        return self.running.wait(PATIENCE), stdout or stderr


def test_a_worker_that_is_killed_between_steps_leaves_those_behind_it_done(reader: Factory) -> None:
    stages = Stages(reader)

    gate = stages.reach()
    stages.kill("clipool")
    os.close(gate)
    os.close(stages.reach(2))

    assert stages.end() == (0, "WORDS! Bees fly.\n")
    assert stages.ran == ["first", "second", "second", "third"]
    (turn,) = json.loads(reader.run("turns", "ls", "--json").stdout)
    assert "done in an earlier attempt" in reader.run("turns", "show", turn["turn"]).stdout


def test_a_hub_that_is_killed_between_steps_costs_no_step(reader: Factory) -> None:
    stages = Stages(reader)

    gate = stages.reach()
    stages.kill("hub")
    os.close(gate)

    assert stages.end() == (0, "WORDS! Bees fly.\n")
    assert stages.ran == ["first", "second", "third"]


def test_hub_and_worker_killed_together_leave_what_is_on_the_log_done(reader: Factory) -> None:
    stages = Stages(reader)

    gate = stages.reach()
    stages.kill("hub")
    stages.kill("clipool")
    os.close(gate)
    os.close(stages.reach(2))

    assert stages.end() == (0, "WORDS! Bees fly.\n")
    assert stages.ran == ["first", "second", "second", "third"]
