"""A table is text whose columns stand below each other."""

from __future__ import annotations

from adapters.chat.table import table


def test_columns_are_even_also_where_letters_are_wide() -> None:
    assert table([["a", "b"], ["漢字", "1"], ["x"]], is_padded=True).split("\n") == [
        "a    | b",
        "-----+--",
        "漢字 | 1",
        "x    |",
    ]


def test_without_padding_no_cell_is_longer_than_it_says() -> None:
    assert table([["long head", "b"], ["1", "2"]], is_padded=False).split("\n") == ["long head | b", "--+--", "1 | 2"]


def test_nothing_is_no_table() -> None:
    assert table([], is_padded=True) == ""
