"""How the server says no."""

from collections.abc import Mapping
from typing import Any

# JSON as it is on the wire.
Json = dict[str, Any]
# Where in a body something is wrong.
Path = tuple[str | int, ...]

INVALID = 50035
# The status and the sentence of each code.
SENTENCES: Mapping[int, tuple[int, str]] = {
    0: (401, "401: Unauthorized"),
    10003: (404, "Unknown Channel"),
    10004: (404, "Unknown Guild"),
    10007: (404, "Unknown Member"),
    10008: (404, "Unknown Message"),
    10013: (404, "Unknown User"),
    10014: (400, "Unknown Emoji"),
    10015: (404, "Unknown Webhook"),
    10062: (404, "Unknown interaction"),
    10063: (404, "Unknown application command"),
    30010: (400, "Maximum number of reactions reached (20)"),
    30032: (400, "Maximum number of application commands reached (100)"),
    30034: (400, "Max number of daily application command creates has been reached (200)"),
    40005: (413, "Request entity too large"),
    40060: (400, "Interaction has already been acknowledged."),
    50001: (403, "Missing Access"),
    50003: (403, "Cannot execute action on a DM channel"),
    50005: (403, "Cannot edit a message authored by another user"),
    50006: (400, "Cannot send an empty message"),
    50007: (403, "Cannot send messages to this user"),
    50008: (400, "Cannot send messages in a non-text channel"),
    50013: (403, "Missing Permissions"),
    50021: (403, "Cannot execute action on a system message"),
    50024: (400, "Cannot execute action on this channel type"),
    50027: (401, "Invalid Webhook Token"),
    50083: (400, "Thread is archived"),
    50109: (400, "The request body contains invalid JSON."),
    160002: (403, "Cannot reply without permission to read message history"),
    160004: (400, "A thread has already been created for this message"),
    160005: (403, "Thread is locked"),
}


class Refused(Exception):
    """An answer in Discord's shape; a fault, if it names one, is what no client of ours may ever do."""

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        *,
        fault: str = "",
        headers: Mapping[str, str] | None = None,
        more: Json | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.fault = fault
        self.headers = dict(headers or {})
        self.json: Json = {"message": message, "code": code, **(more or {})}
        super().__init__(f"{code}: {message}")


def no(code: int, fault: str = "") -> Refused:
    """A refusal with the status and sentence of its code."""
    status, message = SENTENCES[code]
    return Refused(status, code, message, fault=fault)


def invalid(path: Path, name: str, message: str, fault: str = "") -> Refused:
    """A refusal of what stands at one place of a body."""
    errors: Json = {"_errors": [{"code": name, "message": message}]}
    for key in reversed(path):
        errors = {str(key): errors}
    return Refused(400, INVALID, "Invalid Form Body", fault=fault, more={"errors": errors})


def wrong(path: Path, what: str) -> Refused:
    """A refusal of what no client of ours writes at that place, which is a fault of the client as well."""
    where = ".".join(map(str, path)) or "the body"
    return invalid(path, "UNKNOWN", what, fault=f"{where}: {what}")


def missing(path: Path) -> Refused:
    """A refusal because something must stand there."""
    return invalid(path, "BASE_TYPE_REQUIRED", "This field is required", fault=f"{'.'.join(map(str, path))} is missing")
