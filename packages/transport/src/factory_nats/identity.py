"""Who a process is on the bus: a name, the nkey seed that proves it, and what a server is told about both."""

from __future__ import annotations

import base64
import re
import secrets
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import nkeys

_SEED = re.compile(r"\bSU[A-Z2-7]{56}\b")
_TICKET = re.compile(r"-BEGIN NATS USER JWT-+\s+(\S+)\s+-+END NATS USER JWT-")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process is on the bus. Without a seed it is anonymous, which only a server of the user's own allows.

    `publish` and `subscribe` are what it cannot do without: connecting fails where the server does not grant them, and
    says `remedy`. `store` is who it is on a second connection, over which alone the server's stores are asked.
    With a `ticket` an operator vouches for the seed; `inboxes` is where its answers arrive, if not under its own name.
    """

    name: str
    seed: str | None = field(default=None, repr=False)
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    remedy: str = ""
    store: Identity | None = None
    ticket: str | None = field(default=None, repr=False)
    inboxes: str = ""


# Where an identity is let in. Within one account the server sends an answer wherever it is told to, whoever asks and
# whatever they may publish themselves: so who may ask the server anything could do everything where the streams are.
# `streams` is therefore for those alone who are trusted with all of them. On the `bus` processes talk, and it has no
# streams. Who is `apart` has an account that holds nobody else, into which comes exactly what it may publish to, of the
# streams, and what it may hear, of the bus. Who is `outside` has such an account too, into which comes what it may ask
# of the bus: who answers there sends to a subject that the server made up, which leads to nobody but whoever asked.
Account: TypeAlias = Literal["streams", "bus", "apart", "outside"]


@dataclass(frozen=True, slots=True)
class User:
    """Who may join, where, and what it may do: None is everything.

    Its own inbox is always among what it may hear, and it may always ask the server about itself. Who is outside `asks`
    subjects of the bus, each by the name that it has there (the first) and on the bus (the second), and `hears` others.
    """

    identity: str
    public_key: str
    publish: tuple[str, ...] | None = None
    subscribe: tuple[str, ...] | None = None
    account: Account = "streams"
    asks: tuple[tuple[str, str], ...] = ()
    hears: tuple[str, ...] = ()


def read_credentials(text: str) -> tuple[str, str | None]:
    """The seed of a key file, or seed and ticket of a credentials file. Raises `ValueError` when it is neither."""
    tickets, seeds = _TICKET.findall(text), _SEED.findall(text)
    if len(seeds) != 1 or len(tickets) > 1:
        raise ValueError("this holds no nkey seed, or more than one")
    public_key(seeds[0])
    return seeds[0], tickets[0] if tickets else None


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
