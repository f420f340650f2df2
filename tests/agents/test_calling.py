"""Our worker calls agents of others: of their own SDK, some that misbehave, and our own through the front door."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from synadia_ai.agent_service import AgentService, PromptStream
from synadia_ai.agents import Envelope, ResponseChunk

from adapters.models.agents import Agents, provider
from adapters.provider import LIFE
from factory_contracts import subjects
from factory_nats.server import EmbeddedServer
from hub.kernel.events import Failed, Finished, ModelEvent, Relayed, Said
from hub.kernel.ports import Media, ModelRequest, ModelSettings, Spoken
from hub.kernel.secrecy import LOOKS_ALONE
from tests.agents.street import street
from workers.clipool.discretion import DiscreetModel

BOB = "agents:bob/acme/desk"


@dataclass(slots=True)
class Plaza:
    """A bus of others, and what was asked there."""

    server: EmbeddedServer
    client: Client
    stack: AsyncExitStack
    asked: list[Envelope] = field(default_factory=list)

    async def serve(self, handler: Callable[[Envelope, PromptStream], Awaitable[None]], *, takes: bool = True) -> None:
        """An agent of the SDK of others."""
        service = AgentService(agent="bob", owner="acme", session_name="desk", nc=self.client, attachments_ok=takes)

        async def handle(envelope: Envelope, stream: PromptStream) -> None:
            self.asked.append(envelope)
            await handler(envelope, stream)

        service.on_prompt(handle)
        await service.start()

        async def stop() -> None:
            with suppress(NatsError):
                await service.stop()

        self.stack.push_async_callback(stop)

    async def misbehave(self, *answers: bytes, subject: str = "agents.prompt.bob.acme.desk", **about: str) -> None:
        """Something that says it is an agent, and answers this whatever it is asked."""
        metadata = {"agent": "bob", "owner": "acme", "protocol_version": "0.3"} | about
        endpoint = {"name": "prompt", "subject": subject, "metadata": {"max_payload": "1MB", "attachments_ok": "true"}}
        record = {"name": "agents", "id": "x", "metadata": metadata, "endpoints": [endpoint]}

        async def find(message: Msg) -> None:
            await message.respond(b"[]")
            await message.respond(json.dumps(record).encode())

        async def prompt(message: Msg) -> None:
            for answer in answers:
                await message.respond(answer)

        await self.client.subscribe("$SRV.INFO.agents", cb=find)
        await self.client.subscribe("agents.prompt.>", cb=prompt)
        await self.client.flush()


@pytest.fixture
async def plaza(tmp_path: Path) -> AsyncIterator[Plaza]:
    """A bus on which everybody may do everything."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer(tmp_path / "nats"))
        client = await nats.connect(server.url)
        stack.push_async_callback(client.close)
        yield Plaza(server, client, stack)


@pytest.fixture
async def model(plaza: Plaza) -> AsyncIterator[Agents]:
    """Our side, which gives up soon."""
    made = Agents(plaza.server.url, patience=0.5, stall=0.5)
    yield made
    await made.close()


def request(*said: str, model: str = BOB, conversation: str = "c1", media: Sequence[Media] = ()) -> ModelRequest:
    """What was said in a conversation, by the person and the agent in turns."""
    lines = [Spoken("user" if at % 2 == 0 else "assistant", text) for at, text in enumerate(said)]
    lines[-1] = Spoken("user", said[-1], tuple(media))
    return ModelRequest(model, "be brief", tuple(lines), conversation=conversation)


async def told(model: Agents, asked: ModelRequest) -> list[ModelEvent]:
    """All that is said."""
    return [event async for event in model.stream(asked) if event != LIFE]


async def trouble(model: Agents, asked: ModelRequest | None = None) -> Failed:
    """What went wrong at last."""
    last = (await told(model, asked or request("hello")))[-1]
    assert isinstance(last, Failed), last
    return last


async def test_an_agent_of_others_is_found_and_answers_in_pieces(plaza: Plaza, model: Agents) -> None:
    async def answer(envelope: Envelope, stream: PromptStream) -> None:
        await stream.send("You ")
        await stream.send(f"said {envelope.prompt}.")

    await plaza.serve(answer)

    assert await told(model, request("hello")) == [Relayed(), Said("You "), Said("said hello."), Finished("end")]


async def test_it_is_told_what_is_new_and_nothing_else(plaza: Plaza, model: Agents) -> None:
    async def answer(envelope: Envelope, stream: PromptStream) -> None:
        await stream.send("ok")

    await plaza.serve(answer)
    await told(model, request("first", "ok", "second"))

    assert [one.prompt for one in plaza.asked] == ["second"]


@pytest.mark.parametrize("takes", [True, False])
async def test_a_file_goes_along_where_it_is_taken_and_is_told_of_where_it_is_not(
    plaza: Plaza, model: Agents, takes: bool
) -> None:
    async def answer(envelope: Envelope, stream: PromptStream) -> None:
        await stream.send("ok")

    await plaza.serve(answer, takes=takes)
    await told(model, request("look", media=[Media("document", "a.txt", "text/plain", b"abc")]))

    (asked,) = plaza.asked
    assert [(one.filename, one.to_bytes()) for one in asked.attachments or ()] == ([("a.txt", b"abc")] if takes else [])
    assert ("a.txt" in asked.prompt) is not takes


async def test_what_it_asks_back_ends_the_answer_and_the_next_words_go_to_it(plaza: Plaza, model: Agents) -> None:
    async def answer(envelope: Envelope, stream: PromptStream) -> None:
        await stream.send("Hm.")
        reply = await stream.ask("Really?", timeout=5)
        await stream.send(f"So {reply.prompt}.")

    await plaza.serve(answer)
    first = await told(model, request("do it"))
    other = asyncio.create_task(told(model, request("and me?", conversation="c2")))
    second = await told(model, request("do it", "Hm.\n\nReally?", "yes"))

    assert first == [Relayed(), Said("Hm."), Said("\n\nReally?"), Finished("end")]
    assert second == [Relayed(), Said("So yes."), Finished("end")]
    assert (await other)[-1] in (Finished("end"), Failed("the agent said nothing for 0.5 s", has_begun=True))
    assert "yes" not in [one.prompt for one in plaza.asked]


async def test_an_agent_that_does_not_wait_any_more_is_told_as_anything_else(plaza: Plaza, model: Agents) -> None:
    async def answer(envelope: Envelope, stream: PromptStream) -> None:
        if envelope.prompt == "do it":
            await stream.ask("Really?", timeout=0.05)
        await stream.send("Fine.")

    await plaza.serve(answer)
    await told(model, request("do it"))
    # It serves one after the other, so the first is over when another has its answer.
    await told(model, request("something else", conversation="c2"))
    said = await told(model, request("do it", "Really?", "hello?"))

    assert said == [Relayed(), Said("Fine."), Finished("end")]
    assert [one.prompt for one in plaza.asked] == ["do it", "something else", "hello?"]


async def test_who_asked_too_long_ago_is_not_answered_and_makes_room(plaza: Plaza) -> None:
    model = Agents(plaza.server.url, patience=0.5, stall=0.5, asked_for=0)
    asks = {"id": "1", "reply_subject": "_INBOX.x", "prompt": "?"}
    await plaza.misbehave(json.dumps({"type": "query", "data": asks}).encode())
    said = [await told(model, request("hello", conversation=f"c{number}")) for number in range(70)]
    again = await told(model, request("hello", "?", "yes", conversation="c69"))
    await model.close()

    assert all(one == [Relayed(), Said("?"), Finished("end")] for one in (*said, again))


def test_nobody_may_send_a_prompt_again_because_nothing_was_heard_of_it() -> None:
    assert DiscreetModel(Agents(""), LOOKS_ALONE).asks_once


async def test_an_error_is_told_and_nothing_is_sent_twice(plaza: Plaza, model: Agents) -> None:
    async def answer(envelope: Envelope, stream: PromptStream) -> None:
        raise RuntimeError("boom")

    await plaza.serve(answer)
    said = await trouble(model)

    assert "500" in said.reason
    assert not said.is_transient
    assert len(plaza.asked) == 1


async def test_who_stops_listens_no_more(plaza: Plaza, model: Agents) -> None:
    goes_on = asyncio.Event()

    async def answer(envelope: Envelope, stream: PromptStream) -> None:
        await stream.send("one")
        if envelope.prompt == "stop me":
            await goes_on.wait()
        await stream.send("two")

    await plaza.serve(answer)
    stream = model.stream(request("stop me"))
    while await anext(stream) != Said("one"):
        pass
    await stream.aclose()
    goes_on.set()

    assert await told(model, request("again")) == [Relayed(), Said("one"), Said("two"), Finished("end")]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((b"nonsense",), "does not keep to the protocol: this is no JSON"),
        ((b"[]",), "the JSON is no object"),
        ((b'{"data": 1}',), "a chunk has no type"),
        ((b'{"type": "response", "data": 7}',), "a chunk of type response has no such data"),
        ((b'{"type": "query", "data": {"prompt": "x"}}',), "a chunk of type query has no such data"),
        ((b'{"a":' * 90_000,), "this is no JSON"),
        ((b'{"type": "status", "data": "ack"}',), "the agent said nothing for 0.5 s"),
        (
            (b'{"type": "query", "data": {"id": "1", "reply_subject": "$JS.API.STREAM.DELETE.X", "prompt": "?"}}',),
            "wants the answer where none is sent",
        ),
        ((b'{"type": "response", "data": "' + b"x" * 900_000 + b'"}',) * 20, "the agent says more than is read"),
    ],
    ids=lambda one: repr(one)[:30],
)
async def test_who_does_not_keep_to_the_protocol_is_not_believed(
    plaza: Plaza, model: Agents, answers: tuple[bytes, ...], reason: str
) -> None:
    await plaza.misbehave(*answers)

    said = await trouble(model)

    assert re.search(re.escape(reason), said.reason)
    assert not said.is_transient


async def test_what_is_not_known_is_passed_over(plaza: Plaza, model: Agents) -> None:
    await plaza.misbehave(
        b'{"type": "weather", "data": {}}', b'{"type": "response", "data": {"text": "a", "x": 1}}', b""
    )

    assert await told(model, request("hello")) == [Relayed(), Said("a"), Finished("end")]


@pytest.mark.parametrize(
    ("subject", "about"),
    [
        (subjects.inbound("x", "y", 1), {}),
        ("agents.prompt.>", {}),
        ("agents.prompt.bob.acme.desk", {"protocol_version": "1.0"}),
    ],
)
async def test_who_wants_to_be_asked_elsewhere_or_in_another_way_is_not_found(
    plaza: Plaza, model: Agents, subject: str, about: dict[str, str]
) -> None:
    await plaza.misbehave(b"", subject=subject, **about)

    assert "there is no agent bob/acme/desk" in (await trouble(model)).reason


async def test_where_nobody_is_that_is_told_and_may_be_tried_again(plaza: Plaza, model: Agents) -> None:
    said = await trouble(model)

    assert said.reason == "there is no agent bob/acme/desk on its bus"
    assert said.is_transient


async def test_a_lost_connection_ends_the_answer_at_once(plaza: Plaza) -> None:
    model = Agents(plaza.server.url, patience=1, stall=60)
    has_begun = asyncio.Event()

    async def answer(envelope: Envelope, stream: PromptStream) -> None:
        has_begun.set()
        await asyncio.Event().wait()

    await plaza.serve(answer)
    asking = asyncio.create_task(trouble(model))
    await has_begun.wait()
    await plaza.client.close()
    await plaza.server.stop()

    assert (await asking).reason == "the connection to the agent was lost"
    await model.close()


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "AGENTS_URL is not set"),
        ({"AGENTS_URL": "http://x"}, "no address of a server"),
        ({"AGENTS_URL": "nats://x", "AGENTS_CREDS": "/nowhere/x.creds"}, "AGENTS_CREDS: cannot be read"),
        ({"AGENTS_URL": "nats://x", "AGENTS_CREDS": __file__}, "AGENTS_CREDS: this holds no nkey seed"),
    ],
)
async def test_what_is_missing_in_the_surroundings_is_told(variables: dict[str, str], reason: str) -> None:
    model = provider(ModelSettings(variables, ""))

    assert reason in (await trouble(model)).reason


async def test_a_name_that_is_none_is_told() -> None:
    assert "names no agent" in (await trouble(Agents("nats://x"), request("hello", model="agents:bob"))).reason


async def test_an_sdk_talks_to_an_sdk_through_our_door_our_log_and_our_worker(plaza: Plaza, tmp_path: Path) -> None:
    async def answer(envelope: Envelope, stream: PromptStream) -> None:
        await stream.send("Hm. ")
        reply = await stream.ask("Really?", timeout=10)
        await stream.send(f"So {reply.prompt}.")

    await plaza.serve(answer)
    async with street(tmp_path / "house", model=BOB, others=Agents(plaza.server.url)) as made:
        agent = await made.agent("ci")
        said = [
            "".join([one.text async for one in agent.prompt(text, timeout=10) if isinstance(one, ResponseChunk)])
            for text in ("do it", "yes")
        ]

    assert said == ["Hm. \n\nReally?", "So yes."]
    assert [one.prompt for one in plaza.asked] == ["do it"]


async def test_our_own_agents_can_be_called_through_the_front_door(tmp_path: Path) -> None:
    async with street(tmp_path) as made:
        model = Agents(made.server.url, seed=made.seeds["caller-olga"])
        name = "agents:scout/olga/main"
        asked = await told(model, request("ring tim", model=name))
        answered = await told(model, request("ring tim", "…", "yes", model=name))
        await model.close()

        assert "ring" in "".join(event.text for event in asked if isinstance(event, Said))
        assert "It says: tim is awake" in "".join(event.text for event in answered if isinstance(event, Said))
        assert made.rung == ["tim"]
