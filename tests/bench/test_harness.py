"""The comparison compares like with like, and its gates say what was found; who is cheaper is no test's business."""

from importlib import import_module
from pathlib import Path

import pytest

from bench.figures import Report
from bench.harness import ADAPTER, AGAIN, BARE, OURS, Round, Spent, tell, tell_alike, tell_who_is_missing
from bench.peers.__main__ import block
from bench.peers.server import serve
from bench.peers.task import ANSWER, LOOK, SAY

ROOT = Path(__file__).parents[2]
PEER = "langgraph"


def a_round(**milliseconds: float) -> Round:
    """What everybody spent, the peer included."""
    names = {"bare": BARE, "again": AGAIN, "adapter": ADAPTER, "ours": OURS, "peer": PEER}
    return {names[name]: Spent(spent / 1000, (spent / 1000,)) for name, spent in milliseconds.items()}


def told(*rounds: Round) -> Report:
    """The report of one cell."""
    report = Report("harness", {})
    tell(report, "a cell", rounds)
    return report


@pytest.mark.parametrize("name", ["bare", "adapter", "ours", "errand"])
async def test_everybody_does_the_same_turn(name: str, tmp_path: Path) -> None:
    contestant = import_module(f"bench.peers.{name}").contestant

    async with serve() as (url, counted), contestant(url, tmp_path) as ask:
        said = await ask(SAY)
        heard = await counted()
        looked = await block(ask, LOOK, lanes=2, turns=1)
        heard_of_tool = await counted()

    assert said == ANSWER
    assert heard == {"words": 1, "usage": 1}
    assert len(looked["wholes"]) == 2
    assert looked["cpu"] > 0
    assert heard_of_tool == {"calls": 2, "words": 2, "usage": 4}


async def test_an_answer_that_is_not_whole_ends_the_run() -> None:
    async def ask(words: str) -> str:
        return ANSWER[:-1]

    with pytest.raises(RuntimeError, match="is not the one that was said"):
        await block(ask, SAY, lanes=1, turns=1)


def test_overhead_is_what_is_spent_beyond_the_bare_sdk_of_the_same_round() -> None:
    report = told(
        a_round(bare=8, again=8, adapter=3, ours=4, peer=9),
        a_round(bare=16, again=16, adapter=6, ours=8, peer=18),
        a_round(bare=8, again=8, adapter=3, ours=4, peer=9),
    )

    figures = {figure.name: figure for figure in report.figures}
    assert figures["ours: CPU / bare SDK, a cell"].value == pytest.approx(0.5)
    assert figures["ours: overhead, a cell"].value == pytest.approx(-4000)
    assert figures["langgraph: overhead, a cell"].value == pytest.approx(1000)
    assert figures["ours: overhead over our adapter, a cell"].value == pytest.approx(1000)
    assert figures["langgraph: whole turn, a cell"].n == 3


@pytest.mark.parametrize(
    ("ours", "passed"),
    [((8.1, 8.2, 8.3), True), ((8.1, 8.2, 8.6), False), ((9.1, 9.2, 9.3), False)],
    ids=["below", "intervals that overlap", "above"],
)
def test_we_are_cheaper_only_when_our_whole_interval_is_below_the_peers(ours: tuple[float, ...], passed: bool) -> None:
    report = told(*(a_round(bare=8, ours=mine, peer=peer) for mine, peer in zip(ours, (8.5, 8.7, 8.9), strict=True)))

    (gate,) = report.gates
    assert gate.name == "overhead (us/turn), a cell: ours below langgraph"
    assert gate.passed is passed


def test_the_bare_sdk_must_cost_what_it_costs() -> None:
    even, skewed = Report("harness", {}), Report("harness", {})

    tell_alike(even, [a_round(bare=8, again=again) for again in (7.9, 8.0, 8.2)])
    tell_alike(skewed, [a_round(bare=8, again=again) for again in (8.4, 8.5, 8.6)])

    assert even.passed
    assert not skewed.passed


def test_who_was_not_measured_has_a_reason_and_no_figure_and_fails_the_run() -> None:
    report = Report("harness", {})

    tell_who_is_missing(report, (PEER, "autogen-core"), {PEER: "uv could not install it"})

    assert report.notes == ["langgraph: not measured: uv could not install it"]
    assert report.figures == []
    assert not report.passed
