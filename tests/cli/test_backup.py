"""A home that is copied while it runs, lost, and brought back."""

import asyncio
import json
import os
import shutil
import stat
import zipfile
from base64 import b64encode
from pathlib import Path

import pytest

from factory_cli import joining, locks
from factory_cli.console import Failed
from factory_cli.copies import bring_back
from factory_cli.home import Home
from factory_contracts import subjects
from tests.cli.installation import Factory, until

WORD = "nightingale"


def say(factory: Factory, text: str, session: str = "here", *arguments: str) -> str:
    done = factory.run("chat", "-p", text, "--session", session, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def come_to_rest(factory: Factory) -> None:
    until(lambda: locks.holder(factory.home / "run" / joining.SUPERVISOR) is None, "the end")


def archived(file: Path, *messages: tuple[str, str]) -> Path:
    """A backup that holds nothing but what is said on these subjects of the log."""
    said = [
        {"seq": at, "subject": subject, "data": b64encode(data.encode()).decode()}
        for at, (subject, data) in enumerate(messages, 1)
    ]
    streams = {subjects.STREAM: (len(said), len(said))}
    manifest = {"format": 1, "version": "0", "at": 0, "has_secrets": False, "streams": streams}
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr(f"streams/{subjects.STREAM}.jsonl", "".join(f"{json.dumps(one)}\n" for one in said))
        zipped.writestr("home/factory.toml", "[hub]\nmax_pools = 7\n")
        zipped.writestr("manifest.json", json.dumps(manifest))
    return file


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


def test_a_home_that_was_brought_back_in_part_is_no_home(factory: Factory) -> None:
    copy = archived(factory.folder / "copy.zip")
    with zipfile.ZipFile(copy, "a") as file:
        file.writestr("home/../outside", "what comes last cuts it off")

    assert factory.run("restore", str(copy)).returncode == 1

    assert (factory.home / "factory.toml").exists()
    for command in (("chat", "-p", "hello"), ("up",), ("log", "verify"), ("backup", str(factory.folder / "next.zip"))):
        refused = factory.run(*command)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1), command
        assert f"{factory.home} is not whole" in refused.stderr
    assert f"{factory.home} is not whole" in factory.run("doctor").stdout
    shutil.rmtree(factory.home)
    assert factory.run("restore", str(archived(factory.folder / "whole.zip"))).returncode == 0
    assert factory.run("log", "verify").returncode == 0


async def test_nobody_begins_on_a_home_while_a_backup_is_brought_back(factory: Factory) -> None:
    copy = archived(factory.folder / "copy.zip")
    supervisor = factory.home / "run" / joining.SUPERVISOR
    restoring = asyncio.create_task(bring_back(Home(factory.home), copy))
    await asyncio.sleep(0)

    assert locks.holder(supervisor) == os.getpid()
    refused = factory.run("up")

    assert refused.returncode == 1
    assert f"{factory.home} is not whole" in refused.stderr
    found, _, _ = await restoring
    assert not found.faults()
    assert locks.holder(supervisor) is None


async def test_a_home_on_which_something_began_meanwhile_is_left_alone(factory: Factory) -> None:
    copy = archived(factory.folder / "copy.zip")
    where = Home(factory.home)
    where.prepare()
    held = locks.take(where.run / joining.SUPERVISOR)
    assert held is not None

    with pytest.raises(Failed, match="something began"):
        await bring_back(where, copy)
    os.close(held)
    (where.nats / "js").mkdir()
    with pytest.raises(Failed, match="something began"):
        await bring_back(where, copy)

    assert not where.configuration.exists()
    where.prepare()


def test_a_bot_that_is_not_named_any_more_keeps_its_words_and_its_files_are_told_to_be_left(factory: Factory) -> None:
    said = '{"message":{"attachments":[{"name":"cat.png","blob":"b1"}]}}'
    quoted = '{"message":{"text":"\\"blob\\":\\"b1\\""}}'
    subject, other = subjects.turns("telegram", "gone", "1"), subjects.turns("telegram", "silent", "1")
    copy = archived(factory.folder / "copy.zip", (subject, said), (other, quoted))
    assert factory.run("restore", str(copy)).returncode == 0

    done = factory.run("backup", str(factory.folder / "next.zip"))

    assert done.returncode == 0, done.stderr
    told = f"telegram:gone is not named in {factory.home}/factory.toml: the files of its conversations are left out"
    assert done.stderr.splitlines()[1:] == [f"factory: {told}"]


def test_what_is_amiss_with_a_file_of_the_home_is_told_and_the_rest_is_copied(factory: Factory) -> None:
    work = factory.home / "work"
    work.mkdir(parents=True)
    (work / "damaged.db").write_bytes(b"SQLite format 3\0 and no more")
    (work / "old.txt").write_text("kept")
    os.utime(work / "old.txt", (0, 0))

    done = factory.run("backup", str(factory.folder / "copy.zip"))

    assert done.returncode == 1
    assert f"factory: {work}/damaged.db is copied as it lies, and may not be whole" in done.stderr
    assert {"home/work/damaged.db", "home/work/old.txt"} <= set(zipfile.ZipFile(factory.folder / "copy.zip").namelist())


def test_a_backup_that_comes_to_no_end_leaves_nothing(factory: Factory) -> None:
    factory.home.mkdir()
    (factory.home / "factory.toml").write_text("[nobody]\n")

    done = factory.run("backup", str(factory.folder / "copy.zip"))

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert list(factory.folder.iterdir()) == []
