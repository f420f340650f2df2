"""Of which type each field of a body is: what is not known here is refused, and a fault of the client."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.discordapi.refusal import Json, Path, invalid, missing, wrong

# Takes a value from the wire and the place where it stands, and gives it as what it should be.
Check = Callable[[Any, Path], Any]


def integer(low: int = 0, high: int = 2**53) -> Check:
    """An integer within bounds."""

    def check(value: Any, path: Path) -> int:
        if type(value) is not int:
            raise wrong(path, "must be an integer")
        if not low <= value <= high:
            raise invalid(path, "NUMBER_TYPE_MAX", f"int value should be between {low} and {high}.")
        return value

    return check


def number(value: Any, path: Path) -> float:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(path, "must be a number")
    return float(value)


def snowflake(value: Any, path: Path) -> int:
    """The number of something, in digits or not."""
    if type(value) is int and 0 <= value < 2**64:
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,20}", value):
        return int(value)
    raise wrong(path, "must be a snowflake")


def boolean(value: Any, path: Path) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(path, "must be a boolean")
    return value


def string(most: int | None = None, least: int = 0) -> Check:
    """A string that is well-formed Unicode and of some length."""

    def check(value: Any, path: Path) -> str:
        if not isinstance(value, str):
            raise wrong(path, "must be a string")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise wrong(path, "must be a string without halves of surrogate pairs") from None
        if most is not None and len(value) > most:
            raise invalid(path, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
        if len(value) < least:
            raise invalid(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {least} and {most} in length.")
        return value

    return check


def matching(pattern: str) -> Check:
    """A string of some form."""

    def check(value: Any, path: Path) -> str:
        text = str(string()(value, path))
        if not re.fullmatch(pattern, text):
            raise invalid(path, "STRING_TYPE_REGEX", f"String value did not match validation regex {pattern}.")
        return text

    return check


def link(value: Any, path: Path) -> str:
    """The address of a page or picture."""
    text = str(string(2048)(value, path))
    if not re.match(r"(https?|attachment)://[^\s/]+", text):
        raise invalid(path, "URL_TYPE_INVALID_URL", "Not a well formed URL.")
    return text


def one_of(*values: object) -> Check:
    """One of some values, of the same type."""

    def check(value: Any, path: Path) -> Any:
        if not any(type(value) is type(each) and value == each for each in values):
            raise wrong(path, f"must be one of {', '.join(map(str, values))}")
        return value

    return check


def nullable(check: Check) -> Check:
    """Something, or null."""
    return lambda value, path: None if value is None else check(value, path)


def items(check: Check, most: int | None = None) -> Check:
    """An array of something."""

    def checked(value: Any, path: Path) -> list[Any]:
        if not isinstance(value, list):
            raise wrong(path, "must be an array")
        if most is not None and len(value) > most:
            raise invalid(path, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
        return [check(item, (*path, index)) for index, item in enumerate(value)]

    return checked


def fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these fields and no other."""
    known = {**required, **(optional or {})}

    def checked(value: Any, path: Path) -> Json:
        if not isinstance(value, dict):
            raise wrong(path, "must be an object")
        for key in value:
            if key not in known:
                raise wrong((*path, key), "is not known here")
        for key in required:
            if key not in value:
                raise missing((*path, key))
        return {key: known[key](item, (*path, key)) for key, item in value.items()}

    return checked


def nothing(value: Any, path: Path) -> Json:
    """No body at all."""
    if value:
        raise wrong(path, "must be empty")
    return {}
