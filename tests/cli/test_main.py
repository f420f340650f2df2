"""The command: help that fits a screen, results apart from talk, one sentence instead of a traceback."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from factory_cli import console, home, keys
from factory_cli.config import Configuration
from factory_cli.home import Home
from factory_cli.membership import REMEDY, users
from factory_contracts import subjects
from factory_nats.connect import generate_seed, public_key
from factory_nats.server import EmbeddedServer, User
from tests.cli import discord_api
from tests.cli.installation import Factory
from tests.cli.telegram_api import TOKEN, telegram

GROUPS = [
    (),
    ("chat",),
    ("up",),
    ("init",),
    ("hub",),
    ("worker",),
    ("workers",),
    ("ask",),
    ("adapter",),
    ("status",),
    ("doctor",),
    ("nats",),
    ("nats", "start"),
    ("nats", "config"),
    ("nats", "permissions"),
    ("nats", "revoke"),
    ("run",),
    ("engine",),
    ("engine", "list"),
    ("engine", "show"),
    ("engine", "new"),
    ("engine", "add"),
    ("agent",),
    ("agent", "list"),
    ("agent", "show"),
    ("agent", "validate"),
    ("agent", "new"),
    ("agent", "test"),
    ("turns",),
    ("turns", "ls"),
    ("turns", "show"),
    ("turns", "replay"),
    ("turns", "fork"),
    ("turns", "diff"),
    ("log",),
    ("log", "verify"),
    ("log", "accept"),
    ("backup",),
    ("restore",),
    ("usage",),
    ("tools",),
    ("tools", "list"),
    ("tools", "serve"),
]


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_help_fits_a_screen(factory: Factory, group: tuple[str, ...]) -> None:
    done = factory.run(*group, "--help")

    lines = done.stdout.rstrip().splitlines()
    assert done.returncode == 0
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("arguments", [("init", "telegram"), ("chat", "-p", " ")])
def test_who_was_given_no_streams_ends_like_others(factory: Factory, arguments: tuple[str, ...]) -> None:
    command = (sys.executable, "-m", "factory_cli", *arguments)

    def closed(streams: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ("sh", "-c", f'exec "$@" {streams}', "-", *command),
            cwd=factory.folder,
            env=factory.variables,
            capture_output=True,
            text=True,
        )

    given, without = closed("</dev/null"), closed("<&-")

    assert (without.returncode, without.stdout, without.stderr) == (given.returncode, given.stdout, given.stderr)
    assert "Traceback" not in without.stderr
    assert closed(">&-").returncode == given.returncode


def test_a_program_can_ask_which_version_it_is(factory: Factory) -> None:
    done = factory.run("--version")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{version('factory-chat')}\n", "")


@pytest.mark.parametrize(
    "command",
    [("--help",), ("turns", "ls"), ("status",), ("agent", "show", "reckoner"), ("chat", "--colour"), ("doctor",)],
    ids=" ".join,
)
def test_a_shell_sees_what_these_tests_see(factory: Factory, command: tuple[str, ...]) -> None:
    afresh, done = factory.run_afresh(*command), factory.run(*command)

    assert (afresh.returncode, afresh.stdout, afresh.stderr) == (done.returncode, done.stdout, done.stderr)


def test_help_costs_no_more_than_a_glance(factory: Factory) -> None:
    loaded = "import sys; from factory_cli.main import *; made_of(COMMANDS); print(*sorted(sys.modules))"

    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, env=factory.variables)

    heavy = {"nats", "pydantic", "asyncio_", "prompt_toolkit", "uvloop", "nkeys", "hub", "adapters"}
    # How a worker is set up is only words.
    heavy |= {"workers.clipool", "workers.endpoint", "workers.posts", "workers.voice.composition"}
    assert not heavy & set(done.stdout.split())


def test_the_supervisor_loads_nothing_that_a_person_would_wait_for() -> None:
    loaded = "import sys, factory_cli.supervisor; print(*sorted(name for name in sys.modules if '.' not in name))"

    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)

    assert not {"nats", "pydantic", "typer", "rich", "hub"} & set(done.stdout.split())


@pytest.mark.parametrize("place", ["/", "/tmp", "folder with a package named hub"])
def test_agents_are_listed_from_any_folder(factory: Factory, place: str) -> None:
    if not place.startswith("/"):
        (factory.folder / "hub").mkdir()
        (factory.folder / "hub" / "__init__.py").write_text("raise SystemExit('not yours')\n")
    else:
        factory.folder = Path(place)

    done = factory.run_afresh("agent", "list", "--json")

    assert done.returncode == 0, done.stderr
    assert "assistant" in [agent["name"] for agent in json.loads(done.stdout) if agent["is_default"]]


def test_an_agent_is_shown_whole(factory: Factory) -> None:
    done = factory.run("agent", "show", "reckoner")

    assert "tools        calculator, clock" in done.stdout
    assert "Compute with the calculator tool" in done.stdout


def test_a_broken_seed_is_named_on_stderr_and_nothing_is_started(factory: Factory) -> None:
    seeds = factory.folder / "agents"
    seeds.mkdir()
    (seeds / "scout.toml").write_text('model = "scripted"\n\n\ntools = ["serach"]\n')

    validated = factory.run("agent", "validate", "--agents", "agents")
    talked = factory.run("chat", "-p", "hello", "--agents", "agents")

    said = "factory: agents/scout.toml:4: tools: unknown tool 'serach'"
    for done in (validated, talked):
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.strip().splitlines()[-1].startswith(said)


@pytest.mark.parametrize("command", [("up",), ("chat", "-p", "hello"), ("hub",)])
def test_a_bad_bot_id_ends_the_start_and_is_named(factory: Factory, command: tuple[str, ...]) -> None:
    factory.home.mkdir(mode=0o700)
    (factory.home / "factory.toml").write_text('[[bots]]\nplatform = "telegram"\nbot_id = "my.bot"\n')

    done = factory.run(*command)

    assert done.returncode == 1
    assert "factory.toml:3: bots.bot_id: bot id 'my.bot': must be 1 to 32 of" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("chat", "nonsense"), "what is 'nonsense'?"),
        (("chat", "--resume", "--continue"), "choose one of"),
        (("chat", "--colour"), "No such option: --colour"),
        (("talk",), "No such command 'talk'"),
        (("turns", "show"), "Missing argument"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(factory: Factory, arguments: tuple[str, ...], said: str) -> None:
    done = factory.run(*arguments)

    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("worker", "pigeon"), "factory: no worker 'pigeon': name its file, or clipool, voice or image"),
        (("adapter", "pigeon"), "factory: no adapter 'pigeon' in this version; there are: cli, telegram, discord"),
        (("adapter", "cli", "--bot", "other"), "factory: the terminal has one bot: main"),
        (("agent", "show", "nobody"), "factory: no agent 'nobody' in "),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(factory: Factory, arguments: tuple[str, ...], said: str) -> None:
    done = factory.run(*arguments)

    assert done.returncode == 1
    assert done.stderr.startswith(said)


@pytest.mark.parametrize("platform", ["telegram", "discord"])
def test_a_spoke_without_bots_or_without_the_one_that_is_meant_says_so(factory: Factory, platform: str) -> None:
    none = factory.run("adapter", platform)
    configured(factory, platform=platform)
    other = factory.run("adapter", platform, "--bot", "other")

    assert none.returncode == other.returncode == 1
    assert none.stderr.endswith(f"names no bot of {platform.title()}; begin with: factory init {platform}\n")
    assert other.stderr == f"factory: no bot 'other' of {platform.title()}; there is: main\n"


def test_status_says_when_nothing_runs(factory: Factory) -> None:
    done = factory.run("status")

    assert done.returncode == 1
    assert done.stdout.startswith(f"nothing runs on {factory.home}")


def test_status_and_turns_tell_of_what_runs(factory: Factory) -> None:
    factory.up()
    factory.run("chat", "--session", "walk", "-p", "hello")

    status = json.loads(factory.run("status", "--json").stdout)
    (turn,) = json.loads(factory.run("turns", "ls", "--json").stdout)
    records = json.loads(factory.run("turns", "show", turn["turn"], "--json").stdout)["records"]
    table = factory.run("turns", "ls").stdout

    assert status["hub"]["epoch"] > 0
    assert (list(status["workers"]), status["open_turns"], status["questions"]) == (["clipool"], 0, 0)
    said = "1 received = 1 answered + 0 refused + 0 superseded + 0 open"
    assert (status["turns"]["received"], status["turns"]["is_even"], status["turns"]["said"]) == (1, True, said)
    assert f"turns       {said}\n" in factory.run("status").stdout
    assert (turn["scope"], turn["asked"], turn["state"]) == ("walk", "hello", "answered (complete)")
    kinds = [record["kind"] for record in records]
    assert (kinds[0], kinds.count("opened"), kinds.count("answered")) == ("received", 1, 1)
    assert turn["turn"] in table


def test_a_home_that_never_spoke_has_no_turns(factory: Factory) -> None:
    done = factory.run("turns", "ls")
    elsewhere = factory.run("turns", "ls", "--scope", "nope")

    assert (done.returncode, done.stdout) == (0, "")
    assert "no turns yet" in done.stderr
    assert (elsewhere.stdout, elsewhere.stderr) == ("", "no turns in a conversation 'nope'\n")


def test_doctor_finds_a_new_home_in_order(factory: Factory) -> None:
    done = factory.run("doctor", "--json")

    found = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0
    assert all(finding["is_good"] for finding in found.values())
    assert found["model"]["said"].startswith("scripted for assistant, because none of ANTHROPIC_API_KEY")


def test_doctor_says_what_is_wrong_and_how_to_mend_it(factory: Factory) -> None:
    factory.run("nats", "config")
    factory.home.chmod(0o755)
    (factory.home / "keys" / "hub.nk").chmod(0o644)
    (factory.home / "factory.toml").write_text("[hub]\nmax_pool = 1\n")

    done = factory.run("doctor")

    assert done.returncode == 1
    assert f"run: chmod 700 {factory.home}" in done.stdout
    assert f"run: chmod 600 {factory.home}/keys/hub.nk" in done.stdout
    assert "hub.max_pool: unknown key" in done.stdout


def findings(factory: Factory, **variables: str) -> dict[str, list[tuple[bool, str]]]:
    done = factory.run("doctor", "--json", **variables)
    assert not any(token in done.stdout + done.stderr for token in (TOKEN, discord_api.TOKEN))
    found: dict[str, list[tuple[bool, str]]] = {}
    for one in json.loads(done.stdout):
        found.setdefault(one["subject"], []).append((one["is_good"], one["said"]))
    assert done.returncode == (not all(good for ones in found.values() for good, _ in ones))
    return found


def configured(factory: Factory, text: str = "", platform: str = "telegram") -> None:
    factory.home.mkdir(mode=0o700)
    (factory.home / "factory.toml").write_text(f'[[bots]]\nplatform = "{platform}"\nbot_id = "main"\n' + text)


async def test_doctor_tells_of_a_server_of_your_own_whether_it_answers_and_lets_us_in(
    factory: Factory, tmp_path: Path
) -> None:
    stranger = User("stranger", public_key(generate_seed()))
    async with EmbeddedServer(tmp_path / "theirs", users=[stranger]) as server:
        fresh = await asyncio.to_thread(findings, factory, NATS_URL=server.url)
        keys.seed_of(factory.home / "keys", subjects.READER)
        refused = await asyncio.to_thread(findings, factory, NATS_URL=server.url)
        server.let_in([stranger, *users(Home(factory.home), Configuration())])
        joined = await asyncio.to_thread(findings, factory, NATS_URL=server.url)
    gone = await asyncio.to_thread(findings, factory, NATS_URL=server.url.replace("//", "//ann:pa55word@"))

    asks = f"a server of your own answers at {server.url} and asks for keys, which are not made yet"
    assert fresh["nats"] == [(True, asks)]
    ((is_good, said),) = refused["nats"]
    assert (is_good, said.startswith("NATS_URL: "), said.endswith(f"; {REMEDY}")) == (False, True, True)
    assert joined["nats"] == [(True, f"a server of your own answers at {server.url}")]
    why = f"NATS_URL: no server at {server.url} (ConnectionRefusedError); start that server, or name another"
    assert gone["nats"] == [(False, why)]


def test_doctor_tells_of_a_bot_whose_it_is_and_where_its_token_lies(factory: Factory) -> None:
    configured(factory)
    with telegram() as api:
        found = findings(factory, TELEGRAM_API_BASE=api.url, TELEGRAM_BOT_TOKEN=TOKEN)

    assert found["telegram"] == [(True, f"{api.url.removeprefix('http://')}; messages are fetched")]
    source, account = found["telegram-main"]
    assert source == (True, "its token comes from TELEGRAM_BOT_TOKEN")
    assert account[0]
    assert account[1].startswith("@zoe_helper_bot (Zoë's Helper) sees of its groups only commands")


def test_doctor_tells_of_a_bot_without_token_how_to_give_one(factory: Factory) -> None:
    configured(factory)

    ((is_good, said),) = findings(factory)["telegram-main"]

    assert not is_good
    assert said.endswith("or run: factory init telegram")


def test_doctor_does_not_wait_long_for_a_network_that_is_not_there(factory: Factory) -> None:
    configured(factory)
    with telegram() as api:
        api.may_answer.clear()
        begun = time.monotonic()
        found = findings(factory, TELEGRAM_API_BASE=api.url, TELEGRAM_BOT_TOKEN=TOKEN)

    assert time.monotonic() - begun < 15
    assert not found["telegram-main"][-1][0]
    assert found["telegram-main"][-1][1].endswith("does not answer within 3 s")


def test_doctor_says_in_words_that_no_discord_is_there(factory: Factory) -> None:
    configured(factory, platform="discord")

    found = findings(factory, DISCORD_API_BASE="http://127.0.0.1:1/api/v10", DISCORD_TOKEN=discord_api.TOKEN)

    assert found["discord-main"][-1] == (False, "127.0.0.1:1 cannot be reached: Connection refused")


def test_doctor_finds_a_webhook_that_takes_the_messages_away(factory: Factory) -> None:
    configured(factory, "[telegram]\nobserve = true\n")
    with telegram() as api:
        api.answers["getWebhookInfo"] = {"url": "https://hooks.example.org/secret"}
        found = findings(factory, TELEGRAM_API_BASE=api.url, TELEGRAM_BOT_TOKEN=TOKEN)

    said = [said for is_good, said in found["telegram-main"] if not is_good]
    assert "observe = true has nothing to observe while privacy mode is on" in said
    assert said[-1].startswith("its webhook is set to hooks.example.org, so that nothing can be fetched")


def test_doctor_finds_a_webhook_without_its_secret(factory: Factory) -> None:
    configured(factory, "[telegram.webhook]\nurl = 'https://bot.example.org/telegram'\n")

    ((is_good, said),) = findings(factory, TELEGRAM_BOT_TOKEN=TOKEN)["telegram"]

    assert not is_good
    assert "TELEGRAM_WEBHOOK_SECRET: is not set" in said


def test_doctor_tells_of_a_bot_of_discord_whose_it_is_and_what_it_may_read(factory: Factory) -> None:
    configured(factory, platform="discord")
    with discord_api.discord() as api:
        found = findings(factory, DISCORD_API_BASE=api.url, DISCORD_TOKEN=discord_api.TOKEN)

    place = api.url.removeprefix("http://").removesuffix(discord_api.BASE)
    assert found["discord"] == [(True, f"{place}; messages come from gateway.discord.gg")]
    assert found["discord-main"] == [
        (True, "its token comes from DISCORD_TOKEN"),
        (
            True,
            "Zoë's Helper#1234 is told every message (the message content intent is on); it answers what is addressed "
            "to it",
        ),
    ]


@pytest.mark.parametrize(("flags", "said"), [(0, "true"), (discord_api.READS_CONTENT, "false")])
def test_doctor_finds_what_cannot_be_had_without_message_content(factory: Factory, flags: int, said: str) -> None:
    wishes = f"threads = true\ndedicated = ['1']\nobserve = true\nmessage_content = {said}\n"
    configured(factory, f"[discord]\n{wishes}", platform="discord")
    with discord_api.discord() as api:
        api.answers["applications/@me"] = {**discord_api.APPLICATION, "flags": flags}
        found = findings(factory, DISCORD_API_BASE=api.url, DISCORD_TOKEN=discord_api.TOKEN)

    bad = [said for is_good, said in found["discord-main"] if not is_good]
    assert [said.partition(" ")[0] for said in bad] == ["discord.threads", "discord.dedicated", "discord.observe"]


def test_doctor_tells_of_a_bot_of_discord_without_token_or_with_another_gateway(factory: Factory) -> None:
    configured(factory, platform="discord")

    found = findings(factory, DISCORD_GATEWAY="wss://gateway.example.org/secret")
    wrong = findings(factory, DISCORD_GATEWAY="gateway.example.org")

    assert found["discord"] == [(True, "discord.com; messages come from gateway.example.org")]
    ((is_good, said),) = found["discord-main"]
    assert not is_good
    assert said.endswith("or run: factory init discord")
    ((is_good, said),) = wrong["discord"]
    assert not is_good
    assert said.startswith("environment: DISCORD_GATEWAY: must be an address that begins with ws:// or wss://")


def test_doctor_finds_a_token_and_a_code_that_others_can_read(factory: Factory) -> None:
    with telegram() as api:
        factory.run("init", "telegram", TELEGRAM_API_BASE=api.url, TELEGRAM_BOT_TOKEN=TOKEN)
        for path in (factory.home / "keys").iterdir():
            path.chmod(0o644)
        found = findings(factory, TELEGRAM_API_BASE=api.url)

    ((is_good, said),) = found["keys"]
    assert not is_good
    assert "telegram-main.token" in said
    assert "pairing-telegram-main.json" in said


def test_the_servers_configuration_lets_exactly_the_members_in(factory: Factory) -> None:
    printed = factory.run("nats", "config").stdout
    permissions = json.loads(factory.run("nats", "permissions", "--json").stdout)

    assert printed.count("nkey: U") == len(permissions) == 8
    for member in permissions:
        assert all(json.dumps(subject) in printed for subject in member["publish"] + member["subscribe"])


def test_a_home_that_cannot_be_made_is_an_error_in_a_sentence(factory: Factory) -> None:
    occupied = factory.folder / "file"
    occupied.write_text("")

    done = factory.run("chat", "-p", "hello", "--home", os.fspath(occupied))

    assert done.returncode == 1
    assert done.stderr == f"factory: {occupied}: File exists; choose another home with --home or FACTORY_HOME\n"


def test_a_file_that_is_not_there_is_named_without_the_systems_number(factory: Factory) -> None:
    done = factory.run("engine", "add", "/nope")

    assert (done.returncode, done.stderr) == (1, "factory: /nope: No such file or directory\n")


def test_of_many_files_that_cannot_be_copied_the_first_is_named() -> None:
    full = shutil.Error([("a", "/home/b", "[Errno 28] No space left on device: '/home/b'"), ("c", "d", "odd")])
    odd = shutil.Error([("c", "d", "odd")])

    assert console.in_words(full) == "/home/b: No space left on device; make room"
    assert console.in_words(odd) == "d: odd"


def test_a_file_that_cannot_be_written_is_named_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()

    with pytest.raises(OSError, match=r"/kept'$"):
        home.write_atomically(tmp_path / "kept", "words")

    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_an_environment_file_that_is_no_text_is_a_sentence(factory: Factory) -> None:
    (factory.folder / ".env").write_bytes(b"NAME=caf\xe9\n")

    for command in (("doctor",), ("chat", "-p", "hello")):
        done = factory.run(*command)

        assert (done.returncode, done.stdout, done.stderr) == (1, "", "factory: .env: is not UTF-8\n")


@pytest.mark.parametrize("command", [("--help",), ("agent", "list"), ("status",), ("doctor",)], ids=" ".join)
def test_a_result_that_cannot_be_written_is_a_sentence(factory: Factory, command: tuple[str, ...]) -> None:
    with open(os.devnull) as stdin, open("/dev/full", "w") as full, TemporaryFile() as stderr:
        child = factory.bear(*command, stdin=stdin.fileno(), stdout=full.fileno(), stderr=stderr.fileno())
        status = child.wait(60)
        child.end()
        stderr.seek(0)
        said = stderr.read().decode()

    assert status == 1
    assert said.endswith("factory: what was asked for cannot be written: No space left on device\n")
    assert "Traceback" not in said


def test_what_is_piped_in_and_does_not_fit_a_message_is_a_sentence(factory: Factory) -> None:
    long = factory.run("chat", "-p", "Why?", text="words " * 20_000)
    looking = factory.start("chat", "-p", "What is this?")
    looking.stdin.buffer.write(b"\x89PNG\r\n")
    said, talk = looking.communicate()

    assert (long.returncode, long.stdout) == (2, "")
    assert "what is piped in is too long: 119,999 characters, and 100,000 are the limit; --file PATH" in long.stderr
    assert "words" not in long.stderr
    assert (looking.wait(10), said) == (2, "")
    assert "what is piped in is no text in UTF-8; --file PATH" in " ".join(talk.split())


@pytest.mark.parametrize(
    "command",
    [
        ("chat", "-p"),
        ("chat", "-p", "hello", "--agent"),
        ("chat", "-p", "hello", "--session"),
        ("chat", "-p", "hello", "--resume"),
        ("run", "digest"),
        ("run", "digest", "--agent"),
        ("ask", "image.qr"),
        ("agent", "test", "reckoner", "-p"),
        ("agent", "test", "reckoner", "--model"),
        ("turns", "fork", "here", "--as"),
    ],
    ids=" ".join,
)
def test_an_argument_that_is_no_text_is_a_usage_error(factory: Factory, command: tuple[str, ...]) -> None:
    done = factory.run(*command, os.fsdecode(b"caf\xe9"))

    assert (done.returncode, done.stdout) == (2, "")
    assert "is not UTF-8" in done.stderr


def test_what_is_piped_into_a_test_of_an_agent_must_be_text(factory: Factory) -> None:
    testing = factory.start("agent", "test", "reckoner")
    testing.stdin.buffer.write(b"caf\xe9")
    said, talk = testing.communicate()

    assert (testing.wait(10), said) == (2, "")
    assert "what is piped in is not UTF-8" in talk


def test_a_session_that_is_to_go_on_in_a_copy_needs_a_name_that_fits(factory: Factory) -> None:
    factory.run("chat", "-p", "hello", "--session", "here")

    done = factory.run("turns", "fork", "here", "--as", "x" * 300)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("scope: must be 1 to 255 bytes when percent-encoded, without NUL\n")


def test_a_file_may_have_a_name_that_is_no_text(factory: Factory) -> None:
    named = factory.folder / os.fsdecode(b"caf\xe9.txt")
    named.write_text("Some words.")

    done = factory.run("chat", "-p", "hello", "--file", named.name)

    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


@pytest.mark.parametrize("command", [("chat", "-p", "hello"), ("up",)], ids=" ".join)
def test_a_key_that_cannot_be_read_is_told_before_anything_dies_of_it(
    factory: Factory, command: tuple[str, ...]
) -> None:
    done = factory.run(*command, ANTHROPIC_API_KEY_FILE="/nope")

    said = "factory: environment: ANTHROPIC_API_KEY_FILE: /nope: No such file or directory\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


def test_who_resumes_no_session_is_told_a_command_that_names_them(factory: Factory) -> None:
    (factory.home).mkdir(mode=0o700)
    (factory.home / "sessions.jsonl").write_text('{"name": "one", "started": "", "words": "hi"}\n')

    done = factory.run("chat", "-p", "hello", "--resume", "two")

    assert done.returncode == 2
    assert "no session begins with 'two'; `factory turns ls` tells in which something was said\n" in done.stderr


def test_ctrl_c_ends_a_question_with_its_own_status(factory: Factory) -> None:
    script = factory.folder / "slow.toml"
    script.write_text('[[reply]]\nmatch = "."\nsteps = [{ burst = 100000, text = "word ", pace_ms = 20 }]\n')
    asking = factory.start("chat", "-p", "hello", FACTORY_SCRIPT=str(script))
    asking.stdin.close()
    assert asking.stdout.read(5) == "word "

    asking.send_signal(signal.SIGINT)
    said, talk = asking.stdout.read(), asking.stderr.read()

    assert asking.wait(10) == 130
    assert "Traceback" not in said + talk
