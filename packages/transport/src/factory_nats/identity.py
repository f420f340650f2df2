"""Who a process is on the bus: a name and the nkey seed that proves it. Loads no client library."""

from __future__ import annotations

import importlib
import secrets
from dataclasses import dataclass
from typing import Any

# The package has no types; this is how a strict checker is told that.
nkeys: Any = importlib.import_module("nkeys")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process is on the bus. Without a seed it is anonymous, which only a server of the user's own allows."""

    name: str
    seed: str | None = None

    def __repr__(self) -> str:
        return f"Identity(name={self.name!r}, seed={'a secret' if self.seed else None})"


def generate_seed() -> str:
    """A new secret for one identity."""
    seed: bytes = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode()


def public_key(seed: str) -> str:
    """What a server is told about a seed. Raises `ValueError` when it is no seed."""
    try:
        pair = nkeys.from_seed(bytearray(seed.strip().encode()))
    except nkeys.NkeysError as error:
        raise ValueError("this is no nkey seed") from error
    key: bytes = pair.public_key
    return key.decode()
