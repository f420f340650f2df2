"""Amounts of money as they are told: with every digit that they have."""

from decimal import Context, Decimal

# What is added up has more digits than one amount may have.
EXACT = Context(prec=100)


def plain(amount: Decimal) -> str:
    """The amount with every digit it has, and no other."""
    return f"{amount.normalize(EXACT):f}"


def dollars(amount: Decimal) -> str:
    """The amount as a person reads it: exact, and with cents."""
    whole, _, part = plain(amount).partition(".")
    return f"${int(whole):,}.{part:0<2}"
