"""Agent seeds: what is read, and that every complaint names file, line and key."""

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from factory_cli import config
from factory_cli.config import Route, RouteChoice
from factory_cli.document import BadConfiguration
from factory_cli.home import Home
from factory_cli.seeds import TOOLS, Resolved, by_surroundings, examine, load
from factory_contracts.work import Approvals, Files, Limits, McpServer
from factory_nats.identity import Identity
from hub.kernel.agent import Agent
from hub.kernel.routing import RoutingKey
from workers.clipool.composition import ClipoolSettings, compose

SCOUT = 'model = "scripted"\n'
SKILL = "---\nname: {name}\ndescription: About {name}.\n---\n{text}\n"
KEY = "sk-ant-api03-whoever-sees-this-owns-it"
MCP = SCOUT + "[[mcp]]\nname = 'tickets'\n"


def folder(root: Path, **files: str) -> Path:
    """A folder of seeds; `__` in a name stands for a folder's slash, the ending is toml where there is none."""
    agents = root / "agents"
    for name, text in files.items():
        path = agents / name.replace("__", "/").replace("_md", ".md").replace("_dash_", "-")
        path = path if path.suffix else path.with_suffix(".toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return agents


def scout_of(root: Path, text: str) -> Agent:
    """The agent of a folder that holds one."""
    return load(folder(root, scout=text)).agents["scout"]


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
        (
            SCOUT + "[limits]\nstall_seconds = 0\n",
            "3: limits.stall_seconds: input should be greater than or equal to 1",
        ),
        (SCOUT + "tools = ['files']\n", "2: tools: 'files' comes with a folder: write a [files] table"),
        (SCOUT + "tools = ['write_file']\n", "2: tools: 'write_file' comes with a folder: write a [files] table"),
        (SCOUT + "tools = ['read_skill']\n", "2: tools: 'read_skill' comes with skills: write skills = [\"NAME\"]"),
        (SCOUT + "tools = ['mcp']\n", "2: tools: 'mcp' comes from a server: write an [[mcp]] table"),
        (SCOUT + "tools = ['run_digest']\n", "2: tools: 'run_digest' is an engine: write engines = [\"digest\"]"),
        (SCOUT + "engines = ['Digest']\n", "2: engines: 'Digest' is no engine's name: that is 1 to 32 of a-z, 0-9"),
        (SCOUT + "tools = ['ask_guide']\n", "2: tools: 'ask_guide' is another agent: write agents = [\"guide\"]"),
        ("model = 'claude sonnet'\n", "1: model: 'claude sonnet' is no model; a model is written provider:model"),
        ("model = 'anthropic:'\n", "1: model: 'anthropic:' is no model"),
        (SCOUT + "fallbacks = ['auto']\n", "2: fallbacks: 'auto' cannot stand here; name a model: provider:model"),
        (SCOUT + "fallbacks = ['']\n", "2: fallbacks: '' is no model"),
        (SCOUT + "skills = ['no']\n", "2: skills: unknown skill 'no'; there are: none"),
        (SCOUT + "agents = ['scuot']\n", "2: agents: unknown agent 'scuot' (did you mean 'scout'?); there are: scout"),
        (SCOUT + "agents = ['scout']\n", "2: agents: they ask each other in a circle: scout -> scout;"),
        (
            SCOUT + "memory = 'persn'\n",
            "2: memory: must be one of scope, person, agent, not 'persn' (did you mean 'person'?)",
        ),
        (SCOUT + "while_running = 'stear'\n", "2: while_running: must be one of queue, steer, interrupt, not 'stear'"),
        (SCOUT + "temperature = 2.1\n", "2: temperature: must be 0 to 2, not 2.1"),
        (SCOUT + "temperature = nan\n", "2: temperature: must be 0 to 2, not nan"),
        (SCOUT + "temperature = true\n", "2: temperature: must be a number"),
        (SCOUT + "thinking = -1\n", "2: thinking: must be 0 to 1000000, not -1"),
        (SCOUT + "dry_run = 1\n", "2: dry_run: must be true or false"),
        (SCOUT + "allow_unpriced = 'yes'\n", "2: allow_unpriced: must be true or false"),
        (SCOUT + "permission_mode = ''\n", "2: permission_mode: must not be empty"),
        (SCOUT + "own_tools = ['']\n", "2: own_tools: string should have at least 1 character"),
        (SCOUT + "files = true\n", "2: files: must be a table"),
        (
            SCOUT + "[files]\nroot = ''\n",
            "3: files.root: must be the path of a folder; without it the worker keeps one",
        ),
        (
            SCOUT + "[files]\nroot = '~nobody-of-that-name'\n",
            "3: files.root: '~nobody-of-that-name': nobody knows whose",
        ),
        (SCOUT + '[files]\nroot = "a\\u0000b"\n', "3: files.root: must be the path of a folder"),
        (SCOUT + "[files]\ncan_writ = true\n", "3: files.can_writ: unknown key (did you mean 'can_write'?)"),
        (MCP, "2: mcp: a server has a command or a url, and not both"),
        (MCP + "command = ['x']\nurl = 'http://x'\n", "4: mcp.command: a server has a command or a url, and not both"),
        (MCP + "url = 'ftp://x'\n", "4: mcp.url: must begin with http:// or https:// and name a host"),
        (MCP + "url = 'https://'\n", "4: mcp.url: must begin with http:// or https:// and name a host"),
        (MCP + "url = 'http://x'\nenv = ['A']\n", "5: mcp.env: goes with a command"),
        (MCP + "command = ['x']\nbearer = 'A'\n", "5: mcp.bearer: goes with a url"),
        (MCP + f"command = ['x', '--key={KEY}']\n", "4: mcp.command: holds a secret, and everybody on the machine"),
        (MCP + "url = 'https://ann:pa55word@x'\n", "4: mcp.url: holds a secret; name a variable that does"),
        (MCP + "command = 'x'\n", "4: mcp.command: must be a list of strings"),
        (MCP.replace("tickets", "Tickets") + "command = ['x']\n", "3: mcp.name: string should match pattern"),
        (
            MCP + "command = ['x']\n" + MCP.removeprefix(SCOUT) + "command = ['y']\n",
            "6: mcp.name: 'tickets' is the name",
        ),
        (SCOUT + "[[mcp]]\ncommand = ['x']\n", "2: mcp.name: is missing"),
        (SCOUT + "[mcp]\nname = 'x'\n", "2: mcp: must be an array of tables: [[mcp]]"),
        (SCOUT + "limits = 3\n", "2: limits: must be a table"),
        (SCOUT + "approvals = 'always'\n", "2: approvals: must be a table"),
        (SCOUT + "[approvals]\nexternal = 'never'\n", "3: approvals.external: must be one of always, tainted, not"),
        (SCOUT + "[approvals]\nwrite = 'alway'\n", "3: approvals.write: must be one of always, tainted, never, not"),
        (SCOUT + "[approvals]\nminutes = 0\n", "3: approvals.minutes: must be 1 to 1440, not 0"),
        (SCOUT + "[approvals]\nhours = 1\n", "3: approvals.hours: unknown key"),
        (
            SCOUT + "[approvals]\ndomains = ['https://example.org']\n",
            "3: approvals.domains: 'https://example.org' is no domain; one is written as in example.org",
        ),
        (SCOUT + "[approvals]\ndomains = ['a..b']\n", "3: approvals.domains: 'a..b' is no domain"),
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


def test_the_tools_known_here_are_the_tools_there_are(tmp_path: Path) -> None:
    settings = ClipoolSettings("", Identity("clipool", None), folder=tmp_path)

    assert set(TOOLS) == set(compose(settings).tools)


def test_every_key_of_a_file_reaches_the_agent(tmp_path: Path) -> None:
    agents = folder(
        tmp_path,
        guide=SCOUT,
        bindings="default = 'scout'\n",
        skills__maps__SKILL_md=SKILL.format(name="maps", text="Read them."),
        scout="""
model = "anthropic:claude"
fallbacks = ["openai:gpt", "scripted"]
tools = ["fetch"]
skills = ["maps"]
agents = ["guide"]
memory = "person"
namespace = "woods"
temperature = 1
thinking = 2000
own_tools = ["Read"]
permission_mode = "plan"
dry_run = true
allow_unpriced = true
while_running = "steer"
[files]
root = "trees"
can_write = false
[limits]
max_tokens = 100
stall_seconds = 5
[approvals]
external = "tainted"
write = "always"
minutes = 5
domains = ["Example.org", "localhost", "*"]
[[mcp]]
name = "tickets"
command = ["run", "-v", "-v"]
env = ["TICKETS_TOKEN"]
reads = ["list"]
[[mcp]]
name = "web"
url = "https://example.test/mcp"
bearer = "WEB_TOKEN"
trusted = true
""",
    )

    found = load(agents)
    scout = found.agents["scout"]

    assert scout == Agent(
        name="scout",
        model="anthropic:claude",
        fallbacks=("openai:gpt", "scripted"),
        system=scout.system,
        tools=("fetch",),
        skills=("maps",),
        helpers=(found.agents["guide"],),
        memory="person",
        namespace="woods",
        temperature=1.0,
        thinking=2000,
        own_tools=("Read",),
        permission_mode="plan",
        is_dry=True,
        allow_unpriced=True,
        while_running="steer",
        files=Files(root=str(agents / "trees"), can_write=False),
        limits=Limits(max_tokens=100, stall_seconds=5),
        approvals=Approvals(external="tainted", write="always", seconds=300, domains=("example.org", "localhost", "*")),
        mcp=(
            McpServer(name="tickets", command=("run", "-v", "-v"), env=("TICKETS_TOKEN",), reads=("list",)),
            McpServer(name="web", url="https://example.test/mcp", bearer="WEB_TOKEN", trusted=True),
        ),
    )


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("", ""),
        ("root = '/srv/trees'", "/srv/trees"),
        ("root = '~/trees'", str(Path("~/trees").expanduser())),
        ("root = '../trees'", "AGENTS/../trees"),
    ],
)
def test_a_folder_is_absolute_wherever_one_stands(tmp_path: Path, root: str, path: str) -> None:
    files = scout_of(tmp_path, SCOUT + f"[files]\n{root}\n").files

    assert files is not None
    assert files.root.replace(str(tmp_path / "agents"), "AGENTS") == path


def test_an_agent_is_told_of_its_skills_and_is_another_one_when_a_skill_changes(tmp_path: Path) -> None:
    text = SCOUT + "system = 'Look around.'\nskills = ['maps']\n"

    first = load(folder(tmp_path, scout=text, skills__maps__SKILL_md=SKILL.format(name="maps", text="One."))).agents
    second = load(folder(tmp_path, skills__maps__SKILL_md=SKILL.format(name="maps", text="Two."))).agents

    assert first["scout"].system.startswith("Look around.\n\nYou have skills")
    assert "\n- maps: About maps.\n" in first["scout"].system
    assert first["scout"].hash != second["scout"].hash


def test_a_broken_skill_is_named_with_the_file_that_names_it(tmp_path: Path) -> None:
    agents = folder(tmp_path, scout=SCOUT + "skills = ['maps']\n", skills__maps__SKILL_md="no front\n")

    assert complaint(agents).startswith("agents/scout.toml:2: skills: agents/skills/maps/SKILL.md: must begin with")


def test_a_skill_that_nearly_is_there_is_meant(tmp_path: Path) -> None:
    agents = folder(
        tmp_path, scout=SCOUT + "skills = ['map']\n", skills__maps__SKILL_md=SKILL.format(name="maps", text="")
    )

    assert (
        complaint(agents) == "agents/scout.toml:2: skills: unknown skill 'map' (did you mean 'maps'?); there are: maps"
    )


@pytest.mark.parametrize("key", ["env = ['sk-secret']", "bearer = 'sk-secret'"])
def test_a_secret_that_stands_in_the_file_is_not_repeated(tmp_path: Path, key: str) -> None:
    server = "command = ['x']\n" if key.startswith("env") else "url = 'https://x'\n"

    said = complaint(folder(tmp_path, scout=MCP + server + key + "\n"))

    assert said.startswith(f"agents/scout.toml:5: mcp.{key.partition(' ')[0]}: names ")
    assert "secret" not in said.replace("holds the secret", "")


# Who asks whom


def chain(root: Path, *names: str, last: str = "") -> Path:
    """Agents of which each asks the next one, and the last one somebody else, if anybody."""
    asked = (*names[1:], last)
    texts = {
        name: SCOUT + (f"agents = ['{other}']\n" if other else "") for name, other in zip(names, asked, strict=True)
    }
    return folder(root, bindings=f"default = '{names[0]}'\n", **texts)


def test_agents_may_ask_each_other_three_deep(tmp_path: Path) -> None:
    found = load(chain(tmp_path, "a", "b", "c", "d")).agents

    assert found["a"].helpers[0].helpers[0].helpers == (found["d"],)


def test_agents_that_ask_each_other_deeper_are_named(tmp_path: Path) -> None:
    said = complaint(chain(tmp_path, "a", "b", "c", "d", "e"))

    assert said == "agents/a.toml:2: agents: they ask each other 4 deep, and 3 is the most: a -> b -> c -> d -> e"


def test_a_circle_is_named_once_and_whole(tmp_path: Path) -> None:
    faults = examine(chain(tmp_path, "a", "b", "c", last="b")).faults

    assert [str(fault).rpartition("agents: ")[2] for fault in faults] == [
        "they ask each other in a circle: b -> c -> b; take one of them out"
    ]


def test_many_agents_that_all_ask_each_other_downwards_are_read_at_once(tmp_path: Path) -> None:
    names = [f"a{number:02}" for number in range(40)]
    texts = {name: SCOUT + f"agents = {names[at + 1 :]}\n" for at, name in enumerate(names)}

    faults = examine(folder(tmp_path, bindings="default = 'a00'\n", **texts)).faults

    assert len(faults) == 36


def test_another_helper_makes_another_agent(tmp_path: Path) -> None:
    before = load(chain(tmp_path, "a", "b")).agents["a"].hash

    after = load(folder(tmp_path, b=SCOUT + "system = 'Be brief.'\n")).agents["a"].hash

    assert before != after


# What a model's name stands for


def test_what_is_left_open_stays_open_until_somebody_resolves_it(tmp_path: Path) -> None:
    agents = folder(tmp_path, scout="model = 'auto'\nfallbacks = ['scripted', 'openai:gpt']\n")

    written = load(agents).agents["scout"]
    resolved = load(agents, lambda model: Resolved("ollama:llama", ("openai:gpt",), allow_unpriced=True)).agents[
        "scout"
    ]

    assert (written.model, written.allow_unpriced) == ("auto", False)
    assert (resolved.model, resolved.fallbacks) == ("ollama:llama", ("openai:gpt", "scripted"))
    assert resolved.allow_unpriced


def test_who_names_a_model_is_not_resolved(tmp_path: Path) -> None:
    def never(model: str) -> Resolved:
        raise AssertionError(model)

    assert load(folder(tmp_path, scout=SCOUT), never).agents["scout"].model == "scripted"


def test_a_key_answers_for_auto_and_a_script_before_it(tmp_path: Path) -> None:
    variables = {"ANTHROPIC_API_KEY": "k"}

    assert by_surroundings(variables)("auto").model.startswith("anthropic:")
    assert by_surroundings(variables, tmp_path / "script.toml")("auto") == Resolved("scripted")


def test_a_route_is_the_cheapest_of_its_models_and_the_rest_stand_in(tmp_path: Path) -> None:
    routes = {
        "essay": Route(
            (
                RouteChoice("anthropic:sonnet", Decimal("0.03"), 0.60),
                RouteChoice("anthropic:haiku", Decimal("0.005"), 0.85),
                RouteChoice("anthropic:opus", Decimal("0.21"), 1.0),
            )
        )
    }

    scout = load(folder(tmp_path, scout="model = 'route:essay'\n"), routes=routes).agents["scout"]

    assert (scout.model, scout.fallbacks) == ("anthropic:haiku", ("anthropic:sonnet", "anthropic:opus"))


def test_a_route_that_nobody_knows_is_named_once_routes_are(tmp_path: Path) -> None:
    agents = folder(tmp_path, scout="model = 'route:esay'\n")

    (fault,) = examine(agents, routes={"essay": Route(())}).faults

    assert load(agents).agents["scout"].model == "route:esay"
    assert str(fault).endswith("scout.toml:1: model: unknown route 'esay' (did you mean 'essay'?); there are: essay")


# All faults at once


def test_every_fault_of_every_file_is_told_in_its_order(tmp_path: Path) -> None:
    agents = folder(
        tmp_path,
        plugins__sums="tools = ['calculater']\nprompts = 'x'\n",
        broken="model = \n",
        guide="model = 7\nmemory = 'x'\n[limits]\nmax_calls = 0\nmax_second = 1\n",
        scout=SCOUT + "tools = ['serach', 'clok']\nplugins = ['sums', 'nothing']\nagents = ['guide', 'broken']\n",
        bindings="default = 'nobody'\n[[binding]]\nagent = 'guide'\nbot = 'x'\n",
    )

    told = [str(fault).rpartition("agents/")[2] for fault in examine(agents).faults]

    assert [line.split(": ", 2)[:2] for line in told] == [
        ["plugins/sums.toml:1", "tools"],
        ["plugins/sums.toml:2", "prompts"],
        ["broken.toml:1", "model"],
        ["guide.toml:1", "model"],
        ["guide.toml:2", "memory"],
        ["guide.toml:4", "limits.max_calls"],
        ["guide.toml:5", "limits.max_second"],
        ["scout.toml:2", "tools"],
        ["scout.toml:2", "tools"],
        ["scout.toml:3", "plugins"],
        ["bindings.toml:1", "default"],
        ["bindings.toml:4", "binding.bot"],
    ]


def test_a_file_in_order_is_there_beside_one_that_is_not(tmp_path: Path) -> None:
    agents = folder(tmp_path, scout=SCOUT, guide="model = 7\n", bindings="default = 'scout'\n")

    assert set(examine(agents).bindings.agents) == {"scout"}


# What comes with the program


def test_the_templates_say_what_the_agents_of_the_same_name_say() -> None:
    own = config.programs_own()
    for name in ("assistant", "researcher", "coder"):
        seed, template = (
            tomllib.loads(path.read_text()) for path in (own / f"{name}.toml", own / "templates" / f"{name}.toml")
        )

        # Whom it may ask is another matter in another folder.
        assert {**seed, "agents": None} == {**template, "agents": None}


def test_every_key_is_explained_in_every_template_but_the_minimal_one(tmp_path: Path) -> None:
    said = complaint(folder(tmp_path, scout=SCOUT + "unheard_of = 1\n"))
    keys = {key.strip() for key in said.partition("known here: ")[2].split(",")} - {"name"}

    for name in ("assistant", "researcher", "coder"):
        text = (config.programs_own() / "templates" / f"{name}.toml").read_text()
        assert [key for key in keys if f"{key} =" not in text and f"[{key}]" not in text] == []


def test_a_template_with_every_line_set_is_still_an_agent(tmp_path: Path) -> None:
    text = (config.programs_own() / "templates" / "assistant.toml").read_text()
    lines = [
        line.removeprefix("# ") if line.startswith(("# ", "# [")) and _sets(line) else line
        for line in text.splitlines()
    ]
    either = [line for line in lines if not line.startswith(("soul =", "url =", "bearer =", "plugins =", "skills ="))]

    scout = load(folder(tmp_path, scout="\n".join(either), researcher=SCOUT, bindings="default = 'scout'\n")).agents[
        "scout"
    ]

    assert scout.mcp[0].command == ("uvx", "some-server")
    assert (scout.temperature, scout.permission_mode, scout.while_running) == (0.7, "plan", "queue")


def _sets(line: str) -> bool:
    words = line.removeprefix("# ")
    return words.startswith("[") or words.partition(" = ")[0].isidentifier()
