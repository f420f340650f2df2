"""The whole walk on a real bus: spoke, hub, worker and a scripted model, all but the platform as they are."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from adapters.nats.log import JetStreamLog
from adapters.spoke import Reply, Spoke
from factory_contracts import subjects
from factory_contracts.messages import (
    FROM_SPOKE,
    TO_SPOKE,
    Accepted,
    Address,
    AlreadyAccepted,
    InboundMessage,
    Refused,
    Said,
    Submit,
    ToSpoke,
)
from factory_contracts.records import RECORD, Record, TurnAnswered, TurnReceived
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from factory_nats.transport import Transport
from hub.composition import SUPERSEDED, serve
from hub.kernel.ports import Fenced
from hub.kernel.routing import RoutingKey
from tests.fakes import eventually, until
from tests.nursery import Child, nursery
from tests.reign import BOT, PLATFORM, settings
from workers.clipool.composition import ClipoolSettings, compose, run

SCRIPT = """
[[reply]]
match = "slowly"
steps = [{ burst = 40, text = "word ", pace_ms = 20 }]

[[reply]]
match = "count to (\\\\d+)"
steps = [{ say = ["One, ", "two, ", "three."], pace_ms = 150 }]

[[reply]]
steps = [{ say = "You said: {said}" }]
"""


class Paper:
    """A platform that keeps everything that ever stood on it."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.stood: dict[str, list[str]] = {}
        self.finals: dict[str, Reply] = {}

    async def send(self, reply: Reply) -> str:
        message_id = f"b{len(self.sent)}"
        self.sent.append(reply.turn)
        self.stood[message_id] = [reply.text]
        return message_id

    async def edit(self, message_id: str, reply: Reply) -> None:
        self.stood[message_id].append(reply.text)
        if reply.is_final:
            self.finals[reply.turn] = reply

    async def said(self, said: Said) -> None:
        pass


class Town:
    """Everything that runs, and how it is started and ended."""

    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedServer(folder / "nats", streams=[subjects.STREAM])
        self.paper = Paper()
        self.calls = folder / "calls.jsonl"
        self._script = folder / "script.toml"
        self._script.write_text(SCRIPT)
        self._messages = 0
        self._stack = AsyncExitStack()
        self._workers = AsyncExitStack()

    async def join(self, name: str) -> Transport:
        joined = await connect(self.server.url, Identity(name), patience=10)
        assert isinstance(joined, Ok)
        self._stack.push_async_callback(joined.value.close)
        return joined.value

    async def hub(self, *, standby: bool = False) -> asyncio.Task[int]:
        stop = asyncio.Event()
        task = asyncio.create_task(serve(settings(self.server.url, standby=standby), stop))

        async def end() -> None:
            stop.set()
            await task

        self._stack.push_async_callback(end)
        return task

    def hub_process(self, *options: str) -> Child:
        with open(os.devnull, "r+b") as nowhere:
            where = nowhere.fileno()
            arguments = [self.server.url, *options]
            hub = nursery("hub.composition").bear("tests.reign", arguments, stdin=where, stdout=where, stderr=where)
        self._stack.callback(hub.end)
        return hub

    async def worker(self) -> None:
        transport = await self.join("w1")
        until_told = asyncio.Event()
        kit = compose(ClipoolSettings(self.server.url, Identity("w1"), script=self._script, calls_file=self.calls))
        task = asyncio.create_task(run(transport, kit, until_told))

        async def end() -> None:
            until_told.set()
            await task

        self._workers.push_async_callback(end)

    async def spoke(self) -> Spoke:
        spoke = Spoke(await self.join(f"{PLATFORM}-{BOT}"), PLATFORM, BOT, self.paper)
        self._stack.push_async_callback(spoke.close)
        await spoke.start()
        return spoke

    def message(self, text: str, scope: str = "chat") -> InboundMessage:
        self._messages += 1
        return InboundMessage(
            message_id=f"m{self._messages}",
            user_id="ann",
            user_name="Ann",
            text=text,
            address=Address(platform=PLATFORM, bot_id=BOT, scope_id=scope, pace_ms=10),
        )

    async def say(self, spoke: Spoke, text: str, scope: str = "chat") -> str:
        return await self.submitted(spoke, self.message(text, scope))

    async def submitted(self, spoke: Spoke, message: InboundMessage) -> str:
        answer = await spoke.submit(message)
        assert isinstance(answer, Accepted | AlreadyAccepted), answer
        return answer.turn

    async def answered(self, turn: str) -> Reply:
        await until(lambda: turn in self.paper.finals, seconds=20)
        return self.paper.finals[turn]

    async def records(self, transport: Transport, scope: str = "chat") -> list[Record]:
        key = RoutingKey(PLATFORM, BOT, scope)
        stored = await transport.read(subjects.STREAM, key.subject)
        assert isinstance(stored, Ok)
        return [RECORD.decode(one.data) for one in stored.value]

    async def settled(self, transport: Transport, scope: str = "chat") -> list[Record]:
        """The records of a scope once the last is a receipt."""
        return await eventually(
            lambda: self.records(transport, scope), lambda records: [one.kind for one in records[-1:]] == ["shown"]
        )

    def model_calls(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0

    async def __aenter__(self) -> Town:
        await self._stack.enter_async_context(self.server)
        return self

    async def __aexit__(self, *error: object) -> None:
        # A worker that ends waits for a hub's word that its turns may be forgotten.
        await self._workers.aclose()
        await self._stack.aclose()


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with Town(tmp_path) as town:
        yield town


async def test_a_message_walks_to_its_answer_and_every_step_is_on_the_log(town: Town) -> None:
    await town.hub()
    await town.worker()
    spoke = await town.spoke()

    turn = await town.say(spoke, "please count to 3")
    reply = await town.answered(turn)

    assert reply.text == "One, two, three."
    assert reply.outcome == "complete"
    assert town.paper.sent == [turn]
    stood = town.paper.stood["b0"]
    assert len(stood) > 2
    assert all("One, two, three.".startswith(text) for text in stood[1:])
    records = await town.settled(await town.join("reader"))
    kinds = [record.kind for record in records]
    assert sorted(kinds) == ["answered", "opened", "received", "shown"]
    assert (kinds[0], kinds[-1]) == ("received", "shown")
    received = records[0]
    assert isinstance(received, TurnReceived)
    assert received.start is not None
    assert (received.start.attempt, received.start.worker) == (1, "w1")
    assert {record.turn for record in records} == {turn}


async def test_a_conversation_is_answered_in_its_order_and_remembered(town: Town) -> None:
    await town.hub()
    await town.worker()
    spoke = await town.spoke()

    turns = [await town.say(spoke, f"number {number}") for number in range(5)]
    for turn in turns:
        await town.answered(turn)

    assert town.paper.sent == turns
    assert [town.paper.finals[turn].text for turn in turns] == [f"You said: number {n}" for n in range(5)]
    welcome = await spoke.hello("chat")
    assert [one.asked for one in welcome.history] == [f"number {number}" for number in range(5)]
    assert welcome.agent == "alice"


async def test_many_conversations_at_once_are_all_answered(town: Town) -> None:
    await town.hub()
    await town.worker()
    spoke = await town.spoke()

    turns = await asyncio.gather(*(town.say(spoke, "hello", f"chat {number}") for number in range(50)))
    for turn in turns:
        await town.answered(turn)

    assert sorted(town.paper.sent) == sorted(turns)
    assert town.model_calls() == 50


async def test_the_parts_may_start_in_any_order(town: Town) -> None:
    joining = asyncio.create_task(town.spoke())
    await town.worker()
    await town.hub()
    spoke = await joining

    turn = await town.say(spoke, "hello")

    assert (await town.answered(turn)).text == "You said: hello"


async def test_the_hub_runs_on_without_a_worker_and_the_answer_comes_with_one(town: Town) -> None:
    await town.hub()
    spoke = await town.spoke()
    turn = await town.say(spoke, "hello")

    await town.worker()

    assert (await town.answered(turn)).text == "You said: hello"


async def test_a_stop_ends_a_long_answer_and_keeps_what_was_said(town: Town) -> None:
    await town.hub()
    await town.worker()
    spoke = await town.spoke()
    turn = await town.say(spoke, "speak slowly")
    await until(lambda: bool(town.paper.sent))

    await town.say(spoke, "/stop")
    reply = await town.answered(turn)

    assert reply.outcome == "stopped"
    assert reply.text != "word " * 40
    assert ("word " * 40).startswith(reply.text)


@pytest.mark.parametrize("freezes", [False, True])
async def test_an_answer_goes_on_in_its_bubble_when_the_hub_is_killed_or_frozen(town: Town, freezes: bool) -> None:
    first = town.hub_process()
    await town.worker()
    spoke = await town.spoke()
    turn = await town.say(spoke, "speak slowly")
    await until(lambda: len(town.paper.stood.get("b0", ())) > 3)
    first.send_signal(signal.SIGSTOP if freezes else signal.SIGKILL)

    await town.hub()
    reply = await town.answered(turn)

    assert reply.text == "word " * 40
    assert town.paper.sent == [turn]
    assert town.model_calls() == 1
    records = await town.settled(await town.join("reader"))
    assert sum(isinstance(record, TurnAnswered) for record in records) == 1
    if freezes:
        first.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(first.wait, 10) == SUPERSEDED


async def test_a_second_hub_takes_over_and_the_first_leaves(town: Town) -> None:
    first = await town.hub()
    await town.worker()
    spoke = await town.spoke()

    await town.hub()

    assert await asyncio.wait_for(first, 5) == SUPERSEDED
    turn = await town.say(spoke, "hello")
    assert (await town.answered(turn)).text == "You said: hello"


async def test_a_standby_takes_over_within_three_seconds_of_a_silent_death(town: Town) -> None:
    owner = town.hub_process()
    await town.worker()
    spoke = await town.spoke()
    standby = await town.hub(standby=True)
    await town.answered(await town.say(spoke, "hello"))

    owner.send_signal(signal.SIGKILL)
    died = asyncio.get_running_loop().time()
    turn = await town.say(spoke, "are you there?")
    took = asyncio.get_running_loop().time() - died

    assert (await town.answered(turn)).text == "You said: are you there?"
    assert took < 3.0
    assert not standby.done()


async def test_a_standby_that_is_told_to_end_leaves_the_reign_to_its_owner(town: Town) -> None:
    owner = await town.hub()
    stop = asyncio.Event()
    standby = asyncio.create_task(serve(settings(town.server.url, standby=True), stop))

    stop.set()

    assert await asyncio.wait_for(standby, 1.5) == 0
    assert not owner.done()


async def test_a_zombie_is_refused_on_every_scope_also_on_one_that_nobody_touched(town: Town) -> None:
    logs = [JetStreamLog(await town.join(name), name) for name in ("first", "second")]
    await logs[0].create()
    for log in logs:
        await log.take_over(0.0)
    message = town.message("hello")
    received = TurnReceived(id="r", turn="t", at=0.0, message=message, trust="public")
    touched, untouched = RoutingKey(PLATFORM, BOT, "touched"), RoutingKey(PLATFORM, BOT, "untouched")
    await logs[1].append(touched, [received])

    for key in (untouched, touched):
        with pytest.raises(Fenced):
            await logs[0].append(key, [received])
    with pytest.raises(Fenced):
        await logs[0].move_mark(1, {})

    assert await logs[1].history(untouched) == ()
    assert len(await logs[1].history(touched)) == 1


async def ask(transport: Transport, payload: bytes, scope: str = "chat") -> ToSpoke:
    answer = await transport.request(
        subjects.inbound(PLATFORM, BOT, subjects.partition(scope)), payload, timeout=5.0, responder=subjects.HUB
    )
    assert isinstance(answer, Ok), answer
    return TO_SPOKE.decode(answer.value)


async def test_bad_envelopes_are_refused_and_told_and_the_next_good_message_is_answered(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    await town.hub()
    await town.worker()
    spoke = await town.spoke()
    sender = await town.join(f"{PLATFORM}-{BOT}")
    good = json.loads(
        FROM_SPOKE.encode(
            Submit(platform=PLATFORM, bot_id=BOT, scope_id="chat", message=town.message("a secret message"))
        )
    )

    def changed(**more: object) -> bytes:
        return json.dumps({**good, **more}).encode()

    deep: object = "deep"
    for _ in range(40):
        deep = [deep]
    elsewhere = {**good["message"], "address": {**good["message"]["address"], "scope_id": "another"}}
    bad = {
        "no JSON": b"hello",
        "nothing": b"",
        "no object": b"[]",
        "too large": changed(message={**good["message"], "text": "x" * 950_000}),
        "too deep": changed(extra=deep),
        "much too deep": b"[" * 100_000,
        "a key twice": b'{"kind": "hello", "kind": "hello"}',
        "no number": changed(message={**good["message"], "sent_at": float("nan")}),
        "unknown key": changed(extra=1),
        "trust": changed(message={**good["message"], "trust": "owner"}),
        "another bot": changed(bot_id="another"),
        "another platform": changed(platform="another"),
        "a scope of another partition": changed(scope_id="chat 2"),
        "another address": changed(message=elsewhere),
        "a scope that no subject holds": changed(scope_id="é" * 200),
    }
    with caplog.at_level(logging.ERROR):
        answers = {name: await ask(sender, payload) for name, payload in bad.items()}
        newer = await ask(sender, changed(schema_version=99))

    assert {name: answer.reason for name, answer in answers.items() if isinstance(answer, Refused)} == dict.fromkeys(
        bad, "malformed"
    )
    assert isinstance(newer, Refused)
    assert newer.reason == "newer version"
    assert len([record for record in caplog.records if "refused" in record.getMessage()]) == len(bad) + 1
    assert "secret" not in caplog.text
    turn = await town.say(spoke, "hello")
    assert (await town.answered(turn)).text == "You said: hello"
    assert len(await town.settled(sender)) == 4


async def test_an_answer_is_only_ever_sent_into_the_askers_own_inbox(town: Town) -> None:
    await town.hub()
    await town.spoke()
    thief, victim = await town.join("paper-other"), await town.join("victim")
    heard: list[bytes] = []
    listening = await victim.subscribe(victim.inbox(subjects.HUB, "x"), lambda delivery: heard.append(delivery.data))
    assert isinstance(listening, Ok)
    payload = FROM_SPOKE.encode(Submit(platform=PLATFORM, bot_id=BOT, scope_id="chat", message=town.message("hello")))
    subject = subjects.inbound(PLATFORM, BOT, subjects.partition("chat"))

    await thief.publish(subject, payload, reply=victim.inbox(subjects.HUB, "x"))
    await thief.request(subject, payload, timeout=0.3, responder=subjects.HUB)

    assert heard == []
    assert await town.records(thief) == []


async def test_a_broken_off_server_is_a_pause(town: Town) -> None:
    await town.hub()
    await town.worker()
    spoke = await town.spoke()
    turn = await town.say(spoke, "speak slowly")
    await until(lambda: len(town.paper.stood.get("b0", ())) > 3)

    pid = town.server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await town.server.wait()
    assert await town.server.start() == Ok(None)
    reply = await town.answered(turn)

    assert reply.text == "word " * 40
    assert town.paper.sent == [turn]
    assert town.model_calls() == 1


async def test_a_hub_that_is_told_to_end_while_it_waits_for_the_bus_ends_well() -> None:
    stop = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stop.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1") as silent, asyncio.timeout(4):
        port = silent.sockets[0].getsockname()[1]
        code = await serve(settings(f"nats://127.0.0.1:{port}"), stop)

    assert code == 0
