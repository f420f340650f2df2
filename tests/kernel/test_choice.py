"""Which model a class of tasks is given to."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.kernel.choice import Choice, Ranked, rank

HAIKU = Choice("anthropic:haiku", Decimal("0.005"), 0.85)
SONNET = Choice("anthropic:sonnet", Decimal("0.03"), 0.60)
OPUS = Choice("anthropic:opus", Decimal("0.21"), 1.0)

costs = st.decimals(min_value=0, max_value=1000, allow_nan=False, allow_infinity=False, places=6)
shares = st.floats(min_value=0.01, max_value=1)
choices = st.builds(Choice, st.text(min_size=1, max_size=5), costs, shares, st.integers(1, 20))


def models(ranked: tuple[Ranked, ...]) -> list[str]:
    return [one.choice.model for one in ranked]


def test_by_the_figures_of_the_matrix_the_cheap_model_with_a_retry_is_the_right_one() -> None:
    ranked = rank((SONNET, HAIKU, OPUS), 0.9)

    assert models(ranked) == ["anthropic:haiku", "anthropic:sonnet", "anthropic:opus"]
    assert [round(one.cost, 4) for one in ranked] == [Decimal("0.0059"), Decimal("0.0500"), Decimal("0.2100")]
    assert [one.attempts for one in ranked] == [2, 3, 1]
    assert [round(one.success, 4) for one in ranked] == [Decimal("0.9775"), Decimal("0.9360"), Decimal("1.0000")]
    assert not any(one.reason for one in ranked)


def test_who_succeeds_too_rarely_comes_last_and_it_is_said_why() -> None:
    ranked = rank((HAIKU, SONNET, OPUS), 0.99)

    assert models(ranked) == ["anthropic:haiku", "anthropic:opus", "anthropic:sonnet"]
    assert ranked[0].attempts == 3
    assert ranked[-1].reason == "succeeds in 93.6% of tasks in 3 attempts, and 99.0% are wanted"


def test_what_is_reached_exactly_is_reached() -> None:
    (one,) = rank((Choice("a", Decimal(1), 0.9, attempts=2),), 0.99)

    assert (one.attempts, one.reason) == (2, "")


def test_of_two_that_cost_the_same_the_one_with_fewer_attempts_comes_first() -> None:
    rare, sure = Choice("rare", Decimal("0.1"), 0.5, 10), Choice("sure", Decimal("0.2"), 1.0)

    assert models(rank((rare, sure), 0.9)) == ["sure", "rare"]


@pytest.mark.parametrize(
    ("cost", "success", "attempts"), [("-1", 0.5, 1), ("1", 0.0, 1), ("1", 1.1, 1), ("1", float("nan"), 1), ("1", 1, 0)]
)
def test_a_choice_that_cannot_be_is_refused(cost: str, success: float, attempts: int) -> None:
    with pytest.raises(ValueError, match="succeeds above 0 up to 1"):
        Choice("model", Decimal(cost), success, attempts)


@given(st.lists(choices, max_size=8), shares)
def test_every_choice_is_ranked_once(given_choices: list[Choice], min_success: float) -> None:
    ranked = rank(given_choices, min_success)

    assert sorted(map(id, given_choices)) == sorted(id(one.choice) for one in ranked)


@given(st.lists(choices, max_size=8), shares)
def test_costs_rise_among_those_that_succeed_often_enough(given_choices: list[Choice], min_success: float) -> None:
    ranked = rank(given_choices, min_success)
    able = [one for one in ranked if not one.reason]

    assert ranked[: len(able)] == tuple(able)
    assert [one.cost for one in able] == sorted(one.cost for one in able)
    assert all(one.success >= Decimal(repr(min_success)) for one in able)


@given(choices, shares)
def test_a_success_costs_what_the_attempts_cost_over_how_often_they_succeed(choice: Choice, min_success: float) -> None:
    (one,) = rank((choice,), min_success)
    spent, failing = Decimal(0), Decimal(1)
    for _ in range(one.attempts):
        spent += choice.cost * failing
        failing *= 1 - Decimal(repr(choice.success))

    assert one.attempts <= choice.attempts
    assert abs(spent / (1 - failing) - one.cost) <= Decimal("1e-20") * max(Decimal(1), one.cost)


@given(choices, shares)
def test_no_fewer_attempts_would_do(choice: Choice, min_success: float) -> None:
    (one,) = rank((choice,), min_success)

    if not one.reason and one.attempts > 1:
        fewer = Choice(choice.model, choice.cost, choice.success, one.attempts - 1)
        assert rank((fewer,), min_success)[0].reason


@given(st.lists(choices, min_size=1, max_size=8), shares)
def test_the_order_they_are_named_in_does_not_matter_to_what_a_success_costs(
    given_choices: list[Choice], min_success: float
) -> None:
    backwards = rank(list(reversed(given_choices)), min_success)

    assert [one.cost for one in rank(given_choices, min_success)] == [one.cost for one in backwards]
