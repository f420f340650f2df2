"""A slice of `python -m tests.sim`, with other seeds each time; and the proof that it would find something."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sim.planted import PLANTED
from tests.sim.seed import run

ROOT = Path(__file__).parents[2]
CPU_SECONDS = 6.0
AT_LEAST = 10
MOST = 200


def test_nothing_is_lost_doubled_out_of_order_or_stuck(capsys: pytest.CaptureFixture[str]) -> None:
    first = random.SystemRandom().randrange(1_000_000)
    with capsys.disabled():
        print(f"\npython -m tests.sim --first {first}", flush=True)
    ends = time.process_time() + CPU_SECONDS

    for seed in range(first, first + MOST):
        outcome = run(seed)

        assert outcome.faults == (), f"python -m tests.sim --seed {seed}"
        assert outcome.turns >= 20 and len(outcome.blows) >= 5
        if time.process_time() > ends and seed - first >= AT_LEAST:
            break


def test_a_seed_is_lived_through_again_exactly() -> None:
    first, again = run(4711, is_compared=True), run(4711, is_compared=True)

    replayed = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--seed", "4711"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "17"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert first.digest and first.digest == again.digest
    assert f"digest {first.digest}" in replayed.stdout, replayed.stdout + replayed.stderr


@pytest.mark.parametrize("planted", PLANTED)
def test_a_fault_that_is_planted_is_found(planted: str) -> None:
    plant = PLANTED[planted]

    with plant.grow():
        found = next((seed for seed in range(1, MOST + 1) if run(seed, also=plant.provoked_by).faults), None)

    assert found is not None
    assert run(found, also=plant.provoked_by).faults == (), "what was found is not what was planted"
