"""An agent is known by its content."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_contracts.work import Approvals, Files, Limits, McpServer
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
        replace(AGENT, fallbacks=("other",)),
        replace(AGENT, skills=("letters",)),
        replace(AGENT, mcp=(McpServer(name="shop", url="https://tools.example"),)),
        replace(AGENT, helpers=(Agent("bob", "scripted"),)),
        replace(AGENT, helpers=(Agent("bob", "scripted", description="knows letters"),)),
        replace(AGENT, workers=("image",)),
        replace(AGENT, files=Files()),
        replace(AGENT, memory="person"),
        replace(AGENT, temperature=0.5),
        replace(AGENT, thinking=1_000),
        replace(AGENT, own_tools=("web_search",)),
        replace(AGENT, permission_mode="plan"),
        replace(AGENT, is_dry=True),
        replace(AGENT, allow_unpriced=True),
        replace(AGENT, while_running="steer"),
        replace(AGENT, approvals=Approvals(external="tainted")),
    ],
)
def test_whatever_the_model_is_shown_or_may_do_changes_the_hash(other: Agent) -> None:
    assert other.hash != AGENT.hash


def test_a_description_changes_nothing() -> None:
    assert replace(AGENT, description="answers").hash == AGENT.hash


def test_what_a_helper_is_there_for_is_shown_to_whoever_may_ask_it() -> None:
    plain, described = Agent("bob", "scripted"), Agent("bob", "scripted", description="knows letters")

    assert replace(AGENT, helpers=(plain,)).hash != replace(AGENT, helpers=(described,)).hash


def test_no_two_agents_that_differ_have_the_same_hash() -> None:
    others = [replace(AGENT, helpers=(Agent(name, "scripted", system=name),)) for name in "abc"]

    assert len({AGENT.hash, *(other.hash for other in others)}) == 4


def test_another_model_is_asked_alone_and_the_agents_own_with_its_fallbacks() -> None:
    agent = replace(AGENT, fallbacks=("spare",))

    assert agent.on(None) is agent
    assert agent.on("scripted") is agent
    assert (agent.on("other").model, agent.on("other").fallbacks) == ("other", ())
    assert agent.on("other").hash != agent.hash


def test_a_worker_is_told_all_of_it() -> None:
    spec = AGENT.spec()

    assert (spec.name, spec.hash, spec.model, spec.system) == ("alice", AGENT.hash, "scripted", "You are Alice.")
    assert spec.namespace == "alice"
    assert spec.tools == ("clock",)


def test_a_worker_is_told_all_of_every_helper() -> None:
    deep = Agent("carol", "scripted", system="You are Carol.")
    agent = replace(AGENT, helpers=(Agent("bob", "scripted", description="knows letters", helpers=(deep,)),))

    (bob,) = agent.spec().helpers

    assert (bob.name, bob.description, bob.helpers) == ("bob", "knows letters", (deep.spec(),))
