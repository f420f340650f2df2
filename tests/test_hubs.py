"""Several hubs share the partitions: real hubs that come, go, die and freeze while people go on talking."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from factory_contracts.messages import Accepted, AlreadyAccepted, Refused
from tests.city import ENDS_WITHIN, City
from tests.fakes import until

SCOPES = tuple(f"chat {number}" for number in range(12))


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    async with City(tmp_path) as city:
        yield city


async def test_two_hubs_share_evenly_and_each_answers_in_its_half(city: City) -> None:
    hubs = [city.hub("--shares"), city.hub("--shares")]
    await city.worker()
    spoke = await city.spoke()
    await city.shared(32, 32)

    turns = await asyncio.gather(*(city.say(spoke, f"hello {scope}", scope) for scope in SCOPES))

    for turn, scope in zip(turns, SCOPES, strict=True):
        assert (await city.answered(turn)).text == f"You said: hello {scope}"
    assert len(city.wall.sent) == len(SCOPES)
    assert [hub.poll() for hub in hubs] == [None, None]


async def test_nobody_notices_that_a_hub_comes_and_that_one_is_told_to_end(city: City) -> None:
    first = city.hub("--shares")
    await city.worker()
    spoke = await city.spoke()
    await city.shared(64)
    turns = [await city.say(spoke, "speak slowly", scope) for scope in SCOPES]
    await until(lambda: len(city.wall.sent) == len(SCOPES))

    city.hub("--shares")
    await city.shared(32, 32)
    first.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait, ENDS_WITHIN) == 0
    await city.shared(64)

    for turn in turns:
        assert (await city.answered(turn)).text == "word " * 80
    assert len(city.wall.sent) == len(SCOPES)
    assert city.model_calls() == len(SCOPES)


async def test_when_one_of_three_hubs_is_killed_the_others_go_on_with_its_answers_at_once(city: City) -> None:
    hubs = [city.hub("--shares") for _ in range(3)]
    await city.worker()
    spoke = await city.spoke()
    await city.shared(21, 21, 22)
    turns = [await city.say(spoke, "speak slowly", scope) for scope in SCOPES]
    await until(lambda: len(city.wall.sent) == len(SCOPES))

    hubs[0].send_signal(signal.SIGKILL)
    gaps = await asyncio.gather(*(city.after(hubs[0], turn) for turn in turns))

    assert max(gaps) < 1.5
    for turn in turns:
        assert (await city.answered(turn)).text == "word " * 80
    await city.shared(32, 32)
    assert city.model_calls() == len(SCOPES)


async def test_a_hub_that_stood_still_past_its_silence_says_nothing_twice_and_takes_its_share_again(city: City) -> None:
    hubs = [city.hub("--shares") for _ in range(2)]
    await city.worker()
    spoke = await city.spoke()
    await city.shared(32, 32)
    turns = [await city.say(spoke, "speak slowly", scope) for scope in SCOPES]
    await until(lambda: len(city.wall.sent) == len(SCOPES))

    hubs[0].send_signal(signal.SIGSTOP)
    await city.shared(64)
    hubs[0].send_signal(signal.SIGCONT)
    await city.shared(32, 32)

    for turn in turns:
        assert (await city.answered(turn)).text == "word " * 80
    again = await asyncio.gather(*(city.say(spoke, "hello", scope) for scope in SCOPES))
    for turn in again:
        assert (await city.answered(turn)).text == "You said: hello"
    assert len(city.wall.sent) == 2 * len(SCOPES)
    assert [hub.poll() for hub in hubs] == [None, None]


async def test_who_is_blocked_is_blocked_everywhere_once_that_is_said(city: City) -> None:
    for _ in range(3):
        city.hub("--shares")
    await city.worker()
    spoke = await city.spoke()
    await city.shared(21, 21, 22)
    heard = await city.heard(spoke, "hello", SCOPES, "eve")
    assert all(isinstance(one, Accepted | AlreadyAccepted) for one in heard)

    said = await city.answered(await city.say(spoke, "/block eve", "chat 0"))
    answers = await city.heard(spoke, "may I?", SCOPES, "eve")

    assert "eve" in said.text
    assert [one.reason for one in answers if isinstance(one, Refused)] == ["blocked"] * 12


async def test_a_conversation_begins_with_what_was_said_in_another_whichever_hub_has_it(city: City) -> None:
    for _ in range(2):
        city.hub("--shares")
    await city.worker()
    spoke = await city.spoke()
    await city.shared(32, 32)
    await city.answered(await city.say(spoke, "hello", "chat 0"))

    for name in SCOPES[1:]:
        told = await city.answered(await city.say(spoke, f"/fork {name}", "chat 0", names=True))
        assert "begins with all that was said" in told.text
    again = await city.answered(await city.say(spoke, f"/fork {SCOPES[3]}", "chat 0", names=True))

    assert "already" in again.text
    for name in SCOPES[1:]:
        welcome = await spoke.hello(name)
        assert [exchange.answered for exchange in welcome.history] == ["You said: hello"]


async def test_accounts_are_linked_whichever_hub_each_of_them_speaks_to(city: City) -> None:
    for _ in range(2):
        city.hub("--shares")
    await city.worker()
    spoke = await city.spoke()
    await city.shared(32, 32)

    for number, scope in enumerate(SCOPES):
        offered = await city.answered(await city.say(spoke, "/link", "chat 0", who=f"one {number}"))
        (code,) = re.findall("[0-9a-f]{24}", offered.text)
        proposed = await city.answered(await city.say(spoke, f"/link {code}", scope, who=f"two {number}"))
        (code,) = set(re.findall("[0-9a-f]{24}", proposed.text))
        joined = await city.answered(await city.say(spoke, f"/link {code}", scope, who=f"two {number}"))

        assert f"one {number}" in joined.text


async def test_a_spoke_that_comes_anew_is_shown_what_every_hub_has_for_it(city: City) -> None:
    for _ in range(2):
        city.hub("--shares")
    await city.worker()
    spoke = await city.spoke()
    await city.shared(32, 32)
    turns = [await city.say(spoke, "speak slowly", scope) for scope in SCOPES]
    await spoke.close()

    await city.spoke()

    for turn in turns:
        assert (await city.answered(turn)).text == "word " * 80
