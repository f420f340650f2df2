"""Who lives and how they do: signals that may be lost."""

from typing import Annotated

from pydantic import Field

from factory_contracts.envelope import Envelope, Part, Wire
from factory_contracts.messages import Count, Id, Scope, Token, Version
from factory_contracts.work import Partition


class HubHeartbeat(Envelope):
    """A hub lives; two seconds without it and others take over what is its.

    One that shares the partitions names those that it reigns over, how far it knows the log, and up to where it knows
    what was done about who may do what. One that leaves takes nothing more.
    """

    hub: Id
    epoch: Count
    parts: tuple[Partition, ...] | None = None
    sequence: Count | None = None
    acts: Count | None = None
    leaves: bool | None = None


class Memory(Part):
    """The memory of all graphics processors of a machine together, in bytes."""

    free: Count
    total: Count


class Heartbeat(Envelope):
    """A worker of some capability lives; `load` 0 is idle, 1 is full.

    It does `at_once` wishes side by side, and `running` now; `shape` changes with what it says of how it is asked. Who
    is draining finishes what it has and takes nothing new.
    """

    worker: Id
    instance: Id
    understands: Version = 1
    load: Annotated[float, Field(ge=0, le=1)] = 0.0
    at_once: Count | None = None
    running: Count | None = None
    shape: Id | None = None
    is_draining: bool | None = None
    gpu: Memory | None = None


class Typing(Envelope):
    """Somebody is at work on an answer in this scope."""

    platform: Token
    bot_id: Token
    scope_id: Scope


class Ready(Envelope):
    """The hub serves, in this epoch, up to this version."""

    hub: Id
    epoch: Count
    understands: Version = 1


HUB_HEARTBEAT: Wire[HubHeartbeat] = Wire(HubHeartbeat)
HEARTBEAT: Wire[Heartbeat] = Wire(Heartbeat)
TYPING: Wire[Typing] = Wire(Typing)
READY: Wire[Ready] = Wire(Ready)
