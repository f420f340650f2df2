"""The embedded server: its configuration, its directory and its life."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.result import Err, Ok
from factory_nats.server import (
    LONGEST_LOG,
    MOST_FROM_OUTSIDE,
    EmbeddedServer,
    User,
    address_of,
    find_binary,
    free_port,
    held_by,
    render_config,
    write_config,
)
from factory_nats.subject import leads_outside
from factory_nats.transport import Delivery, Entry, StreamConfig, Transport

STARTER = """
import asyncio, sys
from pathlib import Path
from factory_nats.server import EmbeddedServer

async def main() -> None:
    server = EmbeddedServer(Path(sys.argv[1]), dies_with_parent=sys.argv[2] == "dies")
    print(await server.start(), server.pid, flush=True)
    await server.wait()

asyncio.run(main())
"""


async def start_elsewhere(directory: Path, how: str) -> tuple[asyncio.subprocess.Process, int]:
    """A server whose parent is another process, and its pid."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, str(directory), how, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    said = (await parent.stdout.readline()).decode()
    assert said.startswith("Ok")
    return parent, int(said.split()[-1])


async def until_free(directory: Path) -> None:
    async with asyncio.timeout(10):
        while held_by(directory) is not None:
            await asyncio.to_thread(os.sched_yield)


async def join(server: EmbeddedServer, identity: str, seed: str | None = None) -> Transport:
    joined = await connect(server.url, Identity(identity, seed))
    assert isinstance(joined, Ok)
    return joined.value


def config(*users: User) -> str:
    return render_config(port=4222, store_dir=Path("/data/js"), users=users)


def test_a_configuration_has_one_key_on_a_line_and_lets_nobody_in_unnamed(tmp_path: Path) -> None:
    key = public_key(generate_seed())

    lines = config(User("hub", key, ("a.b",), ("c.d",))).splitlines()

    assert 'host: "127.0.0.1"' in lines
    assert "port: 4222" in lines
    assert "  sync_interval: always" in lines
    assert 'write_deadline: "5s"' in lines
    assert "  js_ack_fc_v2: false" in lines
    assert f"        nkey: {key}" in lines
    assert '              "_INBOX_hub.>"' in lines
    assert not any(word in line for line in lines for word in ("no_auth_user", "http", "password"))


@pytest.mark.parametrize(
    "user",
    [
        User("", "U" + "A" * 55),
        User("a b", "U" + "A" * 55),
        User("hub", "not a key"),
        User("hub", "U" + "A" * 55, ("a b",)),
        User("hub", "U" + "A" * 55, (), ('a"\n}',)),
    ],
)
def test_a_user_that_cannot_be_written_down_is_an_error_that_names_it(user: User, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"user '{user.identity}'"):
        config(user)
    with pytest.raises(ValueError, match=f"user '{user.identity}'"):
        EmbeddedServer(tmp_path, users=[user])


def test_a_configuration_is_written_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "server.conf"

    write_config(path, "host: a\n")
    write_config(path, "host: b\n")

    assert path.read_text() == "host: b\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["server.conf"]


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_configuration_is_never_written(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        write_config(tmp_path / "server.conf", text)

    assert list(tmp_path.iterdir()) == []


def test_the_binary_of_the_wheel_is_found() -> None:
    binary = find_binary()

    assert binary is not None
    said = subprocess.run([binary, "--version"], capture_output=True, check=True).stdout
    assert said.startswith(b"nats-server: v2.")


async def test_who_is_outside_asks_the_bus_and_the_answer_leads_to_nobody_else(tmp_path: Path) -> None:
    seeds = {name: generate_seed() for name in ("inside", "visitor", "other")}
    keys = {name: public_key(seed) for name, seed in seeds.items()}

    def outside(name: str) -> User:
        asks = (("ask.me", f"door.{name}"),)
        return User(name, keys[name], ("ask.me",), ("news",), "outside", asks, (f"news.{name}",))

    inside = User("inside", keys["inside"], ("_R_.>", "news.*"), ("door.*",), "bus")
    async with EmbeddedServer(tmp_path, users=(inside, outside("visitor"), outside("other"))) as server:
        joined = {name: await join(server, name, seed) for name, seed in seeds.items()}
        heard: list[Delivery] = []
        assert isinstance(await joined["inside"].subscribe("door.*", heard.append), Ok)

        asking = asyncio.create_task(joined["visitor"].request("ask.me", b"?", timeout=5))
        while not heard:
            await joined["inside"].barrier()
        (asked,) = heard
        await joined["inside"].publish(asked.reply, b"!")

        assert await asking == Ok(b"!")
        assert asked.subject == "door.visitor"
        assert leads_outside(asked.reply)
        assert not leads_outside("_INBOX_visitor.x")
        for transport in joined.values():
            await transport.close()


async def test_who_is_outside_takes_so_many_places_and_no_more(tmp_path: Path) -> None:
    seed, ours = generate_seed(), generate_seed()
    users = (User("visitor", public_key(seed), (), (), "outside"), User("inside", public_key(ours), account="bus"))
    async with EmbeddedServer(tmp_path, users=users) as server:
        joined = [await connect(server.url, Identity("visitor", seed)) for _ in range(MOST_FROM_OUTSIDE + 1)]
        joined.append(await connect(server.url, Identity("inside", ours)))

        assert [isinstance(one, Ok) for one in joined] == [*[True] * MOST_FROM_OUTSIDE, False, True]
        for one in joined:
            if isinstance(one, Ok):
                await one.value.close()


async def test_two_servers_on_one_directory_are_refused(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as first:
        second = await EmbeddedServer(tmp_path).start()

        assert isinstance(second, Err) and second.reason == "exists"
        assert str(first.pid) in second.detail
        assert held_by(tmp_path) == first.pid

    assert held_by(tmp_path) is None
    assert held_by(tmp_path / "nowhere") is None


async def test_a_server_started_again_keeps_its_port_and_what_it_stored(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    assert await server.start() == Ok(None)
    url = server.url
    transport = await join(server, "one")
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
    assert await transport.append([Entry("log.a", b"kept")]) == Ok(1)
    await transport.close()

    await server.stop()
    assert server.pid is None
    assert await server.start() == Ok(None)
    transport = await join(server, "one")
    last = await transport.last("LOG", "log.a")

    assert server.url == url
    assert isinstance(last, Ok) and last.value is not None and last.value.data == b"kept"
    await transport.close()
    await server.stop()


async def test_the_directory_is_held_while_a_killed_server_is_down(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)

        assert await server.wait() == -signal.SIGKILL
        intruder = await EmbeddedServer(tmp_path).start()

        assert isinstance(intruder, Err) and intruder.reason == "exists"
        assert await server.start() == Ok(None)


async def test_a_server_outlives_nobody_who_started_it(tmp_path: Path) -> None:
    parent, _ = await start_elsewhere(tmp_path, "dies")

    parent.kill()
    await parent.wait()

    await until_free(tmp_path)


async def test_an_orphan_keeps_its_directory_and_can_be_named_and_ended(tmp_path: Path) -> None:
    parent, pid = await start_elsewhere(tmp_path, "lives")
    parent.kill()
    await parent.wait()
    server = EmbeddedServer(tmp_path)

    refused = await server.start()
    orphan = held_by(tmp_path)
    assert orphan == pid
    os.kill(orphan, signal.SIGKILL)
    await until_free(tmp_path)

    assert isinstance(refused, Err) and refused.reason == "exists" and str(pid) in refused.detail
    assert await server.start() == Ok(None)
    await server.stop()


async def test_a_port_that_is_taken_is_told_and_the_directory_is_given_back(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "one") as one:
        started = await EmbeddedServer(tmp_path / "two", port=one.port).start()

    assert isinstance(started, Err) and started.reason == "refused"
    assert "address already in use" in started.detail
    assert held_by(tmp_path / "two") is None


async def test_a_configuration_the_server_does_not_take_is_told(tmp_path: Path) -> None:
    started = await EmbeddedServer(tmp_path, max_payload=1 << 40).start()

    assert isinstance(started, Err) and started.reason == "refused"
    assert "nats-server.conf" in started.detail


async def test_a_binary_that_is_not_there_is_told(tmp_path: Path) -> None:
    started = await EmbeddedServer(tmp_path, binary=tmp_path / "none").start()

    assert isinstance(started, Err) and started.reason == "refused"
    assert held_by(tmp_path) is None


async def test_with_users_named_nobody_else_gets_in(tmp_path: Path) -> None:
    seed = generate_seed()
    async with EmbeddedServer(tmp_path, users=[User("hub", public_key(seed))]) as server:
        nameless = await connect(server.url, Identity("hub"))
        stranger = await connect(server.url, Identity("hub", generate_seed()))
        hub = await join(server, "hub", seed)

        assert isinstance(nameless, Err) and nameless.reason == "unauthorized"
        assert isinstance(stranger, Err) and stranger.reason == "unauthorized"
        assert hub.is_connected
        await hub.close()


async def test_whoever_is_not_let_in_any_more_is_out_at_once_and_the_others_stay(tmp_path: Path) -> None:
    seeds = {name: generate_seed() for name in ("old", "new", "other")}
    keys = {name: public_key(seed) for name, seed in seeds.items()}
    gone, lost = asyncio.Event(), asyncio.Event()
    async with EmbeddedServer(tmp_path, users=[User("one", keys["old"]), User("other", keys["other"])]) as server:
        one = await connect(server.url, Identity("one", seeds["old"]), on_closed=lambda why: gone.set())
        other = await connect(server.url, Identity("other", seeds["other"]), on_disconnect=lost.set)
        assert isinstance(one, Ok) and isinstance(other, Ok)

        server.let_in([User("one", keys["new"]), User("other", keys["other"])])
        async with asyncio.timeout(1.5):
            await gone.wait()
        back = await connect(server.url, Identity("one", seeds["old"]))
        renewed = await join(server, "one", seeds["new"])

        assert isinstance(back, Err) and back.reason == "unauthorized"
        assert other.value.is_connected and not lost.is_set()
        assert keys["old"] not in server.config_path.read_text()
        for transport in (one.value, other.value, renewed):
            await transport.close()


async def test_who_is_let_in_while_a_server_is_down_is_let_in_when_it_is_back(tmp_path: Path) -> None:
    seed = generate_seed()
    server = EmbeddedServer(tmp_path, users=[User("one", public_key(generate_seed()))])
    assert await server.start() == Ok(None)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await server.wait()

    server.let_in([User("one", public_key(seed))])

    assert await server.start() == Ok(None)
    one = await join(server, "one", seed)
    await one.close()
    await server.stop()


async def test_a_user_that_cannot_be_written_down_changes_nobody_elses_rights(tmp_path: Path) -> None:
    seed = generate_seed()
    async with EmbeddedServer(tmp_path, users=[User("one", public_key(seed))]) as server:
        with pytest.raises(ValueError, match="user 'a b'"):
            server.let_in([User("a b", public_key(seed))])
        with pytest.raises(ValueError, match="user 'two'"):
            server.let_in([User("two", public_key(seed), account="apart")])

        one = await join(server, "one", seed)
        await one.close()


def test_the_address_of_a_server_stands_in_its_configuration(tmp_path: Path) -> None:
    assert address_of(tmp_path) == ""

    write_config(tmp_path / "nats-server.conf", render_config(port=4711, store_dir=tmp_path))

    assert address_of(tmp_path) == "nats://127.0.0.1:4711"


async def test_a_right_to_listen_to_one_level_gives_nothing_deeper(tmp_path: Path) -> None:
    all_seed, narrow_seed = generate_seed(), generate_seed()
    users = [
        User("all", public_key(all_seed)),
        User("narrow", public_key(narrow_seed), (), ("news.*", "both.*", "both.deep.down")),
    ]
    heard: list[str] = []

    def note(delivery: Delivery) -> None:
        heard.append(delivery.subject)

    async with EmbeddedServer(tmp_path, users=users) as server:
        sender, narrow = await join(server, "all", all_seed), await join(server, "narrow", narrow_seed)
        await narrow.subscribe("news.>", note)
        await narrow.subscribe("both.deep.down", note)
        for subject in ("news.a", "news.a.b", "news.a.b.c", "both.deep.down"):
            await sender.publish(subject, b"")
        await sender.barrier()
        await narrow.barrier()

        assert heard == ["news.a", "both.deep.down"]
        await sender.close()
        await narrow.close()


async def test_nobody_hears_the_answers_of_another(tmp_path: Path) -> None:
    seeds = {name: generate_seed() for name in ("hub", "spy")}
    users = [User("hub", public_key(seeds["hub"])), User("spy", public_key(seeds["spy"]), (), ())]
    async with EmbeddedServer(tmp_path, users=users) as server:
        spy = await join(server, "spy", seeds["spy"])

        outcomes = [await spy.subscribe(subject, lambda delivery: None) for subject in ("_INBOX_hub.>", ">", "*.>")]
        own = await spy.subscribe(spy.inbox("spy", "x"), lambda delivery: None)
        mute = await spy.request("anything", b"", timeout=5)

        assert [one.reason for one in outcomes if isinstance(one, Err)] == ["forbidden"] * 3
        assert isinstance(own, Ok)
        assert isinstance(mute, Err) and mute.reason == "forbidden"
        await spy.close()


def test_free_ports_differ() -> None:
    assert len({free_port() for _ in range(20)}) > 1


async def refused(server: EmbeddedServer) -> None:
    """A login that the server refuses, and of which its log tells."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(b"CONNECT {}\r\nPING\r\n")
    assert b"Authorization Violation" in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_what_strangers_have_the_server_write_does_not_fill_the_disk(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, users=[User("hub", public_key(generate_seed()))])

    for _ in range(3):
        with server.log_path.open("a", encoding="utf-8") as log:
            log.write("x" * (LONGEST_LOG - log.tell()))
        async with server:
            await refused(server)

    logs = list(tmp_path.glob(f"{server.log_path.name}*"))
    assert len(logs) == 2
    assert sum(path.stat().st_size for path in logs) < 1.1 * LONGEST_LOG
    assert "authentication error" in server.last_words(20)


async def test_a_server_that_met_a_full_disk_is_ended_where_its_log_was_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory_nats.server.LOOK_EVERY", 0.01)
    server = EmbeddedServer(tmp_path)
    server.log_path.write_text("what was said before\n" * 1000)
    async with server:
        ending = asyncio.create_task(server.wait())
        aside = server.log_path.rename(tmp_path / "aside")
        server.log_path.write_text("[ERR] no space left on device\n")

        async with asyncio.timeout(10):
            status = await ending

    assert status == 0
    assert aside.stat().st_size > 21_000
