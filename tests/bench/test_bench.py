"""The measurements measure, and say what they claim to say; how fast anything is, is no test's business."""

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pytest

from bench.figures import Report, bootstrap
from bench.lag import Lag
from bench.lossy import without_fence, without_seal
from bench.sampler import Sampler
from factory_contracts import subjects
from factory_contracts.messages import Usage
from factory_nats.transport import Entry

ROOT = Path(__file__).parents[2]
# Each begins a whole chain of processes, and nothing that a person uses depends on any.
AT_ONCE = 2


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


def a_turn_is_held_against_a_floor_that_is_held_against_a_bare_pair(report: dict[str, Any]) -> None:
    gates = {gate["name"]: gate for gate in report["gates"]}
    assert gates["floor / bare pair, 2 scopes, no delay"]["value"] < 1.5
    assert gates["appends waited for, 1 scope, no delay"]["passed"]
    assert {"A/A: the same against the same", "CPU ratio, 2 scopes, no delay"} <= set(gates)
    assert "turns a second, 2 scopes, no delay" in gates
    assert {"ratio, 2 scopes, no delay", "one fsync", "ours CPU, 2 scopes, no delay, nats-server"} <= set(
        names(report, "figures")
    )
    assert "event loop (both sides)" in report["setting"]


def pools_are_weighed_and_refilled_from_a_real_log(report: dict[str, Any]) -> None:
    figures = names(report, "figures")
    assert {"refill p50, 30 scopes", "refill p99, one scope of 120 turns"} <= set(figures)
    assert {"memory per idle scope, rss", "memory per idle scope, traced"} <= set(figures)


def a_start_is_timed_to_the_prompt(report: dict[str, Any]) -> None:
    assert {"prompt, fresh home", "prompt, warm", "prompt, joining"} <= set(names(report, "figures"))


def a_wish_is_held_against_a_bare_request_and_workers_die(report: dict[str, Any]) -> None:
    figures, gates = names(report, "figures"), names(report, "gates")
    assert {"CPU ratio, 1 in flight", "ours latency, 8 in flight", "killed: served elsewhere, p99"} <= set(figures)
    assert {"A/A: the same against the same", "frozen: served elsewhere, worst (ms)"} <= set(gates)


def scopes_stream_beside_each_other_and_beside_a_flood_through_one_hub_and_two(report: dict[str, Any]) -> None:
    gates = {gate["name"]: gate for gate in report["gates"]}
    assert gates["turns that are lost or open, one hub"]["passed"]
    assert gates["turns that are lost or open, two hubs"]["passed"]
    assert gates["partitions of hub 1 of 2"]["value"] == gates["partitions of hub 2 of 2"]["value"] == 32
    assert gates["messages of the flood that nobody answered"]["passed"]
    assert {"hubs' CPU, two hubs / one, 8 scopes", "CPU of the whole chain, two hubs / one, 8 scopes"} <= set(gates)
    assert "hub's loop lag p99 (ms), 4 scopes of 50 tokens a second" in gates
    (flood,) = [note for note in report["notes"] if note.startswith("of the flood's messages")]
    assert " 0 refused" not in flood


def a_promise_has_a_price_of_cpu_and_of_time(report: dict[str, Any]) -> None:
    figures = names(report, "figures")
    words = "on the disk before it is accepted, 2 scopes"
    assert {f"CPU, {words}", f"first word, {words}"} <= set(figures)
    assert report["gates"] == []


def a_hub_is_started_before_many_scopes_and_few(report: dict[str, Any]) -> None:
    figures, gates = names(report, "figures"), names(report, "gates")
    assert {"hub's start, 40 scopes", "first word in an old conversation, p99, 10 scopes"} <= set(figures)
    assert {"hub's start, 40 scopes / 10", "hub's memory, 40 scopes / 10"} <= set(gates)


def a_turn_is_held_against_a_framework_where_that_can_be_had(report: dict[str, Any]) -> None:
    assert "ours / floor, 2 scopes, no delay" in names(report, "figures")
    assert names(report, "gates") == ["peers that were measured"]


def a_small_run_measures_the_bare_sdk_and_ours(report: dict[str, Any]) -> None:
    figures = {figure["name"]: figure for figure in report["figures"]}
    for name in ("50 deltas, 1 at once", "a tool, then 50 deltas, 2 at once"):
        assert figures[f"ours: CPU / bare SDK, {name}"]["value"] > 0
        assert figures[f"ours, each delta told: overhead, {name}"]["n"] == 2
    assert set(names(report, "gates")) == {"A/A: the bare SDK against itself", "peers that were measured"}
    assert "openai" in report["setting"]


def chats_are_answered_through_a_telegram_spoke(report: dict[str, Any]) -> None:
    gates = {gate["name"]: gate for gate in report["gates"]}
    assert gates["answers that are not whole"]["passed"] and gates["faults"]["passed"]
    assert gates["writes in any second"]["passed"]


MEASURED = {
    "crowd": chats_are_answered_through_a_telegram_spoke,
    "turn": a_turn_is_held_against_a_floor_that_is_held_against_a_bare_pair,
    "pools": pools_are_weighed_and_refilled_from_a_real_log,
    "start": a_start_is_timed_to_the_prompt,
    "fleet": a_wish_is_held_against_a_bare_request_and_workers_die,
    "scopes": scopes_stream_beside_each_other_and_beside_a_flood_through_one_hub_and_two,
    "promises --cell 0": a_promise_has_a_price_of_cpu_and_of_time,
    "scale": a_hub_is_started_before_many_scopes_and_few,
    "bus": a_turn_is_held_against_a_framework_where_that_can_be_had,
    "harness": a_small_run_measures_the_bare_sdk_and_ours,
}


@pytest.mark.timeout(240)
def test_some_of_the_measurements_measure_others_in_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = random.SystemRandom().sample(sorted(MEASURED), AT_ONCE)
    with capsys.disabled():
        print("", *(f"python -m bench {words} --smoke" for words in chosen), sep="\n", flush=True)

    for words in chosen:
        MEASURED[words](measure(*words.split()))


def entry(subject: str, fence: str) -> Entry:
    return Entry(subject, b"{}", expect=(fence, 7))


def test_without_a_fence_a_record_names_no_epoch_and_epochs_still_follow_each_other() -> None:
    scope, epoch, seal = subjects.turns("bench", "bot", "chat"), subjects.epoch(3), subjects.seal(3)

    assert without_fence(entry(scope, epoch)).expect is None
    assert without_fence(entry(epoch, epoch)) == entry(epoch, epoch)
    assert without_fence(entry(seal, seal)) == entry(seal, seal)


def test_without_seals_all_else_is_stored() -> None:
    scope, epoch, seal = subjects.turns("bench", "bot", "chat"), subjects.epoch(3), subjects.seal(3)

    assert without_seal(entry(seal, seal)) is None
    assert without_seal(entry(scope, epoch)) == entry(scope, epoch)


async def test_a_loop_that_is_held_up_is_late() -> None:
    lag = Lag()

    lag.begin()
    await asyncio.sleep(0)
    until = perf_counter() + 0.05
    while perf_counter() < until:
        pass
    await asyncio.sleep(0)
    while not (lags := lag.lags):
        await asyncio.sleep(0)
    await lag.end()

    assert max(lags) > 0.02


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
        for _ in range(100):
            usage = Usage(calls=usage.calls)
    found = sampler.end()

    assert dict(found["purposes"]).keys() <= {"contracts", "all else"}
    assert found["purposes"][0][0] == "contracts"
