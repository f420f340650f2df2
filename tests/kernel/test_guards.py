"""Who may speak, how much and how fast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_contracts.messages import Address, Attachment, InboundMessage
from hub.kernel.guards import RATES_KEPT, Admitted, BotPolicy, Declined, Pairing, Rates, code_in, digest_of, screen

few = settings(max_examples=25, deadline=None)

OWNERS = frozenset({"ann"})


def said(text: str = "hello", user: str = "ann", **more: object) -> InboundMessage:
    message = InboundMessage(
        message_id="m", user_id=user, text=text, address=Address(platform="paper", bot_id="desk", scope_id="chat")
    )
    return message.model_copy(update=more)


def policy(**more: Any) -> BotPolicy:
    return replace(BotPolicy(platform="paper", bot_id="desk", owners=OWNERS), **more)


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
    screened = screen(message, rule, Rates(), 0.0)

    assert (screened.reason if isinstance(screened, Declined) else None) == reason


@pytest.mark.parametrize("reason", ["blocked", "not addressed"])
def test_who_shall_not_know_is_told_nothing(reason: str) -> None:
    rule = policy(blocked=OWNERS) if reason == "blocked" else policy()
    screened = screen(said(in_group=True, is_addressed=False), rule, Rates(), 0.0)

    assert screened == Declined(screened.reason) if isinstance(screened, Declined) else False


def test_trust_comes_from_the_configuration() -> None:
    rule = policy(access="public")

    trusts = [screen(said(user=user), rule, Rates(), 0.0) for user in ("ann", "ben")]

    assert [one.trust for one in trusts if isinstance(one, Admitted)] == ["owner", "public"]


def test_a_person_who_is_too_fast_is_told_how_long_to_wait() -> None:
    rates, rule = Rates(), policy(rate_per_minute=2)
    for _ in range(2):
        assert isinstance(screen(said(), rule, rates, 0.0), Admitted)

    declined = screen(said(), rule, rates, 10.0)

    assert isinstance(declined, Declined)
    assert declined.reason == "too fast"
    assert "21 s" in declined.words
    assert isinstance(screen(said(), rule, rates, 31.0), Admitted)


def test_a_stop_is_never_too_fast() -> None:
    rates, rule = Rates(), policy(rate_per_minute=1)

    screened = [screen(said(" /stop "), rule, rates, 0.0) for _ in range(5)]

    assert all(isinstance(one, Admitted) for one in screened)


def test_what_is_declined_before_costs_nothing() -> None:
    rates, rule = Rates(), policy(rate_per_minute=1)
    screen(said("x" * 30_000), rule, rates, 0.0)

    assert isinstance(screen(said(), rule, rates, 0.0), Admitted)


CODE = "0123456789abcdef01234567"
PAIRING = Pairing(digest_of(CODE), 100.0)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (said(f"/start {CODE}"), CODE),
        (said(f"  /start   {CODE}\n"), CODE),
        (said(f"/start {CODE}", in_group=True), None),
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
def test_a_code_stands_alone_behind_its_word_and_in_private(message: InboundMessage, code: str | None) -> None:
    assert code_in(message) == code


@pytest.mark.parametrize(
    ("rule", "now", "pairing", "claim", "reason"),
    [
        pytest.param(policy(), 99.0, PAIRING, PAIRING.digest, None, id="the code on offer"),
        pytest.param(policy(owners=frozenset()), 99.0, PAIRING, PAIRING.digest, None, id="makes the first owner"),
        pytest.param(policy(access="public"), 99.0, PAIRING, PAIRING.digest, None, id="also where all may speak"),
        pytest.param(policy(owners=frozenset({"ben"})), 99.0, PAIRING, PAIRING.digest, None, id="an owner may use it"),
        pytest.param(policy(), 100.0, PAIRING, None, "not allowed", id="too late"),
        pytest.param(policy(), 99.0, Pairing("0" * 64, 100.0), None, "not allowed", id="another code"),
        pytest.param(policy(), 99.0, None, None, "not allowed", id="none on offer"),
        pytest.param(policy(access="public"), 99.0, None, None, "not allowed", id="a wrong code is told to all"),
        pytest.param(policy(owners=frozenset({"ben"})), 99.0, None, None, None, id="but to owners"),
        pytest.param(policy(blocked=frozenset({"ben"})), 99.0, PAIRING, None, "blocked", id="who is blocked stays so"),
        pytest.param(None, 99.0, PAIRING, None, "no owner", id="a bot that nobody configured"),
    ],
)
def test_a_code_makes_an_owner_or_opens_nothing(
    rule: BotPolicy | None, now: float, pairing: Pairing | None, claim: str | None, reason: str | None
) -> None:
    screened = screen(said(f"/start {CODE}", "ben"), rule, Rates(), now, pairing)

    if isinstance(screened, Admitted):
        assert (screened.trust, screened.claim, screened.message.text) == ("owner", claim, "/start")
        assert reason is None
    else:
        assert screened.reason == reason


def test_a_guess_costs_as_much_as_a_message() -> None:
    rates, rule = Rates(), policy(rate_per_minute=2)

    reasons = []
    for _ in range(4):
        screened = screen(said(f"/start {CODE}", "ben"), rule, rates, 0.0)
        assert isinstance(screened, Declined)
        reasons.append(screened.reason)

    assert reasons == ["not allowed", "not allowed", "too fast", "too fast"]


def test_a_bot_without_owner_tells_how_it_gets_one() -> None:
    screened = screen(said(user="ben"), policy(owners=frozenset()), Rates(), 0.0)

    assert isinstance(screened, Declined)
    assert "factory init paper" in screened.words


def test_one_person_on_two_platforms_has_two_rates() -> None:
    rates = Rates()

    granted = [rates.take((platform, "ann"), 1, 0.0) == 0 for platform in ("paper", "paper", "stone")]

    assert granted == [True, False, True]


def test_a_crowd_does_not_fill_the_memory_and_the_silent_are_forgotten_first() -> None:
    rates = Rates()
    rates.take(("paper", "first"), 1, 0.0)
    for number in range(RATES_KEPT):
        rates.take(("paper", f"{number}"), 1, 0.0)

    assert rates.take(("paper", f"{RATES_KEPT - 1}"), 1, 0.0) > 0
    assert rates.take(("paper", "first"), 1, 0.0) == 0


@few
@given(st.lists(st.floats(-10, 100), max_size=60), st.integers(1, 60))
def test_no_minute_grants_more_than_two_buckets(pauses: list[float], per_minute: int) -> None:
    rates, now, granted = Rates(), 0.0, []
    for pause in pauses:
        now += pause
        if rates.take(("paper", "ann"), per_minute, now) == 0:
            granted.append(now)

    forward = [pause for pause in pauses if pause > 0]
    assert len(granted) <= per_minute * (1 + sum(forward) / 60) + 1
