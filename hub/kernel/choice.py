"""Which model a class of tasks is given to: the one whose successes cost least, a cheap one's retries counted in."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Choice:
    """A model: what an attempt costs, which share of attempts succeeds, and how many there may be."""

    model: str
    cost: Decimal
    success: float
    attempts: int = 3

    def __post_init__(self) -> None:
        if not (0 < self.success <= 1 and self.cost >= 0 and self.attempts >= 1):
            raise ValueError(f"{self.model}: costs at least 0, succeeds above 0 up to 1, and has an attempt at least")


@dataclass(frozen=True, slots=True)
class Ranked:
    """A choice, the attempts that it takes, how often these succeed, and what a success costs on the average.

    The reason says why a choice does not succeed often enough, and is empty where it does.
    """

    choice: Choice
    attempts: int
    success: Decimal
    cost: Decimal
    reason: str = ""


def rank(choices: Iterable[Choice], min_success: float) -> tuple[Ranked, ...]:
    """All choices, the cheapest for each success first; those that succeed too rarely come last, the best one first."""
    ranked = [_rank(choice, _exact(min_success)) for choice in choices]
    able = [one for one in ranked if not one.reason]
    unable = [one for one in ranked if one.reason]
    return (
        *sorted(able, key=lambda one: (one.cost, one.attempts)),
        *sorted(unable, key=lambda one: (-one.success, one.cost)),
    )


def _rank(choice: Choice, wanted: Decimal) -> Ranked:
    """Try as often as it takes, and no more.

    Attempt i is made when all before it failed, so n attempts cost c·Σ(1-p)^i and succeed with 1-(1-p)^n: what a
    success costs is their ratio, which is c/p whatever n is.
    """
    share = _exact(choice.success)
    attempts, failing = 1, 1 - share
    while 1 - failing < wanted and attempts < choice.attempts:
        attempts += 1
        failing *= 1 - share
    success = 1 - failing
    reason = ""
    if success < wanted:
        tries = "one attempt" if attempts == 1 else f"{attempts} attempts"
        reason = f"succeeds in {success:.1%} of tasks in {tries}, and {wanted:.1%} are wanted"
    return Ranked(choice, attempts, success, choice.cost / share, reason)


def _exact(share: float) -> Decimal:
    """The share as it was written: 0.1 and not what is nearest to it in binary."""
    return Decimal(repr(float(share)))
