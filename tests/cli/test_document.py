"""A TOML file read with care."""

from pathlib import Path

import pytest

from factory_cli.document import BadConfiguration, Where, read

TEXT = '''\
title = "a"          # [no.table] here
text = """
[not.a.table]
key = 1 """
"quoted \\u00e9 key" = 'x = 1'
list = [
  "one",  # first
  "two, [three]",
]
inline = {first = 1, "second" = {third = [1, 2]}}
dotted . key = true

[ table ]  # comment
key = 2026-01-01

[table."in table"]
key = """closing quotes""\"""

[[array]]
name = "first"
[array.below]
key = 1

[[array]]
name = "second"
[[array.nested]]
key = 1
'''


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (("title",), 1),
        (("text",), 2),
        (("quoted é key",), 5),
        (("list",), 6),
        (("list", 1), 8),
        (("inline", "second", "third"), 10),
        (("dotted",), 11),
        (("dotted", "key"), 11),
        (("table",), 13),
        (("table", "key"), 14),
        (("table", "in table"), 16),
        (("table", "in table", "key"), 17),
        (("array", 0), 19),
        (("array", 0, "name"), 20),
        (("array", 0, "below", "key"), 22),
        (("array", 1), 24),
        (("array", 1, "name"), 25),
        (("array", 1, "nested", 0, "key"), 27),
    ],
)
def test_every_key_is_found_on_its_line(tmp_path: Path, where: Where, line: int) -> None:
    file = tmp_path / "file.toml"
    file.write_text(TEXT, encoding="utf-8")

    assert read(file).lines[where] == line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'a = 1\nb = "x', ":2: b: is no TOML: "),
        (b"a = 1\na = 2\n", ":2: a: is no TOML: cannot overwrite a value"),
        (b"a = 1\n\nnonsense\n", ":3: is no TOML: "),
        (b"a = 1\n# \xff\n", ":2: is not UTF-8"),
    ],
)
def test_a_broken_file_names_the_line(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "file.toml"
    file.write_bytes(content)

    with pytest.raises(BadConfiguration) as raised:
        read(file)

    assert str(raised.value).startswith(f"{file}{said}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"missing\.toml: cannot be read: No such file"):
        read(tmp_path / "missing.toml")


def test_lines_are_counted_alike_with_either_line_ending(tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    file.write_bytes(TEXT.replace("\n", "\r\n").encode())

    assert read(file).lines[("array", 1, "name")] == 25
