"""How a process gets onto the bus: its identity, the settings that hold everywhere, and who may be let in.

nats-py retries for ever when credentials are wrong and when nobody listens. So a first connection, which does not
retry, finds out which of the two it is; the lasting one follows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client

from factory_nats.identity import Identity, generate_seed, public_key
from factory_nats.result import Err, Ok, Result
from factory_nats.subject import is_name
from factory_nats.transport import NatsTransport

logger = logging.getLogger(__name__)

RETRY: Final = 0.1

__all__ = ["Identity", "connect", "generate_seed", "public_key"]


async def connect(
    url: str,
    identity: Identity,
    *,
    name: str = "",
    timeout: float = 5.0,
    patience: float = 0.0,
    on_disconnect: Callable[[], None] | None = None,
    on_reconnect: Callable[[], None] | None = None,
    on_closed: Callable[[str], None] | None = None,
) -> Result[NatsTransport]:
    """Join the bus at `url`, which may name several servers of a cluster with commas between.

    "malformed" when that is no address; "unauthorized" when the server does not know the identity, at once;
    "disconnected" when nobody listens there for `patience` seconds; "timeout" when somebody listens and does not
    speak. The callbacks only queue or note something.
    """
    if not is_name(identity.name):
        return Err("malformed", f"no name for an identity: {identity.name[:100]!r}")
    if identity.seed is not None:
        try:
            public_key(identity.seed)
        except ValueError as error:
            return Err("unauthorized", f"{identity.name}: {error}")
    if not all(_is_address(one) for one in url.split(",")):
        return Err("malformed", f"no address of a server: {_shown(url)[:100]!r}")
    let_in = await _find_server(url, identity, timeout, patience)
    if isinstance(let_in, Err):
        return let_in
    transport = NatsTransport(
        identity.name, on_disconnect=on_disconnect, on_reconnect=on_reconnect, on_closed=on_closed
    )
    opened = await transport.open(url, identity.seed, name or identity.name, timeout)
    if isinstance(opened, Err):
        await transport.close()
        return opened
    logger.info("%s is connected", identity.name)
    return Ok(transport)


async def _find_server(url: str, identity: Identity, timeout: float, patience: float) -> Result[None]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        found = await _probe(url, identity, timeout)
        if isinstance(found, Ok) or found.reason == "unauthorized" or loop.time() >= deadline:
            return found
        await asyncio.sleep(RETRY)


async def _probe(url: str, identity: Identity, timeout: float) -> Result[None]:
    seen: list[Exception] = []

    async def note(error: Exception) -> None:
        seen.append(error)

    options: dict[str, Any] = {
        "name": f"{identity.name} asks",
        "nkeys_seed_str": identity.seed,
        "error_cb": note,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0.01,
        "connect_timeout": timeout,
    }
    client = Client()
    try:
        await asyncio.wait_for(client.connect(url.split(","), **options), timeout)
    except TimeoutError:
        return Err("timeout", f"somebody listens at {_shown(url)} but did not speak in {timeout} s")
    except (nats.errors.Error, OSError) as error:
        return _judge(url, identity, [*seen, error])
    finally:
        await _end(client)
    return Ok(None)


def _judge(url: str, identity: Identity, seen: list[Exception]) -> Err:
    said = " ".join(str(error) for error in seen).lower()
    if "authorization" in said or "authentication" in said:
        return Err("unauthorized", f"the server at {_shown(url)} does not let {identity.name} in")
    if any(isinstance(error, TimeoutError) for error in seen):
        return Err("timeout", f"somebody listens at {_shown(url)} but does not speak")
    kinds = ", ".join(sorted({type(error).__name__ for error in seen}))
    return Err("disconnected", f"no server at {_shown(url)} ({kinds})")


async def _end(client: Client) -> None:
    try:
        await client.close()
    except (nats.errors.Error, OSError) as error:
        logger.debug("a probe ended with %s", type(error).__name__)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("nats", "tls") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _shown(url: str) -> str:
    return url.rsplit("@", 1)[-1]
