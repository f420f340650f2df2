"""The two libraries say on their first page what they are, and the example there runs as it stands."""

import re
import subprocess
import sys
import tomllib

import pytest

from tests.fleet.yard import ROOT

EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    ("library", "said"), [("contracts", r"factory\.inbound\.carrier\.main\.\d+ \d+"), ("transport", "Hello!")]
)
def test_the_example_on_a_librarys_first_page_runs(library: str, said: str) -> None:
    folder = ROOT / "packages" / library
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    (example,) = EXAMPLE.findall((folder / project["readme"]).read_text())

    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert re.fullmatch(said, done.stdout.strip())
