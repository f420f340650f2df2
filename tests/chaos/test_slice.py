"""Slices of `python -m tests.chaos`: some seconds of kills at every named point, with another seed each time."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

# Hub, worker and bus are the same on every platform; what a platform's own spoke does is what else there is to see.
SLICES = {
    "slate": "--kills 26 --turns 180 --seconds 24",
    "telegram": "--spokes --kills 12 --turns 60 --seconds 10",
    "discord": "--spokes --kills 12 --turns 60 --seconds 10",
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("platform", SLICES)
def test_nothing_is_lost_doubled_or_out_of_order_while_everything_is_killed(
    capsys: pytest.CaptureFixture[str], platform: str
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    amounts = f"--fork --platform {platform} {SLICES[platform]} --seed {seed}"
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
