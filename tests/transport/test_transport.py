"""What only a real connection can show: hostile clients, and a server that freezes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from factory_nats.connect import Identity, connect
from factory_nats.result import Err, Ok, Result
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Delivery, Entry, StreamConfig, Transport


class Line:
    """A transport, and when its connection was lost and came back."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.back = asyncio.Event()

    async def join(self, server: EmbeddedServer) -> Transport:
        joined = await connect(server.url, Identity("line"), on_disconnect=self.lost.set, on_reconnect=self.back.set)
        assert isinstance(joined, Ok)
        return joined.value


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(tmp_path) as own:
        yield own


def freeze(server: EmbeddedServer) -> None:
    assert server.pid is not None, server.last_words()
    os.kill(server.pid, signal.SIGSTOP)
    # The signal is on its way when kill() returns; the server runs until it has arrived.
    while Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0)


def kill(server: EmbeddedServer) -> None:
    assert server.pid is not None, server.last_words()
    os.kill(server.pid, signal.SIGKILL)


def thaw(server: EmbeddedServer) -> None:
    assert server.pid is not None, server.last_words()
    os.kill(server.pid, signal.SIGCONT)


async def send_raw(server: EmbeddedServer, line: bytes) -> None:
    """What a hostile or broken client may write, and ours never would."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false}\r\n' + line + b"PING\r\n")
    while not (await reader.readline()).startswith(b"PONG"):
        pass
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("reply", [b"r\xff", b"r\x0br", b"r\rr"])
async def test_what_a_hostile_client_writes_does_not_end_the_listening(server: EmbeddedServer, reply: bytes) -> None:
    held = Line()
    transport = await held.join(server)
    heard: asyncio.Queue[Delivery] = asyncio.Queue()
    await transport.subscribe(">", heard.put_nowait)

    await send_raw(server, b"PUB news %b 1\r\nx\r\n" % reply)
    await transport.publish("news", b"again")
    async with asyncio.timeout(10):
        hostile, after = await heard.get(), await heard.get()
    answered = await transport.publish(hostile.reply, b"")

    assert (hostile.data, after.data) == (b"x", b"again")
    assert isinstance(answered, Err) and answered.reason == "malformed"
    assert not held.lost.is_set()
    await transport.close()


async def test_a_frozen_server_is_noticed_and_used_again_when_it_thaws(server: EmbeddedServer) -> None:
    held = Line()
    transport = await held.join(server)
    await transport.subscribe("silent", lambda delivery: None)
    asked = asyncio.create_task(transport.request("silent", b"", timeout=60))
    await transport.barrier()

    freeze(server)
    async with asyncio.timeout(10):
        await held.lost.wait()
        answer = await asked
    thaw(server)
    async with asyncio.timeout(10):
        await held.back.wait()

    assert isinstance(answer, Err) and answer.reason == "disconnected"
    assert await transport.barrier() == Ok(None)
    await transport.close()


async def test_a_barrier_does_not_pass_while_the_server_has_not_read(server: EmbeddedServer) -> None:
    transport = await Line().join(server)

    freeze(server)
    await transport.publish("a", b"")
    waiting = asyncio.create_task(transport.barrier())
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    thaw(server)

    assert not done
    assert await waiting == Ok(None)
    await transport.close()


async def test_an_append_that_timed_out_may_be_stored(server: EmbeddedServer) -> None:
    transport = await Line().join(server)
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))

    freeze(server)
    outcome = await transport.append([Entry("log.a", b"here", expect=("log.a", 0))], timeout=0.1)
    thaw(server)
    again = await transport.append([Entry("log.a", b"here", expect=("log.a", 0))])
    stored = await transport.read("LOG", "log.a")

    assert isinstance(outcome, Err) and outcome.reason == "timeout"
    assert isinstance(again, Err) and again.reason == "fenced"
    assert isinstance(stored, Ok) and [one.data for one in stored.value] == [b"here"]
    await transport.close()


async def test_an_append_under_which_the_server_dies_is_ambiguous(server: EmbeddedServer) -> None:
    held = Line()
    transport = await held.join(server)
    await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))

    async def append_until_it_fails() -> tuple[int, Err]:
        acknowledged = 0
        while True:
            outcome = await transport.append([Entry("log.a", b"%d" % acknowledged)])
            if isinstance(outcome, Err):
                return acknowledged, outcome
            acknowledged += 1
            if acknowledged == 50:
                asyncio.get_running_loop().call_soon(kill, server)

    async with asyncio.timeout(10):
        acknowledged, outcome = await append_until_it_fails()
    await server.wait()
    assert await server.start() == Ok(None)
    async with asyncio.timeout(10):
        await held.back.wait()
    stored = await transport.read("LOG", "log.a")

    assert outcome.reason == "disconnected"
    assert isinstance(stored, Ok) and len(stored.value) in (acknowledged, acknowledged + 1)
    await transport.close()


async def test_a_cancelled_request_leaves_nothing_behind_and_is_cancelled(nats_server: EmbeddedServer) -> None:
    transport = await Line().join(nats_server)
    inbox = transport.inbox("line", "silent")
    heard = asyncio.Event()
    await transport.subscribe(inbox, lambda delivery: heard.set())
    asked = asyncio.create_task(transport.request(inbox, b"", timeout=60))
    await heard.wait()

    asked.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await transport.barrier() == Ok(None)
    await transport.close()


async def test_closing_while_there_is_no_server_ends_quickly(server: EmbeddedServer) -> None:
    held = Line()
    transport = await held.join(server)
    await server.stop()
    await held.lost.wait()

    async with asyncio.timeout(5):
        await transport.close()

    assert not transport.is_connected


async def test_an_answer_that_comes_too_late_is_dropped(nats_server: EmbeddedServer) -> None:
    transport = await Line().join(nats_server)
    inbox = transport.inbox("line", "slow")
    requests: asyncio.Queue[Delivery] = asyncio.Queue()
    await transport.subscribe(inbox, requests.put_nowait)

    late = await transport.request(inbox, b"", timeout=0.01)
    await transport.publish((await requests.get()).reply, b"late")
    asked = asyncio.create_task(transport.request(inbox, b"", timeout=5))
    await transport.publish((await requests.get()).reply, b"right")

    assert isinstance(late, Err) and late.reason == "timeout"
    assert await asked == Ok(b"right")
    await transport.close()


async def test_a_server_that_does_not_read_does_not_fill_the_memory(server: EmbeddedServer) -> None:
    transport = await Line().join(server)

    freeze(server)
    outcomes: list[Result[None]] = []
    async with asyncio.timeout(30):
        while not outcomes or isinstance(outcomes[-1], Ok):
            outcomes.append(await transport.publish("much", b"x" * 900_000))
    thaw(server)

    last = outcomes[-1]
    assert isinstance(last, Err) and last.reason in ("timeout", "disconnected")
    assert len(outcomes) < 40
    await transport.close()


def test_everything_works_under_uvloop(tmp_path: Path) -> None:
    async def walk() -> list[object]:
        held = Line()
        async with EmbeddedServer(tmp_path) as server:
            transport = await held.join(server)
            tasks: list[asyncio.Task[Result[None]]] = []

            def echo(delivery: Delivery) -> None:
                tasks.append(asyncio.get_running_loop().create_task(transport.publish(delivery.reply, delivery.data)))

            await transport.subscribe("echo", echo)
            await transport.ensure_stream(StreamConfig("LOG", ("log.>",)))
            seen: list[object] = [
                await transport.request("echo", b"hello", timeout=5),
                await transport.append([Entry("log.a", b"1"), Entry("log.a", b"2")]),
                len(tasks),
            ]
            kill(server)
            await server.wait()
            seen.append(await server.start())
            async with asyncio.timeout(10):
                await held.back.wait()
            seen.append(await transport.request("echo", b"again", timeout=5))
            await transport.close()
        return seen

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(walk())

    assert seen == [Ok(b"hello"), Ok(2), 1, Ok(None), Ok(b"again")]


def test_under_uvloop_a_request_that_has_no_time_breaks_no_other(tmp_path: Path) -> None:
    async def ask() -> list[Result[bytes]]:
        async with EmbeddedServer(tmp_path) as server:
            transport = await Line().join(server)
            await transport.subscribe("silent", lambda delivery: None)
            # This loop has no timer for what is due at once, but something else.
            found = await asyncio.gather(*(transport.request("silent", b"", timeout=0.0001) for _ in range(3)))
            await transport.close()
            return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(ask())

    assert [one.reason for one in found if isinstance(one, Err)] == ["timeout"] * 3
