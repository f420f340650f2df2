"""`factory agent`: a new agent from a template, all that is wrong with a folder, and an agent tried once."""

import json
import os
import pty
import tomllib
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from factory_cli import config, trial
from factory_cli.seeds import examine
from factory_contracts.work import Approvals, Limits
from factory_nats.identity import Identity
from hub.kernel.agent import Agent
from tests.cli.installation import PATIENCE, Factory
from workers.clipool.composition import ClipoolSettings

TEMPLATES = ("assistant", "coder", "minimal", "researcher")
SCRIPT = """
[[reply]]
match = "compute"
steps = [{ call = "calculator", arguments = { expression = "6*7" } }, { say = "It is {tool}." }]

[[reply]]
match = "remember"
steps = [{ call = "remember", arguments = { text = "the heron" } }, { say = "{tool}" }]

[[reply]]
match = "ask"
steps = [{ call = "ask_guide", arguments = { question = "compute this" } }, { say = "The guide says: {tool}" }]

[[reply]]
match = "fail"
steps = [{ say = "I begin." }, { error = "no such key\\u001b[2J" }]

[[reply]]
match = "wait"
steps = [{ say = "I wait." }, { stall = true }]
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT)
    return path


def settings(folder: Path, script: Path) -> ClipoolSettings:
    return ClipoolSettings("", Identity("trial", None), script=script, folder=folder / "work", agents=folder)


def tried(folder: Path, script: Path, agent: Agent, prompt: str) -> tuple[trial.Tried, list[str]]:
    (folder / "work").mkdir(exist_ok=True)
    warnings: list[str] = []
    return trial.try_out(agent, prompt, "ada", settings(folder, script), warnings.append), warnings


# A trial


def test_an_agent_is_tried_with_a_workers_models_and_tools(tmp_path: Path, script: Path) -> None:
    agent = Agent("scout", "scripted", tools=("calculator",))

    found, warnings = tried(tmp_path, script, agent, "compute")

    assert (found.answer, found.outcome, found.reason) == ("It is 42.", "complete", "")
    assert [step.kind for step in found.steps] == ["model", "tool", "model"]
    assert (found.total.calls, found.total.cost, found.total.unknown) == (2, Decimal(0), 0)
    assert warnings == []


def test_whoever_watches_is_warned_before_something_is_changed(tmp_path: Path, script: Path) -> None:
    agent = Agent("scout", "scripted", tools=("remember",))

    found, warnings = tried(tmp_path, script, agent, "remember")

    assert found.outcome == "complete"
    assert [step.outcome for step in found.steps if step.kind == "tool"] == ["ok"]
    assert warnings == ["remember changes what is kept here, and runs for real; --dry-run only tells what it would do"]


def test_where_nobody_can_be_asked_what_must_be_allowed_is_denied_and_that_is_told(
    tmp_path: Path, script: Path
) -> None:
    agent = Agent("scout", "scripted", tools=("remember",), approvals=Approvals(write="always"))

    found, warnings = tried(tmp_path, script, agent, "remember")

    assert (found.answer, found.outcome) == (trial.NOBODY, "complete")
    assert [step.outcome for step in found.steps if step.kind == "tool"] == ["error"]
    assert warnings == ["remember asks first, and nobody is there to answer: it is denied"]


@pytest.mark.parametrize(("allows", "outcome"), [(True, "ok"), (False, "error")])
def test_whoever_watches_is_asked_before_what_must_be_allowed(
    tmp_path: Path, script: Path, allows: bool, outcome: str
) -> None:
    agent = Agent("scout", "scripted", tools=("remember",), approvals=Approvals(write="always"))
    questions: list[str] = []

    async def answer(question: str) -> bool:
        questions.append(question)
        return allows

    (tmp_path / "work").mkdir()
    found = trial.try_out(agent, "remember", "ada", settings(tmp_path, script), lambda words: None, answer)

    (question,) = questions
    assert "`remember`" in question
    assert 'text: "the heron"' in question
    assert found.outcome == "complete"
    assert [step.outcome for step in found.steps if step.kind == "tool"] == [outcome]


def test_in_a_dry_run_nothing_is_changed_by_the_agent_or_by_whom_it_asks(tmp_path: Path, script: Path) -> None:
    guide = Agent("guide", "scripted", tools=("remember",), own_tools=("Bash",))
    agent = trial.prepared(
        Agent("scout", "anthropic:x", fallbacks=("y:z",), tools=("remember",), own_tools=("Bash",), helpers=(guide,)),
        model="scripted",
        is_dry=True,
    )

    found, warnings = tried(tmp_path, script, agent, "remember")

    assert [step.outcome for step in found.steps if step.kind == "tool"] == ["dry run"]
    assert warnings == []
    for one in (agent, *agent.helpers):
        assert (one.model, one.fallbacks, one.is_dry, one.own_tools) == ("scripted", (), True, ())


def test_what_a_helper_does_is_part_of_the_trial(tmp_path: Path, script: Path) -> None:
    guide = Agent("guide", "scripted", tools=("calculator",))

    found, _ = tried(tmp_path, script, Agent("scout", "scripted", helpers=(guide,)), "ask")

    assert found.answer == "The guide says: It is 42."
    assert [step.within is not None for step in found.steps] == [False, True, True, True, False, False]


def test_a_trial_ends_when_the_agents_time_is_over(tmp_path: Path, script: Path) -> None:
    agent = Agent("scout", "scripted", limits=Limits(max_seconds=1))

    found, _ = tried(tmp_path, script, agent, "wait")

    assert found.answer.startswith("I wait.")
    assert found.outcome == "failed"


def test_a_provider_that_is_not_there_is_a_failure_with_a_reason(tmp_path: Path, script: Path) -> None:
    found, _ = tried(tmp_path, script, Agent("scout", "nobody:x"), "compute")

    assert (found.outcome, found.reason) == ("failed", "there is no model provider 'nobody' here")


# The commands


def test_an_agent_is_tried_from_the_command_line(factory: Factory, script: Path) -> None:
    told = factory.run("agent", "test", "reckoner", "-p", "compute", FACTORY_SCRIPT=str(script))
    document = json.loads(
        factory.run("agent", "test", "reckoner", "-p", "compute", "--json", FACTORY_SCRIPT=str(script)).stdout
    )

    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("It is 42.\n\n    1 model scripted")
    assert "    2 tool  calculator  read" in told.stdout
    assert told.stdout.endswith("complete: 2 model calls, 2 tokens in, 3 out, $0.00\n")
    assert (document["answer"], document["outcome"], document["usage"]["calls"]) == ("It is 42.", "complete", 2)
    assert not (factory.home / "run" / "state.json").exists()


@pytest.mark.parametrize(("key", "outcome"), [("y", "ok"), ("", "error"), ("yes please", "error")])
def test_a_trial_asks_at_the_terminal(factory: Factory, script: Path, tmp_path: Path, key: str, outcome: str) -> None:
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "scout.toml").write_text('model = "scripted"\ntools = ["remember"]\n[approvals]\nwrite = "always"\n')
    arguments = ("agent", "test", "scout", "-p", "remember", "--json", "--agents", str(agents))
    ours, theirs = pty.openpty()
    with TemporaryFile() as stdout:
        child = factory.bear(
            *arguments, stdin=theirs, stdout=stdout.fileno(), stderr=theirs, FACTORY_SCRIPT=str(script)
        )
        os.close(theirs)
        try:
            shown = b""
            while b"[y/N]" not in shown:
                shown += os.read(ours, 4096)
            os.write(ours, f"{key}\n".encode())
            assert child.wait(PATIENCE) == 0
        finally:
            child.end()
            os.close(ours)
        stdout.seek(0)
        document = json.loads(stdout.read())

    assert b'text: "the heron"' in shown
    assert [step["outcome"] for step in document["steps"] if step["kind"] == "tool"] == [outcome]


def test_a_trial_that_fails_says_why_and_ends_with_1(factory: Factory, script: Path) -> None:
    done = factory.run("agent", "test", "reckoner", "-p", "fail", FACTORY_SCRIPT=str(script))

    assert done.returncode == 1
    assert "factory: reckoner failed: no such key" in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("agent", "test", "nobody"), "factory: no agent 'nobody' in "),
        (("agent", "test", "reckoner", "--model", "nobody:x"), "factory: reckoner failed: there is no model provider"),
    ],
)
def test_what_cannot_be_tried_is_said_in_a_sentence(factory: Factory, arguments: tuple[str, ...], said: str) -> None:
    done = factory.run(*arguments)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(said)


def test_a_new_agent_stands_among_the_ones_that_came_with_the_program(factory: Factory) -> None:
    done = factory.run("agent", "new", "scout", "--template", "coder")
    listed = json.loads(factory.run("agent", "list", "--json").stdout)

    assert (done.returncode, done.stdout) == (0, f"{factory.home}/agents/scout.toml\n")
    assert {one["name"] for one in listed} == {"assistant", "coder", "reckoner", "researcher", "scout"}
    assert [one["name"] for one in listed if one["is_default"]] == ["assistant"]
    assert factory.run("agent", "validate").returncode == 0
    assert not (factory.home / "agents" / "templates").exists()


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_is_a_whole_agent_in_a_folder_of_its_own(factory: Factory, template: str) -> None:
    done = factory.run("agent", "new", "scout", "--template", template, "--agents", "mine")

    examined = examine(factory.folder / "mine")
    assert done.returncode == 0, done.stderr
    assert (list(examined.bindings.agents), examined.faults) == (["scout"], ())


def test_a_second_agent_leaves_the_first_one_serving(factory: Factory) -> None:
    for name in ("one", "two"):
        assert factory.run("agent", "new", name, "--template", "minimal", "--agents", "mine").returncode == 0

    examined = examine(factory.folder / "mine")
    assert (examined.faults, examined.bindings.bindings[0].agent) == ((), "one")


def test_a_file_that_is_there_is_kept_unless_one_insists(factory: Factory) -> None:
    path = factory.folder / "mine" / "scout.toml"
    path.parent.mkdir()
    path.write_text('model = "scripted"\n')

    kept = factory.run("agent", "new", "scout", "--agents", "mine")
    before = path.read_text()
    forced = factory.run("agent", "new", "scout", "--agents", "mine", "--force")

    assert (kept.returncode, before) == (1, 'model = "scripted"\n')
    assert f"{path} is there already; --force writes over it" in kept.stderr
    assert forced.returncode == 0
    assert tomllib.loads(path.read_text())["model"] == "auto"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Scout",), "must be 1 to 32 of"),
        (("../scout",), "must be 1 to 32 of"),
        (("bindings",), "says who serves where"),
        (("scout", "--template", "writer"), "no template 'writer'"),
    ],
)
def test_a_name_that_cannot_be_is_a_usage_error(factory: Factory, arguments: tuple[str, ...], said: str) -> None:
    done = factory.run("agent", "new", *arguments)

    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert not factory.home.exists()


def test_all_that_is_wrong_is_told_at_once(factory: Factory) -> None:
    seeds = factory.folder / "agents"
    seeds.mkdir()
    (seeds / "one.toml").write_text("model = 7\ntools = ['serach']\n")
    (seeds / "two.toml").write_text("model = 'route:essay'\n")
    (seeds / "bindings.toml").write_text("default = 'tow'\n")
    factory.home.mkdir(mode=0o700)
    (factory.home / "factory.toml").write_text("[hub]\nmax_pool = 1\n")

    done = factory.run("agent", "validate", "--agents", "agents")

    assert (done.returncode, done.stdout) == (1, "")
    assert [line.split(": ")[1:3] for line in done.stderr.splitlines()] == [
        [f"{factory.home}/factory.toml:2", "hub.max_pool"],
        ["agents/one.toml:1", "model"],
        ["agents/one.toml:2", "tools"],
        ["agents/bindings.toml:1", "default"],
    ]


def test_an_agent_of_a_route_that_is_not_configured_is_not_in_order(factory: Factory) -> None:
    seeds = factory.folder / "agents"
    seeds.mkdir()
    (seeds / "one.toml").write_text("model = 'route:essay'\n")

    done = factory.run("agent", "validate", "--agents", "agents")

    assert done.returncode == 1
    assert "agents/one.toml:1: model: unknown route 'essay'; there are: none" in done.stderr


def test_an_agent_is_shown_with_what_is_its_own(factory: Factory) -> None:
    shown = factory.run("agent", "show", "coder").stdout
    document = json.loads(factory.run("agent", "show", "assistant", "--json").stdout)

    assert "skills         careful-change" in shown
    assert "files          can_write True" in shown
    assert "while_running  steer" in shown
    assert "temperature" not in shown
    assert [helper["name"] for helper in document["helpers"]] == ["researcher"]


def test_what_came_with_the_program_is_in_order() -> None:
    examined = examine(config.programs_own())

    assert examined.faults == ()
    assert set(examined.bindings.agents) == {"assistant", "coder", "reckoner", "researcher"}
