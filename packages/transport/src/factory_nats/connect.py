"""How a process gets onto the bus: its identity, the settings that hold everywhere, and who may be let in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from factory_nats.identity import Identity, generate_seed, public_key
from factory_nats.link import parse_servers
from factory_nats.paired import PairedTransport
from factory_nats.result import Err, Ok, Result
from factory_nats.rights import check
from factory_nats.subject import is_name
from factory_nats.transport import NatsTransport, Transport

logger = logging.getLogger(__name__)

RETRY: Final = 0.1

_CALLED_OFF: Final = Err("disconnected", "joining the bus was called off")

__all__ = ["Identity", "connect", "generate_seed", "public_key"]


async def connect(
    url: str,
    identity: Identity,
    *,
    name: str = "",
    timeout: float = 5.0,
    patience: float = 0.0,
    until: asyncio.Event | None = None,
    on_disconnect: Callable[[], None] | None = None,
    on_reconnect: Callable[[], None] | None = None,
    on_closed: Callable[[str], None] | None = None,
) -> Result[Transport]:
    """Join the bus at `url`, which may name several servers of a cluster with commas between.

    "malformed" when that is no address; "unauthorized" when the server does not know the identity, at once; "forbidden"
    when it does not grant what the identity needs; "disconnected" when nobody listens there for `patience` seconds, or
    `until` was set before; "timeout" when somebody listens and does not speak for `timeout` seconds. The callbacks only
    queue or note something; `on_closed` may be called twice where there are two connections.
    """
    if not is_name(identity.name):
        return Err("malformed", f"no name for an identity: {identity.name[:100]!r}")
    for who in (identity, identity.store):
        try:
            if who is not None and who.seed is not None:
                public_key(who.seed)
        except ValueError as error:
            return Err("unauthorized", f"{identity.name}: {error}")
    servers = parse_servers(url)
    if isinstance(servers, Err):
        return servers
    bus = NatsTransport(
        identity.name,
        servers.value,
        identity.seed,
        name=name,
        ticket=identity.ticket,
        inboxes=identity.inboxes,
        on_disconnect=on_disconnect,
        on_reconnect=on_reconnect,
        on_closed=on_closed,
    )
    joining = [(bus, identity)]
    transport: Transport = bus
    if identity.store is not None:
        about = f"{name or identity.name}, stores"
        store = NatsTransport(identity.name, servers.value, identity.store.seed, name=about, on_closed=on_closed)
        joining.append((store, identity.store))
        transport = PairedTransport(bus, store)
    opened: Result[None] = _CALLED_OFF
    try:
        opened = await _unless(until, _open(joining, timeout, patience))
    finally:
        if isinstance(opened, Err):
            await transport.close()
    if isinstance(opened, Err):
        return opened
    logger.info("%s is connected", identity.name)
    return Ok(transport)


async def _open(joining: Sequence[tuple[NatsTransport, Identity]], timeout: float, patience: float) -> Result[None]:
    """Open each, and see whether it may do there what it must."""
    loop = asyncio.get_running_loop()
    deadline, is_told = loop.time() + patience, False
    for transport, identity in joining:
        while isinstance(opened := await transport.open(timeout), Err):
            if opened.reason == "unauthorized" or loop.time() >= deadline:
                return opened
            if not is_told:
                logger.warning("%s waits for the bus: %s", identity.name, opened.detail)
                is_told = True
            await asyncio.sleep(RETRY)
        may = await check(transport, identity)
        if isinstance(may, Err):
            return may
    return Ok(None)


async def _unless(until: asyncio.Event | None, opening: Coroutine[None, None, Result[None]]) -> Result[None]:
    if until is None:
        return await opening
    task, told = asyncio.create_task(opening), asyncio.create_task(until.wait())
    try:
        await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else _CALLED_OFF
    finally:
        task.cancel()
        told.cancel()
        await asyncio.gather(task, told, return_exceptions=True)
