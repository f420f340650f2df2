"""Who may speak, how much and how fast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_contracts.messages import Address, Attachment, InboundMessage
from factory_contracts.records import Blocked, Granted, Linked
from hub.kernel.access import Access, BotPolicy
from hub.kernel.guards import (
    HIDDEN,
    RATES_KEPT,
    Admitted,
    Claimed,
    Declined,
    Rates,
    Traffic,
    Waits,
    claim_in,
    digest_of,
    screen,
    without_codes,
)

few = settings(max_examples=25, deadline=None)

OWNERS = frozenset({"ann"})


def said(text: str = "hello", user: str = "ann", **more: object) -> InboundMessage:
    message = InboundMessage(
        message_id="m", user_id=user, text=text, address=Address(platform="paper", bot_id="desk", scope_id="chat")
    )
    return message.model_copy(update=more)


def policy(**more: Any) -> BotPolicy:
    return replace(BotPolicy(platform="paper", bot_id="desk", owners=OWNERS), **more)


def screened(
    message: InboundMessage, rule: BotPolicy | None, traffic: Traffic | None = None, now: float = 0.0
) -> Admitted | Claimed | Declined:
    return screen(message, Access(() if rule is None else (rule,)), traffic or Traffic(), now)


PHOTO = Attachment(kind="image", name="a.png", mime="image/png", size=1, blob="b")


@pytest.mark.parametrize(
    ("message", "rule", "reason"),
    [
        pytest.param(said(), None, "no owner", id="a bot that nobody configured"),
        pytest.param(said(), policy(), None, id="an owner is let in"),
        pytest.param(said(user="ben"), policy(), "not allowed", id="a stranger is not"),
        pytest.param(said(user="ben"), policy(access="public"), None, id="but to a public bot"),
        pytest.param(said(user="ben"), policy(owners=frozenset()), "no owner", id="a bot without owner says so"),
        pytest.param(said(), policy(blocked=OWNERS), "blocked", id="blocked beats owner"),
        pytest.param(said(in_group=True, is_addressed=False), policy(), "not addressed", id="a group talks to itself"),
        pytest.param(
            said(in_group=True, is_addressed=False), policy(answers_unaddressed=True), None, id="a bot may join in"
        ),
        pytest.param(said(in_group=True), policy(), None, id="in a group it is spoken to"),
        pytest.param(
            said(user="ben", in_group=True, is_addressed=False),
            policy(),
            "not addressed",
            id="a group reads no refusals of its members",
        ),
        pytest.param(said("x" * 20_000), policy(), None, id="just small enough"),
        pytest.param(said("x" * 20_001), policy(), "too large", id="too large"),
        pytest.param(said("x" * 15_000, quoted="y" * 6_000), policy(), "too large", id="too large with its quote"),
        pytest.param(said("   "), policy(), "not addressed", id="nothing said"),
        pytest.param(said("", attachments=(PHOTO,)), policy(), None, id="a picture says something"),
    ],
)
def test_the_pipeline(message: InboundMessage, rule: BotPolicy | None, reason: str | None) -> None:
    outcome = screened(message, rule)

    assert (outcome.reason if isinstance(outcome, Declined) else None) == reason


@pytest.mark.parametrize("reason", ["blocked", "not addressed"])
def test_who_shall_not_know_is_told_nothing(reason: str) -> None:
    rule = policy(blocked=OWNERS) if reason == "blocked" else policy()
    outcome = screened(said(in_group=True, is_addressed=False), rule)

    assert outcome == Declined(outcome.reason) if isinstance(outcome, Declined) else False


def test_trust_comes_from_what_was_granted_and_never_from_the_message() -> None:
    access = Access((policy(access="public"),))
    access.apply(Granted(id="1", at=0.0, by="paper:ann", to="paper:cid", bot="paper:desk", level="trusted"))

    trusts = [screen(said(user=user), access, Traffic(), 0.0) for user in ("ann", "ben", "cid")]

    assert [one.trust for one in trusts if isinstance(one, Admitted)] == ["owner", "public", "trusted"]


def test_who_was_let_in_is_heard_and_who_was_blocked_is_not() -> None:
    access = Access((policy(),))
    access.apply(Granted(id="1", at=0.0, by="paper:ann", to="paper:ben", bot="paper:desk", level="trusted"))
    let_in = screen(said(user="ben"), access, Traffic(), 0.0)
    access.apply(Blocked(id="2", at=0.0, by="paper:ann", who="paper:ben", bot="paper:desk"))

    assert isinstance(let_in, Admitted)
    assert screen(said(user="ben"), access, Traffic(), 0.0) == Declined("blocked")


def test_a_person_who_is_too_fast_is_told_the_limit_and_how_long_to_wait() -> None:
    traffic, rule = Traffic(), policy(rate_per_minute=2)
    for _ in range(2):
        assert isinstance(screened(said(), rule, traffic), Admitted)

    declined = screened(said(), rule, traffic, 10.0)

    assert isinstance(declined, Declined)
    assert declined.reason == "too fast"
    assert "2 messages a minute from one person" in declined.words
    assert "21 s" in declined.words
    assert isinstance(screened(said(), rule, traffic, 31.0), Admitted)


def test_a_conversation_that_is_too_fast_is_told_so_whoever_speaks_in_it() -> None:
    traffic, rule = Traffic(), policy(access="public", rate_per_scope_minute=2)
    for user in ("ann", "ben"):
        assert isinstance(screened(said(user=user), rule, traffic), Admitted)

    declined = screened(said(user="cid"), rule, traffic, 10.0)

    assert isinstance(declined, Declined)
    assert declined.reason == "too fast"
    assert "2 messages a minute in one conversation" in declined.words
    assert "21 s" in declined.words
    elsewhere = said(user="cid", address=Address(platform="paper", bot_id="desk", scope_id="elsewhere"))
    assert isinstance(screened(elsewhere, rule, traffic, 10.0), Admitted)


def test_who_is_one_person_with_another_has_one_rate_with_them() -> None:
    access, traffic = Access((policy(access="public", rate_per_minute=1),)), Traffic()
    access.apply(Linked(id="1", at=0.0, by="paper:ben", one="paper:ann", other="paper:ben", code="0" * 64))

    outcomes = [screen(said(user=user), access, traffic, 0.0) for user in ("ann", "ben", "cid")]

    assert [type(one) for one in outcomes] == [Admitted, Declined, Admitted]


def test_a_stop_is_never_too_fast() -> None:
    traffic, rule = Traffic(), policy(rate_per_minute=1, rate_per_scope_minute=1)

    outcomes = [screened(said(" /stop "), rule, traffic) for _ in range(5)]

    assert all(isinstance(one, Admitted) for one in outcomes)


def test_what_is_declined_before_costs_nothing() -> None:
    traffic, rule = Traffic(), policy(rate_per_minute=1)
    screened(said("x" * 30_000), rule, traffic)

    assert isinstance(screened(said(), rule, traffic), Admitted)


CODE = "0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (said(f"/start {CODE}"), "/start"),
        (said(f"  /start   {CODE}\n"), "/start"),
        (said(f"/link {CODE}"), "/link"),
        (said(f"/start {CODE}", in_group=True), None),
        (said(f"/link {CODE}", in_group=True), None),
        (said(f"/start {CODE} please"), None),
        (said(f"/start {CODE.upper()}"), None),
        (said(f"/start {CODE[1:]}"), None),
        (said(f"/start {CODE}0"), None),
        (said(f"/help {CODE}"), None),
        (said(CODE), None),
        (said("/start"), None),
        (said("/start reference"), None),
        (said(""), None),
    ],
)
def test_a_code_stands_alone_behind_its_word_and_in_private(message: InboundMessage, word: str | None) -> None:
    claimed = claim_in(message)

    assert (claimed.word if claimed is not None else None) == word
    if claimed is not None:
        assert (claimed.message.text, claimed.digest) == (word, digest_of(CODE))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        pytest.param(policy(), None, id="whom nobody let in may send a code"),
        pytest.param(policy(owners=frozenset()), None, id="also where there is no owner"),
        pytest.param(policy(access="public"), None, id="also where all may speak"),
        pytest.param(policy(blocked=frozenset({"ben"})), "blocked", id="who is blocked may not"),
        pytest.param(None, "no owner", id="a bot that nobody configured"),
    ],
)
def test_a_code_is_let_through_to_whoever_knows_what_it_opens(rule: BotPolicy | None, reason: str | None) -> None:
    outcome = screened(said(f"/start {CODE}", "ben"), rule)

    assert (outcome.reason if isinstance(outcome, Declined) else None) == reason
    assert reason is not None or isinstance(outcome, Claimed)


def test_a_guess_costs_as_much_as_a_message() -> None:
    traffic, rule = Traffic(), policy(rate_per_minute=2)

    outcomes = [screened(said(f"/start {CODE}", "ben"), rule, traffic) for _ in range(4)]

    assert [type(one) for one in outcomes] == [Claimed, Claimed, Declined, Declined]


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"look what I got: /start {CODE}.", f"look what I got: /start {HIDDEN}."),
        (f"{CODE}\n{CODE}", f"{HIDDEN}\n{HIDDEN}"),
        (f"({CODE})", f"({HIDDEN})"),
        (f"{'f' * 24} is no code", f"{'f' * 24} is no code"),
        (f"{CODE}0 is too long, x{CODE} runs on", f"{CODE}0 is too long, x{CODE} runs on"),
        ("nothing", "nothing"),
    ],
)
def test_a_code_that_is_passed_on_is_hidden_wherever_it_stands(text: str, hidden: str) -> None:
    message = without_codes(said(text, quoted=text), lambda digest: digest == digest_of(CODE))

    assert (message.text, message.quoted) == (hidden, hidden)


def test_a_bot_without_owner_tells_how_it_gets_one() -> None:
    outcome = screened(said(user="ben"), policy(owners=frozenset()))

    assert isinstance(outcome, Declined)
    assert "factory init paper" in outcome.words


def test_each_has_a_rate_of_their_own() -> None:
    rates = Rates()

    granted = [rates.take(who, 1, 0.0) == 0 for who in ("paper:ann", "paper:ann", "stone:ann")]

    assert granted == [True, False, True]


def test_what_is_left_can_be_asked_for_and_is_not_used_up_by_asking() -> None:
    rates = Rates()
    rates.take("ann", 10, 0.0)

    assert [rates.left("ann", 10, now) for now in (0.0, 0.0, 3.0, 600.0)] == [9.0, 9.0, 9.5, 10.0]


def test_a_crowd_does_not_fill_the_memory_and_the_silent_are_forgotten_first() -> None:
    rates = Rates()
    rates.take("first", 1, 0.0)
    for number in range(RATES_KEPT):
        rates.take(f"{number}", 1, 0.0)

    assert rates.take(f"{RATES_KEPT - 1}", 1, 0.0) > 0
    assert rates.take("first", 1, 0.0) == 0


def test_where_a_person_waits_is_counted_over_all_that_they_are() -> None:
    waits = Waits()
    for who, place in (("ann", "a"), ("ann", "b"), ("ben", "b"), ("ben", "c"), ("ann", "a")):
        waits.note(who, place, is_waiting=True)
    waits.note("ben", "c", is_waiting=False)

    assert [waits.beside(("ann", "ben"), place) for place in ("a", "c")] == [1, 2]
    assert waits.beside(("cid",), "a") == 0


@few
@given(st.lists(st.floats(-10, 100), max_size=60), st.integers(1, 60))
def test_no_minute_grants_more_than_two_buckets(pauses: list[float], per_minute: int) -> None:
    rates, now, granted = Rates(), 0.0, []
    for pause in pauses:
        now += pause
        if rates.take("ann", per_minute, now) == 0:
            granted.append(now)

    forward = [pause for pause in pauses if pause > 0]
    assert len(granted) <= per_minute * (1 + sum(forward) / 60) + 1
