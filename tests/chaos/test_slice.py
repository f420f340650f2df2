"""Slices of `python -m tests.chaos`: half a minute of kills at every named point, with another seed each time."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

# What the made-up platform shows is checked at more kills, what the real clients show at fewer.
SLICES = {"slate": (28, 200, 28), "telegram": (20, 120, 22), "discord": (20, 120, 22)}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("platform", SLICES)
def test_nothing_is_lost_doubled_or_out_of_order_while_everything_is_killed(
    capsys: pytest.CaptureFixture[str], platform: str
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    kills, turns, seconds = SLICES[platform]
    amounts = f"--fork --platform {platform} --kills {kills} --turns {turns} --seconds {seconds} --seed {seed}"
    with capsys.disabled():
        print(f"\npython -m tests.chaos {amounts}", flush=True)

    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *amounts.split()],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
