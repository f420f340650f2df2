"""Fifty turns at once against a budget of one dollar, over three workers, while workers and hubs are killed."""

import asyncio
import json
import os
import signal
from contextlib import suppress
from decimal import Decimal

import pytest

from adapters.spoke import Reply, Spoke
from factory_cli import log
from factory_cli.home import Home
from factory_cli.keys import seed_of
from factory_contracts import subjects
from factory_contracts.messages import Accepted, Address, AlreadyAccepted, InboundMessage, Said
from factory_contracts.records import MoneyReserved, MoneySettled, Record, TurnAnswered, TurnStarted
from factory_nats.connect import Identity, connect
from factory_nats.result import Ok
from tests.cli.conftest import factory as factory
from tests.cli.installation import Factory
from tests.providers.scenarios import Scenarios
from tests.providers.server import ProviderServer

TURNS = 50
VICTIMS = ("clipool", "hub", "clipool-2", "hub")
CAP = Decimal("1.00")
MODEL = "openai_like:dear"
# The server says 11 tokens in and 5 out of every call.
COST = 11 * Decimal("100") / 1_000_000 + 5 * Decimal("10000") / 1_000_000
CONFIGURATION = f"""
[hub]
hubs = {{hubs}}

[clipool]
workers = 3

[[budgets]]
name = "dollar"
amount = "{CAP}"
period = "ever"

[prices."{MODEL}"]
input = "100"
output = "10000"

[[bots]]
platform = "crowd"
bot_id = "main"
access = "public"
rate_per_minute = 1000
rate_per_scope_minute = 1000
turns_at_once = 1000
"""
AGENT = f"""
model = "{MODEL}"
[limits]
max_tokens = 10
max_calls = 3
"""


class Crowd:
    """A screen that waits for the end of every turn."""

    def __init__(self) -> None:
        self.finals: dict[str, str] = {}
        self.changed = asyncio.Event()

    async def send(self, reply: Reply) -> str:
        return f"b-{reply.turn}"

    async def edit(self, message_id: str, reply: Reply) -> None:
        if reply.is_final:
            self.finals[reply.turn] = reply.text
            self.changed.set()

    async def said(self, said: Said) -> None:
        raise AssertionError("nobody else speaks here")


async def kill_some(factory: Factory, server: ProviderServer) -> None:
    """Whenever the provider has been asked a little more: between a reservation and its settlement."""
    for number, name in enumerate(VICTIMS):
        await server.until_asked(2 + number)
        pid = factory.state()["children"][name]["pid"]
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def spent(records: list[Record]) -> Decimal:
    """What the log says at its dearest: what was settled, and all of what was reserved and never settled."""
    settled = {(one.turn, one.attempt, one.call): one.amount for one in records if isinstance(one, MoneySettled)}
    total = Decimal(0)
    for one in records:
        if isinstance(one, MoneyReserved):
            amount = settled.get((one.turn, one.attempt, one.call))
            total += amount if amount is not None else one.amount or 0
    return total


@pytest.mark.timeout(180)
@pytest.mark.parametrize("hubs", [1, 3])
async def test_a_dollar_is_never_passed_whoever_is_killed_between_reserving_and_settling(
    factory: Factory, hubs: int
) -> None:
    seeds = factory.home / "agents"
    seeds.mkdir(parents=True)
    factory.home.chmod(0o700)
    (seeds / "dear.toml").write_text(AGENT)
    (factory.home / "factory.toml").write_text(CONFIGURATION.format(hubs=hubs))
    crowd = Crowd()
    async with ProviderServer(Scenarios()) as server:
        await asyncio.to_thread(
            factory.up, OPENAI_LIKE_BASE_URL=f"{server.url}/v1", OPENAI_LIKE_API_KEY="a key of nobody's"
        )
        where = Home(factory.home)
        url = json.loads((where.run / "state.json").read_text())["url"]
        joined = await connect(url, Identity("crowd-main", seed_of(where.keys, "crowd-main")), patience=20)
        assert isinstance(joined, Ok)
        spoke = Spoke(joined.value, "crowd", "main", crowd)
        await spoke.start()
        killing = asyncio.create_task(kill_some(factory, server))
        accepted = await asyncio.gather(*(spoke.submit(message(number)) for number in range(TURNS)))
        async with asyncio.timeout(150):
            while len(crowd.finals) < TURNS:
                crowd.changed.clear()
                await crowd.changed.wait()
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        async with log.bus(where, url) as transport:
            found = [one async for _, _, one in log.records(transport, subjects.plane("scopes")[0])]
        await spoke.close()
        await joined.value.close()
        asked = len(server.asked)

    answered = [one for one in found if isinstance(one, TurnAnswered)]
    refused = [one for one in answered if "The budget “dollar”" in one.text]
    begun_again = [one for one in found if isinstance(one, TurnStarted) and one.start.attempt > 1]
    assert all(isinstance(one, Accepted | AlreadyAccepted) for one in accepted)
    assert len({one.turn for one in answered}) == len(answered) == TURNS
    assert COST * asked <= CAP
    assert spent(found) <= CAP
    assert begun_again
    assert refused


def message(number: int) -> InboundMessage:
    return InboundMessage(
        message_id="m",
        user_id=f"u{number}",
        text="burst 10 60",
        address=Address(platform="crowd", bot_id="main", scope_id=f"s{number}", pace_ms=100),
    )
