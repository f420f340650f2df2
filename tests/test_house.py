"""The rules of the house that a machine can hold."""

import ast
import gc
import io
import os
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("hub", "adapters", "workers", "packages")
OURS = (*PRODUCT, "examples", "bench", "tests")
SUBJECTS = ROOT / "packages/contracts/src/factory_contracts/subjects.py"
ROUTING = ROOT / "hub/kernel/routing.py"
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _python(*folders: str) -> tuple[Path, ...]:
    return tuple(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))


def _place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


@cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(), str(path))))


@pytest.fixture(autouse=True, scope="module")
def trees() -> Iterator[None]:
    """Every file is parsed once; looking through so many nodes for garbage would take twice as long as parsing."""
    gc.disable()
    yield
    _nodes.cache_clear()
    gc.enable()


def _run(*command: str) -> None:
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("check", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_has_nothing_to_say(check: tuple[str, ...]) -> None:
    _run(sys.executable, "-m", "ruff", *check, ".")


@pytest.mark.timeout(600)
def test_the_types_are_strict_and_right() -> None:
    # Where there is no cache, this is a machine that asks once, and to write one takes longer than it would ever save.
    cache = () if (ROOT / ".mypy_cache").is_dir() else (f"--cache-dir={os.devnull}",)
    _run(sys.executable, "-m", "mypy", *cache)


def test_imports_keep_the_rules() -> None:
    _run(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")


def test_the_import_rules_have_no_exceptions() -> None:
    for contract in CONFIGURATION["tool"]["importlinter"]["contracts"]:
        assert not {"ignore_imports", "unmatched_ignore_imports_alerting"} & contract.keys(), contract["name"]


def test_the_import_rules_know_every_root_package() -> None:
    tops = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    libraries = {path.parent.name for path in ROOT.glob("packages/*/src/*/__init__.py")}
    outside_the_distribution = {"bench", "tests"}

    shipped = {Path(path).name for path in CONFIGURATION["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}

    assert set(CONFIGURATION["tool"]["importlinter"]["root_packages"]) == shipped
    assert shipped == (tops | libraries) - outside_the_distribution


def test_the_import_rules_know_every_folder_of_python() -> None:
    namespaces = {path.parent.relative_to(ROOT).parts[0] for path in _tracked("*.py")}

    assert namespaces <= set(OURS)


def test_no_subject_is_spelled_outside_subjects() -> None:
    begins = re.compile(r"factory\.(?!(toml|log|lock|pid|py|sock|models)\b)($|[a-z_*>%])")
    holds = re.compile(r"(?<![\w./-])factory\.(inbound|outbound|turns|typing|clipool|[*>])")

    spelled = [
        _place(path, line)
        for path in _python(*OURS)
        if path != SUBJECTS
        for line, text in _strings(path)
        if begins.match(text) or holds.search(text)
    ]

    assert spelled == []


def test_no_checker_is_silenced() -> None:
    silencers = re.compile(r"#\s*(noqa|type:\s*ignore|mypy:|pyright:|ruff:|pragma)")

    silenced = [
        _place(path, token.start[0])
        for path in _python(*OURS)
        if silencers.search(path.read_text())
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        if token.type == tokenize.COMMENT and silencers.match(token.string)
    ]

    assert silenced == []
    assert "overrides" not in CONFIGURATION["tool"]["mypy"]
    assert {key for key in CONFIGURATION["tool"]["mypy"] if key.startswith("ignore")} == set()
    assert not {"ignore", "per-file-ignores"} & CONFIGURATION["tool"]["ruff"]["lint"].keys()


def test_nothing_is_imported_for_the_checker_alone() -> None:
    names = [
        _place(path, getattr(node, "lineno", 0))
        for path in _python(*OURS)
        for node in _nodes(path)
        if (isinstance(node, ast.Name) and node.id == "TYPE_CHECKING")
        or (isinstance(node, ast.Attribute) and node.attr == "TYPE_CHECKING")
        or (isinstance(node, ast.alias) and node.name == "TYPE_CHECKING")
    ]

    assert names == []


def test_a_pools_name_is_made_in_one_place() -> None:
    made = [
        _place(path, node.lineno)
        for path in _python(*PRODUCT, "bench", "tests")
        if path != ROUTING
        for node in _nodes(path)
        if isinstance(node, ast.Call) and _called(node) == "PoolId"
    ]

    assert made == []


def test_few_places_catch_everything_and_each_says_why() -> None:
    """A pool's loop, a spoke's handler, a worker's loop, and the last once more in the library for satellites."""
    found = [place for path in _python(*PRODUCT) for place in _broad(path)]

    assert len({path.relative_to(ROOT).parts[0] for path, _ in found}) == len(found) <= 3, found
    for path, line in found:
        around = path.read_text().splitlines()[line - 2 : line + 1]
        assert any("#" in text for text in around), f"{_place(path, line)} does not say why"


def test_no_file_names_where_packages_come_from() -> None:
    hosts = [".".join(parts) for parts in (("py" + "pi", "org"), ("files", "python" + "hosted", "org"))]

    naming = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in _tracked("*")
        for host in hosts
        if host.encode() in path.read_bytes()
    ]

    assert naming == []


def _called(call: ast.Call) -> str:
    """The last name of what is called."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """Every string that is a value, and so no docstring."""
    nodes = _nodes(path)
    prose = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and id(node) not in prose:
            if isinstance(node.value, str):
                yield node.lineno, node.value
            elif isinstance(node.value, bytes):
                yield node.lineno, node.value.decode(errors="replace")


def _broad(path: Path) -> Iterator[tuple[Path, int]]:
    """Where everything is caught, in whatever clothes."""
    for node in _nodes(path):
        if isinstance(node, ast.ExceptHandler):
            caught = "Exception" if node.type is None else ast.unparse(node.type)
        elif isinstance(node, ast.Call) and _called(node) == "suppress":
            caught = " ".join(ast.unparse(argument) for argument in node.args)
        else:
            continue
        if re.search(r"\b(Base)?Exception(Group)?\b", caught):
            yield path, node.lineno


def _tracked(pattern: str) -> tuple[Path, ...]:
    """Every file that is, or would be, committed; without git, all that lies in our folders."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return tuple(path for folder in OURS for path in (ROOT / folder).rglob(pattern) if path.is_file())
    command = [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", pattern]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return tuple(path for name in listed if name and (path := ROOT / name).is_file())


def test_no_cancellation_is_swallowed() -> None:
    # Before Python 3.12 `wait_for` loses a cancellation that comes with the result, and its task goes on for ever.
    lossy = [
        _place(path, node.lineno)
        for path in _python(*PRODUCT)
        for node in _nodes(path)
        if isinstance(node, ast.Attribute) and node.attr == "wait_for"
    ]

    assert lossy == []
