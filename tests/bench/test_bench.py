"""The measurements measure, and say what they claim to say; how fast anything is, is no test's business."""

import json
import os
import subprocess
import sys
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from bench.figures import Report, bootstrap
from bench.sampler import Sampler
from factory_contracts.messages import Usage

ROOT = Path(__file__).parents[2]


def measure(*arguments: str) -> dict[str, Any]:
    """A run so small that nothing can be concluded from it."""
    path = os.pathsep.join(str(ROOT / "packages" / name / "src") for name in ("contracts", "transport", "cli"))
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--json", "--smoke"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        timeout=110,
    )
    assert done.stdout, done.stderr.decode()[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if report["passed"] else 1)
    for figure in report["figures"]:
        assert figure["n"] > 0
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["spread"] and figure["method"]
    return report


def names(report: dict[str, Any], part: str) -> list[str]:
    return [row["name"] for row in report[part]]


def test_a_turn_is_held_against_a_floor_that_is_held_against_a_bare_pair() -> None:
    report = measure("turn")

    gates = {gate["name"]: gate for gate in report["gates"]}
    assert gates["floor / bare pair, 2 scopes, no delay"]["value"] < 1.5
    assert gates["appends waited for, 1 scope, no delay"]["passed"]
    assert {"A/A: the same against the same", "CPU ratio, 2 scopes, no delay"} <= set(gates)
    assert "turns a second, 2 scopes, no delay" in gates
    assert {"ratio, 2 scopes, no delay", "one fsync", "ours CPU, 2 scopes, no delay, nats-server"} <= set(
        names(report, "figures")
    )
    assert "event loop (both sides)" in report["setting"]


def test_pools_are_weighed_and_refilled_from_a_real_log() -> None:
    report = measure("pools")

    figures = names(report, "figures")
    assert {"refill p50, 30 scopes", "refill p99, one scope of 120 turns"} <= set(figures)
    assert {"memory per idle scope, rss", "memory per idle scope, traced"} <= set(figures)


def test_a_start_is_timed_to_the_prompt() -> None:
    report = measure("start")

    assert {"prompt, fresh home", "prompt, warm", "prompt, joining"} <= set(names(report, "figures"))


def test_a_wish_is_held_against_a_bare_request_and_workers_die() -> None:
    report = measure("fleet")

    figures, gates = names(report, "figures"), names(report, "gates")
    assert {"CPU ratio, 1 in flight", "ours latency, 8 in flight", "killed: served elsewhere, p99"} <= set(figures)
    assert {"A/A: the same against the same", "frozen: served elsewhere, worst (ms)"} <= set(gates)


@pytest.mark.parametrize(
    ("samples", "limit", "passed"),
    [((1.0, 1.1, 1.2), 2.0, True), ((1.0, 1.1, 3.0), 2.0, False), ((2.5, 2.6, 2.7), 2.0, False)],
)
def test_a_gate_holds_only_when_the_whole_interval_does(samples: tuple[float, ...], limit: float, passed: bool) -> None:
    report = Report("nothing", {})

    report.at_most("a ratio", bootstrap(samples), limit)

    assert report.passed is passed


def test_a_lower_limit_holds_only_when_the_whole_interval_lies_above_it() -> None:
    report = Report("nothing", {})

    report.at_least("a pace", bootstrap((3.0, 3.1, 3.2)), 3.0)
    report.at_least("another", bootstrap((2.9, 3.1, 3.2)), 3.0)

    assert [gate.passed for gate in report.gates] == [True, False]
    assert "must be at least 3" in report.to_text()


def test_a_profile_tells_what_time_was_spent_for() -> None:
    sampler, usage = Sampler(), Usage(calls=1)

    sampler.begin()
    until = process_time() + 0.2
    while process_time() < until:
        usage = Usage(calls=usage.calls)
    found = sampler.end()

    assert dict(found["purposes"]).keys() <= {"contracts", "all else"}
    assert found["purposes"][0][0] == "contracts"
