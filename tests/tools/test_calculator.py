"""What the calculator can and cannot do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tools.calculator import Calculator, calculate
from hub.kernel.ports import ToolFailed
from tests.fakes import ANYBODY


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2+2", "4"),
        ("0.1+0.2", "0.3"),
        ("-2**2", "-4"),
        ("2^-1", "0.5"),
        ("2**3**2", "512"),
        ("(3+4)*2", "14"),
        ("-7//2", "-4"),
        ("-7%3", "2"),
        ("7%-3", "-2"),
        ("1_000*2", "2000"),
        ("2**100", "1267650600228229401496703205376"),
        ("sqrt(2)**2", "2"),
        ("1/3*3", "1"),
        ("round(2.567, 2)", "2.57"),
        ("floor(-1.5) + ceil(1.2)", "0"),
        ("max(1, 2, min(5, 4))", "4"),
        ("ROUND(Pi, 4)", "3.1416"),
        ("10**70", "1E+70"),
        ("-0", "0"),
    ],
)
def test_it_calculates_as_people_do(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "ends too soon"),
        ("(1", "is missing"),
        ("1)", "should end"),
        ("5 5", "should end"),
        ("1/0", "division by zero"),
        ("sqrt(-1)", "no value"),
        ("0**0", "no value"),
        ("9**9**9", "larger than"),
        ("1e99999999", "larger than"),
        ("(" * 100, "nested deeper"),
        ("-" * 100 + "1", "nested deeper"),
        ("1" * 501, "longer than"),
        ("sin(1)", "no function"),
        ("sqrt(1, 2)", "at most 1"),
        ("round(1, 0.5)", "whole number of places"),
        ("__import__('os')", "no meaning"),
        ("a", "should be"),
    ],
)
def test_what_is_no_calculation_is_an_observation(expression: str, reason: str) -> None:
    with pytest.raises(ToolFailed, match=reason):
        calculate(expression)


async def test_the_expression_must_be_there() -> None:
    assert await Calculator().run('{"expression":"6*7"}', ANYBODY) == "42"
    with pytest.raises(ToolFailed, match="must be a text"):
        await Calculator().run("{}", ANYBODY)


@given(st.text(alphabet="0123456789.+-*/%^() ,esqrtpi", max_size=60))
def test_nothing_but_a_number_or_an_observation_comes_of_any_text(expression: str) -> None:
    try:
        assert len(calculate(expression)) < 100
    except ToolFailed as failed:
        assert str(failed)
