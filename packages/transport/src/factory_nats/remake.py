"""A log made anew under its own name, with all that it holds, where the server refuses to change it as wanted.

A log that denies that its messages are deleted denies it for good. So it is copied beside itself, and back under its
name; every message keeps its sequence. Nothing can be appended meanwhile, and whoever comes after a death in the middle
of it goes on from there.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from factory_nats import jetstream
from factory_nats.jetstream import StreamConfig
from factory_nats.result import Err, Ok, Result

logger = logging.getLogger(__name__)

TIMEOUT: Final = 10.0
LOOK_EVERY: Final = 0.1
# A copy that grows no more will not be whole, for want of space perhaps.
PATIENCE: Final = 60.0


class Asks(Protocol):
    """A connection on which the server can be asked."""

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> Result[bytes]:
        """Send and wait for one answer."""
        ...


@dataclass(frozen=True, slots=True)
class _Log:
    """A log as the server describes it."""

    denies_delete: bool
    is_closed: bool
    is_copy: bool
    messages: int
    last: int


def beside(name: str) -> str:
    """What the copy is called while there is one."""
    return f"{name}_BESIDE"


def _closed(name: str) -> str:
    """What a log takes that is to take nothing."""
    return f"{name}_CLOSED"


async def remake(transport: Asks, config: StreamConfig) -> Result[None]:
    """Make it as configured; nothing is done where it is, or is not there.

    After "no space" or "exists" it is as it was, after any other error perhaps half made: doing it again is right.
    """
    while True:
        here, there = await _look(transport, config.name), await _look(transport, beside(config.name))
        if isinstance(here, Err):
            return here
        if isinstance(there, Err):
            return there
        if there.value is None and (here.value is None or not (here.value.denies_delete or here.value.is_copy)):
            return Ok(None)
        step = await _step(transport, config, here.value, there.value)
        if isinstance(step, Err):
            return step


async def _step(transport: Asks, config: StreamConfig, here: _Log | None, there: _Log | None) -> Result[None]:
    """What comes next, from how both of them stand."""
    name, copy = config.name, beside(config.name)
    match here, there:
        case _Log(denies_delete=True, is_closed=False), None:
            logger.info("%s is made anew: %s messages are copied", name, here.messages)
            # From here on nobody can append, so nothing will be missing in the copy.
            return await _change(transport, replace(config, subjects=(_closed(name),), deny_delete=True))
        case _Log(denies_delete=True), None:
            return await _copy(transport, config, of=name, to=copy)
        case _Log(denies_delete=True), _Log(is_copy=True) if there.last <= here.last:
            grown = await _grown(transport, name, copy)
            if isinstance(grown, Ok):
                return await _delete(transport, name)
            logger.error("%s cannot be made anew, and stays as it was: %s", name, grown.detail)
            await _delete(transport, copy)
            await _change(transport, replace(config, deny_delete=True))
            return grown
        case None, _Log(is_copy=True):
            return await _change(transport, replace(config, name=copy, subjects=(copy,)))
        case None, _Log():
            return await _copy(transport, config, of=copy, to=name)
        case _Log(denies_delete=False, is_copy=True), _Log():
            grown = await _grown(transport, copy, name)
            return grown if isinstance(grown, Err) else await _delete(transport, copy)
        case _Log(denies_delete=False, is_copy=True), None:
            return await _change(transport, config)
        case _:
            # Somebody made the one anew while the other held everything: which of them counts, a person must say.
            return Err("exists", f"there are both {name} and {copy}; one of them has to be removed by hand")


async def _grown(transport: Asks, source: str, copy: str) -> Result[None]:
    """The copy holds all that its source does."""
    loop = asyncio.get_running_loop()
    newest, grew_at = -1, loop.time()
    while True:
        whole, part = await _look(transport, source), await _look(transport, copy)
        if isinstance(whole, Err):
            return whole
        if isinstance(part, Err):
            return part
        if whole.value is None or part.value is None:
            return Err("not found", f"{source} or {copy} is gone")
        if (whole.value.messages, whole.value.last) == (part.value.messages, part.value.last):
            return Ok(None)
        if part.value.last > newest:
            newest, grew_at = part.value.last, loop.time()
        if loop.time() - grew_at > PATIENCE:
            return Err("no space", f"{copy} does not grow, at message {newest} of {whole.value.last}")
        await asyncio.sleep(LOOK_EVERY)


async def _look(transport: Asks, name: str) -> Result[_Log | None]:
    found = await _ask(transport, f"STREAM.INFO.{name}", {})
    if isinstance(found, Err):
        return Ok(None) if found.reason == "not found" else found
    match found.value:
        case {"config": {**config}, "state": {"messages": int(messages), "last_seq": int(last)}}:
            is_closed = config.get("subjects") == [_closed(name)]
            return Ok(_Log(config.get("deny_delete") is True, is_closed, "mirror" in config, messages, last))
        case _:
            return Err("malformed", f"the server says nothing of {name}")


async def _change(transport: Asks, config: StreamConfig) -> Result[None]:
    return _done(await _ask(transport, f"STREAM.UPDATE.{config.name}", jetstream.stream_request(config)))


async def _copy(transport: Asks, config: StreamConfig, *, of: str, to: str) -> Result[None]:
    request = jetstream.stream_request(replace(config, name=to, subjects=(), deny_delete=False))
    # The server takes no batches, and looks for no doubles, in what is a copy.
    request |= {"mirror": {"name": of}, "allow_atomic": False, "duplicate_window": 0}
    return _done(await _ask(transport, f"STREAM.CREATE.{to}", request))


async def _delete(transport: Asks, name: str) -> Result[None]:
    return _done(await _ask(transport, f"STREAM.DELETE.{name}", {}))


def _done(answer: Result[dict[str, Any]]) -> Result[None]:
    return answer if isinstance(answer, Err) else Ok(None)


async def _ask(transport: Asks, what: str, request: Mapping[str, Any]) -> Result[dict[str, Any]]:
    answer = await transport.request(f"$JS.API.{what}", json.dumps(request).encode(), timeout=TIMEOUT)
    return answer if isinstance(answer, Err) else jetstream.parse_json(answer.value)
