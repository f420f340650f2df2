"""Reads what a platform sends as JSON, in which anything may stand: what is not of a kind is read as nothing."""

from collections.abc import Mapping

Json = Mapping[str, object]

_INTEGERS = range(-(2**63), 2**63)


def object_of(value: object) -> Json:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[object]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def text_of(value: object) -> str:
    """The string without what no contract carries: halves of characters and NUL; empty where there is none."""
    if not isinstance(value, str):
        return ""
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "")


def whole_of(value: object) -> int | None:
    """The integer of at most 64 bits."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value in _INTEGERS else None
