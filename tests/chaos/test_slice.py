"""A slice of `python -m tests.chaos`: under a minute of kills at every named point, with another seed each time."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

KILLS, TURNS, SECONDS = 32, 240, 34


@pytest.mark.timeout(300)
def test_nothing_is_lost_doubled_or_out_of_order_while_everything_is_killed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    amounts = ("--kills", str(KILLS), "--turns", str(TURNS), "--seconds", str(SECONDS), "--seed", str(seed))
    with capsys.disabled():
        print(f"\npython -m tests.chaos {' '.join(amounts)}", flush=True)

    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *amounts],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
