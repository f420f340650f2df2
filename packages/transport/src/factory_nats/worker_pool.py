"""Asking whichever worker is best, and the next one when it does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from factory_nats.circuit import CircuitBreaker
from factory_nats.registry import WorkerRegistry
from factory_nats.result import Err, Ok, Result
from factory_nats.transport import Delivery, Subscription, Transport

logger = logging.getLogger(__name__)

# What says something about one worker and nothing about the request or about us.
_ITS_FAULT: Final = frozenset({"timeout", "no responders"})

# Nobody tells that whoever was asked is dead; who is silent for so many looks is taken to be. Longer than a worker that
# ends needs to finish what it has begun, in which time it sends no heartbeat any more.
LOOK: Final = 0.5
SILENT_LOOKS: Final = 20


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a worker says about itself, whatever else its message holds."""

    worker: str
    instance: str
    load: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back, and from whom."""

    worker: str
    data: bytes


class WorkerPoolClient:
    """The workers of one capability, each known by its identity.

    A request may be carried out twice, for after a timeout the next worker is asked; unless it is said not to be
    repeatable.
    """

    def __init__(
        self,
        transport: Transport,
        registry: WorkerRegistry,
        *,
        subject: Callable[[str], str],
        circuit: Callable[[], CircuitBreaker] = CircuitBreaker,
    ) -> None:
        self.registry = registry
        self._transport = transport
        self._subject = subject
        self._circuit = circuit
        self._circuits: dict[str, CircuitBreaker] = {}

    async def listen(self, subject: str, read: Callable[[Delivery], Heartbeat | None]) -> Result[Subscription]:
        """Learn from the heartbeats on `subject` who is there; what `read` drops was not said."""

        def note(delivery: Delivery) -> None:
            said = read(delivery)
            if said is None:
                return
            change = self.registry.heard(said.worker, said.instance, said.load, self._now())
            if change != "known":
                logger.info("worker %s: %s", said.worker, change)

        return await self._transport.subscribe(subject, note)

    async def request(
        self, payload: bytes, *, timeout: float, patience: float | None = None, is_repeatable: bool = True
    ) -> Result[Answered]:
        """Ask until somebody answers, `timeout` seconds in all and `patience` seconds for each.

        "no worker" when none is alive, "circuit open" when all that are alive have failed too often. What is not
        repeatable is given to the next worker only while nobody took it; a "timeout" then leaves open whether it was
        done. Who begins a new life, or gives no sign of the present one, is waited for no longer.
        """
        deadline = self._now() + timeout
        candidates = self.registry.candidates(self._now())
        problem = Err("no worker", "no worker is alive")
        if candidates:
            problem = Err("circuit open", f"{len(candidates)} workers have failed too often")
        for worker in candidates:
            left = deadline - self._now()
            if left <= 0:
                break
            circuit = self._circuits.setdefault(worker, self._circuit())
            if not circuit.admit(self._now()):
                continue
            self.registry.gave(worker, self._now())
            answer = await self._ask(worker, payload, left if patience is None else min(left, patience))
            if isinstance(answer, Ok):
                circuit.succeeded()
                return Ok(Answered(worker, answer.value))
            problem = answer
            if answer.reason not in _ITS_FAULT:
                break
            circuit.failed(self._now())
            self.registry.mark_stale(worker)
            if answer.reason == "timeout" and not is_repeatable:
                logger.warning("worker %s does not answer, and nobody else may be asked", worker)
                break
            logger.warning("worker %s does not answer (%s), trying the next", worker, answer.reason)
        return problem

    async def _ask(self, worker: str, payload: bytes, timeout: float) -> Result[bytes]:
        instance, heard, silent = self.registry.instance(worker), self.registry.heard_at(worker), 0
        asking = asyncio.create_task(
            self._transport.request(self._subject(worker), payload, timeout=timeout, responder=worker)
        )
        try:
            while not asking.done():
                await asyncio.wait({asking}, timeout=LOOK)
                if asking.done():
                    break
                if self.registry.instance(worker) != instance:
                    return Err("timeout", f"worker {worker} began a new life before it answered")
                # Looks are counted, not seconds: who stood still itself has not yet heard what came meanwhile.
                before, heard = heard, self.registry.heard_at(worker)
                silent = silent + 1 if heard == before else 0
                if silent >= SILENT_LOOKS:
                    return Err("timeout", f"worker {worker} fell silent before it answered")
            return asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
