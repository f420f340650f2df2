"""The example of an engine does what it says, with all three kinds of steps."""

import re
from dataclasses import replace
from pathlib import Path
from shutil import copy

from adapters.tools.calculator import SPEC, Calculator
from factory_contracts.records import StepDone
from factory_contracts.work import Line
from hub.kernel.events import Finished, Said
from hub.kernel.ports import Equipped
from tests.workers.test_errand import Player, Scene
from workers.engine.shelf import Shelf, load

ROOT = Path(__file__).parents[2]
EXAMPLE, PAGE = ROOT / "examples/digest.py", ROOT / "docs/engines.md"


async def digested(folder: Path, words: str) -> tuple[str, Scene]:
    copy(EXAMPLE, folder)
    scene = Scene({"one": Player([Said("Bees fly."), Finished("end")])})
    scene.kit = replace(scene.kit, tools={SPEC.name: Equipped(SPEC, Calculator())}, engines=Shelf(folder))
    agent = scene.agent().model_copy(update={"tools": (SPEC.name,)})
    run = scene.run(agent, lines=[Line(role="user", text=words)]).model_copy(update={"engine": "digest"})
    return await scene.play(run), scene


async def test_it_sums_a_text_up_and_says_how_long_it_takes_to_read(tmp_path: Path) -> None:
    said, scene = await digested(tmp_path, "Bees are insects.\n" * 100)

    assert said == "Bees fly.\n\n300 words in 100 lines, 2 min to read."
    steps = [record.output.step for record in scene.desk.records if isinstance(record, StepDone)]
    assert steps == ["count", "summary", "minutes"]


async def test_it_says_so_when_there_is_nothing_to_sum_up(tmp_path: Path) -> None:
    said, scene = await digested(tmp_path, " ")

    assert (said, scene.end.outcome) == ("There is nothing to sum up.", "failed")


def test_it_has_all_three_kinds_of_steps() -> None:
    assert {step.kind for step in load(EXAMPLE).steps} == {"code", "harness", "tool"}


def test_the_one_in_the_documentation_does_the_same(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "digest.py").write_text(block)

    found = load(tmp_path / "digest.py")

    assert [(step.name, step.kind) for step in found.steps] == [(step.name, step.kind) for step in load(EXAMPLE).steps]
