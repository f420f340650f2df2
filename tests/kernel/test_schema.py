"""From a function to a tool: what a model is shown, what it is told when it errs, and what the function gets."""

from collections.abc import Awaitable, Callable
from json import dumps, loads
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_contracts.work import AgentSpec
from hub.kernel.ports import Occasion, ToolSpec
from hub.kernel.schema import complaint, describe, equip
from tests.fakes import words_of

OCCASION = Occasion("turn", "call", "scope", "user", AgentSpec(name="ann", hash="1", model="m", namespace="ann"))


async def book(
    occasion: Occasion,
    day: str,
    seats: int = 2,
    price: float = 1.5,
    is_window: bool = False,
    kind: Literal["bus", "train"] = "bus",
    names: list[str] | None = None,
    ages: dict[str, int] | None = None,
    code: str | int = "",
) -> str:
    """Books seats,
    on a day.

    day: when it is: as a date
        such as 2024-02-29
    seats: how many

    price: what a seat may cost
    is_window: whether by the window
    kind: what to go by
    names: who goes
    ages: how old they are
    code: what is on the voucher
    """
    return dumps([occasion.user_id, day, seats, price, is_window, kind, names, ages, code])


BOOK = loads(describe(book).parameters)


def test_a_model_is_shown_what_the_docstring_and_the_types_say() -> None:
    spec = describe(book, name="booking", effect="external", is_idempotent=True, timeout=5.0)

    assert spec == ToolSpec("booking", "Books seats, on a day.", spec.parameters, "external", 5.0, True)
    assert loads(spec.parameters) == {
        "type": "object",
        "properties": {
            "day": {"type": "string", "description": "when it is: as a date such as 2024-02-29"},
            "seats": {"type": "integer", "description": "how many", "default": 2},
            "price": {"type": "number", "description": "what a seat may cost", "default": 1.5},
            "is_window": {"type": "boolean", "description": "whether by the window", "default": False},
            "kind": {"type": "string", "enum": ["bus", "train"], "description": "what to go by", "default": "bus"},
            "names": {"type": "array", "items": {"type": "string"}, "description": "who goes"},
            "ages": {
                "type": "object",
                "additionalProperties": {"type": "integer"},
                "description": "how old they are",
            },
            "code": {
                "anyOf": [{"type": "string"}, {"type": "integer"}],
                "description": "what is on the voucher",
                "default": "",
            },
        },
        "required": ["day"],
        "additionalProperties": False,
    }


async def bare() -> str:
    """Does something."""
    return "done"


async def numbers(level: Literal[1, 2]) -> str:
    """Sets a level.

    level: which
    """
    return str(level)


class Counter:
    """Something with a method that is a tool."""

    async def count(self, start: int) -> str:
        """Counts.

        start: where to begin
        """
        return str(start + 1)


def test_a_function_without_parameters_and_a_method_are_tools_as_well() -> None:
    assert loads(describe(bare).parameters) == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }
    assert (describe(bare).name, describe(bare).effect, describe(bare).is_idempotent) == ("bare", "read", False)
    assert set(loads(describe(Counter().count).parameters)["properties"]) == {"start"}
    assert loads(describe(numbers).parameters)["properties"]["level"]["type"] == "integer"


async def undescribed(day: str) -> str:
    """Books."""
    return day


async def overdescribed(day: str) -> str:
    """Books.

    day: when
    night: when else
    """
    return day


async def silent(day: str) -> str:
    return day


async def odd(day: bytes) -> str:
    """Books.

    day: when
    """
    return str(day)


async def mixed(day: Literal["monday", 2]) -> str:
    """Books.

    day: when
    """
    return str(day)


async def untyped(*days: str) -> str:
    """Books."""
    return str(days)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (undescribed, "tool undescribed: parameter 'day' has no line"),
        (overdescribed, "tool overdescribed: the docstring describes 'night'"),
        (silent, "tool silent: there is no docstring"),
        (odd, "tool odd: no schema for <class 'bytes'>"),
        (mixed, "tool mixed: no schema for"),
        (untyped, "tool untyped: parameter 'days'"),
    ],
)
def test_a_function_that_is_no_tool_is_found_out_at_once(function: Callable[..., Awaitable[str]], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        describe(function)


async def test_the_function_gets_its_arguments_and_the_occasion() -> None:
    tool = equip(book)

    assert loads(await words_of(tool, '{"day":"x"}', OCCASION)) == ["user", "x", 2, 1.5, False, "bus", None, None, ""]
    said = await words_of(tool, '{"day":"x","seats":3,"names":["a"],"ages":{"a":1},"code":7,"price":2}', OCCASION)
    assert loads(said) == ["user", "x", 3, 2, False, "bus", ["a"], {"a": 1}, 7]


async def test_a_whole_number_is_one_however_it_is_written() -> None:
    assert await equip(Counter().count).tool.run('{"start":2.0}', OCCASION) == "3"
    assert loads(await words_of(equip(book), '{"day":"x","price":2.5,"code":4.0}', OCCASION))[3] == 2.5


async def test_the_occasion_is_nothing_that_a_model_can_give() -> None:
    tool = equip(book)

    said = loads(await words_of(tool, '{"day":"x","occasion":{"user_id":"somebody else"}}', OCCASION))

    assert said[0] == "user"
    assert "occasion is not known" in complaint(BOOK, {"day": "x", "occasion": {}})


@pytest.mark.parametrize(
    "given",
    [
        {"day": "x"},
        {"day": "", "seats": 0, "price": 1, "is_window": True, "kind": "train", "names": [], "ages": {}, "code": 1},
        {"day": "x", "seats": 2.0, "price": -1e300, "names": ["a", "b"], "ages": {"a": 1}},
    ],
)
def test_what_fits_is_not_complained_about(given: dict[str, Any]) -> None:
    assert complaint(BOOK, given) == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "the arguments must be of type object."),
        (None, "the arguments must be of type object."),
        ({}, "day is missing."),
        ({"day": 1}, "day must be of type string."),
        ({"day": None}, "day must be of type string."),
        ({"day": "x", "seats": "2"}, "seats must be of type integer."),
        ({"day": "x", "seats": 2.5}, "seats must be of type integer."),
        ({"day": "x", "seats": True}, "seats must be of type integer."),
        ({"day": "x", "seats": float("inf")}, "seats must be of type integer."),
        ({"day": "x", "is_window": 1}, "is_window must be of type boolean."),
        ({"day": "x", "kind": "ship"}, 'kind must be one of "bus", "train".'),
        ({"day": "x", "names": ["a", 2]}, "names[1] must be of type string."),
        ({"day": "x", "ages": {"a": "old"}}, "ages.a must be of type integer."),
        ({"day": "x", "code": []}, "code must be of type string."),
        (
            {"day": "x", "date": "y"},
            "date is not known; there is: day, seats, price, is_window, kind, names, ages, code.",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(given: object, words: str) -> None:
    assert complaint(BOOK, given) == words


@pytest.mark.parametrize(
    ("schema", "fits", "fails", "words"),
    [
        ({}, None, None, ""),
        ({"type": ["string", "null"]}, None, 1, "must be of type string or null"),
        ({"enum": [1, "a", None]}, 1.0, True, 'must be one of 1, "a", null'),
        ({"const": 0}, 0, False, "must be 0"),
        ({"const": False}, False, 0, "must be false"),
        ({"minimum": 1}, 1, 0.5, "must be at least 1"),
        ({"maximum": 1}, True, 2, "must be at most 1"),
        ({"minLength": 2}, "ab", "a", "a length of at least 2"),
        ({"maxLength": 2}, "ab", "abc", "a length of at most 2"),
        ({"minItems": 1}, [1], [], "a length of at least 1"),
        ({"maxItems": 1}, [1], [1, 2], "a length of at most 1"),
        ({"oneOf": [{"type": "string"}, {"type": "array"}]}, [], {}, "must be of type string"),
        ({"anyOf": [{"minimum": 5}, {"maximum": 1}]}, 1, 3, "must be at least 5"),
        ({"anyOf": []}, 1, None, ""),
        ({"type": "string", "anyOf": [{"minLength": 1}]}, "a", 5, "must be of type string"),
        ({"type": "of a later draft"}, 1, None, ""),
        ({"items": {"items": {"type": "string"}}}, [["a"]], [[], ["a", 1]], "[1][1] must be of type string"),
        ({"properties": {"a": {"required": ["b"]}}}, {"a": {"b": 1}}, {"a": {}}, "a.b is missing"),
        ({"additionalProperties": False}, {}, {"a": 1}, "a is not known; there is: none"),
        ({"additionalProperties": True}, {"a": 1}, None, ""),
    ],
)
def test_the_words_of_json_schema_that_tools_use_are_known(
    schema: dict[str, Any], fits: object, fails: object, words: str
) -> None:
    assert complaint(schema, fits) == ""
    assert words in complaint(schema, fails)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


OPTIONAL = dict.fromkeys([name for name in BOOK["properties"] if name != "day"], JSON)


@given(JSON | st.fixed_dictionaries({"day": st.text()}, optional=OPTIONAL))
async def test_whatever_a_model_gives_is_complained_about_or_serves(value: object) -> None:
    if complaint(BOOK, value) == "":
        assert await equip(book).tool.run(dumps(value), OCCASION)
