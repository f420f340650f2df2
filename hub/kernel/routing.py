"""Which conversation a message belongs to, and which agent answers there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType

from factory_contracts import subjects
from factory_contracts.messages import Address
from hub.kernel.agent import Agent

PoolId = NewType("PoolId", str)


@dataclass(frozen=True, slots=True)
class RoutingKey:
    """One scope on one bot of one platform."""

    platform: str
    bot_id: str
    scope_id: str

    @classmethod
    def of(cls, address: Address) -> "RoutingKey":
        """The conversation that an address lies in."""
        return cls(address.platform, address.bot_id, address.scope_id)

    def to_pool_id(self) -> PoolId:
        """The pool's name; nowhere else is one spelled."""
        return PoolId(f"{self.platform}:{self.bot_id}:{self.scope_id}")

    @property
    def bot(self) -> str:
        """The bot's name among those of all platforms."""
        return f"{self.platform}:{self.bot_id}"

    @property
    def partition(self) -> int:
        """The partition whose owner serves this scope."""
        return subjects.partition(self.scope_id)

    @property
    def subject(self) -> str:
        """The subject of this scope's log."""
        return subjects.turns(self.platform, self.bot_id, self.scope_id)


@dataclass(frozen=True, slots=True)
class Binding:
    """This agent serves here; an absent part stands for any."""

    agent: str
    platform: str | None = None
    bot_id: str | None = None
    scope_id: str | None = None

    def covers(self, key: RoutingKey) -> bool:
        """Whether this binding speaks of the conversation at all."""
        return (
            (self.platform is None or self.platform == key.platform)
            and (self.bot_id is None or self.bot_id == key.bot_id)
            and (self.scope_id is None or self.scope_id == key.scope_id)
        )

    @property
    def weight(self) -> int:
        """A binding that names the scope beats one that names the bot beats one that names the platform."""
        return 4 * (self.scope_id is not None) + 2 * (self.bot_id is not None) + (self.platform is not None)


@dataclass(frozen=True, slots=True)
class Bindings:
    """Every agent by name, and who serves where."""

    agents: Mapping[str, Agent]
    bindings: tuple[Binding, ...] = ()

    def agent_for(self, key: RoutingKey, bound: str | None = None) -> Agent | None:
        """Who answers there: whom the scope's log names, else the most specific binding, else nobody."""
        if bound is not None and bound in self.agents:
            return self.agents[bound]
        matching = [binding for binding in self.bindings if binding.covers(key)]
        if not matching:
            return None
        return self.agents.get(max(matching, key=lambda binding: binding.weight).agent)
