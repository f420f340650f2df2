"""A tool that calculates: a small grammar of its own over decimals of bounded size; it can execute nothing.

sum: product (("+" | "-") product)*; product: sign (("*" | "/" | "//" | "%") sign)*; sign: ("+" | "-") sign | power;
power: value (("**" | "^") sign)?; value: number | name | name "(" sum ("," sum)* ")" | "(" sum ")".
"""

import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, DecimalException, DivisionByZero, InvalidOperation, Overflow
from json import loads
from types import MappingProxyType

from hub.kernel.ports import Occasion, ToolFailed, ToolSpec

MAX_LENGTH = 500
MAX_DEPTH = 40
DIGITS = 60
GUARD_DIGITS = 10
MAX_EXPONENT = 9_999

SPEC = ToolSpec(
    name="calculator",
    description=(
        "Calculates: + - * / // % ** and brackets; sqrt, abs, round, floor, ceil, exp, ln, log10, min, max; pi, e. "
        f"Exact to {DIGITS - GUARD_DIGITS} digits."
    ),
    parameters=(
        '{"type":"object","properties":{"expression":{"type":"string","description":"such as (3+4)*2**0.5"}},'
        '"required":["expression"],"additionalProperties":false}'
    ),
    is_foreign=False,
)

_TOKEN = re.compile(r"\s*(?:(\d[\d_]*\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([a-z]\w*)|(\*\*|//|[-+*/%^(),]))")
_CONSTANTS: Mapping[str, Decimal] = MappingProxyType(
    {
        "pi": Decimal("3.14159265358979323846264338327950288419716939937510582097494459"),
        "e": Decimal("2.71828182845904523536028747135266249775724709369995957496696763"),
    }
)


class Calculator:
    """Calculates what it is asked and cannot do anything else."""

    async def run(self, arguments: str, occasion: Occasion) -> str:
        """The value of the expression."""
        expression = loads(arguments).get("expression")
        if not isinstance(expression, str):
            raise ToolFailed("expression must be a text such as 2*(3+4)")
        return calculate(expression)


def calculate(expression: str) -> str:
    """The expression's value in decimal digits, or `ToolFailed` with what is wrong with it."""
    if len(expression) > MAX_LENGTH:
        raise ToolFailed(f"the expression is longer than {MAX_LENGTH} characters")
    try:
        return _show(_Parser(expression).parse())
    except DivisionByZero:
        raise ToolFailed("division by zero") from None
    except Overflow:
        raise ToolFailed(f"the result is larger than 10**{MAX_EXPONENT}") from None
    except DecimalException:
        raise ToolFailed("this has no value among the real numbers, or too many digits") from None


class _Parser:
    """Reads and calculates in one pass, by recursion whose depth is bounded."""

    def __init__(self, expression: str) -> None:
        self._tokens = _tokens(expression)
        self._next = 0
        self._depth = 0
        self._context = Context(
            prec=DIGITS, Emin=-MAX_EXPONENT, Emax=MAX_EXPONENT, traps=[InvalidOperation, DivisionByZero, Overflow]
        )

    def parse(self) -> Decimal:
        value = self._sum()
        if self._peek():
            raise ToolFailed(f"{self._peek()!r} stands where the expression should end")
        return value

    def _sum(self) -> Decimal:
        value = self._product()
        while (sign := self._peek()) in ("+", "-"):
            self._next += 1
            other = self._product()
            value = self._context.add(value, other) if sign == "+" else self._context.subtract(value, other)
        return value

    def _product(self) -> Decimal:
        operations = {
            "*": self._context.multiply,
            "/": self._context.divide,
            "//": self._floor_divide,
            "%": self._modulo,
        }
        value = self._sign()
        while (operation := operations.get(self._peek())) is not None:
            self._next += 1
            value = operation(value, self._sign())
        return value

    def _sign(self) -> Decimal:
        sign = self._peek()
        if sign not in ("+", "-"):
            return self._power()
        self._next += 1
        self._enter()
        value = self._sign()
        self._depth -= 1
        return self._context.minus(value) if sign == "-" else value

    def _power(self) -> Decimal:
        base = self._value()
        if self._peek() not in ("**", "^"):
            return base
        self._next += 1
        self._enter()
        exponent = self._sign()
        self._depth -= 1
        return self._context.power(base, exponent)

    def _value(self) -> Decimal:
        token = self._take()
        if token[0].isdigit() or token[0] == ".":
            return self._context.create_decimal(token)
        if token == "(":
            value = self._bracketed()
            self._expect(")")
            return value
        if token in _CONSTANTS:
            return self._context.plus(_CONSTANTS[token])
        if self._peek() == "(" and token[0].isalpha():
            return self._call(token)
        raise ToolFailed(f"{token!r} stands where a number should be")

    def _call(self, name: str) -> Decimal:
        functions: dict[str, tuple[int, Callable[..., Decimal]]] = {
            "sqrt": (1, self._context.sqrt),
            "abs": (1, self._context.abs),
            "exp": (1, self._context.exp),
            "ln": (1, self._context.ln),
            "log10": (1, self._context.log10),
            "floor": (1, lambda value: _whole(value, "ROUND_FLOOR")),
            "ceil": (1, lambda value: _whole(value, "ROUND_CEILING")),
            "round": (2, self._round),
            "min": (MAX_LENGTH, lambda *values: min(values)),
            "max": (MAX_LENGTH, lambda *values: max(values)),
        }
        if name not in functions:
            raise ToolFailed(f"there is no function {name!r}; there is {', '.join(functions)}")
        most, function = functions[name]
        self._next += 1
        values = [self._bracketed()]
        while self._peek() == ",":
            self._next += 1
            values.append(self._bracketed())
        self._expect(")")
        if len(values) > most:
            raise ToolFailed(f"{name} takes at most {most} {'number' if most == 1 else 'numbers'}")
        return function(*values)

    def _bracketed(self) -> Decimal:
        self._enter()
        value = self._sum()
        self._depth -= 1
        return value

    def _floor_divide(self, left: Decimal, right: Decimal) -> Decimal:
        quotient = self._context.divide_int(left, right)
        rest = self._context.subtract(left, self._context.multiply(quotient, right))
        differs = bool(rest) and (rest < 0) != (right < 0)
        return self._context.subtract(quotient, Decimal(1)) if differs else quotient

    def _modulo(self, left: Decimal, right: Decimal) -> Decimal:
        rest = self._context.remainder(left, right)
        return self._context.add(rest, right) if rest and (rest < 0) != (right < 0) else rest

    def _round(self, value: Decimal, places: Decimal = Decimal(0)) -> Decimal:
        if places != places.to_integral_value() or abs(places) > DIGITS:
            raise ToolFailed(f"round needs a whole number of places up to {DIGITS}")
        return self._context.quantize(value, Decimal(1).scaleb(-int(places)))

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ToolFailed(f"nested deeper than {MAX_DEPTH}")

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        if not token:
            raise ToolFailed("the expression ends too soon")
        self._next += 1
        return token

    def _expect(self, wanted: str) -> None:
        if self._peek() != wanted:
            raise ToolFailed(f"{wanted!r} is missing")
        self._next += 1


def _tokens(expression: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    text = expression.rstrip().lower()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ToolFailed(f"{text[at:].lstrip()[:1]!r} has no meaning here")
        tokens.append(found.group(found.lastindex or 0).replace("_", ""))
        at = found.end()
    return tokens


def _whole(value: Decimal, rounding: str) -> Decimal:
    return value.to_integral_value(rounding=rounding)


def _show(value: Decimal) -> str:
    if value == value.to_integral_value() and value.adjusted() < DIGITS:
        return str(int(value))
    # Guard digits keep the last roundings of a long calculation out of sight.
    short = value.normalize(Context(prec=DIGITS - GUARD_DIGITS))
    return format(short, "f") if -20 < short.adjusted() < DIGITS else str(short)
