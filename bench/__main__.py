"""`python -m bench WHAT`: measure, say what was found, and fail when a gate does."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

from bench.figures import Report
from bench.stage import stolen

T = TypeVar("T")


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 when every gate holds."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What performance claims rest on.")
    parser.add_argument(
        "what", choices=("turn", "bus", "scopes", "promises", "pools", "scale", "start", "harness", "crowd", "fleet")
    )
    parser.add_argument("--json", action="store_true", help="every figure with n, spread and method")
    parser.add_argument("--quick", action="store_true", help="fewer samples, wider intervals")
    parser.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help="turn, harness: where CPU time goes")
    parser.add_argument(
        "--cell", type=int, action="append", metavar="N", help="turn, harness, promises: only this, counted from 0"
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where the log lies (else a temporary folder)")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.dir) as folder:
        if chosen.what == "turn" and chosen.profile:
            from bench.turn import plan, profile

            print(_run(profile(plan(chosen.quick, chosen.smoke, chosen.cell), Path(folder))))
            return 0
        if chosen.what == "harness" and chosen.profile:
            from bench.harness import plan as plan_harness
            from bench.harness import profile as profile_harness

            print(_run(profile_harness(plan_harness(chosen.quick, chosen.smoke, chosen.cell), Path(folder))))
            return 0
        before = stolen()
        report = _run(_measure(chosen, Path(folder)))
        taken, passed = (now - then for then, now in zip(before, stolen(), strict=True))
        # Where others have the processors as well, no figure is worth anything, and no other one tells.
        report.setting["taken by other machines"] = f"{taken / max(1, passed):.1%} of the processors' time"
    print(report.to_json() if chosen.json else report.to_text())
    return 0 if report.passed else 1


async def _measure(chosen: argparse.Namespace, folder: Path) -> Report:
    match chosen.what:
        case "turn":
            from bench.turn import plan as plan_turns
            from bench.turn import run as run_turns

            return await run_turns(plan_turns(chosen.quick, chosen.smoke, chosen.cell), folder)
        case "bus":
            from bench.bus import plan as plan_bus
            from bench.bus import run as run_bus

            return await run_bus(plan_bus(chosen.quick, chosen.smoke), folder)
        case "scopes":
            from bench.scopes import plan as plan_scopes
            from bench.scopes import run as run_scopes

            return await run_scopes(plan_scopes(chosen.quick, chosen.smoke), folder)
        case "promises":
            from bench.promises import plan as plan_promises
            from bench.promises import run as run_promises

            return await run_promises(plan_promises(chosen.quick, chosen.smoke, chosen.cell), folder)
        case "scale":
            from bench.scale import plan as plan_scale
            from bench.scale import run as run_scale

            return await run_scale(plan_scale(chosen.quick, chosen.smoke), folder)
        case "pools":
            from bench.pools import plan as plan_pools
            from bench.pools import run as run_pools

            return await run_pools(plan_pools(chosen.quick, chosen.smoke), folder)
        case "harness":
            from bench.harness import plan as plan_harness
            from bench.harness import run as run_harness

            return await run_harness(plan_harness(chosen.quick, chosen.smoke, chosen.cell), folder)
        case "crowd":
            from bench.crowd import plan as plan_crowd
            from bench.crowd import run as run_crowd

            return await run_crowd(plan_crowd(chosen.quick, chosen.smoke), folder)
        case "fleet":
            from bench.fleet import plan as plan_fleet
            from bench.fleet import run as run_fleet

            return await run_fleet(plan_fleet(chosen.quick, chosen.smoke), folder)
        case _:
            from bench.start import plan as plan_starts
            from bench.start import run as run_starts

            return await run_starts(plan_starts(chosen.quick, chosen.smoke), folder)


def _run(work: Coroutine[None, None, T]) -> T:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


if __name__ == "__main__":
    sys.exit(main())
