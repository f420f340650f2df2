"""`python -m tests.sim --seeds N`: live through N seeds and judge each; `--seed S` lives through one again."""

import argparse
import gc
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

from tests.sim.faults import awaits
from tests.sim.loop import Place
from tests.sim.planted import PLANTED
from tests.sim.seed import Outcome, run

SHOWN = 20
AT_ONCE = 10
MOST_FOR_A_PLANT = 200


@dataclass(slots=True)
class Sum:
    """What came of many seeds."""

    seeds: int = 0
    turns: int = 0
    seconds: float = 0.0
    findings: int = 0
    blows: Counter[str] = field(default_factory=Counter)
    tried: set[Place] = field(default_factory=set)
    passed: set[Place] = field(default_factory=set)

    def add(self, outcome: Outcome) -> None:
        """One more."""
        self.seeds += 1
        self.turns += outcome.turns
        self.seconds += outcome.seconds
        self.findings += bool(outcome.faults)
        self.blows.update(outcome.blows)
        self.tried |= outcome.tried
        self.passed |= outcome.passed


def main(arguments: Sequence[str]) -> int:
    """0 when nothing was found, or when what was planted was; 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=None, help="the first of them; otherwise any")
    parser.add_argument("--jobs", type=int, default=2, help="processes that share them")
    parser.add_argument("--seed", type=int, default=None, help="live through this one alone")
    parser.add_argument("--trace", action="store_true", help="tell everything that happens in it")
    parser.add_argument("--planted", choices=PLANTED, default=None, help="with this fault in the product")
    parser.add_argument("--verbose", action="store_true", help="name the awaits at which no crash was tried")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return _one(given.seed, given.planted, given.trace)
    first = given.first if given.first is not None else random.SystemRandom().randrange(1_000_000)
    if given.planted is not None:
        return _until_found(first, given.planted)
    return _many(range(first, first + given.seeds), given.jobs, given.verbose)


def _one(seed: int, planted: str | None, trace: bool) -> int:
    outcome = _live(planted, seed, trace=trace, is_compared=True)
    print(f"seed {seed}: {outcome.turns} turns in {outcome.seconds:.1f} s of its time, digest {outcome.digest}")
    print(f"what was done: {', '.join(outcome.blows)}")
    _show(outcome)
    return 1 if outcome.faults else 0


def _until_found(first: int, planted: str) -> int:
    for tries in range(1, MOST_FOR_A_PLANT + 1):
        outcome = _live(planted, first + tries - 1)
        if outcome.faults:
            print(f"{planted}: found by seed {outcome.seed}, the {tries}. of them")
            _show(outcome)
            return 0
    print(f"{planted}: not found by {MOST_FOR_A_PLANT} seeds from {first} on")
    return 1


def _many(seeds: range, jobs: int, is_verbose: bool) -> int:
    began, sum, known = time.monotonic(), Sum(), awaits()
    print(f"sim: {len(seeds)} seeds from {seeds.start} on, with {jobs} processes", file=sys.stderr, flush=True)
    for outcome in _outcomes(seeds, jobs):
        sum.add(outcome)
        if outcome.faults:
            print(f"seed {outcome.seed} (python -m tests.sim --seed {outcome.seed}):")
            _show(outcome)
            sys.stdout.flush()
    print(f"{sum.seeds} seeds from {seeds.start} on in {time.monotonic() - began:.0f} s with {jobs} processes")
    print(f"{sum.turns} turns in {sum.seconds / 3600:.1f} h of their time")
    print(f"faults: {', '.join(f'{what} {count}' for what, count in sorted(sum.blows.items()))}")
    print(
        f"crashes tried at {len(sum.tried)} of {len(known)} awaits of hub/, "
        f"{len(sum.passed)} of which were ever waited at"
    )
    if is_verbose:
        for path, line in known:
            if (path, line) not in sum.tried:
                print(f"  never: hub/{path}:{line}{' (waited at)' if (path, line) in sum.passed else ''}")
    print(f"findings: {sum.findings}")
    return 1 if sum.findings else 0


def _outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    if jobs < 2:
        yield from map(partial(_live, None), seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(partial(_live, None), seeds, chunksize=AT_ONCE)


def _live(planted: str | None, seed: int, *, trace: bool = False, is_compared: bool = False) -> Outcome:
    plant = PLANTED[planted] if planted is not None else None
    with plant.grow() if plant is not None else nullcontext():
        try:
            also = plant.provoked_by if plant is not None else ()
            outcome = run(seed, also=also, trace=trace, is_compared=is_compared)
        except Exception as error:
            error.add_note(f"python -m tests.sim --seed {seed}")
            raise
    # What is imported, and built at the first use, stays and need not be looked through after each seed.
    gc.collect()
    gc.freeze()
    return outcome


def _show(outcome: Outcome) -> None:
    for fault in outcome.faults[:SHOWN]:
        print(f"  {fault}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
