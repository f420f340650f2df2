"""One question to a platform's server over HTTP, and in words why it has no answer.

A token is part of what is asked, so no error here is one of the libraries': each is a sentence of ours.
"""

import json
import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

MOST_BYTES = 100_000


class Unanswered(Exception):
    """The platform does not tell; the sentence says why and holds no secret."""


class UnknownToken(Unanswered):
    """The platform knows no bot by this token."""


def ask(
    method: str, address: str, headers: Mapping[str, str], seconds: float, *, server: str
) -> tuple[int, object | None]:
    """The status, and what the body says as JSON, if it does; the server is what it should be.

    Raises `Unanswered`, whose words tell the place of the address and no more of it.
    """
    parts, place = urlsplit(address), place_of(address)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request(method, parts.path, headers=dict(headers))
        response = connection.getresponse()
        status, body = response.status, response.read(MOST_BYTES)
    except TimeoutError:
        raise too_slow(address, seconds) from None
    except (socket.gaierror, UnicodeError):
        raise Unanswered(f"{place} has no address: is there a network?") from None
    except ssl.SSLError as error:
        raise Unanswered(f"{place} cannot be trusted to be what it says: {error.reason or 'TLS failed'}") from None
    except OSError as error:
        raise Unanswered(f"{place} cannot be reached: {error.strerror or 'the connection broke'}") from None
    except HTTPException:
        raise Unanswered(f"{place} does not speak HTTP: it is no {server}") from None
    finally:
        connection.close()
    try:
        return status, json.loads(body)
    except (ValueError, RecursionError):
        return status, None


def place_of(address: str) -> str:
    """The server of an address, without anything that may be secret."""
    parts = urlsplit(address)
    return f"{parts.hostname}:{parts.port}" if parts.port is not None else str(parts.hostname or "")


def too_slow(address: str, seconds: float) -> Unanswered:
    """The complaint about a server that is silent."""
    return Unanswered(f"{place_of(address)} does not answer within {seconds:g} s")
