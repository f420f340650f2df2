"""Which hubs share the partitions: each says that it lives, and the server tells whose connection has ended."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from adapters.nats.listening import listen
from adapters.nats.readiness import BEAT, SILENCE, departed
from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.lifecycle import HUB_HEARTBEAT, HubHeartbeat
from factory_nats.result import Err
from factory_nats.transport import Delivery, Transport

logger = logging.getLogger(__name__)

# Whoever is there answers a newcomer at once.
GREETED = 0.3
STOOD_STILL = 2 * BEAT
AGREE_EVERY = 0.01


@dataclass(slots=True)
class _Other:
    """What another hub said last, and when."""

    said: HubHeartbeat
    at: float


class NatsHubs:
    """All hubs that share the partitions with this one.

    `user` is what the server calls hubs; where it does not tell who is gone, two seconds of silence do. `hear` is told
    how far others know the log.
    """

    def __init__(
        self,
        transport: Transport,
        hub: str,
        say: Callable[[], HubHeartbeat],
        *,
        user: str | None,
        hear: Callable[[int], None] = lambda sequence: None,
    ) -> None:
        self._transport = transport
        self._hub = hub
        self._say = say
        self._hear = hear
        self._user = user
        self._loop = asyncio.get_running_loop()
        self._others: dict[str, _Other] = {}
        self._changed = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None
        self._beaten = self._loop.time()
        self._leaves = False
        self._told = b""

    async def join(self) -> None:
        """Say that this hub is there, and hear who else is."""
        for subject, handler in (
            (subjects.heartbeats(subjects.HUB), self._on_heartbeat),
            *(((subjects.departures(), self._on_departure),) if self._user is not None else ()),
        ):
            begun = await listen(self._transport, subject, handler)
            if isinstance(begun, Err) and subject != subjects.departures():
                raise RuntimeError(f"the hub cannot hear other hubs: {begun.detail}")
            if isinstance(begun, Err):
                logger.info("the server does not tell whose connection ends (%s); silence does", begun.detail)
        self._beating = asyncio.create_task(self._beat(), name="heartbeat")
        await asyncio.sleep(GREETED)

    @property
    def living(self) -> tuple[str, ...]:
        """The names of all hubs that live, this one among them."""
        now = self._loop.time()
        # Without a connection nobody is heard, and that is nobody's death.
        connected = now - self._transport.connected_for(now)
        for name, other in tuple(self._others.items()):
            if now - max(other.at, connected) >= SILENCE:
                logger.warning("hub %s fell silent", name)
                del self._others[name]
        return (self._hub, *self._others)

    @property
    def claimed(self) -> frozenset[int]:
        """The partitions that others say they reign over."""
        return frozenset(part for other in self._others.values() for part in other.said.parts or ())

    async def change(self, seconds: float) -> None:
        """Return when a hub comes, goes or says something new, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    def owner(self, part: int) -> str | None:
        """The other hub that says it reigns over a partition; None where none does."""
        return next((name for name, other in self._others.items() if part in (other.said.parts or ())), None)

    @property
    def acts(self) -> int:
        """Up to where some other knows what was done about who may do what."""
        return max((other.said.acts or 0 for other in self._others.values()), default=0)

    async def agree(self) -> None:
        """Return when all others know what was done about who may do what, or are gone."""
        await self.tell()
        known, until = self._say().acts or 0, self._loop.time() + SILENCE
        while len(self.living) > 1 and self._loop.time() < until:
            if all((other.said.acts or 0) >= known for other in self._others.values()):
                return
            await asyncio.sleep(AGREE_EVERY)

    async def tell(self) -> None:
        """Say now how this hub is."""
        said = self._say().model_copy(update={"leaves": self._leaves or None})
        self._told = HUB_HEARTBEAT.encode(said)
        await self._transport.publish(subjects.heartbeat(subjects.HUB, subjects.HUB), self._told)

    async def leave(self) -> None:
        """Say that this hub takes nothing more, and then no more."""
        self._leaves = True
        await self.close()
        await self.tell()

    async def close(self) -> None:
        """Say no more."""
        tasks = [task for task in (self._beating, self._answering) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            now = self._loop.time()
            if now - self._beaten > STOOD_STILL:
                # Who stood still itself has not yet read what came meanwhile.
                for other in self._others.values():
                    other.at = now
            self._beaten = now
            await self.tell()
            await asyncio.sleep(BEAT)

    def _on_heartbeat(self, delivery: Delivery) -> None:
        # What this hub says of itself comes back to it.
        if delivery.data == self._told:
            return
        try:
            said = HUB_HEARTBEAT.decode(delivery.data)
        except Malformed as error:
            logger.error("a hub's heartbeat is refused: %s", error)
            return
        # One that names no partitions reigns alone, or wants to.
        if said.hub == self._hub or said.parts is None:
            return
        if said.leaves:
            self._gone(said.hub)
            return
        before = self._others.get(said.hub)
        self._others[said.hub] = _Other(said, self._loop.time())
        if said.sequence is not None:
            self._hear(said.sequence)
        if before is None:
            logger.info("hub %s is there", said.hub)
            self._answering = asyncio.create_task(self.tell())
        if before is None or before.said.parts != said.parts or before.said.acts != said.acts:
            self._changed.set()

    def _on_departure(self, delivery: Delivery) -> None:
        user, name = departed(delivery.data) or ("", "")
        if user == self._user:
            self._gone(name)

    def _gone(self, name: str) -> None:
        if self._others.pop(name, None) is not None:
            logger.info("hub %s is gone", name)
            self._changed.set()
