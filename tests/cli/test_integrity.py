"""The log of a real home, and what is done to its files while nobody looks."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from factory_cli import joining, locks
from tests.cli.installation import Factory, until


def say(factory: Factory, text: str, session: str) -> None:
    """Say something, and wait until everything has ended again."""
    done = factory.run("chat", "-p", text, "--session", session)
    assert done.returncode == 0, done.stderr
    until(lambda: locks.holder(factory.home / "run" / joining.SUPERVISOR) is None, "the end")


def verified(factory: Factory) -> tuple[int, dict[str, Any]]:
    done = factory.run("log", "verify", "--json")
    return done.returncode, json.loads(done.stdout)


def block(factory: Factory) -> Path:
    """The file in which the log's messages lie."""
    (found,) = (path for path in factory.home.glob("nats/**/*.blk") if "TURNS" in path.parts)
    return found


def test_one_flipped_bit_is_found_and_the_conversation_named(factory: Factory) -> None:
    say(factory, "hello", "here")
    say(factory, "nightingale", "there")
    status, before = verified(factory)
    assert (status, before["is_whole"], before["faults"], before["unsealed"]) == (0, True, [], 0)

    data = bytearray(block(factory).read_bytes())
    data[data.index(b"nightingale")] ^= 1
    block(factory).write_bytes(data)

    status, after = verified(factory)
    assert status == 1
    assert {fault["scope"] for fault in after["faults"]} == {"there"}
    assert {fault["kind"] for fault in after["faults"]} <= {"missing", "altered"}


def halve(block: Path) -> None:
    os.truncate(block, block.stat().st_size // 2)


def halve_without_index(block: Path) -> None:
    halve(block)
    block.with_name("index.db").unlink()


def flip_without_index(block: Path) -> None:
    data = bytearray(block.read_bytes())
    data[data.index(b"nightingale")] ^= 1
    block.write_bytes(data)
    block.with_name("index.db").unlink()


def take_away(block: Path) -> None:
    block.unlink()


def test_whatever_is_done_to_the_files_is_found_and_the_conversation_named(factory: Factory) -> None:
    say(factory, "hello", "here")
    say(factory, "nightingale", "there")
    whole = factory.folder / "whole"
    shutil.copytree(factory.home / "nats", whole)

    for damage in (halve, halve_without_index, flip_without_index, take_away):
        shutil.rmtree(factory.home / "nats")
        shutil.copytree(whole, factory.home / "nats")
        damage(block(factory))

        status, found = verified(factory)

        assert status == 1, damage
        assert "there" in {fault["scope"] for fault in found["faults"]}, damage


def test_a_log_that_lost_its_end_is_found_and_no_hub_begins_with_it_unasked(factory: Factory) -> None:
    say(factory, "hello", "here")
    older = factory.folder / "older"
    shutil.copytree(factory.home / "nats", older)
    say(factory, "and then", "here")
    shutil.rmtree(factory.home / "nats")
    shutil.copytree(older, factory.home / "nats")

    status, found = verified(factory)
    assert status == 1
    assert [(fault["kind"], fault["scope"]) for fault in found["faults"]] == [("behind", "here")]

    refused = factory.run("chat", "-p", "hello", "--session", "here")
    assert refused.returncode == 1
    assert "the log lacks what it held before" in refused.stderr and "factory log accept" in refused.stderr

    assert factory.run("log", "accept").returncode == 0
    say(factory, "hello again", "here")
    assert verified(factory)[0] == 0


def test_what_a_person_had_forgotten_is_not_missed(factory: Factory) -> None:
    factory.up()
    for text in ("hello", "/forget everything"):
        assert factory.run("chat", "-p", text, "--session", "here").returncode == 0

    until(lambda: verified(factory)[1]["erased"], "the erasing")

    assert verified(factory)[0] == 0


def test_a_log_is_verified_while_all_runs(factory: Factory) -> None:
    factory.up()
    assert factory.run("chat", "-p", "hello").returncode == 0

    status, found = verified(factory)

    assert (status, found["faults"]) == (0, [])
    assert found["records"] > 0
