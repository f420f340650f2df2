"""What every version wrote is read by today's code, and today's code writes the same bytes."""

import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import factory_contracts
from factory_contracts.envelope import Envelope, Part, Wire
from factory_contracts.testing import SAMPLES

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "tests" / "wire" / "golden.py"
GOLDEN = ROOT / "tests" / "wire" / "golden"
CONTRACTS = ROOT / "packages" / "contracts"


def _modules() -> Iterator[object]:
    for module in pkgutil.iter_modules(factory_contracts.__path__):
        yield importlib.import_module(f"factory_contracts.{module.name}")


def _contracts() -> set[type[Part]]:
    """Every model that can stand on the wire: what is named and has fields of its own."""
    found = {value for module in _modules() for value in vars(module).values() if inspect.isclass(value)}
    return {
        cls
        for cls in found
        if issubclass(cls, Part) and cls not in (Part, Envelope) and not cls.__name__.startswith("_")
    }


def _parts(value: object) -> Iterator[BaseModel]:
    """The value and all that it contains."""
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from _parts(getattr(value, name))
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _parts(inner)
    elif isinstance(value, dict):
        yield from _parts(tuple(value.values()))


@pytest.mark.parametrize("file", sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.glob("v*/*.json")))
def test_a_golden_file_is_read_and_written_as_ever(file: str) -> None:
    raw, name = (GOLDEN / file).read_bytes().removesuffix(b"\n"), Path(file).stem

    value = SAMPLES[name].read(raw)

    assert value == SAMPLES[name].value
    assert SAMPLES[name].write() == raw


def test_no_contract_lacks_a_golden_file() -> None:
    shown = {type(part) for sample in SAMPLES.values() for part in _parts(sample.value)}

    assert sorted(path.stem for path in GOLDEN.glob("v*/*.json")) == sorted(SAMPLES)
    assert shown == _contracts()


def test_every_wire_has_a_sample_of_each_of_its_kinds() -> None:
    wires = [value for module in _modules() for value in vars(module).values() if isinstance(value, Wire)]

    read_by = {id(getattr(sample.read, "__self__", None)) for sample in SAMPLES.values()}

    assert {id(wire) for wire in wires} == read_by


def test_every_field_stands_in_some_golden_file() -> None:
    parts = [part for sample in SAMPLES.values() for part in _parts(sample.value)]

    used = {(type(part), name) for part in parts for name in part.model_fields_set}
    fixed = {"schema_version", "kind", "trust"}
    wanted = {(cls, name) for cls in _contracts() for name in cls.model_fields if name not in fixed}

    assert wanted - used == set()


@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_the_golden_files_hold_under_every_pydantic_allowed(end: str) -> None:
    required = tomllib.loads((CONTRACTS / "pyproject.toml").read_text())["project"]["dependencies"]
    pydantic = next(line for line in required if line.startswith("pydantic>"))
    if end == "oldest":
        pydantic = re.sub(r">=([^,]+),.*", r"==\1", pydantic)
    others = [line for line in required if not line.startswith("pydantic>")]
    wanted = [flag for line in (pydantic, *others) for flag in ("--with", line)]

    ran = subprocess.run(
        [*_uv(), "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable, *wanted, "python", CHECK],
        env={**_environment(), "PYTHONPATH": str(CONTRACTS / "src")},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    if end == "oldest":
        assert f"pydantic {pydantic.partition('==')[2]}" in ran.stdout


def _uv() -> list[str]:
    """The command that builds throw-away environments: it runs these tests, or is installed beside them."""
    found = shutil.which("uv")
    if found is not None:
        return [found]
    assert importlib.util.find_spec("uv") is not None, "the test command is: pip install uv && uv run pytest"
    return [sys.executable, "-m", "uv"]


def _environment() -> dict[str, str]:
    """Ours, without what would make `uv` prefer the project's own environment."""
    return {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")}
