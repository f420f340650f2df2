"""A server that speaks OpenAI's protocol, asked within limits of time and size."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from httpx2 import AsyncClient, HTTPError, InvalidURL, Response, StreamError

MOST_BYTES = 20 * 1024 * 1024
LONGEST_REASON = 200


class NoAnswer(Exception):
    """The server gave nothing that could be used; the sentence is for the log."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that goes along, as a form sends it."""

    field: str
    name: str
    mime: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the server is and how it knows us; an answer takes `seconds` at most."""

    base_url: str
    key: str = field(default="", repr=False)
    seconds: float = 120.0

    async def ask(self, path: str, body: Mapping[str, object], upload: Upload | None = None) -> bytes:
        """What the server answers to a body as JSON, or to a form with a file. Raises `NoAnswer`."""
        if upload is None:
            sent: dict[str, Any] = {"json": dict(body)}
        else:
            sent = {"data": dict(body), "files": {upload.field: (upload.name, upload.data, upload.mime)}}
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            # What the surroundings say of proxies is not for what may well stand on this machine.
            async with (
                asyncio.timeout(self.seconds),
                AsyncClient(timeout=self.seconds, trust_env=False) as client,
                client.stream("POST", f"{self.base_url}{path}", headers=headers, **sent) as response,
            ):
                return await _read(response, path)
        except (HTTPError, InvalidURL, StreamError) as error:
            raise NoAnswer(f"{path}: {type(error).__name__}") from error
        except TimeoutError:
            raise NoAnswer(f"{path}: no answer within {self.seconds:g} s") from None

    async def ask_object(self, path: str, body: Mapping[str, object], upload: Upload | None = None) -> dict[str, Any]:
        """The same where the answer is a JSON object. Raises `NoAnswer`."""
        answer = _loaded(await self.ask(path, body, upload))
        if answer is None:
            raise NoAnswer(f"{path}: the answer is no JSON object")
        return answer


async def _read(response: Response, path: str) -> bytes:
    data = bytearray()
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > MOST_BYTES:
            raise NoAnswer(f"{path}: the answer has more than {MOST_BYTES >> 20} MB")
    if response.status_code != 200:
        raise NoAnswer(f"{path}: status {response.status_code}{_reason(bytes(data))}")
    return bytes(data)


def _reason(data: bytes) -> str:
    """The server's own words for what is wrong, as far as it has any."""
    error = (_loaded(data) or {}).get("error")
    words = error.get("message") if isinstance(error, dict) else error
    return f", {' '.join(words.split())[:LONGEST_REASON]}" if isinstance(words, str) else ""


def _loaded(data: bytes) -> dict[str, Any] | None:
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
