"""What every adapter of a provider does with a stream: its events, its waits, and JSON that nobody believes yet."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import loads
from math import isfinite
from types import MappingProxyType
from typing import Any

from httpx2 import HTTPError, Response, StreamError

from hub.kernel.events import Thought
from hub.kernel.ports import Media, ModelRequest

DRAIN_SECONDS = 0.25
# A sign of life is worth telling only where nothing else was heard for so long.
QUIET_SECONDS = 1.0
LIFE = Thought()
MAX_LINE = 16_000_000
MAX_SHOWN = 200
MAX_TOOL_NAME = 64
TRANSIENT_STATUS = frozenset({408, 409, 425, 429})

# To this machine no proxy leads, whatever the surroundings say: what a local model is asked stays here.
NO_PROXY: Mapping[str, None] = MappingProxyType(
    {"all://localhost": None, "all://127.0.0.0/8": None, "all://0.0.0.0": None, "all://[::1]": None}
)

Json = dict[str, Any]

_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


async def events_of(response: Response) -> AsyncGenerator[str, None]:
    """The data of each server-sent event, and an empty text for each comment, which is a sign of life."""
    held: list[str] = []
    rest = bytearray()
    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            rest += piece
            if b"\n" not in piece:
                if len(rest) > MAX_LINE:
                    raise ValueError("a line has no end")
                continue
            *lines, rest = rest.split(b"\n")
            for line in lines:
                text = line.rstrip(b"\r").decode()
                if text.startswith("data:"):
                    held.append(text[5:].removeprefix(" "))
                elif text.startswith(":"):
                    yield ""
                elif not text and held:
                    yield "\n".join(held)
                    held.clear()
    if rest.startswith(b"data:"):
        held.append(rest[5:].strip().decode())
    if held:
        yield "\n".join(held)


async def drain(events: AsyncGenerator[str, None]) -> None:
    """Read what little may be left, so that the connection can be used again."""
    with suppress(TimeoutError, HTTPError, StreamError, ValueError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in events:
                pass


def retry_after(headers: Mapping[str, str]) -> float:
    """How long the provider asks to be left alone, in seconds."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with suppress(ValueError):
            seconds = float(headers.get(name, "")) * factor
            return seconds if isfinite(seconds) and seconds > 0 else 0.0
    with suppress(ValueError, OverflowError):
        when = parsedate_to_datetime(headers.get("retry-after", ""))
        now = datetime.now(UTC)
        with suppress(ValueError, OverflowError):
            now = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (_aware(when) - _aware(now)).total_seconds())
    return 0.0


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def wire_names(request: ModelRequest, taken: Iterable[str] = ()) -> dict[str, str]:
    """For each tool a name of letters that providers take, and that no other has, nor one that is taken."""
    names: dict[str, str] = {}
    names_taken = set(taken)
    for spec in {spec.name: spec for spec in request.tools}.values():
        plain = wire = _NAME.sub("_", spec.name)[:MAX_TOOL_NAME] or "unnamed"
        number = 2
        while wire in names_taken:
            wire = f"{plain[: MAX_TOOL_NAME - 8]}_{number}"
            number += 1
        names_taken.add(wire)
        names[spec.name] = wire
    return names


def model_name(name: str) -> str:
    """What stands behind the provider's name."""
    before, colon, after = name.partition(":")
    return after.strip() if colon else before.strip()


def image_of(media: Media) -> str:
    """The type of the image that a file is, by its first bytes or else by its name for itself; empty for no image."""
    if media.data[:4] == b"RIFF" and media.data[8:12] == b"WEBP":
        return "image/webp"
    found = next((kind for begins, kind in _IMAGES if media.data.startswith(begins)), "")
    return found or (media.type if media.type in _IMAGE_TYPES else "")


def told_only(media: Media) -> str:
    """The line that stands for a file which cannot be shown."""
    name, mime = one_line(media.name) or "without a name", one_line(media.mime) or media.kind
    return f"(A file {name} of type {mime} and {len(media.data)} bytes came with this message; it cannot be read here.)"


def loaded(text: str) -> Any:
    """The JSON value, with null for the numbers that JSON does not have. Raises `ValueError` or `RecursionError`."""
    return loads(text, parse_constant=_nothing)


def parsed(text: str) -> Any:
    """The JSON value, or None where it is none."""
    try:
        return loaded(text)
    except (ValueError, RecursionError):
        return None


def _nothing(_: str) -> None:
    """What stands for the numbers that JSON does not have."""


def text_of(value: object) -> str:
    """The text, or an empty one where it is none."""
    return value if isinstance(value, str) else ""


def object_of(value: object) -> Json:
    """The object, or an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def count_of(value: object) -> int:
    """The count, or 0 where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def sound(value: Any) -> Any:
    """The same in plain containers, and without halves of characters, which no bytes can spell."""
    match value:
        case str():
            return value if value.isascii() else value.encode(errors="replace").decode()
        case Mapping():
            return {sound(key): sound(held) for key, held in value.items()}
        case list():
            return [sound(held) for held in value]
        case _:
            return value


def one_line(text: str) -> str:
    """The text in one short line."""
    return " ".join(text.split())[:MAX_SHOWN]


def named(error: BaseException) -> str:
    """The error's name, and its words where it has any."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
