"""Which conversation, and who answers there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_contracts import subjects
from factory_contracts.messages import Address
from hub.kernel.agent import Agent
from hub.kernel.routing import Binding, Bindings, RoutingKey

few = settings(max_examples=25, deadline=None)

AGENTS = {name: Agent(name, "scripted") for name in ("anyone", "platform", "bot", "scope")}
KEY = RoutingKey("paper", "desk", "chat")


@pytest.mark.parametrize(
    ("bindings", "bound", "expected"),
    [
        pytest.param((), None, None, id="nobody answers where nobody is bound"),
        pytest.param((Binding("anyone"),), None, "anyone", id="a binding of everything"),
        pytest.param((Binding("anyone"), Binding("platform", "paper")), None, "platform", id="a platform beats all"),
        pytest.param((Binding("bot", None, "desk"), Binding("platform", "paper")), None, "bot", id="a bot beats it"),
        pytest.param(
            (Binding("scope", scope_id="chat"), Binding("bot", "paper", "desk")), None, "scope", id="a scope beats both"
        ),
        pytest.param((Binding("platform", "stone"),), None, None, id="another platform's does not count"),
        pytest.param((Binding("anyone"),), "bot", "bot", id="whom the log names"),
        pytest.param((Binding("anyone"),), "gone", "anyone", id="an agent that is gone falls back"),
        pytest.param((Binding("gone"),), None, None, id="a binding to an unknown agent is nobody"),
    ],
)
def test_who_answers(bindings: tuple[Binding, ...], bound: str | None, expected: str | None) -> None:
    agent = Bindings(AGENTS, bindings).agent_for(KEY, bound)

    assert (agent.name if agent else None) == expected


def test_a_key_is_read_from_an_address() -> None:
    assert RoutingKey.of(Address(platform="paper", bot_id="desk", scope_id="chat")) == KEY


def test_a_pools_name_holds_all_three() -> None:
    assert KEY.to_pool_id() == "paper:desk:chat"


@few
@given(st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()))
def test_any_scope_has_a_subject_of_its_own_that_reads_back(scope: str) -> None:
    key = RoutingKey("paper", "desk", scope)

    assert subjects.read_turns(key.subject) == ("paper", "desk", scope)
    assert key.to_pool_id().split(":", 2) == ["paper", "desk", scope]
    assert 0 <= key.partition < subjects.PARTITIONS
