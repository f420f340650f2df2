"""A home that is copied while it runs, lost, and brought back."""

import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from factory_cli import joining, locks
from tests.cli.installation import Factory, until

WORD = "nightingale"


def say(factory: Factory, text: str, session: str = "here", *arguments: str) -> str:
    done = factory.run("chat", "-p", text, "--session", session, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def come_to_rest(factory: Factory) -> None:
    until(lambda: locks.holder(factory.home / "run" / joining.SUPERVISOR) is None, "the end")


def test_a_conversation_goes_on_in_a_home_that_was_lost_and_brought_back(factory: Factory) -> None:
    up = factory.up()
    say(factory, "The bird is a nightingale.")
    (factory.folder / "some.txt").write_text("what the file says")
    say(factory, "a file", "there", "--file", "some.txt")
    (factory.home / "factory.toml").write_text("[hub]\nmax_pools = 7\n")
    copy = factory.folder / "copy.zip"

    done = factory.run("backup", str(copy))
    assert (done.returncode, done.stdout) == (0, "")
    assert "the log is whole" in done.stderr
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not [name for name in zipfile.ZipFile(copy).namelist() if name.startswith("home/keys/")]

    before = factory.run("turns", "ls", "--json").stdout
    up.terminate()
    up.wait(30)
    shutil.rmtree(factory.home)
    done = factory.run("restore", str(copy))
    assert done.returncode == 0, done.stderr
    assert "no secrets were in the backup" in done.stderr

    assert factory.run("turns", "ls", "--json").stdout == before
    assert WORD in say(factory, "And which one was it?")
    assert (factory.home / "factory.toml").read_text() == "[hub]\nmax_pools = 7\n"
    come_to_rest(factory)
    verified = factory.run("log", "verify")
    assert verified.returncode == 0, verified.stderr


def test_a_home_that_is_not_empty_is_left_alone(factory: Factory) -> None:
    say(factory, "hello")
    come_to_rest(factory)
    copy = factory.folder / "copy.zip"
    assert factory.run("backup", str(copy), "--with-secrets").returncode == 0
    assert "home/keys/hub.nk" in zipfile.ZipFile(copy).namelist()

    again = factory.run("backup", str(copy))
    assert (again.returncode, again.stderr) == (1, f"factory: {copy} exists; choose another name\n")
    inside = factory.run("backup", str(factory.home / "copy.zip"))
    assert (inside.returncode, "choose another place" in inside.stderr) == (1, True)
    refused = factory.run("restore", str(copy))
    assert refused.returncode == 1
    assert f"{factory.home} is not empty" in refused.stderr


@pytest.mark.parametrize("damage", ["cut", "flipped", "stranger", "elsewhere"])
def test_what_is_no_whole_backup_is_refused_with_a_sentence(factory: Factory, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "copy.zip"
    with zipfile.ZipFile(copy, "w") as file:
        file.writestr("streams/TURNS.jsonl", "")
        if damage == "elsewhere":
            file.writestr("home/../../outside", "x")
        if damage != "stranger":
            file.writestr(
                "manifest.json", '{"format":1,"version":"0","at":0,"has_secrets":false,"streams":{"TURNS":[0,0]}}'
            )
    data = copy.read_bytes()
    if damage == "cut":
        copy.write_bytes(data[:-10])
    elif damage == "flipped":
        copy.write_bytes(data.replace(b'"has_secrets"', b'"had_secrets"', 1))

    done = factory.run("restore", str(copy))

    assert done.returncode == 1
    assert done.stderr.startswith("factory: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "outside").exists()
