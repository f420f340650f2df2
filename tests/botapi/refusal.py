"""How the server says no."""

from collections.abc import Mapping
from typing import Any

# JSON as it is on the wire.
Json = dict[str, Any]

PHRASES: Mapping[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
}


class Refused(Exception):
    """An answer with `ok: false`; a fault, if it names one, is what no client of ours may ever do."""

    def __init__(self, status: int, why: str = "", fault: str = "", **parameters: int) -> None:
        self.status = status
        self.description = f"{PHRASES[status]}: {why}" if why else PHRASES[status]
        self.fault = fault
        self.parameters = parameters
        super().__init__(self.description)


def bad(why: str) -> Refused:
    """A refusal with 400 in Telegram's words."""
    return Refused(400, why)


def wrong(why: str) -> Refused:
    """A refusal with 400 that is a fault of the client as well."""
    return Refused(400, why, fault=why)


def too_fast(seconds: int, fault: str = "") -> Refused:
    """A refusal with 429 until so many of the client's seconds have passed."""
    return Refused(429, f"retry after {seconds}", fault=fault, retry_after=seconds)
