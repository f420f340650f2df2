"""The connection, against servers that are odd, slow, gone or hostile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import ssl
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes
from typing import Any

import nkeys
import pytest
import uvloop

from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.identity import read_credentials
from factory_nats.link import HANDSHAKE, Server, parse_servers
from factory_nats.result import Err, Ok
from factory_nats.server import EmbeddedServer, User, find_binary, free_port
from factory_nats.transport import Delivery, Transport

# As `nsc` writes them; the ticket is made up.
CREDENTIALS = """-----BEGIN NATS USER JWT-----
eyJ0.eyJq.c2ln-_
------END NATS USER JWT------

************************* IMPORTANT *************************
-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])

LINE = Identity("line")


@dataclass(slots=True)
class Caller:
    """A client's connection, as a server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    introduction: dict[str, Any] = field(default_factory=dict)

    def say(self, *lines: bytes) -> None:
        self.writer.write(b"".join(line + b"\r\n" for line in lines))

    def inform(self, **said: object) -> None:
        self.say(b"INFO " + json.dumps({"max_payload": 1 << 20, "headers": True, **said}).encode())

    async def hear(self, word: bytes) -> bytes:
        """The next line that begins with the word; pings before it are answered."""
        while line := await self.reader.readline():
            if line.startswith(word):
                return line.strip()
            if line.startswith(b"PING"):
                self.say(b"PONG")
        raise ConnectionResetError

    async def let_in(self, **said: object) -> None:
        """The whole handshake, to the answer for the first subscription's ping."""
        self.inform(**said)
        self.introduction = json.loads((await self.hear(b"CONNECT ")).removeprefix(b"CONNECT "))
        await self.hear(b"SUB ")
        await self.hear(b"PING")
        self.say(b"PONG")

    async def serve(self) -> None:
        """Answer pings until the client leaves."""
        with contextlib.suppress(ConnectionError):
            await self.hear(b"nothing that a client says")


class ScriptedServer:
    """A server that follows a script, once for each caller; the last script serves all who come after."""

    def __init__(self, *scripts: Callable[[Caller], Awaitable[None]], port: int = 0) -> None:
        self._scripts = list(scripts)
        self._port = port
        self.callers: list[Caller] = []
        self.left = asyncio.Queue[Caller]()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._listening is not None
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def __aenter__(self) -> ScriptedServer:
        self._listening = await asyncio.start_server(self._welcome, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._listening is not None
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listening.wait_closed()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        caller = Caller(reader, writer)
        script = self._scripts[min(len(self.callers), len(self._scripts) - 1)]
        self.callers.append(caller)
        try:
            await script(caller)
        except ConnectionError:
            pass
        finally:
            self.left.put_nowait(caller)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def welcome(caller: Caller) -> None:
    await caller.let_in()
    await caller.serve()


async def until_it_leaves(caller: Caller) -> None:
    while await caller.reader.read(65536):
        pass


class Watched:
    """A transport, and what its owner was told."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.back = asyncio.Event()
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def join(self, url: str, identity: Identity = LINE, **options: Any) -> Transport:
        joined = await connect(
            url,
            identity,
            on_disconnect=self.lost.set,
            on_reconnect=self.back.set,
            on_closed=self.closed.set_result,
            **options,
        )
        assert isinstance(joined, Ok), joined
        return joined.value


def run(loop: Callable[[], asyncio.AbstractEventLoop], walk: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await walk

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(limited())


# Addresses


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("nats://a", [Server("a", 4222)]),
        ("tls://a:1,nats://[::1]:2", [Server("a", 1, True), Server("::1", 2)]),
        ("nats://me:p%40ss@a:1", [Server("a", 1, user="me", password="p@ss")]),
        ("nats://token@a:1", [Server("a", 1, user="token")]),
    ],
)
def test_an_address_names_servers_and_how_to_log_in(url: str, servers: list[Server]) -> None:
    assert parse_servers(url) == Ok(tuple(servers))


@pytest.mark.parametrize("url", ["nats://me:secret@a:0", "nats://secret@", "http://me:secret@a"])
def test_a_wrong_address_is_refused_without_its_secret(url: str) -> None:
    refused = parse_servers(url)

    assert isinstance(refused, Err) and refused.reason == "malformed"
    assert "secret" not in refused.detail
    assert "secret" not in repr(parse_servers("nats://me:secret@a"))


@pytest.mark.parametrize(
    ("userinfo", "login"),
    [("me:p%40ss@", {"user": "me", "pass": "p@ss"}), ("word@", {"auth_token": "word"}), ("", {})],
)
async def test_what_the_address_says_about_logging_in_is_told_to_a_server_that_asks(
    userinfo: str, login: dict[str, str]
) -> None:
    async def ask(caller: Caller) -> None:
        await caller.let_in(auth_required=True)
        await caller.serve()

    async with ScriptedServer(ask, welcome) as server:
        url = server.url.replace("//", f"//{userinfo}")
        asked, not_asked = await Watched().join(url), await Watched().join(url)
        told = [
            {key: caller.introduction.get(key) for key in ("user", "pass", "auth_token") if key in caller.introduction}
            for caller in server.callers
        ]
        await asked.close()
        await not_asked.close()

    assert told == [login, {}]


async def test_a_seed_signs_the_nonce_and_is_never_sent(tmp_path: Path) -> None:
    seed = generate_seed()

    async def challenge(caller: Caller) -> None:
        await caller.let_in(auth_required=True, nonce="once")
        await caller.serve()

    async with ScriptedServer(challenge) as server:
        transport = await Watched().join(server.url, Identity("line", seed))
        (caller,) = server.callers
        await transport.close()

    assert caller.introduction["nkey"] == public_key(seed)
    assert caller.introduction["sig"]
    assert seed not in json.dumps(caller.introduction)


async def test_who_has_a_ticket_shows_it_instead_of_a_key_and_waits_where_it_is_told_to(tmp_path: Path) -> None:
    seed, ticket = read_credentials(CREDENTIALS.format(seed=(one := generate_seed())))

    async def challenge(caller: Caller) -> None:
        await caller.let_in(auth_required=True, nonce="once")
        await caller.serve()

    async with ScriptedServer(challenge) as server:
        identity = Identity("line", seed, ticket=ticket, inboxes="_INBOX.others")
        transport = await Watched().join(server.url, identity)
        (caller,) = server.callers
        await transport.close()

    assert seed == one
    assert caller.introduction["jwt"] == "eyJ0.eyJq.c2ln-_"
    assert caller.introduction["sig"]
    assert "nkey" not in caller.introduction
    assert transport.inbox("$", "x").startswith("_INBOX.others.$.")


@pytest.mark.parametrize("text", ["", "SUx", "{seed} {seed}", "-----BEGIN NATS USER JWT-----\nx\n"])
def test_what_holds_no_key_is_no_credentials(text: str) -> None:
    with pytest.raises(ValueError, match="no nkey seed"):
        read_credentials(text.format(seed=generate_seed()))


# Handshakes


async def close_at_once(caller: Caller) -> None:
    pass


async def close_after_info(caller: Caller) -> None:
    caller.inform()


async def close_after_connect(caller: Caller) -> None:
    caller.inform()
    await caller.hear(b"CONNECT ")


async def close_after_login(caller: Caller) -> None:
    caller.inform()
    await caller.hear(b"SUB ")


async def say_garbage(caller: Caller) -> None:
    caller.say(b"HTTP/1.1 400 Bad Request", b"")
    await until_it_leaves(caller)


async def never_end_a_line(caller: Caller) -> None:
    while True:
        caller.writer.write(b"x" * 4096)
        await caller.writer.drain()


async def say_garbage_after_info(caller: Caller) -> None:
    caller.inform()
    await caller.hear(b"CONNECT ")
    caller.say(b"MSG a 1 -5", b"")
    await until_it_leaves(caller)


@pytest.mark.parametrize(
    "script",
    [
        close_at_once,
        close_after_info,
        close_after_connect,
        close_after_login,
        say_garbage,
        never_end_a_line,
        say_garbage_after_info,
    ],
)
async def test_a_handshake_that_breaks_fails_at_once(script: Callable[[Caller], Awaitable[None]]) -> None:
    async with ScriptedServer(script) as server, asyncio.timeout(HANDSHAKE):
        outcome = await connect(server.url, LINE, timeout=60)

    assert isinstance(outcome, Err) and outcome.reason == "disconnected"


async def silent(caller: Caller) -> None:
    await until_it_leaves(caller)


async def silent_after_info(caller: Caller) -> None:
    caller.inform()
    await until_it_leaves(caller)


async def silent_after_login(caller: Caller) -> None:
    caller.inform()
    await caller.hear(b"SUB ")
    await until_it_leaves(caller)


@pytest.mark.parametrize("script", [silent, silent_after_info, silent_after_login])
async def test_a_handshake_that_gets_stuck_is_given_up(script: Callable[[Caller], Awaitable[None]]) -> None:
    async with ScriptedServer(script) as server, asyncio.timeout(5):
        outcome = await connect(server.url, LINE, timeout=0.1)
        await server.left.get()

    assert isinstance(outcome, Err) and outcome.reason == "timeout"


@LOOPS
@pytest.mark.parametrize("script", [silent, silent_after_info, silent_after_login])
@pytest.mark.parametrize("how", ["cancelled", "told"])
def test_joining_that_is_called_off_leaves_nothing_behind(
    loop: Callable[[], asyncio.AbstractEventLoop], script: Callable[[Caller], Awaitable[None]], how: str
) -> None:
    async def walk() -> None:
        arrived, until = asyncio.Event(), asyncio.Event()

        async def note(caller: Caller) -> None:
            arrived.set()
            await script(caller)

        async with ScriptedServer(note) as server:
            before = asyncio.all_tasks()
            joining = asyncio.create_task(connect(server.url, LINE, timeout=60, until=until))
            await arrived.wait()

            if how == "cancelled":
                joining.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await joining
            else:
                until.set()
                outcome = await joining
                assert isinstance(outcome, Err) and outcome.reason == "disconnected"

            await server.left.get()
            ours = {task for task in asyncio.all_tasks() - before if "connect" in repr(task.get_coro())}
            assert ours == set()

    run(loop, walk())


async def test_joining_can_be_called_off_while_nobody_listens() -> None:
    until = asyncio.Event()
    joining = asyncio.create_task(connect(f"nats://127.0.0.1:{free_port()}", LINE, patience=60, until=until))

    asyncio.get_running_loop().call_later(0.05, until.set)
    async with asyncio.timeout(5):
        outcome = await joining

    assert isinstance(outcome, Err) and outcome.reason == "disconnected"


async def test_a_complaint_before_the_first_pong_says_why() -> None:
    def complain(text: bytes) -> Callable[[Caller], Awaitable[None]]:
        async def script(caller: Caller) -> None:
            caller.inform()
            await caller.hear(b"CONNECT ")
            caller.say(b"-ERR '%b'" % text)

        return script

    reasons = []
    for text in (b"Authorization Violation", b"maximum connections exceeded", b"Authentication Timeout"):
        async with ScriptedServer(complain(text)) as server:
            outcome = await connect(server.url, LINE)
        assert isinstance(outcome, Err) and text.decode() in outcome.detail
        reasons.append(outcome.reason)

    assert reasons == ["unauthorized", "disconnected", "disconnected"]


async def test_a_server_that_is_full_is_asked_again_by_the_patient() -> None:
    async def refuse(caller: Caller) -> None:
        caller.inform()
        await caller.hear(b"CONNECT ")
        caller.say(b"-ERR 'maximum connections exceeded'")

    async with ScriptedServer(refuse, welcome) as server:
        transport = await Watched().join(server.url, patience=10)
        await transport.close()

    assert len(server.callers) == 2


async def test_a_pong_that_nobody_asked_for_lets_nobody_in() -> None:
    async def hasty(caller: Caller) -> None:
        caller.say(b"PONG", b"PONG")
        caller.inform()
        caller.say(b"PONG")
        await caller.hear(b"CONNECT ")
        caller.say(b"-ERR 'Authorization Violation'")

    async with ScriptedServer(hasty) as server:
        outcome = await connect(server.url, LINE)

    assert isinstance(outcome, Err)


async def test_the_second_address_serves_when_the_first_is_dead() -> None:
    async with ScriptedServer(welcome) as server:
        transport = await Watched().join(f"nats://127.0.0.1:{free_port()},{server.url}")

        assert transport.is_connected
        await transport.close()


async def test_of_several_failures_the_one_that_says_most_is_told() -> None:
    async def refuse(caller: Caller) -> None:
        caller.inform()
        await caller.hear(b"CONNECT ")
        caller.say(b"-ERR 'Authorization Violation'")

    async with ScriptedServer(refuse) as server:
        dead = f"nats://127.0.0.1:{free_port()}"
        outcomes = [await connect(url, LINE, patience=60) for url in (f"{dead},{server.url}", f"{server.url},{dead}")]

    assert [one.reason for one in outcomes if isinstance(one, Err)] == ["unauthorized"] * 2


# A connection's life


async def test_what_comes_in_pieces_is_put_together() -> None:
    payload = bytes(range(256)) * 1000
    header = b"NATS/1.0\r\nA: b\r\n\r\n"

    async def crumble(caller: Caller) -> None:
        await caller.let_in()
        sub = (await caller.hear(b"SUB ")).split()
        await caller.hear(b"PING")
        caller.say(b"PONG")
        raw = b"MSG news %b 2\r\nhi\r\n" % sub[2]
        raw += b"HMSG news %b back %d %d\r\n%b%b\r\n" % (sub[2], len(header), len(header + payload), header, payload)
        for place in range(60):
            caller.writer.write(raw[place : place + 1])
            await asyncio.sleep(0)
        for place in range(60, len(raw), 9999):
            caller.writer.write(raw[place : place + 9999])
            await caller.writer.drain()
        await caller.serve()

    heard: asyncio.Queue[Delivery] = asyncio.Queue()
    async with ScriptedServer(crumble) as server:
        transport = await Watched().join(server.url)
        await transport.subscribe("news", heard.put_nowait)
        async with asyncio.timeout(10):
            first, second = await heard.get(), await heard.get()
        await transport.close()

    assert first == Delivery("news", b"hi", "")
    assert second == Delivery("news", payload, "back", {"A": "b"})


async def test_what_is_for_no_subscription_of_ours_is_dropped() -> None:
    async def mistake(caller: Caller) -> None:
        await caller.let_in()
        caller.say(b"MSG a 99 2", b"hi", b"MSG a x 2", b"hi")
        await caller.serve()

    async with ScriptedServer(mistake) as server:
        transport = await Watched().join(server.url)

        assert await transport.barrier() == Ok(None)
        await transport.close()


async def test_a_servers_ping_is_answered() -> None:
    answered = asyncio.Event()

    async def ask(caller: Caller) -> None:
        await caller.let_in()
        caller.say(b"PING")
        await caller.hear(b"PONG")
        answered.set()
        await caller.serve()

    async with ScriptedServer(ask) as server, asyncio.timeout(5):
        transport = await Watched().join(server.url)
        await answered.wait()
        await transport.close()


async def break_off(caller: Caller) -> None:
    await caller.let_in()
    await caller.hear(b"PUB go")


async def turn_to_garbage(caller: Caller) -> None:
    await caller.let_in()
    await caller.hear(b"PUB go")
    caller.say(b"\x00\x01\x02")
    await caller.serve()


async def complain_of_slowness(caller: Caller) -> None:
    await caller.let_in()
    await caller.hear(b"PUB go")
    caller.say(b"-ERR 'Slow Consumer'")


async def complain_of_staleness(caller: Caller) -> None:
    await caller.let_in()
    await caller.hear(b"PUB go")
    caller.say(b"-ERR 'Stale Connection'")
    await caller.serve()


@pytest.mark.parametrize("script", [break_off, turn_to_garbage, complain_of_slowness, complain_of_staleness])
async def test_a_connection_that_breaks_is_made_anew_with_all_that_was_subscribed(
    script: Callable[[Caller], Awaitable[None]],
) -> None:
    subjects: list[bytes] = []

    async def again(caller: Caller) -> None:
        caller.inform()
        subjects.append((await caller.hear(b"SUB ")).split()[1])
        await caller.serve()

    held = Watched()
    async with ScriptedServer(script, again) as server, asyncio.timeout(10):
        transport = await held.join(server.url)
        await transport.publish("go", b"")
        await held.lost.wait()
        await held.back.wait()

        assert transport.is_connected and not held.closed.done()
        assert await transport.barrier() == Ok(None)
        assert subjects == [transport.inbox("*", "_.*.*").encode()]
        await transport.close()


async def test_a_complaint_that_will_not_pass_ends_it_for_good() -> None:
    async def complain(caller: Caller) -> None:
        await caller.let_in()
        await caller.hear(b"PUB go")
        caller.say(b"-ERR 'User Authentication Revoked'")
        await caller.serve()

    held = Watched()
    async with ScriptedServer(complain) as server, asyncio.timeout(5):
        transport = await held.join(server.url)
        await transport.publish("go", b"")
        why = await held.closed
        await transport.close()

    assert why == "User Authentication Revoked"
    assert len(server.callers) == 1


async def test_a_key_that_is_unknown_on_the_way_back_ends_it_for_good() -> None:
    async def leave(caller: Caller) -> None:
        await caller.let_in()
        await caller.hear(b"PUB go")

    async def refuse(caller: Caller) -> None:
        caller.inform()
        await caller.hear(b"CONNECT ")
        caller.say(b"-ERR 'Authorization Violation'")

    held = Watched()
    async with ScriptedServer(leave, refuse) as server, asyncio.timeout(5):
        transport = await held.join(server.url)
        await transport.publish("go", b"")
        why = await held.closed
        await transport.close()

    assert "Authorization Violation" in why
    assert held.lost.is_set() and not held.back.is_set()


async def test_one_server_of_several_that_knows_the_key_is_gone_back_to() -> None:
    async def leave(caller: Caller) -> None:
        await caller.let_in()
        await caller.hear(b"PUB go")

    async def refuse(caller: Caller) -> None:
        caller.inform()
        await caller.hear(b"CONNECT ")
        caller.say(b"-ERR 'Authorization Violation'")

    held = Watched()
    async with (
        ScriptedServer(leave, refuse) as forgetful,
        ScriptedServer(welcome) as other,
        asyncio.timeout(5),
    ):
        transport = await held.join(f"{forgetful.url},{other.url}")
        await transport.publish("go", b"")
        await held.back.wait()

        assert not held.closed.done()
        await transport.close()


async def test_a_server_that_speaks_and_does_not_read_is_left() -> None:
    """It would keep the connection open for ever, and take messages to nowhere."""

    async def chatter(caller: Caller) -> None:
        loop = asyncio.get_running_loop()

        def chat() -> None:
            caller.say(*[b"PING"] * 100)
            if not caller.writer.is_closing():
                loop.call_later(0.01, chat)

        await caller.let_in()
        chat()
        await asyncio.Event().wait()

    held = Watched()
    async with ScriptedServer(chatter, welcome) as server, asyncio.timeout(10):
        transport = await held.join(server.url)
        outcomes = [await transport.publish("much", b"x" * 900_000) for _ in range(20)]
        await held.back.wait()
        await transport.close()

    assert [one.reason for one in outcomes if isinstance(one, Err)]


async def test_a_request_does_not_wait_longer_for_room_than_for_an_answer() -> None:
    async def take_nothing(caller: Caller) -> None:
        await caller.let_in()
        await asyncio.Event().wait()

    async with ScriptedServer(take_nothing) as server:
        transport = await Watched().join(server.url)
        began = asyncio.get_running_loop().time()
        outcomes = [await transport.request("much", b"x" * 900_000, timeout=0.1) for _ in range(12)]
        lasted = asyncio.get_running_loop().time() - began
        await transport.close()

    assert {one.reason for one in outcomes if isinstance(one, Err)} <= {"timeout"}
    assert lasted < 3


async def test_a_server_that_is_about_to_end_is_left_for_another_that_it_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    held = Watched()
    async with ScriptedServer(welcome) as other:

        async def retire(caller: Caller) -> None:
            await caller.let_in(auth_required=True)
            caller.inform(ldm=True, connect_urls=[f"127.0.0.1:{other.port}", "no address", "", "a:b"])

        async with ScriptedServer(retire, close_at_once) as leaving, asyncio.timeout(10):
            transport = await held.join(leaving.url.replace("//", "//me:secret@"))
            await held.back.wait()

            assert transport.is_connected
            assert len(other.callers) == 1
            await transport.close()

    assert "is about to end" in caplog.text
    assert "secret" not in caplog.text


async def test_what_was_unsubscribed_while_coming_back_is_unsubscribed_at_the_server() -> None:
    said: list[bytes] = []
    subscribed, unsubscribed, seen = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def break_when_told(caller: Caller) -> None:
        await caller.let_in()
        await caller.hear(b"SUB news")
        await caller.hear(b"PING")
        caller.say(b"PONG")

    async def come_back_slowly(caller: Caller) -> None:
        caller.inform()
        said.append(await caller.hear(b"SUB news"))
        subscribed.set()
        await unsubscribed.wait()
        said.append(await caller.hear(b"UNSUB"))
        seen.set()
        await caller.serve()

    held = Watched()
    async with ScriptedServer(break_when_told, come_back_slowly) as server, asyncio.timeout(10):
        transport = await held.join(server.url)
        news = await transport.subscribe("news", lambda delivery: None)
        assert isinstance(news, Ok)
        await subscribed.wait()
        await news.value.unsubscribe()
        unsubscribed.set()
        await seen.wait()
        await transport.close()

    assert said[0].split()[2] == said[1].split()[1]


async def test_a_right_that_is_missing_is_known_by_its_exact_subject(tmp_path: Path) -> None:
    seed = generate_seed()
    user = User("line", public_key(seed), ("allowed.>",), ("heard.>",))
    async with EmbeddedServer(tmp_path, users=[user]) as server:
        transport = await Watched().join(server.url, Identity("line", seed))
        odd = 'other."quoted\\back'
        for subject in (odd, "Other.case"):
            assert await transport.publish(subject, b"") == Ok(None)
        await transport.barrier()
        outcomes = [await transport.publish(subject, b"") for subject in (odd, "Other.case", "other.case")]
        heard = await transport.subscribe('else."where', lambda delivery: None)
        await transport.close()

    assert [isinstance(one, Err) and one.reason for one in outcomes] == ["forbidden", "forbidden", False]
    assert isinstance(heard, Err) and heard.reason == "forbidden"


async def test_closing_with_a_server_that_does_not_answer_takes_seconds_at_most() -> None:
    async def fall_silent(caller: Caller) -> None:
        await caller.let_in()
        await asyncio.Event().wait()

    async with ScriptedServer(fall_silent) as server:
        transport = await Watched().join(server.url)
        async with asyncio.timeout(4):
            await transport.close()

    assert not transport.is_connected


# Real servers


@asynccontextmanager
async def bare_server(folder: Path, *arguments: str) -> AsyncIterator[dict[str, list[str]]]:
    """A nats-server on ports of its own choice, and what it says they are."""
    binary = find_binary()
    assert binary is not None
    folder.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        str(binary), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(folder), *arguments,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    file = folder / f"{binary.name}_{process.pid}.ports"
    try:
        async with asyncio.timeout(20):
            while not (file.exists() and (said := file.read_text()).endswith("}")):
                assert process.returncode is None
                await asyncio.sleep(0)
        yield json.loads(said)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("arguments", "right", "wrong"),
    [
        (("--user", "me", "--pass", "p@ss"), "me:p%40ss@", "me:pass@"),
        (("--auth", "word"), "word@", "words@"),
    ],
)
async def test_a_server_lets_in_by_password_or_token(
    tmp_path: Path, arguments: tuple[str, ...], right: str, wrong: str
) -> None:
    async with bare_server(tmp_path, *arguments) as ports:
        url = ports["nats"][0]
        transport = await Watched().join(url.replace("//", f"//{right}"))
        refused = [await connect(url.replace("//", f"//{login}"), LINE) for login in (wrong, "")]
        await transport.close()

    assert [one.reason for one in refused if isinstance(one, Err)] == ["unauthorized"] * 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key and certificate of a server that is called localhost."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@LOOPS
@pytest.mark.parametrize("scheme", ["nats", "tls"])
def test_a_server_that_wants_tls_gets_it(
    tmp_path: Path,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    loop: Callable[[], asyncio.AbstractEventLoop],
    scheme: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    options = ("--tls", "--tlscert", str(certificate / "cert.pem"), "--tlskey", str(certificate / "key.pem"))

    async def walk() -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        async with bare_server(tmp_path, *options) as ports:
            url = f"{scheme}://localhost:{ports['nats'][0].rpartition(':')[2]}"
            transport = await Watched().join(url)
            await transport.subscribe("large", lambda delivery: heard.put_nowait(delivery.data))
            for _ in range(5):
                assert await transport.publish("large", b"x" * 900_000) == Ok(None)
            assert [len(await heard.get()) for _ in range(5)] == [900_000] * 5
            await transport.close()

    run(loop, walk())


@LOOPS
def test_a_server_whose_certificate_nobody_knows_is_not_trusted(
    tmp_path: Path, certificate: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    options = ("--tls", "--tlscert", str(certificate / "cert.pem"), "--tlskey", str(certificate / "key.pem"))

    async def walk() -> None:
        async with bare_server(tmp_path, *options) as ports:
            port = ports["nats"][0].rpartition(":")[2]
            outcome = await connect(f"tls://localhost:{port}", LINE)
        assert isinstance(outcome, Err) and outcome.reason == "disconnected"
        assert "SSLCertVerificationError" in outcome.detail

    run(loop, walk())


async def test_an_address_that_asks_for_tls_is_never_served_without(nats_server: EmbeddedServer) -> None:
    outcome = await connect(nats_server.url.replace("nats://", "tls://"), LINE)

    assert isinstance(outcome, Err) and outcome.reason == "disconnected"
    assert "TLS" in outcome.detail


async def test_what_was_said_before_tls_does_not_count() -> None:
    async def inject(caller: Caller) -> None:
        caller.inform(tls_required=True)
        caller.say(b"PONG", b"MSG a 1 2", b"hi", b"PONG")
        await until_it_leaves(caller)

    async with ScriptedServer(inject) as server:
        outcome = await connect(server.url, LINE, timeout=0.3)

    assert isinstance(outcome, Err)


@LOOPS
def test_when_a_server_of_a_cluster_dies_another_is_found(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def others(port: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        said = json.loads((await reader.readline()).removeprefix(b"INFO "))
        writer.close()
        await writer.wait_closed()
        return len(said.get("connect_urls", []))

    async def walk() -> None:
        cluster = ("--cluster_name", "c", "--cluster", "nats://127.0.0.1:-1")
        held = Watched()
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        async with contextlib.AsyncExitStack() as first_alone:
            first = await first_alone.enter_async_context(bare_server(tmp_path / "1", *cluster))
            async with bare_server(tmp_path / "2", *cluster, "--routes", first["cluster"][0]) as second:
                while await others(first["nats"][0].rpartition(":")[2]) < 2:
                    pass
                transport = await held.join(first["nats"][0])
                await transport.subscribe("news", lambda delivery: heard.put_nowait(delivery.data))
                await first_alone.aclose()
                await held.back.wait()
                other = await Watched().join(second["nats"][0])
                await other.publish("news", b"here")
                assert await heard.get() == b"here"
                await transport.close()
                await other.close()

    run(loop, walk())


def operators_ticket(issuer: nkeys.KeyPair, subject: str, name: str, kind: str, **about: object) -> str:
    """What an operator, or an account, says of a key, signed."""
    claims = {"jti": name, "iat": 1, "iss": issuer.public_key.decode(), "name": name, "sub": subject}
    said = {**claims, "nats": {"type": kind, "version": 2, **about}}
    head = {"typ": "JWT", "alg": "ed25519-nkey"}
    parts = [urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (head, said)]
    signature = urlsafe_b64encode(issuer.sign(b".".join(parts))).rstrip(b"=")
    return b".".join((*parts, signature)).decode()


async def test_a_server_of_an_operator_lets_in_who_has_credentials(tmp_path: Path) -> None:
    operator, account, user = (
        nkeys.from_seed(bytearray(nkeys.encode_seed(token_bytes(32), prefix)))
        for prefix in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER)
    )
    key = account.public_key.decode()
    limits = {"subs": -1, "data": -1, "payload": -1}
    of_account = {**limits, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
    config = tmp_path / "operator.conf"
    config.write_text(
        f"operator: {operators_ticket(operator, operator.public_key.decode(), 'O', 'operator')}\n"
        f"resolver: MEMORY\n"
        f"resolver_preload: {{ {key}: {operators_ticket(operator, key, 'A', 'account', limits=of_account)} }}\n"
    )
    ticket = operators_ticket(account, user.public_key.decode(), "U", "user", **limits)
    text = CREDENTIALS.replace("eyJ0.eyJq.c2ln-_", ticket).format(seed=user.seed.decode())
    seed, read = read_credentials(text)

    async with bare_server(tmp_path / "ports", "-c", str(config)) as ports:
        url = ports["nats"][0]
        joined = await connect(url, Identity("line", seed, ticket=read, inboxes="_INBOX.agents"))
        refused = await connect(url, Identity("line", generate_seed(), ticket=read))
        assert isinstance(joined, Ok), joined
        heard: list[Delivery] = []
        assert isinstance(await joined.value.subscribe("news", heard.append), Ok)
        await joined.value.publish("news", b"", reply=joined.value.inbox("$", "x"))
        while not heard:
            await joined.value.barrier()
        await joined.value.close()

    assert heard[0].reply.startswith("_INBOX.agents.")
    assert isinstance(refused, Err) and refused.reason == "unauthorized"
