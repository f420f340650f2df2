"""A folder of engines: what is found in it, and what is said of a file that holds none."""

from pathlib import Path

import pytest

from workers.engine.shelf import BadEngine, Shelf, load

ENGINE = """
from factory_contracts.engine import CodeStep, Engine

WORDS = {words!r}

def loud(input: str) -> str:
    return input.upper() + WORDS

ENGINE = Engine("{name}", "Says it loudly.", (CodeStep("loud", loud),))
"""


def put(folder: Path, name: str = "loud", *, words: str = "!", file: str = "") -> Path:
    path = folder / f"{file or name}.py"
    path.write_text(ENGINE.format(name=name, words=words))
    return path


async def test_an_engine_is_found_by_its_name(tmp_path: Path) -> None:
    put(tmp_path)
    shelf = Shelf(tmp_path)

    found = await shelf.find("loud")

    assert found is not None
    assert (found.name, shelf.names) == ("loud", ("loud",))
    assert await shelf.find("quiet") is None


async def test_what_is_put_there_later_is_found_and_what_is_changed_is_another_version(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert await shelf.find("loud") is None

    put(tmp_path)
    first = await shelf.find("loud")
    again = await shelf.find("loud")
    put(tmp_path, words="!!")
    second = await shelf.find("loud")

    assert first is not None and second is not None
    assert first is again
    assert first.version != second.version


def test_two_that_are_the_same_to_the_letter_have_one_version(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    assert load(put(tmp_path / "a")).version == load(put(tmp_path / "b")).version


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this one has 0"),
        ("def", "SyntaxError"),
        ("import nowhere_at_all", "ModuleNotFoundError"),
        ("raise SystemExit('not yours')", "it exits"),
        ("from factory_contracts.engine import Engine\nE = Engine('bad', 'B.', ())", "0 steps"),
        (ENGINE.format(name="good", words=""), "engine 'good' is found in a file good.py"),
        (ENGINE.format(name="bad", words="") + "MORE = Engine('more', 'M.', ENGINE.steps)", "this one has 2"),
    ],
)
def test_a_file_that_holds_no_engine_is_named_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)

    with pytest.raises(BadEngine) as bad:
        load(path)

    assert str(path) in str(bad.value) and words in str(bad.value)
