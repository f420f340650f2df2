"""What every contract shares: frozen, strict, versioned, and gated before any of it is believed.

A payload is refused when it is too large, nested too deep, names a key twice, says NaN, or carries anything that the
model does not know. A refusal is a `Malformed`, which never repeats the payload.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypeForm

# The highest version that is understood here, and the one in which everything began.
SCHEMA_VERSION = 3
FIRST_VERSION = 1
MAX_BYTES = 900_000
MAX_DEPTH = 16

_NESTS = (dict, list)

# A process uses a few of the contracts, so each is built when it is first used: that halves the time to start.
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class Malformed(ValueError):
    """These bytes are no such contract; the sentence says why and quotes nothing of them."""


class Newer(Malformed):
    """Whoever wrote this knows a newer version than we do."""


class Part(BaseModel):
    """A value inside an envelope."""

    model_config = _STRICT


@dataclass(frozen=True, slots=True)
class Since:
    """Stands on a field that came later than the first version; the field is None where nothing is said by it.

    What `may_be_missed` is left out for who is known not to understand it. Anything else they are told, and refuse.
    """

    version: int
    may_be_missed: bool = False


class Envelope(Part):
    """A value that crosses a process by itself, and so names a version: the lowest in which it can be read.

    So what says nothing new is read by old and new alike, whoever wrote it.
    """

    schema_version: int = Field(default=FIRST_VERSION, ge=FIRST_VERSION, le=SCHEMA_VERSION)


T = TypeVar("T", bound=Envelope)


def version_of(value: Envelope) -> int:
    """The lowest version in which the value can be read."""
    later = _later_fields(type(value))
    if not later:
        return value.schema_version
    said = (since.version for name, since in later if getattr(value, name) is not None)
    return max(said, default=value.schema_version)


@cache
def _later_fields(contract: type[Envelope]) -> tuple[tuple[str, Since], ...]:
    return tuple(
        (name, mark)
        for name, field in contract.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Since)
    )


class Wire(Generic[T]):
    """One plane's contract in both directions: `encode` what we say, `decode` what we are told."""

    def __init__(self, contract: TypeForm[T], max_bytes: int = MAX_BYTES) -> None:
        self._contract = contract
        self._max_bytes = max_bytes

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        adapter: TypeAdapter[T] = TypeAdapter(self._contract)
        adapter.rebuild()
        return adapter

    @cached_property
    def _validate(self) -> Callable[[bytes], T]:
        validate: Callable[[bytes], T] = self._adapter.validator.validate_json
        return validate

    @cached_property
    def _is_open(self) -> bool:
        return _takes_anything(self._adapter.core_schema)

    def encode(self, value: T, understood: int = SCHEMA_VERSION) -> bytes:
        """The value as JSON, without what is absent, in the lowest version in which it can be read.

        Who reads it understands so much and no more: what they may miss is not said to them.
        """
        if later := _later_fields(type(value)):
            missed = {name: None for name, since in later if since.may_be_missed and since.version > understood}
            value = value.model_copy(update=missed)
            value = value.model_copy(update={"schema_version": version_of(value)})
        return value.__pydantic_serializer__.to_json(value, exclude_none=True)

    def decode(self, raw: bytes) -> T:
        """The value, or `Malformed`."""
        if len(raw) > self._max_bytes:
            raise Malformed(f"larger than {self._max_bytes} bytes")
        try:
            value = self._validate(raw)
        except ValidationError as error:
            found = _gate(raw)
            if _is_newer(found):
                raise Newer(f"a newer version than {SCHEMA_VERSION}") from None
            raise Malformed(_describe(error)) from None
        # What we would have written ourselves holds no key twice and no NaN, and is as deep as its contract allows.
        # Such is nearly all that comes, and writing it costs less than parsing it twice. The rest is looked at closely.
        if self._is_open or self.encode(value) != raw:
            _gate(raw)
            if "schema_version" not in value.model_fields_set:
                raise Malformed("the envelope: no schema_version")
        return value


def _gate(raw: bytes) -> object:
    """The JSON value of these bytes, or `Malformed` for what no contract may contain."""
    try:
        value: object = json.loads(raw, object_pairs_hook=_object, parse_constant=_constant)
    except Malformed:
        raise
    except RecursionError:
        raise Malformed(f"nested deeper than {MAX_DEPTH}") from None
    except ValueError:
        raise Malformed("no JSON") from None
    if _deeper_than(value, MAX_DEPTH):
        raise Malformed(f"nested deeper than {MAX_DEPTH}")
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("a key stands twice in one object")
    return value


def _constant(_: str) -> None:
    raise Malformed("a number that is no number")


def _deeper_than(value: object, limit: int) -> bool:
    level = [value] if isinstance(value, _NESTS) else []
    for _ in range(limit):
        inside = (outer.values() if isinstance(outer, dict) else outer for outer in level)
        level = [inner for values in inside for inner in values if isinstance(inner, _NESTS)]
    return bool(level)


def _takes_anything(schema: object) -> bool:
    """Whether a contract has a place for values of any shape, of which only the gate knows how deep they are."""
    if isinstance(schema, Mapping):
        return schema.get("type") == "any" or any(map(_takes_anything, schema.values()))
    return isinstance(schema, list | tuple) and any(map(_takes_anything, schema))


def _is_newer(value: object) -> bool:
    version = value.get("schema_version") if isinstance(value, dict) else None
    return isinstance(version, int) and version > SCHEMA_VERSION


def _describe(error: ValidationError) -> str:
    """Where and what kind, but neither the input nor a key that the sender made up."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "extra_forbidden":
        place = ".".join(str(step) for step in first["loc"][:-1]) or "the envelope"
        return f"{place}: a key that this contract does not know"
    place = ".".join(str(step) for step in first["loc"]) or "the envelope"
    return f"{place}: {first['type']}"
