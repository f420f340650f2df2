"""Bytes to a type and back, with the reason when bytes do not fit.

Valid bytes cost one call. Only what was refused is looked at twice, to tell a newer sender from a broken one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Generic, TypeVar

from factory_nats.result import Err, Ok, Result

T = TypeVar("T")


class Codec(Generic[T]):
    """How one type crosses. `decode` raises `ValueError` for what is not of the type, whose `version` we understand.

    `explain` may name the fields that are wrong; it must not repeat what stood in them.
    """

    def __init__(
        self,
        *,
        encode: Callable[[T], bytes],
        decode: Callable[[bytes], T],
        version: int,
        explain: Callable[[ValueError], str] | None = None,
    ) -> None:
        self.encode = encode
        self.version = version
        self._decode = decode
        self._explain = explain

    def decode(self, raw: bytes) -> Result[T]:
        """The value, "newer version" when the sender is ahead of us, or "malformed"."""
        try:
            return Ok(self._decode(raw))
        except ValueError as error:
            return self._diagnose(raw, error)

    def _diagnose(self, raw: bytes, error: ValueError) -> Err:
        try:
            found = json.loads(raw)
        except RecursionError:
            return Err("malformed", f"{len(raw)} bytes are nested too deeply")
        except ValueError:
            return Err("malformed", f"{len(raw)} bytes are no JSON")
        if not isinstance(found, dict):
            return Err("malformed", "the JSON is no object")
        sent = found.get("schema_version")
        if not isinstance(sent, int) or isinstance(sent, bool):
            return Err("malformed", "there is no schema_version")
        if sent > self.version:
            return Err("newer version", f"the sender speaks version {sent}, this process understands {self.version}")
        why = type(error).__name__ if self._explain is None else self._explain(error)
        return Err("malformed", f"the object does not fit schema version {sent}: {why}")
