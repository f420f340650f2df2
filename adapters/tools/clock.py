"""A tool that tells the date and the time, somewhere or in UTC."""

from collections.abc import Callable
from datetime import UTC, datetime
from json import loads
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hub.kernel.ports import Occasion, ToolFailed, ToolSpec

SPEC = ToolSpec(
    name="clock",
    description="The present date and time, in UTC or in a named time zone.",
    parameters=(
        '{"type":"object","properties":{"timezone":{"type":"string",'
        '"description":"an IANA name such as Europe/Berlin; UTC when absent"}},"additionalProperties":false}'
    ),
    is_foreign=False,
)


class Clock:
    """Reads the time it is given; `now` is a moment with a time zone."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    async def run(self, arguments: str, occasion: Occasion) -> str:
        """Weekday, date, time and offset, in words and in ISO 8601."""
        name = loads(arguments).get("timezone", "UTC")
        if not isinstance(name, str):
            raise ToolFailed("timezone must be a text such as Europe/Berlin")
        moment = self._now().astimezone(_zone(name))
        return f"{moment:%A, %d %B %Y, %H:%M:%S} {name} ({moment.isoformat(timespec='seconds')})"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ToolFailed(f"there is no time zone {name[:64]!r}; it needs a name such as Europe/Berlin") from None


def utc_now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)
