"""What the server lets an identity do, held against what it needs: looked at once, before anything is begun."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from factory_nats.identity import Identity
from factory_nats.result import Err, Ok, Result
from factory_nats.subject import covers, overlap
from factory_nats.transport import Transport

logger = logging.getLogger(__name__)

# The server answers it itself and tells whoever asks about nobody but themselves.
USER_INFO: Final = "$SYS.REQ.USER.INFO"
TIMEOUT: Final = 2.0


async def check(transport: Transport, identity: Identity) -> Result[None]:
    """ "forbidden" with every subject that the server refuses; where it does not tell, that is logged and let pass."""
    if not identity.publish and not identity.subscribe:
        return Ok(None)
    told = await transport.request(USER_INFO, b"", timeout=TIMEOUT)
    granted = _granted(told.value) if isinstance(told, Ok) else None
    if granted is None:
        why = told.detail if isinstance(told, Err) else "it says something else"
        logger.warning("what %s may do on the bus cannot be looked up: %s", identity.name, why)
        return Ok(None)
    missing = [f"publish to {one}" for one in _refused(granted.get("publish"), identity.publish)]
    missing += [f"subscribe to {one}" for one in _refused(granted.get("subscribe"), identity.subscribe)]
    if not missing:
        return Ok(None)
    listed = " or ".join(missing)
    why = f"the server does not let {identity.name} {listed}, which it needs"
    return Err("forbidden", f"{why}; {identity.remedy}" if identity.remedy else why)


def _granted(answer: bytes) -> dict[str, Any] | None:
    """The permissions in the server's answer, empty where everything is allowed; None where it holds no user."""
    try:
        match json.loads(answer):
            case {"data": {"user": str(), "permissions": dict(permissions)}}:
                return permissions
            case {"data": {"user": str(), **rest}} if "permissions" not in rest:
                return {}
    except (ValueError, RecursionError):
        pass
    return None


def _refused(rule: Any, needed: Sequence[str]) -> Iterator[str]:
    allowed, denied = _subjects(rule, "allow"), _subjects(rule, "deny")
    for subject in needed:
        is_allowed = not allowed or any(covers(one, subject) for one in allowed)
        if not is_allowed or any(overlap(one, subject) for one in denied):
            yield subject


def _subjects(rule: Any, name: str) -> tuple[str, ...]:
    listed = rule.get(name) if isinstance(rule, dict) else None
    return tuple(one for one in listed if isinstance(one, str)) if isinstance(listed, list) else ()
