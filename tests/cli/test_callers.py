"""Somebody outside is let in by the configuration, is given a key, and talks to an agent of a whole installation."""

import json
from pathlib import Path

import nats
from synadia_ai.agents import Agents, ResponseChunk

from tests.cli.installation import Factory, kill, until

CALLERS = """
[[bots]]
platform = "agents"
bot_id = "scout"
access = "public"

[[callers]]
name = "ci"
sessions = ["main", "nightly"]
"""


def let_in(factory: Factory) -> None:
    factory.home.mkdir(parents=True, exist_ok=True)
    (factory.home / "factory.toml").write_text(CALLERS)


async def test_a_caller_is_given_an_address_and_a_key_and_is_answered(factory: Factory) -> None:
    let_in(factory)
    factory.up()
    shown = json.loads(factory.run("nats", "caller", "ci", "--json").stdout)

    client = await nats.connect(shown["url"], nkeys_seed=shown["key"])
    agents = Agents(nc=client)
    found = await agents.discover()
    while not found:
        found = await agents.discover()
    said = [one async for one in found[0].prompt("hello", timeout=20)]
    await agents.close()
    await client.close()

    assert sorted(one.prompt_subject for one in found) == shown["agents"]
    assert "hello" in "".join(one.text for one in said if isinstance(one, ResponseChunk))
    assert until(lambda: "agents-scout" in factory.running(), "the door is a process that is shown")


def test_who_is_not_named_is_told_how_to_be(factory: Factory) -> None:
    let_in(factory)

    done = factory.run("nats", "caller", "eve")

    assert done.returncode == 1
    assert "no caller 'eve'; to let one in, write in " in done.stderr


def test_the_key_is_made_where_no_server_runs_and_is_its_owners_alone(factory: Factory) -> None:
    let_in(factory)

    done = factory.run("nats", "caller", "ci")
    path = Path(next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("key")))

    assert path.stat().st_mode & 0o077 == 0
    assert "agents.prompt.scout.ci.main" in done.stdout
    assert path.read_text().strip() not in done.stdout


def test_without_a_bot_for_others_there_is_no_door(factory: Factory) -> None:
    done = factory.run("adapter", "agents")

    assert done.returncode == 1
    assert 'names no bot with platform = "agents"' in done.stderr


async def test_an_answer_from_outside_goes_on_when_the_hub_is_killed_in_the_middle(
    factory: Factory, tmp_path: Path
) -> None:
    let_in(factory)
    script = tmp_path / "script.toml"
    script.write_text('[[reply]]\nsteps = [{ burst = 60, text = "word ", pace_ms = 50 }]\n')
    factory.up(FACTORY_SCRIPT=str(script))
    shown = json.loads(factory.run("nats", "caller", "ci", "--json").stdout)
    client = await nats.connect(shown["url"], nkeys_seed=shown["key"])
    agents = Agents(nc=client)
    while not (found := await agents.discover()):
        pass

    said = ""
    async for chunk in found[0].prompt("go on", timeout=30):
        is_first = not said
        said += chunk.text if isinstance(chunk, ResponseChunk) else ""
        if said and is_first:
            kill(factory.state()["children"]["hub"]["pid"])
    await agents.close()
    await client.close()

    assert said == "word " * 60
