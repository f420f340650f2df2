"""Who a process is on the bus: a name and the nkey seed that proves it."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass

import nkeys


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process is on the bus. Without a seed it is anonymous, which only a server of the user's own allows."""

    name: str
    seed: str | None = None

    def __repr__(self) -> str:
        return f"Identity(name={self.name!r}, seed={'a secret' if self.seed else None})"


def generate_seed() -> str:
    """A new secret for one identity."""
    return nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER).decode()


def public_key(seed: str) -> str:
    """What a server is told about a seed. Raises `ValueError` when it is no seed."""
    return _pair(seed).public_key.decode()


def sign(seed: str, nonce: str) -> tuple[str, str]:
    """The public key, and the proof that we hold what belongs to it. Raises `ValueError` when it is no seed."""
    pair = _pair(seed)
    signature = base64.urlsafe_b64encode(pair.sign(nonce.encode()))
    return pair.public_key.decode(), signature.rstrip(b"=").decode()


def _pair(seed: str) -> nkeys.KeyPair:
    try:
        return nkeys.from_seed(bytearray(seed.strip().encode()))
    except nkeys.NkeysError as error:
        raise ValueError("this is no nkey seed") from error
