"""A transport over two connections: on one, processes talk to each other; on the other, the server's stores are asked.

Whoever asks the server something may have its answer sent anywhere within the account, and no permission is looked at
on that way. So where stores are asked there is nobody and nothing else to be reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from factory_nats.jetstream import Entry, Stored, StreamConfig
from factory_nats.result import Result
from factory_nats.subject import SERVER
from factory_nats.transport import Handler, More, Subscription, Transport


class PairedTransport:
    """Both connections as one; whether it is connected, its first one says."""

    def __init__(self, bus: Transport, store: Transport) -> None:
        self._bus = bus
        self._store = store

    @property
    def identity(self) -> str:
        return self._bus.identity

    @property
    def is_connected(self) -> bool:
        return self._bus.is_connected

    def connected_for(self, now: float) -> float:
        return self._bus.connected_for(now)

    def inbox(self, responder: str, name: str) -> str:
        return self._bus.inbox(responder, name)

    def owns_inbox(self, reply: str, identity: str) -> bool:
        return self._bus.owns_inbox(reply, identity)

    async def publish(
        self, subject: str, payload: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> Result[None]:
        return await self._bus.publish(subject, payload, reply=reply, headers=headers)

    async def request(
        self, subject: str, payload: bytes, *, timeout: float, responder: str = SERVER, more: More | None = None
    ) -> Result[bytes]:
        return await self._bus.request(subject, payload, timeout=timeout, responder=responder, more=more)

    async def subscribe(self, subject: str, handler: Handler, *, group: str = "") -> Result[Subscription]:
        return await self._bus.subscribe(subject, handler, group=group)

    async def barrier(self) -> Result[None]:
        return await self._bus.barrier()

    async def ensure_stream(self, config: StreamConfig) -> Result[None]:
        return await self._store.ensure_stream(config)

    async def append(self, entries: Sequence[Entry], *, timeout: float = 5.0) -> Result[int]:
        return await self._store.append(entries, timeout=timeout)

    async def last(self, stream: str, subject: str) -> Result[Stored | None]:
        return await self._store.last(stream, subject)

    async def read(self, stream: str, subject: str, *, start: int = 1, limit: int = 1000) -> Result[tuple[Stored, ...]]:
        return await self._store.read(stream, subject, start=start, limit=limit)

    async def subjects(self, stream: str, filter: str) -> Result[Mapping[str, int]]:
        return await self._store.subjects(stream, filter)

    async def erase(self, stream: str, sequence: int) -> Result[None]:
        return await self._store.erase(stream, sequence)

    async def ensure_bucket(self, name: str, *, ttl: float | None) -> Result[None]:
        return await self._store.ensure_bucket(name, ttl=ttl)

    async def put(self, bucket: str, key: str, value: bytes) -> Result[int]:
        return await self._store.put(bucket, key, value)

    async def get(self, bucket: str, key: str) -> Result[bytes | None]:
        return await self._store.get(bucket, key)

    async def close(self) -> None:
        await asyncio.gather(self._bus.close(), self._store.close())
