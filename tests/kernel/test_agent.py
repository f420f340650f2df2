"""An agent is known by its content."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_contracts.work import Limits
from hub.kernel.agent import Agent

AGENT = Agent("alice", "scripted", system="You are Alice.", tools=("clock",))


@pytest.mark.parametrize(
    "other",
    [
        replace(AGENT, name="bob"),
        replace(AGENT, model="other"),
        replace(AGENT, system="You are Bob."),
        replace(AGENT, tools=("clock", "calculator")),
        replace(AGENT, tools=()),
        replace(AGENT, namespace="family"),
        replace(AGENT, limits=Limits(max_calls=3)),
    ],
)
def test_whatever_the_model_is_shown_or_may_do_changes_the_hash(other: Agent) -> None:
    assert other.hash != AGENT.hash


def test_a_description_changes_nothing() -> None:
    assert replace(AGENT, description="answers").hash == AGENT.hash


def test_a_worker_is_told_all_of_it() -> None:
    spec = AGENT.spec()

    assert (spec.name, spec.hash, spec.model, spec.system) == ("alice", AGENT.hash, "scripted", "You are Alice.")
    assert spec.namespace == "alice"
    assert spec.tools == ("clock",)
