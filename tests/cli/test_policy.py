"""What `factory policy` explains, read from the same log by the same function as the hub does."""

from __future__ import annotations

import json

import pytest

from factory_cli import access
from factory_cli.config import Bot, Configuration
from factory_cli.console import Failed
from factory_contracts import subjects
from factory_contracts.messages import Address, InboundMessage
from factory_contracts.records import ACT, OWNERS, Act, Blocked, Granted, Linked, Owner, Owners, Start, TurnReceived
from factory_nats.testing import FakeTransport
from factory_nats.transport import Entry
from hub.kernel.access import NEEDS
from hub.kernel.routing import RoutingKey
from tests.cli.facts import log_of
from tests.cli.installation import Factory

HELPER = "telegram:helper"
CONFIGURATION = Configuration(bots=(Bot("telegram", "helper", owners=frozenset({"1"}), blocked=frozenset({"9"})),))


async def told(*acts: Act, owners: Owners | None = None) -> FakeTransport:
    """A bus on whose log these acts are."""
    transport = await log_of(())
    if owners is not None:
        entry = Entry(subjects.owners(owners.platform, owners.bot_id), OWNERS.encode(owners), rollup=True)
        await transport.append([entry])
    for act in acts:
        await transport.append([Entry(subjects.access(), ACT.encode(act))])
    return transport


def granted(to: str, by: str | None = "telegram:1") -> Granted:
    return Granted(id=f"granted {to}", at=0.0, by=by, to=to, bot=HELPER, level="trusted")


async def test_every_action_is_told_with_what_it_takes_and_who_made_somebody_what_they_are() -> None:
    bus = await told(granted("telegram:5"))

    found = await access.explain(bus, CONFIGURATION, HELPER, "5")

    assert (found.who, found.level) == ("telegram:5", "trusted")
    assert found.standing == ("telegram:1 made telegram:5 trusted on telegram:helper on 1970-01-01.",)
    rows = {action: may for action, may, because in found.rows() if because}
    assert list(rows) == list(NEEDS)
    assert (rows["speak"], rows["agent"], rows["invite"]) == ("yes", "yes", "no")


async def test_who_may_not_speak_has_no_answer_of_their_own_to_stop() -> None:
    found = await access.explain(await told(), CONFIGURATION, HELPER, "5")

    rows = {action: (may, because) for action, may, because in found.rows()}
    assert rows["speak"][0] == "no"
    assert {rows[action] for action in ("stop", "steer", "interrupt")} == {("no", access.NO_ANSWER)}


async def test_who_became_an_owner_before_there_were_acts_and_who_sits_here_are_owners() -> None:
    owners = Owners(platform="telegram", bot_id="helper", owners=(Owner(user_id="7", code="0" * 64, at=1.0),))
    bus = await told(owners=owners)

    levels = [(await access.explain(bus, CONFIGURATION, HELPER, who)).level for who in ("7", "1", "9", "cli:ann", "5")]

    assert levels == ["owner", "owner", "blocked", "owner", "public"]


async def test_a_linked_account_is_told_with_its_person() -> None:
    linked = Linked(id="l", at=0.0, by="telegram:5", one="cli:ann", other="telegram:5", code="0" * 64)

    found = await access.explain(await told(linked), CONFIGURATION, HELPER, "telegram:5", action="block")

    assert found.person == ("cli:ann", "telegram:5")
    assert found.standing[0] == "cli:ann and telegram:5 are one person."
    assert list(found.rows()) == [("block", "yes", "In private this takes the level owner.")]


async def test_in_a_scope_the_answer_that_is_written_there_counts() -> None:
    bus = await told(granted("telegram:5"), granted("telegram:6"))
    key = RoutingKey("telegram", "helper", "-100")
    message = InboundMessage(
        message_id="m",
        user_id="5",
        text="hello",
        in_group=True,
        address=Address(platform="telegram", bot_id="helper", scope_id="-100"),
    )
    start = Start(attempt=1, worker="clipool", instance="i")
    received = TurnReceived(id="t.received", turn="t", at=0.0, message=message, trust="trusted", start=start)
    running = await log_of([(key, received)])
    for act in (granted("telegram:5"), granted("telegram:6")):
        await running.append([Entry(subjects.access(), ACT.encode(act))])

    async def may(bus: FakeTransport, user: str, action: str) -> bool:
        found = await access.explain(bus, CONFIGURATION, HELPER, user, action=action, scope="-100")
        return next(iter(found.decisions.values())).allowed

    assert [await may(running, user, "stop") for user in ("5", "6", "1")] == [True, False, True]
    assert await may(bus, "6", "stop")
    assert not await may(running, "5", "forget")


@pytest.mark.parametrize(
    ("bot", "action", "word"),
    [("telegram:other", None, "cli:main, telegram:helper"), (HELPER, "fly", "speak, look")],
)
async def test_what_is_not_there_is_told_with_what_is(bot: str, action: str | None, word: str) -> None:
    bus = await told()

    with pytest.raises(Failed, match=word):
        await access.explain(bus, CONFIGURATION, bot, "5", action=action)


async def test_what_cannot_be_read_is_no_answer() -> None:
    bus = await told(Blocked(id="b", at=0.0, by="telegram:1", who="telegram:5", bot=HELPER))
    await bus.append([Entry(subjects.access(), b"{}")])

    with pytest.raises(Failed, match="cannot be read"):
        await access.explain(bus, CONFIGURATION, HELPER, "5")


def test_the_command_tells_it_to_people_and_to_programs(factory: Factory) -> None:
    factory.up()

    table = factory.run("policy", "explain", "--bot", "cli:main", "--user", "ann")
    document = json.loads(
        factory.run("policy", "explain", "--bot", "cli:main", "--user", "ann", "--action", "invite", "--json").stdout
    )
    unknown = factory.run("policy", "explain", "--bot", "cli:other", "--user", "ann")

    assert table.returncode == 0, table.stderr
    assert table.stdout.startswith("cli:ann is owner on cli:main.\ncli:ann sits at the terminal")
    assert "speak" in table.stdout
    assert document["actions"] == [
        {"action": "invite", "allowed": True, "why": "In private this takes the level owner.", "words": ""}
    ]
    assert (unknown.returncode, "there are: cli:main" in unknown.stderr) == (1, True)


def test_help_of_it_fits_a_screen(factory: Factory) -> None:
    lines = factory.run("policy", "explain", "--help").stdout.rstrip().splitlines()

    assert 5 < len(lines) <= 24
    assert max(len(line) for line in lines) <= 80
