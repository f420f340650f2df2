"""What a hub listens to of the partitions that are its own, and of no others."""

import asyncio
from collections.abc import Collection, Mapping

from adapters.nats.listening import listen
from factory_contracts import subjects
from factory_nats.result import Err, Result
from factory_nats.transport import Handler, Subscription, Transport


class Places:
    """Subscriptions that come and go with partitions; each plane's subjects end in one."""

    def __init__(self, transport: Transport, handlers: Mapping[str, Handler]) -> None:
        self._transport = transport
        self._handlers = handlers
        self._listening: dict[int, list[Subscription]] = {}
        self._everywhere: list[Subscription] = []
        self._leaving: set[asyncio.Future[Result[None]]] = set()

    def __contains__(self, part: int) -> bool:
        return bool(self._everywhere) or part in self._listening

    async def open(self, parts: Collection[int] | None) -> None:
        """Listen in these partitions as well, or everywhere."""
        if parts is None:
            self._everywhere = [await self._listen(plane, handler) for plane, handler in self._handlers.items()]
            return
        new = [part for part in parts if part not in self._listening]
        opened = await asyncio.gather(*(self._open(part) for part in new))
        self._listening.update(zip(new, opened, strict=True))

    def leave(self, part: int) -> None:
        """Listen there no more."""
        for subscription in self._listening.pop(part, ()):
            leaving = asyncio.ensure_future(subscription.unsubscribe())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _open(self, part: int) -> list[Subscription]:
        listening = (self._listen(subjects.within(plane, part), handler) for plane, handler in self._handlers.items())
        return list(await asyncio.gather(*listening))

    async def _listen(self, subject: str, handler: Handler) -> Subscription:
        begun = await listen(self._transport, subject, handler)
        if isinstance(begun, Err):
            raise RuntimeError(f"the hub cannot listen to {subject}: {begun.detail}")
        return begun.value
