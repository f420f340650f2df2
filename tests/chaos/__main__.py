"""`python -m tests.chaos --kills N --turns M --seed S`: kill -9 a whole system over and over, and judge what it did.

SIGTERM ends it early: what there was until then is judged.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos import checker, fuse
from tests.chaos.conductor import Run
from tests.chaos.disk import NoDisk
from tests.chaos.surroundings import PAIRS, PLATFORMS, SLATE, SURROUNDINGS

FAULTS_SHOWN = 20
SKIPPED = 77
LONG = 120
SECONDS_A_KILL = 2.0


def main(arguments: list[str]) -> int:
    """0 when nothing was lost, doubled or out of order, and every point was hit; 1 otherwise; 77 when it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--turns", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=None, help="how long the kills are spread over")
    parser.add_argument("--platform", choices=PLATFORMS, default=SLATE, help="which spokes are killed")
    parser.add_argument("--fork", action="store_true", help="processes come up quickly: forked, not imported anew")
    parser.add_argument("--spokes", action="store_true", help="kill spokes alone, at their points and at any instant")
    parser.add_argument("--hubs", type=int, choices=range(1, 5), default=1, help="how many share; 1 has a standby")
    parser.add_argument("--pairs", choices=PAIRS, default="", help="two spokes a bot, with or without the same notes")
    parser.add_argument(
        "--surroundings",
        default="",
        metavar="WHAT,...",
        help=f"instead of the points, what surrounds the processes goes wrong: {','.join(SURROUNDINGS)}",
    )
    parser.add_argument("--json", action="store_true", help="the report as one JSON object on standard output")
    parser.add_argument("--keep", action="store_true", help="leave the run's folder also when all is well")
    given = parser.parse_args(arguments)
    surroundings = tuple(filter(None, given.surroundings.split(",")))
    if unknown := set(surroundings) - set(SURROUNDINGS):
        parser.error(f"no such surroundings: {', '.join(sorted(unknown))}; there are {', '.join(SURROUNDINGS)}")
    if "disk" in surroundings and given.platform != SLATE:
        parser.error("what a real platform's bot says where there is no room is not known here: disk is for slate")
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    seconds = given.seconds or max(20.0, given.kills * SECONDS_A_KILL)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    amounts = f"{given.kills} kills, {given.turns} turns over about {seconds:.0f} s, {given.hubs} hubs"
    _say(f"{given.platform}, seed {seed}, {amounts}, in {folder}")
    began = time.monotonic()
    how = (given.platform, given.fork, given.spokes, given.pairs, surroundings)
    try:
        verdict = asyncio.run(Run(folder, seed, given.kills, given.turns, seconds, *how, _say, given.hubs).run())
    except NoDisk as error:
        _say(f"skipped, this machine has no disk to spare: {error}")
        return SKIPPED
    points: Sequence[str] = () if surroundings else fuse.SPOKE_POINTS if given.spokes else fuse.POINTS
    report = _report(folder, seed, given.kills, points, verdict, time.monotonic() - began)
    if given.json:
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        _print(report)
    if report["faults"] or given.keep:
        _say(f"everything is in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if report["faults"] else 0


def _report(
    folder: Path, seed: int, kills: int, points: Sequence[str], verdict: checker.Verdict, seconds: float
) -> dict[str, Any]:
    done = checker.deeds(folder)
    by_point = Counter(deed["point"] for deed in done.kills)
    least = 5 if kills >= LONG else 1
    missed = [
        f"the point {point!r} was hit {by_point[point]} times of {least}" for point in points if by_point[point] < least
    ]
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "kills": len(done.kills),
        "surroundings": dict(Counter(trouble["what"] for trouble in done.troubles)),
        "freezes": dict(Counter(deed["slot"] for deed in done.freezes)),
        "stood still unasked": len(done.stood_still - {deed["pid"] for deed in done.freezes}),
        "kills by point": {point: by_point[point] for point in fuse.ALL_POINTS},
        "kills at random": {name: count for name, count in by_point.items() if name not in fuse.ALL_POINTS},
        **verdict.figures,
        "recovery s": _quantiles(verdict.recoveries),
        "answer s": _quantiles(verdict.latencies),
        "first word s": _quantiles(verdict.first_words),
        "faults": verdict.faults + missed,
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
    }


def _print(report: dict[str, Any]) -> None:
    faults = report.pop("faults")
    for name, value in report.items():
        words = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else value
        print(f"{name}: {words}")
    print(f"faults: {len(faults)}")
    for fault in faults[:FAULTS_SHOWN]:
        print(f"  {fault}")
    report["faults"] = faults


def _say(words: str) -> None:
    print(f"chaos: {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
