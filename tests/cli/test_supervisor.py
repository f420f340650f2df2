"""The supervisor with real processes: what is killed comes back, what is left ends, nothing bars the next start."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from factory_cli.joining import LONGEST_LOG, last_words, put_aside
from tests.cli import discord_api, telegram_api
from tests.cli.installation import PATIENCE, Factory, is_alive, kill, until


def answer(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_chat_starts_what_it_needs_and_the_last_one_to_leave_ends_it(factory: Factory) -> None:
    factory.is_afresh = True
    first = factory.start("chat")
    pids = until(factory.running, "a running system")

    said = answer(factory.run("chat", "-p", "hello"))
    still = factory.running()
    kill(first.pid)

    assert "hello" in said
    assert still == pids
    until(lambda: not any(is_alive(pid) for pid in pids.values()), "the end of all processes")
    assert factory.state() == {}


def test_a_chat_that_joins_while_the_supervisor_ends_finds_a_system(factory: Factory) -> None:
    scope = ("--session", "one")

    for number in range(3):
        answer(factory.run("chat", *scope, "-p", f"message {number}"))

    turns = json.loads(answer(factory.run("turns", "ls", "--json")))
    assert [turn["asked"] for turn in turns] == ["message 0", "message 1", "message 2"]
    assert {turn["state"] for turn in turns} == {"answered (complete)"}


@pytest.mark.parametrize("name", ["hub", "clipool", "nats"])
def test_a_child_that_is_killed_is_started_again(factory: Factory, name: str) -> None:
    factory.up()
    before = factory.state()

    kill(before["children"][name]["pid"])
    after = until(lambda: again(factory, name, 2), f"another {name}")

    assert after["url"] == before["url"]
    assert after["children"][name]["pid"] != before["children"][name]["pid"]
    others = {other: child for other, child in before["children"].items() if other != name}
    assert {other: child for other, child in after["children"].items() if other != name} == others
    assert "hello" in answer(factory.run("chat", "-p", "hello"))


def again(factory: Factory, name: str, starts: int) -> dict[str, Any]:
    state = factory.state()
    return state if factory.running() and state["children"][name]["starts"] >= starts else {}


EDITS = {
    "a bot": ('[[bots]]\nplatform = "telegram"\nbot_id = "main"\n', "hub"),
    "a voice": ('[voice.tts]\nengine = "command"\ncommand = ["true"]\n', "clipool"),
    "a mistake": ("[hub", "hub"),
}


@pytest.mark.parametrize(("written", "name"), EDITS.values(), ids=EDITS)
def test_what_is_written_into_the_configuration_meanwhile_harms_nothing_that_runs(
    factory: Factory, written: str, name: str
) -> None:
    up = factory.up()
    answer(factory.run("chat", "-p", "hello"))
    epoch = seen(factory)["hub"]["epoch"]
    (factory.home / "factory.toml").write_text(written)

    answer(factory.run("turns", "ls"))
    answer(factory.run("backup", str(factory.folder / "copy.zip")))
    kill(factory.running()[name])

    if name == "hub":
        until(lambda: seen(factory)["hub"]["epoch"] > epoch, "a hub that serves")
    else:
        assert "hello" in answer(factory.run("chat", "-p", "hello"))
    assert again(factory, name, 2)["children"][name]["starts"] == 2
    assert up.poll() is None


def seen(factory: Factory) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(answer(factory.run("status", "--json")))
    return said


def test_everything_killed_at_once_is_no_hindrance_and_nothing_is_forgotten(factory: Factory) -> None:
    factory.is_afresh = True
    up = factory.up()
    answer(factory.run("chat", "--session", "kept", "-p", "remember the heron"))

    kill(*factory.running().values())
    up.wait(PATIENCE)
    answer(factory.run("chat", "--session", "kept", "-p", "and the otter"))

    turns = json.loads(answer(factory.run("turns", "ls", "--json", "--scope", "kept")))
    assert [turn["asked"] for turn in turns] == ["remember the heron", "and the otter"]


def test_children_end_with_a_supervisor_that_is_killed(factory: Factory) -> None:
    up = factory.up()
    pids = factory.running()

    kill(up.pid)

    until(lambda: not any(is_alive(pid) for pid in pids.values()), "the end of all processes")
    assert "hello" in answer(factory.run("chat", "-p", "hello"))


@pytest.mark.parametrize("name", ["nats", "hub", "clipool"])
def test_an_orphan_that_holds_a_lock_is_ended_by_the_next_start(factory: Factory, name: str) -> None:
    up = factory.up()
    orphan = factory.running()[name]
    # A stopped process does not hear that its parent has died.
    os.kill(orphan, signal.SIGSTOP)
    kill(up.pid)
    up.wait(PATIENCE)
    assert is_alive(orphan)

    said = answer(factory.run("chat", "-p", "hello"))

    assert "hello" in said
    assert not is_alive(orphan)


def test_a_chat_goes_on_when_the_supervisor_is_killed(factory: Factory) -> None:
    factory.start_in_terminal("chat")
    before = until(factory.running, "a running system")

    kill(before["supervisor"])

    until(lambda: other(factory, before), "another system")
    assert "hello" in answer(factory.run("chat", "-p", "hello"))


def other(factory: Factory, before: dict[str, int]) -> bool:
    now = factory.running()
    return bool(now) and not set(now.values()) & set(before.values())


def test_a_child_that_dies_again_and_again_ends_in_one_clear_message(factory: Factory) -> None:
    missing = str(factory.folder / "no-such-script.toml")

    done = factory.run("up", FACTORY_SCRIPT=missing)

    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("factory: clipool died 6 times in 60 s, at last with status 1;")
    assert missing in last


def test_a_chat_is_told_why_the_supervisor_gave_up(factory: Factory) -> None:
    missing = str(factory.folder / "no-such-script.toml")

    done = factory.run("chat", "-p", "hello", FACTORY_SCRIPT=missing)

    assert done.returncode == 1
    assert "factory: clipool died 6 times" in done.stderr
    assert missing in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hub_that_another_one_fenced_comes_back_as_standby(factory: Factory) -> None:
    up = factory.up()
    # Two hubs that start side by side may reign in either order: the first must reign before the second comes.
    answer(factory.run("chat", "-p", "hello"))
    rival = factory.start("hub", NATS_URL=factory.state()["url"])

    until(lambda: factory.running() and factory.state()["children"]["hub"]["is_standby"], "a standby")

    assert rival.poll() is None
    assert up.poll() is None


def test_where_one_stands_by_a_hub_that_is_killed_comes_back_to_stand_by(factory: Factory) -> None:
    factory.home.mkdir(parents=True, exist_ok=True)
    (factory.home / "factory.toml").write_text("[hub]\nstandby = true\n")
    factory.up()
    answer(factory.run("chat", "-p", "hello"))
    before = factory.running()

    kill(before["hub"])
    until(lambda: factory.running().get("hub", before["hub"]) != before["hub"], "the hub's next life")

    assert "hello" in answer(factory.run("chat", "-p", "hello"))
    assert factory.running()["hub-2"] == before["hub-2"]
    assert all(factory.state()["children"][name]["is_standby"] for name in ("hub", "hub-2"))


def test_several_hubs_share_the_work_and_status_tells_how(factory: Factory) -> None:
    factory.home.mkdir(parents=True, exist_ok=True)
    (factory.home / "factory.toml").write_text("[hub]\nhubs = 2\n")
    factory.up()
    answer(factory.run("chat", "-p", "hello"))

    def shares() -> list[int]:
        return sorted(json.loads(factory.run("status", "--json").stdout)["hubs"].values())

    until(lambda: shares() == [32, 32], "two hubs with half each")
    assert "32 by hub-" in factory.run("status").stdout
    before = factory.running()
    kill(before["hub"])
    assert "hello" in answer(factory.run("chat", "-p", "hello"))
    until(lambda: factory.running().get("hub", before["hub"]) != before["hub"], "the hub's next life")
    until(lambda: shares() == [32, 32], "two hubs with half each again")
    assert factory.running()["hub-2"] == before["hub-2"]


def test_sigterm_ends_everything_in_order_and_in_time(factory: Factory) -> None:
    up = factory.up()
    pids = factory.running()

    up.terminate()
    status = up.wait(10)

    assert status == 0
    assert not any(is_alive(pid) for pid in pids.values())
    assert factory.state() == {}


def test_up_joins_what_a_chat_has_started_and_keeps_it(factory: Factory) -> None:
    chat = factory.start("chat")
    pids = until(factory.running, "a running system")
    up = factory.start("up")
    until(lambda: "already running" in up.stderr.readline(), "up to join")

    kill(chat.pid)
    assert "hello" in answer(factory.run("chat", "-p", "hello"))

    assert factory.running() == pids


def test_a_log_that_has_grown_long_is_put_aside_at_the_next_start(factory: Factory) -> None:
    log = factory.home / "log" / "hub.log"
    log.parent.mkdir(parents=True)
    log.write_text("x" * 1_000_001)

    factory.up()

    assert log.stat().st_size < 100_000
    assert Path(f"{log}.old").stat().st_size == 1_000_001


def test_a_log_that_grows_long_is_put_aside_while_its_process_goes_on_writing(factory: Factory) -> None:
    factory.up()
    pid = factory.state()["children"]["clipool"]["pid"]
    log = factory.home / "log" / "clipool.log"
    with log.open("a") as file:
        file.write("x" * LONGEST_LOG + "\n")

    until(lambda: log.stat().st_size < LONGEST_LOG, "a short log")
    os.kill(pid, signal.SIGTERM)
    said = until(log.read_text, "last words")

    assert re.match(r"\d{4}-", said)
    assert len(Path(f"{log}.old").read_text()) > LONGEST_LOG


def test_of_a_log_that_is_put_aside_the_end_is_kept_and_the_last_words_are_known(tmp_path: Path) -> None:
    log = tmp_path / "hub.log"
    log.write_text("first words\n" + "x" * 2 * LONGEST_LOG + "\nlast words\n")

    with log.open("ab") as writer:
        put_aside(log)
        before = last_words(log)
        writer.write(b"and more\n")

    assert before == "last words"
    assert last_words(log) == "and more"
    assert (tmp_path / "hub.log.old").stat().st_size == 2 * LONGEST_LOG
    assert (tmp_path / "hub.log.old").stat().st_mode & 0o777 == 0o600


def with_bots(factory: Factory, platform: str, *names: str) -> None:
    factory.home.mkdir(mode=0o700)
    bots = (f'[[bots]]\nplatform = "{platform}"\nbot_id = "{name}"\n' for name in names)
    (factory.home / "factory.toml").write_text("".join(bots))


ROWS = [
    ("telegram", "TELEGRAM_BOT_TOKEN", telegram_api.TOKEN, telegram_api.OTHER_TOKEN),
    ("discord", "DISCORD_TOKEN", discord_api.TOKEN, discord_api.OTHER_TOKEN),
]
PLATFORMS = pytest.mark.parametrize(("platform", "variable", "token", "other"), ROWS, ids=["telegram", "discord"])


@PLATFORMS
def test_a_bot_without_token_ends_the_start_in_one_sentence(
    factory: Factory, platform: str, variable: str, token: str, other: str
) -> None:
    with_bots(factory, platform, "main")

    done = factory.run("up")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"factory: environment: the bot {platform}-main has no token: set {variable}")
    assert len(done.stderr.splitlines()) == 1
    assert factory.state() == {}


def test_a_bot_without_token_keeps_nobody_from_a_chat(factory: Factory) -> None:
    with_bots(factory, "telegram", "main")

    done = factory.run("chat", "-p", "hello")

    assert "hello" in answer(done)
    assert "factory: telegram is not started: environment: the bot telegram-main has no token" in done.stderr


@PLATFORMS
def test_one_child_serves_all_bots_of_a_platform_and_no_other_process_knows_a_token(
    factory: Factory, platform: str, variable: str, token: str, other: str
) -> None:
    with_bots(factory, platform, "main", "helper")
    # What the kernel tells of a process is what it began with.
    factory.is_afresh = True

    factory.up(**nowhere(platform), **{variable: token, f"{variable}_HELPER": other})
    pids = factory.running()
    status = factory.run("status").stdout

    assert set(pids) == {"supervisor", "nats", "hub", "clipool", platform}
    assert platform in status
    knowing = {name for name, pid in pids.items() if token in proc(pid, "environ")}
    assert knowing <= {"supervisor", platform}
    assert not [name for name, pid in pids.items() if token in proc(pid, "cmdline")]
    assert token not in status + "".join(path.read_text() for path in (factory.home / "log").iterdir())
    assert (factory.home / "spokes").stat().st_mode & 0o777 == 0o700


def test_of_two_spokes_of_a_home_one_speaks_and_the_other_when_it_is_killed(factory: Factory) -> None:
    with_bots(factory, "telegram", "main")
    with (factory.home / "factory.toml").open("a") as file:
        file.write("[telegram]\nspokes = 2\n")
    # One that is forked is there again before the other is told.
    factory.is_afresh = True

    def speakers() -> list[int]:
        told = (factory.home / "log" / "hub.log").read_text()
        return [int(pid) for pid in re.findall(r" (\d+)-\w+ speaks for telegram/main", told)]

    def stands_by(pid: int) -> bool:
        (name,) = (name for name, one in factory.running().items() if one == pid)
        return "standing by" in (factory.home / "log" / f"{name}.log").read_text()

    with telegram_api.telegram() as api:
        api.answers |= {"getUpdates": [], "deleteWebhook": True, "setMyCommands": True}
        factory.up(TELEGRAM_API_BASE=api.url, TELEGRAM_BOT_TOKEN=telegram_api.TOKEN)
        until(speakers, "a spoke that speaks")
        first, second = (factory.running()[name] for name in ("telegram", "telegram-2"))
        assert speakers()[0] in (first, second)
        (other,) = {first, second} - set(speakers())
        until(lambda: stands_by(other), "another")

        kill(speakers()[0])
        until(lambda: len(speakers()) == 2, "the other that speaks")

    assert set(speakers()) == {first, second}


def nowhere(platform: str) -> dict[str, str]:
    """A server of the platform at which nobody answers."""
    return {f"{platform.upper()}_API_BASE": "http://127.0.0.1:1"}


def proc(pid: int, file: str) -> str:
    """What the kernel tells of a process; of what it keeps from us, nothing."""
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    except PermissionError:
        return ""


def test_a_spoke_that_dies_again_and_again_takes_nobody_with_it(factory: Factory) -> None:
    with_bots(factory, "telegram", "main")
    up = factory.up(**nowhere("telegram"), TELEGRAM_BOT_TOKEN=telegram_api.TOKEN)

    def rests() -> bool:
        child = factory.state()["children"]["telegram"]
        if child["pid"]:
            kill(child["pid"])
        return child["starts"] == 6 and child["pid"] is None

    until(rests, "a spoke that rests")

    assert up.poll() is None
    assert "hello" in answer(factory.run("chat", "-p", "hello"))
