"""The one way out of a worker: what turns have to tell and what the hub is answered, in order, from a single task."""

import asyncio
from collections import deque

from factory_contracts import subjects
from factory_nats.transport import Transport
from workers.clipool.kit import Kit, pass_by
from workers.clipool.turn import Turn


class Outlet:
    """Publishes. What gets lost on a broken connection is asked for again by the hub, so nothing here is repeated."""

    def __init__(self, transport: Transport, kit: Kit) -> None:
        self._transport = transport
        self._kit = kit
        self._waiting: deque[Turn | tuple[str, bytes]] = deque()
        self._woken = asyncio.Event()

    def put(self, what: Turn | tuple[str, bytes]) -> None:
        """A turn that has something to tell, or a payload for a subject."""
        self._waiting.append(what)
        self._woken.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                what = self._waiting.popleft()
                if isinstance(what, tuple):
                    await self._transport.publish(*what)
                elif what.is_stirred:
                    await self._tell(what)

    async def _tell(self, turn: Turn) -> None:
        is_first = turn.told == 0
        subject = subjects.clipool_events(self._transport.identity, turn.run.partition)
        for payload in turn.take():
            await self._transport.publish(subject, payload)
        if self._kit.at is not pass_by:
            # The point lies after the bytes have left the process, or a death at it would not be the one it names.
            await self._transport.barrier()
            self._kit.at("first delta" if is_first else "mid-stream")
