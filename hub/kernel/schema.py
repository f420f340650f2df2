"""From a function to a tool: the schema that a model is shown, the check of what it sends, and the call.

A tool is a function with a docstring. Its first paragraph is the description; a line `name: text` after it describes a
parameter. A parameter annotated `Occasion` is ours to fill and never the model's to see.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from json import dumps, loads
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from factory_contracts.records import Effect
from hub.kernel.ports import Equipped, Observation, Occasion, ToolSpec

MAX_ARGUMENTS = 100_000
MAX_NESTING = 64

Function = Callable[..., Awaitable[str | Observation]]
Schema = Mapping[str, Any]

_SIMPLE: Mapping[type, str] = MappingProxyType({str: "string", int: "integer", float: "number", bool: "boolean"})
_KINDS: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
        "array": (list,),
        "object": (dict,),
        "null": (NoneType,),
    }
)


def describe(
    function: Function,
    *,
    name: str = "",
    effect: Effect = "read",
    is_idempotent: bool = False,
    timeout: float = 30.0,
    is_foreign: bool = True,
    reaches: str = "",
) -> ToolSpec:
    """What a model is told of the function. Raises `TypeError` where a parameter is not described or cannot be."""
    name = name or function.__name__
    about, parameters = _read_docstring(name, inspect.getdoc(function) or "")
    hints = get_type_hints(function)
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        annotation = hints.get(parameter.name)
        if parameter.name == "self" or annotation is Occasion:
            continue
        if parameter.name not in parameters:
            raise TypeError(f"tool {name}: parameter {parameter.name!r} has no line in the docstring")
        schema: dict[str, Any] = {**_schema(name, annotation), "description": parameters.pop(parameter.name)}
        if parameter.default is inspect.Parameter.empty:
            required.append(parameter.name)
        elif parameter.default is not None:
            schema["default"] = parameter.default
        properties[parameter.name] = schema
    if parameters:
        raise TypeError(f"tool {name}: the docstring describes {min(parameters)!r}, which is no parameter")
    whole = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return ToolSpec(name, about, dumps(whole), effect, timeout, is_idempotent, is_foreign=is_foreign, reaches=reaches)


@dataclass(frozen=True, slots=True)
class Bound:
    """The implementation of a tool: the function that its schema was derived from, or another with the same shape."""

    function: Function

    async def run(self, arguments: str, occasion: Occasion) -> str | Observation:
        """Call it with arguments that fit the schema."""
        given = {name: value for name, value in loads(arguments).items() if value is not None}
        for name, annotation in get_type_hints(self.function).items():
            if annotation is Occasion:
                given[name] = occasion
            elif isinstance(given.get(name), float) and _counts(annotation):
                given[name] = int(given[name])
        return await self.function(**given)


def equip(
    function: Function,
    *,
    name: str = "",
    effect: Effect = "read",
    is_idempotent: bool = False,
    timeout: float = 30.0,
    is_foreign: bool = True,
    reaches: str = "",
) -> Equipped:
    """The function's schema and the function itself."""
    spec = describe(
        function,
        name=name,
        effect=effect,
        is_idempotent=is_idempotent,
        timeout=timeout,
        is_foreign=is_foreign,
        reaches=reaches,
    )
    return Equipped(spec, Bound(function))


def read(arguments: str) -> tuple[str, str]:
    """A model's arguments in one spelling, and what is wrong with them."""
    if len(arguments) > MAX_ARGUMENTS:
        return "{}", f"The arguments are longer than {MAX_ARGUMENTS} characters."
    try:
        value = loads(arguments or "{}")
        if not isinstance(value, dict):
            return "{}", "The arguments are no JSON object."
        if _nests(value, MAX_NESTING):
            return "{}", f"The arguments are nested more than {MAX_NESTING} deep."
        return dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False), ""
    except (ValueError, RecursionError):
        return "{}", "The arguments are no valid JSON."


def complaint(schema: object, value: object, place: str = "") -> str:
    """What is wrong with a value, in a sentence for the model; empty when it fits.

    Looks at the words of JSON Schema that tools use; what it does not know it leaves to the tool.
    """
    # Others write schemas too: what is no schema says nothing about a value.
    if not isinstance(schema, Mapping):
        return ""
    at = place or "the arguments"
    for word in ("anyOf", "oneOf"):
        found = [complaint(choice, value, place) for choice in _list(schema, word)]
        if found and all(found):
            return found[0]
    choices = _list(schema, "enum")
    if choices and not any(_same(choice, value) for choice in choices):
        return f"{at} must be one of {', '.join(dumps(choice) for choice in choices)}."
    if "const" in schema and not _same(schema["const"], value):
        return f"{at} must be {dumps(schema['const'])}."
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else [one for one in _list(schema, "type") if isinstance(one, str)]
    if kinds and not any(_is(kind, value) for kind in kinds):
        return f"{at} must be of type {' or '.join(kinds)}."
    return _bounds(schema, value, at) or _inside(schema, value, place)


def _nests(value: object, levels: int) -> bool:
    """Whether the value is nested deeper than so many levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 1 or _nests(one, levels - 1) for one in inner if isinstance(one, dict | list))


def _bounds(schema: Schema, value: object, at: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if (least := _number(schema, "minimum")) is not None and value < least:
            return f"{at} must be at least {schema['minimum']}."
        if (most := _number(schema, "maximum")) is not None and value > most:
            return f"{at} must be at most {schema['maximum']}."
    if isinstance(value, str | list):
        shortest, longest = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
        if (least := _number(schema, shortest)) is not None and len(value) < least:
            return f"{at} must have a length of at least {schema[shortest]}."
        if (most := _number(schema, longest)) is not None and len(value) > most:
            return f"{at} must have a length of at most {schema[longest]}."
    return ""


def _inside(schema: Schema, value: object, place: str) -> str:
    if isinstance(value, list):
        for index, item in enumerate(value):
            if found := complaint(schema.get("items", {}), item, f"{place}[{index}]"):
                return found
    if not isinstance(value, dict):
        return ""
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = [name for name in _list(schema, "required") if isinstance(name, str)]
    for name in required:
        if name not in value:
            return f"{_within(place, name)} is missing."
    for name, item in value.items():
        if name in properties:
            # Models say null where they mean that there is nothing to say.
            is_absent = item is None and name not in required
            if not is_absent and (found := complaint(properties[name], item, _within(place, name))):
                return found
        elif others is False:
            known = ", ".join(properties) or "none"
            return f"{_within(place, name)} is not known; there is: {known}."
        elif found := complaint(others, item, _within(place, name)):
            return found
    return ""


def _list(schema: Schema, word: str) -> list[Any]:
    found = schema.get(word)
    return found if isinstance(found, list) else []


def _number(schema: Schema, word: str) -> float | None:
    found = schema.get(word)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _within(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _same(one: object, other: object) -> bool:
    """Whether two values are the same in JSON, where true is no number."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _counts(annotation: Any) -> bool:
    """Whether a whole number is wanted and nothing else; JSON may write one as 2.0."""
    return annotation is int or (int in get_args(annotation) and float not in get_args(annotation))


def _is(kind: str, value: object) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS.get(kind, (object,)))


def _read_docstring(name: str, text: str) -> tuple[str, dict[str, str]]:
    about, _, rest = text.partition("\n\n")
    if not about.strip():
        raise TypeError(f"tool {name}: there is no docstring to describe it")
    parameters: dict[str, str] = {}
    last = ""
    for line in rest.splitlines():
        key, colon, words = line.strip().partition(": ")
        if colon and key.isidentifier():
            parameters[key] = words.strip()
            last = key
        elif line.strip() and last:
            parameters[last] += f" {line.strip()}"
    return " ".join(about.split()), parameters


def _schema(tool: str, annotation: Any) -> dict[str, Any]:
    if annotation in _SIMPLE:
        return {"type": _SIMPLE[annotation]}
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        kinds = {_SIMPLE.get(type(choice)) for choice in inner}
        if len(kinds) != 1 or None in kinds:
            raise TypeError(f"tool {tool}: no schema for {annotation!r}")
        return {"type": kinds.pop(), "enum": list(inner)}
    if origin is list:
        return {"type": "array", "items": _schema(tool, inner[0])}
    if origin is dict and inner[0] is str:
        return {"type": "object", "additionalProperties": _schema(tool, inner[1])}
    if origin in (Union, UnionType):
        found = [choice for choice in inner if choice is not NoneType]
        if len(found) == 1:
            return _schema(tool, found[0])
        return {"anyOf": [_schema(tool, choice) for choice in found]}
    raise TypeError(f"tool {tool}: no schema for {annotation!r}")
