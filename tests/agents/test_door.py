"""Agents of others talk to ours through the front door, with their own SDK and over a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from synadia_ai.agents import Agent, Attachment, Envelope, ProtocolError, Query, ResponseChunk, StatusChunk

from factory_contracts import subjects
from tests.agents.street import Street, street
from tests.fakes import until

Heard = ResponseChunk | StatusChunk | Query


@pytest.fixture(scope="module")
async def common(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Street]:
    """A street that no test changes."""
    async with street(tmp_path_factory.mktemp("street")) as made:
        yield made


async def hear(agent: Agent, text: str | Envelope, **options: object) -> list[Heard]:
    """All that is answered."""
    attachments = options.get("attachments")
    assert attachments is None or isinstance(attachments, list)
    return [one async for one in agent.prompt(text, attachments=attachments, timeout=10)]


def words(heard: list[Heard]) -> str:
    """The answer."""
    return "".join(one.text for one in heard if isinstance(one, ResponseChunk))


async def test_who_is_outside_finds_its_own_sessions_and_nobody_elses(common: Street) -> None:
    ours = await (await common.agents("ci")).discover(stall=0.2)
    theirs = await (await common.agents("eve")).discover(stall=0.2)

    assert sorted(one.prompt_subject for one in ours) == [
        "agents.prompt.scout.ci.main",
        "agents.prompt.scout.ci.nightly",
    ]
    assert [one.prompt_subject for one in theirs] == ["agents.prompt.scout.eve.main"]
    assert {(one.agent, one.owner, one.protocol_version) for one in ours} == {("scout", "ci", "0.3")}
    assert ours[0].prompt_endpoint.queue_group == "agents"
    assert ours[0].prompt_endpoint.attachments_ok is True
    assert len({one.instance_id for one in (*ours, *theirs)}) == 3


async def test_a_prompt_is_acknowledged_and_answered_in_pieces(common: Street) -> None:
    heard = await hear(await common.agent("ci"), "hello")

    assert heard[0] == StatusChunk(status="ack")
    assert sum(isinstance(one, StatusChunk) and one.status == "ack" for one in heard) == 1
    assert words(heard) == "You said: hello"


async def test_the_end_of_a_stream_is_an_empty_message_without_headers(common: Street) -> None:
    client = await common.outside("ci")
    answers = await client.subscribe("_INBOX.raw.1")
    await client.publish("agents.prompt.scout.ci.main", b"hello there", reply="_INBOX.raw.1")

    got = [await answers.next_msg(timeout=10)]
    while got[-1].data:
        got.append(await answers.next_msg(timeout=10))

    assert json.loads(got[0].data) == {"type": "status", "data": "ack"}
    assert not got[-1].headers


async def test_an_agent_that_is_looked_at_lives_and_says_so_by_itself(common: Street) -> None:
    agents = await common.agents("ci")
    (agent,) = [one for one in await agents.discover(stall=0.2) if one.session_name == "main"]

    status = await agent.status()

    assert (status.agent, status.owner, status.session) == ("scout", "ci", "main")
    assert status.instance_id == agent.instance_id
    await until(lambda: agents.liveness(agent.instance_id) is not None)


async def test_each_session_is_a_conversation_of_its_own(common: Street) -> None:
    nightly = await common.agent("ci", "nightly")
    await hear(nightly, "first")

    words_there = words(await hear(nightly, "second"))

    assert words_there == "You said: second"


async def test_a_file_goes_in_and_a_file_comes_out(common: Street) -> None:
    heard = await hear(
        await common.agent("ci"), "draw a cat", attachments=[Attachment.from_bytes("../../note.txt", b"of this")]
    )

    files = [one for chunk in heard if isinstance(chunk, ResponseChunk) for one in chunk.attachments or ()]
    assert [(one.filename, one.to_bytes()) for one in files] == [("cat.txt", b"a cat")]
    assert words(heard) == "Here it is."


async def test_what_may_be_said_next_is_told_below_the_answer(common: Street) -> None:
    assert words(await hear(await common.agent("ci"), "let me choose")) == "Which?\n\n- tea\n- coffee"


async def test_an_answer_that_fails_ends_in_an_error_that_tells_no_detail(common: Street) -> None:
    with pytest.raises(ProtocolError, match="500") as caught:
        await hear(await common.agent("ci"), "break")

    assert "fire" not in str(caught.value)


async def test_who_is_not_let_in_is_told_so_and_no_model_is_called(common: Street) -> None:
    with pytest.raises(ProtocolError, match="403"):
        await hear(await common.agent("mallory"), "who is mallory")

    assert "who is mallory" not in common.calls.read_text()


async def test_a_word_of_leave_counts_from_an_owner_alone(common: Street) -> None:
    asked: list[str] = []

    async def ring(caller: str, word: str) -> list[Heard]:
        heard: list[Heard] = []
        async for one in (await common.agent(caller)).prompt(f"ring {caller}", timeout=10):
            heard.append(one)
            if isinstance(one, Query):
                asked.append(one.prompt)
                await one.reply(word)
            if isinstance(one, StatusChunk) and one.status == "refused":
                break
        return heard

    allowed = await ring("olga", "yes")
    denied = await ring("olga", "No.")
    refused = await ring("walt", "yes")
    stopped = await hear(await common.agent("walt"), "/stop")

    assert "It says: olga is awake" in words(allowed)
    assert "awake" not in words(denied)
    assert any(isinstance(one, StatusChunk) and one.status == "refused" for one in refused)
    assert words(stopped)
    assert common.rung == ["olga"]
    assert "ring" in asked[0] and asked[0].endswith("Answer yes or no.")


async def test_what_is_neither_yes_nor_no_is_no_leave_and_asked_again(common: Street) -> None:
    before = len(common.rung)
    replies = ["sure, whatever", "yesterday", "no"]
    heard: list[Heard] = []
    async for one in (await common.agent("olga")).prompt("ring bob", timeout=10):
        heard.append(one)
        if isinstance(one, Query):
            await one.reply(replies.pop(0))

    assert replies == []
    assert len(common.rung) == before
    assert sum(isinstance(one, Query) for one in heard) == 3


async def test_who_asks_again_with_the_same_id_gets_the_same_answer_and_no_second_call(common: Street) -> None:
    client = await common.outside("ci")

    async def ask(inbox: str) -> str:
        answers = await client.subscribe(inbox)
        await client.publish(
            "agents.prompt.scout.ci.main", b"only once", reply=inbox, headers={"Nats-Msg-Id": "order-66"}
        )
        said = ""
        while data := (await answers.next_msg(timeout=10)).data:
            chunk = json.loads(data)
            said += chunk["data"] if chunk["type"] == "response" else ""
        return said

    said = [await ask("_INBOX.a"), await ask("_INBOX.b"), *await asyncio.gather(ask("_INBOX.c"), ask("_INBOX.d"))]

    assert said == ["You said: only once"] * 4
    assert common.calls.read_text().count("only once") == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"  \n",
        b"{",
        b"{}",
        b'{"prompt": ""}',
        b'{"prompt": 7}',
        b'{"prompt": "x", "attachments": [{"filename": "a", "content": "!"}]}',
        b'{"prompt": "x", "attachments": {}}',
        b"\xff\xfe",
        b'{"a":' * 90_000,
        b"x" * 100_001,
    ],
    ids=lambda payload: repr(payload[:20]),
)
async def test_what_is_no_prompt_is_told_so_in_the_protocols_words(common: Street, payload: bytes) -> None:
    client = await common.outside("ci")
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    await client.publish("agents.prompt.scout.ci.main", payload, reply=inbox)

    error, end = await answers.next_msg(timeout=10), await answers.next_msg(timeout=10)

    assert (error.headers or {})["Nats-Service-Error-Code"] == "400"
    assert (end.data, end.headers) == (b"", None)


async def test_nobody_outside_reaches_anything_but_its_own_sessions(common: Street) -> None:
    eve = await common.raw("caller-eve")
    for subject in (
        "agents.prompt.scout.ci.main",
        "agents.reply.scout.ci.main.x",
        "agents.find.ci.INFO",
        "agents.hb.scout.ci.main",
        subjects.inbound("agents", "scout", 0),
        subjects.outbound("agents", "scout"),
        "$JS.API.STREAM.DELETE.TURNS",
        "_R_.x.y",
    ):
        eve.publish(subject, b"x")
    for subject in (">", "agents.>", f"{subjects.ROOT}.>", "_R_.>", "agents.prompt.>"):
        eve.subscribe(subject)
    said = await eve.barrier()

    assert len(said.may_not_publish) == 8
    assert len(said.may_not_subscribe) == 5


async def test_an_answer_goes_to_nobody_but_who_asked_wherever_it_is_wanted(common: Street) -> None:
    hub = await common.raw("hub")
    for subject in (*subjects.plane("inbound"), *subjects.plane("events")):
        hub.subscribe(subject)
    eve = await common.raw("caller-eve")
    await hub.barrier()

    eve.publish("agents.prompt.scout.eve.main", b"to the log with it", reply=subjects.clipool_events("clipool", 0))
    eve.publish("agents.prompt.scout.eve.main", b"and there", reply="$JS.API.STREAM.DELETE.TURNS")
    await eve.barrier()
    heard = await hear(await common.agent("eve"), "still there")

    assert words(heard) == "You said: still there"
    said = await hub.barrier()
    assert not [one for one in said.heard if b'"ack"' in one.data]


async def test_a_prompt_from_within_that_wants_its_answer_elsewhere_is_not_answered(tmp_path: Path) -> None:
    async with street(tmp_path) as made:
        door = await made.raw("agents-scout")
        door.publish("agents.prompt.scout.ci.main", b"x", reply=subjects.inbound("agents", "scout", 1))
        said = await door.barrier()

        assert said.may_not_publish == {"agents.prompt.scout.ci.main"}


async def test_who_waits_while_the_door_is_killed_is_told_and_asks_again_for_the_whole(tmp_path: Path) -> None:
    async with street(tmp_path, with_door=False) as made:
        door = await made.door_process()
        client = await made.outside("ci")
        answers = await client.subscribe("_INBOX.first")
        id = {"Nats-Msg-Id": "one"}
        await client.publish("agents.prompt.scout.ci.main", b"slowly", reply="_INBOX.first", headers=id)
        while b"word" not in (await answers.next_msg(timeout=10)).data:
            pass

        door.kill()
        await door.wait()
        await made.door_process()
        while not (broken := await answers.next_msg(timeout=20)).headers:
            assert broken.data
        end = await answers.next_msg(timeout=10)
        again = await client.subscribe("_INBOX.again")
        await client.publish("agents.prompt.scout.ci.main", b"slowly", reply="_INBOX.again", headers=id)
        said = ""
        while data := (await again.next_msg(timeout=20)).data:
            chunk = json.loads(data)
            said += chunk["data"] if chunk["type"] == "response" else ""

        assert (broken.headers or {})["Nats-Service-Error-Code"] == "500"
        assert (end.data, end.headers) == (b"", None)
        assert said == "word " * 100
        assert made.calls.read_text().count("slowly") == 1


async def test_who_leaves_in_the_middle_harms_nobody(tmp_path: Path) -> None:
    async with street(tmp_path) as made:
        client = await made.outside("ci")
        answers = await client.subscribe("_INBOX.leaver")
        await client.publish("agents.prompt.scout.ci.main", b"slowly", reply="_INBOX.leaver")
        await answers.next_msg(timeout=10)
        await client.close()

        assert words(await hear(await made.agent("eve"), "and I")) == "You said: and I"
        assert words(await hear(await made.agent("ci"), "then this")) == "You said: then this"
