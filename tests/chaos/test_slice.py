"""Slices of `python -m tests.chaos`: some seconds of kills at every named point, with another seed each time."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

# Hub, worker and bus are the same on every platform; what a platform's own spoke does is what else there is to see, of
# one of the two in each run.
EVERYTHING = "--kills 26 --turns 180 --seconds 24"
SPOKES = "--spokes --kills 12 --turns 60 --seconds 10"


@pytest.mark.timeout(300)
def test_nothing_is_lost_doubled_or_out_of_order_while_everything_is_killed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    slices = {"slate": EVERYTHING, random.SystemRandom().choice(("telegram", "discord")): SPOKES}
    running = []
    # Each of them mostly waits, so that both at once take little longer than the longer one.
    for platform, amounts in slices.items():
        seed = random.SystemRandom().randrange(1_000_000)
        options = f"--fork --platform {platform} {amounts} --seed {seed}"
        with capsys.disabled():
            print(f"\npython -m tests.chaos {options}", flush=True)
        with (tmp_path / platform).open("wb") as told:
            command = [sys.executable, "-m", "tests.chaos", *options.split()]
            running.append(
                subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=told, stderr=subprocess.STDOUT)
            )

    try:
        ended = {platform: process.wait() for platform, process in zip(slices, running, strict=True)}
    finally:
        for process in running:
            process.terminate()

    told_by = {platform: (tmp_path / platform).read_text() for platform in slices}
    assert ended == dict.fromkeys(slices, 0), "\n".join(told_by[platform] for platform in slices if ended[platform])
