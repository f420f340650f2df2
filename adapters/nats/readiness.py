"""Who reigns: the readiness value that everyone may read, and the heartbeat that a standby listens to."""

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress

from adapters.nats.listening import listen
from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.lifecycle import HUB_HEARTBEAT, READY, HubHeartbeat, Ready
from factory_nats.result import Err, Ok
from factory_nats.transport import Delivery, Transport

logger = logging.getLogger(__name__)

BEAT = 0.5
SILENCE = 2.0
READY_KEY = "hub"
READY_TTL = 10.0
READY_EVERY = 3.0


class NatsReadiness:
    """This hub's word that it serves, and its ear for another's.

    The server tells whose connection has ended; `user` is what it calls us, and so any other hub. Where it does not
    tell, a hub that is gone is known by its silence.
    """

    def __init__(
        self, transport: Transport, hub: str, on_successor: Callable[[], None], *, user: str | None = None
    ) -> None:
        self._transport = transport
        self._hub = hub
        self._on_successor = on_successor
        self._user = user
        self._owner = ""
        self._ended = asyncio.Event()
        self._epoch = 0
        self._has_bucket = False
        self._heard = asyncio.get_running_loop().time()
        self._tasks: list[asyncio.Task[None]] = []

    async def listen(self) -> None:
        """Hear the heartbeats of whoever reigns."""
        begun = await listen(self._transport, subjects.heartbeats(subjects.HUB), self._on_heartbeat)
        if isinstance(begun, Err):
            raise RuntimeError(f"the hub cannot hear other hubs: {begun.detail}")
        if self._user is None:
            return
        begun = await listen(self._transport, subjects.departures(), self._on_departure)
        if isinstance(begun, Err):
            logger.info("the server does not tell whose connection ends (%s); silence has to do", begun.detail)

    async def wait_for_end(self, owner: str) -> None:
        """Return once the hub that reigns is gone, or was not heard for two seconds on a living connection."""
        loop = asyncio.get_running_loop()
        self._owner = owner
        self._heard = loop.time()
        self._ended.clear()
        while True:
            now = loop.time()
            since = max(self._heard, now - self._transport.connected_for(now))
            if now - since >= SILENCE:
                return
            pause = max(0.05, SILENCE - (now - since))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._ended.wait()
            if self._ended.is_set():
                logger.info("the connection of %s has ended", self._owner)
                return
            # Who stood still itself has not yet read what came meanwhile.
            if loop.time() - now > pause + BEAT:
                self._heard = loop.time()

    def reign(self, epoch: int) -> None:
        """Begin to say that this hub lives, which whoever stands by must hear however long it takes to begin."""
        self._epoch = epoch
        self._tasks.append(asyncio.create_task(self._beat(), name="heartbeat"))

    def announce(self) -> None:
        """Say from now on that it serves."""
        self._tasks.append(asyncio.create_task(self._keep_ready(), name="ready"))

    async def close(self) -> None:
        """Say no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _beat(self) -> None:
        heartbeat = HUB_HEARTBEAT.encode(HubHeartbeat(hub=self._hub, epoch=self._epoch))
        while True:
            await self._transport.publish(subjects.heartbeat(subjects.HUB, subjects.HUB), heartbeat)
            await asyncio.sleep(BEAT)

    async def _keep_ready(self) -> None:
        # Apart from the heartbeat, which waits for no disk: whoever does not hear it takes over.
        while True:
            is_heard = await self.put(self._epoch)
            await asyncio.sleep(READY_EVERY if is_heard else BEAT)

    async def put(self, epoch: int) -> bool:
        """Say where everybody may read it that this hub serves; false if that was not heard."""
        ready = READY.encode(Ready(hub=self._hub, epoch=epoch))
        if not self._has_bucket:
            self._has_bucket = isinstance(await self._transport.ensure_bucket(subjects.READY_BUCKET, ttl=READY_TTL), Ok)
        return self._has_bucket and isinstance(await self._transport.put(subjects.READY_BUCKET, READY_KEY, ready), Ok)

    def _on_heartbeat(self, delivery: Delivery) -> None:
        try:
            heartbeat = HUB_HEARTBEAT.decode(delivery.data)
        except Malformed as error:
            logger.error("a hub's heartbeat is refused: %s", error)
            return
        if heartbeat.hub == self._hub:
            return
        self._heard = asyncio.get_running_loop().time()
        self._owner = heartbeat.hub
        if self._epoch and heartbeat.epoch > self._epoch:
            logger.error("hub %s has taken over with epoch %s", heartbeat.hub, heartbeat.epoch)
            self._on_successor()

    def _on_departure(self, delivery: Delivery) -> None:
        # Names are free to choose, keys are not: who is no hub ends no hub's reign.
        if self._owner and departed(delivery.data) == (self._user, self._owner):
            self._ended.set()


def departed(data: bytes) -> tuple[str, str] | None:
    """By which key and under what name somebody was here, in the server's own words."""
    try:
        match json.loads(data):
            case {"client": {"user": str(user), "name": str(name)}}:
                return user, name
    except (ValueError, RecursionError):
        pass
    return None
