"""A table as text, for platforms that have none: columns of even width where all letters are as wide."""

import unicodedata

_WIDEST_COLUMN = 24


def table(rows: list[list[str]], *, is_padded: bool) -> str:
    """The rows in lines, the first as the head; unpadded where room is short."""
    columns = max(map(len, rows), default=0)
    cells = [[*row, *[""] * (columns - len(row))] for row in rows]
    widths = [1] * columns
    if is_padded:
        widths = [min(max(map(_columns, column)), _WIDEST_COLUMN) for column in zip(*cells, strict=True)]
    lines = [
        " | ".join(cell + " " * (width - _columns(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([*lines[:1], "-+-".join("-" * width for width in widths), *lines[1:]])


def _columns(text: str) -> int:
    """How wide a text is where all letters are as wide."""
    return sum(
        2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
        if unicodedata.category(sign) not in ("Mn", "Me", "Cf")
    )
