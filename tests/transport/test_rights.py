"""What a process needs, held against what the server grants, when it joins."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.result import Err, Ok
from factory_nats.rights import USER_INFO, check
from factory_nats.server import EmbeddedServer, User
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery

SEED = generate_seed()


def needing(*publish: str, subscribe: tuple[str, ...] = (), remedy: str = "") -> Identity:
    return Identity("one", SEED, publish, subscribe, remedy)


@pytest.mark.parametrize(
    ("publish", "subscribe", "missing"),
    [
        (("a.b", "c.*"), ("d.*",), []),
        (("a.b.c",), (), ["publish to a.b.c"]),
        (("c.>",), (), ["publish to c.>"]),
        ((), ("d.>",), ["subscribe to d.>"]),
        (("a.b", "x"), ("d.e", "y"), ["publish to x", "subscribe to y"]),
    ],
)
async def test_every_subject_that_is_refused_is_named(
    tmp_path: Path, publish: tuple[str, ...], subscribe: tuple[str, ...], missing: list[str]
) -> None:
    async with EmbeddedServer(tmp_path, users=[User("one", public_key(SEED), ("a.*", "c.*"), ("d.*",))]) as server:
        joined = await connect(server.url, needing(*publish, subscribe=subscribe, remedy="do this"))

    if not missing:
        assert isinstance(joined, Ok)
        await joined.value.close()
        return
    listed = " or ".join(missing)
    assert joined == Err("forbidden", f"the server does not let one {listed}, which it needs; do this")


async def test_what_another_connection_of_it_may_not_do_is_named_as_well(tmp_path: Path) -> None:
    store = generate_seed()
    users = [
        User("one", public_key(SEED), ("a",), (), "bus"),
        User("one", public_key(store), ("$JS.API.DIRECT.GET.LOG.>",), (), "apart"),
    ]
    who = Identity("one", SEED, ("a",), store=Identity("one", store, ("$JS.API.DIRECT.GET.LOG",)))
    async with EmbeddedServer(tmp_path, users=users) as server:
        joined = await connect(server.url, who)

    assert joined == Err("forbidden", "the server does not let one publish to $JS.API.DIRECT.GET.LOG, which it needs")


async def test_where_everybody_may_do_everything_nothing_is_missing(nats_server: EmbeddedServer) -> None:
    joined = await connect(nats_server.url, Identity("one", None, ("a", "b.>"), (">",)))

    assert isinstance(joined, Ok)
    await joined.value.close()


async def test_a_server_that_tells_nothing_is_let_pass_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        outcome = await check(FakeBus().join("one"), needing("a"))

    assert outcome == Ok(None)
    assert "what one may do on the bus cannot be looked up: nobody answers $SYS.REQ.USER.INFO" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        b'{"data": 1}',
        b'{"data": {"user": 1}}',
        b'{"data": {"user": "U", "permissions": 1}}',
        b"[" * 100_000,
    ],
)
async def test_an_answer_that_makes_no_sense_is_let_pass_and_that_is_said(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bus = FakeBus()
    server = bus.join("server")
    await server.subscribe(USER_INFO, lambda delivery: bus.carry(server, delivery.reply, answer, ""))

    with caplog.at_level(logging.WARNING):
        outcome = await check(bus.join("one"), needing("a"))

    assert outcome == Ok(None)
    assert "it says something else" in caplog.text


async def test_what_is_denied_is_missing_whatever_else_is_allowed() -> None:
    bus = FakeBus()
    server = bus.join("server")
    rules = {"publish": {"allow": [">"], "deny": ["a.*.c"]}, "subscribe": {"deny": ["d.e"]}}
    told = json.dumps({"data": {"user": "U", "permissions": rules}}).encode()

    def answer(delivery: Delivery) -> None:
        bus.carry(server, delivery.reply, told, "")

    await server.subscribe(USER_INFO, answer)

    outcome = await check(bus.join("one"), needing("a.b", "a.>", subscribe=("d.*", "f")))

    assert outcome == Err("forbidden", "the server does not let one publish to a.> or subscribe to d.*, which it needs")
