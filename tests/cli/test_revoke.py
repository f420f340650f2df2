"""Taking an identity's keys away: from whoever holds the old ones, and not from our own processes."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from factory_cli import alone, keeping, keys, locks
from factory_cli.home import Home
from factory_nats.connect import Identity, connect, public_key
from factory_nats.result import Err, Ok
from factory_nats.server import EmbeddedServer, free_port
from tests.cli.installation import Factory, until

SOON = 1.5


class Intruder:
    """Somebody who has taken a key, is in, and comes back as often as the product's client does."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def note_end(self, why: str) -> None:
        if not self.gone.done():
            self.gone.set_result(why)


@asynccontextmanager
async def inside(url: str, name: str, seed: str) -> AsyncIterator[Intruder]:
    intruder = Intruder()
    joined = await connect(
        url, Identity(name, seed), on_disconnect=intruder.lost.set, on_closed=intruder.note_end, patience=10
    )
    assert isinstance(joined, Ok), joined
    yield intruder
    await joined.value.close()


async def chat(factory: Factory) -> None:
    """Everything runs, and serves; a worker that still kept what it said would take its time to end."""
    said = await asyncio.to_thread(factory.run, "chat", "-p", "hello")
    assert "hello" in said.stdout, said.stderr
    while json.loads((await asyncio.to_thread(factory.run, "status", "--json")).stdout)["workers"]["clipool"]["turns"]:
        pass


def seeds(home: Path, name: str) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in sorted((home / "keys").glob(f"{name}*.nk"))}


@pytest.mark.parametrize("name", ["clipool", "hub"])
async def test_whoever_holds_an_old_key_is_out_and_our_own_process_comes_back(factory: Factory, name: str) -> None:
    await asyncio.to_thread(factory.up)
    await chat(factory)
    before, url = seeds(factory.home, name), factory.state()["url"]
    bystander = seeds(factory.home, "cli-main")["cli-main.nk"]
    async with (
        inside(url, name, before[f"{name}.nk"]) as intruder,
        inside(url, name, before[f"{name}.store.nk"]) as another,
        inside(url, "cli-main", bystander) as other,
    ):
        began = time.monotonic()
        done = await asyncio.to_thread(factory.run, "nats", "revoke", name)
        async with asyncio.timeout(SOON):
            await asyncio.gather(intruder.gone, another.gone)
        again = await connect(url, Identity(name, before[f"{name}.nk"]))

        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith(f"factory: {name} has new keys; the old ones are refused")
        assert isinstance(again, Err)
        assert again.reason == "unauthorized"
        assert not other.lost.is_set()
        assert time.monotonic() - began < 10
    after = seeds(factory.home, name)
    assert not set(before.values()) & set(after.values())
    assert {os.stat(factory.home / "keys" / file).st_mode & 0o777 for file in after} == {0o600}
    await asyncio.to_thread(until, lambda: again_up(factory, name), f"another {name}")
    await chat(factory)
    assert not factory.state()["children"]["hub"]["is_standby"]


def again_up(factory: Factory, name: str) -> bool:
    return bool(factory.running()) and factory.state()["children"][name]["starts"] >= 2


async def test_a_key_that_was_revoked_stays_so_when_the_server_is_started_again(factory: Factory) -> None:
    await asyncio.to_thread(factory.up)
    old, url = seeds(factory.home, "clipool")["clipool.nk"], factory.state()["url"]
    await asyncio.to_thread(factory.run, "nats", "revoke", "clipool")

    os.kill(factory.state()["children"]["nats"]["pid"], 9)
    await asyncio.to_thread(until, lambda: factory.state()["children"]["nats"]["starts"] >= 2, "another server")
    await asyncio.to_thread(until, factory.running, "a running system")

    again = await connect(url, Identity("clipool", old), patience=5)
    assert isinstance(again, Err)
    assert again.reason == "unauthorized"
    await chat(factory)


async def test_a_server_that_runs_alone_lets_the_old_key_in_no_more(factory: Factory) -> None:
    port = free_port()
    alone = factory.start("nats", "start", "--port", str(port))
    url = f"nats://127.0.0.1:{port}"
    await asyncio.to_thread(until, lambda: seeds(factory.home, "reader"), "keys")
    async with inside(url, "reader", seeds(factory.home, "reader")["reader.nk"]) as intruder:
        done = await asyncio.to_thread(factory.run, "nats", "revoke", "reader")
        async with asyncio.timeout(SOON):
            await intruder.gone

    assert done.returncode == 0
    assert alone.poll() is None
    joined = await connect(url, Identity("reader", seeds(factory.home, "reader")["reader.nk"]))
    assert isinstance(joined, Ok)
    await joined.value.close()


async def test_whoever_ran_the_server_before_and_lives_on_shields_no_old_key(factory: Factory) -> None:
    async with alone.bus(Home(factory.home), None):
        old = seeds(factory.home, "cli-main")["cli-main.nk"]
    await asyncio.to_thread(factory.up)

    done = await asyncio.to_thread(factory.run, "nats", "revoke", "cli-main")

    assert done.stderr.startswith("factory: cli-main has new keys; the old ones are refused"), done.stderr
    again = await connect(factory.state()["url"], Identity("cli-main", old))
    assert isinstance(again, Err)
    assert again.reason == "unauthorized"
    await chat(factory)


async def test_nobody_runs_a_server_while_another_is_told_of_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Home(tmp_path)
    where.prepare()
    held = locks.take(where.run / keeping.LOCK)
    assert held is not None
    locks.sign(held, 4711)
    monkeypatch.setattr(keeping, "PATIENCE", 0)

    with pytest.raises(TimeoutError, match="is run by the process with id 4711, which does not come to an end"):
        await keeping.keep(where, 0).__aenter__()


async def test_who_waits_for_the_server_lets_in_who_has_keys_when_it_is_free(tmp_path: Path) -> None:
    where = Home(tmp_path)
    where.prepare()
    async with AsyncExitStack() as later:
        async with keeping.keep(where, 0):
            waiting = asyncio.create_task(later.enter_async_context(keeping.keep(where, 0)))
            await asyncio.sleep(0)
            _, new = keys.renew(where.keys, "reader")
            assert not waiting.done()
        async with await waiting as server:
            joined = await connect(server.url, Identity("reader", new), patience=5)

    assert isinstance(joined, Ok)
    await joined.value.close()


async def test_of_a_server_that_nobody_can_tell_it_is_said_that_it_takes_the_old_keys(factory: Factory) -> None:
    await asyncio.to_thread(factory.run, "nats", "config")
    before = seeds(factory.home, "hub")

    async with EmbeddedServer(factory.home / "nats"):
        done = await asyncio.to_thread(factory.run, "nats", "revoke", "hub")
        added = await asyncio.to_thread(factory.run, "worker", "add", "loud", "shout")

    assert done.returncode == 1
    assert done.stderr == (
        "factory: hub has new keys, but the server that runs here takes the old ones: "
        "nobody is there who could tell it, so end it and start it anew\n"
    )
    assert not set(before.values()) & set(seeds(factory.home, "hub").values())
    assert "loud may serve shout: the server that runs here does not let it in: nobody is there" in added.stderr


async def test_of_another_server_it_is_said_what_its_owner_must_exchange(factory: Factory) -> None:
    factory.run("nats", "config")
    before = seeds(factory.home, "clipool")

    done = factory.run("nats", "revoke", "clipool", NATS_URL="nats://127.0.0.1:1")

    after = seeds(factory.home, "clipool")
    assert done.returncode == 0
    rows = [tuple(line.split()) for line in done.stdout.splitlines()]
    assert rows == [("OLD", "NEW"), *((public_key(before[key]), public_key(after[key])) for key in before)]
    assert "nats-server --signal reload" in done.stderr
    assert all(seed not in done.stdout + done.stderr for seed in (*before.values(), *after.values()))


def test_where_nothing_runs_the_next_start_begins_with_the_new_keys(factory: Factory) -> None:
    factory.run("nats", "config")
    before = seeds(factory.home, "hub")

    done = factory.run("nats", "revoke", "hub")

    assert (done.returncode, done.stderr) == (0, "factory: hub has new keys; the next start begins with them\n")
    assert not set(before.values()) & set(seeds(factory.home, "hub").values())


def test_nobody_of_another_name_is_revoked(factory: Factory) -> None:
    done = factory.run("nats", "revoke", "stranger")

    assert done.returncode == 1
    assert done.stderr == "factory: no identity 'stranger'; there are: hub, eraser, reader, clipool, cli-main\n"
