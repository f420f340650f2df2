"""The doctor's audit: each thing that could let a secret out or a stranger in is found, and nothing else is."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from factory_cli import config
from factory_cli.audit import Survey, audit
from factory_cli.config import Bot, Budget, Configuration, Telegram, Webhook
from factory_cli.home import Home, is_open_above
from factory_contracts.work import Files, McpServer
from hub.kernel.agent import Agent

CANARY = "canary-0451-sings-no-more"
KEY = "sk-ant-api03-whoever-sees-this-owns-it"
PUBLIC = (Bot("telegram", "main", access="public"),)
SCOUT = Agent("scout", "scripted")


@pytest.fixture
def survey(tmp_path: Path) -> Survey:
    """A home in order, with nothing beside it."""
    home, seeds, folder = Home(tmp_path / "home"), tmp_path / "seeds", tmp_path / "somewhere"
    home.prepare()
    seeds.mkdir()
    folder.mkdir()
    variables = {"HOME": str(tmp_path / "person")}
    return Survey(home, folder, variables, None, Configuration(), seeds, (), {})


def found(survey: Survey, subject: str) -> list[tuple[str, str]]:
    """What is said of a matter that is not in order, and how it is marked."""
    findings = [one for one in audit(survey) if one.subject == subject]
    assert findings
    assert all(CANARY not in one.said and KEY not in one.said for one in findings)
    return [(one.mark, one.said) for one in findings if one.mark != "ok"]


def put(path: Path, text: str = "", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def told(survey: Survey, **variables: str) -> Survey:
    return replace(survey, variables={**survey.variables, **variables})


@pytest.mark.skipif(os.geteuid() == 0, reason="root is told that it is root")
def test_a_home_in_order_has_one_good_word_for_each_matter(survey: Survey) -> None:
    assert [one.mark for one in audit(survey)] == ["ok"] * 6


def test_a_home_in_order_gives_no_cause_for_complaint(survey: Survey) -> None:
    put(survey.home.keys / "hub.nk", "SU")
    # What a person writes by hand is as their editor left it.
    put(survey.home.configuration, "[hub]\nmax_pools = 10\n", mode=0o644)

    findings = tuple(audit(survey))

    assert [one.subject for one in findings if one.mark == "ok"][:5] == [
        "files",
        "secrets",
        "network",
        "money",
        "reach",
    ]
    assert all(one.is_good for one in findings)
    assert len(findings) == 6


def test_a_home_that_is_not_there_yet_is_in_order(survey: Survey) -> None:
    nowhere = replace(survey, home=Home(survey.home.path / "new"))

    assert all(one.is_good for one in audit(nowhere))


def test_files_below_an_open_home_are_open_and_below_a_closed_one_worth_a_word(survey: Survey) -> None:
    log, notes = put(survey.home.log / "hub.log", mode=0o644), put(survey.home.spokes / "a.notes", mode=0o640)

    ((mark, said),) = found(survey, "files")
    survey.home.path.chmod(0o755)
    ((open_mark, open_said),) = found(survey, "files")

    assert mark == "note"
    assert str(log) in said
    assert str(notes) in said
    assert said.endswith(f"run: chmod -R go= {survey.home.path}")
    assert open_mark == "BAD"
    assert open_said.startswith("open to others: ")


def test_of_many_open_files_a_few_are_named(survey: Survey) -> None:
    for number in range(7):
        put(survey.home.log / f"{number}.log", mode=0o644)

    ((_, said),) = found(survey, "files")

    assert " and 4 more; " in said


def test_a_link_among_the_keys_is_found(survey: Survey) -> None:
    link = survey.home.keys / "hub.nk"
    link.symlink_to(put(survey.folder / "elsewhere"))

    assert found(survey, "files") == [
        ("BAD", f"{link} is a link: what it leads to is not closed by this home; put the file itself there")
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_somebody_else_is_found(survey: Survey) -> None:
    log = put(survey.home.log / "hub.log")
    os.chown(log, 65_534, 65_534)

    ((mark, said),) = found(survey, "files")

    assert mark == "BAD"
    assert said == f"another user's, who can read and replace them: {log}; run as root: chown -R 0 {survey.home.path}"


@pytest.mark.parametrize("line", [f'key = "{KEY}"', f'system = "it is {CANARY}"', 'url = "nats://ann:pa55word@bus"'])
@pytest.mark.parametrize("place", ["factory.toml", "scout.toml", "plugins/web.toml"])
def test_a_secret_in_a_file_is_found_by_its_line(survey: Survey, place: str, line: str) -> None:
    (survey.seeds / "plugins").mkdir()
    path = survey.home.configuration if place == "factory.toml" else survey.seeds / place
    put(path, f"# What follows should not.\n{line}\nmodel = 'auto'\n")

    ((mark, said),) = found(told(survey, WEATHER_TOKEN=CANARY), "secrets")

    assert mark == "BAD"
    assert said.startswith(f"{path}:2 holds a secret: ")
    assert "pa55word" not in said


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody on this machine may enter."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        if not is_open_above(folder / "file"):
            pytest.skip("nothing is open to everybody here")
        yield folder


def test_surroundings_that_everybody_can_read_are_found(survey: Survey, open_folder: Path) -> None:
    file = put(open_folder / ".env", f"ANTHROPIC_API_KEY={KEY}\n", mode=0o644)

    ((mark, said),) = found(replace(survey, folder=open_folder), "secrets")
    file.chmod(0o600)

    assert (mark, said) == ("BAD", f"{file} can be read by everybody on this machine; run: chmod 600 {file}")
    assert found(replace(survey, folder=open_folder), "secrets") == []


def test_a_secrets_file_that_its_group_can_read_is_worth_a_word(survey: Survey) -> None:
    file = put(survey.folder / "key", CANARY, mode=0o640)

    ((mark, said),) = found(told(survey, OPENAI_API_KEY_FILE=str(file), NOTES_FILE=str(file)), "secrets")

    assert mark == "note"
    assert said.startswith(f"{file}, which OPENAI_API_KEY_FILE names, can be read by its group")


def test_who_listens_for_others_is_told(survey: Survey) -> None:
    webhook = Telegram(webhook=Webhook("https://bots.example.org", host="0.0.0.0"))
    put(survey.home.nats / "nats-server.conf", 'server_name: "a"\nhost: "0.0.0.0"\nport: 4222\n')

    server, spoke = found(replace(survey, configuration=Configuration(telegram=webhook)), "network")

    assert server[0] == spoke[0] == "note"
    assert server[1].startswith("nats-server listens at 0.0.0.0")
    assert spoke[1].startswith("telegram.webhook.host: listens at 0.0.0.0 without TLS")


def test_who_listens_here_alone_is_in_order(survey: Survey) -> None:
    put(survey.home.nats / "nats-server.conf", 'host: "127.0.0.1"\n')
    webhook = Telegram(webhook=Webhook("https://bots.example.org", host="::1"))

    assert found(replace(survey, configuration=Configuration(telegram=webhook)), "network") == []


@pytest.mark.parametrize(
    ("url", "marked"),
    [
        ("nats://ann:pa55word@bus.example.org:4222", [("BAD", "NATS_URL: its password goes to bus.example.org")]),
        ("nats://ann:pa55word@10.0.0.7", [("note", "NATS_URL: its password goes to 10.0.0.7 in the clear")]),
        ("tls://a.example.org,nats://nats:4222", [("note", "NATS_URL: what people say goes to nats in the clear")]),
        ("nats://127.0.0.1:4222,nats://localhost,nats://[::1]:1", []),
        ("tls://ann:pa55word@bus.example.org", []),
        ("nats://[broken", []),
    ],
)
def test_a_bus_without_tls_is_found(survey: Survey, url: str, marked: list[tuple[str, str]]) -> None:
    said = found(replace(survey, url=url), "network")

    assert [mark for mark, _ in said] == [mark for mark, _ in marked]
    assert all(one.startswith(begin) for (_, one), (_, begin) in zip(said, marked, strict=True))


def test_a_secret_that_is_sent_in_the_clear_is_found(survey: Survey) -> None:
    web = McpServer(name="web", url="http://mcp.example.org", bearer="WEB_TOKEN")
    exposed = replace(
        told(survey, OPENAI_BASE_URL="http://models.example.org/v1", OPENAI_API_KEY=KEY, VLLM_BASE_URL="http://gpu.de"),
        configuration=Configuration(bots=PUBLIC, telegram=Telegram(api_base="http://api.example.org")),
        agents=(replace(SCOUT, mcp=(web, McpServer(name="open", url="http://other.example.org"))),),
    )

    assert [said.partition(" goes to ")[0] for mark, said in found(exposed, "network") if mark == "BAD"] == [
        "OPENAI_BASE_URL: a secret",
        "telegram.api_base: a secret",
        "scout: mcp: web: url: a secret",
    ]
    mended = told(exposed, TELEGRAM_API_BASE="https://api.example.org", OPENAI_BASE_URL="http://127.0.0.1")
    assert len(found(mended, "network")) == 1


BY_HAND = Budget("each", Decimal(1), per="user")


@pytest.mark.parametrize(
    ("bots", "budgets", "begins"),
    [
        (PUBLIC, (), "telegram-main: anybody may spend without end, for [money] unlimited is true"),
        (PUBLIC, (BY_HAND,), "telegram-main: each stranger has a budget of their own"),
        (PUBLIC, (BY_HAND, config.DAILY), None),
        (PUBLIC, (config.DAILY,), None),
        ((Bot("telegram", "main"),), (), None),
        ((Bot("cli", "main", access="public"),), (), None),
    ],
)
def test_strangers_who_can_spend_without_end_are_found(
    survey: Survey, bots: tuple[Bot, ...], budgets: tuple[Budget, ...], begins: str | None
) -> None:
    said = found(replace(survey, configuration=Configuration(bots=bots, budgets=budgets)), "money")

    assert [mark for mark, _ in said] == ["BAD"] * (begins is not None)
    assert all(one.startswith(begins or "") for _, one in said)


@pytest.mark.parametrize(
    ("root", "what"),
    [
        ("/", "your home and this system"),
        ("{person}", "your home"),
        ("{person}/..", "your home and this system"),
        ("{home}", "this system"),
        ("{home}/keys", "this system"),
        ("{home}/keys/more", "the keys of this system"),
        ("{person}/project", None),
        ("{home}/work/files", None),
    ],
)
def test_a_folder_that_holds_more_than_an_agent_needs_is_found(survey: Survey, root: str, what: str | None) -> None:
    root = root.format(person=survey.variables["HOME"], home=survey.home.path)
    agents = (replace(SCOUT, files=Files(root=root)), replace(SCOUT, name="kept", files=Files()))

    by_agent = found(replace(survey, agents=agents), "reach")
    by_variable = found(told(survey, CLAUDE_CLI_FOLDER=root), "reach")

    assert [mark for mark, _ in by_agent] == [mark for mark, _ in by_variable] == ["BAD"] * (what is not None)
    for _, said in (*by_agent, *by_variable):
        assert said.endswith(f" {Path(root).resolve()} holds {what}; name a folder that is for the agent alone")


def test_an_agent_that_asks_nobody_is_found(survey: Survey) -> None:
    agents = (replace(SCOUT, permission_mode="bypassPermissions"), replace(SCOUT, name="b", permission_mode="plan"))

    ((mark, said),) = found(replace(survey, agents=agents), "reach")

    assert mark == "BAD"
    assert said.startswith("scout: permission_mode is bypassPermissions: ")


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
@pytest.mark.parametrize(("limit", "marks"), [(0, []), (1, ["BAD"])])
def test_a_process_that_would_leave_its_memory_behind_is_found(survey: Survey, limit: int, marks: list[str]) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    if most == 0 and limit:
        pytest.skip("nobody here may leave a core")
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_CORE, ({limit}, {limit})); print(input(), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{program}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("begun\n")
        child.stdin.flush()
        child.stdout.readline()
        running: Mapping[str, int] = {"hub": child.pid, "gone": 2**22 + 1}
        said = [said for said in found(replace(survey, running=running), "process") if "root" not in said[1]]
        child.stdin.close()

    assert [mark for mark, _ in said] == marks
    assert all(one.startswith("hub would leave its memory in a file when it crashes") for _, one in said)
