"""The README's commands do what it says, in a fresh clone, as a stranger would type them."""

import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PATIENCE = 120.0
END_OF_INPUT = b"\x04"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone of the tree as it stands would hold: no environment, no caches."""
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    # To compile everything that is installed takes longer than all else here, and most of it is used once at most.
    project = (folder / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(project.replace("compile-bytecode = true", "compile-bytecode = false"))
    return folder


@pytest.fixture
def variables(clone: Path, tmp_path: Path) -> dict[str, str]:
    """A stranger's environment: no home yet, no server, no environment of ours."""
    ours = (
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "FACTORY_",
        "NATS_",
        "ANTHROPIC_",
        "OPENAI_",
        "OPENROUTER_",
        "GEMINI_",
        "OLLAMA_",
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return {**kept, "FACTORY_HOME": str(tmp_path)}


@pytest.mark.timeout(300)
def test_the_first_command_ends_in_a_prompt_and_a_streamed_answer(clone: Path, variables: dict[str, str]) -> None:
    command = _commands()[0]
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=clone, env=variables, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    screen = _Screen(ours)
    try:
        screen.wait_for("/help")
        os.write(ours, b"Good morning\r")
        screen.wait_for("No model is connected")
        screen.wait_for("Good morning")
        screen.wait_for("1 model call")
        os.write(ours, END_OF_INPUT)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.timeout(300)
def test_the_second_command_runs_the_tests(clone: Path, variables: dict[str, str]) -> None:
    command = f"{_commands()[1]} tests/kernel/test_routing.py -n 0 -q -p no:cacheprovider"

    done = subprocess.run(["sh", "-c", command], cwd=clone, env=variables, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)


def test_ci_calls_the_second_command_and_nothing_cleverer() -> None:
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]

    assert lines[-1] == _commands()[1]


def test_every_file_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`((?:hub|adapters|workers|packages|agents|docs|tests)/[\w./-]*)`", README))

    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_test_that_a_page_names_is_there() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    named = {match for page in pages for match in re.findall(r"`(tests/[\w./-]*)(?:::(\w+))?`", page.read_text())}

    missing = [(path, test) for path, test in sorted(named) if test not in _tests(ROOT / path)]

    assert missing == []


def _tests(path: Path) -> set[str]:
    """The tests that a file holds, and the file or folder itself under no name; nothing where it is not there."""
    if not path.exists():
        return set()
    files = (path,) if path.is_file() else ()
    return {"", *(name for file in files for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.M))}


def _commands() -> list[str]:
    """The commands of the blocks that begin with pip, in their order."""
    blocks: Iterator[str] = (match.strip() for match in re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    return [block for block in blocks if block.startswith("pip")]


class _Screen:
    """What a pseudo-terminal has shown so far."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._shown = ""

    def wait_for(self, text: str) -> None:
        """Return when the text has been shown, colours and moves of the cursor aside."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._shown:
            ready, _, _ = select.select([self._file], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} was not shown in:\n{self._shown}"
            said = os.read(self._file, 65536).decode(errors="replace")
            self._shown += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]", "", said)
            if "\x1b[6n" in said:
                os.write(self._file, b"\x1b[1;1R")
