"""Answering one capability: its requests, its heartbeat, and an end that finishes what was begun."""

import asyncio
import logging
import secrets
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from factory_contracts import subjects
from factory_contracts.capability import (
    CAPABILITY_REPLY,
    CAPABILITY_REQUEST,
    CapabilityRefused,
    CapabilityReply,
    CapabilityRequest,
)
from factory_contracts.envelope import Envelope, Malformed, Wire
from factory_contracts.lifecycle import HEARTBEAT, Heartbeat
from factory_nats.adapter import NatsAdapterBase, Trouble
from factory_nats.connect import Identity, connect
from factory_nats.result import Err
from factory_nats.transport import Transport

logger = logging.getLogger(__name__)

DRAIN = 8.0

Asked = TypeVar("Asked", bound=Envelope)
Answered = TypeVar("Answered", bound=Envelope)
Refusal = Literal["malformed", "busy", "failed"]


@dataclass(frozen=True, slots=True)
class Capability(Generic[Asked, Answered]):
    """What a worker can do: its contracts, its work, and how it says that it did not do it."""

    name: str
    requests: Wire[Asked]
    replies: Wire[Answered]
    work: Callable[[Asked], Awaitable[Answered]]
    refuse: Callable[[Refusal], Answered]
    at_once: int = 4


Work = Callable[[CapabilityRequest], Awaitable[CapabilityReply]]


def for_agents(name: str, work: Work, *, at_once: int = 4) -> Capability[CapabilityRequest, CapabilityReply]:
    """What agents may ask as a tool. The work is ended at the request's deadline, for then nobody waits for it.

    Work that does not wait but computes belongs in a thread (`asyncio.to_thread`): a worker that sends no heartbeat for
    ten seconds is taken to be dead.
    """
    return Capability(name, CAPABILITY_REQUEST, CAPABILITY_REPLY, _InTime(work), _refuse, at_once)


@dataclass(frozen=True, slots=True)
class _InTime:
    """Work that ends when nobody waits for it any more."""

    work: Work

    async def __call__(self, asked: CapabilityRequest) -> CapabilityReply:
        try:
            async with asyncio.timeout(asked.deadline) as limit:
                return await self.work(asked)
        except TimeoutError:
            # What the work itself waited for in vain is its own failure.
            if not limit.expired():
                raise
            return CapabilityRefused(reason="late", words=f"It was not done in {asked.deadline:.0f} s.")


def _refuse(why: Refusal) -> CapabilityReply:
    match why:
        case "malformed":
            words = "The worker does not understand such a request; nothing was done."
        case "busy":
            words = "The worker has its hands full; nothing was done."
        case "failed":
            words = "The worker failed at it."
    return CapabilityRefused(reason=why, words=words)


class CapabilityWorker(NatsAdapterBase, Generic[Asked, Answered]):
    """One worker of a capability, under the name of its transport's identity; it answers whom the bus lets ask it."""

    def __init__(
        self,
        transport: Transport,
        capability: Capability[Asked, Answered],
        instance: str,
    ) -> None:
        self._name = transport.identity
        self._capability = capability
        self._instance = instance
        super().__init__(
            transport,
            requests=subjects.request(capability.name, self._name),
            heartbeats=subjects.heartbeat(capability.name, self._name),
            at_once=capability.at_once,
            grace=DRAIN,
        )

    async def answer(self, data: bytes) -> bytes:
        """What the work comes to, or the refusal of what is no request."""
        capability = self._capability
        try:
            asked = capability.requests.decode(data)
        except Malformed as error:
            logger.error("a request for %s is refused: %s", capability.name, error)
            return capability.replies.encode(capability.refuse("malformed"))
        return capability.replies.encode(await capability.work(asked))

    def heartbeat(self) -> bytes:
        """That this worker lives, and how busy it is."""
        load = min(1.0, self.running / self._capability.at_once)
        return HEARTBEAT.encode(Heartbeat(worker=self._name, instance=self._instance, load=load))

    def apologise(self, trouble: Trouble) -> bytes:
        """The refusal of what cannot be done now."""
        return self._capability.replies.encode(self._capability.refuse(trouble))


async def serve(
    url: str,
    identity: Identity,
    capability: Capability[Asked, Answered],
    instance: str | None = None,
    *,
    patience: float = 30.0,
) -> int:
    """Work until SIGTERM or SIGINT, or until the bus is closed for good; the exit code.

    An instance names this life of the worker alone; where none is given, one is made.
    """
    until = asyncio.Event()
    closed: list[str] = []

    def note_closed(why: str) -> None:
        closed.append(why)
        until.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, until.set)
    if not identity.publish:
        # Whom it will answer it is not told, but without these two it serves nobody.
        alive = subjects.heartbeat(capability.name, identity.name)
        asked = subjects.request(capability.name, identity.name)
        identity = replace(identity, publish=(alive,), subscribe=(asked,))
    connected = await connect(url, identity, patience=patience, until=until, on_closed=note_closed)
    if isinstance(connected, Err):
        if until.is_set():
            return 0
        logger.error("%s", connected.detail)
        return 1
    async with CapabilityWorker(connected.value, capability, instance or secrets.token_hex(6)):
        await until.wait()
    return 1 if closed else 0
