"""Getting onto the bus, or hearing at once why not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.result import Err, Ok
from factory_nats.server import EmbeddedServer, User, free_port


def test_a_seed_has_one_public_key_and_no_two_seeds_are_alike() -> None:
    seed = generate_seed()

    assert seed.startswith("SU")
    assert public_key(seed).startswith("U")
    assert public_key(seed) == public_key(seed + "\n")
    assert generate_seed() != seed


@pytest.mark.parametrize("seed", ["", "SU", "SUABC", "hello world", "U" * 58, "S" * 58])
def test_what_is_no_seed_is_refused_without_being_repeated(seed: str) -> None:
    with pytest.raises(ValueError, match=r"^this is no nkey seed$"):
        public_key(seed)


def test_an_identity_does_not_show_its_secret() -> None:
    seed = generate_seed()

    assert seed not in repr(Identity("hub", seed))


async def test_wrong_credentials_fail_within_a_second(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path, users=[User("hub", public_key(generate_seed()))]) as server:
        for identity in (Identity("hub", generate_seed()), Identity("hub"), Identity("hub", "no seed")):
            async with asyncio.timeout(1):
                outcome = await connect(server.url, identity, patience=60)

            assert isinstance(outcome, Err) and outcome.reason == "unauthorized"


async def test_with_nobody_there_it_fails_at_once() -> None:
    async with asyncio.timeout(1):
        outcome = await connect(f"nats://127.0.0.1:{free_port()}", Identity("hub"))

    assert isinstance(outcome, Err) and outcome.reason == "disconnected"


async def test_a_patient_process_may_start_before_the_server(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    joining = asyncio.create_task(connect(server.url, Identity("hub"), patience=20))

    async with asyncio.timeout(20):
        async with server:
            joined = await joining

            assert isinstance(joined, Ok)
            assert joined.value.is_connected
            await joined.value.close()


async def test_patience_ends() -> None:
    async with asyncio.timeout(5):
        outcome = await connect(f"nats://127.0.0.1:{free_port()}", Identity("hub"), patience=0.2)

    assert isinstance(outcome, Err) and outcome.reason == "disconnected"


async def test_who_waits_for_the_server_says_so_once_and_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()

    await connect(f"nats://ann:pa55word@127.0.0.1:{port}", Identity("hub"), patience=0.3)

    said = [record.getMessage() for record in caplog.records if record.name == "factory_nats.connect"]
    assert said == [f"hub waits for the bus: no server at nats://127.0.0.1:{port} (ConnectionRefusedError)"]


async def test_somebody_who_listens_and_does_not_speak_is_given_up() -> None:
    held: list[asyncio.StreamWriter] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1") as silent:
        port = silent.sockets[0].getsockname()[1]
        outcome = await connect(f"nats://127.0.0.1:{port}", Identity("hub"), timeout=0.1)

    assert isinstance(outcome, Err) and outcome.reason == "timeout"


async def test_somebody_who_speaks_something_else_is_no_server() -> None:
    async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(speak_http, "127.0.0.1") as other:
        port = other.sockets[0].getsockname()[1]
        outcome = await connect(f"nats://127.0.0.1:{port}", Identity("hub"), timeout=1)

    assert isinstance(outcome, Err) and outcome.reason == "disconnected"


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", "a\r\n"])
async def test_a_name_that_would_break_its_inbox_is_refused(name: str, nats_server: EmbeddedServer) -> None:
    outcome = await connect(nats_server.url, Identity(name))

    assert isinstance(outcome, Err) and outcome.reason == "malformed"


@pytest.mark.parametrize(
    "url", ["", "nats://", "nats://[", "nats://host:port", "http://host", "host", "nats://a,", "nats://a:0"]
)
async def test_what_is_no_address_is_refused(url: str) -> None:
    outcome = await connect(url, Identity("hub"), timeout=1)

    assert isinstance(outcome, Err) and outcome.reason == "malformed"


async def test_being_sent_away_for_good_is_told() -> None:
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    info = b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n'

    async def send_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(info)
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
            if line.startswith(b"PUB farewell"):
                writer.write(b"-ERR 'maximum subscriptions exceeded'\r\n")
        writer.close()

    async with await asyncio.start_server(send_away, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        joined = await connect(f"nats://127.0.0.1:{port}", Identity("hub"), on_closed=told.set_result)
        assert isinstance(joined, Ok)
        await joined.value.publish("farewell", b"")
        async with asyncio.timeout(5):
            why = await told
        await joined.value.close()

    assert "maximum subscriptions exceeded" in why
    assert not joined.value.is_connected
