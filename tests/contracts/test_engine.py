"""Engines as people write them: what is wrong with one is said when it is read, not when it runs."""

import pytest

from factory_contracts.engine import (
    CodeStep,
    Engine,
    HarnessStep,
    Missing,
    Step,
    ToolStep,
    filled,
    references,
    written,
)


def count(input: str) -> int:
    return len(input)


def reads_later(summary: str) -> str:
    return summary


@pytest.mark.parametrize(
    ("name", "description", "steps", "words"),
    [
        ("Digest", "D.", (CodeStep("a", count),), "a name is 1 to 32"),
        ("digest", " ", (CodeStep("a", count),), "say what it does"),
        ("digest", "D.", (), "0 steps"),
        ("digest", "D.", (CodeStep("input", count),), "name of its own"),
        ("digest", "D.", (CodeStep("a", count), CodeStep("a", count)), "name of its own"),
        ("digest", "D.", (CodeStep("a", reads_later),), "step a reads 'summary'; before it there is input"),
        ("digest", "D.", (HarnessStep("a", "{a}"),), "step a reads 'a'; before it there is input"),
        ("digest", "D.", (ToolStep("a", "t", {"x": ["{b.c}"]}),), "step a reads 'b'; before it there is input"),
        ("digest", "D.", (HarnessStep("a", "{input!r}"),), "{input} is no name"),
        ("digest", "D.", (HarnessStep("a", "{}"),), "{} is no name"),
        ("digest", "D.", (HarnessStep("a", "{input"),), "step a: "),
    ],
)
def test_what_is_wrong_with_an_engine_is_said_at_once(
    name: str, description: str, steps: tuple[Step, ...], words: str
) -> None:
    with pytest.raises(TypeError) as wrong:
        Engine(name, description, steps)

    assert words in str(wrong.value)


def test_a_template_tells_what_it_refers_to_however_deep() -> None:
    template = {"a": "{input} and {count.words}", "b": [{"c": "{count}"}], "d": 7, "e": "{{no}}"}

    assert list(references(template)) == [("input",), ("count", "words"), ("count",)]


def test_a_template_is_filled_once_and_keeps_types() -> None:
    values = {"input": "{count}", "count": {"words": 7, "all": ["x", "y"]}}

    found = filled({"a": "{count.words}", "b": "<{input}>", "c": ["{count.all.1}", 7]}, values, lambda _, one: str(one))

    assert found == {"a": 7, "b": "<{count}>", "c": ["y", 7]}


def test_brackets_are_written_twice() -> None:
    assert written("{{{input}}}", {"input": "x"}, lambda _, one: str(one)) == "{x}"


@pytest.mark.parametrize("path", ["count.lines", "count.all.2", "count.all.x", "input.upper", "count.words.real"])
def test_what_is_not_there_is_missing_and_nothing_of_python_is(path: str) -> None:
    with pytest.raises(Missing):
        filled(f"{{{path}}}", {"input": "x", "count": {"words": 7, "all": ["x", "y"]}}, lambda _, one: str(one))
