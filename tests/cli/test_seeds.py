"""Agent seeds: what is read, and that every complaint names file, line and key."""

from pathlib import Path

import pytest

from factory_cli import config
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_cli.seeds import TOOLS, load
from factory_contracts.work import Limits
from hub.kernel.routing import RoutingKey
from workers.clipool.composition import SPECS

SCOUT = 'model = "scripted"\n'


def folder(root: Path, **files: str) -> Path:
    """A folder of seeds; `__` in a name stands for a folder's slash, the ending is toml where there is none."""
    agents = root / "agents"
    for name, text in files.items():
        path = agents / name.replace("__", "/").replace("_md", ".md")
        path = path if path.suffix else path.with_suffix(".toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return agents


def complaint(agents: Path) -> str:
    with pytest.raises(BadConfiguration) as raised:
        load(agents)
    return str(raised.value).replace(f"{agents}/", "agents/").replace(str(agents), "agents")


def test_an_agent_is_all_that_its_file_says(tmp_path: Path) -> None:
    agents = folder(
        tmp_path,
        scout='description = "Looks."\nmodel = "scripted"\nsoul = "scout.md"\ntools = ["clock"]\n'
        'plugins = ["sums"]\nnamespace = "woods"\n[limits]\nmax_calls = 3\n',
        scout_md="You look around.\n",
        plugins__sums='tools = ["calculator", "clock"]\nprompt = "Compute."\n',
    )

    scout = load(agents).agents["scout"]

    assert scout.system == "You look around.\n\nCompute."
    assert scout.tools == ("clock", "calculator")
    assert (scout.description, scout.namespace, scout.limits) == ("Looks.", "woods", Limits(max_calls=3))


def test_the_hash_changes_with_the_soul(tmp_path: Path) -> None:
    first = load(folder(tmp_path, scout=SCOUT + 'soul = "scout.md"\n', scout_md="One.")).agents["scout"].hash
    second = load(folder(tmp_path, scout_md="Two.")).agents["scout"].hash

    assert first != second


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SCOUT + "\ntools = [\n  'clock',\n  'serach',\n]\n", "3: tools: unknown tool 'serach'"),
        (SCOUT + "tools = ['calculater']\n", "2: tools: unknown tool 'calculater' (did you mean 'calculator'?)"),
        (SCOUT + "tools = 'clock'\n", "2: tools: must be a list of strings"),
        (SCOUT + "tools = ['clock', 1]\n", "2: tools: must be a list of strings"),
        (SCOUT + "tools = ['clock', 'clock']\n", "2: tools: names 'clock' twice"),
        (SCOUT + "plugins = ['no']\n", "2: plugins: unknown plugin 'no'; there are: none"),
        (SCOUT + "temprature = 1\n", "2: temprature: unknown key"),
        ("system = 'x'\n", "1: model: is missing"),
        ("\n\nmodel = 7\n", "3: model: must be a string"),
        ("model = ''\n", "1: model: must not be empty"),
        (SCOUT + "name = 'Sc.out'\n", "2: name: 'Sc.out' must be 1 to 32 of"),
        (SCOUT + "system = 'x'\nsoul = 'y.md'\n", "3: soul: an agent has either"),
        (SCOUT + "soul = 'y.md'\n", "2: soul: 'y.md' cannot be read: No such file"),
        (SCOUT + "soul = '../../y.md'\n", "2: soul: '../../y.md' leaves the folder"),
        (SCOUT + "[limits]\nmax_calls = 0\n", "3: limits.max_calls: input should be greater than or equal to 1, not 0"),
        (SCOUT + "[limits]\nmax_calls = true\n", "3: limits.max_calls: must be a whole number"),
        (SCOUT + "[limits]\nmax_money = 1\n", "3: limits.max_money: unknown key"),
        (SCOUT + "limits = 3\n", "2: limits: must be a table"),
        (SCOUT + "tools = [\n", "2: tools: is no TOML"),
    ],
)
def test_a_wrong_seed_names_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    assert complaint(folder(tmp_path, scout=text)).startswith(f"agents/scout.toml:{said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("default = 'scuot'\n", "1: default: unknown agent 'scuot' (did you mean 'scout'?)"),
        ("[[binding]]\nagent = 'scout'\n[[binding]]\nagent = 'x'\n", "4: binding.agent: unknown agent 'x'"),
        ("[[binding]]\nplatform = 'cli'\n", "1: binding.agent: is missing"),
        ("[[binding]]\nagent = 'scout'\nbot_id = 'a.b'\n", "3: binding.bot_id: bot id 'a.b': must be"),
        ("[[binding]]\nagent = 'scout'\nbot = 'a'\n", "3: binding.bot: unknown key"),
        ("binding = 'scout'\n", "1: binding: must be an array of tables: [[binding]]"),
    ],
)
def test_a_wrong_binding_names_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    assert complaint(folder(tmp_path, scout=SCOUT, bindings=text)).startswith(f"agents/bindings.toml:{said}")


def test_two_files_may_not_hold_one_agent(tmp_path: Path) -> None:
    agents = folder(tmp_path, one=SCOUT + "name = 'scout'\n", two=SCOUT + "name = 'scout'\n")

    assert complaint(agents) == "agents/two.toml:2: name: 'scout' is taken by another file of this folder"


def test_several_agents_need_bindings_and_one_needs_none(tmp_path: Path) -> None:
    one = load(folder(tmp_path / "one", scout=SCOUT))
    two = complaint(folder(tmp_path / "two", scout=SCOUT, guide=SCOUT))

    assert one.agent_for(RoutingKey("cli", "main", "x")) is one.agents["scout"]
    assert two.startswith("agents/bindings.toml: is missing")


def test_the_most_specific_binding_wins(tmp_path: Path) -> None:
    agents = folder(
        tmp_path,
        scout=SCOUT,
        guide=SCOUT,
        bindings="default = 'scout'\n[[binding]]\nagent = 'guide'\nplatform = 'cli'\nscope_id = 'trail'\n",
    )

    found = load(agents)

    assert found.agent_for(RoutingKey("cli", "main", "trail")) is found.agents["guide"]
    assert found.agent_for(RoutingKey("cli", "main", "else")) is found.agents["scout"]


def test_seeds_are_found_as_told_else_in_the_home_else_in_the_program(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    own = config.agents_folder(None, home)
    told = folder(tmp_path, scout=SCOUT)
    home.agents.mkdir(parents=True)

    assert (own / "assistant.toml").is_file()
    assert config.agents_folder(None, home) == home.agents
    assert config.agents_folder(told, home) == told
    with pytest.raises(BadConfiguration, match="nowhere: is no folder of agents"):
        config.agents_folder(tmp_path / "nowhere", home)


def test_the_tools_known_here_are_the_tools_there_are() -> None:
    assert set(TOOLS) == set(SPECS)
