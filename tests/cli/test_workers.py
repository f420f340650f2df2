"""Workers by the command: one is written, let in, served, seen and asked, while everything runs."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.cli.installation import Factory, until

LARGE = 150_000
WORKER = f'''
from pydantic import BaseModel

from factory_contracts.worker import capability


class Words(BaseModel):
    text: str


@capability("echo", effect="read")
async def echo(words: Words) -> str:
    """Repeat it often."""
    return words.text * {LARGE}
'''
AGENT = """
description = "Echoes."
model = "scripted"
system = "You echo."
workers = ["echo"]
"""
SCRIPT = """
[[reply]]
match = "^Echo (.+)"
steps = [{ call = "ask_echo", arguments = { text = "{1}" } }, { say = "{tool}" }]
"""


@pytest.fixture
def herald(factory: Factory) -> Factory:
    """A home whose agent may ask a worker that does not exist yet."""
    agents = factory.home / "agents"
    agents.mkdir(parents=True)
    (agents / "herald.toml").write_text(AGENT)
    (agents / "bindings.toml").write_text('default = "herald"\n')
    (factory.folder / "script.toml").write_text(SCRIPT)
    (factory.folder / "echo.py").write_text(WORKER)
    factory.variables["FACTORY_SCRIPT"] = str(factory.folder / "script.toml")
    return factory


def seen(factory: Factory) -> dict[str, dict[str, Any]]:
    """Who serves what, by name."""
    done = factory.run("workers", "--json")
    assert done.returncode == 0, done.stderr
    return {row["worker"]: row for row in json.loads(done.stdout)}


def test_a_new_worker_has_a_test_that_passes_and_can_be_served(factory: Factory) -> None:
    made = factory.run("worker", "new", "loud")
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_loud.py"],
        cwd=factory.folder,
        capture_output=True,
        text=True,
    )
    again = factory.run("worker", "new", "loud")
    served = factory.run("worker", "./loud.py")

    assert made.stdout.splitlines() == [str(factory.folder / name) for name in ("loud.py", "test_loud.py")]
    assert tested.returncode == 0, tested.stdout
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    assert served.stderr.endswith("nobody may serve 'loud' yet; type: factory worker add loud loud\n")


def test_a_worker_is_let_into_what_runs_and_is_asked(herald: Factory) -> None:
    herald.up()
    before = herald.run("chat", "-p", "Echo a")
    added = herald.run("worker", "add", "echoer", "echo")
    missing = seen(herald)["echoer"]["state"]
    herald.start("worker", "./echo.py")
    until(lambda: seen(herald)["echoer"]["state"] == "serves", "a worker that is seen")
    answer = herald.run("chat", "-p", "Echo a")
    row = seen(herald)["echoer"]

    assert before.returncode == 0
    assert "what runs here lets it in" in added.stderr
    assert missing == "not heard"
    assert answer.stdout == "a" * LARGE + "\n", answer.stderr
    assert (row["capability"], row["running"], row["at_once"], row["circuit"]) == ("echo", 0, 4, "closed")
    assert row["score"] == pytest.approx(0.25, rel=1)


def test_where_a_worker_brings_nothing_nothing_is_written(herald: Factory) -> None:
    (herald.folder / "kept.txt").write_text("as it was")
    herald.run("worker", "add", "echoer", "echo")
    herald.up()
    herald.start("worker", "./echo.py")
    until(lambda: seen(herald)["echoer"]["state"] == "serves", "a worker that is seen")

    done = herald.run("ask", "echo", "--arg", "text=", "--out", "kept.txt")

    said = "factory: echo said nothing and made no file, so that nothing is written to kept.txt\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert (herald.folder / "kept.txt").read_text() == "as it was"


def test_the_table_of_workers_is_for_people(herald: Factory) -> None:
    herald.run("worker", "add", "echoer", "echo")
    herald.up()
    until(lambda: "clipool" in seen(herald), "a worker that is heard")

    done = herald.run("workers")

    head, *rows = done.stdout.splitlines()
    assert head.split() == ["CAPABILITY", "WORKER", "STATE", "LOAD", "SCORE", "HEARD", "CIRCUIT", "GPU", "FREE"]
    assert [row.split()[:3] for row in rows] == [["clipool", "clipool", "serves"], ["echo", "echoer", "not"]]


def test_whoever_watches_sees_the_workers_again_and_again(herald: Factory) -> None:
    herald.up()
    until(lambda: "clipool" in seen(herald), "a worker that is heard")
    watching = herald.start("workers", "--watch", "--json")

    tables = [json.loads(_document(watching.stdout.readline)) for _ in range(2)]

    assert [row["worker"] for table in tables for row in table] == ["clipool", "clipool"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("worker", "add", "clipool", "image"), "somebody else's name on the bus"),
        (("worker", "add", "w1", "hub"), "is served by this system itself"),
        (("worker", "add", "W1", "image"), "factory: nothing is added: worker 'W1': must be 1 to 64 of a-z"),
        (("worker", "new", "Loud"), "must be 1 to 32 of a-z"),
        (("worker", "new", "wave"), "'wave' is a name of Python's own, which wave.py would hide; choose another"),
        (("worker", "new", "class"), "'class' is a name of Python's own"),
        (("worker", "loud"), "no worker 'loud'"),
        (("worker", "./nowhere.py"), "is no file of Python"),
        (("workers",), "nothing runs on"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(factory: Factory, arguments: tuple[str, ...], said: str) -> None:
    done = factory.run(*arguments)

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_may_be_several_says_which_to_choose(factory: Factory) -> None:
    (factory.folder / "echo.py").write_text(WORKER)
    for name in ("one", "two"):
        factory.run("worker", "add", name, "echo")

    which = factory.run("worker", "./echo.py")
    other = factory.run("worker", "./echo.py", "--name", "three")

    assert which.stderr.endswith("which of one, two? type: factory worker echo.py --name one\n")
    assert other.stderr.endswith("nobody called 'three' may serve 'echo'; type: factory worker add three echo\n")


def _document(readline: Any) -> str:
    """The lines of one JSON document."""
    lines = [readline()]
    while lines[-1] and lines[-1].rstrip() not in ("]", "[]"):
        lines.append(readline())
    return "".join(lines)
